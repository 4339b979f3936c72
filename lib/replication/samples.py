r"""Samples of any size without their points.

For d = 1 and X uniform on an interval, a log-likelihood that is analytic there sees a sample only through numbers at
the p Gauss-Legendre nodes :math:`x_l` of the interval, with weights :math:`q_l` of sum 1. :func:`draw` gives them:

* A sample that is really drawn is compressed to Chebyshev moments (:mod:`logitmoe.compression`) and put on the nodes by
  interpolation. The sums of any polynomial of degree below p over the points of a class are then its sums over the
  nodes with that class's weights.
* For a large n the class and the node of all the n points are counted instead: the counts are multinomial, with
  probabilities :math:`\pi_{sl} = q_l \, g_s(x_l)`. This is an exact sample, of the design in which X takes the values
  :math:`x_l` with probabilities :math:`q_l`. A sum :math:`\sum_i \varphi_{Y_i}(X_i)` then has the means and covariances
  of the uniform X up to the errors of the quadrature of :math:`g_s \varphi_s` and :math:`g_s \varphi_s \varphi'_s`,
  which fall twice as fast in p as the error of interpolation does; and so on for the higher moments.
* Or the counts come from their Gaussian limit: mean :math:`n \pi`, covariance
  :math:`n (\operatorname{diag}(\pi) - \pi \pi')`.

All of them share the nodes, so that one batch can hold samples of all sizes.
"""

from __future__ import annotations

from math import prod

import numpy as np

from logitmoe.chebyshev import (
    as_domain,
    chebyshev_polynomials,
    gate_coefficients,
)
from logitmoe.checks import as_count, as_float_array, as_generator, message
from logitmoe.compression import compress_chunks
from logitmoe.data import WeightedPoints
from logitmoe.divergences import uniform_design
from logitmoe.gates import as_gate, identity
from logitmoe.measure import MixingMeasure
from logitmoe.model import density, sample, sample_chunks, uniform

__all__ = ["draw", "expected"]

#: Ways to draw a sample, besides "auto".
METHODS = ("points", "multinomial", "gaussian")
#: Largest n: the largest range in which floats hold all counts.
MAX_N = 2**53
#: Largest n whose points are really drawn by default.
MAX_POINTS = 10**7
#: Largest n whose counts are drawn from the multinomial by default. NumPy's rejection method for the binomial
#: compares logarithms with an absolute error of about 1e-16 n; beyond, the Gaussian limit is nearer to the truth.
MAX_MULTINOMIAL = 10**13
#: Points of small samples that are drawn and compressed together, and of a large one that are drawn at a time.
TOGETHER, CHUNK = 2**14, 2**17


# ------------------------------------------------------------------------------------------------------------
# Data
def draw(G, n, rng, *, size=(), domain=(0.0, 1.0), gate=identity, p=48, method="auto"):
    """Draw samples of n points, Y from the model and X uniform on an interval, as weights at p nodes.

    Parameters
    ----------
    G : MixingMeasure
        The truth: one measure, with d = 1.
    n : int or array_like of int, shape (...)
        Sample sizes, from 1 to 2^53.
    rng : numpy.random.Generator
        Source of randomness. One stream is spawned from it for each entry of n: hence it must come from a seed, as
        with ``numpy.random.default_rng(seed)``, and successive calls give independent samples.
    size : int or tuple of int
        Shape of the replicates of each sample size. The first replicates do not depend on how many there are.
    domain : array_like, shape (2,), default (0, 1)
        Low and high end of the interval.
    gate : Gate, str or callable, default identity
        The map M; analytic on the domain.
    p : int, default 48
        Number of nodes (see Notes).
    method : {"auto", "points", "multinomial", "gaussian"}
        ``"points"`` draws the points and compresses them, in memory that does not grow with n; ``"multinomial"``
        draws the counts at the nodes, and ``"gaussian"`` draws these from their Gaussian limit. ``"auto"`` takes
        points up to 1e7, multinomial counts up to 1e13 and Gaussian ones from there.

    Returns
    -------
    WeightedPoints
        Batch axes: those of n, followed by `size`. The p points are the Gauss-Legendre nodes of the domain, those of
        ``uniform_design(low, high, nodes=p, panels=1)``. Weights of a compressed sample are signed and have sum n
        to rounding; multinomial counts are whole numbers of sum n.

    Raises
    ------
    TypeError
        If `n`, `size` or `p` is not made of integers, `G` is not a measure, or `rng` is not a
        Generator that can spawn.
    ValueError
        If n < 1 or n > 2^53, `G` has batch axes or d > 1, the domain is not an interval, `method` is unknown, or the
        gate is not analytic on the domain, as log_abs is not on an interval that contains 0.

    See Also
    --------
    expected : the same without noise.

    Notes
    -----
    How many nodes. Let e be the error of the polynomial of degree below p that interpolates log g, which falls
    geometrically in p. For drawn points the log-likelihood then has an error of the order of sqrt(n) e + n e^2: at
    Gauss-Legendre nodes, unlike others, an analytic function that vanishes at the nodes has nearly the mean zero, so
    that e enters the expected log-likelihood only by its square. For counts the truth stays the maximiser of the
    expected log-likelihood, whatever p is, and the Fisher information is that of the nodes' design, off by about e^2.
    As sqrt(n) is the size of the noise too, e = 1e-4 is little against it. An error of 1e-6 takes 11 nodes for
    Table 2 on [0, 1]; for slopes near 3.5 on [-3, 3] about 90. There 32 nodes give standard errors right to 2e-4,
    and 48 nodes to 3e-6. For a whole set Theta there is :func:`.chebyshev_order`, whose answer is for its worst measure
    and may be far larger than the fits need. Where p is too small for a fit, signed weights may raise the
    log-likelihood of steep measures above any that a sample can have, while that of counts is bounded by zero:
    ``"multinomial"`` is safe for such fits, for small n too.

    Rounding. At n = 1e12 the standard deviation of a class total is at most 5e5. Multinomial counts are whole numbers
    that floats hold exactly. A Gaussian count m is rounded by at most 1.2e-16 m, so 1.2e-16 sqrt(m) of its standard
    deviation, below 1.2e-10. The moments of drawn points have errors of about 1e-16 n. In a nearly singular design the
    noise of the score is smallest along the last eigenvector of the Fisher information: 10 for an eigenvalue of 1e-10
    and n = 1e12. A gradient summed in double precision has an error of about 1e-16 n = 1e-4 in that direction.

    Examples
    --------
    >>> import numpy as np
    >>> from replication.paper import TABLE_2
    >>> data = draw(TABLE_2, [10**3, 10**12], np.random.default_rng(0), size=40)
    >>> data.batch_shape, data.K
    ((2, 40), 2)
    >>> bool((data.total[1] == 1e12).all())
    True
    """
    _check_truth(G, batch=False)
    sizes, shape = _as_sizes(n)
    rng = as_generator(rng)
    size = tuple(as_count(v, "size") for v in ((size,) if hasattr(size, "__index__") else size))
    domain, gate = as_domain(domain, 1), as_gate(gate)
    _check_gate(gate, domain)
    if method not in ("auto", *METHODS):
        raise ValueError(message("method", f"one of auto, {', '.join(METHODS)}", f"{method!r}", "use one of these"))
    design = uniform_design(*domain[0], nodes=as_count(p, "p"), panels=1)
    try:
        streams = rng.spawn(len(sizes))
    except TypeError as error:
        expectation, remedy = "a Generator made from a seed", "use numpy.random.default_rng(seed)"
        raise TypeError(message("rng", expectation, "one that cannot spawn", remedy)) from error

    R = prod(size)
    weights = np.empty((len(sizes), R, G.K, design.m))
    cells = density(G, design.points, gate) * design.weights  # (K, p)
    cells /= cells.sum()
    for i, (m, stream) in enumerate(zip(sizes, streams, strict=True)):
        way = method
        if method == "auto":
            way = "points" if m <= MAX_POINTS else "multinomial" if m <= MAX_MULTINOMIAL else "gaussian"
        if way == "points":
            weights[i] = _interpolate(_moments(G, m, R, stream, domain, gate, design.m), design, domain)
        else:
            counts = _multinomial if way == "multinomial" else _gaussian
            weights[i] = counts(m, cells.ravel(), R, stream).reshape(R, G.K, design.m)
    return WeightedPoints(design.points, weights.reshape(*shape, *size, G.K, design.m))


def expected(G, n=1.0, *, domain=(0.0, 1.0), gate=identity, p=48):
    """The data without noise: weights n q_l g_s(x_l) at the p Gauss-Legendre nodes of the domain.

    Parameters
    ----------
    G : MixingMeasure, batch shape (...)
        The truth, with d = 1, or d = 2: the nodes are then a grid, p for each covariate.
    n : float or array_like, shape (...)
        Total weights, positive; broadcast against the batch axes of G.
    domain, gate, p
        As for :func:`draw`.

    Returns
    -------
    WeightedPoints
        Their log-likelihood is n times the expected one, of the design in which X takes the nodes' values. It is
        largest at the truth, whatever p is: this holds for the nodes and not only in the limit.

    Raises
    ------
    TypeError, ValueError
        As for :func:`draw`, and if n is not positive or does not broadcast.

    Examples
    --------
    >>> from logitmoe import log_likelihood
    >>> from replication.paper import TABLE_2
    >>> data = expected(TABLE_2, 100.0)
    >>> other = TABLE_2.split(0, b=[[[2.1], [0]], [[1.9], [0]]])
    >>> bool(log_likelihood(TABLE_2, data) > log_likelihood(other, data))
    True
    """
    _check_truth(G, most=2)
    n = as_float_array(n, "n")
    if not (n > 0.0).all():
        raise ValueError(message("n", "positive total weights", f"{n.min()}", "use 1.0 for probabilities"))
    domain, gate = as_domain(domain, G.d), as_gate(gate)
    _check_gate(gate, domain)
    design = uniform_design(*domain.T, d=G.d, nodes=as_count(p, "p"), panels=1)
    cells = density(G, design.points, gate) * design.weights
    try:
        return WeightedPoints(design.points, n[..., None, None] * cells)
    except ValueError as error:
        expectation = f"a shape that broadcasts with {G.batch_shape}"
        raise ValueError(message("n", expectation, f"{n.shape}", "make them agree")) from error


def _moments(G, n, R, rng, domain, gate, p):
    """Chebyshev moments (R, K, p) of R samples of n points that are really drawn."""
    low, high = domain[0]
    options = {"covariates": uniform(low, high), "gate": gate}
    moments = np.empty((R, G.K, p))
    together = TOGETHER // n
    if together < 2:
        for r in range(R):
            pieces = sample_chunks(G, n, rng, chunk=CHUNK, **options)
            moments[r] = compress_chunks(pieces, G.K, domain=domain, p=p).moments
        return moments
    classes = np.arange(1, G.K + 1)[:, None]
    for first in range(0, R, together):
        part = slice(first, min(first + together, R))
        count = part.stop - first
        x, y = sample(G, count * n, rng, **options)
        T = chebyshev_polynomials((x[:, 0] - low) * (2.0 / (high - low)) - 1.0, p).reshape(p, count, n)
        member = (y.reshape(count, 1, n) == classes).astype(np.float64)
        moments[part] = member @ T.transpose(1, 2, 0)
    return moments


def _interpolate(moments, design, domain):
    """Weights at the nodes under which polynomials of degree below p have the sums that the moments stand for."""
    low, high = domain[0]
    t = (design.points[:, 0] - low) * (2.0 / (high - low)) - 1.0
    # With V[l, j] = T_j(t_l) a polynomial has the coefficients V^-1 (its values), and the sum mu' V^-1 (its values).
    return moments @ np.linalg.inv(chebyshev_polynomials(t, t.size).T)


def _multinomial(n, cells, R, rng):
    """Multinomial counts (R, cells)."""
    return rng.multinomial(n, cells, size=R).astype(np.float64)


def _gaussian(n, cells, R, rng):
    """Counts (R, cells) from the Gaussian limit: with z standard normal, root z - cells (root'z) has covariance
    diag(cells) - cells cells', as root'root = 1."""
    root = np.sqrt(cells)
    z = rng.standard_normal((R, cells.size))
    noise = root * z - cells * (z @ root)[:, None]
    return n * cells + np.sqrt(n) * noise


# ------------------------------------------------------------------------------------------------------------
# Checks
def _check_truth(G, batch=True, most=1):
    if not isinstance(G, MixingMeasure):
        raise TypeError(message("G", "a MixingMeasure", f"a {type(G).__name__}", "build one first"))
    if G.d > most or G.K < 2 or (G.batch_shape and not batch):
        expectation = f"d {'=' if most == 1 else '<='} {most} and K >= 2" + ("" if batch else " and no batch axes")
        raise ValueError(message("G", expectation, f"{G!r}", "index the batch; take one covariate"))


def _as_sizes(n):
    """Sample sizes as a list of int, and their shape."""
    array = np.asarray(n, dtype=object)
    sizes = [as_count(value, "n") for value in array.ravel()]
    if not sizes or max(sizes) > MAX_N:
        got = f"{max(sizes)}" if sizes else "none"
        raise ValueError(message("n", "integers from 1 to 2^53", got, "floats cannot hold larger counts"))
    return sizes, array.shape


def _check_gate(gate, domain):
    """Raise unless the gate is analytic on the domain, as far as its pole and its Chebyshev coefficients tell."""
    try:
        gate_coefficients(gate, domain)
    except ValueError as error:
        expectation = f"analytic on the domain {(domain[0] if len(domain) == 1 else domain).tolist()}"
        remedy = "take another domain or gate; a raw sample works with any gate (WeightedPoints.from_labels)"
        got = f"one that is not ({error})"
        raise ValueError(message(f"gate {gate.name!r}", expectation, got, remedy)) from error
