"""Checks of arguments, shared by every module.

Each function returns the checked value in the form that the library computes with, or raises an error that
names the argument, what was expected, what came and what to do. ``TypeError`` is for values of a wrong kind,
``ValueError`` for values of the right kind that are out of range, not finite or of a wrong shape.
"""

from __future__ import annotations

from operator import index as as_index

import numpy as np

__all__ = ["as_count", "as_covariates", "as_float_array", "as_generator", "as_labels", "message"]



def message(name, expected, got, remedy):
    """Text of an error: the argument, what was expected, what came, what to do."""
    return f"{name}: expected {expected}, got {got}; {remedy}."


def _describe_shape(shape):
    """Text of a shape specification: ``...`` for any leading axes, ``*`` for an axis of any length."""
    entries = ["..." if n is ... else "*" if n is None else str(n) for n in shape]
    return f"({', '.join(entries)}{',' if len(entries) == 1 else ''})"


def _matches(shape, expected):
    """Whether `shape` agrees with the specification `expected` (see `as_float_array`)."""
    if expected and expected[0] is ...:
        expected = expected[1:]
        if len(shape) < len(expected):
            return False
        shape = shape[len(shape) - len(expected) :]
    return len(shape) == len(expected) and all(
        want is None or have == want for have, want in zip(shape, expected, strict=True)
    )


def _first_not_finite(array):
    """Index (tuple) of the first entry, in C order, that is NaN or infinite."""
    flat = int(np.argmin(np.isfinite(array)))
    return tuple(int(i) for i in np.unravel_index(flat, array.shape))


def as_float_array(value, name, ndim=None, shape=None):
    """Return `value` as an array of finite float64.

    Parameters
    ----------
    value : array_like
        Real numbers. Not copied when it already is a float64 array.
    name : str
        The argument's name, for the error message.
    ndim : int, optional
        Required number of axes.
    shape : tuple, optional
        Required shape. An entry ``None`` stands for any length; a leading ``...`` for any number of leading
        (batch) axes.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    TypeError
        If the values are not real numbers (text, complex, objects).
    ValueError
        If `value` is ragged, has a wrong number of axes or shape, or holds a NaN or an infinity.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            message(name, "a rectangular array of real numbers", "rows of unequal length", "pad or drop rows")
        ) from error
    if array.dtype.kind not in "biuf":
        raise TypeError(message(name, "real numbers", f"dtype {array.dtype}", "convert it to floats"))
    array = array.astype(np.float64, copy=False)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(message(name, f"{ndim} axes", f"shape {array.shape}", "reshape it or add the missing axes"))
    if shape is not None and not _matches(array.shape, shape):
        raise ValueError(
            message(name, f"shape {_describe_shape(shape)}", f"shape {array.shape}", "make the shapes agree")
        )
    if not np.isfinite(array).all():
        where = _first_not_finite(array)
        place = f" at index {where if len(where) != 1 else where[0]}" if where else ""
        raise ValueError(
            message(name, "finite numbers", f"{array[where]}{place}", "remove or replace what is not finite")
        )
    return array


def as_covariates(x, name="x", d=None):
    """Return covariates as an array of shape (m, d).

    Parameters
    ----------
    x : array_like, shape (m, d), or (m,) when d = 1
        One row for each point; m >= 1.
    name : str
        The argument's name, for the error message.
    d : int, optional
        Required number of covariates.

    Returns
    -------
    ndarray of float64, shape (m, d)

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If `x` is empty, has another number of axes or columns, or holds a NaN or an infinity (the first such
        index is named).
    """
    array = as_float_array(x, name)
    if array.ndim == 1 and d in (None, 1):
        array = array[:, None]
    if array.ndim != 2 or (d is not None and array.shape[1] != d):
        columns = "d" if d is None else d
        raise ValueError(
            message(
                name,
                f"shape (m, {columns})" + (" or (m,)" if d in (None, 1) else ""),
                f"shape {array.shape}",
                "give one row for each point and one column for each covariate",
            )
        )
    if array.size == 0:
        raise ValueError(
            message(name, "at least one point", f"shape {array.shape}", "check the filter that left no data")
        )
    return array


def as_labels(y, K=None, name="y"):
    """Return class labels as integers in 1..K.

    Parameters
    ----------
    y : array_like, shape (m,)
        Labels; floating point numbers are accepted when they are whole.
    K : int, optional
        Number of classes; the largest label when None.
    name : str
        The argument's name, for the error message.

    Returns
    -------
    ndarray of int64, shape (m,)

    Raises
    ------
    TypeError
        If the labels are booleans or not numbers.
    ValueError
        If `y` is empty or not of one axis, or if a label is fractional, not finite or outside 1..K.
    """
    remedy = "code the classes as 1, 2, ..., K (from 0-based labels: y + 1)"
    allowed = f"whole numbers in 1..{'K' if K is None else as_count(K, 'K')}"
    array = np.asarray(y)
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
    return array.astype(np.int64, copy=False)


def as_generator(rng, name="rng"):
    """Return `rng` if it is a `numpy.random.Generator`.

    Raises
    ------
    TypeError
        If it is anything else: a seed, None, the module `numpy.random` or a legacy ``RandomState``.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            message(
                name,
                "a numpy.random.Generator",
                f"{rng!r} of type {type(rng).__name__}",
                "create one with numpy.random.default_rng(seed)",
            )
        )
    return rng


def as_count(value, name, minimum=1):
    """Return `value` as an int that is at least `minimum`.

    Raises
    ------
    TypeError
        If `value` is not an integer (a bool is not).
    ValueError
        If it is less than `minimum`.
    """
    expected = f"an integer of at least {minimum}"
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(
            message(name, expected, f"{value!r} of type {type(value).__name__}", "convert it with int(...)")
        )
    count = as_index(value)
    if count < minimum:
        raise ValueError(message(name, expected, f"{count}", f"give {minimum} or more"))
    return count
