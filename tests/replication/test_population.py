"""The maxima of the expected log-likelihood."""

import numpy as np
import pytest

import logitmoe as lm
from logitmoe.divergences import kullback_leibler
from replication.arithmetic import precise_log_likelihood_difference
from replication.pairs import exchange
from replication.population import (
    Maxima,
    Population,
    onset_size,
    population_maxima,
    population_starts,
    random_truth,
)

THETA = lm.Theta(3.0, 10.0, 10.0, 10.0)
TRUTH = lm.MixingMeasure.from_vector([-0.5, 1.2, 2.1, 3.6, -2.5, 3.6], 2, 2, 1)
CASE = Population(TRUTH, 3, theta=THETA)
#: A relative of the exchange whose density is almost that of TRUTH.
FAR = lm.MixingMeasure.from_vector(
    [2.10179, -1.49399, -2.50168, -6.09143, 5.71467, -0.48808, 0.50178, 1.06077, 1.20329, -1.20049], 3, 2, 1
)


@pytest.fixture(scope="module")
def found():
    return population_maxima(CASE, np.random.default_rng(1), starts=200)


def test_the_far_maximum_is_stationary_and_its_divergence_is_right_to_40_digits():
    data = CASE.data()
    end = lm.mle(data, FAR, theta=THETA, tol=1e-22)
    exact = precise_log_likelihood_difference(TRUTH, end.measure, data, digits=40)
    assert exact == pytest.approx(1.5357e-11, rel=1e-4)
    assert end.smallest_eigenvalue > 1e-9 and end.distance_to_bound > 0.5
    assert np.abs(end.measure.to_vector() - FAR.to_vector()).max() < 1e-4


def test_maxima_are_different_stationary_and_counted(found):
    assert found.hits.sum() + found.unfinished <= found.starts == 200
    assert found.divergence[0] == 0.0 and (np.diff(found.divergence) > 0.0).all()
    assert found.divergence[1:] == pytest.approx(kullback_leibler(TRUTH, found.measure[1:], lm.uniform_design(-3, 3,
                                                 nodes=48, panels=1)), rel=1e-2)  # fmt: skip
    again = lm.mle(CASE.data(), found.measure[1:], theta=THETA, tol=1e-22)
    moved = np.abs(again.measure.to_vector() - found.measure[1:].in_gauge("last").to_vector()).max(axis=-1)
    assert (moved < 1e-3).all() and (again.smallest_eigenvalue > 0.0).all()
    assert found.unseen == (found.hits == 1).sum() / 200


def test_a_search_goes_on_where_another_has_ended(found):
    more = population_maxima(CASE, np.random.default_rng(2), starts=100, known=found)
    assert more.starts == 300 and len(more.hits) >= len(found.hits)
    assert set(found.divergence) <= set(more.divergence)


def test_the_starts_come_to_the_exchange():
    pair = exchange()
    case = Population(pair.measure, 3)
    starts = population_starts(case, np.random.default_rng(0), 240)
    ends = lm.mle(case.data(), starts, tol=1e-22, max_iter=300).measure
    assert lm.voronoi_loss(ends, pair.other, gauge="infimum").min() < 1e-3
    found = population_maxima(case, np.random.default_rng(0), starts=60)
    assert found.divergence[0] == 0.0 and found.hits[0] > 10  # the exchange has the true density: no other maximum


def test_starts_are_in_theta_and_in_the_gauge_of_the_last_atom():
    G = population_starts(CASE, np.random.default_rng(0), 64)
    assert G.batch_shape == (64,) and THETA.contains(G).all()
    assert not G.beta0[:, -1].any() and not G.beta1[:, -1].any()


def test_nearest_and_onset():
    G = lm.MixingMeasure.stack([FAR, FAR, FAR])
    maxima = Maxima(G, np.array([0.0, 1e-9, 1e-6]), np.array([0.0, 0.1, 2.0]), np.array([5, 1, 1]), 100, 0)
    assert (maxima.nearest, maxima.nearest_other, maxima.unseen) == (1e-6, 1e-9, 0.02)
    assert onset_size([1e-6, np.inf]).tolist() == pytest.approx([5e6, 0.0])
    assert maxima.within(1e-8).batch_shape == (2,)


@pytest.mark.parametrize("K", [2, 3])
def test_random_truths_are_well_conditioned(K):
    truth = random_truth(K, np.random.default_rng(K), theta=THETA)
    assert truth.K == K and THETA.contains(truth) and abs(truth.beta1[0, 0]) >= 0.5
    assert lm.standard_errors(truth, lm.uniform_design(-3, 3, nodes=48, panels=1)).max() < 60.0


@pytest.mark.parametrize(
    ("truth", "k", "words"), [(TRUTH, 1, "at least k"), (lm.MixingMeasure.stack([TRUTH]), 3, "one")]
)
def test_population_refuses(truth, k, words):
    with pytest.raises(ValueError, match=words):
        Population(truth, k)
