"""Weighted points and compressed samples.

Oracles: sums of cos(j arccos t) in extended precision, the log-likelihood of the raw sample, closed forms of the
convergence rate, and winding numbers for the strip of analyticity.
"""

import tracemalloc

import numpy as np
import pytest

from logitmoe import (
    ChebyshevMoments,
    Gate,
    MixingMeasure,
    Theta,
    WeightedPoints,
    compress,
    log_likelihood,
    sample,
)
from logitmoe import compression as data_module
from logitmoe.chebyshev import chebyshev_order
from logitmoe.compression import compress_chunks, compression_error
from logitmoe.model import log_density


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


def random_measure(theta, k, K, d, rng, batch=(), corner=False):
    """Uniform in Theta with class K as the reference, or (corner) every coordinate at one end of its range."""

    def draw(radius, *shape):
        value = rng.uniform(-radius, radius, (*batch, *shape))
        return np.sign(value) * radius if corner else value

    a, b = draw(theta.a, k, K), draw(theta.b, k, K, d)
    a[..., -1], b[..., -1, :] = 0.0, 0.0
    return MixingMeasure(draw(theta.beta0, k), draw(theta.beta1, k, d), a, b)


def extremal_measure(radius, K=2):
    """k = 2: both zeros of N for class 1 approach the strip's boundary above x = 0 as the radius grows."""
    a = np.zeros((2, K))
    b = np.zeros((2, K, 1))
    a[:, 0] = -radius
    b[:, 0, 0] = radius, -radius
    return MixingMeasure([0.0, 0.0], [[radius], [-radius]], a, b)


def labelled(n, K, rng, low=0.0, high=1.0, d=1):
    x = rng.uniform(low, high, (n, d))
    return (x[:, 0] if d == 1 else x), rng.integers(1, K + 1, n)


def exact_moments(x, y, K, p, low=0.0, high=1.0):
    """Chebyshev moments by their trigonometric definition in extended precision, (K, p)."""
    t = (2 * x.astype(np.longdouble) - low - high) / (np.longdouble(high) - low)
    angle = np.arccos(np.clip(t, -1, 1))
    return np.array([[np.cos(j * angle[y == s]).sum() for j in range(p)] for s in range(1, K + 1)], dtype=float)


# ----------------------------------------------------------------------------------------------------
# Weighted points


def test_from_labels_is_one_hot():
    data = WeightedPoints.from_labels([0.5, 0.1, 0.9], [2, 1, 2], K=3)
    assert (data.m, data.d, data.K, data.batch_shape) == (3, 1, 3, ())
    np.testing.assert_array_equal(data.points, [[0.5], [0.1], [0.9]])
    np.testing.assert_array_equal(data.weights, [[0, 1, 0], [1, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(data.class_totals, [1, 2, 0])
    assert data.total == 3


def test_weighted_points_copy_and_freeze(rng):
    points, weights = rng.random((4, 2)), rng.random((5, 3, 4))
    data = WeightedPoints(points, weights)
    points[:], weights[:] = 0.0, 0.0
    assert data.points.all() and data.weights.all()
    with pytest.raises(ValueError, match="read-only"):
        data.weights[0, 0, 0] = 1.0
    with pytest.raises(AttributeError):
        data.points = points
    assert repr(data) == "WeightedPoints(m=4, d=2, K=3, batch_shape=(5,))"


@pytest.mark.parametrize("index", [1, slice(None, None, 2), (0, 1), ..., np.array([True, False, True]), None])
def test_indexing_acts_on_the_batch_axes_only(rng, index):
    weights = rng.random((3, 2, 2, 6))
    data = WeightedPoints(rng.random(6), weights)
    moments = ChebyshevMoments(weights)
    np.testing.assert_array_equal(data[index].weights, weights[index])
    np.testing.assert_array_equal(moments[index].moments, weights[index])
    for item in (data, moments):
        with pytest.raises(IndexError):
            item[0, 0, 0]


def test_empty_selection_of_a_batch(rng):
    data = WeightedPoints(rng.random(6), rng.random((3, 2, 6)))[[]]
    assert data.batch_shape == (0,) and data[:0].total.shape == (0,)


@pytest.mark.parametrize(
    ("x", "y", "K", "error", "text"),
    [
        ([0.1, np.nan], [1, 2], 2, ValueError, r"x: .* nan at index 1"),
        ([0.1, -np.inf], [1, 2], 2, ValueError, r"x: .* -inf at index 1"),
        ([], [], 2, ValueError, "x: expected at least one point"),
        ([0.1, 0.2], [0, 2], 2, ValueError, r"y: .* 0 at index 0; code the classes as 1, 2"),
        ([0.1, 0.2], [1, 3], 2, ValueError, r"y: .* 3 at index 1"),
        ([0.1, 0.2], [1, 1.5], 2, ValueError, r"y: .* 1.5 at index 1"),
        ([0.1, 0.2], [True, False], 2, TypeError, "y: .* bool"),
        ([0.1, 0.2], [1], 2, ValueError, "y: expected 2 labels, one for each row of x, got 1"),
        ([0.1, 0.2], [1, 1], None, ValueError, "K: expected at least 2 classes, got 1; pass K"),
        ([0.1, 0.2], [1, 1], 1, ValueError, "K: expected an integer of at least 2, got 1"),
        ([0.1, 0.2], [1, 2], 1, ValueError, "K: expected an integer of at least 2, got 1"),
    ],
)
def test_bad_samples(x, y, K, error, text):
    with pytest.raises(error, match=text):
        WeightedPoints.from_labels(x, y, K)
    with pytest.raises(error, match=text):
        compress(x, y, K, p=4)


def test_bad_weighted_points():
    with pytest.raises(ValueError, match=r"weights: expected shape \(..., \*, 3\), got shape \(2, 4\)"):
        WeightedPoints([0.1, 0.2, 0.3], np.ones((2, 4)))
    with pytest.raises(ValueError, match="weights: .* nan"):
        WeightedPoints([0.1], [[1.0], [np.nan]])
    with pytest.raises(ValueError, match="K: expected at least 2 classes, got 1"):
        WeightedPoints([0.1], [[1.0]])


# ----------------------------------------------------------------------------------------------------
# Moments, nodes and weights


@pytest.mark.parametrize("p", [1, 2, 3, 7, 8, 9, 15, 16, 17, 32, 128, 129, 200])
def test_moments_against_their_definition(rng, p):
    n, K = 18_000, 2  # more than one block for each class
    x, y = labelled(n, K, rng)
    moments = compress(x, y, K, p=p)
    assert (moments.order, moments.d, moments.K, moments.total) == (p, 1, K, n)
    error = np.abs(moments.moments - exact_moments(x, y, K, p)).max()
    assert error <= 1e-15 * n


def test_moments_on_another_domain_and_at_its_ends(rng):
    x, y = labelled(5000, 2, rng, -3.0, 3.0)
    x[:2] = -3.0, 3.0
    moments = compress(x, y, 2, p=40, domain=(-3, 3))
    assert np.abs(moments.moments - exact_moments(x, y, 2, 40, -3.0, 3.0)).max() <= 1e-14 * 5000


def test_moments_d2_against_their_definition(rng):
    n, K, p, domain = 9000, 2, 6, [(0.0, 1.0), (-2.0, 1.0)]
    x = np.column_stack([rng.uniform(*ends, n) for ends in domain])
    y = rng.integers(1, K + 1, n)
    moments = compress(x, y, K, p=p, domain=domain)
    angle = [np.arccos((2 * x[:, r] - low - high) / (high - low)) for r, (low, high) in enumerate(domain)]
    for s in range(K):
        for i in range(p):
            for j in range(p):
                exact = (np.cos(i * angle[0]) * np.cos(j * angle[1]))[y == s + 1].sum()
                assert abs(moments.moments[s, i, j] - exact) <= 1e-13 * n


@pytest.mark.parametrize("p", [1, 2, 5, 16, 33])
def test_nodes_integrate_polynomials_of_lower_degree_only(rng, p):
    n = 3000
    x, y = labelled(n, 2, rng, -1.0, 2.0)
    data = compress(x, y, 2, p=p, domain=(-1.0, 2.0)).points()
    assert data.m == p and (np.diff(data.points[:, 0]) > 0).all()

    def gap(degree):
        coefficients = rng.standard_normal(degree + 1)
        coefficients[-1] = 1.0

        def f(z):
            return np.polynomial.chebyshev.chebval((2 * z - 1.0) / 3.0, coefficients)

        raw = np.array([f(x[y == s]).sum() for s in (1, 2)])
        return np.abs(data.weights @ f(data.points[:, 0]) - raw).max() / (n * np.abs(coefficients).sum())

    assert gap(p - 1) < 1e-14
    assert gap(p) > 1e-6  # T_p vanishes at the nodes


def test_nodes_d2_integrate_polynomials(rng):
    n, p = 500, 5
    x, y = labelled(n, 3, rng, d=2)
    moments = compress(x, y, 3, p=p)
    assert (moments.d, moments.K, moments.order) == (2, 3, p)
    data = moments.points()
    assert data.m == p * p
    for i in range(p):
        for j in range(p):
            raw = np.array([(x[y == s, 0] ** i * x[y == s, 1] ** j).sum() for s in (1, 2, 3)])
            nodes = data.weights @ (data.points[:, 0] ** i * data.points[:, 1] ** j)
            np.testing.assert_allclose(nodes, raw, rtol=1e-12)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("p", [1, 3, 16, 64])
def test_weights_sum_to_the_class_counts(rng, p, d):
    n, K = 4000, 4
    x, y = labelled(n, K, rng, d=d)
    y[y == 3] = 1  # a class without a sample
    moments = compress(x, y, K, p=p)
    counts = np.bincount(y, minlength=K + 1)[1:]
    np.testing.assert_array_equal(moments.class_totals, counts)
    totals = moments.points().class_totals
    assert np.abs(totals - counts).max() <= 1e-12 * n
    assert totals[2] == 0.0 and not moments.points().weights[2].any()


@pytest.mark.parametrize("d", [1, 2])
def test_orders_are_nested(rng, d):
    x, y = labelled(3000, 2, rng, d=d)
    full, low = compress(x, y, 2, p=40), compress(x, y, 2, p=12)
    np.testing.assert_allclose(full.truncate(12).moments, low.moments, rtol=0, atol=1e-12 * 3000)
    few = full.points(12)
    np.testing.assert_array_equal(few.points, low.points().points)
    np.testing.assert_allclose(few.weights, low.points().weights, rtol=0, atol=1e-12 * 3000)
    again = ChebyshevMoments.from_points(full.points(), 12)
    np.testing.assert_allclose(again.moments, low.moments, rtol=0, atol=1e-12 * 3000)


def test_from_points_is_compress_for_one_hot_weights(rng):
    x, y = labelled(20_000, 3, rng, -1.0, 4.0)
    moments = ChebyshevMoments.from_points(WeightedPoints.from_labels(x, y, 3), 24, domain=(-1, 4))
    np.testing.assert_allclose(
        moments.moments, compress(x, y, 3, p=24, domain=(-1, 4)).moments, rtol=0, atol=1e-15 * 20_000
    )


@pytest.mark.parametrize("d", [1, 2])
def test_merging_and_stacking(rng, d):
    x, y = labelled(2000, 2, rng, d=d)
    A, B = compress(x[:700], y[:700], 2, p=9), compress(x[700:], y[700:], 2, p=9)
    both = compress(x, y, 2, p=9)
    np.testing.assert_allclose((A + B).moments, both.moments, rtol=0, atol=1e-12)
    stacked = ChebyshevMoments.stack([A, B])
    assert stacked.batch_shape == (2,)
    np.testing.assert_array_equal(stacked[1].moments, B.moments)
    np.testing.assert_array_equal(stacked.points()[0].weights, A.points().weights)
    np.testing.assert_array_equal(stacked.total, [700, 1300])


def test_what_cannot_be_merged(rng):
    x, y = labelled(50, 2, rng)
    A = compress(x, y, 2, p=9)
    with pytest.raises(ValueError, match="domain: .* compress on one domain"):
        A + compress(x, y, 2, p=9, domain=(0, 2))
    with pytest.raises(ValueError, match=r"moments: .* truncate\(p\)"):
        A + compress(x, y, 2, p=8)
    with pytest.raises(ValueError, match="moments: .* the same K"):
        ChebyshevMoments.stack([A, compress(x, y, 3, p=9)])
    with pytest.raises(ValueError, match="items: expected at least one"):
        ChebyshevMoments.stack([])
    with pytest.raises(TypeError, match="items: expected a ChebyshevMoments, got a WeightedPoints"):
        ChebyshevMoments.stack([A, A.points()])
    with pytest.raises(TypeError):
        A + 1


def test_bad_moments():
    with pytest.raises(ValueError, match=r"moments: expected shape \(..., K, p, p\).*got shape \(2, 3, 4\)"):
        ChebyshevMoments(np.ones((2, 3, 4)), [(0, 1), (0, 1)])
    with pytest.raises(ValueError, match="moments: .* p >= 1"):
        ChebyshevMoments(np.ones((2, 0)))
    with pytest.raises(ValueError, match="moments: .* nan"):
        ChebyshevMoments([[1.0, np.nan], [0.0, 0.0]])
    with pytest.raises(ValueError, match="K: expected at least 2 classes"):
        ChebyshevMoments(np.ones((1, 4)))
    moments = ChebyshevMoments(np.ones((2, 4)))
    for call in (moments.points, moments.truncate):
        with pytest.raises(ValueError, match="p: expected at most the 4 moments that were kept, got 5"):
            call(5)
        with pytest.raises(ValueError, match="p: .* at least 1"):
            call(0)
    assert repr(moments) == "ChebyshevMoments(order=4, domain=[[0.0, 1.0]], K=2, batch_shape=())"


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        ((1.0, 0.0), "domain: expected low < high"),
        ((0.0, 0.0), "domain: expected low < high"),
        ((0.0, np.inf), "domain: .* inf"),
        ((-1e308, 1e308), "domain: expected a width that floats can hold"),
        ((0.0, 1e-320), "domain: expected a width that floats can hold"),
        ((0.0, 1.0, 2.0), r"domain: expected shape \(2,\)"),
        ([(0.0, 1.0), (0.0, 1.0)], r"domain: expected shape \(2,\) or \(1, 2\)"),
    ],
)
def test_bad_domains(domain, text):
    with pytest.raises(ValueError, match=text):
        compress([0.0], [1], 2, p=4, domain=domain)


def test_points_outside_the_domain_are_named():
    with pytest.raises(ValueError, match=r"x: .*\[1.5\] at index 2 \(2 of 4 outside\); pass domain="):
        compress([0.1, 0.2, 1.5, -0.1], [1, 2, 1, 2], p=4)
    with pytest.raises(ValueError, match=r"x: .*\[0.2, -0.5\] at index 1 \(1 of 2 outside\)"):
        compress([[0.1, 0.2], [0.2, -0.5]], [1, 2], p=4)
    with pytest.raises(ValueError, match=r"points: .*\[2.0\] at index 0"):
        ChebyshevMoments.from_points(WeightedPoints([2.0], np.ones((2, 1))), 4)
    with pytest.raises(TypeError, match="data: expected a WeightedPoints"):
        ChebyshevMoments.from_points([0.1], 4)


def test_more_than_two_covariates_are_refused(rng):
    x, y = labelled(10, 2, rng, d=3)
    with pytest.raises(ValueError, match="x: expected 1 or 2 covariates, got 3; .*raw points"):
        compress(x, y, 2, p=4)


@pytest.mark.parametrize(("p", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError)])
def test_bad_orders(p, error):
    with pytest.raises(error, match="p: expected an integer of at least 1"):
        compress([0.5], [1], 2, p=p)


# ----------------------------------------------------------------------------------------------------
# Streaming


@pytest.mark.parametrize("d", [1, 2])
def test_chunks_give_the_moments_of_the_whole(rng, d):
    n, K, p = 60_000, 3, 20
    x, y = labelled(n, K, rng, d=d)
    whole = compress(x, y, K, p=p)
    cuts = np.sort(rng.integers(1, n, 40))
    cuts = cuts[np.diff(cuts, prepend=0) > 0]
    pieces = zip(np.split(x, cuts), np.split(y, cuts), strict=True)
    streamed = compress_chunks(pieces, K, p=p)
    assert np.abs(streamed.moments - whole.moments).max() <= 1e-13 * n / K
    np.testing.assert_array_equal(streamed.class_totals, whole.class_totals)
    data, streamed_data = whole.points(), streamed.points()
    G = random_measure(Theta.cube(2.0), 3, K, d, rng)
    np.testing.assert_allclose(log_likelihood(G, streamed_data), log_likelihood(G, data), rtol=1e-13)


def test_long_sums_lose_no_digits():
    # Equal blocks: every rounding of a plain running sum has the same chance to go wrong, and nothing cancels.
    x, y = np.full(512, 0.3), np.ones(512, dtype=int)
    one = compress(x, y, 2, p=8).moments[0]
    many = compress_chunks(((x, y) for _ in range(5000)), 2, p=8).moments[0]
    plain = np.zeros(8)
    for _ in range(5000):
        plain += one
    assert np.abs(plain / 5000 - one).max() > 1e-13 * 512 / 100  # the test can tell the difference
    np.testing.assert_allclose(many / 5000, one, rtol=1e-15, atol=0)


def test_streaming_memory_is_bounded(rng):
    chunk, pieces, p = 50_000, 20, 32

    def source():
        for _ in range(pieces):
            yield rng.random(chunk), rng.integers(1, 3, chunk)

    compress_chunks([(np.array([0.5]), np.array([1]))], 2, p=p)  # imports and caches
    tracemalloc.start()
    moments = compress_chunks(source(), 2, p=p)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert moments.total == chunk * pieces
    assert peak < 8e6  # the sample takes 16 MB, and its 32 polynomials 256 MB


def test_bad_chunks(rng):
    x, y = labelled(10, 2, rng)
    with pytest.raises(ValueError, match="chunks: expected at least one pair"):
        compress_chunks([], 2, p=4)
    with pytest.raises(ValueError, match=r"chunk 1: x: .*\[7.0\] at index 0"):
        compress_chunks([(x, y), ([7.0], [1])], 2, p=4)
    with pytest.raises(ValueError, match="chunk 1: y: .* 3 at index 0"):
        compress_chunks([(x, y), ([0.5], [3])], 2, p=4)
    with pytest.raises(ValueError, match="chunk 0: x: expected at least one point"):
        compress_chunks([([], [])], 2, p=4)
    with pytest.raises(ValueError, match="chunk 1: x: expected 1 covariates, got 2"):
        compress_chunks([(x, y), (np.full((3, 2), 0.5), [1, 1, 2])], 2, p=4)
    with pytest.raises(TypeError, match=r"chunk 0: chunks: expected pairs \(x, y\)"):
        compress_chunks([1.0, 2.0], 2, p=4)


# ----------------------------------------------------------------------------------------------------
# Raw against compressed, and the order rule


@pytest.mark.parametrize(
    ("radius", "K", "d", "domain", "gate", "n"),
    [
        (3.0, 2, 1, (0.0, 1.0), "identity", 20_000),
        (3.0, 3, 1, (0.0, 1.0), "identity", 20_000),
        (10.0, 2, 1, (0.0, 1.0), "sigmoid", 5000),
        (1.5, 2, 1, (-3.0, 3.0), "identity", 5000),
        (1.5, 3, 1, (-3.0, 3.0), "tanh", 5000),
        (2.0, 2, 1, (-3.0, 3.0), "cos", 5000),
        (3.0, 2, 1, (0.2, 1.0), "log_abs", 5000),
        (1.0, 2, 2, (0.0, 1.0), "identity", 2000),
        (1.0, 3, 2, (-1.0, 1.0), "sin", 2000),
    ],
)
def test_compressed_log_likelihood_is_the_raw_one(rng, radius, K, d, domain, gate, n):
    theta = Theta.cube(radius)
    G = random_measure(theta, 3, K, d, rng, batch=(20,))
    x, _ = labelled(n, K, rng, *domain, d=d)
    x, y = sample(G[0], n, rng, covariates=np.reshape(x, (n, d)), gate=gate)
    moments = compress(x, y, K, domain=domain, theta=theta, gate=gate)
    assert moments.order == chebyshev_order(theta, K, np.tile(domain, (d, 1)), gate)
    compressed = log_likelihood(G, moments.points(), gate)
    raw = log_likelihood(G, WeightedPoints.from_labels(x, y, K), gate)
    np.testing.assert_allclose(compressed, raw, rtol=1e-10)


def interpolation_error(G, domain, p, gate="identity", m=400):
    """Largest error of log g_s over s and a grid: each grid point is compressed as a sample of its own."""
    low, high = domain
    x = np.linspace(low, high, m)
    single = WeightedPoints(x, np.stack([np.eye(m)] * G.K, axis=1))
    nodes = ChebyshevMoments.from_points(single, p, domain=domain).points()
    coarse = np.einsum("nsp,...sp->...sn", nodes.weights, log_density(G, nodes.points, gate))
    return np.abs(coarse - log_density(G, x, gate)).max(axis=(-1, -2))


@pytest.mark.parametrize(
    ("radius", "K", "domain", "gate"),
    [
        (10.0, 2, (0.0, 1.0), "identity"),
        (3.0, 3, (0.0, 1.0), "identity"),
        (1.0, 2, (-3.0, 3.0), "identity"),
        (10.0, 2, (0.0, 1.0), "sigmoid"),
        (3.0, 2, (-3.0, 3.0), "tanh"),
        (10.0, 2, (0.0, 1.0), "cos"),
        (3.0, 2, (0.2, 1.0), "log_abs"),
        (3.0, 2, (-1.0, 1.0), lambda x: x**3),
    ],
)
def test_the_rule_holds_for_the_worst_point_and_measure_tried(rng, radius, K, domain, gate):
    theta = Theta.cube(radius)
    for tol in (1e-4, 1e-10):
        p = chebyshev_order(theta, K, domain, gate, tol)
        for corner in (False, True):
            G = random_measure(theta, 3, K, 1, rng, batch=(50,), corner=corner)
            assert interpolation_error(G, domain, p, gate).max() <= tol * np.log(K)


def test_the_rule_is_not_vacuous():
    # A measure of the box for which 0.65 of the order of the rule does not do.
    p = chebyshev_order(Theta.cube(10.0), 2, (-1.0, 1.0))
    G = extremal_measure(10.0)
    assert interpolation_error(G, (-1.0, 1.0), p) <= 1e-10 * np.log(2)
    assert interpolation_error(G, (-1.0, 1.0), int(0.65 * p)) > 1e-10 * np.log(2)


@pytest.mark.parametrize(("K", "d", "low", "high"), [(2, 1, 0.0, 1.0), (3, 1, -3.0, 3.0), (2, 2, -1.0, 4.0)])
def test_the_rule_of_the_identity_in_closed_form(K, d, low, high):
    theta, tol = Theta(beta0=1.0, beta1=2.0, a=40.0, b=0.5), 1e-9
    D, A = (theta.b, theta.a) if K == 2 else (2 * theta.b, 2 * theta.a)
    h, middle = (high - low) / 2, (high + low) / 2
    eta = np.arcsinh(np.pi / (2 * (theta.beta1 + D) * h)) * np.linspace(0, 1, 20_002)[1:-1]
    phi = 2 * (theta.beta1 + D) * h * np.sinh(eta)
    X = abs(middle) + h * np.cosh(eta) + (d - 1) * (abs(middle) + h)
    H = np.log1p((K - 1) * np.exp(A + D * X)) - 2 * np.log(np.cos(phi / 2)) + phi
    p = chebyshev_order(theta, K, np.tile((low, high), (d, 1)), tol=tol)

    def bound(p):
        factor = d * (1 + 2 / np.pi * np.log(p) if d == 2 else 1.0)
        return (factor * 4 * H * np.exp((1 - p) * eta) / np.expm1(eta)).min() / np.log(K)

    assert bound(p) <= tol * 1.01 and bound(p - 1) > tol * 0.99


def test_the_rule_moves_the_right_way():
    theta = Theta.cube(3.0)
    p = chebyshev_order(theta, 2)
    assert chebyshev_order(Theta.cube(6.0), 2) > p > chebyshev_order(Theta.cube(1.0), 2)
    assert chebyshev_order(theta, 3) > p
    assert chebyshev_order(theta, 2, (-1.0, 1.0)) > p
    assert chebyshev_order(theta, 2, tol=1e-12) > p > chebyshev_order(theta, 2, tol=1e-6)
    assert chebyshev_order(theta, 2, [(0, 1), (0, 1)]) >= p
    assert chebyshev_order(theta, 2, [(0, 1), (-3, 3)]) >= chebyshev_order(theta, 2, (-3, 3))
    # The strip of the identity is the same for a linear gate of another form.
    assert chebyshev_order(theta, 2, gate=lambda x: x + 0.0) == p
    near = Gate("near", lambda x: x, pole=0.05)
    assert chebyshev_order(theta, 2, gate=near) > p


def test_rule_d2_bounds_the_error_on_a_grid(rng):
    theta, tol = Theta.cube(2.0), 1e-8
    domain = [(0.0, 1.0), (-1.0, 0.5)]
    p = chebyshev_order(theta, 2, domain, tol=tol)
    axes = [np.linspace(*ends, 12) for ends in domain]
    x = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    single = WeightedPoints(x, np.stack([np.eye(144)] * 2, axis=1))
    nodes = ChebyshevMoments.from_points(single, p, domain=domain).points()
    for corner in (False, True):
        G = random_measure(theta, 3, 2, 2, rng, batch=(20,), corner=corner)
        coarse = np.einsum("nsp,bsp->bsn", nodes.weights, log_density(G, nodes.points))
        assert np.abs(coarse - log_density(G, x)).max() <= tol * np.log(2)


def test_error_falls_like_the_power_of_the_nearest_pole():
    # k = 1, K = 2: log g_1 = -log(1 + exp(-a - b x)) has its nearest branch points at x = (-a +- i pi) / b.
    a, b = -2.0, 8.0
    G = MixingMeasure([0.0], [[0.0]], [[a, 0.0]], [[[b], [0.0]]])
    pole = 2 * (-a + 1j * np.pi) / b - 1  # in the variable on [-1, 1]
    rho = max(abs(pole + np.sqrt(pole**2 - 1)), abs(pole - np.sqrt(pole**2 - 1)))
    orders = np.arange(8, 41, 2)
    errors = [interpolation_error(G, (0.0, 1.0), int(p)) for p in orders]
    # Coefficients of a logarithm fall like rho^-j / j.
    slope = np.polyfit(orders, np.log(errors) + np.log(orders), 1)[0]
    assert abs(-slope / np.log(rho) - 1) < 0.02


def winding_number(values):
    """Turns of a closed curve around 0, and its largest step in angle."""
    steps = np.angle(np.roll(values, -1) / values)
    return round(steps.sum() / (2 * np.pi)), np.abs(steps).max()


def contour(height, points=2000):
    """Boundary of the rectangle -0.5 < Re z < 1.5, |Im z| < height."""
    corners = np.array([-0.5 - 1j * height, 1.5 - 1j * height, 1.5 + 1j * height, -0.5 + 1j * height])
    steps = np.linspace(0.0, 1.0, points, endpoint=False)
    return np.concatenate([z + (w - z) * steps for z, w in zip(corners, np.roll(corners, -1), strict=True)])


def zeros_in(G, s, height):
    """Zeros of N, of Q and of the experts' denominators for class s + 1 inside the contour."""
    z = contour(height)
    gates = np.exp(G.beta1 * z + G.beta0[:, None])
    denominators = np.exp((G.b[..., 0] - G.b[:, [s], 0])[..., None] * z + (G.a - G.a[:, [s]])[..., None]).sum(axis=1)
    curves = [(gates / denominators).sum(axis=0), gates.sum(axis=0), *denominators]
    found = [winding_number(curve) for curve in curves]
    return [turns for turns, _ in found], max(step for _, step in found)


@pytest.mark.parametrize("K", [2, 3, 4])
def test_no_zero_in_the_strip(rng, K):
    theta = Theta(beta0=5.0, beta1=4.0, a=5.0, b=3.0)
    D = theta.b if K == 2 else 2 * theta.b
    strip = np.pi / (2 * theta.beta1 + 2 * D)
    outside = 0
    for i in range(40):
        G = random_measure(theta, int(rng.integers(1, 5)), K, 1, rng, corner=bool(i % 2))
        for s in range(K):
            # The denominators have no zeros, so N has no poles, and the turns of N count its zeros.
            turns, step = zeros_in(G, s, 0.999 * strip)
            assert step < np.pi / 2  # else the contour is too coarse to count turns
            assert not any(turns)
            outside += any(zeros_in(G, s, 1.7 * strip)[0])
    assert outside > 0  # the count does find zeros where there are some


def test_the_strip_cannot_be_widened():
    strip = np.pi / 40
    assert not any(zeros_in(extremal_measure(10.0), 0, 0.999 * strip)[0])
    assert zeros_in(extremal_measure(10.0), 0, 1.05 * strip)[0][0] == 2


def test_too_many_moments_are_refused():
    with pytest.raises(ValueError, match=r"p: expected at most 512 moments, got the \d+ .* smaller Theta or a"):
        compress([0.5], [1], 2, domain=(-3, 3), theta=Theta.cube(10.0))
    assert compress([0.5], [1], 2, domain=(-3, 3), theta=Theta.cube(10.0), p=600).order == 600


@pytest.mark.parametrize(
    ("gate", "domain", "text"),
    [
        ("log_abs", (0.0, 1.0), "gate 'log_abs': .* pole at 0 .* raw points .* another variable"),
        ("normalize", (-1.0, 1.0), "gate 'normalize': .* pole at 0"),
        ("log_abs", [(0.5, 1.0), (-1.0, 1.0)], "gate 'log_abs': .* pole at 0"),
        (np.abs, (-1.0, 1.0), "gate 'absolute': expected analytic .* do not fall to rounding"),
        (np.sqrt, (0.0, 1.0), "gate 'sqrt': expected analytic .* do not fall to rounding"),
    ],
)
def test_gates_that_are_not_analytic_are_refused(gate, domain, text):
    with pytest.raises(ValueError, match=text):
        chebyshev_order(Theta.cube(1.0), 2, domain, gate)


def test_a_gate_with_a_pole_needs_p_and_its_error_is_estimated(rng):
    with pytest.raises(ValueError, match="pole at 0"):
        compress([0.5], [1], 2, gate="log_abs")
    x, y = labelled(2000, 2, rng)
    moments = compress(x, y, 2, gate="log_abs", p=64)
    G = MixingMeasure([1.0, 0.0], [[0.5], [0.0]], [[-1.0, 0.0], [1.0, 0.0]], [[[2.0], [0.0]], [[-1.0], [0.0]]])
    raw = log_likelihood(G, WeightedPoints.from_labels(x, y, 2), "log_abs")
    error = abs(log_likelihood(G, moments.points(), "log_abs") / raw - 1)
    estimate = compression_error(G, moments, "log_abs")
    assert 1e-9 < error <= estimate < 1e-3


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (dict(theta=10.0), TypeError, "theta: expected a Theta, got a float"),
        (dict(K=1), ValueError, "K: expected at least 2 classes"),
        (dict(tol=0.0), ValueError, "tol: expected a number above 0 and below 1"),
        (dict(tol=1.0), ValueError, "tol: expected a number above 0 and below 1"),
        (dict(gate="tan"), ValueError, "gate: expected one of"),
        (dict(domain=[(0, 1)] * 3), ValueError, "domain: expected shape"),
    ],
)
def test_bad_arguments_of_the_rule(arguments, error, text):
    with pytest.raises(error, match=text):
        chebyshev_order(**{"theta": Theta.cube(1.0), "K": 2, **arguments})


# ----------------------------------------------------------------------------------------------------
# The a-posteriori estimate


@pytest.mark.parametrize("design", ["random", "grid", "few values"])
@pytest.mark.parametrize(("n", "K"), [(100, 2), (1000, 3), (30_000, 2)])
def test_the_estimate_is_honest(rng, n, K, design):
    G = random_measure(Theta.cube(10.0), 3, K, 1, rng, batch=(200,))
    x, y = sample(G[0], n, rng)
    if design == "grid":
        x = np.linspace(0.0, 1.0, n)
    elif design == "few values":
        x = rng.choice([0.1, 0.33, 0.5, 0.77], n)
    raw_data = WeightedPoints.from_labels(x, y, K)
    raw = np.concatenate([log_likelihood(G[i : i + 10], raw_data) for i in range(0, 200, 10)])
    for order, low in ((32, (8, 16, 24)), (96, (32, 64))):
        moments = compress(x, y, K, p=order)
        for p in (*low, order):
            error = np.abs(log_likelihood(G, moments.points(p)) - raw) / np.abs(raw)
            estimate = compression_error(G, moments, p=p)
            assert (error <= 1.5 * estimate + 1e-13).all()
            visible = error > 1e-12
            if visible.sum() < 20:
                continue
            ratio = estimate[visible] / error[visible]
            # Pessimistic where only unseen moments matter, nearly exact where those at hand tell.
            assert np.median(ratio) < (30.0 if p == order else 1.5)


def test_the_estimate_is_honest_d2(rng):
    G = random_measure(Theta.cube(4.0), 3, 2, 2, rng, batch=(200,))
    x, y = sample(G[0], 1000, rng)
    raw = log_likelihood(G, WeightedPoints.from_labels(x, y, 2))
    moments = compress(x, y, 2, p=16)
    for p, pessimism in ((8, 1.5), (16, 100.0)):
        error = np.abs(log_likelihood(G, moments.points(p)) - raw) / np.abs(raw)
        estimate = compression_error(G, moments, p=p)
        assert (error <= 1.5 * estimate + 1e-13).all()
        visible = error > 1e-12
        assert visible.sum() > 20
        assert np.median(estimate[visible] / error[visible]) < pessimism


def test_the_estimate_is_batched(rng, monkeypatch):
    G = random_measure(Theta.cube(5.0), 2, 2, 1, rng, batch=(4, 1))
    moments = ChebyshevMoments.stack([compress(*labelled(300, 2, rng), 2, p=20) for _ in range(3)])
    together = compression_error(G, moments, p=10)
    assert together.shape == (4, 3)
    apart = [[compression_error(G[i, 0], moments[j], p=10) for j in range(3)] for i in range(4)]
    np.testing.assert_allclose(together, apart, rtol=1e-9)
    monkeypatch.setattr(data_module, "ELEMENTS", 1)  # one fit at a time
    np.testing.assert_allclose(compression_error(G, moments, p=10), together, rtol=1e-9)
    assert compression_error(G[0, 0], moments).shape == (3,)
    assert compression_error(G, moments[0]).shape == (4, 1)
    assert compression_error(G[:0], moments[0]).shape == (0, 1)


def test_the_estimate_without_a_sample_of_a_class(rng):
    x = rng.random(500)
    moments = compress(x, np.ones(500, dtype=int), 2, p=24)
    G = random_measure(Theta.cube(3.0), 2, 2, 1, rng)
    raw = log_likelihood(G, WeightedPoints.from_labels(x, np.ones(500), 2))
    error = abs(log_likelihood(G, moments.points(8)) / raw - 1)
    assert error <= 1.5 * compression_error(G, moments, p=8) + 1e-13


def test_bad_arguments_of_the_estimate(rng):
    moments = compress(*labelled(100, 2, rng), 2, p=8)
    G = random_measure(Theta.cube(1.0), 2, 2, 1, rng, batch=(2,))
    with pytest.raises(ValueError, match="p: expected at most the 8 moments"):
        compression_error(G, moments, p=9)
    with pytest.raises(ValueError, match="G: expected K = 2, d = 1, got K = 3, d = 1"):
        compression_error(random_measure(Theta.cube(1.0), 2, 3, 1, rng), moments)
    with pytest.raises(ValueError, match=r"G and moments: expected batch axes that broadcast with \(2,\), got \(3,\)"):
        compression_error(G, ChebyshevMoments.stack([moments] * 3))
    with pytest.raises(TypeError, match="moments: expected a ChebyshevMoments, got a WeightedPoints"):
        compression_error(G, moments.points())
