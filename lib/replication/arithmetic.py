"""Log-likelihoods in as many digits as one likes, to check those in double precision."""

from __future__ import annotations

import mpmath
import numpy as np

from logitmoe.checks import as_count, message
from logitmoe.gates import identity

from .taylor import Term, evaluate

__all__ = ["precise_log_likelihood_difference"]


def precise_log_likelihood_difference(G, G_reference, data, gate=identity, digits=50):
    """What :func:`~logitmoe.newton.log_likelihood_difference` computes, as it stands, with many digits.

    Parameters
    ----------
    G, G_reference : MixingMeasure
        Without batch axes.
    data : WeightedPoints
        Without batch axes.
    gate : Gate, str or callable, default identity
        One of the library's gates.
    digits : int, default 50
        Decimal digits of the arithmetic, at least 15.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument has batch axes, ``digits`` is below 15, or the gate is not known to mpmath.
    """
    digits = as_count(digits, "digits", minimum=15)
    if data.batch_shape:
        raise ValueError(message("data", "no batch axes", f"{data.batch_shape}", "index the data first"))
    exp, log, exactly = (np.frompyfunc(f, 1, 1) for f in (mpmath.exp, mpmath.log, mpmath.mpf))

    def log_density(H):
        none, still = (0,) * H.d, (0,) * (H.K - 1)
        terms = [Term(j, "f", none, none, still) for j in range(H.k)]
        experts = evaluate(H, data.points, terms, gate, digits=digits)  # e_j f_j, (k, m, K)
        joint = (exp(exactly(H.beta0))[:, None, None] * experts).sum(0)
        return log(joint / joint.sum(-1, keepdims=True))

    with mpmath.workdps(digits):
        return float((exactly(data.weights.T) * (log_density(G) - log_density(G_reference))).sum())
