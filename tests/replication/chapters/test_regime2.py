"""Two-point bounds against brute force and random measures, the sequence of A.2.2 against its definition."""

import numpy as np
import pytest
from scipy.special import expit

from logitmoe import MixingMeasure, voronoi_loss
from replication.chapters import regime2
from replication.pairs import constant_split
from replication.paper import TABLE_2, TABLE_3


def random_measure(rng, k=2, K=2, d=1, batch=(), spread=1.0):
    a, b = spread * rng.normal(size=(*batch, k, K)), spread * rng.normal(size=(*batch, k, K, d))
    a[..., -1], b[..., -1, :] = 0.0, 0.0
    beta0, beta1 = rng.normal(size=(*batch, k)), spread * rng.normal(size=(*batch, k, d))
    return MixingMeasure(beta0, beta1, a, b)


def sure_split():
    one, two, p = expit(6.0), expit(-5.0), expit(1.0)
    return constant_split(TABLE_3, fraction=(p - two) / (one - two), probabilities=[one, 1.0 - one]).other


# ------------------------------------------------------------------------------------------------------------
# The printed sequence


@pytest.mark.parametrize("r", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(("K", "d"), [(2, 1), (3, 1), (2, 2), (3, 2)])
def test_printed_sequence_has_the_corrected_loss_of_equation_28(K, d, r):
    G = random_measure(np.random.default_rng(3), k=3, K=K, d=d)
    G = MixingMeasure(G.beta0, G.beta1, G.a, G.b * np.array([1.0, 0.0, 1.0])[:, None, None])
    t, bound = np.array([1e-3, 1e-4]), 1.5
    H = regime2.printed_sequence(G, t, bound=bound)
    m = G.mass[1]
    c = (t / bound) / (m - t)
    assert H.batch_shape == (2,) and H.k == 4
    np.testing.assert_array_equal(H.beta1[:, 0], H.beta1[:, 1])
    np.testing.assert_allclose(H.mass.sum(-1), G.mass.sum() - t, rtol=1e-14)
    np.testing.assert_array_equal(H.b[:, :2], 0.0)
    np.testing.assert_array_equal(H.beta1[:, 2:], np.broadcast_to(G.beta1[[0, 2]], (2, 2, d)))
    expected = (m - t) * c**r * (d ** (r / 2) + K - 1) + t
    np.testing.assert_allclose(voronoi_loss(H, G, r), expected, rtol=1e-9)


@pytest.mark.parametrize("nN", [1e3, 1e6])
def test_printed_sequence_is_in_the_papers_parameters(nN):
    m, bound = TABLE_3.mass[1], 1.0
    t, c = bound / nN, 1.0 / (nN * m - bound)
    H = regime2.printed_sequence(TABLE_3, t)
    np.testing.assert_allclose(H.beta1[:2, 0], c, rtol=1e-12)
    np.testing.assert_allclose(H.a[:2, 0] - 1.0, c, rtol=1e-7)
    np.testing.assert_allclose(H.beta1[2], 3.0)


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((TABLE_2, 0.1), {}, "constant expert"),
        ((TABLE_3, 0.1), {"atom": 0}, "constant expert"),
        ((TABLE_3, 1.0), {}, "t"),
        ((TABLE_3, [0.1, 0.0]), {}, "t"),
        ((TABLE_3, 0.1), {"bound": 0.0}, "bound"),
        ((MixingMeasure.stack([TABLE_3]), 0.1), {}, "batch"),
    ],
)
def test_printed_sequence_refuses(arguments, options, match):
    with pytest.raises(ValueError, match=match):
        regime2.printed_sequence(*arguments, **options)


# ------------------------------------------------------------------------------------------------------------
# The bound


@pytest.mark.parametrize("r", [1.0, 1.5, 2.0, 5.0])
def test_moving_cost_is_the_minimum_over_a_grid(r):
    rng = np.random.default_rng(0)
    one, two = random_measure(rng, 2, spread=2.0), random_measure(rng, 3, spread=2.0)
    u = np.linspace(0.0, 1.0, 20001)

    def minimum(distances):
        pairs = [(p, q) for p in (1.0, r) for q in (1.0, r)]
        return min(sum(((u * s) ** p + ((1 - u) * s) ** q).min() for s in distances) for p, q in pairs)

    for gate in (True, False):
        cost = regime2.moving_cost(one, two, r, gate=gate)
        for j in range(2):
            for i in range(3):
                s = [abs(one.a[j, 0] - two.a[i, 0]), abs(one.b[j, 0, 0] - two.b[i, 0, 0])]
                s += [abs(one.beta1[j, 0] - two.beta1[i, 0])] * gate
                assert cost[j, i] == pytest.approx(minimum(s), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("gauge", ["as_is", "infimum"])
@pytest.mark.parametrize("r", [1.0, 2.0, 4.0])
def test_no_random_measure_is_below_the_bound(r, gauge):
    rng = np.random.default_rng(1)
    for _ in range(5):
        one, two = random_measure(rng, 2), random_measure(rng, 3)
        bound = regime2.two_point_bound(one, two, r, gauge=gauge)
        assert bound > 0.0
        for k in range(1, 7):
            G = random_measure(rng, k, batch=(300,))
            near = one if k == 2 else two if k == 3 else None
            if near is not None:  # small moves of one of the two
                moves = 0.02 * rng.normal(size=(300, k))
                G = MixingMeasure(*(
                    np.broadcast_to(v, (300, *v.shape)) + moves.reshape(moves.shape + (1,) * (v.ndim - 1))
                    for v in (near.beta0, near.beta1, near.a, near.b)
                ))  # fmt: skip
            total = voronoi_loss(G, one, r, gauge=gauge) + voronoi_loss(G, two, r, gauge=gauge)
            assert total.min() >= bound * (1.0 - 1e-9)


def test_bound_at_a_sure_split_is_the_value_without_the_constant_expert():
    other = sure_split()
    alone = MixingMeasure(TABLE_3.beta0[:1], TABLE_3.beta1[:1], TABLE_3.a[:1], TABLE_3.b[:1])
    for r in (1.0, 2.0, 4.0):
        value = float(voronoi_loss(alone, TABLE_3, r) + voronoi_loss(alone, other, r))
        assert value == pytest.approx(2.0, abs=1e-12)
        for gauge in ("as_is", "infimum"):
            assert regime2.two_point_bound(TABLE_3, other, r, gauge=gauge) == pytest.approx(2.0, abs=1e-6)


def test_bound_is_attained_at_a_moderate_split_for_order_one():
    other = constant_split(TABLE_3).other
    expected = (other.mass[1:] * np.abs(other.a[1:, 0] - 1.0)).sum()
    assert expected == pytest.approx(float(voronoi_loss(other, TABLE_3, 1.0)))
    assert regime2.two_point_bound(TABLE_3, other, 1.0) == pytest.approx(expected)
    quadratic = (other.mass[1:] * np.abs(other.a[1:, 0] - 1.0) ** 2).sum() / 2  # two atoms half way to each
    assert regime2.two_point_bound(TABLE_3, other, 2.0) == pytest.approx(quadratic)


def test_bound_of_equal_measures_is_zero():
    assert regime2.two_point_bound(TABLE_2, TABLE_2) == pytest.approx(0.0, abs=1e-9)
    moved = TABLE_2.translate(0.3, -0.7)
    assert regime2.two_point_bound(TABLE_2, moved, gauge="infimum") == pytest.approx(0.0, abs=1e-9)
    assert regime2.two_point_bound(TABLE_2, moved) > 0.1


def test_bound_in_several_dimensions_and_classes():
    rng = np.random.default_rng(2)
    one, two = random_measure(rng, 2, K=3, d=2), random_measure(rng, 2, K=3, d=2)
    bound = regime2.two_point_bound(one, two)
    assert 0.0 < bound <= float(voronoi_loss(one, two)) and bound <= float(voronoi_loss(two, one))


@pytest.mark.parametrize("function", [regime2.moving_cost, regime2.two_point_bound])
def test_bound_refuses(function):
    with pytest.raises(TypeError, match="G_one"):
        function(1.0, TABLE_2)
    with pytest.raises(ValueError, match="batch"):
        function(TABLE_2, MixingMeasure.stack([TABLE_2]))
    with pytest.raises(ValueError, match="r"):
        function(TABLE_2, TABLE_3, 0.5)
    with pytest.raises(ValueError, match="K = 2|K = 3"):
        function(TABLE_2, random_measure(np.random.default_rng(0), K=3))


def test_bound_refuses_other_gauges():
    with pytest.raises(ValueError, match="gauge"):
        regime2.two_point_bound(TABLE_2, TABLE_3, gauge="last")


# ------------------------------------------------------------------------------------------------------------
# The smallest combination


def test_smallest_combination_of_constant_and_line():
    x = (np.arange(1000) + 0.5) / 500 - 1.0
    value, c = regime2.smallest_combination(np.stack([np.ones_like(x), x]), np.full(1000, 1e-3))
    assert value == pytest.approx(0.5, rel=1e-6) and np.abs(c).max() == 1.0


def test_smallest_combination_against_brute_force():
    rng = np.random.default_rng(4)
    values, weights = rng.normal(size=(2, 9)), rng.uniform(0.1, 1.0, size=9)
    other = np.linspace(-1.0, 1.0, 40001)[:, None]
    brute = min((np.abs(values[i] + other * values[1 - i]) @ weights).min() for i in range(2))
    value, c = regime2.smallest_combination(values, weights)
    assert value == pytest.approx(brute, rel=1e-4)
    assert value == pytest.approx(float(weights @ np.abs(c @ values)))


def test_smallest_combination_finds_nearly_and_exactly_dependent_functions():
    rng = np.random.default_rng(5)
    values, weights = rng.normal(size=(3, 20)), np.full(20, 0.05)
    for small in (1e-6, 0.0):
        mixed = np.vstack([values, values.sum(0) + small * rng.normal(size=20)])
        value, _ = regime2.smallest_combination(mixed, weights)
        assert (0.1 < value / small < 2.0) if small else value < 1e-14
    assert regime2.smallest_combination(np.zeros((1, 3)), np.ones(3))[0] == 0.0


def test_smallest_combination_refuses():
    with pytest.raises(ValueError, match="weights"):
        regime2.smallest_combination(np.ones((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match="weights"):
        regime2.smallest_combination(np.ones((2, 3)), np.zeros(3))
