"""Could a setting have printed a line? Experiments of the printed size, simulated from a pool of its fits.

A *pool* holds the losses of independent fits under one setting, at some sizes. :func:`simulate` draws from it
experiments as large as the printed one, and fits to each the line that the paper fits: how these lines vary is how much
a printed line may differ from the setting's own by chance alone. :meth:`Experiments.p_value` compares.

Where single fits dominate the means, a pool may lack the fits that matter, and its experiments vary too little. A level
that is too high can be told all the same. The level grows with each loss, so that losses cut at a multiple of the
printed line (:func:`truncated`) give levels below those of the setting; and these are means of bounded numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from logitmoe.checks import as_count, as_float_array, as_generator, message

from .lines import least_squares
from .panels import ReportedLine

__all__ = [
    "Comparison",
    "Experiments",
    "compare",
    "false_alarms",
    "pool_sizes",
    "rounding",
    "simulate",
    "tick_sizes",
    "truncated",
]

#: Losses are cut at this multiple of the printed line.
CUT = 10.0
#: Levels of the two tests: of slope and level together, and of a level that is too high.
SIZE, SIZE_TOO_HIGH = 0.05, 0.025
#: Largest share of exact replicates that a test may reject which is to exclude a setting.
FAIR = 0.10
#: Differences in slope and log level that do not count between two halves of a pool: some settings have no noise.
FREE = (0.01, 0.01)


@dataclass(frozen=True, eq=False)
class Experiments:
    """Least-squares lines of log(mean loss) against log(n) of E simulated experiments, under settings of any shape.

    Attributes
    ----------
    size : float
        Geometric mean of the experiment's sizes, where the level of a line is taken.
    slope, log_level : ndarray, shape (E, ...)
        Slope of each line, and its logarithm at `size`.
    spike : ndarray, shape (E, ...)
        How far the highest of the log means lies above the line.
    """

    size: float
    slope: np.ndarray
    log_level: np.ndarray
    spike: np.ndarray

    def p_value(self, slope, log_level, *, slack: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """p-values, shape (...), of the hypothesis that a line with this slope and level is one more experiment.

        Twice the smaller of the two-sided p-values of the slope and of the level (Bonferroni), by ranks.

        Parameters
        ----------
        slope, log_level : array_like, broadcast against (...)
        slack : tuple of float
            Differences in slope and in log level that do not count, such as those of :func:`rounding`.
        """
        parts = []
        for values, other, free in ((self.slope, slope, slack[0]), (self.log_level, log_level, slack[1])):
            below = np.sum(values <= np.asarray(other) + free, axis=0)
            above = np.sum(values >= np.asarray(other) - free, axis=0)
            parts.append(2.0 * (1.0 + np.minimum(below, above)) / (1.0 + len(values)))
        return np.minimum(1.0, 2.0 * np.minimum(*parts))

    def p_value_too_high(self, log_level, *, slack: float = 0.0) -> np.ndarray:
        """One-sided p-values, shape (...): the share of the experiments whose level is no higher than this one."""
        return (1.0 + np.sum(self.log_level <= np.asarray(log_level) + slack, axis=0)) / (1.0 + len(self.log_level))

    def interval(self, name: str, level: float = 0.95) -> np.ndarray:
        """The central part of one attribute over the experiments, shape (..., 2)."""
        ends = np.quantile(getattr(self, name), [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
        return np.moveaxis(ends, 0, -1)


def simulate(sizes, losses, every, *, rng, replications: int = 40, count: int = 400) -> Experiments:
    """Draw experiments of given sizes and replications from pools of losses.

    Parameters
    ----------
    sizes : array_like, shape (S,)
        Sizes of the pools, increasing.
    losses : array_like, shape (..., S, R)
        R >= 2 losses at each size, for each setting, with positive means. Settings are taken to have their samples in
        common, and get the same draws.
    every : array_like, shape (N,)
        Two or more different sizes of the experiment, from the smallest to the largest of `sizes`. Between two of
        these a loss comes from either pool, with chances that are linear in log(n), as the expected loss then is.
    rng : numpy.random.Generator
    replications, count : int
        Losses at each size of an experiment, and number of experiments E. Each experiment first draws the pool anew
        from itself, with replacement, so that what it varies by is the noise of the experiment and of the pool.

    Returns
    -------
    Experiments

    Raises
    ------
    TypeError, ValueError
        If shapes or ranges are not as above, or a loss is negative.
    """
    sizes, every = (as_float_array(v, name, ndim=1) for v, name in ((sizes, "sizes"), (every, "every")))
    losses = as_float_array(losses, "losses", shape=(..., sizes.size, None))
    rng = as_generator(rng)
    replications, count = as_count(replications, "replications"), as_count(count, "count")
    if sizes.size < 2 or (np.diff(sizes) <= 0.0).any() or sizes[0] <= 0.0:
        raise ValueError(message("sizes", "two or more increasing positive numbers", f"{sizes}", "sort them"))
    if len(set(every)) < 2 or every.min() < sizes[0] or every.max() > sizes[-1]:
        expected = f"two or more different sizes from {sizes[0]:g} to {sizes[-1]:g}"
        raise ValueError(message("every", expected, f"{every}", "make the pool wider"))
    S, R = losses.shape[-2:]
    if R < 2 or losses.min() < 0.0 or (losses.mean(axis=-1) <= 0.0).any():
        raise ValueError(message("losses", "two or more numbers >= 0 a size, not all 0", f"{losses}", "run more"))

    place = np.interp(np.log(every), np.log(sizes), np.arange(S))
    left = np.minimum(place.astype(int), S - 2)
    shape = (count, every.size, replications)
    pool = left[:, None] + (rng.random(shape) < (place - left)[:, None])
    anew = rng.integers(R, size=(count, S, R))
    drawn = anew[np.arange(count)[:, None, None], pool, rng.integers(R, size=shape)]
    rows = np.arange(0, drawn.size + 1, replications)
    share = np.full(drawn.size, 1.0 / replications)
    which = csr_matrix((share, (pool * R + drawn).ravel(), rows), (rows.size - 1, S * R))
    means = which @ losses.reshape(-1, S * R).T
    logs = np.log(np.maximum(means, np.finfo(float).tiny)).reshape(*shape[:2], -1)
    slope, level = np.einsum("eif,ij->jef", logs, least_squares(every))
    x = np.log(every) - np.log(every).mean()
    spike = (logs - slope[:, None] * x[:, None] - level[:, None]).max(axis=1)
    out = (v.reshape(count, *losses.shape[:-2]) for v in (slope, level, spike))
    return Experiments(float(np.exp(np.log(every).mean())), *out)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A printed line against settings of any shape (...).

    Attributes
    ----------
    experiments : Experiments
    p : ndarray, shape (...)
        p-values of slope and level, see :meth:`Experiments.p_value`.
    p_too_high, z_too_high : ndarray, shape (...)
        From experiments whose losses are :func:`truncated`: the one-sided p-value, and how many of the experiments'
        standard deviations their mean log level lies above the printed one.
    ratio : ndarray, shape (...)
        Median level of the experiments, divided by the printed one.
    """

    experiments: Experiments
    p: np.ndarray
    p_too_high: np.ndarray
    z_too_high: np.ndarray
    ratio: np.ndarray

    @property
    def too_high(self) -> np.ndarray:
        """Whether a setting is excluded by its truncated level, whatever its largest losses are."""
        return self.p_too_high <= SIZE_TOO_HIGH

    @property
    def differs(self) -> np.ndarray:
        """Whether slope or level differ by more than the simulated experiments do."""
        return self.p <= SIZE

    def outcome(self, alarms) -> np.ndarray:
        """Each setting's outcome, str of shape (...): "too high", "different", "undecided" or "compatible".

        A setting that differs is undecided if more than a tenth of exact replicates do, see :func:`false_alarms`.
        """
        differs = np.where(np.asarray(alarms) <= FAIR, "different", "undecided")
        return np.where(self.too_high, "too high", np.where(self.differs, differs, "compatible"))


def compare(line: ReportedLine, sizes, losses, every, *, rng, replications: int = 40, count: int = 400) -> Comparison:
    """Compare a printed line with simulated experiments; arguments as for :func:`simulate`."""
    rng = as_generator(rng)
    options = {"replications": replications, "count": count}
    whole = simulate(sizes, losses, every, rng=rng, **options)
    cut = simulate(sizes, truncated(sizes, losses, line), every, rng=rng, **options)
    slack, log_level = rounding(line, whole.size), float(np.log(line(whole.size)))
    noise = np.maximum(cut.log_level.std(axis=0), np.finfo(float).tiny)
    return Comparison(
        experiments=whole,
        p=whole.p_value(line.slope, log_level, slack=slack),
        p_too_high=cut.p_value_too_high(log_level, slack=slack[1]),
        z_too_high=(cut.log_level.mean(axis=0) - log_level - slack[1]) / noise,
        ratio=np.exp(np.median(whole.log_level, axis=0) - log_level),
    )


def false_alarms(sizes, losses, *, rng, trials: int = 10, count: int = 200) -> np.ndarray:
    """How often the test of slope and level rejects an exact replicate, for each setting: shape (...).

    In each trial one random half of the fits is the pool, and the line of the other half, as it stands, is the printed
    line. The nominal share is 0.05; it is larger where a few fits dominate the means.
    """
    rng, losses = as_generator(rng), np.asarray(losses, dtype=float)
    weights, R = least_squares(np.asarray(sizes, dtype=float)), losses.shape[-1]
    found = []
    for _ in range(as_count(trials, "trials")):
        one, two = (losses[..., half] for half in np.array_split(rng.permutation(R), 2))
        made = simulate(sizes, one, sizes, rng=rng, replications=two.shape[-1], count=count)
        slope, level = np.moveaxis(np.log(two.mean(axis=-1)) @ weights, -1, 0)
        found.append(made.p_value(slope, level, slack=FREE) <= SIZE)
    return np.mean(found, axis=0)


def truncated(sizes, losses, line: ReportedLine) -> np.ndarray:
    """Losses (..., S, R) at sizes (S,), cut at ten times the printed line."""
    return np.minimum(losses, CUT * line(np.asarray(sizes, dtype=float))[:, None])


def rounding(line: ReportedLine, size: float) -> tuple[float, float]:
    """Largest errors of the slope, and of the log level at a size, that the printed digits of a line allow."""

    def half_unit(value: float) -> float:
        return 0.5 * 10.0 ** -len(repr(float(value)).partition(".")[2])

    slope, constant = half_unit(line.slope), half_unit(line.constant)
    return slope, slope * np.log(size) + (constant if line.logarithm else constant / line.constant)


def pool_sizes(sizes, count: int) -> tuple[int, ...]:
    """A few of many sizes, about equally spaced in log(n), the smallest and the largest included.

    Raises ValueError if there are too few different ones.
    """
    log_n, count = np.log(as_float_array(sizes, "sizes", ndim=1)), as_count(count, "count", minimum=2)
    goals = np.linspace(log_n.min(), log_n.max(), count)
    chosen = sorted({int(sizes[np.abs(log_n - goal).argmin()]) for goal in goals})
    if len(chosen) < count:
        raise ValueError(message("count", "fewer sizes", f"{count} of {log_n.size}", "ask for fewer"))
    return tuple(chosen)


def tick_sizes(first: float, step: float, largest: int, margin: float = 0.05) -> tuple[float, float]:
    """Smallest and largest n at which a curve may begin whose axis in log(n) has its first tick at `first`.

    The axis goes from the data's ends by a share `margin` of their distance to either side, as Matplotlib's does by
    default, and shows every tick of its step that lies on it: the one at ``first`` is shown and that at
    ``first - step`` is not. The data end at `largest`.
    """
    ends = [(end + margin * np.log(largest)) / (1.0 + margin) for end in (first - step, first)]
    return float(np.exp(ends[0])), float(np.exp(ends[1]))
