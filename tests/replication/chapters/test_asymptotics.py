"""Studies of rates: what is fitted, what is kept of it, and the two searches in the expected log-likelihood."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import logitmoe as lm
from logitmoe.divergences import kullback_leibler
from logitmoe.losses import voronoi_loss_parts
from replication.chapters.asymptotics import Study, check_search, equivalent_measure, parameter_errors, run_studies
from replication.jobs import SerialExecutor
from replication.pairs import constant_split, exchange
from replication.paper import TABLE_2
from replication.population import population_maxima
from replication.starts import cells_in_turn, near_truth

THETA = lm.Theta(3.0, 10.0, 10.0, 10.0)
TRUTH = lm.MixingMeasure.from_vector([-0.5, 1.2, 2.1, 3.6, -2.5, 3.6], 2, 2, 1)  # Regime 1
CONSTANT = lm.MixingMeasure.from_vector([0.4, 0.5, 1.9, -1.0, -3.9, 0.0], 2, 2, 1)  # expert 2 is constant
SPLIT = constant_split(CONSTANT, fraction=0.4, probabilities=[0.45, 0.55]).other
OVER = Study("over", CONSTANT, 3, sizes=(10**6, 10**10), replications=5, close_starts=2, far_starts=1,
             blind_starts=1, theta=THETA, extra=lm.MixingMeasure.stack([SPLIT]), max_iter=150)  # fmt: skip


@pytest.fixture(scope="module")
def over():
    return run_studies([OVER], executor=SerialExecutor())[0]


@pytest.fixture(scope="module")
def exact():
    counts = dict(replications=40, close_starts=2, far_starts=1, blind_starts=0)
    em = dict(em_iterations=3, em_samples=2, em_sizes=(10**8, 10**10))
    study = Study("exact", TRUTH, 2, sizes=(10**6, 10**8, 10**10), theta=THETA, **counts, **em)
    return run_studies([study], executor=SerialExecutor())[0]


def test_exactly_specified_estimates_are_normal_with_the_inverse_information(exact):
    errors = exact.best.to_vector() - TRUTH.to_vector()
    for i, n in enumerate(exact.sizes):
        covariance = np.linalg.inv(lm.fisher_information(TRUTH, exact.study.design)) / n
        squared = np.einsum("rp,pq,rq->r", errors[i], np.linalg.inv(covariance), errors[i])
        assert squared.mean() == pytest.approx(6.0, abs=4 * np.sqrt(12.0 / 40))  # chi-squared with 6 degrees
        assert 2.0 * exact.gain[i] == pytest.approx(squared, rel=0.6 if i else 2.0)


def test_the_rate_is_there_and_not_planted_by_the_starts(exact):
    loss = np.median(exact.loss().total, axis=-1)
    assert np.log10(loss[0] / loss[-1]) == pytest.approx(2.0, abs=0.35)
    starts = [exact.study.starting_points(n) for n in exact.sizes]
    far = [np.median(lm.voronoi_loss(G, TRUTH, gauge="infimum")) for G in starts]
    assert max(far) < 3 * min(far)


def test_samples_are_determined_by_the_seed_and_shared(exact):
    other = replace(exact.study, k=3, close_starts=1, replications=3)
    assert np.array_equal(other.samples(10**6).weights, exact.study.samples(10**6).weights[:3])
    assert not np.array_equal(replace(other, seed=1).samples(10**6).weights, other.samples(10**6).weights)
    points = replace(other, method="points", sizes=(1000,), em_sizes=None)
    assert points.samples(1000).weights.min() < 0.0  # signed weights of compressed points


def test_results_do_not_depend_on_the_executor():
    study = replace(OVER, replications=2, max_iter=30)
    serial, threads = (run_studies([study], executor=e)[0] for e in (SerialExecutor(), ThreadPoolExecutor(2)))
    assert np.array_equal(serial.nats_behind, threads.nats_behind)
    assert np.array_equal(serial.fits.a, threads.fits.a)


def test_starts_are_normalised_in_theta_and_take_turns():
    G = OVER.starting_points(10**6)
    assert G.batch_shape == (5, 5)
    assert not G.beta0[..., -1].any() and not G.beta1[..., -1, :].any()
    assert THETA.contains(G).all()
    how = dict(size=(4, 6), sd=0.01, split_mass=True, cells=cells_in_turn(3, 2, 6))
    near = near_truth(CONSTANT, 3, np.random.default_rng(0), **how)
    sizes = voronoi_loss_parts(near, CONSTANT).sizes
    assert np.array_equal(sizes.argmax(axis=-1), np.broadcast_to([0, 1] * 3, (4, 6)))
    assert lm.voronoi_loss(near, CONSTANT).max() < 0.3
    wide = replace(OVER, close_starts=0, far_starts=0, blind_starts=2, extra=None).starting_points(10**6)
    assert wide.batch_shape == (5, 2) and lm.voronoi_loss(wide, CONSTANT, gauge="infimum").min() > 0.5
    split = G[:, -1]
    assert lm.voronoi_loss(split, SPLIT, gauge="infimum").max() < 1e-12


def test_what_fits_are_behind_and_gain(over):
    assert (over.nats_behind >= 0.0).all() and (over.nats_behind.min(axis=-1) == 0.0).all()
    i, r = 1, 3
    data = OVER.samples(10**10)[r]
    best, worst = over.best[i, r], over.fits[i, r][int(over.nats_behind[i, r].argmax())]
    assert over.gain[i, r] == pytest.approx(lm.log_likelihood(best, data) - lm.log_likelihood(CONSTANT, data), abs=1e-4)
    expectation = lm.log_likelihood(best, data) - lm.log_likelihood(worst, data)
    assert over.nats_behind[i, r].max() == pytest.approx(expectation, abs=1e-4)


def test_fewer_starts_give_what_a_study_with_them_alone_would(over):
    part = over.using([0, 3])
    alone = run_studies([replace(OVER, sizes=(10**10,), max_iter=150)], executor=SerialExecutor())[0].using([0, 3])
    assert part.nats_behind[1] == pytest.approx(alone.nats_behind[0], abs=1e-12)
    assert (part.gain <= over.gain).all() and (part.nats_behind.min(axis=-1) == 0.0).all()
    lost = np.minimum(over.nats_behind[..., 0], over.nats_behind[..., 3])
    assert part.gain == pytest.approx(over.gain - lost, abs=1e-12)
    assert np.array_equal(part.fits.b[:, :, 1], over.fits.b[:, :, 3])


def test_the_over_fitted_atom_is_that_whose_cell_has_two_atoms(over):
    doubled = over.over_fitted_atom()
    parts = over.loss(over.fits)
    for j in (0, 1):
        assert (parts.sizes[doubled == j, j] == 2).all() and (parts.sizes[doubled == j, 1 - j] == 1).all()
    index, found = over.first(doubled == 1)
    assert found[1].all()
    assert (doubled[index][found] == 1).all()
    assert (over.nats_behind[index][1] <= np.where(doubled[1] == 1, over.nats_behind[1], np.inf).min(axis=-1)).all()
    nothing, found = over.first(np.zeros(over.nats_behind.shape, dtype=bool))
    assert not found.any() and over.fits[nothing].batch_shape == (2, 5)


def test_along_the_split_the_loss_stays_at_equal_likelihood(over):
    """From the split of the truth the maximiser finds measures far from it that are as likely as two atoms allow."""
    loss = over.loss(over.fits).total
    assert np.median(loss[1, :, -1]) > 0.2
    two = run_studies([replace(OVER, k=2, sizes=(10**10,), extra=None)], executor=SerialExecutor())[0]
    assert (over.gain[1] - over.nats_behind[1, :, -1] > two.gain[0] - 0.01).all()
    assert (over.hellinger() < 3.0 / np.sqrt(over.sizes[:, None])).all()


def test_em_runs_from_the_first_start(exact):
    rule = lm.StoppingRule("absolute", 0.0, 3)
    data, start = exact.study.samples(10**8)[1], exact.study.starting_points(10**8)[1, 0]
    fit = lm.em(data, start, theta=THETA, stopping=rule)
    assert exact.em.batch_shape == exact.em_nats_behind.shape == (2, 2)
    assert exact.em_sizes.tolist() == [10**8, 10**10]
    assert exact.em[0, 1].to_vector() == pytest.approx(fit.measure.to_vector(), abs=1e-12)
    gap = lm.log_likelihood(exact.best[1, 1], data) - fit.log_likelihood
    assert exact.em_nats_behind[0, 1] == pytest.approx(gap, rel=1e-6, abs=1e-6)


def test_sizes_of_em(exact, over):
    everywhere = replace(exact, study=replace(exact.study, em_sizes=None))
    assert everywhere.em_sizes.tolist() == list(exact.study.sizes)
    assert over.em is None and over.em_sizes.tolist() == []


def test_parameter_errors():
    G = TRUTH.split(0, 0.3, a=[[2.1 + 0.02, 0.0], [2.1 - 0.05, 0.0]])
    moved = lm.MixingMeasure(G.beta0, G.beta1, G.a, G.b + [[[0.0], [0.0]], [[0.0], [0.0]], [[-0.07], [0.0]]])
    over, exact = parameter_errors(moved.translate(1.0, 2.0), TRUTH)
    assert over == pytest.approx(0.05, abs=1e-9) and exact == pytest.approx(0.07, abs=1e-9)
    over, exact = parameter_errors(TRUTH, TRUTH)
    assert np.isnan(over) and exact == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(parameter_errors(exchange().other, exchange().measure)).all()
    with pytest.raises(ValueError, match="d = 1"):
        wide = lm.MixingMeasure([0.0, 0.0], np.zeros((2, 2)), np.eye(2), np.zeros((2, 2, 2)))
        parameter_errors(wide, wide)


def test_the_maxima_of_the_population_are_starts_where_a_sample_cannot_exclude_them():
    study = Study("maxima", TRUTH, 3, theta=THETA, sizes=(10**4, 10**12), replications=2)
    found = population_maxima(study.population, np.random.default_rng(0), starts=60)
    study = replace(study, maxima=found, keep=6)
    few, many = (study.starting_points(n).batch_shape[1] for n in (10**12, 10**4))
    assert few == study.starts + (found.divergence <= 20 / 10**12).sum() < many == 50
    result = run_studies([study], executor=SerialExecutor())[0]
    assert result.fits.batch_shape == (2, 2, 6)
    everything = run_studies([replace(study, keep=50)], executor=SerialExecutor())[0]
    assert everything.fits.batch_shape == (2, 2, 50)
    assert np.isinf(everything.nats_behind[1, :, few:]).all() and np.isfinite(everything.nats_behind[0]).all()
    assert (result.gain <= everything.gain + 1e-6).all()


def test_check_search_finds_what_a_poor_search_has_missed(over):
    poor = replace(over.study, sizes=(10**10,), close_starts=0, far_starts=0, blind_starts=1, extra=None, max_iter=5)
    poor, good = run_studies([poor], executor=SerialExecutor())[0], over
    ahead = check_search([poor, good], samples=3, starts=8, executor=SerialExecutor())
    assert [v.shape for v in ahead] == [(1, 3, 8), (2, 3, 8)]
    assert (ahead[0].max(axis=-1) > 10.0).all() and np.median(ahead[1].max(axis=-1)) < 1.0
    again = check_search([good], samples=3, starts=8, executor=SerialExecutor())[0]
    assert np.array_equal(again, ahead[1])


def test_equivalent_measure():
    near, _ = equivalent_measure(SPLIT.in_gauge("last"), OVER)
    assert kullback_leibler(near, CONSTANT, OVER.design) < 1e-15
    moved = SPLIT.in_gauge("last")
    moved = lm.MixingMeasure(moved.beta0, moved.beta1, moved.a + [[1e-3, 0], [0, 0], [0, 0]], moved.b)
    found, distance = equivalent_measure(moved, OVER)
    assert 5e-4 < distance < 5e-3
    assert lm.voronoi_loss(found, CONSTANT, gauge="infimum") > 0.1  # on the ridge, not at the truth
    alone = replace(OVER, k=2, extra=None)
    _, distance = equivalent_measure(TABLE_2, alone, max_iter=2)
    assert np.isnan(distance)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"k": 1}, ValueError, "at least k"),
        ({"replications": 0}, ValueError, "replications"),
        ({"close_starts": -1}, ValueError, "close_starts"),
        ({"k": 2.5}, TypeError, "k"),
        ({"close_starts": 0, "far_starts": 0, "blind_starts": 0, "extra": None}, ValueError, "at least one start"),
        ({"sizes": (100, 10)}, ValueError, "ascending"),
        ({"sizes": ()}, ValueError, "ascending"),
        ({"truth": lm.MixingMeasure.stack([CONSTANT])}, ValueError, "one MixingMeasure"),
        ({"extra": SPLIT}, ValueError, "one batch axis"),
        ({"gate": "nothing"}, ValueError, "gate"),
        ({"em_sizes": (10**7,)}, ValueError, "em_sizes: expected None or some"),
        ({"em_sizes": ()}, ValueError, "em_sizes"),
    ],
)
def test_study_refuses(change, error, words):
    with pytest.raises(error, match=words):
        replace(OVER, **change)


def test_run_studies_refuses():
    with pytest.raises(TypeError, match="Study"):
        run_studies(["a study"])
