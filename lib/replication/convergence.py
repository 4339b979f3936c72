"""How fast EM converges: the rate that the missing information predicts, and the rate that a run shows.

EM does not see which expert drew a class. Near a fixed point it moves the parameters' error by the matrix
``I - J_c^-1 J``, where J is the information of the observed data and J_c that of the complete data, with the expert
known [1]_. The eigenvalues of ``J_c^-1 J``, between 0 and 1, are the fractions of information that are observed. EM's
linear rate is one minus the smallest.

References
----------
.. [1] A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm",
   Journal of the Royal Statistical Society B 39 (1977), 1-38.
"""

from __future__ import annotations

import numpy as np

from logitmoe.gates import as_gate, identity
from logitmoe.information import derivative_columns, fisher_root, weighted_rows
from logitmoe.model import expert_log_probabilities, gate_log_probabilities

__all__ = ["complete_root", "information_fractions", "linear_rate"]

#: Increments that `linear_rate` needs.
MIN_INCREMENTS = 8


def complete_root(G, design, gate=identity):
    """A matrix S with S'S the information of the complete data: class and expert both observed.

    The complete log-likelihood is log pi_i + log f_is. Its information is block diagonal: one block for the gate and
    one for each expert, with weights pi_i.

    Parameters
    ----------
    G : MixingMeasure
        With batch axes ``...``.
    design : Design
        Distribution of X.
    gate : Gate, str or callable, optional
        The map M.

    Returns
    -------
    ndarray, shape (..., k K m, P)
        Columns in the order of `MixingMeasure.to_vector`.
    """
    x, M = design.points, as_gate(gate)(design.points)
    k, K = G.k, G.K
    gates = np.exp(gate_log_probabilities(G, x, gate))  # (..., k, m)
    experts = np.exp(expert_log_probabilities(G, x))  # (..., k, K, m)
    one_i = np.eye(k)[:, None, None, :]  # expert i, class s, point
    gating = one_i[..., : k - 1] - np.moveaxis(gates[..., : k - 1, :], -2, -1)[..., None, None, :, :]
    one_s = np.eye(K)[:, None, : K - 1]
    within = one_s - np.moveaxis(experts[..., : K - 1, :], -2, -1)[..., None, :, :]  # (..., i, s, m, l)
    expert = within[..., None, :] * one_i[..., None]  # (..., i, s, m, j, l), zero unless j = i
    rows = derivative_columns(gating, expert, x, M)
    return weighted_rows(rows, gates[..., :, None, :] * experts * design.weights, 3)


def information_fractions(G, design, gate=identity):
    """Eigenvalues of J_c^-1 J, the fractions of information that are observed, in ascending order.

    With infinitely many data from G, and from a start close to G, EM's error falls by the factor
    ``1 - information_fractions(G, design, gate)[..., 0]`` in each iteration: that is its linear rate. A fraction of
    zero belongs to a singular information; the convergence is then slower than linear.

    Parameters
    ----------
    G : MixingMeasure
        With batch axes ``...``; the truth, with as many atoms as are fitted.
    design : Design
        Distribution of X.
    gate : Gate, str or callable, optional
        The map M.

    Returns
    -------
    ndarray, shape (..., P)
        Between 0 and 1. Fractions below about 1e-26 are rounding.

    Raises
    ------
    ValueError
        If the complete data's information is singular to working precision, which happens when some expert or
        gate probability is close to 0 or 1 everywhere.

    Notes
    -----
    The fractions are the squared singular values of R T^-1, where R'R = J and S = QT is the QR factorisation of the
    complete data's scores, so that neither information matrix is formed.
    """
    root = fisher_root(G, design, gate)
    factor = np.linalg.qr(complete_root(G, design, gate), mode="r")
    diagonal = np.abs(np.diagonal(factor, axis1=-2, axis2=-1))
    if diagonal.size and (diagonal.min(axis=-1) <= 1e-13 * diagonal.max(axis=-1)).any():
        pivot = (diagonal.min(axis=-1) / diagonal.max(axis=-1)).min()
        raise ValueError(
            f"G: the complete data's information is singular, relative pivot {pivot:.1e}; use smaller parameters or "
            "another design."
        )
    columns = root.shape[-1]
    if root.shape[-2] < columns:  # fewer rows than coordinates: the missing fractions are zero
        padding = np.zeros((*root.shape[:-2], columns - root.shape[-2], columns))
        root = np.concatenate([root, padding], axis=-2)
    ratio = np.linalg.solve(np.swapaxes(factor, -1, -2), np.swapaxes(root, -1, -2))
    return np.linalg.svd(ratio, compute_uv=False)[..., ::-1] ** 2


def linear_rate(log_likelihood, *, floor=1e-12):
    """The linear rate that a run of EM shows, from the increments of its log-likelihood.

    If the error falls by the factor rho in each iteration, the log-likelihood's increments fall by rho squared.

    Parameters
    ----------
    log_likelihood : array_like, shape (T + 1,)
        As in :class:`~logitmoe.results.Trace`.
    floor : float, default 1e-12
        Increments are used up to the first that is below floor times the size of the last log-likelihood: after it,
        rounding takes over.

    Returns
    -------
    float
        The root of the mean factor over the last quarter of the increments used.

    Raises
    ------
    ValueError
        If fewer than eight increments are above it.
    """
    trace = np.asarray(log_likelihood)
    increments = np.diff(trace)
    below = np.flatnonzero(increments <= floor * abs(trace[-1]))
    used = increments[: below[0]] if below.size else increments
    if used.size < MIN_INCREMENTS:
        got, remedy = f"{used.size} increments above the floor", "start further from the maximum"
        raise ValueError(f"log_likelihood: expected at least {MIN_INCREMENTS} increments, got {got}; {remedy}.")
    first = used.size - 1 - used.size // 4
    return float((used[-1] / used[first]) ** (0.5 / (used.size - 1 - first)))
