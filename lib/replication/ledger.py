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

__all__ = ["CLAIMS", "ICONS", "IMPLICATIONS", "badge", "claim_rows", "entry", "in_words", "object_rows", "section"]

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
#: What a reader of the paper knows it for: a name, the verdict whose finding says what came of it, and other verdicts,
#: whose badges stand beside that one's where they differ.
CLAIMS = (
    ("Rate of the density", "Equation (4) and Proposition 2.2", ("Proposition 4.3",)),
    ("Identifiability", "Proposition 2.1", ("Proposition 4.2, every gate",)),
    ("Theorem 3.1: rates, Regime 1", "Theorem 3.1, rate", ("Theorem 3.1, three atoms, almost every truth",)),
    ("Proposition 3.2, Theorem 3.3: Regime 2", "Theorem 3.3", ("Proposition 3.2",)),
    ("Theorem 4.4: modified gates", "Theorem 4.4", ("Theorem 4.4, corrected, Regime 1",)),
    ("Table 1, as measured", "Table 1, rates of the MLE as measured", ()),
    ("Figure 1", "Figure 1", ()),
    ("Figure 2", "Figure 2", ()),
    ("Figure 3", "Figure 3", ()),
)
#: The practical advice, of which the landing page counts how much was supported.
IMPLICATIONS = ("Implication 1", "Implication 2", "Implication 3")


def badge(verdict: Verdict) -> str:
    """The verdict's badge, a link to its box: a role of the book's own."""
    return f"{{verdict}}`{verdict.anchor}`"


def in_words(verdict: Verdict) -> str:
    """The verdict's badge where there is no book: its sign and its words, in bold type."""
    return f"**{ICONS[verdict.verdict]} {verdict.verdict}**"


def claim_rows(verdicts: Iterable[Verdict]) -> list[list[str]]:
    """The rows of the landing page: for each of the :data:`CLAIMS` its name, badges and finding, and the implications.

    Raises KeyError if a verdict is missing: the book is then not complete.
    """
    by_title = {v.title: v for v in verdicts}
    rows = []
    for name, headline, others in CLAIMS:
        chosen = [by_title[title] for title in (headline, *others)]
        first = {v.verdict: v for v in reversed(chosen)}
        badges = [badge(first[kind]) for kind in dict.fromkeys(v.verdict for v in chosen)]
        rows.append([name, " ".join(badges), chosen[0].finding])
    advice = [by_title[title] for title in IMPLICATIONS]
    kinds = {v.verdict: v for v in reversed(advice)}
    count = sum(v.verdict == SUPPORTED for v in advice)
    finding = f"{count} of the {len(advice)} practical implications were supported by our experiments."
    rows.append(["Practical implications", " ".join(map(badge, kinds.values())), finding])
    return rows


def object_rows(verdicts: Iterable[Verdict], objects: Sequence[str] = NUMBERED) -> list[list[str]]:
    """One row for each object and aspect, in the order of `objects`: name, badge, finding, section.

    Parameters
    ----------
    verdicts : iterable of Verdict
    objects : sequence of str, default NUMBERED
        Names of the :data:`.CATALOGUE`; one that nobody judges has the row "no verdict".

    Returns
    -------
    list of [str, str, str, str]

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
        rows += [[f"{name}, {v.aspect}" if v.aspect else name, badge(v), v.finding, section(v)] for v in chosen]
        if not chosen:
            rows.append([name, "no verdict", "", ""])
    return rows


def section(verdict: Verdict) -> str:
    """A link to the section that has the evidence, by its number."""
    return f"{{numref}}`{verdict.where}`" if verdict.where else ""


def entry(verdict: Verdict) -> str:
    """All that a verdict says, in a box of the page that opens."""
    lines = [f":::{{dropdown}} {verdict.title}: {verdict.verdict}", f"{badge(verdict)} {verdict.finding}"]
    lines.append(f"*Claim.* {verdict.claim}")
    if verdict.reading:
        lines.append(f"*Reading.* {verdict.reading}")
    lines.append(f"*Evidence.* {verdict.evidence}")
    if verdict.where:
        lines.append(f"*Where.* {section(verdict)}")
    return "\n\n".join([*lines, ":::"])
