"""EM against flexmix (R): the same samples, the same starting posteriors, 20 iterations.  See reference/README.md."""

import csv
from pathlib import Path

import numpy as np
import pytest

from logitmoe import MixingMeasure, StoppingRule, Theta, WeightedPoints, em
from logitmoe.em_algorithm import e_step, m_step

REFERENCE = Path(__file__).parent / "reference"
ITERATIONS = 20
RELATIVE = 1e-7  # of the log-likelihood; both implementations are right to some 1e-9
CLOSE = 2e-5  # of parameters and posteriors; flexmix's BFGS leaves errors of some 1e-6
WIDE = Theta.cube(50.0)  # flexmix knows no bounds: none may bind

every_fit = pytest.mark.parametrize(("K", "k"), [(2, 2), (2, 3), (3, 2), (3, 3)])


def read(name):
    """The columns of a CSV file, by name."""
    with open(REFERENCE / name, newline="") as file:
        rows = list(csv.DictReader(file))
    return {column: np.array([row[column] for row in rows]) for column in rows[0]}


def columns(table, prefix):
    """The columns prefix1, prefix2, ..., as rows of an array."""
    count = sum(name.startswith(prefix) for name in table)
    return np.array([table[f"{prefix}{i + 1}"] for i in range(count)], dtype=float)


def problem(K, k):
    """The sample and the starting posteriors (k, n)."""
    table = read(f"sample_K{K}.csv")
    data = WeightedPoints.from_labels(columns(table, "x").T, table["y"].astype(int), K)
    return data, columns(table, f"start{k}_")


def log_likelihoods(K, k):
    return read("log_likelihood.csv")[f"K{K}_k{k}"].astype(float)


def parameters(K, k, d):
    """flexmix's mixing measure after the last iteration."""
    beta0, beta1 = np.zeros(k), np.zeros((k, d))
    a, b = np.zeros((k, K)), np.zeros((k, K, d))
    arrays = {"beta0": beta0, "beta1": beta1, "a": a, "b": b}
    with open(REFERENCE / "parameters.csv", newline="") as file:
        for row in csv.DictReader(file):
            if (int(row["K"]), int(row["k"])) == (K, k):
                index = tuple(int(row[axis]) - 1 for axis in "isj" if row[axis])
                arrays[row["parameter"]][index] = float(row["value"])
    return MixingMeasure(beta0, beta1, a, b)


def first_m_step(data, posterior):
    """The M-step from posteriors (k, n) that do not depend on the class, taken from all parameters equal to zero."""
    (k, n), K, d = posterior.shape, data.K, data.d
    zero = MixingMeasure(np.zeros(k), np.zeros((k, d)), np.zeros((k, K)), np.zeros((k, K, d)))
    return m_step(np.broadcast_to(posterior[:, None], (k, K, n)), data, zero, theta=WIDE)


def run(K, k):
    data, start = problem(K, k)
    stopping = StoppingRule("absolute", 0.0, ITERATIONS - 1)  # the first of the 20 is the M-step from the posteriors
    return data, em(data, first_m_step(data, start), theta=WIDE, stopping=stopping, trace="log_likelihood")


@every_fit
def test_the_log_likelihood_agrees_at_every_iteration(K, k):
    _, result = run(K, k)
    ours, theirs = result.trace.log_likelihood, log_likelihoods(K, k)
    assert ours.shape == theirs.shape == (ITERATIONS,)
    # The reference can tell: no two of its iterations are closer than 100 times the tolerance.
    assert np.diff(theirs).min() > 100 * RELATIVE * np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=RELATIVE, atol=0)
    assert not result.at_bound


@every_fit
def test_the_parameters_agree_after_the_last_iteration(K, k):
    data, result = run(K, k)
    ours, theirs = result.measure.in_gauge("last"), parameters(K, k, data.d)
    for letter in ("beta0", "beta1", "a", "b"):
        np.testing.assert_allclose(getattr(ours, letter), getattr(theirs, letter), rtol=0, atol=CLOSE)
    # flexmix's parameters are those of its log-likelihood, so the two were not taken from different iterations.
    assert e_step(theirs, data)[1] == pytest.approx(log_likelihoods(K, k)[-1], rel=1e-12)


@every_fit
def test_the_posteriors_agree_after_the_last_iteration(K, k):
    data, result = run(K, k)
    posterior, _ = e_step(result.measure, data)
    observed = np.einsum("isl,sl->il", posterior, data.weights)  # for raw labels the weights pick the observed class
    np.testing.assert_allclose(observed, columns(read(f"posteriors_K{K}.csv"), f"end{k}_"), rtol=0, atol=CLOSE)


@every_fit
def test_alternating_m_and_e_steps_by_hand_agrees_too(K, k):
    data, start = problem(K, k)
    G, ours = first_m_step(data, start), []
    for _ in range(ITERATIONS):
        posterior, log_likelihood = e_step(G, data)
        ours.append(log_likelihood)
        G = m_step(posterior, data, G, theta=WIDE)
    np.testing.assert_allclose(ours, log_likelihoods(K, k), rtol=RELATIVE, atol=0)
