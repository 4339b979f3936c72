"""Results of fits: indices reach the batch axes only, and fits can be taken from another result."""

import numpy as np
import pytest

from logitmoe import StoppingRule, WeightedPoints, em, random_start, sample
from logitmoe.measure import DEFAULT_THETA
from logitmoe.results import check_start


def problem(size):
    rng = np.random.default_rng(3)
    x, y = sample(random_start(2, 3, 1, rng, sd=2.0), 200, rng)
    return WeightedPoints.from_labels(x, y, 3), random_start(2, 3, 1, rng, size=size)


def test_indices_reach_the_batch_axes_only():
    data, start = problem((2, 4))
    result = em(data, start, stopping=StoppingRule("absolute", 1e-2, 30), trace="full")
    for index in (1, (1, 2), slice(1, None), (Ellipsis, 0), (slice(None), None, 3), np.array([True, False])):
        part = result[index]
        shape = part.measure.batch_shape
        assert np.shape(part.log_likelihood) == shape
        np.testing.assert_array_equal(part.log_likelihood, result.log_likelihood[index])
        assert part.missing_classes.shape == (*shape, 3)
        assert part.trace.log_likelihood.shape == part.trace.measure.batch_shape == (*shape, result.n_iter.max() + 1)
        np.testing.assert_array_equal(part.trace.log_likelihood[..., -1], part.log_likelihood)
        assert part.trace.measure[..., -1].allclose(part.measure, atol=0.0)
    for index in ((0, 0, 0), 2, (Ellipsis, 0, 0, 0)):
        with pytest.raises(IndexError):
            result[index]


def test_fits_are_taken_from_another_result_and_shorter_traces_repeat_their_end():
    data, start = problem((2, 3))
    mask = np.array([[True, False, False], [False, True, True]])
    rules = [StoppingRule("absolute", 0.0, n) for n in (4, 9)]
    for one, two in (rules, rules[::-1]):
        first = em(data, start, stopping=one, trace="full")
        part = em(data, start[mask], stopping=two, trace="full")
        both = first.with_fits(mask, part)
        np.testing.assert_array_equal(both.n_iter, np.where(mask, two.max_iter, one.max_iter))
        np.testing.assert_array_equal(both.log_likelihood[mask], part.log_likelihood)
        np.testing.assert_array_equal(both.log_likelihood[~mask], first.log_likelihood[~mask])
        assert both.measure[mask].allclose(part.measure, atol=0.0)
        assert both.trace.log_likelihood.shape == both.trace.measure.batch_shape == (2, 3, 10)
        np.testing.assert_array_equal(both.trace.log_likelihood[..., -1], both.log_likelihood)
        np.testing.assert_array_equal(both.trace.log_likelihood[mask, :5], part.trace.log_likelihood[:, :5])
        assert both.trace.measure[..., -1].allclose(both.measure, atol=0.0)
        assert first.n_iter.max() == one.max_iter  # untouched


def test_an_empty_batch():
    data, start = problem((2, 0))
    result = em(data, start)
    assert result.log_likelihood.shape == (2, 0) and result.missing_classes.shape == (2, 0, 3)
    assert result.summary() == "0 fits, 2 experts, 3 classes, fitted to the points"


def test_batch_axes_of_data_and_starts_agree():
    data, start = problem(4)
    several = WeightedPoints(data.points, np.stack([data.weights] * 3))
    with pytest.raises(ValueError, match="start: expected batch axes that broadcast"):
        em(several, start)
    assert check_start(several[:, None], start, DEFAULT_THETA) == (3, 4)
