"""EM: monotone, exact against a naive reference, invariant, batched, and clear about what happened."""

import re
import tracemalloc

import numpy as np
import pytest
from problems import random_problem
from scipy.optimize import minimize

from logitmoe import (
    ChebyshevMoments,
    MixingMeasure,
    StoppingRule,
    Theta,
    WeightedPoints,
    compress,
    em,
    em_algorithm,
    fit,
    log_likelihood,
    random_start,
    sample,
)
from logitmoe.em_algorithm import EMResult, e_step, m_step
from logitmoe.gates import as_gate
from replication.starts import cells_in_turn, near_truth, random_cells

TRUTH = MixingMeasure([1.0, 0.0], [[3.0], [0.0]], [[-1.0, 0.0], [1.0, 0.0]], [[[2.0], [0.0]], [[-1.0], [0.0]]])
# Well conditioned: on [-3, 3] its Fisher information is far from singular.
CLEAR = MixingMeasure([0.0, 0.0], [[-1.1], [0.0]], [[-3.3, 0.0], [-3.5, 0.0]], [[[-3.5], [0.0]], [[3.3], [0.0]]])
NEVER = StoppingRule("absolute", 0.0, 50)


def draw(G, n, seed, low=0.0, high=1.0, gate="identity"):
    rng = np.random.default_rng(seed)
    x = rng.uniform(low, high, (n, G.d))
    return sample(G, n, rng, covariates=x, gate=gate)


def test_the_log_likelihood_never_falls_on_a_thousand_random_problems():
    theta = Theta.cube(10.0)
    falls, at_bound = [], 0
    for seed in range(1000):
        data, start, gate = random_problem(77, seed, 3, 5)
        result = em(
            data,
            start,
            gate=gate,
            theta=theta,
            stopping=StoppingRule("absolute", 0.0, 25),
            trace="log_likelihood",
        )
        path = result.trace.log_likelihood
        assert np.isfinite(path).all()
        assert theta.contains(result.measure)
        falls.append((np.diff(path) / np.abs(path[:-1])).min())
        at_bound += int(result.at_bound)
        assert path[-1] == pytest.approx(log_likelihood(result.measure, data, gate), rel=1e-12)
    assert min(falls) >= -1e-12  # ten times stricter than promised: 1e-10
    assert at_bound > 50  # small samples do run to the bound: the projection was exercised


def test_the_log_likelihood_never_falls_on_compressed_data():
    x, y = draw(TRUTH, 20_000, 1)
    moments = compress(x, y, 2, p=32)
    rng = np.random.default_rng(2)
    start = near_truth(TRUTH, 4, rng, size=50, sd=0.5)
    path = em(moments, start, stopping=StoppingRule("absolute", 0.0, 200), trace="log_likelihood").trace.log_likelihood
    assert path.shape == (50, 201)
    assert (np.diff(path) / np.abs(path[:, :-1])).min() >= -1e-12


def exact_m_step(responsibilities, data, gate, k):
    """M-step by a general-purpose optimiser: gate and experts as explicit objectives over unstructured vectors."""
    K, m = data.weights.shape
    x = data.points
    design, gate_design = np.c_[np.ones(m), x], np.c_[np.ones(m), gate(x)]

    def logit(targets, design):
        C, q = targets.shape[0], design.shape[1]

        def negative(v):
            logits = np.vstack([v.reshape(C - 1, q) @ design.T, np.zeros(m)])
            top = logits.max(axis=0)
            e = np.exp(logits - top)
            total = e.sum(axis=0)
            value = -(targets * (logits - top - np.log(total))).sum()
            slope = (targets.sum(axis=0) * e / total - targets)[:-1] @ design
            return value, slope.ravel()

        v = minimize(negative, np.zeros((C - 1) * q), jac=True, method="BFGS", options={"gtol": 1e-9}).x
        return np.vstack([v.reshape(C - 1, q), np.zeros(q)])

    weighted = responsibilities * data.weights
    gates = logit(weighted.sum(axis=1), gate_design)
    experts = np.stack([logit(weighted[i], design) for i in range(k)])
    return MixingMeasure(gates[:, 0], gates[:, 1:], experts[..., 0], experts[..., 1:])


@pytest.mark.parametrize("gate", ["identity", "tanh"])
def test_a_trajectory_agrees_with_a_general_purpose_optimiser_in_every_m_step(gate):
    rng = np.random.default_rng(5)
    truth = random_start(3, 3, 2, rng, sd=2.0)
    x, y = sample(truth, 400, rng, covariates=rng.uniform(-2.0, 2.0, (400, 2)), gate=gate)
    data = WeightedPoints.from_labels(x, y, 3)
    start = random_start(3, 3, 2, rng)
    theta = Theta.cube(50.0)
    trace = em(data, start, gate=gate, theta=theta, stopping=StoppingRule("absolute", 0.0, 8), trace="full").trace
    G, values = start, [float(log_likelihood(start, data, gate))]
    for _ in range(8):
        responsibilities, _ = e_step(G, data, gate)
        G = exact_m_step(responsibilities, data, as_gate(gate), 3)
        values.append(float(log_likelihood(G, data, gate)))
    np.testing.assert_allclose(trace.log_likelihood, values, rtol=1e-8)
    assert trace.measure[8].allclose(G, atol=1e-3)


def test_raw_and_compressed_trajectories_agree():
    x, y = draw(TRUTH, 30_000, 3)
    start = near_truth(TRUTH, 3, np.random.default_rng(4), sd=0.3)
    raw = em(WeightedPoints.from_labels(x, y, 2), start, stopping=NEVER, trace="full")
    fast = em(compress(x, y, 2, p=48), start, stopping=NEVER, trace="full")
    assert raw.n_iter == fast.n_iter == 50
    np.testing.assert_allclose(fast.trace.log_likelihood, raw.trace.log_likelihood, rtol=1e-9)
    assert raw.trace.measure.allclose(fast.trace.measure, atol=1e-6)
    assert fast.log_likelihood == pytest.approx(
        log_likelihood(fast.measure, WeightedPoints.from_labels(x, y, 2)), rel=1e-10
    )


def test_compressed_fits_get_the_order_they_need():
    """Steep experts need more than the first order; shallow ones do not.  Each result is the one of its own order."""
    steep = MixingMeasure([0.0, 0.0], [[9.0], [0.0]], [[-9.0, 0.0], [9.0, 0.0]], [[[10.0], [0]], [[-10.0], [0]]])
    x, y = draw(steep, 20_000, 6)
    moments = compress(x, y, 2, p=96)
    start = MixingMeasure.stack([steep, TRUTH])
    result = em(moments, start, stopping=StoppingRule("absolute", 0.0, 3))
    assert (result.compression_error <= 1e-9).all()
    assert result.nodes[0] > 32
    raw = log_likelihood(result.measure, WeightedPoints.from_labels(x, y, 2))
    np.testing.assert_allclose(result.log_likelihood, raw, rtol=2e-9)
    alone = em(moments, start[0], stopping=StoppingRule("absolute", 0.0, 3))
    assert alone.measure.allclose(result.measure[0], atol=1e-12)


def test_batches_equal_single_fits_whatever_the_batch_size(monkeypatch):
    data = WeightedPoints.from_labels(*draw(TRUTH, 500, 20), 2)
    start = near_truth(TRUTH, 3, np.random.default_rng(9), size=(4, 3), sd=0.5)
    rule = StoppingRule("relative", 3e-4, 60)
    together = em(data, start, stopping=rule, trace="full")
    assert together.log_likelihood.shape == (4, 3)
    assert len(np.unique(together.n_iter)) > 3  # they do leave at different times
    for size in (1, 5):
        monkeypatch.setattr(em_algorithm, "CACHE_ELEMENTS", size * 2 * 3 * data.m)
        other = em(data, start, stopping=rule, trace="full")
        np.testing.assert_array_equal(other.n_iter, together.n_iter)
        np.testing.assert_array_equal(other.reason, together.reason)
        assert other.measure.allclose(together.measure, atol=1e-9)
        np.testing.assert_allclose(other.trace.log_likelihood, together.trace.log_likelihood, rtol=1e-12)
    one = em(data, start[2, 1], stopping=rule)
    assert one.measure.allclose(together.measure[2, 1], atol=1e-9)
    assert one.n_iter == together.n_iter[2, 1]


def test_weights_and_starts_broadcast():
    samples = [compress(*draw(TRUTH, 2_000, seed), 2, p=32) for seed in range(3)]
    moments = ChebyshevMoments.stack(samples)
    start = near_truth(TRUTH, 2, np.random.default_rng(1), sd=0.2)
    result = em(moments, start, stopping=NEVER)
    assert result.log_likelihood.shape == (3,)
    for i, single in enumerate(samples):
        assert result.measure[i].allclose(em(single, start, stopping=NEVER).measure, atol=1e-9)


def test_permutation_translation_and_class_relabelling():
    data = WeightedPoints.from_labels(*draw(TRUTH, 800, 30), 2)
    start = near_truth(TRUTH, 3, np.random.default_rng(31), sd=0.5)
    base = em(data, start, stopping=NEVER)

    order = [2, 0, 1]
    permuted = em(data, start.permute(order), stopping=NEVER)
    assert permuted.log_likelihood == pytest.approx(base.log_likelihood, rel=1e-12)
    assert permuted.measure.in_gauge("last").allclose(base.measure.permute(order).in_gauge("last"), atol=1e-8)

    translated = em(data, start.translate(0.7, [-1.3]), stopping=NEVER)
    assert translated.log_likelihood == pytest.approx(base.log_likelihood, rel=1e-12)
    assert translated.measure.allclose(base.measure.translate(0.7, [-1.3]), atol=1e-8)

    swapped = WeightedPoints(data.points, data.weights[::-1])
    relabelled = em(swapped, start.relabel_classes([1, 0]).canonical(), stopping=NEVER)
    assert relabelled.log_likelihood == pytest.approx(base.log_likelihood, rel=1e-12)
    assert relabelled.measure.allclose(base.measure.relabel_classes([1, 0]).canonical(), atol=1e-8)


def test_known_parameters_are_recovered():
    """Within four standard errors: n = 200,000 on a design where sqrt(n) times the worst standard error is about 20."""
    x, y = draw(CLEAR, 200_000, 40, -3.0, 3.0)
    moments = compress(x, y, 2, domain=(-3.0, 3.0), p=96)
    start = random_start(2, 2, 1, np.random.default_rng(41), size=20, sd=2.0)
    best = em(moments, start, stopping=StoppingRule("absolute", 1e-9, 20_000)).best()
    assert best.reason == "absolute"
    fitted = min(
        (best.measure.permute(order).in_gauge("last") for order in ([0, 1], [1, 0])),
        key=lambda G: np.abs(G.to_vector() - CLEAR.to_vector()).max(),
    )
    np.testing.assert_allclose(fitted.to_vector(), CLEAR.to_vector(), atol=4 * 20 / np.sqrt(200_000))


def test_a_converged_fit_is_a_stationary_point():
    x, y = draw(CLEAR, 5_000, 42, -3.0, 3.0)
    data = WeightedPoints.from_labels(x, y, 2)
    result = em(data, CLEAR, stopping=StoppingRule("absolute", 1e-10, 20_000))
    v = result.measure.to_vector()
    step = 1e-5
    slopes = [
        (
            log_likelihood(MixingMeasure.from_vector(v + e, 2, 2, 1), data)
            - log_likelihood(MixingMeasure.from_vector(v - e, 2, 2, 1), data)
        )
        / (2 * step)
        for e in step * np.eye(len(v))
    ]
    assert np.abs(slopes).max() < 1e-2  # against curvatures of thousands
    assert result.log_likelihood > log_likelihood(CLEAR, data)


@pytest.mark.parametrize("name", ["absolute", "relative", "parameters"])
def test_stopping_rules_stop_where_they_say(name):
    data = WeightedPoints.from_labels(*draw(TRUTH, 1_000, 50), 2)
    start = near_truth(TRUTH, 3, np.random.default_rng(51), sd=0.5)
    tol = {"absolute": 1e-2, "relative": 1e-5, "parameters": 1e-2}[name]
    result = em(data, start, stopping=StoppingRule(name, tol, 500), trace="full")
    path, G = result.trace.log_likelihood, result.trace.measure
    if name == "parameters":
        change = np.max(
            [np.abs(np.diff(v, axis=0)).reshape(len(path) - 1, -1).max(axis=1) for v in (G.beta0, G.beta1, G.a, G.b)],
            axis=0,
        )
    else:
        change = np.abs(np.diff(path)) / (np.abs(path[:-1]) if name == "relative" else 1.0)
    assert result.reason == name
    assert bool(result.converged)
    assert result.n_iter == len(change) > 1
    assert change[-1] <= tol < change[:-1].min()


def test_max_iter_is_a_reason_and_not_convergence():
    data = WeightedPoints.from_labels(*draw(TRUTH, 500, 52), 2)
    result = em(data, TRUTH, stopping=StoppingRule("absolute", 1e-12, 3))
    assert result.reason == "max_iter" and not result.converged and result.n_iter == 3
    assert "max_iter" in result.summary()


def test_the_best_of_several_starts():
    data = WeightedPoints.from_labels(*draw(CLEAR, 1_000, 60, -3.0, 3.0), 2)
    start = random_start(2, 2, 1, np.random.default_rng(61), size=(3, 5), sd=2.0)
    result = em(data, start, trace="full")
    best = result.best(axis=1)
    assert best.log_likelihood.shape == (3,)
    np.testing.assert_array_equal(best.log_likelihood, result.log_likelihood.max(axis=1))
    row = result.log_likelihood[2].argmax()
    assert best.measure[2].allclose(result.measure[2, row], atol=0.0)
    assert best.trace.log_likelihood.shape[0] == 3
    np.testing.assert_array_equal(best[2].trace.log_likelihood, result.trace.log_likelihood[2, row])
    assert best.n_starts == 5
    np.testing.assert_array_equal(
        best.n_agree, [sum(value >= row.max() - 0.1 for value in row) for row in result.log_likelihood]
    )
    assert best[1].n_agree == best.n_agree[1] and result.n_agree is None and "starts" not in result.summary()
    top = best.best(axis=0)
    assert top.n_starts == 3
    assert top.log_likelihood == result.log_likelihood.max()
    with pytest.raises(ValueError, match="axis: expected one of the 0 batch axes"):
        top.best()


def test_a_class_without_a_sample():
    x, y = draw(TRUTH, 300, 70)
    data = WeightedPoints.from_labels(x, y, 3)  # nothing of class 3
    rng = np.random.default_rng(71)
    result = em(data, random_start(2, 3, 1, rng), stopping=StoppingRule("relative", 1e-9, 500))
    assert np.isfinite(result.log_likelihood)
    np.testing.assert_array_equal(result.missing_classes, [False, False, True])
    assert "no sample of class 3" in result.summary()
    assert result.at_bound  # the intercepts against class 3 run to the bound
    assert "1 on the boundary of Theta(beta0=10.0" in result.summary()
    assert "widen theta, scale x to order one, or fit fewer experts" in result.summary()


def test_perfectly_separated_data():
    x = np.linspace(0.0, 1.0, 200)
    data = WeightedPoints.from_labels(x, np.where(x < 0.5, 1, 2), 2)
    theta = Theta.cube(30.0)
    start = random_start(2, 2, 1, np.random.default_rng(72), size=4, theta=theta)
    result = em(data, start, theta=theta, stopping=StoppingRule("absolute", 1e-8, 5_000), trace="log_likelihood")
    assert np.isfinite(result.trace.log_likelihood).all()
    assert result.at_bound.all()
    assert theta.contains(result.measure).all()
    assert (np.diff(result.trace.log_likelihood) >= -1e-10).all()


def test_summary_names_the_parameters_on_the_boundary():
    data = WeightedPoints.from_labels(*draw(TRUTH, 300, 76), 2)
    theta, start = Theta(10.0, 10.0, 10.0, 0.75), MixingMeasure([0.0], [[0.0]], [[0.0, 0.0]], [[[0.0], [0.0]]])
    one = em(data, start, theta=theta, stopping=StoppingRule("absolute", 1e-9, 500))
    assert abs(one.measure.b[0, 0, 0]) == 0.75 and one.at_bound
    line = "1 on the boundary of Theta(beta0=10.0, beta1=10.0, a=10.0, b=0.75), in b[1,1,1]:\n  widen theta"
    assert line in one.summary()
    # Of a batch, only the fits that are on the boundary are named, and not more than six parameters.
    free = em(data, start, stopping=one.stopping)
    assert not free.at_bound and "boundary" not in free.summary()
    tight = Theta.cube(1e-3)
    start = random_start(4, 2, 1, np.random.default_rng(77), size=2, theta=tight)
    text = em(data, start, theta=tight).summary()
    assert re.search(r"2 on the boundary of .*, in (\S+, ){5}\S+ and \d+ more:\n", text)


def test_duplicate_atoms_stay_duplicate_and_are_reported():
    data = WeightedPoints.from_labels(*draw(TRUTH, 300, 73), 2)
    start = TRUTH.split(0, 0.5)
    result = em(data, start, stopping=StoppingRule("absolute", 1e-6, 200))
    assert np.isfinite(result.log_likelihood)
    assert result.duplicate_atoms and "duplicate atoms" in result.summary()
    assert not em(data, TRUTH).duplicate_atoms
    assert result.log_likelihood == pytest.approx(em(data, TRUTH, stopping=result.stopping).log_likelihood, rel=1e-9)


def test_extreme_parameters_stay_finite():
    theta = Theta.cube(700.0)
    x, y = draw(TRUTH, 200, 74)
    data = WeightedPoints.from_labels(x, y, 2)
    start = MixingMeasure(
        [700.0, 0.0, -700.0],
        [[-700.0], [0.0], [700.0]],
        [[700.0, 0], [-700.0, 0], [0.0, 0]],
        [[[-700.0], [0]], [[700.0], [0]], [[0.0], [0]]],
    )
    result = em(data, start, theta=theta, stopping=StoppingRule("absolute", 1e-3, 50), trace="log_likelihood")
    path = result.trace.log_likelihood
    assert np.isfinite(path).all() and (np.diff(path) >= -1e-12 * np.abs(path[:-1])).all()


def test_the_best_says_whether_the_starts_agree():
    x, y = draw(CLEAR, 400, 62, -3.0, 3.0)
    data, none = WeightedPoints.from_labels(x, y), np.random.default_rng(63)
    one = em(data, random_start(1, 2, 1, none, size=6)).best()  # concave: one maximum
    assert one.n_starts == one.n_agree == 6
    assert "starts: 6; within 0.1 nats of the best: 6, itself included" in one.summary()
    assert one.summary().startswith("1 fit, 1 expert, 2 classes, fitted to the points\n")
    # Nearly no step, far from each other: they do not agree.
    start = random_start(2, 2, 1, np.random.default_rng(63), size=6, sd=2.0)
    two = em(WeightedPoints.from_labels(x, y), start, stopping=StoppingRule("absolute", 1e-9, 1)).best()
    assert two.n_agree < 6
    assert f"starts: 6; within 0.1 nats of the best: {two.n_agree}, itself included" in two.summary()


def test_one_expert_is_a_multinomial_logit():
    x, y = draw(TRUTH, 2_000, 75)
    data = WeightedPoints.from_labels(x, y, 2)
    start = MixingMeasure([0.3], [[0.2]], [[0.0, 0.0]], [[[0.0], [0.0]]])
    result = em(data, start, stopping=StoppingRule("absolute", 1e-10, 50))

    def negative(v):
        logit = v[0] + v[1] * x[:, 0]
        return np.logaddexp(0.0, np.where(y == 1, -logit, logit)).sum()

    v = minimize(negative, np.zeros(2), method="BFGS", options={"gtol": 1e-6}).x
    np.testing.assert_allclose([result.measure.a[0, 0], result.measure.b[0, 0, 0]], v, atol=1e-5)
    assert result.measure.beta0[0] == 0.3


def test_e_and_m_step_by_hand():
    data = WeightedPoints.from_labels(*draw(TRUTH, 400, 76), 2)
    start = near_truth(TRUTH, 2, np.random.default_rng(77), sd=0.3)
    r, before = e_step(start, data)
    assert r.shape == (2, 2, 400)
    np.testing.assert_allclose(r.sum(axis=0), 1.0, rtol=1e-13)
    G = m_step(r, data, start)
    _, after = e_step(G, data)
    assert after > before
    path = em(data, start, stopping=StoppingRule("absolute", 0.0, 1), trace="log_likelihood").trace.log_likelihood
    np.testing.assert_allclose(path, [before, after], rtol=1e-13)


# Starts


def test_cells_in_turn():
    assert cells_in_turn(3, 2, 4).tolist() == [[0, 0, 1], [0, 1, 1]] * 2
    assert cells_in_turn(5, 3, 2).tolist() == [[0, 0, 1, 1, 2], [0, 1, 1, 2, 2]]
    assert cells_in_turn(2, 2, 1).tolist() == [[0, 1]] and cells_in_turn(3, 2, 0).shape == (0, 3)
    with pytest.raises(ValueError, match="k: expected at least k_true = 3"):
        cells_in_turn(2, 3, 1)
    with pytest.raises(ValueError, match="count"):
        cells_in_turn(3, 2, -1)


def test_random_cells_hit_every_cell_uniformly():
    cells = random_cells(3, 2, np.random.default_rng(0), size=60_000)
    assert all((cells == j).any(axis=1).all() for j in (0, 1))
    _, counts = np.unique(cells, axis=0, return_counts=True)
    assert len(counts) == 6  # the surjections of three atoms onto two cells
    assert np.abs(counts / 1e4 - 1.0).max() < 0.05
    np.testing.assert_array_equal(random_cells(2, 1, np.random.default_rng(0)), [0, 0])


@pytest.mark.parametrize("split", [False, True])
def test_near_truth_centres_on_the_truth(split):
    start = near_truth(TRUTH, 3, np.random.default_rng(1), size=(100, 10), sd=0.0, split_mass=split)
    near = np.abs(start.b[..., 0, 0][..., None] - TRUTH.b[:, 0, 0]).argmin(axis=-1)
    masses = np.stack([(start.mass * (near == j)).sum(axis=-1) for j in (0, 1)], axis=-1)
    whole = np.exp([1.0, 0.0])
    if split:
        np.testing.assert_allclose(masses, np.broadcast_to(whole, masses.shape), rtol=1e-12)
    else:
        np.testing.assert_allclose(np.log(start.mass), np.log(whole)[near], atol=1e-12)
        assert (masses > whole * 1.5).any()
    spread = near_truth(TRUTH, 2, np.random.default_rng(1), size=20_000, sd=0.05)
    assert spread.a[..., 0].std() == pytest.approx(np.sqrt(0.05**2 + 1.0), rel=0.01)
    assert (spread.a[..., 1] == 0).all() and (spread.b[..., 1, :] == 0).all()


def test_near_truth_takes_the_cells_that_are_given():
    cells = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1]])
    start = near_truth(TRUTH, 3, np.random.default_rng(1), size=(5, 3), sd=0.0, split_mass=True, cells=cells)
    for i, j in np.ndindex(5, 3):
        G, cell = start[i, j], cells[j]
        for name in ("beta1", "a", "b"):
            np.testing.assert_array_equal(getattr(G, name), getattr(TRUTH, name)[cell])
        for true in (0, 1):
            assert G.mass[cell == true].sum() == pytest.approx(TRUTH.mass[true], rel=1e-14)
    whole = near_truth(TRUTH, 2, np.random.default_rng(1), size=2, sd=0.0, cells=[1, 1])  # cells may stay empty
    np.testing.assert_array_equal(whole.a, np.broadcast_to(TRUTH.a[1], (2, 2, 2)))
    # The cells take nothing from the random stream; the noise about them is the same.
    noisy = [near_truth(TRUTH, 2, np.random.default_rng(3), sd=0.1, cells=c) for c in ([0, 1], [1, 1])]
    shift = [G.a[1, 0] - TRUTH.a[1, 0] for G in noisy]
    assert shift[0] == pytest.approx(shift[1], abs=1e-15) and shift[0] != 0.0


@pytest.mark.parametrize(
    "cells, match",
    [
        ([0, 2, 1], "integers from 0 to 1"),
        ([-1, 0, 1], "integers from 0 to 1"),
        ([0.0, 1.0, 1.0], "integers from 0 to 1"),
        ([], "integers from 0 to 1"),
        ([0, 1], r"broadcasts to \(4, 3\)"),
        (np.zeros((3, 3), dtype=int), r"broadcasts to \(4, 3\)"),
    ],
)
def test_near_truth_refuses_other_cells(cells, match):
    with pytest.raises(ValueError, match="cells: expected .*" + match):
        near_truth(TRUTH, 3, np.random.default_rng(0), size=4, cells=cells)


def test_starts_are_held_to_theta_and_reproducible():
    theta = Theta.cube(4.0)
    start = near_truth(TRUTH, 3, np.random.default_rng(2), size=200, sd=3.0, theta=theta)
    assert theta.contains(start).all() and theta.touches(start).any()
    wide = random_start(3, 3, 2, np.random.default_rng(3), size=10, sd=9.0, theta=theta)
    assert theta.contains(wide).all()
    again = random_start(3, 3, 2, np.random.default_rng(3), size=10, sd=9.0, theta=theta)
    assert again.allclose(wide, atol=0.0)


def test_raw_and_compressed():
    x, y = draw(CLEAR, 6_000, 80, -3.0, 3.0)
    start = random_start(2, 2, 1, np.random.default_rng(81), size=4)
    moments = compress(x, y, 2, domain=(float(x.min()), float(x.max())), p=256)
    results = [em(data, start).best() for data in (WeightedPoints.from_labels(x, y), moments)]
    assert all(isinstance(r, EMResult) and r.log_likelihood.shape == () for r in results)
    assert results[0].nodes is None and results[1].nodes is not None
    assert results[0].log_likelihood == pytest.approx(results[1].log_likelihood, rel=1e-8)
    assert "2 classes, fitted to the points\n" in results[0].summary()
    assert f"2 classes, fitted on {results[1].nodes} Chebyshev nodes\n" in results[1].summary()


def test_too_few_nodes_are_said():
    x, y = draw(CLEAR, 6_000, 84, -8.0, 8.0)  # on this interval its slopes need hundreds of nodes
    rule = StoppingRule("absolute", 1e-6, 10)
    start = random_start(2, 2, 1, np.random.default_rng(85), size=4)
    few = em(compress(x, y, 2, domain=(float(x.min()), float(x.max())), p=32), start, stopping=rule).best()
    assert "fitted on 32 Chebyshev nodes\n" in few.summary()  # as asked for, but it says so
    assert "1 with an estimated relative compression error up to" in few.summary()


# Bad input


DATA = WeightedPoints.from_labels([0.1, 0.4, 0.6, 0.9], [1, 2, 1, 2], 2)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(data="x"), TypeError, "data: expected WeightedPoints"),
        (dict(start=3.0), TypeError, "start: expected a MixingMeasure"),
        (dict(start=TRUTH.translate(20.0)), ValueError, "start: expected parameters inside"),
        (dict(theta=10.0), TypeError, "theta: expected a Theta"),
        (dict(gate="relu"), ValueError, "gate"),
        (dict(gate="log_abs", data=WeightedPoints.from_labels([0.0, 0.5], [1, 2], 2)), ValueError, "log_abs"),
        (dict(trace=True), ValueError, "trace: expected None"),
        (dict(penalty=0.1), TypeError, "penalty: expected a Ridge"),
        (
            dict(start=random_start(2, 3, 1, np.random.default_rng(0))),
            ValueError,
            "start: expected K = 2 classes",
        ),
        (
            dict(start=random_start(2, 2, 2, np.random.default_rng(0))),
            ValueError,
            "start: expected d = 1 covariates",
        ),
        (dict(start=MixingMeasure([0.0], [[0.0]], [[0.0, 1.0]], [[[0.0], [0.0]]])), ValueError, "reference"),
    ],
)
def test_bad_input_to_em(change, error, message):
    arguments = {"data": DATA, "start": TRUTH} | change
    with pytest.raises(error, match=message):
        em(arguments.pop("data"), arguments.pop("start"), **arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("change", 1e-6), "name: expected 'absolute'"),
        (("absolute", -1.0), "tol: expected a number >= 0"),
        (("absolute", np.nan), "tol"),
        (("absolute", 1e-6, 0), "max_iter"),
    ],
)
def test_bad_stopping_rules(arguments, message):
    with pytest.raises(ValueError, match=message):
        StoppingRule(*arguments)


def test_bad_responsibilities():
    with pytest.raises(ValueError, match="responsibilities: expected shape"):
        m_step(np.full((3, 2, 4), 1 / 3), DATA, TRUTH)


def test_bad_starts():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="k: expected at least k_true = 2"):
        near_truth(TRUTH, 1, rng)
    with pytest.raises(ValueError, match="sd: expected a standard deviation"):
        near_truth(TRUTH, 3, rng, sd=-0.1)
    with pytest.raises(ValueError, match="truth: expected parameters inside"):
        near_truth(TRUTH, 3, rng, theta=Theta.cube(2.0))
    with pytest.raises(TypeError, match="rng"):
        near_truth(TRUTH, 3, 0)
    with pytest.raises(ValueError, match="^k: "):
        random_start(0, 2, 1, rng)
    with pytest.raises(ValueError, match="^y: expected 3 labels, one for each row of x, got 2; drop or add samples"):
        fit([0.1, 0.2, 0.3], [1, 2], 2, rng=rng)
    with pytest.raises(ValueError, match="^K: expected an integer of at least 2, got 1; "):  # not the labels
        WeightedPoints.from_labels([0.1, 0.2, 0.3], [1, 2, 1], K=1)


def test_eight_thousand_fits_need_little_memory():
    moments = compress(*draw(TRUTH, 5_000, 90), 2, p=32)
    start = near_truth(TRUTH, 3, np.random.default_rng(91), size=8_000)
    tracemalloc.start()
    result = em(moments, start, stopping=StoppingRule("absolute", 0.0, 3))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.log_likelihood.shape == (8_000,)
    assert peak < 2**28  # a quarter of the 1 GiB that is promised
