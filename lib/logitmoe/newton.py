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
:math:`n \\epsilon` to about :math:`\\sqrt n \\epsilon`, at n = 1e12 from 1e-4 to 1e-10 nats (the tests check
that in 50 digits).

The gradient, a sum of :math:`w_s - W g_s` times bounded functions, keeps the rounding error of g itself, about 1e-5 at
n = 1e12.  Next to the noise of the sample, :math:`\\sqrt{n \\lambda}` along an eigenvector of the Fisher information
with eigenvalue :math:`\\lambda`, that is little even where :math:`\\lambda` is 1e-10.  Components of the gradient that
are below their rounding error are ignored.

References
----------
.. [1] J. Nocedal and S. J. Wright, *Numerical Optimization*, second edition, Springer (2006), chapter 4,
   doi:10.1007/978-0-387-40065-5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .checks import as_count, as_float_array, message
from .data import WeightedPoints
from .gates import Gate, as_gate, identity
from .measure import DEFAULT_THETA, MixingMeasure, Theta, as_measure
from .model import density, log_likelihood
from .penalty import NO_PENALTY, Ridge, as_penalty
from .results import COMPRESSION_TOL, FitResult, along, check_start, missing_classes, sample_positions
from .second_order import TINY, Likelihood

__all__ = ["MLEResult", "log_likelihood_difference", "mle"]

#: Nodes times fits that advance together: their arrays then stay in a core's cache.
BATCH_NODES = 2**13
#: First and largest trust-region radius, in units of the parameters, and the radius at which a fit is given up.
FIRST_RADIUS, MAX_RADIUS, MIN_RADIUS = 1.0, 8.0, 1e-12
#: Newton steps of the secular equation, at most, and its relative tolerance; it starts within sqrt(P) of its root.
SECULAR_STEPS, SECULAR_TOL = 6, 1e-9
#: Radius from which a fit goes on after it has let go of the boundary of Theta.
RELEASE_RADIUS = 1e-3
EPS, SMALLEST = np.finfo(float).eps, np.finfo(float).tiny
#: Bound on the coordinates of a step before it is shortened; its square is finite.
HUGE = 1e150
#: Part of the total weight above which a weight stands for a sample that was seen, and not for rounding.
SEEN = 1e-13


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
        If the data are not WeightedPoints (compressed data: take their ``points()``), or K, d or batch axes disagree.
    """
    if not isinstance(data, WeightedPoints):
        raise TypeError(message("data", "WeightedPoints", type(data).__name__, "take points() of compressed data"))
    for measure, name in ((G, "G"), (G_reference, "G_reference")):
        if (as_measure(measure, name).K, measure.d) != (data.K, data.d):
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
    log_ratio = np.log1p(np.maximum(u, -0.5))
    far = u < -0.5
    if far.any():  # no cancellation there, and no logarithm of zero
        log_ratio = np.where(far, np.log(g / old), log_ratio)
    return residual * log_ratio - fitted * (u - log_ratio)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MLEResult(FitResult):
    """The outcome of :func:`mle`, for a batch of fits: a :class:`.FitResult`, and certificates.

    An iteration is a trust-region step that was tried.  To compare fits use :meth:`gain`.

    Attributes
    ----------
    predicted_gain : ndarray, shape (...)
        Gain in nats that a full Newton step still promises, from the quadratic model on the free coordinates.
    gradient_norm : ndarray, shape (...)
        Largest derivative of the mean ``objective`` (per observation) along a coordinate that is free to move: on the
        boundary of Theta those that point outwards do not count.
    smallest_eigenvalue : ndarray, shape (...)
        Of minus the Hessian of the mean ``objective`` on the coordinates that are free to move: positive at a strict
        local maximum, about zero along a ridge, negative where the point is no local maximum.  Rounding is about
        1e-15.  Infinite where no coordinate is free.
    distance_to_bound : ndarray, shape (...)
        Smallest distance of a fitted coordinate from the boundary of Theta; 0 for those on it.
    data : WeightedPoints
        The points that were fitted, for :meth:`gain`; of compressed data the nodes of the largest order in use.
    gate : Gate
    """

    predicted_gain: np.ndarray
    gradient_norm: np.ndarray
    smallest_eigenvalue: np.ndarray
    distance_to_bound: np.ndarray
    data: WeightedPoints
    gate: Gate

    reasons = {
        "converged": "a full Newton step promises a gain of no more than tol",
        "stalled": "no step gains anything: a stationary point up to rounding",
        "max_iter": "max_iter steps were done before that",
        "underflow": "some class that was seen has a probability below 1e-280: rescale the covariates",
    }
    given_up = ("max_iter", "underflow")

    def gain(self, other: MixingMeasure | FitResult) -> np.ndarray:
        """Log-likelihood (without the penalty) in nats above that of another fit or measure, without cancellation.

        Batch axes broadcast.
        """
        other = other.measure if isinstance(other, FitResult) else other
        return log_likelihood_difference(self.measure, other, self.data, self.gate)

    def __getitem__(self, index) -> MLEResult:
        """The fits at an index of the batch axes."""
        part, data = super().__getitem__(index), self.data
        if not data.batch_shape:
            return part
        weights = data.weights.reshape(-1, data.K, data.m)[sample_positions(data, self.log_likelihood.shape)[index]]
        return replace(part, data=WeightedPoints(data.points, weights))

    def objectives_along(self, axis: int) -> np.ndarray:
        """Differences from one of the fits along the axis; a ValueError if these are to different data."""
        from_end = axis % self.log_likelihood.ndim - self.log_likelihood.ndim  # the data may have fewer batch axes
        if self.data.weights.ndim - 2 >= -from_end:
            weights = np.moveaxis(self.data.weights, from_end - 2, 0)
            if (weights[1:] != weights[:1]).any():
                remedy = "choose an axis along which only the starts differ"
                raise ValueError(message("axis", "an axis of fits to the same data", axis, remedy))
        first = np.expand_dims(self.log_likelihood.argmax(axis=axis), axis)
        other, cost = self.measure[along(first, axis)], self.penalty.value
        return self.gain(other) - (cost(self.measure) - cost(other))


def mle(
    data: WeightedPoints,
    start: MixingMeasure,
    *,
    gate: Gate | str = identity,
    theta: Theta = DEFAULT_THETA,
    penalty: Ridge = NO_PENALTY,
    tol: float = 1e-9,
    max_iter: int = 500,
    compression_tol: float = COMPRESSION_TOL,
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
    batch axis more than ``data``) and keep :meth:`.FitResult.best`; :func:`.random_start` and EM's results are such
    starts.  A few iterations of EM first help random starts in some samples and mislead them in
    others, so try both.  Starts that come closer to a truth as the sample grows plant a rate.

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
    penalty : Ridge, default none
        Subtracted from the log-likelihood, here and in what is said above.
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

    Examples
    --------
    >>> import numpy as np
    >>> from logitmoe import MixingMeasure, WeightedPoints, mle, random_start, sample
    >>> truth = MixingMeasure([1, 0], [[3], [0]], [[-1, 0], [1, 0]], [[[2], [0]], [[-1], [0]]])
    >>> rng = np.random.default_rng(1)
    >>> x, y = sample(truth, 1_000, rng)
    >>> fits = mle(WeightedPoints.from_labels(x, y), random_start(2, 2, 1, rng, size=8))
    >>> fit = fits.best()
    >>> bool(fit.converged), bool(fit.gain(truth) > 0.0)
    (True, True)
    """
    gate, penalty = as_gate(gate), as_penalty(penalty)
    tol, compression_tol = (
        _as_positive(value, name) for value, name in ((tol, "tol"), (compression_tol, "compression_tol"))
    )
    max_iter = as_count(max_iter, "max_iter")
    shape = check_start(data, start, theta)
    start = start.broadcast_to(shape)

    def run(points: WeightedPoints, start: MixingMeasure) -> MLEResult:
        return _run(points, start, (gate, theta, penalty), tol, max_iter)

    if isinstance(data, WeightedPoints):
        return run(data, start)
    result = data.solve(run, start, gate, compression_tol)
    return replace(result, data=data.points(int(result.nodes.max(initial=1))))


def _as_positive(value, name: str) -> float:
    number = float(as_float_array(value, name, ndim=0))
    if number <= 0.0:
        raise ValueError(message(name, "a positive number", number, "pass e.g. 1e-9"))
    return number


def _run(data: WeightedPoints, start: MixingMeasure, model, tol, max_iter) -> MLEResult:
    """Fits that are done are replaced by waiting ones, so that a batch stays full."""
    shape, flat = start.batch_shape, start.reshape((-1,))
    likelihood, (gate, theta, penalty) = Likelihood(data, flat, *model), model
    n = len(flat.beta0)
    slots = min(n, max(1, BATCH_NODES // data.m))
    search = _Search(likelihood, data, shape, likelihood.vectors(flat), slots, tol, max_iter)
    entered, active = 0, np.zeros(slots, dtype=bool)
    while entered < n or active.any():
        free = np.flatnonzero(~active)
        if entered < n and 2 * free.size >= slots:
            free = free[: n - entered]
            search.enter(free, np.arange(entered, entered + free.size))
            entered += free.size
            active[free] = True
        index = np.flatnonzero(active)
        active[index[search.advance(index)]] = False

    measure, lost = likelihood.measure(search.ends, flat), search.results["reason"] == "underflow"
    if lost.any():
        points = WeightedPoints(data.points, search.all_weights[search.rows[lost]])
        search.results["log_likelihood"][lost] = log_likelihood(measure[lost], points, gate)
    results = {name: value.reshape(shape) for name, value in search.results.items()}
    return MLEResult(
        measure=measure.reshape(shape),
        at_bound=results["distance_to_bound"] <= 0.0,
        missing_classes=missing_classes(data, shape),
        theta=theta,
        penalty=penalty,
        data=data,
        gate=gate,
        **results,
    )


class _Search:
    """The fits under way, in arrays with one row for each slot, and the results, with one row for each fit."""

    def __init__(self, likelihood, data: WeightedPoints, shape, starts: np.ndarray, slots: int, tol, max_iter) -> None:
        n, P = starts.shape
        self.likelihood, self.tol, self.max_iter = likelihood, tol, max_iter
        self.all_weights, self.rows = data.weights.reshape(-1, data.K, data.m), sample_positions(data, shape).ravel()
        self.ends = starts.copy()
        self.results = {
            "log_likelihood": np.empty(n),
            "n_iter": np.empty(n, dtype=int),
            "reason": np.empty(n, dtype="<U9"),
            "predicted_gain": np.empty(n),
            "gradient_norm": np.empty(n),
            "smallest_eigenvalue": np.empty(n),
            "distance_to_bound": np.empty(n),
        }
        self.fit = np.empty(slots, dtype=int)  # which fit a slot holds
        self.v = np.empty((slots, P))
        self.weights, self.g = np.empty((data.K, slots, data.m)), np.empty((data.K, slots, data.m))
        self.totals = np.empty((slots, data.m))
        self.size, self.noise = np.empty(slots), np.empty(slots)
        self.gradient, self.hessian = np.empty((slots, P)), np.empty((slots, P, P))  # of minus the log-likelihood
        self.held = np.empty((slots, P), dtype=bool)  # coordinates kept on the boundary of Theta
        self.values, self.vectors = np.empty((slots, P)), np.empty((slots, P, P))  # eigenvectors, without those held
        self.radius, self.n_iter = np.empty(slots), np.empty(slots, dtype=int)

    def enter(self, index: np.ndarray, fits: np.ndarray) -> None:
        """Bring in fits at their starts."""
        self.fit[index], self.v[index] = fits, self.ends[fits]
        weights = self.all_weights[self.rows[fits]].transpose(1, 0, 2)
        totals = weights.sum(axis=0)
        size = np.abs(totals).sum(axis=-1)
        self.weights[:, index], self.totals[index] = weights, totals
        self.size[index] = np.maximum(size, SMALLEST)
        #: Rounding error of a gradient's component: those below are no direction to follow.
        self.noise[index] = 4.0 * EPS * size / np.sqrt(weights.shape[-1])
        self.held[index], self.radius[index], self.n_iter[index] = self.likelihood.radii == 0.0, FIRST_RADIUS, 0
        self._differentiate(index, *self.likelihood.probabilities(self.v[index], fits))

    def _differentiate(self, index, gates, experts, g) -> None:
        """Store the density, and the objective's gradient and Hessian (along the paths of `move`), at the fits."""
        state = gates, experts, g, self.weights[:, index], self.totals[index]
        gradient, hessian = self.likelihood.derivatives(*state)
        if self.likelihood.penalised:
            gradient -= self.likelihood.pull(self.v[index], self.fit[index])
            hessian += self.likelihood.ridge
        self.g[:, index], self.gradient[index] = g, gradient
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
        """Steps (B, P) that stay in the box, whether they are full Newton steps, and the gains they predict."""
        gradient = np.where(self.held[index], 0.0, self.gradient[index])
        values, vectors = self.values[index], self.vectors[index]
        component = np.einsum("bpq,bp->bq", vectors, gradient)
        component[np.abs(component) <= self.noise[index, None]] = 0.0
        along, full = _trust_region_step(values, component, self.radius[index])
        step = np.where(self.held[index], 0.0, np.einsum("bpq,bq->bp", vectors, along))
        room = self.likelihood.room(self.v[index], step)
        fraction = np.minimum(1.0, room.min(axis=-1))
        along *= fraction[:, None]
        predicted = (component * along - 0.5 * values * along**2).sum(axis=-1)
        full &= fraction == 1.0
        step *= fraction[:, None]

        blocked = (room <= 0.0) & ~self.held[index]
        again = np.flatnonzero(blocked.any(axis=-1))
        if again.size:  # these would leave the box at once: hold what blocks them, and ask again
            self.held[index[again]] |= blocked[again]
            self._decompose(index[again])
            step[again], full[again], predicted[again] = self._propose(index[again])
        return step, full, predicted

    def advance(self, index: np.ndarray) -> np.ndarray:
        """Try one step of the fits in the slots ``index``; mark those that are done, and store their results."""
        step, full, predicted = self._propose(index)
        new = self.likelihood.move(self.v[index], step)
        gates, experts, g = self.likelihood.probabilities(new, self.fit[index])
        old = self.g[:, index]
        fitted = self.totals[index] * old
        gained = _difference(g, old, self.weights[:, index] - fitted, fitted).sum(axis=(0, -1))
        if self.likelihood.penalised:
            change = new - self.v[index]  # the penalty is quadratic: its mean slope times the change
            gained -= (change * self.likelihood.pull(self.v[index] + 0.5 * change, self.fit[index])).sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            agreement = np.where(predicted > 0.0, gained / predicted, -1.0)

        radius = self.radius[index]
        length = np.sqrt((step**2).sum(axis=-1))
        at_edge = length > 0.99 * radius
        radius = np.where(agreement >= 0.25, radius, 0.25 * np.minimum(length, radius))
        self.radius[index] = np.where((agreement > 0.75) & at_edge, np.minimum(2.0 * radius, MAX_RADIUS), radius)
        self.n_iter[index] += 1

        taken = (gained > 0.0) & (agreement > 1e-3)
        if taken.all():
            self.v[index] = new
            self._differentiate(index, gates, experts, g)
        elif taken.any():
            chosen = index[taken]
            self.v[chosen] = new[taken]
            self._differentiate(chosen, gates[:, taken], experts[:, :, taken], g[:, taken])
        done = full & (predicted <= self.tol)
        stuck = ~taken & ~done & ((predicted <= 1e-3 * self.tol) | (length < MIN_RADIUS))
        reason = np.where(done, "converged", np.where(stuck, "stalled", ""))
        ended = np.flatnonzero(done | stuck)
        if ended.size:
            reason[ended[self._release(index[ended])]] = ""
        reason[(reason == "") & (self.n_iter[index] >= self.max_iter)] = "max_iter"
        over = reason != ""
        if over.any():
            self._store(index[over], reason[over])
        return over

    def _store(self, index: np.ndarray, reason: np.ndarray) -> None:
        """Results and certificates of fits that are done."""
        g, weights, v, fit = self.g[:, index], self.weights[:, index], self.v[index], self.fit[index]
        lost = ((g <= TINY) & (weights > SEEN * self.size[index, None])).any(axis=(0, -1))
        values = (
            (weights * np.log(g)).sum(axis=(0, -1)),
            self.n_iter[index],
            np.where(lost, "underflow", reason),
            *self._certificate(index),
            np.where(self.likelihood.radii > 0.0, self.likelihood.radii - np.abs(v), np.inf).min(axis=-1),
        )
        self.ends[fit] = v
        for array, value in zip(self.results.values(), values, strict=True):
            array[fit] = value

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

    def _certificate(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicted gain, gradient norm and smallest eigenvalue, (B,) each."""
        gradient, hessian, v = self.gradient[index], self.hessian[index], self.v[index]
        held = self.held[index] | ((np.abs(v) >= self.likelihood.radii) & (gradient * v > 0.0))
        self.likelihood.bend(-gradient, hessian)  # back to that of the parameters themselves
        hessian *= ~(held[:, :, None] | held[:, None, :])
        values, vectors = np.linalg.eigh(hessian)
        gradient[held] = 0.0
        component = np.einsum("bpq,bp->bq", vectors, gradient)
        component[np.abs(component) <= self.noise[index, None]] = 0.0
        size = np.abs(values)
        floor = np.maximum(EPS * size.max(axis=-1, keepdims=True), SMALLEST)
        with np.errstate(over="ignore"):  # saturated probabilities: the quadratic model has no bound
            predicted = 0.5 * (component**2 / np.maximum(size, floor)).sum(axis=-1)
        norm = np.abs(gradient).max(axis=-1) / self.size[index]
        # A held coordinate's row and column are zero: its eigenvalue does not count.
        free = (vectors**2 * held[:, :, None]).sum(axis=1) < 0.5
        return predicted, norm, np.where(free, values, np.inf).min(axis=-1) / self.size[index]


def _trust_region_step(values, component, radius):
    """Maximise component . p - sum values p**2 / 2 over the balls of the given radii, in eigenvectors' coordinates.

    Returns the steps (B, P), and whether they are full Newton steps inside the ball (B,).

    The step is component / (values + shift), with the smallest shift >= 0 that makes all the sums positive and the
    length at most the radius.  Newton's iteration on one over the length comes to that shift from below, as in
    Nocedal and Wright, section 4.3.  Where even the lowest shift gives too short a step (the "hard case": no component
    along the lowest eigenvector), the rest of the length goes along that eigenvector.
    """
    low = values[:, 0]
    scale = np.maximum(np.abs(values).max(axis=-1), SMALLEST)
    least = np.maximum(0.0, -low)
    step, length, _ = _shifted(values, component, scale, least)
    definite = low >= -4.0 * EPS * scale
    inside = definite & (length <= radius)
    outside = np.flatnonzero(length > radius)
    if outside.size:
        r, problem = radius[outside], (values[outside], component[outside], scale[outside])
        shift = np.maximum(least[outside], (np.abs(problem[1]) / r[:, None] - problem[0]).max(axis=-1))
        part, size, total = _shifted(*problem, shift)
        for _ in range(SECULAR_STEPS):
            if (size <= (1.0 + SECULAR_TOL) * r).all():
                break
            slope = np.maximum((part**2 / total).sum(axis=-1), SMALLEST)
            shift = shift + np.maximum((size - r) / r * size**2 / slope, 0.0)
            part, size, total = _shifted(*problem, shift)
        step[outside] = part * np.minimum(1.0, r / size)[:, None]
    hard = np.flatnonzero(~definite & (length <= radius))
    if hard.size:
        rest = np.sqrt(np.maximum(radius[hard] ** 2 - (step[hard, 1:] ** 2).sum(axis=-1), 0.0))
        step[hard, 0] = np.where(step[hard, 0] < 0.0, -rest, rest)
    return step, inside


def _shifted(values, component, scale, shift):
    """The steps component / (values + shift), their lengths, and those sums, which rounding does not make negative."""
    total = np.maximum(values + shift[:, None], EPS * scale[:, None])
    with np.errstate(over="ignore"):  # such a step is longer than any radius
        step = np.clip(component / total, -HUGE, HUGE)
    return step, np.sqrt((step**2).sum(axis=-1)), total
