r"""A global certificate for two experts: where every measure lies that is at least as likely as an estimate.

A search for a maximum of the likelihood finds the best of its starts.  For k = 2, K = 2 and d = 1 the rest of Theta can
be excluded by inequalities.  Let n_l of n points be at the l-th value of x, a share p_l of them in class 1, and D the
sum of n_l KL(p_l || g_l) at the estimate, g_l its probability of class 1.  Of a measure that is as likely the sum is
at most D, hence each n_l KL(p_l || g_l) too: its g_l is in an interval around p_l, of a length of the order of
sqrt(D / n_l).  For a box of experts (a_1, b_1, a_2, b_2) the mass of the first at x_l is then in an interval, and the
logits of these masses are on a line in M(x_l).  By Helly's theorem a line through all the intervals exists if and only
if there is one for any three; a box of experts for which three of them have none is excluded.  The others are halved in
each direction, from the whole of Theta on (branch and bound).

The arithmetic is in double precision with margins far above its rounding errors, and not in intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from scipy.special import expit, logit, rel_entr

from logitmoe.checks import as_count, message
from logitmoe.data import WeightedPoints
from logitmoe.gates import Gate, as_gate, identity
from logitmoe.measure import DEFAULT_THETA, MixingMeasure, Theta
from logitmoe.model import density

__all__ = ["Enclosure", "enclose"]

#: Margins of a logit, of a probability and, in nats, of the estimate's sum D: absolute, and for each point.
LOGIT, SHARE, NATS, ROUNDING = 1e-9, 1e-12, 1e-6, 1e-15
#: Boxes tested together, and steps of the bisection for the ends of an interval of g.
TOGETHER, BISECTIONS = 20_000, 60


@dataclass(frozen=True, eq=False)
class Enclosure:
    """Boxes that hold all measures in Theta which are at least as likely as an estimate.

    The atoms are in the order b_1 <= b_2, the last with beta0 = 0 and beta1 = 0; class 2 has a = 0 and b = 0.

    Attributes
    ----------
    estimate : ndarray, shape (6,)
        beta0, beta1, a_1, a_2, b_1, b_2 of the estimate.
    low, high : ndarray, shape (B, 6)
        Ends of the boxes.
    tested : int
        Boxes that were tested on the way.
    """

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tested: int

    @property
    def farthest(self) -> float:
        """An upper bound of the difference, in any coordinate, of a measure as likely from the estimate."""
        return float(max((self.high - self.estimate).max(), (self.estimate - self.low).max()))


def enclose(
    data: WeightedPoints,
    estimate: MixingMeasure,
    gate: Gate | str = identity,
    *,
    theta: Theta = DEFAULT_THETA,
    nodes: int = 14,
    boxes: int = 2000,
) -> Enclosure:
    """Enclose all measures that are at least as likely as an estimate (k = 2, K = 2, d = 1).

    Parameters
    ----------
    data : WeightedPoints
        Counts of the two classes at points that differ, at least three, without batch axes.
    estimate : MixingMeasure
        Two atoms, without batch axes.
    gate : Gate, str or callable, default identity
    theta : Theta
    nodes : int
        Points that are used for the lines, evenly among all; more exclude more.
    boxes : int
        Boxes are halved until more than so many are left.

    Returns
    -------
    Enclosure

    Raises
    ------
    TypeError, ValueError
        If the data or the estimate are not of this kind, the estimate is outside Theta, or a count is not positive.
    RuntimeError
        If the estimate itself is in no box: a check of the inequalities.
    """
    gate = as_gate(gate)
    _check(data, estimate, theta)
    nodes, boxes = as_count(nodes, "nodes", minimum=3), as_count(boxes, "boxes")
    x, M, low, high = _intervals(data, estimate, gate, min(nodes, data.m))
    of_gate, of_expert = theta.radii(1)
    lower, upper, tested = -np.tile(of_expert, (1, 2)), np.tile(of_expert, (1, 2)), 0
    while 0 < len(lower) <= boxes:
        middle, upwards = (lower + upper) / 2.0, np.array(list(product((False, True), repeat=4)))[:, None]
        halves = np.where(upwards, middle, lower), np.where(upwards, upper, middle)
        lower, upper = (half.reshape(-1, 4) for half in halves)
        ordered = lower[:, 1] <= upper[:, 3]
        lower, upper = lower[ordered], upper[ordered]
        tested += len(lower)
        parts = [slice(i, i + TOGETHER) for i in range(0, len(lower), TOGETHER)]
        kept = [_gates(lower[part], upper[part], x, M, (low, high), of_gate) for part in parts]
        gates, keep = np.concatenate([g for g, _ in kept]), np.concatenate([k for _, k in kept])
        lower, upper, gates = lower[keep], upper[keep], gates[keep]
    order = [0, 2, 1, 3]
    ends = [np.concatenate([gates[:, i], end[:, order]], axis=1) for i, end in enumerate((lower, upper))]
    vector = _ordered(estimate).to_vector()
    if not ((ends[0] <= vector + LOGIT) & (vector - LOGIT <= ends[1])).all(axis=1).any():
        raise RuntimeError("enclose excluded the estimate itself, which cannot be: please report it")
    return Enclosure(vector, *ends, tested)


def _ordered(G):
    """The measure with b_1 <= b_2 and the last atom's gate and class 2 at zero."""
    G = G.canonical()
    return G.permute(np.argsort(G.b[:, 0, 0])).in_gauge("last")


def _intervals(data, estimate, gate, count):
    """Points (p,), their M, and the ends of the intervals of g that the estimate's likelihood leaves, by M."""
    total, share = data.weights.sum(axis=0), data.weights[0] / data.weights.sum(axis=0)

    def behind(g):
        return total * (rel_entr(share, g) + rel_entr(1.0 - share, 1.0 - g))

    allowed = behind(density(estimate, data.points, gate)[0]).sum() + NATS + ROUNDING * total.sum()
    ends = []
    for end in (0.0, 1.0):
        inside, outside = share, np.full_like(share, end)
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2.0
            good = behind(middle) <= allowed
            inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
        ends.append(outside)
    M = gate(data.points)[:, 0]
    order = np.argsort(M, kind="stable")
    order = order[np.linspace(0, len(M) - 1, count).round().astype(int)]
    return data.points[order, 0], M[order], ends[0][order], ends[1][order]


def _gates(lower, upper, x, M, g, radii):
    """Ends (B, 2, 2) of beta0 and beta1 for boxes of experts, and which boxes (B,) are not excluded."""
    bound = radii[0] + radii[1] * np.abs(M)
    (u_low, u_high), (v_low, v_high) = (_values(lower[:, i : i + 2], upper[:, i : i + 2], x) for i in (0, 2))
    # The mass p of atom 1: the least and the largest of p u + (1 - p) v must meet the interval of g.
    least, most = np.full_like(u_low, -SHARE), np.full_like(u_low, 1.0 + SHARE)
    keep = np.ones(len(lower), dtype=bool)
    for factor, value in ((u_low - v_low, g[1] - v_low + SHARE), (v_high - u_high, v_high - g[0] + SHARE)):
        with np.errstate(divide="ignore", invalid="ignore"):  # factor p <= value
            ratio = value / factor
        most = np.where(factor > 0.0, np.minimum(most, ratio + SHARE), most)
        least = np.where(factor < 0.0, np.maximum(least, ratio - SHARE), least)
        keep &= ~((factor == 0.0) & (value < 0.0)).any(axis=1)
    keep &= (least <= most).all(axis=1)
    t_low, t_high = logit(np.clip(least, 0.0, 1.0)), logit(np.clip(most, 0.0, 1.0))  # infinite ones are cut now
    t_low, t_high = np.clip(t_low, -bound, bound) - LOGIT, np.clip(t_high, -bound, bound) + LOGIT
    i, j, k = np.array(list(combinations(range(len(M)), 3))).T
    at = np.where(M[k] > M[i], (M[k] - M[j]) / np.where(M[k] > M[i], M[k] - M[i], 1.0), 0.5)
    keep &= (t_low[:, j] <= at * t_high[:, i] + (1.0 - at) * t_high[:, k]).all(axis=1)
    keep &= (t_high[:, j] >= at * t_low[:, i] + (1.0 - at) * t_low[:, k]).all(axis=1)
    gates = _lines(t_low, t_high, M, radii)
    return gates, keep & (gates[:, 0] <= gates[:, 1]).all(axis=1)


def _values(lower, upper, x):
    """The least and the largest sigmoid of a + b x, (B, p) each."""
    slopes = lower[:, 1:] * x, upper[:, 1:] * x
    return expit(lower[:, :1] + np.minimum(*slopes)), expit(upper[:, :1] + np.maximum(*slopes))


def _lines(t_low, t_high, M, radii):
    """Ends (B, 2, 2), low and high, of intercept and slope of lines through the intervals: what pairs of them leave."""
    i, j = np.triu_indices(len(M), 1)
    i, j = i[M[j] > M[i]], j[M[j] > M[i]]
    width = M[j] - M[i]
    slope = (t_low[:, j] - t_high[:, i]) / width, (t_high[:, j] - t_low[:, i]) / width
    low, high = np.maximum(slope[0].max(axis=1), -radii[1]), np.minimum(slope[1].min(axis=1), radii[1])
    turns = low[:, None] * M, high[:, None] * M
    ends = t_low - np.maximum(*turns), t_high - np.minimum(*turns)
    beta0 = np.maximum(ends[0].max(axis=1), -radii[0]), np.minimum(ends[1].min(axis=1), radii[0])
    return np.stack([np.stack([beta0[0], low], axis=-1), np.stack([beta0[1], high], axis=-1)], axis=1)


def _check(data, estimate, theta):
    if not isinstance(data, WeightedPoints) or not isinstance(estimate, MixingMeasure):
        got = f"{type(data).__name__} and {type(estimate).__name__}"
        raise TypeError(message("data and estimate", "WeightedPoints and a MixingMeasure", got, "build them first"))
    kind = (data.batch_shape, data.d, data.K, estimate.batch_shape, estimate.k, estimate.d, estimate.K)
    if kind != ((), 1, 2, (), 2, 1, 2):
        raise ValueError(message("data and estimate", "no batch axes, d = 1, K = 2, k = 2", f"{kind}", "index them"))
    total = data.weights.sum(axis=0)
    if data.weights.min() < 0.0 or total.min() <= 0.0 or len(np.unique(data.points)) != data.m or data.m < 3:
        expectation = "counts, some at each of at least three different points"
        raise ValueError(message("data", expectation, "others", "merge equal points, leave out empty ones"))
    if not theta.contains(_ordered(estimate)):
        raise ValueError(message("estimate", "a measure in Theta", "one outside", "maximise over this Theta"))
