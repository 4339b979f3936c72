"""Taylor functions against mpmath's own differentiation, ranks against known relations, expansions against orders."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logitmoe import Gate, MixingMeasure, density
from logitmoe.gates import power
from replication import taylor
from replication.pairs import AFFINE_SPLIT_TRUTH, swap_diagonal
from replication.paper import TABLE_2, TABLE_3
from replication.taylor import Term

GATE_NAMES = ["identity", "sigmoid", "tanh", "cos", "sin", "log_abs", "normalize", "power(3)"]


def random_measure(seed, k=2, K=2, d=1):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(k, K)), rng.normal(size=(k, K, d))
    a[:, -1], b[:, -1] = 0.0, 0.0
    return MixingMeasure(rng.normal(size=k), rng.normal(size=(k, d)), a, b)


def points(d, m=5, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 0.9, size=(m, d))


def naive_u(G, j, x, s, gate, mixture=None):
    """beta1, a, b (flat lists) -> exp(beta1' M(x)) (f_s - g_s or 0), in mpmath, one number at a time."""

    def softmax(a, b):
        h = [a[ell] + mpmath.fsum(b[ell * G.d + q] * x[q] for q in range(G.d)) for ell in range(G.K - 1)]
        terms = [mpmath.exp(value) for value in h] + [mpmath.mpf(1)]
        return terms[s] / mpmath.fsum(terms)

    M = gate(x)
    g = mpmath.mpf(0)
    if mixture is not None:
        gates = zip(G.beta0, G.beta1, strict=True)
        weights = [mpmath.exp(float(c) + mpmath.fdot(map(float, slope), M)) for c, slope in gates]
        lines = zip(G.a, G.b, strict=True)
        experts = [softmax([*map(float, a[:-1])], [*map(float, b[:-1].ravel())]) for a, b in lines]
        g = mpmath.fdot(weights, experts) / mpmath.fsum(weights)

    def u(*theta):
        beta1, a, b = theta[: G.d], theta[G.d : G.d + G.K - 1], theta[G.d + G.K - 1 :]
        return mpmath.exp(mpmath.fdot(beta1, M)) * (softmax(a, b) - g)

    return u


MP_GATES = {"identity": lambda x: x, "tanh": lambda x: [mpmath.tanh(v) for v in x]}


@pytest.mark.parametrize("gate", ["identity", "tanh"])
@pytest.mark.parametrize(("K", "d"), [(2, 1), (3, 1), (2, 2), (3, 2)])
def test_taylor_terms_are_the_derivatives_of_w(K, d, gate):
    """Every derivative up to order 2 is in the list once, and has mpmath's numerical value."""
    G = random_measure(K + 10 * d, 2, K, d)
    terms = taylor.taylor_terms(G, (True, True), gate)
    assert len(set(terms)) == len(terms)
    x = points(d, 2)
    seen = set()
    with mpmath.workdps(40):
        values = taylor.evaluate(G, x, terms, gate, digits=40)
        theta = [[mpmath.mpf(float(v)) for v in (*G.beta1[j], *G.a[j, :-1], *G.b[j, :-1].ravel())] for j in range(2)]
        for j in range(2):
            for alpha, term, _ in taylor._derivatives(j, 2, K, d, gate == "identity"):
                seen.add(term)
                column = terms.index(term)
                for i in range(2):
                    for s in range(K):
                        u = naive_u(G, j, [mpmath.mpf(float(v)) for v in x[i]], s, MP_GATES[gate], mixture=G)
                        expected = mpmath.diff(u, tuple(theta[j]), tuple(alpha)) if any(alpha) else u(*theta[j])
                        assert abs(values[column, i, s] - expected) < 1e-9 * (1 + abs(expected))
    assert seen == set(terms)


@pytest.mark.parametrize("order", [(3, 0), (0, 4), (1, 2), (2, 2)])
def test_derivatives_of_the_softmax_up_to_order_four(order):
    G, x = random_measure(3, 1, 3, 1), points(1, 2)
    term = Term(0, "f", (0,), (0,), order)
    with mpmath.workdps(40):
        value = taylor.evaluate(G, x, [term], digits=40)[0]
        for i in range(2):
            for s in range(3):

                def f(h1, h2, s=s):
                    logits = [mpmath.exp(h1), mpmath.exp(h2), 1]
                    return logits[s] / sum(logits)

                h = [float(G.a[0, ell]) + mpmath.mpf(float(G.b[0, ell, 0])) * float(x[i, 0]) for ell in range(2)]
                expected = mpmath.exp(mpmath.mpf(float(G.beta1[0, 0])) * float(x[i, 0])) * mpmath.diff(f, h, order)
                assert abs(value[i, s] - expected) < 1e-6 * (1 + abs(expected))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(2, 3), st.integers(1, 2), st.sampled_from(GATE_NAMES))
@settings(max_examples=30, deadline=None)
def test_double_and_high_precision_agree(seed, k, K, d, gate):
    G, x = random_measure(seed, k, K, d), points(d)
    for terms in (taylor.taylor_terms(G, (True,) * k, gate), taylor.printed_terms(G, (True,) * k)):
        high = taylor.evaluate(G, x, terms, gate, digits=50)
        double = taylor.evaluate(G, x, terms, gate)
        assert double.shape == high.shape == (len(terms), 5, K) and double.dtype == float
        assert np.abs(double - high.astype(float)).max() < 1e-12 * np.abs(double).max()


def test_gates_without_a_formula_are_refused():
    terms = taylor.taylor_terms(TABLE_2, (False, False), power(3))
    for gate in (Gate("own", np.arctan), Gate("tanh", np.arctan)):  # the second is not the library's tanh
        with pytest.raises(TypeError, match="expected a formula"):
            taylor.evaluate(TABLE_2, [0.5], terms, gate, digits=30)


def test_the_mixture_can_be_another_measure():
    other = TABLE_2.translate(0.0, 0.0).split(0, 0.3, a=np.array([[0.1, 0.0], [-2.0, 0.0]]))
    w, g = Term(0, "w", (0,), (1,), (0,)), Term(1, "g", (0,), (0,), (0,))
    values = taylor.evaluate(TABLE_2, [0.25], [w, g], mixture=other)
    assert np.allclose(values[1, 0], density(other, [0.25])[:, 0], rtol=1e-14)  # e_2 = 1
    f = 1 / (1 + np.exp(1 - 0.5))
    expected = 0.25 * np.exp(0.75) * (f - density(other, [0.25])[0, 0])
    assert values[0, 0, 0] == pytest.approx(expected, rel=1e-13)


def test_patterns():
    assert taylor.patterns(2, 2) == [(False, False)]
    assert taylor.patterns(3, 2) == [(False, False), (True, False), (False, True)]
    assert set(taylor.patterns(4, 2)) == set(taylor.patterns(9, 2)) and len(taylor.patterns(4, 2)) == 4
    assert all(sum(p) <= 1 for p in taylor.patterns(4, 3)) and len(taylor.patterns(4, 3)) == 4


def test_counts_and_names():
    names = [str(t) for t in taylor.taylor_terms(TABLE_2, (True, False))]
    assert names == [
        *("w_1", "x w_1", "x^2 w_1", "e_1 f_1'", "x e_1 f_1'", "x^2 e_1 f_1'", "e_1 f_1''", "x e_1 f_1''"),
        *("x^2 e_1 f_1''", "w_2", "x w_2", "e_2 f_2'", "x e_2 f_2'"),
    ]
    # Equation (26) for K = 2, d = 1: pairs (q1, q2) of sum at most 2 or 4, and 2 or 3 powers of x.
    assert len(taylor.printed_terms(TABLE_2, (True, False))) == 15 + 3 + 6 + 2
    assert len(taylor.printed_terms(TABLE_2, (True, False), "A.3")) == (3 + 2 * 2 + 3) + 3 + (2 + 2) + 2
    modified = {str(t) for t in taylor.taylor_terms(TABLE_2, (True, False), "tanh")}
    assert {"M x e_1 f_1'", "M e_1 f_1'", "x^2 e_1 f_1''", "M^2 w_1"} <= modified and len(modified) == 14
    G = random_measure(0, 1, 3, 2)
    assert "x1 x2 e_1 d12 f_1" in {str(t) for t in taylor.taylor_terms(G, (True,))}
    assert "e_1 d1111 f_1" in {str(t) for t in taylor.printed_terms(TABLE_2, (True, False))}


@given(st.integers(0, 2**32 - 1), st.sampled_from(["identity", "tanh", "log_abs"]), st.sampled_from([1, 2]))
@settings(max_examples=20, deadline=None)
def test_gauge_relations_vanish_for_every_measure(seed, gate, d):
    G, x = random_measure(seed, 2, 3, d), points(d)
    for over, count in (((False, True), 1 + d), ((True, True), (d + 1) * (d + 2) // 2)):
        cases = [(taylor.taylor_terms(G, over, gate), gate), (taylor.printed_terms(G, over, "A.3"), gate)]
        cases.append((taylor.printed_terms(G, over), "identity"))
        for terms, used in cases:
            relations = taylor.gauge_relations(G, terms)
            assert relations.shape == (count, len(terms)) and np.linalg.matrix_rank(relations) == count
            values = taylor.evaluate(G, x, terms, used)
            scale = np.abs(values).max() * np.abs(relations).sum()
            assert np.abs(np.tensordot(relations, values, 1)).max() < 1e-13 * scale


@pytest.mark.parametrize(
    ("over", "rank"), [((False, False), 6), ((True, False), 11), ((False, True), 11), ((True, True), 15)]
)
def test_ranks_at_table_2(over, rank):
    terms = taylor.taylor_terms(TABLE_2, over)
    decision = taylor.rank_decision(TABLE_2, terms)
    assert decision.rank == rank and decision.nullity == len(terms) - rank == (3 if all(over) else 2)
    assert decision.kept > 1e-15 and decision.dropped < 1e-47
    assert decision.spanned_by(taylor.gauge_relations(TABLE_2, terms))
    assert decision.singular_values.shape == (len(terms),) and decision.singular_values[0] == 1.0
    values = taylor.evaluate(TABLE_2, points(1), terms)
    assert np.abs(np.tensordot(decision.null_vectors, values, 1)).max() < 1e-13 * np.abs(values).max()


def test_other_relations_are_found():
    # A constant expert: more relations than the gauge's. x e f' = f (1 - f) x e is constant times x e.
    for truth, over in ((TABLE_3, (False, True)), (AFFINE_SPLIT_TRUTH, (True, False))):
        terms = taylor.taylor_terms(truth, over)
        decision = taylor.rank_decision(truth, terms)
        assert decision.nullity > 2 and not decision.spanned_by(taylor.gauge_relations(truth, terms))
    # Gate and expert logits equal: the score vanishes in 1 + d directions more.
    diagonal = swap_diagonal().measure
    assert taylor.rank_decision(diagonal, taylor.taylor_terms(diagonal, (False, False))).nullity == 4


def test_rank_is_refused_if_the_digits_do_not_decide():
    terms = taylor.taylor_terms(TABLE_2, (True, False))
    x = taylor.rank_points(terms, (0.5, 0.5625))
    assert taylor.rank_decision(TABLE_2, terms, x=x, digits=60).rank == 11
    with pytest.raises(ArithmeticError, match="not decided with 30 digits"):
        taylor.rank_decision(TABLE_2, terms, x=x, digits=30)


def scaled_difference(G, truth, x, gate):
    """[sum_i m_i e_i] (g_G - g_G*), computed as sum_i m_i e_i (f_i - g_G*), with 40 digits."""
    with mpmath.workdps(40):
        v, true = taylor.model_values(G, x, gate, 40), taylor.model_values(truth, x, gate, 40)
        return ((v.mass[:, None] * v.e)[:, None, :] * (v.f - true.g)).sum(0).T


@pytest.mark.parametrize("gate", ["identity", "tanh"])
@pytest.mark.parametrize(("K", "d"), [(2, 1), (3, 1), (2, 2), (3, 2)])
def test_remainder_has_the_next_order(K, d, gate):
    """Exact cells leave O(step^2), a cell of two atoms O(step^3); coefficients are those of the expansion."""
    truth = random_measure(7 * K + d, 2, K, d)
    rng, x = np.random.default_rng(5), points(d)
    shifts = [(rng.normal(size=(3, d)), rng.normal(size=(3, K)), rng.normal(size=(3, K, d)))] * 2
    for over, order in (((False, False), 2), ((True, False), 3)):
        terms = taylor.taylor_terms(truth, over, gate)
        G = truth.split(0, 0.3) if over[0] else truth
        cells = np.array([0, 0, 1]) if over[0] else np.array([0, 1])
        errors = []
        for step in (1e-2, 1e-3):
            beta1, a, b = (value[: G.k] * step for value in shifts[0])
            still = cells[:, None] != 0 if over[0] else np.zeros((2, 1), bool)  # exact atoms stay for the second case
            H = MixingMeasure(
                G.beta0 + step, G.beta1 + ~still * beta1, G.a + ~still * a, G.b + ~still[..., None] * b
            ).canonical()
            c = taylor.taylor_coefficients(H, truth, terms, gate, cells=cells)
            difference = scaled_difference(H, truth, x, gate).astype(float)
            errors.append(np.abs(difference - np.tensordot(c, taylor.evaluate(truth, x, terms, gate), 1)).max())
        assert order - 0.3 < np.log10(errors[0] / errors[1]) < order + 0.5


def test_coefficients_by_hand():
    G = TABLE_2.split(0, 0.5, beta1=[[3.1], [2.8]], a=[[-0.9, 0.0], [-1.0, 0.0]])
    terms = taylor.taylor_terms(TABLE_2, (True, False))
    c = dict(zip(map(str, terms), taylor.taylor_coefficients(G, TABLE_2, terms), strict=True))
    m = np.e / 2
    expected = {"w_1": 0.0, "x w_1": m * -0.1, "x^2 w_1": m * (0.01 + 0.04) / 2, "e_1 f_1'": m * 0.1}
    expected |= {"e_1 f_1''": m * 0.005, "x e_1 f_1'": m * 0.1 * 0.1, "w_2": 0.0, "x w_2": 0.0, "e_2 f_2'": 0.0}
    for name, value in expected.items():
        assert c[name] == pytest.approx(value, abs=1e-14)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["identity", "sigmoid"]), st.integers(2, 3), st.integers(1, 2))
@settings(max_examples=20, deadline=None)
def test_equation_14_is_an_identity(seed, gate, K, d):
    truth, G, x = random_measure(seed, 2, K, d), random_measure(seed + 1, 4, K, d), points(d, 3)
    cells = np.random.default_rng(seed).integers(0, 2, 4)
    for assignment in (None, cells):
        D = taylor.decomposition(G, truth, x, gate, cells=assignment, digits=50)
        assert D.T.shape == (3, K) and D.residual < 1e-44
        with mpmath.workdps(50):
            assert float(np.abs(D.A - D.B + D.E - D.T).max()) == D.residual
    M = np.tile(x, 1) if gate == "identity" else 1 / (1 + np.exp(-x))
    scale = (np.exp(truth.beta0) * np.exp(M @ truth.beta1.T)).sum(1)
    expected = scale[:, None] * (density(G, x, gate) - density(truth, x, gate)).T
    assert np.allclose(taylor.decomposition(G, truth, x, gate).T, expected, atol=1e-12)


def test_errors():
    terms = taylor.taylor_terms(TABLE_2, (False, False))
    with pytest.raises(ValueError, match="over: expected 2 booleans"):
        taylor.taylor_terms(TABLE_2, (1, 0))
    with pytest.raises(ValueError, match="over: expected 2 booleans"):
        taylor.printed_terms(TABLE_2, (True,))
    with pytest.raises(ValueError, match="appendix"):
        taylor.printed_terms(TABLE_2, (True, True), "A.2")
    with pytest.raises(ValueError, match="without batch axes"):
        taylor.taylor_terms(MixingMeasure.stack([TABLE_2, TABLE_2]), (True, True))
    with pytest.raises(ValueError, match="as many values"):
        taylor.rank_decision(TABLE_2, terms, x=[0.1, 0.2])
    with pytest.raises(ValueError, match="not zero"):
        taylor.rank_decision(TABLE_2, [Term(0, "f", (0,), (1,), (1,)), terms[0]], x=[0.0])
    with pytest.raises(ValueError, match="digits"):
        taylor.rank_decision(TABLE_2, terms, digits=20)
    with pytest.raises(ValueError, match="second order"):
        taylor.taylor_coefficients(TABLE_2.split(0), TABLE_2, terms)
    with pytest.raises(ValueError, match="k: expected"):
        taylor.patterns(1, 2)



