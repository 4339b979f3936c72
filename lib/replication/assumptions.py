"""Which assumptions and readings of the paper a pair of measures satisfies."""

from __future__ import annotations

import numpy as np

from logitmoe.checks import message
from logitmoe.gates import as_gate, identity
from logitmoe.losses import voronoi_cells, voronoi_loss
from logitmoe.measure import DEFAULT_THETA, MixingMeasure

__all__ = ["check_assumptions"]

#: The infimum of D_2 over translations above which two measures count as different.
DIFFERENT = 1e-9


def check_assumptions(measure, other, gate=identity, theta=DEFAULT_THETA):
    """Which assumptions and readings a pair (G* = measure, G = other) satisfies, each decided from its
    parameters.

    Parameters
    ----------
    measure, other : MixingMeasure
        Without batch axes.
    gate : Gate, str or callable, optional
        The map M.
    theta : Theta, optional
        The compact parameter set.

    Returns
    -------
    dict of str to bool
        Equalities of parameters are exact ones of floating-point numbers, in the class reference.
        ``gate slopes coincide within Voronoi cells`` is a reading under which fitted atoms of one cell share
        a slope.
    """
    for value, name in ((measure, "measure"), (other, "other")):
        if not isinstance(value, MixingMeasure) or value.batch_shape:
            raise ValueError(
                message(name, "a MixingMeasure without batch axes", f"{value!r}", "index it first")
            )
    flags = {
        "k >= k*": other.k >= measure.k,
        "same number of atoms": other.k == measure.k,
        "K = 2": measure.K == 2,
        "gate is the identity": as_gate(gate) == identity,
        "Theta contains both": bool(theta.contains(measure) and theta.contains(other)),
    }
    for G, label in ((measure, "G*"), (other, "G")):
        reference = G.canonical()
        experts = np.concatenate([reference.a, reference.b.reshape(G.k, -1)], axis=1)
        flags |= {
            f"{label}: last gate is zero": not (G.beta0[-1] or G.beta1[-1].any()),
            f"{label}: some beta1 is not zero": bool(G.beta1.any()),
            f"{label}: experts pairwise distinct": _distinct(experts),
            f"{label}: Regime 1": bool(reference.b.any(axis=(1, 2)).all()),
            f"{label}: gate slopes pairwise distinct": _distinct(G.beta1),
            f"{label}: class slopes of each expert pairwise distinct": all(_distinct(b) for b in reference.b),
        }
    cells = voronoi_cells(other, measure)
    flags["gate slopes coincide within Voronoi cells"] = all(
        np.array_equal(other.beta1[i], other.beta1[ell])
        for i in range(other.k)
        for ell in range(i)
        if cells[i] == cells[ell]
    )
    distance = voronoi_loss(other, measure, 2.0, gauge="infimum")
    flags["different modulo translation and permutation"] = bool(distance > DIFFERENT)
    return flags


def _distinct(rows):
    return len(np.unique(rows, axis=0)) == len(rows)
