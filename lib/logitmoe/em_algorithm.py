"""Expectation maximisation for softmax gating multinomial logistic mixtures of experts.

:func:`em` alternates an E-step (posterior expert probabilities, and with them the log-likelihood of the current
parameters) and an M-step (the gate and the experts, each a weighted multinomial logit).  Many fits advance together,
and those that are done leave the batch and make room for others.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .checks import as_float_array, as_instance, message
from .data import WeightedPoints
from .gates import Gate, as_gate, identity
from .measure import DEFAULT_THETA, MixingMeasure, Theta
from .model import log_likelihood
from .model import responsibilities as posterior
from .multinomial import Logit, Setting, maximise
from .penalty import NO_PENALTY, Ridge, as_penalty, centred_cost
from .results import (
    COMPRESSION_TOL,
    FACE,
    FitResult,
    StoppingRule,
    Trace,
    check_start,
    missing_classes,
    sample_positions,
)
from .squarem import Squarem

__all__ = ["EMResult", "e_step", "em", "m_step"]

#: Relative fall of the objective that counts as rounding.
SLACK = 1e-13
MAX_HALVINGS = 40
#: Nodes times components times classes that one batch of fits holds, about: enough for the cost of an iteration to be
#: that of its fits, and few enough for a core's cache.
CACHE_ELEMENTS = 3 * 2**15
#: Bytes that are allocated, and freed untouched, before a run.  The C library of Linux gives memory that is freed back
#: to the system, unless larger blocks were freed before; without this every temporary array costs page faults.
RELEASE = 24 * 2**20
#: Density below which products of probabilities are replaced by sums of logarithms: the products may underflow.
SMALL = 1e-280


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class EMResult(FitResult):
    """The outcome of :func:`em`, for a batch of fits: a :class:`.FitResult`, in which an iteration is one EM map."""

    stopping: StoppingRule
    trace: Trace | None = None

    reasons = {
        "absolute": "the log-likelihood changed by no more than tol",
        "relative": "the log-likelihood changed by no more than tol times its size",
        "parameters": "no parameter changed by more than tol",
        "max_iter": "max_iter iterations were done before the stopping rule was met",
        "stalled": "no step along the EM direction raised the log-likelihood: a stationary point up to rounding",
        "m_step": "the last M-step did not reach its maximum and nothing else changed: not a maximum",
    }
    given_up = ("max_iter", "m_step")


def em(
    data: WeightedPoints,
    start: MixingMeasure,
    *,
    gate: Gate | str = identity,
    theta: Theta = DEFAULT_THETA,
    penalty: Ridge = NO_PENALTY,
    stopping: StoppingRule | None = None,
    acceleration: str | None = None,
    trace: str | None = None,
) -> EMResult:
    r"""Maximise the likelihood of a softmax gating multinomial logistic mixture of experts by EM.

    Each iteration computes the posterior expert probabilities (E-step) and maximises the expected complete
    log-likelihood over the gate and the experts (M-step) by damped Newton inside the box Theta.  The log-likelihood
    never falls, or with a penalty the log-likelihood less the penalty: should the step lower it (beyond a relative
    1e-13, rounding), it is halved towards the previous parameters until it does not.

    The gate parameters of the last atom, of which only the differences to the others matter, stay where ``start`` has
    them, and so do those of class K (zero).  So a fit is in the gauge of its start: use
    :meth:`.MixingMeasure.in_gauge` for another.

    Parameters
    ----------
    data : WeightedPoints or ChebyshevMoments
        The sample, with batch axes that broadcast against those of ``start``.  Compressed samples are fitted on few
        nodes first, and again on more where the estimated relative error of the log-likelihood is above 1e-9, see
        :meth:`.ChebyshevMoments.solve`; with a trace, on all nodes.
    start : MixingMeasure, batch shape (...)
        Starting parameters, k of them the number of experts to fit; inside ``theta`` and with class K as the reference.
    gate : Gate, str or callable, default identity
        The transformation M of equation (8); the identity gives equation (1).
    theta : Theta, default the cube of radius 10
        The compact parameter set.  Fits that end on its boundary are marked ``at_bound``.
    penalty : Ridge, default none
        Subtracted from the log-likelihood; the stopping rule then looks at the difference.
    stopping : StoppingRule, optional
        Default: relative change at most 1e-6, at most 2,000 iterations.
    acceleration : {None, "squarem"}
        Plain EM, or with squared extrapolation: far fewer iterations where EM is slow.
    trace : {None, "log_likelihood", "full"}
        Record the log-likelihood (without the penalty), or that and the parameters, of every iteration.

    Returns
    -------
    EMResult
        With the batch shape of ``data`` and ``start`` broadcast together.

    Notes
    -----
    Equations (2) and (10) of the paper; Appendix D uses the same algorithm [1]_.  SQUAREM is described in
    :mod:`logitmoe.squarem`.  Its path, unlike EM's, depends on which atom is last and which class is K, because its
    norms are those of the coefficients in the gauge of ``start``; its fixed points are EM's.

    References
    ----------
    .. [1] A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm",
       Journal of the Royal Statistical Society B 39 (1977), 1-38.
    """
    gate, penalty = as_gate(gate), as_penalty(penalty)
    remedy = "pass e.g. StoppingRule('relative', tol=1e-6)"
    stopping = StoppingRule() if stopping is None else as_instance(stopping, StoppingRule, "stopping", remedy)
    if acceleration not in (None, "squarem"):
        raise ValueError(message("acceleration", "None or 'squarem'", repr(acceleration), "choose one of the two"))
    if trace not in (None, "log_likelihood", "full"):
        raise ValueError(message("trace", "None, 'log_likelihood' or 'full'", repr(trace), "choose one of these"))
    shape = check_start(data, start, theta)
    start = start.broadcast_to(shape)

    def run(points: WeightedPoints, start: MixingMeasure) -> EMResult:
        return _run(points, start, (gate, theta, penalty), stopping, acceleration, trace)

    if isinstance(data, WeightedPoints):
        return run(data, start)
    return data.solve(run, start, gate, COMPRESSION_TOL, p=data.order if trace else None)


def e_step(G: MixingMeasure, data: WeightedPoints, gate: Gate | str = identity) -> tuple[np.ndarray, np.ndarray]:
    """Posterior expert probabilities at the data's points, (..., k, K, m), and the log-likelihood, (...).

    Those of :func:`.responsibilities` and :func:`.log_likelihood`.
    """
    return posterior(G, data.points, gate), log_likelihood(G, data, gate)


def m_step(
    responsibilities: np.ndarray,
    data: WeightedPoints,
    G: MixingMeasure,
    gate: Gate | str = identity,
    theta: Theta = DEFAULT_THETA,
    penalty: Ridge = NO_PENALTY,
) -> MixingMeasure:
    """Maximise the expected complete log-likelihood, less the penalty, over gate and experts, starting from ``G``.

    The responsibilities are those of :func:`e_step`, the other arguments those of :func:`em`.  The last atom's gate
    parameters and class K's are kept.
    """
    gate = as_gate(gate)
    shape = check_start(data, G, theta, "G")
    r, expected = as_float_array(responsibilities, "responsibilities"), (G.k, data.K, data.m)
    if r.shape[-3:] != expected:
        wanted = f"shape (..., {G.k}, {data.K}, {data.m})"
        raise ValueError(message("responsibilities", wanted, r.shape, "pass what e_step returns for these data"))
    r = np.broadcast_to(r, (*shape, *expected)).reshape(-1, *expected)
    kernel = Kernel(data, G, gate, theta, as_penalty(penalty))
    fits = kernel.evaluate(*_pack(G.broadcast_to(shape)), _weights(data, shape, np.arange(len(r))))
    fits.targets = r.transpose(2, 1, 0, 3) * fits.weights[:, None]
    new_gate, new_experts, _ = kernel.m_step(fits)
    return _unpack(new_gate.coefficients, new_experts.coefficients, shape)


def _run(data: WeightedPoints, start: MixingMeasure, model, stopping, acceleration, trace) -> EMResult:
    """EM for every fit of a batch.  Fits that stop are replaced by waiting ones, so that the batch stays full."""
    shape, kernel = start.batch_shape, Kernel(data, start, *model)
    _, theta, penalty = model
    gates, experts = _pack(start)  # from here on they hold the starts of waiting fits and the ends of others
    count = gates.shape[-2]
    batches = max(1, round(count * start.K * start.k * data.m / CACHE_ELEMENTS))
    size = -(-count // batches)  # equal batches: a last one of a few fits would cost nearly as much
    advance = Squarem(kernel, stopping, count) if acceleration else _PlainEM(kernel, stopping)
    log_lik, n_iter, reason = np.empty(count), np.zeros(count, dtype=int), np.empty(count, dtype="<U10")
    record = _Recorder(trace)

    np.empty(RELEASE, dtype=np.uint8)
    waiting, active, fits = np.arange(count), np.arange(0), None
    while active.size or waiting.size:
        if waiting.size and active.size <= size // 2:
            fresh, waiting = np.split(waiting, [size - active.size])
            part = kernel.evaluate(gates[..., fresh, :], experts[..., fresh, :], _weights(data, shape, fresh))
            record(fresh, n_iter, part)
            active, fits = np.append(active, fresh), fits.joined(part) if active.size else part

        fits, stuck, met, failed = advance(active, fits)
        n_iter[active] += 1
        record(active, n_iter, fits)

        done = met | stuck | (n_iter[active] >= stopping.max_iter)
        if done.any():
            index, ended = active[done], fits[np.flatnonzero(done)]
            gates[..., index, :], experts[..., index, :] = ended.gate, ended.experts
            log_lik[index] = ended.log_likelihood
            why = np.where(stuck, "stalled", np.where(met, stopping.name, "max_iter"))
            reason[index] = np.where(failed & (stuck | met), "m_step", why)[done]
            active, fits = active[~done], fits[np.flatnonzero(~done)]

    return EMResult(
        measure=_unpack(gates, experts, shape),
        log_likelihood=log_lik.reshape(shape),
        n_iter=n_iter.reshape(shape),
        reason=reason.reshape(shape),
        at_bound=kernel.at_bound(_vectors(gates, experts)).reshape(shape),
        missing_classes=missing_classes(data, shape),
        theta=theta,
        penalty=penalty,
        stopping=stopping,
        trace=record.trace(n_iter, shape),
    )


class _PlainEM:
    """Every iteration is one EM map, after which the stopping rule is asked."""

    def __init__(self, kernel: Kernel, stopping: StoppingRule) -> None:
        self.kernel, self.stopping = kernel, stopping

    def __call__(self, active: np.ndarray, fits: Fits) -> tuple[Fits, np.ndarray, np.ndarray, np.ndarray]:
        """One iteration: where the fits are then, which are stuck, which meet the rule, whose M-step failed."""
        new, stuck, failed = self.kernel.em_map(fits)
        of_gate, of_experts = np.abs(new.gate - fits.gate), np.abs(new.experts - fits.experts)
        step = np.maximum(of_gate.max(axis=(0, 2)), of_experts.max(axis=(0, 1, 3)))
        return new, stuck, self.stopping.met(fits.objective, new.objective, step), failed


@dataclass(slots=True)
class Fits:
    """A batch of B fits under way; the fits are on the last axis but one of every array."""

    gate: np.ndarray  # coefficients, (k, B, 1 + d)
    experts: np.ndarray  # coefficients, (K, k, B, 1 + d)
    weights: np.ndarray  # class weights of the data, (K, B, m)
    totals: np.ndarray  # their sums over the classes, (B, m)
    gate_log: np.ndarray  # logarithms of probabilities, and probabilities, (k, B, m)
    gate_prob: np.ndarray
    experts_log: np.ndarray  # likewise, (K, k, B, m)
    experts_prob: np.ndarray
    targets: np.ndarray  # class weights times posterior expert probabilities, (K, k, B, m)
    value: np.ndarray  # log-likelihood, (B, 1)
    cost: np.ndarray  # the penalty, (B, 1)

    @property
    def log_likelihood(self) -> np.ndarray:
        return self.value[:, 0]

    @property
    def objective(self) -> np.ndarray:
        return self.value[:, 0] - self.cost[:, 0]

    @property
    def vectors(self) -> np.ndarray:
        """All coefficients of each fit, (B, P)."""
        return _vectors(self.gate, self.experts)

    def __getitem__(self, index: np.ndarray) -> Fits:
        """Copies of fits."""
        return Fits(*(np.take(getattr(self, f.name), index, axis=-2) for f in fields(self)))

    def __setitem__(self, index: np.ndarray, part: Fits) -> None:
        for f in fields(self):
            getattr(self, f.name)[..., index, :] = getattr(part, f.name)

    def joined(self, other: Fits) -> Fits:
        """These fits, and then the others."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Fits(*(np.concatenate(pair, axis=-2) for pair in pairs))


class Kernel:
    """The steps of EM for fits of one kind to data sets with the same points: designs, the box, the penalty."""

    def __init__(self, data: WeightedPoints, start: MixingMeasure, gate: Gate, theta: Theta, penalty: Ridge) -> None:
        ones, ridge = np.ones((data.m, 1)), penalty.weights(data.d)
        gate_radii, expert_radii = theta.radii(data.d)
        self.gate = Setting(np.hstack([ones, gate(data.points)]), gate_radii, ridge, start.k)
        self.experts = Setting(np.hstack([ones, data.points]), expert_radii, ridge, start.K)
        self.shape = start.K, start.k
        self.radii = np.concatenate([np.tile(gate_radii, start.k), np.tile(expert_radii, start.K * start.k)])

    def at_bound(self, vectors: np.ndarray) -> np.ndarray:
        """Whether a coefficient of each fit, other than those that are held at zero, is on the boundary, (B,)."""
        return ((np.abs(vectors) >= (1.0 - FACE) * self.radii) & (self.radii > 0.0)).any(axis=-1)

    def evaluate(self, gate: np.ndarray, experts: np.ndarray, weights: np.ndarray) -> Fits:
        """Fits at coefficients (k, B, 1 + d) and (K, k, B, 1 + d), with class weights (K, B, m)."""
        flat = experts.reshape(len(experts), -1, experts.shape[-1])
        totals = weights.sum(axis=0)
        return self.e_step(Logit.at(gate, self.gate.design), Logit.at(flat, self.experts.design), weights, totals)

    def at(self, vectors: np.ndarray, fits: Fits) -> Fits:
        """Fits to the same data at other coefficients, (B, P) as in :attr:`Fits.vectors`."""
        K, k = self.shape
        gate, experts = np.split(vectors, [k * self.gate.radii.size], axis=1)
        gate, experts = (np.moveaxis(v.reshape(len(v), *s, -1), 0, -2) for v, s in ((gate, (k,)), (experts, (K, k))))
        return self.evaluate(np.ascontiguousarray(gate), np.ascontiguousarray(experts), fits.weights)

    def e_step(self, gate: Logit, experts: Logit, weights: np.ndarray, totals: np.ndarray) -> Fits:
        """Posterior expert probabilities times class weights, and the log-likelihood."""
        shape = len(weights), *gate.prob.shape
        experts_log, experts_prob = experts.log_prob.reshape(shape), experts.prob.reshape(shape)
        joint = experts_prob * gate.prob
        density = joint.sum(axis=1)
        if density.min(initial=1.0) > SMALL:
            log_density = np.log(density)
        else:
            joint = experts_log + gate.log_prob
            peak = joint.max(axis=1)
            joint -= peak[:, None]
            np.exp(joint, out=joint)
            density = joint.sum(axis=1)
            log_density = np.log(density) + peak
        joint *= (weights / density)[:, None]
        value = np.einsum("kbm,kbm->b", weights, log_density)[:, None]
        coefficients = experts.coefficients.reshape(*shape[:-1], -1)
        logs = gate.log_prob, gate.prob, experts_log, experts_prob
        cost = np.zeros_like(value)
        if self.gate.penalised:
            of_experts = centred_cost(coefficients, self.experts.ridge).sum(axis=0)
            cost[:, 0] = centred_cost(gate.coefficients, self.gate.ridge) + of_experts
        return Fits(gate.coefficients, coefficients, weights, totals, *logs, joint, value, cost)

    def m_step(self, fits: Fits) -> tuple[Logit, Logit, np.ndarray]:
        """Gate and experts (as k * B models), each a weighted multinomial logit with targets of its own; failures."""
        K, k, B, m = fits.targets.shape
        targets = fits.targets.reshape(K, k * B, m)
        of_atoms = targets.sum(axis=0)  # the gate's targets, and the total weight of each expert
        size = fits.totals.sum(axis=-1)
        gate = Logit(fits.gate, fits.gate_log, fits.gate_prob)
        experts = Logit(*(v.reshape(K, k * B, -1) for v in (fits.experts, fits.experts_log, fits.experts_prob)))
        gate, gate_failed = maximise(gate, of_atoms.reshape(k, B, m), fits.totals, self.gate, size)
        certify = k == 1  # the whole problem: worth a proof
        experts, experts_failed = maximise(experts, targets, of_atoms, self.experts, np.tile(size, k), certify)
        failed = np.zeros(B, dtype=bool)
        failed[gate_failed] = failed[experts_failed % B] = True
        return gate, experts, failed

    def em_map(self, old: Fits) -> tuple[Fits, np.ndarray, np.ndarray]:
        """One EM iteration of every fit; which found no step that keeps the objective; whose M-step failed."""
        gate, experts, failed = self.m_step(old)
        new = self.e_step(gate, experts, old.weights, old.totals)
        before = old.objective
        stuck = ~(new.objective >= before - SLACK * np.abs(before))
        index = np.flatnonzero(stuck)
        for _ in range(MAX_HALVINGS):
            if not index.size:
                break
            near, far = old[index], new[index]
            halfway = (a + 0.5 * (b - a) for a, b in ((near.gate, far.gate), (near.experts, far.experts)))
            part = self.evaluate(*halfway, near.weights)
            new[index] = part
            index = index[~(part.objective >= near.objective)]
        if index.size:
            new[index] = old[index]
        stuck[:] = False
        stuck[index] = True
        return new, stuck, failed


class _Recorder:
    """Collects the trace: calls are cheap no-ops unless one was asked for."""

    def __init__(self, wanted: str | None) -> None:
        self.names = {None: (), "log_likelihood": ("value",), "full": ("value", "gate", "experts")}[wanted]
        self.index, self.times, self.values = [], [], []

    def __call__(self, index: np.ndarray, n_iter: np.ndarray, fits: Fits) -> None:
        if self.names:
            self.index.append(index)
            self.times.append(n_iter[index])
            self.values.append([getattr(fits, name) for name in self.names])

    def trace(self, n_iter: np.ndarray, shape: tuple[int, ...]) -> Trace | None:
        if not self.names:
            return None
        length = n_iter.max() + 1
        at = np.empty((n_iter.size, length), dtype=int)  # where to find a fit at a time
        index, times = np.concatenate(self.index), np.concatenate(self.times)
        at[index, times] = np.arange(index.size)
        at = np.take_along_axis(at, np.minimum(np.arange(length), n_iter[:, None]), axis=1).ravel()
        value, *coefficients = (np.concatenate(v, axis=-2)[..., at, :] for v in zip(*self.values, strict=True))
        measure = _unpack(*coefficients, (*shape, length)) if coefficients else None
        return Trace(value.reshape(*shape, length), measure)


def _weights(data: WeightedPoints, shape: tuple[int, ...], index: np.ndarray) -> np.ndarray:
    """Class weights (K, B, m) of chosen fits of the flattened batch."""
    flat = data.weights.reshape(-1, data.K, data.m)
    return np.ascontiguousarray(flat[sample_positions(data, shape).ravel()[index]].transpose(1, 0, 2))


def _pack(G: MixingMeasure) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of the n measures of a batch: gate (k, n, 1 + d) and experts (K, k, n, 1 + d)."""
    flat = G.reshape((-1,))
    gate = np.concatenate([flat.beta0[..., None], flat.beta1], axis=-1).transpose(1, 0, 2)
    experts = np.concatenate([flat.a[..., None], flat.b], axis=-1).transpose(2, 1, 0, 3)
    return gate.copy(), experts.copy()


def _unpack(gate: np.ndarray, experts: np.ndarray, shape: tuple[int, ...]) -> MixingMeasure:
    """The inverse of :func:`_pack`; experts also as (K, k * n, 1 + d)."""
    k, n, q = gate.shape
    gate, experts = gate.transpose(1, 0, 2), experts.reshape(len(experts), k, n, q).transpose(2, 1, 0, 3)
    return MixingMeasure(gate[..., 0], gate[..., 1:], experts[..., 0], experts[..., 1:]).reshape(shape)


def _vectors(gate: np.ndarray, experts: np.ndarray) -> np.ndarray:
    """All coefficients of each fit, (B, P): those of the gate, then those of the experts."""
    k, B, q = gate.shape
    gate, experts = np.moveaxis(gate, -2, 0), np.moveaxis(experts, -2, 0)
    return np.concatenate([gate.reshape(B, k * q), experts.reshape(B, experts.shape[1] * k * q)], axis=1)
