"""Verdicts: what a chapter computed about a numbered statement of the paper, in a form that a table can be made of.

A chapter ends the test of a statement with a cell whose value is a :class:`Verdict`.  Its rendering is a box in the
book; the same record is stored, as data, among the outputs of the chapter's notebook.  :func:`collect` reads those
records back.  Since every stored output is compared with a fresh run when the book is tested, a verdict cannot outlive
its evidence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["NUMBERED", "VERDICTS", "Verdict", "collect", "objects"]

#: The vocabulary of verdicts.
VERDICTS = ("holds", "holds under a stated reading", "fails as printed", "not testable numerically")
#: The numbered objects of the paper that a complete ledger judges, and its unnumbered examples and implications.
NUMBERED = (
    *(f"Equation ({i})" for i in range(1, 11)),
    *("Definition 4.1", "Example tanh", "Example cos", "Example x^m", "Example x/||x||", "Example sigmoid"),
    *("Proposition 2.1", "Proposition 2.2", "Proposition 3.2", "Proposition 4.2", "Proposition 4.3"),
    *("Theorem 3.1", "Theorem 3.3", "Theorem 4.4", "Lemma B.1", "Lemma B.2"),
    *("Table 1", "Table 2", "Table 3", "Figure 1", "Figure 2", "Figure 3"),
    *("Implication 1", "Implication 2", "Implication 3"),
)
MIME = "application/vnd.logitmoe.verdict+json"
_ADMONITION = dict(zip(VERDICTS, ("tip", "note", "warning", "seealso"), strict=True))


@dataclass(frozen=True)
class Verdict:
    """The outcome of a test of one numbered statement.

    Parameters
    ----------
    item : str
        The paper's number, e.g. ``"Proposition 2.1"``.
    claim : str
        What is claimed, in one sentence (Markdown, TeX between dollars).
    verdict : str
        One of :data:`VERDICTS`.
    evidence : str
        What was computed, in one or two sentences with the numbers that the code found.
    reading : str, default ""
        The reading under which the statement holds, or as which it was tested.  Required by the second verdict.
    where : str, default ""
        Label in the book of the section that has the evidence, for a link, e.g. ``"sec-swap"``.

    Raises
    ------
    TypeError
        If a field is not a string.
    ValueError
        If the verdict is not one of the four, item, claim or evidence is empty, or the reading is missing.
    """

    item: str
    claim: str
    verdict: str
    evidence: str
    reading: str = ""
    where: str = ""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, str):
                raise TypeError(f"{name}: expected a string, got {type(value).__name__}")
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict: expected one of {', '.join(map(repr, VERDICTS))}, got {self.verdict!r}")
        for name in ("item", "claim", "evidence"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: expected a sentence, got an empty string; say what was tested")
        if self.verdict == VERDICTS[1] and not self.reading.strip():
            raise ValueError("reading: expected the reading under which the statement holds, got an empty string")

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        lines = [f"**{self.item}: {self.verdict}.** {self.claim}"]
        if self.reading:
            lines.append(f"*Reading.* {self.reading}")
        lines.append(f"*Evidence.* {self.evidence}")
        body = "\n\n".join(lines)
        plain = f"{self.item}: {self.verdict}"
        box = f":::{{admonition}} Verdict\n:class: {_ADMONITION[self.verdict]}\n\n{body}\n:::"
        return {"text/plain": plain, "text/markdown": box, MIME: asdict(self)}


def objects(item: str) -> tuple[str, ...]:
    """The numbered objects that an item names, spelled as in :data:`NUMBERED`.

    Parameters
    ----------
    item : str
        For example ``"Equations (8) and (10)"`` or ``"Equation (4), Proposition 2.2"``.

    Returns
    -------
    tuple of str
        Without repetition, in the order of :data:`NUMBERED`; other objects follow in the order of the text.

    Examples
    --------
    >>> objects("Proposition 2.2 and equations (1), (4)")
    ('Equation (1)', 'Equation (4)', 'Proposition 2.2')
    """
    found = []
    kinds = "Definition|Proposition|Theorem|Lemma|Table|Figure|Implication"
    found += [f"{kind} {number}" for kind, number in re.findall(rf"({kinds})s?\s+([A-Z]?\.?\d+(?:\.\d+)?)", item)]
    if re.search("equation", item, re.IGNORECASE):
        found += [f"Equation ({number})" for number in re.findall(r"\((\d+)\)", item)]
    if re.search("example", item, re.IGNORECASE):
        squeezed = item.replace(" ", "")
        found += [f"Example {name}" for name in ("tanh", "cos", "x^m", "x/||x||", "sigmoid") if name in squeezed]
    unique = dict.fromkeys(found)
    return tuple([name for name in NUMBERED if name in unique] + [name for name in unique if name not in NUMBERED])


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
