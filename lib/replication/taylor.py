r"""Local analysis of the density at a measure: the functions of its Taylor expansion, and their rank.

Let G* be a measure with atoms theta_j = (beta1_j, a_j, b_j) and masses m_j = exp(beta0_j), and let

    e_j = exp(beta1_j' M(x)),    f_j = the expert's probability of class s,    w_j = e_j (f_j - g_G*).

For every other measure G, with atoms theta_i and masses m_i, exactly

    [sum_i m_i e_i] (g_G - g_G*) = sum_i m_i e_i (f_i - g_G*),

and the right-hand side vanishes at G = G*. If the atoms of G lie near those of G*, a Taylor expansion of the right-hand
side at theta_j consists of the functions of :func:`taylor_terms`: derivatives of first order for an atom of G* that is
fitted by one atom (*exact*), of second order for an atom that is fitted by several (*over-fitted*). The local lower
bounds of the paper (Theorems 3.1 and 4.4) rest on which linear relations these functions have. Some hold for every
measure: sum_j m_j w_j = 0 and its multiples by powers of M (:func:`gauge_relations`). :func:`rank_decision` finds
whether there are others.

The paper works with u = e f and e g_G in place of w; :func:`printed_terms` lists its functions and
:func:`decomposition` computes its equation (14).

The rank of nearly dependent functions is not decided in double precision. Functions are evaluated with 50 digits, and
the result comes with the smallest singular value that was kept and the largest that was dropped.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from math import factorial, prod
from types import SimpleNamespace

import mpmath
import numpy as np

from logitmoe.checks import as_count, as_covariates, message
from logitmoe.gates import Elementwise, as_gate, identity
from logitmoe.losses import voronoi_cells
from logitmoe.measure import single
from logitmoe.model import density, expert_log_probabilities

__all__ = [
    "Decomposition", "MPMATH", "RankDecision", "Term", "decomposition", "evaluate", "gauge_relations", "model_values",
    "patterns", "printed_terms", "rank_decision", "rank_points", "taylor_coefficients", "taylor_terms",
]  # fmt: skip

#: The functions of many digits, for arrays of `mpmath.mpf`.
MPMATH = Elementwise(mpmath)


# ------------------------------------------------------------------------------------------------------------
# The functions
@dataclass(frozen=True)
class Term:
    r"""One function of (x, s): a power of M(x), a power of x and e_j, times w, a derivative of f, or g.

    Attributes
    ----------
    atom : int
        Index j of the atom of the measure, from 0.
    kind : str
        ``"w"``: e_j (f_j - g). ``"f"``: e_j times the derivative `h` of f_j; ``"g"``: e_j g.
    gate_power : tuple of int, length d
        Exponents of M(x). With the gate x they are counted in `power` instead.
    power : tuple of int, length d
        Exponents of x.
    h : tuple of int, length K - 1
        Orders of the derivatives of f_j with respect to the logits h_1, ..., h_(K-1); zeros for kinds w and g.
    """

    atom: int
    kind: str
    gate_power: tuple[int, ...]
    power: tuple[int, ...]
    h: tuple[int, ...]

    def __str__(self):
        parts = [*_factors("M", self.gate_power), *_factors("x", self.power)]
        j = self.atom + 1
        if self.kind == "w":
            return " ".join([*parts, f"w_{j}"])
        if self.kind == "g":
            return " ".join([*parts, f"e_{j} g"])
        return " ".join([*parts, f"e_{j}", self._derivative(j)])

    def _derivative(self, j):
        if len(self.h) == 1 and self.h[0] <= 3:
            return f"f_{j}" + "'" * self.h[0]
        indices = "".join(str(ell + 1) * order for ell, order in enumerate(self.h))
        return f"d{indices} f_{j}" if indices else f"f_{j}"


def _factors(letter, exponents):
    names = [letter] if len(exponents) == 1 else [f"{letter}{i + 1}" for i in range(len(exponents))]
    return [name if n == 1 else f"{name}^{n}" for name, n in zip(names, exponents, strict=True) if n]


def _multi_indices(length, top):
    """All tuples of `length` natural numbers of sum at most `top`, by their sum."""
    grid = (n for n in product(range(top + 1), repeat=length) if sum(n) <= top)
    return sorted(grid, key=lambda n: (sum(n), tuple(-i for i in n)))


def patterns(k, k_true):
    """Which true atoms can be over-fitted by at most k atoms, if every true atom is fitted.

    Parameters
    ----------
    k, k_true : int
        k >= k_true.

    Returns
    -------
    list of tuple of bool, length k_true
        True for over-fitted; the fewest first. All are False in the first; there are min(k - k_true, k_true)
        True at most.
    """
    k_true = as_count(k_true, "k_true")
    k = as_count(k, "k", minimum=k_true)
    every = [p for p in product((False, True), repeat=k_true) if sum(p) <= k - k_true]
    return sorted(every, key=lambda p: (sum(p), tuple(not flag for flag in p)))


def taylor_terms(G, over, gate=identity):
    r"""The functions of the Taylor expansion of sum_i m_i e_i (f_i - g_G*) at G* = G, each one once.

    They are those of M^alpha1 x^(alpha31 + ...) e_j d^(alpha2 + \|alpha3\|) f_j, with w_j in place of e_j f_j where no
    expert is differentiated, for all orders of derivatives \|alpha1\| + \|alpha2\| + \|alpha3\| up to 1 for exact atoms
    and up to 2 for over-fitted ones. Different derivatives can give one function: with the gate x, d/db and
    d^2/dbeta1 da do.

    Parameters
    ----------
    G : MixingMeasure
        Without batch axes.
    over : sequence of bool, length k
        Which atoms are over-fitted.
    gate : Gate, str or callable, optional
        The map M. Only whether it is `identity` matters here.

    Returns
    -------
    tuple of Term
    """
    G, over, merge = single(G), _over(over, G.k), as_gate(gate) == identity
    terms = {}
    for j in range(G.k):
        for _, term, _ in _derivatives(j, 1 + over[j], G.K, G.d, merge):
            terms[term] = None
    return tuple(sorted(terms, key=_order))


def printed_terms(G, over, appendix="A.1"):
    r"""The functions that the paper says are linearly independent.

    Parameters
    ----------
    G, over
        As in :func:`taylor_terms`.
    appendix : str
        ``"A.1"``: the set F of equation (26), x^q1 e_j d^q2 f_j with \|q1\| + \|q2\| at most 2, or 4 if
        over-fitted. ``"A.3"``: that of equation (31) for a modified gate, M^q4 x^q3 e_j d^q2 f_j with
        \|q4\| + \|q2\| at most 1, or 2, and \|q3\| at most \|q2\|. In both also the powers of x, or M, up to 1,
        or 2, times e_j g.

    Returns
    -------
    tuple of Term
    """
    G, over = single(G).canonical(), _over(over, G.k)
    if appendix not in ("A.1", "A.3"):
        raise ValueError(message("appendix", "'A.1' or 'A.3'", f"{appendix!r}", "use one of these"))
    none, still = (0,) * G.d, (0,) * (G.K - 1)
    terms = []
    for j in range(G.k):
        top = 1 + over[j]
        if appendix == "A.1":
            for q in _multi_indices(G.d + G.K - 1, 2 * top):
                terms.append(Term(j, "f", none, q[: G.d], q[G.d :]))
            terms += [Term(j, "g", none, gamma, still) for gamma in _multi_indices(G.d, top)]
        else:
            for q in _multi_indices(G.d + G.K - 1, top):
                for q3 in _multi_indices(G.d, sum(q[G.d :])):
                    terms.append(Term(j, "f", q[: G.d], q3, q[G.d :]))
            terms += [Term(j, "g", gamma, none, still) for gamma in _multi_indices(G.d, top)]
    return tuple(sorted(terms, key=_order))


def _order(term):
    return term.atom, "wfg".index(term.kind), term.h[::-1], sum(term.gate_power + term.power), term.power[::-1]


def _derivatives(j, order, K, d, merge):
    """Derivatives at atom j up to an order: (alpha, the Term it gives, alpha!)."""
    none, still = (0,) * d, (0,) * (K - 1)
    for alpha in _multi_indices(d + (K - 1) * (1 + d), order):
        alpha1, alpha2 = alpha[:d], alpha[d : d + K - 1]
        alpha3 = np.reshape(alpha[d + K - 1 :], (K - 1, d))
        x = tuple(int(n) for n in alpha3.sum(0))
        h = tuple(int(n) for n in np.add(alpha2, alpha3.sum(1)))
        gate_power = alpha1
        if merge:
            gate_power, x = none, tuple(p + q for p, q in zip(alpha1, x, strict=True))
        kind = "w" if h == still else "f"
        yield alpha, Term(j, kind, gate_power, x, h), prod(factorial(n) for n in alpha)


def _over(over, k):
    flags = np.asarray(over)
    if flags.dtype.kind != "b" or flags.shape != (k,):
        raise ValueError(message("over", f"{k} booleans, one for each atom", f"{over!r}", "see patterns(k, k_true)"))
    return tuple(bool(flag) for flag in flags)


# ------------------------------------------------------------------------------------------------------------
# Their values, in double precision and in high precision
def model_values(G, x, gate, digits=None):
    """The parts of the density at points x (m, d): float64, or mpf objects if digits are given.

    Returns
    -------
    SimpleNamespace
        ``e`` (k, m), ``f`` (k, K, m), ``g`` (K, m), ``M`` and ``x`` (m, d), and ``mass`` (k,).
    """
    gate = as_gate(gate)
    if digits is None:
        M = gate(x)
        f, g = np.exp(expert_log_probabilities(G, x)), density(G, x, gate)
        return SimpleNamespace(e=np.exp(G.beta1 @ M.T), f=f, g=g, M=M, x=x, mass=G.mass)
    beta0, beta1, a, b, x = (MPMATH.mpf(array) for array in (G.beta0, G.beta1, G.a, G.b, x))
    M, mass = gate.exact(MPMATH, x), MPMATH.exp(beta0)
    e, f = MPMATH.exp(beta1 @ M.T), MPMATH.exp(b @ x.T + a[..., None])
    f = f / f.sum(1)[:, None, :]
    weight = mass[:, None] * e
    return SimpleNamespace(e=e, f=f, g=(weight[:, None, :] * f).sum(0) / weight.sum(0), M=M, x=x, mass=mass)


def _softmax_derivative(f, s, h):
    """The derivative of f_s of orders h in the logits 1..K-1, by d_l f^n = n_l f^n - |n| f^(n + e_l)."""
    polynomial = {tuple(int(r == s) for r in range(len(f))): 1}
    for ell, order in enumerate(h):
        for _ in range(order):
            new = defaultdict(int)
            for n, coefficient in polynomial.items():
                new[n] += n[ell] * coefficient
                new[n[:ell] + (n[ell] + 1,) + n[ell + 1 :]] -= sum(n) * coefficient
            polynomial = new
    return sum(c * _monomial(f, n) for n, c in polynomial.items() if c)


def _monomial(values, exponents):
    """Product of values[i] ** exponents[i], each an array; 1 for none."""
    result = 1
    for value, n in zip(values, exponents, strict=True):
        for _ in range(n):
            result = result * value
    return result


def evaluate(G, x, terms, gate=identity, *, digits=None, mixture=None):
    """Values of the functions at points and classes.

    Parameters
    ----------
    G : MixingMeasure
        Without batch axes.
    x : array_like, shape (m, d), or (m,) when d = 1
        Points.
    terms : sequence of Term
    gate : Gate, str or callable, optional
        The map M; with `digits`, one with a formula.
    digits : int, optional
        Decimal digits to compute with; None for double precision. Parameters and points are taken as the exact
        numbers that they are in binary.
    mixture : MixingMeasure, optional
        The measure whose density is g in terms of kinds w and g; default `G`. The paper's expansion has g_Gn there.

    Returns
    -------
    ndarray, shape (len(terms), m, K)
        float64, or objects (mpmath.mpf) if `digits` is given; compute further with them inside
        ``mpmath.workdps(digits)``.

    """
    G = single(G).canonical()
    x = as_covariates(x, d=G.d)
    with mpmath.workdps(digits or 15):
        v = model_values(G, x, gate, digits)
        g = v.g if mixture is None else model_values(single(mixture, "mixture").canonical(), x, gate, digits).g
        derivatives = {}
        rows = []
        for t in terms:
            key = t.kind, t.atom, t.h
            if key not in derivatives:
                if t.kind == "f":
                    f = v.f[t.atom]
                    derivatives[key] = np.array([_softmax_derivative(f, s, t.h) + 0 * f[0] for s in range(G.K)])
                else:
                    derivatives[key] = v.f[t.atom] - g if t.kind == "w" else g
            factor = v.e[t.atom] * _monomial(v.x.T, t.power) * _monomial(v.M.T, t.gate_power)
            rows.append((factor * derivatives[key]).T)
        return np.array(rows)


def rank_points(terms, domain=(0.0, 1.0)):
    """Points at which the rank of the functions is taken: Chebyshev nodes, a tensor grid of them for d > 1.

    Parameters
    ----------
    terms : sequence of Term
    domain : (float, float)
        Interval of each covariate. Its ends are not among the points.

    Returns
    -------
    ndarray (m, d)
        At least as many as there are functions.
    """
    d = len(terms[0].power)
    p = int(np.ceil((len(terms) + 1) ** (1.0 / d)))
    nodes = 0.5 - 0.5 * np.cos(np.pi * (np.arange(p) + 0.5) / p)
    nodes = np.round((domain[0] + (domain[1] - domain[0]) * nodes) * 2**20) / 2**20  # the same on every processor
    return np.stack(np.meshgrid(*[nodes] * d, indexing="ij"), axis=-1).reshape(-1, d)


# ------------------------------------------------------------------------------------------------------------
# Rank
@dataclass(frozen=True, eq=False)
class RankDecision:
    """Rank of a set of functions of (x, s), with what it was decided on.

    Attributes
    ----------
    terms : tuple of Term
        The n functions.
    rank : int
    kept, dropped : float
        Smallest singular value counted and largest not counted, both divided by the largest; columns (functions)
        have been scaled to norm 1. `dropped` is 0 at full rank. ``kept / dropped`` is the gap.
    singular_values : ndarray (n,)
        Relative to the largest, descending. Those below 1e-300 appear as 0.
    null_vectors : ndarray (nullity, n)
        Coefficients of the relations among the functions as they are (not scaled), an orthonormal basis.
    digits : int
        Decimal digits of the computation.
    """

    terms: tuple[Term, ...]
    rank: int
    kept: float
    dropped: float
    singular_values: np.ndarray
    null_vectors: np.ndarray
    digits: int

    @property
    def nullity(self):
        """Number of independent linear relations."""
        return len(self.terms) - self.rank

    def spanned_by(self, relations, atol=1e-12):
        """Whether the relations found are exactly those spanned by the rows of `relations` (q, n)."""
        q = np.linalg.qr(np.asarray(relations, dtype=float).T)[0]
        rest = self.null_vectors - self.null_vectors @ q @ q.T
        return q.shape[1] == self.nullity and bool(np.abs(rest).max(initial=0.0) <= atol)


def rank_decision(G, terms, gate=identity, *, x=None, digits=50):
    """Rank of functions on given points and all classes, decided in high precision.

    Parameters
    ----------
    G, terms, gate
        As in :func:`evaluate`.
    x : array_like, shape (m, d), optional
        Points; default :func:`rank_points`, for X on [0, 1]^d.
    digits : int
        At least 30.

    Returns
    -------
    RankDecision

    Raises
    ------
    ArithmeticError
        If some singular value lies between 10^(-0.8 digits) and 10^(-0.7 digits) of the largest: the digits do not
        decide. Use more.
    ValueError
        If there are fewer values than functions, or a function vanishes at all points.

    Notes
    -----
    A QR factorisation (modified Gram-Schmidt) of the matrix (m K, n), then the singular values of its factor R, all in
    mpmath. Functions that are independent on the points are independent; the rank is a lower bound of the functions'
    rank on the whole domain, and relations known in advance, as :func:`gauge_relations`, give an upper one.
    """
    digits = as_count(digits, "digits", minimum=30)
    terms = tuple(terms)
    x = rank_points(terms) if x is None else x
    values = evaluate(G, x, terms, gate, digits=digits)
    n = len(terms)
    with mpmath.workdps(digits):
        columns = values.reshape(n, -1)
        if columns.shape[1] < n:
            got = f"{columns.shape[1]} values of {n} functions"
            raise ValueError(message("x", "as many values (points times classes) as functions", got, "add points"))
        norms = np.array([mpmath.sqrt(column @ column) for column in columns])
        if not all(norms):
            raise ValueError(message("terms", "functions that are not zero on x", "a zero function", "leave it out"))
        R = _triangular_factor(columns / norms[:, None])
        _, S, V = mpmath.svd_r(mpmath.matrix(R.tolist()))
        relative = [S[i] / S[0] for i in range(n)]
        unclear = [s for s in relative if 10 ** (-0.8 * digits) < s < 10 ** (-0.7 * digits)]
        if unclear:
            raise ArithmeticError(
                f"rank not decided with {digits} digits: relative singular value {mpmath.nstr(unclear[0], 3)};"
                " use more digits"
            )
        rank = sum(s > 10 ** (-0.7 * digits) for s in relative)
        null = np.array([[V[i, j] / norms[j] for j in range(n)] for i in range(rank, n)], dtype=object)
        null = null / np.array([mpmath.sqrt(row @ row) for row in null])[:, None] if len(null) else null
    null = null.reshape(n - rank, n).astype(float)
    if len(null):
        null = np.linalg.qr(null.T)[0].T
    return RankDecision(
        terms, rank, float(relative[rank - 1]), float(relative[rank]) if rank < n else 0.0,
        np.array([float(s) for s in relative]), null, digits,
    )  # fmt: skip


def _triangular_factor(columns):
    """R of the QR factorisation of the matrix with these columns (n, rows), as an object array (n, n)."""
    columns = columns.copy()
    n = len(columns)
    R = np.full((n, n), mpmath.mpf(0), dtype=object)
    for i in range(n):
        R[i, i] = mpmath.sqrt(columns[i] @ columns[i])
        if R[i, i]:
            q = columns[i] / R[i, i]
            R[i, i + 1 :] = columns[i + 1 :] @ q
            columns[i + 1 :] -= R[i, i + 1 :, None] * q
    return R


def gauge_relations(G, terms):
    """The relations that hold for every measure: sum_j m_j M^gamma w_j = 0, for all gamma that every atom has.

    Parameters
    ----------
    G : MixingMeasure
        Without batch axes.
    terms : sequence of Term
        With terms of kind w (:func:`taylor_terms`), or of kinds f and g (:func:`printed_terms`), where
        w_j = e_j f_j - e_j g.

    Returns
    -------
    ndarray (q, len(terms))
        q = 1 + d if some atom is exact, (d + 1)(d + 2) / 2 if all are over-fitted. The first 1 + d are the derivatives
        of the density along translations of the gate, so zero by the translation invariance.
    """
    G = single(G).canonical()
    index = {term: i for i, term in enumerate(terms)}
    still, rows = (0,) * (G.K - 1), []
    powers = dict.fromkeys((t.gate_power, t.power) for t in terms if t.kind in "wg" and t.atom == 0)
    for gamma in sorted(powers, key=lambda pair: sum(pair[0] + pair[1])):
        row = np.zeros(len(terms))
        for j, mass in enumerate(G.mass):
            one, f, g = (index.get(Term(j, kind, *gamma, still)) for kind in "wfg")
            if one is not None:
                row[one] = mass
            elif f is not None and g is not None:
                row[[f, g]] = mass, -mass
            else:
                break
        else:
            rows.append(row)
    return np.array(rows).reshape(-1, len(terms))


# ------------------------------------------------------------------------------------------------------------
# The expansion along a measure G near G*
def taylor_coefficients(G, G_true, terms, gate=identity, *, cells=None):
    """Coefficients c of sum_i m_i e_i (f_i - g_G*) = sum c * term + remainder, for the functions of `taylor_terms`.

    The coefficient of w_j holds the difference of masses, sum_(i in C_j) m_i - m*_j; every other is a sum over the
    cell of m_i times products of differences of parameters, divided by alpha!.

    Parameters
    ----------
    G, G_true : MixingMeasure
        Without batch axes; every atom of G_true fitted by some atom of G.
    terms : sequence of Term
        ``taylor_terms(G_true, over, gate)``.
    gate : Gate, str or callable, optional
    cells : int array (k,), optional
        Index of the atom of G_true that each atom of G belongs to; default the Voronoi cells.

    Returns
    -------
    ndarray (len(terms),)

    Raises
    ------
    ValueError
        If `terms` lacks a derivative of first order, or has not all of the second order for a cell of several atoms.
    """
    G, G_true = single(G).canonical(), single(G_true, "G_true").canonical()
    cells = voronoi_cells(G, G_true) if cells is None else np.asarray(cells)
    index = {term: i for i, term in enumerate(terms)}
    merge, K, d = as_gate(gate) == identity, G.K, G.d
    c = np.zeros(len(terms))
    for j in range(G_true.k):
        members = np.flatnonzero(cells == j)
        second = any(t.atom == j and t.kind == "w" and sum(t.gate_power + t.power) == 2 for t in terms)
        if len(members) > 1 and not second:
            got = f"{len(members)} atoms in the cell of atom {j} and terms of first order"
            raise ValueError(message("terms", "terms of second order where a cell has several atoms", got, "over=True"))
        for i in members:
            delta = np.concatenate([
                G.beta1[i] - G_true.beta1[j],
                (G.a[i] - G_true.a[j])[: K - 1],
                (G.b[i] - G_true.b[j])[: K - 1].ravel(),
            ])  # fmt: skip
            for alpha, term, scale in _derivatives(j, 1 + second, K, d, merge):
                if term not in index:
                    raise ValueError(message("terms", f"the term {term}", "a list without it", "use taylor_terms"))
                c[index[term]] += G.mass[i] * prod(delta**alpha) / scale
        home = next(t for t in index if t.atom == j and t.kind == "w" and not any(t.gate_power + t.power))
        c[index[home]] -= G_true.mass[j]
    return c


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Equation (14) of the paper at points and classes: arrays (m, K) with T = A - B + E.

    Attributes
    ----------
    T : ndarray
        [sum_j m*_j e*_j] (g_G - g_G*).
    A, B, E : ndarray
        Sums over j and i in C_j: of m_i (u_i - u*_j), of m_i (v_i - v*_j), and of the differences of masses times
        u*_j - v*_j, where u = e f and v = e g_G.
    residual : float
        Largest absolute value of A - B + E - T, found in the precision of the computation.
    """

    T: np.ndarray
    A: np.ndarray
    B: np.ndarray
    E: np.ndarray
    residual: float


def decomposition(G, G_true, x, gate=identity, *, cells=None, digits=None):
    """Compute T, A, B and E of equation (14), for the standard gate, and of its analogue in appendix A.3.

    Parameters
    ----------
    G, G_true, x, gate, digits
        As in :func:`evaluate`.
    cells : int array (k,), optional
        Assignment of the atoms of G; default the Voronoi cells. The identity holds for every assignment.

    Returns
    -------
    Decomposition
    """
    G, G_true = single(G).canonical(), single(G_true, "G_true").canonical()
    x = as_covariates(x, d=G.d)
    cells = voronoi_cells(G, G_true) if cells is None else np.asarray(cells)
    with mpmath.workdps(digits or 15):
        v, true = model_values(G, x, gate, digits), model_values(G_true, x, gate, digits)
        mass, mass_true = v.mass, true.mass
        T = (mass_true[:, None] * true.e).sum(0) * (v.g - true.g)
        u, u_true = v.e[:, None, :] * v.f, true.e[:, None, :] * true.f
        A = (mass[:, None, None] * (u - u_true[cells])).sum(0)
        B = (mass[:, None] * (v.e - true.e[cells])).sum(0) * v.g
        excess = np.array([mass[cells == j].sum() - mass_true[j] for j in range(G_true.k)])
        E = (excess[:, None, None] * (u_true - true.e[:, None, :] * v.g)).sum(0)
        return Decomposition(T.T, A.T, B.T, E.T, float(np.abs(A - B + E - T).max()))
