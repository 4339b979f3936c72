"""The paper's tables and figures as data: true mixing measures, summary of rates, panels of simulations, as printed.

Paper: Nguyen, Akbarian, Nguyen and Ho, "A General Theory for Softmax Gating Multinomial Logistic Mixture of
Experts", ICML 2024 (arXiv 2310.14188, version 2). In its simulations X is uniform on [0, 1] (appendix D), so
d = 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from logitmoe.measure import MixingMeasure
from logitmoe.results import StoppingRule

from .panels import Panel, ReportedLine

__all__ = [
    "COUNTERPARTS",
    "FIGURES",
    "FIGURE_1A",
    "FIGURE_1B",
    "FIGURE_2A",
    "FIGURE_2B",
    "FIGURE_2C",
    "FIGURE_2D",
    "FIGURE_3",
    "Rates",
    "TABLE_1",
    "TABLE_2",
    "TABLE_3",
]

#: True measure of the simulations under Regime 1 (Table 2): k* = 2, K = 2, d = 1; class 2 is the reference.
TABLE_2 = MixingMeasure(
    beta0=[1.0, 0.0],
    beta1=[[3.0], [0.0]],
    a=[[-1.0, 0.0], [1.0, 0.0]],
    b=[[[2.0], [0.0]], [[-1.0], [0.0]]],
)
#: True measure of the simulations under Regime 2 (Table 3): Table 2 with the slope of expert 2 set to 0.
TABLE_3 = MixingMeasure(
    beta0=[1.0, 0.0],
    beta1=[[3.0], [0.0]],
    a=[[-1.0, 0.0], [1.0, 0.0]],
    b=[[[2.0], [0.0]], [[0.0], [0.0]]],
)


@dataclass(frozen=True)
class Rates:
    """One row of Table 1: rates as printed, up to logarithmic factors.

    Attributes
    ----------
    gating : str
        ``"standard"`` or ``"modified"``.
    regime : str
        ``"1"``, ``"2"`` or ``"any"``.
    density : str
        Rate of the density estimate in Hellinger distance.
    exact_specified, over_specified : str
        Rates of parameters whose Voronoi cell has one element, and more than one.
    one_cell : bool
        True if the row has a single entry for the last two columns; it is then given in both. The layout was
        read from the text of the PDF, which does not show the borders of cells.
    """

    gating: str
    regime: str
    density: str
    exact_specified: str
    over_specified: str
    one_cell: bool = False


_ROOT, _FOURTH, _SLOWER = "n^(-1/2)", "n^(-1/4)", "slower than n^(-1/(2r)) for any r >= 1"
#: Table 1 as printed. What the book finds is in its own ledger, not here.
TABLE_1 = (
    Rates("standard", "1", _ROOT, _ROOT, _FOURTH),
    Rates("standard", "2", _ROOT, _SLOWER, _SLOWER, one_cell=True),
    Rates("modified", "any", _ROOT, _ROOT, _FOURTH),
)


def _spaced(low: int, high: int, count: int) -> tuple[int, ...]:
    """`count` equally spaced sizes from low to high, both included, rounded down."""
    return tuple(int(n) for n in np.linspace(low, high, count))


# The sizes' spacing is not in the paper. For Figures 2a and 2b the last 35 and the last 28 of 50 equally spaced sizes
# from 1e4 to 1e5 are taken: they begin at 37,551 and 50,408, the "about 37e3" and "about 50e3" of the text.
_FIFTY = _spaced(10_000, 100_000, 50)
FIGURE_1A = Panel(
    name="1a",
    truth=TABLE_2,
    k=3,
    sizes=_spaced(10_000, 100_000, 200),
    replications=40,
    reported=ReportedLine(-0.48195, 4.8, True, "Figure 1a"),
)
FIGURE_1B = replace(FIGURE_1A, name="1b", k=4, reported=ReportedLine(-0.43467, 5.0, True, "Figure 1b"))
FIGURE_2A = Panel(
    name="2a",
    truth=TABLE_3,
    k=3,
    sizes=_FIFTY[-35:],
    replications=40,
    reported=ReportedLine(-0.34, 1028.7, False, "Figure 2a"),
)
FIGURE_2B = replace(
    FIGURE_2A, name="2b", k=4, sizes=_FIFTY[-28:], reported=ReportedLine(-0.21, 998.8, False, "Figure 2b")
)
FIGURE_2C = Panel(
    name="2c",
    truth=TABLE_3,
    k=3,
    gate="sigmoid",
    sizes=_spaced(10_000, 100_000, 20),
    replications=40,
    reported=ReportedLine(-0.43, 137.3, False, "Figure 2c"),
)
FIGURE_2D = replace(FIGURE_2C, name="2d", k=4, reported=ReportedLine(-0.49, 918.3, False, "Figure 2d"))
#: Figure 3, one panel for each gate: 200 iterations whatever happens. log|x| is not analytic at 0: raw points.
FIGURE_3 = tuple(
    Panel(
        name=f"3 {gate}",
        truth=TABLE_3,
        k=3,
        gate=gate,
        sizes=(10_000,),
        replications=1,
        stopping=StoppingRule("absolute", 0.0, 200),
        checkpoints=tuple(range(1, 201)),
        order=None if gate == "log_abs" else 64,
    )
    for gate in ("identity", "cos", "sin", "log_abs")
)
#: The panels of Figures 1 and 2.
FIGURES = (FIGURE_1A, FIGURE_1B, FIGURE_2A, FIGURE_2B, FIGURE_2C, FIGURE_2D)
#: What a figure of the book is, or is about, in the paper, by its name. Figures that are not here have no counterpart.
COUNTERPARTS = {
    "fig-simulations-1": "Figures 1a and 1b",
    "fig-simulations-2-standard": "Figures 2a and 2b",
    "fig-simulations-2-modified": "Figures 2c and 2d",
    "fig-simulations-path": "Figures 1a and 1b",
    "fig-simulations-3": "Figure 3",
    "fig-protocol-ratio": "Figures 2a to 2d",
    "fig-protocol-regions": "Figures 1a, 1b and 2a to 2d",
}
