"""Random starting values, and :func:`fit`, which needs none."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from .checks import as_count, as_covariates, as_float_array, as_generator, as_labels, message
from .compression import chebyshev_order, compress
from .data import WeightedPoints
from .em_algorithm import EMResult, em
from .gates import as_gate, identity
from .measure import DEFAULT_THETA, MixingMeasure, Theta
from .results import COMPRESSION_TOL

__all__ = ["as_batch_shape", "as_sd", "fit", "random_start"]

#: Sample size from which :func:`fit` compresses one-dimensional data.
COMPRESS_FROM = 5_000
#: Size of a covariate from which it warns.
LARGE = 100.0
#: The largest order it takes.
COMPRESS_ORDER = 512


def as_sd(value, name: str = "sd") -> float:
    """Return a standard deviation as a float; a ValueError if it is negative."""
    sd = float(as_float_array(value, name, ndim=0))
    if sd < 0.0:
        raise ValueError(message(name, "a standard deviation >= 0", sd, "pass e.g. 0.05"))
    return sd


def as_batch_shape(size) -> tuple[int, ...]:
    """Return the batch shape that an int or a tuple of int stands for."""
    sizes = size if isinstance(size, tuple) else (size,)
    return tuple(as_count(n, "size", minimum=0) for n in sizes)


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
    sd, shape = as_sd(sd), as_batch_shape(size)
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
    sd: float = 1.0,
    compressed: bool | None = None,
    **options,
) -> EMResult:
    """Fit k experts to labelled data: EM from several random starts, the best kept.

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
    sd : float, default 1.0
        Their spread, see :func:`random_start`.
    compressed : bool, optional
        Fit Chebyshev moments (at most 512 of them) instead of the points, see :func:`.em`.  Default: yes for d = 1, at
        least 5,000 points and a gate that is analytic on the real line; then those starts whose fit has an estimated
        compression error above 1e-9 even so are fitted again, to the points.  The result's ``nodes`` and its summary
        say what was fitted.
    **options
        ``gate``, ``theta``, ``stopping`` and ``acceleration``, as for :func:`.em`.

    Returns
    -------
    EMResult, batch shape ()
        The best fit.  Its ``n_agree`` says how many of the starts end within 0.1 nats of it.  For all of them, or to go
        on with :func:`.mle` from each, call :func:`.em` on :func:`random_start`.

    Raises
    ------
    TypeError, ValueError
        If x or y is not valid, or an option unknown or out of range; a UserWarning if a covariate exceeds 100 in size.

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
    K = None if K is None else as_count(K, "K", minimum=2)
    x = as_covariates(x)
    y = as_labels(y, K)
    if len(x) != len(y):
        raise ValueError(message("y", f"{len(x)} labels, one for each row of x", len(y), "drop or add samples"))
    if np.abs(x).max() > LARGE:
        warnings.warn(
            f"x: expected covariates of order one, got values up to {np.abs(x).max():.3g}; the starts will saturate: "
            "divide by the standard deviation, or pass a small sd",
            stacklevel=2,
        )
    K = max(int(y.max()), 2) if K is None else K
    k, starts = as_count(k, "k"), as_count(starts, "starts")
    gate, theta = as_gate(options.get("gate", identity)), options.get("theta", DEFAULT_THETA)
    start = random_start(k, K, x.shape[1], rng, size=starts, sd=sd, theta=theta)
    worthwhile = x.shape[1] == 1 and len(x) >= COMPRESS_FROM and gate.pole > 0 and np.ptp(x) > 0
    if not (worthwhile if compressed is None else compressed):
        return em(WeightedPoints.from_labels(x, y, K), start, **options).best()
    domain = (float(x.min()), float(x.max()))
    p = min(COMPRESS_ORDER, chebyshev_order(theta, K, domain, gate))
    result = em(compress(x, y, K, domain=domain, p=p), start, **options)
    poor = result.compression_error > COMPRESSION_TOL
    if not compressed and poor.any():
        exact = em(WeightedPoints.from_labels(x, y, K), start[poor], **options)
        none = np.zeros(exact.n_iter.shape)
        result = result.with_fits(poor, replace(exact, compression_error=none, nodes=none))
    return result.best()
