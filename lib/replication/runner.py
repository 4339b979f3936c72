"""Computes panels: draws the samples, compresses them and fits them by EM.

The numbers do not depend on how the work is spread:

* every sample and every start has a random stream of its own, named by the panel's seed, n and the replication;
* the work is cut into chunks of fits that the panels alone decide, so the same arrays meet in the same order on any
  number of workers.

:func:`run_panels` computes several panels at once. Panels that differ in the fitting only (k, start, stopping rule,
Theta, ...) get the same samples, which are drawn once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from logitmoe.checks import message
from logitmoe.compression import ChebyshevMoments, compress
from logitmoe.data import WeightedPoints
from logitmoe.em_algorithm import em
from logitmoe.losses import voronoi_loss_parts
from logitmoe.measure import FIELDS, MixingMeasure
from logitmoe.model import log_likelihood

from .jobs import run_jobs
from .panels import START, Panel, PanelResult
from .starts import random_cells, standard_noise, starts_from_noise

__all__ = [
    "RawComparison",
    "assemble",
    "compare_with_raw",
    "fitted_alike",
    "run_chunks",
    "run_panel",
    "run_panels",
    "starting_points",
]

#: Samples that are drawn and fitted together: what one task of the executor does.
CHUNK = 400
#: Power of n in the standard deviation of starts drawn "function" by function, see :class:`.Panel`.
SIBLING_POWER = -0.083
#: What the samples and their division into chunks depend on, of the fields of :meth:`.Panel.record`.
OF_THE_SAMPLES = ("truth", "sizes", "replications", "data_gate", "design", "seed", "order")


# ------------------------------------------------------------------------------------------------------------
# The runner
def run_panel(
    panel: Panel,
    *,
    executor: Executor | None = None,
    scale: float = 1.0,
    progress: bool | Callable[[int, int], None] | None = None,
) -> PanelResult:
    """Draw, compress and fit all samples of a panel; arguments as for :func:`run_panels`."""
    return run_panels([panel], executor=executor, scale=scale, progress=progress)[0]


def run_panels(
    panels: Iterable[Panel],
    *,
    executor: Executor | None = None,
    scale: float = 1.0,
    progress: bool | Callable[[int, int], None] | None = None,
) -> list[PanelResult]:
    """Draw, compress and fit all samples of several panels; samples that panels share are drawn once.

    Parameters
    ----------
    panels : iterable of Panel
        With different names.
    executor : concurrent.futures.Executor, optional
        Where the chunks are computed: threads, processes, :class:`.SerialExecutor`, or the executor interface of a
        cluster. It is left open. By default, one process for each core that this process may use, each with one BLAS
        thread; a script that is run as a file then needs the usual ``if __name__ == "__main__":``.
    scale : float, default 1.0
        See :meth:`.Panel.scaled`.
    progress : bool or callable, optional
        Whether to show on standard error how many chunks are done; or a function that is told ``(done, total)``.
        By default a bar is shown in a terminal and in a notebook that a person has open, and not elsewhere.

    Returns
    -------
    list of PanelResult
        In the order of `panels`. The numbers are the same, bit for bit on one machine, for any executor and any number
        of workers. What else is in `panels` may change them by rounding: the fits of panels that differ in their
        starts only advance together.

    Raises
    ------
    TypeError, ValueError
        If the panels are not Panels or share a name, or `scale` is out of range.
    """
    panels = list(panels)
    for panel in panels:
        if not isinstance(panel, Panel):
            raise TypeError(message("panels", "Panels", type(panel).__name__, "pass e.g. FIGURE_1A"))
    panels = [panel.scaled(scale) for panel in panels]
    names = [panel.name for panel in panels]
    if len(set(names)) != len(names):
        raise ValueError(message("panels", "different names", f"{names}", "rename some"))
    parts = run_chunks(_fit_chunk, panels, lambda group: CHUNK, executor=executor, progress=progress)
    return [assemble(panel, chunks) for panel, chunks in zip(panels, parts, strict=True)]


def run_chunks(task, panels: list[Panel], samples, *, executor=None, progress=None) -> list[list[dict]]:
    """Call a task for chunks of the samples of panels; panels with the same samples share their calls.

    Parameters
    ----------
    task : callable
        ``task(panels, units)`` for panels of the same samples and some of their units (n, replication): a dict of
        arrays, with keys that begin with the position of the panel and a slash.
    panels : list of Panel
    samples : callable
        Number of samples in a chunk, from a list of panels that have them in common.
    executor, progress
        As for :func:`run_panels`.

    Returns
    -------
    list of list of dict
        For each panel its part of each chunk, in the order of the chunks, without the position in the keys.
    """
    groups: dict[str, list[int]] = {}  # positions of the panels that have their samples in common
    for position, panel in enumerate(panels):
        record = panel.record()
        groups.setdefault(json.dumps([record[name] for name in OF_THE_SAMPLES]), []).append(position)
    chunks = []
    for group in groups.values():
        units, step = panels[group[0]].units(), samples([panels[position] for position in group])
        chunks += [(group, units[first : first + step]) for first in range(0, len(units), step)]
    jobs = [([panels[position] for position in group], units) for group, units in chunks]
    parts: list[list[dict]] = [[] for _ in panels]
    for (group, _), output in zip(chunks, run_jobs(task, jobs, executor=executor, progress=progress), strict=True):
        for i, position in enumerate(group):
            prefix = f"{i}/"
            parts[position].append({k.removeprefix(prefix): v for k, v in output.items() if k.startswith(prefix)})
    return parts


def assemble(panel: Panel, parts: list[dict[str, np.ndarray]]) -> PanelResult:
    """Put the chunks of a panel together, sizes by replications."""
    seconds = np.sum([part.pop("seconds") for part in parts], axis=0)
    shape = (panel.replications, len(panel.sizes))
    whole = {}
    for name in parts[0]:
        value = np.concatenate([part[name] for part in parts])
        whole[name] = value.reshape(*shape, *value.shape[1:]).swapaxes(0, 1)
    return PanelResult(
        panel=panel,
        measure=MixingMeasure(**{letter: whole.pop(letter) for letter in FIELDS}),
        path=MixingMeasure(**{letter: whole.pop(f"path_{letter}") for letter in FIELDS}),
        iterations=np.array((0, *panel.checkpoints)),
        seconds={"sampling": float(seconds[0]), "fitting": float(seconds[1])},
        **whole,
    )


# ------------------------------------------------------------------------------------------------------------
# One chunk of fits
def _fit_chunk(panels: list[Panel], units: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    """Draw the samples of one chunk and fit them under every panel; keys are "position/field"."""
    clock = time.thread_time()
    common = panels[0]
    K = common.truth.K
    if common.order is None:
        data = [WeightedPoints.from_labels(*common.sample(n, r), K) for n, r in units]
    else:
        data = ChebyshevMoments.stack(compress(*common.sample(n, r), K, p=common.order) for n, r in units)
    sampling = time.thread_time() - clock
    out = {}
    for positions in fitted_alike(panels):
        clock = time.thread_time()
        panel = panels[positions[0]]
        starts = starting_points([panels[position] for position in positions], units).reshape((-1,))
        which = np.tile(np.arange(len(units)), len(positions))
        if common.order is None:
            parts = [_follow(panel, data[i], starts[fit : fit + 1]) for fit, i in enumerate(which)]
            fields = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        else:
            fields = _follow(panel, data[which], starts)
        fitting = time.thread_time() - clock
        share = fields["n_iter"].reshape(len(positions), -1).sum(axis=1) / fields["n_iter"].sum()
        for row, position in enumerate(positions):
            part = slice(row * len(units), (row + 1) * len(units))
            out |= {f"{position}/{name}": value[part] for name, value in fields.items()}
            out[f"{position}/seconds"] = np.array([sampling, fitting * share[row]])
    return out


def fitted_alike(panels: list[Panel], rules: bool = False) -> list[list[int]]:
    """Positions of the panels whose fits can advance in one batch, as they differ in their starts only.

    Fits that take long then keep a batch busy together, and not one batch for each panel. With `rules`, panels may
    differ in their stopping rules too.
    """
    alike: dict[tuple, list[int]] = {}
    for position, panel in enumerate(panels):
        stopping = None if rules else panel.stopping
        key = (panel.k, str(panel.record()["gate"]), panel.theta, panel.penalty, stopping, panel.checkpoints)
        alike.setdefault(key, []).append(position)
    return list(alike.values())


def starting_points(panels: list[Panel], units: list[tuple[int, int]]) -> MixingMeasure:
    """The starts of panels that are fitted alike, (P, U): those of `near_truth`, with each stream read once."""
    truth, k = panels[0].truth, panels[0].k
    n = np.array([n for n, _ in units])
    drawn = {}
    for number in {panel.start_number for panel in panels}:
        cells, noise = [], []
        for unit in units:
            rng = panels[0].stream(*unit, START + number)
            cells.append(random_cells(k, truth.k, rng))
            noise.append(standard_noise(truth, (k,), rng))
        drawn[number] = np.stack(cells), [np.stack(values) for values in zip(*noise, strict=True)]
    starts = []
    for panel in panels:
        cells, noise = drawn[panel.start_number]
        if panel.start_draws == "cell":
            first = (cells[:, :, None] == cells[:, None, :]).argmax(axis=2)
            noise = [value[np.arange(n.size)[:, None], first] for value in noise]
        elif panel.start_draws == "function":
            gate, expert = (v * n[:, None] ** SIBLING_POWER for v in (noise[0], noise[1][..., 0]))
            parts = (gate, gate[..., None], expert[..., None], expert[..., None, None])
            noise = [np.broadcast_to(part, value.shape) for part, value in zip(parts, noise, strict=True)]
        options = {"sd": panel.start_sd, "split_mass": panel.split_mass, "theta": panel.theta}
        starts.append(starts_from_noise(truth, cells, noise, **options))
    return MixingMeasure.stack(starts)


def _follow(panel: Panel, data: WeightedPoints | ChebyshevMoments, start: MixingMeasure) -> dict[str, np.ndarray]:
    """Fit a batch, stopping at the checkpoints to record the parameters.

    EM has no memory, so a run that continues from where it was stopped is the run that was not stopped. If there are
    so many checkpoints that stopping costs more than EM, every iteration is recorded, and all nodes are used.
    """
    raw = isinstance(data, WeightedPoints)
    fits, last = start.batch_shape[0], panel.stopping.max_iter
    stops = [t for t in panel.checkpoints if t < last] + [last]
    if 2 * len(stops) > last:
        return _follow_every(panel, data, start)
    now = {letter: getattr(start, letter).copy() for letter in FIELDS}
    out = {
        "log_likelihood": log_likelihood(start, data if raw else data.points(), panel.gate),
        "compression_error": np.zeros(fits),
        "n_iter": np.zeros(fits, dtype=int),
        "order": np.full(fits, data.m if raw else 0),
        "reason": np.full(fits, "max_iter", dtype="<U10"),
        "at_bound": np.zeros(fits, dtype=bool),
    }

    def moment():
        state = now | {"log_likelihood": out["log_likelihood"]}
        return {name: value.copy() for name, value in state.items()}

    recorded = [moment()]
    active, done = np.arange(fits), 0
    for stop in stops:
        if active.size:
            result = em(
                data if raw else data[active],
                MixingMeasure(**{letter: value[active] for letter, value in now.items()}),
                stopping=replace(panel.stopping, max_iter=stop - done),
                **panel.model,
            )
            for letter in FIELDS:
                now[letter][active] = getattr(result.measure, letter)
            for name in ("log_likelihood", "at_bound", "reason"):
                out[name][active] = getattr(result, name)
            out["n_iter"][active] += result.n_iter
            if not raw:
                worst = np.maximum(out["compression_error"][active], result.compression_error)
                out["compression_error"][active] = worst
                out["order"][active] = np.maximum(out["order"][active], result.nodes)
            active, done = active[~result.converged], stop
        if stop in panel.checkpoints:
            recorded.append(moment())
    recorded += [moment()] * (1 + len(panel.checkpoints) - len(recorded))  # checkpoints after max_iter
    for name in recorded[0]:
        out[f"path_{name}"] = np.stack([state[name] for state in recorded], axis=1)
    return out | now


def _follow_every(panel: Panel, data: WeightedPoints | ChebyshevMoments, start: MixingMeasure) -> dict[str, np.ndarray]:
    """As :func:`_follow`, from one run that records every iteration."""
    result = em(data, start, stopping=panel.stopping, trace="full", **panel.model)
    raw, fits = result.nodes is None, start.batch_shape[0]
    out = {name: getattr(result, name) for name in ("log_likelihood", "n_iter", "reason", "at_bound")}
    out["compression_error"] = np.zeros(fits) if raw else result.compression_error
    out["order"] = np.full(fits, data.m) if raw else result.nodes
    row = np.arange(fits)[:, None]
    at = np.minimum(result.n_iter[:, None], (0, *panel.checkpoints))
    for letter in FIELDS:
        out[letter] = getattr(result.measure, letter)
        out[f"path_{letter}"] = getattr(result.trace.measure, letter)[row, at]
    out["path_log_likelihood"] = result.trace.log_likelihood[row, at]
    return out


# ------------------------------------------------------------------------------------------------------------
# Accuracy
@dataclass(frozen=True, eq=False)
class RawComparison:
    """Fits of compressed samples against the raw ones.

    Attributes
    ----------
    log_likelihood_error : ndarray, shape (F,)
        abs(l - l_raw) / abs(l_raw), both at the parameters that were fitted to the compressed sample.
    loss_error : ndarray, shape (F,), or None
        abs(D - D_raw) / D_raw, the losses (in the panel's gauge) of the fits to the compressed and to the raw sample.
    n_iter : ndarray of int, shape (F,), or None
        Iterations that the raw fits took.
    """

    log_likelihood_error: np.ndarray
    loss_error: np.ndarray | None
    n_iter: np.ndarray | None


def compare_with_raw(result: PanelResult, fits, *, refit: bool = True) -> RawComparison:
    """Check some fits of a panel on the raw points: an error that was measured, not estimated.

    Parameters
    ----------
    result : PanelResult
    fits : sequence of (int, int)
        Positions (size, replication) of the fits to check.
    refit : bool, default True
        Also run EM on the raw points, from the same start: some 0.1 s per iteration for n = 1e5.

    Returns
    -------
    RawComparison

    Raises
    ------
    ValueError
        If no fit is given, or one that is not there.
    """
    panel = result.panel
    fits = [tuple(fit) for fit in fits]
    S, R = result.n_iter.shape
    if not fits or not all(0 <= s < S and 0 <= r < R for s, r in fits):
        raise ValueError(message("fits", f"pairs (size < {S}, replication < {R})", f"{fits}", "give some"))
    errors, losses, n_iter = [], [], []
    for s, r in fits:
        data = WeightedPoints.from_labels(*panel.sample(panel.sizes[s], r), panel.truth.K)
        raw = log_likelihood(result.measure[s, r], data, panel.gate)
        errors.append(abs(result.log_likelihood[s, r] - raw) / abs(raw))
        if refit:
            fit = em(data, result.path[s, r, 0], stopping=panel.stopping, **panel.model)
            one, other = (
                voronoi_loss_parts(G, panel.truth, gauge=panel.gauge).total for G in (result.measure[s, r], fit.measure)
            )
            losses.append(abs(one - other) / other)
            n_iter.append(int(fit.n_iter))
    return RawComparison(np.array(errors), *(np.array(v) if refit else None for v in (losses, n_iter)))
