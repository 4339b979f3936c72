"""The paper's statements as a graph: which statement the printed proof of another uses, and what came of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from . import show
from .ledger import ICONS, badge
from .verdicts import FAILS, HOLDS, NOT_DETERMINED, NOT_TESTED, READING, WELL_DEFINED, Verdict

__all__ = ["OWN", "STATEMENTS", "Statement", "draw_statements", "tabulate"]


@dataclass(frozen=True)
class Statement:
    """A statement: the verdict on it, its place in the drawing (column, row), and what its printed proof uses."""

    verdict: str
    at: tuple[float, int]
    uses: tuple[str, ...] = ()


#: The statements of the paper; what the text of a proof names is what it uses.
STATEMENTS = {
    "Lemma B.1": Statement("Lemma B.1", (0, 0)),
    "Lemma B.2": Statement("Lemma B.2", (1, 0)),
    "Appendix B.1.2": Statement("Appendix B.1.2", (2, 0)),
    "Proposition 2.1": Statement("Proposition 2.1", (3, 0)),
    "Equation (26)": Statement("Equation (26)", (4, 0)),
    "Equation (14)": Statement("Equation (14)", (5, 0)),
    "Equation (28)": Statement("Equation (28)", (6, 0)),
    "Definition 4.1": Statement("Definition 4.1 and Equation (9)", (7, 0)),
    "Proposition 2.2": Statement(
        "Equation (4) and Proposition 2.2", (1, 1), ("Lemma B.1", "Lemma B.2", "Appendix B.1.2")
    ),
    "Proposition 4.3": Statement("Proposition 4.3", (2.6, 1), ("Proposition 2.2", "Definition 4.1")),
    "Proposition 3.2": Statement("Proposition 3.2", (5.6, 1), ("Equation (14)", "Equation (28)")),
    "Proposition 4.2": Statement("Proposition 4.2, gates of Definition 4.1", (7, 1)),
    "Theorem 3.1": Statement(
        "Theorem 3.1, rate", (1, 2), ("Proposition 2.1", "Equation (14)", "Equation (26)", "Proposition 2.2")
    ),
    "Theorem 4.4": Statement(
        "Theorem 4.4",
        (3.4, 2),
        ("Definition 4.1", "Proposition 4.2", "Proposition 4.3", "Equation (14)", "Equation (26)"),
    ),
    "Theorem 3.3": Statement("Theorem 3.3", (5.6, 2), ("Proposition 3.2",)),
    "Table 1, Regime 1": Statement("Table 1, row of Regime 1", (1, 3), ("Theorem 3.1", "Proposition 2.2")),
    "Table 1, modified": Statement("Table 1, row of the modified gate", (3.4, 3), ("Theorem 4.4", "Proposition 4.3")),
    "Table 1, Regime 2": Statement("Table 1, row of Regime 2", (5.6, 3), ("Theorem 3.3", "Proposition 2.2")),
}
#: What this book proves instead: a name, its label in the book, the page, the place, and the statements it carries.
OWN = {
    "Corrected proof": ("sec-density-proof", "density_rate", (0, 1), ("Proposition 2.2",)),
    "Three atoms": ("thm-ta-regime1", "three_atoms", (2.2, 2), ("Theorem 3.1",)),
    "Copies theorem": ("thm-modified-lower", "copies", (4.5, 2), ("Theorem 4.4",)),
}
#: The words of the classes, short enough for a box.
SHORT = {
    HOLDS: "holds",
    READING: "holds as read",
    FAILS: "fails as printed",
    WELL_DEFINED: "well defined",
    NOT_TESTED: "not tested",
    NOT_DETERMINED: "not determined",
}
WIDTH, HEIGHT, COLUMN, ROW = 128, 48, 140, 118


def tabulate(verdicts: Mapping[str, Verdict], *, caption: str, name: str) -> show.Table:
    """The graph as a table: each statement, its verdict, what its printed proof uses, what carries it instead."""
    rows = []
    for key, statement in STATEMENTS.items():
        carried = [_link(title, own[0]) for title, own in OWN.items() if key in own[3]]
        uses = ", ".join(statement.uses) or "nothing numbered"
        rows.append([key, badge(verdicts[statement.verdict]), uses, ", ".join(carried)])
    header = ["statement", "verdict", "its printed proof uses", "what carries it here"]
    return show.table(header, rows, "llll", caption=caption, name=name)


def _link(title, label):
    return f"{{prf:ref}}`{label}`" if label.startswith("thm-") else f"{{ref}}`{title} <{label}>`"


def draw_statements(verdicts: Mapping[str, Verdict], pages: Mapping[str, str]) -> str:
    """The graph as SVG, with links: an arrow leads from a statement to one whose printed proof uses it.

    Parameters
    ----------
    verdicts : mapping of str to Verdict
        By title.
    pages : mapping of str to str
        The chapter that gives each of them.

    Returns
    -------
    str
        An ``<svg>`` element of the class ``statements``; its colours are in the book's style sheet.
    """
    places = {key: s.at for key, s in STATEMENTS.items()} | {key: own[2] for key, own in OWN.items()}
    parts = []
    for key, statement in STATEMENTS.items():
        parts += [_arrow(places[used], places[key]) for used in statement.uses]
    for key, (_, _, _, carried) in OWN.items():
        parts += [_arrow(places[key], places[to], "own") for to in carried]
    for key, statement in STATEMENTS.items():
        verdict = verdicts[statement.verdict]
        words = f"{ICONS[verdict.verdict]} {SHORT[verdict.verdict]}"
        kind = "verdict-" + "-".join(verdict.verdict.split())
        parts.append(_box(key, words, f"{pages[verdict.title]}.html#{verdict.anchor}", places[key], kind))
    for key, (label, page, at, _) in OWN.items():
        parts.append(_box(key, "proved in this book", f"{page}.html#{label}", at, "own"))
    columns, rows = (max(at[axis] for at in places.values()) for axis in (0, 1))
    size = f"0 0 {COLUMN * columns + WIDTH + 12:.0f} {ROW * rows + HEIGHT + 12:.0f}"
    marker = (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8"/></marker></defs>'
    )
    title = "<title>The paper's statements and what their printed proofs use</title>"
    return f'<svg class="statements" viewBox="{size}" role="group">{title}{marker}{"".join(parts)}</svg>'


def _corner(at):
    return 6 + COLUMN * at[0], 6 + ROW * at[1]


def _box(name, words, link, at, kind):
    x, y = _corner(at)
    return (
        f'<a href="{escape(link)}" class="{kind}">'
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<text x="{x + WIDTH / 2:.0f}" y="{y + 20:.0f}" text-anchor="middle">{escape(name)}</text>'
        f'<text class="small" x="{x + WIDTH / 2:.0f}" y="{y + 39:.0f}" text-anchor="middle">{escape(words)}</text></a>'
    )


def _arrow(start, end, kind="uses"):
    """From the lower edge of a box to the upper edge of one below, or between neighbours of a row."""
    (x, y), (u, v) = _corner(start), _corner(end)
    if start[1] == end[1]:
        side = 1 if u > x else -1
        x, y = x + (side + 1) * WIDTH / 2, y + HEIGHT / 2
        u, v = u + (1 - side) * WIDTH / 2 - 2 * side, v + HEIGHT / 2
        bend = 0.0
    else:
        x, y, u, v = x + WIDTH / 2, y + HEIGHT, u + WIDTH / 2 + 0.12 * (x - u), v - 2
        bend = 0.5 * (v - y)
    path = f"M{x:.0f},{y:.0f} C{x:.0f},{y + bend:.0f} {u:.0f},{v - bend:.0f} {u:.0f},{v:.0f}"
    return f'<path class="{kind}" d="{path}" marker-end="url(#arrow)"/>'
