"""The simulations of the paper's Appendix D: what a panel of a figure is, and what its fits are.

A :class:`Panel` is one panel of a figure: the truth, the gate, k, the sample sizes, the number of replications and
every choice of protocol, those that the paper states and those that it leaves open. The paper's own panels are in
:mod:`replication.paper`, and :mod:`replication.runner` computes them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

import numpy as np

from logitmoe.checks import as_count, as_float_array, message
from logitmoe.gates import Gate, as_gate, identity
from logitmoe.losses import VoronoiLoss, voronoi_loss_parts
from logitmoe.measure import DEFAULT_THETA, FIELDS, GAUGES, MixingMeasure, Theta
from logitmoe.model import sample
from logitmoe.penalty import NO_PENALTY, Ridge
from logitmoe.results import StoppingRule

__all__ = ["Panel", "PanelResult", "ReportedLine"]

#: Sizes that a panel keeps, if it has so many, at a smaller scale.
FEWEST_SIZES = 10
#: Iterations whose parameters a panel records by default, besides the start and the end.
CHECKPOINTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
#: Names of the random streams of one replication.
SAMPLE, START = 0, 1


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
    start_draws : {"free", "cell", "function"}
        One normal number for each parameter (the paper does not say otherwise); the same numbers for all atoms that
        start at one true atom; or one number for each atom's gate and one for its expert, times n^-0.083, as in an
        author's public code for a related model (the package meteoritsSim).
    start_number : int
        Starts of different numbers are independent: for the best of several starts.
    stopping : StoppingRule
        The paper gives 1e-6 and 2,000 iterations, and not the quantity whose change is compared with 1e-6.
    gauge : str
        The gauge that the loss is computed in: a name of `GAUGES` or ``"infimum"``. Not in the paper. It is how the
        fits are read, not how they are made: `PanelResult.loss` takes any other.
    theta : Theta
        The compact parameter set. Its size is not in the paper.
    penalty : Ridge
        What EM takes off the log-likelihood; none in the paper.
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
    start_draws: str = "free"
    start_number: int = 0
    stopping: StoppingRule = field(default_factory=StoppingRule)
    gauge: str = "as_is"
    theta: Theta = DEFAULT_THETA
    penalty: Ridge = NO_PENALTY
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
        kinds = {"truth": MixingMeasure, "stopping": StoppingRule, "theta": Theta, "penalty": Ridge}
        for name, kind in kinds.items():
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
        if self.start_draws not in ("free", "cell", "function"):
            refuse("start_draws", "'free', 'cell' or 'function'", "use one of these")
        put("start_number", as_count(self.start_number, "start_number", minimum=0))
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
    def model(self) -> dict:
        """What EM is told besides the data, the start and when to stop."""
        return {"gate": self.gate, "theta": self.theta, "penalty": self.penalty}

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
        out |= {name: getattr(self, name) for name in ("start_draws", "start_number", "design", "seed", "order")}
        out |= {"sizes": list(self.sizes), "checkpoints": list(self.checkpoints)}
        out |= {"truth": {letter: getattr(self.truth, letter).tolist() for letter in FIELDS}}
        out |= {name: asdict(getattr(self, name)) for name in ("stopping", "theta", "penalty")}
        # Two gates of one name are told apart by some of their values.
        places = np.array([[0.125], [0.5], [0.875]])
        for name, gate in (("gate", self.gate), ("data_gate", self.sampling_gate)):
            out[name] = [gate.name, *(float(f"{v:.12g}") for v in gate(places)[:, 0])]
        return out

    def units(self) -> list[tuple[int, int]]:
        """(n, replication) of every fit; all sizes of one replication first, so that chunks take equally long."""
        return [(n, r) for r in range(self.replications) for n in self.sizes]

    def stream(self, n: int, replication: int, kind: int) -> np.random.Generator:
        """The random stream of a sample (kind 0) or start (kind 1 + its number): these and the seed decide it."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(n, replication, kind)))

    def sample(self, n: int, replication: int) -> tuple[np.ndarray, np.ndarray]:
        """The raw sample of one replication: x of shape (n, 1) and y of shape (n,)."""
        grid = np.linspace(0.0, 1.0, n) if self.design == "grid" else None
        rng = self.stream(n, replication, SAMPLE)
        return sample(self.truth, n, rng, covariates=grid, gate=self.sampling_gate)


def _increasing(values, name: str, empty: bool = False) -> tuple[int, ...]:
    values = tuple(as_count(value, name) for value in values)
    if not values and not empty or any(b <= a for a, b in zip(values, values[1:], strict=False)):
        raise ValueError(message(name, "increasing numbers", f"{values}", "sort them and drop what is repeated"))
    return values


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
        Log-likelihood of the sample, without a penalty, and its estimated relative error due to compression (0 for
        raw points).
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
