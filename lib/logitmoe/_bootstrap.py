"""The mean or median of replicates at each sample size, and of bootstrap samples of them."""

from __future__ import annotations

import numpy as np

from ._validation import as_count, as_float_array, as_generator, message

#: Numbers that are resampled at once.
BLOCK = 2**21


class Replicates:
    """Checked values of R replicates for each of S sizes, with any leading axes, and what is to be taken of them.

    Parameters
    ----------
    values : array_like, shape (..., S, R)
    name : str
        The argument's name, for errors.
    rng, statistic, level, resamples
        As for :func:`logitmoe.experiments.power_law`.
    """

    def __init__(self, values, name: str, *, rng, statistic: str, level: float, resamples: int) -> None:
        self.rng, self.name, self.statistic = as_generator(rng), name, statistic
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

    def log_middle(self) -> np.ndarray:
        """Logarithm of the mean or median of each size, (..., S)."""
        return self._log((np.median if self.statistic == "median" else np.mean)(self.values, axis=-1))

    def resampled(self):
        """Yield the `log_middle` of bootstrap samples, B at a time: (B, L, S), the leading axes as one.

        The replicates are resampled within each size, with the same draws for all leading axes.  A draw is a position
        for the mean and a rank for the median, whose resampled value is that of the median rank.
        """
        S, R = self.values.shape[-2:]
        flat = self.values.reshape(-1, S, R)
        draw = _means
        if self.statistic == "median":
            flat, draw = np.sort(flat, axis=-1), _medians
        step = max(1, BLOCK // (S * (R + 2 * flat.shape[0])))
        for first in range(0, self.resamples, step):
            drawn = self.rng.integers(R, size=(min(step, self.resamples - first), S, R))
            yield self._log(draw(flat, drawn))

    def interval(self, resampled: np.ndarray) -> np.ndarray:
        """Percentile interval along the first axis of what was computed of the bootstrap samples: (2, ...)."""
        return np.quantile(resampled, [(1.0 - self.level) / 2.0, (1.0 + self.level) / 2.0], axis=0)

    def _log(self, middle: np.ndarray) -> np.ndarray:
        if not (middle > 0.0).all():
            expected = f"a positive {self.statistic} at every size"
            raise ValueError(message(self.name, expected, "a zero", "leave that size out"))
        return np.log(middle)


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
