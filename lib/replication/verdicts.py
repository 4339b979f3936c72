"""Verdicts: what a chapter computed about a numbered object of the paper, in a form that a table can be made of.

A chapter ends the test of a statement with a cell whose value is a :class:`Verdict`.  Its rendering is a box in the
book; the same record is stored, as data, among the outputs of the chapter's notebook.  :func:`collect` reads those
records back; which of them are about an object is decided by equality, ``"Theorem 3.1" in verdict.items``.  Since
every stored output is compared with a fresh run when the book is tested, a verdict cannot outlive its evidence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from logitmoe.checks import message

from .scale import is_full, run_scale

__all__ = [
    "CATALOGUE",
    "FAILS",
    "HOLDS",
    "NOT_DETERMINED",
    "NOT_SUPPORTED",
    "NOT_TESTED",
    "NUMBERED",
    "READING",
    "SUPPORTED",
    "VERDICTS",
    "Verdict",
    "WELL_DEFINED",
    "collect",
]

#: A statement is true as it is printed.
HOLDS = "holds"
#: A statement is true when it is read as the verdict's reading says.
READING = "holds under a stated reading"
#: A statement is not true as it is printed; the reading says how it was tested, and what survives.
FAILS = "fails as printed"
#: A definition has a meaning, with the reading if one is given.
WELL_DEFINED = "well defined"
#: What is printed leaves choices open on which the outcome depends.
NOT_DETERMINED = "not determined by what is printed"
#: Nothing was computed that could decide.
NOT_TESTED = "not tested"
#: A practical implication agrees with the experiments that were made.
SUPPORTED = "supported as tested"
#: A practical implication does not agree with the experiments that were made.
NOT_SUPPORTED = "not supported as tested"
#: The vocabulary of verdicts, each with the class of its box.
BOXES = {
    HOLDS: "tip",
    READING: "note",
    FAILS: "warning",
    WELL_DEFINED: "important",
    NOT_DETERMINED: "seealso",
    NOT_TESTED: "attention",
    SUPPORTED: "hint",
    NOT_SUPPORTED: "caution",
}
#: The classes of verdicts.
VERDICTS = tuple(BOXES)
#: The numbered objects of the paper that a complete ledger judges, and its unnumbered examples and implications.
NUMBERED = (
    *(f"Equation ({i})" for i in range(1, 11)),
    *("Definition 4.1", "Example tanh", "Example cos", "Example x^m", "Example x/||x||", "Example sigmoid"),
    *("Proposition 2.1", "Proposition 2.2", "Proposition 3.2", "Proposition 4.2", "Proposition 4.3"),
    *("Theorem 3.1", "Theorem 3.3", "Theorem 4.4", "Lemma B.1", "Lemma B.2"),
    *("Table 1", "Table 2", "Table 3", "Figure 1", "Figure 2", "Figure 3"),
    *("Implication 1", "Implication 2", "Implication 3"),
)
#: All objects that a verdict may be about: besides the numbered ones the equations, steps and remarks behind them.
CATALOGUE = (
    *NUMBERED,
    *(f"Equation ({i})" for i in range(11, 45)),
    *(f"Appendix {name}" for name in ("A.1", "A.2.1", "A.2.2", "A.3", "B.1.1", "B.1.2", "C.1", "C.2", "D")),
    "Section 5",
)
MIME = "application/vnd.logitmoe.verdict+json"
LONGEST_FINDING = 15  # words


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of a test of one statement of the paper.

    Parameters
    ----------
    items : tuple of str
        The objects that the statement belongs to, names of the :data:`CATALOGUE`, e.g. ``("Theorem 3.1",)``.
    aspect : str, default ""
        What of them, where the book judges several parts: ``"rate"``.  Items and aspect are unique in the book.
    claim : str
        What is claimed, in one sentence (Markdown, TeX between dollars).
    verdict : str
        One of :data:`VERDICTS`.
    finding : str
        What was found, in one plain sentence of at most 15 words.
    evidence : str
        What was computed, in one or two sentences with the numbers that the code found.
    reading : str, default ""
        The reading under which the statement holds, or as which it was tested.  Required by :data:`READING`.
    where : str, default ""
        Label in the book of the section that has the evidence, for a link, e.g. ``"sec-swap"``.

    Raises
    ------
    TypeError
        If `items` is not a sequence of strings, or another field not a string.
    ValueError
        If an item is not in the catalogue, the verdict not in the vocabulary, a field empty that may not be, or the
        finding is not one sentence or too long.
    """

    items: tuple[str, ...]
    aspect: str = ""
    claim: str
    verdict: str
    finding: str
    evidence: str
    reading: str = ""
    where: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.items, str) or not all(isinstance(item, str) for item in self.items):
            raise TypeError(message("items", "names of objects", f"{self.items!r}", 'write items=("Theorem 3.1",)'))
        object.__setattr__(self, "items", tuple(self.items))
        for name, value in asdict(self).items():
            if name != "items" and not isinstance(value, str):
                raise TypeError(message(name, "a string", type(value).__name__, "write a sentence"))
        unknown = [item for item in self.items if item not in CATALOGUE]
        if unknown or not self.items:
            raise ValueError(message("items", "names of CATALOGUE", f"{unknown or 'none'}", "spell them as there"))
        if self.verdict not in VERDICTS:
            expected = f"one of {', '.join(map(repr, VERDICTS))}"
            raise ValueError(message("verdict", expected, f"{self.verdict!r}", "take one of the constants"))
        for name in ("claim", "finding", "evidence"):
            if not getattr(self, name).strip():
                raise ValueError(message(name, "a sentence", "an empty string", "say what was tested"))
        words = len(self.finding.split())
        if words > LONGEST_FINDING or not self.finding.endswith("."):
            expected = f"one sentence of at most {LONGEST_FINDING} words, with its full stop"
            raise ValueError(message("finding", expected, f"{words} words: {self.finding!r}", "say the outcome only"))
        if self.verdict == READING and not self.reading.strip():
            raise ValueError(message("reading", "the reading under which it holds", "an empty string", "state it"))

    @property
    def title(self) -> str:
        """Items and aspect in words: ``Theorem 3.1, rate``."""
        *first, last = self.items
        return (f"{', '.join(first)} and {last}" if first else last) + (f", {self.aspect}" if self.aspect else "")

    @property
    def anchor(self) -> str:
        """Where the box is on its page: ``verdict-theorem-3-1-rate``."""
        return "verdict-" + re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        if not is_full():
            return {"text/plain": f"{self.title}: no verdict from a run at SCALE = {run_scale():g}"}
        lines = [f"**{self.title}: {self.verdict}.** {self.finding}", f"*Claim.* {self.claim}"]
        if self.reading:
            lines.append(f"*Reading.* {self.reading}")
        lines.append(f"*Evidence.* {self.evidence}")
        options = f":class: {BOXES[self.verdict]}\n:name: {self.anchor}"
        box = f":::{{admonition}} Verdict\n{options}\n\n" + "\n\n".join(lines) + "\n:::"
        return {"text/plain": f"{self.title}: {self.verdict}", "text/markdown": box, MIME: asdict(self)}


def collect(notebooks: Iterable[str | Path]) -> dict[Path, list[Verdict]]:
    """Read the verdicts among the stored outputs of notebooks.

    Parameters
    ----------
    notebooks : iterable of path
        ``.ipynb`` files, run.

    Returns
    -------
    dict of Path to list of Verdict
        For each notebook, in the given order, its verdicts in the order of its cells.

    Raises
    ------
    FileNotFoundError
        If a notebook does not exist.
    ValueError
        If a file is not a notebook, or a record in it is not a verdict.
    """
    found = {}
    for path in map(Path, notebooks):
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"notebooks: expected notebook files, {path.name} is not one ({error})") from error
        records = [
            output["data"][MIME]
            for cell in cells
            for output in cell.get("outputs", [])
            if MIME in output.get("data", {})
        ]
        try:
            found[path] = [Verdict(**record) for record in records]
        except TypeError as error:
            raise ValueError(f"notebooks: {path.name} holds a record that is not a verdict ({error})") from error
    return found
