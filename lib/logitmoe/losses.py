"""The Voronoi loss D_r of equation (5) of the paper, which compares the parameters of two mixing measures.

Every fitted atom is assigned to the true atom nearest to it; a true atom's fitted atoms form its Voronoi cell.

The densities do not change when all ``beta0`` are shifted by one number and all ``beta1`` by one vector, and
:math:`D_r` does. A value of :math:`D_r` is therefore meaningful only with a gauge: one of
:data:`logitmoe.measure.GAUGES`, or the infimum over all translations, ``gauge="infimum"``.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from scipy import optimize

from .checks import as_number, message
from .measure import GAUGES, pair

__all__ = ["VoronoiLoss", "voronoi_cells", "voronoi_loss", "voronoi_loss_parts"]

MAX_LOG_POWER = 600.0  # logarithm of the largest power of a difference
MAX_TRANSLATION = 1e30  # cell boundaries further away than this are not looked at
SEARCHES = 8  # d > 1: assignments of atoms to cells whose convex problem is solved


@dataclass(frozen=True, eq=False)
class VoronoiLoss:
    """The Voronoi loss of equation (5) and the three sums that it is made of.

    The translation (t0, t1) of the fitted measure is zero in a named gauge, and the minimiser for ``"infimum"``: t0 is
    -inf when the infimum is the limit in which all fitted mass vanishes; where it is a limit at a cell boundary, t1 is
    that boundary and the loss at t1 itself may be larger.
    """

    total: np.ndarray  #: (...), the sum of the three
    mass: np.ndarray  #: (...), over the true atoms: ``|mass of the cell - exp(beta0*_j)|``
    over_specified: np.ndarray  #: (...), over cells of two and more atoms, with powers r
    exact_specified: np.ndarray  #: (...), over cells of one atom, with powers 1
    cells: np.ndarray  #: int (..., k): index (from 0) of the true atom that each fitted atom is assigned to
    sizes: np.ndarray  #: int (..., k_true): number of fitted atoms in each cell
    t0: np.ndarray  #: (...)
    t1: np.ndarray  #: (..., d)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """All differences between fitted atom i and true atom j that the loss needs, batch axes broadcast."""

    mass: np.ndarray  # (..., k)
    mass_true: np.ndarray  # (..., k_true)
    shift: np.ndarray  # (..., k, k_true, d): beta1*_j - beta1_i, the t1 that would make the slopes equal
    slopes: np.ndarray  # (..., k_true, d): beta1*_j
    experts: np.ndarray  # (..., k, k_true): squared distance of the expert parameters
    expert_r: np.ndarray  # (..., k, k_true): sum over classes of |da|^r + ||db||^r
    expert_1: np.ndarray  # (..., k, k_true): the same with power 1
    r: float

    @property
    def batch_shape(self):
        return self.mass.shape[:-1]

    def map(self, function):
        """The same record with a function applied to every array."""
        return _Pairs(**{name: value if name == "r" else function(value) for name, value in vars(self).items()})


def _masses(G, name):
    with np.errstate(over="ignore"):
        mass = np.exp(G.beta0)
    if not np.all(np.isfinite(mass)):
        remedy = "translate the measure first, for example to the gauge 'last'"
        got = f"beta0 up to {G.beta0.max():.6g}"
        raise ValueError(message(f"beta0 of {name}", "finite masses exp(beta0)", got, remedy))
    return mass


def _pairs(G, G_true, r):
    batch = pair(G, G_true)
    r = as_number(r, "r", "an order of at least 1, as in equation (5)", "use for example r = 2", least=1.0)
    G, G_true = G.canonical(), G_true.canonical()
    k, k_true, K, d = G.k, G_true.k, G.K, G.d

    def outer(true, fitted):
        return true[..., None, :, :] - fitted[..., :, None, :]

    shift = outer(G_true.beta1, G.beta1)
    a = np.abs(outer(G_true.a[..., : K - 1], G.a[..., : K - 1]))
    b = G_true.b[..., None, :, : K - 1, :] - G.b[..., :, None, : K - 1, :]
    b = np.sqrt((b * b).sum(-1))
    largest = max(float(np.abs(values).max(initial=1.0)) for values in (a, b, shift))
    if r * np.log(largest) > MAX_LOG_POWER:
        got = f"{r:g} with differences up to {largest:.3g}"
        raise ValueError(message("r", "an order for which powers of differences do not overflow", got, "lower it"))
    return _Pairs(
        mass=np.broadcast_to(_masses(G, "G"), batch + (k,)),
        mass_true=np.broadcast_to(_masses(G_true, "G_true"), batch + (k_true,)),
        shift=np.broadcast_to(shift, batch + (k, k_true, d)),
        slopes=np.broadcast_to(G_true.beta1, batch + (k_true, d)),
        experts=np.broadcast_to((a * a + b * b).sum(-1), batch + (k, k_true)),
        expert_r=np.broadcast_to((a**r + b**r).sum(-1), batch + (k, k_true)),
        expert_1=np.broadcast_to((a + b).sum(-1), batch + (k, k_true)),
        r=r,
    )


def _cells(pairs, t1):
    """Assignment (..., k) of the fitted atoms, slopes shifted by t1 (..., d); ties to the lowest j."""
    difference = pairs.shift - t1[..., None, None, :]
    return np.argmin((difference * difference).sum(-1) + pairs.experts, axis=-1)


def _pick(values, cells):
    """values (..., k, k_true[, d]) at the assigned true atom: (..., k[, d])."""
    vector = values.ndim == cells.ndim + 2
    index = cells[..., None, None] if vector else cells[..., None]
    values = np.broadcast_to(values, cells.shape + values.shape[cells.ndim :])
    return np.take_along_axis(values, index, axis=cells.ndim)[(..., 0, slice(None)) if vector else (..., 0)]


def _cell_sums(pairs, cells):
    """Sizes and masses of the cells (..., k_true); whether an atom shares its cell (..., k)."""
    member = cells[..., None] == np.arange(pairs.mass_true.shape[-1])
    sizes = member.sum(axis=-2)
    masses = (pairs.mass[..., None] * member).sum(axis=-2)
    return sizes, masses, np.take_along_axis(sizes, cells, axis=-1) > 1


def _loss_at(pairs, cells, t0, t1):
    sizes, masses, shared = _cell_sums(pairs, cells)
    scale = np.exp(t0)[..., None]
    difference = _pick(pairs.shift, cells) - t1[..., None, :]
    slope = np.sqrt((difference * difference).sum(-1))
    over = scale * pairs.mass * (slope**pairs.r + _pick(pairs.expert_r, cells))
    exact = scale * pairs.mass * (slope + _pick(pairs.expert_1, cells))
    parts = (
        np.abs(scale * masses - pairs.mass_true).sum(-1),
        np.where(shared, over, 0.0).sum(-1),
        np.where(shared, 0.0, exact).sum(-1),
    )
    return VoronoiLoss(parts[0] + parts[1] + parts[2], *parts, cells=cells, sizes=sizes, t0=t0, t1=t1)


def voronoi_cells(G, G_true):
    """Index of the true atom nearest to each fitted atom.

    The distance is the Euclidean one of (beta1, a, b), all classes, with class K as the reference for both
    measures; masses play no part. The measures are those of `voronoi_loss`, the result (..., k) is of int, from 0 on.
    An atom at the same distance from several true atoms goes to the one with the lowest index; read literally,
    equation (5) would put it in each of their cells and count it several times.
    """
    pairs = _pairs(G, G_true, 1.0)
    return _cells(pairs, np.zeros(pairs.batch_shape + (G.d,)))


def voronoi_loss(G, G_true, r=2.0, *, gauge="as_is"):
    """The Voronoi loss D_r(G, G_true) of equation (5).

    .. math::

        D_r(G, G_*) = \\sum_j \\Big|\\sum_{i \\in C_j} e^{\\beta_{0i}} - e^{\\beta^*_{0j}}\\Big|
          + \\sum_{j, i \\in C_j} e^{\\beta_{0i}} \\Big[\\|\\Delta\\beta_{1ij}\\|^{p_j}
          + \\sum_{\\ell < K} (|\\Delta a_{ij\\ell}|^{p_j} + \\|\\Delta b_{ij\\ell}\\|^{p_j})\\Big],
        \\qquad p_j = r \\text{ if } |C_j| > 1, \\text{ else } 1.

    Raises TypeError or ValueError if the measures do not go together, r < 1, the gauge is unknown, or exp(beta0)
    overflows.

    Parameters
    ----------
    G : MixingMeasure
        Fitted measure, k atoms.
    G_true : MixingMeasure
        The measure whose atoms generate the cells, k_true atoms. Same K and d; batch axes broadcast.
    r : float
        Order, at least 1.
    gauge : str
        A name of :data:`logitmoe.measure.GAUGES`, in which both measures are put first, or ``"infimum"``: the
        infimum over all translations (t0, t1) of G, with G_true as it is.

    Returns
    -------
    ndarray (...)
        At least 0; 0 exactly if the two are equal as measures (in the gauge, or up to a translation).

    Notes
    -----
    D_r is not symmetric: the second argument generates the cells and the weights are the masses of the first. It
    jumps when a fitted atom changes cells, or when a cell gets a second atom.

    The infimum. Let the assignment of atoms to cells be fixed, m_i the masses of G, M_j those of its cells,
    and s = exp(t0). The translated loss is

    .. math:: \\sum_j |s M_j - m^*_j| + s \\Big(\\sum_i m_i \\|t_1 - \\delta_i\\|^{p_i} + \\text{const}\\Big),
              \\qquad \\delta_i = \\beta^*_{1 j(i)} - \\beta_{1i},

    so the best t1 does not depend on s and is a convex problem, and the loss is convex and piecewise linear
    in s: it is least at one of s = m*_j / M_j or in the limit s -> 0, where it is the sum of the m*_j. The
    infimum is hence never more than the total true mass. For d = 1 the assignment is constant on finitely
    many intervals of t1 whose ends solve linear equations, and the infimum is computed exactly (to rounding),
    for a whole batch at once. For d > 1 the convex problems of the most promising assignments are solved with the
    method of Nelder and Mead: the result is an upper bound (:func:`voronoi_loss_parts` gives the translation).

    Because of the jumps the infimum may be a limit at the boundary of two cells that no translation attains.
    """
    return voronoi_loss_parts(G, G_true, r, gauge=gauge).total


def voronoi_loss_parts(G, G_true, r=2.0, *, gauge="as_is"):
    """The :class:`VoronoiLoss`: with its parts, cells and translation; arguments as for :func:`voronoi_loss`."""
    names = tuple(GAUGES) + ("infimum",)
    if gauge not in names:
        raise ValueError(message("gauge", f"one of {', '.join(names)}", f"{gauge!r}", "use one of these names"))
    pair(G, G_true)
    if gauge == "infimum":
        pairs = _pairs(G, G_true, r)
        return _infimum_d1(pairs) if G.d == 1 else _infimum_search(pairs)
    pairs = _pairs(G.in_gauge(gauge), G_true.in_gauge(gauge), r)
    t1 = np.zeros(pairs.batch_shape + (G.d,))
    return _loss_at(pairs, _cells(pairs, t1), np.zeros(pairs.batch_shape), t1)


def _best_scale(pairs, masses, cost):
    """Minimise sum_j |s M_j - m*_j| + s cost over s >= 0; masses (..., k_true), cost (...): (total, s)."""
    true = pairs.mass_true
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scales = true / masses
    scales = np.where(np.isfinite(scales), scales, 0.0)
    ends = np.stack([np.zeros_like(cost), np.ones_like(cost)], axis=-1)  # the limit s -> 0, and no translation
    scales = np.concatenate([scales, ends], axis=-1)
    excess = np.abs(scales[..., None] * masses[..., None, :] - true[..., None, :]).sum(-1)
    totals = excess + scales * cost[..., None]
    best = np.argmin(totals, axis=-1)[..., None]
    return np.take_along_axis(totals, best, -1)[..., 0], np.take_along_axis(scales, best, -1)[..., 0]


def _log(scale):
    with np.errstate(divide="ignore"):
        return np.log(scale)


def _infimum_d1(pairs):
    """The exact infimum for d = 1, by the intervals of t1 on which the assignment is constant."""
    batch = pairs.batch_shape
    k, k_true = pairs.experts.shape[-2:]
    shift, slopes = pairs.shift[..., 0], pairs.slopes[..., 0]

    # Atom i is as near to j as to l at (shift_j - t)^2 + E_j = (shift_l - t)^2 + E_l: linear in t. Atoms of
    # equal slopes never change order; the event 0 put in their place splits an interval in two and does no
    # harm.
    j, ell = np.triu_indices(k_true, 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        difference = (slopes[..., j] - slopes[..., ell])[..., None, :]
        ratio = (pairs.experts[..., j] - pairs.experts[..., ell]) / difference
        events = 0.5 * (shift[..., j] + shift[..., ell] + ratio)
    far = ~(np.abs(events) < MAX_TRANSLATION)
    events = np.where(far, 0.0, events).reshape(batch + (k * len(j),))
    zero = np.zeros(batch + (1,))
    events = np.sort(np.concatenate([events, zero], axis=-1), axis=-1)
    first, last = events[..., :1], events[..., -1:]
    # The last interval in the list is the point t1 = 0: the infimum is then not above the loss as it is, ties
    # included.
    inside = 0.5 * (events[..., 1:] + events[..., :-1])
    middle = np.concatenate([first - 1.0 - np.abs(first), inside, last + 1.0 + np.abs(last), zero], axis=-1)
    low = np.concatenate([zero - np.inf, events, zero], axis=-1)
    high = np.concatenate([events, zero + np.inf, zero], axis=-1)

    repeated = pairs.map(lambda value: np.expand_dims(value, len(batch)))  # an axis for the intervals
    cells = _cells(repeated, middle[..., None])
    _, masses, shared = _cell_sums(repeated, cells)
    kinks = _pick(repeated.shift, cells)[..., 0]
    t1, slope_cost = _convex_minimum(repeated.mass, kinks, shared, low, high, pairs.r)
    rest = np.where(shared, _pick(repeated.expert_r, cells), _pick(repeated.expert_1, cells))
    totals, scales = _best_scale(repeated, masses, slope_cost + (repeated.mass * rest).sum(-1))

    best = np.argmin(totals, axis=-1)[..., None]
    t0 = _log(np.take_along_axis(scales, best, -1)[..., 0])
    t1 = np.take_along_axis(t1, best, -1)
    return _loss_at(pairs, np.take_along_axis(cells, best[..., None], -2)[..., 0, :], t0, t1)


def _convex_minimum(mass, kinks, shared, low, high, r):
    """Minimise sum_i m_i |t - kink_i|^(r if shared, else 1) over low <= t <= high: (t, minimum)."""

    def cost(t):
        distance = np.abs(t[..., None] - kinks)
        return (mass * np.where(shared, distance**r, distance)).sum(-1)

    left = np.clip(kinks.min(-1), low, high)
    right = np.clip(kinks.max(-1), low, high)
    if r > 1.0 and shared.any():
        for _ in range(64):  # bisection on the sign of the monotone derivative
            t = 0.5 * (left + right)
            difference = t[..., None] - kinks
            slope = np.where(shared, r * np.abs(difference) ** (r - 1.0), 1.0)
            rising = (mass * slope * np.sign(difference)).sum(-1) > 0.0
            left, right = np.where(rising, left, t), np.where(rising, t, right)
    # The kinks themselves: the minimiser for r = 1, and exact where bisection comes within rounding.
    candidates = [left, right] + [np.clip(kinks[..., i], low, high) for i in range(kinks.shape[-1])]
    costs = np.stack([cost(t) for t in candidates], axis=-1)
    best = np.argmin(costs, axis=-1)[..., None]
    t = np.take_along_axis(np.stack(candidates, -1), best, -1)[..., 0]
    return t, np.take_along_axis(costs, best, -1)[..., 0]


def _infimum_search(pairs):
    """An upper bound of the infimum for d > 1: the best t1 that a search from many starts finds, pair by pair."""
    batch, d = pairs.batch_shape, pairs.shift.shape[-1]
    t1 = np.empty(batch + (d,))
    for index in np.ndindex(batch):
        one = pairs.map(itemgetter((*index, None)))
        found = _local_minima(one)
        t1[index] = found[np.argmin(_profile(one, found)[0])]
    _, scales, _, cells = _profile(pairs, t1)
    return _loss_at(pairs, cells, _log(scales), t1)


def _profile(pairs, t1):
    """At translations t1 (..., d): the loss at the best scale, this scale e^t0, the cost at scale 1, and the cells."""
    cells = _cells(pairs, t1)
    _, masses, shared = _cell_sums(pairs, cells)
    slope = np.linalg.norm(_pick(pairs.shift, cells) - t1[..., None, :], axis=-1)
    terms = np.where(shared, slope**pairs.r + _pick(pairs.expert_r, cells), slope + _pick(pairs.expert_1, cells))
    cost = (pairs.mass * terms).sum(-1)
    return *_best_scale(pairs, masses, cost), cost, cells


def _local_minima(pairs):
    """Starts (n, d) for one pair of measures, and the minima of the convex problems of the best assignments."""
    d = pairs.shift.shape[-1]
    points = np.concatenate([np.zeros((1, d)), pairs.shift.reshape(-1, d)])  # where two slopes are equal
    # Atom i is as near to j as to l where normal . t1 = offset. A small step to either side of that plane, at the place
    # nearest to each of the points, so that every cell is entered.
    j, ell = np.triu_indices(pairs.mass_true.size, 1)
    to_j, to_ell = (pairs.shift[0, :, index].reshape(-1, d) for index in (j, ell))
    experts = (pairs.experts[0, :, index].reshape(-1) for index in (ell, j))
    normal, offset = 2.0 * (to_ell - to_j), (to_ell**2 - to_j**2).sum(-1) + np.subtract(*experts)
    length = np.linalg.norm(normal, axis=-1)
    apart = length > 0.0
    normal, offset = normal[apart] / length[apart, None], offset[apart] / length[apart]
    feet = points[:, None] + (offset - points @ normal.T)[..., None] * normal
    step = 1e-3 * (1.0 + np.abs(points).max()) * normal
    starts = np.concatenate([points, (feet - step).reshape(-1, d), (feet + step).reshape(-1, d)])

    totals, _, costs, cells = _profile(pairs, starts)
    order = np.lexsort([costs, totals])
    _, first = np.unique(cells[order], axis=0, return_index=True)
    options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 400 * d, "adaptive": d > 2}
    found = [starts]
    for start in order[np.sort(first)][:SEARCHES]:

        def cost(t, own=cells[start]):
            _, _, (value,), (there,) = _profile(pairs, t[None])
            return value if (there == own).all() else np.inf

        found.append(optimize.minimize(cost, starts[start], method="Nelder-Mead", options=options).x[None])
    return np.concatenate(found)
