"""Density, log-likelihood, responsibilities and sampling, against loops and against probability theory."""

import math
from types import SimpleNamespace

import numpy as np
import oracles
import pytest
from scipy import stats

from logitmoe import GATES, MixingMeasure, density, log_likelihood, responsibilities, sample
from logitmoe.gates import power
from logitmoe.model import (
    expert_log_probabilities,
    gate_log_probabilities,
    joint_log_probabilities,
    log_density,
    sample_chunks,
    uniform,
)


def random_measure(seed=0, k=3, K=3, d=2, batch=(), scale=1.5):
    rng = np.random.default_rng(seed)
    return MixingMeasure(*(scale * rng.normal(size=(*batch, *shape)) for shape in ((k,), (k, d), (k, K), (k, K, d))))


def weighted(points, weights):
    return SimpleNamespace(points=points, weights=weights)


def one_hot(x, y, K):
    return weighted(x, (np.arange(1, K + 1)[:, None] == y).astype(float))


@pytest.fixture
def table2():
    """The true measure of Table 2 of the paper."""
    return MixingMeasure([1, 0], [[3], [0]], [[-1, 0], [1, 0]], [[[2], [0]], [[-1], [0]]])


# -- against the loop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("seed", range(3))
def test_density_agrees_with_the_loop(seed, name):
    G = random_measure(seed)
    x = np.random.default_rng(seed + 50).uniform(-2, 2, (40, 2))
    loop = oracles.GATES[name]
    expected = np.transpose([oracles.density(G, point, loop) for point in x])
    np.testing.assert_allclose(density(G, x, name), expected, rtol=1e-13)
    np.testing.assert_allclose(log_density(G, x, GATES[name]), np.log(expected), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        np.exp(gate_log_probabilities(G, x, name)),
        np.transpose([oracles.gate_probabilities(G, point, loop) for point in x]),
        rtol=1e-13,
    )
    np.testing.assert_allclose(
        np.exp(expert_log_probabilities(G, x)),
        np.moveaxis([oracles.expert_probabilities(G, point) for point in x], 0, -1),
        rtol=1e-13,
    )


@pytest.mark.parametrize("k, K, d", [(3, 3, 2), (1, 2, 1), (4, 2, 1), (2, 4, 3), (2, 1, 1)])
@pytest.mark.parametrize("name", ["identity", "tanh"])
def test_log_likelihood_and_responsibilities_agree_with_the_loop(k, K, d, name):
    G = random_measure(k + K + d, k, K, d)
    rng = np.random.default_rng(7)
    x, y = rng.uniform(-2, 2, (60, d)), rng.integers(1, K + 1, 60)
    loop = oracles.GATES[name]
    value = log_likelihood(G, one_hot(x, y, K), name)
    assert value == pytest.approx(oracles.log_likelihood(G, x, y, loop), rel=1e-13, abs=1e-13)
    r = responsibilities(G, x, name)
    assert r.shape == (k, K, 60)
    expected = oracles.responsibilities(G, x, y, loop)
    np.testing.assert_allclose(r[:, y - 1, np.arange(60)].T, expected, rtol=1e-12)


def test_log_likelihood_of_signed_weights(table2):
    x, w = np.array([[0.1], [0.5], [0.9]]), np.array([[1.5, -0.25, 0.0], [2.0, 0.5, -3.0]])
    expected = math.fsum(w[s, m] * math.log(oracles.density(table2, x[m])[s]) for s in range(2) for m in range(3))
    assert log_likelihood(table2, weighted(x, w)) == pytest.approx(expected, rel=1e-14)


def test_surrogate_increases_the_likelihood_by_at_least_as_much():
    # Jensen's inequality ties the oracle's EM surrogate to its log-likelihood, whatever the two measures.
    G, H = random_measure(1), random_measure(2)
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-1, 1, (20, 2)), rng.integers(1, 4, 20)
    gain = oracles.log_likelihood(H, x, y) - oracles.log_likelihood(G, x, y)
    assert gain > oracles.surrogate(H, G, x, y) - oracles.surrogate(G, G, x, y)


def test_one_covariate_may_be_one_axis(table2):
    x = np.linspace(0, 1, 5)
    np.testing.assert_array_equal(log_density(table2, x), log_density(table2, x[:, None]))


def test_gate_may_be_a_callable():
    G, x = random_measure(), np.linspace(-1, 1, 12).reshape(6, 2)
    np.testing.assert_array_equal(log_density(G, x, lambda v: v**3), log_density(G, x, power(3)))
    assert not np.allclose(log_density(G, x, power(3)), log_density(G, x))


# -- batches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2])
def test_batch_equals_loop_over_batch(d):
    G = random_measure(k=2, K=3, d=d, batch=(4, 2))
    rng = np.random.default_rng(5)
    x, weights = rng.uniform(-1, 1, (9, d)), rng.normal(size=(2, 3, 9))
    batched = {
        "gate": gate_log_probabilities(G, x, "sin"),
        "joint": joint_log_probabilities(G, x, "sin"),
        "log": log_density(G, x, "sin"),
        "r": responsibilities(G, x, "sin"),
        "L": log_likelihood(G, weighted(x, weights), "sin"),
    }
    assert batched["joint"].shape == (4, 2, 2, 3, 9) and batched["L"].shape == (4, 2)
    for i in np.ndindex(4, 2):
        single = {
            "gate": gate_log_probabilities(G[i], x, "sin"),
            "joint": joint_log_probabilities(G[i], x, "sin"),
            "log": log_density(G[i], x, "sin"),
            "r": responsibilities(G[i], x, "sin"),
            "L": log_likelihood(G[i], weighted(x, weights[i[1]]), "sin"),
        }
        for name, value in single.items():
            np.testing.assert_allclose(batched[name][i], value, rtol=1e-13, atol=1e-14, err_msg=name)


# -- normalisation and extremes --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_probabilities_sum_to_one(scale):
    G = random_measure(k=4, K=3, d=2, batch=(50,), scale=scale)
    x = np.random.default_rng(6).uniform(-1, 1, (20, 2))
    np.testing.assert_allclose(density(G, x).sum(axis=-2), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(responsibilities(G, x).sum(axis=-3), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.exp(gate_log_probabilities(G, x)).sum(axis=-2), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.exp(expert_log_probabilities(G, x)).sum(axis=-2), 1, rtol=0, atol=1e-14)


def test_logits_of_700_are_exact():
    # Gate (700, -700), experts (700, -700, 0) and (-700, 700, 0): logarithms known to all digits.
    G = MixingMeasure([700, -700], [[0], [0]], [[700, -700, 0], [-700, 700, 0]], np.zeros((2, 3, 1)))
    x = [0.0]
    np.testing.assert_array_equal(gate_log_probabilities(G, x)[:, 0], [0, -1400])
    np.testing.assert_array_equal(expert_log_probabilities(G, x)[..., 0], [[0, -1400, -700], [-1400, 0, -700]])
    np.testing.assert_allclose(log_density(G, x)[:, 0], [0, -1400 + math.log(2), -700], rtol=1e-15, atol=1e-15)
    r = responsibilities(G, x)[..., 0]
    np.testing.assert_allclose(r[:, 1], [0.5, 0.5], rtol=1e-15)
    np.testing.assert_array_equal(r[:, 0], [1, 0])


@pytest.mark.parametrize("seed", range(5))
def test_extreme_logits_stay_finite_and_normalised(seed):
    rng = np.random.default_rng(seed)
    G = MixingMeasure(
        *(700 * rng.choice([-1, 0, 1], size=shape) for shape in ((20, 3), (20, 3, 1), (20, 3, 3), (20, 3, 3, 1)))
    )
    x = np.linspace(-1, 1, 21)
    value = log_density(G, x)
    assert np.isfinite(value).all() and value.max() <= 1e-15
    np.testing.assert_allclose(density(G, x).sum(axis=-2), 1, rtol=0, atol=1e-14)
    r = responsibilities(G, x)
    assert np.isfinite(r).all()
    np.testing.assert_allclose(r.sum(axis=-3), 1, rtol=0, atol=1e-14)
    assert np.isfinite(log_likelihood(G, weighted(x, np.ones((3, 21))))).all()


def test_common_shift_of_large_logits_changes_nothing():
    G = random_measure()
    x = np.random.default_rng(1).uniform(-1, 1, (5, 2))
    far = MixingMeasure(G.beta0 + 650, G.beta1, G.a - 650, G.b)
    np.testing.assert_allclose(density(far, x), density(G, x), rtol=1e-12)


# -- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [log_density, density, responsibilities, gate_log_probabilities])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_points_not_finite(function, bad):
    with pytest.raises(ValueError, match=rf"^x: expected finite numbers, got {bad} at index \(1, 0\)"):
        function(random_measure(), [[0, 0], [bad, 0]])


@pytest.mark.parametrize("function", [log_density, expert_log_probabilities])
def test_points_of_another_d_or_none(function):
    with pytest.raises(ValueError, match=r"^x: expected shape \(m, 2\), got shape \(5, 3\)"):
        function(random_measure(), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="^x: expected at least one point"):
        function(random_measure(), np.zeros((0, 2)))


def test_gates_that_fail(table2):
    with pytest.raises(ValueError, match=r"^gate 'log_abs': expected finite values.*at x = \[0\.\]"):
        log_density(table2, [1.0, 0.0], "log_abs")
    with pytest.raises(ValueError, match="^gate 'normalize': expected finite values"):
        responsibilities(table2, [1.0, 0.0], "normalize")
    with pytest.raises(ValueError, match="^gate: expected one of"):
        density(table2, [1.0], "relu")
    with pytest.raises(ValueError, match="^gate '<lambda>': expected an array of the shape of x"):
        density(table2, [1.0], lambda x: x[:, 0])


def test_data_that_do_not_match(table2):
    x = np.linspace(0, 1, 4)
    with pytest.raises(ValueError, match=r"^data.weights: expected shape \(\.\.\., 2, 4\), got shape \(3, 4\)"):
        log_likelihood(table2, weighted(x, np.ones((3, 4))))
    with pytest.raises(ValueError, match=r"^data.weights: expected shape \(\.\.\., 2, 4\), got shape \(2, 5\)"):
        log_likelihood(table2, weighted(x, np.ones((2, 5))))
    with pytest.raises(ValueError, match=r"^data.points: expected shape \(m, 1\)"):
        log_likelihood(table2, weighted(np.ones((4, 2)), np.ones((2, 4))))
    with pytest.raises(ValueError, match="^data.weights: expected finite numbers, got nan"):
        log_likelihood(table2, weighted(x, np.full((2, 4), np.nan)))
    with pytest.raises(TypeError, match="^data: expected points and weights, got ndarray"):
        log_likelihood(table2, x)


# -- sampling --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "k, K, d, gate", [(2, 2, 1, "identity"), (3, 3, 2, "tanh"), (1, 4, 1, "cos"), (3, 4, 1, "log_abs")]
)
def test_frequencies_follow_the_density(k, K, d, gate):
    # Three points, each repeated: a chi-square test of the K frequencies at each of them.
    G = random_measure(k + K, k, K, d, scale=1.0)
    points = np.random.default_rng(8).uniform(0.2, 1, (3, d))
    repeat = 40_000
    x, y = sample(G, 3 * repeat, np.random.default_rng(2024), covariates=np.repeat(points, repeat, axis=0), gate=gate)
    np.testing.assert_array_equal(x[::repeat], points)
    counts = np.stack([np.bincount(part, minlength=K + 1)[1:] for part in y.reshape(3, repeat)])
    expected = repeat * np.array([oracles.density(G, point, oracles.GATES[gate]) for point in points])
    assert expected.min() > 20
    assert stats.chisquare(counts.ravel(), expected.ravel(), ddof=2).pvalue > 1e-3


def test_covariates_are_uniform_and_independent_of_the_class_stream(table2):
    x, y = sample(table2, 20_000, np.random.default_rng(1))
    assert x.shape == (20_000, 1) and y.shape == (20_000,) and y.dtype == np.int64
    assert stats.kstest(x[:, 0], "uniform").pvalue > 1e-3
    # The probability integral transform of a class, given x, must not depend on where x is: test by halves.
    for half in (x[:, 0] < 0.5, x[:, 0] >= 0.5):
        expected = density(table2, x[half]).sum(axis=-1)
        counts = np.bincount(y[half], minlength=3)[1:]
        assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_samples_are_reproducible_from_the_seed(table2):
    first, again = (sample(table2, 1000, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    rng = np.random.default_rng(5)
    one, two = sample(table2, 1000, rng), sample(table2, 1000, rng)
    np.testing.assert_array_equal(one[0], first[0])
    assert not np.array_equal(one[0], two[0]) and not np.array_equal(one[1], two[1])


@pytest.mark.parametrize("chunk", [1, 77, 1000, 10_000])
@pytest.mark.parametrize("d", [1, 2])
def test_chunks_are_one_sample(chunk, d):
    G, n = random_measure(k=2, K=3, d=d), 1000
    x, y = sample(G, n, np.random.default_rng(3))
    pieces = list(sample_chunks(G, n, np.random.default_rng(3), chunk=chunk))
    assert [len(piece[1]) for piece in pieces] == [chunk] * (n // chunk) + [n % chunk] * (n % chunk > 0)
    np.testing.assert_array_equal(np.concatenate([piece[0] for piece in pieces]), x)
    np.testing.assert_array_equal(np.concatenate([piece[1] for piece in pieces]), y)


def test_blocks_do_not_show(table2, monkeypatch):
    x, y = sample(table2, 500, np.random.default_rng(4))
    monkeypatch.setattr("logitmoe.model._BLOCK", 28)  # seven points a block
    x_small, y_small = sample(table2, 500, np.random.default_rng(4))
    np.testing.assert_array_equal(x, x_small)
    np.testing.assert_array_equal(y, y_small)


def test_given_covariates_are_copied(table2):
    given = np.linspace(0, 1, 50)
    x, _ = sample(table2, 50, np.random.default_rng(0), covariates=given)
    x[0] = 7
    assert given[0] == 0


def test_uniform_covariates():
    f = uniform([-1, 2], [1, 5], d=2)
    x = f(np.random.default_rng(0), 4000)
    assert x.shape == (4000, 2)
    for column, low, width in ((0, -1, 2), (1, 2, 3)):
        assert stats.kstest(x[:, column], "uniform", args=(low, width)).pvalue > 1e-3
    assert sample(random_measure(), 10, np.random.default_rng(0), covariates=f)[0].shape == (10, 2)


def test_sampling_at_extreme_logits():
    # Class 2 is all but certain left of zero and class 1 right of it; class 3 never comes.
    G = MixingMeasure([2000, -2000], [[0], [0]], [[0, 0, -2000]] * 2, [[[2000], [-2000], [0]]] * 2)
    x, y = sample(G, 1000, np.random.default_rng(1), covariates=uniform(-1, 1))
    clear = np.abs(x[:, 0]) > 0.05
    np.testing.assert_array_equal(y[clear], np.where(x[clear, 0] > 0, 1, 2))
    assert (y < 3).all()


def test_one_class_only():
    assert (sample(random_measure(K=1, d=1), 20, np.random.default_rng(0))[1] == 1).all()


@pytest.mark.parametrize("rng", [None, 3, np.random.RandomState(0), np.random], ids=str)
def test_generator_must_be_a_generator(table2, rng):
    with pytest.raises(TypeError, match=r"^rng: expected a numpy.random.Generator.*default_rng\(seed\)"):
        sample(table2, 10, rng)


def test_generator_must_be_able_to_spawn(table2):
    rng = np.random.Generator(np.random.RandomState(0)._bit_generator)
    with pytest.raises(TypeError, match="^rng: expected a Generator made from a seed"):
        sample(table2, 10, rng)


@pytest.mark.parametrize("n, error", [(0, ValueError), (-1, ValueError), (10.0, TypeError), (True, TypeError)])
def test_number_of_samples(table2, n, error):
    with pytest.raises(error, match="^n: expected an integer of at least 1"):
        sample(table2, n, np.random.default_rng(0))
    with pytest.raises(error, match="^chunk: expected an integer of at least 1"):
        sample_chunks(table2, 10, np.random.default_rng(0), chunk=n)


def test_sampling_needs_one_measure(table2):
    with pytest.raises(ValueError, match="^G: expected a measure without batch axes"):
        sample(table2.reshape((1,)), 10, np.random.default_rng(0))


def test_bad_covariates(table2):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="^covariates: expected n = 10 rows, got 5"):
        sample(table2, 10, rng, covariates=np.zeros(5))
    with pytest.raises(ValueError, match="^covariates: expected n = 10 rows, got 11"):
        sample(table2, 10, rng, covariates=lambda rng, n: np.zeros(n + 1))
    with pytest.raises(ValueError, match=r"^covariates: expected shape \(m, 1\)"):
        sample(table2, 10, rng, covariates=np.zeros((10, 2)))
    with pytest.raises(ValueError, match=r"^covariates\(rng, n\): expected finite numbers, got nan"):
        sample(table2, 10, rng, covariates=lambda rng, n: np.full(n, np.nan))
    with pytest.raises(ValueError, match=r"^gate 'log_abs': .* at x = \[0\.\]"):
        sample(table2, 3, rng, covariates=np.zeros(3), gate="log_abs")


def test_bad_uniform():
    with pytest.raises(ValueError, match="^low: expected numbers less than high"):
        uniform(1, 1)
    with pytest.raises(ValueError, match=r"^high: expected shape \(2,\), got shape \(3,\)"):
        uniform(0, [1, 2, 3], d=2)
    with pytest.raises(ValueError, match="^d: expected an integer of at least 1"):
        uniform(d=0)
