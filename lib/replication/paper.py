"""The paper's tables as data: its true mixing measures and its summary of rates, as printed.

Paper: Nguyen, Akbarian, Nguyen and Ho, "A General Theory for Softmax Gating Multinomial Logistic Mixture of
Experts", ICML 2024 (arXiv 2310.14188, version 2). In its simulations X is uniform on [0, 1] (appendix D), so
d = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from logitmoe.measure import MixingMeasure

__all__ = ["Rates", "TABLE_1", "TABLE_2", "TABLE_3"]

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
