"""Separation: found where it was made, not found where it was not, and named."""

import numpy as np
import pytest

from logitmoe import MixingMeasure, Ridge, Theta, WeightedPoints, compress, em, mle, random_start, sample
from logitmoe.separation import recession_direction, separations


def single(K, d):
    """One expert: of it only the size matters."""
    return MixingMeasure([0.0], np.zeros((1, d)), np.zeros((1, K)), np.zeros((1, K, d)))


def margins(separation, x, y):
    """Of every point's class over the others along the direction."""
    logits = separation.direction[:, 0] + x @ separation.direction[:, 1:].T
    own = np.take_along_axis(logits, y[:, None] - 1, axis=1)
    return own - logits


def labels(rng, n, K, d):
    x = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-2, 2, d) + rng.normal(size=d) * 30.0
    return x, 1 + np.arange(n) % K


@pytest.mark.parametrize("seed", range(12))
def test_complete_separation_of_one_class_from_the_others(seed):
    rng = np.random.default_rng(seed)
    K, d = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    x, y = labels(rng, 200, K, d)
    w = rng.normal(size=d) / x.std(axis=0)
    s = int(rng.integers(1, K + 1))
    height = (x - x.mean(axis=0)) @ w
    y = np.where(height > np.quantile(height, 0.7), s, np.where(y == s, s % K + 1, y))
    x = x + 0.3 * np.outer(np.where(y == s, 1.0, -1.0), w / (w @ w))  # a gap
    (found,) = separations(single(K, d), WeightedPoints.from_labels(x, y, K))
    m = margins(found, x, y)
    assert m.min() > -1e-5 and found.expert == 1 and not found.unseen
    named = {s for pair in found.pairs for s in pair}
    assert s in named and all(s in pair for pair in found.pairs) and found.complete == (K == 2)
    assert (m[y == s][:, [t for t in range(K) if t != s - 1]] > (0.0 if found.complete else 0.01)).mean() > 0.9
    assert not found.complete or (np.delete(m[y == 1], 0, axis=1) > 0.0).all()
    assert "is told from" in found.words()


@pytest.mark.parametrize("seed", range(12))
def test_overlap_is_no_separation_and_one_point_more_or_less_decides(seed):
    rng = np.random.default_rng([1, seed])
    x = np.sort(rng.normal(size=60))[:, None]
    y = 1 + (np.arange(60) >= 30)
    assert len(separations(single(2, 1), WeightedPoints.from_labels(x, y, 2))) == 1
    y[[29, 30]] = 2, 1  # two neighbours exchanged: overlap
    assert separations(single(2, 1), WeightedPoints.from_labels(x, y, 2)) == []
    K, d = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    x, y = labels(rng, 200, K, d)
    assert separations(single(K, d), WeightedPoints.from_labels(x, y, K)) == []


def test_quasi_complete_separation_is_told_from_complete():
    x, y = np.array([[0.0], [1.0], [1.0], [2.0], [0.5]]), np.array([1, 1, 2, 2, 1])  # a tie at x = 1
    (found,) = separations(single(2, 1), WeightedPoints.from_labels(x, y, 2))
    assert not found.complete and found.pairs == ((1, 2), (2, 1))
    assert found.words(["age"]) == "expert 1: class 1 is told from 2, for some points, by -1.00 age"
    dummy = np.array([[0.0, 0.3], [0.0, -1.0], [0.0, 0.8], [0.0, -0.1], [0.0, -0.5], [0.0, 0.9], [1.0, 0.2]])
    (found,) = separations(single(2, 2), WeightedPoints.from_labels(dummy, [1, 2, 2, 1, 2, 1, 2], 2))
    assert found.words(["rare", "size"]) == "expert 1: class 2 is told from 1, for some points, by +1.00 rare"


@pytest.mark.parametrize("seed", range(6))
def test_it_is_found_exactly_where_the_maximum_is_at_infinity(seed):
    """Small samples at random, about half of them separated."""
    rng = np.random.default_rng([2, seed])
    counts = [0, 0]
    for _ in range(12):
        d, K = int(rng.integers(1, 3)), int(rng.integers(2, 4))
        n = int(rng.integers(4, 6 + 6 * K))
        x, y = rng.normal(size=(n, d)), rng.integers(1, K + 1, size=n)
        data = WeightedPoints.from_labels(x, y, K)
        found = separations(single(K, d), data)
        sizes = []
        for penalty in (Ridge(1e-6, 1e-6), Ridge(1e-10, 1e-10)):  # coefficients grow as the penalty falls, or not
            fit = mle(data, single(K, d), theta=penalty.theta(n, K), penalty=penalty)
            sizes.append(float(penalty.value(fit.measure)) / penalty.slopes)
        at_infinity = sizes[1] > 1.2 * sizes[0]
        assert bool(found) == at_infinity, (n, d, K, y)
        counts[at_infinity] += 1
    assert min(counts) > 0


def test_a_class_without_points_and_a_constant_covariate():
    rng = np.random.default_rng(0)
    x, y = np.c_[rng.normal(size=50), np.full(50, 3.0)], rng.integers(1, 3, 50)
    (found,) = separations(single(4, 2), WeightedPoints.from_labels(x, y, 4))
    assert found.unseen == (3, 4) and found.words() == "expert 1: no point of class 3, 4" and not found.pairs
    logits = found.direction[:, 0] + x @ found.direction[:, 1:].T
    assert (logits[:, :2] > logits[:, 2:].max()).all()


def test_many_points_need_few_constraints():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20_000, 3)), None
    height = x @ [1.0, -2.0, 0.5]
    y = 1 + (height > 0.0) + (height > 1.0)
    (found,) = separations(single(3, 3), WeightedPoints.from_labels(x, y, 3))
    assert found.complete and margins(found, x, y).min() > -1e-5
    y[np.argsort(height)[[9_990, 10_010, 17_000, 18_500]]] = [2, 1, 3, 2]
    assert len(separations(single(3, 3), WeightedPoints.from_labels(x, y, 3))) <= 1


def test_the_separated_expert_of_a_fit_is_named():
    """Two experts on two sides of a gate: on the right the classes overlap, on the left x2 tells them apart."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-1.0, 1.0, (600, 2))
    x[:, 0] = np.where(x[:, 0] > 0, x[:, 0] + 1.0, x[:, 0] - 1.0)
    left = x[:, 0] < 0
    y = np.where(left, 1 + (x[:, 1] > 0.1), 1 + (rng.random(600) < 0.5))
    data = WeightedPoints.from_labels(x, y, 2)
    start = MixingMeasure(
        [0.0, 0.0], [[-5.0, 0.0], [0.0, 0.0]], np.zeros((2, 2)), [[[0.0, -9.0], [0, 0]], [[0.0, 0.1], [0, 0]]]
    )
    fit = em(data, start, theta=Theta.cube(200.0))
    found = separations(fit.measure, data)
    assert [s.expert for s in found if s.expert] == [1]
    slopes = np.abs(found[0].direction[0, 1:])
    assert found[0].complete and slopes[1] > slopes[0] and "expert 1: class" in found[0].words()


def test_a_gate_that_separates_is_named():
    x = np.r_[np.linspace(-2.0, -1.0, 100), np.linspace(1.0, 2.0, 100)][:, None]
    steep = [[[0.0], [0.0]], [[0.0], [0.0]]]
    G = MixingMeasure([0.0, 0.0], [[-60.0], [0.0]], [[1.0, 0.0], [-1.0, 0.0]], steep)
    y = np.random.default_rng(0).integers(1, 3, 200)
    found = separations(G, WeightedPoints.from_labels(x, y, 2))
    assert [s.expert for s in found] == [None] and "the gate: expert" in found[0].words()
    shallow = MixingMeasure([0.0, 0.0], [[-0.6], [0.0]], [[1.0, 0.0], [-1.0, 0.0]], steep)
    assert separations(shallow, WeightedPoints.from_labels(x, y, 2)) == []


def test_nothing_belongs_to_an_empty_expert():
    assert recession_direction(np.zeros((3, 1)), np.zeros((2, 3), dtype=bool)) is None


def test_wrong_input():
    rng = np.random.default_rng(0)
    G = random_start(2, 2, 1, rng)
    x, y = sample(G, 50, rng)
    data = WeightedPoints.from_labels(x, y, 2)
    for call, error, match in (
        (lambda: separations(G, compress(x, y, 2)), TypeError, "data: expected a WeightedPoints"),
        (lambda: separations(G, compress(x, y, 2, p=8).points()), ValueError, "data: expected one sample"),
        (lambda: separations(G, data, threshold=1.0), ValueError, "threshold"),
        (lambda: separations(single(3, 1), data), ValueError, "G: expected K = 2"),
        (lambda: separations(random_start(2, 2, 1, rng, size=2), data), ValueError, "G: expected a measure without"),
    ):
        with pytest.raises(error, match=match):
            call()
