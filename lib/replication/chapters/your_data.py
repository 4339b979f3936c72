"""Profiles of a fit with several covariates: one of them runs, the others stand still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtri

from logitmoe.checks import as_float_array, as_instance, as_number, message
from logitmoe.fitted import FittedModel
from logitmoe.measure import MixingMeasure
from logitmoe.model import expert_log_probabilities, gate_log_probabilities

from .. import show

__all__ = ["Curves", "Profile", "plot_profile", "profile"]

#: Step of the central differences, in units of a standard error.
STEP = 1e-4
#: Variance along a direction that the data do not determine.
UNDETERMINED = 1e12
#: Logit of the one expert's gate.
CERTAIN = 1e300


@dataclass(frozen=True, eq=False)
class Curves:
    """Probabilities and the ends of their intervals, each of shape (curves, m)."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class Profile:
    """What :func:`profile` returns, for one class.

    Attributes
    ----------
    name : str
        The covariate that runs.
    x : ndarray, shape (m,)
        Its values.
    label : object
        The class.
    gate, experts, density : Curves
        k curves, k curves, and one.
    """

    name: str
    x: np.ndarray
    label: object
    gate: Curves
    experts: Curves
    density: Curves


def profile(fitted, name, values, *, label, at=None, level=0.95):
    r"""Gate, experts and density along one covariate, with pointwise intervals.

    The intervals are symmetric on the logit scale, by the delta method from the observed information of the fit.  They
    know nothing of the penalty's bias, and are those of one point each, not of a curve as a whole.

    Parameters
    ----------
    fitted : FittedModel
    name : str
        The covariate that runs, of ``fitted.names``.
    values : array_like, shape (m,)
        Its values, in the units of the data.
    label : object
        The class of which the probabilities are shown.
    at : array_like, shape (d,), optional
        The point at which the other covariates stand; default their means in the data.
    level : float, default 0.95

    Returns
    -------
    Profile

    Raises
    ------
    TypeError, ValueError
        If there is no such covariate or class, or the shapes do not agree.
    """
    as_instance(fitted, FittedModel, "fitted", "pass the result of fit")
    level = as_number(level, "level", "a number inside (0, 1)", "pass e.g. 0.95", above=0.0, below=1.0)
    for argument, value, known in (("name", name, fitted.names), ("label", label, fitted.classes)):
        if value not in known:
            raise ValueError(message(argument, f"one of {', '.join(map(str, known))}", repr(value), "choose one"))
    values = as_float_array(values, "values", ndim=1)
    at = fitted.units.shift if at is None else as_float_array(at, "at", shape=(len(fitted.names),))
    x = np.tile(at, (values.size, 1))
    x[:, fitted.names.index(name)] = values
    G, s = fitted.standard, fitted.classes.index(label)
    z, gate = fitted.units.standardise(x), fitted.units.gate(fitted.gate)

    def logits(v):
        H = MixingMeasure.from_vector(v, G.k, G.K, G.d)
        of_gate, of_experts = gate_log_probabilities(H, z, gate), expert_log_probabilities(H, z)
        total = np.logaddexp.reduce(of_gate[:, None] + of_experts, axis=0)
        return np.concatenate([_logit(of_gate, 0), _logit(of_experts, 1)[:, s], _logit(total, 0)[None, s]])

    v, U = G.to_vector(), fitted.observed
    covariance = U.covariance + UNDETERMINED * U.unidentified.T @ U.unidentified
    # Along the columns of a root of the covariance, a direction is one standard error long.
    size, directions = np.linalg.eigh(covariance)
    root = directions * np.sqrt(np.maximum(size, 0.0))
    slopes = np.zeros((2 * G.k + 1, values.size, len(v)))
    for u in np.flatnonzero(size > 0.0):
        length = np.linalg.norm(root[:, u])
        step = STEP * min(1.0, length) * directions[:, u]
        slopes[..., u] = (logits(v + step) - logits(v - step)) / (2.0 * STEP * min(1.0, length)) * length
    middle, half = logits(v), ndtri(0.5 + 0.5 * level) * np.sqrt(np.square(slopes).sum(axis=-1))
    curves = [expit(part) for part in (middle, middle - half, middle + half)]
    parts = slice(0, G.k), slice(G.k, 2 * G.k), slice(2 * G.k, None)
    return Profile(name, values, label, *(Curves(*(curve[part] for curve in curves)) for part in parts))


def _logit(log_probability, axis):
    """Logits from logarithms of probabilities that sum to one along the axis: by the others, not by one minus."""
    if log_probability.shape[axis] == 1:
        return np.full_like(log_probability, CERTAIN)
    count = log_probability.shape[axis]
    others = (np.logaddexp.reduce(np.delete(log_probability, i, axis=axis), axis=axis) for i in range(count))
    return log_probability - np.stack(list(others), axis=axis)


def plot_profile(found, axes):
    """Draw a profile into three axes: gate, experts, density; bands are the intervals.  Returns the axes.

    Parameters
    ----------
    found : Profile
    axes : sequence of matplotlib.axes.Axes, length 3
    """
    titles = "gate", f"experts: {found.label}", f"density: {found.label}"
    for ax, curves, title in zip(axes, (found.gate, found.experts, found.density), titles, strict=True):
        single = len(curves.value) == 1
        for i, rows in enumerate(zip(curves.value, curves.low, curves.high, strict=True)):
            style = show.line_style(0 if single else 1 + i)
            ax.plot(found.x, rows[0], label=None if single else f"expert {i + 1}", **style)
            ax.fill_between(found.x, rows[1], rows[2], color=style["color"], alpha=0.2, linewidth=0.0)
        ax.set(title=title, xlabel=found.name, ylim=(-0.03, 1.03))
    return axes
