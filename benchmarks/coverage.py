"""Coverage of 95 % intervals from the observed information: where they can be trusted, and where not yet.

    python benchmarks/coverage.py [SAMPLES]

Each of 1,000 samples is fitted by maximum likelihood from the truth, so the local maximum next to it is what is
studied. Printed: the largest asymptotic standard deviation of a coefficient, the mean coverage over the coefficients
with its standard error, and the lowest and the highest.

Coefficients are logits. A design counts as well-conditioned here if no coefficient has a standard deviation above
`WELL`: within two of them the log-likelihood is about a parabola. The last design is not at n = 3,000, where intervals
cover too rarely; with the same truth and a larger n they do what they say, so what fails is the normal approximation
and not the standard error.
"""

import os
import sys

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np

from logitmoe import MixingMeasure, Theta, WeightedPoints, density, mle, standard_errors

#: Largest asymptotic standard deviation of a logit in a well-conditioned design.
WELL = 0.2
#: Distinct points of a design; n is spread over them evenly.
POINTS = 250
CLEAR = MixingMeasure([0, 0], [[3.0], [0]], [[3.0, 0], [-3.0, 0]], [[[-2.0], [0]], [[-2.0], [0]]])
THREE_CLASSES = MixingMeasure(
    [0.3, 0.0],
    [[3.0, 0.5], [0.0, 0.0]],
    [[0.5, 0.0, 0.0], [-0.5, 0.5, 0.0]],
    [[[2.0, -1.5], [0.5, 1.5], [0, 0]], [[-2.0, 1.5], [0.5, -1.5], [0, 0]]],
)
FAINT = MixingMeasure([0, 0], [[2.0], [0]], [[1.5, 0], [-1.5, 0]], [[[-2.0], [0]], [[-2.0], [0]]])
#: Truth, sample size, and half the width of the covariates' range.
DESIGNS = {
    "d = 1, K = 2": (CLEAR, 20_000, 3.0),
    "d = 2, K = 3": (THREE_CLASSES, 25_000, 2.0),
    "d = 1, K = 2, faint gate": (FAINT, 3_000, 3.0),
    "d = 1, K = 2, faint gate, 10 n": (FAINT, 30_000, 3.0),
    "d = 1, K = 2, faint gate, 100 n": (FAINT, 300_000, 3.0),
}


def worst_sd(G, x, n):
    """The largest asymptotic standard deviation of a coefficient, at points x (m, d)."""
    even = WeightedPoints(x, np.full((G.K, len(x)), n / len(x) / G.K))
    return float(standard_errors(G, even, kind="expected").max())


def run(G, x, n, samples, rng, kind="observed"):
    """Estimates and their standard errors, (samples, P) both, and which fits converged, of samples of size n at x."""
    counts = rng.multinomial(round(n / len(x)), density(G, x).T, size=(samples, len(x)))
    data = WeightedPoints(x, counts.swapaxes(1, 2).astype(float))
    fits = mle(data, G.broadcast_to((samples,)), theta=Theta.cube(50.0))
    errors = [standard_errors(fits.measure[i], data[i], kind=kind) for i in range(samples)]
    return fits.measure.to_vector(), np.array(errors), fits.converged


if __name__ == "__main__":
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    for label, (G, n, width) in DESIGNS.items():
        rng = np.random.default_rng(12)
        x = rng.uniform(-width, width, (POINTS, G.d))
        estimates, errors, converged = run(G, x, n, samples, rng)
        covers = 100.0 * (np.abs(estimates - G.to_vector()) <= 1.959964 * errors)
        each, mean = covers.mean(axis=0), covers.mean(axis=1)
        sd = worst_sd(G, x, n)
        print(f"{label}, n = {n:,}: worst sd {sd:.2f} ({'well' if sd <= WELL else 'not well'} conditioned),", end=" ")
        print(f"coverage {each.mean():.2f} % (standard error {mean.std(ddof=1) / np.sqrt(samples):.2f}),", end=" ")
        print(f"coefficients {each.min():.1f} to {each.max():.1f} %; {converged.sum()} of {samples} converged")
