"""Expectation maximisation for softmax gating multinomial logistic mixtures of experts.

The loop is short: :func:`em` alternates an E-step (posterior expert probabilities, and with them the log-likelihood of
the current parameters) and an M-step (the gate and the experts, each a weighted multinomial logit).  Many fits advance
together, and those that are done leave the batch and make room for others.  How the iterations follow one another is a
choice: plain EM, or EM with the extrapolation SQUAREM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .checks import as_count, as_float_array
from .compression import ChebyshevMoments, compression_error
from .data import WeightedPoints
from .gates import Gate, as_gate, identity
from .measure import DEFAULT_THETA, FIELDS, MixingMeasure, Theta
from .model import log_likelihood
from .model import responsibilities as posterior
from .multinomial import Logit, maximise, second_moments

__all__ = ["EMResult", "StoppingRule", "Trace", "e_step", "em", "em_from_responsibilities", "m_step"]

#: Relative fall of the log-likelihood that counts as rounding.
SLACK = 1e-13
MAX_HALVINGS = 40
#: Nodes times components times classes that one batch of fits holds, about: enough for the cost of an iteration to be
#: that of its fits, and few enough for a core's cache.
CACHE_ELEMENTS = 3 * 2**15
#: Order at which compressed data are first fitted; doubled for those fits that turn out to need more.
FIRST_ORDER = 32
#: Bytes that are allocated, and freed untouched, before a run.  The C library of Linux gives memory that is freed back
#: to the system, unless larger blocks were freed before; without this every temporary array costs page faults.
RELEASE = 24 * 2**20
#: Density below which products of probabilities are replaced by sums of logarithms: the products may underflow.
SMALL = 1e-280
#: Estimated relative error of a compressed log-likelihood above which this does not count as accurate.
COMPRESSION_TOL = 1e-9
#: Factor by which SQUAREM's limit on its step length changes, and how far: beyond it, differences are rounding.
EXTRAPOLATION_FACTOR, MAX_EXTRAPOLATION = 4.0, 1e10
#: Relative distance from the boundary of Theta within which a parameter counts as on it.
FACE = 1e-9
#: Nats below the best log-likelihood within which a fit counts as agreeing with it.
AGREEMENT = 0.1
#: Parameters that a summary names.
MAX_NAMES = 6
REASONS = {
    "absolute": "the log-likelihood changed by no more than tol",
    "relative": "the log-likelihood changed by no more than tol times its size",
    "parameters": "no parameter changed by more than tol",
    "max_iter": "max_iter iterations were done before the stopping rule was met",
    "stalled": "no step along the EM direction raised the log-likelihood: a stationary point up to rounding",
    "m_step": "the last M-step did not reach its maximum and nothing else changed: not a maximum",
}


@dataclass(frozen=True)
class StoppingRule:
    r"""When an EM run is declared converged, and after how many iterations it is given up.

    Parameters
    ----------
    name : {"absolute", "relative", "parameters"}
        With :math:`\ell_t` the log-likelihood of the sample and :math:`\theta_t` the parameters after iteration t,
        stop when :math:`|\ell_t - \ell_{t-1}| \le` ``tol``, when
        :math:`|\ell_t - \ell_{t-1}| \le` ``tol`` :math:`|\ell_{t-1}|`, or when
        :math:`\max |\theta_t - \theta_{t-1}| \le` ``tol``.  With SQUAREM, t counts the cycles, see :func:`em`.
    tol : float, default 1e-6
        Non-negative.  Zero runs on until nothing changes any more.
    max_iter : int, default 2000
        At least 1.  Both defaults are those of Appendix D, which does not say which rule its criterion is.

    Raises
    ------
    ValueError
        If the name is unknown, ``tol`` is negative or not finite, or ``max_iter`` is below 1.
    """

    name: str = "relative"
    tol: float = 1e-6
    max_iter: int = 2000

    def __post_init__(self) -> None:
        if self.name not in ("absolute", "relative", "parameters"):
            raise ValueError(
                f"name: expected 'absolute', 'relative' or 'parameters', got {self.name!r}; "
                "choose the quantity whose change is to be small"
            )
        tol = float(as_float_array(self.tol, "tol", ndim=0))
        if tol < 0.0:
            raise ValueError(f"tol: expected a number >= 0, got {tol!r}; pass e.g. 1e-6")
        object.__setattr__(self, "tol", tol)
        object.__setattr__(self, "max_iter", as_count(self.max_iter, "max_iter"))

    def met(self, before: np.ndarray, after: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Whether the rule is met, (B,): log-likelihoods before and after, and the largest parameter change."""
        if self.name == "parameters":
            return step <= self.tol
        change = np.abs(after - before)
        return change <= (self.tol * np.abs(before) if self.name == "relative" else self.tol)


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened at every iteration.

    Attributes
    ----------
    log_likelihood : ndarray, shape (..., T + 1)
        Entry t is the log-likelihood after t iterations (entry 0: at the start), T the largest number of iterations
        that any fit took.  A fit that stopped earlier repeats its last value.  With SQUAREM too an iteration is one
        EM map; where an extrapolation was rejected, the entry repeats the one before.
    measure : MixingMeasure or None
        The parameters likewise, with batch shape (..., T + 1); None unless ``trace="full"`` was asked for.
    """

    log_likelihood: np.ndarray
    measure: MixingMeasure | None = None


@dataclass(frozen=True, eq=False, repr=False)
class EMResult:
    """The outcome of :func:`em`, for a batch of fits.

    Attributes
    ----------
    measure : MixingMeasure, batch shape (...)
        The fitted parameters, inside Theta.
    log_likelihood : ndarray, shape (...)
        The log-likelihood (nats, of the whole sample) of ``measure``.
    n_iter : ndarray of int, shape (...)
        Iterations done: EM maps, an E-step and an M-step each.
    reason : ndarray of str, shape (...)
        Why each fit stopped: the name of the stopping rule that was met, ``"max_iter"``, ``"stalled"`` (no
        step along the EM direction raises the log-likelihood: stationary up to rounding) or ``"m_step"`` (one of these
        two, but the M-step before it did not reach its maximum).
    converged : ndarray of bool, shape (...)
        True unless the reason is ``"max_iter"`` or ``"m_step"``.
    at_bound : ndarray of bool, shape (...)
        Some parameter sits on the boundary of Theta: the value is the bound's, not the data's.  Perfectly separated
        data end here.
    theta : Theta
        The compact parameter set that the fit was held to.
    stopping : StoppingRule
    missing_classes : ndarray of bool, shape (..., K)
        Classes without a sample.  Their intercepts run to the bound of Theta.
    compression_error : ndarray, shape (...), or None
        For compressed data: estimated relative error of ``log_likelihood`` against the raw sample.
    order : ndarray of int, shape (...), or None
        For compressed data: number of Chebyshev nodes (along each axis) used for each fit; 0 for the points themselves.
    trace : Trace or None
    n_starts : int or None
        Of what :meth:`best` returns: the number of fits that it chose from.
    n_agree : ndarray of int, shape (...), or None
        How many of those have a log-likelihood within 0.1 nats of the best, the best included.  If it is one of many,
        there may be a better maximum still, or the stopping rule ends runs too early: try more starts, and a smaller
        ``tol``.
    """

    measure: MixingMeasure
    log_likelihood: np.ndarray
    n_iter: np.ndarray
    reason: np.ndarray
    at_bound: np.ndarray
    theta: Theta
    stopping: StoppingRule
    missing_classes: np.ndarray
    compression_error: np.ndarray | None = None
    order: np.ndarray | None = None
    trace: Trace | None = None
    n_starts: int | None = None
    n_agree: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"EMResult of {self.summary()}"

    @property
    def converged(self) -> np.ndarray:
        """Whether the fit stopped before ``max_iter``, its M-steps done to the end."""
        return (self.reason != "max_iter") & (self.reason != "m_step")

    @property
    def duplicate_atoms(self) -> np.ndarray:
        """Whether two atoms of a fit are equal to 1e-8 in (beta1, a, b): one of them could be merged away."""
        return _duplicate_atoms(self.measure)

    def __getitem__(self, index) -> EMResult:
        """The fits at an index of the batch axes."""

        def pick(value):
            return None if value is None else value[index]

        trace = self.trace
        if trace is not None:
            measure = trace.measure
            if measure is not None:
                index_all = index if isinstance(index, tuple) else (index,)
                measure = measure[*index_all]
            trace = Trace(trace.log_likelihood[index], measure)
        return EMResult(
            self.measure[index],
            self.log_likelihood[index],
            self.n_iter[index],
            self.reason[index],
            self.at_bound[index],
            self.theta,
            self.stopping,
            self.missing_classes[index],
            pick(self.compression_error),
            pick(self.order),
            trace,
            self.n_starts,
            pick(self.n_agree),
        )

    def best(self, axis: int = -1) -> EMResult:
        """Keep, along one batch axis (several starts, say), the fit with the highest log-likelihood.

        Returns
        -------
        EMResult
            Without that axis.  ``n_starts`` and ``n_agree`` say how many fits there were and how many agree.

        Raises
        ------
        ValueError
            If there is no such batch axis.
        """
        batch = self.log_likelihood.ndim
        if not -batch <= axis < batch:
            raise ValueError(
                f"axis: expected one of the {batch} batch axes of shape {self.log_likelihood.shape}, got {axis}; "
                "best() needs a batch of fits to choose from"
            )
        winner = np.expand_dims(self.log_likelihood.argmax(axis=axis), axis)
        index = list(np.indices(winner.shape, sparse=True))
        index[axis] = winner
        index = tuple(np.squeeze(i, axis=axis) if i.shape[axis] == 1 else i for i in index)
        best = self[index]
        agree = self.log_likelihood >= np.expand_dims(best.log_likelihood, axis) - AGREEMENT
        return replace(best, n_starts=agree.shape[axis], n_agree=np.asarray(agree.sum(axis=axis)))

    def summary(self) -> str:
        """What happened, in words: one line per fact, fixed format; what to do about it is indented."""
        return _summary(self, REASONS)


def _duplicate_atoms(G: MixingMeasure) -> np.ndarray:
    slopes = G.b.reshape(*G.batch_shape, G.k, G.K * G.d)  # no -1: a batch may be empty
    atoms = np.concatenate([G.beta1, G.a, slopes], axis=-1)
    gap = np.abs(atoms[..., :, None, :] - atoms[..., None, :, :]).max(axis=-1)
    return (gap + 2.0 * np.eye(G.k) < 1e-8).any(axis=(-1, -2))


def _summary(result, reasons: dict[str, str]) -> str:
    """The text of the results of EM and of the maximum likelihood estimator, which have the same fields."""
    n, k = result.log_likelihood.size, result.measure.k
    lines = [f"{n} fit{'s' if n != 1 else ''}, {k} expert{'s' if k != 1 else ''}, {result.measure.K} classes"]
    if result.order is None or not result.order.any():
        lines[0] += ", fitted to the points"
    else:
        lines[0] += f", fitted on {_span(result.order)} Chebyshev nodes{' along each axis' * (result.measure.d > 1)}"
    if result.n_agree is not None and n:
        agree = f"within {AGREEMENT} nats of the best: {_span(result.n_agree)}, itself included"
        lines.append(f"starts: {result.n_starts}; {agree}")
    for name, text in reasons.items():
        count = int(np.count_nonzero(result.reason == name))
        if count:
            lines.append(f"{count} stopped: {name} ({text})")
    error = np.asarray(0.0 if result.compression_error is None else result.compression_error)
    if (error > COMPRESSION_TOL).any():
        count = np.count_nonzero(error > COMPRESSION_TOL)
        lines.append(
            f"{count} with an estimated relative compression error up to {error.max():.0e}:\n"
            "  take more moments, or fit the points"
        )
    if result.at_bound.any():
        lines.append(_boundary_note(result.measure, result.at_bound, result.theta))
    if result.missing_classes.any():
        classes = np.flatnonzero(result.missing_classes.reshape(-1, result.measure.K).any(axis=0)) + 1
        lines.append(
            f"no sample of class {', '.join(map(str, classes))} (in at least one fit's data):\n"
            "  drop the class, or its intercepts run to the boundary of any theta"
        )
    if result.duplicate_atoms.any():
        lines.append(f"{np.count_nonzero(result.duplicate_atoms)} with duplicate atoms")
    return "\n".join(lines)


def _span(counts: np.ndarray) -> str:
    """The numbers of a batch of fits: the only one, or the least and the largest."""
    low, high = np.min(counts), np.max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _boundary_note(G: MixingMeasure, at_bound: np.ndarray, theta: Theta) -> str:
    """The lines of a summary on fits that end on the boundary of Theta: which parameters, and what to do."""
    names = theta.touching(G[at_bound], rtol=FACE)
    listed = ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")
    remedy = "widen theta, scale x to order one, or fit fewer experts"
    return f"{np.count_nonzero(at_bound)} on the boundary of {theta}, in {listed}:\n  {remedy}"


class _Problem:
    """The data of a batch of fits, arranged for the kernels: designs, their products, the box."""

    def __init__(self, data: WeightedPoints, gate: Gate, theta: Theta) -> None:
        x = data.points
        ones = np.ones((len(x), 1))
        self.gate_design = np.hstack([ones, gate(x)])
        self.expert_design = np.hstack([ones, x])
        self.gate_second = second_moments(self.gate_design)
        self.expert_second = second_moments(self.expert_design)
        d = x.shape[1]
        self.gate_radii = np.array([theta.beta0] + d * [theta.beta1])
        self.expert_radii = np.array([theta.a] + d * [theta.b])


@dataclass(slots=True)
class _State:
    """A batch of B fits: gate (k categories), experts (K categories, k * B models), class weights (K, B, m)."""

    gate: Logit
    experts: Logit
    weights: np.ndarray
    totals: np.ndarray  # (B, m)
    size: np.ndarray  # (B,)
    log_likelihood: np.ndarray  # (B,)
    expert_targets: np.ndarray  # (K, k * B, m): class weights times posterior expert probabilities

    @property
    def shape(self) -> tuple[int, int, int, int]:
        k, B, m = self.gate.prob.shape
        return self.experts.prob.shape[0], k, B, m


def _evaluate(problem: _Problem, gate: Logit, experts: Logit, weights, totals, size) -> _State:
    """The E-step: posterior expert probabilities times class weights, and the log-likelihood."""
    K = weights.shape[0]
    k, B, m = gate.prob.shape
    joint = experts.prob.reshape(K, k, B, m) * gate.prob
    density = joint.sum(axis=1)
    if density.min(initial=1.0) > SMALL:
        log_density = np.log(density)
    else:
        np.add(experts.log_prob.reshape(K, k, B, m), gate.log_prob, out=joint)
        peak = joint.max(axis=1)
        joint -= peak[:, None]
        np.exp(joint, out=joint)
        density = joint.sum(axis=1)
        log_density = np.log(density)
        log_density += peak
    joint *= (weights / density)[:, None]
    log_likelihood = np.einsum("kbm,kbm->b", weights, log_density)
    return _State(gate, experts, weights, totals, size, log_likelihood, joint.reshape(K, k * B, m))


def _advance(problem: _Problem, state: _State) -> tuple[_State, np.ndarray, np.ndarray]:
    """One EM iteration of every fit; which found no step that keeps the log-likelihood; which M-steps failed."""
    K, k, B, m = state.shape
    gate, experts, failed = _maximise(problem, state)
    new = _evaluate(problem, gate, experts, state.weights, state.totals, state.size)
    fall = ~(new.log_likelihood >= state.log_likelihood - SLACK * np.abs(state.log_likelihood))
    if not fall.any():
        return new, fall, failed

    index = np.flatnonzero(fall)
    for _ in range(MAX_HALVINGS):
        old, far = _take(state, index), _take(new, index)
        gate_at = old.gate.coefficients + 0.5 * (far.gate.coefficients - old.gate.coefficients)
        experts_at = old.experts.coefficients + 0.5 * (far.experts.coefficients - old.experts.coefficients)
        part = _from_coefficients(problem, gate_at, experts_at, old.weights)
        _put(new, index, part)
        fall = ~(part.log_likelihood >= old.log_likelihood)
        index = index[fall]
        if not index.size:
            break
    _put(new, index, _take(state, index))
    stuck = np.zeros(B, dtype=bool)
    stuck[index] = True
    return new, stuck, failed


class _PlainEM:
    """Every iteration is one EM map, after which the stopping rule is asked."""

    def __init__(self, problem: _Problem, stopping: StoppingRule) -> None:
        self.problem, self.stopping = problem, stopping

    def __call__(self, active: np.ndarray, state: _State) -> tuple[_State, np.ndarray, np.ndarray, np.ndarray]:
        """One iteration of the fits ``active``: new state, who is stuck, who meets the rule, whose M-step failed."""
        new, stuck, failed = _advance(self.problem, state)
        k, B = state.gate.prob.shape[:2]
        step = np.maximum(
            np.abs(new.gate.coefficients - state.gate.coefficients).max(axis=(0, 2)),
            np.abs(new.experts.coefficients - state.experts.coefficients).max(axis=(0, 2)).reshape(k, B).max(axis=0),
        )
        return new, stuck, self.stopping.met(state.log_likelihood, new.log_likelihood, step), failed


class _Squarem:
    """Cycles of three EM maps, the third from a point extrapolated from the first two; each fit has its own phase.

    An iteration is one EM map of every fit, whatever its phase, so that fits may join and leave at any time.
    """

    def __init__(self, problem: _Problem, stopping: StoppingRule, fits: int, shape: tuple[int, int]) -> None:
        self.problem, self.stopping = problem, stopping
        k, K = shape
        self.radii = np.concatenate([np.tile(problem.gate_radii, k), np.tile(problem.expert_radii, K * k)])
        self.phase = np.zeros(fits, dtype=int)
        self.origin = np.empty((fits, self.radii.size))  # where the cycle began
        self.first = np.empty_like(self.origin)  # after its first map
        self.before = np.empty(fits)  # log-likelihood at the origin
        self.limit = np.ones(fits)  # on the step length
        self.failed = np.zeros(fits, dtype=bool)  # an M-step of the cycle

    def __call__(self, active: np.ndarray, state: _State) -> tuple[_State, np.ndarray, np.ndarray, np.ndarray]:
        """As for :class:`_PlainEM`."""
        phase, points = self.phase[active], _vectors(state)
        begin, second, third = (np.flatnonzero(phase == i) for i in range(3))
        self.origin[active[begin]], self.before[active[begin]] = points[begin], state.log_likelihood[begin]
        self.first[active[second]] = points[second]

        far, length = self._extrapolated(active[third], points[third])
        new, stuck, failed = _advance(self.problem, _moved(self.problem, state, third, far))
        failed |= self.failed[active] & (phase > 0)
        self.failed[active] = failed
        stuck[third] = False
        kept = new.log_likelihood[third] >= state.log_likelihood[third]
        if not kept.all():
            rejected = third[~kept]
            _put(new, rejected, _take(state, rejected))
        self._adapt(active[third], length, kept)

        self.phase[active] = (phase + 1) % 3

        met = np.zeros(len(active), dtype=bool)
        cycle, origin = active[third], self.origin[active[third]]
        step = np.maximum(np.abs(_vectors(new)[third] - origin), np.abs(self.first[cycle] - origin)).max(axis=1)
        met[third] = self.stopping.met(self.before[cycle], new.log_likelihood[third], step)
        return new, stuck, met, failed

    def _extrapolated(self, index: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scheme S3 from three points of EM, ``points`` the last of them: a point in Theta, and the step length."""
        origin, first = self.origin[index], self.first[index]
        r = first - origin
        v = (points - first) - r
        size, bend = np.linalg.norm(r, axis=1), np.linalg.norm(v, axis=1)
        length = np.ones_like(size)  # minus the alpha of the paper; one leads to points
        np.divide(size, bend, out=length, where=bend > 0.0)
        length = np.clip(length, 1.0, self.limit[index])
        far = origin + 2.0 * length[:, None] * r + length[:, None] ** 2 * v
        return np.clip(far, -self.radii, self.radii), length

    def _adapt(self, index: np.ndarray, length: np.ndarray, kept: np.ndarray) -> None:
        """Allow longer steps where the longest so far was kept, and shorter ones only where one was rejected."""
        limit = self.limit[index]
        longer = np.where(length >= limit, np.minimum(EXTRAPOLATION_FACTOR * limit, MAX_EXTRAPOLATION), limit)
        self.limit[index] = np.where(kept, longer, np.maximum(length / EXTRAPOLATION_FACTOR, 1.0))


def _vectors(state: _State) -> np.ndarray:
    """All coefficients of each fit, (B, P)."""
    K, k, B, _ = state.shape
    gate = state.gate.coefficients.transpose(1, 0, 2).reshape(B, -1)
    experts = state.experts.coefficients.reshape(K, k, B, -1).transpose(2, 0, 1, 3).reshape(B, -1)
    return np.concatenate([gate, experts], axis=1)


def _moved(problem: _Problem, state: _State, index: np.ndarray, vectors: np.ndarray) -> _State:
    """A copy of the batch in which the fits at ``index`` have other coefficients, as in :func:`_vectors`."""
    if not index.size:
        return state
    K, k, B, _ = state.shape
    gate, experts = np.split(vectors, [k * problem.gate_radii.size], axis=1)
    gate = gate.reshape(len(index), k, -1).transpose(1, 0, 2)
    experts = experts.reshape(len(index), K, k, -1).transpose(1, 2, 0, 3)
    coefficients = np.ascontiguousarray(gate), experts.reshape(K, k * len(index), -1)
    part = _from_coefficients(problem, *coefficients, state.weights[:, index])
    if len(index) == B:
        return part
    copy = _take(state, np.arange(B))
    _put(copy, index, part)
    return copy


def _maximise(problem: _Problem, state: _State) -> tuple[Logit, Logit, np.ndarray]:
    """The M-step: gate and experts, each a weighted multinomial logit with targets of its own; and where it failed."""
    K, k, B, m = state.shape
    gate_targets = state.expert_targets.sum(axis=0)  # (k * B, m), also the total weight of each expert
    gate, gate_failed = maximise(
        state.gate,
        gate_targets.reshape(k, B, m),
        state.totals,
        problem.gate_design,
        problem.gate_second,
        problem.gate_radii,
        state.size,
    )
    experts, experts_failed = maximise(
        state.experts,
        state.expert_targets,
        gate_targets,
        problem.expert_design,
        problem.expert_second,
        problem.expert_radii,
        np.tile(state.size, k),
        certify=k == 1,  # the whole problem: worth a proof
    )
    failed = np.zeros(B, dtype=bool)
    failed[gate_failed] = failed[experts_failed % B] = True
    return gate, experts, failed


def _from_coefficients(problem, gate_coefficients, expert_coefficients, weights) -> _State:
    """Evaluate fits at coefficients (k, B, q) and (K, k * B, q) with class weights (K, B, m)."""
    gate = Logit.at(gate_coefficients, problem.gate_design)
    experts = Logit.at(expert_coefficients, problem.expert_design)
    totals = weights.sum(axis=0)
    return _evaluate(problem, gate, experts, weights, totals, totals.sum(axis=-1))


def _take(state: _State, index: np.ndarray) -> _State:
    K, k, B, m = state.shape
    inner = (np.arange(k)[:, None] * B + index).ravel()  # the same fits among the k * B expert models
    return _State(
        state.gate.take(index),
        state.experts.take(inner),
        state.weights[:, index],
        state.totals[index],
        state.size[index],
        state.log_likelihood[index],
        state.expert_targets[:, inner],
    )


def _put(state: _State, index: np.ndarray, part: _State) -> None:
    K, k, B, m = state.shape
    inner = (np.arange(k)[:, None] * B + index).ravel()
    state.gate.put(index, part.gate)
    state.experts.put(inner, part.experts)
    state.log_likelihood[index] = part.log_likelihood
    state.expert_targets[:, inner] = part.expert_targets


def _join(first: _State, second: _State) -> _State:
    """Two batches as one."""
    K, k, _, m = first.shape

    def experts(a, b):
        last = a.shape[-1]
        parts = [v.reshape(K, k, -1, last) for v in (a, b)]
        return np.concatenate(parts, axis=2).reshape(K, -1, last)

    def along(axis, a, b):
        return np.concatenate([a, b], axis=axis)

    f, s = first, second
    return _State(
        Logit(*(along(1, getattr(f.gate, n), getattr(s.gate, n)) for n in Logit.__slots__)),
        Logit(*(experts(getattr(f.experts, n), getattr(s.experts, n)) for n in Logit.__slots__)),
        along(1, f.weights, s.weights),
        along(0, f.totals, s.totals),
        along(0, f.size, s.size),
        along(0, f.log_likelihood, s.log_likelihood),
        experts(f.expert_targets, s.expert_targets),
    )


def _pack(G: MixingMeasure) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of a measure with batch shape (B,): gate (k, B, 1 + d) and experts (K, k * B, 1 + d)."""
    gate = np.concatenate([G.beta0[..., None], G.beta1], axis=-1).transpose(1, 0, 2)
    experts = np.concatenate([G.a[..., None], G.b], axis=-1).transpose(2, 1, 0, 3)
    return gate.copy(), experts.reshape(G.K, -1, 1 + G.d).copy()


def _unpack(gate: np.ndarray, experts: np.ndarray, batch_shape: tuple[int, ...]) -> MixingMeasure:
    """The inverse of :func:`_pack`, with the batch axes given."""
    k, B, q = gate.shape
    gate = gate.transpose(1, 0, 2)
    experts = experts.reshape(-1, k, B, q).transpose(2, 1, 0, 3)
    return MixingMeasure(gate[..., 0], gate[..., 1:], experts[..., 0], experts[..., 1:]).reshape(batch_shape)


def _check(data: WeightedPoints, G: MixingMeasure, theta: Theta, name: str) -> None:
    if not isinstance(data, WeightedPoints):
        raise TypeError(
            f"data: expected WeightedPoints or ChebyshevMoments, got {type(data).__name__}; "
            "make it with WeightedPoints.from_labels(x, y) or compress(x, y)"
        )
    if not isinstance(G, MixingMeasure):
        raise TypeError(f"{name}: expected a MixingMeasure, got {type(G).__name__}")
    if not isinstance(theta, Theta):
        raise TypeError(f"theta: expected a Theta, got {type(theta).__name__}; e.g. Theta.cube(10.0)")
    for letter, meaning in (("K", "classes"), ("d", "covariates")):
        if getattr(G, letter) != getattr(data, letter):
            raise ValueError(
                f"{name}: expected {letter} = {getattr(data, letter)} {meaning}, as in data, got "
                f"{letter} = {getattr(G, letter)}; make the two agree"
            )
    reference = max(np.abs(G.a[..., -1]).max(initial=0.0), np.abs(G.b[..., -1, :]).max(initial=0.0))
    if reference > 0.0:
        raise ValueError(
            f"{name}: expected class K = {G.K} as the reference (a_K = 0, b_K = 0), got a value of "
            f"{reference:.3g} there; pass {name}.canonical()"
        )
    outside = ~theta.contains(G)
    if np.any(outside):
        raise ValueError(
            f"{name}: expected parameters inside {theta}, got {np.count_nonzero(outside)} of {outside.size} "
            f"outside; widen theta, or pass theta.clip({name})"
        )


def em(
    data: WeightedPoints | ChebyshevMoments,
    start: MixingMeasure,
    *,
    gate: Gate | str = identity,
    theta: Theta = DEFAULT_THETA,
    stopping: StoppingRule | None = None,
    acceleration: str | None = None,
    trace: str | None = None,
    batch_size: int | None = None,
    tol: float = COMPRESSION_TOL,
) -> EMResult:
    r"""Maximise the likelihood of a softmax gating multinomial logistic mixture of experts by EM.

    Each iteration computes the posterior expert probabilities (E-step) and maximises the expected complete
    log-likelihood over the gate and the experts (M-step) by damped Newton inside the box Theta.  The log-likelihood
    never falls: should the step lower it (beyond a relative 1e-13, rounding), it is halved towards the previous
    parameters until it does not.

    The gate parameters of the last atom, of which only the differences to the others matter, stay where ``start`` has
    them, and so do those of class K (zero).  So a fit is in the gauge of its start: use
    :meth:`.MixingMeasure.in_gauge` for another.

    Parameters
    ----------
    data : WeightedPoints or ChebyshevMoments
        The sample, with batch axes that broadcast against those of ``start``.  Compressed samples are fitted on
        ``FIRST_ORDER`` nodes first; the fits whose estimated compression error then exceeds ``tol`` are run again, from
        their start, on twice as many, and so on.
    start : MixingMeasure, batch shape (...)
        Starting parameters, k of them the number of experts to fit; inside ``theta`` and with class K as the reference.
    gate : Gate, str or callable, default identity
        The transformation M of equation (8); the identity gives equation (1).
    theta : Theta, default the cube of radius 10
        The compact parameter set.  Fits that end on its boundary are marked ``at_bound``.
    stopping : StoppingRule, optional
        Default: relative change at most 1e-6, at most 2,000 iterations.
    acceleration : {None, "squarem"}
        None: plain EM.  ``"squarem"``: squared extrapolation, see the notes; far fewer iterations where EM is slow.
    trace : {None, "log_likelihood", "full"}
        Record the log-likelihood, or that and the parameters, of every iteration.
    batch_size : int, optional
        Fits that advance together.  Default: as many as keep a batch in a core's cache.
    tol : float, default 1e-9
        For compressed data only: largest accepted estimate of the relative compression error of the log-likelihood.

    Returns
    -------
    EMResult
        With the batch shape of ``data`` and ``start`` broadcast together.

    Raises
    ------
    TypeError, ValueError
        If ``data`` and ``start`` do not fit together, ``start`` is outside ``theta`` or does not have class K as its
        reference, or an option is out of range.

    Notes
    -----
    Equations (2) and (10) of the paper; Appendix D uses the same algorithm [1]_.

    SQUAREM [2]_ works in cycles.  Two EM maps give the differences :math:`r = \theta_1 - \theta_0` and
    :math:`v = \theta_2 - \theta_1 - r`; the third map starts at :math:`\theta_0 - 2 \alpha r + \alpha^2 v`, clipped to
    Theta, with the step length :math:`\alpha = -\|r\| / \|v\|` (scheme S3).  Its outcome is kept if the log-likelihood
    is not below that at :math:`\theta_2`, otherwise :math:`\theta_2` is: so the log-likelihood never falls here either.
    The size of :math:`\alpha` is at least 1, and at most a limit: 1 at first, four times as much whenever a step of
    that length was kept, and a quarter of the length that was rejected.

    - An iteration, in ``n_iter``, ``max_iter`` and the trace, is one EM map, as for plain EM: a cycle takes three, a
      rejected extrapolation included.  Beyond its maps a cycle costs one E-step, at the extrapolated point.
    - The stopping rule compares the end of a cycle with its start, and for ``"parameters"`` also the outcome of the
      cycle's first map.  Rounding aside, that is at least the change of this first map: a fit does not stop where plain
      EM would go on.
    - Norms are those of the coefficients in the gauge of ``start``: unlike plain EM, the path depends on which atom is
      last and which class is K.  The fixed points are EM's.

    References
    ----------
    .. [1] A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm",
       Journal of the Royal Statistical Society B 39 (1977), 1-38.
    .. [2] R. Varadhan and C. Roland, "Simple and globally convergent methods for accelerating the convergence of any EM
       algorithm", Scandinavian Journal of Statistics 35 (2008), 335-353.
    """
    gate = as_gate(gate)
    stopping = StoppingRule() if stopping is None else stopping
    if acceleration not in (None, "squarem"):
        raise ValueError(
            f"acceleration: expected None (plain EM) or 'squarem', got {acceleration!r}; choose one of the two"
        )
    if trace not in (None, "log_likelihood", "full"):
        raise ValueError(f"trace: expected None, 'log_likelihood' or 'full', got {trace!r}")
    if batch_size is not None:
        batch_size = as_count(batch_size, "batch_size")
    compressed = isinstance(data, ChebyshevMoments)
    tol = float(as_float_array(tol, "tol", ndim=0))
    _check(data.points() if compressed else data, start, theta, "start")
    shape = np.broadcast_shapes(data.batch_shape, start.batch_shape)
    options = (gate, theta, stopping, acceleration, trace, batch_size)
    if compressed:
        return _run_compressed(data, start.broadcast_to(shape), shape, *options, tol)
    return _run(data, start.broadcast_to(shape), shape, *options)


def em_from_responsibilities(
    data: WeightedPoints,
    responsibilities: np.ndarray,
    *,
    gate: Gate | str = identity,
    theta: Theta = DEFAULT_THETA,
    stopping: StoppingRule | None = None,
    trace: str | None = None,
) -> EMResult:
    """EM that starts with an M-step from given posterior expert probabilities, as many implementations do.

    Parameters
    ----------
    data : WeightedPoints, batch shape ()
    responsibilities : array_like, shape (k, m) or (k, K, m)
        Starting posterior probability of each expert at each point (and class); non-negative, summing to one over the
        experts.
    gate, theta, stopping, trace
        As for :func:`em`.

    Returns
    -------
    EMResult
        Iteration 0 is the outcome of that first M-step, taken from all parameters equal to zero.

    Raises
    ------
    TypeError, ValueError
        As for :func:`em`, or if the responsibilities have another shape, are negative or do not sum to one.
    """
    gate = as_gate(gate)
    r = as_float_array(responsibilities, "responsibilities")
    if not isinstance(data, WeightedPoints):
        raise TypeError(f"data: expected WeightedPoints, got {type(data).__name__}")
    if data.batch_shape != ():
        raise ValueError(f"data: expected no batch axes, got {data.batch_shape}; pass one data set")
    if r.ndim == 2:
        r = np.broadcast_to(r[:, None, :], (r.shape[0], data.K, r.shape[1]))
    if r.ndim != 3 or r.shape[0] < 1 or r.shape[1:] != (data.K, data.m):
        raise ValueError(
            f"responsibilities: expected shape (k, {data.m}) or (k, {data.K}, {data.m}), "
            f"got {np.shape(responsibilities)}; give one row for each expert"
        )
    if r.min() < 0.0 or np.abs(r.sum(axis=0) - 1.0).max() > 1e-8:
        raise ValueError(
            "responsibilities: expected non-negative numbers that sum to one over the experts, got "
            f"a smallest value of {r.min():.3g} and sums off by {np.abs(r.sum(axis=0) - 1.0).max():.3g}; "
            "divide by the sum over axis 0"
        )
    k, d = r.shape[0], data.d
    zero = MixingMeasure(np.zeros(k), np.zeros((k, d)), np.zeros((k, data.K)), np.zeros((k, data.K, d)))
    start = m_step(r, data, zero, gate=gate, theta=theta)
    return em(data, start, gate=gate, theta=theta, stopping=stopping, trace=trace)


def e_step(G: MixingMeasure, data: WeightedPoints, gate: Gate | str = identity) -> tuple[np.ndarray, np.ndarray]:
    """Posterior expert probabilities at the data's points, and the log-likelihood.

    Parameters
    ----------
    G : MixingMeasure, batch shape (...)
    data : WeightedPoints
        Batch axes that broadcast against those of ``G``.
    gate : Gate, str or callable, default identity

    Returns
    -------
    responsibilities : ndarray, shape (..., k, K, m)
        P(expert i | Y = s, x_l), summing to one over the experts.
    log_likelihood : ndarray, shape (...)
    """
    return posterior(G, data.points, gate), log_likelihood(G, data, gate)


def m_step(
    responsibilities: np.ndarray,
    data: WeightedPoints,
    G: MixingMeasure,
    gate: Gate | str = identity,
    theta: Theta = DEFAULT_THETA,
) -> MixingMeasure:
    """Maximise the expected complete log-likelihood over the gate and the experts, starting from ``G``.

    Parameters
    ----------
    responsibilities : array_like, shape (..., k, K, m)
        Posterior expert probabilities, as from :func:`e_step`.
    data : WeightedPoints, batch shape broadcastable with that of ``G``
    G : MixingMeasure, batch shape (...)
        Where Newton starts; the last atom's gate parameters and class K's are kept.
    gate, theta
        As for :func:`em`.

    Returns
    -------
    MixingMeasure, batch shape (...)

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together or ``G`` is outside ``theta``.
    """
    gate = as_gate(gate)
    _check(data, G, theta, "G")
    shape = np.broadcast_shapes(data.batch_shape, G.batch_shape)
    r = as_float_array(responsibilities, "responsibilities")
    expected = (G.k, data.K, data.m)
    if r.shape[-3:] != expected:
        raise ValueError(
            f"responsibilities: expected shape (..., {G.k}, {data.K}, {data.m}), got {r.shape}; "
            "pass what e_step returns for these data"
        )
    r = np.broadcast_to(r, (*shape, *expected)).reshape(-1, *expected)
    problem, weights = _arrange(data, shape, gate, theta)
    state = _from_coefficients(problem, *_pack(G.broadcast_to(shape).reshape((-1,))), weights(slice(None)))
    targets = r.transpose(2, 1, 0, 3) * state.weights[:, None]
    state.expert_targets = targets.reshape(data.K, -1, data.m)
    gate_model, experts, _ = _maximise(problem, state)
    return _unpack(gate_model.coefficients, experts.coefficients, shape)


def _arrange(data, shape, gate, theta):
    """The problem, and a function that gives the class weights (K, B, m) of chosen fits of the flattened batch."""
    flat = np.broadcast_to(data.weights, (*shape, data.K, data.m))
    positions = np.arange(int(np.prod(shape))).reshape(shape)
    rows = np.unravel_index(positions.ravel(), shape) if shape else ()

    def weights(index):
        chosen = flat[tuple(r[index] for r in rows)] if shape else flat[None]
        return np.ascontiguousarray(chosen.transpose(1, 0, 2))

    return _Problem(data, gate, theta), weights


def _run(data, start, shape, gate, theta, stopping, acceleration, trace, batch_size) -> EMResult:
    """EM for every fit of a batch.  Fits that stop are replaced by waiting ones, so that the batch stays full."""
    problem, weights = _arrange(data, shape, gate, theta)
    K, k = data.K, start.k
    gate_start, expert_start = _pack(start.reshape((-1,)))
    fits = gate_start.shape[1]
    if batch_size is None:
        batches = max(1, round(fits * K * k * data.m / CACHE_ELEMENTS))
        batch_size = -(-fits // batches)  # equal batches: a last one of a few fits would cost nearly as much
    gate_end, expert_end = np.empty_like(gate_start), np.empty_like(expert_start)
    log_lik, n_iter = np.empty(fits), np.zeros(fits, dtype=int)
    reason = np.empty(fits, dtype="<U10")
    record = _Recorder(trace, fits, stopping.max_iter, start)
    if acceleration is None:
        iterate = _PlainEM(problem, stopping)
    else:
        iterate = _Squarem(problem, stopping, fits, (k, K))

    def expert_rows(index):
        return (np.arange(k)[:, None] * fits + index).ravel()

    np.empty(RELEASE, dtype=np.uint8)
    waiting = np.arange(fits)
    active = waiting[:0]
    state = None
    while active.size or waiting.size:
        if waiting.size and active.size <= batch_size // 2:
            fresh, waiting = np.split(waiting, [batch_size - active.size])
            part = _from_coefficients(
                problem, gate_start[:, fresh], expert_start[:, expert_rows(fresh)], weights(fresh)
            )
            record(fresh, n_iter[fresh], part)
            state = part if state is None or not active.size else _join(state, part)
            active = np.concatenate([active, fresh])

        state, stuck, met, failed = iterate(active, state)
        n_iter[active] += 1
        record(active, n_iter[active], state)

        done = met | stuck | (n_iter[active] >= stopping.max_iter)
        if done.any():
            why = np.where(stuck, "stalled", np.where(met, stopping.name, "max_iter"))
            why[failed & (stuck | met)] = "m_step"
            index, ended = active[done], _take(state, np.flatnonzero(done))
            gate_end[:, index] = ended.gate.coefficients
            expert_end[:, expert_rows(index)] = ended.experts.coefficients
            log_lik[index], reason[index] = ended.log_likelihood, why[done]
            active = active[~done]
            state = _take(state, np.flatnonzero(~done))

    on_face = np.maximum(
        (np.abs(gate_end) >= problem.gate_radii * (1.0 - FACE)).any(axis=(0, 2)),
        (np.abs(expert_end) >= problem.expert_radii * (1.0 - FACE)).any(axis=(0, 2)).reshape(k, -1).any(axis=0),
    )
    missing = np.broadcast_to(np.abs(data.class_totals) <= 1e-9 * data.total[..., None], (*shape, K))
    return EMResult(
        _unpack(gate_end, expert_end, shape),
        log_lik.reshape(shape),
        n_iter.reshape(shape),
        reason.reshape(shape),
        on_face.reshape(shape),
        theta,
        stopping,
        missing,
        trace=record.result(n_iter, shape),
    )


class _Recorder:
    """Collects the trace: calls are cheap no-ops unless one was asked for."""

    def __init__(self, trace: str | None, fits: int, max_iter: int, start: MixingMeasure) -> None:
        self.wanted = trace
        self.values: list[tuple[np.ndarray, ...]] = []
        self.fits, self.like = fits, start

    def __call__(self, index: np.ndarray, iteration: np.ndarray, state: _State) -> None:
        if self.wanted is None:
            return
        full = self.wanted == "full"
        parameters = (state.gate.coefficients, state.experts.coefficients) if full else ()
        self.values.append((index, iteration.copy(), state.log_likelihood, *parameters))

    def result(self, n_iter: np.ndarray, shape: tuple[int, ...]) -> Trace | None:
        if self.wanted is None:
            return None
        length = int(n_iter.max()) + 1
        k, K, d = self.like.k, self.like.K, self.like.d
        log_lik = np.empty((self.fits, length))
        full = self.wanted == "full"
        if full:
            gate = np.empty((k, self.fits, length, 1 + d))
            experts = np.empty((K, k, self.fits, length, 1 + d))
        for index, t, values, *parameters in self.values:
            log_lik[index, t] = values
            if full:
                gate[:, index, t] = parameters[0]
                experts[:, :, index, t] = parameters[1].reshape(K, k, -1, 1 + d)
        for t in range(1, length):
            ended = t > n_iter
            log_lik[ended, t] = log_lik[ended, t - 1]
            if full:
                gate[:, ended, t] = gate[:, ended, t - 1]
                experts[:, :, ended, t] = experts[:, :, ended, t - 1]
        measure = None
        if full:
            measure = _unpack(gate.reshape(k, -1, 1 + d), experts.reshape(K, -1, 1 + d), (*shape, length))
        return Trace(log_lik.reshape(*shape, length), measure)


def _run_compressed(moments, start, shape, gate, theta, stopping, acceleration, trace, batch_size, tol) -> EMResult:
    """EM on compressed data; a trace is recorded on all the nodes, as it cannot be joined."""

    def run(data, start, shape):
        return _run(data, start, shape, gate, theta, stopping, acceleration, trace, batch_size)

    order = FIRST_ORDER if trace is None else moments.order
    return _on_enough_nodes(run, moments, start, shape, gate, tol, order)


def _on_enough_nodes(run, moments: ChebyshevMoments, start: MixingMeasure, shape, gate: Gate, tol: float, order: int):
    """Results of ``run(data, start, shape)`` on few nodes first, then from the start again on more, for those in need.

    Those are the fits whose estimated compression error is above ``tol``.
    """

    def at(order, moments, start, shape):
        result = run(moments.points(order), start, shape)
        error = np.asarray(compression_error(result.measure, moments, gate, order))
        return replace(result, compression_error=error, order=np.full(shape, order))

    order = min(order, moments.order)
    result = at(order, moments, start, shape)
    while order < moments.order and (result.compression_error > tol).any():
        order = min(2 * order, moments.order)
        redo = result.compression_error > tol
        again = start.reshape((-1,))[redo.ravel()]
        part = at(order, _pick_moments(moments, shape, redo), again, again.batch_shape)
        result = _replace_fits(result, redo, part)
    return result


def _pick_moments(moments: ChebyshevMoments, shape, mask) -> ChebyshevMoments:
    """The samples, one for each fit of the batch ``shape`` that is marked in ``mask``."""
    if moments.batch_shape == ():
        return moments
    count = int(np.prod(moments.batch_shape))
    position = np.broadcast_to(np.arange(count).reshape(moments.batch_shape), shape)[mask]
    return moments[np.unravel_index(position, moments.batch_shape)]


def _replace_fits(result, mask: np.ndarray, part):
    """``result``, of EM or of the MLE, with the fits marked in ``mask`` taken from ``part``."""

    def merged(old, new):
        out = np.array(old)
        out[mask] = new
        return out

    arrays = {
        name: merged(value, getattr(part, name))
        for name, value in vars(result).items()
        if isinstance(value, np.ndarray) and getattr(part, name) is not None
    }
    letters = (merged(getattr(result.measure, name), getattr(part.measure, name)) for name in FIELDS)
    return replace(result, measure=MixingMeasure(*letters), **arrays)
