"""Softmax gating multinomial logistic mixtures of experts: the estimator."""

from .compression import ChebyshevMoments, compress
from .data import WeightedPoints
from .divergences import Design, hellinger, sample_design, total_variation, uniform_design
from .em_algorithm import em
from .fitting import fit, random_start
from .gates import GATES, Gate
from .information import covariance, fisher_information, standard_errors
from .losses import voronoi_loss
from .measure import MixingMeasure, Theta
from .model import density, log_likelihood, responsibilities, sample
from .newton import mle
from .results import StoppingRule

__version__ = "0.1.0"

__all__ = [
    "ChebyshevMoments",
    "Design",
    "GATES",
    "Gate",
    "MixingMeasure",
    "StoppingRule",
    "Theta",
    "WeightedPoints",
    "compress",
    "covariance",
    "density",
    "em",
    "fisher_information",
    "fit",
    "hellinger",
    "log_likelihood",
    "mle",
    "random_start",
    "responsibilities",
    "sample",
    "sample_design",
    "standard_errors",
    "total_variation",
    "uniform_design",
    "voronoi_loss",
]
