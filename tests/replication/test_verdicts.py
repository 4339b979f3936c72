"""Verdicts: the vocabulary is closed, and what a notebook stores is what comes back."""

import json

import nbformat
import pytest
from nbclient import NotebookClient

from replication.verdicts import MIME, NUMBERED, VERDICTS, Verdict, collect, objects

FIELDS = dict(item="Proposition 2.1", claim="$G$ is determined.", verdict=VERDICTS[2], evidence="A pair was found.")


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
        bundle = Verdict(**FIELDS | dict(verdict=verdict, reading="Up to translation."))._repr_mimebundle_()
        assert verdict in bundle["text/markdown"] and "Up to translation." in bundle["text/markdown"]


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(verdict="true"), ValueError, "verdict: expected one of 'holds'"),
        (dict(evidence=" "), ValueError, "evidence: expected a sentence"),
        (dict(verdict=VERDICTS[1]), ValueError, "reading: expected the reading"),
        (dict(item=3), TypeError, "item: expected a string, got int"),
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


@pytest.mark.parametrize(
    "item, expected",
    [
        ("Equation (4), Proposition 2.2", ("Equation (4)", "Proposition 2.2")),
        ("Equations (8) and (10)", ("Equation (8)", "Equation (10)")),
        ("Section 4, examples tanh, x^m (m >= 3)", ("Example tanh", "Example x^m")),
        ("Section 4, example x / ||x||", ("Example x/||x||",)),
        ("Table 1, row of Regime 1", ("Table 1",)),
        ("Lemma B.1", ("Lemma B.1",)),
        ("Equation (28), appendix A.2.2", ("Equation (28)",)),
        ("Implication 1 (collapse)", ("Implication 1",)),
        ("Limit: misspecification", ()),
    ],
)
def test_objects_named_by_an_item(item, expected):
    assert objects(item) == expected


def test_every_numbered_object_names_itself():
    assert [objects(name) for name in NUMBERED] == [(name,) for name in NUMBERED]
