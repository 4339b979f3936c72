"""Separation: directions along which a likelihood rises for ever, so that its maximum is at infinity.

A multinomial logit has such a direction if, and but for constant shifts only if, a linear function of the covariates
tells some category from others without a mistake [1]_.  A linear programme finds it.  The experts and the gate are
multinomial logits with weights, the posterior expert probabilities, and are looked at one by one.

References
----------
.. [1] A. Albert and J. A. Anderson, "On the existence of maximum likelihood estimates in logistic regression models",
   Biometrika 71 (1984), 1-10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from .checks import as_instance, as_number, message
from .data import WeightedPoints
from .gates import as_gate, identity
from .measure import as_measure, single
from .model import responsibilities

__all__ = ["Separation", "recession_direction", "separations"]

#: Constraints that are added at a time.
ROWS = 2_000
#: Margin, in standard deviations of a covariate, above which a category counts as told apart; violation that is none.
MARGIN, VIOLATION = 1e-5, 1e-6
#: Most rounds of constraints.
ROUNDS = 100
#: Coefficients of a direction, relative to the largest, that words leave out.
SHOWN = 0.01


@dataclass(frozen=True, eq=False)
class Separation:
    """A direction in which the coefficients of an expert, or of the gate, run to infinity.

    Attributes
    ----------
    expert : int or None
        The expert, 1..k, or None for the gate.
    direction : ndarray, shape (C, 1 + d)
        Of intercepts and slopes of the C categories, the classes or for the gate the experts; the last is zero.
    pairs : tuple of (int, int)
        Categories s and t, from 1, such that some point of s is told from t.
    unseen : tuple of int
        Categories without a point.
    complete : bool
        Whether all points are told apart, and not only some (quasi-complete separation).
    """

    expert: int | None
    direction: np.ndarray
    pairs: tuple[tuple[int, int], ...]
    unseen: tuple[int, ...]
    complete: bool

    @property
    def named(self) -> tuple[int, ...]:
        """The categories that :meth:`words` names: those without a point, and the pair that is told apart most."""
        widest = max(self.pairs, key=lambda pair: np.abs(self._difference(pair)).max(), default=())
        return (*self.unseen, *widest)

    def words(self, names=None) -> str:
        """One sentence: where, what is told from what, and by which function of the covariates of these names."""
        what, where = ("class", f"expert {self.expert}") if self.expert else ("expert", "the gate")
        unseen = f"no point of {what} {', '.join(map(str, self.unseen))}; " if self.unseen else ""
        if not self.pairs:
            return f"{where}: {unseen[:-2]}"
        s, t = self.named[-2:]
        slopes = self._difference((s, t))[1:]
        names = [f"x{u + 1}" for u in range(slopes.size)] if names is None else names
        slopes = slopes / max(np.abs(slopes).max(), np.finfo(float).tiny)
        terms = [f"{value:+.2f} {name}" for value, name in zip(slopes, names, strict=True) if abs(value) > SHOWN]
        how = "completely" if self.complete else "for some points"
        return f"{where}: {unseen}{what} {s} is told from {t}, {how}, by {' '.join(terms) or 'a constant'}"

    def _difference(self, pair):
        s, t = pair
        return self.direction[s - 1] - self.direction[t - 1]


def separations(G, data, gate=identity, *, threshold=0.01):
    """The separations of the experts, in their order, and then that of the gate: one direction for each.

    For k = 1 the answer is exact: there is one if, and only if, the likelihood has no maximum.  For more experts a
    point belongs to those whose posterior probability of its class is above a threshold: with `G` a fit, this says
    which expert ran to the boundary and why.

    Parameters
    ----------
    G : MixingMeasure
        A single measure; for k = 1 only its size matters.
    data : WeightedPoints
        Without batch axes, and of weights that are not negative.
    gate : Gate, str or callable, optional
        The map M.
    threshold : float, default 0.01
        In [0, 1).

    Returns
    -------
    list of Separation
        Empty if nothing is separated.
    """
    G, gate = single(as_measure(G)), as_gate(gate)
    as_instance(data, WeightedPoints, "data", "pass WeightedPoints.from_labels(x, y)")
    threshold = as_number(threshold, "threshold", "a number in [0, 1)", "pass e.g. 0.01", least=0.0, below=1.0)
    if data.batch_shape or data.weights.min(initial=0.0) < 0.0:
        expected = "one sample with weights that are not negative"
        raise ValueError(message("data", expected, f"{data}", "pass the points and not their compression"))
    if (G.K, G.d) != (data.K, data.d):
        expected = f"K = {data.K} and d = {data.d}, as in data"
        raise ValueError(message("G", expected, f"K = {G.K} and d = {G.d}", "make the two agree"))
    belongs = (responsibilities(G, data.points, gate) > threshold) & (data.weights > 0.0)  # (k, K, m)
    found = [recession_direction(data.points, belongs[i], expert=i + 1) for i in range(G.k)]
    if G.k > 1:
        found.append(recession_direction(gate(data.points), belongs.any(axis=1)))
    return [separation for separation in found if separation is not None]


def recession_direction(x, seen, expert=None):
    """The `Separation` of one multinomial logit, or None: covariates (m, d), and the categories of each point, (C, m).

    A category without points is one: its probability falls to zero.
    """
    used, there = seen.any(axis=0), seen.any(axis=1)
    if there.sum() == 0:
        return None
    z, to_x = _standardised(x[used])
    delta, margins = _programme(z, seen[there][:, used], widest=False)
    strict = margins > MARGIN
    if there.all() and not strict.any():
        return None
    wide, least = _programme(z, seen[there][:, used], widest=True)
    complete = bool(strict.any() and least.min() > MARGIN)
    delta = wide if complete else delta
    direction, numbers = np.zeros((len(seen), z.shape[1])), np.flatnonzero(there) + 1
    direction[there] = delta @ to_x
    direction[~there, 0] = -1.0 - np.abs(delta).sum(axis=1).max() * np.abs(z).max()  # below all the others
    pairs = tuple((int(numbers[s]), int(numbers[t])) for s, t in np.argwhere(strict.any(axis=-1)))
    unseen = tuple(int(s) + 1 for s in np.flatnonzero(~there))
    return Separation(expert, direction - direction[-1], pairs, unseen, complete)


def _standardised(x):
    """Intercept and standardised covariates (m, 1 + d), and the matrix that takes their coefficients to those of x."""
    mean, sd = x.mean(axis=0), x.std(axis=0)
    varies = sd > 1e-12 * np.maximum(np.abs(mean), np.finfo(float).tiny)
    inverse = np.where(varies, 1.0 / np.where(varies, sd, 1.0), 0.0)
    to_x = np.diag(np.append(1.0, inverse))
    to_x[1:, 0] = -mean * inverse
    return np.hstack([np.ones((len(x), 1)), (x - mean) * inverse]), to_x


def _programme(z, seen, widest):
    """Coefficients (C, q) of size at most one that make no margin negative, and the margins (C, C, m).

    A margin is how far a category that a point has is above another one there; that of other pairs is given as zero,
    or if ``widest`` as infinite.  Their sum is as large as it can be, or the least of them.  Constraints are added when
    they are violated, so that the programmes are small.
    """
    C, q = len(seen), z.shape[1]
    goal, ones = ((seen.sum(axis=0) - C * seen) @ z)[:-1].ravel(), np.zeros((0, 1))
    if widest:
        goal = np.append(0.0 * goal, -1.0)
    owned = np.argwhere(seen)
    rows, delta, least = np.zeros((0, (C - 1) * q)), np.zeros((C, q)), 0.0
    some = owned[:: max(1, len(owned) * (C - 1) // ROWS)]
    new = [(s, t, point) for s, point in some for t in range(C) if t != s]
    bounds = [(-1.0, 1.0)] * rows.shape[1] + [(0.0, 1.0)] * widest
    for _ in range(ROUNDS):
        rows = np.concatenate([rows, _rows(np.reshape(new, (-1, 3)).astype(int), z, C)])
        ones = np.ones((len(rows), int(widest)))
        if rows.size:
            answer = linprog(goal, np.hstack([-rows, ones]), np.zeros(len(rows)), bounds=bounds, method="highs").x
            delta[:-1], least = answer[: rows.shape[1]].reshape(C - 1, q), answer[-1] if widest else 0.0
        logits = delta @ z.T
        margins = logits[:, None] - logits
        ours = seen[:, None] & ~np.eye(C, dtype=bool)[:, :, None]
        margins[~ours] = np.inf if widest else 0.0
        violated = np.argwhere(ours & (margins < least - VIOLATION))
        if not len(violated):
            return delta, margins
        new = violated[np.argsort(margins[tuple(violated.T)])[:ROWS]]
    return 0.0 * delta, np.zeros_like(margins)  # not solved: nothing is claimed


def _rows(constraints, z, C):
    """Gradients of the margins of category s over t at a point, in the coefficients of the first C - 1 categories."""
    s, t, point = constraints.T
    rows, each = np.zeros((s.size, C, z.shape[1])), np.arange(s.size)
    rows[each, s] += z[point]
    rows[each, t] -= z[point]
    return rows[:, :-1].reshape(s.size, (C - 1) * z.shape[1])
