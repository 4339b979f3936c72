"""Softmax gating multinomial logistic mixtures of experts: the estimator, the losses and the checks of the book.

The layers, each of which imports only those before it: ``measure`` (parameters), ``gates``, ``model`` (densities and
sampling), ``data`` (samples, raw and compressed), ``multinomial`` (the M-step's solver), ``estimator`` (EM),
``maximum_likelihood`` (the maximum itself, by Newton's method), ``starts``, ``losses``, ``information``.  ``paper`` has
the paper's tables as data, ``counterexamples`` what refutes its statements as printed, ``ledger`` the records of
verdicts.  Modules to be imported by name: ``experiments`` (the paper's figures as data, and their runner),
``asymptotics`` and ``rates`` (samples of any size, and rates measured on them), ``covering`` (entropy of sets of
densities), and those that need more than NumPy and SciPy: ``local`` and ``definition`` (exact and 50-digit arithmetic)
and ``plots`` (Matplotlib).
"""

import sys

from .counterexamples import (
    AFFINE_SPLIT_TRUTH,
    Counterexample,
    affine_split_K3,
    antipodal_pair,
    constant_split,
    exchange,
    gating_copies,
    swap,
    swap_diagonal,
    translation,
)
from .data import (
    ChebyshevMoments,
    WeightedPoints,
    chebyshev_order,
    compress,
    compress_chunks,
    compression_error,
)
from .estimator import EMResult, StoppingRule, Trace, e_step, em, em_from_responsibilities, m_step
from .gates import (
    GATES,
    Gate,
    as_gate,
    cos,
    identity,
    log_abs,
    normalize,
    power,
    sigmoid,
    sin,
    tanh,
)
from .information import (
    NumericalRank,
    covariance,
    fisher_information,
    fisher_root,
    numerical_rank,
    score,
    standard_errors,
)
from .losses import (
    Design,
    VoronoiLoss,
    best_translation,
    hellinger,
    kullback_leibler,
    sample_design,
    total_variation,
    uniform_design,
    voronoi_cells,
    voronoi_loss,
    voronoi_loss_parts,
)
from .maximum_likelihood import MLEResult, log_likelihood_difference, mle
from .measure import DEFAULT_THETA, GAUGES, MixingMeasure, Theta
from .model import (
    density,
    expert_log_probabilities,
    gate_log_probabilities,
    joint_log_probabilities,
    log_density,
    log_likelihood,
    responsibilities,
    sample,
    sample_chunks,
    uniform,
)
from .paper import TABLE_1, TABLE_2, TABLE_3, Rates
from .starts import fit, near_truth, random_cells, random_start

__version__ = "0.1.0"

__all__ = [
    "AFFINE_SPLIT_TRUTH",
    "ChebyshevMoments",
    "Counterexample",
    "DEFAULT_THETA",
    "Design",
    "EMResult",
    "GATES",
    "GAUGES",
    "Gate",
    "MLEResult",
    "MixingMeasure",
    "NumericalRank",
    "Rates",
    "StoppingRule",
    "TABLE_1",
    "TABLE_2",
    "TABLE_3",
    "Theta",
    "Trace",
    "VoronoiLoss",
    "WeightedPoints",
    "affine_split_K3",
    "antipodal_pair",
    "as_gate",
    "best_translation",
    "chebyshev_order",
    "compress",
    "compress_chunks",
    "compression_error",
    "constant_split",
    "cos",
    "covariance",
    "density",
    "e_step",
    "em",
    "em_from_responsibilities",
    "exchange",
    "expert_log_probabilities",
    "fisher_information",
    "fisher_root",
    "fit",
    "gate_log_probabilities",
    "gating_copies",
    "hellinger",
    "identity",
    "joint_log_probabilities",
    "kullback_leibler",
    "log_abs",
    "log_density",
    "log_likelihood",
    "log_likelihood_difference",
    "m_step",
    "mle",
    "near_truth",
    "normalize",
    "numerical_rank",
    "power",
    "random_cells",
    "random_start",
    "responsibilities",
    "sample",
    "sample_chunks",
    "sample_design",
    "score",
    "sigmoid",
    "sin",
    "standard_errors",
    "swap",
    "swap_diagonal",
    "tanh",
    "total_variation",
    "translation",
    "uniform",
    "uniform_design",
    "voronoi_cells",
    "voronoi_loss",
    "voronoi_loss_parts",
]

# The module's old name, until nothing imports it any more.
sys.modules[f"{__name__}.mle"] = sys.modules[mle.__module__]
