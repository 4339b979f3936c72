"""The solver of the M-step: it ends at the maximum from anywhere, and its short cuts give what the long ways give."""

import numpy as np
import pytest
from scipy.optimize import minimize

from logitmoe import (
    MixingMeasure,
    StoppingRule,
    Theta,
    WeightedPoints,
    em,
    log_likelihood,
    multinomial,
    random_start,
)


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
    log_prob, prob = multinomial._log_softmax(logits.copy())
    np.testing.assert_allclose(prob.sum(axis=0), 1.0, rtol=1e-14)
    np.testing.assert_allclose(np.exp(log_prob), prob, rtol=1e-12)
    np.testing.assert_allclose(log_prob - log_prob[0], logits - logits[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("slope", [300.0, 900.0])  # densities down to exp(-600), and to exp(-1800): products underflow
def test_probabilities_that_underflow_do_not_harm_the_likelihood(slope):
    x = np.linspace(-2.0, 2.0, 41)
    data = WeightedPoints.from_labels(x, np.where(x > 0.5, 1, 2), 2)
    a = np.zeros((2, 2))
    G = MixingMeasure([0.0, 0.0], [[1.0], [0.0]], a, [[[-slope], [0.0]], [[-slope + 1.0], [0.0]]])
    result = em(data, G, theta=Theta.cube(1000.0), stopping=StoppingRule("absolute", 0.0, 3), trace="log_likelihood")
    path = result.trace.log_likelihood
    assert np.isfinite(path).all() and (np.diff(path) >= 0.0).all()
    assert path[0] == pytest.approx(log_likelihood(G, data), rel=1e-12)
    assert path[-1] == pytest.approx(log_likelihood(result.measure, data), rel=1e-10)


def maximum(targets, design, radii, start):
    """Coefficients (C - 1, q) and value of the maximum over the box by a general-purpose optimiser, in scaled units."""
    free, q = targets.shape[0] - 1, design.shape[1]
    unit = np.sqrt(np.square(design).mean(axis=0))
    unit[unit == 0.0] = 1.0

    def negative(v):
        logits = np.vstack([v.reshape(free, q) @ (design / unit).T, np.zeros(len(design))])
        log_prob, prob = multinomial._log_softmax(logits)
        slope = (targets.sum(axis=0) * prob - targets)[:-1] @ (design / unit)
        return -(targets * log_prob).sum(), slope.ravel()

    v, value = np.clip(start * unit, -radii * unit, radii * unit).ravel(), np.inf
    bounds = [(-r, r) for r in np.tile(radii * unit, free)]
    for _ in range(3):
        options = {"maxiter": 5_000, "maxfun": 10_000, "ftol": 0, "gtol": 1e-10}
        found = minimize(negative, v, jac=True, bounds=bounds, options=options)
        v, value = found.x, min(value, found.fun)
    return v.reshape(free, q) / unit, -value


def solve(coefficients, targets, design, radii, certify=False):
    """The solver's coefficients (C, B, q), its values (B,), and the positions of what it did not finish."""
    totals = targets.sum(axis=0)
    best, unfinished = multinomial.maximise(
        multinomial.Logit.at(coefficients, design),
        targets,
        totals,
        multinomial.Setting(design, radii, np.zeros(len(radii)), len(targets)),
        totals.sum(axis=-1),
        certify,
    )
    assert (np.abs(best.coefficients[:-1]) <= radii).all()
    np.testing.assert_array_equal(best.coefficients[-1], coefficients[-1])
    return best.coefficients, np.einsum("cbm,cbm->b", targets, best.log_prob), unfinished


@pytest.mark.parametrize("C", [2, 3, 5])
@pytest.mark.parametrize("radius", [50.0, 0.7])  # inside the box, and on a face of it
def test_the_maximum_is_that_of_a_general_purpose_optimiser(C, radius):
    rng = np.random.default_rng([1, C])
    B, m, d = 6, 60, 2
    design = np.c_[np.ones(m), rng.normal(size=(m, d))]
    truth = rng.normal(scale=1.5, size=(C, B, d + 1))
    prob = multinomial.Logit.at(truth, design).prob
    targets = prob * rng.uniform(0.0, 2.0, size=prob.shape)
    start = rng.uniform(-0.5, 0.5, size=truth.shape)
    start[-1] = 0.0
    radii = np.full(d + 1, radius)
    found, values, unfinished = solve(start, targets, design, radii)
    assert not unfinished.size
    on_face = (np.abs(found[:-1]) == radius).any(axis=(0, 2))
    assert on_face.all() if radius < 1.0 else not on_face.any()
    for b in range(B):
        expected, value = maximum(targets[:, b], design, radii, np.zeros((C - 1, d + 1)))
        assert values[b] == pytest.approx(value, rel=1e-10)
        np.testing.assert_allclose(found[:-1, b], expected, atol=1e-4)


def test_starts_on_the_wrong_face_leave_it():
    rng = np.random.default_rng(2)
    design = np.c_[np.ones(80), rng.normal(size=(80, 2))]
    radii = np.array([3.0, 2.0, 2.0])
    truth = np.array([[[1.0, -1.5, 0.5]], [[-0.5, 1.0, 1.0]], [[0.0, 0.0, 0.0]]])
    targets = multinomial.Logit.at(truth, design).prob  # its maximum is the truth
    for signs in np.ndindex(2, 2, 2):
        start = np.zeros_like(truth)
        start[:2, 0] = radii * (2 * np.array(signs) - 1)
        found, _, unfinished = solve(start, targets, design, radii)
        assert not unfinished.size
        np.testing.assert_allclose(found, truth, atol=1e-6)


@pytest.mark.parametrize("seed", range(25))
def test_one_expert_ends_at_its_maximum_from_anywhere(seed):
    """Covariates of sizes from 0.001 to 10,000, shifted, constant or repeated; separated classes; tiny weights."""
    rng = np.random.default_rng([3, seed])
    n, d, C = int(rng.integers(10, 150)), int(rng.integers(1, 4)), int(rng.integers(2, 5))
    x = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-3.0, 4.0, size=d)
    x += (seed % 3 == 0) * rng.normal(size=d) * 10.0 ** rng.uniform(-1.0, 3.0, size=d)
    if seed % 7 == 0:
        x[:, -1] = x[:, 0] if seed % 2 else 50.0
    y = rng.integers(1, C + 1, size=n) if seed % 4 else 1 + np.argsort(np.argsort(x[:, 0])) * C // n
    weights = np.zeros((C, n))
    weights[y - 1, np.arange(n)] = 10.0 ** rng.uniform(-6.0, 0.0, size=n) if seed % 5 == 0 else 1.0
    radius = float(rng.choice([1.0, 10.0, 1000.0]))
    a, b = rng.uniform(-radius, radius, (3, 1, C)), rng.uniform(-radius, radius, (3, 1, C, d))
    a[..., -1], b[..., -1, :] = 0.0, 0.0
    start = MixingMeasure(np.zeros((3, 1)), np.zeros((3, 1, d)), a, b)
    result = em(
        WeightedPoints(x, weights), start, theta=Theta.cube(radius), acceleration=("squarem" if seed % 2 else None)
    )
    assert result.converged.all()
    guess = np.concatenate([result.measure.a[0, 0, :-1, None], result.measure.b[0, 0, :-1]], axis=-1)
    design, radii = np.c_[np.ones(n), x], np.full(d + 1, radius)
    value = max(maximum(weights, design, radii, s)[1] for s in (guess, 0.0 * guess))
    np.testing.assert_array_less(value - result.log_likelihood, 1e-6 * abs(value) + 1e-8 * weights.sum())


def saturated(k, size=1.0):
    """Covariates up to 100 times size, and starts at which all probabilities are 0 or 1: a Newton step is 1e41 long."""
    x = np.random.default_rng(0).uniform(0.0, 100.0, (400, 6))
    p = 1.0 / (1.0 + np.exp(-0.03 * (x - 50.0).sum(axis=1)))
    y = 1 + (np.random.default_rng(1).random(400) < p)
    return WeightedPoints.from_labels(size * x, y, 2), random_start(k, 2, 6, np.random.default_rng(2), size=5)


def test_saturated_starts_end_at_the_maximum():
    data, start = saturated(1)
    result = em(data, start)
    assert result.converged.all() and not result.at_bound.any()
    np.testing.assert_allclose(result.log_likelihood, -174.28355048, rtol=1e-9)


@pytest.mark.parametrize("acceleration", [None, "squarem"])
@pytest.mark.parametrize("k", [1, 2])
def test_an_m_step_that_fails_is_not_convergence(k, acceleration, monkeypatch):
    data, start = saturated(k, 100.0)
    monkeypatch.setattr(multinomial, "_finish", lambda *_: False)  # the slow method could not help either
    result = em(data, start, acceleration=acceleration, theta=Theta.cube(1000.0))
    assert (result.log_likelihood < -1e5).all()  # with k = 1 the maximum is -174
    assert not result.converged.any() and set(result.reason) == {"m_step"}
    assert "5 stopped: m_step (" in result.summary()
