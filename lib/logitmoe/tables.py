"""What a user's table holds, and the units in which it is fitted.

A table is covariates, of any units, and labels, of any type. The estimators see points with weights for each class, and
covariates of mean 0 and standard deviation 1: `read_table` makes the one of the other, and `Units` goes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .checks import as_array, as_covariates, as_float_array, as_instance, check_same_rows, check_size, message
from .data import WeightedPoints
from .gates import Gate, identity
from .measure import MixingMeasure

__all__ = ["Sample", "Table", "Units", "as_columns", "as_matrix", "read_table"]


@dataclass(frozen=True, eq=False)
class Table:
    """How to read a table: what the rows weigh, which classes there are, and who sees which columns.

    Parameters
    ----------
    weights : array_like, shape (n,), optional
        Weights of the rows, at least 0: a row of weight 2 stands for two equal ones. Default 1.
    classes : sequence, optional
        All labels, in the order wanted; the last is the reference. A class of it may be missing from the data. Default:
        those of the data, sorted.
    gate, experts : sequence of str or int, optional
        Names or indices of the columns that the gate, and the experts, see. Default all.
    """

    weights: object = None
    classes: Sequence | None = None
    gate: Sequence | None = None
    experts: Sequence | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """A table that was read: its distinct points, sorted, with the weight of each class at each.

    So the order of the rows, and whether a row is there twice or has the weight 2, make no difference.
    """

    data: WeightedPoints  #: (m, d), in the units of the table
    names: tuple[str, ...]  #: of the d columns
    classes: tuple  #: the K labels
    gate: np.ndarray  #: (d,), bool: the columns that the gate sees
    experts: np.ndarray  #: (d,), bool


@dataclass(frozen=True, eq=False)
class Units:
    """The scale of a fit: experts see ``(x - shift) / scale`` and the gate ``(M(x) - gate_shift) / gate_scale``.

    Both are affine maps of what the experts and the gate see, so a fit in one of the units is a fit in the other, for
    every gate. The arrays are of shape (d,).
    """

    shift: np.ndarray
    scale: np.ndarray
    gate_shift: np.ndarray
    gate_scale: np.ndarray

    @classmethod
    def of(cls, data: WeightedPoints, gate: Gate) -> Units:
        """Means and standard deviations of x and of M(x), weighted; a column that is constant keeps its scale."""
        weights = data.weights.sum(axis=0)
        shift, scale = _moments(data.points, weights)
        return cls(shift, scale, *((shift, scale) if gate is identity else _moments(gate(data.points), weights)))

    def standardise(self, x: np.ndarray) -> np.ndarray:
        """The covariates (m, d) of the fit."""
        return (x - self.shift) / self.scale

    def gate(self, gate: Gate) -> Gate:
        """The gate of the fit: a map of the standardised covariates to the standardised values of M."""
        if gate is identity:
            return identity
        return Gate(gate.name, _StandardisedGate(gate, self))

    def to_x(self, G: MixingMeasure) -> MixingMeasure:
        """The measure, of the units of the fit, in those of the table: coefficients of M(x) and of x."""
        beta1, b = G.beta1 / self.gate_scale, G.b / self.scale
        return MixingMeasure(G.beta0 - beta1 @ self.gate_shift, beta1, G.a - b @ self.shift, b)

    def from_x(self, G: MixingMeasure) -> MixingMeasure:
        """The inverse of `to_x`."""
        beta0, a = G.beta0 + G.beta1 @ self.gate_shift, G.a + G.b @ self.shift
        return MixingMeasure(beta0, G.beta1 * self.gate_scale, a, G.b * self.scale)


@dataclass(frozen=True, eq=False)
class _StandardisedGate:
    """The map of :meth:`Units.gate`: not a closure, so that a fit can be pickled."""

    gate: Gate
    units: Units

    def __call__(self, z):
        U = self.units
        return (self.gate(U.shift + U.scale * z) - U.gate_shift) / U.gate_scale


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation (d,), 1 for a column that is constant."""
    part, first = weights / weights.sum(), values[0]
    spread = np.abs(values - first).max(axis=0)
    constant = spread <= 1e-14 * np.abs(first)  # rounding, or nothing
    unit = np.where(constant, 1.0, spread)
    relative = (values - first) / unit
    mean = part @ relative
    deviation = unit * np.sqrt(part @ np.square(relative - mean))
    return np.where(constant, first, first + unit * mean), np.where(constant, 1.0, deviation)


def as_matrix(x, names: Sequence[str] | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Covariates (n, d), from an array or a frame, and the names of the columns.

    With `names`, those of a fit, a frame has to have these columns; others are left out. A TypeError names a column
    that is neither numeric nor bool, a ValueError a name that two columns have.
    """
    columns = getattr(x, "columns", None)
    if columns is None or callable(columns):
        x = as_covariates(x, d=None if names is None else len(names))
        return x, tuple(names or _numbered(x.shape[1]))
    labels = [str(label) for label in columns]
    missing = [name for name in names or () if name not in labels]
    if missing and set(names) != set(_numbered(len(names))):
        remedy = "give the frame the names of the fitted one"
        raise ValueError(message("x", f"a column {missing[0]!r}", f"columns {', '.join(labels)}", remedy))
    if not labels:
        raise ValueError(message("x", "at least one covariate", "a frame without columns", "choose some"))
    parts, wanted = [], names if names and not missing else labels
    twice = [name for name in wanted if labels.count(name) > 1]
    if twice:
        raise ValueError(message("x", "columns of different names", f"{twice[0]!r} twice", "rename one of them"))
    for name in wanted:
        position = labels.index(name)
        part = np.asarray(x.iloc[:, position] if hasattr(x, "iloc") else x[columns[position]])
        if part.dtype.kind not in "biuf":
            remedy = "code it as numbers (a factor as one column of 0 and 1 for each level but one)"
            raise TypeError(message(f"x[{name!r}]", "numbers or bool", f"dtype {part.dtype}", remedy))
        parts.append(as_float_array(part, f"x[{name!r}]", ndim=1))
    return as_covariates(np.stack(parts, axis=1)), tuple(names or labels)


def _numbered(d: int) -> list[str]:
    return ["x"] if d == 1 else [f"x{u + 1}" for u in range(d)]


def as_columns(columns, names: Sequence[str], name: str) -> np.ndarray:
    """The columns, given by names or indices, as a mask (d,)."""
    mask = np.zeros(len(names), dtype=bool)
    if isinstance(columns, str) or hasattr(columns, "__index__"):
        raise TypeError(message(name, "a list of columns", repr(columns), f"pass [{columns!r}]"))
    for column in range(len(names)) if columns is None else columns:
        if isinstance(column, str) and column in names:
            mask[list(names).index(column)] = True
        elif not isinstance(column, str) and hasattr(column, "__index__") and -len(names) <= column < len(names):
            mask[column] = True
        else:
            expected = f"names among {', '.join(names)}, or indices below {len(names)}"
            raise ValueError(message(name, expected, repr(column), "list the columns that it sees"))
    return mask


def _as_classes(y, classes) -> tuple[np.ndarray, tuple]:
    """Positions (n,) of the labels among the classes, and the classes."""
    y = as_array(y, "y")
    if y.ndim != 1 or not y.size:
        raise ValueError(message("y", "labels of shape (n,)", f"shape {y.shape}", "give one label for each row of x"))
    if y.dtype.kind == "f" and not (np.isfinite(y) & (y == np.floor(y))).all():
        first = int(np.argmin(np.isfinite(y) & (y == np.floor(y))))
        remedy = "drop rows without a label; this is no model of a continuous response"
        raise ValueError(message("y", "labels of classes", f"{y[first]} at index {first}", remedy))
    try:
        seen, position = np.unique(y, return_inverse=True)
    except TypeError as error:
        absent = [i for i, label in enumerate(y.tolist()) if _is_missing(label)]
        if absent:
            got = f"{y[absent[0]]} at index {absent[0]}"
            raise TypeError(message("y", "a label in every row", got, "drop the rows without one")) from error
        got = ", ".join(sorted({type(v).__name__ for v in y.tolist()}))
        raise TypeError(message("y", "labels of one type", f"labels of types {got}", "convert them to text")) from error
    if classes is not None:
        listed = list(as_array(classes, "classes").tolist())
        stray = [label for label in seen.tolist() if label not in listed]
        if stray or len(set(listed)) != len(listed):
            got = f"{stray[0]!r} in y" if stray else f"{listed}"
            raise ValueError(message("classes", "every label of y, each once", got, "list all of them"))
        position = np.array([listed.index(label) for label in seen.tolist()])[position]
        seen = np.array(listed, dtype=as_array(classes, "classes").dtype)
    if len(seen) < 2:
        remedy = "pass Table(classes=...) if the data happen to hold one class only"
        raise ValueError(message("y", "at least 2 classes", f"one class, {seen.tolist()[0]!r}", remedy))
    return position, tuple(seen.tolist())


def _is_missing(label) -> bool:
    """None, a NaN, or pandas' NA, which is equal to nothing, itself included, and not even unequal."""
    return label is None or type(label).__name__ == "NAType" or (isinstance(label, float) and label != label)


def read_table(x, y, table: Table | None = None) -> Sample:
    """Read covariates (n, d), an array or a frame, and labels (n,) of any type.

    Raises TypeError or ValueError if a column or a label cannot be read, the rows do not agree, or all weights are 0.
    """
    table = Table() if table is None else as_instance(table, Table, "table", "pass e.g. Table(weights=w)")
    check_same_rows(x, y)
    x, names = as_matrix(x)
    check_size(x, "x")
    position, classes = _as_classes(y, table.classes)
    if len(x) != position.size:
        expected = f"{len(x)} labels, one for each row of x"
        raise ValueError(message("y", expected, position.size, "drop or add samples"))
    w = np.ones(len(x)) if table.weights is None else as_float_array(table.weights, "weights", shape=(len(x),))
    if (w < 0.0).any() or not w.any():
        got = f"{w.min():g} at index {int(w.argmin())}" if (w < 0.0).any() else "zeros only"
        raise ValueError(message("weights", "numbers >= 0, not all of them 0", got, "drop the rows you do not want"))
    keep = w > 0.0
    points, place = np.unique(x[keep] + 0.0, axis=0, return_inverse=True)  # 0.0: no two zeros of unequal sign
    weights = np.zeros((len(classes), len(points)))
    np.add.at(weights, (position[keep], place.reshape(-1)), w[keep])
    masks = (as_columns(getattr(table, name), names, name) for name in ("gate", "experts"))
    return Sample(WeightedPoints(points, weights), names, classes, *masks)
