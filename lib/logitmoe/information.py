"""Fisher information of the model: score, information matrix, numerical rank, standard errors.

Everything refers to the free coordinates of :meth:`logitmoe.measure.MixingMeasure.to_vector`: gauge
``"last"`` and the class reference, so that neither translations nor the reference of the classes make the
matrix singular. What is left of a singular matrix then says something about the measure.

The information of the paper's designs is nearly singular: at Table 2 its eigenvalues span nine orders of
magnitude. So nothing here decomposes the information matrix J itself. The weighted scores form a tall matrix
R with J = R'R (:func:`fisher_root`) whose condition number is the square root of J's; its singular values and
vectors give rank and standard errors with about twice the digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from .checks import as_covariates, as_float_array, as_number, message
from .divergences import check_design
from .gates import as_gate, identity
from .measure import as_measure
from .model import expert_log_probabilities, gate_log_probabilities, log_density

__all__ = [
    "NumericalRank", "covariance", "density_jacobian", "derivative_columns", "fisher_information", "fisher_root",
    "numerical_rank", "score", "standard_errors", "weighted_rows",
]  # fmt: skip

#: Coefficients of a direction below which an error message leaves them out.
SHOWN = 0.05


def score(G, x, gate=identity):
    """Derivatives of log g_G(Y = s | x) with respect to the free coordinates of G.

    With gate probabilities pi_i, experts f_i and posteriors r_is = pi_i f_is / g_s they are

    ======================  =========================================
    coordinate              derivative of log g_s
    ======================  =========================================
    beta0_i                 r_is - pi_i
    beta1_i                 (r_is - pi_i) M(x)
    a_il                    r_is (1[l = s] - f_il)
    b_il                    r_is (1[l = s] - f_il) x
    ======================  =========================================

    `G`, `x` and `gate` are those of :func:`.density`. The result (..., K, m, P) is in the order of
    `MixingMeasure.to_vector`, and does not depend on the gauge or the class reference in which G is given.
    """
    as_measure(G)
    x = as_covariates(x, d=as_measure(G).d)
    k, K = G.k, G.K
    M = as_gate(gate)(x)
    log_gate, log_expert = gate_log_probabilities(G, x, gate), expert_log_probabilities(G, x)
    log_g = log_density(G, x, gate)
    posterior = np.exp(log_gate[..., None, :] + log_expert - log_g[..., None, :, :])  # (..., k, K, m)
    # r - pi = pi (f / g - 1), written so that it keeps its digits where an expert is close to the mixture.
    ratio = log_expert - log_g[..., None, :, :]
    prior = np.exp(log_gate)[..., None, :]
    gating = np.where(ratio < 1.0, prior * np.expm1(np.minimum(ratio, 1.0)), posterior - prior)
    gating = np.moveaxis(gating[..., : k - 1, :, :], -3, -1)  # (..., K, m, k - 1)
    # (..., k, s, l, m): r_is (1[l = s] - f_il), for the free classes l.
    expert = np.eye(K)[:, : K - 1, None] - np.exp(log_expert)[..., None, : K - 1, :]
    expert = posterior[..., :, None, :] * expert
    expert = np.moveaxis(expert, (-4, -2), (-2, -1))  # (..., s, m, k, l)
    return derivative_columns(gating, expert, x, M)


def density_jacobian(G, x, gate=identity):
    """The density (..., K, m), and its derivatives (..., K, m, P) in beta0, beta1, a and b of every atom.

    They are g_s times those of `score`, in the P coordinates of ``to_vector(translations=True)``, and also where a
    class has a density that underflows. Translations are among the directions, so the rank is less than P.
    """
    pi, f = np.exp(gate_log_probabilities(G, x, gate)), np.exp(expert_log_probabilities(G, x))
    g = (pi[..., None, :] * f).sum(-3)
    gating = np.moveaxis(pi[..., None, :] * (f - g[..., None, :, :]), -3, -1)  # (..., K, m, k)
    expert = np.eye(G.K)[:, : G.K - 1, None] - f[..., None, : G.K - 1, :]
    expert = np.moveaxis(pi[..., None, None, :] * f[..., :, None, :] * expert, (-4, -2), (-2, -1))
    return g, derivative_columns(gating, expert, x, as_gate(gate)(x))


def derivative_columns(gating, expert, x, M):
    """Derivatives in all coordinates, (..., m, P), of those in beta0 (..., m, k or k - 1) and a (..., m, k, K - 1).

    By the chain rule those in beta1 are the ones in beta0 times M(x), and those in b the ones in a times x. The
    leading axes of the two broadcast.
    """
    lead = np.broadcast_shapes(gating.shape[:-1], expert.shape[:-2])
    parts = (gating, gating[..., None] * M[:, None, :], expert, expert[..., None] * x[:, None, None, :])
    shaped = ((part, part.shape[-axes:]) for part, axes in zip(parts, (1, 2, 2, 3), strict=True))
    flat = [np.broadcast_to(part, lead + tail).reshape(*lead, prod(tail)) for part, tail in shaped]
    return np.concatenate(flat, axis=-1)


def weighted_rows(columns, probability, axes):
    """Derivatives (..., m, P) times the roots of probabilities (..., m), the last `axes` axes of these made one."""
    rows = columns * np.sqrt(probability)[..., None]
    start = probability.ndim - axes
    return rows.reshape(*rows.shape[:start], prod(rows.shape[start:-1]), rows.shape[-1])


def fisher_root(G, design, gate=identity):
    """A matrix R with R'R the Fisher information: the scores, each times the root of its probability.

    Raises TypeError or ValueError if `G` is not a MixingMeasure, or `design` or the gate is not valid for it.

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
    ndarray, shape (..., K m, P)
        Its singular values are the roots of the eigenvalues of the information.
    """
    check_design(design, as_measure(G).d)
    probability = np.exp(log_density(G, design.points, gate)) * design.weights
    return weighted_rows(score(G, design.points, gate), probability, 2)


def fisher_information(G, design, gate=identity):
    """Fisher information of one observation, E_X sum_s g_s score_s score_s'.

    For its rank or inverse work with `fisher_root`: the product rounds away small eigenvalues. Parameters and
    errors are those of `fisher_root`.

    Returns
    -------
    ndarray, shape (..., P, P)
    """
    root = fisher_root(G, design, gate)
    return np.swapaxes(root, -1, -2) @ root


@dataclass(frozen=True, eq=False)
class NumericalRank:
    """Rank of a matrix together with what it was decided on.

    The gap is the last singular value counted divided by the first that is not: infinite if that one is zero or
    missing, 0 for rank 0. A rank with a gap near 1 is not to be trusted.
    """

    rank: np.ndarray  #: (...), the number of singular values above the tolerance
    singular_values: np.ndarray  #: (..., min(rows, columns)), descending
    tolerance: np.ndarray  #: (...), rtol times the largest singular value
    gap: np.ndarray  #: (...)


def numerical_rank(matrix, rtol=None):
    """The `NumericalRank` of a matrix (..., rows, columns).

    Singular values up to rtol times the largest count as zero; by default max(rows, columns) times the machine
    epsilon. For the rank of a Fisher information pass the result of `fisher_root`, not of `fisher_information`.
    """
    matrix = as_float_array(matrix, "matrix", shape=(..., None, None))
    if matrix.size == 0:
        raise ValueError(message("matrix", "at least one entry", f"shape {matrix.shape}", "check its construction"))
    rtol = _relative_tolerance(rtol, "rtol", matrix)
    values = np.linalg.svd(matrix, compute_uv=False)
    tolerance = rtol * values[..., 0]
    rank = (values > tolerance[..., None]).sum(-1)
    padded = np.concatenate([values, np.zeros(values.shape[:-1] + (1,))], axis=-1)
    last = np.take_along_axis(padded, np.maximum(rank - 1, 0)[..., None], -1)[..., 0]
    following = np.take_along_axis(padded, rank[..., None], -1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(rank == 0, 0.0, np.where(following > 0.0, last / following, np.inf))
    return NumericalRank(rank, values, tolerance, gap)


def covariance(G, design, gate=identity, n=1, rcond=None):
    """Asymptotic covariance of the maximum likelihood estimator, J^-1 / n.

    Raises ValueError if the information is singular: then some directions of the parameters are undetermined. The
    message shows one. Other errors are those of `fisher_root`.

    Parameters
    ----------
    G, design, gate
        As in `fisher_root`; `G` is the truth, or a fit in its place, with as many atoms as are fitted. Of data, the
        design is :func:`~logitmoe.divergences.sample_design`.
    n : float
        Sample size; 1 gives the limit of n times the covariance.
    rcond : float, optional
        The rtol of `numerical_rank`, for the root.

    Returns
    -------
    ndarray, shape (..., P, P)
        Of the coordinates of `MixingMeasure.to_vector`.

    Notes
    -----
    That a covariance can be computed does not say that the asymptotics hold at this n: compare with a bootstrap. They
    do not hold on the boundary of Theta.

    Examples
    --------
    The delta method, for the x at which an expert's odds are even, ``-a / b``:

    >>> import numpy as np
    >>> from logitmoe import MixingMeasure, covariance, uniform_design
    >>> G = MixingMeasure([0, 0], [[3], [0]], [[4, 0], [-2, 0]], [[[-3], [0]], [[-2], [0]]])
    >>> V = covariance(G, uniform_design(-3, 3), n=10_000)
    >>> names = G.parameter_names(2, 2, 1)
    >>> a, b = names.index("a[1,1]"), names.index("b[1,1,1]")
    >>> v, gradient = G.to_vector(), np.zeros(len(names))
    >>> gradient[a], gradient[b] = -1 / v[b], v[a] / v[b] ** 2
    >>> f"{-v[a] / v[b]:.3f} with a standard error of {np.sqrt(gradient @ V @ gradient):.3f}"
    '1.333 with a standard error of 0.020'
    """
    n = _as_size(n)
    right, sigma, null = _right_singular(G, design, gate, rcond)
    if null.any():
        first = np.unravel_index(null.any(axis=-1).argmax(), null.shape[:-1])
        P = null.shape[-1]
        direction = right[first][np.flatnonzero(null[first])[-1]]
        terms = [
            f"{value:+.2f} {name}"
            for value, name in zip(direction, G.parameter_names(G.k, G.K, G.d), strict=True)
            if abs(value) > SHOWN
        ]
        got = (
            f"rank {P - np.count_nonzero(null[first])} of {P}: along {' '.join(terms)}, for one, the density does "
            "not change to first order"
        )
        remedy = "take fewer atoms, another gate or design, or standard_errors, which are infinite where they must be"
        raise ValueError(message("G", "a nonsingular Fisher information", got, remedy))
    scaled = right / sigma[..., None]
    return np.swapaxes(scaled, -1, -2) @ scaled / n


def standard_errors(G, design, gate=identity, n=1):
    """Asymptotic standard deviations of the maximum likelihood estimator, sqrt(diag(J^-1) / n).

    Parameters are those of `covariance`.

    Returns
    -------
    ndarray, shape (..., P)
        Infinite for the coordinates that a singular information leaves undetermined.
    """
    n = _as_size(n)
    right, sigma, null = _right_singular(G, design, gate)
    variance = (right / np.where(null, 1.0, sigma)[..., None]) ** 2
    variance = np.where(null[..., None], 0.0, variance).sum(-2)
    undetermined = (np.where(null[..., None], right, 0.0) ** 2).sum(-2) > 1e-12
    return np.where(undetermined, np.inf, np.sqrt(variance / n))


def _as_size(n):
    return as_number(n, "n", "a positive sample size", "use 1 for the limit of sqrt(n) sd", above=0.0)


def _relative_tolerance(value, name, matrix):
    if value is None:
        return max(matrix.shape[-2:]) * np.finfo(float).eps
    return as_number(value, name, "a number in [0, 1)", "use for example 1e-12", least=0.0, below=1.0)


def _right_singular(G, design, gate, rcond=None):
    """Of the root: right singular vectors (..., i, P), singular values (..., P), and which of these count as zero."""
    root = fisher_root(G, design, gate)
    rows, P = root.shape[-2:]
    rcond = _relative_tolerance(rcond, "rcond", root)
    if rows < P:  # fewer rows than coordinates: pad, so that all of V comes back
        root = np.concatenate([root, np.zeros(root.shape[:-2] + (P - rows, P))], axis=-2)
    _, sigma, right = np.linalg.svd(root, full_matrices=False)
    return right, sigma, sigma <= rcond * sigma[..., :1]
