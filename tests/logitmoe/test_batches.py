"""What a fit of a batch is does not depend on the batch, nor on which atom is looked at; and when a fit has ended."""

import numpy as np
import pytest

from logitmoe import (
    MixingMeasure,
    StoppingRule,
    Theta,
    WeightedPoints,
    compress,
    density,
    em,
    mle,
    newton,
    random_start,
    sample,
)
from logitmoe.compression import ChebyshevMoments

STEEP = MixingMeasure([1, 0], [[9], [0]], [[-4, 0], [1, 0]], [[[9], [0]], [[-9], [0]]])


@pytest.mark.parametrize("method", [em, mle])
def test_fits_that_need_more_nodes_are_made_again_on_their_own_sample(method, monkeypatch):
    # Three samples, each with four starts, the starts on the first axis: most of them need more than 32 nodes.
    samples = ChebyshevMoments.stack(
        [compress(*sample(STEEP, 2_000, np.random.default_rng(seed)), p=128) for seed in range(3)]
    )
    start = random_start(2, 2, 1, np.random.default_rng(3), size=(4, 3), sd=0.5)
    flat = MixingMeasure(*(0.01 * getattr(start, name) for name in ("beta0", "beta1", "a", "b")))
    start = MixingMeasure(*(np.concatenate([getattr(flat, n)[:2], getattr(start, n)[2:]]) for n in vars(start)))
    options = {"stopping": StoppingRule(max_iter=30)} if method is em else {"max_iter": 15}
    # A tolerance that some fits meet and others do not.
    solve, tol = ChebyshevMoments.solve, 1.0
    monkeypatch.setattr(ChebyshevMoments, "solve", lambda self, *fits, p=None: solve(self, *fits[:-1], tol, p=p))
    coarse = method(samples, start, **options)
    tol = float(np.median(coarse.compression_error))
    together = method(samples, start, **options)
    assert len(set(together.nodes.ravel())) > 1
    for i, j in np.ndindex(4, 3):
        alone = method(samples[j], start[i, j], **options)
        assert together.nodes[i, j] == alone.nodes
        assert together.log_likelihood[i, j] == pytest.approx(float(alone.log_likelihood), rel=1e-8)


@pytest.mark.parametrize("method", [em, mle])
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_bound_is_seen_in_whichever_atom_it_is(method, order):
    # Two experts a line apart; only one is steeper than Theta allows.
    truth = MixingMeasure([0, 0], [[6], [-6]], [[-4, 0], [0.3, 0]], [[[8], [0]], [[0.2], [0]]])
    x = np.linspace(-1, 1, 400)
    data = WeightedPoints(x, 50.0 * density(truth, x))
    theta = Theta(20.0, 20.0, 20.0, 5.0)
    result = method(data, theta.clip(truth.permute(order)), theta=theta)
    touching = theta.touching(result.measure)
    assert touching == [f"b[{order.index(0) + 1},1,1]"]
    assert result.at_bound


def test_a_step_that_the_radius_cut_short_is_no_convergence(monkeypatch):
    # A tiny first radius: the gain that such a step promises is below tol, that of a full Newton step is not.
    x, y = sample(STEEP, 1_000, np.random.default_rng(0))
    data, start = WeightedPoints.from_labels(x, y), random_start(1, 2, 1, np.random.default_rng(1), size=4)
    best = mle(data, start)
    monkeypatch.setattr(newton, "FIRST_RADIUS", 1e-8)
    result = mle(data, start, tol=1e-2)
    assert result.converged.all()
    assert (best.gain(result) < 0.1).all()
