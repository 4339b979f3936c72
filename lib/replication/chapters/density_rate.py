"""What the chapter on the density rate computes.

* :func:`likelihood_gains`: how much likelier than the truth the maximum likelihood estimate is, and EM's, sample by
  sample; :func:`second_opinion` maximises again with another method.
* :func:`cover_radii`, :func:`monotone_brackets` and :func:`lipschitz_bound`: how many densities it takes to cover a set
  of densities, which is what Lemma B.1 of the paper bounds. A set of densities is given by its members' values on the
  points of a design. Distances are ``"mean"``, :math:`E_X \\sum_s |g - g'|`, the :math:`\\|\\cdot\\|_1` of Lemma B.1
  (twice the total variation), and ``"sup"``, :math:`\\sup_x \\sum_s |g - g'|`, what the brackets in its proof need.
* :func:`entropy_integral` and the functions that should dominate it, :func:`psi` and :func:`psi_printed`;
  :func:`averages`: the average of two densities, and the density of the average measure, which the paper prints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from logitmoe.checks import as_count, as_float_array, message
from logitmoe.em_algorithm import StoppingRule, em
from logitmoe.fitting import random_start
from logitmoe.information import score
from logitmoe.measure import DEFAULT_THETA, MixingMeasure, pair
from logitmoe.model import density
from logitmoe.newton import log_likelihood_difference, mle
from replication.samples import draw
from replication.starts import near_truth

__all__ = [
    "LOWEST",
    "LikelihoodGains",
    "averages",
    "cover_radii",
    "entropy_integral",
    "likelihood_gains",
    "lipschitz_bound",
    "monotone_brackets",
    "psi",
    "psi_printed",
    "second_opinion",
]

#: The lower end of the entropy integral is xi^2 / LOWEST, as in equation (39) of the paper.
LOWEST = 2.0**13


# ------------------------------------------------------------------------------------------------------------
# Covers and brackets


def cover_radii(values, count, weights=None):
    """Radii of nested covers of a finite set of densities, by farthest points.

    Every new centre is the member that is farthest from the centres so far.

    Parameters
    ----------
    values : array_like, shape (N, K, m)
        Densities of N members on m points.
    count : int
        Number of centres, at most N.
    weights : array_like, shape (m,), optional
        Weights of the points, for the distance ``"mean"``; without them the distance is ``"sup"`` over the points.

    Returns
    -------
    radii : ndarray, shape (count,)
        ``radii[i]`` is the largest distance of a member to the first i + 1 centres; decreasing.
    centres : ndarray of int, shape (count,)
        Index of the members chosen; the first one is member 0.

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a weight is negative, or `count` is not in 1..N.

    Notes
    -----
    Let N(e) be the least number of balls of radius e, with centres in the set, that cover it. Then
    N(radii[i]) <= i + 1. The first i + 2 centres are at distances of at least radii[i] from one another, and a ball
    of a radius below radii[i] / 2 holds at most one of them: N(e) >= i + 2 for e < radii[i] / 2 [1]_.

    References
    ----------
    .. [1] T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance", *Theoretical Computer Science*
       38 (1985), 293-306, doi:10.1016/0304-3975(85)90224-5.
    """
    values = as_float_array(values, "values", ndim=3)
    if values.size == 0:
        raise ValueError(message("values", "at least one member and point", f"shape {values.shape}", "add some"))
    count = as_count(count, "count")
    if count > len(values):
        raise ValueError(message("count", f"at most the {len(values)} members", f"{count}", "ask for fewer centres"))
    if weights is not None:
        weights = as_float_array(weights, "weights", shape=(values.shape[2],))
        if weights.min() < 0.0:
            raise ValueError(message("weights", "numbers >= 0", f"{weights.min()}", "use a design's weights"))
    nearest = np.full(len(values), np.inf)
    radii, centres = np.empty(count), np.empty(count, dtype=int)
    farthest = 0
    for i in range(count):
        centres[i] = farthest
        difference = np.abs(values - values[farthest]).sum(axis=1)
        distance = difference.max(axis=1) if weights is None else difference @ weights
        np.minimum(nearest, distance, out=nearest)
        farthest = int(nearest.argmax())
        radii[i] = nearest[farthest]
    return radii, centres


def lipschitz_bound(G, G_other, radius_x=1.0, radius_gate=None):
    r"""Bound of :math:`\sup_x \sum_s |g_G - g_{G'}|` by differences of parameters, atom by atom.

    .. math:: \frac12 \sum_i (|\Delta \beta_{0i}| + R_M \|\Delta \beta_{1i}\|)
              + \frac12 \max_i \sum_\ell (|\Delta a_{i\ell}| + R_x \|\Delta b_{i\ell}\|)

    Parameters
    ----------
    G, G_other : MixingMeasure
        Same k, K and d; atom i is compared with atom i. Batch axes broadcast.
    radius_x : float
        Bound of the norm of x.
    radius_gate : float, optional
        Bound of the norm of M(x); default `radius_x`, for the gate M(x) = x.

    Returns
    -------
    ndarray (...)

    Raises
    ------
    TypeError, ValueError
        If the measures do not fit together or a radius is negative.

    Notes
    -----
    The derivative of softmax with respect to its i-th argument is p_i (e_i - p), of L1 norm 2 p_i (1 - p_i) <= 1/2:
    softmax moves by at most half of the L1 distance of its arguments. Write g - g' as
    :math:`\sum_i \pi_i (f_i - f'_i) + \sum_i (\pi_i - \pi'_i) f'_i` and use that the gates :math:`\pi` and each
    expert sum to one.
    """
    pair(G, G_other, ("G", "G_other"))
    if G.k != G_other.k:
        raise ValueError(message("G_other", f"k = {G.k} atoms", f"{G_other.k}", "compare atom with atom"))
    radius_x = float(as_float_array(radius_x, "radius_x", ndim=0))
    radius_gate = radius_x if radius_gate is None else float(as_float_array(radius_gate, "radius_gate", ndim=0))
    if min(radius_x, radius_gate) < 0.0:
        raise ValueError(message("radius_x", "bounds >= 0", f"{radius_x}, {radius_gate}", "give norms"))
    gate = np.abs(G.beta0 - G_other.beta0) + radius_gate * np.linalg.norm(G.beta1 - G_other.beta1, axis=-1)
    expert = np.abs(G.a - G_other.a) + radius_x * np.linalg.norm(G.b - G_other.b, axis=-1)
    return 0.5 * gate.sum(axis=-1) + 0.5 * expert.sum(axis=-1).max(axis=-1)


def monotone_brackets(probability, weights, size):
    """Smallest number of Hellinger brackets that cover a family of two classes that rises with one parameter.

    Parameters
    ----------
    probability : array_like, shape (N, m)
        Probability of class 1 at m points for N increasing values of the parameter; no column falls.
    weights : array_like, shape (m,)
        Weights of the points, of sum 1.
    size : float
        Largest bracket: :math:`(\\frac12 E_X \\sum_s (\\sqrt{U_s} - \\sqrt{L_s})^2)^{1/2}` at most this.

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a probability is outside [0, 1] or falls, or `size` is too small for the steps of the
        parameter.

    Notes
    -----
    The smallest bracket that holds the members i to j has the lower and upper functions (p_i, 1 - p_j) and (p_j,
    1 - p_i), and holds all between. So it is optimal to start each bracket at the upper end of the last one and to
    make it as long as its size allows. A bracket may begin and end at members only.
    """
    p = as_float_array(probability, "probability", ndim=2)
    weights = as_float_array(weights, "weights", shape=(p.shape[1],))
    size = float(as_float_array(size, "size", ndim=0))
    if len(p) < 2 or p.min() < 0.0 or p.max() > 1.0 or np.diff(p, axis=0).min() < 0.0:
        raise ValueError(
            message("probability", "two or more rows in [0, 1] that do not fall", "others", "sort the parameter")
        )
    one, two = np.sqrt(p), np.sqrt(1.0 - p)
    first, count = 0, 0
    while first < len(p) - 1:
        low, high = first, len(p) - 1
        while low < high:  # the last member that the bracket can hold
            middle = (low + high + 1) // 2
            square = (one[middle] - one[first]) ** 2 + (two[middle] - two[first]) ** 2
            if 0.5 * square @ weights <= size**2:
                low = middle
            else:
                high = middle - 1
        if low == first:
            raise ValueError(message("size", "room for one step of the parameter", f"{size}", "use a finer grid"))
        first, count = low, count + 1
    return count


# ------------------------------------------------------------------------------------------------------------
# The gain in log-likelihood


@dataclass(frozen=True, eq=False)
class LikelihoodGains:
    """Gains over the truth of the fits of one number of experts: S sizes, R samples of each.

    Attributes
    ----------
    sizes : ndarray (S,)
    mle, em : ndarray (S, R)
        Log-likelihood in nats above that of the truth: of the likeliest of all searches with Newton's method, and of
        EM with one run from the truth.
    fewer : ndarray (S, R)
        The same as `mle`, of every second start only, and without that of EM.
    at_bound : ndarray of bool (S, R)
        Whether some coordinate of the likeliest fit lies on the boundary of Theta.
    fits : MixingMeasure, batch shape (S, R)
        The likeliest fits.
    samples : WeightedPoints, batch shape (S, R)
    """

    sizes: np.ndarray
    mle: np.ndarray
    em: np.ndarray
    fewer: np.ndarray
    at_bound: np.ndarray
    fits: MixingMeasure
    samples: object

    def twice(self, which: str = "mle") -> tuple[float, float]:
        """Mean of twice the gains over all samples, and its standard error."""
        values = 2.0 * getattr(self, which).ravel()
        return values.mean(), values.std(ddof=1) / np.sqrt(values.size)

    def by_size(self, which: str = "mle") -> tuple[np.ndarray, np.ndarray]:
        """Mean of twice the gains for each size, and its standard errors."""
        values = 2.0 * getattr(self, which)
        return values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])

    def trend(self, which: str = "mle") -> tuple[float, float]:
        """Slope of twice the gain against log10 n by least squares, and its standard error."""
        x = np.broadcast_to(np.log10(self.sizes)[:, None], self.mle.shape).ravel()
        x, y = x - x.mean(), 2.0 * getattr(self, which).ravel()
        slope = x @ y / (x @ x)
        rest = y - y.mean() - slope * x
        return slope, np.sqrt(rest @ rest / (x.size - 2) / (x @ x))


def likelihood_gains(truth, experts, sizes, replications, rng, *, starts=12, p=40):
    """Fit samples from a truth with every number of experts, by Newton's method and by EM from the truth.

    Parameters
    ----------
    truth : MixingMeasure
        Without batch axes, d = 1; X is uniform on [0, 1], the gate is x, Theta the cube of radius 10.
    experts : sequence of int
        Numbers of experts to fit; the samples are the same for all.
    sizes : sequence of int
    replications : int
        Samples of each size, at least 2.
    rng : numpy.random.Generator
        Made from a seed.
    starts : int
        Newton searches for each sample, a multiple of 4: a quarter each about the truth with standard deviations 0.3
        and 1, and anywhere with 1 and 4. One more begins where EM ends.
    p : int
        X takes the p values of :func:`.draw`, so that no weight is negative.

    Returns
    -------
    dict of int to LikelihoodGains

    Notes
    -----
    A search from finitely many starts finds a lower bound of the gain of the maximum likelihood estimate.
    """
    starts = as_count(starts, "starts")
    if starts % 4:
        raise ValueError(message("starts", "a multiple of 4", f"{starts}", "take for example 12"))
    sizes = np.array([as_count(n, "sizes") for n in sizes])
    shape = (starts // 4, sizes.size, as_count(replications, "replications", minimum=2))
    data = draw(truth, sizes, rng, size=shape[2], p=p, method="multinomial")
    gains = {}
    for k in experts:
        parts = [near_truth(truth, k, rng, size=shape, sd=sd, split_mass=True) for sd in (0.3, 1.0)]
        parts += [random_start(k, truth.K, 1, rng, size=shape, sd=sd) for sd in (1.0, 4.0)]
        by_em = _from_truth(truth, k, data, rng)
        random = _in_box(MixingMeasure.stack(parts).reshape((starts, *shape[1:])))
        begin = MixingMeasure.concatenate([random, MixingMeasure.stack([by_em])])
        result = mle(data, begin)
        best, fewer = result.best(axis=0), result.gain(truth)[:starts:2].max(axis=0)
        em_gain = log_likelihood_difference(by_em, truth, data)
        gains[k] = LikelihoodGains(sizes, best.gain(truth), em_gain, fewer, best.at_bound, best.measure, data)
    return gains


def _from_truth(truth, k, data, rng):
    """The likeliest of three short runs of EM, one of them from the truth itself, continued."""
    shape = data.batch_shape
    begin = [near_truth(truth, k, rng, size=shape, sd=sd, split_mass=True) for sd in (0.0, 0.3, 1.0)]
    short = em(data, _in_box(MixingMeasure.stack(begin)), stopping=StoppingRule("absolute", 1e-2, 200)).best(axis=0)
    return em(data, short.measure, stopping=StoppingRule("absolute", 1e-4, 1000)).measure


def _in_box(G):
    """In the gauge in which the last atom is fixed at 0, the one of Theta here, and inside Theta."""
    return DEFAULT_THETA.clip(G.in_gauge("last"))


def second_opinion(gains, rng, *, samples=6, starts=6, sd=2.0):
    """Maximise again with L-BFGS-B: by how many nats it beats the likeliest fit, and from where.

    Parameters
    ----------
    gains : LikelihoodGains
    rng : numpy.random.Generator
    samples : int
        How many samples of the largest size, at most.
    starts : int
        Random starts for each, of standard deviation `sd`.
    sd : float

    Returns
    -------
    onward : ndarray (samples,)
        What it adds, in nats, when it starts from the likeliest fit; zero or more.
    afresh : ndarray (samples, starts)
        Its own end points from random starts less the likeliest fit: negative where they are less likely.
    """
    fits, data = gains.fits[-1, :samples], gains.samples
    k, K, count = fits.k, fits.K, len(fits.beta0)
    begin = random_start(k, K, 1, rng, size=(count, starts), sd=sd)
    onward, afresh = np.empty(count), np.empty((count, starts))
    for i in range(count):
        weights, fit = data.weights[-1, i], fits[i]
        onward[i] = _maximise(fit, fit, data.points, weights)
        for j in range(starts):
            afresh[i, j] = _maximise(begin[i, j], fit, data.points, weights)
    return onward, afresh


def _maximise(start, reference, points, weights):
    """L-BFGS-B's gain over a reference, in nats; the gate of the last atom stays at 0, class K is the reference."""
    k, K, radius = start.k, start.K, DEFAULT_THETA.beta0
    old = (weights * np.log(density(reference, points))).sum()

    def minus(v):
        G = MixingMeasure.from_vector(v, k, K, 1)
        gradient = np.einsum("km,kmp->p", weights, score(G, points))
        return old - (weights * np.log(density(G, points))).sum(), -gradient

    options = {"maxiter": 3000, "maxfun": 6000, "maxcor": 30, "ftol": 1e-14, "gtol": 1e-6}
    begin = np.clip(start.to_vector(), -radius, radius)
    bounds = [(-radius, radius)] * begin.size
    found = optimize.minimize(minus, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return -float(found.fun)


# ------------------------------------------------------------------------------------------------------------
# The proof of Proposition 2.2


def entropy_integral(xi, A=1.0, shift=1.0):
    r"""The larger of xi and the integral of :math:`\sqrt{A (shift + \log(1/t))}` over t from xi^2 / 2^13 to xi.

    Equation (39) of the paper, with the bound of the bracketing entropy H_B in its place.

    Parameters
    ----------
    xi : array_like
        Inside (0, 1).
    A : float
        Positive.
    shift : float
        1 for the bound A (1 + log(1/t)) of H_B, 0 for A log(1/t).

    Returns
    -------
    ndarray
    """
    xi = _inside(xi)

    def from_zero(t):  # the integral from 0 to t: an upper incomplete gamma function
        return np.exp(shift) * special.gamma(1.5) * special.gammaincc(1.5, shift + np.log(1.0 / t))

    return np.maximum(np.sqrt(A) * (from_zero(xi) - from_zero(xi**2 / LOWEST)), xi)


def psi(xi, A=1.0):
    r"""The function of the corrected proof, :math:`\max(1, \frac32 \sqrt A)\, \xi \sqrt{1 + \log(1/\xi)}`."""
    xi = _inside(xi)
    return max(1.0, 1.5 * np.sqrt(A)) * xi * np.sqrt(1.0 + np.log(1.0 / xi))


def psi_printed(xi):
    r"""The function of appendix B.1.2, :math:`\xi \sqrt{\log(1/\xi)}`."""
    xi = _inside(xi)
    return xi * np.sqrt(np.log(1.0 / xi))


def _inside(xi):
    xi = as_float_array(xi, "xi")
    if xi.size and not (xi.min() > 0.0 and xi.max() < 1.0):
        raise ValueError(message("xi", "numbers inside (0, 1)", f"{xi.min()} to {xi.max()}", "h is at most 1"))
    return xi


def averages(G, truth, x):
    """The average of two densities, and the density of the average of the two measures.

    Parameters
    ----------
    G, truth : MixingMeasure
        Without batch axes, same K and d.
    x : array (m, d)

    Returns
    -------
    of_densities, of_measures : ndarray (K, m)
        (g_G + g_G*) / 2, and g of (G + G*) / 2, which weighs the two densities by their denominators.
    """
    both = MixingMeasure.concatenate([G, truth])  # without batch axes the first axis is that of the atoms
    return 0.5 * (density(G, x) + density(truth, x)), density(both, x)
