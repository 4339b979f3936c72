"""A ridge penalty: a Gaussian prior on what the gate and the experts say, whichever atom or class comes last.

Slopes of the gate are taken less their mean over the atoms, and those of an expert less their mean over the classes;
intercepts likewise.  So the penalty depends on probabilities alone: not on the gauge, nor on the class reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from .checks import as_count, as_instance, as_number, message
from .measure import MixingMeasure, Theta, as_measure

__all__ = ["NO_PENALTY", "Ridge", "as_penalty", "centred_cost"]


@dataclass(frozen=True)
class Ridge:
    r"""Half of ``slopes`` times the sum of squares of all centred slopes, and likewise for the ``intercepts``.

    The estimators maximise the log-likelihood less this: a posterior mode under independent centred Gaussian priors of
    these precisions.  With both positive (and weights that are not negative) there is a maximum, all its parameters are
    finite, and :meth:`theta` contains it.  The slopes are penalised as they are: give all covariates one scale.

    Parameters
    ----------
    slopes, intercepts : float, default 0.0
        In nats; at least 0.  They are not divided by the sample size, so that their part falls as it grows.

    Examples
    --------
    >>> G = MixingMeasure([1, 0], [[3], [0]], [[-1, 0], [1, 0]], [[[2], [0]], [[-1], [0]]])
    >>> penalty = Ridge(slopes=0.1)
    >>> f"{penalty.value(G):.3f} {penalty.value(G.permute([1, 0]).relabel_classes([1, 0])):.3f}"
    '0.350 0.350'
    """

    slopes: float = 0.0
    intercepts: float = 0.0

    def __post_init__(self):
        for name in ("slopes", "intercepts"):
            value = as_number(getattr(self, name), name, "a number >= 0", "pass e.g. 0.1", least=0.0)
            object.__setattr__(self, name, value)

    def __bool__(self):
        """Whether anything is penalised."""
        return self.slopes > 0.0 or self.intercepts > 0.0

    def weights(self, d: int) -> np.ndarray:
        """Weights (1 + d,) of an intercept and its slopes."""
        return np.array([self.intercepts] + d * [self.slopes])

    def value(self, G: MixingMeasure) -> np.ndarray:
        """The penalty of a measure, (...), in nats; in any gauge and class reference the same."""
        weights = self.weights(as_measure(G).d)
        gate = np.concatenate([G.beta0[..., None], G.beta1], axis=-1)
        experts = np.concatenate([G.a[..., None], G.b], axis=-1)
        return centred_cost(gate, weights, axis=-2) + centred_cost(experts, weights, axis=-2).sum(axis=-1)

    def theta(self, n: float, K: int) -> Theta:
        """A box that no maximum for a sample of total weight n with K classes reaches: there only the penalty counts.

        At the boundary the penalty alone exceeds n log K, what parameters of zero lose at most.  Needs both weights.
        """
        n, K = as_number(n, "n", "a positive sample size", "pass data.total", above=0.0), as_count(K, "K", minimum=2)
        if not (self.slopes and self.intercepts):
            raise ValueError(message("penalty", "slopes and intercepts above 0", f"{self}", "or give a theta yourself"))
        # Half the weight times a sum of squares is at most n log K, and two centred coordinates differ by at most
        # sqrt(2) times the root of that sum; one tenth more keeps the maximum off the boundary.
        of_intercepts, of_slopes = (2.2 * sqrt(n * log(K) / w) for w in (self.intercepts, self.slopes))
        return Theta(of_intercepts, of_slopes, of_intercepts, of_slopes)


#: The penalty of the plain maximum likelihood estimator.
NO_PENALTY = Ridge()


def centred_cost(coefficients: np.ndarray, weights: np.ndarray, axis: int = 0) -> np.ndarray:
    """Half the weighted sum of squares of coefficients less their mean over an axis; columns are last, with weights."""
    centred = coefficients - coefficients.mean(axis=axis, keepdims=True)
    return 0.5 * (np.square(centred).sum(axis=axis) @ weights)


def as_penalty(penalty, name="penalty"):
    """Return `penalty` if it is a `Ridge`."""
    return as_instance(penalty, Ridge, name, "pass e.g. Ridge(slopes=0.1)")
