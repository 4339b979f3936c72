"""One rule for the rows of Table 1 and for the theorems behind them.

A row of Table 1 speaks of every truth of its regime and every k > k*. Two truths that it covers, different modulo
translation, with one density and fewer than k atoms each, settle it whatever else is known: the sample has the same law
under both, so that no estimator is near both. Such a pair refutes a row that promises a rate, and it proves a row that
denies one, as a statement about the worse of the two truths. Without a pair a row is as good as the settings in which
it is proved. Which pairs a row covers is computed from their parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from logitmoe.checks import message

from .pairs import Counterexample
from .paper import Rates
from .verdicts import FAILS, NOT_TESTED, READING

__all__ = ["Judgement", "covers", "judge_row"]

GRID = np.linspace(-2.0, 2.0, 401)  # where densities are compared (d = 1)
EQUAL = 1e-14
#: What Section 1 asks of a truth.
SECTION_1 = ("last gate is zero", "some beta1 is not zero", "experts pairwise distinct")


@dataclass(frozen=True)
class Judgement:
    """What the rule says about a row.

    Attributes
    ----------
    verdict : str
        ``FAILS``, ``READING`` or ``NOT_TESTED``.
    pairs : tuple of str
        The pairs that the row covers, each with the k from which on it does.
    reading : str
        What they show, and in which settings the row is proved, measured and open.
    """

    verdict: str
    pairs: tuple[str, ...]
    reading: str


def covers(row: Rates, pair: Counterexample) -> bool:
    """Whether both members of a pair are truths of a row, with one density and different modulo translation.

    Parameters
    ----------
    row : Rates
        Of :data:`~replication.paper.TABLE_1`. A modified gate is taken to be one of Definition 4.1.
    pair : Counterexample
        d = 1.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If the measures have more than one covariate.
    """
    if pair.measure.d != 1:
        raise ValueError(message("pair", "one covariate", f"d = {pair.measure.d}", "compare the densities yourself"))
    flags = pair.assumptions
    regimes = {"1": {True}, "2": {False}, "any": {True, False}}[row.regime]
    return (
        flags["gate is the identity"] == (row.gating == "standard")
        and flags["Theta contains both"]
        and all(flags[f"{side}: {key}"] for side in ("G*", "G") for key in SECTION_1)
        and {flags["G*: Regime 1"], flags["G: Regime 1"]} <= regimes
        and flags["different modulo translation and permutation"]
        and pair.density_gap(GRID) < EQUAL
    )


def judge_row(
    row: Rates,
    pairs: Iterable[Counterexample],
    *,
    proved: Iterable[str] = (),
    measured: Iterable[str] = (),
    unknown: Iterable[str] = (),
) -> Judgement:
    """Apply the rule to a row.

    Parameters
    ----------
    row : Rates
        A row of Table 1.
    pairs : iterable of Counterexample
        All that are known, d = 1; those that the row does not cover are left out.
    proved, measured, unknown : iterable of str
        Settings, in words, where the row is proved, only measured, and open.

    Returns
    -------
    Judgement
        A row that promises a rate: ``FAILS`` if it covers a pair, otherwise ``READING`` if it is proved somewhere. A
        row that denies rates: ``READING`` if it covers a pair or is proved somewhere. Otherwise ``NOT_TESTED``.
    """
    found = tuple(f"{p.name} ($k \\ge {max(p.measure.k, p.other.k) + 1}$)" for p in pairs if covers(row, p))
    denies = row.exact_specified.startswith("slower")
    proved = tuple(proved)
    if found and not denies:
        verdict, lead = FAILS, "No estimator has the rates at both truths of a pair with one density: "
    else:
        verdict = READING if found or proved else NOT_TESTED
        lead = "At one of the two truths of a pair with one density no estimator has any rate: "
    sentences = [lead + ", ".join(found) + "."] if found else []
    for label, settings in (("Proved", proved), ("Measured", tuple(measured)), ("Open", tuple(unknown))):
        if settings:
            sentences.append(f"{label}: {'; '.join(settings)}.")
    return Judgement(verdict, found, " ".join(sentences))
