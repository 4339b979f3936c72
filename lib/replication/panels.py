"""The simulations of the paper's Appendix D: its figures as data, and a runner that computes them.

A :class:`Panel` is one panel of a figure: the truth, the gate, k, the sample sizes, the number of replications and
every choice of protocol, those that the paper states and those that it leaves open. :func:`run_panel` draws the
samples, compresses them and fits them by EM. Its numbers do not depend on how the work is spread:

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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from logitmoe.checks import as_count, as_float_array, message
from logitmoe.compression import ChebyshevMoments, compress
from logitmoe.data import WeightedPoints
from logitmoe.em_algorithm import em
from logitmoe.gates import Gate, as_gate, identity
from logitmoe.losses import VoronoiLoss, voronoi_loss_parts
from logitmoe.measure import _FIELDS, DEFAULT_THETA, GAUGES, MixingMeasure, Theta
from logitmoe.model import log_likelihood, sample
from logitmoe.results import StoppingRule

from .jobs import run_jobs
from .paper import TABLE_2, TABLE_3
from .starts import _around, _noise, random_cells

__all__ = [
    "FIGURES",
    "FIGURE_1A",
    "FIGURE_1B",
    "FIGURE_2A",
    "FIGURE_2B",
    "FIGURE_2C",
    "FIGURE_2D",
    "FIGURE_3",
    "Panel",
    "PanelResult",
    "RawComparison",
    "ReportedLine",
    "compare_with_raw",
    "run_panel",
    "run_panels",
    "run_protocols",
]

#: Sizes that a panel keeps, if it has so many, at a smaller scale.
FEWEST_SIZES = 10
#: Samples that are drawn and fitted together: what one task of the executor does.
CHUNK = 400
#: Iterations whose parameters a panel records by default, besides the start and the end.
CHECKPOINTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SAMPLE, _START = 0, 1  # the random streams of one replication


# ------------------------------------------------------------------------------------------------------------
# Panels
@dataclass(frozen=True)
class ReportedLine:
    """A fitted line as the paper prints it: loss = constant * n**slope.

    Parameters
    ----------
    slope : float
    constant : float
        The number printed before the power of n.
    logarithm : bool
        Whether that number is the logarithm of the constant. It is in Figure 1, whose axes are logarithms: read as
        the constant itself, the line would lie below the whole of the plot.
    source : str
        Where it is printed.
    """

    slope: float
    constant: float
    logarithm: bool
    source: str

    @property
    def log_constant(self) -> float:
        """Natural logarithm of the constant."""
        return self.constant if self.logarithm else float(np.log(self.constant))

    def __call__(self, n):
        """The line at sample sizes n."""
        return np.exp(self.log_constant + self.slope * np.log(n))


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel of a figure: what is simulated, and how it is fitted.

    Where the paper leaves a choice open, the default is a setting under which the slope of Figure 1a lies within the
    noise of the printed one. It does not do the same for the other panels.

    Parameters
    ----------
    name : str
        Label of the panel, unique among panels that run together.
    truth : MixingMeasure
        The measure that the samples are drawn from, one covariate (d = 1).
    k : int
        Number of fitted atoms, at least that of the truth.
    sizes : sequence of int
        Sample sizes, increasing.
    replications : int
        Samples of each size.
    gate : Gate, str or callable, default identity
        The gate that is fitted.
    data_gate : Gate, str, callable or None
        The gate that the samples are drawn with; None for the one that is fitted.
    start_sd : float
        Standard deviation of the Gaussian start around the truth. Not in the paper ("small").
    split_mass : bool
        Whether several atoms that start at one true atom share its mass, or have all of it each. Not in the paper.
    stopping : StoppingRule
        The paper gives 1e-6 and 2,000 iterations, and not the quantity whose change is compared with 1e-6.
    gauge : str
        The gauge that the loss is computed in: a name of `GAUGES` or ``"infimum"``. Not in the paper. It is how the
        fits are read, not how they are made: `PanelResult.loss` takes any other.
    theta : Theta
        The compact parameter set. Its size is not in the paper.
    design : {"random", "grid"}
        Covariates drawn uniformly from [0, 1], as the paper says, or the n equally spaced points from 0 to 1.
    seed : int
        Non-negative. Panels with one seed, truth, data gate and design have the same samples where their sizes agree.
    checkpoints : sequence of int
        Iterations after which the parameters are recorded, increasing. The start is always recorded.
    order : int or None
        Chebyshev moments kept of each sample; None to fit the raw points.
    reported : ReportedLine or None
        The paper's line.

    Raises
    ------
    TypeError, ValueError
        If a value is of the wrong kind or out of range, or two values do not fit together.
    """

    name: str
    truth: MixingMeasure
    k: int
    sizes: tuple[int, ...]
    replications: int
    gate: Gate = identity
    data_gate: Gate | None = None
    start_sd: float = 0.05
    split_mass: bool = True
    stopping: StoppingRule = field(default_factory=StoppingRule)
    gauge: str = "as_is"
    theta: Theta = DEFAULT_THETA
    design: str = "random"
    seed: int = 231014188  # the paper's number on arXiv
    checkpoints: tuple[int, ...] = CHECKPOINTS
    order: int | None = 64
    reported: ReportedLine | None = None

    def __post_init__(self) -> None:
        def put(name, value):
            object.__setattr__(self, name, value)

        def refuse(name, expected, remedy):
            raise ValueError(message(name, expected, f"{getattr(self, name)!r}", remedy))

        if not isinstance(self.name, str) or not self.name:
            refuse("name", "a text", "name the panel, e.g. '1a'")
        for name, kind in (("truth", MixingMeasure), ("stopping", StoppingRule), ("theta", Theta)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(message(name, f"a {kind.__name__}", type(getattr(self, name)).__name__, "make one"))
        if self.truth.batch_shape or self.truth.d != 1:
            refuse("truth", "one measure with d = 1", "index the batch; the panels have one covariate")
        put("k", as_count(self.k, "k", minimum=self.truth.k))
        put("sizes", _increasing(self.sizes, "sizes"))
        put("checkpoints", _increasing(self.checkpoints, "checkpoints", empty=True))
        put("replications", as_count(self.replications, "replications"))
        put("seed", as_count(self.seed, "seed", minimum=0))
        put("gate", as_gate(self.gate))
        put("data_gate", None if self.data_gate is None else as_gate(self.data_gate))
        put("start_sd", float(as_float_array(self.start_sd, "start_sd", ndim=0)))
        if self.start_sd < 0.0:
            refuse("start_sd", "a standard deviation >= 0", "pass e.g. 0.05")
        if not isinstance(self.split_mass, (bool, np.bool_)):
            raise TypeError(message("split_mass", "True or False", f"{self.split_mass!r}", "choose one"))
        put("split_mass", bool(self.split_mass))
        if self.gauge not in (*GAUGES, "infimum"):
            refuse("gauge", f"one of {', '.join(GAUGES)}, infimum", "use one of these")
        if self.design not in ("random", "grid"):
            refuse("design", "'random' or 'grid'", "use one of these")
        if not self.theta.contains(self.truth):
            refuse("theta", "a box that contains the truth", "widen it")
        if self.reported is not None and not isinstance(self.reported, ReportedLine):
            raise TypeError(message("reported", "a ReportedLine or None", f"{self.reported!r}", "make one"))
        singular = [gate.name for gate in (self.gate, self.sampling_gate) if gate.pole == 0.0]
        if self.order is not None:
            put("order", as_count(self.order, "order"))
            if self.gate.pole == 0.0:
                refuse("order", f"None, as the gate {self.gate.name!r} is not analytic at 0", "fit the raw points")
        if self.design == "grid" and singular:
            refuse("design", f"'random', as the gate {singular[0]!r} is not defined at the point 0", "use it")

    @property
    def sampling_gate(self) -> Gate:
        """The gate that the samples are drawn with."""
        return self.gate if self.data_gate is None else self.data_gate

    @property
    def fits(self) -> int:
        """Number of fits."""
        return len(self.sizes) * self.replications

    def scaled(self, scale: float) -> Panel:
        """The panel with about `scale` times as many fits: fewer sizes (at least ten), then fewer replications.

        The samples and starts that are left are those of the full panel.

        Parameters
        ----------
        scale : float
            Above 0 and at most 1.

        Raises
        ------
        TypeError, ValueError
            If `scale` is not a number in (0, 1].
        """
        scale = float(as_float_array(scale, "scale", ndim=0))
        if not 0.0 < scale <= 1.0:
            raise ValueError(message("scale", "a number above 0 and at most 1", scale, "pass e.g. 0.1"))
        count = min(len(self.sizes), max(FEWEST_SIZES, round(scale * len(self.sizes))))
        kept = np.rint(np.linspace(0, len(self.sizes) - 1, count)).astype(int)
        replications = min(self.replications, max(1, round(scale * self.fits / count)))
        return replace(self, sizes=tuple(self.sizes[i] for i in kept), replications=replications)

    def record(self) -> dict:
        """Everything that decides the numbers of a run, as text and numbers that JSON keeps exactly.

        The gauge and the reported line are left out: they only decide how the fits are read.
        """
        out = {name: getattr(self, name) for name in ("name", "k", "replications", "start_sd", "split_mass")}
        out |= {name: getattr(self, name) for name in ("design", "seed", "order")}
        out |= {"sizes": list(self.sizes), "checkpoints": list(self.checkpoints)}
        out |= {"truth": {letter: getattr(self.truth, letter).tolist() for letter in _FIELDS}}
        out |= {"stopping": asdict(self.stopping), "theta": asdict(self.theta)}
        # Two gates of one name are told apart by some of their values.
        places = np.array([[0.125], [0.5], [0.875]])
        for name, gate in (("gate", self.gate), ("data_gate", self.sampling_gate)):
            out[name] = [gate.name, *(float(f"{v:.12g}") for v in gate(places)[:, 0])]
        return out

    def _samples_key(self) -> str:
        """What the samples and their division into chunks depend on."""
        record = self.record()
        names = ("truth", "sizes", "replications", "data_gate", "design", "seed", "order")
        return json.dumps({name: record[name] for name in names})

    def _units(self) -> list[tuple[int, int]]:
        """(n, replication) of every fit; all sizes of one replication first, so that chunks take equally long."""
        return [(n, r) for r in range(self.replications) for n in self.sizes]


def _increasing(values, name: str, empty: bool = False) -> tuple[int, ...]:
    values = tuple(as_count(value, name) for value in values)
    if not values and not empty or any(b <= a for a, b in zip(values, values[1:], strict=False)):
        raise ValueError(message(name, "increasing numbers", f"{values}", "sort them and drop what is repeated"))
    return values


def _spaced(low: int, high: int, count: int) -> tuple[int, ...]:
    """`count` equally spaced sizes from low to high, both included, rounded down."""
    return tuple(int(n) for n in np.linspace(low, high, count))
# The sizes' spacing is not in the paper. For Figures 2a and 2b the last 35 and the last 28 of 50 equally spaced sizes
# from 1e4 to 1e5 are taken: they begin at 37,551 and 50,408, the "about 37e3" and "about 50e3" of the text.
_FIFTY = _spaced(10_000, 100_000, 50)
FIGURE_1A = Panel(
    name="1a",
    truth=TABLE_2,
    k=3,
    sizes=_spaced(10_000, 100_000, 200),
    replications=40,
    reported=ReportedLine(-0.48195, 4.8, True, "Figure 1a"),
)
FIGURE_1B = replace(FIGURE_1A, name="1b", k=4, reported=ReportedLine(-0.43467, 5.0, True, "Figure 1b"))
FIGURE_2A = Panel(
    name="2a",
    truth=TABLE_3,
    k=3,
    sizes=_FIFTY[-35:],
    replications=40,
    reported=ReportedLine(-0.34, 1028.7, False, "Figure 2a"),
)
FIGURE_2B = replace(
    FIGURE_2A, name="2b", k=4, sizes=_FIFTY[-28:], reported=ReportedLine(-0.21, 998.8, False, "Figure 2b")
)
FIGURE_2C = Panel(
    name="2c",
    truth=TABLE_3,
    k=3,
    gate="sigmoid",
    sizes=_spaced(10_000, 100_000, 20),
    replications=40,
    reported=ReportedLine(-0.43, 137.3, False, "Figure 2c"),
)
FIGURE_2D = replace(FIGURE_2C, name="2d", k=4, reported=ReportedLine(-0.49, 918.3, False, "Figure 2d"))
#: Figure 3, one panel for each gate: 200 iterations whatever happens. log|x| is not analytic at 0: raw points.
FIGURE_3 = tuple(
    Panel(
        name=f"3 {gate}",
        truth=TABLE_3,
        k=3,
        gate=gate,
        sizes=(10_000,),
        replications=1,
        stopping=StoppingRule("absolute", 0.0, 200),
        checkpoints=tuple(range(1, 201)),
        order=None if gate == "log_abs" else 64,
    )
    for gate in ("identity", "cos", "sin", "log_abs")
)
#: The panels of Figures 1 and 2.
FIGURES = (FIGURE_1A, FIGURE_1B, FIGURE_2A, FIGURE_2B, FIGURE_2C, FIGURE_2D)


# ------------------------------------------------------------------------------------------------------------
# Results
@dataclass(frozen=True, eq=False)
class PanelResult:
    """The fits of a panel, S sizes by R replications.

    Attributes
    ----------
    panel : Panel
        The panel as it was run, scaled if it was.
    measure : MixingMeasure, batch shape (S, R)
        The fitted measures.
    log_likelihood, compression_error : ndarray, shape (S, R)
        Log-likelihood of the sample, and its estimated relative error due to compression (0 for raw points).
    n_iter, order : ndarray of int, shape (S, R)
        Iterations done, and nodes that stood for the sample (n for raw points).
    reason : ndarray of str, shape (S, R)
        Why the fit stopped, see `EMResult`.
    at_bound : ndarray of bool, shape (S, R)
        Whether some parameter sits on the boundary of Theta.
    iterations : ndarray of int, shape (C,)
        0 and the panel's checkpoints.
    path : MixingMeasure, batch shape (S, R, C)
        The measures after so many iterations, or the last ones of fits that stopped earlier.
    path_log_likelihood : ndarray, shape (S, R, C)
    seconds : dict of str to float
        Processor seconds that went into ``"sampling"`` (drawing and compressing, shared by panels that ran together)
        and ``"fitting"``, over all workers.
    """

    panel: Panel
    measure: MixingMeasure
    log_likelihood: np.ndarray
    compression_error: np.ndarray
    n_iter: np.ndarray
    order: np.ndarray
    reason: np.ndarray
    at_bound: np.ndarray
    iterations: np.ndarray
    path: MixingMeasure
    path_log_likelihood: np.ndarray
    seconds: dict[str, float]

    @property
    def sizes(self) -> np.ndarray:
        """Sample sizes, (S,)."""
        return np.array(self.panel.sizes)

    @property
    def converged(self) -> np.ndarray:
        """Whether the fit stopped before the largest number of iterations, (S, R)."""
        return self.reason != "max_iter"

    def loss(self, gauge: str | None = None, r: float = 2.0) -> VoronoiLoss:
        """The Voronoi loss of every fit, (S, R), with its parts; in the panel's gauge when None is given."""
        return voronoi_loss_parts(self.measure, self.panel.truth, r, gauge=gauge or self.panel.gauge)

    def path_loss(self, gauge: str | None = None, r: float = 2.0) -> VoronoiLoss:
        """The Voronoi loss at the start and at the checkpoints, (S, R, C)."""
        return voronoi_loss_parts(self.path, self.panel.truth, r, gauge=gauge or self.panel.gauge)


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
        data = WeightedPoints.from_labels(*_draw(panel, panel.sizes[s], r), panel.truth.K)
        raw = log_likelihood(result.measure[s, r], data, panel.gate)
        errors.append(abs(result.log_likelihood[s, r] - raw) / abs(raw))
        if refit:
            fit = em(data, result.path[s, r, 0], gate=panel.gate, theta=panel.theta, stopping=panel.stopping)
            one, other = (
                voronoi_loss_parts(G, panel.truth, gauge=panel.gauge).total for G in (result.measure[s, r], fit.measure)
            )
            losses.append(abs(one - other) / other)
            n_iter.append(int(fit.n_iter))
    return RawComparison(np.array(errors), *(np.array(v) if refit else None for v in (losses, n_iter)))


# ------------------------------------------------------------------------------------------------------------
# One chunk of fits
def _stream(panel: Panel, n: int, replication: int, kind: int) -> np.random.Generator:
    """The random stream of one sample or start: it depends on nothing else."""
    return np.random.default_rng(np.random.SeedSequence(panel.seed, spawn_key=(n, replication, kind)))


def _draw(panel: Panel, n: int, replication: int) -> tuple[np.ndarray, np.ndarray]:
    """The raw sample (x, y) of one replication."""
    grid = np.linspace(0.0, 1.0, n) if panel.design == "grid" else None
    rng = _stream(panel, n, replication, _SAMPLE)
    return sample(panel.truth, n, rng, covariates=grid, gate=panel.sampling_gate)


def _run_chunk(panels: list[Panel], units: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    """Draw the samples of one chunk and fit them under every panel; keys are "position/field"."""
    clock = time.thread_time()
    common = panels[0]
    K = common.truth.K
    if common.order is None:
        data = [WeightedPoints.from_labels(*_draw(common, n, r), K) for n, r in units]
    else:
        data = ChebyshevMoments.stack(compress(*_draw(common, n, r), K, p=common.order) for n, r in units)
    sampling = time.thread_time() - clock
    out = {}
    for positions in _fitted_alike(panels):
        clock = time.thread_time()
        panel = panels[positions[0]]
        starts = _starts([panels[position] for position in positions], units).reshape((-1,))
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


def _fitted_alike(panels: list[Panel], rules: bool = False) -> list[list[int]]:
    """Positions of the panels whose fits can advance in one batch, as they differ in their starts only.

    Fits that take long then keep a batch busy together, and not one batch for each panel. With `rules`, panels may
    differ in their stopping rules too.
    """
    alike: dict[tuple, list[int]] = {}
    for position, panel in enumerate(panels):
        stopping = None if rules else panel.stopping
        key = (panel.k, str(panel.record()["gate"]), panel.theta, stopping, panel.checkpoints)
        alike.setdefault(key, []).append(position)
    return list(alike.values())


def _starts(panels: list[Panel], units: list[tuple[int, int]]) -> MixingMeasure:
    """The starts of panels that are fitted alike, (P, U): those of `near_truth`, with each stream read once."""
    truth, k, cells, noise = panels[0].truth, panels[0].k, [], []
    for n, r in units:
        rng = _stream(panels[0], n, r, _START)
        cells.append(random_cells(k, truth.k, rng))
        noise.append(_noise(truth, (k,), rng))
    cells, noise = np.stack(cells), [np.stack(values) for values in zip(*noise, strict=True)]
    return MixingMeasure.stack(
        _around(truth, cells, noise, sd=panel.start_sd, split_mass=panel.split_mass, theta=panel.theta)
        for panel in panels
    )


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
    now = {letter: getattr(start, letter).copy() for letter in _FIELDS}
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
                gate=panel.gate,
                theta=panel.theta,
                stopping=replace(panel.stopping, max_iter=stop - done),
            )
            for letter in _FIELDS:
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
    options = {"gate": panel.gate, "theta": panel.theta, "stopping": panel.stopping}
    result = em(data, start, trace="full", **options)
    raw, fits = result.nodes is None, start.batch_shape[0]
    out = {name: getattr(result, name) for name in ("log_likelihood", "n_iter", "reason", "at_bound")}
    out["compression_error"] = np.zeros(fits) if raw else result.compression_error
    out["order"] = np.full(fits, data.m) if raw else result.nodes
    row = np.arange(fits)[:, None]
    at = np.minimum(result.n_iter[:, None], (0, *panel.checkpoints))
    for letter in _FIELDS:
        out[letter] = getattr(result.measure, letter)
        out[f"path_{letter}"] = getattr(result.trace.measure, letter)[row, at]
    out["path_log_likelihood"] = result.trace.log_likelihood[row, at]
    return out


# ------------------------------------------------------------------------------------------------------------
# The runner
def run_panel(
    panel: Panel,
    *,
    executor: Executor | None = None,
    scale: float = 1.0,
    progress: bool | Callable[[int, int], None] | None = None,
    store: str | Path | None = None,
) -> PanelResult:
    """Draw, compress and fit all samples of a panel.

    Parameters
    ----------
    panel : Panel
    executor, scale, progress, store
        As for :func:`run_panels`.

    Returns
    -------
    PanelResult
    """
    return run_panels([panel], executor=executor, scale=scale, progress=progress, store=store)[0]


def run_protocols(panel: Panel, protocols: Iterable[dict], **options) -> list[PanelResult]:
    """Fit the samples of one panel under several protocols.

    Parameters
    ----------
    panel : Panel
    protocols : iterable of dict
        Fields of the panel to replace, for each protocol, e.g. ``{"start_sd": 0.1}``. A protocol without a name
        of its own is named after its position.
    **options
        As for :func:`run_panels`.

    Returns
    -------
    list of PanelResult
        One for each protocol, in their order.

    Raises
    ------
    TypeError, ValueError
        If a protocol names a field that panels do not have, or as for :func:`run_panels`.
    """
    panels = []
    for number, protocol in enumerate(protocols):
        unknown = sorted(set(protocol) - set(Panel.__dataclass_fields__))
        if unknown:
            got = f"{unknown} in protocol {number}"
            raise ValueError(message("protocols", "fields of Panel", got, "check the spelling"))
        panels.append(replace(panel, **{"name": f"{panel.name} #{number}", **protocol}))
    return run_panels(panels, **options)


def run_panels(
    panels: Iterable[Panel],
    *,
    executor: Executor | None = None,
    scale: float = 1.0,
    progress: bool | Callable[[int, int], None] | None = None,
    store: str | Path | None = None,
) -> list[PanelResult]:
    """Draw, compress and fit all samples of several panels; samples that panels share are drawn once.

    Parameters
    ----------
    panels : iterable of Panel
        With different names.
    executor : concurrent.futures.Executor, optional
        Where the chunks are computed: threads, processes, :class:`SerialExecutor`, or the executor interface of a
        cluster. It is left open. By default, one process for each core that this process may use, each with one BLAS
        thread; a script that is run as a file then needs the usual ``if __name__ == "__main__":``.
    scale : float, default 1.0
        See :meth:`Panel.scaled`.
    progress : bool or callable, optional
        Whether to show on standard error how many chunks are done; or a function that is told ``(done, total)``.
        By default a bar is shown in a terminal and in a notebook that a person has open, and not elsewhere.
    store : path, optional
        A results file (SQLite). Chunks are added as they are computed, each in one transaction, and those that are
        there already are not computed again: a run that was interrupted goes on from where it was.

    Returns
    -------
    list of PanelResult
        In the order of `panels`. The numbers are the same, bit for bit on one machine, for any executor, any number
        of workers, and any interruptions. What else is in `panels` may change them by rounding: the fits of panels that
        differ in their starts only advance together.

    Raises
    ------
    TypeError, ValueError
        If the panels are not Panels or share a name, `scale` is out of range, or the results file belongs to other
        panels (the message says which field differs).
    """
    panels = list(panels)
    for panel in panels:
        if not isinstance(panel, Panel):
            raise TypeError(message("panels", "Panels", type(panel).__name__, "pass e.g. FIGURE_1A"))
    panels = [panel.scaled(scale) for panel in panels]
    names = [panel.name for panel in panels]
    if len(set(names)) != len(names):
        raise ValueError(message("panels", "different names", f"{names}", "rename some"))

    groups: dict[str, list[int]] = {}  # positions of the panels that have their samples in common
    for position, panel in enumerate(panels):
        groups.setdefault(panel._samples_key(), []).append(position)
    chunks = []
    for group in groups.values():
        units = panels[group[0]]._units()
        chunks += [(group, units[first : first + CHUNK]) for first in range(0, len(units), CHUNK)]

    outputs = run_jobs(
        _run_chunk,
        [([panels[position] for position in group], units) for group, units in chunks],
        executor=executor,
        progress=progress,
        store=store,
        records=[panel.record() for panel in panels],
    )
    results = []
    for position, panel in enumerate(panels):
        parts = []
        for (group, _), output in zip(chunks, outputs, strict=True):
            if position in group:
                prefix = f"{group.index(position)}/"
                parts.append({k.removeprefix(prefix): v for k, v in output.items() if k.startswith(prefix)})
        results.append(_assemble(panel, parts))
    return results


def _assemble(panel: Panel, parts: list[dict[str, np.ndarray]]) -> PanelResult:
    """Put the chunks of a panel together, sizes by replications."""
    seconds = np.sum([part.pop("seconds") for part in parts], axis=0)
    shape = (panel.replications, len(panel.sizes))
    whole = {}
    for name in parts[0]:
        value = np.concatenate([part[name] for part in parts])
        whole[name] = value.reshape(*shape, *value.shape[1:]).swapaxes(0, 1)
    return PanelResult(
        panel=panel,
        measure=MixingMeasure(**{letter: whole.pop(letter) for letter in _FIELDS}),
        path=MixingMeasure(**{letter: whole.pop(f"path_{letter}") for letter in _FIELDS}),
        iterations=np.array((0, *panel.checkpoints)),
        seconds={"sampling": float(seconds[0]), "fitting": float(seconds[1])},
        **whole,
    )
