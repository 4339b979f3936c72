r"""Which measures with three atoms have the density of a truth with two? K = 2, d = 1, standard gate M(x) = x.

The chapter proves that at Table 2 only refinements of translates do. Here are two checks that do not use the case
analysis of that proof.

*Enumeration.* Let the logits u (gate), v_1 and v_2 (experts) of the truth have integer slopes and rational zeros with
the common denominator L. With w = exp(x) and t = exp(1 / L), experts sigma(b (x - z)) of integer slope b whose zero z
is one of these are rational in w with coefficients in Q(t), and so are g* and, for an integer c,

    F = w^c (sigma - g*).

A measure with atoms (m_i, c_i, sigma_i) has the density g* if and only if sum_i m_i F_i = 0. By Lindemann's theorem t
is transcendental. So a minor of the values of the F_i at integers w that is not zero modulo a prime, after t has been
replaced by an integer, is not zero at t = exp(1 / L): full rank modulo a prime *proves* that there is no such measure.

*Search.* All parameters of the atoms vary, from random starts.

The pair that they found is :func:`~replication.pairs_modified.parallel_lines`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, combinations_with_replacement, product
from math import lcm

import numpy as np
from scipy import optimize

from logitmoe.checks import as_count, as_generator, message
from logitmoe.information import density_jacobian
from logitmoe.losses import voronoi_loss
from logitmoe.measure import DEFAULT_THETA, MixingMeasure
from logitmoe.model import log_density

__all__ = [
    "CONSTANT",
    "Enumeration",
    "Line",
    "Search",
    "Triple",
    "candidates",
    "enumerate_triples",
    "lines_of",
    "measure_of",
    "search",
]

PRIME = 2**31 - 1
POINTS = 8  # values of w; at most four functions are compared
INTERVAL = -8.0, 10.0  # where the search compares densities: longer than the support of X, as the ends tell exponents
NODES = 40  # Chebyshev points on it


# ------------------------------------------------------------------------------------------------------------
# Lines


@dataclass(frozen=True)
class Line:
    """The affine function slope * (x - zero), logit of a gate or an expert.

    Attributes
    ----------
    slope : int
    zero : Fraction
    """

    slope: int
    zero: Fraction


#: Stands for the constant experts, all of them: the probability is left open.
CONSTANT = Line(0, Fraction(0))


def lines_of(G):
    """The lines u, v_1 and v_2 of a truth with two atoms: logits of the gate and of the experts.

    Parameters
    ----------
    G : MixingMeasure
        K = 2, d = 1, two atoms, without batch axes. Parameters are taken as the exact numbers they are in binary.

    Returns
    -------
    tuple of Line, length 3

    Raises
    ------
    ValueError
        If G is of another kind, or a slope is 0 or not an integer.
    """
    if not isinstance(G, MixingMeasure) or G.batch_shape or (G.k, G.K, G.d) != (2, 2, 1):
        raise ValueError(message("G", "a measure with k = 2, K = 2, d = 1", f"{G!r}", "index or reduce it first"))
    G = G.in_gauge("last").canonical()
    pairs = [(G.beta0[0], G.beta1[0, 0]), *zip(G.a[:, 0], G.b[:, 0, 0], strict=True)]
    pairs = [(Fraction(float(a)), Fraction(float(b))) for a, b in pairs]
    if not all(b and b.denominator == 1 for _, b in pairs):
        raise ValueError(message("G", "nonzero integer slopes", f"{[str(b) for _, b in pairs]}", "rescale x"))
    return tuple(Line(int(b), -a / b) for a, b in pairs)


def candidates(lines, most=None):
    """Logits of the experts that an atom may have.

    Parameters
    ----------
    lines : tuple of Line
        Those of the truth.
    most : int, optional
        Default: the experts that the proof leaves, with an integer slope that is an odd fraction of the slope of the
        line with the same zero. Otherwise: all integer slopes from -most to most but 0.

    Returns
    -------
    tuple of Line
        Each one once, without the constant.
    """
    found = {}
    for line in lines:
        size = abs(line.slope)
        for b in range(1, 1 + (size if most is None else as_count(most, "most"))):
            if most is not None or (size % b == 0 and size // b % 2):
                found |= dict.fromkeys((Line(b, line.zero), Line(-b, line.zero)))
    return tuple(found)


# ------------------------------------------------------------------------------------------------------------
# Enumeration, modulo PRIME


@dataclass(frozen=True)
class Triple:
    """Three atoms without their masses.

    Attributes
    ----------
    experts : tuple of Line, length 3
    slopes : tuple of int, length 3
        Gate slopes, the smallest is 0.
    nullity : int
        Dimension of the relations among the functions F of the atoms (two of them for a constant expert).
    explained : int
        Dimension of the relations that two equal atoms, or two atoms that are the truth, give.
    """

    experts: tuple[Line, ...]
    slopes: tuple[int, ...]
    nullity: int
    explained: int


@dataclass(frozen=True)
class Enumeration:
    """Result of :func:`enumerate_triples`.

    Attributes
    ----------
    tested : int
        Number of triples.
    refinements : tuple of Triple
        Two equal atoms that, with the third, are the truth; there are no other relations.
    unexplained : tuple of Triple
        With more relations than are explained. Only those for which :func:`measure_of` finds positive masses are other
        measures with the density of the truth.
    """

    tested: int
    refinements: tuple[Triple, ...]
    unexplained: tuple[Triple, ...]


def _power(base, exponent):
    return np.array([pow(int(v), exponent, PRIME) for v in base], dtype=np.int64)


class _Values:
    """Values of the functions at random w, modulo PRIME, for a random t."""

    def __init__(self, lines, rng):
        self.scale, self.t = lcm(*(line.zero.denominator for line in lines)), int(rng.integers(2, PRIME))
        self.w = rng.choice(10**6, POINTS, replace=False) + 2
        gate, one, two = (self.sigma(line) for line in lines)
        self.density = (gate * one + (1 - gate) % PRIME * two) % PRIME

    def sigma(self, line):
        r = pow(self.t, int(line.zero * self.scale), PRIME)
        top = _power(self.w, line.slope)
        return top * _power(top + pow(r, line.slope, PRIME), -1) % PRIME

    def functions(self, expert):
        """F for c = 0, array (1, POINTS); for the constant (2, POINTS), as kappa (1 - g*) - (1 - kappa) g*."""
        if expert == CONSTANT:
            return np.stack([1 - self.density, -self.density]) % PRIME
        return (self.sigma(expert) - self.density)[None] % PRIME


def _determinant(m):
    """Determinants modulo PRIME of integer matrices (n, n, ...)."""
    if len(m) == 1:
        return m[0, 0]
    minors = (_determinant(np.delete(m[1:], j, axis=1)) for j in range(len(m)))
    return sum((-1) ** j * (m[0, j] * minor % PRIME) for j, minor in enumerate(minors)) % PRIME


def _rank(rows):
    """Rank modulo PRIME of an integer matrix."""
    rows, rank = rows.copy(), 0
    for column in range(rows.shape[1]):
        pivots = rank + np.flatnonzero(rows[rank:, column])
        if pivots.size:
            rows[[rank, pivots[0]]] = rows[[pivots[0], rank]]
            rows[rank] = rows[rank] * pow(int(rows[rank, column]), -1, PRIME) % PRIME
            below = rows[rank + 1 :]
            below -= below[:, column, None] * rows[rank] % PRIME
            below %= PRIME
            rank += 1
    return rank


def _explained(lines, experts, slopes):
    """3 minus the number of groups when equal atoms, and pairs of atoms that are the truth, are joined."""
    group = [0, 1, 2]
    for i, j in combinations(range(3), 2):
        step = slopes[i] - slopes[j]
        same = experts[i] == experts[j] != CONSTANT and step == 0
        either = (experts[i], experts[j], step), (experts[j], experts[i], -step)
        if same or (lines[1], lines[2], lines[0].slope) in either:
            group = [group[i] if g == group[j] else g for g in group]
    return 3 - len(set(group))


def enumerate_triples(lines, experts, largest, rng):
    """All triples of atoms whose functions F are linearly dependent, by exact ranks modulo a prime.

    The atoms of the largest and of the smallest gate slope have experts from the list; the third one has an expert from
    the list or a constant one. (The first two cannot be constant, as g* tends to 0 or 1 at both ends.)

    Parameters
    ----------
    lines : tuple of Line
        Those of the truth.
    experts : sequence of Line
        See :func:`candidates`.
    largest : int
        Gate slopes are the integers from 0 to C, for C = 1, ..., `largest`.
    rng : numpy.random.Generator
        For t and w. A triple that is not reported is proved to have no relation, whatever they are; unlucky ones, with
        a probability of the order of 1 / PRIME for each triple, would report one that has none.

    Returns
    -------
    Enumeration
    """
    largest, experts = as_count(largest, "largest"), tuple(experts)
    values = _Values(lines, as_generator(rng))
    plain = np.stack([values.functions(e)[0] for e in experts])
    constant = values.functions(CONSTANT)[:, None]
    powers = [_power(values.w, c) for c in range(largest + 1)]
    index, tested, refinements, unexplained = np.arange(len(experts)), 0, [], []
    for (c, C), free in product(combinations_with_replacement(range(largest + 1), 2), (False, True)):
        if not C:
            continue
        one, two, three = (v.ravel() for v in np.meshgrid(index, index, index[: 1 if free else None], indexing="ij"))
        rows = [plain[one] * powers[C] % PRIME, plain[two]]
        rows += [np.broadcast_to(f * powers[c] % PRIME, rows[0].shape) for f in (constant if free else [plain[three]])]
        rows, tested = np.stack(rows), tested + len(one)
        for i in np.flatnonzero(_determinant(np.moveaxis(rows[..., : len(rows)], 2, 1)) == 0):
            nullity = len(rows) - _rank(rows[:, i])
            atoms = experts[one[i]], experts[two[i]], CONSTANT if free else experts[three[i]]
            explained = _explained(lines, atoms, (C, 0, c))
            if nullity > explained:
                unexplained.append(Triple(atoms, (C, 0, c), nullity, explained))
            elif explained == 2:
                refinements.append(Triple(atoms, (C, 0, c), nullity, explained))
    return Enumeration(tested, tuple(refinements), tuple(unexplained))


def measure_of(lines, triple):
    """The measure with these atoms and the density of the truth, if positive masses make one.

    Parameters
    ----------
    lines : tuple of Line
        Those of the truth.
    triple : Triple

    Returns
    -------
    MixingMeasure or None
        None if no relation has positive masses. Masses come from the null vectors in double precision; compare the
        densities before you rely on them.
    """
    centre = float(np.mean([float(line.zero) for line in lines]))
    x, slopes = np.linspace(centre - 3.0, centre + 3.0, 61), np.array(triple.slopes)
    gate, one, two = (_sigma(line, x) for line in lines)
    g = gate * one + (1.0 - gate) * two
    weight = np.exp(slopes[:, None] * (x - centre))
    columns = []
    for e, v in zip(triple.experts, weight / weight.sum(0), strict=True):
        columns += [v * (1.0 - g), -v * g] if e == CONSTANT else [v * (_sigma(e, x) - g)]
    scale = np.linalg.norm(columns, axis=1)
    null = np.linalg.svd((np.array(columns) / scale[:, None]).T)[2][-triple.nullity :]
    size = len(null)  # maximise the smallest mass of a relation with coefficients of at most 1
    rows = np.column_stack([-null.T, np.ones(len(columns))])
    found = optimize.linprog(np.eye(size + 1)[-1] * -1.0, rows, np.zeros(len(rows)), bounds=[(-1, 1)] * size + [(0, 1)])
    if found.status or found.x[-1] < 1e-9:
        return None
    mass, beta0, a = iter(found.x[:-1] @ null / scale), [], []
    for e, c in zip(triple.experts, triple.slopes, strict=True):
        up = next(mass)
        down = next(mass) if e == CONSTANT else 0.0
        beta0.append(np.log(up + down) - c * centre)
        a.append([np.log(up / down) if e == CONSTANT else -e.slope * float(e.zero), 0.0])
    b = np.array([[[e.slope], [0]] for e in triple.experts], dtype=float)
    return MixingMeasure(beta0, slopes[:, None].astype(float), a, b)


def _sigma(line, x):
    return 1.0 / (1.0 + np.exp(-line.slope * (x - float(line.zero))))


# ------------------------------------------------------------------------------------------------------------
# Search


@dataclass(frozen=True, eq=False)
class Search:
    """Ends of a search, the smallest residual first.

    Attributes
    ----------
    measure : MixingMeasure, batch shape (n,)
    residual : ndarray (n,)
        Largest difference of the logarithms of the densities, over both classes and the points.
    distance : ndarray (n,)
        D_2 at its infimum over translations: 0 for refinements of translates.
    """

    measure: MixingMeasure
    residual: np.ndarray
    distance: np.ndarray


def search(G_true, k, n, rng, *, max_iter=300):
    """Minimise the mean square of log g_G - log g_G* over all measures with k atoms in Theta, from random starts.

    Both classes on the interval [-8, 10], which is longer than the support of X: densities that are equal on an
    interval are equal on the line, and the ends tell exponents apart. Theta is `DEFAULT_THETA`, and the last atom has
    beta0 = beta1 = 0. Levenberg-Marquardt, all starts at once.

    Parameters
    ----------
    G_true : MixingMeasure
        K = 2, d = 1, without batch axes.
    k, n : int
        Atoms; starts, whose parameters are normal with standard deviation 2.
    rng : numpy.random.Generator
    max_iter : int

    Returns
    -------
    Search

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """
    k, n, rng = as_count(k, "k"), as_count(n, "n"), as_generator(rng)
    max_iter = as_count(max_iter, "max_iter")
    if not isinstance(G_true, MixingMeasure) or G_true.batch_shape or (G_true.K, G_true.d) != (2, 1):
        raise ValueError(message("G_true", "a measure with K = 2, d = 1", f"{G_true!r}", "index or reduce it first"))
    low, high = INTERVAL
    x = (0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES))[:, None]
    goal = log_density(G_true, x)
    free = ~np.isin(np.arange(4 * k), (k - 1, 2 * k - 1))
    theta = DEFAULT_THETA
    bound = np.repeat([theta.beta0, theta.beta1, theta.a, theta.b], k)[free]

    def measure(z):
        full = np.zeros((len(z), 4 * k))
        full[:, free] = z
        beta0, beta1, a, b = np.moveaxis(full.reshape(-1, 4, k), 1, 0)
        a, b = (np.stack([v, np.zeros_like(v)], axis=-1) for v in (a, b))
        return MixingMeasure(beta0, beta1[..., None], a, b[..., None])

    def residuals(z):
        return (log_density(measure(z), x) - goal).reshape(n, -1)

    z = np.clip(rng.normal(0.0, 2.0, (n, free.sum())), -bound, bound)
    r, damping = residuals(z), np.full(n, 1.0)
    for _ in range(max_iter):
        g, J = density_jacobian(measure(z), x)
        U, S, Vt = np.linalg.svd((J / g[..., None]).reshape(n, -1, 4 * k)[..., free], full_matrices=False)
        step = (np.swapaxes(U, -1, -2) @ r[..., None])[..., 0] * S / (S * S + damping[:, None] ** 2)
        trial = np.clip(z - (np.swapaxes(Vt, -1, -2) @ step[..., None])[..., 0], -bound, bound)
        new = residuals(trial)
        better = (new * new).sum(-1) < (r * r).sum(-1)
        z, r = np.where(better[:, None], trial, z), np.where(better[:, None], new, r)
        damping = np.where(better, np.maximum(0.3 * damping, 1e-13), np.minimum(4.0 * damping, 1e4))
    order = np.argsort(np.abs(r).max(-1))
    found = measure(z[order])
    return Search(found, np.abs(r).max(-1)[order], voronoi_loss(found, G_true, 2.0, gauge="infimum"))
