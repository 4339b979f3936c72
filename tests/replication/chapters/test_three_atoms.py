"""Three atoms with the density of two: exact ranks against known pairs and against sympy, and the search."""

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from logitmoe.losses import voronoi_loss
from logitmoe.measure import MixingMeasure, Theta
from logitmoe.model import density
from replication.chapters.three_atoms import (
    CONSTANT,
    Line,
    Triple,
    candidates,
    enumerate_triples,
    lines_of,
    measure_of,
    search,
)
from replication.pairs import exchange, swap
from replication.pairs_modified import parallel_lines
from replication.paper import TABLE_2, TABLE_3

GRID = np.linspace(-2.0, 2.0, 201)
U, V1, V2 = Line(3, Fraction(-1, 3)), Line(2, Fraction(1, 2)), Line(-1, Fraction(1))
LINES = U, V1, V2
ORDERS = [(1.0, -0.5), (-0.25, 0.5), (1.0, 0.5), (-1.0, -0.5), (0.5, 1.0), (-0.5, -1.0)]


def binary(beta, experts):
    """Measure with K = 2 from (beta0, beta1) and (a, b) of each atom."""
    (beta0, beta1), (a, b), zero = np.transpose(beta), np.transpose(experts), np.zeros(len(beta))
    return MixingMeasure(beta0, beta1[:, None], np.stack([a, zero], 1), np.stack([b, zero], 1)[..., None])


def twins(lines, found):
    """The measures among the unexplained triples that have positive masses."""
    measures = (measure_of(lines, triple) for triple in found.unexplained)
    return [G for G in measures if G is not None]


def same(G, H):
    return bool(voronoi_loss(G, H, 2.0, gauge="infimum") < 1e-9)


# Lines and candidates


def test_lines_of_table_2_are_exact():
    assert lines_of(TABLE_2) == LINES
    assert lines_of(TABLE_2.translate(0.5, -1.25)) == LINES


def test_lines_need_integer_slopes():
    with pytest.raises(ValueError, match="integer slopes"):
        lines_of(TABLE_3)
    with pytest.raises(ValueError, match="integer slopes"):
        lines_of(binary([(1.0, 3.0), (0.0, 0.0)], [(-1.0, 2.5), (1.0, -1.0)]))
    with pytest.raises(ValueError, match="k = 2, K = 2, d = 1"):
        lines_of(TABLE_2.split(0))


def test_candidates_share_the_first_pole():
    found = candidates(LINES)
    sizes = {U.zero: (1, 3), V1.zero: (2,), V2.zero: (1,)}
    expected = {(b * sign, zero) for zero, slopes in sizes.items() for b in slopes for sign in (1, -1)}
    assert {(e.slope, e.zero) for e in found} == expected and len(found) == len(expected)
    assert len(candidates(LINES, 4)) == 24


# Enumeration


def test_table_2_has_only_refinements():
    found = enumerate_triples(LINES, candidates(LINES), 8, np.random.default_rng(0))
    assert found.tested == 8 * 8 * 9 * 44
    assert {triple.experts for triple in found.refinements} == {(V1, V2, V1), (V1, V2, V2)}
    assert all(triple.slopes in ((3, 0, 3), (3, 0, 0)) for triple in found.refinements)
    assert twins(LINES, found) == []
    # what is left are combinations with a negative mass: an expert is 1 minus its mirror image
    assert all(CONSTANT in triple.experts for triple in found.unexplained)


@pytest.mark.parametrize("pair", [exchange((0.5, 2.0), (-1.0, 1.0), 0.5), exchange((1.0, 3.0), (-1.0, 2.0), 0.5)])
def test_control_finds_the_exchange(pair):
    lines = lines_of(pair.measure)
    found = twins(lines, enumerate_triples(lines, candidates(lines), 5, np.random.default_rng(0)))
    assert len(found) == 1
    assert np.abs(density(found[0], GRID) - density(pair.measure, GRID)).max() < 1e-13
    assert same(found[0], pair.other)


def test_control_finds_doubling_and_swap():
    truth = binary([(1.0, 3.0), (0.0, 0.0)], [(-1.0, 2.0), (1.0, -2.0)])
    doubled = binary([(2.0, 6.0), (1.0 + np.log(2.0), 3.0), (0.0, 0.0)], [(-1, 2), (0, 0), (1, -2)])
    assert np.abs(density(doubled, GRID) - density(truth, GRID)).max() < 1e-14
    lines = lines_of(truth)
    found = twins(lines, enumerate_triples(lines, candidates(lines), 6, np.random.default_rng(0)))
    assert all(np.abs(density(G, GRID) - density(truth, GRID)).max() < 1e-12 for G in found)
    assert any(same(G, doubled) for G in found)
    swapped = swap((1.0, 3.0), (-1.0, 2.0)).other
    assert any(same(G, swapped) for G in found)


@pytest.mark.parametrize(
    ("experts", "slopes", "nullity"),
    [
        ((V1, V2, V1), (3, 0, 3), 2),  # a refinement
        ((V1, V2, Line(3, U.zero)), (3, 0, 3), 1),  # the truth and an atom of mass 0
        ((V1, Line(1, V2.zero), CONSTANT), (3, 0, 0), 1),  # an expert as 1 minus its mirror image
        ((Line(3, U.zero), V2, V2), (3, 0, 1), 0),
    ],
)
def test_ranks_agree_with_exact_algebra(experts, slopes, nullity):
    t = sp.Integer(3)  # in place of exp(1 / 6), so that all is rational

    def sigma(e, w):
        return w**e.slope / (w**e.slope + t ** int(6 * e.zero * e.slope))

    rows = []
    for w in map(sp.Integer, range(2, 9)):
        gate, one, two = (sigma(line, w) for line in LINES)
        g = gate * one + (1 - gate) * two
        row = []
        for e, c in zip(experts, slopes, strict=True):
            row += [w**c * v for v in ((1 - g, -g) if e == CONSTANT else (sigma(e, w) - g,))]
        rows.append(row)
    matrix = sp.Matrix(rows)
    assert matrix.cols - matrix.rank() == nullity
    found = enumerate_triples(LINES, candidates(LINES), 3, np.random.default_rng(1))
    known = {(r.experts, r.slopes): r.nullity for r in found.refinements + found.unexplained}
    reported = nullity == 2 or CONSTANT in experts
    assert known.get((experts, slopes), 0) == (nullity if reported else 0)


def test_masses_of_a_refinement_and_none():
    triple = Triple((V1, V2, V1), (3, 0, 3), 2, 2)
    assert same(measure_of(LINES, triple), TABLE_2)
    mirror = Triple((V1, Line(1, Fraction(1)), CONSTANT), (3, 0, 0), 1, 0)
    assert measure_of(LINES, mirror) is None


# Search


def test_search_finds_the_exchange_where_it_exists():
    pair = exchange((0.0, -1.1), (-3.3, -3.5), -3.5)
    found = search(pair.measure, 3, 20, np.random.default_rng(0), max_iter=150)
    hits = found.residual < 1e-10
    assert (found.residual[:-1] <= found.residual[1:]).all()
    far = hits & (found.distance > 0.1)
    assert far.any()
    assert all(voronoi_loss(found.measure[i], pair.other, 2.0, gauge="infimum") < 1e-6 for i in np.flatnonzero(far))


def test_search_finds_only_refinements_at_table_2():
    found = search(TABLE_2, 3, 40, np.random.default_rng(0))
    hits = found.residual < 1e-10
    assert hits.any()
    assert found.distance[hits].max() < 1e-7
    assert found.residual[found.distance > 0.1].min() > 1e-6
    assert Theta.cube(10.0).contains(found.measure).all()


def test_search_checks_its_arguments():
    with pytest.raises(ValueError, match="K = 2, d = 1"):
        search(MixingMeasure.stack([TABLE_2, TABLE_2]), 3, 2, np.random.default_rng(0))


# The pair of parallel lines


@pytest.mark.parametrize("shifts", ORDERS)
def test_enumeration_finds_parallel_lines(shifts):
    pair = parallel_lines(u=(0.5, 1.0), shifts=shifts)
    lines = lines_of(pair.measure)
    found = enumerate_triples(lines, candidates(lines), 3, np.random.default_rng(0))
    others = twins(lines, found)
    assert others
    assert all(same(G, pair.other) for G in others)
