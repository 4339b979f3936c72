"""Accelerated EM: the published scheme, monotone, inside Theta, with EM's fixed points, fewer maps, fair counts."""

import numpy as np
import pytest
from problems import random_problem

from logitmoe import (
    MixingMeasure,
    StoppingRule,
    Theta,
    WeightedPoints,
    compress,
    em,
    em_algorithm,
    log_likelihood,
    random_start,
    sample,
)
from logitmoe.compression import FIRST_NODES
from logitmoe.em_algorithm import e_step, m_step
from logitmoe.measure import DEFAULT_THETA
from replication.starts import near_truth

TRUTH = MixingMeasure([1.0, 0.0], [[3.0], [0.0]], [[-1.0, 0.0], [1.0, 0.0]], [[[2.0], [0.0]], [[-1.0], [0.0]]])
# Well conditioned on [-3, 3], and slow for EM on a narrower interval.
CLEAR = MixingMeasure([0.0, 0.0], [[-1.1], [0.0]], [[-3.3, 0.0], [-3.5, 0.0]], [[[-3.5], [0.0]], [[3.3], [0.0]]])


def draw(G, n, seed, low=0.0, high=1.0):
    rng = np.random.default_rng(seed)
    return sample(G, n, rng, covariates=rng.uniform(low, high, (n, G.d)))


def squarem(data, start, stopping, **options):
    return em(data, start, stopping=stopping, acceleration="squarem", **options)


def rule(max_iter):
    """Never met before nothing changes any more."""
    return StoppingRule("absolute", 0.0, max_iter)


def relative_falls(path):
    return (np.diff(path) / np.abs(path[..., :-1])).min()


def test_the_log_likelihood_never_falls_on_random_problems():
    theta = Theta.cube(6.0)
    falls, at_bound, kept, rejected = [], 0, 0, 0
    for seed in range(300):
        data, start, gate = random_problem(177, seed, 2, 4)
        result = squarem(data, theta.clip(start), rule(40), gate=gate, theta=theta, trace="full")
        path = result.trace.log_likelihood
        assert np.isfinite(path).all()
        assert theta.contains(result.trace.measure).all()
        falls.append(relative_falls(path))
        at_bound += int(result.at_bound)
        after_second, after_third = path[2:-1:3], path[3::3]
        kept += np.count_nonzero(after_third > after_second)
        rejected += np.count_nonzero(after_third == after_second)
        assert path[-1] == pytest.approx(log_likelihood(result.measure, data, gate), rel=1e-12)
    assert min(falls) >= -1e-12  # a hundred times stricter than promised: 1e-10
    assert at_bound > 15 and kept > 500 and rejected > 50  # clipping, acceptance and rejection were exercised


@pytest.mark.parametrize("K, k", [(2, 3), (3, 2), (4, 4)])
def test_the_log_likelihood_never_falls_on_compressed_data(K, k):
    rng = np.random.default_rng([2, K])
    truth = random_start(2, K, 1, rng, sd=2.0)
    moments = compress(*draw(truth, 20_000, 1), K, p=48)
    start = near_truth(truth, k, rng, size=30, sd=0.5)
    result = squarem(moments, start, rule(200), trace="log_likelihood")
    assert np.isfinite(result.trace.log_likelihood).all()
    assert relative_falls(result.trace.log_likelihood) >= -1e-12
    assert DEFAULT_THETA.contains(result.measure).all()


def textbook(data, start, theta, cycles):
    """One fit by the published scheme, from the public E- and M-steps alone: log-likelihood after every EM map."""

    def em_map(v):
        G = MixingMeasure.from_vector(v, start.k, start.K, start.d)
        return m_step(e_step(G, data)[0], data, G, theta=theta).to_vector()

    def value(v):
        return float(log_likelihood(MixingMeasure.from_vector(v, start.k, start.K, start.d), data))

    def clip(v):
        return theta.clip(MixingMeasure.from_vector(v, start.k, start.K, start.d)).to_vector()

    x, limit = start.to_vector(), 1.0
    path, lengths = [value(x)], []
    for _ in range(cycles):
        x1 = em_map(x)
        x2 = em_map(x1)
        r, v = x1 - x, x2 - 2 * x1 + x
        alpha = -min(max(np.sqrt(r @ r) / np.sqrt(v @ v), 1.0), limit)
        x3 = em_map(clip(x - 2 * alpha * r + alpha**2 * v))
        if value(x3) >= value(x2):
            limit *= 4 if -alpha == limit else 1
        else:
            x3, limit = x2, max(-alpha / 4, 1.0)
        path += [value(x1), value(x2), value(x3)]
        lengths.append(-alpha)
        x = x3
    return np.array(path), np.array(lengths), x


@pytest.mark.parametrize("K, d, k, radius, rejections", [(2, 1, 3, 10.0, 0), (3, 2, 2, 10.0, 2), (3, 1, 3, 4.0, 0)])
def test_it_is_the_published_scheme(K, d, k, radius, rejections):
    rng = np.random.default_rng([4, K, d])
    theta = Theta.cube(radius)
    truth = random_start(2, K, d, rng, sd=2.0)
    x, y = sample(truth, 300, rng, covariates=rng.uniform(-2.0, 2.0, (300, d)))
    data, start = WeightedPoints.from_labels(x, y, K), theta.clip(random_start(k, K, d, rng)).in_gauge("last")
    path, lengths, end = textbook(data, start, theta, 14)
    result = squarem(data, start, rule(42), theta=theta, trace="log_likelihood")
    np.testing.assert_allclose(result.trace.log_likelihood, path, rtol=1e-9)
    np.testing.assert_allclose(result.measure.to_vector(), end, atol=1e-4)
    assert lengths.max() > 2.0  # it did extrapolate
    assert np.count_nonzero(path[3::3] == path[2:-1:3]) == rejections


def test_the_fixed_point_is_that_of_em():
    moments = compress(*draw(CLEAR, 100_000, 40, -3.0, 3.0), 2, domain=(-3.0, 3.0), p=64)
    start = near_truth(CLEAR, 2, np.random.default_rng(41), size=8, sd=0.3)
    plain = em(moments, start, stopping=rule(3_000))
    fast = squarem(moments, start, rule(3_000))
    assert (plain.reason != "max_iter").all() and (fast.reason != "max_iter").all()
    np.testing.assert_allclose(fast.log_likelihood, plain.log_likelihood, rtol=1e-13)
    assert fast.measure.in_gauge("last").allclose(plain.measure.in_gauge("last"), atol=1e-4)


@pytest.mark.parametrize("width, factor", [(3.0, 2), (2.0, 4)])
def test_fewer_maps_than_em_takes(width, factor):
    """EM maps until 1e-6 nats below the maximum, from every start; the slower EM is, the greater the factor."""
    data = compress(*draw(CLEAR, 20_000, 1, -width, width), 2, domain=(-width, width), p=64).points()
    start = near_truth(CLEAR, 2, np.random.default_rng(2), size=10, sd=0.3)
    plain = em(data, start, stopping=rule(2_000), trace="log_likelihood").trace.log_likelihood
    fast = squarem(data, start, rule(2_000), trace="log_likelihood").trace.log_likelihood
    maximum = max(plain.max(), fast.max())
    needed = [(path < maximum - 1e-6).sum(axis=1) for path in (plain, fast)]
    assert max(needed[0].max(), needed[1].max()) < 2_000  # both arrive
    assert (needed[0] > factor * needed[1]).all()


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 8])
def test_iterations_are_em_maps(limit):
    data = WeightedPoints.from_labels(*draw(TRUTH, 1_000, 50), 2)
    start = near_truth(TRUTH, 3, np.random.default_rng(51), sd=0.5)
    long = squarem(data, start, rule(9), trace="full").trace
    short = squarem(data, start, rule(limit), trace="full")
    assert short.n_iter == limit and short.reason == "max_iter"
    assert short.trace.log_likelihood.shape == (limit + 1,)
    np.testing.assert_array_equal(short.trace.log_likelihood, long.log_likelihood[: limit + 1])
    assert short.measure.allclose(long.measure[limit], atol=0.0)
    values = log_likelihood(short.trace.measure, data)
    np.testing.assert_allclose(short.trace.log_likelihood, values, rtol=1e-13)
    plain = em(data, start, stopping=rule(2), trace="log_likelihood").trace.log_likelihood
    np.testing.assert_array_equal(short.trace.log_likelihood[:3], plain[: limit + 1])  # the first two maps are EM's


@pytest.mark.parametrize("name, tol", [("absolute", 1e-4), ("relative", 1e-7), ("parameters", 1e-2)])
def test_the_stopping_rule_looks_at_whole_cycles(name, tol):
    data = WeightedPoints.from_labels(*draw(TRUTH, 1_000, 50), 2)
    start = near_truth(TRUTH, 3, np.random.default_rng(51), sd=0.5)
    result = squarem(data, start, StoppingRule(name, tol, 3_000), trace="full")
    path, G = result.trace.log_likelihood, result.trace.measure
    assert result.reason == name and result.n_iter % 3 == 0 and result.n_iter > 3
    if name == "parameters":
        v = np.concatenate([u.reshape(len(path), -1) for u in (G.beta0, G.beta1, G.a, G.b)], axis=1)
        change = np.max([np.abs(v[j::3][: len(v[3::3])] - v[:-1:3]).max(axis=1) for j in (1, 2, 3)], axis=0)
        one_map = np.abs(v[1::3] - v[:-1:3]).max(axis=1)
    else:
        scale = np.abs(path[:-1:3]) if name == "relative" else 1.0
        change, one_map = (path[3::3] - path[:-1:3]) / scale, (path[1::3] - path[:-1:3]) / scale
    assert change[-1] <= tol < change[:-1].min()
    assert one_map[-1] <= tol  # where it stops, plain EM would stop


def test_a_cycle_that_returns_towards_its_start_has_not_converged():
    """The first map changes a parameter by 14.9, the whole cycle by 13.7: a tolerance in between is not met."""
    data, start, gate = random_problem(177, 18, 2, 4)
    trace = squarem(data, start, rule(3), gate=gate, trace="full").trace.measure
    change = [max(np.abs(u[t] - u[0]).max() for u in (trace.beta0, trace.beta1, trace.a, trace.b)) for t in (1, 3)]
    assert change[1] < 14.3 < change[0]
    assert squarem(data, start, StoppingRule("parameters", 14.3, 60), gate=gate).n_iter > 3
    assert squarem(data, start, StoppingRule("parameters", 15.0, 60), gate=gate).n_iter == 3


def test_the_result_of_a_loose_rule_is_no_further_from_the_maximum_than_that_of_plain_em():
    moments = compress(*draw(CLEAR, 20_000, 1, -2.0, 2.0), 2, domain=(-2.0, 2.0), p=64)
    start = near_truth(CLEAR, 2, np.random.default_rng(2), size=10, sd=0.3)
    loose = StoppingRule("relative", 1e-6, 2_000)
    plain, fast = em(moments, start, stopping=loose), squarem(moments, start, loose)
    assert (fast.log_likelihood > plain.log_likelihood).all()


def test_batches_equal_single_fits_whatever_the_batch_size(monkeypatch):
    data = WeightedPoints.from_labels(*draw(CLEAR, 500, 20, -3.0, 3.0), 2)
    start = near_truth(CLEAR, 2, np.random.default_rng(9), size=(4, 3), sd=0.5)
    stop = StoppingRule("absolute", 1e-4, 61)
    together = squarem(data, start, stop, trace="full")
    assert len(np.unique(together.n_iter)) > 3  # they leave, and others join, at different times
    for size in (1, 5):
        monkeypatch.setattr(em_algorithm, "CACHE_ELEMENTS", size * 2 * 2 * data.m)
        other = squarem(data, start, stop, trace="full")
        np.testing.assert_array_equal(other.n_iter, together.n_iter)
        np.testing.assert_array_equal(other.reason, together.reason)
        assert other.measure.allclose(together.measure, atol=1e-7)
        np.testing.assert_allclose(other.trace.log_likelihood, together.trace.log_likelihood, rtol=1e-11)
    for index in np.ndindex(4, 3):
        one = squarem(data, start[index], stop)
        assert one.n_iter == together.n_iter[index]
        assert one.measure.allclose(together.measure[index], atol=1e-7)


def test_degenerate_fits_stay_finite_and_stop():
    x = np.linspace(0.0, 1.0, 200)
    separated = WeightedPoints.from_labels(x, np.where(x < 0.5, 1, 2), 2)
    theta = Theta.cube(30.0)
    start = random_start(2, 2, 1, np.random.default_rng(72), size=4, theta=theta)
    result = squarem(separated, start, StoppingRule("absolute", 1e-8, 3_000), theta=theta, trace="log_likelihood")
    assert np.isfinite(result.trace.log_likelihood).all() and (np.diff(result.trace.log_likelihood) >= -1e-10).all()
    assert result.at_bound.all() and theta.contains(result.measure).all()

    data = WeightedPoints.from_labels(*draw(TRUTH, 300, 73), 2)
    assert squarem(data, TRUTH.split(0, 0.5), rule(30)).duplicate_atoms
    one = squarem(data, MixingMeasure([0.3], [[0.2]], [[0.0, 0.0]], [[[0.0], [0.0]]]), rule(60))
    assert one.converged and one.measure.beta0[0] == 0.3
    again = squarem(data, one.measure, rule(60))  # from a fixed point: both differences are zero
    assert again.converged and again.measure.allclose(one.measure, atol=1e-9)


def test_the_reference_stays_where_the_start_has_it():
    data = WeightedPoints.from_labels(*draw(TRUTH, 500, 74), 2)
    start = near_truth(TRUTH, 3, np.random.default_rng(75), sd=0.5).translate(0.7, [-1.3])
    G = squarem(data, start, rule(60)).measure
    assert G.beta0[-1] == start.beta0[-1] and G.beta1[-1] == start.beta1[-1]
    assert (G.a[:, -1] == 0).all() and (G.b[:, -1] == 0).all()


def test_compressed_fits_on_the_first_order_are_accelerated():
    moments = compress(*draw(TRUTH, 20_000, 6), 2, p=32)
    start = near_truth(TRUTH, 2, np.random.default_rng(7), sd=0.3)
    result = squarem(moments, start, rule(30))
    assert result.nodes <= FIRST_NODES
    direct = squarem(moments.points(int(result.nodes)), start, rule(30))
    assert result.log_likelihood == direct.log_likelihood
    assert em(moments, start, stopping=rule(30)).log_likelihood < direct.log_likelihood


def test_fits_run_again_on_more_nodes_are_accelerated_too():
    steep = MixingMeasure([0.0, 0.0], [[9.0], [0.0]], [[-9.0, 0.0], [9.0, 0.0]], [[[10.0], [0]], [[-10.0], [0]]])
    moments = compress(*draw(steep, 20_000, 6), 2, p=96)
    result = squarem(moments, steep, rule(9))
    assert result.nodes > FIRST_NODES
    direct = squarem(moments.points(int(result.nodes)), steep, rule(9))
    assert result.log_likelihood == direct.log_likelihood
    assert result.log_likelihood > em(moments, steep, stopping=rule(9)).log_likelihood


def test_points_and_moments_are_accelerated():
    x, y = draw(CLEAR, 6_000, 80, -3.0, 3.0)
    start = random_start(2, 2, 1, np.random.default_rng(81), size=3, sd=2.0)
    stop = StoppingRule("absolute", 1e-6, 3_000)
    for data in (WeightedPoints.from_labels(x, y), compress(x, y, 2, domain=(-3.0, 3.0), p=128)):
        plain = em(data, start, stopping=stop).best()
        fast = em(data, start, stopping=stop, acceleration="squarem").best()
        assert fast.n_iter < plain.n_iter and fast.n_iter % 3 == 0
        assert fast.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-8)


@pytest.mark.parametrize("value", ["SQUAREM", "aitken", True, 3])
def test_unknown_accelerations_are_refused(value):
    data = WeightedPoints.from_labels([0.1, 0.4, 0.6, 0.9], [1, 2, 1, 2], 2)
    with pytest.raises(ValueError, match="acceleration: expected None or 'squarem', got"):
        em(data, TRUTH, acceleration=value)
