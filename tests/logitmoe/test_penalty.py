"""The ridge penalty: what it is, that EM and Newton's method maximise the likelihood less it, and what it brings."""

from dataclasses import replace

import numpy as np
import pytest
from problems import random_problem
from scipy.optimize import minimize

from logitmoe import (
    MixingMeasure,
    Ridge,
    StoppingRule,
    Theta,
    WeightedPoints,
    density,
    em,
    log_likelihood,
    mle,
    random_start,
    sample,
)
from logitmoe.em_algorithm import e_step, m_step
from logitmoe.measure import FIELDS
from logitmoe.model import joint_log_probabilities

PENALTY = Ridge(slopes=0.3, intercepts=0.05)
WIDE = Theta.cube(1e4)


def objective(G, data, gate="identity", penalty=PENALTY):
    return log_likelihood(G, data, gate) - penalty.value(G)


def test_the_value_is_the_formula_one_number_at_a_time():
    G = random_start(3, 4, 2, np.random.default_rng(0), size=2).translate(0.3, -0.2)
    for n in range(2):
        H, total = G[n], 0.0
        for u in range(2):
            total += 0.3 * sum((H.beta1[i, u] - sum(H.beta1[:, u]) / 3) ** 2 for i in range(3))
            total += 0.3 * sum((H.b[i, s, u] - sum(H.b[i, :, u]) / 4) ** 2 for i in range(3) for s in range(4))
        total += 0.05 * sum((H.beta0[i] - sum(H.beta0) / 3) ** 2 for i in range(3))
        total += 0.05 * sum((H.a[i, s] - sum(H.a[i]) / 4) ** 2 for i in range(3) for s in range(4))
        assert PENALTY.value(G)[n] == pytest.approx(total / 2, rel=1e-13)


def test_the_value_depends_on_no_gauge_reference_or_order():
    G = random_start(3, 4, 2, np.random.default_rng(1))
    others = G.translate(2.0, [1.0, -3.0]), G.permute([2, 0, 1]), G.relabel_classes([3, 1, 0, 2]).canonical()
    np.testing.assert_allclose([PENALTY.value(H) for H in others], PENALTY.value(G), rtol=1e-12)
    assert Ridge().value(G) == 0.0 and not Ridge() and PENALTY


@pytest.mark.parametrize("acceleration", [None, "squarem"])
def test_the_penalised_log_likelihood_never_falls(acceleration):
    falls, plain = [], []
    for seed in range(60):
        data, start, gate = random_problem(178, seed, 3, 4)
        start = start.translate(0.5 * (seed % 2), -0.5 * (seed % 2))  # the last gate need not be zero
        theta = Theta.cube(4.0) if seed % 3 == 0 else WIDE
        penalty = Ridge(*10.0 ** np.random.default_rng(seed).uniform(-6.0, 2.0, 2))
        rule, options = StoppingRule("absolute", 0.0, 40), {"gate": gate, "theta": theta, "acceleration": acceleration}
        result = em(data, theta.clip(start), stopping=rule, penalty=penalty, trace="full", **options)
        path = objective(result.trace.measure, data, gate, penalty)
        assert np.isfinite(path).all() and theta.contains(result.trace.measure).all()
        assert result.objective == pytest.approx(path[-1], rel=1e-12)
        falls.append((np.diff(path) / np.abs(path[:-1])).min())
        plain.append(np.diff(result.trace.log_likelihood).min())
    assert min(falls) >= -1e-12
    assert np.count_nonzero(np.array(plain) < -1e-6) > 5  # what rises is not the plain log-likelihood


def test_the_m_step_maximises_the_penalised_surrogate():
    for seed in range(5):
        data, start, gate = random_problem(5, seed, 2, 3)
        start = start.translate(0.4, 0.7)
        r, _ = e_step(start, data, gate)

        def surrogate(v, r=r, data=data, start=start, gate=gate):
            G = MixingMeasure.from_vector(v, start.k, start.K, start.d)
            return PENALTY.value(G) - (data.weights * r * joint_log_probabilities(G, data.points, gate)).sum()

        new = m_step(r, data, start, gate, WIDE, PENALTY)
        found = minimize(surrogate, new.to_vector(), method="BFGS", options={"gtol": 1e-7})
        assert surrogate(new.to_vector()) <= found.fun + 1e-5
        np.testing.assert_array_equal(new.beta0[-1], start.beta0[-1])


@pytest.mark.parametrize("seed", range(8))
def test_newton_ends_at_a_local_maximum_that_is_no_lower_than_ems(seed):
    data, start, gate = random_problem(6, seed, 2, 3)
    start = start.translate(0.4, 0.7)
    options = {"gate": gate, "theta": WIDE, "penalty": PENALTY}
    newton = mle(data, start, **options)
    assert newton.converged and newton.gradient_norm < 1e-6 and newton.smallest_eigenvalue > 0.0
    assert not newton.at_bound and newton.penalty == PENALTY
    assert newton.log_likelihood == pytest.approx(float(log_likelihood(newton.measure, data, gate)), rel=1e-12)
    last = start.beta0[-1], start.beta1[-1]
    np.testing.assert_array_equal(newton.measure.beta0[-1], last[0])

    def negative(v):
        return -objective(MixingMeasure.from_vector(v, start.k, start.K, start.d), data, gate)

    v = newton.measure.to_vector()
    steps = 1e-4 * np.eye(v.size)
    slopes = [(negative(v + s) - negative(v - s)) / 2e-4 for s in steps]
    np.testing.assert_allclose(slopes, 0.0, atol=1e-4)
    by_em = em(data, start, stopping=StoppingRule("absolute", 1e-6), **options)
    again = mle(data, by_em.measure, **options)
    assert again.converged and again.objective >= by_em.objective - 1e-9
    assert again.objective - by_em.objective < 0.1  # EM was on its way to the same place


def separated(k):
    x = np.linspace(-1.0, 1.0, 40)
    return WeightedPoints.from_labels(x, 1 + (x > 0.1) + (x > 0.6), 3), random_start(
        k, 3, 1, np.random.default_rng(1), size=8
    )


@pytest.mark.parametrize("method", [em, mle])
@pytest.mark.parametrize("k", [1, 2])
def test_separated_data_have_a_maximum_inside(method, k):
    data, start = separated(k)
    penalty = Ridge(1e-3, 1e-3)
    theta = penalty.theta(data.total, data.K)
    result = method(data, start, theta=theta, penalty=penalty)
    assert not result.at_bound.any() and (result.converged.all() or method is em)
    assert method(data, start, theta=Theta.cube(100.0)).at_bound.all()  # the control: without a penalty


def test_the_box_of_a_penalty_is_beyond_what_the_likelihood_can_pay_for():
    data, start = separated(2)
    penalty, rng = Ridge(0.02, 0.5), np.random.default_rng(0)
    theta = penalty.theta(data.total, data.K)
    zero = MixingMeasure(*(0.0 * getattr(start[0], name) for name in FIELDS))
    floor = objective(zero, data, penalty=penalty)
    for name in FIELDS:
        for _ in range(50):
            G = random_start(2, 3, 1, rng, sd=5.0)
            arrays = {field: np.array(getattr(G, field)) for field in FIELDS}
            index = (0,) * arrays[name].ndim
            arrays[name][index] = rng.choice([-1.0, 1.0]) * getattr(theta, name)
            H = MixingMeasure(**arrays)
            assert objective(H, data, penalty=penalty) < floor
            assert -penalty.value(H) < floor  # whatever the likelihood
    with pytest.raises(ValueError, match="penalty: expected slopes and intercepts above 0"):
        Ridge(slopes=1.0).theta(100, 2)


@pytest.mark.parametrize("method", [em, mle])
def test_which_class_and_which_atom_is_last_does_not_matter(method):
    rng = np.random.default_rng(4)
    truth = random_start(2, 3, 2, rng, sd=2.0)
    x, y = sample(truth, 300, rng, covariates=rng.normal(size=(300, 2)))
    order = [1, 2, 0]  # class index s of the new labels is order[s] of the old
    y_new = 1 + np.argsort(order)[y - 1]
    data, relabelled = WeightedPoints.from_labels(x, y, 3), WeightedPoints.from_labels(x, y_new, 3)
    options = {"theta": PENALTY.theta(300, 3), "penalty": PENALTY}
    if method is em:
        options["stopping"] = StoppingRule("absolute", 1e-11, 5_000)
    start = random_start(2, 3, 2, rng, size=4)
    moved = start.permute([1, 0]).relabel_classes(order).canonical().in_gauge("last")
    one, two = method(data, start, **options), method(relabelled, moved, **options)
    if method is mle:  # a start's path depends on the coordinates, so it may end at another maximum
        one, two = one.best(), two.best()
    np.testing.assert_allclose(one.objective, two.objective, rtol=1e-10)
    back = two.measure.relabel_classes(np.argsort(order))
    np.testing.assert_allclose(density(back, x), density(one.measure, x), atol=1e-4 if method is em else 1e-7)


@pytest.mark.parametrize("method", [em, mle])
def test_the_best_is_the_one_with_the_highest_objective(method):
    data, start = separated(1)
    likely, modest = (mle(data, start[0], theta=WIDE, penalty=p, max_iter=30) for p in (Ridge(), Ridge(1.0, 1.0)))
    fits = method(data, start[:2], theta=WIDE, penalty=Ridge(1.0, 1.0))
    both = MixingMeasure.stack([likely.measure, modest.measure])
    fits = replace(fits, measure=both, log_likelihood=log_likelihood(both, data))
    assert fits.log_likelihood.argmax() == 0 and fits.objective.argmax() == 1  # so this test can fail
    assert fits.best().objective == fits.objective.max()


@pytest.mark.parametrize("method", [em, mle])
def test_a_penalty_of_zero_changes_no_bit(method):
    data, start, gate = random_problem(7, 3, 2, 3)
    one, two = method(data, start, gate=gate), method(data, start, gate=gate, penalty=Ridge(0.0, 0.0))
    assert one.measure.allclose(two.measure, atol=0.0) and one.objective == one.log_likelihood == two.objective


@pytest.mark.parametrize(
    "arguments, error", [((-1.0,), ValueError), ((np.nan,), ValueError), (("x",), TypeError), ((0.0, -1.0), ValueError)]
)
def test_wrong_weights(arguments, error):
    with pytest.raises(error, match="expected"):
        Ridge(*arguments)
    data, start, _ = random_problem(7, 3, 2, 3)
    with pytest.raises(TypeError, match="penalty: expected a Ridge"):
        mle(data, start, penalty=0.1)
