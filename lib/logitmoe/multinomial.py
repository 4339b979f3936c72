"""Weighted multinomial logit: the one solver behind both M-steps.

The gate and every expert are multinomial logit models that differ only in their design and in their targets: the gate
regresses the posterior expert weights on :math:`(1, M(x))`, expert :math:`i` regresses the class weights that it is
held responsible for on :math:`(1, x)`.  Many such problems are solved at once.

Arrays keep the category on the first axis and the node on the last one, ``(C, B, m)``: sums over categories then run
over long contiguous blocks, and sums over nodes are matrix products.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from .penalty import centred_cost

__all__ = ["Logit", "Setting", "maximise"]

# Predicted gain, relative to the sample's size, below which a Newton step is the last one: what it leaves is of the
# order of the gain's square.
NEWTON_TOL = 1e-8
MAX_NEWTON = 50
MAX_HALVINGS = 40
# Smallest ridge, relative to the mean curvature of the problem, that keeps a flat direction from being followed.
RIDGE = 1e-12
# Rounding noise of a sum of log-probabilities, relative to the sum.
ROUNDING = 1e-13
# Numbers beyond which products of a design's columns are not kept, and that are then in memory together.
LARGE, CHUNK = 2**22, 2**17
# Threads for problems so large.
MAX_WORKERS = 4
# The slow method: most steps, and the least damping (relative to the largest curvature there can be), its least value
# after a rejected step, and the factor by which it changes.
MAX_DAMPED = 300
LEAST_DAMPING, FIRST_DAMPING, DAMPING_FACTOR = 1e-14, 1e-8, 8.0
# Share of the predicted gain without which a step is rejected.
LEAST_GAIN = 1e-4


@dataclass(slots=True)
class Logit:
    """B multinomial logit models with C categories, evaluated at m nodes.

    Attributes
    ----------
    coefficients : ndarray, shape (C, B, q)
        The last category is the reference: its coefficients are never changed.
    log_prob, prob : ndarray, shape (C, B, m)
        Log-probabilities and probabilities at the nodes.
    """

    coefficients: np.ndarray
    log_prob: np.ndarray
    prob: np.ndarray

    @classmethod
    def at(cls, coefficients: np.ndarray, design: np.ndarray) -> Logit:
        """Evaluate the models with the given coefficients (C, B, q) on a design (m, q)."""
        C, B, q = coefficients.shape
        logits = (coefficients.reshape(C * B, q) @ design.T).reshape(C, B, -1)
        return cls(coefficients, *_log_softmax(logits))

    def take(self, index: np.ndarray) -> Logit:
        """The models at the given positions of the batch (copied)."""
        return Logit(self.coefficients[:, index], self.log_prob[:, index], self.prob[:, index])

    def put(self, index: np.ndarray, other: Logit) -> None:
        """Overwrite the models at the given positions of the batch."""
        self.coefficients[:, index] = other.coefficients
        self.log_prob[:, index] = other.log_prob
        self.prob[:, index] = other.prob


def _log_softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-softmax and softmax over the first axis, with one exponential for both.  ``logits`` is overwritten."""
    logits -= logits.max(axis=0)
    prob = np.exp(logits)
    total = prob.sum(axis=0)
    logits -= np.log(total)
    np.reciprocal(total, out=total)
    prob *= total
    return logits, prob


class Setting:
    """What B problems have in common.

    Parameters
    ----------
    design : ndarray, shape (m, q)
    radii : ndarray, shape (q,)
        The box is ``|coefficients| <= radii``.
    ridge : ndarray, shape (q,)
        Weights of the penalty on the coefficients less their means over the categories, see :mod:`.penalty`.
    C : int
        Number of categories.
    """

    def __init__(self, design: np.ndarray, radii: np.ndarray, ridge: np.ndarray, C: int) -> None:
        m, q = design.shape
        self.design, self.radii, self.ridge = design, radii, ridge
        self.penalised = bool(ridge.any())
        #: The penalty's Hessian (P, P) in the coefficients of the categories but the last, one after the other.
        self.curvature = np.kron(np.eye(C - 1) - 1.0 / C, np.diag(ridge))
        #: Products of the design's columns, (m, q * q): what a Hessian is a weighted sum of.  None if there are many.
        self.second = None
        if m * q * q <= LARGE:
            self.second = (design[:, :, None] * design[:, None, :]).reshape(m, q * q)

    def moments(self, weight: np.ndarray) -> np.ndarray:
        """Weighted sums (..., q * q) of the products of the design's columns; weight (..., m)."""
        if self.second is not None:
            return weight @ self.second
        m, q = self.design.shape
        flat = weight.reshape(-1, m)
        total, step = np.zeros((len(flat), q, q)), max(1, CHUNK // (q * max(1, len(flat))))
        for first in range(0, m, step):
            rows = self.design[first : first + step]
            total += (flat[:, first : first + step, None] * rows).swapaxes(1, 2) @ rows
        return total.reshape(*weight.shape[:-1], q * q)

    def objective(self, targets: np.ndarray, model: Logit) -> np.ndarray:
        """What is maximised, (B,)."""
        value = np.einsum("cbm,cbm->b", targets, model.log_prob)
        return value - centred_cost(model.coefficients, self.ridge) if self.penalised else value

    def gradient(self, targets: np.ndarray, expected: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Its gradient (C - 1, B, q), for expected targets (C - 1, B, m)."""
        free, B, m = expected.shape
        gradient = ((targets[:free] - expected).reshape(free * B, m) @ self.design).reshape(free, B, -1)
        if self.penalised:
            gradient -= self.ridge * (coefficients[:free] - coefficients.mean(axis=0))
        return gradient


def maximise(
    model: Logit,
    targets: np.ndarray,
    totals: np.ndarray,
    setting: Setting,
    scale: np.ndarray,
    certify: bool = False,
) -> tuple[Logit, np.ndarray]:
    r"""Maximise :math:`\sum_l \sum_c t_c(x_l) \log p_c(x_l)`, less a penalty, over a box, for each of B problems.

    Damped Newton: every step solves with the exact Hessian on the coordinates that are free (a coordinate on the box's
    face stays there while the gradient points outwards), is projected on the box, and is halved until the objective
    does not fall [1]_.  A problem whose predicted gain is below ``NEWTON_TOL * scale`` is left after that step: its
    remaining error is of the order of that gain's square.  A problem that this leaves without an end, where no step
    along the direction rises or ``MAX_NEWTON`` steps do not suffice (probabilities that are all saturated, say), is
    handed to a slow method that ends at the maximum from anywhere: the quadratic model, damped, is maximised over the
    box, one problem at a time.

    Parameters
    ----------
    model : Logit
        Starting values, (C, B, q), inside the box.
    targets : ndarray, shape (C, B, m)
        Target weights; slightly negative values, as compressed data give them, are allowed.
    totals : ndarray, shape (B, m)
        ``targets.sum(axis=0)``.
    setting : Setting
        Design, box and penalty.
    scale : ndarray, shape (B,)
        Size of the sample, the unit of the tolerance.
    certify : bool, default False
        Hand to the slow method also those problems whose end the gradient alone does not prove.  The predicted gain,
        which the ridge makes too small for covariates of very different sizes, is then not trusted.

    Returns
    -------
    best : Logit
        New arrays; the objective is not below its value at ``model`` (up to rounding).
    unfinished : ndarray of int
        Positions of the problems for which even the slow method did not reach the maximum.

    References
    ----------
    .. [1] D. P. Bertsekas, "Projected Newton methods for optimization problems with simple constraints", SIAM Journal
       on Control and Optimization 20 (1982), 221-246.
    """
    if model.coefficients.shape[0] == 1:
        return model, np.zeros(0, dtype=int)  # one category: its probability is one
    if targets.shape[1] > 1 and targets.size > LARGE:
        return _one_by_one(model, targets, totals, setting, scale, certify)
    best, decrement = _damped_step(model, targets, totals, setting)
    index, slow = np.flatnonzero(decrement > NEWTON_TOL * scale), np.flatnonzero(decrement < -NEWTON_TOL * scale)
    for _ in range(MAX_NEWTON - 1):
        if not index.size:
            break
        part, decrement = _damped_step(best.take(index), targets[:, index], totals[index], setting)
        best.put(index, part)
        slow = np.concatenate([slow, index[decrement < -NEWTON_TOL * scale[index]]])
        index = index[decrement > NEWTON_TOL * scale[index]]
    if certify:
        slow = np.flatnonzero(_largest_gain(best, targets, totals, setting) > NEWTON_TOL * scale)
    else:
        slow = np.concatenate([slow, index])
    unfinished = [b for b in slow if not _finish(best, b, targets[:, b], totals[b], setting, scale[b])]
    return best, np.array(unfinished, dtype=int)


def _one_by_one(model, targets, totals, setting, scale, certify):
    """As `maximise`, problem by problem, so that large ones share the memory, and on several cores."""
    best, unfinished = model.take(np.arange(targets.shape[1])), []

    def run(b):
        own = slice(b, b + 1)
        start = Logit(model.coefficients[:, own], model.log_prob[:, own], model.prob[:, own])
        part, failed = maximise(start, targets[:, own], totals[own], setting, scale[own], certify)
        best.put(np.array([b]), part)
        unfinished.extend([b] * failed.size)

    with ThreadPoolExecutor(max_workers=min(MAX_WORKERS, os.cpu_count())) as pool:
        list(pool.map(run, range(targets.shape[1])))
    return best, np.sort(np.array(unfinished, dtype=int))


def _largest_gain(model, targets, totals, setting):
    """No point of the box has an objective higher by more than this, (B,): the maximum of the tangent plane."""
    gradient = setting.gradient(targets, totals * model.prob[:-1], model.coefficients)
    return (np.abs(gradient) * setting.radii - gradient * model.coefficients[:-1]).sum(axis=(0, 2))


def _finish(best, b, targets, totals, setting, scale):
    """Damped maximisation of the quadratic model over the box, for one problem, in place: whether it came to an end.

    Coefficients are taken in units in which the Hessian's diagonal is below one wherever it is evaluated.  The damping
    falls where the model is right and rises where it is not, so that the Hessian of saturated probabilities, which is
    about zero, does not make the step.  The end is where no point of the box has a tangent plane, or the model without
    damping, more than the tolerance higher.
    """
    design, targets = setting.design, targets[:, None]
    at = best.take([b])
    equal = Logit.at(np.broadcast_to(at.coefficients[-1:], at.coefficients.shape), design)

    def value(model):
        cost = centred_cost(model.coefficients, setting.ridge)[0] if setting.penalised else 0.0
        return np.vdot(targets, model.log_prob) - cost

    objective, other = value(at), value(equal)
    if other > objective:  # equal probabilities: never saturated, often the better start
        at, objective = equal, other
    free, q = at.coefficients.shape[0] - 1, at.coefficients.shape[2]
    unit = np.sqrt(np.abs(totals) @ np.square(design) + setting.ridge)
    unit = np.tile(np.where(unit > 0.0, unit, 1.0), free)
    bound = np.tile(setting.radii, free)
    move = bound > 0.0  # the others are held at zero
    tol = max(NEWTON_TOL * scale, ROUNDING * abs(objective))
    damping, moved, done = LEAST_DAMPING, True, False
    for _ in range(MAX_DAMPED):
        if moved:
            theta, prob = at.coefficients[:free, 0].ravel(), at.prob[:free, 0]
            low, high = np.minimum((-bound - theta) * unit, -0.0), np.maximum((bound - theta) * unit, 0.0)
            expected = totals * prob
            gradient = setting.gradient(targets, expected[:, None], at.coefficients).ravel() / unit
            weight = np.eye(free)[:, :, None] * expected - expected[:, None] * prob
            hessian = setting.moments(weight).reshape(free, free, q, q).swapaxes(1, 2).reshape(free * q, free * q)
            if setting.penalised:
                hessian += setting.curvature
            values, vectors = np.linalg.eigh(hessian / (unit * unit[:, None]))
            if np.maximum(gradient * low, gradient * high).sum() <= tol:
                done = True
                break
        root = np.sqrt(np.maximum(values, 0.0) + damping)
        model, right, step = root[:, None] * vectors.T, vectors.T @ gradient / root, np.zeros(len(root))
        box = low[move], high[move]
        step[move] = lsq_linear(model[:, move], right, box, method="bvls", tol=1e-15, max_iter=1000).x
        predicted = gradient @ step - 0.5 * np.square(model @ step).sum()
        if damping == LEAST_DAMPING and predicted <= tol:
            done = True
            break
        new = at.coefficients.copy()
        new[:free, 0] = np.clip(theta + step / unit, -bound, bound).reshape(free, q)
        trial = Logit.at(new, design)
        reached = value(trial)
        gain = reached - objective
        moved = gain > LEAST_GAIN * predicted
        if moved:
            at, objective = trial, reached
            if gain > 0.75 * predicted:
                damping = max(damping / DAMPING_FACTOR, LEAST_DAMPING)
        elif predicted <= tol:
            break  # rounding: no model predicts what there is to gain
        else:
            damping = max(damping * DAMPING_FACTOR, FIRST_DAMPING)
    best.put([b], at)
    return done


def _damped_step(model, targets, totals, setting):
    """One Newton step of all problems, halved where the objective would fall; and each step's predicted gain.

    The gain has a minus sign where no step was found along which the objective does not fall.
    """
    step, decrement = _newton_direction(model, targets, totals, setting)
    design, radii, old = setting.design, setting.radii, model.coefficients
    new = old.copy()
    new[:-1] += step
    if not np.abs(new).max(initial=0.0) <= radii.min():  # most batches need no clipping
        np.clip(new, -radii, radii, out=new)
        new[-1] = old[-1]
    trial = Logit.at(new, design)
    objective = setting.objective(targets, model)
    gain = setting.objective(targets, trial) - objective
    index = np.flatnonzero(~(gain >= -ROUNDING * np.abs(objective)))
    length = 1.0
    for _ in range(MAX_HALVINGS):
        if not index.size:
            return trial, decrement
        length *= 0.5
        shorter = old[:, index]
        shorter[:-1] += length * step[:, index]
        np.clip(shorter, -radii, radii, out=shorter)
        shorter[-1] = old[-1, index]
        part = Logit.at(shorter, design)
        trial.put(index, part)
        gain = setting.objective(targets[:, index], part) - objective[index]
        index = index[~(gain >= 0.0)]
    trial.put(index, model.take(index))  # no ascent to be had: stay, and ask for no further step
    decrement[index] *= -1.0
    return trial, decrement


def _newton_direction(model, targets, totals, setting):
    """Newton direction (C - 1, B, q) on the free coordinates, and the gain it predicts, (B,)."""
    coefficients, prob, radii = model.coefficients, model.prob, setting.radii
    C, B, q = coefficients.shape
    free = C - 1
    expected = totals * prob[:free]
    gradient = setting.gradient(targets, expected, coefficients)
    hessian = np.empty((B, free, q, free, q))
    for c in range(free):
        for e in range(c, free):
            weight = expected[c] * prob[e]
            if c == e:
                np.subtract(expected[c], weight, out=weight)
            block = setting.moments(weight).reshape(B, q, q)
            if c != e:
                np.negative(block, out=block)
                hessian[:, e, :, c, :] = block
            hessian[:, c, :, e, :] = block
    P = free * q
    hessian = hessian.reshape(B, P, P)
    if setting.penalised:
        hessian += setting.curvature
    g = gradient.transpose(1, 0, 2).reshape(B, P)
    diagonal = np.einsum("bii->bi", hessian)  # a writable view
    curvature = np.abs(diagonal) @ np.full(P, 1.0 / P)

    if np.abs(coefficients[:free]).max(initial=0.0) >= radii.min():
        at_face = np.abs(coefficients[:free]) >= radii
        outward = at_face & ((gradient * coefficients[:free] > 0) | (radii == 0.0))
        held = outward.transpose(1, 0, 2).reshape(B, P)
        g = np.where(held, 0.0, g)
        hessian *= ~(held[:, :, None] | held[:, None, :])
        diagonal[held] = 1.0
    diagonal += (RIDGE * curvature + np.finfo(float).tiny)[:, None]

    step = _solve(hessian, g)
    decrement = np.einsum("bp,bp->b", g, step)
    # A Hessian that rounding or quadrature made indefinite: go along the gradient, as far as the box is wide.
    bad = ~((decrement >= 0.0) & np.isfinite(step).all(axis=1))
    if bad.any():
        largest = np.abs(g[bad]).max(axis=1, keepdims=True)
        step[bad] = 2.0 * radii.max() * g[bad] / np.maximum(largest, np.finfo(float).tiny)
        decrement[bad] = np.einsum("bp,bp->b", g[bad], step[bad])
    return step.reshape(B, free, q).transpose(1, 0, 2), decrement


def _solve(matrix, right):
    """Solve B systems of P equations: (B, P, P) and (B, P)."""
    if matrix.shape[1] != 2:
        return np.linalg.solve(matrix, right[..., None])[..., 0]
    (a, b), (_, c) = matrix.transpose(1, 2, 0)  # two equations, most of all that there are: Cramer's rule
    u, v = right.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        determinant = a * c - b * b
        return np.stack([(c * u - b * v) / determinant, (a * v - b * u) / determinant], axis=1)
