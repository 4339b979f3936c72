"""Large samples are taken in parts: the same fits, in memory that the numbers of a part bound."""

import tracemalloc

import numpy as np
import pytest
from problems import random_problem

from logitmoe import Ridge, StoppingRule, Theta, WeightedPoints, em, mle, multinomial, random_start, second_order
from logitmoe.em_algorithm import Kernel
from logitmoe.gates import identity
from logitmoe.information import observed_information


@pytest.fixture
def small_parts(monkeypatch):
    for module in (multinomial, second_order):
        monkeypatch.setattr(module, "LARGE", 0)
        monkeypatch.setattr(module, "CHUNK", 100)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("penalty", [Ridge(), Ridge(0.2, 0.1)])
def test_parts_give_the_same_fits(seed, penalty, request):
    data, start, gate = random_problem(11, seed, 3, 3)
    options = {"gate": gate, "penalty": penalty, "theta": Theta.cube(20.0)}
    rule = StoppingRule("absolute", 0.0, 5)
    one = em(data, start, stopping=rule, **options), mle(data, start, max_iter=5, **options)
    info = observed_information(start, data, gate, penalty)
    request.getfixturevalue("small_parts")
    two = em(data, start, stopping=rule, **options), mle(data, start, max_iter=5, **options)
    for a, b in zip(one, two, strict=True):
        assert a.n_iter == b.n_iter
        np.testing.assert_allclose(b.log_likelihood, a.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(observed_information(start, data, gate, penalty), info, atol=1e-9 * np.abs(info).max())


def test_an_m_step_that_fails_is_named_in_parts_too(small_parts, monkeypatch):
    x = np.random.default_rng(0).uniform(0.0, 1e4, (400, 6))
    y = 1 + (np.random.default_rng(1).random(400) < 0.5)
    monkeypatch.setattr(multinomial, "_finish", lambda *_: False)
    start = random_start(2, 2, 6, np.random.default_rng(2), size=5)
    result = em(WeightedPoints.from_labels(x, y, 2), start, theta=Theta.cube(1000.0))
    assert set(result.reason) == {"m_step"}


def test_no_array_has_a_row_of_products_for_each_point():
    """Of d = 20: with the products of all points, 441 numbers for each, a kernel alone would take 350 MB."""
    n, d = 50_000, 20
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, d)), rng.integers(1, 3, n)
    data, start = WeightedPoints.from_labels(x, y, 2), random_start(2, 2, d, rng)
    tracemalloc.start()
    em(data, start, stopping=StoppingRule("absolute", 0.0, 1))
    em_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    mle(data, start, max_iter=1)
    mle_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(em_peak, mle_peak) < 150e6
    small = WeightedPoints(data.points[:500], data.weights[:, :500])
    kernel = Kernel(small, start.reshape((1,)), identity, Theta.cube(10.0), Ridge())
    assert kernel.gate.second.shape == (500, (d + 1) ** 2)  # few points keep them
