"""Wrong, awkward and extreme input: a right answer, or an error that names the argument and says what to do."""

import numpy as np
import pytest

from logitmoe import (
    MixingMeasure,
    Ridge,
    Theta,
    WeightedPoints,
    compress,
    covariance,
    density,
    em,
    fisher_information,
    fit,
    hellinger,
    log_likelihood,
    mle,
    random_start,
    responsibilities,
    sample,
    standard_errors,
    uniform_design,
    voronoi_loss,
)
from logitmoe.results import StoppingRule

X = np.random.default_rng(0).random(200)
Y = 1 + (np.random.default_rng(1).random(200) < X).astype(int)
DATA = WeightedPoints.from_labels(X, Y)
SHORT = StoppingRule(max_iter=5)


def rng():
    return np.random.default_rng(0)


def constant_fit(y):
    """The log-likelihood of the classes' shares."""
    counts = np.bincount(y)[1:]
    return (counts * np.log(np.maximum(counts, 1) / counts.sum())).sum()


class Frame(np.ndarray):
    """Like a series or a frame of pandas: numbers with an index."""

    @classmethod
    def of(cls, values, index):
        new = np.asarray(values).view(cls)
        new.index = np.asarray(index)
        return new


# -- what is ignored no more -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [fit, WeightedPoints.from_labels, compress], ids=["fit", "from_labels", "compress"])
@pytest.mark.parametrize("which", ["x", "y"])
def test_masked_entries_are_refused(make, which):
    x, y = np.ma.array(X), np.ma.array(Y)
    options = {"k": 2, "rng": rng(), "starts": 1} if make is fit else {}
    make(x, y, **options)  # nothing is masked: an array like others
    {"x": x, "y": y}[which][:40] = np.ma.masked
    with pytest.raises(ValueError, match=rf"{which}: .* 40 masked ones; drop these samples"):
        make(x, y, **options)


@pytest.mark.parametrize("make", [fit, WeightedPoints.from_labels, compress], ids=["fit", "from_labels", "compress"])
def test_an_index_that_differs_is_an_error(make):
    index = np.arange(200)
    options = {"k": 2, "rng": rng(), "starts": 1} if make is fit else {}
    make(Frame.of(X, index), Frame.of(Y, index), **options)
    make(X.tolist(), Frame.of(Y, index[::-1]), **options)  # one index: by position
    with pytest.raises(ValueError, match=r"y: expected the index of x, row by row, .* in row 0; align them"):
        make(Frame.of(X, index), Frame.of(Y, index[::-1]), **options)
    with pytest.raises(ValueError, match=r"y: .*'b'.* for .*0.* in row 0"):
        make(Frame.of(X[:2], [0, 1]), Frame.of(Y[:2], ["b", "c"]), **options)


@pytest.mark.parametrize("stray", [3000, 10**6, 99999, 2**40])
def test_a_stray_label_is_named(stray):
    y = np.array([1, 2, 1, 2, 1, 2, stray, 1, 2, 1])
    with pytest.raises(ValueError, match=rf"y: .* got {stray} at index 6 with 3 of them.*pass K={stray}"):
        WeightedPoints.from_labels(X[:10], y)
    assert fit(X[:10], y, 1, rng=rng()).classes == (1, 2, stray)  # labels of any type: no classes between them


def test_labels_of_which_half_are_seen_are_taken_as_they_are():
    assert WeightedPoints.from_labels(X[:4], [2, 4, 2, 4]).K == 4
    assert WeightedPoints.from_labels(X[:4], [1, 9, 1, 9], K=9).K == 9
    with pytest.raises(ValueError, match="y: .* got 5 at index 1"):
        WeightedPoints.from_labels(X[:4], [2, 5, 2, 5])


# -- what is asked for in a wrong way --------------------------------------------------------------------------


def test_options_of_a_wrong_kind_are_named():
    with pytest.raises(TypeError, match=r"starts: expected a Starts, got a str; pass Starts\(\)"):
        fit(X, Y, 2, rng=rng(), starts="many")
    with pytest.raises(TypeError, match=r"theta: expected a Theta, got a float; pass e.g. Theta.cube\(10.0\)"):
        em(DATA, random_start(2, 2, 1, rng()), theta=10.0)
    with pytest.raises(TypeError, match=r"stopping: expected a StoppingRule, got a str; pass e.g. StoppingRule\("):
        em(DATA, random_start(2, 2, 1, rng()), stopping="relative")


@pytest.mark.parametrize("method", [em, mle])
def test_batch_axes_that_do_not_go_together_are_named(method):
    data = WeightedPoints(X, np.broadcast_to(DATA.weights, (5, *DATA.weights.shape)))
    for samples in (data, compress(X, Y)[None][[0] * 5]):
        with pytest.raises(ValueError, match=r"data and start: .* broadcast with \(5,\), got \(3,\); make them agree"):
            method(samples, random_start(2, 2, 1, rng(), size=3))


@pytest.mark.parametrize("method", [em, mle])
def test_the_best_of_no_starts_is_an_error_that_says_so(method):
    none = method(DATA, random_start(2, 2, 1, rng(), size=(2, 0)))
    assert none.log_likelihood.shape == (2, 0)
    assert none.best(axis=0).log_likelihood.shape == (0,)
    with pytest.raises(ValueError, match=r"axis: expected an axis of at least one fit, got shape \(2, 0\); begin"):
        none.best()


def test_a_constant_covariate_with_compression_is_named():
    with pytest.raises(ValueError, match=r"domain: expected low < high, .* a constant covariate"):
        compress(np.full(200, 0.3), Y, domain=(0.3, 0.3))
    constant = fit(np.full(200, 0.3), Y, 1, rng=rng(), starts=1)
    assert constant.log_likelihood == pytest.approx(constant_fit(Y), rel=1e-6)


def test_a_result_in_place_of_its_measure_is_told_from_it():
    result, design = em(DATA, random_start(2, 2, 1, rng()), stopping=SHORT), uniform_design()
    for call in (
        lambda: density(result, X),
        lambda: responsibilities(result, X),
        lambda: log_likelihood(result, DATA),
        lambda: sample(result, 10, rng()),
        lambda: fisher_information(result, design),
        lambda: covariance(result, design),
        lambda: standard_errors(result, design),
        lambda: hellinger(result, result.measure, design),
        lambda: voronoi_loss(result, result.measure),
        lambda: Theta.cube(10.0).contains(result),
        lambda: Theta.cube(10.0).clip(result),
        lambda: Theta.cube(10.0).touching(result),
    ):
        with pytest.raises(TypeError, match=r"G: expected a MixingMeasure, got an? EMResult; pass G.measure"):
            call()
    with pytest.raises(TypeError, match=r"start: .* EMResult; pass start.measure"):
        mle(DATA, result)
    with pytest.raises(TypeError, match=r"other: .* EMResult; pass other.measure"):
        result.measure.allclose(result)
    with pytest.raises(TypeError, match="G: expected a MixingMeasure, got a float; build one first"):
        density(3.0, X)


# -- extreme but finite ----------------------------------------------------------------------------------------


def test_numbers_whose_products_overflow_are_refused():
    with pytest.raises(ValueError, match=r"points: expected numbers of size at most 1e\+50, got 1e\+300"):
        WeightedPoints([0.0, -1e300], np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"weights: expected numbers of size at most 1e\+50, got 1e\+308"):
        WeightedPoints([0.0, 1.0], np.full((2, 2), 1e308))
    G = MixingMeasure([0, 0], [[1e200], [0]], [[0, 0], [0, 0]], [[[1], [0]], [[1], [0]]])
    with pytest.raises(ValueError, match="x: expected logits that do not overflow, got slopes up to 1e.200"):
        density(G, [1e200])
    assert np.isfinite(density(G, [1e90])).all()


@pytest.mark.parametrize(
    "scale, shift", [(1e49, 0.0), (1e20, 0.0), (1e-300, 0.0), (1.0, 1e8), (1.0, 1e4), (1e8, 1e15)], ids=str
)
@pytest.mark.parametrize("k", [1, 2])
def test_extreme_covariates_are_fitted_at_least_as_well_as_by_constant_probabilities(k, scale, shift):
    x = shift + scale * (X - 0.5)
    result = fit(x, Y, k, rng=rng(), starts=2, penalty=Ridge())
    assert result.log_likelihood >= constant_fit(Y) - 1e-9
    data = WeightedPoints.from_labels(result.units.standardise(x[:, None]), Y)
    assert result.log_likelihood == pytest.approx(log_likelihood(result.standard, data))


@pytest.mark.parametrize("size", [1e-300, 1e49])
@pytest.mark.parametrize("method", [em, mle])
def test_weights_of_any_size_have_finite_results(method, size):
    options = {"stopping": SHORT} if method is em else {"max_iter": 5}
    result = method(WeightedPoints(X, size * DATA.weights), random_start(2, 2, 1, rng(), size=3), **options)
    assert np.isfinite(result.log_likelihood).all() and (result.log_likelihood < 0.0).all()


@pytest.mark.parametrize("scale", [1e49, 1e8])
def test_newtons_method_does_not_call_saturated_probabilities_converged(scale):
    data = WeightedPoints.from_labels(scale + scale * X, Y)
    result = mle(data, random_start(2, 2, 1, rng(), size=3))
    assert np.isfinite(result.log_likelihood).all()
    assert not result.converged[result.log_likelihood < constant_fit(Y) - 1e-3].any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sd", [1.0, 5.0, 50.0])
def test_one_expert_from_any_start_ends_at_the_maximum_or_says_that_it_does_not(sd):
    x = np.random.default_rng(0).uniform(0, 100, (400, 6))
    y = 1 + (np.random.default_rng(1).random(400) < 1.0 / (1.0 + np.exp(-0.03 * (x - 50).sum(axis=1))))
    data, theta = WeightedPoints.from_labels(x, y), Theta.cube(1000.0)
    start = random_start(1, 2, 6, np.random.default_rng(3), size=20, sd=sd, theta=theta)
    fits = mle(data, start, theta=theta)
    assert fits.log_likelihood[fits.converged] == pytest.approx(-174.2835505, abs=1e-6)
    assert set(fits.reason[~fits.converged]) <= {"underflow"} and fits.converged.any()
    by_em = em(data, start, theta=theta)
    assert by_em.log_likelihood == pytest.approx(-174.2835505, abs=1e-6)
