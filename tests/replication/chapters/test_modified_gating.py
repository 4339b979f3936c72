"""Definition 4.1: the set of equation (9) against loops, ranks against known relations, and proofs that can fail."""

from fractions import Fraction

import mpmath
import numpy as np
import oracles
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from logitmoe import GATES, sample_design, uniform_design
from logitmoe.gates import as_gate
from replication.chapters.modified_gating import conic_ratio, evaluate_set, is_bounded, symbolic_set
from replication.ranks import certified_rank, exponents

INDEPENDENT = ["tanh", "cos", "sin", "sigmoid", "log_abs", "power(3)", "power(4)", "power(5)"]
NAMES = [*GATES, "power(3)"]


def test_exponents_are_all_pairs_of_degree_at_most_two():
    assert [len(exponents(d)) for d in (1, 2, 3)] == [6, 15, 28]
    for d in (1, 2, 3):
        pairs = exponents(d)
        degrees = [sum(p) + sum(q) for p, q in pairs]
        assert len(set(pairs)) == len(pairs) and degrees == sorted(degrees) and degrees[-1] == 2
        assert all(len(p) == len(q) == d for p, q in pairs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_values_against_loops_and_symbols(name, d):
    x = np.random.default_rng(d).uniform(0.1, 2.0, size=(5, d)) * np.array([1, -1, 1, -1, 1])[:, None]
    values = evaluate_set(x, as_gate(name))
    symbols, functions, labels = symbolic_set(name, d)
    assert values.shape == (5, len(functions)) and len(set(labels)) == len(functions)
    for point, row in zip(x, values, strict=True):
        image = oracles.GATES[name](list(point)) if name in oracles.GATES else [u**3 for u in point]
        expected = [
            np.prod([u**n for u, n in zip([*point, *image], p + q, strict=True)]) for p, q in exponents(d)
        ]
        np.testing.assert_allclose(row, expected, rtol=1e-13)
        exact = [complex(f.subs(dict(zip(symbols, map(float, point), strict=True)))) for f in functions]
        np.testing.assert_allclose(row, exact, rtol=1e-12)
    assert labels[:2] == ["1", "x" if d == 1 else "x1"]


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.parametrize("low", [0, -1])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_sets_that_are_independent(name, low, d):
    x, functions, _ = symbolic_set(name, d, positive=low == 0)
    result = certified_rank(functions, x, low, 1)
    assert result.proved and result.independent and result.lower == len(functions)
    assert result.smallest_pivot > 1e-7 and result.relations == ()
    assert len(set(result.points)) == len(functions)
    assert all(low < u < 1 for point in result.points for u in point)


@pytest.mark.parametrize(
    ("name", "low", "ranks"),
    [
        ("identity", 0, (3, 6, 10)),
        ("power(2)", -1, (5, 13, 25)),
        ("power(1)", -1, (3, 6, 10)),
        ("normalize", -1, (5, 13, 24)),  # size less 1 + d (d - 1) / 2
        ("normalize", 0, (3, 13, 24)),  # x / |x| = 1 for x > 0
    ],
)
def test_sets_that_are_dependent(name, low, ranks):
    for d, rank in enumerate(ranks, 1):
        x, functions, labels = symbolic_set(name, d, positive=low == 0)
        result = certified_rank(functions, x, low, 1)
        assert result.proved and result.independent is False and result.lower == rank
        # The relations hold for the library's gate too, and they are independent.
        points = np.random.default_rng(3).uniform(low + 0.01, 1, size=(40, d))
        coefficients = np.array(result.relations, dtype=float)
        assert np.abs(evaluate_set(points, as_gate(name)) @ coefficients.T).max() < 1e-14
        assert np.linalg.matrix_rank(coefficients) == len(functions) - rank
        assert len(result.describe(labels)) == len(functions) - rank


def test_description_of_a_relation():
    x, functions, labels = symbolic_set("normalize", 2)
    text = certified_rank(functions, x, -1, 1).describe(labels)
    assert sorted(text) == ["M1*x2 = M2*x1", "M2**2 = 1 - M1**2"]


def test_a_small_difference_is_decided_by_digits_and_not_by_a_tolerance():
    x = sp.Symbol("x", real=True)
    functions = [sp.S.One, x, x + sp.Rational(1, 10**20) * x**2]
    enough = certified_rank(functions, [x], 0, 1, dps=60)
    assert enough.independent and 0 < enough.smallest_pivot < 1e-19
    # 20 digits see a relation, and SymPy refuses to confirm it: nothing is claimed.
    few = certified_rank(functions, [x], 0, 1, dps=20)
    assert (few.lower, few.upper, few.proved, few.independent) == (2, 3, False, None)


def test_intervals_that_contain_zero_prove_nothing():
    x = sp.Symbol("x", real=True)
    # Identically zero, though it is not seen as such before it is evaluated; and rounding leaves 1e-50 or so.
    zero = sp.sin(x) ** 2 + sp.cos(x) ** 2 - 1 + sp.Mul(0, x)
    result = certified_rank([sp.S.One, zero], [x], 0, 1)
    assert result.lower == 1 and result.upper == 1 and result.independent is False


def test_relations_with_other_coefficients_are_verified_and_wrong_ones_refused():
    x = sp.Symbol("x", real=True)
    functions = [sp.cos(x), sp.sin(x), sp.cos(x - 1)]
    search = certified_rank(functions, [x], 0, 1)
    assert (search.lower, search.upper) == (2, 3)  # cos 1 and sin 1 are not simple fractions
    right = [(sp.cos(1), sp.sin(1), -1)]
    assert certified_rank(functions, [x], 0, 1, known=right).proved
    assert certified_rank(functions, [x], 0, 1, known=[(1, 1, -1)]).relations == ()
    twice = certified_rank(functions, [x], 0, 1, known=[*right, (2 * sp.cos(1), 2 * sp.sin(1), -2)])
    assert twice.upper == 2


@given(st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_rank_of_polynomials_is_that_of_their_coefficients(rows):
    x = sp.Symbol("x", real=True)
    functions = [sum(c * x**n for n, c in enumerate(row)) + sp.S.Zero for row in rows]
    result = certified_rank(functions, [x], -1, Fraction(1, 2))
    assert result.lower <= result.upper
    assert result.lower == sp.Matrix(rows).rank()
    columns = list(result.columns)
    assert sp.Matrix([rows[j] for j in columns]).rank() == len(columns) if columns else not any(map(any, rows))


def test_conic_ratio_against_fifty_digits():
    with mpmath.workdps(50):
        nodes = mpmath.calculus.quadrature.GaussLegendre(mpmath.mp).calc_nodes(5, mpmath.mp.prec)
        for name, M in (("sigmoid", lambda u: 1 / (1 + mpmath.exp(-u))), ("tanh", mpmath.tanh), ("cos", mpmath.cos)):
            gram = mpmath.zeros(6)
            for z, weight in nodes:
                u = (z + 1) / 2
                h = mpmath.matrix([1, u, M(u), u * u, u * M(u), M(u) ** 2])
                gram += weight / 2 * h * h.T
            values = sorted(mpmath.eigsy(gram, eigvals_only=True))
            expected = float(mpmath.sqrt(values[0] / values[-1]))
            assert conic_ratio(name, uniform_design()) == pytest.approx(expected, rel=1e-8)
    assert conic_ratio("sigmoid", uniform_design()) == pytest.approx(4.97e-7, rel=1e-2)
    assert conic_ratio("identity", uniform_design()) < 1e-13
    assert conic_ratio("normalize", uniform_design(-1, 1, d=2)) < 1e-13


def test_few_support_points_make_every_set_dependent():
    for points, dependent in ((5, True), (6, False)):
        ratio = conic_ratio("tanh", sample_design(np.linspace(0, 1, points)))
        assert (ratio == 0.0) == dependent


def test_boundedness():
    assert all(is_bounded(name, -1, 1) for name in NAMES if name != "log_abs")
    assert not is_bounded("log_abs", 0, 1) and not is_bounded("log_abs", -1, 0)
    assert is_bounded("log_abs", Fraction(1, 10), 1) and is_bounded("log_abs", -2, -1)


def test_only_exact_expressions_are_proved():
    x = sp.Symbol("x", real=True)
    with pytest.raises(ValueError, match="functions: expected exact"):
        certified_rank([0.5 * x], [x], 0, 1)
    with pytest.raises(ValueError, match="functions: expected exact"):
        certified_rank([sp.Symbol("y")], [x], 0, 1)
