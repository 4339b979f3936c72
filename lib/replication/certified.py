r"""Certified ranks: interval arithmetic proves that Taylor functions of the density are linearly independent.

The local lower bound asks for condition (R): that the functions of :func:`~replication.taylor.taylor_terms` have no
linear relation but the 1 + d of translations. Drop the 1 + d functions M^gamma w_j0, \|gamma\| <= 1, of an atom j0 that
is fitted once. A relation of translations that vanishes there is zero, so (R) is that the remaining functions are
independent; for that it suffices that one square matrix of their values, at some points and classes, has a determinant
that is not zero. Here the matrix is eliminated in intervals that are rounded outwards: if no pivot's interval contains
zero, the determinant is not zero, whatever the rounding errors were.

For fixed points this determinant is a real-analytic function of all parameters of the truth. Not zero at one truth, it
is not zero at almost every truth of that K, d and number of atoms. The functions are analytic in x too, so the points
need not lie in the support of X if that support has an interior (for d = 1: if it is infinite).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from mpmath import iv

from logitmoe.checks import as_count, as_covariates, message
from logitmoe.measure import MixingMeasure
from replication.taylor import rank_points, taylor_terms

__all__ = ["Certificate", "certify_rank"]


@dataclass(frozen=True)
class Certificate:
    """Outcome of an elimination in intervals.

    Attributes
    ----------
    proved : bool
        True: (R) holds for this set of over-fitted atoms. False: nothing is proved.
    rank : int
        A proved lower bound of the rank of all Taylor functions; with (R), their number less 1 + d, the rank itself.
    functions : int
        Number of Taylor functions.
    smallest : float
        Lower bound of the smallest pivot in modulus, after each function is divided by its largest value.
    """

    proved: bool
    rank: int
    functions: int
    smallest: float


def certify_rank(G, over, x=None, *, digits=60):
    """Prove, if possible, the rank condition (R) at a truth with the standard gate M(x) = x.

    Parameters
    ----------
    G : MixingMeasure
        The truth, without batch axes; its parameters are taken as the exact numbers that they are in binary.
    over : sequence of bool, length k
        Which atoms are over-fitted; at least one is not.
    x : array_like, shape (m, d), or (m,) when d = 1, optional
        Points. Default: :func:`~replication.taylor.rank_points` for d = 1; for d > 1 twice as many scattered points as
        functions, since functions can be dependent on a tensor grid that are independent elsewhere.
    digits : int, optional
        Decimal digits of the ends of intervals, at least 20.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        If G has batch axes, every atom is over-fitted, or there are fewer values than functions.
    """
    if not isinstance(G, MixingMeasure) or G.batch_shape:
        raise ValueError(message("G", "a MixingMeasure without batch axes", f"{G!r}", "index it first"))
    digits, over = as_count(digits, "digits", minimum=20), tuple(bool(flag) for flag in over)
    if all(over):
        raise ValueError(message("over", "an atom that is fitted once", f"{over}", "(R) is false without one"))
    G, terms = G.canonical(), taylor_terms(G, over)
    pinned = over.index(False)
    kept = [t for t in terms if not (t.atom == pinned and t.kind == "w")]
    x = as_covariates(_points(terms, G.d) if x is None else x, d=G.d)
    if len(x) * (G.K - 1) < len(kept):
        got = f"{len(x)} points for {len(kept)} functions"
        raise ValueError(message("x", "as many values as functions", got, "add points"))
    previous, iv.dps = iv.dps, digits
    try:
        pivots = _pivots(_columns(G, kept, x))
    finally:
        iv.dps = previous
    proved = len(pivots) == len(kept)
    return Certificate(proved, len(pivots), len(terms), min(pivots, default=0.0))


def _points(terms, d):
    if d == 1:
        return rank_points(terms)
    return np.random.default_rng(0).integers(0, 2**20, (2 * len(terms), d)) / 2**20


def _columns(G, terms, x):
    """Values in intervals: a list with one list for each function, over points and the classes 1..K-1."""
    columns = [[] for _ in terms]
    convert = np.vectorize(lambda v: iv.mpf(float(v)), otypes=[object])
    beta0, beta1, a, b = (convert(v) for v in (G.beta0, G.beta1, G.a, G.b))
    for point in convert(x):
        e = [iv.exp(slope @ point) for slope in beta1]
        odds = [[iv.exp(a[j, s] + b[j, s] @ point) for s in range(G.K)] for j in range(G.k)]
        f = [[o / sum(row) for o in row] for row in odds]
        weight = [iv.exp(beta0[j]) * e[j] for j in range(G.k)]
        total = sum(weight)
        for s in range(G.K - 1):
            g = sum(w * row[s] for w, row in zip(weight, f, strict=True)) / total
            for column, t in zip(columns, terms, strict=True):
                value = f[t.atom][s] - g if t.kind == "w" else _derivative(f[t.atom], s, t.h)
                for base, power in zip(point, t.power, strict=True):
                    value = value * base**power
                column.append(value * e[t.atom])
    return columns


def _derivative(f, s, h):
    """First or second derivative of softmax_s in the logits; h has their orders."""
    logits = [ell for ell, order in enumerate(h) for _ in range(order)]
    one = [int(s == ell) - f[ell] for ell in logits]
    if len(logits) == 1:
        return f[s] * one[0]
    ell, r = logits
    return f[s] * (one[0] * one[1] - f[ell] * (int(ell == r) - f[r]))


def _pivots(columns):
    """Lower bounds of the moduli of the pivots of an elimination that chooses the largest lower bound each time."""
    rows = [[value / _size(max(column, key=_size)) for value in column] for column in columns]
    free, pivots = list(range(len(rows[0]))), []
    while rows:
        best, i, j = max((_size(rows[i][j]), i, j) for i, j in product(range(len(rows)), free))
        if best <= 0:
            break
        pivots.append(float(best))
        pivot = rows.pop(i)
        free.remove(j)
        rows = [[u - row[j] / pivot[j] * v for u, v in zip(row, pivot, strict=True)] for row in rows]
    return pivots


def _size(value):
    """Lower bound of the modulus; not above 0 if the interval contains 0."""
    return max(value.a, -value.b)
