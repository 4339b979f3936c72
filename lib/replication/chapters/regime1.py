r"""Search for the smallest ratio of the distance of densities to the Voronoi loss (inequalities 6 and 12 of the paper).

Theorem 3.1 says that E V(g_G, g_G*) / D_2(G, G*) has a positive infimum over the measures G with at most k atoms. The
functions here look for measures that make the ratio small, from many starts at once. The loss is its infimum over
translations of the gate, since the ratio would else be 0 for trivial reasons.

* :func:`near_search` keeps the loss near a given radius, and the assignment of atoms to cells fixed.
* :func:`far_search` starts anywhere in Theta and keeps the loss above a given number.

Both minimise the mean square of g_G - g_G* over the squared loss with a Levenberg-Marquardt method: residuals and their
derivatives are computed exactly, and steps from a singular value decomposition of the Jacobian, so that directions in
which the density hardly changes keep their digits. :func:`polish` then minimises the ratio itself with SciPy. A search
gives an upper bound of the infimum, never a proof that it is positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from logitmoe.checks import message
from logitmoe.divergences import total_variation
from logitmoe.gates import as_gate, identity
from logitmoe.information import density_jacobian
from logitmoe.losses import voronoi_loss_parts
from logitmoe.measure import DEFAULT_THETA, MixingMeasure, single
from logitmoe.model import density

from ..taylor import Term, evaluate, taylor_coefficients, taylor_terms

__all__ = ["LimitRatio", "RatioSearch", "far_search", "limit_ratio", "loss_gradient", "near_search", "polish"]

#: Iterations of the Levenberg-Marquardt method.
ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class RatioSearch:
    """What a search ended with, one entry for each start, the smallest ratio first.

    Attributes
    ----------
    measure : MixingMeasure, batch shape (n,)
    ratio : ndarray (n,)
        E_X V(g_G, g_G*) / D_2(G, G*), with D_2 at its infimum over translations.
    distance, total_variation : ndarray (n,)
        Its denominator and numerator.
    """

    measure: MixingMeasure
    ratio: np.ndarray
    distance: np.ndarray
    total_variation: np.ndarray


# ------------------------------------------------------------------------------------------------------------
# Measures and their loss in the coordinates of ``to_vector(translations=True)``
def _to_measure(v, k, K, d):
    return MixingMeasure.from_vector(v, k, K, d, translations=True)


def loss_gradient(G, G_true, r=2.0):
    """The Voronoi loss at its infimum over translations, and its gradient in these coordinates.

    By the envelope theorem the gradient is that of the loss at the best translation, taken as fixed. The best
    translation itself often lies at a kink, where a cell has its true mass or an exact atom its true slope; the
    derivative of that term follows from the others, since the infimum does not change with translations. At other kinks
    the result is one of the directional derivatives.

    Returns
    -------
    loss : ndarray (...)
    gradient : ndarray (..., P)
    """
    parts = voronoi_loss_parts(G, G_true, r, gauge="infimum")
    G, G_true, cells = G.canonical(), G_true.canonical(), parts.cells
    mass = np.exp(G.beta0 + parts.t0[..., None])
    beta1 = G.beta1 + parts.t1[..., None, :] - G_true.beta1[cells]
    a, b = (G.a - G_true.a[cells])[..., :-1, None], (G.b - G_true.b[cells])[..., :-1, :]
    shared = np.take_along_axis(parts.sizes, cells, -1) > 1
    power = np.where(shared, r, 1.0)[..., None]

    def norm_power(v, power):
        n = np.sqrt((v * v).sum(-1))
        factor = np.where(n > 0.0, power * np.where(n > 0.0, n, 1.0) ** (power - 2.0), 0.0)
        return n**power, factor[..., None] * v

    c1, d1 = norm_power(beta1[..., None, :], power)
    ca, da = norm_power(a, power)
    cb, db = norm_power(b, power)
    member = cells[..., None] == np.arange(G_true.k)
    excess = (mass[..., None] * member).sum(-2) - np.exp(G_true.beta0)
    g0 = mass * (np.take_along_axis(np.sign(excess), cells, -1) + c1.sum(-1) + ca.sum(-1) + cb.sum(-1))
    # Derivatives along the translations must vanish: what is missing belongs to the term at its kink.
    kink = np.argmin(np.abs(excess) / np.exp(G_true.beta0), axis=-1)[..., None]
    at = mass * (cells == kink)
    with np.errstate(invalid="ignore", divide="ignore"):
        at = np.where(mass.sum(-1, keepdims=True) > 0.0, at / at.sum(-1, keepdims=True), 0.0)
    g0 = g0 - np.nan_to_num(at) * g0.sum(-1, keepdims=True)
    size = np.where(shared, np.inf, (beta1 * beta1).sum(-1))
    at = (np.arange(G.k) == np.argmin(size, axis=-1)[..., None]) & ~shared
    weight = mass[..., None, None]
    missing = (weight * d1).sum(-3, keepdims=True)
    pieces = (g0, weight * d1 - at[..., None, None] * missing, weight * da, weight * db)
    lead = g0.shape[:-1]
    return parts.total, np.concatenate([piece.reshape(lead + (-1,)) for piece in pieces], axis=-1)


# ------------------------------------------------------------------------------------------------------------
# Coordinates of the two searches
class _Near:
    """Measures near G* with fixed cells, in coordinates z of order 1 at a given radius of the loss.

    Cell j has the mass m*_j exp(radius z), shares softmax(z) and a mean shift radius * z; in a cell of several atoms
    each deviates from the mean by sqrt(radius) * z. `loss` is a smooth stand-in for D_2: root of the sum of squares of
    its parts, in the gauge where total masses and mean slopes agree.
    """

    def __init__(self, G_true, cells, radius):
        self.true, self.cells, self.radius = G_true, cells, radius
        self.k, self.K, self.d = len(cells), G_true.K, G_true.d
        k_true = G_true.k
        self.atom = G_true.atom_vectors()
        self.q = self.atom.shape[1]
        self.member = (cells[:, None] == np.arange(k_true)).astype(float)
        self.over = (self.member.sum(0) > 1)[cells]
        self.sizes = (k_true, self.k, k_true * self.q, self.k * self.q)
        # How each coordinate scales with the loss.
        self.weights = np.concatenate([np.full(n, w) for n, w in zip(self.sizes, (1, 0, 1, 0.5), strict=True)])

    def start(self, n, rng):
        return self.retract(rng.normal(size=(n, self.weights.size)))

    def place(self, G):
        """Coordinates, scaled to the radius, of measures with one batch axis, their atoms in the order of cells."""
        share = G.mass / (G.mass @ self.member)[..., self.cells]
        theta = G.canonical().atom_vectors() - self.atom[self.cells]
        mean = np.swapaxes(self.member, 0, 1) @ (share[..., None] * theta)
        pieces = (
            np.log((G.mass @ self.member) / np.exp(self.true.beta0)) / self.radius,
            np.log(share),
            mean / self.radius,
            (theta - mean[..., self.cells, :]) / np.sqrt(self.radius),
        )
        lead = G.batch_shape
        return self.retract(np.concatenate([piece.reshape(lead + (-1,)) for piece in pieces], axis=-1))

    def map(self, z):
        """Parameter vectors and log(loss / radius); z may be complex."""
        lead = z.shape[:-1]
        mass, share, shift, deviation = np.split(z, np.cumsum(self.sizes)[:-1], axis=-1)
        shift = shift.reshape(lead + (-1, self.q))[..., self.cells, :]
        deviation = deviation.reshape(lead + (-1, self.q))
        weight = np.exp(share)
        share = weight / (weight @ self.member)[..., self.cells]
        mean = np.swapaxes(self.member, 0, 1) @ (share[..., None] * deviation)
        deviation = (deviation - mean[..., self.cells, :]) * self.over[:, None]
        delta = self.radius * shift + np.sqrt(self.radius) * deviation
        beta0 = self.true.beta0[self.cells] + self.radius * mass[..., self.cells] + np.log(share)
        theta = self.atom[self.cells] + delta
        d, e = self.d, self.d + self.K - 1
        pieces = (beta0, theta[..., :d], theta[..., d:e], theta[..., e:])
        v = np.concatenate([piece.reshape(lead + (-1,)) for piece in pieces], axis=-1)

        m, m_true = np.exp(beta0), np.exp(self.true.beta0)
        m = m * (m_true.sum() / m.sum(-1))[..., None]
        t1 = (m[..., None] * delta[..., :d]).sum(-2) / m_true.sum()
        delta = np.concatenate([delta[..., :d] - t1[..., None, :], delta[..., d:]], axis=-1)
        squares = (delta * delta).sum(-1)
        loss2 = ((m @ self.member - m_true) ** 2).sum(-1) + (m * self.over * squares).sum(-1) ** 2
        loss2 = loss2 + (m**2 * ~self.over * squares).sum(-1)
        return v, 0.5 * np.log(loss2 / self.radius**2)

    def jacobian(self, z):
        """Derivatives of `map` (..., len(z), len(v)) and (..., len(z)), by complex steps."""
        v, log_loss = self.map(z[..., None, :] + 1e-30j * np.eye(z.shape[-1]))
        return v.imag / 1e-30, log_loss.imag / 1e-30

    def retract(self, z):
        for _ in range(3):
            z = z * np.exp(-self.map(z)[1][..., None] * self.weights)
        return z

    def log_loss(self, v, log_loss):
        return log_loss + np.log(self.radius)


class _Far:
    """All measures with k atoms, in their own coordinates, and the loss D_2 itself."""

    def __init__(self, G_true, k, least, theta):
        self.true, self.k, self.K, self.d, self.least = G_true, k, G_true.K, G_true.d, least
        size = k * (1 + self.d) * self.K
        high = theta.beta0, theta.beta1, theta.a, theta.b
        counts = k, k * self.d, k * (self.K - 1), k * (self.K - 1) * self.d
        self.high = np.concatenate([np.full(n, value) for n, value in zip(counts, high, strict=True)])
        self.eye = np.eye(size)

    def start(self, n, rng):
        z = self._draw(n, rng)
        for _ in range(100):
            close = ~np.isfinite(self.map(z)[1])
            if not close.any():
                return z
            z = np.where(close[:, None], self._draw(n, rng), z)
        got = f"{close.sum()} of {n} starts nearer than {self.least}"
        raise ValueError(message("least", "a loss that random measures exceed", got, "use less"))

    def _draw(self, n, rng):
        return self.retract(2.0 * rng.normal(size=(n, len(self.high))))

    def map(self, z):
        loss = voronoi_loss_parts(_to_measure(z, self.k, self.K, self.d), self.true, 2.0, gauge="infimum").total
        with np.errstate(divide="ignore"):
            return z, np.where(loss >= self.least, np.log(loss), np.nan)

    def jacobian(self, z):
        loss, gradient = loss_gradient(_to_measure(z, self.k, self.K, self.d), self.true)
        return np.broadcast_to(self.eye, z.shape[:1] + self.eye.shape), gradient / loss[:, None]

    def retract(self, z):
        return np.clip(z, -self.high, self.high)

    def log_loss(self, v, log_loss):
        return log_loss


# ------------------------------------------------------------------------------------------------------------
# The searches
def near_search(G_true, cells, radius, n, rng, design, *, known=None, theta=DEFAULT_THETA):
    """Minimise the ratio among measures near G* with a given assignment of atoms to cells.

    Parameters
    ----------
    G_true : MixingMeasure
        Without batch axes, d = 1.
    cells : sequence of int, length k
        Index of the true atom near which each atom lies; every true atom must occur.
    radius : float
        The loss is kept near it: a smooth stand-in equals it, and D_2 differs from that by a moderate factor.
    n : int
        Number of random starts.
    rng : numpy.random.Generator
    design : Design
        Distribution of X.
    known : MixingMeasure, batch shape (m,), optional
        Further starts, such as members of a family with small ratios, their atoms in the order of `cells`. They are
        moved to the radius.
    theta : Theta, optional
        Steps that leave it are refused.

    Returns
    -------
    RatioSearch
        n entries, and m more.
    """
    G_true, cells = single(G_true, "G_true").canonical(), np.asarray(cells)
    if set(cells.tolist()) != set(range(G_true.k)):
        raise ValueError(message("cells", f"indices with each of 0..{G_true.k - 1}", f"{cells}", "fit every atom"))
    space = _Near(G_true, cells, radius)
    if known is not None and (known.k, len(known.batch_shape)) != (len(cells), 1):
        expected, got = f"{len(cells)} atoms and one batch axis", f"{known.k} and {known.batch_shape}"
        raise ValueError(message("known", expected, got, "use MixingMeasure.stack"))
    return _search(space, n, rng, design, identity, theta, None if known is None else space.place(known))


def far_search(G_true, k, least, n, rng, design, gate=identity, *, theta=DEFAULT_THETA):
    """Minimise the ratio among all measures with k atoms in Theta whose loss is at least `least`.

    Parameters
    ----------
    k : int
        Number of atoms.
    least : float
        Smallest loss allowed. The loss never exceeds the total mass of G*.
    G_true, n, rng, design, theta
        As in :func:`near_search`. Starts have independent normal parameters of standard deviation 2.
    gate : Gate, str or callable, optional
        The map M.

    Returns
    -------
    RatioSearch
    """
    G_true = single(G_true, "G_true").canonical()
    if not 0.0 < least < G_true.mass.sum():
        expected = f"a loss between 0 and the total mass {G_true.mass.sum():.6g}"
        raise ValueError(message("least", expected, f"{least}", "use less"))
    return _search(_Far(G_true, k, least, theta), n, rng, design, gate, theta)


def _search(space, n, rng, design, gate, theta, known=None):
    x, root = design.points, np.sqrt(design.weights)
    g_true = density(space.true, x, gate)

    def measure(v):
        return _to_measure(v, space.k, space.K, space.d)

    def residuals(g, log_loss):
        return ((g - g_true) * root * np.exp(-log_loss)[:, None, None]).reshape(len(g), -1)

    def objective(z):
        v, log_loss = space.map(z)
        out = ~np.isfinite(log_loss) | ~np.isfinite(v).all(-1)
        v = np.where(out[:, None], 0.0, v)
        out |= ~theta.contains(measure(v))
        v = np.where(out[:, None], 0.0, v)
        r = residuals(density(measure(v), x, gate), np.where(out, 0.0, space.log_loss(v, log_loss)))
        return np.where(out, np.inf, (r * r).sum(-1))

    z = space.start(n, rng) if known is None else np.concatenate([space.start(n, rng), known])
    n = len(z)
    value, damping = objective(z), np.full(n, 1e-2)
    for _ in range(100):  # starts outside Theta are drawn anew
        out = ~np.isfinite(value)
        if not out.any():
            break
        z = np.where(out[:, None], space.start(n, rng), z)
        value = objective(z)
    for _ in range(ITERATIONS):
        v, log_loss = space.map(z)
        dv, dlog = space.jacobian(z)
        log_loss = space.log_loss(v, log_loss)
        g, J = density_jacobian(measure(v), x, gate)
        r = residuals(g, log_loss)
        J = (J * (root * np.exp(-log_loss)[:, None])[:, None, :, None]).reshape(n, -1, v.shape[-1])
        J = J @ np.swapaxes(dv, -1, -2) - r[:, :, None] * dlog[:, None, :]
        U, S, Vt = np.linalg.svd(J, full_matrices=False)
        slope = (np.swapaxes(U, -1, -2) @ r[..., None])[..., 0] * S / (S * S + damping[:, None] ** 2)
        step = -(np.swapaxes(Vt, -1, -2) @ slope[..., None])[..., 0]
        step *= np.minimum(1.0, 3.0 / np.maximum(np.linalg.norm(step, axis=-1), 1e-300))[:, None]
        with np.errstate(all="ignore"):  # a step too far is refused
            trial = space.retract(z + step)
            new = objective(trial)
        better = new < value
        z, value = np.where(better[:, None], trial, z), np.where(better, new, value)
        damping = np.where(better, np.maximum(0.3 * damping, 1e-14), np.minimum(4.0 * damping, 100.0))
    return _result(measure(space.map(z)[0]), space.true, design, gate)


def _result(G, G_true, design, gate):
    variation = total_variation(G, G_true, design, gate)
    distance = voronoi_loss_parts(G, G_true, 2.0, gauge="infimum").total
    order = np.argsort(variation / distance)
    return RatioSearch(G[order], (variation / distance)[order], distance[order], variation[order])


def polish(search, G_true, design, gate=identity, *, count=3, theta=DEFAULT_THETA, max_iter=2000):
    """Minimise the ratio itself, by Nelder-Mead, from the best measures of a search.

    Parameters
    ----------
    search : RatioSearch
    G_true, design, gate, theta
        As in the search.
    count : int
        How many of the best are taken.
    max_iter : int
        Iterations for each.

    Returns
    -------
    RatioSearch
        With `count` measures, none worse than it was. The loss may move by a factor of 3.
    """
    G_true = single(G_true, "G_true").canonical()
    k, K, d = search.measure.k, search.measure.K, search.measure.d
    ends = []
    for i in range(min(count, len(search.ratio))):
        start, distance = search.measure[i].to_vector(translations=True), search.distance[i]
        scale = 1e-2 * min(1.0, distance) * (1.0 + np.abs(start))

        def objective(y, start=start, scale=scale, distance=distance):
            G = _to_measure(start + scale * y, k, K, d)
            loss = voronoi_loss_parts(G, G_true, 2.0, gauge="infimum").total
            if not (theta.contains(G) and distance / 3.0 <= loss <= 3.0 * distance):
                return np.inf
            return float(np.log(total_variation(G, G_true, design, gate) / loss + 1e-300))

        simplex = np.concatenate([np.zeros((1, start.size)), np.eye(start.size)])
        options = {"maxiter": max_iter, "xatol": 1e-6, "fatol": 1e-6, "initial_simplex": simplex, "adaptive": True}
        found = optimize.minimize(objective, simplex[0], method="Nelder-Mead", options=options)
        ends.append(_to_measure(start + scale * found.x, k, K, d))
    return _result(MixingMeasure.stack(ends), G_true, design, gate)


# ------------------------------------------------------------------------------------------------------------
# The limit of the ratio of V to the loss
@dataclass(frozen=True, eq=False)
class LimitRatio:
    """Ratio of E V to the Voronoi loss in the limit of a vanishing loss, along the worst direction found.

    Attributes
    ----------
    ratio : float
        lim E V(g_G, g_G*) / D_2(G, G*) along that direction, the loss at its infimum over translations. An upper bound
        of the limit of the infima.
    ratios : ndarray (starts,)
        The same at the end of every start, ascending.
    direction : ndarray (q,)
        Unit vector (beta1, a, b) along which the two atoms of the over-fitted cell part; empty if no cell is.
    coefficients : ndarray (n,)
        Those of the terms at loss 1.
    terms : tuple of Term
    """

    ratio: float
    ratios: np.ndarray
    direction: np.ndarray
    coefficients: np.ndarray
    terms: tuple[Term, ...]


def limit_ratio(G, atom, design, rng, gate=identity, *, starts=40):
    r"""Search for the smallest limit of E V / D_2 at G, one atom fitted by two and the others by one (d = 1).

    Near G the difference of densities is, after division by sum_j m_j e_j, a combination of the Taylor functions. If
    the two atoms of the cell lie at theta_j + t e +- sqrt(t) v, its part of second order is a quadratic form of v, and
    the rest is linear in e and the other differences, of which only those of the exact atoms and of the masses are in
    the loss. For each v the linear part that brings the combination nearest to 0 in mean square is a least-squares
    problem; v is found by Nelder-Mead on the unit sphere from random starts.

    Parameters
    ----------
    G : MixingMeasure
        G*. Without batch axes, d = 1, at least two atoms.
    atom : int
        Index of the over-fitted atom.
    design : Design
        Distribution of X.
    rng : numpy.random.Generator
    gate : Gate, str or callable, optional
    starts : int

    Returns
    -------
    LimitRatio
    """
    G, over = single(G).canonical(), np.arange(G.k) == atom
    terms = taylor_terms(G, over, gate)
    linear = np.isin(np.arange(len(terms)), [terms.index(t) for t in taylor_terms(G, 0 * over > 0, gate)])
    x, root = design.points, np.sqrt(design.weights)
    total = (G.mass[:, None] * np.exp(G.beta1 @ as_gate(gate)(x).T)).sum(0)
    values = evaluate(G, x, terms, gate) / total[:, None]
    columns = (values * root[:, None]).reshape(len(terms), -1).T
    U, S, _ = np.linalg.svd(columns[:, linear], full_matrices=False)
    U = U[:, S > 1e-13 * S[0]]
    solve = np.linalg.pinv(columns[:, linear], rcond=1e-13)
    base = G.atom_vectors()[atom]

    def at(v):
        rows = base + np.outer([1.0, -1.0], v)
        a = np.concatenate([rows[:, 1 : G.K], np.zeros((2, 1))], axis=1)
        b = np.concatenate([rows[:, G.K :], np.zeros((2, 1))], axis=1)[..., None]
        cells = np.repeat(np.arange(G.k), 1 + over)
        return taylor_coefficients(G.split(atom, beta1=rows[:, :1], a=a, b=b), G, terms, gate, cells=cells)

    eye = np.eye(base.size)
    form = np.array([[(at(u + v) - at(u) - at(v)) / 2.0 for v in eye] for u in eye])  # polarisation

    def quadratic(v):
        return np.einsum("i,j,ijn->n", v, v, form)

    rest_form = form @ columns.T
    for _ in range(2):
        rest_form = rest_form - (rest_form @ U) @ U.T

    def objective(v):
        v = v / np.linalg.norm(v)
        return np.log(np.linalg.norm(v @ (v @ rest_form)) + 1e-300)

    ends = []
    for _ in range(starts):
        options = {"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000, "maxfev": 4000}
        v = optimize.minimize(objective, rng.normal(size=base.size), method="Nelder-Mead", options=options).x
        v /= np.linalg.norm(v)
        c = quadratic(v)
        c[linear] -= solve @ (columns @ c)
        loss = _limit_loss(G, atom, terms, c)
        variation = design.mean(0.5 * np.abs(np.tensordot(c, values, 1)).sum(-1))
        ends.append((variation / loss, v, c / loss))
    ends.sort(key=lambda end: end[0])
    return LimitRatio(float(ends[0][0]), np.array([end[0] for end in ends]), ends[0][1], ends[0][2], terms)


def _limit_loss(G, atom, terms, c):
    """The loss of a combination of second order: mass differences, exact atoms, and m |v|^2 for a unit vector v."""
    value = dict(zip(terms, c, strict=True))
    excess, slopes, rest = np.zeros(G.k), np.zeros(G.k), G.mass[atom]
    for t, number in value.items():
        power = sum(t.gate_power + t.power)
        if t.kind == "w" and power == 0:
            excess[t.atom] = number
        elif t.atom != atom and t.kind == "w":
            slopes[t.atom] = number
        elif t.atom != atom:
            rest += abs(number)
    return rest + _weighted_spread(excess, G.mass) + _weighted_spread(np.delete(slopes, atom), np.delete(G.mass, atom))


def _weighted_spread(values, mass):
    """Infimum over t of sum_j |values_j - t mass_j|: the translations."""
    return min(np.abs(values - t * mass).sum() for t in values / mass)
