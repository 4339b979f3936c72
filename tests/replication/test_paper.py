"""The tables as data against the values printed in the paper (appendix D, Table 1)."""

import json
import re
from pathlib import Path

import numpy as np

from logitmoe import density
from replication.paper import COUNTERPARTS, FIGURES, TABLE_1, TABLE_2, TABLE_3


def test_truths_are_the_printed_ones():
    # Printed row by row: (beta0, beta1), then (a, b) of class 1 and of class 2.
    printed = {
        "table 2": [((1, 3), (-1, 2), (0, 0)), ((0, 0), (1, -1), (0, 0))],
        "table 3": [((1, 3), (-1, 2), (0, 0)), ((0, 0), (1, 0), (0, 0))],
    }
    for G, rows in ((TABLE_2, printed["table 2"]), (TABLE_3, printed["table 3"])):
        assert (G.k, G.K, G.d, G.batch_shape) == (2, 2, 1, ())
        for i, (gate, *classes) in enumerate(rows):
            assert (G.beta0[i], G.beta1[i, 0]) == gate
            assert [(G.a[i, s], G.b[i, s, 0]) for s in range(2)] == classes


def test_regimes_are_the_printed_ones():
    for G, regime_1 in ((TABLE_2, True), (TABLE_3, False)):
        assert bool(G.b.any(axis=(1, 2)).all()) is regime_1


def test_density_of_table_2_by_hand():
    # Equation (43) at x = 1: gate logit 4, experts' logits of class 1: 1 and 0.
    pi, f1, f2 = 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(-1)), 0.5
    np.testing.assert_allclose(density(TABLE_2, [1.0])[0], [pi * f1 + (1 - pi) * f2], rtol=1e-14)


def test_table_1_has_the_printed_entries():
    rows = {(row.gating, row.regime): row for row in TABLE_1}
    assert list(rows) == [("standard", "1"), ("standard", "2"), ("modified", "any")]
    assert {row.density for row in TABLE_1} == {"n^(-1/2)"}
    for key in (("standard", "1"), ("modified", "any")):
        assert (rows[key].exact_specified, rows[key].over_specified) == ("n^(-1/2)", "n^(-1/4)")
        assert not rows[key].one_cell
    slow = rows["standard", "2"]
    assert slow.one_cell and slow.exact_specified == slow.over_specified
    assert slow.over_specified == "slower than n^(-1/(2r)) for any r >= 1"


def test_each_panel_of_the_paper_s_figures_has_a_figure_that_names_it():
    chapters = Path(__file__).resolve().parents[2].glob("book/*.ipynb")
    cells = [cell for path in chapters for cell in json.loads(path.read_text("utf-8"))["cells"]]
    figures = [cell["metadata"].get("mystnb", {}).get("figure", {}) for cell in cells]
    assert COUNTERPARTS.keys() <= {figure.get("name") for figure in figures}
    again = " ".join(text for name, text in COUNTERPARTS.items() if name.startswith("fig-simulations"))
    for panel in (*(panel.name for panel in FIGURES), "3"):
        assert re.search(rf"\b{panel}\b", again), f"no figure of the simulations is Figure {panel}"
