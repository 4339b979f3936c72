"""Random starting values, and :func:`fit`, which needs none."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from .chebyshev import chebyshev_order
from .checks import as_count, as_generator, as_number, as_shape
from .compression import compress
from .data import WeightedPoints, labelled_sample
from .em_algorithm import EMResult, em
from .gates import Gate, as_gate, identity
from .measure import DEFAULT_THETA, MixingMeasure, Theta, as_theta
from .results import COMPRESSION_TOL

__all__ = ["fit", "random_start"]

#: Sample size from which :func:`fit` compresses one-dimensional data.
COMPRESS_FROM = 5_000
#: Size of a covariate from which it warns.
LARGE = 100.0
#: Distance of the mean from zero, in standard deviations, likewise.
REMOTE = 10.0
#: Relative difference of log-likelihoods that is left to the stopping rule.
CLOSE = 1e-3
#: The largest order it takes.
COMPRESS_ORDER = 512


def random_start(
    k: int,
    K: int,
    d: int,
    rng: np.random.Generator,
    *,
    size: int | tuple[int, ...] = (),
    sd: float = 1.0,
    theta: Theta = DEFAULT_THETA,
) -> MixingMeasure:
    """Starts that know nothing of a truth: independent centred Gaussian parameters.

    Parameters
    ----------
    k, K, d : int
        Numbers of atoms (at least 1), classes (at least 2) and covariates (at least 1).
    rng : numpy.random.Generator
    size : int or tuple of int, default ()
        Batch shape of the result.
    sd : float, default 1.0
        Standard deviation of every parameter (class K and the last gate stay zero).
    theta : Theta
        Draws outside are moved to its boundary.

    Returns
    -------
    MixingMeasure, batch shape size
    """
    rng = as_generator(rng)
    k, K, d = as_count(k, "k"), as_count(K, "K", minimum=2), as_count(d, "d")
    sd, shape = as_number(sd, "sd", "a standard deviation >= 0", "pass e.g. 0.05", least=0.0), as_shape(size, "size")
    theta = as_theta(theta)
    beta0, beta1, a, b = (sd * rng.standard_normal((*shape, *tail)) for tail in ((k,), (k, d), (k, K), (k, K, d)))
    beta0[..., -1] = 0.0
    beta1[..., -1, :] = 0.0
    a[..., -1] = 0.0
    b[..., -1, :] = 0.0
    return theta.clip(MixingMeasure(beta0, beta1, a, b))


def fit(
    x: np.ndarray,
    y: np.ndarray,
    k: int,
    *,
    rng: np.random.Generator,
    K: int | None = None,
    starts: int = 10,
    gate: Gate | str = identity,
    theta: Theta = DEFAULT_THETA,
) -> EMResult:
    """Fit k experts to labelled data: EM from several random starts, the best kept.

    From 5,000 points of one covariate, and a gate that is analytic on the real line, EM works on Chebyshev moments;
    starts whose fit has an estimated compression error above 1e-9 even so are fitted again, to the points.  The
    result's ``nodes`` and its summary say what was fitted.

    Parameters
    ----------
    x : array_like, shape (n, d) or (n,)
        Covariates.  Scale them to order one: the starts and the default Theta assume it.
    y : array_like of int, shape (n,)
        Labels 1 to K.
    k : int
        Number of experts.
    rng : numpy.random.Generator
        Source of the random starts.
    K : int, optional
        Number of classes; default the largest label.
    starts : int, default 10
        Number of random starts.
    gate, theta
        As for :func:`.em`.

    Returns
    -------
    EMResult, batch shape ()
        The best fit.  Its ``n_agree`` says how many of the starts end within 0.1 nats of it.  For all of them, other
        starts, another stopping rule or SQUAREM, call what this function calls: :func:`.em`, on
        :meth:`.WeightedPoints.from_labels` or :func:`.compress` and on :func:`random_start`.

    Raises
    ------
    TypeError, ValueError
        If x or y is not valid, or an option unknown or out of range; a UserWarning if a covariate exceeds 100 in size
        or its mean 10 standard deviations.

    Examples
    --------
    >>> import numpy as np
    >>> from logitmoe import MixingMeasure, fit, sample
    >>> truth = MixingMeasure([1, 0], [[3], [0]], [[-1, 0], [1, 0]], [[[2], [0]], [[-1], [0]]])
    >>> rng = np.random.default_rng(1)
    >>> x, y = sample(truth, 10_000, rng)
    >>> result = fit(x, y, 2, rng=rng)
    >>> str(result.reason), result.measure.k
    ('relative', 2)
    """
    rng = as_generator(rng)
    x, y, K = labelled_sample(x, y, K)
    remote = _out_of_scale(x)
    if remote:
        warnings.warn(f"x: expected covariates of order one, got {remote}", stacklevel=2)
    k, starts, gate, theta = as_count(k, "k"), as_count(starts, "starts"), as_gate(gate), as_theta(theta)
    start = random_start(k, K, x.shape[1], rng, size=starts, theta=theta)

    def of_points(start):
        return em(WeightedPoints.from_labels(x, y, K), start, gate=gate, theta=theta)

    if x.shape[1] > 1 or len(x) < COMPRESS_FROM or gate.pole == 0 or np.ptp(x) == 0:
        return _not_below_constant(of_points(start).best(), y, of_points)
    domain = (float(x.min()), float(x.max()))
    p = min(COMPRESS_ORDER, chebyshev_order(theta, K, domain, gate))
    result = em(compress(x, y, K, domain=domain, p=p), start, gate=gate, theta=theta)
    poor = result.compression_error > COMPRESSION_TOL
    if poor.any():
        exact = of_points(start[poor])
        none = np.zeros(exact.n_iter.shape)
        result = result.with_fits(poor, replace(exact, compression_error=none, nodes=none))
    return _not_below_constant(result.best(), y, of_points)


def _out_of_scale(x: np.ndarray) -> str:
    """What is wrong with the location and the size of covariates (n, d), and what to do; empty if nothing is."""
    if (largest := np.abs(x).max()) > LARGE:
        remedy = "divide by the standard deviation"
        return f"values up to {largest:.3g}; the starts will saturate: {remedy}"
    mean, sd = x.mean(axis=0), x.std(axis=0)
    far = np.abs(mean) > np.maximum(REMOTE * sd, 1.0)
    if not (far & (sd > 0.0)).any():
        return ""
    u = int(np.argmax(far & (sd > 0.0)))
    remedy = "fit (x - mean) / sd; with the identity gate result.measure.rescale(mean, sd) states the fit in x"
    return f"mean {mean[u]:.3g} and sd {sd[u]:.3g} in column {u}; intercepts will not fit in theta: {remedy}"


def _not_below_constant(best: EMResult, y: np.ndarray, of_points) -> EMResult:
    """The fit, or, if constant class probabilities are more likely, the one to which EM, `of_points`, leads from these.

    Starts whose probabilities are all saturated can end so, for covariates far from order one.
    """
    G, theta = best.measure, best.theta
    counts = np.bincount(y, minlength=G.K + 1)[1:]
    a = np.log(np.maximum(counts, 0.5) / max(counts[-1], 0.5))
    zero = np.zeros((G.k, G.d))
    constant = theta.clip(MixingMeasure(zero[:, 0], zero, np.tile(a, (G.k, 1)), np.zeros((G.k, G.K, G.d))))
    log_prob = constant.a[0] - np.log(np.exp(constant.a[0]).sum())
    if best.log_likelihood >= counts @ log_prob - abs(best.log_likelihood) * CLOSE:
        return best
    again = of_points(constant)
    if again.log_likelihood <= best.log_likelihood:
        return best
    none = None if best.nodes is None else np.zeros(again.n_iter.shape, dtype=int)
    again = replace(again, compression_error=none, nodes=none)
    return replace(again, n_starts=best.n_starts + 1, n_agree=np.asarray(1))
