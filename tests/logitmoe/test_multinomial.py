"""The solver of the M-step: its short cuts give what the long ways give."""

import numpy as np
import pytest

from logitmoe import MixingMeasure, StoppingRule, Theta, WeightedPoints, em, log_likelihood, multinomial


@pytest.mark.parametrize("P", [1, 2, 3])
def test_small_systems_are_solved(P):
    rng = np.random.default_rng(P)
    A = rng.normal(size=(50, P, P))
    A = A @ A.swapaxes(1, 2) + 0.1 * np.eye(P)
    x = rng.normal(size=(50, P))
    np.testing.assert_allclose(multinomial._solve(A, (A @ x[..., None])[..., 0]), x, rtol=1e-9, atol=1e-9)


def test_a_singular_pair_of_equations_gives_no_finite_step():
    step = multinomial._solve(np.array([[[1.0, 2.0], [2.0, 4.0]], [[2.0, 0.0], [0.0, 1.0]]]), np.ones((2, 2)))
    assert not np.isfinite(step[0]).any()
    np.testing.assert_array_equal(step[1], [0.5, 1.0])


def test_softmax_and_its_logarithm():
    logits = np.random.default_rng(0).normal(scale=30.0, size=(3, 5, 7))
    log_prob, prob = multinomial.log_softmax(logits.copy())
    np.testing.assert_allclose(prob.sum(axis=0), 1.0, rtol=1e-14)
    np.testing.assert_allclose(np.exp(log_prob), prob, rtol=1e-12)
    np.testing.assert_allclose(log_prob - log_prob[0], logits - logits[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("slope", [300.0, 900.0])  # densities down to exp(-600), and to exp(-1800): products underflow
def test_probabilities_that_underflow_do_not_harm_the_likelihood(slope):
    x = np.linspace(-2.0, 2.0, 41)
    data = WeightedPoints.from_labels(x, np.where(x > 0.5, 1, 2), 2)
    a = np.zeros((2, 2))
    G = MixingMeasure([0.0, 0.0], [[1.0], [0.0]], a, [[[-slope], [0.0]], [[-slope + 1.0], [0.0]]])
    result = em(
        data, G, theta=Theta.cube(1000.0), stopping=StoppingRule("absolute", 0.0, 3), trace="log_likelihood"
    )
    path = result.trace.log_likelihood
    assert np.isfinite(path).all() and (np.diff(path) >= 0.0).all()
    assert path[0] == pytest.approx(log_likelihood(G, data), rel=1e-12)
    assert path[-1] == pytest.approx(log_likelihood(result.measure, data), rel=1e-10)
