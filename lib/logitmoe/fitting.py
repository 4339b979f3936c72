"""Starting values, and :func:`fit`, from a table of covariates and labels to a fitted model."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from .chebyshev import chebyshev_order
from .checks import as_count, as_generator, as_instance, as_number, as_shape
from .compression import compress
from .data import WeightedPoints
from .em_algorithm import em, m_step
from .fitted import AGREE, FittedModel, Run
from .gates import Gate, as_gate, identity
from .measure import DEFAULT_THETA, MixingMeasure, Theta, as_theta
from .newton import MLEResult, mle
from .penalty import Ridge, as_penalty
from .results import StoppingRule
from .tables import Sample, Table, Units, read_table

__all__ = ["INTERCEPTS", "Starts", "as_starts", "default_penalty", "fit", "random_start", "search"]

#: The default penalty of :func:`fit`: on slopes, for each covariate, and on intercepts.
SLOPES, INTERCEPTS = 0.5, 0.01
#: Penalty of the first M-step of a partition: its cells may separate the classes.
START_PENALTY = Ridge(slopes=1.0, intercepts=0.1)
#: The box of a fit without a penalty, in units of standardised covariates.
WIDE = 1000.0
#: Points from which the short runs see a random part of the data only.
SCREEN = 20_000
#: Long runs of a sample with more points than that.
FEW_LONG = 8
#: Moments of a class at most, and how many a fit might need for the points to be fitted themselves.
MOMENTS, MANY_MOMENTS = 512, 10_000
#: Gain in nats that the last Newton step still promises.
TOL = 1e-12
#: Steps of a long run, and of the last.
LONG_STEPS, LAST_STEPS = 200, 1000
#: What a random start is called that Newton's method has to itself.
ALONE = "random without EM"
_LOG = logging.getLogger("logitmoe")


@dataclass(frozen=True)
class Starts:
    """Where :func:`fit` looks for the maximum.

    Every start is run shortly, by EM; then all, or the best, are run on by Newton's method; then perturbations of the
    best. Starts that were chosen for their short runs tend to agree, at the maximum or beside it: so where it costs
    little all are run on, and as many random ones are run by Newton's method alone, which reaches other maxima.

    Parameters
    ----------
    random : int, default 8
        Starts with random parameters; where all runs are run on, as many more that EM does not touch.
    partitions : int, default 8
        Starts with the experts fitted to random parts of the sample: half of them cells of nearest points, half of them
        by lot.
    splits : int, default 4
        Starts from the fit with one expert less, an expert of which is split in two (none for one expert).
    perturbations : int, default 4
        Perturbations of the best that was found.
    short : int, default 30
        EM iterations of a short run.
    long : int, optional
        Runs that are run on, the best of the short ones. Default all, and of more than 20,000 points 8.
    """

    random: int = 8
    partitions: int = 8
    splits: int = 4
    perturbations: int = 4
    short: int = 30
    long: int | None = None

    def __post_init__(self) -> None:
        for name in ("random", "partitions", "splits", "perturbations", "short", "long"):
            value, least = getattr(self, name), 1 if name in ("short", "long") else 0
            if name != "long" or value is not None:
                object.__setattr__(self, name, as_count(value, name, minimum=least))

    @classmethod
    def of(cls, count: int) -> Starts:
        """`count` independent starts, half of each kind."""
        count = as_count(count, "count")
        return cls(random=count - count // 2, partitions=count // 2)


def random_start(
    k: int,
    K: int,
    d: int,
    rng: np.random.Generator,
    *,
    size: int | tuple[int, ...] = (),
    sd: float = 1.0,
    theta: Theta = DEFAULT_THETA,
) -> MixingMeasure:
    """Starts that know nothing of a truth: independent centred Gaussian parameters.

    Parameters
    ----------
    k, K, d : int
        Numbers of atoms (at least 1), classes (at least 2) and covariates (at least 1).
    rng : numpy.random.Generator
    size : int or tuple of int, default ()
        Batch shape of the result.
    sd : float, default 1.0
        Standard deviation of every parameter (class K and the last gate stay zero).
    theta : Theta
        Draws outside are moved to its boundary.

    Returns
    -------
    MixingMeasure, batch shape size
    """
    rng = as_generator(rng)
    k, K, d = as_count(k, "k"), as_count(K, "K", minimum=2), as_count(d, "d")
    sd, shape = as_number(sd, "sd", "a standard deviation >= 0", "pass e.g. 0.05", least=0.0), as_shape(size, "size")
    theta = as_theta(theta)
    beta0, beta1, a, b = (sd * rng.standard_normal((*shape, *tail)) for tail in ((k,), (k, d), (k, K), (k, K, d)))
    beta0[..., -1] = 0.0
    beta1[..., -1, :] = 0.0
    a[..., -1] = 0.0
    b[..., -1, :] = 0.0
    return theta.clip(MixingMeasure(beta0, beta1, a, b))


def fit(
    x: np.ndarray,
    y: np.ndarray,
    k: int,
    *,
    rng: np.random.Generator,
    gate: Gate | str = identity,
    penalty: Ridge | None = None,
    starts: Starts | int | None = None,
    table: Table | None = None,
) -> FittedModel:
    """Fit k experts to a table: the most likely of many starts, with a weak ridge penalty by default.

    The covariates are standardised inside, and so are the values M(x) that the gate sees; the coefficients come back in
    the units of the data.  Both are exact for every gate, see :class:`.Units`; but M itself is taken of x as given.
    The penalty is on the slopes per standard deviation.  Short runs of EM come from all the starts, Newton's
    method (:func:`.mle`) runs them on, and the result is a certified local maximum, the best that was found.

    For progress in a long run say ``logging.basicConfig(level="INFO")`` before.

    Parameters
    ----------
    x : array_like or data frame, shape (n, d), or (n,)
        Covariates, numbers or bool, in any units.
    y : array_like, shape (n,)
        Labels of any type.
    k : int
        Number of experts.
    rng : numpy.random.Generator
        Source of the starts.
    gate : Gate, str or callable, default identity
        The map M of equation (8).
    penalty : Ridge, optional
        Default :func:`default_penalty`; ``Ridge()`` for the maximum likelihood estimator.
    starts : Starts or int, optional
        An int is ``Starts.of``.
    table : Table, optional
        Weights, classes, and the columns of the gate and of the experts.

    Returns
    -------
    FittedModel

    Raises
    ------
    TypeError, ValueError
        If x or y cannot be read, or an option is unknown or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from logitmoe import MixingMeasure, fit, sample
    >>> truth = MixingMeasure([0, 0], [[4], [0]], [[3, 0], [-3, 0]], [[[-3], [0]], [[-3], [0]]])
    >>> x, y = sample(truth, 2_000, np.random.default_rng(1), covariates=np.linspace(-3, 3, 2_000))
    >>> fitted = fit(170 + 10 * x, np.array(["yes", "no"])[y - 1], 2, rng=np.random.default_rng(1))
    >>> fitted.classes, fitted.parameters, fitted.agree > 1
    (('no', 'yes'), 6, True)
    """
    rng, gate, k = as_generator(rng), as_gate(gate), as_count(k, "k")
    sample = read_table(x, y, table)
    penalty = default_penalty(sample.data.d) if penalty is None else as_penalty(penalty)
    return search(sample, k, rng, gate, penalty, as_starts(starts))


def default_penalty(d: int) -> Ridge:
    """The penalty of :func:`fit` for d covariates: slopes 0.5 d, intercepts 0.01.

    So the prior standard deviation of a logit does not grow with the number of covariates.  The factor is a compromise
    of the held-out log scores on ten real data sets, see ``benchmarks/real``; that of the intercepts is weak, and there
    for the maximum to exist.

    Parameters
    ----------
    d : int

    Returns
    -------
    Ridge
    """
    return Ridge(slopes=SLOPES * as_count(d, "d"), intercepts=INTERCEPTS)


def as_starts(starts) -> Starts:
    """`Starts` from one, a number, or None."""
    if starts is None or isinstance(starts, Starts):
        return starts or Starts()
    return Starts.of(starts) if hasattr(starts, "__index__") else as_instance(starts, Starts, "starts", "pass Starts()")


def search(
    sample: Sample,
    k: int,
    rng: np.random.Generator,
    gate: Gate,
    penalty: Ridge,
    starts: Starts,
    smaller: FittedModel | None = None,
) -> FittedModel:
    """:func:`fit` of a table that was read; `smaller` is a fit with one expert less, to be split, if there is one."""
    problem = _Problem(sample, gate, penalty)
    if k == 1:
        first = mle(problem.points, problem.constant(1), tol=TOL, max_iter=LAST_STEPS, **problem.options)
        runs = (Run("concave problem", float(first.objective)),)
        return FittedModel.of(first, sample, problem.units, gate, runs, (0, 0))
    if starts.splits and smaller is None:
        few = replace(starts, random=-(-starts.random // 2), partitions=starts.partitions // 2, perturbations=0)
        few = replace(few, long=starts.long and -(-starts.long // 2))
        smaller = search(sample, k - 1, rng, gate, penalty, few)

    begun, origins, exact = problem.starts(k, rng, starts, smaller)
    _LOG.info("k = %d: %d short runs of EM", k, len(origins))
    short = em(problem.screen(rng), begun, stopping=StoppingRule("absolute", 1e-2, starts.short), **problem.options)
    height = short.objective
    every = starts.long is None and problem.points.m <= SCREEN
    limit = len(origins) if every else starts.long or FEW_LONG
    chosen = np.argsort(-height, kind="stable")[:limit]
    ends = [short.measure[chosen]]
    labels = [origins[i] for i in chosen]
    if exact is not None:  # as likely as the smaller fit from the beginning
        ends.append(exact)
        labels += ["split"] * len(exact.beta0)
    if every and starts.random:
        ends.append(problem.random(k, rng, starts.random))
        labels += [ALONE] * starts.random
    _LOG.info("k = %d: best of them %.3f; %d long runs of Newton's method", k, height.max(), len(labels))
    long = problem.long(MixingMeasure.concatenate(ends), LONG_STEPS)
    heights = long.objective
    best = int(heights.argmax())
    independent = np.array([label in ("random", "partition", ALONE) for label in labels])
    runs = [Run(origin, float(value)) for origin, value in zip(origins, height, strict=True)]
    for i, value in zip(chosen, heights, strict=False):
        runs[i] = replace(runs[i], long=float(value))
    runs += [Run(ALONE, long=float(v)) for v, label in zip(heights, labels, strict=True) if label == ALONE]
    top, value = long.measure[best], float(heights[best])
    if starts.perturbations:
        _LOG.info("k = %d: best of them %.3f; %d perturbations of it", k, value, starts.perturbations)
        near = problem.perturbed(top, starts.perturbations, rng)
        again = em(problem.data, near, stopping=StoppingRule("absolute", 1e-2, starts.short), **problem.options)
        ends = problem.long(again.measure, LONG_STEPS)
        pairs = zip(again.objective, ends.objective, strict=True)
        runs += [Run("perturbation", float(u), float(v)) for u, v in pairs]
        winner = int(ends.objective.argmax())
        if ends.objective[winner] > value + AGREE:
            top, value, best = ends.measure[winner], float(ends.objective[winner]), -1
    _LOG.info("k = %d: best so far %.3f; the last run", k, value)
    last = mle(problem.points, top, tol=TOL, max_iter=LAST_STEPS, **problem.options)
    value = max(value, float(last.objective)) if problem.data is problem.points else value
    reached = independent & (heights >= value - AGREE)
    own = best >= 0 and bool(independent[best])
    counts = int(reached.sum()) - int(own and reached[best]), int(independent.sum()) - int(own)
    return FittedModel.of(last, sample, problem.units, gate, tuple(runs), counts)


class _Problem:
    """A sample in the units of the fit, and starts for it."""

    def __init__(self, sample: Sample, gate: Gate, penalty: Ridge) -> None:
        raw = sample.data
        self.sample, self.units = sample, Units.of(raw, gate)
        self.points = WeightedPoints(self.units.standardise(raw.points), raw.weights)
        self.gate = self.units.gate(gate)
        bounded = penalty.slopes > 0.0 and penalty.intercepts > 0.0
        theta = penalty.theta(float(raw.total), raw.K) if bounded else Theta.cube(WIDE)
        if not (sample.gate.all() and sample.experts.all()):
            gate_seen, experts_seen = (seen.astype(float) for seen in (sample.gate, sample.experts))
            theta = Theta(theta.beta0, theta.beta1 * gate_seen, theta.a, theta.b * experts_seen)
        self.options = {"gate": self.gate, "theta": theta, "penalty": penalty}
        self.theta = theta
        self.data = self.points
        if gate is identity and raw.d == 1 and raw.m > SCREEN and (raw.weights >= 0).all():
            self.data = self._compressed(theta)

    def _compressed(self, theta):
        """One covariate and many points: their moments, which the search fits in place of the points.

        Not if there would be very many of them, for an outlier stretches the domain: then points are faster.
        """
        z, weights = self.points.points[:, 0], self.points.weights
        if (weights != np.round(weights)).any():
            return self.points
        domain = (float(z.min()), float(z.max()))
        order = chebyshev_order(Theta.cube(10.0), self.points.K, domain, identity)
        if order > MANY_MOMENTS:
            return self.points
        order = min(order, MOMENTS)
        s, rows = np.nonzero(weights)
        count = weights[s, rows].astype(int)
        return compress(np.repeat(z[rows], count), np.repeat(s + 1, count), self.points.K, domain=domain, p=order)

    def screen(self, rng):
        """The data of the short runs: all, or points chosen at random, with weights that make up for the others."""
        if self.data is not self.points or self.points.m <= SCREEN:
            return self.data
        chosen = np.sort(rng.choice(self.points.m, SCREEN, replace=False))
        weights = self.points.weights[:, chosen]
        return WeightedPoints(self.points.points[chosen], weights * (self.points.total / weights.sum()))

    def long(self, start: MixingMeasure, steps: int) -> MLEResult:
        return mle(self.data, start, max_iter=steps, **self.options)

    def constant(self, k: int) -> MixingMeasure:
        """k equal experts of constant probabilities, those of the classes."""
        totals = np.maximum(self.points.class_totals, 0.5)
        zero = np.zeros((k, self.points.d))
        a = np.tile(np.log(totals / totals[-1]), (k, 1))
        return self.theta.clip(MixingMeasure(zero[:, 0], zero, a, np.zeros((*a.shape, self.points.d))))

    def random(self, k: int, rng, size: int) -> MixingMeasure:
        """Starts (size,) with random parameters, whose logits have one spread for any number of covariates."""
        d = self.points.d
        return random_start(k, self.points.K, d, rng, size=size, sd=2.0 / np.sqrt(1.0 + d), theta=self.theta)

    def starts(self, k, rng, starts: Starts, smaller) -> tuple[MixingMeasure, list[str], MixingMeasure | None]:
        """Starts (B,), the kind of each, and splits that are as likely as the smaller fit, if there is one."""
        parts, origins = [], []
        if starts.random:
            parts.append(self.random(k, rng, starts.random))
            origins += ["random"] * starts.random
        if starts.partitions:
            parts.append(self.partitions(k, starts.partitions, rng))
            origins += ["partition"] * starts.partitions
        exact = None
        if smaller is not None:
            exact = MixingMeasure.stack([smaller.standard.split(i) for i in range(k - 1)])
            exact = self.theta.clip(exact.in_gauge("last").canonical())
        if smaller is not None and starts.splits:
            atoms = np.arange(starts.splits) % (k - 1)
            parts.append(self.perturbed(exact[atoms], (), rng))
            origins += ["split"] * starts.splits
        if not parts:
            parts, origins = [self.perturbed(self.constant(k), 1, rng)], ["random"]
        return MixingMeasure.concatenate(parts), origins, exact

    def partitions(self, k: int, count: int, rng) -> MixingMeasure:
        """Starts (count,): the gate and the experts fitted to parts of the screened sample."""
        points = self.screen(rng) if self.data is self.points else self._thinned(rng)
        m, K = points.m, points.K
        r = np.zeros((count, k, K, m))
        for i in range(count):
            if i % 2:
                part = rng.integers(k, size=(K, m))
            else:
                z = points.points
                centres = z[rng.integers(m, size=k)]
                part = ((z[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)
                part = np.broadcast_to(part, (K, m))
            r[i] = part == np.arange(k)[:, None, None]
        r = 0.9 * r + 0.1 / k
        start = self.constant(k).broadcast_to((count,))
        return m_step(r, points, start, self.gate, self.theta, START_PENALTY)

    def _thinned(self, rng):
        chosen = np.sort(rng.choice(self.points.m, min(SCREEN, self.points.m), replace=False))
        return WeightedPoints(self.points.points[chosen], self.points.weights[:, chosen])

    def perturbed(self, G: MixingMeasure, size, rng) -> MixingMeasure:
        """The measure with noise on every parameter, about a third of its size and at least 0.3."""
        shape = (*as_shape(size, "size"), *G.batch_shape) if size != () else G.batch_shape
        G = G.broadcast_to(shape)
        arrays = [getattr(G, name) for name in ("beta0", "beta1", "a", "b")]
        noisy = [v + (0.3 + 0.3 * np.abs(v)) * rng.standard_normal(v.shape) for v in arrays]
        return self.theta.clip(MixingMeasure(*noisy).in_gauge("last").canonical())
