"""Distributions of X as quadrature, and distances between conditional densities averaged over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .checks import as_count, as_covariates, as_float_array, as_instance, as_interval, check_size, message
from .gates import identity
from .measure import pair
from .model import log_density

__all__ = [
    "Design", "check_design", "hellinger", "kullback_leibler", "sample_design", "total_variation", "uniform_design",
]  # fmt: skip

MAX_DESIGN_POINTS = 4_000_000


@dataclass(frozen=True, eq=False)
class Design:
    """A distribution of X as points and weights: E f(X) is ``(weights * f(points)).sum()``.

    Parameters
    ----------
    points : array_like, shape (m, d), or (m,) when d = 1
        Covariates.
    weights : array_like, shape (m,)
        Non-negative, of sum 1 (to 1e-9). Both are copied and made read-only.
    """

    points: np.ndarray
    weights: np.ndarray

    def __post_init__(self):
        points = np.array(as_covariates(self.points, name="points"))
        weights = np.array(as_float_array(self.weights, name="weights", ndim=1))
        check_size(points, "points")
        if len(weights) != len(points):
            expected = f"one for each of the {len(points)} points"
            raise ValueError(message("weights", expected, f"{len(weights)}", "make them agree"))
        if weights.min() < 0.0 or abs(weights.sum() - 1.0) > 1e-9:
            got = f"minimum {weights.min():.6g}, sum {weights.sum():.12g}"
            raise ValueError(message("weights", "non-negative numbers of sum 1", got, "divide them by their sum"))
        for value in (points, weights):
            value.setflags(write=False)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "weights", weights)

    @property
    def m(self):
        """Number of points."""
        return self.points.shape[0]

    @property
    def d(self):
        """Number of covariates."""
        return self.points.shape[1]

    def __repr__(self):
        return f"Design(m={self.m}, d={self.d})"

    def mean(self, values):
        """E f(X) for values f(points) of shape (..., m): shape (...)."""
        return np.asarray(values) @ self.weights


def uniform_design(low=0.0, high=1.0, *, d=1, nodes=16, panels=None):
    """X uniform on a box: composite Gauss-Legendre quadrature, a tensor grid for d = 2 and 3.

    Exact for polynomials of degree 2 nodes - 1; smooth densities reach rounding, while total variation has kinks where
    two densities cross, each with an error of the order of the square of the spacing of the nodes.

    Parameters
    ----------
    low, high : float or array (d,)
        Ends of the box, low < high.
    d : int
        1, 2 or 3. For more covariates use :func:`sample_design`.
    nodes : int
        Gauss-Legendre nodes in each panel and axis.
    panels : int, optional
        Equal panels in each axis; default 32, 4 and 2 for d = 1, 2 and 3.

    Returns
    -------
    Design
    """
    d = as_count(d, "d")
    if d > 3:
        raise ValueError(message("d", "1, 2 or 3 for a tensor grid", f"{d}", "use sample_design with draws of X"))
    nodes = as_count(nodes, "nodes")
    panels = (32, 4, 2)[d - 1] if panels is None else as_count(panels, "panels")
    if (nodes * panels) ** d > MAX_DESIGN_POINTS:
        got = f"(nodes * panels)^d = {(nodes * panels) ** d}"
        raise ValueError(message("panels", f"at most {MAX_DESIGN_POINTS} points", got, "use fewer panels"))
    low, high = as_interval(low, high, d)
    z, w = np.polynomial.legendre.leggauss(nodes)
    unit = ((np.arange(panels)[:, None] + 0.5 * (z + 1.0)) / panels).ravel()
    weight = np.tile(0.5 * w, panels) / panels
    grid = np.stack(np.meshgrid(*[unit] * d, indexing="ij"), axis=-1).reshape(-1, d)
    weights = weight
    for _ in range(d - 1):
        weights = np.multiply.outer(weights, weight)
    return Design(low + (high - low) * grid, weights.ravel() / weights.sum())


def sample_design(x):
    """The empirical distribution of covariates x: every one has weight 1/n.

    Parameters
    ----------
    x : array_like, shape (n, d), or (n,) when d = 1

    Returns
    -------
    Design
    """
    points = as_covariates(x)
    return Design(points, np.full(points.shape[0], 1.0 / points.shape[0]))


def check_design(design, d):
    """Return `design` if it is a Design for d covariates."""
    as_instance(design, Design, "design", "use uniform_design or sample_design")
    if design.d != d:
        raise ValueError(message("design", f"d = {d} covariates, as the measure", f"{design.d}", "make them agree"))
    return design


def _log_densities(G, G_other, design, gate):
    pair(G, G_other, ("G", "G_other"))
    check_design(design, G.d)
    return log_density(G, design.points, gate), log_density(G_other, design.points, gate)


def total_variation(G, G_other, design, gate=identity):
    """E_X V(g_G(.|X), g_G'(.|X)) with V = (1/2) ``sum_s |g - g'|``, in [0, 1].

    Parameters
    ----------
    G, G_other : MixingMeasure
        Same K and d, any numbers of atoms; batch axes broadcast.
    design : Design
        Distribution of X.
    gate : Gate, str or callable
        The gate's M, the same for both.

    Returns
    -------
    ndarray (...)
    """
    log_g, log_other = _log_densities(G, G_other, design, gate)
    return design.mean(0.5 * np.abs(np.exp(log_g) - np.exp(log_other)).sum(-2))


def hellinger(G, G_other, design, gate=identity):
    """E_X h(g_G(.|X), g_G'(.|X)) with h = ((1/2) sum_s (sqrt g - sqrt g')^2)^(1/2), in [0, 1].

    The normalisation is the paper's. With it h^2 <= V <= sqrt(2) h (by Cauchy-Schwarz V <= h (2 -
    h^2)^(1/2)). Parameters and result as for :func:`total_variation`.
    """
    log_g, log_other = _log_densities(G, G_other, design, gate)
    difference = np.exp(0.5 * log_g) - np.exp(0.5 * log_other)
    return design.mean(np.sqrt(0.5 * (difference * difference).sum(-2)))


def kullback_leibler(G, G_other, design, gate=identity):
    """E_X KL(g_G(.|X) || g_G'(.|X)) = E_X sum_s g log(g / g'), in nats, at least 0.

    Parameters and result as for :func:`total_variation`.

    Notes
    -----
    Summed as g (e^u - 1 - u) with u = log g' - log g, which adds sum_s (g' - g) = 0: every term is
    non-negative, and small divergences keep their digits.
    """
    log_g, log_other = _log_densities(G, G_other, design, gate)
    u = log_other - log_g
    g = np.exp(log_g)
    small = np.abs(u) < 1.0
    grown = np.where(small, g * np.expm1(np.where(small, u, 0.0)), np.exp(log_other) - g)
    return design.mean((grown - g * u).sum(-2))
