"""Definition 4.1 of the paper: when is a gate M a "modified function"?

Definition 4.1 asks of M that it is bounded and that the functions of equation (9),

    ``x^p M(x)^q``  for multi-indices p, q with ``0 <= |p| + |q| <= 2``,

are linearly independent "for almost surely X". It is read here as: no linear combination of them, other than the
trivial one, is zero for almost every X. If X has a positive density on a box and M is continuous there, this is
linear independence as functions on the box, which :func:`~replication.ranks.certified_rank` decides with proofs.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from logitmoe.checks import as_covariates
from logitmoe.gates import as_gate
from replication.ranks import exponents, symbolic_gate

__all__ = ["conic_ratio", "evaluate_set", "is_bounded", "symbolic_set"]


def evaluate_set(x, gate):
    """Values of the functions of equation (9).

    Parameters
    ----------
    x : array_like, shape (m, d), or (m,) when d = 1
        Points.
    gate : Gate, str or callable
        The map M.

    Returns
    -------
    ndarray, shape (m, N)
        One column for each pair of :func:`~replication.ranks.exponents`.
    """
    x = as_covariates(x)
    both = np.concatenate([x, as_gate(gate)(x)], axis=1)
    powers = np.array([p + q for p, q in exponents(x.shape[1])])
    return np.prod(both[:, None, :] ** powers, axis=2)


def conic_ratio(gate, design):
    """How nearly dependent the set of equation (9) is: its smallest singular value, divided by its largest.

    The singular values are those of the map from coefficients c to sum_j c_j h_j in L2 of the design, for the
    functions h_j as they are (not normalised): roots of the eigenvalues of the matrix of E[h_i(X) h_j(X)]. The
    smallest one is the least root mean square of a combination with coefficients of norm 1. For d = 1 such a
    combination is a polynomial of degree 2 in (x, M(x)), zero where the graph of M lies on a conic: hence the name.

    Parameters
    ----------
    gate : Gate, str or callable
        The map M.
    design : Design
        Distribution of X.

    Returns
    -------
    float
        In double precision: below 1e-13 it is rounding, and whether the set is dependent is for
        :func:`~replication.ranks.certified_rank` to decide.

    """
    matrix = np.sqrt(design.weights)[:, None] * evaluate_set(design.points, gate)
    if len(matrix) < matrix.shape[1]:  # fewer points than functions
        return 0.0
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(values[-1] / values[0])


def symbolic_set(gate, d, *, positive=False):
    """The functions of equation (9) as SymPy expressions.

    Parameters
    ----------
    gate : Gate or str
        With a formula, or a name such as "power(3)".
    d : int
        Number of covariates.
    positive : bool
        Whether the covariates are positive: ``x / |x|`` is then 1. Otherwise they are real.

    Returns
    -------
    x : tuple of sympy.Symbol, length d
    functions : list of sympy.Expr
        In the order of :func:`~replication.ranks.exponents`.
    names : list of str
        Such as "x1*M2".
    """
    suffixes = [""] if d == 1 else range(1, d + 1)
    assumption = {"positive": True} if positive else {"real": True}
    x = tuple(sp.Symbol(f"x{i}", **assumption) for i in suffixes)
    labels = tuple(sp.Symbol(f"M{i}") for i in suffixes)
    M = symbolic_gate(gate, x)
    pairs = [(sp.Mul(*map(sp.Pow, x + M, p + q)), sp.Mul(*map(sp.Pow, x + labels, p + q))) for p, q in exponents(d)]
    functions, names = zip(*pairs, strict=True)
    return x, list(functions), [str(name) for name in names]


def is_bounded(gate, low, high):
    """Whether a gate is bounded on the box of points with all coordinates in an interval.

    Parameters
    ----------
    gate : Gate or str
        With a formula, or a name such as "power(3)".
    low, high : int or Fraction
        Ends of the interval, low < high. Points where the gate has no value are left out.

    Returns
    -------
    bool
        For gates that act element by element. If M is finite at 0, the only point where one of them can be
        singular, or if 0 is outside, M is continuous on a compact interval; otherwise SymPy's limits at 0 from within
        the interval decide. The components of ``x / ||x||`` are cosines.

    """
    u = sp.Symbol("u", real=True)
    expression = symbolic_gate(gate, (u,))[0]
    if as_gate(gate).name == "normalize" or not low <= 0 <= high or expression.subs(u, 0).is_finite:
        return True
    sides = [side for side, inside in (("-", low < 0), ("+", high > 0)) if inside]
    return all(bool(sp.limit(expression, u, 0, side).is_finite) for side in sides)
