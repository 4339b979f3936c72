"""Lines through logarithms: the mean or median of a loss against n, its slope, and bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from logitmoe.checks import as_count, as_float_array, as_generator, message

__all__ = ["LocalSlopes", "PowerLaw", "Replicates", "joint_test", "least_squares", "local_slopes", "onset", "power_law"]

#: Numbers that are resampled at once.
BLOCK = 2**21


class Replicates:
    """Values of R replicates for each of S sizes, with any leading axes: lines through logarithms, and their bootstrap.

    A *line* here is anything that is linear in the S logarithms of the mean or median of the replicates, such as the
    slope of their least-squares line against log(n).

    Parameters
    ----------
    values : array_like, shape (..., S, R)
        Non-negative, R >= 2.
    name : str
        The argument's name, for errors.
    rng : numpy.random.Generator
        Draws the bootstrap samples.
    statistic : {"mean", "median"}
        What is taken of the replicates.
    level : float
        Nominal coverage of the intervals, inside (0, 1).
    resamples : int
        Bootstrap samples.
    counts : bool, default False
        Whether a bootstrap sample is drawn by how often it has each replicate, which serves means only and is quick
        for many leading axes; a mean of zero among the samples then counts as the smallest number there is.

    Raises
    ------
    TypeError, ValueError
        If the shape or an option is not as above, or a value is negative.
    """

    def __init__(self, values, name: str, *, rng, statistic="mean", level=0.95, resamples=2000, counts=False) -> None:
        self.rng, self.name, self.statistic, self.counts = as_generator(rng), name, statistic, counts
        self.values = as_float_array(values, name, shape=(..., None, None))
        S, R = self.values.shape[-2:]
        if R < 2 or self.values.size == 0:
            raise ValueError(message(name, "at least two replicates", f"shape {self.values.shape}", "run more"))
        if self.values.min() < 0.0:
            raise ValueError(message(name, "numbers >= 0", f"{self.values.min()}", "pass values, not their logarithms"))
        if statistic not in ("mean", "median"):
            raise ValueError(message("statistic", "'mean' or 'median'", f"{statistic!r}", "use one of these"))
        self.level = float(as_float_array(level, "level", ndim=0))
        if not 0.0 < self.level < 1.0:
            raise ValueError(message("level", "a number inside (0, 1)", self.level, "pass e.g. 0.95"))
        self.resamples = as_count(resamples, "resamples")

    def log_statistic(self) -> np.ndarray:
        """Logarithm of the mean or median at each size, (..., S)."""
        return self._log((np.median if self.statistic == "median" else np.mean)(self.values, axis=-1))

    def lines(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the logarithms with F sets of weights (S, F): of the data, (..., F), and of B bootstrap samples.

        The bootstrap samples, (B, ..., F), have the same draws for all leading axes.
        """
        found = self.log_statistic() @ weights
        drawn = np.concatenate([logs @ weights for logs in self._bootstrap()])
        return found, drawn.reshape(-1, *found.shape)

    def interval(self, drawn: np.ndarray) -> np.ndarray:
        """Percentile interval along the first axis of what was computed of the bootstrap samples: (..., 2)."""
        ends = np.quantile(drawn, [(1.0 - self.level) / 2.0, (1.0 + self.level) / 2.0], axis=0)
        return np.moveaxis(ends, 0, -1)

    def _bootstrap(self):
        """Yield the logarithms (B, L, S) of bootstrap samples, the leading axes as one.

        The replicates are resampled within each size.  A draw is a position for the mean and a rank for the median,
        whose resampled value is that of the median rank; or the counts of the positions.
        """
        S, R = self.values.shape[-2:]
        flat = self.values.reshape(-1, S, R)
        if self.counts:
            counts = self.rng.multinomial(R, np.full(R, 1.0 / R), size=(S, self.resamples)) / R
            means = np.einsum("fsr,sbr->bfs", flat, counts, optimize=True)
            yield np.log(np.maximum(means, np.finfo(float).tiny))
            return
        draw = _means
        if self.statistic == "median":
            flat, draw = np.sort(flat, axis=-1), _medians
        step = max(1, BLOCK // (S * (R + 2 * flat.shape[0])))
        for first in range(0, self.resamples, step):
            drawn = self.rng.integers(R, size=(min(step, self.resamples - first), S, R))
            yield self._log(draw(flat, drawn))

    def _log(self, statistic: np.ndarray) -> np.ndarray:
        if not (statistic > 0.0).all():
            expected = f"a positive {self.statistic} at every size"
            raise ValueError(message(self.name, expected, "a zero", "leave that size out"))
        return np.log(statistic)


def least_squares(n: np.ndarray) -> np.ndarray:
    """Weights, shape (S, 2), of S logarithms for the slope of their least-squares line against log(n), and its height.

    The height is at the geometric mean of the sizes, where it is their mean.
    """
    log_n = np.log(n) - np.log(n).mean()
    return np.stack([log_n / (log_n**2).sum(), np.full(len(n), 1.0 / len(n))], axis=-1)


def _means(values, drawn):
    """Means (B, L, S) of the replicates `drawn` (B, S, R) of values (L, S, R)."""
    B, S, R = drawn.shape
    place = drawn + R * np.arange(B * S).reshape(B, S, 1)
    counts = np.bincount(place.ravel(), minlength=B * S * R).reshape(B, S, R)
    return (counts.swapaxes(0, 1).astype(np.float64) @ values.transpose(1, 2, 0)).transpose(1, 2, 0) / R


def _medians(ordered, drawn):
    """Medians (B, L, S) of the ranks `drawn` (B, S, R) of sorted values (L, S, R)."""
    S, R = drawn.shape[1:]
    ranks = np.sort(drawn, axis=-1)[..., [(R - 1) // 2, R // 2]]
    return ordered[:, np.arange(S)[:, None], ranks].mean(axis=-1).swapaxes(0, 1)


# ------------------------------------------------------------------------------------------------------------
# Rates
@dataclass(frozen=True, eq=False)
class LocalSlopes:
    """Slopes of log(mean or median) against log(n), in windows of neighbouring sizes and over all sizes.

    Attributes
    ----------
    start, stop : ndarray, shape (W,)
        Smallest and largest n of each window, ascending.
    slope : ndarray, shape (..., W)
        Slope of each window.
    interval : ndarray, shape (..., W, 2)
        Its percentile bootstrap interval.
    overall : ndarray, shape (...)
        Slope over all sizes.
    overall_interval : ndarray, shape (..., 2)
        Its interval.
    level : float
        Nominal coverage of each single interval.
    """

    start: np.ndarray
    stop: np.ndarray
    slope: np.ndarray
    interval: np.ndarray
    overall: np.ndarray
    overall_interval: np.ndarray
    level: float


def local_slopes(n, values, *, rng, window=2, statistic="mean", level=0.95, resamples=2000):
    """Slopes of log(mean or median) against log(n) between neighbouring sizes, with bootstrap intervals.

    Each slope is that of the least-squares line through a window, as :func:`~replication.lines.power_law` fits one
    to a single set of losses; here there are leading axes, and every window of neighbouring sizes is used. For the
    intervals the replicates are resampled within each size, with the same draws for all leading axes.

    Parameters
    ----------
    n : array_like, shape (S,)
        Sample sizes, positive and ascending, S >= 2.
    values : array_like, shape (..., S, R)
        Non-negative values of R >= 2 replicates for each size.
    rng : numpy.random.Generator
        Draws the bootstrap samples.
    window : int, default 2
        Neighbouring sizes in a window, from 2 to S. There are W = S - window + 1 windows.
    statistic : {"mean", "median"}
        What is taken of the replicates.
    level : float
        Nominal coverage, inside (0, 1).
    resamples : int
        Bootstrap samples.

    Returns
    -------
    LocalSlopes

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a size is not positive or not above the one before, a mean (median) is zero, or an
        option is out of range.

    Notes
    -----
    An interval shows the noise of the replicates: for the mean of R of them it is too short by a factor of about
    sqrt(1 - 1/R). Each one has its own nominal coverage; they are not joint.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> n = np.array([1e3, 1e4, 1e5])
    >>> slopes = local_slopes(n, n[:, None] ** -0.5 * rng.lognormal(0, 0.1, size=(3, 40)), rng=rng)
    >>> slopes.slope.round(1)
    array([-0.5, -0.5])
    """
    replicates = Replicates(values, "values", rng=rng, statistic=statistic, level=level, resamples=resamples)
    S = replicates.values.shape[-2]
    n = as_float_array(n, "n", shape=(S,))
    if S < 2 or n.min() <= 0.0 or (np.diff(n) <= 0.0).any():
        raise ValueError(message("n", "two or more ascending positive sizes", f"{n}", "sort them, drop repeated ones"))
    window = as_count(window, "window", minimum=2)
    if window > S:
        raise ValueError(message("window", f"at most the {S} sizes that there are", f"{window}", "use fewer"))

    windows = [slice(first, first + window) for first in range(S - window + 1)] + [slice(0, S)]
    weights = np.zeros((S, len(windows)))
    for column, part in enumerate(windows):
        weights[part, column] = least_squares(n[part])[:, 0]
    slope, drawn = replicates.lines(weights)
    interval = replicates.interval(drawn)
    return LocalSlopes(
        start=n[: S - window + 1].copy(),
        stop=n[window - 1 :].copy(),
        slope=slope[..., :-1],
        interval=interval[..., :-1, :],
        overall=slope[..., -1],
        overall_interval=interval[..., -1, :],
        level=replicates.level,
    )


def onset(slopes, value):
    """The smallest n from which on the intervals of all local slopes contain a value.

    Parameters
    ----------
    slopes : LocalSlopes
        With leading axes ``...``.
    value : float or array_like, shape (...)
        The slope that is looked for, e.g. -0.5; broadcast against the leading axes.

    Returns
    -------
    ndarray, shape (...)
        The smallest size in the first of the windows from which on all contain the value; NaN if the last window does
        not contain it.

    Raises
    ------
    TypeError, ValueError
        If `slopes` is not a LocalSlopes, or `value` is not finite or does not broadcast.

    Notes
    -----
    An interval that contains the value is no evidence for it when it is wide: noise makes the onset early. And with
    many windows some will miss the true value by chance, about one in twenty at the level 0.95, which makes it late.
    """
    if not isinstance(slopes, LocalSlopes):
        raise TypeError(message("slopes", "a LocalSlopes", type(slopes).__name__, "use local_slopes"))
    value = as_float_array(value, "value")
    try:
        shape = np.broadcast_shapes(value.shape, slopes.overall.shape)
    except ValueError as error:
        expectation = f"a shape that broadcasts with {slopes.overall.shape}"
        raise ValueError(message("value", expectation, f"{value.shape}", "pass one number")) from error
    inside = (slopes.interval[..., 0] <= value[..., None]) & (value[..., None] <= slopes.interval[..., 1])
    from_here = np.logical_and.accumulate(inside[..., ::-1], axis=-1)[..., ::-1]
    first = np.argmax(from_here, axis=-1)
    return np.where(from_here[..., -1], slopes.start[first], np.nan).reshape(shape)


@dataclass(frozen=True)
class PowerLaw:
    """A straight line through the logarithms of sample size and loss.

    Attributes
    ----------
    slope, log_constant : float
        Loss = exp(log_constant) * n**slope, by least squares.
    slope_interval, log_constant_interval : tuple of two floats
        Percentile bootstrap intervals over the replications.
    level : float
        Their nominal coverage.
    """

    slope: float
    log_constant: float
    slope_interval: tuple[float, float]
    log_constant_interval: tuple[float, float]
    level: float

    @property
    def constant(self) -> float:
        """The factor before the power of n."""
        return float(np.exp(self.log_constant))

    def __call__(self, n):
        """The line at sample sizes n."""
        return np.exp(self.log_constant + self.slope * np.log(n))


def power_law(
    sizes, losses, *, rng: np.random.Generator, statistic: str = "mean", level: float = 0.95, resamples: int = 2000
) -> PowerLaw:
    """Fit a power of n to the mean (or median) loss, with bootstrap intervals.

    The line is the least-squares line of log(mean loss) against log(n), every size with the same weight, as in the
    paper. For the intervals the replications are resampled within each size.

    Parameters
    ----------
    sizes : array_like, shape (S,)
        Two or more different positive numbers.
    losses : array_like, shape (S, R)
        Non-negative losses of R >= 2 replications at each size.
    rng : numpy.random.Generator
        Draws the bootstrap samples.
    statistic : {"mean", "median"}
        What is taken of the replications. The paper takes the mean.
    level : float
        Nominal coverage, inside (0, 1).
    resamples : int
        Bootstrap samples.

    Returns
    -------
    PowerLaw

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a size is not positive, all sizes are equal, a mean (median) is zero, or an option is
        out of range.

    Notes
    -----
    The intervals show the noise of the replications around a line that is taken to be the right model; they say
    nothing about curvature. Percentile intervals of R replications are slightly short: by a factor of about
    sqrt(1 - 1/R) for the mean.
    """
    losses = as_float_array(losses, "losses", ndim=2)
    replicates = Replicates(losses, "losses", rng=rng, statistic=statistic, level=level, resamples=resamples)
    S = losses.shape[0]
    sizes = as_float_array(sizes, "sizes", shape=(S,))
    if S < 2 or not (sizes > 0.0).all() or np.ptp(sizes) == 0.0:
        raise ValueError(message("sizes", "two or more different positive numbers", f"{sizes}", "add sizes"))
    (slope, height), drawn = replicates.lines(least_squares(sizes))
    centre = np.log(sizes).mean()
    ends = replicates.interval(np.stack([drawn[:, 0], drawn[:, 1] - drawn[:, 0] * centre], axis=-1))
    intervals = (tuple(float(v) for v in pair) for pair in ends)
    return PowerLaw(float(slope), float(height - slope * centre), *intervals, replicates.level)


def joint_test(slope, interval, value, *, power: float = 0.8, size: float = 0.05) -> tuple[float, float]:
    """Test that several independent slopes all have a given value, and what difference it would see.

    Parameters
    ----------
    slope, interval : array_like, shapes (C,) and (C, 2)
        Slopes and their 95 % intervals.
    value : float
    power, size : float
        Of the test, inside (0, 1).

    Returns
    -------
    p_value : float
        Of the sum of the squared standardised differences, against chi-squared with C degrees of freedom.
    detectable : float
        The difference from `value`, the same for all the slopes, that the test sees with that power.

    Raises
    ------
    ValueError
        If the shapes do not fit or an interval has no width.

    Notes
    -----
    The standard errors are the intervals' widths over 3.92: for small numbers of replicates they are too short, and the
    p-value too small.
    """
    slope = as_float_array(slope, "slope", shape=(None,))
    interval = as_float_array(interval, "interval", shape=(len(slope), 2))
    error = (interval[:, 1] - interval[:, 0]) / (2.0 * stats.norm.ppf(0.975))
    if not (error > 0.0).all():
        raise ValueError(message("interval", "intervals with a width", f"{interval}", "use more replicates"))
    total = (((slope - value) / error) ** 2).sum()
    C, limit = len(slope), stats.chi2.ppf(1.0 - size, len(slope))
    shifts = np.linspace(0.0, 40.0, 4001)
    reached = stats.ncx2.sf(limit, C, np.maximum(shifts**2, 1e-12)) >= power
    detectable = shifts[reached.argmax()] / np.sqrt((error**-2.0).sum())
    return float(stats.chi2.sf(total, C)), float(detectable)
