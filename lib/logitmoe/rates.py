"""Rates of the maximum likelihood estimator and of EM, measured over many decades of the sample size.

A :class:`Study` says what is fitted to which data: a truth, a gate, a number of experts, sample sizes, replicates and
starts.  :func:`run_studies` draws the samples (:mod:`logitmoe.asymptotics`), maximises the likelihood from all the
starts (:mod:`logitmoe.maximum_likelihood`), and keeps what a rate can be read from: the best fit, how many starts agree
with it, its Voronoi loss with its parts, its Hellinger distance, and the same for EM.

Starts have fixed distances from the truth.  Starts that come closer as n grows would plant a rate: along a ridge of
equally likely measures the maximiser stays near where it starts.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from ._jobs import run_jobs
from ._validation import as_count, message
from .asymptotics import draw, expected
from .data import WeightedPoints
from .estimator import StoppingRule, em
from .gates import Gate, as_gate, identity
from .losses import VoronoiLoss, hellinger, uniform_design, voronoi_loss_parts
from .maximum_likelihood import log_likelihood_difference, mle
from .measure import DEFAULT_THETA, MixingMeasure, Theta
from .starts import near_truth, random_start

__all__ = ["Study", "StudyResult", "equivalent_measure", "run_studies", "split_starts"]

#: Gains within which two fits count as equally likely, in nats.
TIE = 1e-3
#: Kullback-Leibler divergence below which a density counts as the true one.
SAME_DENSITY = 1e-18
_FIELDS = ("beta0", "beta1", "a", "b")


@dataclass(frozen=True, eq=False)
class Study:
    """What is fitted to which data, for every sample size and replicate.

    Parameters
    ----------
    name : str
    truth : MixingMeasure
        Without batch axes, d = 1.
    k : int
        Number of experts to fit, at least the truth's.
    gate : Gate, str or callable, default identity
        Of the data and of the fits.
    domain : tuple of float, default (-3, 3)
        X is uniform on it.
    sizes : tuple of int
        Sample sizes, ascending.
    replications : int
        Samples of each size.
    near, far : int
        Starts about the truth, at standard deviations `near_sd` and `far_sd` of every parameter.  The over-fitted cells
        take turns: with k = k* + 1 start j has its extra atom at true atom j modulo k*.
    wide : int
        Starts that know nothing of the truth, at standard deviation `wide_sd`.
    near_sd, far_sd, wide_sd : float
    em_iterations : int, default 0
        If positive, EM too is run for at most so many iterations, from the first start.
    p : int
        Nodes of the data, see :func:`.draw`.
    theta : Theta
        The compact parameter set.
    max_iter : int
        Steps that :func:`.mle` may take.
    seed : int
        Of the samples and the starts.  Studies with the same truth, gate, domain, sizes and seed share their samples.

    Raises
    ------
    TypeError, ValueError
        If a count, the truth or the gate is not valid.
    """

    name: str
    truth: MixingMeasure
    k: int
    gate: Gate | str = identity
    domain: tuple[float, float] = (-3.0, 3.0)
    sizes: tuple[int, ...] = tuple(10**j for j in range(3, 13))
    replications: int = 40
    near: int = 4
    far: int = 1
    wide: int = 3
    near_sd: float = 0.3
    far_sd: float = 1.0
    wide_sd: float = 2.0
    em_iterations: int = 0
    p: int = 48
    theta: Theta = DEFAULT_THETA
    max_iter: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.truth, MixingMeasure) or self.truth.batch_shape != () or self.truth.d != 1:
            raise ValueError(message("truth", "one MixingMeasure with d = 1", f"{self.truth}", "index it first"))
        if self.k < self.truth.k:
            raise ValueError(message("k", f"at least k* = {self.truth.k}", self.k, "fit no fewer experts"))
        for name in ("k", "replications", "p", "max_iter"):
            as_count(getattr(self, name), name)
        for name in ("near", "far", "wide", "em_iterations"):
            as_count(getattr(self, name), name, minimum=0)
        if self.starts < 1:
            raise ValueError(message("near, far, wide", "at least one start", "none", "ask for one"))
        if list(self.sizes) != sorted(set(self.sizes)) or not self.sizes:
            raise ValueError(message("sizes", "ascending sample sizes", self.sizes, "sort them"))
        object.__setattr__(self, "gate", as_gate(self.gate))

    @property
    def starts(self) -> int:
        """Number of starts."""
        return self.near + self.far + self.wide

    def _rng(self, size: int, kind: int) -> np.random.Generator:
        """The random stream of the samples (0) or the starts (1) of one size."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(int(size), kind)))

    def samples(self, size: int) -> WeightedPoints:
        """The samples of one size, batch shape (replications,)."""
        options = dict(size=self.replications, domain=self.domain, gate=self.gate, p=self.p, method="multinomial")
        return draw(self.truth, int(size), self._rng(size, 0), **options)

    def starting_points(self, size: int) -> MixingMeasure:
        """Starts of the fits to the samples of one size, batch shape (replications, starts)."""
        rng, truth = self._rng(size, 1), self.truth
        parts = []
        for count, sd in ((self.near, self.near_sd), (self.far, self.far_sd)):
            parts.append(split_starts(truth, self.k, rng, (self.replications, count), sd, self.theta))
        shape = (self.replications, self.wide)
        parts.append(random_start(self.k, truth.K, truth.d, rng, size=shape, sd=self.wide_sd, theta=self.theta))
        return MixingMeasure(*(np.concatenate([getattr(G, name) for G in parts], axis=1) for name in _FIELDS))


def split_starts(truth, k, rng, size, sd, theta=DEFAULT_THETA) -> MixingMeasure:
    """Starts about a measure, whose atoms are split in turn and share their masses; see :func:`.near_truth`.

    Parameters
    ----------
    truth : MixingMeasure
        Without batch axes.
    k : int
        Number of atoms of the starts.
    rng : numpy.random.Generator
    size : tuple of int
        Batch shape.  Along its last axis, start j splits the true atoms j, j + 1, ... modulo k*.
    sd : float
        Standard deviation of every parameter about its true atom's.
    theta : Theta

    Returns
    -------
    MixingMeasure, batch shape size
    """
    extra = np.arange(size[-1])[:, None] + np.arange(k - truth.k)
    cells = np.concatenate([np.broadcast_to(np.arange(truth.k), (size[-1], truth.k)), extra % truth.k], axis=-1)
    cells = np.sort(cells, axis=-1)
    return near_truth(truth, k, rng, size=size, sd=sd, split_mass=True, cells=cells, theta=theta)


@dataclass(frozen=True, eq=False)
class StudyResult:
    """The fits of a study: S sizes, R replicates.

    Attributes
    ----------
    study : Study
    fits : MixingMeasure, batch shape (S, R, starts)
        Where the maximisation led from every start.
    deficit : ndarray, shape (S, R, starts)
        Nats by which each of them is less likely than the best.
    gain : ndarray, shape (S, R)
        Nats by which the best is more likely than the truth.
    reason : ndarray of str, shape (S, R, starts)
    promise, smallest_eigenvalue, distance_to_bound : ndarray, shape (S, R, starts)
        The certificates, see :class:`.MLEResult`.
    n_iter : ndarray of int, shape (S, R, starts)
    em : MixingMeasure or None, batch shape (S, R)
        EM's result from the first start.
    em_deficit : ndarray or None, shape (S, R)
        Nats by which it is less likely than the best.
    em_converged : ndarray of bool or None, shape (S, R)
    """

    study: Study
    fits: MixingMeasure
    deficit: np.ndarray
    gain: np.ndarray
    reason: np.ndarray
    promise: np.ndarray
    smallest_eigenvalue: np.ndarray
    distance_to_bound: np.ndarray
    n_iter: np.ndarray
    em: MixingMeasure | None = None
    em_deficit: np.ndarray | None = None
    em_converged: np.ndarray | None = None

    @property
    def sizes(self) -> np.ndarray:
        """Sample sizes, (S,)."""
        return np.array(self.study.sizes)

    @property
    def winner(self) -> tuple[np.ndarray, ...]:
        """Index of the best fit of each sample."""
        return (*np.indices(self.gain.shape, sparse=True), self.deficit.argmin(axis=-1))

    @property
    def best(self) -> MixingMeasure:
        """The most likely fits: the maximum likelihood estimates, as far as the starts find them. Batch (S, R)."""
        return self.fits[self.winner]

    def loss(self, fits: MixingMeasure | None = None, r: float = 2.0) -> VoronoiLoss:
        """The Voronoi loss, least over translations, and its parts; of the best fits or of those given."""
        return voronoi_loss_parts(self.best if fits is None else fits, self.study.truth, r, gauge="infimum")

    def hellinger(self, fits: MixingMeasure | None = None) -> np.ndarray:
        """Hellinger distance from the true density; of the best fits or of those given."""
        fits = self.best if fits is None else fits
        return hellinger(fits, self.study.truth, self._design, self.study.gate)

    @property
    def _design(self):
        return uniform_design(*self.study.domain, nodes=self.study.p, panels=1)

    def tied(self, tie: float = TIE) -> np.ndarray:
        """Which fits are as likely as the best, to `tie` nats: bool (S, R, starts)."""
        return self.deficit <= tie


def run_studies(
    studies: list[Study], *, executor: Executor | None = None, progress=None
) -> list[StudyResult]:
    """Run studies, a job for each sample size of each.

    Parameters
    ----------
    studies : list of Study
    executor : concurrent.futures.Executor, optional
        Default: a process for each core.
    progress : bool or callable, optional
        As for :func:`.run_panels`.

    Returns
    -------
    list of StudyResult
        Independent of the executor.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    """
    studies = list(studies)
    for study in studies:
        if not isinstance(study, Study):
            raise TypeError(message("studies", "a list of Study", f"a {type(study).__name__}", "build them first"))
    jobs = [(study, size) for study in studies for size in study.sizes]
    records = [{"name": study.name} for study in studies]
    parts = iter(run_jobs(_run, jobs, records=records, executor=executor, progress=progress))
    return [_assemble(study, [next(parts) for _ in study.sizes]) for study in studies]


def _run(study: Study, size: int) -> dict[str, np.ndarray]:
    """All fits to the samples of one size."""
    data, starts = study.samples(size), study.starting_points(size)
    data = WeightedPoints(data.points, data.weights[:, None])
    result = mle(data, starts, gate=study.gate, theta=study.theta, max_iter=study.max_iter)
    best = result.best()
    out = {name: getattr(result.measure, name) for name in _FIELDS}
    out |= {"deficit": best[:, None].gain(result), "gain": best.gain(study.truth)}
    for name in ("reason", "promise", "smallest_eigenvalue", "distance_to_bound", "n_iter"):
        out[name] = getattr(result, name)
    if study.em_iterations:
        rule = StoppingRule("absolute", 0.0, study.em_iterations)
        fit = em(data[:, 0], starts[:, 0], gate=study.gate, theta=study.theta, stopping=rule)
        out |= {f"em_{name}": getattr(fit.measure, name) for name in _FIELDS}
        out |= {"em_deficit": best.gain(fit), "em_converged": fit.converged}
    return out


def _assemble(study: Study, parts: list[dict[str, np.ndarray]]) -> StudyResult:
    arrays = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    fits = MixingMeasure(*(arrays.pop(name) for name in _FIELDS))
    if study.em_iterations:
        arrays["em"] = MixingMeasure(*(arrays.pop(f"em_{name}") for name in _FIELDS))
    return StudyResult(study, fits, **arrays)


def equivalent_measure(G, truth, *, domain=(-3.0, 3.0), gate=identity, theta=DEFAULT_THETA, p=48, max_iter=2000):
    """A measure with the true density close to a given one, found by maximising the expected log-likelihood from there.

    Parameters
    ----------
    G : MixingMeasure, batch shape (...)
    truth : MixingMeasure
        Without batch axes.
    domain, gate, theta, p
        As for :class:`Study`.
    max_iter : int

    Returns
    -------
    measure : MixingMeasure, batch shape (...)
        With as many atoms as G, inside ``theta``.
    distance : ndarray, shape (...)
        Largest difference between a parameter of G and of the measure: an upper bound of G's distance from the set of
        all measures with the true density, in that norm.  NaN where the Kullback-Leibler divergence of the measure from
        the truth is not below 1e-18.
    """
    data = expected(truth, 1.0, domain=domain, gate=gate, p=p)
    result = mle(data, G, gate=gate, theta=theta, tol=1e-24, max_iter=max_iter)
    found = result.measure
    divergence = np.abs(log_likelihood_difference(truth, found, data, gate))
    shape = divergence.shape
    difference = [np.abs(getattr(G, n) - getattr(found, n)).reshape(*shape, -1).max(axis=-1) for n in _FIELDS]
    return found, np.where(divergence <= SAME_DENSITY, np.max(difference, axis=0), np.nan)
