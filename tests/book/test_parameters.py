"""Cells that say "Change this": with other values a short chapter still runs to its end, and its results change."""

from pathlib import Path

import nbclient
import nbformat
import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
CHANGES = {  # lines, each in the place of the line that assigns the same name
    "copies": ['GATE_LINE, EXPERT_LINE, GATE = (1.0, 1.0), (0.0, 2.0), "sin"'],
    "identifiability": ["LINE_U = (1.0, 3.0)"],
    "model": ["n = 2_000", "k = 3"],
    "polynomial_rate": ["TIMES = 1_000"],
    "voronoi": ["ORDER = 3", "MOVE = 0.5"],
}


def changed(source, change):
    """The source with each line of `change` in the place of the one that assigns the same name."""
    lines = source.splitlines()
    for new in change:
        name, _ = new.split("=", 1)
        (place,) = [number for number, line in enumerate(lines) if line.startswith(f"{name}=")]
        lines[place] = new
    return "\n".join(lines)


def texts(notebook):
    """What the cells print and the tables they show, in their order."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {}).get("text/markdown")
            found += [text for text in (output.get("text"), shown) if text]
    return found


@pytest.mark.parametrize("chapter, change", CHANGES.items(), ids=CHANGES)
def test_a_chapter_runs_with_other_parameters(chapter, change):
    notebook = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)
    stored = texts(notebook)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source = changed(cell.source, change)
    folder = {"metadata": {"path": str(BOOK)}}
    options = {"timeout": None, "startup_timeout": 600, "coalesce_streams": True}
    nbclient.NotebookClient(notebook, **options, resources=folder).execute()
    found = texts(notebook)
    assert len(found) == len(stored)
    assert found != stored
