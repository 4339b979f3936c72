r"""A search for all measures of one density, and the rates at a split, for modified gates.

The search, :func:`find_measures`, minimises the mean square of g_G - g_G* over measures with k atoms, from many
random starts at once, by a Levenberg-Marquardt method, and sorts what it finds by the distance to G* modulo
translation. A refinement of a translate of G* (some atoms written as several equal ones) has distance 0, and so have
measures with an atom of vanishing mass, in the limit.

The rates: :func:`split_paths` follows the gate slopes of a split constant expert into the truth with 50 digits, and
:func:`pinned_deviations` has their asymptotic standard deviations when the two probabilities are known.
"""

from __future__ import annotations

from dataclasses import dataclass

import mpmath
import numpy as np
import sympy as sp

from logitmoe.divergences import uniform_design
from logitmoe.gates import Gate
from logitmoe.information import score
from logitmoe.losses import voronoi_loss
from logitmoe.measure import MixingMeasure
from logitmoe.model import density, gate_log_probabilities
from replication import taylor
from replication.pairs import AFFINE_SPLIT_TRUTH
from replication.pairs_modified import doubling, mobius_gate_pair
from replication.ranks import symbolic_gate

__all__ = [
    "CONSTANT_TRUTH",
    "FAR",
    "Found",
    "GENERIC_TRUTH",
    "GENERIC_TRUTH_K3",
    "SOFTPLUS_TRUTH",
    "SPLIT_GATES",
    "Split",
    "TABLE_3_SPLIT",
    "WIDE_SPLIT",
    "fibre_defect",
    "find_measures",
    "over_fitted_rank",
    "pinned_deviations",
    "searches",
    "softplus",
    "split_functions",
    "split_paths",
    "steep_truth",
]

BOX = 10.0  # the largest size of a coordinate
ZERO = 1e-8  # root mean square of the difference of densities below which two densities count as equal
#: D_2 modulo translation above which a measure counts as another one.
FAR = 0.1

#: Two atoms whose experts are neither constant nor equal nor opposite.
GENERIC_TRUTH = MixingMeasure.from_vector([0.4, 1.9, 0.5, -0.8, 1.7, 1.1], 2, 2, 1)
#: The same for three classes; the two class slopes of an expert have no simple rational relation.
GENERIC_TRUTH_K3 = MixingMeasure(
    beta0=[0.4, 0.0],
    beta1=[[1.9], [0.0]],
    a=[[0.5, -0.3, 0.0], [-0.8, 0.4, 0.0]],
    b=[[[np.sqrt(3.0)], [-0.6], [0.0]], [[0.45], [np.sqrt(2.0)], [0.0]]],
)
#: One constant expert, as in Table 3, and moderate slopes.
CONSTANT_TRUTH = MixingMeasure.from_vector([0.4, 1.9, 0.5, 1.0, 1.7, 0.0], 2, 2, 1)
#: Two atoms whose density other measures of two atoms have too, under `softplus`.
SOFTPLUS_TRUTH = MixingMeasure.from_vector([np.log(3.0), 1.0, 0.0, np.log(2.0), 1.0, 1.0], 2, 2, 1)


def _softplus(x):
    return np.logaddexp(0.0, x)


#: Satisfies the independence of Definition 4.1, but not (T): exp(M) = 1 + e^x.
softplus = Gate("softplus", _softplus, pole=np.pi)


@dataclass(frozen=True, eq=False)
class Found:
    """What a search for measures of a density found.

    Attributes
    ----------
    measures : MixingMeasure, batch shape (n,)
        Where the starts ended that reached the density of G*, up to `ZERO`.
    distance : ndarray (n,)
        Their D_2 from G*, at its infimum over translations.
    starts : int
        Number of starts.
    """

    measures: MixingMeasure
    distance: np.ndarray
    starts: int

    @property
    def others(self):
        """Number of measures further than `FAR` from G* modulo translation."""
        return int((self.distance > FAR).sum())


def find_measures(truth, k, gate, starts, rng, *, max_iter=250):
    """Look for the measures with k atoms that have the density of G* at 25 points of [-4, 4] (d = 1).

    Parameters
    ----------
    truth : MixingMeasure
        G*, without batch axes.
    k : int
        Number of atoms of G.
    gate : Gate, str or callable
    starts : int
        Number of starts: independent normal coordinates of standard deviation 2, cut at `BOX`.
    rng : Generator
    max_iter : int
        Steps of the Levenberg-Marquardt method.

    Returns
    -------
    Found
    """
    x, last = np.linspace(-4.0, 4.0, 25)[:, None], truth.K - 1
    target = density(truth, x, gate)[:last]

    def measure(v):
        return MixingMeasure.from_vector(v, k, truth.K, 1)

    v = np.clip(2.0 * rng.normal(size=(starts, 2 * (k - 1) + 2 * k * last)), -BOX, BOX)
    g, damping, diagonal = density(measure(v), x, gate)[:, :last], np.full(starts, 1e-2), np.arange(v.shape[1])
    for _ in range(max_iter):
        r = (g - target).reshape(starts, -1)
        J = (g[..., None] * score(measure(v), x, gate)[:, :last]).reshape(*r.shape, -1)
        H, slope = np.swapaxes(J, -1, -2) @ J, (r[:, None] @ J)[:, 0]
        H[:, diagonal, diagonal] += (damping * np.trace(H, axis1=1, axis2=2) / v.shape[1] + 1e-300)[:, None]
        trial = np.clip(v - np.linalg.solve(H, slope[..., None])[..., 0], -BOX, BOX)
        new = density(measure(trial), x, gate)[:, :last]
        better = ((new - target) ** 2).sum((1, 2)) < (r**2).sum(-1)
        v, g = np.where(better[:, None], trial, v), np.where(better[:, None, None], new, g)
        damping = np.where(better, damping / 3.0, damping * 4.0).clip(1e-15, 1e10)
    G = measure(v[np.sqrt(((g - target) ** 2).mean((1, 2))) < ZERO])
    distance = voronoi_loss(G, truth, 2.0, gauge="infimum") if G.batch_shape[0] else np.zeros(0)
    return Found(G, distance, starts)


def searches():
    """The searches of the chapter, by name.

    Returns
    -------
    dict of str to tuple
        Each (truth, k, gate, whether a measure other than refinements of translates is known).
    """
    opposite, pair = doubling((0.4, 1.9), (0.5, 1.2)).measure, mobius_gate_pair()
    return {
        "generic, $K = 2$": (GENERIC_TRUTH, 3, "sin", False),
        "generic, $K = 3$": (GENERIC_TRUTH_K3, 3, "sin", False),
        "opposite experts, two atoms": (opposite, 2, "tanh", False),
        "opposite experts": (opposite, 3, "tanh", True),
        "one constant expert": (CONSTANT_TRUTH, 3, "tanh", True),
        "two equal class slopes, $K = 3$": (AFFINE_SPLIT_TRUTH, 3, "sin", True),
        "softplus truth": (SOFTPLUS_TRUTH, 2, softplus, True),
        "Möbius truth": (pair.measure, 2, pair.gate, True),
        "Möbius truth, another gate": (pair.measure, 2, "tanh", False),
    }


def fibre_defect(G, truth, gate):
    """How far measures are from the description of those with the density of a truth with one constant expert.

    With fewer than 2 k* atoms and p other than 1/2 that description is: every atom has the expert of A, or a constant
    one, and the gate slope of A, or of C, up to one common shift. Reported is the sum over the atoms of their mean
    weight in the gate, at 25 points of [-4, 4], times their distance from the nearer of the two kinds.

    Parameters
    ----------
    G : MixingMeasure, batch shape (n,)
    truth : MixingMeasure
        Atom 0 is A, with an expert that is not constant; atom 1 is C, with b = 0.
    gate : Gate, str or callable

    Returns
    -------
    ndarray (n,)
    """
    share = np.exp(gate_log_probabilities(G, np.linspace(-4.0, 4.0, 25)[:, None], gate)).mean(-1)
    slope, a, b = G.beta1[..., 0], G.a[..., 0], G.b[..., 0, 0]
    to_A, to_C = np.abs(a - truth.a[0, 0]) + np.abs(b - truth.b[0, 0, 0]), np.abs(b)
    largest = np.argmax(np.where(to_A < to_C, share, -1.0), axis=-1)[:, None]
    slope = slope - np.take_along_axis(slope, largest, axis=-1)
    to_C = to_C + np.abs(slope + truth.beta1[0, 0] - truth.beta1[1, 0])
    return (share * np.minimum(to_A + np.abs(slope), to_C)).sum(-1)


# ------------------------------------------------------------------------------------------------------------
# The rank condition, with the first atom over-fitted


def steep_truth(slope):
    """Two atoms of which the first has the expert sigma(slope * x)."""
    return MixingMeasure.from_vector([0.5, 1.5, 0.0, 1.0, slope, -1.5], 2, 2, 1)


def over_fitted_rank(truth, gate):
    """Rank of the Taylor functions, of how many, with the first atom over-fitted; and whether (R) holds (50 digits).

    Parameters
    ----------
    truth : MixingMeasure
    gate : Gate or str

    Returns
    -------
    rank, size : int
    only_translations : bool
        Whether the relations are those of translations.
    """
    terms = taylor.taylor_terms(truth, (True,) + (False,) * (truth.k - 1), gate)
    found = taylor.rank_decision(truth, terms, gate)
    return found.rank, len(terms), bool(found.spanned_by(taylor.gauge_relations(truth, terms)))


# ------------------------------------------------------------------------------------------------------------
# A split constant expert: rates of the gate slopes, p' and p'' known

#: Gates in mpmath's arithmetic.
SPLIT_GATES = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh": mpmath.tanh,
    "cos": mpmath.cos,
    "sin": mpmath.sin,
    "power(3)": lambda x: x**3,
}


@dataclass(frozen=True)
class Split:
    """A truth with one constant expert, split in two (K = 2, d = 1), and the design. Numbers as decimal strings.

    Attributes
    ----------
    atom : tuple of str
        log mass, beta1, a and b of the atom A with an expert that is not constant.
    level, halves : str, and pair of str
        a of the constant expert, which has mass 1 and beta1 = 0, and a', a'' of its halves, on either side of it.
    ends : (float, float)
        X is uniform between them.
    """

    atom: tuple[str, str, str, str]
    level: str
    halves: tuple[str, str]
    ends: tuple[float, float]


#: Table 3 and its design.
TABLE_3_SPLIT = Split(("1", "3", "-1", "2"), "1", ("2", "-0.5"), (0.0, 1.0))
#: A truth and a design at which the rates show at larger steps.
WIDE_SPLIT = Split(("0", "-1.1", "-3.3", "-3.5"), "1", ("3", "-2"), (-3.0, 3.0))


def _sigma(t):
    return 1 / (1 + mpmath.exp(-t))


def _atoms(split):
    """Atoms (mass, beta1, a, b) of A, C', C'' in mpmath's precision."""
    mp = mpmath
    beta0, beta1, a, b = map(mp.mpf, split.atom)
    p, one, two = (_sigma(mp.mpf(v)) for v in (split.level, *split.halves))
    mass = (p - two) / (one - two)
    halves = ((m, mp.mpf(0), mp.mpf(v), mp.mpf(0)) for m, v in zip((mass, 1 - mass), split.halves, strict=True))
    return [(mp.exp(beta0), beta1, a, b), *halves]


def _nodes(split):
    """The design as (point, weight) in mpmath's precision: 2 panels of 16 Gauss nodes."""
    rule = uniform_design(*split.ends, nodes=16, panels=2)
    return [(mpmath.mpf(float(x)), mpmath.mpf(float(w))) for x, w in zip(rule.points[:, 0], rule.weights, strict=True)]


def _parts(atoms, x, M):
    """Weights (sum 1) and experts of the atoms, and the density."""
    weights = [m * mpmath.exp(c * M) for m, c, _, _ in atoms]
    f = [_sigma(a + b * x) for *_, a, b in atoms]
    weights = [w / sum(weights) for w in weights]
    return weights, f, sum(w * h for w, h in zip(weights, f, strict=True))


def _information(split, gate):
    """Information of beta0', beta0'', beta1', beta1'', b', a_A, b_A: b'' adds nothing to b' at first order."""
    atoms, J = _atoms(split), mpmath.zeros(7)
    for x, weight in _nodes(split):
        M = SPLIT_GATES[gate](x)
        w, f, g = _parts(atoms, x, M)
        mass = [u * (h - g) for u, h in zip(w, f, strict=True)]
        level = [u * h * (1 - h) for u, h in zip(w, f, strict=True)]
        tangent = [mass[1], mass[2], M * mass[1], M * mass[2], x * level[1], level[0], x * level[0]]
        column = mpmath.matrix(tangent)
        J += column * column.T * (weight / (g * (1 - g)))
    return J


def pinned_deviations(gate, split=TABLE_3_SPLIT, digits=50):
    """sqrt(n) times the asymptotic standard deviations of the gate slopes at a split, p' and p'' known.

    Parameters
    ----------
    gate : str
        A name of `SPLIT_GATES` other than "identity", for which the information is singular.
    split : Split
    digits : int

    Returns
    -------
    tuple of float
        Of beta1' and beta1'', the gauge pinned at atom A.

    Raises
    ------
    ArithmeticError
        If the information is singular to the given digits, as with M(x) = x.
    """
    with mpmath.workdps(digits):
        J = _information(split, gate)
        values = mpmath.eigsy(J, eigvals_only=True)
        if min(values) < mpmath.mpf(10) ** (-digits // 2) * max(values):
            raise ArithmeticError(f"the information with the gate {gate!r} is singular: beta1 is not determined")
        inverse = J**-1
        return tuple(float(mpmath.sqrt(inverse[i, i])) for i in (2, 3))


def split_paths(gate, sizes, split=TABLE_3_SPLIT, digits=50):
    """E V(g_G, g_G*) along the path of gate slopes, beta1' = size, that the density feels least to first order.

    With M(x) = x it is the path along which the first order vanishes, of equal b' = b''. With other gates the first
    order cannot vanish; the path follows the direction in which the information of beta1', all else adapting, is
    smallest.

    Parameters
    ----------
    gate : str
        A name of `SPLIT_GATES`.
    sizes : sequence of str or float
        Positive.
    split, digits
        As in :func:`pinned_deviations`.

    Returns
    -------
    list of float
        For each size. (V is the absolute difference for class 1, as K = 2.)
    """
    with mpmath.workdps(digits):
        atoms = _atoms(split)
        A, one, two = atoms
        if gate == "identity":
            p_one, p_two = (_sigma(atom[2]) for atom in (one, two))
            variance = one[0] * p_one * (1 - p_one) + two[0] * p_two * (1 - p_two)
            b = -one[0] * (p_one - p_two) / variance
            step = [0, 0, 1, -one[0] / two[0], b, b, 0, 0]
        else:
            direction = mpmath.lu_solve(_information(split, gate), mpmath.matrix([0, 0, 1, 0, 0, 0, 0]))
            d = [v / direction[2] for v in direction]
            step = [*d[:5], 0, *d[5:]]
        nodes = [(x, SPLIT_GATES[gate](x), weight) for x, weight in _nodes(split)]
        before = [_parts(atoms, x, M)[2] for x, M, _ in nodes]
        values = []
        for size in map(mpmath.mpf, sizes):
            d = [size * v for v in step]
            moved = [
                (A[0], A[1], A[2] + d[6], A[3] + d[7]),
                (one[0] * mpmath.exp(d[0]), d[2], one[2], d[4]),
                (two[0] * mpmath.exp(d[1]), d[3], two[2], d[5]),
            ]
            gaps = (w * abs(_parts(moved, x, M)[2] - g) for (x, M, w), g in zip(nodes, before, strict=True))
            values.append(float(sum(gaps)))
        return values


def split_functions(gate):
    """The eight functions whose independence gives the bound at a split, as SymPy expressions (d = 1, Table 3).

    Parameters
    ----------
    gate : str
        As in :func:`~replication.ranks.symbolic_gate`.

    Returns
    -------
    x : sympy.Symbol
    functions : list of sympy.Expr
        1, x, M, x^2, g, M g, e_A f_A', x e_A f_A', without repetition.
    """
    x = sp.Symbol("x", positive=True)
    (M,) = symbolic_gate(gate, (x,))
    e, f, p = sp.exp(3 * M), 1 / (1 + sp.exp(1 - 2 * x)), 1 / (1 + sp.exp(-1))
    g = (sp.E * e * f + p) / (sp.E * e + 1)
    return x, list(dict.fromkeys([sp.S.One, x, M, x**2, g, M * g, e * f * (1 - f), x * e * f * (1 - f)]))
