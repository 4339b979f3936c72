"""What a choice of protocol does to a figure of the paper: stopping rules from one run, and lines with their noise.

EM has no memory: the fits that different stopping rules give to one sample and one start lie on one path.
:func:`run_rules` follows the path once and reads off where each rule stops. :func:`fit_lines` fits the log-log lines of
many settings at once, with a bootstrap, and :class:`Lines` says which of them have a reported line within their noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from logitmoe.checks import as_count, as_float_array, message
from logitmoe.compression import ChebyshevMoments, compress
from logitmoe.em_algorithm import em
from logitmoe.losses import voronoi_cells
from logitmoe.measure import FIELDS, MixingMeasure
from logitmoe.results import COMPRESSION_TOL, StoppingRule

from ..lines import Replicates
from ..panels import Panel, PanelResult, ReportedLine
from ..runner import assemble, fitted_alike, run_chunks, starting_points

__all__ = [
    "Lines",
    "fit_lines",
    "last_cell_gauge",
    "line_weights",
    "main_effects",
    "representative_sizes",
    "rounding",
    "run_rules",
]

#: Fits that one task lets advance together, with their whole paths.
CHUNK = 240


def representative_sizes(sizes, count: int) -> tuple[int, ...]:
    """A few of many sizes: those nearest to the nodes of Gauss and Legendre.

    Together with the weights of :func:`fit_lines` they stand for all sizes. Equally spaced sizes that include both
    ends do not: a least-squares line through their means gives the ends too much weight.

    Parameters
    ----------
    sizes : sequence of int
        Increasing.
    count : int
        From 2 to the number of sizes.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If there are fewer sizes than `count`, or so few more that two nodes have the same size.
    """
    sizes, count = tuple(sizes), as_count(count, "count", minimum=2)
    nodes = 0.5 * (1.0 + np.polynomial.legendre.leggauss(count)[0]) * len(sizes) - 0.5
    chosen = sorted({int(i) for i in np.clip(np.rint(nodes), 0, len(sizes) - 1)})
    if len(chosen) < count:
        got = f"{count} of {len(sizes)} sizes"
        raise ValueError(message("count", "fewer, so that no two nodes have one size", got, "ask for fewer"))
    return tuple(sizes[i] for i in chosen)


def line_weights(sizes, every, degree: int = 3) -> np.ndarray:
    """Weights of log(mean loss) at a few sizes that give the least-squares line through all sizes.

    Parameters
    ----------
    sizes : array_like, shape (S,)
        More than `degree` different positive numbers.
    every : array_like, shape (N,)
        All sizes.
    degree : int
        The weights are exact, and as small as can be, if the logarithm of the expected loss is a polynomial of this
        degree in log(n).

    Returns
    -------
    ndarray, shape (2, S)
        Weights for the slope, and for the level at the geometric mean of all sizes.

    Raises
    ------
    ValueError
        If a size is not positive, or there are too few different ones.
    """
    few, many = (as_float_array(v, name, ndim=1) for v, name in ((sizes, "sizes"), (every, "every")))
    degree = as_count(degree, "degree")
    for values, name, least in ((few, "sizes", degree + 1), (many, "every", 2)):
        if values.size == 0 or values.min() <= 0.0 or len(set(values)) < least:
            raise ValueError(message(name, f"{least} or more different positive numbers", f"{values}", "add sizes"))
    u = np.log(many) - np.log(many).mean()
    scale = np.abs(u).max()
    powers = np.polynomial.legendre.legvander((np.log(few) - np.log(many).mean()) / scale, degree)
    goal = np.polynomial.legendre.legvander(u / scale, degree)
    targets = np.stack([u / (u**2).sum(), np.full(u.size, 1.0 / u.size)], axis=1)
    return np.linalg.lstsq(powers.T, goal.T @ targets, rcond=None)[0].T


# ------------------------------------------------------------------------------------------------------------
# Several stopping rules from one path
def run_rules(
    panels: Iterable[Panel], rules: Iterable[StoppingRule], *, executor: Executor | None = None, progress=None
) -> list[dict[str, PanelResult]]:
    """Fit the samples of several panels under several stopping rules, with one run of EM for each sample and start.

    Each run goes on to the largest number of iterations, whatever the rules say, so that a single rule that stops
    early is cheaper with :func:`~replication.runner.run_panels`, whose numbers these are up to rounding.

    Parameters
    ----------
    panels : iterable of Panel
        With different names, compressed samples (``order`` is not None); their own stopping rules are not used.
    rules : iterable of StoppingRule
        With different names and one number of iterations.
    executor, progress
        As for :func:`~replication.runner.run_panels`.

    Returns
    -------
    list of dict
        For each panel the results by name of the rule.

    Raises
    ------
    TypeError, ValueError
        If the names are not different, the rules differ in their largest number of iterations, or a panel fits raw
        points.
    """
    panels, rules = list(panels), list(rules)
    for values, kind, name in ((panels, Panel, "panels"), (rules, StoppingRule, "rules")):
        for value in values:
            if not isinstance(value, kind):
                raise TypeError(message(name, f"of class {kind.__name__}", type(value).__name__, "make them"))
        names = [value.name for value in values]
        if not names or len(set(names)) != len(names):
            raise ValueError(message(name, "one or more, with different names", f"{names}", "rename some"))
    if len({rule.max_iter for rule in rules}) != 1:
        got = f"{[rule.max_iter for rule in rules]}"
        raise ValueError(message("rules", "one largest number of iterations", got, "run them apart"))
    for panel in panels:
        if panel.order is None:
            raise ValueError(message("panels", "compressed samples", f"{panel.name} with raw points", "set an order"))

    def samples(group):
        return max(1, CHUNK // max(map(len, fitted_alike(group, rules=True))))

    parts = run_chunks(partial(_rules_chunk, rules=rules), panels, samples, executor=executor, progress=progress)
    results = []
    for panel, chunks in zip(panels, parts, strict=True):
        results.append({})
        for rule in rules:
            prefix = f"{rule.name}/"
            of_rule = [{k.removeprefix(prefix): v for k, v in c.items() if k.startswith(prefix)} for c in chunks]
            results[-1][rule.name] = assemble(replace(panel, stopping=rule), of_rule)
    return results


def _rules_chunk(panels: list[Panel], units: list[tuple[int, int]], rules: list[StoppingRule]) -> dict[str, np.ndarray]:
    """Draw the samples of one chunk, follow their paths under every panel; keys are "position/rule/field"."""
    common = panels[0]
    data = ChebyshevMoments.stack(compress(*common.sample(n, r), common.truth.K, p=common.order) for n, r in units)
    out = {}
    for positions in fitted_alike(panels, rules=True):
        starts = starting_points([panels[position] for position in positions], units)
        for name, fields in _stops(panels[positions[0]], data, starts, rules).items():
            for row, position in enumerate(positions):
                out |= {f"{position}/{name}/{field}": value[row] for field, value in fields.items()}
                out[f"{position}/{name}/seconds"] = np.zeros(2)
    return out


def _stops(panel: Panel, data: ChebyshevMoments, starts: MixingMeasure, rules: list[StoppingRule]) -> dict[str, dict]:
    """Follow EM from starts of batch shape (P, U) and read off where each rule stops."""
    shape, last = starts.batch_shape, rules[0].max_iter
    never = StoppingRule("absolute", 0.0, last)

    def run(points, start):
        return em(points, start, gate=panel.gate, theta=panel.theta, stopping=never, trace="full")

    result = data.solve(run, starts, panel.gate, COMPRESSION_TOL)
    # All fits may have come to a halt before the last iteration.
    take = np.minimum(np.arange(last + 1), result.trace.log_likelihood.shape[-1] - 1)
    paths = {letter: getattr(result.trace.measure, letter)[:, :, take] for letter in FIELDS}
    values = result.trace.log_likelihood[:, :, take]
    change = [np.abs(np.diff(paths[letter], axis=2)) for letter in FIELDS]
    step = np.max([c.reshape(*c.shape[:3], -1).max(axis=-1) for c in change], axis=0)
    rows, columns = np.indices(shape)
    out = {}
    for rule in rules:
        met = rule.met(values[..., :-1], values[..., 1:], step)
        converged = met.any(axis=-1)
        n_iter = np.where(converged, met.argmax(axis=-1) + 1, last)
        end = MixingMeasure(*(paths[letter][rows, columns, n_iter] for letter in FIELDS))
        fields = {letter: getattr(end, letter) for letter in FIELDS}
        fields["log_likelihood"] = values[rows, columns, n_iter]
        fields["n_iter"], fields["order"] = n_iter, result.nodes
        fields["compression_error"] = result.compression_error
        fields["reason"] = np.where(converged, rule.name, "max_iter").astype("<U10")
        fields["at_bound"] = panel.theta.touches(end)
        at = np.minimum(n_iter[..., None], np.array((0, *panel.checkpoints)))
        for letter in FIELDS:
            fields[f"path_{letter}"] = paths[letter][rows[..., None], columns[..., None], at]
        fields["path_log_likelihood"] = values[rows[..., None], columns[..., None], at]
        out[rule.name] = fields
    return out


# ------------------------------------------------------------------------------------------------------------
# A gauge
def last_cell_gauge(G: MixingMeasure, truth: MixingMeasure) -> MixingMeasure:
    """Translate measures so that an atom near the true last one has gate parameters zero.

    The paper sets the gate of the true last atom to zero. The gauge ``"last"`` does so with the last fitted atom,
    which may stand for another true one; this gauge takes the last fitted atom in the Voronoi cell of the true last
    one (or the last of all, if that cell is empty).

    Parameters
    ----------
    G : MixingMeasure, batch shape (...)
    truth : MixingMeasure
        Without batch axes.

    Returns
    -------
    MixingMeasure, batch shape (...)
    """
    inside = voronoi_cells(G, truth) == truth.k - 1
    atom = np.where(inside.any(axis=-1), G.k - 1 - inside[..., ::-1].argmax(axis=-1), G.k - 1)[..., None]
    t1 = np.take_along_axis(G.beta1, atom[..., None], axis=-2)[..., 0, :]
    return G.translate(-np.take_along_axis(G.beta0, atom, axis=-1)[..., 0], -t1)


# ------------------------------------------------------------------------------------------------------------
# Lines and their noise
@dataclass(frozen=True, eq=False)
class Lines:
    """Least-squares lines of log(mean loss) against log(n) for many settings, with bootstrap samples of them.

    Attributes
    ----------
    size : float
        Geometric mean of all sizes, where the level of a line is taken: there it is nearly independent of the slope.
    replications, fits : int
        Replications of each size, and fits in all.
    slope, log_level : ndarray, shape (...)
        Slope, and logarithm of the line at `size`.
    slopes, log_levels : ndarray, shape (..., B)
        The same of B bootstrap samples of the replications.
    """

    size: float
    replications: int
    fits: int
    slope: np.ndarray
    log_level: np.ndarray
    slopes: np.ndarray
    log_levels: np.ndarray

    def intervals(self, level: float = 0.95, *, other_fits: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
        """Intervals for the slope and for the log level, each of shape (..., 2).

        Percentile intervals, widened about the estimate by sqrt(R / (R - 1)), since the bootstrap of R replications is
        too short by that factor, and by sqrt(1 + fits / other_fits).

        Parameters
        ----------
        level : float
            Nominal coverage of each interval.
        other_fits : float
            Fits behind the line that is to be compared. It has noise of its own: that of the setting, if the setting
            made it, scaled by the number of fits.
        """
        level = float(as_float_array(level, "level", ndim=0))
        if not 0.0 < level < 1.0:
            raise ValueError(message("level", "a number inside (0, 1)", f"{level}", "pass e.g. 0.95"))
        widen = np.sqrt(self.replications / (self.replications - 1.0) * (1.0 + self.fits / other_fits))
        out = []
        for centre, draws in ((self.slope, self.slopes), (self.log_level, self.log_levels)):
            ends = np.moveaxis(np.quantile(draws, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=-1), 0, -1)
            out.append(centre[..., None] + widen * (ends - centre[..., None]))
        return tuple(out)

    def distance(
        self,
        slope,
        log_level,
        *,
        level: float = 0.95,
        other_fits: float = np.inf,
        slack: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:
        """How far a line is from each setting, in units of the noise, shape (...).

        1 is the boundary of a box: each of its sides is an interval of coverage ``(1 + level) / 2``, so that both hold
        at once with probability `level` or more (Bonferroni). The larger of the distances in both directions counts.

        Parameters
        ----------
        slope, log_level : array_like, broadcast against (...)
            The line to compare.
        level, other_fits
            As for :meth:`intervals`.
        slack : tuple of float
            What is taken off the differences in slope and in log level before they are measured.
        """
        out = np.zeros(self.slope.shape)
        ends = self.intervals(0.5 * (1.0 + float(level)), other_fits=other_fits)
        pairs = ((slope, self.slope, slack[0]), (log_level, self.log_level, slack[1]))
        for (other, centre, free), end in zip(pairs, ends, strict=True):
            gap = np.asarray(other, dtype=float) - centre
            side = np.where(gap > 0.0, end[..., 1] - centre, centre - end[..., 0])
            excess = np.maximum(np.abs(gap) - free, 0.0)
            far = np.where(excess > 0.0, np.inf, 0.0)
            out = np.maximum(out, np.divide(excess, side, out=far, where=side > 0.0))
        return out

    def agrees_with(
        self, reported: ReportedLine, *, stretch=1.0, level: float = 0.95, other_fits: float = np.inf
    ) -> np.ndarray:
        """Whether a reported line is within the noise of each setting, bool of shape (...).

        Its :meth:`distance`, less what the printed numbers may have lost in :func:`rounding`, is at most `stretch`.
        """
        log_level = np.log(reported(self.size))
        slack = rounding(reported, self.size)
        far = self.distance(reported.slope, log_level, level=level, other_fits=other_fits, slack=slack)
        return far <= stretch

    def box(
        self, reported: ReportedLine, *, stretch=1.0, level: float = 0.95, other_fits: float = np.inf
    ) -> np.ndarray:
        """The lines that agree with each setting, were they printed with the digits of `reported`.

        Returns
        -------
        ndarray, shape (..., 2, 2)
            Entry [..., 0, :] holds the ends for the slope and [..., 1, :] those for the log level.
        """
        ends = np.stack(self.intervals(0.5 * (1.0 + float(level)), other_fits=other_fits), axis=-2)
        centre = np.stack([self.slope, self.log_level], axis=-1)[..., None]
        slack = np.array(rounding(reported, self.size))
        stretch = np.broadcast_to(stretch, self.slope.shape)[..., None, None]
        return centre + stretch * (ends - centre) + slack[:, None] * np.array([-1.0, 1.0])


def rounding(reported: ReportedLine, size: float) -> tuple[float, float]:
    """Largest errors of the slope, and of the log level at a size, that the printed digits of a line allow."""

    def half_unit(value: float) -> float:
        return 0.5 * 10.0 ** -len(repr(float(value)).partition(".")[2])

    slope, constant = half_unit(reported.slope), half_unit(reported.constant)
    return slope, slope * np.log(size) + (constant if reported.logarithm else constant / reported.constant)


def fit_lines(sizes, losses, *, rng: np.random.Generator, every=None, degree: int = 3, resamples: int = 1000) -> Lines:
    """Fit the log-log lines of many settings, as :func:`~replication.lines.power_law` fits one.

    Parameters
    ----------
    sizes : array_like, shape (S,)
        Different positive numbers, more than `degree`.
    losses : array_like, shape (..., S, R)
        Losses of R >= 2 replications, with positive means. The bootstrap resamples the replications within each size,
        alike in all settings, as these have their samples in common.
    rng : numpy.random.Generator
        Draws the bootstrap samples.
    every, degree
        If all sizes are given, the line is the one that :func:`line_weights` finds for them; by default `sizes` are
        all there are, and it is their least-squares line.
    resamples : int
        Number of bootstrap samples.

    Returns
    -------
    Lines

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a size or a mean is not positive, a loss is negative, or a count is too small.
    """
    sizes = as_float_array(sizes, "sizes", ndim=1)
    losses = as_float_array(losses, "losses", shape=(..., sizes.size, None))
    replicates = Replicates(losses, "losses", rng=rng, resamples=resamples, counts=True)
    every = sizes if every is None else as_float_array(every, "every", ndim=1)
    weights = line_weights(sizes, every, min(degree, max(1, len(set(sizes)) - 1)) if every is sizes else degree)
    found, drawn = replicates.lines(weights.T)
    slopes, levels = np.moveaxis(drawn, (-1, 0), (0, -1))
    size, R = float(np.exp(np.log(every).mean())), losses.shape[-1]
    return Lines(size, R, sizes.size * R, found[..., 0], found[..., 1], slopes, levels)


def main_effects(values, names) -> dict[str, float]:
    """Shares of the sum of squares of a complete factorial: each factor alone, pairs together, and the rest.

    Parameters
    ----------
    values : array_like
        One number for each combination of levels, one axis for each factor.
    names : sequence of str
        The factors.

    Returns
    -------
    dict of str to float
        Keys are the names, ``"A x B"`` for the interaction of two factors, and ``"rest"``; the sum is 1.

    Raises
    ------
    ValueError
        If there is not one name for each axis, or the values are all equal.
    """
    values, names = as_float_array(values, "values"), list(names)
    if len(names) != values.ndim:
        raise ValueError(message("names", f"{values.ndim}, one for each axis", f"{names}", "name each factor"))
    centred = values - values.mean()
    total = (centred**2).sum()
    if total == 0.0:
        raise ValueError(message("values", "numbers that differ", "equal ones", "there is nothing to share out"))

    def fitted(axes):
        others = tuple(axis for axis in range(values.ndim) if axis not in axes)
        return centred.mean(axis=others, keepdims=True) if others else centred

    single = [fitted((i,)) for i in range(values.ndim)]
    out = {name: float((s**2).mean() * values.size / total) for name, s in zip(names, single, strict=True)}
    for i in range(values.ndim):
        for j in range(i + 1, values.ndim):
            both = fitted((i, j)) - single[i] - single[j]
            out[f"{names[i]} x {names[j]}"] = float((both**2).mean() * values.size / total)
    out["rest"] = 1.0 - sum(out.values())
    return out
