"""Profiles: the curves are those of the fit, the intervals those of draws from its normal approximation."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.special import logit

from logitmoe import MixingMeasure, Ridge, Starts, fit, sample
from logitmoe.inference import Uncertainty
from replication.chapters.your_data import plot_profile, profile

FEW = Starts(random=2, partitions=2, splits=0, perturbations=0, long=2)
TRUTH = MixingMeasure(
    [0.3, 0.0],
    [[3.0, 0.5], [0.0, 0.0]],
    [[0.5, 0.0, 0.0], [-0.5, 0.5, 0.0]],
    [[[2.0, -1.5], [0.5, 1.5], [0, 0]], [[-2.0, 1.5], [0.5, -1.5], [0, 0]]],
)
X, Y = sample(TRUTH, 600, np.random.default_rng(1), covariates=np.random.default_rng(0).normal(size=(600, 2)))
X = 50.0 + 10.0 * X
GRID = np.linspace(35.0, 65.0, 7)


@pytest.fixture(scope="module")
def fitted():
    return fit(X, np.array(["a", "b", "c"])[Y - 1], 2, rng=np.random.default_rng(1), starts=FEW)


def test_the_curves_are_those_of_the_fit(fitted):
    found = profile(fitted, "x2", GRID, label="b", at=[44.0, 0.0])
    x = np.stack([np.full(7, 44.0), GRID], axis=1)
    np.testing.assert_allclose(found.density.value[0], fitted.predict_proba(x)[:, 1], rtol=1e-10)
    np.testing.assert_allclose(found.gate.value, fitted.gate_probabilities(x).T, rtol=1e-10)
    mixed = (found.gate.value * found.experts.value).sum(axis=0)
    np.testing.assert_allclose(mixed, found.density.value[0], rtol=1e-10)
    middle = profile(fitted, "x1", X[:, 0].mean(keepdims=True), label="a")
    np.testing.assert_allclose(middle.density.value[0], fitted.predict_proba(X.mean(axis=0)[None])[:, 0], rtol=1e-10)


def test_with_one_expert_the_interval_is_the_textbook_one():
    y = np.where(Y == 1, "a", "b")
    one = fit(X, y, 1, rng=np.random.default_rng(1), penalty=Ridge())
    found = profile(one, "x1", GRID, label="a", at=[0.0, 57.0])
    design = np.stack([np.ones(7), *one.units.standardise(np.stack([GRID, np.full(7, 57.0)], axis=1)).T])
    sd = np.sqrt(np.einsum("pm,pq,qm->m", design, one.observed.covariance, design))
    np.testing.assert_allclose((logit(found.density.high) - logit(found.density.low))[0], 2 * 1.959964 * sd, rtol=1e-5)
    assert (found.gate.low == 1.0).all()
    other = profile(one, "x1", GRID, label="b", at=[0.0, 57.0])
    np.testing.assert_allclose(other.density.low, 1.0 - found.density.high, rtol=1e-6)


def test_the_interval_is_that_of_draws_of_the_coefficients(fitted):
    few = replace(fitted, observed=Uncertainty(1e-4 * fitted.observed.covariance, fitted.observed.unidentified))
    found = profile(few, "x1", GRID, label="b")
    G, rng = few.standard, np.random.default_rng(2)
    draws = rng.multivariate_normal(G.to_vector(), few.observed.covariance, size=2_000)
    centre = np.tile(few.units.shift, (7, 1))
    centre[:, 0] = GRID
    measures = [MixingMeasure.from_vector(v, 2, 3, 2) for v in draws]
    drawn = [replace(few, standard=H).predict_proba(centre)[:, 1] for H in measures]
    half = 1.959964 * logit(np.array(drawn)).std(axis=0)
    np.testing.assert_allclose(logit(found.density.high) - logit(found.density.value), half[None], rtol=0.08)


def test_an_undetermined_gate_has_no_interval(fitted):
    v = np.zeros((1, fitted.standard.to_vector().size))
    v[0, 0] = 1.0  # the gate's intercept
    lost = replace(fitted, observed=Uncertainty(fitted.observed.covariance, v))
    found = profile(lost, "x1", GRID, label="b")
    assert found.gate.low.max() < 1e-6 and found.gate.high.min() > 1.0 - 1e-6
    known = profile(fitted, "x1", GRID, label="b")
    np.testing.assert_allclose(found.experts.low, known.experts.low, rtol=1e-6)


def test_the_drawing_has_a_band_for_each_curve(fitted):
    fig, axes = plt.subplots(1, 3)
    plot_profile(profile(fitted, "x1", GRID, label="c"), axes)
    assert [len(ax.lines) for ax in axes] == [len(ax.collections) for ax in axes] == [2, 2, 1]
    plt.close(fig)


@pytest.mark.parametrize(("name", "label"), [("x3", "a"), ("x1", "d")])
def test_a_stray_name_is_named(fitted, name, label):
    with pytest.raises(ValueError, match="expected one of"):
        profile(fitted, name, GRID, label=label)
