"""Samples of any size without their points: their distribution, precision and checks."""

import numpy as np
import pytest
from scipy import stats

from logitmoe import MixingMeasure, WeightedPoints, density, log_likelihood, sample, uniform_design
from logitmoe.information import fisher_root, score
from logitmoe.model import uniform
from replication import samples
from replication.paper import TABLE_2
from replication.samples import draw, expected

WIDE = (-3.0, 3.0)
CLEAR = MixingMeasure([0, 0], [[-1.1], [0]], [[-3.3, 0], [-3.5, 0]], [[[-3.5], [0]], [[3.3], [0]]])
THREE = MixingMeasure([0.5, 0], [[1.0], [0]], [[1, -0.5, 0], [0, 0.3, 0]], [[[1.0], [-0.4], [0]], [[-0.6], [0.8], [0]]])
METHODS = ("points", "multinomial", "gaussian")


def rng(seed=0):
    return np.random.default_rng(seed)


def powers(x, count):
    """1, x, x^2, ... at points: (count, m)."""
    return np.asarray(x) ** np.arange(count)[:, None]


# ------------------------------------------------------------------------------------------------------------
# Distribution: the three methods where they overlap, K = 3

N, R, DEGREES = 10_000, 2000, 4


def features(data):
    """Sums of T_0 .. T_3 over each class, without T_0 of the last, which the others determine: (R, 11)."""
    T = np.polynomial.chebyshev.chebvander(data.points[:, 0] / 3.0, DEGREES - 1)
    sums = data.weights @ T
    return np.delete(sums.reshape(*data.batch_shape, -1), (data.K - 1) * DEGREES, axis=-1)


def p_values(values, mean, covariance):
    """Tests of the mean and of the covariance of (R, q) values that are nearly Gaussian."""
    z = np.linalg.solve(np.linalg.cholesky(covariance), (values - mean).T).T
    count, q = z.shape
    difference = z.T @ z / count - np.eye(q)
    return (
        stats.chi2.sf(count * (z.mean(axis=0) ** 2).sum(), q),
        stats.chi2.sf(0.5 * count * (difference**2).sum(), q * (q + 1) // 2),
    )


@pytest.fixture(scope="module")
def overlap():
    return {name: draw(THREE, N, rng(7), size=R, domain=WIDE, p=40, method=name) for name in METHODS}


@pytest.fixture(scope="module")
def theory():
    """Mean and covariance of the features from fine quadrature of the uniform X, not from the p nodes."""
    design = uniform_design(*WIDE)
    pi = density(THREE, design.points) * design.weights
    one = np.array([features(WeightedPoints(design.points, cell)) for cell in np.eye(pi.size).reshape(-1, *pi.shape)])
    mean = pi.ravel() @ one
    return N * mean, N * ((one.T * pi.ravel()) @ one - np.outer(mean, mean))


def wrong(name):
    """Gaussian counts with a covariance that is not the multinomial one."""
    design = uniform_design(*WIDE, nodes=40, panels=1)
    pi = density(THREE, design.points) * design.weights
    root, z = np.sqrt(pi), rng(7).standard_normal((R, *pi.shape))
    noise = root * z
    if name == "classes independent":  # each class has its own multinomial covariance, without the cross terms
        noise = noise - pi * (z * root).sum(axis=-1, keepdims=True)
    return WeightedPoints(design.points, N * pi + np.sqrt(N) * noise)


@pytest.mark.parametrize("name", METHODS)
def test_mean_and_covariance_are_those_of_the_multinomial_with_uniform_x(name, overlap, theory):
    assert min(p_values(features(overlap[name]), *theory)) > 1e-3


@pytest.mark.parametrize("name", ["poisson", "classes independent"])
def test_a_wrong_covariance_would_be_seen(name, theory):
    assert p_values(features(wrong(name)), *theory)[1] < 1e-12


def test_a_wrong_mean_would_be_seen(overlap, theory):
    mean, covariance = theory
    shifted = mean + 0.2 * np.sqrt(np.diag(covariance))
    assert p_values(features(overlap["points"]), shifted, covariance)[0] < 1e-12


def linear_statistics(data):
    """A class total, the sum of x over a class, and the log-likelihood of the truth."""
    return np.stack(
        [data.class_totals[:, 0], data.weights[:, 1] @ data.points[:, 0], log_likelihood(THREE, data)], axis=-1
    )


def ks(one, other):
    return [stats.ks_2samp(a, b).pvalue for a, b in zip(one.T, other.T, strict=True)]


@pytest.mark.parametrize("name", ["multinomial", "gaussian"])
def test_counts_have_the_distribution_of_points(name, overlap):
    assert min(ks(linear_statistics(overlap["points"]), linear_statistics(overlap[name]))) > 1e-3


@pytest.mark.parametrize("name", ["poisson", "classes independent"])
def test_wrong_counts_have_another_distribution_than_points(name, overlap):
    assert min(ks(linear_statistics(overlap["points"]), linear_statistics(wrong(name)))) < 1e-9


# ------------------------------------------------------------------------------------------------------------
# Drawn points: exact sums, nothing lost


@pytest.mark.parametrize("n", [1, 7, 1000, 20_000])
def test_points_have_the_sums_of_the_sample_that_was_drawn(n):
    count = max(1, min(5, samples.TOGETHER // n))  # replicates that come from one call of sample
    data = draw(CLEAR, n, rng(3), size=count, domain=WIDE, p=12, method="points")
    x, y = sample(CLEAR, n * count, rng(3).spawn(1)[0], covariates=uniform(*WIDE))
    x, y = x.reshape(count, n), y.reshape(count, n)
    for s in range(2):
        sums = ((y == s + 1)[:, None] * powers(x[:, None, :] / 3, 12)).sum(axis=-1)
        ours = data.weights[:, s] @ powers(data.points[:, 0] / 3, 12).T
        np.testing.assert_allclose(ours, sums, atol=1e-13 * n + 1e-12)
    totals = np.stack([(y == 1).sum(axis=1), (y == 2).sum(axis=1)], axis=-1)
    np.testing.assert_allclose(data.class_totals, totals, atol=1e-9)


def test_the_log_likelihood_is_that_of_the_sample():
    n = 20_000
    data = draw(CLEAR, n, rng(3), domain=WIDE, p=92, method="points")
    x, y = sample(CLEAR, n, rng(3).spawn(1)[0], covariates=uniform(*WIDE))
    raw = WeightedPoints.from_labels(x, y)
    for G in (CLEAR, CLEAR.split(0, b=[[[-3.0], [0]], [[-4.0], [0]]])):
        assert abs(log_likelihood(G, data) - log_likelihood(G, raw)) < 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [500, 30_000])
def test_determined_by_the_seed_and_the_first_replicates_by_no_others(method, n):
    options = {"method": method, "p": 16}
    data = draw(TABLE_2, n, rng(1), size=40, **options)
    again, fewer = (draw(TABLE_2, n, rng(1), size=size, **options) for size in (40, 3))
    np.testing.assert_array_equal(data.weights, again.weights)
    np.testing.assert_allclose(data.weights[:3], fewer.weights, rtol=1e-9, atol=1e-9 * n)
    assert (draw(TABLE_2, n, rng(2), size=40, **options).weights != data.weights).any()
    several, few = (draw(TABLE_2, [n, 2 * n], rng(1), size=size, **options) for size in (40, 3))
    np.testing.assert_allclose(several.weights[1, :3], few.weights[1], rtol=1e-9, atol=1e-9 * n)  # a stream for each n
    generator = rng(1)
    first, second = (draw(TABLE_2, n, generator, **options).weights for _ in range(2))
    assert (first != second).any()


def test_batch_shapes_and_one_set_of_nodes(monkeypatch):
    monkeypatch.setattr(samples, "MAX_POINTS", 1000)
    data = draw(THREE, [[100, 10**5], [10**8, 10**12]], rng(), size=(2, 3), p=20)
    assert data.batch_shape == (2, 2, 2, 3) and (data.K, data.m, data.d) == (3, 20, 1)
    np.testing.assert_array_equal(data.points, uniform_design(nodes=20, panels=1).points)
    np.testing.assert_allclose(data.total, np.array([[100, 10**5], [10**8, 10**12]])[..., None, None] * np.ones((2, 3)))
    assert draw(TABLE_2, 50, rng()).batch_shape == ()
    assert draw(TABLE_2, np.array([50, 60]), rng(), size=2).batch_shape == (2, 2)
    assert draw(TABLE_2, 50, rng(), p=1).m == 1


def test_the_method_goes_by_n(monkeypatch):
    monkeypatch.setattr(samples, "MAX_POINTS", 1000)
    small, middle, large = draw(TABLE_2, [10**3, 10**3 + 1, 10**13 + 1], rng())
    assert (small.weights != np.round(small.weights)).any()
    np.testing.assert_array_equal(middle.weights, np.round(middle.weights))
    assert middle.total == 10**3 + 1
    # Among weights of 1e9 and more floats have no room for many fractions: compare with a draw of the limit.
    gaussian = draw(TABLE_2, 10**13 + 1, rng(5), method="gaussian")
    np.testing.assert_array_equal(draw(TABLE_2, 10**13 + 1, rng(5)).weights, gaussian.weights)
    assert abs(large.total / (1e13 + 1) - 1) < 1e-14


# ------------------------------------------------------------------------------------------------------------
# Precision at n = 1e12


@pytest.mark.parametrize("method", ["multinomial", "gaussian"])
@pytest.mark.parametrize("n", [10**12, 10**13])
def test_noise_of_the_score_at_large_n_in_the_nearly_singular_design(method, n):
    data = draw(TABLE_2, n, rng(11), size=1500, method=method)
    design = uniform_design(nodes=data.m, panels=1)
    _, sigma, right = np.linalg.svd(fisher_root(TABLE_2, design), full_matrices=False)
    assert sigma[-1] ** 2 < 2e-10
    u = (score(TABLE_2, design.points) @ right.T / sigma).reshape(-1, 6)  # covariance: the identity
    z = data.weights.reshape(1500, -1) @ u / np.sqrt(n)
    assert min(p_values(z, np.zeros(6), np.eye(6))) > 1e-3
    # The gradient as an optimiser sums it, along the last eigenvector: its noise is sigma sqrt(n), over 10.
    gradient = (data.weights[..., None] * score(TABLE_2, design.points)).sum(axis=(1, 2)) @ right[-1]
    error = np.abs(gradient - z[:, -1] * sigma[-1] * np.sqrt(n)).max()
    assert 10 < sigma[-1] * np.sqrt(n) and error < 1e-3 * n / 10**12


@pytest.mark.parametrize("n", [10**12, 10**15])
def test_what_rounding_leaves_of_a_gaussian_count(n):
    """Against the same draw in extended precision, in standard deviations of the counts."""
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("no extended precision")
    data = draw(TABLE_2, n, rng(5), size=20, method="gaussian")
    z = rng(5).spawn(1)[0].standard_normal((20, 2 * data.m)).astype(np.longdouble)
    cells = expected(TABLE_2).weights.ravel()
    cells = (cells / cells.sum()).astype(np.longdouble)
    root = np.sqrt(cells)
    exact = n * cells + np.sqrt(np.longdouble(n)) * (root * z - cells * (z @ root)[:, None])
    error = np.abs(data.weights.reshape(20, -1) - exact) / np.sqrt(n * cells)
    assert 0 < error.max() < 1e-16 * np.sqrt(n)


def test_multinomial_counts_are_exact():
    data = draw(TABLE_2, 10**12, rng(), size=100)
    np.testing.assert_array_equal(data.weights, np.round(data.weights))
    np.testing.assert_array_equal(data.total, 1e12)
    assert (data.weights >= 0).all()
    spread = data.class_totals[:, 0].std() / np.sqrt(1e12 * np.prod(data.class_totals[0] / 1e12))
    assert 0.7 < spread < 1.35


# ------------------------------------------------------------------------------------------------------------
# No noise


@pytest.mark.parametrize("G, domain, gate", [(TABLE_2, (0, 1), "tanh"), (CLEAR, WIDE, "identity")])
def test_the_truth_maximises_the_expected_log_likelihood(G, domain, gate):
    for p in (9, 48):
        data = expected(G, 1e12, domain=domain, gate=gate, p=p)
        gradient = (data.weights[..., None] * score(G, data.points, gate)).sum(axis=(0, 1))
        assert np.abs(gradient).max() < 1e-14 * 1e12
        v = G.to_vector()
        others = MixingMeasure.from_vector(v + 0.1 * rng().normal(size=(50, v.size)), G.k, G.K, 1)
        assert (log_likelihood(others, data, gate) < log_likelihood(G, data, gate)).all()


def test_expected_is_the_mean_of_what_is_drawn():
    data = draw(CLEAR, 10**6, rng(), size=400, domain=WIDE, method="multinomial", p=24)
    mean = expected(CLEAR, 1e6, domain=WIDE, p=24).weights
    assert stats.chi2.sf(400 * ((data.weights.mean(axis=0) - mean) ** 2 / mean).sum(), 47) > 1e-3
    batch = MixingMeasure.stack([CLEAR, CLEAR.translate(1.0)])
    assert expected(batch, [[1.0], [2.0]], domain=WIDE).batch_shape == (2, 2)
    np.testing.assert_allclose(expected(batch, [3.0, 5.0]).total, [3, 5], rtol=1e-13)


def test_so_many_nodes_give_the_standard_errors():
    exact = np.linalg.svd(fisher_root(CLEAR, uniform_design(*WIDE)), compute_uv=False)
    for p, error in ((32, 1e-3), (48, 1e-5)):
        ours = np.linalg.svd(fisher_root(CLEAR, uniform_design(*WIDE, nodes=p, panels=1)), compute_uv=False)
        assert np.abs(ours / exact - 1).max() < error


# ------------------------------------------------------------------------------------------------------------
# Bad input to draw and expected


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"n": 0}, ValueError, "n: expected"),
        ({"n": 1e5}, TypeError, "n: expected"),
        ({"n": True}, TypeError, "n: expected"),
        ({"n": [100, -1]}, ValueError, "n: expected"),
        ({"n": []}, ValueError, "n: expected"),
        ({"n": 2**53 + 1}, ValueError, "2\\^53"),
        ({"rng": 5}, TypeError, "default_rng"),
        ({"rng": None}, TypeError, "default_rng"),
        ({"p": 0}, ValueError, "p: expected"),
        ({"p": 16.0}, TypeError, "p: expected"),
        ({"size": -1}, ValueError, "size: expected"),
        ({"size": (2, 0.5)}, TypeError, "size: expected"),
        ({"domain": (1, 0)}, ValueError, "domain"),
        ({"domain": [[0, 1], [0, 1]]}, ValueError, "domain"),
        ({"method": "poisson"}, ValueError, "multinomial"),
        ({"gate": "log_abs"}, ValueError, "analytic"),
        ({"gate": np.abs, "domain": WIDE}, ValueError, "analytic"),
        ({"gate": "nonsense"}, ValueError, "gate"),
        ({"G": 3}, TypeError, "MixingMeasure"),
        ({"G": MixingMeasure.stack([TABLE_2, TABLE_2])}, ValueError, "batch"),
        ({"G": MixingMeasure([0], [[0, 0]], [[1, 0]], [[[1, 1], [0, 0]]])}, ValueError, "d = 1"),
        ({"G": MixingMeasure([0], [[0]], [[0]], [[[1]]])}, ValueError, "K >= 2"),
    ],
)
def test_draw_refuses(change, error, words):
    arguments = {"G": TABLE_2, "n": 100, "rng": rng()} | change
    with pytest.raises(error, match=words):
        draw(**arguments)


def test_a_generator_that_cannot_spawn():
    class NoSpawn(np.random.bit_generator.ISeedSequence):
        def generate_state(self, n_words, dtype=np.uint32):
            return np.arange(n_words, dtype=dtype)

    with pytest.raises(TypeError, match="cannot spawn"):
        draw(TABLE_2, 100, np.random.Generator(np.random.PCG64(NoSpawn())))


def test_a_gate_with_a_pole_outside_of_the_domain():
    data = draw(TABLE_2, [1000, 10**9], rng(), domain=(1, 2), gate="log_abs")
    np.testing.assert_allclose(data.total, [1000, 10**9])


@pytest.mark.parametrize("n, error", [(0.0, ValueError), (-1.0, ValueError), (np.nan, ValueError), ("1", TypeError)])
def test_expected_refuses(n, error):
    with pytest.raises(error, match="n: expected"):
        expected(TABLE_2, n)


def test_expected_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="broadcasts"):
        expected(MixingMeasure.stack([TABLE_2] * 2), [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="analytic"):
        expected(TABLE_2, gate="log_abs")
    with pytest.raises(ValueError, match="d <= 2 and K >= 2"):
        expected(MixingMeasure(np.zeros(2), np.zeros((2, 3)), np.zeros((2, 2)), np.zeros((2, 2, 3))))
