"""What a choice of protocol does to a figure of the paper: the settings that are tried, and their pools of losses.

EM has no memory: the fits that different stopping rules give to one sample and one start lie on one path.
:func:`run_rules` follows the path once and reads off where each rule stops. :func:`loss_in` computes the loss in each
gauge, and :func:`pools` keeps the losses of a whole grid of settings, which :mod:`replication.experiments` compares
with the printed lines.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import matplotlib.pyplot as plt
import numpy as np

from logitmoe.checks import as_float_array, message
from logitmoe.compression import ChebyshevMoments, compress
from logitmoe.em_algorithm import em
from logitmoe.losses import voronoi_cells, voronoi_loss
from logitmoe.measure import FIELDS, MixingMeasure
from logitmoe.results import COMPRESSION_TOL, StoppingRule

from ..experiments import Comparison, compare, false_alarms, pool_sizes
from ..panels import Panel, PanelResult
from ..runner import assemble, fitted_alike, run_chunks, run_panels, starting_points
from ..show import COLOURS, figure

__all__ = [
    "GAUGES",
    "MASSES",
    "RULES",
    "WIDTHS",
    "CsvFile",
    "Outcome",
    "Pool",
    "judge",
    "last_cell_gauge",
    "loss_in",
    "main_effects",
    "plot_ratios",
    "plot_regions",
    "pools",
    "run_rules",
]

#: The grid: stopping rules, gauges of the loss, standard deviations of the start, and its masses.
RULES = ("relative", "absolute", "parameters")
GAUGES = ("as started", "last gate 0", "last cell 0", "infimum")
WIDTHS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MASSES = ("shared", "whole")
#: Fits that one task lets advance together, with their whole paths.
CHUNK = 240


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


def loss_in(gauge: str, result: PanelResult) -> np.ndarray:
    """The loss D_2 of every fit of a panel, (S, R), in one of the ``GAUGES``."""
    truth = result.panel.truth
    if gauge == "last cell 0":
        return voronoi_loss(last_cell_gauge(result.measure, truth), truth)
    return result.loss({"as started": "as_is", "last gate 0": "last"}.get(gauge, gauge)).total


# ------------------------------------------------------------------------------------------------------------
# The grid
@dataclass(frozen=True, eq=False)
class Pool:
    """Losses of a panel under one stopping rule and every gauge, width and mass.

    Attributes
    ----------
    panel : Panel
        The paper's panel: its sizes, replications and printed line.
    rule : str
    sizes : tuple of int
        Sizes of the pool.
    losses : ndarray, shape (gauges, widths, masses, S, R)
    converged, at_bound : float
        Shares of the fits that met the rule, and that have a parameter on the boundary of Theta.
    n_iter : float
        Median number of iterations.
    """

    panel: Panel
    rule: str
    sizes: tuple[int, ...]
    losses: np.ndarray
    converged: float
    at_bound: float
    n_iter: float


def pools(panels: Iterable[Panel], size: dict[str, tuple[int, int]]) -> dict[tuple[str, str], Pool]:
    """Fit the whole grid of settings for some panels.

    Parameters
    ----------
    panels : iterable of Panel
    size : dict
        Numbers of sizes and of replications: under ``"relative"`` for this rule, whose fits are short, and under
        ``"others"`` for all of :data:`RULES` that are not in the keys, which follow one path of 2,000 iterations.

    Returns
    -------
    dict
        Keys are the panel's name and the rule.
    """
    panels, long = list(panels), [rule for rule in RULES if rule not in size]
    starts = [{"start_sd": sd, "split_mass": mass == "shared"} for sd, mass in product(WIDTHS, MASSES)]

    def cases(count, replications):
        change = {"replications": replications, "checkpoints": ()}
        return [
            replace(panel, name=f"{panel.name} {i}", sizes=pool_sizes(panel.sizes, count), **change, **start)
            for panel in panels
            for i, start in enumerate(starts)
        ]

    runs = {"relative": run_panels(cases(*size["relative"]))}
    paths = run_rules(cases(*size["others"]), [StoppingRule(rule) for rule in long])
    runs |= {rule: [path[rule] for path in paths] for rule in long}
    out = {}
    for i, panel in enumerate(panels):
        for rule, results in runs.items():
            part = results[i * len(starts) : (i + 1) * len(starts)]
            losses = np.stack([[loss_in(gauge, result) for result in part] for gauge in GAUGES])
            out[panel.name, rule] = Pool(
                panel,
                rule,
                part[0].panel.sizes,
                losses.reshape(len(GAUGES), len(WIDTHS), len(MASSES), *losses.shape[2:]),
                float(np.mean([result.converged.mean() for result in part])),
                float(np.mean([result.at_bound.mean() for result in part])),
                float(np.median([result.n_iter for result in part])),
            )
    return out


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the pools of one rule say of a printed line: arrays of shape (gauges, widths, masses).

    Attributes
    ----------
    comparison : Comparison
    alarms : ndarray, shape (gauges, 1, 1)
        How often the test of slope and level rejects an exact replicate, in the mean over the starts.
    too_high : ndarray of bool
        Excluded by the truncated level alone.
    differs : ndarray of bool
        Excluded by slope and level, where exact replicates are rejected in at most a tenth of the trials.
    undecided : ndarray of bool
        Slope and level differ, where exact replicates are rejected more often.
    compatible : ndarray of bool
        The rest.
    """

    comparison: Comparison
    alarms: np.ndarray
    too_high: np.ndarray
    differs: np.ndarray
    undecided: np.ndarray
    compatible: np.ndarray


#: Largest share of exact replicates that a test may reject which is to exclude a setting.
FAIR = 0.10


def judge(pool: Pool, seed: int, *, sizes=None, count: int = 400) -> Outcome:
    """Compare the settings of a pool with the printed line of its panel, at the panel's sizes or others."""
    panel, rng = pool.panel, np.random.default_rng(seed)
    every = panel.sizes if sizes is None else sizes
    options = {"replications": panel.replications, "count": count}
    found = compare(panel.reported, pool.sizes, pool.losses, every, rng=rng, **options)
    alarms = false_alarms(pool.sizes, pool.losses, rng=rng).mean(axis=(1, 2), keepdims=True)
    differs = found.differs & ~found.too_high
    return Outcome(
        found,
        alarms,
        found.too_high,
        differs & (alarms <= FAIR),
        differs & (alarms > FAIR),
        ~(found.too_high | differs),
    )


@dataclass(frozen=True)
class CsvFile:
    """A table that a notebook and the book offer as a file, which lies in the page itself."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __repr__(self):
        return f"<{self.name}: {len(self.rows)} rows and {len(self.header)} columns>"

    def _repr_html_(self):
        text = "\n".join(",".join(cells) for cells in (self.header, *self.rows)) + "\n"
        data = b64encode(text.encode()).decode()
        return f'<a download="{self.name}" href="data:text/csv;base64,{data}">{self.name}</a> ({len(self.rows)} rows)'


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


# ------------------------------------------------------------------------------------------------------------
# Figures
#: Colour and marker of each rule.
STYLES = {"relative": ("blue", "o"), "absolute": ("vermillion", "s"), "parameters": ("green", "^")}
#: Experiments of each setting that are drawn.
DRAWN = 12


def plot_regions(outcome: dict[tuple[str, str], Outcome], panels: dict[str, Panel]) -> None:
    """Simulated experiments of all settings in the plane of slope and level, and the printed line, for six panels."""
    fig, axes = figure(2, 3, height=6.0, sharex=True)
    for ax, (name, panel) in zip(axes.flat, panels.items(), strict=True):
        for rule, (colour, _) in list(STYLES.items())[:2]:
            made = outcome[name, rule].comparison.experiments
            slope, level = (v[:DRAWN].ravel() for v in (np.clip(made.slope, -2.95, 0.95), np.exp(made.log_level)))
            ax.scatter(slope, level, s=3, color=COLOURS[colour], alpha=0.35, linewidth=0, label=f"{rule} rule")
        printed = panel.reported.slope, panel.reported(made.size)
        ax.plot(*printed, "k+", markersize=13, markeredgewidth=2.2, label="printed line", zorder=5)
        ax.set(yscale="log", xlim=(-3.0, 1.0), title=f"Figure {name}")
    for ax in axes[:, 0]:
        ax.set_ylabel("level")
    for ax in axes[-1]:
        ax.set_xlabel("slope")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, markerscale=2)
    plt.show()


def plot_ratios(ratios: dict[tuple[str, str], np.ndarray], printed: dict[str, float]) -> None:
    """Ratios of levels under shared settings, k = 4 against k = 3, and the printed pair."""
    _, ax = figure(height=4.0)
    for rule, (colour, marker) in STYLES.items():
        style = {"color": COLOURS[colour], "marker": marker, "alpha": 0.7, "linewidth": 0, "label": f"{rule} rule"}
        ax.scatter(ratios["3", rule].ravel(), ratios["4", rule].ravel(), s=16, **style)
    ax.plot(printed["3"], printed["4"], "k+", markersize=14, markeredgewidth=2.2, label="printed")
    for draw in (ax.axvline, ax.axhline):
        draw(1.0, color="#999999", linewidth=0.8, linestyle="-", zorder=0)
    ax.set(xscale="log", yscale="log", xlabel="level of 2a over level of 2c", ylabel="level of 2b over level of 2d")
    ax.legend()
    plt.show()
