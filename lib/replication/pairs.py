"""Pairs of different mixing measures with one density: where identifiability fails as printed.

Propositions 2.1 and 4.2 of the paper say that two measures of O_k(Theta), at most k atoms, with equal
densities are equal; Theorems 3.1 and 4.4 bound the distance of densities from below by D_2. Each function
here returns a pair that contradicts such a statement under some reading, with parameters of the caller's
choice; its docstring has the proof and the condition that excludes the pair. Which assumptions a pair
satisfies is computed from the pair, never declared: see :func:`.check_assumptions`. Except for
:func:`translation`, the pairs differ by more than a translation.

Notation: G* is the true measure (``measure``), G the other (``other``); atom i has mass m_i = exp(beta0_i),
gate slope beta1_i and expert f_i; sigma is the logistic function. The density is

    g(s | x) = sum_i m_i exp(beta1_i' M(x)) f_i(s | x) / sum_i m_i exp(beta1_i' M(x)).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, log_expit, logit, softmax

from logitmoe.checks import as_float_array, message
from logitmoe.gates import Gate, as_gate, identity
from logitmoe.losses import voronoi_loss
from logitmoe.measure import MixingMeasure
from logitmoe.model import density

from .assumptions import check_assumptions
from .paper import TABLE_2, TABLE_3

__all__ = [
    "AFFINE_SPLIT_TRUTH",
    "Counterexample",
    "affine_split_K3",
    "antipodal_pair",
    "constant_split",
    "exchange",
    "gating_copies",
    "swap",
    "swap_diagonal",
    "translation",
]

#: A truth for `affine_split_K3`: K = 3, Regime 1, distinct gate slopes; classes 2 and 3 of expert 1 have
#: equal slopes.
AFFINE_SPLIT_TRUTH = MixingMeasure(
    beta0=[1.0, 0.0],
    beta1=[[3.0], [0.0]],
    a=[[-1.0, 0.5, 0.0], [1.0, -0.5, 0.0]],
    b=[[[2.0], [0.0], [0.0]], [[-1.0], [1.0], [0.0]]],
)


@dataclass(frozen=True, eq=False)
class Counterexample:
    """Two mixing measures that a printed statement tells apart.

    Attributes
    ----------
    name : str
        Name of the construction.
    measure, other : MixingMeasure
        The true measure G* and the other one, G. No batch axes.
    gate : Gate
        The gate's M, the same for both.
    refutes : str
        The statements that the pair contradicts, and the reading.
    assumptions : dict of str to bool
        Computed by :func:`.check_assumptions`.
    """

    name: str
    measure: MixingMeasure
    other: MixingMeasure
    gate: Gate
    refutes: str
    assumptions: dict[str, bool] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "gate", as_gate(self.gate))
        object.__setattr__(self, "assumptions", check_assumptions(self.measure, self.other, self.gate))

    def density_gap(self, points):
        """Largest absolute difference of the densities over classes and points (m, d), or (m,) if d = 1."""
        difference = density(self.measure, points, self.gate) - density(self.other, points, self.gate)
        return float(np.abs(difference).max())

    def separation(self, r=2.0):
        """Infimum over translations of D_r(G, G*): zero exactly if a translation makes the measures equal.

        The value is exact for d = 1 and an upper bound of the infimum for d > 1. That it is positive is
        conclusive for every d: an infimum of 0 is attained at one of the translations from which the search
        starts.
        """
        return float(voronoi_loss(self.other, self.measure, r, gauge="infimum"))

    def in_gauge(self, name):
        """The same example with both measures in a named gauge, assumptions computed anew."""
        return Counterexample(
            self.name, self.measure.in_gauge(name), self.other.in_gauge(name), self.gate, self.refutes
        )


def translation(measure=TABLE_2, t0=0.5, t1=1.0, gate=identity):
    """Translate the gate: beta0 + t0, beta1 + t1 (Section 1, C.1).

    Proof. Numerator and denominator of g are both multiplied by exp(t0 + t1' M(x)). This holds for every
    gate.

    Excluded by asking beta0_k = 0 and beta1_k = 0 of G as well as of G* (the paper asks it of G*), or by
    taking D_r at its infimum over translations.

    Parameters
    ----------
    measure : MixingMeasure
        Without batch axes.
    t0 : float
    t1 : float or array (d,)
        Not both zero.
    gate : Gate, str or callable

    Returns
    -------
    Counterexample
        The only one here with separation 0.
    """
    if not (np.any(t0) or np.any(t1)):
        raise ValueError(message("t0", "t0 or t1 different from zero", "both zero", "shift something"))
    return Counterexample(
        "translation",
        measure,
        measure.translate(t0, t1),
        gate,
        "Propositions 2.1 and 4.2 and the lower bounds by D_r (Theorems 3.1 and 4.4) without a gauge: if"
        " members of O_k(Theta) need not satisfy beta0_k = 0 and beta1_k = 0",
    )


def constant_split(measure=TABLE_3, atom=None, *, fraction=0.5, probabilities=None, gate=identity):
    """Split a constant expert into two (k >= k* + 1, Regime 2, every gate).

    Proof. Let f_j = p be constant. Two atoms with the slope beta1_j, masses m' + m'' = m_j and constant
    experts p', p'' with m' p' + m'' p'' = m_j p add exp(beta1_j' M) m_j p to the numerator of g and
    exp(beta1_j' M) m_j to its denominator, as atom j did.

    If b_j is not zero this fails: m_j f_j(x) then depends on x and m' p' + m'' p'' does not. Excluded by
    pairwise distinct class slopes of every expert, or by pairwise distinct gate slopes of G.

    Parameters
    ----------
    measure : MixingMeasure
        Without batch axes.
    atom : int, optional
        Index of the constant expert; default the first one.
    fraction : float
        m' / m_j, inside (0, 1).
    probabilities : array (K,), optional
        p', positive with sum 1 and such that p'' is positive; default: p moved half of the way that is
        possible towards class 1.
    gate : Gate, str or callable

    Returns
    -------
    Counterexample

    Raises
    ------
    ValueError
        If no expert is constant, the chosen one is not, or p' is not admissible.
    """
    measure = _single(measure)
    reference = measure.canonical()
    constant = ~reference.b.any(axis=(1, 2))
    if atom is None:
        if not constant.any():
            raise ValueError(
                message("measure", "a constant expert, b = 0", "none", "choose a measure of Regime 2")
            )
        atom = int(np.argmax(constant))
    elif atom not in range(measure.k) or not constant[atom]:
        raise ValueError(
            message("atom", "the index of a constant expert", f"{atom}", "only a constant expert splits")
        )
    fraction = _fraction(fraction)
    p = softmax(reference.a[atom])
    if probabilities is None:
        first = np.eye(measure.K)[0]
        reach = min(1.0, p[0] * (1.0 - fraction) / (fraction * (1.0 - p[0])))
        probabilities = p + 0.5 * reach * (first - p)
    one = as_float_array(probabilities, "probabilities", shape=(measure.K,))
    two = (p - fraction * one) / (1.0 - fraction)
    if abs(one.sum() - 1.0) > 1e-12 or min(one.min(), two.min()) <= 0.0:
        raise ValueError(
            message(
                "probabilities",
                "positive numbers of sum 1 that leave the other half positive ones",
                f"{one}, leaving {two}",
                f"move less from {p}",
            )
        )
    a = np.log(np.stack([one, two]))
    return Counterexample(
        "constant split",
        measure,
        measure.split(atom, fraction, a=a - a[:, -1:], b=np.zeros((2, measure.K, measure.d))),
        gate,
        "Propositions 2.1 and 4.2 for k >= k* + 1, and Theorem 4.4 in Regime 2: densities equal, D_2"
        " positive in every gauge",
    )


def affine_split_K3(
    measure=AFFINE_SPLIT_TRUTH, atom=0, *, classes=(2, 3), fraction=0.5, share=None, gate=identity
):
    """Split an expert in which two of K >= 3 classes have equal slopes (k >= k* + 1, Regime 1 possible, every
    gate).

    Proof. Let classes s and l of expert j have equal slopes. With F = f_js + f_jl the odds of s against l do
    not depend on x: f_js = F q and f_jl = F (1 - q), for a constant q. F and the other classes do not depend
    on q, so f_j is affine in q. Two atoms with the slope beta1_j, masses m' + m'' = m_j and constants m' q' +
    m'' q'' = m_j q, all else equal, replace atom j without changing the numerator or the denominator of g.

    With K = 2 equal slopes mean a constant expert (:func:`constant_split`); with K >= 3 the third class may
    have a slope, so that Regime 1 holds. Excluded by pairwise distinct class slopes of every expert, or by
    pairwise distinct gate slopes of G.

    Parameters
    ----------
    measure : MixingMeasure
        K >= 3, without batch axes.
    atom : int
        Index j.
    classes : pair of int
        Labels s and l in 1..K.
    fraction : float
        m' / m_j, inside (0, 1).
    share : float, optional
        q', inside (0, 1) and such that q'' is; default: half of the way from q to the largest possible.
    gate : Gate, str or callable

    Returns
    -------
    Counterexample

    Raises
    ------
    ValueError
        If K < 3, the slopes of the two classes differ, or the share is not admissible.
    """
    measure = _single(measure)
    if measure.K < 3:
        raise ValueError(message("measure", "K >= 3 classes", f"K = {measure.K}", "use constant_split"))
    if atom not in range(measure.k):
        raise ValueError(
            message("atom", f"an index in 0..{measure.k - 1}", f"{atom}", "atoms are counted from 0")
        )
    if len(set(classes)) != 2 or not set(classes) <= set(range(1, measure.K + 1)):
        raise ValueError(
            message("classes", f"two labels in 1..{measure.K}", f"{classes}", "name two classes")
        )
    s, ell = (label - 1 for label in classes)
    a, b = measure.canonical().a[atom], measure.canonical().b[atom]
    if not np.array_equal(b[s], b[ell]):
        got = f"{b[s]} and {b[ell]}"
        raise ValueError(message("classes", "two classes of equal slopes", got, "only these can be split"))
    fraction = _fraction(fraction)
    q = expit(a[s] - a[ell])
    if share is None:
        share = q + 0.5 * (min(1.0, q / fraction) - q)
    shares = np.array([float(share), (q - fraction * float(share)) / (1.0 - fraction)])
    if not ((shares > 0.0) & (shares < 1.0)).all():
        raise ValueError(
            message("share", "q' and q'' inside (0, 1)", f"{shares}", f"move less from q = {q:.6g}")
        )
    both = np.stack([a, a])
    total = np.logaddexp(a[s], a[ell])
    both[:, s], both[:, ell] = total + log_expit(logit(shares)), total + log_expit(-logit(shares))
    slopes = np.stack([b, b])
    return Counterexample(
        "affine split",
        measure,
        measure.split(atom, fraction, a=both - both[:, -1:], b=slopes),
        gate,
        "Propositions 2.1 and 4.2 and Theorems 3.1 and 4.4 for K >= 3 and k >= k* + 1, in Regime 1:"
        " densities equal, D_2 positive in every gauge",
    )


def gating_copies(measure=TABLE_2, shift=0.5, fraction=0.5, gate=identity):
    """Copy every atom, with all slopes of the copies shifted alike (k >= 2 k*, every gate, both regimes).

    Proof. With p = fraction and gamma = shift let atom j become two with its expert, masses p m_j and (1 - p)
    m_j and slopes beta1_j and beta1_j + gamma. Every term of the numerator and of the denominator of g is
    multiplied by p + (1 - p) exp(gamma' M(x)), which does not depend on j and cancels.

    While each copy stays in its atom's Voronoi cell, D_r(G, G*) = (1 - p) ``|gamma|^r`` sum_j m_j as they are,
    and for r = 2 still p (1 - p) ``|gamma|^2`` sum_j m_j at the best t1. Excluded by asking equal gate slopes of
    the atoms of one cell, or pairwise distinct experts of G; with k < 2 k* there is no room for it.

    Parameters
    ----------
    measure : MixingMeasure
        Without batch axes, k* atoms.
    shift : float or array (d,)
        gamma, not zero.
    fraction : float
        p, inside (0, 1).
    gate : Gate, str or callable

    Returns
    -------
    Counterexample
        ``other`` has 2 k* atoms: the copies with slopes beta1_j, then those with beta1_j + gamma.
    """
    measure = _single(measure)
    gamma = np.broadcast_to(as_float_array(shift, "shift"), (measure.d,))
    if not gamma.any():
        raise ValueError(message("shift", "a vector that is not zero", f"{shift}", "shift the copies"))
    fraction = _fraction(fraction)
    other = MixingMeasure(
        np.concatenate([measure.beta0 + np.log(fraction), measure.beta0 + np.log1p(-fraction)]),
        np.concatenate([measure.beta1, measure.beta1 + gamma]),
        np.tile(measure.a, (2, 1)),
        np.tile(measure.b, (2, 1, 1)),
    )
    return Counterexample(
        "gating copies",
        measure,
        other,
        gate,
        "Propositions 2.1 and 4.2 and Theorems 3.1 and 4.4 for k >= 2 k*, in both regimes: densities"
        " equal, D_2 positive in every gauge",
    )


def antipodal_pair(pair=(0.5, 1.5), experts=((0.3, 2.0), (-0.4, 1.0)), last=(1.0, -1.0), gate=identity):
    """Two atoms of one slope and mass with opposite experts (K = 2, k = k* = 3, every gate).

    Proof. With experts h and -h in logits, sigma(h) + sigma(-h) = 1: for each class the two atoms together
    add m exp(beta1' M(x)) to the numerator of g, and twice that to the denominator, whatever h is. So h can
    be replaced by any other h'.

    Excluded by pairwise distinct gate slopes of G*, which Section 1 does not ask for. The atoms must be two
    of at least three: if all gate slopes are equal the translation to beta1_k = 0 leaves no slope.

    Parameters
    ----------
    pair : (float, float or array (d,))
        beta0 and beta1 of the two atoms.
    experts : two of (float, float or array (d,))
        (a, b) of class 1 for h, the expert of G*, and for h', that of G. They must not be equal or opposite.
    last : (float, float or array (d,))
        (a, b) of class 1 for the third atom, which has beta0 = 0 and beta1 = 0.
    gate : Gate, str or callable

    Returns
    -------
    Counterexample
    """
    beta0, beta1 = _affine(pair, "pair")
    lines = [_affine(line, "experts") for line in experts]
    if len(lines) != 2 or _same(*lines) or _same(lines[0], _negative(lines[1])):
        raise ValueError(
            message("experts", "two lines, not equal or opposite", f"{experts}", "change one of them")
        )
    third = _affine(last, "last")
    measures = [
        _binary([(beta0, beta1), (beta0, beta1), (0.0, 0.0 * beta1)], [line, _negative(line), third])
        for line in lines
    ]
    return Counterexample(
        "antipodal pair",
        *measures,
        gate,
        "Propositions 2.1 and 4.2 and Theorems 3.1 and 4.4 for K = 2 and k = k* = 3, in Regime 1: two"
        " truths with one density, unless the gate slopes of G* are asked to be distinct",
    )


def swap(u=(0.5, 2.0), v=(-1.0, 1.0), gate=identity):
    """Exchange the gate with the experts (K = 2, k = k* = 2, standard gate, Regime 1, distinct gate slopes).

    Proof. Let the gate's logit be u, the experts' logits v and -v, with u and v affine in x. By
    sigma(t) = (1 + tanh(t / 2)) / 2,

        g(1 | x) = sigma(u) sigma(v) + sigma(-u) sigma(-v) = (1 + tanh(u / 2) tanh(v / 2)) / 2,

    which is symmetric in u and v: gate v with experts u and -u has the same density. The two measures differ,
    unless v = u or v = -u.

    The proof needs u, affine in M(x), to be affine in x as well, and v the reverse: M must be affine. For M =
    tanh the exchanged measure has another density. With u and v as given (slopes not zero) all that Sections
    1 and 2 ask of G* holds for both measures.

    Parameters
    ----------
    u, v : (float, float or array (d,))
        Intercept and slope of u and v, slopes not zero. v must not be u or -u.
    gate : Gate, str or callable
        To see what happens with another gate; the densities are then not equal.

    Returns
    -------
    Counterexample
    """
    u, v = _affine(u, "u"), _affine(v, "v")
    if _same(u, v) or _same(u, _negative(v)):
        raise ValueError(
            message("v", "a line other than u and -u", f"{v}", "the exchange would change nothing")
        )
    return Counterexample(
        "swap",
        _swap_measure(u, v),
        _swap_measure(v, u),
        gate,
        "Proposition 2.1 and Theorem 3.1 for K = 2 and k = k* = 2 with the standard gate, in Regime 1"
        " and with distinct gate slopes: two truths with one density",
    )


def swap_diagonal(h=(0.5, 2.0), direction=(0.4, 1.0), size=1e-3, gate=identity):
    """A truth u = v = h next to u = h + d, v = h - d, where d = size * direction (K = 2, k = k* = 2, standard
    gate).

    Not a pair of equal densities: the local bound of Theorem 3.1 is what fails. Proof. In the notation of
    :func:`swap`,

        tanh(u / 2) tanh(v / 2) = (cosh h - cosh d) / (cosh h + cosh d)   at  u = h + d, v = h - d,

    so g(1 | x) = cosh h / (cosh h + cosh d) is even in d: to second order g changes by -d^2 cosh h / (2 (1 +
    cosh h)^2), hence V and h are of order size^2, while D_r, with as many atoms as the truth, is of order
    size. The score vanishes in the 1 + d directions (d, -d): the Fisher information at u = v = h has rank 4
    of 6 for one covariate.

    The measures at d and -d are a swap: near the diagonal truth there are pairs of different measures with
    one density at every scale.

    Parameters
    ----------
    h, direction : (float, float or array (d,))
        Intercept and slope.
    size : float
        Not zero.
    gate : Gate, str or callable

    Returns
    -------
    Counterexample
        ``measure`` is the diagonal truth, ``other`` the neighbour.
    """
    (h0, h1), (d0, d1) = _affine(h, "h"), _affine(direction, "direction")
    size = float(as_float_array(size, "size", ndim=0))
    if size == 0.0 or not (d0 or d1.any()):
        raise ValueError(
            message("size", "a step that is not zero", f"{size} of {direction}", "move something")
        )
    u, v = (h0 + size * d0, h1 + size * d1), (h0 - size * d0, h1 - size * d1)
    return Counterexample(
        "swap at the diagonal",
        _swap_measure((h0, h1), (h0, h1)),
        _swap_measure(u, v),
        gate,
        "The local lower bound of Theorem 3.1 at a truth with equal gate and expert logits: V of order"
        " size^2, D_2 of order size",
    )


def exchange(u=(0.5, 2.0), v=(-1.0, 1.0), a2=0.5, gate=identity):
    """Exchange the gate with two experts of opposite slopes (K = 2, k* = 2, k = 3, standard gate, Regime 1).

    Proof. Let the gate's logit be u and the experts' logits v and w, affine in x, with v + w = c constant. Write P
    = exp(v) and Q = exp(w). Since sigma(u) + sigma(-u) = 1,

        g(1 | x) = sigma(u) P / (1 + P) + sigma(-u) Q / (1 + Q)
                 = (P sigma(u) + Q sigma(-u) + P Q) / (1 + P + Q + P Q),

    and P Q = exp(c) is constant. So the three atoms with gates P, Q and 1 + exp(c) and experts sigma(u), sigma(-u)
    and sigma(c) have the same density; the last atom has slope 0 and a constant expert.

    For c = 0 :func:`swap` gives a third measure with this density. The proof needs u, affine in M(x), to be affine
    in x as well, and v and w the reverse. Excluded by truths whose experts' slopes are not opposite, or by asking
    Regime 1 of G as well as of G*.

    Parameters
    ----------
    u : (float, float or array (d,))
        Intercept and slope of the gate's logit; the slope is not zero.
    v : (float, float or array (d,))
        Those of expert 1's logit of class 1.
    a2 : float
        Intercept of expert 2's logit w; its slope is minus that of v.
    gate : Gate, str or callable
        To see what happens with another gate; the densities are then not equal.

    Returns
    -------
    Counterexample
        ``measure`` has two atoms, ``other`` three.

    Raises
    ------
    ValueError
        If u or v is not a pair of numbers with a slope that is not zero, or their slopes differ in length.
    """
    u, v = _affine(u, "u"), _affine(v, "v")
    a2 = float(as_float_array(a2, "a2", ndim=0))
    if u[1].shape != v[1].shape:
        expected = f"a slope of shape {u[1].shape}, that of u"
        raise ValueError(message("v", expected, f"shape {v[1].shape}", "give both one slope for each covariate"))
    for line, name in ((u, "u"), (v, "v")):
        if not line[1].any():
            raise ValueError(message(name, "a slope that is not zero", f"{line[1]}", "tilt the line"))
    zero, w, c = 0.0 * u[1], (a2, -v[1]), v[0] + a2
    return Counterexample(
        "exchange",
        _binary([u, (0.0, zero)], [v, w]),
        _binary([v, w, (np.logaddexp(0.0, c), zero)], [u, _negative(u), (c, zero)]),
        gate,
        "Proposition 2.1 and Theorem 3.1 for K = 2, k* = 2 and k >= 3 with the standard gate, in Regime 1 of G*:"
        " densities equal, D_2 positive in every gauge",
    )


def _swap_measure(u, v):
    return _binary([u, (0.0, 0.0 * u[1])], [v, _negative(v)])


def _binary(gates, experts):
    """Measure with K = 2 from lines (intercept, slope) of gates and of experts' class 1."""
    a = np.array([intercept for intercept, _ in experts])
    b = np.stack([slope for _, slope in experts])
    return MixingMeasure(
        np.array([intercept for intercept, _ in gates]),
        np.stack([slope for _, slope in gates]),
        np.stack([a, np.zeros_like(a)], axis=-1),
        np.stack([b, np.zeros_like(b)], axis=-2),
    )


def _affine(line, name):
    """Intercept (float) and slope (d,) of an affine function given as a pair."""
    if not isinstance(line, (tuple, list)) or len(line) != 2:
        raise ValueError(
            message(name, "a pair (intercept, slope)", f"{line!r}", "give for example (0.5, 2.0)")
        )
    return float(as_float_array(line[0], name, ndim=0)), np.atleast_1d(as_float_array(line[1], name))


def _negative(line):
    return -line[0], -line[1]


def _same(one, two):
    return one[0] == two[0] and np.array_equal(one[1], two[1])


def _fraction(fraction):
    fraction = float(as_float_array(fraction, "fraction", ndim=0))
    if not 0.0 < fraction < 1.0:
        raise ValueError(
            message("fraction", "a number inside (0, 1)", f"{fraction}", "leave both atoms some mass")
        )
    return fraction


def _single(measure):
    if not isinstance(measure, MixingMeasure) or measure.batch_shape:
        raise ValueError(
            message("measure", "a MixingMeasure without batch axes", f"{measure!r}", "index it first")
        )
    return measure
