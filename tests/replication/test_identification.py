"""The map of identifiability: every *no* is a pair, every *yes* a theorem of the book."""

import json
from pathlib import Path

import numpy as np
import pytest

from replication.identification import CELLS, GATES, QUESTIONS, SIZES, STATUS, TRUTHS, draw_map, refutation, tabulate

BOOK = Path(__file__).parents[2] / "book"
NO = [key for key, cell in CELLS.items() if cell.status == "no"]
X = np.linspace(0.0, 1.0, 101)


def test_every_cell_is_answered():
    assert len(CELLS) == len(QUESTIONS) * len(GATES) * len(TRUTHS) * len(SIZES)
    assert {cell.status for cell in CELLS.values()} == set(STATUS)


@pytest.mark.parametrize("key", NO, ids=", ".join)
def test_a_no_is_two_measures_of_one_density(key):
    pair = refutation(*key)
    atoms = max(pair.measure.k, pair.other.k)
    assert pair.measure.k == 2 and atoms <= {"k = 2": 2, "k = 3": 3, "k ≥ 4": 4}[key[-1]]
    assert pair.density_gap(X) < 1e-13
    assert pair.separation() > 1e-3


@pytest.mark.parametrize("key", [key for key in NO if key[0] == "local bound"], ids=", ".join)
def test_pairs_against_the_local_bound_approach_the_truth(key):
    losses = [refutation(*key, distance).separation() for distance in (0.2, 0.02, 0.002)]
    assert losses[0] > 5 * losses[1] > 25 * losses[2] > 0
    assert refutation(*key, 0.002).density_gap(X) < 1e-13


def test_a_truth_is_of_the_kind_of_its_row():
    for key in NO:
        truth = refutation(*key).measure.canonical()
        assert (truth.K >= 3) == (key[2] == "equal class slopes")
        constant = bool((~truth.b.any(axis=(1, 2))).any())
        assert constant == (key[2] == "constant expert")
        if key[2] in ("opposite experts", "no special expert"):
            opposite = np.allclose(truth.a[0], -truth.a[1]) and np.allclose(truth.b[0], -truth.b[1])
            assert opposite == (key[2] == "opposite experts")


def test_a_yes_names_a_theorem_of_the_book():
    sources = "".join(
        "".join(cell["source"]) + "\n"
        for path in BOOK.glob("*.ipynb")
        for cell in json.loads(path.read_text())["cells"]
    )
    for cell in CELLS.values():
        if cell.status in ("yes", "where (R) holds"):
            assert f":label: {cell.shown_by}\n" in sources
        elif cell.status == "open":
            assert not cell.shown_by


def test_only_a_no_has_a_pair():
    with pytest.raises(ValueError, match="a cell that says no"):
        refutation("identifiable", "standard", "no special expert", "k = 2")


def test_figure_and_table_have_the_words_of_the_cells():
    texts = [text.get_text() for ax in draw_map().axes for text in ax.texts]
    assert sum(text.startswith("no: ") for text in texts) == len(NO)
    table = tabulate("identifiable")._repr_markdown_()
    assert table.count("**no**") == sum(key[0] == "identifiable" for key in NO)
