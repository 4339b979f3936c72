"""Cells that say "Change this": with other values a short chapter still runs to its end, and its results change."""

from pathlib import Path

import nbclient
import nbformat
import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
CHANGES = {
    "identifiability": ["LINE_U = (1.0, 3.0)"],
    "model": ["n, k = 2_000, 3"],
    "voronoi": ["ORDER, MOVE = 3, 0.5"],
}


def texts(notebook):
    """What the cells print and the tables they show, in their order."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {}).get("text/markdown")
            found += [text for text in (output.get("text"), shown) if text]
    return found


@pytest.mark.parametrize(
    "chapter, change", [(chapter, change) for chapter, changes in CHANGES.items() for change in changes]
)
def test_a_chapter_runs_with_other_parameters(chapter, change):
    notebook = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)
    stored = texts(notebook)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source += f"\n{change}"
    folder = {"metadata": {"path": str(BOOK)}}
    options = {"timeout": None, "startup_timeout": 600, "coalesce_streams": True}
    nbclient.NotebookClient(notebook, **options, resources=folder).execute()
    found = texts(notebook)
    assert len(found) == len(stored)
    assert found != stored
