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

from .checks import as_covariates, as_float_array, as_instance, as_number, broadcast_shapes, message
from .data import WeightedPoints
from .divergences import Design, check_design
from .gates import as_gate, identity
from .measure import DEFAULT_THETA, FIELDS, MixingMeasure, as_measure, as_theta
from .model import expert_log_probabilities, gate_log_probabilities, log_density
from .penalty import NO_PENALTY, as_penalty
from .results import FACE
from .second_order import Likelihood

__all__ = [
    "NumericalRank", "covariance", "density_jacobian", "derivative_columns", "fisher_information", "fisher_root",
    "numerical_rank", "observed_information", "score", "score_products", "standard_errors", "weighted_rows",
]  # fmt: skip

#: Coefficients of a direction below which an error message leaves them out.
SHOWN = 0.05
#: Points whose scores are in memory together.
BLOCK = 2**12


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


def observed_information(G, data, gate=identity, penalty=NO_PENALTY):
    """Minus the Hessian of the log-likelihood of a sample less the penalty, (..., P, P): of the sample, not its mean.

    Raises TypeError or ValueError if the data are not WeightedPoints, or do not fit `G`.

    Parameters
    ----------
    G : MixingMeasure
        With batch axes that broadcast against those of the data.
    data : WeightedPoints
    gate : Gate, str or callable, optional
        The map M.
    penalty : Ridge, optional
        As in the fit.
    """
    remedy = "pass WeightedPoints.from_labels(x, y), or points() of compressed data"
    shape = as_instance(data, WeightedPoints, "data", remedy).batch_shape
    if (as_measure(G).K, G.d) != (data.K, data.d):
        expected = f"K = {data.K} and d = {data.d}, as in data"
        raise ValueError(message("G", expected, f"K = {G.K} and d = {G.d}", "make the two agree"))
    shape = broadcast_shapes("G and data", G.batch_shape, shape)
    flat = G.in_gauge("last").canonical().broadcast_to(shape).reshape((-1,))
    kernel = Likelihood(data, flat, as_gate(gate), DEFAULT_THETA, as_penalty(penalty))
    weights = np.broadcast_to(data.weights, (*shape, data.K, data.m)).reshape(-1, data.K, data.m).transpose(1, 0, 2)
    hessian = kernel.minus_hessian(kernel.vectors(flat), weights)[:, kernel.order[:, None], kernel.order]
    return hessian.reshape(*shape, kernel.P, kernel.P)


def score_products(G, data, gate=identity):
    """The sum over a sample of the outer products of its scores, (..., P, P); arguments as in `observed_information`.

    At the truth its expectation is that of the observed information; where the model is wrong the two differ.
    """
    remedy = "pass WeightedPoints.from_labels(x, y), or points() of compressed data"
    as_instance(data, WeightedPoints, "data", remedy)
    total = 0.0
    for first in range(0, data.m, BLOCK):
        part = slice(first, first + BLOCK)
        scores = score(G, data.points[part], gate)
        total = total + np.einsum("...smp,...smq->...pq", scores * data.weights[..., part, None], scores, optimize=True)
    return total


def covariance(G, design, gate=identity, n=1, *, kind="expected", penalty=NO_PENALTY, theta=None, rcond=None):
    """Asymptotic covariance of the maximum likelihood estimator, or with a penalty of the posterior mode.

    Raises ValueError if the information is singular, or of a sample not that of a maximum: then some directions of the
    parameters are undetermined. The message shows one. Other errors are those of `fisher_root`.

    Parameters
    ----------
    G : MixingMeasure
        The truth, or a fit in its place, with as many atoms as are fitted.
    design : Design or WeightedPoints
        The distribution of X, or the sample itself, which has its n: weights that are not negative, no batch axes.
    gate : Gate, str or callable, optional
        The map M.
    n : float
        Sample size, if `design` is a distribution; 1 gives the limit of n times the covariance.
    kind : {"expected", "observed", "sandwich"}
        The inverse of the Fisher information, of minus the Hessian, or this on both sides of the products of the scores
        (robust to a wrong model). The last two need the sample.
    penalty : Ridge, optional
        That of the fit: its Hessian is part of the information.
    theta : Theta, optional
        That of the fit: parameters on its boundary are not estimated. They are held fixed for the others, and have an
        infinite variance, or none where the radius is zero.
    rcond : float, optional
        The rtol of `numerical_rank`, for the root of the information.

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
    found = _Directions(G, design, gate, n, kind, penalty, theta, rcond)
    undetermined = found.null.sum(axis=-1) > found.held.sum(axis=-1)
    if undetermined.any():
        first = np.unravel_index(undetermined.argmax(), undetermined.shape)
        got = f"{found.words(first)}, for one, the density does not change to first order"
        remedy = "take fewer atoms, another gate or design, or standard_errors, which are infinite where they must be"
        raise ValueError(message("G", "a nonsingular information", got, remedy))
    return found.covariance()


def standard_errors(G, design, gate=identity, n=1, *, kind="expected", penalty=NO_PENALTY, theta=None):
    """Asymptotic standard deviations of the maximum likelihood estimator, the roots of the diagonal of its covariance.

    Parameters are those of `covariance`.

    Returns
    -------
    ndarray, shape (..., P)
        Infinite for the coordinates that a singular information leaves undetermined, and those on the boundary of
        `theta`; zero for those that `theta` holds at zero.
    """
    found = _Directions(G, design, gate, n, kind, penalty, theta)
    variance = np.diagonal(found.covariance(), axis1=-2, axis2=-1)
    undetermined = (np.where(found.null[..., None], found.right, 0.0) ** 2).sum(-2) > 1e-12
    return np.where(undetermined & ~found.zero, np.inf, np.sqrt(variance))


def _relative_tolerance(value, name, matrix):
    if value is None:
        return max(matrix.shape[-2:]) * np.finfo(float).eps
    return as_number(value, name, "a number in [0, 1)", "use for example 1e-12", least=0.0, below=1.0)


class _Directions:
    """Orthonormal directions of the coordinates, the information's root along each, and which of these count as zero.

    ``right`` (..., i, P), ``sigma`` and ``null`` (..., P), of an information that is still to be multiplied by ``n``.
    Coordinates that are held are directions of their own, with information zero.
    """

    def __init__(self, G, design, gate, n, kind, penalty, theta, rcond=None):
        if kind not in ("expected", "observed", "sandwich"):
            expected = "'expected', 'observed' or 'sandwich'"
            raise ValueError(message("kind", expected, repr(kind), "choose one of these"))
        self.G, data, self.meat = as_measure(G), design, None
        self.held, self.zero = _on_boundary(G, theta)
        self.n = as_number(n, "n", "a positive sample size", "use 1 for the limit of sqrt(n) sd", above=0.0)
        if kind == "expected":
            if isinstance(data, WeightedPoints):
                self.n = float(data.total) if not data.batch_shape else 0.0
                totals = np.maximum(data.weights.sum(axis=-2), 0.0)
                if self.n <= 0.0:
                    expected = "a sample without batch axes and with a positive total"
                    raise ValueError(message("design", expected, f"{data}", "take one of them, data[index]"))
                design = Design(data.points, totals / totals.sum())
            self._of_root(fisher_root(G, design, gate), as_penalty(penalty), rcond)
        else:
            self.n = 1.0
            self._of_matrix(observed_information(G, data, gate, penalty), rcond)
            if kind == "sandwich":
                self.meat = score_products(G, data, gate)

    def _of_root(self, root, penalty, rcond):
        if penalty:
            values, vectors = np.linalg.eigh(_ridge(self.G, penalty))
            rows = np.sqrt(np.maximum(values, 0.0) / self.n)[:, None] * vectors.T
            root = np.concatenate([root, np.broadcast_to(rows, (*root.shape[:-2], *rows.shape))], axis=-2)
        root = np.where(self.held[..., None, :], 0.0, root)
        rows, P = root.shape[-2:]
        rcond = _relative_tolerance(rcond, "rcond", root)
        if rows < P:  # fewer rows than coordinates: pad, so that all of V comes back
            root = np.concatenate([root, np.zeros(root.shape[:-2] + (P - rows, P))], axis=-2)
        _, self.sigma, self.right = np.linalg.svd(root, full_matrices=False)
        self.null = self.sigma <= rcond * self.sigma[..., :1]

    def _of_matrix(self, matrix, rcond):
        held = self.held[..., :, None] | self.held[..., None, :]
        values, vectors = np.linalg.eigh(np.where(held, 0.0, matrix))
        values, self.right = values[..., ::-1], np.swapaxes(vectors, -1, -2)[..., ::-1, :]
        rcond = 0.0 if rcond is None else _relative_tolerance(rcond, "rcond", matrix)
        floor = max(rcond**2, matrix.shape[-1] * np.finfo(float).eps)
        self.null = values <= floor * values[..., :1]
        self.sigma = np.sqrt(np.maximum(values, 0.0))

    def covariance(self):
        """The inverse on the directions with information; variances of held coordinates infinite, or zero."""
        scaled = np.where(self.null[..., None], 0.0, self.right / np.where(self.null, 1.0, self.sigma)[..., None])
        V = np.swapaxes(scaled, -1, -2) @ scaled / self.n
        if self.meat is not None:
            V = V @ self.meat @ V
        V = np.where(self.held[..., :, None] | self.held[..., None, :], 0.0, V)
        on_face = np.eye(V.shape[-1], dtype=bool) & (self.held & ~self.zero)[..., None, :]
        return np.where(on_face, np.inf, V)

    def words(self, batch):
        """The rank for one measure, and the last direction without information that is not of held coordinates."""
        null, P = self.null[batch], self.null.shape[-1]
        held = np.broadcast_to(self.held, self.null.shape)[batch]
        own = np.where(null, (np.where(held, 0.0, self.right[batch]) ** 2).sum(axis=-1), 0.0)
        i = P - 1 - np.argmax(own[::-1] > 0.5)
        names = self.G.parameter_names(self.G.k, self.G.K, self.G.d)
        direction = zip(self.right[batch][i], names, strict=True)
        terms = [f"{value:+.2f} {name}" for value, name in direction if abs(value) > SHOWN]
        return f"rank {P - np.count_nonzero(null)} of {P}: along {' '.join(terms)}"


def _ridge(G, penalty):
    """The penalty's Hessian (P, P)."""
    nothing = WeightedPoints(np.zeros((1, G.d)), np.zeros((G.K, 1)))
    start = MixingMeasure(*(np.zeros((1, *getattr(G, name).shape[len(G.batch_shape) :])) for name in FIELDS))
    kernel = Likelihood(nothing, start, identity, DEFAULT_THETA, penalty)
    return kernel.ridge[kernel.order[:, None], kernel.order]


def _on_boundary(G, theta):
    """Which coordinates (..., P) are on the boundary of Theta, and which of these it holds at zero."""
    held, zero = [], []
    for name in FIELDS:
        value = getattr(G, name)
        radius = np.broadcast_to(np.inf if theta is None else getattr(as_theta(theta), name), value.shape)
        free = (..., slice(0, -1)) if name in ("beta0", "a") else (..., slice(0, -1), slice(None))
        shape = (*G.batch_shape, prod(value[free].shape[len(G.batch_shape) :]))
        held.append((np.abs(value) >= (1.0 - FACE) * radius)[free].reshape(shape))
        zero.append((radius == 0.0)[free].reshape(shape))
    return np.concatenate(held, axis=-1), np.concatenate(zero, axis=-1)
