"""Weighted points: the one data type that the estimator sees."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from .checks import as_count, as_covariates, as_float_array, as_labels, check_same_rows, check_size, message

__all__ = ["WeightedPoints", "check_classes", "labelled_sample", "read_only", "select"]


@dataclass(frozen=True, eq=False, repr=False)
class WeightedPoints:
    """Points with a weight for each class: the data that the estimator works on, copied and made read-only.

    Parameters
    ----------
    points : array_like, shape (m, d), or (m,) when d = 1
        Finite covariates, shared by all batch entries; m >= 1.
    weights : array_like, shape (..., K, m)
        Finite weight of class s + 1 at each point. Counts for a raw sample; quadrature weights may be negative.

    Examples
    --------
    >>> data = WeightedPoints.from_labels([0.1, 0.5, 0.9], [1, 2, 2])
    >>> data.class_totals
    array([1., 2.])
    """

    points: np.ndarray
    weights: np.ndarray

    def __post_init__(self) -> None:
        points = as_covariates(self.points, "points")
        weights = as_float_array(self.weights, "weights", shape=(..., None, points.shape[0]))
        check_classes(weights.shape[-2])
        check_size(points, "points")
        check_size(weights, "weights")
        object.__setattr__(self, "points", read_only(points))
        object.__setattr__(self, "weights", read_only(weights))

    @classmethod
    def from_labels(cls, x, y, K: int | None = None) -> WeightedPoints:
        """A raw sample: weight one for the class that was observed.

        Parameters
        ----------
        x : array_like, shape (n, d), or (n,) when d = 1
            Covariates.
        y : array_like, shape (n,)
            Labels in 1..K.
        K : int, optional
            Number of classes, at least 2; when None the largest label, and then half of 1..K have to be seen.
        """
        x, y, K = labelled_sample(x, y, K)
        weights = (y == np.arange(1, K + 1)[:, None]).astype(np.float64)
        return cls(x, weights)

    @property
    def K(self) -> int:
        """Number of classes."""
        return self.weights.shape[-2]

    @property
    def d(self) -> int:
        """Number of covariates."""
        return self.points.shape[1]

    @property
    def m(self) -> int:
        """Number of points."""
        return self.points.shape[0]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the batch axes of the weights."""
        return self.weights.shape[:-2]

    @property
    def class_totals(self) -> np.ndarray:
        """Total weight of each class, (..., K): the class counts of a raw sample."""
        return self.weights.sum(axis=-1)

    @property
    def total(self) -> np.ndarray:
        """Total weight, (...): the size of a raw sample."""
        return self.class_totals.sum(axis=-1)

    def __getitem__(self, index) -> WeightedPoints:
        """The data at an index of the batch axes; IndexError if there are not as many."""
        return WeightedPoints(self.points, select(self.weights, self.batch_shape, index))

    def __repr__(self) -> str:
        return f"WeightedPoints(m={self.m}, d={self.d}, K={self.K}, batch_shape={self.batch_shape})"


def read_only(array: np.ndarray) -> np.ndarray:
    """A read-only copy of an array, float64 and in C order."""
    array = np.array(array, dtype=np.float64, order="C")
    array.setflags(write=False)
    return array


def select(array: np.ndarray, batch_shape: tuple[int, ...], index) -> np.ndarray:
    """Index the batch axes only: an index that would reach the axes behind them is an IndexError."""
    size = prod(batch_shape)
    position = np.arange(size).reshape(batch_shape)[index]
    return array.reshape(size, *array.shape[len(batch_shape) :])[position]


def check_classes(K: int) -> int:
    """Return the number of classes if it is at least 2."""
    if K < 2:
        remedy = "pass K if the sample happens to hold labels of one class only"
        raise ValueError(message("K", "at least 2 classes", K, remedy))
    return K


def labelled_sample(x, y, K: int | None) -> tuple[np.ndarray, np.ndarray, int]:
    """Check a labelled sample: x (n, d), y (n,) in 1..K, and K, the largest label when None."""
    K = None if K is None else as_count(K, "K", minimum=2)
    check_same_rows(x, y)
    x = as_covariates(x)
    y = as_labels(y, K)
    if x.shape[0] != y.size:
        raise ValueError(message("y", f"{x.shape[0]} labels, one for each row of x", y.size, "drop or add samples"))
    return x, y, check_classes(int(y.max())) if K is None else K
