"""Covers, brackets and the Lipschitz bound of Lemma B.1."""

import numpy as np
import pytest
from scipy.special import expit

from logitmoe import MixingMeasure, density, uniform_design
from replication.chapters.density_rate import cover_radii, lipschitz_bound, monotone_brackets
from replication.paper import TABLE_2


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
