"""Further pairs of different mixing measures with one density: four that modified gates do not remove, and one more.

In the manner of :mod:`replication.pairs`: each function returns a pair with parameters of the caller's choice, its
docstring has the proof and the condition that excludes the pair, and which assumptions the pair satisfies is computed.
All have two classes. An affine function of d covariates is given as one array (1 + d,): its intercept, then its slopes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import pi

import numpy as np
from scipy.special import expit

from logitmoe.checks import as_float_array, message
from logitmoe.gates import Gate, identity
from logitmoe.measure import MixingMeasure

from .pairs import (
    Counterexample,
    affine_split_K3,
    antipodal_pair,
    constant_split,
    exchange,
    gating_copies,
    swap,
    translation,
)

__all__ = [
    "doubling",
    "equal_experts",
    "known_pairs",
    "mobius_gate",
    "mobius_gate_pair",
    "parallel_lines",
    "unequal_antipodal_pair",
]


def doubling(u=(0.5, 2.0), v=(-1.0, 1.0), gate=identity):
    """Two atoms with opposite experts as three (K = 2, k* = 2, k = 3, every gate, Regime 1 of G*).

    Proof. Let the gate's logit be u, affine in M(x), with E = exp(u), and the experts' logits v and -v. Multiply
    numerator and denominator of g by E + 1:

        g(1 | x) = (E sigma(v) + sigma(-v)) / (E + 1)
                 = (E^2 sigma(v) + E (sigma(v) + sigma(-v)) + sigma(-v)) / (E^2 + 2 E + 1),

    and sigma(v) + sigma(-v) = 2 sigma(0). So three atoms with gates E^2, 2 E and 1 and experts v, 0 and -v have the
    same density. Only v needs to be affine in x, so that every gate will do, at every truth of the swap.

    Excluded by truths without opposite experts, by pairwise distinct class slopes of every expert of G, or by asking
    Regime 1 of G as well as of G*.

    Parameters
    ----------
    u, v : array_like, shape (1 + d,)
        Affine functions with slopes that are not zero. The defaults are those of :func:`~replication.pairs.swap`.
    gate : Gate, str or callable

    Returns
    -------
    Counterexample
        ``measure`` has two atoms, ``other`` three.

    Raises
    ------
    ValueError
        If u or v is not an affine function, has no slope, or they have different numbers of covariates.
    """
    u = _tilted(u, "u")
    v = _tilted(v, "v", like=u)
    middle = u.copy()
    middle[0] += np.log(2.0)
    return Counterexample(
        "doubling",
        _binary([u, 0.0 * u], [v, -v]),
        _binary([2.0 * u, middle, 0.0 * u], [v, 0.0 * v, -v]),
        gate,
        "Propositions 2.1 and 4.2 and Theorems 3.1 and 4.4 for K = 2, k* = 2 and k >= 3, every gate, in Regime 1 of"
        " G* and with distinct gate slopes: densities equal, D_2 positive in every gauge",
    )


def unequal_antipodal_pair(
    masses=(2.0, 1.0), slope=1.5, experts=((0.3, 2.0), (-0.4, 1.0)), last=(1.0, -1.0), gate=identity
):
    """Two atoms of one gate slope with opposite experts and unequal masses (K = 2, every gate, Regime 1 of G*).

    Proof. For m > m' and every h', m sigma(h) + m' sigma(-h) = (m - m') sigma(h) + m', and
    m' = m' (sigma(h') + sigma(-h')); the total mass is m + m' on both sides. So the two atoms can be replaced by three
    with experts h, h', -h' and masses m - m', m', m'. For h' = 0 the last two are one atom, of mass 2 m' and with a
    constant expert: then both measures have the same number of atoms.

    As h' tends to h the three atoms tend to the two, with D_r of the order of h' - h: for k >= k* + 1 the local bound
    fails as well.

    Excluded by pairwise distinct gate slopes of G*, which Section 1 does not ask for.

    Parameters
    ----------
    masses : (float, float)
        m > m' > 0.
    slope : float or array_like, shape (d,)
        The gate slope of the two atoms, not zero (the last atom has slope 0).
    experts : two of array_like, shape (1 + d,)
        Logits h, with a slope, and h', which must not be h or -h; zeros for the constant.
    last : array_like, shape (1 + d,)
        Logit of the expert of the last atom, which has mass 1.
    gate : Gate, str or callable

    Returns
    -------
    Counterexample
        ``measure`` has three atoms; ``other`` four, or three if h' = 0.

    Raises
    ------
    ValueError
        If the masses are not in order, a slope is zero, or h' is h or -h.
    """
    m, less = as_float_array(masses, "masses", shape=(2,))
    if not m > less > 0.0:
        raise ValueError(message("masses", "m > m' > 0", f"{masses}", "the larger mass comes first"))
    if len(experts) != 2:
        raise ValueError(message("experts", "two affine functions, h and h'", f"{experts}", "give both"))
    h = _tilted(experts[0], "experts")
    new = as_float_array(experts[1], "experts", shape=h.shape)
    if np.array_equal(h, new) or np.array_equal(h, -new):
        raise ValueError(message("experts", "functions that are not equal or opposite", f"{experts}", "change one"))
    third = as_float_array(last, "last", shape=h.shape)
    gates = _tilted(np.append(0.0, slope), "slope", like=h)
    first, two, one = np.array([gates] * 3)
    first[0], two[0], one[0] = np.log(m), np.log(less), np.log(m - less)
    weights, lines = [one, two, two], [h, new, -new]
    if not new.any():
        weights, lines = [one, two + np.log(2.0) * (np.arange(len(h)) == 0)], [h, new]
    return Counterexample(
        "unequal antipodal pair",
        _binary([first, two, 0.0 * h], [h, -h, third]),
        _binary([*weights, 0.0 * h], [*lines, third]),
        gate,
        "Propositions 2.1 and 4.2 and Theorems 3.1 and 4.4 for K = 2 and k >= k* = 3, the local bounds for k >= k* + 1,"
        " every gate, in Regime 1 of G*: densities equal, D_2 positive in every gauge",
    )


def mobius_gate(t=2.0):
    """The gate M(x) = log((1 + e^x) / (t + e^x)), element by element: e^M is a Möbius transform of e^x.

    It increases from -log t to 0 if t > 1, and decreases to 0 if t < 1: bounded on the whole line, and analytic there.
    It satisfies Definition 4.1. Proof for d = 1: M and x M tend to 0 as x grows. So in a relation
    alpha M^2 + (beta + gamma x) M + Q(x) = 0 the polynomial Q is 0; divide by M: alpha M + beta + gamma x = 0, hence
    gamma = beta = 0 and alpha = 0.

    Parameters
    ----------
    t : float
        Positive, not 1.

    Returns
    -------
    Gate

    Raises
    ------
    ValueError
        If t is not positive, or is 1.
    """
    t = float(as_float_array(t, "t", ndim=0))
    if not t > 0.0 or t == 1.0:
        raise ValueError(message("t", "a positive number other than 1", f"{t}", "t = 1 is a constant gate"))
    return Gate(f"mobius({t:g})", partial(_mobius, shift=np.log(t)), pole=pi)


def mobius_gate_pair(t=2.0):
    """Two measures with two atoms and one density, for a gate of Definition 4.1 (K = 2, k = k* = 2, Regime 1).

    Proof. With y = e^x and f_r = r y / (1 + r y), the expert with a = log r and b = 1,

        f_1 - f_t = (1 - t) y / ((1 + y) (1 + t y))   and   f_t - f_{1/t} = (t^2 - 1) y / ((1 + t y) (t + y)),

    so that (t + 1) e^M (f_1 - f_t) + f_t - f_{1/t} = 0 for e^M = (1 + y) / (t + y), the gate :func:`mobius_gate`. Hence
    two atoms with masses t + 1 and 1 and gate slopes 1 and 0 have the same numerator (and denominator) of g with the
    experts f_1, f_t as with f_t, f_{1/t}.

    Nothing that the paper asks for excludes the pair, nor do the conditions found in its proofs: both measures have
    distinct, non-constant experts that are not opposite, distinct gate slopes, distinct class slopes and the same
    number of atoms. What excludes it is property (T) of the gate: here e^M is a quotient of sums of exponentials.
    (The plain mixture of f_t and f_r, r = (t + 2) / (2 t + 1), with equal masses has the density too.)

    Parameters
    ----------
    t : float
        Positive, not 1.

    Returns
    -------
    Counterexample

    Raises
    ------
    ValueError
        As in :func:`mobius_gate`.
    """
    gate, shift = mobius_gate(t), float(np.log(t))
    gates = [(np.log1p(t), 1.0), (0.0, 0.0)]
    lines = [(level, 1.0) for level in (0.0, shift, -shift)]
    return Counterexample(
        "Möbius gate",
        _binary(gates, lines[:2]),
        _binary(gates, lines[1:]),
        gate,
        "Proposition 4.2 and Theorem 4.4 for K = 2 and k = k* = 2 with a gate that satisfies Definition 4.1, in Regime"
        " 1 and with distinct gate slopes: two truths with one density",
    )


def parallel_lines(u=(0.5, 2.0), shifts=(1.0, -0.5), gate=identity):
    """Turn the gate into an expert where gate and experts have one slope (K = 2, k* = 2, k = 3, standard gate).

    Proof. Let the gate's logit be u and the experts' logits u + d1 and u + d2, with d1, d2 and 0 distinct. Write w =
    exp(u), p = exp(-d1), q = exp(-d2), and h1, h2, h for sigma(u + d1) - g, sigma(u + d2) - g, sigma(u) - g. Then

        w h1 + h2 = 0                                                 (the definition of g),
        (1 - p) w^2 h1 + (q - p) w h + p (q - 1) h2 = 0               (by computation).

    If 0 lies between d1 and d2, the coefficients of the second line have one sign: they are the gates of three atoms
    with the density g and the experts u + d1, u, u + d2. If d2 lies between 0 and d1, put h2 = -w h1, and if d1 lies
    between 0 and d2, w h1 = -h2: the coefficients have one sign then, two atoms share an expert, the third has u.

    In the first case the other measure meets all conditions of Section 1 on a truth, with distinct gate slopes and no
    constant expert. The proof needs u, affine in M(x), to be affine in x as well, as it is for an affine M. Excluded by
    truths whose three lines are not parallel.

    Parameters
    ----------
    u : (float, float or array (d,))
        Intercept and slope of the gate's logit; the slope is not zero.
    shifts : (float, float)
        d1 and d2.
    gate : Gate, str or callable
        To see what happens with another gate; the densities are then not equal.

    Returns
    -------
    Counterexample
        ``measure`` has two atoms, ``other`` three.

    Raises
    ------
    ValueError
        If the slope is zero, or d1, d2 and 0 are not distinct.
    """
    intercept = float(as_float_array(u[0], "u", ndim=0))
    slope, shifts = np.atleast_1d(as_float_array(u[1], "u")), as_float_array(shifts, "shifts", shape=(2,))
    if not slope.any():
        raise ValueError(message("u", "a slope that is not zero", f"{u}", "tilt the line"))
    if len({0.0, *shifts}) < 3:
        raise ValueError(message("shifts", "two different numbers, not 0", f"{shifts}", "move one line"))
    p, q = np.exp(-shifts)
    one, two = (intercept + shift for shift in shifts)
    masses, powers, experts = {  # of w, by the place of the number in the middle among 0, d1, d2
        0: ((1 - p, q - p, p * (q - 1)), (2, 1, 0), (one, intercept, two)),
        1: ((p - 1, p * (q - 1), q - p), (1, 0, 1), (two, two, intercept)),
        2: ((1 - p, p * (1 - q), q - p), (1, 0, 0), (one, one, intercept)),
    }[int(np.argsort([0.0, *shifts])[1])]
    powers = np.array(powers)
    other = np.log(np.abs(np.array(masses) / (q - p))) + powers * intercept
    return Counterexample(
        "parallel lines",
        _one_slope([intercept, 0.0], np.array([1, 0]), [one, two], slope),
        _one_slope(other, powers, experts, slope),
        gate,
        "Proposition 2.1 and Theorem 3.1 for K = 2, k* = 2 and k >= 3 with the standard gate, in Regime 1:"
        " densities equal, D_2 positive in every gauge",
    )


def equal_experts(step=0.5, experts=((-1.0, 2.0), (1.0, -1.0)), gate=identity):
    """Atoms that share experts: two measures of five atoms with one density (K = 2, k = k* = 5, every gate).

    Proof. With T = exp(step M(x)),

        (1 + T) (1 - T + T^2) = 1 + T^3   and   (1 + T + T^2) (1 - T + T^2) = 1 + T^2 + T^4.

    So multiplying numerator and denominator of g by 1 - T + T^2 > 0 takes the gates 1, T of the atoms with the first
    expert and 1, T, T^2 of those with the second to 1, T^3 and 1, T^2, T^4. The factor is not a sum with positive
    coefficients: these are no gating copies.

    Excluded by pairwise distinct experts of G*, which Section 1 asks for.

    Parameters
    ----------
    step : float or array_like, shape (d,)
        The slope of log T, not zero.
    experts : two of array_like, shape (1 + d,)
        Logits; not equal.
    gate : Gate, str or callable

    Returns
    -------
    Counterexample
        All masses are 1.

    Raises
    ------
    ValueError
        If the step is zero or the experts are equal.
    """
    step = _tilted(np.append(0.0, step), "step")
    first, second = (as_float_array(line, "experts", shape=step.shape) for line in experts)
    if np.array_equal(first, second):
        raise ValueError(message("experts", "two different functions", f"{experts}", "change one of them"))
    measures = [
        _binary([n * step for n in (*one, *two)], [first] * len(one) + [second] * len(two))
        for one, two in (((1, 0), (2, 1, 0)), ((3, 0), (4, 2, 0)))
    ]
    return Counterexample(
        "equal experts",
        *measures,
        gate,
        "Propositions 2.1 and 4.2 for K = 2 and k = k* = 5, every gate, in Regime 1: for measures of which the experts"
        " are not pairwise distinct",
    )


def known_pairs(gate=None):
    """Every construction of the book that gives two measures with one density, once each with its defaults.

    Parameters
    ----------
    gate : Gate, str or callable, optional
        The gate of all pairs. Default: M(x) = x, and for the Möbius pair its own gate; then all densities are equal.

    Returns
    -------
    dict of str to Counterexample
        By name, in the gauge of Section 1 (beta0_k = 0 and beta1_k = 0) but for the translation.
    """
    own = identity if gate is None else gate
    halves = [constant_split(probabilities=[p, 1.0 - p], gate=own).other for p in (0.6, 0.9)]
    made = [
        constant_split(gate=own),
        Counterexample("two splits", *halves, own, "Propositions 2.1 and 4.2 and Theorem 4.4 for k = k* = 3, Regime 2"),
        affine_split_K3(gate=own),
        gating_copies(gate=own),
        antipodal_pair(gate=own),
        unequal_antipodal_pair(gate=own),
        swap(gate=own),
        exchange(gate=own),
        parallel_lines(gate=own),
        doubling(gate=own),
        mobius_gate_pair() if gate is None else replace(mobius_gate_pair(), gate=own),
    ]
    return {pair.name: pair for pair in [translation(gate=own), *(pair.in_gauge("last") for pair in made)]}


def _mobius(x, shift):
    # log(1 + e^x) - log(e^shift + e^x) = log(1 - (1 - e^-shift) sigma(shift - x)): no difference of large numbers
    return np.log1p(np.expm1(-shift) * expit(shift - x))


def _binary(gates, experts):
    """Measure with K = 2 from affine functions, shape (k, 1 + d): of gates, the last one zero, and of class 1."""
    gates, experts = np.array(gates), np.array(experts)
    parts = gates[:-1, 0], gates[:-1, 1:].ravel(), experts[:, 0], experts[:, 1:].ravel()
    return MixingMeasure.from_vector(np.concatenate(parts), len(gates), 2, gates.shape[1] - 1)


def _tilted(line, name, like=None):
    """An affine function with a slope that is not zero, of as many covariates as another one."""
    line = as_float_array(line, name, shape=(None,) if like is None else like.shape)
    if not line[1:].any():
        raise ValueError(message(name, "a slope that is not zero", f"{line[1:]}", "tilt it"))
    return line


def _one_slope(beta0, powers, a, slope):
    """Measure with K = 2 whose gate slopes are multiples of the one slope of its experts."""
    a = np.stack([a, np.zeros(len(a))], axis=-1)
    b = np.broadcast_to(np.stack([slope, 0.0 * slope]), (len(a), 2, len(slope)))
    return MixingMeasure(beta0, powers[:, None] * slope, a, b)
