"""Exponents of the Lojasiewicz inequality: paths of known order, and controls that must not pass."""

import mpmath
import numpy as np
import pytest

from logitmoe import MixingMeasure, density, uniform_design
from replication.chapters.polynomial_rate import (
    Case,
    cases,
    functions_of_order_three,
    path_order,
    split_functions,
    squared_distances,
)
from replication.paper import TABLE_2, TABLE_3
from replication.taylor import rank_decision

CASES = cases()
FAIR = MixingMeasure(
    TABLE_3.beta0, TABLE_3.beta1, TABLE_3.a * [[1, 1], [0, 0]], TABLE_3.b
)  # its constant expert is 1/2


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.truth}-{c.point}")
def test_both_bounds_of_the_exponent_meet(case):
    assert case.order() == pytest.approx(case.alpha, abs=0.01)
    assert case.rank() == case.needed


def test_exponent_is_two_where_the_information_is_regular():
    assert [c.alpha for c in CASES if c.k == 2] == [2, 2]


def test_exponents_are_even_and_at_least_two():
    assert {c.alpha for c in CASES} == {2, 4, 6, 8}


def _atoms(G, b):
    """The constant expert, last, in two equal halves of slopes b and -b, as atoms for `path_order`."""
    rows = [(mpmath.exp(G.beta0[i]), *map(mpmath.mpf, (G.beta1[i, 0], G.a[i, 0], G.b[i, 0, 0]))) for i in range(G.k)]
    m, beta1, a, _ = rows.pop()
    return [*rows, (m / 2, beta1, a, b), (m / 2, beta1, a, -b)]


def test_a_path_inside_the_set_has_no_order():
    with pytest.raises(ValueError, match="F above rounding"):
        path_order(lambda eps: _atoms(FAIR, eps), FAIR)
    assert path_order(lambda eps: _atoms(TABLE_3, eps), TABLE_3) == pytest.approx(4, abs=0.01)


def test_the_order_of_a_path_that_is_not_a_power_is_refused():
    with pytest.raises(ValueError, match="settled"):
        path_order(lambda eps: _atoms(TABLE_3, eps + mpmath.mpf("1e-5")), TABLE_3)


def test_squared_distances_are_those_of_the_densities():
    design = uniform_design(nodes=16, panels=4)
    G = TABLE_3.split(1, b=[[[0.3], [0.0]], [[-0.3], [0.0]]])
    expected = design.mean(((density(G, design.points) - density(TABLE_3, design.points)) ** 2).sum(axis=0))
    found = squared_distances(lambda eps: _atoms(TABLE_3, eps), TABLE_3, [0.3])
    np.testing.assert_allclose(found, [expected], rtol=1e-9)


def test_order_follows_the_pace_of_a_path():
    assert path_order(lambda eps: _atoms(TABLE_3, eps**2), TABLE_3) == pytest.approx(8, abs=0.01)


def test_one_batch_measure_or_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="K = 2"):
        path_order(lambda eps: [], MixingMeasure.stack([TABLE_2]))


def test_ranks_fall_where_a_relation_is_known():
    """At the constant expert f'' is a multiple of f': with f'' among the functions the rank is lost."""
    terms = functions_of_order_three()
    lost = rank_decision(TABLE_3, terms, digits=50).rank
    assert lost == len(terms) - 3  # x^q f_2'', q = 0, 1, 2
    assert rank_decision(TABLE_2, terms, digits=50).rank == len(terms) == 18


def test_split_functions_count():
    assert [len(split_functions(order)) for order in (2, 3)] == [8, 10]


def test_on_the_curve_the_second_order_vanishes():
    by_point = {c.point: c for c in CASES}
    on, off = (by_point[f"constant expert in two, {where} the curve"] for where in ("on", "off"))
    eps = mpmath.mpf("0.01")
    for case, vanishes in ((on, True), (off, False)):
        pair = case.path(eps)[1:]
        p = [1 / (1 + mpmath.exp(-a)) for _, _, a, _ in pair]
        second = sum(m * q * (1 - q) * (1 - 2 * q) * b**2 for (m, _, _, b), q in zip(pair, p, strict=True))
        assert (abs(second) < 1e-10) == vanishes
        first = sum(m * q * (1 - q) * b for (m, _, _, b), q in zip(pair, p, strict=True))
        assert abs(first) < 1e-14
        assert abs(sum(m * q for (m, *_), q in zip(pair, p, strict=True)) - 1 / (1 + mpmath.exp(-1))) < 1e-14


def test_equal_shares_match_two_moments_of_the_gate_slopes_and_not_the_third():
    case = next(c for c in CASES if c.point == "each atom in two, equal shares")
    with mpmath.workdps(50):
        eps = mpmath.mpf("0.01")
        atoms = case.path(eps)
        moments = []
        for cell, (mass, beta1) in zip((atoms[:2], atoms[2:]), ((mpmath.e, 3), (1, 0)), strict=True):
            moments.append([sum(m * (b - beta1) ** q for m, b, _, _ in cell) / mass for q in range(4)])
        gaps = np.abs(np.subtract(*moments))
        assert max(gaps[:3]) < 1e-15  # the mass e is that of the table, in double precision
        assert float(gaps[3] / eps**4) == pytest.approx(4, rel=0.01)


def test_a_case_is_described():
    assert isinstance(CASES[0], Case)
    assert [c.k for c in CASES] == [2, 2, 3, 3, 3, 3, 3, 4, 4, 4]
