"""What is to be added in one step works everywhere: a gate of one line in EM, Newton's method, and the proofs."""

import mpmath
import numpy as np
import pytest

from logitmoe import Gate, MixingMeasure, WeightedPoints, em, mle, random_start, sample, uniform_design
from replication import taylor
from replication.chapters.modified_gating import conic_ratio, is_bounded, symbolic_set
from replication.paper import TABLE_2
from replication.ranks import certified_rank

SOFTPLUS = Gate("softplus", lambda f, x: f.log(1 + f.exp(x)), pole=np.pi)
CONIC = Gate("root", lambda f, x: f.sqrt(1 + x * x), pole=1.0)  # M^2 = 1 + x^2: not a modified function


@pytest.mark.parametrize("gate", [SOFTPLUS, CONIC], ids=lambda gate: gate.name)
def test_a_gate_is_one_line(gate):
    rng = np.random.default_rng(0)
    data = WeightedPoints.from_labels(*sample(TABLE_2, 2000, rng, gate=gate))
    start = random_start(2, 2, 1, rng)
    by_em, by_newton = em(data, start, gate=gate), mle(data, start, gate=gate)
    assert by_newton.converged and by_newton.log_likelihood >= by_em.log_likelihood - 1e-6
    again = mle(data, by_em.measure, gate=gate)
    assert abs(again.log_likelihood - by_newton.log_likelihood) < 1.0

    terms = taylor.taylor_terms(TABLE_2, (False, True), gate)
    found = taylor.rank_decision(TABLE_2, terms, gate)
    assert found.spanned_by(taylor.gauge_relations(TABLE_2, terms)) and found.nullity == 2
    with mpmath.workdps(30):
        exact = gate.exact(taylor.MPMATH, np.array([[mpmath.mpf(1)]]))[0, 0]
        assert abs(exact - gate([[1.0]])[0, 0]) < 1e-15


@pytest.mark.parametrize(("gate", "rank"), [(SOFTPLUS, 6), (CONIC, 5)], ids=["softplus", "root"])
def test_definition_4_1_decides_a_gate_of_one_line(gate, rank):
    x, functions, names = symbolic_set(gate, 1)
    result = certified_rank(functions, x, -1, 1)
    assert result.proved and result.lower == rank and is_bounded(gate, -1, 1)
    assert result.describe(names) == ([] if rank == 6 else ["M**2 = 1 + x**2"])
    assert (conic_ratio(gate, uniform_design(-1, 1)) < 1e-13) == (rank == 5)


def test_a_gate_of_numpy_alone_is_fitted_but_not_proved_anything_about():
    gate = Gate("softsign", lambda x: x / (1 + np.abs(x)), pole=0.0)
    G = MixingMeasure(TABLE_2.beta0, TABLE_2.beta1, TABLE_2.a, TABLE_2.b)
    data = WeightedPoints.from_labels(*sample(G, 200, np.random.default_rng(0), gate=gate))
    assert np.isfinite(em(data, G.in_gauge("last"), gate=gate).log_likelihood)
    with pytest.raises(TypeError, match="gate 'softsign': expected a formula of f and x"):
        symbolic_set(gate, 1)
    with pytest.raises(TypeError, match="gate 'softsign': expected a formula of f and x"):
        taylor.rank_decision(G, taylor.taylor_terms(G, (False, False), gate), gate)
