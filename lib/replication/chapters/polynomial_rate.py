r"""How fast the mean squared difference of densities vanishes near the set of measures with the true density.

For a truth G* let

    F(G) = E_X sum_s (g_G - g_G*)^2,    Z = {G in Theta^k: F(G) = 0}.

F is analytic in the parameters, so F >= c dist(., Z)^alpha on a compact Theta (Lojasiewicz).  The smallest alpha that
does near a point of Z is found here from both sides:

* from below by a path that leaves Z at a known pace: :func:`path_order` is the order in which F vanishes along it;
* from above by the rank of the functions in the expansion of the density, where the book's proofs ask for one.

A :class:`Case` holds both for one point of Z, and :func:`cases` those of the chapter.  Everything is computed with 50
digits, d = 1, K = 2 and M(x) = x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np

from logitmoe.checks import as_count, message
from logitmoe.divergences import uniform_design
from logitmoe.measure import MixingMeasure
from replication.pairs import gating_copies
from replication.paper import TABLE_2, TABLE_3
from replication.taylor import Term, rank_decision, taylor_terms

__all__ = ["Case", "cases", "functions_of_order_three", "path_order", "split_functions", "squared_distances"]

DIGITS = 50
#: Sizes at which a path is evaluated.
SIZES = (1e-4, 1e-5, 1e-6)
#: X is uniform on [0, 1], at so many Gauss-Legendre nodes.
NODES = 24


@dataclass(frozen=True)
class Case:
    """One point of Z: a path from it, and the functions whose independence bounds F from below.

    Attributes
    ----------
    truth, point : str
        Names: the truth's, and where on Z the path begins.
    G : MixingMeasure
        The truth.
    base : MixingMeasure
        The measure at which the functions are expanded.
    path : callable
        Maps eps (mpf) to atoms, a list of (mass, beta1, a, b): a measure at a distance of at least c * eps from Z.
    terms : tuple of Term
        The functions.
    needed : int
        The rank that the upper bound asks of them.
    alpha : int
        The exponent that the proofs give.
    """

    truth: str
    point: str
    G: MixingMeasure
    base: MixingMeasure
    path: Callable
    terms: tuple[Term, ...]
    needed: int
    alpha: int

    @property
    def k(self) -> int:
        """Number of atoms of the path."""
        return len(self.path(mpmath.mpf("0.01")))

    def order(self) -> float:
        """Order of F along the path: alpha is at least that."""
        return path_order(self.path, self.G)

    def rank(self) -> int:
        """Rank of the functions, with 50 digits."""
        return rank_decision(self.base, self.terms, digits=DIGITS).rank


# ------------------------------------------------------------------------------------------------------------
# F along a path


def squared_distances(path, G, sizes):
    """F along a path, with 50 digits.

    Parameters
    ----------
    path : callable
        Maps eps (mpf) to atoms, a list of (mass, beta1, a, b).
    G : MixingMeasure
        The truth, without batch axes, d = 1, K = 2.
    sizes : sequence of float
        Values of eps.

    Returns
    -------
    ndarray, shape of `sizes`

    Raises
    ------
    ValueError
        If G does not fit, or F is not above its rounding error somewhere: larger sizes are needed, or F is zero on the
        path.
    """
    if G.batch_shape or G.d != 1 or G.K != 2:
        raise ValueError(message("G", "one measure with d = 1 and K = 2", f"{G!r}", "index it first"))
    with mpmath.workdps(DIGITS):
        values = np.array([float(_squared_distance(path(mpmath.mpf(e)), G)) for e in sizes])
    if values.min() < 10.0 ** (10 - 2 * DIGITS):
        raise ValueError(message("path", "F above rounding", f"{values.min():.0e}", "use larger sizes"))
    return values


def path_order(path, G, sizes=SIZES):
    """Slope of log F against log eps along a path, between the two smallest sizes, with 50 digits.

    Parameters
    ----------
    path, G
        As in :func:`squared_distances`.
    sizes : sequence of float
        At least two, descending.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the slopes between neighbouring sizes have not settled to 0.02 (smaller sizes are needed), or as in
        :func:`squared_distances`.
    """
    slopes = np.diff(np.log(squared_distances(path, G, sizes))) / np.diff(np.log(sizes))
    if np.ptp(slopes) > 0.02:
        raise ValueError(message("sizes", "sizes at which the order has settled", f"slopes {slopes}", "use smaller"))
    return float(slopes[-1])


def _squared_distance(atoms, G):
    """F of a list of atoms, to the digits of the context."""
    design = uniform_design(nodes=NODES, panels=1)
    true = [tuple(map(mpmath.mpf, row)) for row in _rows(G)]
    true = [(mpmath.exp(beta0), *rest) for beta0, *rest in true]
    total = mpmath.mpf(0)
    for x, weight in zip(design.points[:, 0], design.weights, strict=True):
        x = mpmath.mpf(float(x))
        total += mpmath.mpf(float(weight)) * 2 * (_class_one(atoms, x) - _class_one(true, x)) ** 2
    return total


def _class_one(atoms, x):
    masses = [m * mpmath.exp(beta1 * x) for m, beta1, _, _ in atoms]
    top = sum(m / (1 + mpmath.exp(-a - b * x)) for m, (_, _, a, b) in zip(masses, atoms, strict=True))
    return top / sum(masses)


def _rows(G):
    """(beta0, beta1, a, b) of each atom, class 2 the reference: (k, 4)."""
    G = G.canonical()
    return np.stack([G.beta0, G.beta1[:, 0], G.a[:, 0], G.b[:, 0, 0]], axis=1)


# ------------------------------------------------------------------------------------------------------------
# Functions


def _term(atom, kind, power, derivative=0):
    return Term(atom, kind, (0,), (power,), (derivative,))


def functions_of_order_three():
    """The functions for two atoms that are both fitted by two: x^q w_1, x^q e_j f_j' (q <= 3), x^q e_j f_j'' (q <= 2).

    Returns
    -------
    tuple of Term, length 18
        Without x^q w_2, which the relations of the gauge give.
    """
    terms = [_term(0, "w", q) for q in range(4)]
    for j in (0, 1):
        terms += [_term(j, "f", q, 1) for q in range(4)] + [_term(j, "f", q, 2) for q in range(3)]
    return tuple(terms)


def split_functions(order):
    """The functions for a constant expert, atom 2, in two: x^q w_2, x^q f_2' (q <= order), e_1 f_1' and x e_1 f_1'.

    Parameters
    ----------
    order : int
        Highest power of x.

    Returns
    -------
    tuple of Term
    """
    powers = range(as_count(order, "order") + 1)
    terms = [_term(1, "w", q) for q in powers] + [_term(1, "f", q, 1) for q in powers]
    return (*terms, _term(0, "f", 0, 1), _term(0, "f", 1, 1))


# ------------------------------------------------------------------------------------------------------------
# The paths


def cases():
    """The cases of the chapter, for the truths of Tables 2 and 3.

    Returns
    -------
    list of Case
    """
    none, first, second = (False, False), (True, False), (False, True)
    found = []
    for name, G in (("Table 2", TABLE_2), ("Table 3", TABLE_3)):
        found.append(Case(name, "the truth, $k = k_*$", G, G, _shift(G), taylor_terms(G, none), 6, 2))
    for name, G, over in (("Table 2", TABLE_2, first), ("Table 2", TABLE_2, second), ("Table 3", TABLE_3, first)):
        atom = over.index(True)
        point = f"atom {atom + 1} in two"
        found.append(Case(name, point, G, G, _halves(G, atom), taylor_terms(G, over), 11, 4))
    G, high, low = TABLE_3, mpmath.mpf("0.95"), mpmath.mpf("0.55")
    for where, p2, order in (("off", low, 2), ("on", None, 3)):
        point = f"constant expert in two, {where} the curve"
        path, terms = _constant_split(G, high, p2), split_functions(order)
        found.append(Case("Table 3", point, G, G, path, terms, len(terms), 2 * order))
    G, terms = TABLE_2, functions_of_order_three()
    for shares, gap, pace, alpha in (("unequal", mpmath.mpf("0.1"), 0, 6), ("equal", mpmath.mpf(0), 1, 8)):
        point = f"each atom in two, {shares} shares"
        found.append(Case("Table 2", point, G, G, _both(G, gap, pace), terms, len(terms), alpha))
    copies = gating_copies(G, 1.0, 0.5).other
    terms = taylor_terms(copies, (False,) * 4)
    found.append(Case("Table 2", "gating copies of shift 1", G, copies, _shift(copies), terms, 12, 2))
    return found


def _atoms(G):
    return [(mpmath.exp(mpmath.mpf(row[0])), *map(mpmath.mpf, row[1:])) for row in _rows(G)]


def _shift(G):
    """The slope b of the first atom moved by eps."""

    def path(eps):
        (m, beta1, a, b), *rest = _atoms(G)
        return [(m, beta1, a, b + eps), *rest]

    return path


def _halves(G, atom):
    """An atom in two equal halves, their slopes b moved apart by eps on either side."""

    def path(eps):
        atoms = _atoms(G)
        m, beta1, a, b = atoms.pop(atom)
        return [(m / 2, beta1, a, b + eps), (m / 2, beta1, a, b - eps), *atoms]

    return path


def _constant_split(G, p1, p2=None):
    """The constant expert, the last atom of G, in two of probabilities p1 and p2, with slopes b of the size of eps.

    The density does not change in first order.  Without p2 it is that on the curve: nor does it in second order.
    """

    def path(eps):
        *atoms, (m, beta1, a, _) = _atoms(G)
        p = 1 / (1 + mpmath.exp(-a))

        def curve(q):
            return (1 - 2 * p1) * (p1 - p) * q * (1 - q) + (1 - 2 * q) * (p - q) * p1 * (1 - p1)

        other = mpmath.findroot(curve, (mpmath.mpf("0.05"), mpmath.mpf("0.3")), solver="anderson") if p2 is None else p2
        m1 = m * (p - other) / (p1 - other)
        weight = m1 * p1 * (1 - p1) / ((m - m1) * other * (1 - other))
        one, two = (mpmath.log(q / (1 - q)) for q in (p1, other))
        return [*atoms, (m1, beta1, one, eps), (m - m1, beta1, two, -weight * eps)]

    return path


def _both(G, gap, pace):
    """Both atoms in two, with shares (1 + u)/2 and (1 - u)/2 in atom 1 and the reverse in atom 2, u = gap + pace * eps.

    The gate slopes of each keep the mean and have the variance eps^2: the density does not change in second order.
    """

    def path(eps):
        u = (gap + pace * eps) / 2
        made = []
        for (m, beta1, a, b), share in zip(_atoms(G), (mpmath.mpf(1) / 2 + u, mpmath.mpf(1) / 2 - u), strict=True):
            ratio = mpmath.sqrt((1 - share) / share)
            made += [(m * share, beta1 + eps * ratio, a, b), (m * (1 - share), beta1 - eps / ratio, a, b)]
        return made

    return path
