"""Gate and experts with columns of their own: a radius of zero leaves a covariate out, as if it were not there."""

import numpy as np
import pytest

from logitmoe import MixingMeasure, Ridge, StoppingRule, Theta, WeightedPoints, em, mle, random_start, sample
from logitmoe.information import standard_errors

GATE, EXPERTS = Theta(10.0, (10.0, 0.0), 10.0, 10.0), Theta(10.0, 10.0, 10.0, (10.0, 0.0))
BOTH = Theta(10.0, (10.0, 0.0), 10.0, (10.0, 0.0))


def problem(seed, n=300, k=2, K=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    truth = random_start(k, K, 2, rng, sd=1.5)
    return x, WeightedPoints.from_labels(*sample(truth, n, rng, covariates=x), K), random_start(k, K, 2, rng, size=4)


@pytest.mark.parametrize("penalty", [Ridge(), Ridge(0.2, 0.05)])
@pytest.mark.parametrize("acceleration", [None, "squarem"])
def test_a_column_that_neither_uses_is_a_column_that_is_not_there(acceleration, penalty):
    _, data, start = problem(0)
    start = BOTH.clip(start)
    without = MixingMeasure(start.beta0, start.beta1[..., :1], start.a, start.b[..., :1])
    narrow = WeightedPoints(data.points[:, :1], data.weights)
    rule = StoppingRule("absolute", 0.0, 60)
    for method, options in (
        (em, {"stopping": rule, "acceleration": acceleration}),
        (mle, {}),
    ):
        one = method(data, start, theta=BOTH, penalty=penalty, **options)
        two = method(narrow, without, penalty=penalty, **options)
        assert (one.measure.beta1[..., 1] == 0.0).all() and (one.measure.b[..., 1] == 0.0).all()
        np.testing.assert_allclose(one.log_likelihood, two.log_likelihood, rtol=1e-9)
        np.testing.assert_array_equal(one.at_bound, two.at_bound)
        np.testing.assert_allclose(one.measure.b[..., :1], two.measure.b, atol=1e-5)
        if method is mle:
            np.testing.assert_allclose(one.smallest_eigenvalue, two.smallest_eigenvalue, atol=1e-8)
            np.testing.assert_allclose(one.distance_to_bound, two.distance_to_bound, atol=1e-5)


@pytest.mark.parametrize("theta", [GATE, EXPERTS])
def test_gate_and_experts_may_differ(theta):
    _, data, start = problem(1, n=3_000)
    fits = mle(data, theta.clip(start), theta=theta)
    part, other = ("beta1", "b") if theta is GATE else ("b", "beta1")
    assert (getattr(fits.measure, part)[..., 1] == 0.0).all() and (getattr(fits.measure, other)[..., 1] != 0.0).any()
    assert theta.contains(fits.measure).all() and fits.converged.all()
    free = ~fits.at_bound
    assert free.any() and not theta.touches(fits.measure)[free].any() and theta.touching(fits.measure[free]) == []
    assert (fits.gradient_norm < 1e-6).all()  # along the coordinates that are free to move
    by_em = em(data, fits.measure, theta=theta, stopping=StoppingRule("absolute", 0.0, 20))
    assert (np.abs(by_em.log_likelihood - fits.log_likelihood) < 1e-6).all()  # EM stays there
    assert (by_em.at_bound == fits.at_bound).all()
    wide = mle(data, fits.measure)
    assert (wide.log_likelihood > fits.log_likelihood + 1e-3).any()  # it is the radius that holds them


def test_standard_errors_of_what_is_held_are_zero_and_of_the_others_those_without_the_column():
    _, data, start = problem(2, n=2_000)
    penalty = Ridge(0.1, 0.1)
    fit = mle(data, BOTH.clip(start), theta=BOTH, penalty=penalty).best()
    narrow = WeightedPoints(data.points[:, :1], data.weights)
    G = MixingMeasure(fit.measure.beta0, fit.measure.beta1[:, :1], fit.measure.a, fit.measure.b[..., :1])
    held = np.array([name.startswith(("b", "beta1")) and name.endswith(",2]") for name in G.parameter_names(2, 3, 2)])
    held &= np.array([not name.startswith("beta0") for name in G.parameter_names(2, 3, 2)])
    for kind in ("expected", "observed", "sandwich"):
        sd = standard_errors(fit.measure, data, kind=kind, penalty=penalty, theta=BOTH)
        assert (sd[held] == 0.0).all()
        np.testing.assert_allclose(sd[~held], standard_errors(G, narrow, kind=kind, penalty=penalty), rtol=1e-6)


@pytest.mark.parametrize("saturated", [False, True])
def test_one_expert_with_a_column_left_out(saturated):
    x, data, _ = problem(3, k=1)
    size = 1e3 if saturated else 1.0  # the slow method of the M-step
    data = WeightedPoints(size * x, data.weights)
    start = random_start(1, 3, 2, np.random.default_rng(0), size=3, sd=5.0)
    theta = Theta(50.0, 50.0, 50.0, (0.0, 50.0))
    narrow = WeightedPoints(data.points[:, 1:], data.weights)
    best = mle(narrow, random_start(1, 3, 1, np.random.default_rng(0)), theta=Theta.cube(50.0))
    for method in (em, mle):
        result = method(data, theta.clip(start), theta=theta)
        assert (result.measure.b[..., 0] == 0.0).all()
        if method is em:
            np.testing.assert_allclose(result.log_likelihood, best.log_likelihood, rtol=1e-6)


def test_wrong_radii():
    _, data, start = problem(0)
    for radii, match in (([1.0, -1.0], "beta1: expected radii of at least 0"), ([[1.0]], "beta1: expected 1 axes")):
        with pytest.raises(ValueError, match=match):
            Theta(1.0, radii, 1.0, 1.0)
    with pytest.raises(ValueError, match="theta.beta1: expected d = 2 radii, got 3"):
        em(data, start, theta=Theta(10.0, [10.0] * 3, 10.0, 10.0))
    with pytest.raises(ValueError, match="start: expected parameters inside Theta"):
        mle(data, start, theta=GATE)
