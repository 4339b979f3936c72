"""The maximum likelihood estimator itself: second-order maximisation of the log-likelihood over Theta.

EM is slow where the information of the observed data is close to singular, which is where the paper's questions are.
:func:`mle` maximises the same log-likelihood, on the same data and over the same box, by a trust-region Newton method
[1]_ with the exact gradient and Hessian, for many fits at once, and returns with each fit a certificate of how near to
a maximum it is.

Precision.  The numbers that matter are differences of log-likelihoods, of the order of one nat, and at n = 1e12 a
log-likelihood itself carries a rounding error of 1e-4 nats.  So differences are never computed as such.  With
:math:`w_s` the class weights, :math:`W = \\sum_s w_s` and :math:`u_s = g_s / g^0_s - 1`, any two measures satisfy

.. math:: \\ell(G) - \\ell(G^0) = \\sum_x \\sum_s (w_s - W g^0_s) \\log(1 + u_s) - W g^0_s (u_s - \\log(1 + u_s)),

because :math:`\\sum_s g_s = \\sum_s g^0_s`.  For a sample of size n and two measures near the truth, the first factor
is of the order of :math:`\\sqrt n` and not n, and the second term is of second order: the rounding error falls from
:math:`n \\epsilon` to about :math:`\\sqrt n \\epsilon`.  The gradient is computed in the same way, with
:math:`w_s - W g_s` for :math:`w_s`.

References
----------
.. [1] J. Nocedal and S. J. Wright, *Numerical Optimization*, second edition, Springer (2006), chapter 4,
   doi:10.1007/978-0-387-40065-5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ._validation import as_count, as_float_array, message
from .data import ChebyshevMoments, WeightedPoints, compression_error
from .estimator import FACE, FIRST_ORDER, EMResult, _check
from .gates import Gate, as_gate, identity
from .measure import DEFAULT_THETA, MixingMeasure, Theta
from .model import density, log_likelihood

__all__ = ["MLEResult", "log_likelihood_difference", "mle"]

#: Nodes times fits that advance together: their arrays then stay in a core's cache.
BATCH_NODES = 2**13
#: First and largest trust-region radius, in units of the parameters, and the radius at which a fit is given up.
FIRST_RADIUS, MAX_RADIUS, MIN_RADIUS = 1.0, 8.0, 1e-12
#: Newton steps of the secular equation; it starts within a factor sqrt(P) of its root.
SECULAR_STEPS = 6
#: Part of an atom's mass that one step leaves it at least.
LEAST_MASS = 0.2
#: Radius from which a fit goes on after it has let go of the boundary of Theta.
RELEASE_RADIUS = 1e-3
EPS = np.finfo(float).eps
#: Density below which a class counts as this probable, so that its logarithm is finite.
TINY = 1e-280

REASONS = {
    "converged": "a full Newton step promises a gain of no more than tol",
    "stalled": "no step gains anything: a stationary point up to rounding",
    "max_iter": "max_iter steps were done before that",
}


def log_likelihood_difference(G, G_reference, data, gate=identity):
    r"""The log-likelihood of one measure less that of another, without cancellation.

    Parameters
    ----------
    G, G_reference : MixingMeasure
        Batch axes broadcast, with those of the data too.
    data : WeightedPoints
        The sample, K and d as in the measures.
    gate : Gate, str or callable, default identity
        The map M.

    Returns
    -------
    ndarray, shape (...)
        In nats of the whole sample.  The rounding error is about 1e-16 times the sum of :math:`|w_s - W g^0_s|` and
        :math:`W |u|` (see the module's text), where the difference of two calls of :func:`.log_likelihood` is off by
        1e-16 times the log-likelihood.

    Raises
    ------
    TypeError, ValueError
        If the data are not WeightedPoints (compressed data: take their ``points()``), or K, d or the batch axes do
        not agree.
    """
    if not isinstance(data, WeightedPoints):
        raise TypeError(message("data", "WeightedPoints", type(data).__name__, "take points() of compressed data"))
    for measure, name in ((G, "G"), (G_reference, "G_reference")):
        if not isinstance(measure, MixingMeasure):
            raise TypeError(message(name, "a MixingMeasure", f"a {type(measure).__name__}", "build one first"))
        if (measure.K, measure.d) != (data.K, data.d):
            expected, got = f"K = {data.K} and d = {data.d}, as in data", f"K = {measure.K} and d = {measure.d}"
            raise ValueError(message(name, expected, got, "make the two agree"))
    shapes = G.batch_shape, G_reference.batch_shape, data.batch_shape
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            message("G", "batch axes of G, G_reference and data that broadcast", f"{shapes}", "make them agree")
        ) from None
    g, g_reference = (np.maximum(density(H, data.points, gate), TINY) for H in (G, G_reference))
    W = data.weights.sum(axis=-2, keepdims=True)
    return _difference(g, g_reference, data.weights - W * g_reference, W * g_reference).sum(axis=(-1, -2))


def _difference(g, old, residual, fitted):
    """The terms of the log-likelihood of g less that of old: residual = w - W old, fitted = W old."""
    u = (g - old) / old
    log_ratio = np.log1p(u)
    return residual * log_ratio - fitted * (u - log_ratio)


@dataclass(frozen=True, eq=False, repr=False)
class MLEResult:
    """The outcome of :func:`mle`, for a batch of fits: the maximisers and their certificates.

    Attributes
    ----------
    measure : MixingMeasure, batch shape (...)
        The fitted parameters, inside Theta.
    log_likelihood : ndarray, shape (...)
        The log-likelihood (nats, of the whole sample) of ``measure``.  To compare fits use :meth:`gain`.
    n_iter : ndarray of int, shape (...)
        Trust-region steps tried.
    reason : ndarray of str, shape (...)
        ``"converged"``, ``"stalled"`` or ``"max_iter"``, see ``logitmoe.maximum_likelihood.REASONS``.
    promise : ndarray, shape (...)
        Gain in nats that a full Newton step still promises, from the quadratic model on the free coordinates.
    gradient_norm : ndarray, shape (...)
        Largest derivative of the mean log-likelihood (per observation) along a coordinate that is free to move: on the
        boundary of Theta those that point outwards do not count.
    smallest_eigenvalue : ndarray, shape (...)
        Of minus the Hessian of the mean log-likelihood on the coordinates that are free to move: positive at a strict
        local maximum, about zero along a ridge, negative where the point is no local maximum.  Rounding is about
        1e-15.
    distance_to_bound : ndarray, shape (...)
        Smallest distance of a fitted coordinate from the boundary of Theta; 0 for those on it.
    theta : Theta
        The compact parameter set.
    data : WeightedPoints
        The (weighted or compressed) points that were fitted, for :meth:`gain`.
    gate : Gate
    compression_error : ndarray, shape (...), or None
        For compressed data: estimated relative error of ``log_likelihood`` against the raw sample.
    order : ndarray of int, shape (...), or None
        For compressed data: number of Chebyshev nodes used for each fit.
    """

    measure: MixingMeasure
    log_likelihood: np.ndarray
    n_iter: np.ndarray
    reason: np.ndarray
    promise: np.ndarray
    gradient_norm: np.ndarray
    smallest_eigenvalue: np.ndarray
    distance_to_bound: np.ndarray
    theta: Theta
    data: WeightedPoints
    gate: Gate
    compression_error: np.ndarray | None = None
    order: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"MLEResult of {self.summary()}"

    @property
    def converged(self) -> np.ndarray:
        """Whether the fit stopped at a stationary point."""
        return self.reason != "max_iter"

    @property
    def at_bound(self) -> np.ndarray:
        """Whether some coordinate sits on the boundary of Theta: the value is the bound's, not the data's."""
        return self.distance_to_bound <= 0.0

    def gain(self, other: MixingMeasure | EMResult | MLEResult) -> np.ndarray:
        """Log-likelihood in nats above that of another fit or measure, batch axes broadcast, without cancellation."""
        other = other.measure if isinstance(other, (EMResult, MLEResult)) else other
        return log_likelihood_difference(self.measure, other, self.data, self.gate)

    def __getitem__(self, index) -> MLEResult:
        """The fits at an index of the batch axes."""
        data = self.data
        if data.batch_shape:
            weights = np.broadcast_to(data.weights, self.log_likelihood.shape + data.weights.shape[-2:])
            data = WeightedPoints(data.points, weights[index])
        picked = {
            name: value[index]
            for name, value in vars(self).items()
            if isinstance(value, (np.ndarray, MixingMeasure))
        }
        return replace(self, data=data, **picked)

    def best(self, axis: int = -1) -> MLEResult:
        """Keep, along one batch axis (several starts, say), the fit with the highest log-likelihood.

        The fits are compared through their differences from one of them, see :func:`log_likelihood_difference`.

        Raises
        ------
        ValueError
            If there is no such batch axis.
        """
        batch = self.log_likelihood.ndim
        if not -batch <= axis < batch:
            shape = self.log_likelihood.shape
            raise ValueError(message("axis", f"one of the {batch} batch axes of shape {shape}", axis, "pass a batch"))

        def at(winner):
            index = list(np.indices(winner.shape, sparse=True))
            index[axis] = winner
            return tuple(index)

        first = at(np.expand_dims(self.log_likelihood.argmax(axis=axis), axis))
        winner = np.expand_dims(self.gain(self.measure[first]).argmax(axis=axis), axis)
        index = tuple(np.squeeze(np.broadcast_to(i, winner.shape), axis=axis) for i in at(winner))
        return self[index]

    def summary(self) -> str:
        """What happened, in words: one line per fact, fixed format."""
        n = self.log_likelihood.size
        lines = [f"{n} fit{'s' if n != 1 else ''}, {self.measure.k} experts, {self.measure.K} classes"]
        for name, text in REASONS.items():
            count = int(np.count_nonzero(self.reason == name))
            if count:
                lines.append(f"{count} stopped: {name} ({text})")
        if self.at_bound.any():
            lines.append(f"{np.count_nonzero(self.at_bound)} on the boundary of {self.theta}")
        return "\n".join(lines)


def mle(
    data: WeightedPoints | ChebyshevMoments,
    start: MixingMeasure,
    *,
    gate: Gate | str = identity,
    theta: Theta = DEFAULT_THETA,
    tol: float = 1e-9,
    max_iter: int = 500,
    compression_tol: float = 1e-9,
) -> MLEResult:
    r"""Maximise the likelihood of a softmax gating multinomial logistic mixture of experts by Newton's method.

    Every step maximises the second-order model of the log-likelihood in a ball around the current point, exactly, from
    the eigenvectors of the Hessian, so that saddles and flat directions need no special care.  It is cut off where it
    leaves the box Theta, taken only if the log-likelihood rises, and the ball grows or shrinks with the agreement of
    the two.  A coordinate that has come to the boundary of Theta is held there for as long as that is best.

    A step is straight in the masses :math:`e^{\beta_0}` and in the masses times :math:`\beta_1`, a and b, not in the
    parameters themselves.  The density depends to first order on the total mass and the mean of the atoms of a cell,
    both linear in those coordinates: there the narrow curved valley of an over-fitted likelihood is straight.

    A fit ends at a local maximum.  For the maximum likelihood estimator run it from many starts (give ``start`` one
    batch axis more than ``data``) and keep :meth:`MLEResult.best`; :func:`.near_truth`, :func:`.random_start` and EM's
    results are such starts.  Starts that come closer to a truth as the sample grows plant a rate.

    Parameters
    ----------
    data : WeightedPoints or ChebyshevMoments
        The sample, with batch axes that broadcast against those of ``start``.  Compressed samples are treated as in
        :func:`.em`.
    start : MixingMeasure, batch shape (...)
        Starting parameters; inside ``theta`` and with class K as the reference.  The gate of the last atom stays as it
        is here, as in :func:`.em`.
    gate : Gate, str or callable, default identity
        The map M.
    theta : Theta, default the cube of radius 10
    tol : float, default 1e-9
        Positive.  A fit has converged when a full Newton step promises a gain of at most this many nats.
    max_iter : int, default 500
        Largest number of steps tried.
    compression_tol : float, default 1e-9
        For compressed data only: largest accepted estimate of the relative compression error of the log-likelihood.

    Returns
    -------
    MLEResult
        With the batch shape of ``data`` and ``start`` broadcast together.

    Raises
    ------
    TypeError, ValueError
        If ``data`` and ``start`` do not fit together, ``start`` is outside ``theta`` or does not have class K as its
        reference, or an option is out of range.

    Notes
    -----
    Equations (2) and (10) of the paper: the maximum is taken over all measures with at most k atoms in Theta, in the
    gauge in which the last gate is fixed.  At the maximum of an over-fitted model the Hessian is nearly singular, of
    the order of :math:`n^{1/2}` and not n along some directions, and singular on a set of equally likely measures;
    convergence is then linear, with the factor 2/3 along a quartic.
    """
    gate = as_gate(gate)
    tol, compression_tol = (
        _as_positive(value, name) for value, name in ((tol, "tol"), (compression_tol, "compression_tol"))
    )
    max_iter = as_count(max_iter, "max_iter")
    compressed = isinstance(data, ChebyshevMoments)
    _check(data.points() if compressed else data, start, theta, "start")
    shape = np.broadcast_shapes(data.batch_shape, start.batch_shape)
    start = start.broadcast_to(shape)
    options = (gate, theta, tol, max_iter)
    if compressed:
        return _run_compressed(data, start, shape, options, compression_tol)
    return _run(data, start, shape, *options)


def _as_positive(value, name: str) -> float:
    number = float(as_float_array(value, name, ndim=0))
    if number <= 0.0:
        raise ValueError(message(name, "a positive number", number, "pass e.g. 1e-9"))
    return number


def _run_compressed(moments, start, shape, options, compression_tol) -> MLEResult:
    """Fit on few nodes, and all fits again on twice as many, until no fit's estimated error is above the tolerance."""
    gate = options[0]
    order = min(FIRST_ORDER, moments.order)
    while True:
        result = _run(moments.points(order), start, shape, *options)
        error = np.asarray(compression_error(result.measure, moments, gate, order))
        if order >= moments.order or not (error > compression_tol).any():
            return replace(result, compression_error=error, order=np.full(shape, order))
        order = min(2 * order, moments.order)


class _Likelihood:
    """The log-likelihood of fits given by coefficient vectors v (B, P), its gradient and its Hessian.

    A vector holds the gates of the atoms 1..k-1, each (intercept, slopes), then the experts' classes 1..K-1, atom by
    atom.  Arrays over points have shape (..., B, m), so that the loops over atoms and classes work on whole planes.
    """

    def __init__(self, data: WeightedPoints, start: MixingMeasure, gate: Gate, theta: Theta) -> None:
        self.k, self.K, self.d, self.m = start.k, start.K, start.d, data.m
        x = data.points
        ones = np.ones((self.m, 1))
        gate_design, expert_design = np.hstack([ones, gate(x)]), np.hstack([ones, x])
        self.designs = gate_design, expert_design
        q = 1 + self.d
        self.q = q
        self.gates, self.free = self.k - 1, self.K - 1
        self.A = self.gates + self.k * self.free  # linear predictors; each has q coefficients
        self.P = self.A * q
        #: For each coefficient the position of its atom's beta0, and whether it has one that moves.
        own = np.repeat(np.arange(self.gates), q), np.repeat(np.arange(self.k), self.free * q)
        self.atom = np.concatenate(own)
        self.is_mass = np.zeros(self.P, dtype=bool)
        self.is_mass[: self.gates * q : q] = True
        both = (gate_design, gate_design), (gate_design, expert_design), (expert_design, expert_design)
        self.products = [(u[:, :, None] * v[:, None, :]).reshape(self.m, q * q) for u, v in both]
        gate_radii = [theta.beta0] + self.d * [theta.beta1]
        expert_radii = [theta.a] + self.d * [theta.b]
        self.radii = np.array(self.gates * gate_radii + self.k * self.free * expert_radii)
        last = np.concatenate([start.beta0[:, -1:], start.beta1[:, -1]], axis=-1)
        self.last = last @ gate_design.T  # (fits, m): the last gate's logit

    def vectors(self, G: MixingMeasure) -> np.ndarray:
        """Coefficients (B, P) of a measure with batch shape (B,)."""
        gate = np.concatenate([G.beta0[..., None], G.beta1], axis=-1)[:, :-1]
        experts = np.concatenate([G.a[..., None], G.b], axis=-1)[:, :, :-1]
        return np.concatenate([part.reshape(len(part), -1) for part in (gate, experts)], axis=-1)

    def measure(self, v: np.ndarray, start: MixingMeasure, shape) -> MixingMeasure:
        """The inverse of `vectors`, with the last gates of ``start``."""
        B, k, K, q = len(v), self.k, self.K, self.q
        gate = v[:, : self.gates * q].reshape(B, k - 1, q)
        experts = np.concatenate([v[:, self.gates * q :].reshape(B, k, K - 1, q), np.zeros((B, k, 1, q))], axis=2)
        beta0 = np.concatenate([gate[..., 0], start.beta0[:, -1:]], axis=1)
        beta1 = np.concatenate([gate[..., 1:], start.beta1[:, -1:]], axis=1)
        return MixingMeasure(beta0, beta1, experts[..., 0], experts[..., 1:]).reshape(shape)

    def probabilities(self, v: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gates (k, B, m), experts (k, K, B, m) and density (K, B, m) of the fits ``index`` at v."""
        B, k, K, q, m = len(v), self.k, self.K, self.q, self.m
        gate_design, expert_design = self.designs
        gates = np.empty((k, B, m))
        gates[:-1] = (v[:, : self.gates * q].reshape(B, k - 1, q).transpose(1, 0, 2) @ gate_design.T)
        gates[-1] = self.last[index]
        _softmax(gates, axis=0)
        experts = np.zeros((k, K, B, m))
        experts[:, :-1] = v[:, self.gates * q :].reshape(B, k, K - 1, q).transpose(1, 2, 0, 3) @ expert_design.T
        _softmax(experts, axis=1)
        g = np.einsum("kbm,ksbm->sbm", gates, experts)
        return gates, experts, np.maximum(g, TINY)

    def scores(self, gates, experts, g, residual):
        """The gradient (B, P), and what the Hessian is made of; residual = w - W g, (K, B, m).

        With r_is the posteriors, the derivatives v_a (A, K, B, m) of log g_s along the linear predictors are
        r_js - pi_j for the gate of atom j and r_is (1[s = t] - f_it) for class t of expert i.  Their sums over the
        classes, with residual for weights, are the gradient in function space, slope (A, B, m).
        """
        k, K, B, m = experts.shape
        J, T, A = self.gates, self.free, self.A
        posterior = gates[:, None] * experts
        posterior /= g
        v = np.empty((A, K, B, m))
        np.subtract(posterior[:J], gates[:J, None], out=v[:J])
        for i in range(k):
            for t in range(T):
                a = J + i * T + t
                np.multiply(posterior[i], -experts[i, t], out=v[a])
                v[a, t] += posterior[i, t]
        slope = (residual * v).sum(axis=1)
        gradient = np.empty((B, A, self.q))
        for part, design in ((slice(0, J), self.designs[0]), (slice(J, A), self.designs[1])):
            gradient[:, part] = (slope[part] @ design).transpose(1, 0, 2)
        return gradient.reshape(B, self.P), (posterior, v, slope)

    def hessian(self, gates, experts, weights, parts) -> np.ndarray:
        """Minus the Hessian (B, P, P), from the parts that `scores` gives; weights = w, (K, B, m).

        With v_a as there, for the gate of atom j and class t of expert i, the second derivatives of log g_s are

        gates j, h          1[j = h] v_j - v_j pi_h - v_h pi_j - v_j v_h
        gate j, expert it   v_it (1[i = j] - pi_j) - v_j v_it
        experts it, iu      v_it (1[s = u] - f_iu) - r_is f_it (1[t = u] - f_iu) - v_it v_iu
        experts it, hu      - v_it v_hu
        """
        k, K, B, m = experts.shape
        J, T, A, q = self.gates, self.free, self.A, self.q
        posterior, v, slope = parts
        wv = weights * v

        def second(a, c):
            return (wv[a] * v[c]).sum(axis=0)

        gg, ge, ee = [], [], []
        for j in range(J):
            for h in range(j, J):
                block = slope[j] * gates[h] + slope[h] * gates[j] + second(j, h)
                gg.append(block - slope[j] if j == h else block)
            for i in range(k):
                for t in range(T):
                    a = J + i * T + t
                    block = slope[a] * gates[j] + second(j, a)
                    ge.append(block - slope[a] if i == j else block)
        for i in range(k):
            mass = (weights * posterior[i]).sum(axis=0)
            for t in range(T):
                a = J + i * T + t
                for u in range(t, T):
                    block = second(a, J + i * T + u) + slope[a] * experts[i, u] - wv[a, u]
                    block -= mass * experts[i, t] * experts[i, u]
                    ee.append(block + mass * experts[i, t] if t == u else block)
                ee.extend(second(a, c) for c in range(J + (i + 1) * T, A))

        hessian = np.empty((B, A, q, A, q))
        for blocks, pairs, product in zip((gg, ge, ee), self.pairs(), self.products, strict=True):
            if blocks:
                values = (np.stack(blocks).reshape(-1, m) @ product).reshape(-1, B, q, q)
                for (a, c), value in zip(pairs, values, strict=True):
                    hessian[:, a, :, c, :] = value
                    if a != c:
                        hessian[:, c, :, a, :] = value.transpose(0, 2, 1)
        return hessian.reshape(B, self.P, self.P)

    def growth(self, step: np.ndarray) -> np.ndarray:
        """The relative change (B, P), to first order, that a step makes in the mass of each coefficient's atom."""
        change = np.zeros((len(step), self.k))
        change[:, :-1] = step[:, self.is_mass]
        return change[:, self.atom]

    def move(self, v: np.ndarray, step: np.ndarray) -> np.ndarray:
        """The coefficients (B, P) after a step that is straight in masses and in masses times coefficients."""
        growth = self.growth(step)
        new = v + np.where(self.is_mass, np.log1p(growth), step / (1.0 + growth))
        # Those that reach the boundary of the box, but for rounding, are put there.
        return np.where(np.abs(new) >= (1.0 - FACE) * self.radii, np.copysign(self.radii, new), new)

    def bend(self, gradient: np.ndarray, hessian: np.ndarray) -> None:
        """Turn minus the Hessian, in place, into minus the Hessian along the paths of `move`."""
        for j in range(self.gates):
            mass = j * self.q
            terms = np.where(self.atom == j, gradient, 0.0)
            hessian[:, mass, :] += terms
            terms[:, mass] = 0.0
            hessian[:, :, mass] += terms

    def room(self, v: np.ndarray, step: np.ndarray) -> np.ndarray:
        """The fraction (B, P) of a step, infinite if there is none, at which `move` takes each coefficient out.

        That is out of the box or, for a mass, below ``LEAST_MASS`` times what it is.
        """
        growth = self.growth(step)
        gap = np.copysign(self.radii, step) - v  # to the face that the step points at
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # The fraction f solves f step / (1 + f growth) = gap, and log(1 + f step) = gap for a mass.
            slope = np.where(self.is_mass, step, step - gap * growth)
            fraction = np.where(self.is_mass, np.expm1(gap), gap) / slope
        fraction[(step == 0.0) | (slope * step <= 0.0)] = np.inf
        shrinking = np.where(self.is_mass & (step < 0.0), (LEAST_MASS - 1.0) / np.minimum(step, -EPS), np.inf)
        return np.minimum(fraction, shrinking)

    def pairs(self):
        """The pairs of linear predictors in the order in which `hessian` computes their blocks."""
        J, A = self.gates, self.A
        gg = [(j, h) for j in range(J) for h in range(j, J)]
        ge = [(j, a) for j in range(J) for a in range(J, A)]
        ee = [(a, c) for a in range(J, A) for c in range(a, A)]
        return gg, ge, ee


def _softmax(logits: np.ndarray, axis: int) -> None:
    """In place."""
    logits -= logits.max(axis=axis, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=axis, keepdims=True)


def _run(data: WeightedPoints, start: MixingMeasure, shape, gate: Gate, theta: Theta, tol, max_iter) -> MLEResult:
    """Fits that are done are replaced by waiting ones, so that a batch stays full."""
    flat = start.reshape((-1,))
    likelihood = _Likelihood(data, flat, gate, theta)
    search = _Search(likelihood, data, shape, likelihood.vectors(flat), tol)
    n = len(search.v)
    batch = max(1, BATCH_NODES // data.m)
    waiting, active = np.arange(n), np.arange(0)
    while active.size or waiting.size:
        if waiting.size and active.size <= batch // 2:
            fresh, waiting = np.split(waiting, [batch - active.size])
            search.enter(fresh)
            active = np.concatenate([active, fresh])
        search.advance(active)
        active = active[(search.reason[active] == "") & (search.n_iter[active] < max_iter)]
    search.reason[search.reason == ""] = "max_iter"

    measure = likelihood.measure(search.v, flat, shape)
    return MLEResult(
        measure,
        np.asarray(log_likelihood(measure, data, gate)),
        search.n_iter.reshape(shape),
        search.reason.reshape(shape),
        *(value.reshape(shape) for value in search.certificate()),
        theta,
        data,
        gate,
    )


class _Search:
    """The state of all fits of a batch, in arrays with one row for each."""

    def __init__(self, likelihood: _Likelihood, data: WeightedPoints, shape, v: np.ndarray, tol: float) -> None:
        n, P = v.shape
        self.likelihood, self.v, self.tol = likelihood, v, tol
        rows = np.arange(prod(data.batch_shape)).reshape(data.batch_shape)
        self.row = np.broadcast_to(rows, shape).ravel()  # each fit's data
        self.weights = np.ascontiguousarray(data.weights.reshape(-1, data.K, data.m).transpose(1, 0, 2))
        self.totals = self.weights.sum(axis=0)
        size = np.abs(self.totals).sum(axis=-1)[self.row]
        self.size = size
        #: Rounding error of a gradient's component: those below are no direction to follow.
        self.noise = 4.0 * EPS * size / np.sqrt(data.m)
        self.g = np.empty((data.K, n, data.m))
        self.gradient, self.hessian = np.empty((n, P)), np.empty((n, P, P))  # the latter of minus the log-likelihood
        self.held = np.zeros((n, P), dtype=bool)  # coordinates kept on the boundary of Theta
        self.values, self.vectors = np.empty((n, P)), np.empty((n, P, P))  # eigenvectors, held coordinates left out
        self.radius = np.full(n, FIRST_RADIUS)
        self.n_iter = np.zeros(n, dtype=int)
        self.reason = np.full(n, "", dtype="<U9")

    def enter(self, index: np.ndarray) -> None:
        """Bring in fits at their starts."""
        self._differentiate(index, *self.likelihood.probabilities(self.v[index], index))

    def _differentiate(self, index, gates, experts, g) -> None:
        """Store the density, the gradient and the Hessian (along the paths of `move`) at the fits' coefficients."""
        row = self.row[index]
        weights = self.weights[:, row]
        gradient, parts = self.likelihood.scores(gates, experts, g, weights - self.totals[row] * g)
        self.g[:, index], self.gradient[index] = g, gradient
        hessian = self.likelihood.hessian(gates, experts, weights, parts)
        self.likelihood.bend(gradient, hessian)
        self.hessian[index] = hessian
        self._decompose(index)

    def _decompose(self, index) -> None:
        """The eigenvectors of the Hessian on the coordinates that are not held."""
        hessian, held = self.hessian[index], self.held[index]
        if held.any():
            hessian *= ~(held[:, :, None] | held[:, None, :])
        self.values[index], self.vectors[index] = np.linalg.eigh(hessian)

    def _propose(self, index) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps (B, P) that stay in the box, whether they are full Newton steps, and the gains they promise."""
        gradient = np.where(self.held[index], 0.0, self.gradient[index])
        values, vectors = self.values[index], self.vectors[index]
        component = np.einsum("bpq,bp->bq", vectors, gradient)
        component[np.abs(component) <= self.noise[index, None]] = 0.0
        along, full = _trust_region_step(values, component, self.radius[index])
        step = np.where(self.held[index], 0.0, np.einsum("bpq,bq->bp", vectors, along))
        room = self.likelihood.room(self.v[index], step)
        fraction = np.minimum(1.0, room.min(axis=-1))
        along *= fraction[:, None]
        promise = (component * along - 0.5 * values * along**2).sum(axis=-1)
        full &= fraction == 1.0
        step *= fraction[:, None]

        blocked = (room <= 0.0) & ~self.held[index]
        again = np.flatnonzero(blocked.any(axis=-1))
        if again.size:  # these would leave the box at once: hold what blocks them, and ask again
            self.held[index[again]] |= blocked[again]
            self._decompose(index[again])
            step[again], full[again], promise[again] = self._propose(index[again])
        return step, full, promise

    def advance(self, index: np.ndarray) -> None:
        """Try one step of the fits ``index``; mark those that are done."""
        row = self.row[index]
        step, full, promise = self._propose(index)
        new = self.likelihood.move(self.v[index], step)
        gates, experts, g = self.likelihood.probabilities(new, index)
        fitted = self.totals[row] * self.g[:, index]
        gained = np.einsum("sbm->b", _difference(g, self.g[:, index], self.weights[:, row] - fitted, fitted))
        with np.errstate(divide="ignore", invalid="ignore"):
            agreement = np.where(promise > 0.0, gained / promise, -1.0)

        radius = self.radius[index]
        length = np.sqrt((step**2).sum(axis=-1))
        at_edge = length > 0.99 * radius
        radius = np.where(agreement < 0.25, 0.25 * np.minimum(length, radius), radius)
        self.radius[index] = np.where((agreement > 0.75) & at_edge, np.minimum(2.0 * radius, MAX_RADIUS), radius)
        self.n_iter[index] += 1

        taken = (gained > 0.0) & (agreement > 1e-3)
        if taken.any():
            chosen = index[taken]
            self.v[chosen] = new[taken]
            self._differentiate(chosen, gates[:, taken], experts[:, :, taken], g[:, taken])
        done = full & (promise <= self.tol)
        stuck = ~taken & ~done & ((promise <= 1e-3 * self.tol) | (length < MIN_RADIUS))
        for which, why in ((done, "converged"), (stuck, "stalled")):
            ended = index[which]
            self.reason[ended[~self._release(ended)]] = why

    def _release(self, index: np.ndarray) -> np.ndarray:
        """Let go, in each fit, of the held coordinate along which moving inwards gains most; whether there is one."""
        gradient = self.gradient[index]
        curvature = np.maximum(np.einsum("bpp->bp", self.hessian[index]), EPS * self.size[index, None])
        inwards = self.held[index] & (gradient * self.v[index] < 0.0) & (np.abs(gradient) > self.noise[index, None])
        gain = np.where(inwards, gradient**2 / curvature, 0.0)
        best = gain.argmax(axis=-1)
        worth = gain.max(axis=-1, initial=0.0) > self.tol
        let_go = index[worth]
        if let_go.size:
            self.held[let_go, best[worth]] = False
            self.radius[let_go] = np.maximum(self.radius[let_go], RELEASE_RADIUS)
            self._decompose(let_go)
        return worth

    def certificate(self):
        """Promise, gradient norm, smallest eigenvalue and distance to the bound, (n,) each."""
        hessian, held = self.hessian.copy(), self.held
        self.likelihood.bend(-self.gradient, hessian)  # that of the parameters themselves
        hessian *= ~(held[:, :, None] | held[:, None, :])
        values, vectors = np.linalg.eigh(hessian)
        gradient = np.where(held, 0.0, self.gradient)
        component = np.einsum("bpq,bp->bq", vectors, gradient)
        component[np.abs(component) <= self.noise[:, None]] = 0.0
        floor = np.maximum(EPS * np.abs(values).max(axis=-1, keepdims=True), np.finfo(float).tiny)
        promise = 0.5 * (component**2 / np.maximum(np.abs(values), floor)).sum(axis=-1)
        norm = np.abs(gradient).max(axis=-1) / self.size
        # A held coordinate's row and column are zero: its eigenvalue does not count.
        free = (vectors**2 * held[:, :, None]).sum(axis=1) < 0.5
        smallest = np.where(free, values, np.inf).min(axis=-1) / self.size
        return promise, norm, smallest, (self.likelihood.radii - np.abs(self.v)).min(axis=-1)


def _trust_region_step(values, component, radius):
    """Maximise component . p - sum values p**2 / 2 over the balls of the given radii, in eigenvectors' coordinates.

    Returns the steps (B, P), and whether they are full Newton steps inside the ball (B,).

    The step is component / (values + shift), with the smallest shift >= 0 that makes all the sums positive and the
    length at most the radius.  Newton's iteration on one over the length comes to that shift from below, as in
    Nocedal and Wright, section 4.3.  Where even the lowest shift gives too short a step (the "hard case": no component
    along the lowest eigenvector), the rest of the length goes along that eigenvector.
    """
    low = values[:, 0]
    scale = np.maximum(np.abs(values).max(axis=-1), np.finfo(float).tiny)
    least = np.maximum(0.0, -low)

    def length_at(shift):
        total = np.maximum(values + shift[:, None], EPS * scale[:, None])
        step = component / total
        return step, np.sqrt((step**2).sum(axis=-1)), total

    step, length, _ = length_at(least)
    definite = low >= -4.0 * EPS * scale
    inside = definite & (length <= radius)
    outside = np.flatnonzero(length > radius)
    if outside.size:
        full = values, component
        values, component, scale, r = values[outside], component[outside], scale[outside], radius[outside]
        shift = np.maximum(least[outside], (np.abs(component) / r[:, None] - values).max(axis=-1))
        for _ in range(SECULAR_STEPS):
            part, length, total = length_at(shift)
            slope = (part**2 / total).sum(axis=-1)
            shift = shift + np.maximum((length - r) / r * length**2 / np.maximum(slope, np.finfo(float).tiny), 0.0)
        part, length, _ = length_at(shift)
        step[outside] = part * np.minimum(1.0, r / length)[:, None]
        values, component = full
    hard = np.flatnonzero(~definite & ((step**2).sum(axis=-1) < (0.81 * radius**2)))
    if hard.size:
        rest = np.sqrt(np.maximum(radius[hard] ** 2 - (step[hard, 1:] ** 2).sum(axis=-1), 0.0))
        step[hard, 0] = np.where(step[hard, 0] < 0.0, -rest, rest)
    return step, inside
