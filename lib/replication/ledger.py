"""Rows of the ledger and of the landing page, made from the verdicts that the chapters store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .verdicts import (
    CATALOGUE,
    FAILS,
    HOLDS,
    NOT_DETERMINED,
    NOT_SUPPORTED,
    NOT_TESTED,
    NUMBERED,
    READING,
    SUPPORTED,
    WELL_DEFINED,
    Verdict,
)

__all__ = ["CLAIMS", "ICONS", "badge", "claim_rows", "object_rows"]

#: A sign for each class of verdict, which goes before its words.
ICONS = {
    HOLDS: "✔",
    READING: "◐",
    FAILS: "✘",
    WELL_DEFINED: "≡",
    NOT_DETERMINED: "?",
    NOT_TESTED: "○",
    SUPPORTED: "▲",
    NOT_SUPPORTED: "▽",
}
#: What a reader of the paper knows it for: a name, the objects, and the beginning of the aspect if one is meant.
CLAIMS = (
    ("Rate of the density", ("Proposition 2.2", "Proposition 4.3"), ""),
    ("Identifiability", ("Proposition 2.1", "Proposition 4.2"), ""),
    ("Rates in Regime 1", ("Theorem 3.1",), ""),
    ("Rates in Regime 2", ("Proposition 3.2", "Theorem 3.3"), ""),
    ("Modified gates", ("Theorem 4.4",), ""),
    ("Table 1, as measured", ("Table 1",), "rates of the MLE"),
    ("Figures of the simulations", ("Figure 1", "Figure 2", "Figure 3"), ""),
    ("Practical implications", ("Implication 1", "Implication 2", "Implication 3"), ""),
)


def badge(verdict: Verdict) -> str:
    """The sign and the words of the verdict's class, as a link to its box."""
    return f"{ICONS[verdict.verdict]} {{ref}}`{verdict.verdict} <{verdict.anchor}>`"


def claim_rows(verdicts: Iterable[Verdict]) -> list[list[str]]:
    """One row for each of the :data:`CLAIMS`: its name, and a line for each verdict with its badge and finding."""
    verdicts, rows = list(verdicts), []
    for name, items, aspect in CLAIMS:
        chosen = [v for item in items for v in verdicts if item in v.items and v.aspect.startswith(aspect)]
        lines = [f"{v.title}: {badge(v)}. {v.finding}" for v in dict.fromkeys(chosen)]
        rows.append([name, "<br>".join(lines) or "no verdict"])
    return rows


def object_rows(verdicts: Iterable[Verdict], objects: Sequence[str] = NUMBERED) -> list[list[str]]:
    """One row for each object and aspect, in the order of `objects`: name, badge, finding.

    Parameters
    ----------
    verdicts : iterable of Verdict
    objects : sequence of str, default NUMBERED
        Names of the :data:`.CATALOGUE`; one that nobody judges has the row "no verdict".

    Returns
    -------
    list of [str, str, str]

    Raises
    ------
    ValueError
        If an object is not in the catalogue.
    """
    verdicts, rows = list(verdicts), []
    for name in objects:
        if name not in CATALOGUE:
            raise ValueError(f"objects: expected names of CATALOGUE, got {name!r}; spell them as there")
        chosen = [v for v in verdicts if name in v.items]
        rows += [[f"{name}, {v.aspect}" if v.aspect else name, badge(v), v.finding] for v in chosen]
        if not chosen:
            rows.append([name, "no verdict", ""])
    return rows
