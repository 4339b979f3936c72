"""EM's rate: the missing information against finite differences of the EM map, and against runs of EM."""

import numpy as np
import pytest

from logitmoe import MixingMeasure, StoppingRule, WeightedPoints, density, em, fisher_information, uniform_design
from logitmoe.em_algorithm import e_step, m_step
from logitmoe.gates import power
from logitmoe.model import joint_log_probabilities
from replication.convergence import complete_root, information_fractions, linear_rate
from replication.paper import TABLE_2

WIDE = uniform_design(-3, 3)
CLEAR = MixingMeasure([0, 0], [[-1.1], [0]], [[-3.3, 0], [-3.5, 0]], [[[-3.5], [0]], [[3.3], [0]]])


def draw(rng, k, K, d, batch=()):
    G = [rng.normal(size=(*batch, *tail)) for tail in ((k,), (k, d), (k, K), (k, K, d))]
    return MixingMeasure(*G)


def population(G, design, gate="identity"):
    return WeightedPoints(design.points, density(G, design.points, gate) * design.weights)


@pytest.mark.parametrize("k, K, d, gate", [(2, 2, 1, "identity"), (3, 3, 1, "tanh"), (2, 3, 2, "identity")])
def test_complete_information_is_the_hessian_of_the_complete_likelihood(k, K, d, gate):
    rng = np.random.default_rng(1)
    G, design = draw(rng, k, K, d), uniform_design(-1, 2, d=d, nodes=4, panels=3)
    S = complete_root(G, design, gate)
    P = G.to_vector().size
    assert S.shape == (k * K * design.m, P)

    def joint(v):
        return joint_log_probabilities(MixingMeasure.from_vector(v, k, K, d), design.points, gate)

    v, h = G.to_vector(), 1e-4
    weight = np.exp(joint(v)) * design.weights
    e = h * np.eye(P)
    hessian = [
        [
            ((joint(v + a + b) - joint(v + a - b) - joint(v - a + b) + joint(v - a - b)) * weight).sum() / (4 * h * h)
            for b in e
        ]
        for a in e
    ]
    np.testing.assert_allclose(S.T @ S, -np.array(hessian), atol=3e-7)


@pytest.mark.parametrize("G, gate", [(CLEAR, "identity"), (CLEAR, "tanh"), (TABLE_2, power(3))])
def test_fractions_are_one_minus_the_eigenvalues_of_the_em_map(G, gate):
    data = population(G, WIDE, gate)

    def step(v):
        H = MixingMeasure.from_vector(v, 2, 2, 1)
        responsibilities, _ = e_step(H, data, gate)
        return m_step(responsibilities, data, H, gate).to_vector()

    v, h = G.to_vector(), 1e-4
    jacobian = np.array([(step(v + e) - step(v - e)) / (2 * h) for e in h * np.eye(6)]).T
    expected = np.sort(1 - np.linalg.eigvals(jacobian).real)
    np.testing.assert_allclose(information_fractions(G, WIDE, gate), expected, atol=2e-5)


def test_fractions_agree_with_the_matrices_and_keep_batches():
    G = draw(np.random.default_rng(2), 3, 3, 1, (2, 2))
    fractions = information_fractions(G, WIDE)
    assert fractions.shape == (2, 2, 16) and (np.diff(fractions) >= 0).all()
    assert fractions.min() > -1e-12 and fractions.max() <= 1 + 1e-12
    S = complete_root(G[1, 0], WIDE)
    J = fisher_information(G[1, 0], WIDE)
    expected = np.sort(np.linalg.eigvals(np.linalg.solve(S.T @ S, J)).real)
    np.testing.assert_allclose(fractions[1, 0], expected, atol=1e-8)


def test_one_expert_misses_nothing_and_a_split_atom_everything_of_a_direction():
    one = draw(np.random.default_rng(3), 1, 3, 1)
    np.testing.assert_allclose(information_fractions(one, WIDE), 1.0, atol=1e-12)
    assert information_fractions(TABLE_2.split(1), WIDE)[0] < 1e-20
    assert information_fractions(TABLE_2, WIDE)[0] > 1e-3


@pytest.mark.parametrize("gate", ["identity", "tanh"])
def test_a_run_shows_the_predicted_rate(gate):
    start = MixingMeasure.from_vector(CLEAR.to_vector() + 0.1, 2, 2, 1)
    rule = StoppingRule("absolute", tol=0.0, max_iter=600)
    trace = em(population(CLEAR, WIDE, gate), start, gate=gate, stopping=rule, trace="log_likelihood").trace
    predicted = 1 - information_fractions(CLEAR, WIDE, gate)[0]
    assert abs(linear_rate(trace.log_likelihood) / predicted - 1) < 1e-3


def test_linear_rate_of_a_geometric_sequence():
    trace = -1000.0 - 0.8 ** (2 * np.arange(60))
    assert linear_rate(trace) == pytest.approx(0.8, rel=1e-5)
    flat = np.r_[trace, np.full(50, trace[-1])]
    assert linear_rate(flat) == pytest.approx(0.8, rel=1e-5)


@pytest.mark.parametrize(
    "trace, options, match",
    [
        ([1.0, 2.0], {}, "at least 8 increments"),
        (np.full(30, 1.0), {}, "at least 8 increments"),
    ],
)
def test_linear_rate_refuses(trace, options, match):
    with pytest.raises(ValueError, match=match):
        linear_rate(trace, **options)


def test_fractions_refuse_bad_input():
    with pytest.raises(TypeError, match="G: expected a MixingMeasure"):
        information_fractions(3, WIDE)
    with pytest.raises(ValueError, match="design"):
        information_fractions(TABLE_2, uniform_design(d=2, nodes=2, panels=2))
    saturated = MixingMeasure([9, 0], [[0], [0]], [[0.3, 0], [1, 0]], [[[0], [0]], [[1], [0]]])
    far = MixingMeasure(saturated.beta0 * 10, saturated.beta1, saturated.a, saturated.b)
    assert information_fractions(saturated, WIDE)[0] >= 0
    with pytest.raises(ValueError, match="G: the complete data's information is singular"):
        information_fractions(far, WIDE)
