"""Random problems for the tests of EM, plain and accelerated."""

import numpy as np

from logitmoe import WeightedPoints, random_start, sample
from logitmoe.gates import as_gate, power


def random_problem(stream, seed, largest_d, largest_k):
    """A random sample with K in 2..4 and d up to a limit, a start with k up to a limit that knows nothing of it, M."""
    rng = np.random.default_rng([stream, seed])
    K, d, k = rng.integers(2, 5), rng.integers(1, largest_d + 1), rng.integers(1, largest_k + 1)
    truth = random_start(int(rng.integers(1, 4)), int(K), int(d), rng, sd=2.0)
    n = int(rng.integers(20, 120))
    gate = as_gate(["identity", "tanh", "cos", "sigmoid", power(3)][seed % 5])
    x, y = sample(truth, n, rng, covariates=rng.uniform(-1.0, 1.0, (n, d)), gate=gate)
    start = random_start(int(k), int(K), int(d), rng, sd=float(rng.choice([0.1, 1.0, 4.0])))
    return WeightedPoints.from_labels(x, y, int(K)), start, gate
