"""Gates M: the map of the covariates that the softmax gate sees.

In the standard model the logits of the gate are ``beta1_i' x + beta0_i`` (equation 1 of the paper); in the
modified model they are ``beta1_i' M(x) + beta0_i`` (equation 8), for a map M from R^d to R^d. The standard
model is the modified one with the gate `identity`. Wherever the library takes a gate it accepts a `Gate`, a
name of `GATES` or a callable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf, pi
from types import MappingProxyType

import numpy as np
from scipy.special import expit

from .checks import as_count, as_float_array, message

__all__ = ["GATES", "Gate", "as_gate", "cos", "identity", "log_abs", "normalize", "power", "sigmoid", "sin", "tanh"]



@dataclass(frozen=True)
class Gate:
    """A named map M from R^d to R^d, vectorised over leading axes.

    Parameters
    ----------
    name : str
        Name, used in messages and tables.
    function : callable
        ``function(x)`` for x of shape (..., d) returns an array of the same shape.
    pole : float, optional
        Distance from the real line to the nearest singularity of M in the complex plane: infinite for an
        entire function, 0 for a map that is not analytic on an interval containing 0. It decides how many
        Chebyshev moments a compressed sample needs. A map of your own is taken to be entire unless you say
        otherwise.

    Raises
    ------
    TypeError
        If `name` is not a str or `function` is not callable.
    ValueError
        If `pole` is negative or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> softsign = Gate("softsign", lambda x: x / (1 + np.abs(x)), pole=0.0)
    >>> softsign(np.array([[1.0], [-3.0]]))
    array([[ 0.5 ],
           [-0.75]])
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]
    pole: float = inf

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise TypeError(message("name", "a str", f"{self.name!r}", "give the gate a name"))
        if not callable(self.function):
            raise TypeError(message("function", "a callable", f"{self.function!r}", "give a function of x (..., d)"))
        if not self.pole >= 0:
            raise ValueError(message("pole", "a distance >= 0", f"{self.pole!r}", "use math.inf for none"))

    def __call__(self, x):
        """Return M(x).

        Parameters
        ----------
        x : array_like, shape (..., d)
            Finite covariates.

        Returns
        -------
        ndarray of float64, shape (..., d)

        Raises
        ------
        ValueError
            If `x` is not finite or has no axes, if M returns another shape, or if M(x) is not finite at some
            x: the message names the gate and the first such x.
        TypeError
            If M returns something else than real numbers.
        """
        x = as_float_array(x, "x", shape=(..., None))
        with np.errstate(all="ignore"):  # what is not finite is reported below, with the x that caused it
            value = np.asarray(self.function(x))
        if value.shape != x.shape:
            raise ValueError(
                message(
                    f"gate {self.name!r}",
                    f"an array of the shape of x, {x.shape}",
                    f"shape {value.shape}",
                    "let the map act on the last axis and keep the others",
                )
            )
        if value.dtype.kind not in "biuf":
            raise TypeError(
                message(f"gate {self.name!r}", "real numbers", f"dtype {value.dtype}", "return a float array")
            )
        if not np.isfinite(value).all():
            rows, images = x.reshape(-1, x.shape[-1]), value.reshape(-1, x.shape[-1])
            point = int(np.argmin(np.isfinite(images).all(axis=1)))
            raise ValueError(
                message(
                    f"gate {self.name!r}",
                    "finite values of M(x)",
                    f"{images[point]} at x = {rows[point]}",
                    "leave out the points where the gate is not defined, or choose another gate",
                )
            )
        return value.astype(np.float64, copy=False)

    def __repr__(self):
        return f"Gate({self.name!r})"


# Module-level functions and partials, not lambdas, so that gates can be sent to other processes.
def _identity(x):
    return x


def _log_abs(x):
    return np.log(np.abs(x))


def _normalize(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _power(x, m):
    return x**m
identity = Gate("identity", _identity)
sigmoid = Gate("sigmoid", expit, pole=pi)
tanh = Gate("tanh", np.tanh, pole=pi / 2)
cos = Gate("cos", np.cos)
sin = Gate("sin", np.sin)
log_abs = Gate("log_abs", _log_abs, pole=0.0)
normalize = Gate("normalize", _normalize, pole=0.0)


def power(m):
    """Return the gate M(x) = x^m, element by element.

    Parameters
    ----------
    m : int
        Exponent, at least 1.

    Returns
    -------
    Gate

    Raises
    ------
    TypeError, ValueError
        If `m` is not an integer, or is less than 1.
    """
    m = as_count(m, "m")
    return Gate(f"power({m})", partial(_power, m=m))
#: The gates that can be called by name.
GATES = MappingProxyType({gate.name: gate for gate in (identity, sigmoid, tanh, cos, sin, log_abs, normalize)})


def as_gate(gate):
    """Return a `Gate` from a gate, a name of `GATES` or a callable.

    Parameters
    ----------
    gate : Gate, str or callable
        A callable becomes an entire gate (``pole = inf``) of the callable's name.

    Returns
    -------
    Gate

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `gate` is none of the three.
    """
    if isinstance(gate, Gate):
        return gate
    if isinstance(gate, str):
        if gate not in GATES:
            remedy = "use one of these, power(m) or a callable"
            raise ValueError(message("gate", f"one of {', '.join(GATES)}", f"{gate!r}", remedy))
        return GATES[gate]
    if callable(gate):
        return Gate(getattr(gate, "__name__", type(gate).__name__), gate)
    got = f"{gate!r} of type {type(gate).__name__}"
    raise TypeError(message("gate", "a Gate, a name or a callable", got, f"use one of {', '.join(GATES)}"))
