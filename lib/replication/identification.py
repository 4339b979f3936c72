"""The map: at which truths and sizes the density determines the measure, and where a local bound by D_2 holds.

The map is for two true atoms, k* = 2, and the sizes k = 2, k = 3 and k >= 4 = 2 k*.  A cell says *yes* with the label
of the theorem in the book, *where (R) holds* if the theorem leaves a rank to be computed at the truth, *no* with the
construction that refutes it, or *open*.  No *no* is taken on trust: :func:`refutation` constructs its pair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from logitmoe.checks import message
from logitmoe.gates import identity, tanh

from . import show
from .pairs import AFFINE_SPLIT_TRUTH, affine_split_K3, constant_split, gating_copies, swap
from .pairs_modified import doubling, mobius_gate, mobius_gate_pair
from .paper import TABLE_2, TABLE_3

__all__ = ["CELLS", "GATES", "QUESTIONS", "SIZES", "STATUS", "TRUTHS", "Cell", "draw_map", "refutation", "tabulate"]

#: Identifiability is modulo translation; the bound is V >= c D_2, least over translations, near the truth.
QUESTIONS = ("identifiable", "local bound")
GATES = {"standard": identity, "modified, (T)": tanh, "Definition 4.1 only": mobius_gate()}
TRUTHS = ("no special expert", "opposite experts", "constant expert", "equal class slopes")
SIZES = ("k = 2", "k = 3", "k ≥ 4")
#: The words of the cells, each with the grey of its background.
STATUS = {"yes": "0.97", "where (R) holds": "0.84", "open": "0.68", "no": "0.30"}


@dataclass(frozen=True)
class Cell:
    """One answer: its status, a key of :data:`STATUS`, and what shows it, a label in the book or a construction."""

    status: str
    shown_by: str = ""


def _copies(truth: str) -> Callable:
    measures = {TRUTHS[0]: TABLE_2, TRUTHS[1]: swap().measure, TRUTHS[2]: TABLE_3, TRUTHS[3]: AFFINE_SPLIT_TRUTH}
    return lambda gate, size: gating_copies(measures[truth], shift=size, gate=gate)


def _constant(gate, size):
    p = np.exp(TABLE_3.canonical().a[~TABLE_3.canonical().b.any(axis=(1, 2))][0])
    p /= p.sum()
    return constant_split(probabilities=p + 0.5 * size * p[0] * p[1] * np.array([1.0, -1.0]), gate=gate)


def _affine(gate, size):
    q = 1.0 / (1.0 + np.exp(-0.5))  # the odds of classes 2 and 3 in atom 0 of AFFINE_SPLIT_TRUTH
    return affine_split_K3(share=q + 0.2 * size, gate=gate)


#: Constructions for special cells: (gate, size) to a pair; with `size` to 0 the splits and copies approach the truth.
_PAIRS = {
    "swap": lambda gate, size: swap(gate=gate),
    "doubling": lambda gate, size: doubling(gate=gate),
    "Möbius gate": lambda gate, size: mobius_gate_pair(),
    "constant split": _constant,
    "affine split": _affine,
}


def _cells() -> dict:
    no, yes, rank, still = (lambda by, s=s: Cell(s, by) for s in ("no", "yes", "where (R) holds", "open"))
    cells = {}
    special = {TRUTHS[2]: "constant split", TRUTHS[3]: "affine split"}
    for gate in GATES:
        for truth in TRUTHS:
            for question in QUESTIONS:
                fitted = [still(""), still("")] if question == QUESTIONS[0] else [rank("thm-regime1")] * 2
                if truth in special:
                    fitted[1] = no(special[truth])
                elif truth == TRUTHS[1] and question == QUESTIONS[0]:
                    fitted[1] = no("doubling")
                for size, cell in zip(SIZES, [*fitted, no("gating copies")], strict=True):
                    cells[question, gate, truth, size] = cell
    standard, modified, weak = GATES
    first, bound = QUESTIONS
    cells[first, standard, TRUTHS[0], SIZES[0]] = yes("thm-identifiability-two")
    cells[first, standard, TRUTHS[0], SIZES[1]] = yes("thm-ta-generic")
    cells[bound, standard, TRUTHS[0], SIZES[1]] = yes("thm-ta-regime1")
    cells[first, standard, TRUTHS[1], SIZES[0]] = no("swap")
    for size in SIZES[:2]:
        cells[first, modified, TRUTHS[0], size] = yes("thm-modified-copies")
        cells[bound, modified, TRUTHS[0], size] = yes("thm-modified-lower")
        cells[first, weak, TRUTHS[0], size] = no("Möbius gate")
    cells[first, modified, TRUTHS[1], SIZES[0]] = yes("thm-modified-opposite")
    cells[first, modified, TRUTHS[2], SIZES[0]] = yes("thm-modified-constant")
    return cells


#: The answers, by question, gate, truth and size.
CELLS = _cells()


def refutation(question: str, gate: str, truth: str, size: str, distance: float = 0.5):
    """Construct the pair of a cell that says *no*.

    Parameters
    ----------
    question, gate, truth, size : str
        A key of :data:`CELLS`.
    distance : float, default 0.5
        How far the pairs that refute the local bound are from the truth: they approach it as this goes to 0.

    Returns
    -------
    Counterexample
        Two measures of one density, at most as many atoms as the size allows, that no translation makes equal.

    Raises
    ------
    ValueError
        If the cell does not say *no*.
    """
    cell = CELLS[question, gate, truth, size]
    if cell.status != "no":
        raise ValueError(message("size", "a cell that says no", f"{cell.status!r}", "only these have a pair"))
    build = _copies(truth) if cell.shown_by == "gating copies" else _PAIRS[cell.shown_by]
    return build(GATES[gate], distance)


def tabulate(question: str, *, caption: str | None = None, name: str | None = None) -> show.Table:
    """The map for one of the :data:`QUESTIONS`, a row for each gate and truth; theorems are links in the book."""
    rows = []
    for gate in GATES:
        for truth in TRUTHS:
            cells = [CELLS[question, gate, truth, size] for size in SIZES]
            links = [f"{{prf:ref}}`{c.shown_by}`" if c.shown_by.startswith("thm-") else c.shown_by for c in cells]
            rows.append([gate, truth, *(f"**{c.status}** {by}".strip() for c, by in zip(cells, links, strict=True))])
    return show.table(["gate", "truth", *SIZES], rows, "lllll", caption=caption, name=name)


def draw_map():
    """Draw the map, one panel for each question, with the status as a grey and as a word; return the figure."""
    fig, axes = show.figure(2, 1, height=8.4)
    rows = [(gate, truth) for gate in GATES for truth in TRUTHS]
    for ax, question in zip(axes, QUESTIONS, strict=True):
        for i, row in enumerate(rows):
            for j, size in enumerate(SIZES):
                cell = CELLS[(question, *row, size)]
                ax.fill([j, j + 1, j + 1, j], [i, i, i + 1, i + 1], facecolor=STATUS[cell.status], edgecolor="0.5")
                words = f"{cell.status}: {cell.shown_by}" if cell.status == "no" else cell.status
                colour = "white" if cell.status == "no" else "black"
                ax.text(j + 0.5, i + 0.5, words, ha="center", va="center", fontsize=8, color=colour)
        for i in range(0, len(rows) + 1, len(TRUTHS)):
            ax.axhline(i, color="black", linewidth=1.5)
        title = "identifiable modulo translation?" if question == QUESTIONS[0] else "local bound by the least loss?"
        ax.set(title=title, xlim=(0, 3), ylim=(len(rows), 0), yticks=np.arange(len(rows)) + 0.5)
        ax.set(xticks=np.arange(3) + 0.5, xticklabels=SIZES, yticklabels=[f"{g}: {t}" for g, t in rows])
        ax.tick_params(length=0)
        ax.grid(False)
    return fig
