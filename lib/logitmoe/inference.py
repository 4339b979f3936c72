"""Standard errors of a fit to data, by the observed or the expected information or the sandwich, and its criteria.

Coordinates are those of `MixingMeasure.to_vector`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from .checks import message
from .data import WeightedPoints
from .divergences import Design
from .gates import Gate, identity
from .information import fisher_information, observed_information, score_products
from .measure import MixingMeasure, single
from .model import responsibilities
from .penalty import NO_PENALTY, Ridge

__all__ = ["KINDS", "Coefficients", "Uncertainty", "criteria", "frame", "in_words", "uncertainty"]

#: Kinds of standard errors.
KINDS = ("observed", "expected", "sandwich")
#: Relative eigenvalue of the information up to which a direction counts as not identified.
NULL = 1e-10
#: Part of a coordinate (squared) in such directions from which its standard error is infinite.
PART = 1e-8
#: Coefficients of a direction below which its text leaves them out.
SHOWN = 0.05
#: Points of which the posterior probabilities are held at once.
CHUNK = 20_000


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """A covariance matrix of the coefficients, and what the data say nothing about.

    Attributes
    ----------
    covariance : ndarray, shape (P, P)
        Along the directions that are identified.
    unidentified : ndarray, shape (r, P)
        Unit vectors along which the log-likelihood (less the penalty) does not change to second order.
    """

    covariance: np.ndarray
    unidentified: np.ndarray

    def mapped(self, matrix: np.ndarray) -> tuple[Uncertainty, np.ndarray]:
        """That of ``matrix @ coefficients``, and its standard errors, infinite where they are not identified."""
        covariance = matrix @ self.covariance @ matrix.T
        directions = self.unidentified @ matrix.T
        size = np.linalg.norm(directions, axis=-1, keepdims=True)
        directions = directions / np.where(size > 0.0, size, 1.0)
        lost = (np.square(directions) > PART).any(axis=0) if len(directions) else np.zeros(len(matrix), dtype=bool)
        errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        return Uncertainty(covariance, directions), np.where(lost, np.inf, errors)


def uncertainty(
    G: MixingMeasure,
    data: WeightedPoints,
    gate: Gate = identity,
    *,
    penalty: Ridge = NO_PENALTY,
    kind: str = "observed",
    active: np.ndarray | None = None,
) -> Uncertainty:
    r"""Covariance of the coefficients of a maximum of the log-likelihood less a penalty.

    With H minus the Hessian of the log-likelihood ("observed", as other packages report) or its expectation under the
    fit ("expected"), R the Hessian of the penalty and S the sum of the squared scores, the covariance is
    :math:`(H + R)^{-1}` for the first two, and :math:`(H + R)^{-1} S (H + R)^{-1}` for "sandwich", with the observed H.

    Parameters
    ----------
    G : MixingMeasure
        A single measure, the maximum.
    data : WeightedPoints
        What was fitted; weights of at least 0.
    gate, penalty
        Those of the fit.
    kind : {"observed", "expected", "sandwich"}
    active : ndarray of bool, shape (P,), optional
        The coordinates that were fitted; others were held, and have the variance 0. Default all.

    Returns
    -------
    Uncertainty
    """
    if kind not in KINDS:
        raise ValueError(message("kind", f"one of {', '.join(KINDS)}", repr(kind), "choose one of these"))
    G = single(G).in_gauge("last").canonical()
    information = observed_information(G, data, gate, penalty)
    if kind == "expected":
        nothing = WeightedPoints(data.points[:1], np.zeros((data.K, 1)))
        totals = data.weights.sum(axis=0)
        design = Design(data.points, totals / totals.sum())
        information = data.total * fisher_information(G, design, gate) + observed_information(G, nothing, gate, penalty)
    P = len(information)
    keep = np.flatnonzero(np.ones(P, dtype=bool) if active is None else active)
    values, vectors = np.linalg.eigh(information[np.ix_(keep, keep)])
    null = values <= NULL * max(values.max(initial=0.0), 0.0)
    root = vectors[:, ~null] / np.sqrt(values[~null])
    covariance = root @ root.T
    if kind == "sandwich":
        covariance = covariance @ score_products(G, data, gate)[np.ix_(keep, keep)] @ covariance
    full, directions = np.zeros((P, P)), np.zeros((int(null.sum()), P))
    full[np.ix_(keep, keep)] = covariance
    directions[:, keep] = vectors[:, null].T
    return Uncertainty(full, directions)


def _pieces(m: int):
    return [slice(first, first + CHUNK) for first in range(0, m, CHUNK)]


@dataclass(frozen=True, eq=False)
class Coefficients:
    """A table of coefficients: it prints, and `to_frame` makes a pandas data frame of it.

    Attributes
    ----------
    part : list of str
        "gate 1" (against the last expert) or "expert 1".
    label : list of str
        For an expert the class, against the last one; empty for the gate.
    term : list of str
        "(intercept)" or the name of the column.
    estimate, error : ndarray, shape (rows,)
        In the units of x; the error is infinite where the data do not identify the coefficient.
    kind : str
        Which standard errors these are.
    level : float
        Of the intervals.
    notes : list of str
        What is not identified, in words.
    """

    part: list[str]
    label: list[str]
    term: list[str]
    estimate: np.ndarray
    error: np.ndarray
    kind: str
    level: float
    notes: list[str]

    @property
    def z(self) -> np.ndarray:
        """Estimates divided by their standard errors, (rows,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.error > 0.0, self.estimate / self.error, np.nan)

    @property
    def p(self) -> np.ndarray:
        """Two-sided p-values of the normal distribution, (rows,)."""
        return 2.0 * ndtr(-np.abs(self.z))

    @property
    def interval(self) -> np.ndarray:
        """Ends of the intervals, (rows, 2)."""
        half = ndtri(0.5 + 0.5 * self.level) * self.error
        return np.stack([self.estimate - half, self.estimate + half], axis=-1)

    def columns(self) -> dict[str, list]:
        """The table as a dict of columns."""
        low, high = self.interval.T
        named = {"part": self.part, "class": self.label, "term": self.term}
        numbers = {"estimate": self.estimate, "std_error": self.error, "z": self.z, "p": self.p}
        numbers |= {"low": low, "high": high}
        return named | {name: values.tolist() for name, values in numbers.items()}

    def to_frame(self):
        """The table as a pandas DataFrame; an ImportError that says so if pandas is not installed."""
        return frame(self.columns())

    def __str__(self) -> str:
        percent = f"{100 * self.level:g} %"
        rows = [["", "class", "term", "estimate", "std. error", "z", "p", f"{percent} low", "high"]]
        for part, label, term, *numbers in zip(*self.columns().values(), strict=True):
            estimate, error, z, p, low, high = numbers
            texts = [_number(estimate), _number(error), f"{z:.2f}", "<0.001" if p < 1e-3 else f"{p:.3f}"]
            rows.append([part, label, term, *texts, _number(low), _number(high)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        just = [str.ljust] * 3 + [str.rjust] * (len(widths) - 3)
        lines = ["  ".join(f(t, w) for f, t, w in zip(just, row, widths, strict=True)) for row in rows]
        return "\n".join([line.rstrip() for line in lines] + [f"standard errors: {self.kind} information", *self.notes])


def _number(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else str(value)


def in_words(direction: np.ndarray, names: list[str]) -> str:
    """A direction (P,) as a sum of named coefficients, small ones left out."""
    order = [u for u in np.argsort(-np.abs(direction), kind="stable") if abs(direction[u]) > SHOWN]
    more = f" and {len(order) - 6} more" if len(order) > 6 else ""
    return ", ".join(f"{direction[u]:+.2f} {names[u]}" for u in order[:6]) + more


def criteria(G: MixingMeasure, data: WeightedPoints, gate: Gate, log_likelihood: float, parameters: int) -> dict:
    """AIC, BIC and ICL (lower is better), and the shares (k,) of the experts: their mean posterior probabilities.

    ICL is BIC and twice the entropy of the posterior probabilities: the price of experts that overlap.
    """
    entropy, shares, n = 0.0, np.zeros(G.k), float(data.total)
    for rows in _pieces(data.m):
        r, w = responsibilities(G, data.points[rows], gate), data.weights[:, rows]
        entropy -= float((w * (r * np.log(np.maximum(r, 1e-300))).sum(axis=0)).sum())
        shares += (w * r).sum(axis=(1, 2))
    deviance = -2.0 * float(log_likelihood)
    bic = deviance + parameters * np.log(n)
    return {"aic": deviance + 2.0 * parameters, "bic": bic, "icl": bic + 2.0 * entropy, "shares": shares / n}


def frame(columns: dict):
    """A pandas DataFrame of columns; an ImportError that says what to do if pandas is not installed."""
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise ImportError("to_frame needs pandas: pip install pandas, or use columns(), a dict of lists") from error
    return DataFrame(columns)
