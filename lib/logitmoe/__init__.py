"""Softmax gating multinomial logistic mixtures of experts: the estimator, with NumPy and SciPy alone.

The modules, from the top: each stands on those below it.

- `classifier` : scikit-learn's conventions (an optional extra: the one module that needs another package)
- `selection` : how many experts, and what a fit means in the paper's terms
- `fitting` : starts, and `fit`, from a table of covariates and labels to a fitted model
- `fitted`, `inference`, `tables` : what the fit of a table says; its standard errors; its names, labels and units
- `newton` : `mle`, the maximum itself;  `compression` : a sample of any size as a few Chebyshev moments
- `em_algorithm` : `em`, with the solver of its M-step in `multinomial`
- `information` : derivatives of the density, Fisher information, standard errors
- `separation` : where, and why, a likelihood has its maximum at infinity
- `losses`, `divergences` : how far a fit is from a truth, in parameters and in density
- `data` : weighted points, the one form of data that all of the above see
- `penalty` : `Ridge`, what EM and Newton's method may subtract from the log-likelihood
- `model` : density, log-likelihood, posterior, samples
- `measure`, `gates` : the parameters, in the paper's letters, and the maps M of the gate
- `checks`, `files` : arguments and files that are not what they should be
"""

from .compression import ChebyshevMoments, compress
from .data import WeightedPoints
from .divergences import Design, hellinger, sample_design, total_variation, uniform_design
from .em_algorithm import em
from .fitted import FittedModel
from .fitting import Starts, default_penalty, fit, random_start
from .gates import GATES, Gate
from .information import covariance, fisher_information, standard_errors
from .losses import voronoi_loss
from .measure import MixingMeasure, Theta
from .model import density, log_likelihood, responsibilities, sample
from .newton import mle
from .penalty import Ridge
from .results import StoppingRule
from .selection import Selection, diagnose, merge_indistinct, select_k
from .separation import Separation, separations
from .tables import Table

__version__ = "0.1.0"

__all__ = [
    "ChebyshevMoments", "Design", "FittedModel", "GATES", "Gate", "MixingMeasure", "Ridge", "Selection", "Separation",
    "Starts", "StoppingRule", "Table", "Theta", "WeightedPoints", "compress", "covariance", "default_penalty",
    "density", "diagnose", "em", "fisher_information", "fit", "hellinger", "log_likelihood", "merge_indistinct", "mle",
    "random_start", "responsibilities", "sample", "sample_design", "select_k", "separations", "standard_errors",
    "total_variation", "uniform_design", "voronoi_loss",
]  # fmt: skip
