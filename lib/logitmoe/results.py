"""What fits have in common: when they stop, what comes out, and what may go in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from .checks import as_count, as_number, broadcast_shapes, message
from .data import WeightedPoints, select
from .measure import MixingMeasure, Theta, as_measure, as_theta
from .penalty import NO_PENALTY, Ridge

__all__ = [
    "COMPRESSION_TOL", "FACE", "FitResult", "StoppingRule", "Trace", "along", "check_start", "missing_classes",
    "sample_positions",
]  # fmt: skip

#: Estimated relative error of a compressed log-likelihood above which this does not count as accurate.
COMPRESSION_TOL = 1e-9
#: Relative distance from the boundary of Theta within which a parameter counts as on it.
FACE = 1e-9
#: Nats below the best log-likelihood within which a fit counts as agreeing with it.
AGREEMENT = 0.1
#: Parameters that a summary names.
MAX_NAMES = 6


@dataclass(frozen=True)
class StoppingRule:
    r"""When an EM run is declared converged, and after how many iterations it is given up.

    Raises TypeError or ValueError if a value is not one of these.

    Parameters
    ----------
    name : {"absolute", "relative", "parameters"}
        With :math:`\ell_t` the log-likelihood of the sample and :math:`\theta_t` the parameters after iteration t,
        stop when :math:`|\ell_t - \ell_{t-1}| \le` ``tol``, when
        :math:`|\ell_t - \ell_{t-1}| \le` ``tol`` :math:`|\ell_{t-1}|`, or when
        :math:`\max |\theta_t - \theta_{t-1}| \le` ``tol``.  With SQUAREM, t counts the cycles, see :func:`.em`.
    tol : float, default 1e-6
        Non-negative.  Zero runs on until nothing changes any more.
    max_iter : int, default 2000
        At least 1.  Both defaults are those of Appendix D, which does not say which rule its criterion is.
    """

    name: str = "relative"
    tol: float = 1e-6
    max_iter: int = 2000

    def __post_init__(self) -> None:
        if self.name not in ("absolute", "relative", "parameters"):
            expected = "'absolute', 'relative' or 'parameters'"
            raise ValueError(message("name", expected, repr(self.name), "choose the quantity whose change is small"))
        object.__setattr__(self, "tol", as_number(self.tol, "tol", "a number >= 0", "pass e.g. 1e-6", least=0.0))
        object.__setattr__(self, "max_iter", as_count(self.max_iter, "max_iter"))

    def met(self, before: np.ndarray, after: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Whether the rule is met, (B,): log-likelihoods before and after, and the largest parameter change."""
        if self.name == "parameters":
            return step <= self.tol
        change = np.abs(after - before)
        return change <= (self.tol * np.abs(before) if self.name == "relative" else self.tol)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FitResult:
    """The outcome of a batch of fits, whichever method made them.

    Attributes
    ----------
    measure : MixingMeasure, batch shape (...)
        The fitted parameters, inside Theta.
    log_likelihood : ndarray, shape (...)
        The log-likelihood (nats, of the whole sample) of ``measure``, without the penalty.
    n_iter : ndarray of int, shape (...)
        Iterations done.
    reason : ndarray of str, shape (...)
        Why each fit stopped, a key of ``reasons``.
    at_bound : ndarray of bool, shape (...)
        Some parameter sits on the boundary of Theta: the value is the bound's, not the data's.  Perfectly separated
        data end here.
    missing_classes : ndarray of bool, shape (..., K)
        Classes without a sample.  Their intercepts run to the bound of Theta.
    theta : Theta
        The compact parameter set that the fit was held to.
    penalty : Ridge
        What was subtracted from the log-likelihood that was maximised.
    compression_error : ndarray, shape (...), or None
        For compressed data: estimated relative error of ``log_likelihood`` against the raw sample.
    nodes : ndarray of int, shape (...), or None
        For compressed data: Chebyshev nodes (along each axis) that each fit was made on; 0 for the points themselves.
    n_starts : int or None
        Of what :meth:`best` returns: the number of fits that it chose from.
    n_agree : ndarray of int, shape (...), or None
        How many of those have an ``objective`` within 0.1 nats of the best, the best included.  If it is one of many,
        there may be a better maximum still, or the fits stop too early: try more starts, and a smaller tolerance.
    """

    measure: MixingMeasure
    log_likelihood: np.ndarray
    n_iter: np.ndarray
    reason: np.ndarray
    at_bound: np.ndarray
    missing_classes: np.ndarray
    theta: Theta
    penalty: Ridge = NO_PENALTY
    compression_error: np.ndarray | None = None
    nodes: np.ndarray | None = None
    n_starts: int | None = None
    n_agree: np.ndarray | None = None

    #: What the words in ``reason`` mean, and those of them that are not convergence.
    reasons: ClassVar[Mapping[str, str]] = {}
    given_up: ClassVar[tuple[str, ...]] = ("max_iter",)

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {self.summary()}"

    @property
    def objective(self) -> np.ndarray:
        """What was maximised, (...): the log-likelihood less the penalty."""
        return self.log_likelihood - self.penalty.value(self.measure)

    @property
    def converged(self) -> np.ndarray:
        """Whether the fit stopped of its own accord."""
        return np.logical_and.reduce([self.reason != name for name in self.given_up])

    @property
    def duplicate_atoms(self) -> np.ndarray:
        """Whether two atoms of a fit are equal to 1e-8 in (beta1, a, b): one of them could be merged away."""
        atoms = self.measure.atom_vectors()
        gap = np.abs(atoms[..., :, None, :] - atoms[..., None, :, :]).max(axis=-1)
        return (gap + 2.0 * np.eye(self.measure.k) < 1e-8).any(axis=(-1, -2))

    def __getitem__(self, index):
        """The fits at an index of the batch axes."""
        shape, new = self.log_likelihood.shape, {}
        for name, value in vars(self).items():
            if isinstance(value, (MixingMeasure, Trace)):
                new[name] = value[index]
            elif isinstance(value, (np.ndarray, np.generic)):
                new[name] = select(value, shape, index)
        return replace(self, **new)

    def with_fits(self, mask: np.ndarray, part):
        """These fits, but those marked in ``mask`` (...) taken from ``part``, of batch shape (number of marks,)."""
        both = {name: (value, getattr(part, name)) for name, value in vars(self).items() if value is not None}
        new = {n: merged(u, mask, v) for n, (u, v) in both.items() if isinstance(u, (MixingMeasure, np.ndarray))}
        new |= {n: u.with_fits(mask, v) for n, (u, v) in both.items() if isinstance(u, Trace)}
        return replace(self, **new)

    def best(self, axis: int = -1):
        """Keep, along one batch axis (several starts, say), the fit with the highest ``objective``.

        The result is without that axis; its ``n_starts`` and ``n_agree`` say how many fits there were and how many
        agree.  A ValueError if there is no such batch axis.
        """
        shape = self.log_likelihood.shape
        if not -len(shape) <= axis < len(shape):
            expected = f"one of the {len(shape)} batch axes of shape {shape}"
            raise ValueError(message("axis", expected, axis, "pass a batch of fits to choose from"))
        if not shape[axis]:
            raise ValueError(message("axis", "an axis of at least one fit", f"shape {shape}", "begin with some starts"))
        height = self.objectives_along(axis)
        winner = np.expand_dims(height.argmax(axis=axis), axis)
        agree = (height >= height.max(axis=axis, keepdims=True) - AGREEMENT).sum(axis=axis)
        index = tuple(np.squeeze(np.broadcast_to(i, winner.shape), axis=axis) for i in along(winner, axis))
        return replace(self[index], n_starts=shape[axis], n_agree=np.asarray(agree))

    def objectives_along(self, axis: int) -> np.ndarray:
        """The ``objective``, (...), up to a constant along the axis."""
        return self.objective

    def summary(self) -> str:
        """What happened, in words: one line per fact, fixed format; what to do about it is indented."""
        G, n = self.measure, self.log_likelihood.size
        lines = [f"{n} fit{'s' if n != 1 else ''}, {G.k} expert{'s' if G.k != 1 else ''}, {G.K} classes"]
        if self.nodes is None or not self.nodes.any():
            lines[0] += ", fitted to the points"
        else:
            lines[0] += f", fitted on {_span(self.nodes)} Chebyshev nodes{' along each axis' * (G.d > 1)}"
        if self.n_agree is not None and n:
            agree = f"within {AGREEMENT} nats of the best: {_span(self.n_agree)}, itself included"
            lines.append(f"starts: {self.n_starts}; {agree}")
        for name, text in self.reasons.items():
            if count := np.count_nonzero(self.reason == name):
                lines.append(f"{count} stopped: {name} ({text})")
        error = np.asarray(0.0 if self.compression_error is None else self.compression_error)
        if count := np.count_nonzero(error > COMPRESSION_TOL):
            lines.append(f"{count} with an estimated relative compression error up to {error.max():.0e}:")
            lines.append("  take more moments, or fit the points")
        if count := np.count_nonzero(self.at_bound):
            names = self.theta.touching(G[self.at_bound], rtol=FACE)
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            lines.append(f"{count} on the boundary of {self.theta}, in {', '.join(names[:MAX_NAMES])}{more}:")
            lines.append("  widen theta, scale x to order one, or fit fewer experts")
        if self.missing_classes.any():
            classes = np.flatnonzero(self.missing_classes.reshape(-1, G.K).any(axis=0)) + 1
            lines.append(f"no sample of class {', '.join(map(str, classes))} (in at least one fit's data):")
            lines.append("  drop the class, or its intercepts run to the boundary of any theta")
        if count := np.count_nonzero(self.duplicate_atoms):
            lines.append(f"{count} with duplicate atoms")
        return "\n".join(lines)


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

    def __getitem__(self, index) -> Trace:
        """The traces of the fits at an index of the batch axes."""
        *shape, length = self.log_likelihood.shape
        log_likelihood, measure = select(self.log_likelihood, shape, index), self.measure
        if measure is not None:
            measure = measure.reshape((prod(shape), length))[select(np.arange(prod(shape)), shape, index)]
        return Trace(log_likelihood, measure)

    def with_fits(self, mask: np.ndarray, part: Trace) -> Trace:
        """As :meth:`FitResult.with_fits`; the shorter traces repeat their last values."""
        lengths = [trace.log_likelihood.shape[-1] for trace in (self, part)]
        old, new = (np.minimum(np.arange(max(lengths)), length - 1) for length in lengths)
        log_likelihood = merged(self.log_likelihood[..., old], mask, part.log_likelihood[..., new])
        if self.measure is None:
            return Trace(log_likelihood)
        return Trace(log_likelihood, merged(self.measure[..., old], mask, part.measure[..., new]))


def merged(old, mask: np.ndarray, new):
    """An array or a measure in which the entries of the batch that are marked are taken from another one."""
    if isinstance(old, MixingMeasure):
        return MixingMeasure(*(merged(v, mask, getattr(new, name)) for name, v in vars(old).items()))
    out = np.array(old)
    out[mask] = new
    return out


def along(winner: np.ndarray, axis: int) -> tuple[np.ndarray, ...]:
    """Indices of the entries ``winner`` (with the axis kept) along one axis."""
    index = list(np.indices(winner.shape, sparse=True))
    index[axis] = winner
    return tuple(index)


def _span(counts: np.ndarray) -> str:
    """The numbers of a batch of fits: the only one, or the least and the largest."""
    low, high = np.min(counts), np.max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def sample_positions(data, shape: tuple[int, ...]) -> np.ndarray:
    """For each fit of a batch of that shape, the position of its sample in the flattened batch of the data."""
    return np.broadcast_to(np.arange(prod(data.batch_shape)).reshape(data.batch_shape), shape)


def missing_classes(data, shape: tuple[int, ...]) -> np.ndarray:
    """Classes without a sample, (..., K), for a batch of fits of that shape."""
    missing = np.abs(data.class_totals) <= 1e-9 * data.total[..., None]
    return np.broadcast_to(missing, (*shape, data.K))


def check_start(data, start: MixingMeasure, theta: Theta, name: str = "start") -> tuple[int, ...]:
    """The batch shape of data and start together, if a fit can begin: data of a known kind, K, d and batch axes that
    agree, class K as the reference, and parameters inside Theta; otherwise a TypeError or ValueError."""
    if not (isinstance(data, WeightedPoints) or hasattr(data, "solve")):
        remedy = "make it with WeightedPoints.from_labels(x, y) or compress(x, y)"
        raise TypeError(message("data", "WeightedPoints or ChebyshevMoments", type(data).__name__, remedy))
    as_measure(start, name)
    as_theta(theta)
    for letter, meaning in (("K", "classes"), ("d", "covariates")):
        have, want = getattr(start, letter), getattr(data, letter)
        if have != want:
            expected = f"{letter} = {want} {meaning}, as in data"
            raise ValueError(message(name, expected, f"{letter} = {have}", "make the two agree"))
    reference = max(np.abs(start.a[..., -1]).max(initial=0.0), np.abs(start.b[..., -1, :]).max(initial=0.0))
    if reference > 0.0:
        expected = f"class K = {start.K} as the reference (a_K = 0, b_K = 0)"
        raise ValueError(message(name, expected, f"a value of {reference:.3g} there", f"pass {name}.canonical()"))
    outside = ~theta.contains(start)
    if np.any(outside):
        got = f"{np.count_nonzero(outside)} of {outside.size} outside"
        raise ValueError(message(name, f"parameters inside {theta}", got, f"widen theta, or pass theta.clip({name})"))
    return broadcast_shapes(f"data and {name}", data.batch_shape, start.batch_shape)
