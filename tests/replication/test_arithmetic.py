"""Log-likelihood differences in many digits."""

import numpy as np
import pytest

from logitmoe import WeightedPoints, log_likelihood, random_start
from logitmoe.gates import power
from replication.arithmetic import precise_log_likelihood_difference


def test_the_difference_in_many_digits_and_gates():
    rng = np.random.default_rng(44)
    data = WeightedPoints(rng.uniform(0.2, 1.0, (9, 2)), rng.integers(0, 9, (3, 9)))
    G, H = (random_start(2, 3, 2, rng) for _ in range(2))
    for gate in ("identity", "sigmoid", power(3)):
        plain = log_likelihood(G, data, gate) - log_likelihood(H, data, gate)
        assert precise_log_likelihood_difference(G, H, data, gate, digits=30) == pytest.approx(float(plain), rel=1e-12)
    batch = random_start(2, 3, 2, rng, size=4)
    with pytest.raises(ValueError, match="G: expected a measure without batch axes"):
        precise_log_likelihood_difference(batch, H, data)
    with pytest.raises(ValueError, match="data: expected no batch axes"):
        precise_log_likelihood_difference(G, H, WeightedPoints(data.points, data.weights[None]))
    with pytest.raises(ValueError, match="digits"):
        precise_log_likelihood_difference(G, H, data, digits=5)
