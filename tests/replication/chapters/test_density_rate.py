"""Covers, brackets and the Lipschitz bound of Lemma B.1; the gain in log-likelihood; the entropy integral."""

import numpy as np
import pytest
from scipy import integrate
from scipy.special import expit

from logitmoe import MixingMeasure, density, uniform_design
from logitmoe.newton import log_likelihood_difference
from replication.chapters.density_rate import (
    averages,
    cover_radii,
    entropy_integral,
    likelihood_gains,
    lipschitz_bound,
    monotone_brackets,
    psi,
    psi_printed,
    second_opinion,
)
from replication.paper import TABLE_2

SIZES = (1000, 100_000)


def random_measures(rng, size, k, K, d, scale=2.0):
    return MixingMeasure(*(scale * rng.standard_normal((size, *s)) for s in ((k,), (k, d), (k, K), (k, K, d))))


@pytest.mark.parametrize("weighted", [True, False])
def test_radii_are_covering_radii_and_centres_are_separated(weighted):
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(3), (60, 5)).swapaxes(1, 2)
    weights = rng.dirichlet(np.ones(5)) if weighted else None
    gap = np.abs(values[:, None] - values).sum(axis=2)
    distance = gap @ weights if weighted else gap.max(axis=-1)
    radii, centres = cover_radii(values, 20, weights)
    assert len(set(centres)) == 20 and (np.diff(radii) <= 0).all()
    for i in range(19):
        assert radii[i] == pytest.approx(distance[:, centres[: i + 1]].min(axis=1).max())
        chosen = distance[np.ix_(centres[: i + 2], centres[: i + 2])] + 9.0 * np.eye(i + 2)
        assert chosen.min() >= radii[i] - 1e-12


def test_a_cover_of_all_members_has_radius_zero():
    values = np.arange(4.0).reshape(4, 1, 1)
    radii, centres = cover_radii(values, 4)
    assert radii.tolist() == [3.0, 1.0, 1.0, 0.0] and sorted(centres) == [0, 1, 2, 3]


@pytest.mark.parametrize(("k", "K", "d"), [(1, 2, 1), (3, 3, 1), (2, 4, 2)])
def test_lipschitz_bound_holds(k, K, d):
    rng = np.random.default_rng(1)
    one, two = random_measures(rng, 400, k, K, d), random_measures(rng, 400, k, K, d)
    x = rng.uniform(-1.0, 1.0, (50, d))
    for share in (1e-3, 0.1, 1.0):
        fields = ("beta0", "beta1", "a", "b")
        near = MixingMeasure(*(getattr(one, f) + share * (getattr(two, f) - getattr(one, f)) for f in fields))
        gap = np.abs(density(one, x) - density(near, x)).sum(axis=-2).max(axis=-1)
        assert (gap <= lipschitz_bound(one, near, np.sqrt(d)) * (1 + 1e-10)).all()


def test_lipschitz_bound_is_attained_in_the_limit():
    """One expert, K = 2, a = 0: the density of class 1 has the derivative 1/4, and two classes make 1/2."""
    one = MixingMeasure([0.0], [[0.0]], [[0.0, 0.0]], [[[0.0], [0.0]]])
    two = MixingMeasure([0.0], [[0.0]], [[1e-4, 0.0]], [[[0.0], [0.0]]])
    gap = np.abs(density(one, [0.0]) - density(two, [0.0])).sum()
    assert gap == pytest.approx(lipschitz_bound(one, two), rel=1e-6)


def test_lipschitz_bound_by_hand():
    one = MixingMeasure([1.0, 0.0], [[2.0], [0.0]], np.zeros((2, 2)), np.zeros((2, 2, 1)))
    two = MixingMeasure([0.0, 0.0], [[0.0], [0.5]], [[1.0, 0], [0, 0]], [[[3.0], [0]], [[0], [0]]])
    assert lipschitz_bound(one, two, 2.0, 10.0) == pytest.approx(0.5 * (1 + 20 + 5) + 0.5 * (1 + 6))


def test_brackets_against_dynamic_programming():
    theta = np.linspace(-2.0, 2.0, 60)
    design = uniform_design(nodes=4, panels=1)
    p = expit(theta[:, None] + design.points[:, 0])
    for size in (0.05, 0.1, 0.3, 1.0):
        fewest = np.full(len(p), np.inf)
        fewest[0] = 0
        for j in range(1, len(p)):
            for i in range(j):
                square = (np.sqrt(p[j]) - np.sqrt(p[i])) ** 2 + (np.sqrt(1 - p[j]) - np.sqrt(1 - p[i])) ** 2
                if 0.5 * square @ design.weights <= size**2:
                    fewest[j] = min(fewest[j], fewest[i] + 1)
        assert monotone_brackets(p, design.weights, size) == fewest[-1]


def test_bad_input():
    values = np.zeros((3, 2, 4))
    with pytest.raises(ValueError, match="count"):
        cover_radii(values, 4)
    with pytest.raises(ValueError, match="weights"):
        cover_radii(values, 2, [1.0, -1.0, 0.5, 0.5])
    with pytest.raises(ValueError, match="values"):
        cover_radii(np.zeros((0, 2, 4)), 1)
    with pytest.raises(ValueError, match="G_other"):
        lipschitz_bound(TABLE_2, TABLE_2.split(0))
    with pytest.raises(ValueError, match="radius_x"):
        lipschitz_bound(TABLE_2, TABLE_2, -1.0)
    with pytest.raises(TypeError, match="G_other"):
        lipschitz_bound(TABLE_2, None)
    rising = np.linspace(0.1, 0.9, 5)[:, None]
    with pytest.raises(ValueError, match="size"):
        monotone_brackets(rising, [1.0], 0.01)
    with pytest.raises(ValueError, match="probability"):
        monotone_brackets(rising[::-1], [1.0], 0.5)


@pytest.fixture(scope="module")
def gains():
    return likelihood_gains(TABLE_2, (2, 3), SIZES, 3, np.random.default_rng(0), starts=8, p=32)


def test_gains_are_those_of_the_fits(gains):
    found = gains[3]
    assert found.mle.shape == found.em.shape == found.at_bound.shape == (2, 3)
    np.testing.assert_allclose(found.mle, log_likelihood_difference(found.fits, TABLE_2, found.samples))
    assert found.fits.k == 3
    np.testing.assert_allclose(found.samples.weights.sum(axis=(-1, -2)), np.repeat(SIZES, 3).reshape(2, 3))


def test_every_estimate_is_at_least_as_likely_as_the_truth_and_the_maximiser_beats_em(gains):
    for found in gains.values():
        assert found.em.min() > -1e-6
        assert (found.mle >= found.fewer - 1e-9).all()
        assert (found.mle >= found.em - 1e-6).all()
        assert (found.mle - found.em).max() > 0.5  # EM does stop short somewhere


def test_a_model_with_one_atom_more_gains_no_less_on_the_same_samples(gains):
    np.testing.assert_array_equal(gains[2].samples.weights, gains[3].samples.weights)
    assert (gains[3].mle > gains[2].mle - 0.1).all()


def test_mean_error_and_trend_of_twice_the_gain(gains):
    values = 2.0 * gains[2].mle
    mean, error = gains[2].twice()
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(6))
    slope, _ = gains[2].trend()
    assert slope == pytest.approx((values[1].mean() - values[0].mean()) / 2.0)  # two decades
    np.testing.assert_allclose(gains[2].by_size()[0], values.mean(axis=1))


def test_another_method_agrees(gains):
    onward, afresh = second_opinion(gains[2], np.random.default_rng(1), samples=2, starts=2)
    assert onward.shape == (2,)
    assert (np.abs(onward) < 0.2).all()
    assert afresh.shape == (2, 2)
    assert afresh.max() < 0.5
    worse = likelihood_gains(TABLE_2, (2,), (1000,), 2, np.random.default_rng(0), starts=4, p=32)[2]
    poor = type(worse)(**{**vars(worse), "fits": TABLE_2.broadcast_to((1, 2))})
    onward, _ = second_opinion(poor, np.random.default_rng(1), samples=2, starts=1)
    assert (onward > 0.5).all()  # control: from the truth there is something to gain


def test_starts_come_in_four_kinds():
    with pytest.raises(ValueError, match="multiple of 4"):
        likelihood_gains(TABLE_2, (2,), (1000,), 2, np.random.default_rng(0), starts=6)


@pytest.mark.parametrize("A", [0.3, 1.0, 40.0])
@pytest.mark.parametrize("shift", [0.0, 1.0])
@pytest.mark.parametrize("xi", [1e-3, 0.2, 0.95])
def test_entropy_integral_against_quadrature(A, shift, xi):
    value, _ = integrate.quad(lambda u: np.sqrt(A * (shift + u)) * np.exp(-u), -np.log(xi), -np.log(xi**2 / 2**13))
    assert entropy_integral(xi, A, shift) == pytest.approx(max(value, xi), rel=1e-8)


def test_psi_dominates_and_the_printed_one_does_not():
    xi = np.concatenate([np.logspace(-30, -0.01, 100), 1.0 - np.logspace(-1, -8, 20)])
    for A in (0.01, 1.0, 100.0):
        assert (entropy_integral(xi, A) <= psi(xi, A)).all()
    ratio = entropy_integral(xi, shift=0.0) / psi_printed(xi)
    assert ratio.min() > 1.0
    assert ratio.max() > 1000.0
    np.testing.assert_allclose(ratio[0], 1.0, atol=0.02)


def test_psi_over_the_square_falls():
    xi = np.linspace(1e-6, 1.0 - 1e-6, 1000)
    assert (np.diff(psi(xi) / xi**2) < 0.0).all()


@pytest.mark.parametrize("xi", [0.0, 1.0, -0.1, 2.0])
def test_xi_outside_the_unit_interval_is_refused(xi):
    with pytest.raises(ValueError, match="inside"):
        psi(xi)


def test_the_average_measure_depends_on_a_translation_and_the_average_density_does_not():
    x = np.array([[0.0], [1.0]])
    near = TABLE_2.split(0, b=[[[2.6], [0.0]], [[2.4], [0.0]]])
    one, other = (averages(near.translate(0.0, t1), TABLE_2, x) for t1 in (0.0, 8.0))
    np.testing.assert_allclose(one[0], other[0], rtol=1e-12)
    assert np.abs(one[1] - other[1]).max() > 0.01
    np.testing.assert_allclose(one[0], 0.5 * (density(near, x) + density(TABLE_2, x)))
    low, high = np.sort([density(near, x), density(TABLE_2, x)], axis=0)
    assert ((one[1] >= low - 1e-15) & (one[1] <= high + 1e-15)).all()  # a weighted average
