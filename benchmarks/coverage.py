"""Coverage of 95 % intervals from the observed information, in two well-conditioned designs.

    python benchmarks/coverage.py [SAMPLES]

Each of 1,000 samples is fitted by maximum likelihood from the truth, so the local maximum next to it is what is
studied. Printed: the mean coverage over the coefficients with its standard error, and the lowest and the highest.
"""

import os
import sys

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np

from logitmoe import MixingMeasure, Theta, WeightedPoints, mle, sample, standard_errors

DESIGNS = {
    "d = 1, K = 2": (
        MixingMeasure([0, 0], [[2.0], [0]], [[1.5, 0], [-1.5, 0]], [[[-2.0], [0]], [[-2.0], [0]]]),
        3_000,
        3.0,
    ),
    "d = 2, K = 3": (
        MixingMeasure(
            [0.3, 0.0],
            [[3.0, 0.5], [0.0, 0.0]],
            [[0.5, 0.0, 0.0], [-0.5, 0.5, 0.0]],
            [[[2.0, -1.5], [0.5, 1.5], [0, 0]], [[-2.0, 1.5], [0.5, -1.5], [0, 0]]],
        ),
        2_000,
        2.0,
    ),
}


def coverage(G, n, width, samples, rng):
    """Whether the interval of each sample and coefficient covers, (samples, P), and how many fits converged."""
    x = rng.uniform(-width, width, (n, G.d))
    truth, covers, converged = G.to_vector(), [], 0
    for _ in range(samples):
        _, y = sample(G, n, rng, covariates=x)
        data = WeightedPoints.from_labels(x, y, G.K)
        fitted = mle(data, G, theta=Theta.cube(50.0))
        error = standard_errors(fitted.measure, data, kind="observed")
        covers.append(np.abs(fitted.measure.to_vector() - truth) <= 1.959964 * error)
        converged += bool(fitted.converged)
    return np.array(covers), converged


if __name__ == "__main__":
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    for label, (G, n, width) in DESIGNS.items():
        covers, converged = coverage(G, n, width, samples, np.random.default_rng(12))
        each = 100.0 * covers.mean(axis=0)
        error = 100.0 * covers.mean(axis=1).std(ddof=1) / np.sqrt(samples)
        print(f"{label}, n = {n}: {each.mean():.2f} % (standard error {error:.2f}),", end=" ")
        print(f"coefficients {each.min():.1f} to {each.max():.1f} %; {converged} of {samples} converged", flush=True)
