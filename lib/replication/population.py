"""The maxima of the expected log-likelihood: what a sample's likelihood looks like when n is infinite.

An over-fitted model has, besides the truth, local maxima far from it whose densities are almost the true one.  A sample
of n points prefers the truth to such a maximum by n times its Kullback-Leibler divergence, give or take a few nats, so
that the maximum likelihood estimator may be there until that is several nats.  :func:`population_maxima` searches for
them from many starts and says how complete the search is: the Good-Turing estimate of the share of starts that
would end in a maximum not yet seen.  :func:`onset_size` is the n that follows.  Maxima that a longer search has found
and stored (:func:`read_maxima`) are climbed to anew and tested by :func:`verified_maxima`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace

import numpy as np

from logitmoe.checks import as_count, as_generator, message
from logitmoe.divergences import uniform_design
from logitmoe.fitting import random_start
from logitmoe.gates import Gate, as_gate, identity
from logitmoe.information import fisher_information, standard_errors
from logitmoe.losses import voronoi_loss_parts
from logitmoe.measure import DEFAULT_THETA, MixingMeasure, Theta
from logitmoe.model import density
from logitmoe.newton import log_likelihood_difference, mle

from .samples import expected
from .starts import cells_in_turn, near_truth

__all__ = [
    "FAR",
    "LARGEST",
    "SAME",
    "Maxima",
    "Population",
    "onset_size",
    "population_maxima",
    "population_starts",
    "random_truth",
    "read_maxima",
    "recombinations",
    "verified_maxima",
]

#: Kullback-Leibler divergence below which a density counts as the true one.
SAME = 1e-16
#: Loss D_2, least over translations, from which a maximum counts as far from the truth.
FAR = 0.3
#: Divergence above which no maximum is kept: at n = 10^6 it is twenty nats behind.
LARGEST = 2e-5
#: Nats by which the truth is ahead of the nearest far maximum, on average, where the theorem "begins to speak".
ENOUGH = 5.0
#: Largest relative error of a stored divergence, and largest gain (nats per observation) left at a maximum.
STORED_ERROR, STORED_STEP = 1e-2, 1e-18
#: Steps and tolerance of the first pass over all starts; those that cannot matter are given up after it.
FIRST_STEPS, FIRST_TOL = 60, 1e-8


@dataclass(frozen=True, eq=False)
class Population:
    """An infinite sample, and the model that is fitted to it.

    Parameters
    ----------
    truth : MixingMeasure
        Without batch axes.
    k : int
        Number of atoms of the fit.
    gate : Gate, str or callable, default identity
    domain : tuple of float, default (-3, 3)
        Each covariate is uniform on it.
    p : int, default 48
        Gauss-Legendre nodes that stand for a covariate.
    theta : Theta
        The parameter set, in the gauge in which the last atom has beta0 = 0 and beta1 = 0.
    """

    truth: MixingMeasure
    k: int
    gate: Gate | str = identity
    domain: tuple[float, float] = (-3.0, 3.0)
    p: int = 48
    theta: Theta = DEFAULT_THETA

    def __post_init__(self) -> None:
        if not isinstance(self.truth, MixingMeasure) or self.truth.batch_shape != ():
            raise ValueError(message("truth", "one MixingMeasure", f"{self.truth}", "index it first"))
        if as_count(self.k, "k") < self.truth.k:
            raise ValueError(message("k", f"at least k* = {self.truth.k}", self.k, "fit no fewer experts"))
        object.__setattr__(self, "gate", as_gate(self.gate))

    def data(self):
        """The expected weights of the classes at the nodes, of sum 1."""
        return expected(self.truth, 1.0, domain=self.domain, gate=self.gate, p=self.p)


@dataclass(frozen=True, eq=False)
class Maxima:
    """Different local maxima of an expected log-likelihood, the nearest to the true density first.

    Two end points count as one maximum if their densities differ, anywhere, by no more than a hundredth of what
    separates them from the true density (all densities within 1e-16 of it in divergence are one).

    Attributes
    ----------
    measure : MixingMeasure, batch shape (F,)
    divergence : ndarray, shape (F,)
        Kullback-Leibler divergence from the truth.
    loss : ndarray, shape (F,)
        D_2 from the truth, least over translations.
    hits : ndarray of int, shape (F,)
        Starts that ended there.
    starts : int
        All starts, with those that ended at a divergence above 2e-5, which are not kept.
    unfinished : int
        Starts that were still moving after the last step, away from the truth.
    """

    measure: MixingMeasure
    divergence: np.ndarray
    loss: np.ndarray
    hits: np.ndarray
    starts: int
    unfinished: int

    @property
    def unseen(self) -> float:
        """Good-Turing estimate of the share of starts that would end in a maximum that is not in the list."""
        return float((self.hits == 1).sum() / self.starts)

    @property
    def nearest(self) -> float:
        """Divergence of the nearest maximum that is far from the truth and has another density; infinite if none."""
        return float(self.divergence[(self.loss >= FAR) & (self.divergence > SAME)].min(initial=np.inf))

    @property
    def nearest_other(self) -> float:
        """Divergence of the nearest maximum with another density than the true one, far or not; infinite if none."""
        return float(self.divergence[self.divergence > SAME].min(initial=np.inf))

    def within(self, divergence: float) -> MixingMeasure:
        """The maxima up to a divergence, batch shape (F',)."""
        return self.measure[self.divergence <= divergence]


def onset_size(nearest, nats=ENOUGH):
    """The n at which the truth is ahead of the nearest far maximum by so many nats on average: nats / divergence."""
    return nats / np.asarray(nearest, dtype=float)


def recombinations(population: Population, rng: np.random.Generator, size: int, sd: float = 0.3) -> MixingMeasure:
    """Starts whose gates and experts are lines of the truth in new places: what exact twins look like.

    Every logit of a gate or of a class of an expert is, up to sign, a logit of the truth (of a gate, of a class, their
    sums and differences), zero, or random with standard deviation 2; and then moved at random.  The swap, the exchange,
    the doubling and the splits of :mod:`replication.pairs` are of this form.

    Parameters
    ----------
    population : Population
    rng : numpy.random.Generator
    size : int
    sd : float
        Standard deviation by which each parameter is moved.

    Returns
    -------
    MixingMeasure, batch shape (size,)
    """
    rng, truth, k = as_generator(rng), population.truth.in_gauge("last").canonical(), population.k
    gates = np.concatenate([truth.beta0[:-1, None], truth.beta1[:-1]], axis=-1)
    experts = np.concatenate([truth.a[..., None], truth.b], axis=-1)[:, :-1].reshape(-1, 1 + truth.d)
    lines = np.concatenate([gates, experts])
    i, j = np.triu_indices(len(lines), 1)
    pool = np.concatenate([lines, lines, lines[i] + lines[j], lines[i] - lines[j], np.zeros((2, 1 + truth.d))])

    def draw(*shape):
        chosen = pool[rng.integers(len(pool), size=shape)] * rng.choice([-1.0, 1.0], size=(*shape, 1))
        wild = 2.0 * rng.standard_normal((*shape, 1 + truth.d))
        return np.where(rng.random((*shape, 1)) < 0.25, wild, chosen) + sd * rng.standard_normal(wild.shape)

    gate, expert = draw(size, k), draw(size, k, truth.K)
    gate[:, -1], expert[:, :, -1] = 0.0, 0.0
    return population.theta.clip(MixingMeasure(gate[..., 0], gate[..., 1:], expert[..., 0], expert[..., 1:]))


def population_starts(population: Population, rng: np.random.Generator, size: int) -> MixingMeasure:
    """Starts of a search: half random (standard deviations 1, 2 and 4), the others recombinations and splits.

    Parameters
    ----------
    population : Population
    rng : numpy.random.Generator
    size : int
        At least 8.

    Returns
    -------
    MixingMeasure, batch shape (size,)
    """
    rng, size = as_generator(rng), as_count(size, "size", minimum=8)
    k, truth, theta = population.k, population.truth, population.theta
    wide = size // 4
    counts = [size // 8, wide, wide // 2]
    parts = [
        random_start(k, truth.K, truth.d, rng, size=count, sd=sd, theta=theta)
        for count, sd in zip(counts, (1.0, 2.0, 4.0), strict=True)
    ]
    near = size // 8
    how = dict(size=near, sd=0.5, split_mass=True, cells=cells_in_turn(k, truth.k, near), theta=theta)
    parts.append(theta.clip(near_truth(truth, k, rng, **how).in_gauge("last")))
    parts.append(recombinations(population, rng, size - near - sum(counts)))
    return MixingMeasure.concatenate(parts)


def population_maxima(
    population: Population, rng: np.random.Generator, *, starts: int = 2000, max_iter: int = 300, known=None
) -> Maxima:
    """Search for the maxima of the expected log-likelihood with a divergence of at most 2e-5.

    Parameters
    ----------
    population : Population
    rng : numpy.random.Generator
    starts : int
        See :func:`population_starts`.
    max_iter : int
        Steps of the second pass.
    known : Maxima, optional
        Of an earlier search of the same population; its hits and starts are counted on.

    Returns
    -------
    Maxima

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind.

    Notes
    -----
    All starts make up to 60 steps.  Those that have come near the truth then count as ended there, and those that have
    converged at, or not come below, a divergence of 2e-5 are given up; the others go on until they are stationary up to
    rounding.  That a search finds nothing is no proof: it has `unseen` to say how much it may have missed.
    """
    if not isinstance(population, Population):
        raise TypeError(message("population", "a Population", type(population).__name__, "build one"))
    rng, starts = as_generator(rng), as_count(starts, "starts")
    data, truth = population.data(), population.truth
    options = dict(gate=population.gate, theta=population.theta)

    def divergence_of(G):
        return log_likelihood_difference(truth, G, data, population.gate)

    first = mle(data, population_starts(population, rng, starts), tol=FIRST_TOL, max_iter=FIRST_STEPS, **options)
    G, ends = first.measure, divergence_of(first.measure)
    G = G[ends <= (1.0 + 9.0 * (first.reason == "max_iter")) * LARGEST]
    ends = divergence_of(G)
    at_truth = (ends < 1e-9) & (_loss(G, truth) < 0.03)
    hits = int(at_truth.sum())
    second = mle(data, G[~at_truth], tol=1e-22, max_iter=max_iter, **options)
    G, ends, moving = second.measure, divergence_of(second.measure), second.reason == "max_iter"
    loss = _loss(G, truth)
    same = (np.abs(ends) <= SAME) | (moving & (ends < 1e-9) & (loss < FAR))
    hits += int(same.sum())
    keep = ~same & ~moving & (ends <= LARGEST)
    unfinished = int((moving & ~same & (ends <= LARGEST)).sum())
    measures, counts = [_as_start(population)], [hits]
    if known is not None:
        measures, counts = list(known.measure), list(known.hits)
        counts[0] += hits
        starts, unfinished = starts + known.starts, unfinished + known.unfinished
    measures, counts = _merge(G[keep], ends[keep], measures, counts, population)
    found = MixingMeasure.stack(measures)
    divergence = np.maximum(divergence_of(found), 0.0)
    divergence[0] = 0.0
    order = np.argsort(divergence, kind="stable")
    hit = np.array(counts)[order]
    return Maxima(found[order], divergence[order], _loss(found[order], truth), hit, starts, unfinished)


def _as_start(population: Population) -> MixingMeasure:
    """The truth as a measure of k atoms: its first atom split into atoms of the same parameters."""
    G = population.truth.in_gauge("last").canonical()
    while G.k < population.k:
        G = G.split(0, 0.5)
    return population.theta.clip(G.in_gauge("last"))


def _loss(G: MixingMeasure, truth: MixingMeasure) -> np.ndarray:
    if not G.batch_shape[0]:
        return np.empty(0)
    return voronoi_loss_parts(G, truth, 2.0, gauge="infimum").total


def _merge(G, divergence, measures, counts, population):
    """Add end points to the different maxima and their counts."""
    x, true = population.data().points, density(population.truth, population.data().points, population.gate)
    difference = [density(H, x, population.gate) - true for H in measures]
    for i in np.argsort(divergence):
        own = density(G[i], x, population.gate) - true
        size = np.abs(own).max()
        apart = [np.abs(own - other).max() for other in difference]
        nearest = int(np.argmin(apart))
        if apart[nearest] <= 0.01 * size:
            counts[nearest] += 1
        else:
            measures.append(G[i])
            counts.append(1)
            difference.append(own)
    return measures, counts


def read_maxima(path, populations: dict) -> dict:
    """Maxima that `benchmarks/maxima.py` has stored, as they are in its file.

    Parameters
    ----------
    path : str or Path
    populations : dict
        From (design, gate), names as in the file, to the :class:`Population`.

    Returns
    -------
    dict
        From (design, gate) to :class:`Maxima`, whose losses are NaN: :func:`verified_maxima` computes them.

    Raises
    ------
    ValueError
        If the file has no maxima of a population.
    """
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for (design, gate), population in populations.items():
        own = [row for row in rows if (row["design"], row["gate"]) == (design, gate)]
        if not own:
            raise ValueError(message("path", f"maxima of {design}, {gate}", "none", "run benchmarks/maxima.py"))
        vectors = np.array([row["vector"].split() for row in own], dtype=float)
        G = MixingMeasure.from_vector(vectors, population.k, population.truth.K, population.truth.d)
        divergence, hits = (np.array([row[name] for row in own], dtype=float) for name in ("divergence", "hits"))
        counts = int(own[0]["starts"]), int(own[0]["unfinished"])
        found[design, gate] = Maxima(G, divergence, np.full(len(own), np.nan), hits.astype(int), *counts)
    return found


def verified_maxima(population: Population, stored: Maxima, *, max_iter: int = 60) -> Maxima:
    """Climb from stored maxima, and test that they are maxima with the divergences that are said.

    Parameters
    ----------
    population : Population
    stored : Maxima
        Of an earlier search; its first one has the true density.
    max_iter : int
        Steps.

    Returns
    -------
    Maxima
        With measures, divergences and losses computed here; the counts are those of the stored search.

    Raises
    ------
    ValueError
        If one of them is not stationary after the steps, curves upwards along a coordinate that is free to move, or has
        a divergence that differs by more than a hundredth.
    """
    data, truth, gate = population.data(), population.truth, population.gate
    start = population.theta.clip(stored.measure)
    end = mle(data, start, gate=gate, theta=population.theta, tol=1e-22, max_iter=max_iter)
    divergence = np.maximum(log_likelihood_difference(truth, end.measure, data, gate), 0.0)
    apart = np.abs(divergence - stored.divergence) > STORED_ERROR * stored.divergence + SAME
    still = (end.reason != "max_iter") | (end.predicted_gain <= STORED_STEP)
    wrong = np.flatnonzero(apart | ~still | (end.smallest_eigenvalue < -1e-12))
    if wrong.size:
        got = f"others in rows {wrong.tolist()}"
        raise ValueError(message("stored", "maxima of this population", got, "run benchmarks/maxima.py again"))
    divergence[divergence <= SAME] = 0.0
    return replace(stored, measure=end.measure, divergence=divergence, loss=_loss(end.measure, truth))


def random_truth(K: int, rng: np.random.Generator, *, d: int = 1, worst: float = 60.0, theta: Theta, p: int = 48):
    """A random truth with two atoms in Regime 1 that is well-conditioned, X uniform on [-3, 3]^d, standard gate.

    Parameters
    ----------
    K : int
        Number of classes.
    rng : numpy.random.Generator
    d : int
        Number of covariates.
    worst : float
        The largest standard error of a parameter, times sqrt(n), at k = 2 is below this; other draws are rejected.
    theta : Theta
    p : int
        Nodes for a covariate.

    Returns
    -------
    MixingMeasure
        beta0 uniform on [-1, 1], beta1 on [-3, -0.5] and [0.5, 3], a and b on [-6, 6] and [-5, 5].  For d > 1 the
        direction of beta1 is uniform, and the entries of b are divided by the root of d: logits spread as for d = 1.
    """
    rng, design = as_generator(rng), uniform_design(-3, 3, d=d, nodes=p, panels=1)
    while True:
        beta0, size = rng.uniform(-1, 1), rng.uniform(0.5, 3)
        direction = rng.choice([-1, 1], 1) if d == 1 else rng.standard_normal(d)
        free = 2 * (K - 1)
        experts = rng.uniform(-6, 6, free), rng.uniform(-5, 5, free * d) / np.sqrt(d)
        v = np.concatenate([[beta0], size * direction / np.linalg.norm(direction), *experts])
        truth = MixingMeasure.from_vector(v, 2, K, d)
        if np.linalg.cond(fisher_information(truth, design)) > 1e10:
            continue
        if standard_errors(truth, design).max() < worst and theta.contains(truth):
            return truth
