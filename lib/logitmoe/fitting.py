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
from .measure import DEFAULT_THETA, MixingMeasure, Theta
from .results import COMPRESSION_TOL

__all__ = ["fit", "random_start"]

#: Sample size from which :func:`fit` compresses one-dimensional data.
COMPRESS_FROM = 5_000
#: Size of a covariate from which it warns.
LARGE = 100.0
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

    A UserWarning if a covariate exceeds 100 in size.

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
    if np.abs(x).max() > LARGE:
        warnings.warn(
            f"x: expected covariates of order one, got values up to {np.abs(x).max():.3g}; the starts will saturate: "
            "divide by the standard deviation",
            stacklevel=2,
        )
    k, starts, gate = as_count(k, "k"), as_count(starts, "starts"), as_gate(gate)
    start = random_start(k, K, x.shape[1], rng, size=starts, theta=theta)

    def of_points(start):
        return em(WeightedPoints.from_labels(x, y, K), start, gate=gate, theta=theta)

    if x.shape[1] > 1 or len(x) < COMPRESS_FROM or gate.pole == 0 or np.ptp(x) == 0:
        return of_points(start).best()
    domain = (float(x.min()), float(x.max()))
    p = min(COMPRESS_ORDER, chebyshev_order(theta, K, domain, gate))
    result = em(compress(x, y, K, domain=domain, p=p), start, gate=gate, theta=theta)
    poor = result.compression_error > COMPRESSION_TOL
    if poor.any():
        exact = of_points(start[poor])
        none = np.zeros(exact.n_iter.shape)
        result = result.with_fits(poor, replace(exact, compression_error=none, nodes=none))
    return result.best()
