"""Chebyshev polynomials on a box, and how many of them a sample of the model needs."""

from __future__ import annotations

import numpy as np
from scipy.fft import dct

from .checks import as_count, as_float_array, as_instance, as_number, message
from .data import check_classes
from .gates import Gate, as_gate, identity
from .measure import Theta

__all__ = [
    "as_domain", "chebyshev_coefficients", "chebyshev_nodes", "chebyshev_order", "chebyshev_polynomials",
    "gate_coefficients", "to_unit",
]  # fmt: skip

#: Nodes on which chebyshev_order samples the gate, for each axis, by d.
GATE_NODES = {1: 1024, 2: 128}
#: A Chebyshev coefficient of the gate below this, relative to the largest, is rounding.
NOISE = 1e-13


def chebyshev_polynomials(t: np.ndarray, p: int, out: np.ndarray | None = None) -> np.ndarray:
    """Chebyshev polynomials T_0 .. T_{p-1} at t (m,): (p, m)."""
    T = np.empty((p, t.size)) if out is None else out
    T[0] = 1.0
    if p > 1:
        T[1] = t
        twice = t + t
    for j in range(2, p):
        np.multiply(twice, T[j - 1], out=T[j])
        T[j] -= T[j - 2]
    return T


def chebyshev_nodes(p: int, domain: np.ndarray) -> np.ndarray:
    """First-kind Chebyshev nodes of the domain, ascending along each axis, as points (p**d, d)."""
    unit = np.sin(0.5 * np.pi * np.arange(1 - p, p, 2) / p)
    axes = [0.5 * (low + high) + 0.5 * (high - low) * unit for low, high in domain]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def chebyshev_coefficients(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Chebyshev coefficients, along the axes, of the interpolant of values at the ascending nodes."""
    values = np.flip(values, axes)
    for axis in axes:
        values = dct(values, type=2, axis=axis) / values.shape[axis]
        first = [slice(None)] * values.ndim
        first[axis] = 0
        values[tuple(first)] *= 0.5
    return values


def as_domain(domain, d: int | None = None) -> np.ndarray:
    """Check a domain: (d, 2), d = 1 or 2. Two numbers are used for every axis."""
    if d is not None and d > 2:
        remedy = "compress d <= 2 only; use raw points (WeightedPoints.from_labels)"
        raise ValueError(message("x", "1 or 2 covariates", d, remedy))
    box = as_float_array(domain, "domain")
    if box.ndim == 1:
        box = np.tile(box, (d or 1, 1))
    if box.ndim != 2 or box.shape[1] != 2 or box.shape[0] not in ((1, 2) if d is None else (d,)):
        expected = "shape (2,) or " + ("(d, 2) with d = 1 or 2" if d is None else f"({d}, 2)")
        remedy = "give (low, high), or one such row for each covariate"
        raise ValueError(message("domain", expected, f"shape {np.shape(domain)}", remedy))
    if not (box[:, 0] < box[:, 1]).all():
        remedy = "give the ends in ascending order, of an interval that is wider than a constant covariate"
        raise ValueError(message("domain", "low < high", box.tolist(), remedy))
    with np.errstate(all="ignore"):
        scale = 2.0 / (box[:, 1] - box[:, 0])
    if not ((scale > 0.0) & np.isfinite(scale)).all():
        raise ValueError(message("domain", "a width that floats can hold", box.tolist(), "choose another unit for x"))
    return box


def to_unit(x: np.ndarray, domain: np.ndarray, name: str) -> list[np.ndarray]:
    """Map covariates (n, d) to [-1, 1]: an array (n,) for each axis. The first one outside is an error."""
    axes = []
    for axis, (low, high) in enumerate(domain):
        column = x[:, axis]
        if column.min() < low or column.max() > high:
            outside = ((x < domain[:, 0]) | (x > domain[:, 1])).any(axis=1)
            first = int(np.argmax(outside))
            got = f"{x[first].tolist()} at index {first} ({int(outside.sum())} of {len(x)} outside)"
            remedy = "pass domain=(low, high) that covers the data, or drop these points"
            raise ValueError(message(name, f"values in the domain {domain.tolist()}", got, remedy))
        axes.append((column - low) * (2.0 / (high - low)) - 1.0)
    return axes


def chebyshev_order(theta: Theta, K: int, domain=(0.0, 1.0), gate: Gate = identity, tol: float = 1e-10) -> int:
    r"""Number p of moments, for each class and axis, that suffices for every measure in Theta.

    Parameters
    ----------
    theta : Theta
        Radii of the box, for measures with class K as the reference (:math:`a_{iK} = 0`, :math:`b_{iK} = 0`).
    K : int
        Number of classes, at least 2.
    domain : array_like, shape (2,) or (d, 2), default (0, 1)
        Low and high end for each axis; two numbers mean d = 1.
    gate : Gate, str or callable, default identity
        The map M.
    tol : float, default 1e-10
        Largest error of the log-likelihood, as a multiple of n log K: the size of the log-likelihood of n
        samples when nothing is known about them. Above 0 and below 1.

    Returns
    -------
    int
        Along each axis, at least 1. It is meant for the worst measure of the box: most need fewer, which
        `compression_error` tells for a given one.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, d > 2, or the gate is not analytic on the domain: it has its pole 0 in it, or
        its Chebyshev coefficients do not fall to rounding.

    Notes
    -----
    Take d = 1 and z in the Bernstein ellipse of the domain with parameter :math:`\rho = e^\eta` (half-width
    h, foci at the ends, height :math:`h \sinh \eta`). The density of class s is N/Q with

    .. math:: N = \sum_i e^{\beta_{1i} M(z) + \beta_{0i}} f_{is}(z), \quad
              Q = \sum_i e^{\beta_{1i} M(z) + \beta_{0i}},
              \quad f_{is}(z) = \Bigl( \sum_l e^{(a_{il} - a_{is}) + (b_{il} - b_{is}) z} \Bigr)^{-1}.

    A sum of complex numbers whose arguments lie in an interval of length :math:`\phi < \pi` is not zero: it
    is at least :math:`\cos(\phi / 2)` times the sum of the moduli. With R1, B, A the radii of
    :math:`\beta_1`, b, a, the gate's factors have arguments within :math:`\pm R_1 |\mathrm{Im}\, M(z)|`.
    Among :math:`b_{il} - b_{is}` there is a zero (l = s), so :math:`\arg f_{is}` lies within :math:`\pm D
    |\mathrm{Im}\, z|`, with D = B for K = 2 (one class slope is 0) and D = 2B otherwise. Hence neither N nor
    Q nor any denominator :math:`1/f_{is}` vanishes while

    .. math:: \phi(\rho) = \max_z \; 2 R_1 |\mathrm{Im}\, M(z)| + 2 D |\mathrm{Im}\, z| < \pi;

    the maximum over the closed ellipse is taken on its boundary, as the function is subharmonic. For M(z) = z
    this is the strip :math:`|\mathrm{Im}\, z| < \pi / (2 R_1 + 2 D)`. There log g is analytic, and with X the
    largest :math:`|\mathrm{Re}\, z|` and :math:`L = \log(1 + (K - 1) e^{A' + D X})`, A' = A for K = 2 and 2A
    otherwise, the same inequality gives

    .. math:: |\log g_s| \le H(\rho) = L - 2 \log \cos(\phi / 2) + \phi .

    The polynomial that interpolates at p nodes is then within :math:`4 H \rho^{1-p} / (\rho - 1)` of log g on
    the domain [1]_. The order is the smallest p for which this is at most tol log K for some :math:`\rho`.

    M is replaced by the polynomial of its Chebyshev coefficients, which agrees with M to about 1e-13 of its
    size; at the angle :math:`\omega` of the ellipse :math:`\mathrm{Im}\, T_j = \sinh(j \eta) \sin(j \omega)`.
    The ellipse is also kept inside the strip :math:`|\mathrm{Im}\, z| <` ``gate.pole``.

    For d = 2 one covariate is complex at a time, and the bounds of the two axes add up, the second one times
    the Lebesgue constant (at most :math:`1 + (2 / \pi) \log p`).

    References
    ----------
    .. [1] L. N. Trefethen, *Approximation Theory and Approximation Practice, Extended Edition*, SIAM (2019),
       doi:10.1137/1.9781611975949, theorem 8.2, stated for the nodes of the second kind and true for those of
       the first: the aliases of a coefficient differ in sign only.
    """
    as_instance(theta, Theta, "theta", "use e.g. Theta.cube(10.0)")
    K = check_classes(as_count(K, "K"))
    domain = as_domain(domain)
    gate = as_gate(gate)
    tol = as_number(tol, "tol", "a number above 0 and below 1", "pass e.g. 1e-10", above=0.0, below=1.0)

    d = domain.shape[0]
    of_gate, of_experts = np.max(theta.beta1), np.max(theta.b)
    slope = of_experts if K == 2 else 2.0 * of_experts
    intercept = theta.a if K == 2 else 2.0 * theta.a
    half = 0.5 * (domain[:, 1] - domain[:, 0])
    middle = 0.5 * (domain[:, 1] + domain[:, 0])
    coefficients = gate_coefficients(gate, domain)
    bounds = []  # for each axis: eta and log(4 H rho / (rho - 1))
    for axis in range(d):
        c = coefficients[axis]
        j = np.arange(c.shape[0])
        degree = max(j[-1], 1)
        omega = np.linspace(0.0, np.pi, 8 * max(degree, 8) + 1)  # the other half mirrors this one
        sine = np.sin(np.outer(omega, j))

        def spread(eta, c=c, j=j, sine=sine, omega=omega, h=half[axis]):
            # Im M on the ellipse: (angles, nodes of the other axis, components of M)
            imaginary = np.abs(np.tensordot(sine * np.sinh(j * eta), c, axes=1))
            gate_part = imaginary.sum(axis=-1).max(axis=-1)
            return (2.0 * of_gate * gate_part + 2.0 * slope * h * np.sinh(eta) * np.sin(omega)).max()

        limit = -np.log(NOISE) / degree  # on a larger ellipse the noise of the coefficients would be seen
        if np.isfinite(gate.pole) and gate.pole > 0.0:
            limit = min(limit, np.arcsinh(gate.pole / half[axis]))
        low, high = 0.0, limit
        if spread(high) >= np.pi:
            for _ in range(60):
                trial = 0.5 * (low + high)
                low, high = (trial, high) if spread(trial) < np.pi else (low, trial)
            limit = low
        eta = limit * (1.0 - np.geomspace(1e-4, 0.99, 100))  # the best is near the limit
        phi = np.array([spread(e) for e in eta])
        farthest = np.abs(middle) + half * np.where(np.arange(d) == axis, np.cosh(eta)[:, None], 1.0)
        log_range = np.logaddexp(0.0, np.log(K - 1.0) + intercept + slope * farthest.sum(axis=1))
        size = log_range - 2.0 * np.log(np.cos(0.5 * phi)) + phi
        bounds.append((eta, np.log(4.0 * size) + eta - np.log(np.expm1(eta))))

    target = np.log(tol * np.log(K) / d)
    p = 1
    while True:
        lebesgue = np.log(1.0 + 2.0 / np.pi * np.log(p)) if d == 2 else 0.0
        needed = max(int(np.ceil(((bound + lebesgue - target) / eta).min())) for eta, bound in bounds)
        if needed <= p:
            return p
        p = needed


def gate_coefficients(gate: Gate, domain: np.ndarray) -> list[np.ndarray]:
    """Chebyshev coefficients of M along each axis, (degree + 1, other nodes, d), rounding cut off."""
    d = domain.shape[0]
    remedy = (
        "use raw points (WeightedPoints.from_labels), or compress in another variable or on another domain, "
        "or give p yourself and check compression_error"
    )
    if gate.pole == 0.0 and ((domain[:, 0] <= 0.0) & (domain[:, 1] >= 0.0)).any():
        got = f"a pole at 0 in {domain.tolist()}"
        raise ValueError(message(f"gate {gate.name!r}", "analytic on the domain", got, remedy))
    N = GATE_NODES[d]
    values = gate(chebyshev_nodes(N, domain)).reshape(*d * (N,), d)
    coefficients = []
    for axis in range(d):
        c = np.moveaxis(chebyshev_coefficients(values, (axis,)), axis, 0).reshape(N, -1, d)
        size = np.abs(c).max(axis=(1, 2))
        degree = int(np.flatnonzero(size > NOISE * size.max())[-1]) if size.any() else 0
        if degree > 0.8 * N:
            expected = f"analytic on the domain {domain.tolist()}"
            got = f"Chebyshev coefficients that do not fall to rounding within {N} terms"
            raise ValueError(message(f"gate {gate.name!r}", expected, got, remedy))
        coefficients.append(c[: degree + 1])
    return coefficients
