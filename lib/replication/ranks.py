"""The rank of a set of functions on a box, bounded from both sides with proofs.

Linear independence as functions is no matter of a tolerance: for the sigmoid on [0, 1] the functions of equation (9)
are independent, and yet some combination with coefficients of norm 1 is of the order of 1e-7. So
:func:`certified_rank` proves two bounds. From below: a minor of the functions' values at rational points, of which
interval arithmetic shows that it is not zero. From above: linear relations which are found with many digits and then
verified by SymPy as identities.

Functions are SymPy expressions. (The Taylor functions of a density have a certificate of their own,
:mod:`replication.certified`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import mpmath
import numpy as np
import sympy as sp
from sympy.printing.pycode import MpmathPrinter

from logitmoe.checks import message
from logitmoe.gates import Elementwise, as_gate

__all__ = ["CertifiedRank", "certified_rank", "exponents", "symbolic_gate"]

#: SymPy's functions; the hyperbolic tangent in exponentials, which interval arithmetic has and SymPy reduces.
SYMPY = Elementwise(sp, tanh=lambda u: (sp.exp(2 * u) - 1) / (sp.exp(2 * u) + 1))


def exponents(d):
    """Pairs (p, q) of multi-indices with ``|p| + |q| <= 2``, by increasing degree: the indices of equation (9).

    Parameters
    ----------
    d : int
        Number of covariates.

    Returns
    -------
    list of pairs of tuple of int
        (2 d + 2)(2 d + 1) / 2 pairs: 6, 15 and 28 for d = 1, 2 and 3.

    Examples
    --------
    >>> exponents(1)
    [((0,), (0,)), ((1,), (0,)), ((0,), (1,)), ((2,), (0,)), ((1,), (1,)), ((0,), (2,))]
    """
    powers = [index for index in product(range(3), repeat=2 * d) if sum(index) <= 2]
    powers.sort(key=lambda index: (sum(index), [-n for n in index]))
    return [(index[:d], index[d:]) for index in powers]


def symbolic_gate(gate, x):
    """The gate as SymPy expressions, a tuple of length d, of the covariates x, d symbols that are real or positive."""
    return tuple(as_gate(gate).exact(SYMPY, np.array(x, dtype=object)))


@dataclass(frozen=True, eq=False)
class CertifiedRank:
    """Bounds of the rank of a set of functions on a box, each with its proof.

    Attributes
    ----------
    size : int
        Number of functions.
    lower : int
        Size of a minor, of values at `points`, that is not zero.
    upper : int
        `size` less the number of `relations`.
    columns : tuple of int
        The functions in that minor. They are linearly independent.
    points : tuple of tuple of Fraction
        Rational points of the box, one for each column.
    smallest_pivot : float
        Of the elimination in interval arithmetic, a lower bound of the least pivot in absolute value.
    relations : tuple of tuple of sympy.Expr
        Coefficients, one for each function, of linear combinations that SymPy has reduced to zero. The relations
        are linearly independent.
    """

    size: int
    lower: int
    upper: int
    columns: tuple[int, ...]
    points: tuple[tuple[Fraction, ...], ...]
    smallest_pivot: float
    relations: tuple[tuple[sp.Expr, ...], ...]

    @property
    def proved(self):
        """Whether the bounds meet."""
        return self.lower == self.upper

    @property
    def independent(self):
        """True or False if that is proved, else None."""
        if self.lower == self.size:
            return True
        return False if self.upper < self.size else None

    def describe(self, names):
        """The relations as text, each "function = combination of the earlier ones".

        Parameters
        ----------
        names : sequence of str
            Of the functions.

        Returns
        -------
        list of str
        """
        lines = []
        for relation in self.relations:
            last = max(j for j, c in enumerate(relation) if c != 0)
            rest = sum((-c / relation[last] * sp.Symbol(names[j]) for j, c in enumerate(relation[:last])), sp.S.Zero)
            lines.append(f"{names[last]} = {rest}")
        return lines


def certified_rank(functions, x, low, high, *, known=(), dps=50, points=None):
    """Rank of a finite set of functions on a box, bounded from both sides with proofs.

    The functions are evaluated at rational points of the box with `dps` digits. Elimination, column by column, tells
    the columns that depend on earlier ones from those that do not; so far a tolerance, 10^(-dps/2), decides.
    Then the proofs. (1) Elimination of the chosen rows and columns again, in interval arithmetic: if no pivot's
    interval contains 0, the minor is not zero and the chosen functions are independent. (2) For each other column
    the coefficients are replaced by the nearby fractions, and SymPy reduces the relation to zero.

    Parameters
    ----------
    functions : sequence of sympy.Expr
        Continuous on the box (up to a set of measure zero), in the symbols `x` only, with rational numbers, no floats.
    x : sequence of sympy.Symbol
        The d variables.
    low, high : int, Fraction, or a sequence of d of them
        Ends of the box.
    known : sequence of sequences of sympy.Expr
        Coefficients of relations to be verified, instead of the search for rational ones.
    dps : int
        Decimal digits.
    points : int, optional
        Number of points; default twice the number of functions.

    Returns
    -------
    CertifiedRank
        Where a proof fails, the bounds do not meet.

    Raises
    ------
    ValueError
        If a function has another symbol or a float.
    """
    functions, x = [sp.sympify(f) for f in functions], tuple(x)
    size = len(functions)
    for f in functions:
        if f.free_symbols - set(x) or f.has(sp.Float):
            remedy = "substitute rational numbers for parameters"
            raise ValueError(message("functions", f"exact expressions in {x}", f"{f}", remedy))
    box = _rational_points(points or 2 * size, len(x), low, high)
    with mpmath.workdps(dps):
        values = _evaluate(functions, x, box, mpmath.mp)
        rows, columns = _eliminate(values, mpmath.mpf(10) ** (-dps // 2))
        relations = list(known) if known else _fractions(values, rows, columns)
    chosen = tuple(box[i] for i in rows)
    lower, pivot = _certify([functions[j] for j in columns], x, chosen, dps)
    proved = [tuple(map(sp.sympify, c)) for c in relations if _vanishes(sp.Add(*map(sp.Mul, c, functions)))]
    upper = size - (sp.Matrix(proved).rank() if proved else 0)
    return CertifiedRank(size, lower, upper, tuple(columns[:lower]), chosen[:lower], pivot, tuple(proved))


def _rational_points(count, d, low, high):
    """Halton's points, moved a little so that none is in the middle, where some gates are not defined."""
    ends = [[Fraction(end)] * d if np.ndim(end) == 0 else list(map(Fraction, end)) for end in (low, high)]
    def radical_inverse(n, base):
        value, scale = Fraction(0), Fraction(1, base)
        while n:
            n, digit = divmod(n, base)
            value, scale = value + digit * scale, scale / base
        return Fraction(1, 100) + Fraction(97, 100) * value

    bases = list(sp.primerange(2, 30))[:d]
    return [
        tuple(a + (b - a) * radical_inverse(n, base) for a, b, base in zip(*ends, bases, strict=True))
        for n in range(1, count + 1)
    ]


def _evaluate(functions, x, points, context):
    """Values, a list of rows, in the arithmetic of an mpmath context: mp, or iv for intervals."""
    names = {name: getattr(context, name) for name in ("mpf", "exp", "log", "sin", "cos", "sqrt", "pi")}
    names |= {"Abs": abs, "e": context.exp(1)}
    function = sp.lambdify(x, functions, modules=[names, "math"], printer=_Printer, cse=True)
    return [function(*(context.mpf(u.numerator) / u.denominator for u in point)) for point in points]


class _Printer(MpmathPrinter):
    """Prints fractions as quotients of the context's numbers, so that intervals enclose them."""

    def __init__(self, settings=None):
        super().__init__({"fully_qualified_modules": False, "allow_unknown_functions": True, **(settings or {})})

    def _print_Rational(self, expr):
        return f"(mpf({expr.p})/mpf({expr.q}))"

    def _print_Exp1(self, expr):
        return "e"

    def _print_Abs(self, expr):
        return f"Abs({self._print(expr.args[0])})"


def _eliminate(values, tolerance):
    """Rows and columns of a minor that is not small: columns from the left, the largest row for each."""
    table = [list(row) for row in values]
    rows, columns = [], []
    for j in range(len(table[0])):
        scale = max(abs(row[j]) for row in values)
        free = [i for i in range(len(table)) if i not in rows]
        best = max(free, key=lambda i: abs(table[i][j]), default=None)
        if best is None or abs(table[best][j]) <= tolerance * scale:
            continue
        for i in free:
            if i != best:
                factor = table[i][j] / table[best][j]
                table[i] = [a - factor * b for a, b in zip(table[i], table[best], strict=True)]
        rows.append(best)
        columns.append(j)
    return rows, columns


def _fractions(values, rows, columns):
    """For each column that was left out, its expansion in the chosen ones, if the coefficients are simple fractions."""
    minor = mpmath.matrix([[values[i][j] for j in columns] for i in rows]) if rows else None
    relations = []
    for j in sorted(set(range(len(values[0]))) - set(columns)):
        solution = mpmath.lu_solve(minor, mpmath.matrix([values[i][j] for i in rows])) if rows else []
        simple = [Fraction(str(c)).limit_denominator(1000) for c in solution]
        pairs = list(zip(solution, simple, strict=True))
        if all(abs(c - mpmath.mpf(s.numerator) / s.denominator) < 1e-12 for c, s in pairs):
            relation = [sp.S.Zero] * len(values[0])
            relation[j] = sp.S.One
            for column, s in zip(columns, simple, strict=True):
                relation[column] = -sp.Rational(s.numerator, s.denominator)
            relations.append(relation)
    return relations


def _vanishes(expression):
    """Whether SymPy reduces the expression to zero. False says nothing."""
    return sp.expand(expression) == 0 or sp.simplify(expression) == 0


def _certify(functions, x, points, dps):
    """Number of leading pivots whose intervals exclude zero, and a lower bound of the least of them."""
    iv = mpmath.iv
    digits, iv.dps = iv.dps, dps
    try:
        table = _evaluate(functions, x, points, iv)
        least = mpmath.inf
        for n in range(len(table)):
            pivot = iv.mpf(table[n][n])
            if 0 in pivot:
                return n, float(least)
            least = min(least, mpmath.mpf(abs(pivot).a))
            for i in range(n + 1, len(table)):
                factor = table[i][n] / pivot
                table[i] = [a - factor * b for a, b in zip(table[i], table[n], strict=True)]
        return len(table), float(least)
    finally:
        iv.dps = digits
