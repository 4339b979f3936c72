"""Rates of the maximum likelihood estimator and of EM, measured over many decades of the sample size.

A :class:`Study` says what is fitted to which data: a truth, a gate, a number of experts, sample sizes, replicates and
starts.  :func:`run_studies` draws the samples (:mod:`replication.samples`), maximises the likelihood from all the
starts (:func:`.mle`; of many starts only those that can still win go on), and keeps what a rate can be read from: every
end point and how much less likely than the best it is, and the same for EM.  :func:`check_search` says how much more
starts would find.  :class:`StudyResult` sorts the end points by the true atom whose Voronoi cell is
over-fitted, and has their losses.

Starts have fixed distances from the truth.  Starts that come closer as n grows would plant a rate: along a ridge of
equally likely measures the maximiser stays near where it starts.

The starts of an over-fitted study are those maxima of the expected log-likelihood (:mod:`replication.population`) that
a sample of n points cannot exclude, and measures about the truth; where n is small, many random ones too.
:func:`equivalent_measure` finds a measure of the true density near a fit.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from logitmoe.checks import as_count, message
from logitmoe.data import WeightedPoints
from logitmoe.divergences import hellinger, uniform_design
from logitmoe.em_algorithm import em
from logitmoe.fitting import random_start
from logitmoe.gates import Gate, as_gate, identity
from logitmoe.losses import VoronoiLoss, voronoi_loss_parts
from logitmoe.measure import DEFAULT_THETA, FIELDS, MixingMeasure, Theta
from logitmoe.newton import log_likelihood_difference, mle
from logitmoe.results import StoppingRule

from ..jobs import run_jobs
from ..population import Maxima, Population, recombinations
from ..samples import draw
from ..starts import cells_in_turn, lightest_last, near_truth

__all__ = ["Study", "StudyResult", "check_search", "equivalent_measure", "parameter_errors", "run_studies"]

#: Kullback-Leibler divergence up to which a density counts as the true one.
SAME_DENSITY = 1e-18
#: Maxima of the population are starts while n times their divergence is at most so many nats.
WITHIN = 20.0
#: Where n times the divergence of the nearest one is below SMALL nats, there are at least MANY starts.
SMALL, MANY = 10.0, 50
#: More than `Study.keep` starts make so many steps, and so many times `keep`, the most likely ones, go on.
SCREENING, FIRST_TOL = ((15, 2), (25, 1)), 1e-3
#: Of more starts than POLISHED the end points are first found to ROUGH_TOL nats, and so many, the most likely, to 1e-9.
POLISHED, ROUGH_TOL = 5, 1e-4
#: Starts of a check that go on.
CHECKED = 4


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
    close_starts, far_starts : int
        Starts about the truth, at standard deviations `close_sd` and `far_sd` of every parameter.  The cells that are
        over-fitted take turns: with k = k* + 1 start j has its extra atom at true atom j modulo k*.  The lightest atom
        of the truth is then the last one, see :func:`.lightest_last`.
    blind_starts : int
        Starts that know nothing of the truth, at standard deviation `blind_sd`.
    close_sd, far_sd, blind_sd : float
    extra : MixingMeasure, batch shape (E,), optional
        More starts, the same for all samples.
    maxima : Maxima, optional
        Those of the expected log-likelihood.  For samples of n points the ones within 20/n of the truth in divergence
        are starts too, and where the nearest of the others is within 10/n there are random ones, to 50 in all.
    keep : int, default 16
        Of more starts than this only so many go on after 40 steps, the most likely ones (and twice as many after 15).
    em_iterations : int, default 0
        If positive, EM too is run, for so many iterations, from the first start of the first `em_samples` samples.
    em_samples : int
        At most; fewer if there are fewer replicates.
    em_sizes : tuple of int, optional
        Those of the sample sizes for which EM is run, default all.
    p : int
        Nodes of the data, see :func:`.draw`.
    theta : Theta
        The compact parameter set, in the gauge in which the last atom has beta0 = 0 and beta1 = 0.
    max_iter : int
        Steps that :func:`.mle` may take.
    method : str
        How samples are drawn, see :func:`.draw`.
    seed : int
        Of the samples and the starts.  Studies with the same truth, gate, domain, sizes and seed share their samples.

    Raises
    ------
    TypeError, ValueError
        If a count, the truth, the gate or the extra starts are not valid.
    """

    name: str
    truth: MixingMeasure
    k: int
    gate: Gate | str = identity
    domain: tuple[float, float] = (-3.0, 3.0)
    sizes: tuple[int, ...] = tuple(10**j for j in range(3, 13))
    replications: int = 40
    close_starts: int = 4
    far_starts: int = 2
    blind_starts: int = 2
    close_sd: float = 0.3
    far_sd: float = 1.0
    blind_sd: float = 2.0
    extra: MixingMeasure | None = None
    maxima: Maxima | None = None
    keep: int = 16
    em_iterations: int = 0
    em_samples: int = 16
    em_sizes: tuple[int, ...] | None = None
    p: int = 48
    theta: Theta = DEFAULT_THETA
    max_iter: int = 500
    method: str = "multinomial"
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.truth, MixingMeasure) or self.truth.batch_shape != () or self.truth.d != 1:
            raise ValueError(message("truth", "one MixingMeasure with d = 1", f"{self.truth}", "index it first"))
        for name in ("k", "replications", "em_samples", "keep", "p", "max_iter"):
            as_count(getattr(self, name), name)
        if self.k < self.truth.k:
            raise ValueError(message("k", f"at least k* = {self.truth.k}", self.k, "fit no fewer experts"))
        for name in ("close_starts", "far_starts", "blind_starts", "em_iterations"):
            as_count(getattr(self, name), name, minimum=0)
        if self.extra is not None:
            if not isinstance(self.extra, MixingMeasure) or len(self.extra.batch_shape) != 1 or self.extra.k != self.k:
                want = f"measures of {self.k} atoms with one batch axis"
                raise ValueError(message("extra", want, f"{self.extra}", "give a batch of starts"))
        if self.starts < 1:
            names = "close_starts, far_starts, blind_starts, extra"
            raise ValueError(message(names, "at least one start", "none", "ask for one"))
        if list(self.sizes) != sorted(set(self.sizes)) or not self.sizes:
            raise ValueError(message("sizes", "ascending sample sizes", self.sizes, "sort them"))
        if self.em_sizes is not None and (not self.em_sizes or not set(self.em_sizes) <= set(self.sizes)):
            expected = f"None or some of the sizes {self.sizes}"
            raise ValueError(message("em_sizes", expected, self.em_sizes, "leave out the others"))
        object.__setattr__(self, "gate", as_gate(self.gate))

    @property
    def starts(self) -> int:
        """Number of starts that do not depend on the sample size."""
        extra = 0 if self.extra is None else self.extra.batch_shape[0]
        return self.close_starts + self.far_starts + self.blind_starts + extra

    @property
    def design(self):
        """Distribution of X: the nodes of the samples."""
        return uniform_design(*self.domain, nodes=self.p, panels=1)

    def _rng(self, size: int, kind: int) -> np.random.Generator:
        """The random stream of the samples (0) or the starts (1) of one size."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(int(size), kind)))

    def samples(self, size: int) -> WeightedPoints:
        """The samples of one size, batch shape (replications,)."""
        options = dict(size=self.replications, domain=self.domain, gate=self.gate, p=self.p, method=self.method)
        return draw(self.truth, int(size), self._rng(size, 0), **options)

    def starting_points(self, size: int) -> MixingMeasure:
        """Starts of the fits to the samples of one size, batch (replications, starts).

        Close, far, blind and extra ones, maxima of the population, and more random ones, in this order.
        """
        rng, R = self._rng(size, 1), self.replications
        truth = lightest_last(self.truth) if self.k > self.truth.k else self.truth
        parts = []
        for count, sd in ((self.close_starts, self.close_sd), (self.far_starts, self.far_sd)):
            if count:
                how = dict(size=(R, count), sd=sd, split_mass=True, cells=cells_in_turn(self.k, truth.k, count))
                parts.append(near_truth(truth, self.k, rng, theta=self.theta, **how))
        how = dict(size=(R, self.blind_starts), sd=self.blind_sd, theta=self.theta)
        parts.append(random_start(self.k, truth.K, 1, rng, **how))
        fixed = [] if self.extra is None else [self.extra.canonical()]
        if self.maxima is not None:
            fixed.append(self.maxima.within(WITHIN / size))
        parts += [G.broadcast_to((R, *G.batch_shape)) for G in fixed]
        missing = MANY - sum(G.batch_shape[1] for G in parts)
        if self.maxima is not None and missing > 0 and size * self.maxima.nearest_other < SMALL:
            parts.append(self.random_starts(rng, (R, missing)))
        return self.theta.clip(MixingMeasure.concatenate(parts, axis=1).in_gauge("last"))

    @property
    def population(self) -> Population:
        """The infinite sample."""
        return Population(self.truth, self.k, self.gate, self.domain, self.p, self.theta)

    def random_starts(self, rng: np.random.Generator, shape: tuple[int, int]) -> MixingMeasure:
        """Starts far from the truth: every other one random, every other one a recombination of its lines."""
        R, count = shape
        blind = random_start(self.k, self.truth.K, 1, rng, size=(R, count - count // 2), sd=2.0, theta=self.theta)
        other = recombinations(self.population, rng, R * (count // 2)).reshape((R, count // 2))
        return MixingMeasure.concatenate([blind, other], axis=1)


@dataclass(frozen=True, eq=False)
class StudyResult:
    """The fits of a study: S sizes, R replicates.

    Attributes
    ----------
    study : Study
    fits : MixingMeasure, batch shape (S, R, starts)
        Where the maximisation led from every start that was not given up.
    nats_behind : ndarray, shape (S, R, starts)
        Nats by which each of them is less likely than the best, zero or more; infinite where a size has fewer starts.
    gain : ndarray, shape (S, R)
        Nats by which the best is more likely than the truth.
    reason : ndarray of str, shape (S, R, starts)
    predicted_gain, smallest_eigenvalue, distance_to_bound : ndarray, shape (S, R, starts)
        The certificates, see :class:`.MLEResult`.
    n_iter : ndarray of int, shape (S, R, starts)
    em : MixingMeasure or None, batch shape (F, E)
        EM's result from the first start of the first E samples, for the F sizes `em_sizes`.
    em_nats_behind : ndarray or None, shape (F, E)
        Nats by which it is less likely than the best.
    """

    study: Study
    fits: MixingMeasure
    nats_behind: np.ndarray
    gain: np.ndarray
    reason: np.ndarray
    predicted_gain: np.ndarray
    smallest_eigenvalue: np.ndarray
    distance_to_bound: np.ndarray
    n_iter: np.ndarray
    em: MixingMeasure | None = None
    em_nats_behind: np.ndarray | None = None

    @property
    def sizes(self) -> np.ndarray:
        """Sample sizes, (S,)."""
        return np.array(self.study.sizes)

    @property
    def em_sizes(self) -> np.ndarray:
        """Sample sizes for which EM was run, (F,)."""
        asked = self.study.em_sizes if self.study.em_sizes is not None else self.study.sizes
        return np.array([size for size in self.study.sizes if size in asked and self.em is not None], dtype=int)

    @property
    def winner(self) -> tuple[np.ndarray, ...]:
        """Index of the best fit of each sample."""
        return self.first(np.ones(self.nats_behind.shape, dtype=bool))[0]

    @property
    def best(self) -> MixingMeasure:
        """The most likely fits: the maximum likelihood estimates, as far as the starts find them. Batch (S, R)."""
        return self.fits[self.winner]

    def first(self, allowed: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """The most likely of the allowed fits of each sample.

        Parameters
        ----------
        allowed : ndarray of bool, shape (S, R, starts)

        Returns
        -------
        index : tuple of ndarray
            For arrays of shape (S, R, starts) and for `fits`.  Where no fit is allowed it is that of some other fit.
        found : ndarray of bool, shape (S, R)
            Whether one is allowed.
        """
        behind = np.where(allowed, self.nats_behind, np.inf)
        return (*np.indices(self.gain.shape, sparse=True), behind.argmin(axis=-1)), allowed.any(axis=-1)

    def using(self, starts) -> StudyResult:
        """The result that some of the starts alone would have given.

        Parameters
        ----------
        starts : sequence of int
            Their positions.

        Returns
        -------
        StudyResult
            `study`, `em` and `em_nats_behind` are kept.
        """
        starts = np.asarray(starts)
        part = {name: getattr(self, name)[..., starts] for name in _PER_START}
        least = part["nats_behind"].min(axis=-1, keepdims=True)
        part |= {"nats_behind": part["nats_behind"] - least, "gain": self.gain - least[..., 0]}
        return replace(self, fits=self.fits[:, :, starts], **part)

    def loss(self, fits: MixingMeasure | None = None, r: float = 2.0) -> VoronoiLoss:
        """The Voronoi loss, least over translations, and its parts; of the best fits or of those given."""
        return voronoi_loss_parts(self.best if fits is None else fits, self.study.truth, r, gauge="infimum")

    def hellinger(self, fits: MixingMeasure | None = None) -> np.ndarray:
        """Hellinger distance from the true density; of the best fits or of those given."""
        return hellinger(self.best if fits is None else fits, self.study.truth, self.study.design, self.study.gate)

    def over_fitted_atom(self) -> np.ndarray:
        """The true atom (from 0) whose cell alone is over-fitted, for each fit; int, shape (S, R, starts).

        -1 where there is none: several cells, or none, have more than one atom, some cell is empty, or the infimum of
        the loss over translations is the limit of vanishing mass, which is to say that the fit is not near the truth.
        """
        parts = self.loss(self.fits)
        over = parts.sizes > 1
        one = (over.sum(axis=-1) == 1) & (parts.sizes > 0).all(axis=-1) & np.isfinite(parts.t0)
        return np.where(one, over.argmax(axis=-1), -1)


_PER_START = ("nats_behind", "reason", "predicted_gain", "smallest_eigenvalue", "distance_to_bound", "n_iter")


def parameter_errors(G: MixingMeasure, truth: MixingMeasure) -> tuple[np.ndarray, np.ndarray]:
    """Largest error of beta1, a and b of an atom against the true atom of its cell, without weights.

    Parameters
    ----------
    G : MixingMeasure, batch shape (...)
    truth : MixingMeasure
        Without batch axes, d = 1.

    Returns
    -------
    over, exact : ndarray, shape (...)
        Over the atoms of cells with several atoms, and over those that are alone in theirs; in the translation that
        makes D_2 least.  NaN if there are none, or if that translation is the limit of vanishing mass.

    Raises
    ------
    TypeError, ValueError
        As for :func:`.voronoi_loss`, and if d is not 1.
    """
    parts = voronoi_loss_parts(G, truth, 2.0, gauge="infimum")
    if truth.d != 1:
        raise ValueError(message("truth", "d = 1", f"d = {truth.d}", "translations are exact for d = 1 only"))
    G, truth, cells = G.translate(0.0, parts.t1).canonical(), truth.canonical(), parts.cells
    error = np.abs(G.beta1 - truth.beta1[cells]).max(axis=-1)
    for name in ("a", "b"):
        difference = np.abs(getattr(G, name) - getattr(truth, name)[cells])
        error = np.maximum(error, difference.reshape(*cells.shape, -1).max(axis=-1))
    shared = np.take_along_axis(parts.sizes, cells, axis=-1) > 1
    near = np.isfinite(parts.t0)
    result = []
    for which in (shared, ~shared):
        largest = np.where(which, error, -np.inf).max(axis=-1)
        result.append(np.where(near & which.any(axis=-1), largest, np.nan))
    return result[0], result[1]


def run_studies(studies: list[Study], *, executor: Executor | None = None, progress=None) -> list[StudyResult]:
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
    jobs += [(study, None) for study in studies if study.em_iterations]
    parts = iter(run_jobs(_run, jobs, executor=executor, progress=progress))
    fitted = [[next(parts) for _ in study.sizes] for study in studies]
    return [
        _assemble(study, part, next(parts) if study.em_iterations else None)
        for study, part in zip(studies, fitted, strict=True)
    ]


def _run(study: Study, size: int | None) -> dict[str, np.ndarray] | MixingMeasure:
    """All fits to the samples of one size; without a size those of EM, of all sizes at once."""
    if size is None:
        return _run_em(study)
    data, starts = study.samples(size), study.starting_points(size)
    data = WeightedPoints(data.points, data.weights[:, None])
    options = dict(gate=study.gate, theta=study.theta, max_iter=study.max_iter)
    few = starts.batch_shape[1] <= POLISHED
    first = mle(data, starts if few else _screened(study, data, starts)[0], tol=1e-9 if few else ROUGH_TOL, **options)
    out = {name: np.array(getattr(first.measure, name)) for name in FIELDS}
    out |= {name: np.array(getattr(first, name)) for name in _PER_START if name != "nats_behind"}
    if not few:
        at = np.arange(study.replications)[:, None], np.argsort(_behind(first), axis=-1, kind="stable")[:, :POLISHED]
        last = mle(data, first.measure[at], **options)
        for name in out:
            out[name][at] = getattr(last.measure if name in FIELDS else last, name)
        out["n_iter"][at] += first.n_iter[at]
    fits = MixingMeasure(*(out[name] for name in FIELDS))
    ahead = log_likelihood_difference(fits, study.truth, data, study.gate)
    best = fits[np.arange(study.replications), ahead.argmax(axis=-1)]
    behind = log_likelihood_difference(best[:, None], fits, data, study.gate)  # the best may be another by rounding
    out["nats_behind"] = np.maximum(behind - behind.min(axis=-1, keepdims=True), 0.0)
    best = fits[np.arange(study.replications), behind.argmin(axis=-1)]
    out["gain"] = log_likelihood_difference(
        best, study.truth, WeightedPoints(data.points, data.weights[:, 0]), study.gate
    )
    return out


def _run_em(study: Study) -> MixingMeasure:
    """EM's fits to the first samples of all its sizes, batch shape (F, E)."""
    sizes, part = study.em_sizes or study.sizes, slice(study.em_samples)
    samples, starts = (
        [draw(n)[part] for n in sizes] for draw in (study.samples, lambda n: study.starting_points(n)[:, 0])
    )
    data = WeightedPoints(samples[0].points, np.stack([sample.weights for sample in samples]))
    rule = StoppingRule("absolute", 0.0, study.em_iterations)
    return em(data, MixingMeasure.stack(starts), gate=study.gate, theta=study.theta, stopping=rule).measure


def _behind(result) -> np.ndarray:
    """Nats by which fits (R, starts) are behind the best of their sample."""
    return result.best()[:, None].gain(result)


def _screened(study: Study, data: WeightedPoints, starts: MixingMeasure, keep=None) -> tuple[MixingMeasure, np.ndarray]:
    """The most likely starts after some steps, and their positions; the starts themselves if they are few."""
    keep, count = keep or study.keep, starts.batch_shape[1]
    order = np.broadcast_to(np.arange(count), starts.batch_shape)
    options, rows = dict(gate=study.gate, theta=study.theta, tol=FIRST_TOL), np.arange(len(order))[:, None]
    for steps, left in SCREENING:
        if order.shape[1] > left * keep:
            first = mle(data, starts, max_iter=steps, **options)
            likely = np.argsort(_behind(first), axis=-1, kind="stable")[:, : left * keep]
            starts, order = first.measure[rows, likely], order[rows, likely]
    return starts, order


def _padded(array: np.ndarray, name: str, count: int) -> np.ndarray:
    """An array (R, starts, ...) with its last start repeated, infinitely far behind, until there are `count`."""
    missing = count - array.shape[1]
    if not missing:
        return array
    more = np.repeat(array[:, -1:], missing, axis=1)
    return np.concatenate([array, np.full_like(more, np.inf) if name == "nats_behind" else more], axis=1)


def _assemble(study: Study, parts: list[dict[str, np.ndarray]], of_em: MixingMeasure | None) -> StudyResult:
    count = max(part["nats_behind"].shape[1] for part in parts)
    for part in parts:
        part |= {name: _padded(part[name], name, count) for name in (*FIELDS, *_PER_START)}
    arrays = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    result = StudyResult(study, MixingMeasure(*(arrays.pop(name) for name in FIELDS)), **arrays, em=of_em)
    if of_em is None:
        return result
    E, lacking = of_em.batch_shape[1], []
    for i, size in enumerate(result.em_sizes):
        best = result.best[study.sizes.index(size), :E]
        lacking.append(log_likelihood_difference(best, of_em[i], study.samples(size)[:E], study.gate))
    return replace(result, em_nats_behind=np.stack(lacking))


def check_search(results: list[StudyResult], *, samples=4, starts=16, seed=0, executor=None) -> list[np.ndarray]:
    """How much more likely measures other starts find than the best fits.

    Parameters
    ----------
    results : list of StudyResult
    samples : int
        How many samples of each size, the first ones.
    starts : int
        A quarter of them about the truth at the standard deviation 0.3, a quarter at 1, the others as
        :meth:`Study.random_starts` has them.  After 40 steps the four most likely go on.
    seed : int
        Of the starts, which are independent of those of the study.
    executor : concurrent.futures.Executor, optional

    Returns
    -------
    list of ndarray, shape (S, samples, starts)
        For each result the nats by which where each start leads is more likely than the best fit: negative where it is
        not, minus infinity where the start did not go on.

    Raises
    ------
    TypeError, ValueError
        If a count is not positive.
    """
    samples, starts = as_count(samples, "samples"), as_count(starts, "starts", minimum=4)
    jobs = [(r.study, size, r.best[i, :samples], starts, seed) for r in results for i, size in enumerate(r.study.sizes)]
    parts = iter(run_jobs(_check, jobs, executor=executor, progress=False))
    return [np.stack([next(parts) for _ in r.study.sizes]) for r in results]


def _check(study: Study, size: int, best: MixingMeasure, starts: int, seed: int) -> np.ndarray:
    """Nats by which other starts lead above the best fits, (samples, starts)."""
    rng = np.random.default_rng(np.random.SeedSequence((study.seed, seed), spawn_key=(int(size), 2)))
    count, quarter = len(best.beta0), starts // 4
    how = dict(size=(count, quarter), split_mass=True, theta=study.theta)
    how["cells"] = cells_in_turn(study.k, study.truth.k, quarter)
    truth = lightest_last(study.truth)
    parts = [near_truth(truth, study.k, rng, sd=sd, **how) for sd in (study.close_sd, study.far_sd)]
    parts.append(study.random_starts(rng, (count, starts - 2 * quarter)))
    joined = MixingMeasure.concatenate(parts, axis=1)
    data = WeightedPoints(study.design.points, study.samples(size).weights[:count, None])
    start, order = _screened(study, data, study.theta.clip(joined.in_gauge("last")), keep=CHECKED)
    options = dict(gate=study.gate, theta=study.theta, max_iter=study.max_iter)
    ahead = np.full((count, starts), -np.inf)
    np.put_along_axis(ahead, order, mle(data, start, tol=ROUGH_TOL, **options).gain(best[:, None]), axis=1)
    return ahead


def equivalent_measure(G: MixingMeasure, study: Study, *, max_iter=2000) -> tuple[MixingMeasure, np.ndarray]:
    """A measure with the true density close to a given one, found by maximising the expected log-likelihood from there.

    Parameters
    ----------
    G : MixingMeasure, batch shape (...)
        Inside the study's theta, with class K as the reference; fits are.
    study : Study
        Its truth, gate, domain, nodes and theta are used.
    max_iter : int

    Returns
    -------
    measure : MixingMeasure, batch shape (...)
        With as many atoms as G, inside theta.
    distance : ndarray, shape (...)
        Largest difference between a parameter of G and of the measure: an upper bound of G's distance from the set of
        all measures with the true density, in that norm.  NaN where the Kullback-Leibler divergence of the measure from
        the truth is not below 1e-18.

    Raises
    ------
    TypeError, ValueError
        As for :func:`.mle`.
    """
    data = study.population.data()
    found = mle(data, G, gate=study.gate, theta=study.theta, tol=1e-24, max_iter=max_iter).measure
    divergence = np.abs(log_likelihood_difference(study.truth, found, data, study.gate))
    shape = divergence.shape
    difference = [np.abs(getattr(G, n) - getattr(found, n)).reshape(*shape, -1).max(axis=-1) for n in FIELDS]
    return found, np.where(divergence <= SAME_DENSITY, np.max(difference, axis=0), np.nan)
