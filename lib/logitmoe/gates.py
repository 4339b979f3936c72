"""Gates M: the map of the covariates that the softmax gate sees.

In the standard model the logits of the gate are ``beta1_i' x + beta0_i`` (equation 1 of the paper); in the
modified model they are ``beta1_i' M(x) + beta0_i`` (equation 8), for a map M from R^d to R^d. The standard
model is the modified one with the gate `identity`. Wherever the library takes a gate it accepts a `Gate`, a
name ("cos", "power(3)") or a callable.

A gate is written once, as a formula of its functions f and of x: ``Gate("cos", lambda f, x: f.cos(x))``. With NumPy's
functions it is evaluated in double precision; with `Elementwise` ``(mpmath)`` or ``(sympy)``, say, in many digits or in
symbols, for proofs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf, pi
from types import MappingProxyType

import numpy as np
from scipy.special import expit

from .checks import as_count, as_float_array, message

__all__ = [
    "GATES", "Elementwise", "Gate", "as_gate", "cos", "identity", "log_abs", "normalize", "power", "sigmoid", "sin",
    "tanh",
]  # fmt: skip


class _NumPy:
    """NumPy's functions, and the sigmoid without overflow."""

    expit = staticmethod(expit)

    def __getattr__(self, name):
        return getattr(np, name)


class Elementwise:
    """The functions of a module, such as mpmath or SymPy, on arrays of its numbers and under NumPy's names.

    Parameters
    ----------
    module : object
        With functions of one number: ``exp``, ``log``, ``sqrt``, ``cos``, ``atan`` ...
    **functions : callable
        Functions to be used in place of the module's, or that it does not have.

    Examples
    --------
    >>> import math
    >>> from fractions import Fraction
    >>> import numpy as np
    >>> f = Elementwise(math, sqrt=lambda u: Fraction(math.isqrt(u.numerator), math.isqrt(u.denominator)))
    >>> normalize.exact(f, np.array([[Fraction(3), Fraction(4)]]))
    array([[Fraction(3, 5), Fraction(4, 5)]], dtype=object)
    """

    def __init__(self, module, **functions):
        absolute = getattr(module, "fabs", None) or getattr(module, "Abs", None) or abs
        self._module = module
        self._functions = {"abs": absolute, "expit": lambda u: 1 / (1 + module.exp(-u)), **functions}

    def __getattr__(self, name):
        function = self._functions.get(name) or getattr(self._module, name.replace("arc", "a"))
        return np.frompyfunc(function, 1, 1)


_NUMPY = _NumPy()


@dataclass(frozen=True)
class Gate:
    """A named map M from R^d to R^d, vectorised over leading axes.

    Parameters
    ----------
    name : str
        Name, used in messages and tables.
    function : callable
        A formula ``function(f, x)``, where x is an array (..., d) and f has the functions of numbers, by NumPy's names
        (``f.exp``, ``f.arctan``; ``f.expit`` is the sigmoid). It returns an array of the same shape. Or a map
        ``function(x)`` for NumPy alone: it can be fitted, but not proved anything about.
    pole : float, optional
        Distance from the real line to the nearest singularity of M in the complex plane: infinite for an
        entire function, 0 for a map that is not analytic on an interval containing 0. It decides how many
        Chebyshev moments a compressed sample needs. A map of your own is taken to be entire unless you say
        otherwise.

    Examples
    --------
    >>> softsign = Gate("softsign", lambda f, x: x / (1 + f.abs(x)), pole=0.0)
    >>> softsign([[1.0], [-3.0]])
    array([[ 0.5 ],
           [-0.75]])
    """

    name: str
    function: Callable
    pole: float = inf

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise TypeError(message("name", "a str", f"{self.name!r}", "give the gate a name"))
        if not callable(self.function):
            raise TypeError(message("function", "a callable", f"{self.function!r}", "give a function of f and x"))
        if not self.pole >= 0:
            raise ValueError(message("pole", "a distance >= 0", f"{self.pole!r}", "use math.inf for none"))
        object.__setattr__(self, "_is_formula", _is_formula(self.function))

    def __call__(self, x):
        """Return M(x), float64 of shape (..., d), at finite covariates x of that shape.

        Raises TypeError or ValueError if `x` is not finite or has no axes, M returns no real numbers or another shape,
        or M(x) is not finite at some x: the message names the gate and the first such x.
        """
        x, name = as_float_array(x, "x", shape=(..., None)), f"gate {self.name!r}"
        with np.errstate(all="ignore"):  # what is not finite is reported below, with the x that caused it
            value = np.asarray(self.function(_NUMPY, x) if self._is_formula else self.function(x))
        if value.shape != x.shape:
            expected, remedy = f"an array of the shape of x, {x.shape}", "let the map act on the last axis only"
            raise ValueError(message(name, expected, f"shape {value.shape}", remedy))
        if value.dtype.kind not in "biuf":
            raise TypeError(message(name, "real numbers", f"dtype {value.dtype}", "return a float array"))
        if not np.isfinite(value).all():
            rows, images = x.reshape(-1, x.shape[-1]), value.reshape(-1, x.shape[-1])
            point = int(np.argmin(np.isfinite(images).all(axis=1)))
            got = f"{images[point]} at x = {rows[point]}"
            remedy = "leave out the points where the gate is not defined, or choose another gate"
            raise ValueError(message(name, "finite values of M(x)", got, remedy))
        return value.astype(np.float64, copy=False)

    def exact(self, f, x):
        """Return M(x) in another arithmetic: x and the result are object arrays (..., d) of its numbers.

        `f` has its functions, as `Elementwise` does. A TypeError if the gate is a map of NumPy's arrays, without a
        formula.
        """
        if not self._is_formula:
            remedy = f"write it as Gate({self.name!r}, lambda f, x: ...) with f.exp, f.cos, ..."
            raise TypeError(message(f"gate {self.name!r}", "a formula of f and x", "a function of x alone", remedy))
        return self.function(f, x)

    def __reduce__(self):  # by name, so that gates of lambdas can be sent to other processes
        known = GATES.get(self.name) is self
        return (as_gate, (self.name,)) if known else (Gate, (self.name, self.function, self.pole))

    def __repr__(self):
        return f"Gate({self.name!r})"


def _is_formula(function):
    """Whether a function has two parameters without defaults, f and x."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # functions of compiled modules have no signature
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters) == 2


identity = Gate("identity", lambda f, x: x)
sigmoid = Gate("sigmoid", lambda f, x: f.expit(x), pole=pi)
tanh = Gate("tanh", lambda f, x: f.tanh(x), pole=pi / 2)
cos = Gate("cos", lambda f, x: f.cos(x))
sin = Gate("sin", lambda f, x: f.sin(x))
log_abs = Gate("log_abs", lambda f, x: f.log(f.abs(x)), pole=0.0)
normalize = Gate("normalize", lambda f, x: x / f.sqrt((x * x).sum(axis=-1, keepdims=True)), pole=0.0)

#: The gates that can be called by name, `power` aside.
GATES = MappingProxyType({gate.name: gate for gate in (identity, sigmoid, tanh, cos, sin, log_abs, normalize)})


def _power(f, x, *, m):
    return x**m


def power(m):
    """Return the gate M(x) = x^m, element by element, for an integer m of at least 1."""
    m = as_count(m, "m")
    return Gate(f"power({m})", partial(_power, m=m))


def as_gate(gate):
    """Return a `Gate` from a gate, a name ("cos", "power(3)") or a callable.

    A callable, of x or of f and x as in `Gate`, becomes an entire gate (``pole = inf``) of the callable's name.

    Raises TypeError or ValueError if `gate` is none of the three, or the name is unknown.
    """
    if isinstance(gate, Gate):
        return gate
    if isinstance(gate, str):
        exponent = gate.removeprefix("power(").removesuffix(")")
        if gate == f"power({exponent})" and exponent.isdecimal():
            return power(int(exponent))
        if gate not in GATES:
            remedy = "use one of these, power(m) or a callable"
            raise ValueError(message("gate", f"one of {', '.join(GATES)}", f"{gate!r}", remedy))
        return GATES[gate]
    if callable(gate):
        return Gate(getattr(gate, "__name__", type(gate).__name__), gate)
    got = f"{gate!r} of type {type(gate).__name__}"
    raise TypeError(message("gate", "a Gate, a name or a callable", got, f"use one of {', '.join(GATES)}"))
