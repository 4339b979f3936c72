r"""Two measures against every estimator: lower bounds of a risk, and the sequence of appendix A.2.2.

Le Cam's argument compares two truths G_1 and G_2. If their densities are equal, the sample has one law under both, and
for every estimator the larger of its two risks is at least

    (1/2) inf_G [D_r(G, G_1) + D_r(G, G_2)].

:func:`two_point_bound` bounds the infimum from below, over all measures G of any number of atoms, by a linear
programme. An atom of G that lies in the Voronoi cell of atom j of G_1 and in that of atom l of G_2 pays, for each unit
of its mass, at least the :func:`moving_cost` of j and l; mass that is missing or superfluous pays 1 for each unit. What
is left is a transport problem in which mass may also be thrown away.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from logitmoe.checks import as_float_array, message
from logitmoe.losses import voronoi_loss
from logitmoe.measure import MixingMeasure

__all__ = ["moving_cost", "printed_sequence", "smallest_combination", "two_point_bound"]

#: Ends of the intervals for the ratio of the scales in `two_point_bound` with the gauge "infimum"; 1 is one of them.
RATIOS = np.concatenate([[0.0], 2.0 ** np.linspace(-4.0, 4.0, 97), [np.inf]])


def printed_sequence(G, t, *, atom=None, bound=1.0):
    r"""The measures of appendix A.2.2: a constant expert's atom twice, both moved alike and a little lighter.

    With m = exp(beta0) of the atom, the paper's t_n = B / (n N) and c_n = 1 / (n N m - B) are related by
    c_n = (t_n / B) / (m - t_n), whatever n N is. So t is the only parameter here.

    Parameters
    ----------
    G : MixingMeasure
        The truth G*, without batch axes.
    t : array_like, shape (...)
        t_n, the mass taken away, inside (0, m).
    atom : int, optional
        Index of the constant expert; default the first one.
    bound : float
        B, a bound of the norm of X; positive.

    Returns
    -------
    MixingMeasure, batch shape (...)
        k + 1 atoms. The first two are equal: mass (m - t) / 2, each coordinate of beta1 and a_1, ..., a_(K-1) moved by
        c, b = 0. The others are those of G.

    Raises
    ------
    ValueError, TypeError
        If G has batch axes, the atom is not a constant expert, or t or the bound is out of its range.
    """
    G = _single(G, "G")
    constant = ~G.b.any(axis=(1, 2))
    atom = int(np.argmax(constant)) if atom is None else atom
    if atom not in range(G.k) or not constant[atom]:
        raise ValueError(message("atom", "the index of a constant expert, b = 0", f"{atom}", "see appendix A.2.2"))
    bound = float(as_float_array(bound, "bound", ndim=0))
    if bound <= 0.0:
        raise ValueError(message("bound", "a positive bound of |X|", f"{bound}", "use 1 for X on [0, 1]"))
    t = as_float_array(t, "t")
    mass = G.mass[atom]
    if t.size and (t.min() <= 0.0 or t.max() >= mass):
        raise ValueError(message("t", f"values inside (0, {mass:g})", f"{t}", "take less than the atom's mass"))
    order = [atom, atom, *(i for i in range(G.k) if i != atom)]
    c = (t / bound / (mass - t))[..., None]
    parts = (v[order] for v in (G.beta0, G.beta1, G.a, G.b))
    beta0, beta1, a, b = (np.broadcast_to(v, t.shape + v.shape).copy() for v in parts)
    beta0[..., :2] = np.log(0.5 * (mass - t))[..., None]
    beta1[..., :2, :] += c[..., None]
    a[..., :2, :-1] += c[..., None]
    return MixingMeasure(beta0, beta1, a, b)


def moving_cost(G_one, G_two, r=2.0, *, gate=True):
    r"""Least that an atom of mass 1 pays in D_r(., G_one) and D_r(., G_two) together, by the cells it lies in.

    Parameters
    ----------
    G_one, G_two : MixingMeasure
        Without batch axes, same K and d.
    r : float
        Order, at least 1.
    gate : bool
        Whether the difference of gate slopes counts; False if the two losses may use different translations.

    Returns
    -------
    ndarray (k_one, k_two)
        Entry (j, l): the minimum over theta = (beta1, a, b), and over the powers p, q in {1, r} that the sizes of the
        two cells select, of the sum over the coordinates of \|theta - theta_j\|^p + \|theta - theta_l\|^q.

    Raises
    ------
    ValueError, TypeError
        If an argument is not a single MixingMeasure, K or d differ, or r < 1.

    Notes
    -----
    For coordinates (norms, if d > 1) at the distance delta the minimum is delta for p = q = 1, 2 (delta / 2)^r for
    p = q = r, and delta - u + u^r with u = min(delta, r^(-1/(r-1))) for p = 1, q = r.
    """
    one, two = _pair(G_one, G_two, r)
    r, last = float(r), one.K - 1
    a = np.abs(one.a[:, None, :last] - two.a[None, :, :last])
    b = np.linalg.norm(one.b[:, None, :last] - two.b[None, :, :last], axis=-1)
    delta = np.concatenate([a, b], axis=-1)
    if gate:
        slope = np.linalg.norm(one.beta1[:, None] - two.beta1[None, :], axis=-1)
        delta = np.concatenate([delta, slope[..., None]], axis=-1)
    u = np.minimum(delta, r ** (-1.0 / (r - 1.0)) if r > 1.0 else 1.0)
    costs = delta, 2.0 * (0.5 * delta) ** r, delta - u + u**r
    return np.min([cost.sum(-1) for cost in costs], axis=0)


def two_point_bound(G_one, G_two, r=2.0, *, gauge="as_is"):
    r"""A lower bound of inf_G [D_r(G, G_one) + D_r(G, G_two)] over all measures G, of any number of atoms.

    Parameters
    ----------
    G_one, G_two : MixingMeasure
        Without batch axes, same K and d.
    r : float
        Order, at least 1.
    gauge : str
        ``"as_is"``, or ``"infimum"``: each of the two losses at its infimum over translations of G.

    Returns
    -------
    float
        Half of it bounds max_i E D_r(estimator, G_i) if the two densities are equal.

    Raises
    ------
    ValueError, TypeError
        As in :func:`moving_cost`, or if the gauge is another one.

    Notes
    -----
    Let N_jl be the mass of the atoms of G in cell j of G_one and cell l of G_two, and kappa the moving cost. Then the
    sum is at least sum_j \|sum_l N_jl - m_j\| + sum_l \|sum_j N_jl - m'_l\| + sum_jl kappa_jl N_jl, whose minimum
    over N >= 0 is a linear programme. Modulo translation the masses are scaled by s_1 and s_2, with N_1 = s_1 N and
    N_2 = s_2 N, the gate does not count in kappa, and an atom pays at least min(s_1, s_2) kappa. For s_1 / s_2 in an
    interval [low, high] on one side of 1 this is again a programme, with low N_2 <= N_1 <= high N_2; the bound is the
    least over intervals that cover all ratios.
    """
    if gauge not in ("as_is", "infimum"):
        raise ValueError(message("gauge", "'as_is' or 'infimum'", f"{gauge!r}", "put the measures in a gauge first"))
    one, two = _pair(G_one, G_two, r)
    kappa = moving_cost(one, two, r, gate=gauge == "as_is")
    if gauge == "as_is":
        return _transport(one.mass, two.mass, kappa, 1.0, 1.0)
    return min(_transport(one.mass, two.mass, kappa, *ends) for ends in zip(RATIOS[:-1], RATIOS[1:], strict=True))


def _transport(mass_one, mass_two, kappa, low, high):
    """min of the programme in the variables N_1, N_2 (k_one k_two each) and the absolute values of the misfits."""
    k_one, k_two = kappa.shape
    n = k_one * k_two
    rows, columns = np.kron(np.eye(k_one), np.ones(k_two)), np.kron(np.ones(k_one), np.eye(k_two))
    paid = kappa.ravel()
    cost = np.concatenate([paid * (high <= 1.0), paid * (high > 1.0), np.ones(k_one + k_two)])
    sums = np.block([[rows, np.zeros((k_one, n))], [np.zeros((k_two, n)), columns]])
    mass, eye = np.concatenate([mass_one, mass_two]), np.eye(k_one + k_two)
    blocks = [np.hstack([sums, -eye]), np.hstack([-sums, -eye])]
    rest = np.zeros((n, k_one + k_two))
    blocks.append(np.hstack([-np.eye(n), low * np.eye(n), rest]))
    limits = [mass, -mass, np.zeros(n)]
    if np.isfinite(high):
        blocks.append(np.hstack([np.eye(n), -high * np.eye(n), rest]))
        limits.append(np.zeros(n))
    solution = linprog(cost, A_ub=np.vstack(blocks), b_ub=np.concatenate(limits), method="highs")
    if solution.status != 0:
        raise ArithmeticError(f"the linear programme was not solved: {solution.message}")
    return float(solution.fun)


def smallest_combination(values, weights):
    """The smallest weighted L1 norm of a combination ``sum_i c_i phi_i`` with ``max_i |c_i| = 1``.

    Parameters
    ----------
    values : array_like, shape (n, m)
        n functions at m points.
    weights : array_like, shape (m,)
        Positive.

    Returns
    -------
    value : float
        ``sum_q weights_q |sum_i c_i phi_i(x_q)|`` at the minimum, evaluated at `coefficients`.
    coefficients : ndarray (n,)
        With one entry 1 and the others in [-1, 1].

    Raises
    ------
    ValueError, TypeError
        If the shapes do not match or a weight is not positive.

    Notes
    -----
    The minimum with c_i = 1 and the others in [-1, 1] is a linear programme; the least of the n minima is the answer.
    """
    values = as_float_array(values, "values", ndim=2)
    n, m = values.shape
    weights = as_float_array(weights, "weights", shape=(m,))
    if n == 0 or m == 0 or weights.min() <= 0.0:
        raise ValueError(message("weights", "positive weights of at least one value", f"{weights}", "drop the others"))
    # Nearly dependent functions make the minimum tiny: in units of 1e-6 it is above the solver's tolerance, 1e-7.
    scaled = (values * weights).T
    scaled = scaled * (1e6 / (np.abs(scaled).sum(0).max() or 1.0))
    A = np.hstack([scaled, -np.eye(m), np.eye(m)])
    cost = np.concatenate([np.zeros(n), np.ones(2 * m)])
    best = None
    for i in range(n):
        bounds = [(-1.0, 1.0)] * n + [(0.0, None)] * (2 * m)
        bounds[i] = (1.0, 1.0)
        solution = linprog(cost, A_eq=A, b_eq=np.zeros(m), bounds=bounds, method="highs")
        if solution.status != 0:
            raise ArithmeticError(f"the linear programme was not solved: {solution.message}")
        c = solution.x[:n]
        value = float(weights @ np.abs(c @ values))
        if best is None or value < best[0]:
            best = value, c
    return best


def _single(G, name):
    if not isinstance(G, MixingMeasure):
        raise TypeError(message(name, "a MixingMeasure", type(G).__name__, "build one first"))
    if G.batch_shape:
        raise ValueError(message(name, "a MixingMeasure without batch axes", f"{G!r}", "index it first"))
    return G.canonical()


def _pair(G_one, G_two, r):
    one, two = _single(G_one, "G_one"), _single(G_two, "G_two")
    voronoi_loss(one, two, r)  # refuses other K, d or orders
    return one, two
