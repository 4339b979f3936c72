"""The softmax gating multinomial logistic mixture of experts.

The conditional density of the class Y given the covariates X is (equation 8 of the paper; equation 1 when the
gate M is the identity)::

    g_G(Y = s | x) = sum_i softmax_i(beta1_i' M(x) + beta0_i) softmax_s(a_is + b_is' x).

Everything is computed from logarithms of probabilities, with the largest logit subtracted first, so that
results are finite and normalised for logits of hundreds. Shapes: m points x of d covariates, a measure of k
atoms, K classes and batch axes ``...``. Class s is at index s - 1.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import log_softmax

from .checks import as_count, as_covariates, as_float_array, as_generator, as_interval, message
from .gates import as_gate, identity
from .measure import as_measure, single

__all__ = [
    "density", "expert_log_probabilities", "gate_log_probabilities", "joint_log_probabilities", "log_density",
    "log_likelihood", "responsibilities", "sample", "sample_chunks", "uniform",
]  # fmt: skip

#: Numbers in the largest temporary array of `sample`: 256 KiB, so that a block stays in the cache.
_BLOCK = 1 << 15
#: Size of a logit from which sums of logits may overflow.
MAX_LOGIT = 1e300


def gate_log_probabilities(G, x, gate=identity):
    """Return the logarithms of the gate's probabilities, log softmax_i(beta1_i' M(x) + beta0_i).

    Raises TypeError or ValueError if `x` is empty, not finite or of another d, or the gate is unknown or not finite at
    some point.

    Parameters
    ----------
    G : MixingMeasure
        The measure, with batch axes ``...``.
    x : array_like, shape (m, d), or (m,) when d = 1
        Points.
    gate : Gate, str or callable, optional
        The map M; the identity gives the standard model.

    Returns
    -------
    ndarray, shape (..., k, m)
    """
    x = as_covariates(x, d=as_measure(G).d)
    return log_softmax(_affine(G.beta0, G.beta1, as_gate(gate)(x)), axis=-2)


def expert_log_probabilities(G, x):
    """Return log softmax_s(a_is + b_is' x), (..., k, K, m); `G` and `x` as in `gate_log_probabilities`."""
    x = as_covariates(x, d=as_measure(G).d)
    return log_softmax(_affine(G.a, G.b, x), axis=-2)


def joint_log_probabilities(G, x, gate=identity):
    """Return log P(expert i, Y = s | x), (..., k, K, m), the terms of the density before they are summed over i.

    Parameters and errors are those of `gate_log_probabilities`; likewise below.
    """
    return gate_log_probabilities(G, x, gate)[..., None, :] + expert_log_probabilities(G, x)


def log_density(G, x, gate=identity):
    """Return the logarithm of the conditional density, log g_G(Y = s | x) (equations 1 and 8), (..., K, m)."""
    return _log_sum_exp(joint_log_probabilities(G, x, gate), axis=-3)


def density(G, x, gate=identity):
    """Return the conditional density g_G(Y = s | x) (equations 1 and 8): probabilities of the classes.

    Parameters and errors are those of `gate_log_probabilities`.

    Returns
    -------
    ndarray, shape (..., K, m)
    """
    return np.exp(log_density(G, x, gate))


def responsibilities(G, x, gate=identity):
    """Return the posterior probabilities of the experts, P(expert i | Y = s, x).

    They are the terms of the sum in equations 1 and 8, divided by the sum. Parameters and errors are those of
    `gate_log_probabilities`.

    Returns
    -------
    ndarray, shape (..., k, K, m)
    """
    joint = joint_log_probabilities(G, x, gate)
    return np.exp(log_softmax(joint, axis=-3))


def log_likelihood(G, data, gate=identity):
    """Return the log-likelihood (equation 2), sum over points l and classes s of w_sl log g_G(s | x_l).

    Raises TypeError or ValueError if the shapes of `data` do not agree with each other and with d and K of the measure,
    or the gate fails.

    Parameters
    ----------
    G : MixingMeasure
        The measure, with batch axes ``...``.
    data : object with ``points`` (m, d) and ``weights`` (..., K, m)
        Weighted points; for n labelled samples the weights are one-hot. Weights may be negative (nodes of a
        compressed sample). Batch axes of `data` and `G` are broadcast.
    gate : Gate, str or callable, optional
        The map M.

    Returns
    -------
    ndarray, shape (...), or a float without batch axes
        A sum over the sample, not its mean.
    """
    points, weights = (getattr(data, name, None) for name in ("points", "weights"))
    if points is None or weights is None:
        raise TypeError(message("data", "points and weights", f"{type(data).__name__}", "use WeightedPoints"))
    points = as_covariates(points, "data.points", d=as_measure(G).d)
    weights = as_float_array(weights, "data.weights", shape=(..., G.K, len(points)))
    return (weights * log_density(G, points, gate)).sum(axis=(-2, -1))


def uniform(low=0.0, high=1.0, d=1):
    """Return a sampler ``f(rng, n)`` of n covariates (n, d), uniform on a box, for `sample`.

    The ends of its d intervals are numbers or arrays (d,), low < high.
    """
    low, high = as_interval(low, high, as_count(d, "d"))
    return partial(_uniform, low=low, high=high)


def _uniform(rng, n, low, high):
    x = rng.random((n, len(low)))
    x *= high - low
    x += low
    return x


def sample(G, n, rng, *, covariates=None, gate=identity):
    """Draw labelled samples from the model.

    The class is drawn by inversion of its distribution function given x: one uniform number for each point.

    Raises TypeError or ValueError if `G` has batch axes, n < 1, `rng` is not a Generator that can spawn, or the
    covariates are not finite or not of shape (n, d).

    Parameters
    ----------
    G : MixingMeasure
        A single measure, without batch axes.
    n : int
        Number of points, at least 1.
    rng : numpy.random.Generator
        One that can spawn, as from ``numpy.random.default_rng(seed)``: covariates and classes have streams of their
        own, spawned from it, and successive calls give independent samples.
    covariates : callable or array_like, optional
        ``f(rng, n)`` that returns an array (n, d), such as `uniform`, or the covariates themselves, (n, d), or (n,)
        when d = 1. Default: uniform on [0, 1]^d.
    gate : Gate, str or callable, optional
        The map M.

    Returns
    -------
    x : ndarray, shape (n, d)
        Covariates.
    y : ndarray of int64, shape (n,)
        Classes in 1..K.
    """
    n = as_count(n, "n")
    return next(sample_chunks(G, n, rng, chunk=n, covariates=covariates, gate=gate))


def sample_chunks(G, n, rng, *, chunk=1 << 20, covariates=None, gate=identity):
    """Draw the sample of `sample` in pieces (x, y) of at most `chunk` points, in memory that does not grow with n.

    With equal generators the pieces together are the result of `sample`, for every `chunk`. Two provisos: a callable
    of yours for `covariates` must draw its rows one after the other, as `uniform` does; and a class may differ if its
    uniform number lies within rounding (about 1e-16) of a step of the distribution function. Arguments are those of
    `sample`, checked at the call; what `covariates` returns is checked for each piece.
    """
    single(G)
    n, chunk, gate = as_count(n, "n"), as_count(chunk, "chunk"), as_gate(gate)
    rng = as_generator(rng)
    try:
        x_rng, y_rng = rng.spawn(2)
    except TypeError as error:
        expected, remedy = "a Generator made from a seed", "use numpy.random.default_rng(seed)"
        raise TypeError(message("rng", expected, "one that cannot spawn", remedy)) from error
    if covariates is None:
        covariates = uniform(d=G.d)
    if not callable(covariates):
        covariates = as_covariates(covariates, "covariates", d=G.d)
        _check_length(covariates, n)

    def pieces():
        for start in range(0, n, chunk):
            size = min(chunk, n - start)
            if callable(covariates):
                x = as_covariates(covariates(x_rng, size), "covariates(rng, n)", d=G.d)
                _check_length(x, size)
            else:
                x = covariates[start : start + size].copy()
            yield x, _sample_classes(G, x, y_rng, gate)

    return pieces()


def _check_length(x, n):
    if len(x) != n:
        raise ValueError(message("covariates", f"n = {n} rows", f"{len(x)}", "give one row for each point"))


def _sample_classes(G, x, rng, gate):
    """Draw classes at the rows of x, block by block, by inversion of the distribution function."""
    y = np.ones(len(x), dtype=np.int64)
    block = max(1, _BLOCK // (G.k * G.K))
    for start in range(0, len(x), block):
        points, labels = x[start : start + block], y[start : start + block]
        weight = _shifted_exp(_affine(G.beta0, G.beta1, gate(points)))
        expert = _shifted_exp(_affine(G.a, G.b, points))
        # The gate is left unnormalised: its sum goes to the uniform number's side of the comparison.
        threshold = rng.random(len(points)) * weight.sum(axis=0)
        weight /= expert.sum(axis=1)
        cumulative = 0.0
        for s in range(G.K - 1):  # the distribution function is one at the last class
            cumulative += (weight * expert[:, s]).sum(axis=0)
            labels += threshold >= cumulative
    return y


def _affine(intercept, slope, x):
    """Return intercept + slope' x: (..., c) and (..., c, d) at (m, d) give (..., c, m)."""
    largest = np.abs(slope).max(initial=0.0), max(x.max(initial=0.0), -x.min(initial=0.0))
    if float(largest[0]) * float(largest[1]) > MAX_LOGIT or np.abs(intercept).max(initial=0.0) > MAX_LOGIT:
        got = f"slopes up to {largest[0]:.3g}, x up to {largest[1]:.3g}"
        raise ValueError(message("x", "logits that do not overflow", got, "choose another unit for x"))
    # For d = 1 the product of matrices is an outer product, which NumPy computes faster by broadcasting.
    logits = slope * x.T if x.shape[1] == 1 else slope @ x.T
    logits += intercept[..., None]
    return logits


def _shifted_exp(logits):
    """Return the exponential of logits (..., c, m) minus their largest over c, overwriting the logits."""
    logits -= logits.max(axis=-2, keepdims=True)
    return np.exp(logits, out=logits)


def _log_sum_exp(logs, axis):
    """Return log sum exp along an axis, which is removed."""
    top = logs.max(axis=axis, keepdims=True)
    return np.log(np.exp(logs - top).sum(axis=axis)) + np.squeeze(top, axis=axis)
