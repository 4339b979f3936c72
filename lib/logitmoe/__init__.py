"""Softmax gating multinomial logistic mixtures of experts: the estimator, with NumPy and SciPy alone.

The modules, from the top: each stands on those below it.

- `fitting` : starts, and `fit`, from covariates and labels to a fitted model
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
from .fitting import fit, random_start
from .gates import GATES, Gate
from .information import covariance, fisher_information, standard_errors
from .losses import voronoi_loss
from .measure import MixingMeasure, Theta
from .model import density, log_likelihood, responsibilities, sample
from .newton import mle
from .penalty import Ridge
from .results import StoppingRule

__version__ = "0.1.0"

__all__ = [
    "ChebyshevMoments", "Design", "GATES", "Gate", "MixingMeasure", "Ridge", "StoppingRule", "Theta", "WeightedPoints",
    "compress", "covariance", "density", "em", "fisher_information", "fit", "hellinger", "log_likelihood", "mle",
    "random_start", "responsibilities", "sample", "sample_design", "standard_errors", "total_variation",
    "uniform_design", "voronoi_loss",
]  # fmt: skip
