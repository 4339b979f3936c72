"""The maxima of the expected log-likelihood."""

from dataclasses import replace
from pathlib import Path

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
    read_maxima,
    verified_maxima,
)
from replication.starts import lightest_last, small_atoms, splits

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


def test_two_covariates():
    truth = random_truth(3, np.random.default_rng(5), d=2, theta=THETA, p=12)
    assert (truth.d, truth.K, truth.k) == (2, 3, 2)
    case, design = Population(truth, 3, theta=THETA, p=8), lm.uniform_design(-3, 3, d=2, nodes=8, panels=1)
    data = case.data()
    np.testing.assert_array_equal(data.points, design.points)
    np.testing.assert_allclose(data.weights, lm.density(truth, design.points) * design.weights, rtol=1e-14)
    starts = population_starts(case, np.random.default_rng(0), 16)
    assert starts.d == 2 and THETA.contains(starts).all()
    found = population_maxima(case, np.random.default_rng(0), starts=16)
    assert found.divergence[0] == 0.0 and found.hits[0] >= 1
    assert found.divergence[1:] == pytest.approx(kullback_leibler(truth, found.measure[1:], design), rel=1e-2)


def test_nearest_and_onset():
    G = lm.MixingMeasure.stack([FAR, FAR, FAR])
    maxima = Maxima(G, np.array([0.0, 1e-9, 1e-6]), np.array([0.0, 0.1, 2.0]), np.array([5, 1, 1]), 100, 0)
    assert (maxima.nearest, maxima.nearest_other, maxima.unseen) == (1e-6, 1e-9, 0.02)
    assert onset_size([1e-6, np.inf]).tolist() == pytest.approx([5e6, 0.0])
    assert maxima.within(1e-8).batch_shape == (2,)


def test_stored_maxima_are_climbed_to_and_tested(found, tmp_path):
    rows = ["design,gate,starts,unfinished,hits,divergence,seed,vector"]
    for G, divergence, hits in zip(found.measure, found.divergence, found.hits, strict=True):
        vector = " ".join(f"{v:.9g}" for v in G.in_gauge("last").to_vector())
        rows.append(f"old,x,200,{found.unfinished},{hits},{divergence:.4e},1,{vector}")
    path = tmp_path / "maxima.csv"
    path.write_text("\n".join(rows) + "\n")
    stored = read_maxima(path, {("old", "x"): CASE})["old", "x"]
    again = verified_maxima(CASE, stored)
    assert again.divergence == pytest.approx(found.divergence, rel=1e-3, abs=1e-17)
    assert again.loss == pytest.approx(found.loss, abs=1e-3) and again.unseen == found.unseen
    assert (again.nearest, again.nearest_other) == pytest.approx((found.nearest, found.nearest_other), rel=1e-3)
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        verified_maxima(CASE, replace(stored, divergence=stored.divergence + np.eye(len(stored.hits))[1]))
    moved = replace(stored, measure=lm.MixingMeasure.stack([*stored.measure[:-1], stored.measure[0]]))
    with pytest.raises(ValueError, match="stored: expected maxima of this population"):
        verified_maxima(CASE, moved)
    with pytest.raises(ValueError, match=r"maxima of I, x, got none"):
        read_maxima(path, {("I", "x"): CASE})


def test_the_books_stored_maxima_are_maxima():
    truth = lm.MixingMeasure.from_vector([-0.307, -0.5, 5.571, 4.423, -4.635, 2.907], 2, 2, 1)
    case = Population(truth, 3, theta=THETA)
    path = Path(__file__).parents[2] / "book" / "data" / "maxima.csv"
    found = verified_maxima(case, read_maxima(path, {("I", "x"): case})["I", "x"])
    assert found.nearest == pytest.approx(1.13e-5, rel=0.01) and found.unseen < 1e-3 and found.starts >= 4000
    own = population_maxima(case, np.random.default_rng(9), starts=60, known=found)
    assert len(own.hits) == len(found.hits)


def test_small_atoms_are_the_truth_with_an_atom_on_the_bound_of_the_masses():
    G = small_atoms(TRUTH, np.random.default_rng(0), 6, theta=THETA)
    assert G.batch_shape == (6,) and THETA.contains(G).all() and not G.beta0[:, -1].any()
    assert (np.abs(G.beta0) == 3.0).sum(axis=-1).tolist() == [1] * 6
    x = np.linspace(-3, 3, 7)[:, None]
    close = small_atoms(TRUTH, np.random.default_rng(0), 6, sd=1e-9, theta=THETA)
    # without its small atom, or with it where it is a copy, each has the true density but for the mass that it adds
    error = np.abs(lm.density(close, x) - lm.density(TRUTH, x)).max(axis=(-1, -2))
    assert (error < 0.03).all()


def test_the_lightest_atom_of_the_truth_is_the_last_of_the_starts():
    truth = lm.MixingMeasure.from_vector([-0.307, -0.5, 5.571, 4.423, -4.635, 2.907], 2, 2, 1)  # masses 0.74 and 1
    turned, x = lightest_last(truth), np.linspace(-3, 3, 7)[:, None]
    assert lm.density(turned, x) == pytest.approx(lm.density(truth, x), abs=1e-14)
    assert turned.mass.tolist() == pytest.approx([np.exp(0.307), 1.0])
    assert lightest_last(turned).allclose(turned)
    rng = np.random.default_rng(0)
    small, halves = small_atoms(truth, rng, 8, theta=THETA), splits(truth, rng, 8, theta=THETA)
    assert small.mass.min(axis=-1) == pytest.approx(np.exp(-3.0))
    assert (np.argsort(small.mass, axis=-1)[:, 1] == 2).all()  # the lightest but for the small atom
    total = halves.mass.sum(axis=-1)
    for G in (small[::2], small[1::2]):  # about each atom in turn
        assert np.ptp(np.abs(G.a[:, -1, 0] - turned.a[-1, 0])) < 1e-9
    assert (halves.mass.min(axis=-1) > 0.04 * total).all() and not halves.beta0[:, -1].any()


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
