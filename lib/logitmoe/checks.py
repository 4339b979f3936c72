"""Checks of arguments, at the door of every public function: what comes in is checked once, and trusted inside.

Each function returns the checked value in the form that the library computes with. An error names the argument, what
was expected, what came and what to do: ``TypeError`` for a value of a wrong kind, ``ValueError`` for one of the right
kind that is out of range, not finite or of a wrong shape. Measures are checked by `logitmoe.measure.single` and `pair`.
"""

from __future__ import annotations

from math import inf
from operator import index as as_index

import numpy as np

#: Size of a covariate or weight from which their products, and sums of these, may overflow.
TOO_LARGE = 1e50

__all__ = [
    "as_array", "as_count", "as_covariates", "as_float_array", "as_generator", "as_instance", "as_interval",
    "as_labels", "as_number", "as_shape", "broadcast_shapes", "check_same_rows", "check_size", "message",
]  # fmt: skip


def message(name, expected, got, remedy):
    """Text of an error: the argument, what was expected, what came, what to do."""
    return f"{name}: expected {expected}, got {got}; {remedy}."


def _matches(shape, expected):
    """Whether `shape` agrees with the specification `expected` (see `as_float_array`)."""
    if expected and expected[0] is ...:
        expected = expected[1:]
        if len(shape) < len(expected):
            return False
        shape = shape[len(shape) - len(expected) :]
    return len(shape) == len(expected) and all(n in (None, m) for m, n in zip(shape, expected, strict=True))


def as_float_array(value, name, ndim=None, shape=None):
    """Return real numbers as an array of finite float64, not copied if it is one.

    `ndim` is the required number of axes, `shape` the required shape: None stands for any length, a leading ``...`` for
    any number of leading (batch) axes. `name` is the argument's, for the error message; likewise below.
    """
    array = as_array(value, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(message(name, "real numbers", f"dtype {array.dtype}", "convert it to floats"))
    array = array.astype(np.float64, copy=False)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(message(name, f"{ndim} axes", f"shape {array.shape}", "reshape it or add the missing axes"))
    if shape is not None and not _matches(array.shape, shape):
        entries = ["..." if n is ... else "*" if n is None else str(n) for n in shape]
        expected = f"shape ({', '.join(entries)}{',' if len(entries) == 1 else ''})"
        raise ValueError(message(name, expected, f"shape {array.shape}", "make the shapes agree"))
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.unravel_index(np.argmin(np.isfinite(array)), array.shape))
        place = f" at index {where if len(where) != 1 else where[0]}" if where else ""
        remedy = "remove or replace what is not finite"
        raise ValueError(message(name, "finite numbers", f"{array[where]}{place}", remedy))
    return array


def as_array(value, name):
    """Return `value` as an array, of any kind, if it is rectangular and none of its entries is masked."""
    if np.ma.is_masked(value):
        got = f"{np.ma.count_masked(value)} masked ones"
        remedy = "drop these samples from every argument, x[keep] with keep = ~numpy.ma.getmaskarray(x).any(axis=1)"
        raise ValueError(message(name, "entries that are all there", got, remedy))
    try:
        return np.asarray(value)
    except ValueError as error:
        got, remedy = "rows of unequal length", "pad or drop rows"
        raise ValueError(message(name, "a rectangular array of real numbers", got, remedy)) from error


def as_number(value, name, expected, remedy, *, above=-inf, least=-inf, below=inf):
    """Return `value` as a finite float with ``value > above``, ``value >= least`` and ``value < below``.

    `expected` ("a positive number") and `remedy` are the words of the error.
    """
    number = float(as_float_array(value, name, ndim=0))
    if not (above < number < below and number >= least):
        raise ValueError(message(name, expected, f"{number}", remedy))
    return number


def as_count(value, name, minimum=1):
    """Return `value`, an integer of at least `minimum` (a bool is none), as an int."""
    expected = f"an integer of at least {minimum}"
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        got = f"{value!r} of type {type(value).__name__}"
        raise TypeError(message(name, expected, got, "convert it with int(...)"))
    count = as_index(value)
    if count < minimum:
        raise ValueError(message(name, expected, f"{count}", f"give {minimum} or more"))
    return count


def as_shape(value, name, minimum=0):
    """Return a shape, given as an int or a sequence of int of at least `minimum`, as a tuple."""
    return tuple(as_count(n, name, minimum) for n in ((value,) if hasattr(value, "__index__") else value))


def broadcast_shapes(name, *shapes):
    """Return the shape that batch shapes broadcast to; `name` names the arguments they come from."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        expected = f"batch axes that broadcast with {shapes[0]}"
        raise ValueError(message(name, expected, ", ".join(map(str, shapes[1:])), "make them agree")) from error


def as_interval(low, high, d):
    """Return the ends of a box, given as numbers or arrays (d,) with low < high, as arrays (d,)."""
    ends = []
    for name, value in (("low", low), ("high", high)):
        value = as_float_array(value, name)
        ends.append(np.broadcast_to(as_float_array(value, name, shape=(d,) if value.ndim else ()), (d,)))
    low, high = ends
    if not (low < high).all():
        raise ValueError(message("low", "numbers less than high", f"low {low}, high {high}", "exchange them"))
    return low, high


def as_covariates(x, name="x", d=None):
    """Return covariates as a finite array (m, d) with m >= 1, given that or, when d = 1, an array (m,)."""
    array = as_float_array(x, name)
    if array.ndim == 1 and d in (None, 1):
        array = array[:, None]
    if array.ndim != 2 or (d is not None and array.shape[1] != d):
        expected = f"shape (m, {'d' if d is None else d})" + (" or (m,)" if d in (None, 1) else "")
        remedy = "give one row for each point and one column for each covariate"
        raise ValueError(message(name, expected, f"shape {array.shape}", remedy))
    if array.size == 0:
        expected = "at least one covariate" if array.shape[0] else "at least one point"
        remedy = "check the filter that left no data"
        raise ValueError(message(name, expected, f"shape {array.shape}", remedy))
    return array


def as_labels(y, K=None, name="y"):
    """Return class labels, whole numbers in 1..K, on one axis, as an array (m,) of int64.

    If K is None it is the largest label; then at least half of the labels 1..K have to be there.
    """
    remedy = "code the classes as 1, 2, ..., K (from 0-based labels: y + 1)"
    allowed = f"whole numbers in 1..{'K' if K is None else as_count(K, 'K')}"
    array = as_array(y, name)
    if array.ndim != 1:
        raise ValueError(message(name, "shape (m,)", f"shape {array.shape}", "give one label for each point"))
    if array.size == 0:
        raise ValueError(message(name, "at least one label", "none", "check the filter that left no data"))
    if array.dtype.kind not in "iuf":
        raise TypeError(message(name, allowed, f"dtype {array.dtype}", remedy))
    top = 2**53 if K is None else K  # floats hold whole numbers exactly up to there
    with np.errstate(invalid="ignore"):  # the comparison below answers False for a NaN
        good = (array >= 1) & (array <= top) & (array == np.floor(array)) & np.isfinite(array)
    if not good.all():
        first = int(np.argmin(good))
        raise ValueError(message(name, allowed, f"{array[first]} at index {first}", remedy))
    array = array.astype(np.int64, copy=False)
    if K is None:
        seen, largest = np.unique(array), int(array.max())
        if 2 * seen.size < largest:
            some = ", ".join(map(str, seen[-4:]))
            got = f"{largest} at index {array.argmax()} with {seen.size} of them, the largest {some}"
            remedy = f"code the classes as 1, 2, ..., K, or pass K={largest} if there are so many"
            raise ValueError(message(name, f"most of the labels 1..{largest} if K is not given", got, remedy))
    return array


def check_same_rows(x, y):
    """A ValueError if `x` and `y` both have an index, as frames and series have, and these are not the same."""
    indices = [getattr(value, "index", None) for value in (x, y)]
    if any(index is None or callable(index) for index in indices):  # arrays have none; a list's is a method
        return
    of_x, of_y = (np.asarray(index) for index in indices)
    if of_x.shape == of_y.shape and (of_x != of_y).any():
        first = int(np.argmax(of_x != of_y))
        got = f"{of_y[first]!r} for {of_x[first]!r} in row {first}"
        raise ValueError(message("y", "the index of x, row by row", got, "align them, y = y.loc[x.index]"))


def check_size(array, name):
    """A ValueError if a number of the array is too large for products of a few such numbers."""
    largest = max(array.max(initial=0.0), -array.min(initial=0.0))
    if largest > TOO_LARGE:
        expected = f"numbers of size at most {TOO_LARGE:g}"
        raise ValueError(message(name, expected, f"{largest:.3g}", "choose another unit"))


def as_instance(value, kind, name, remedy="build one first"):
    """Return `value` if it is a `kind`."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(message(name, f"{article} {kind.__name__}", f"a {type(value).__name__}", remedy))
    return value


def as_generator(rng, name="rng"):
    """Return `rng` if it is a `numpy.random.Generator`: not a seed, None or a legacy ``RandomState``."""
    if not isinstance(rng, np.random.Generator):
        got, remedy = f"{rng!r} of type {type(rng).__name__}", "create one with numpy.random.default_rng(seed)"
        raise TypeError(message(name, "a numpy.random.Generator", got, remedy))
    return rng
