"""Verdicts: the vocabulary is closed, what a notebook stores is what comes back, and the book's own keep the rules."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from replication.verdicts import BOXES, CATALOGUE, FAILS, MIME, NUMBERED, READING, VERDICTS, Verdict, collect

BOOK = Path(__file__).resolve().parents[2] / "book"
FIELDS = dict(items=("Proposition 2.1",), claim="$G$ is determined.", verdict=FAILS)
FIELDS |= dict(finding="It is not.", evidence="A pair was found.")


def test_a_verdict_survives_a_notebook(tmp_path):
    code = f"from replication.verdicts import Verdict\nVerdict(**{FIELDS!r})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("1 + 1")])
    NotebookClient(notebook, timeout=60).execute()
    path = tmp_path / "chapter.ipynb"
    nbformat.write(notebook, path)
    assert collect([path]) == {path: [Verdict(**FIELDS)]}
    data = notebook.cells[0].outputs[0].data
    assert set(data) == {"text/plain", "text/markdown", MIME}
    assert "fails as printed" in data["text/markdown"] and "warning" in data["text/markdown"]


def test_every_verdict_renders():
    for verdict in VERDICTS:
        made = Verdict(**FIELDS | dict(verdict=verdict, reading="Up to translation.", aspect="every gate"))
        box = made._repr_mimebundle_()["text/markdown"]
        assert f"**Proposition 2.1, every gate: {verdict}.** It is not." in box
        for text in ("*Claim.* $G$ is determined.", "*Reading.* Up to translation.", "*Evidence.* A pair was found."):
            assert text in box
        assert f":class: {BOXES[verdict]}\n:name: verdict-proposition-2-1-every-gate\n" in box
    assert len(set(BOXES.values())) == len(VERDICTS)


def test_titles_and_anchors_of_several_items():
    several = Verdict(**FIELDS | dict(items=["Equation (8)", "Equation (10)", "Example x/||x||"]))
    assert several.items == ("Equation (8)", "Equation (10)", "Example x/||x||")
    assert several.title == "Equation (8), Equation (10) and Example x/||x||"
    assert several.anchor == "verdict-equation-8-equation-10-and-example-x-x"


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(verdict="true"), ValueError, "^verdict: expected one of 'holds'"),
        (dict(evidence=" "), ValueError, "^evidence: expected a sentence"),
        (dict(finding=""), ValueError, "^finding: expected a sentence"),
        (dict(finding="one two three. " * 5 + "four."), ValueError, "^finding: .* got 16 words"),
        (dict(finding="No full stop"), ValueError, "^finding: "),
        (dict(verdict=READING), ValueError, "^reading: expected the reading"),
        (dict(items="Proposition 2.1"), TypeError, "^items: expected names of objects"),
        (dict(items=(3,)), TypeError, "^items: "),
        (dict(items=()), ValueError, "^items: .* got none"),
        (dict(items=("Proposition 2.1", "Theorem 9")), ValueError, r"^items: .* got \['Theorem 9'\]"),
        (dict(claim=3), TypeError, "^claim: expected a string, got int"),
    ],
)
def test_bad_verdicts(change, error, message):
    with pytest.raises(error, match=message):
        Verdict(**FIELDS | change)


def test_bad_notebooks(tmp_path):
    with pytest.raises(FileNotFoundError):
        collect([tmp_path / "none.ipynb"])
    path = tmp_path / "a.ipynb"
    path.write_text("[]")
    with pytest.raises(ValueError, match="a.ipynb is not one"):
        collect([path])
    path.write_text(json.dumps({"cells": [{"outputs": [{"data": {MIME: {"x": 1}}}]}]}))
    with pytest.raises(ValueError, match="not a verdict"):
        collect([path])


def test_the_verdicts_of_the_book():
    stored = [verdict for found in collect(BOOK.glob("*.ipynb")).values() for verdict in found]
    assert len(CATALOGUE) == len(set(CATALOGUE)) and set(NUMBERED) <= set(CATALOGUE)
    assert set(NUMBERED) <= {item for verdict in stored for item in verdict.items}
    anchors = [verdict.anchor for verdict in stored]
    assert [anchor for anchor in anchors if anchors.count(anchor) > 1] == []
