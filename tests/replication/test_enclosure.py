"""Everything that is as likely as an estimate is in the boxes, and little else."""

import numpy as np
import pytest

import logitmoe as lm
from replication.enclosure import enclose
from replication.pairs import swap
from replication.samples import draw, expected

THETA = lm.Theta(3.0, 10.0, 10.0, 10.0)
TRUTH = lm.MixingMeasure.from_vector([-0.307, -0.5, 5.571, 4.423, -4.635, 2.907], 2, 2, 1)


def sample(n, gate="identity"):
    data = draw(TRUTH, n, np.random.default_rng(3), domain=(-3, 3), method="multinomial", gate=gate)
    return data, lm.mle(data, TRUTH, theta=THETA, gate=gate).measure


def inside(found, G):
    """Whether measures (S,), their atoms put in the order of b, are in one of the boxes."""
    order = np.argsort(G.b[..., 0, 0], axis=-1)
    v = np.stack([H.permute(o).in_gauge("last").to_vector() for H, o in zip(G, order, strict=True)])
    return ((found.low <= v[:, None]) & (v[:, None] <= found.high)).all(axis=-1).any(axis=-1)


@pytest.mark.parametrize("gate", ["identity", "tanh", "sigmoid"])
def test_all_measures_that_are_as_likely_are_enclosed(gate):
    data, best = sample(10**7, gate)
    rng = np.random.default_rng(4)
    near = best.to_vector() + rng.normal(size=(2000, 1)) * 0.02 * rng.normal(size=(2000, 6))
    near = THETA.clip(lm.MixingMeasure.from_vector(near, 2, 2, 1))
    worse = near[np.argsort(lm.log_likelihood(near, data, gate))[1000]]  # an estimate that half of them beat
    found = enclose(data, worse, gate, theta=THETA)
    likely = lm.log_likelihood(near, data, gate) >= lm.log_likelihood(worse, data, gate)
    assert likely.sum() >= 500
    assert inside(found, near[likely]).all()


def test_an_exact_twin_is_enclosed_too():
    pair = swap()
    data = expected(pair.measure, 1e8, domain=(-3, 3))
    found = enclose(data, pair.measure, theta=lm.Theta.cube(10.0))
    assert inside(found, lm.MixingMeasure.stack([pair.measure, pair.other])).all()
    assert found.farthest > 1.0


@pytest.mark.parametrize("gate", ["identity", "sigmoid"])
def test_the_rest_of_theta_is_excluded_at_the_rate_of_the_root(gate):
    bounds = []
    for n in (10**8, 10**10, 10**12):
        data, best = sample(n, gate)
        found = enclose(data, best, gate, theta=THETA)
        bounds.append(found.farthest)
        assert inside(found, lm.MixingMeasure.stack([best])).all()
        assert not inside(found, lm.random_start(2, 2, 1, np.random.default_rng(0), size=1000, theta=THETA)).any()
    assert bounds[0] < 0.5
    assert np.diff(np.log10(bounds)) == pytest.approx([-1.0, -1.0], abs=0.2)


@pytest.mark.parametrize("v", [[3, 10, 1, -2, -1.5, 2], [2.999, -10, 1, -2, -1.5, 2], [-3, -10, 1, -2, -1.5, 2]])
@pytest.mark.parametrize("n", [1e8, 1e12])
def test_a_gate_at_the_bound_is_not_lost(v, n):
    truth = lm.MixingMeasure.from_vector(v, 2, 2, 1)
    found = enclose(expected(truth, n, domain=(-3, 3)), truth, theta=THETA)
    assert inside(found, lm.MixingMeasure.stack([truth])).all() and found.farthest < 20.0


def test_more_nodes_and_boxes_exclude_more():
    data, best = sample(10**6)
    few, more = enclose(data, best, theta=THETA, boxes=100), enclose(data, best, theta=THETA, nodes=24, boxes=8000)
    assert more.farthest < few.farthest and more.tested > few.tested


def test_what_it_is_not_for_is_refused():
    data, best = sample(10**6)
    with pytest.raises(TypeError, match="data and estimate: expected WeightedPoints"):
        enclose((data.points, data.weights), best)
    three = expected(lm.random_start(2, 3, 1, np.random.default_rng(0), theta=THETA), 1e6)
    with pytest.raises(ValueError, match="K = 2"):
        enclose(three, best)
    with pytest.raises(ValueError, match="index them"):
        enclose(data, lm.MixingMeasure.stack([best, best]))
    signed = lm.WeightedPoints(data.points, data.weights - data.weights.max())
    with pytest.raises(ValueError, match="counts"):
        enclose(signed, best)
    with pytest.raises(ValueError, match="estimate: expected a measure in Theta"):
        enclose(data, best, theta=lm.Theta.cube(0.5))
    moved = lm.MixingMeasure(best.beta0, best.beta1, best.a + 8.0 * np.eye(2), best.b)
    with pytest.raises(ValueError, match="estimate: expected a measure in Theta"):
        enclose(data, moved, theta=THETA)
    with pytest.raises(ValueError, match="nodes"):
        enclose(data, best, theta=THETA, nodes=2)
