"""Score against complex differentiation, Fisher information against 50-digit arithmetic."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logitmoe import (
    GATES,
    MixingMeasure,
    Ridge,
    Theta,
    WeightedPoints,
    covariance,
    density,
    fisher_information,
    log_likelihood,
    mle,
    random_start,
    sample,
    sample_design,
    standard_errors,
    uniform_design,
)
from logitmoe.gates import power
from logitmoe.information import (
    density_jacobian,
    fisher_root,
    numerical_rank,
    observed_information,
    score,
    score_products,
)
from replication import taylor
from replication.pairs import constant_split, swap_diagonal
from replication.paper import TABLE_2, TABLE_3

DESIGN = uniform_design()


def random_measure(rng, k, K=2, d=1, batch=()):
    return MixingMeasure(
        rng.normal(size=(*batch, k)),
        rng.normal(size=(*batch, k, d)),
        rng.normal(size=(*batch, k, K)),
        rng.normal(size=(*batch, k, K, d)),
    )


def naive_log_density(v, k, K, d, x, M):
    """log g (K, m) from the free coordinates, real or complex, by the formula of equation (8)."""
    cut = np.cumsum([k - 1, (k - 1) * d, k * (K - 1), k * (K - 1) * d])
    beta0, beta1, a, b = np.split(v, cut[:-1])
    g = np.zeros((K, len(x)), dtype=v.dtype)
    gates = np.zeros((k, len(x)), dtype=v.dtype)
    gates[: k - 1] = beta1.reshape(k - 1, d) @ M.T + beta0[:, None]
    weights = np.exp(gates) / np.exp(gates).sum(0)
    for i in range(k):
        logits = np.zeros((K, len(x)), dtype=v.dtype)
        logits[: K - 1] = b.reshape(k, K - 1, d)[i] @ x.T + a.reshape(k, K - 1)[i][:, None]
        g += weights[i] * np.exp(logits) / np.exp(logits).sum(0)
    return np.log(g)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.integers(2, 4),
    st.integers(1, 3),
    st.sampled_from(["identity", "tanh"]),
)
@settings(max_examples=40, deadline=None)
def test_score_equals_the_complex_step_derivative(seed, k, K, d, gate):
    rng = np.random.default_rng(seed)
    G, x = random_measure(rng, k, K, d), rng.normal(size=(7, d))
    v, M = G.to_vector(), GATES[gate](x)
    result = score(G, x, gate)
    assert result.shape == (K, 7, len(v))
    assert len(v) == len(MixingMeasure.parameter_names(k, K, d))
    for p in range(len(v)):
        step = v.astype(complex)
        step[p] += 1e-40j
        derivative = naive_log_density(step, k, K, d, x, M).imag / 1e-40
        np.testing.assert_allclose(result[:, :, p], derivative, rtol=1e-10, atol=1e-12)


def test_score_has_mean_zero_and_ignores_gauge_and_reference():
    rng = np.random.default_rng(0)
    G, x = random_measure(rng, 3, 3, 2, (4,)), rng.normal(size=(9, 2))
    values = score(G, x)
    assert values.shape == (4, 3, 9, 24)  # (k - 1)(1 + d) + k (K - 1)(1 + d) = 6 + 18
    mean = (density(G, x)[..., None] * values).sum(axis=1)
    np.testing.assert_allclose(mean, 0.0, atol=1e-14)
    moved = MixingMeasure(G.beta0, G.beta1, G.a + 1.7, G.b - 0.4).translate(3.0, [1.0, -2.0])
    np.testing.assert_allclose(score(moved, x), values, atol=1e-12)
    np.testing.assert_array_equal(score(G[2], x), values[2])


def test_score_is_finite_for_steep_measures():
    G = MixingMeasure([0.0, 0.0], [[700.0], [0.0]], [[300.0, 0.0], [-300.0, 0.0]], [[[400.0], [0.0]], [[9.0], [0.0]]])
    assert np.isfinite(score(G, np.linspace(-1, 1, 41))).all()


def test_information_is_the_mean_product_of_scores():
    rng = np.random.default_rng(1)
    G, x = random_measure(rng, 2, 3, 2), rng.normal(size=(6, 2))
    values, g = score(G, x, "sin"), density(G, x, "sin")
    expected = sum(g[s, i] * np.outer(values[s, i], values[s, i]) / len(x) for s in range(3) for i in range(len(x)))
    J = fisher_information(G, sample_design(x), "sin")
    np.testing.assert_allclose(J, expected, rtol=1e-11, atol=1e-14)
    R = fisher_root(G, sample_design(x), "sin")
    assert R.shape == (18, 15)
    np.testing.assert_allclose(R.T @ R, J, rtol=1e-13)


def mp_information(G, M=lambda x: x):
    """Fisher matrix of a K = 2, k = 2, d = 1 measure for X ~ U[0, 1] by derivatives of g, 50 digits."""
    u0, u1 = (mpmath.mpf(float(v)) for v in (G.beta0[0], G.beta1[0, 0]))
    lines = [(mpmath.mpf(float(G.a[i, 0])), mpmath.mpf(float(G.b[i, 0, 0]))) for i in range(2)]
    logistic = lambda t: 1 / (1 + mpmath.exp(-t))  # noqa: E731
    J = mpmath.zeros(6)
    for z, w in mpmath.calculus.quadrature.GaussLegendre(mpmath.mp).calc_nodes(6, mpmath.mp.prec):
        x = (z + 1) / 2
        pi = logistic(u0 + u1 * M(x))
        f = [logistic(a + b * x) for a, b in lines]
        g = pi * f[0] + (1 - pi) * f[1]
        gate = pi * (1 - pi) * (f[0] - f[1])
        slope = [pi * f[0] * (1 - f[0]), (1 - pi) * f[1] * (1 - f[1])]
        dg = mpmath.matrix([gate, gate * M(x), slope[0], slope[1], slope[0] * x, slope[1] * x])
        J += w / 2 / (g * (1 - g)) * dg * dg.T
    return J


MP_GATES = {"identity": lambda x: x, "tanh": mpmath.tanh, "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x))}


@pytest.mark.parametrize("gate", list(MP_GATES))
@pytest.mark.parametrize("truth", [TABLE_2, TABLE_3], ids=["table 2", "table 3"])
def test_double_precision_agrees_with_fifty_digits(truth, gate):
    with mpmath.workdps(50):
        J = mp_information(truth, MP_GATES[gate])
        exact = sorted(mpmath.eigsy(J, eigvals_only=True))
        inverse = J**-1
        assert exact[0] > mpmath.mpf(10) ** -20  # full rank, far above the error of 50 digits
        exact = np.array([float(value) for value in exact])
        errors = np.array([float(mpmath.sqrt(inverse[p, p])) for p in range(6)])
        inverse = np.array(inverse.tolist(), dtype=float)
    found = numerical_rank(fisher_root(truth, DESIGN, gate))
    assert found.rank == 6 and found.gap == np.inf
    # Relative errors of singular values are at most about eps * condition number = 1e-16 * 1e6.
    np.testing.assert_allclose(found.singular_values[::-1] ** 2, exact, rtol=1e-7)
    np.testing.assert_allclose(standard_errors(truth, DESIGN, gate), errors, rtol=1e-7)
    scale = np.outer(errors, errors)  # correlations then
    np.testing.assert_allclose(covariance(truth, DESIGN, gate) / scale, inverse / scale, atol=1e-7)
    np.testing.assert_allclose(fisher_information(truth, DESIGN, gate), np.array(J.tolist(), dtype=float), rtol=1e-11)


def test_the_designs_of_the_paper_are_nearly_singular():
    values = numerical_rank(fisher_root(TABLE_2, DESIGN)).singular_values ** 2
    assert values[[0, -1]] == pytest.approx([0.2467, 1.345e-10], rel=1e-3)
    assert standard_errors(TABLE_2, DESIGN).max() == pytest.approx(8.226e4, rel=1e-3)
    assert standard_errors(TABLE_2, DESIGN, n=1e10).max() == pytest.approx(0.8226, rel=1e-3)
    # The gate decides: two orders of magnitude between sigmoid and x^3.
    assert (
        standard_errors(TABLE_2, DESIGN, power(3)).max() < 1e4 < 1e6 < standard_errors(TABLE_2, DESIGN, "sigmoid").max()
    )


def test_rank_at_the_diagonal_of_the_swap_is_four_of_six():
    truth = swap_diagonal().measure
    found = numerical_rank(fisher_root(truth, DESIGN))
    assert found.rank == 4 and found.gap > 1e8
    # The null vectors are the two antisymmetric directions: gate + d, expert 1 - d, expert 2 + d.
    null = np.array([[1, 0, -1, 1, 0, 0], [0, 1, 0, 0, -1, 1]])
    assert np.abs(fisher_root(truth, DESIGN) @ null.T).max() < 1e-15
    assert numerical_rank(fisher_root(truth, DESIGN, "tanh")).rank == 6
    assert np.isinf(standard_errors(truth, DESIGN)).all()


@pytest.mark.parametrize(("gate", "rank"), [("identity", 6), ("sigmoid", 7), ("tanh", 7)])
def test_rank_at_a_split_constant_expert(gate, rank):
    split = constant_split(TABLE_3, gate=gate).other
    found = numerical_rank(fisher_root(split, DESIGN, gate))
    assert (found.rank, found.singular_values.shape[-1]) == (rank, 10)
    assert found.gap > 1e5
    errors = standard_errors(split, DESIGN, gate)
    finite = [n for n, e in zip(MixingMeasure.parameter_names(3, 2, 1), errors, strict=True) if np.isfinite(e)]
    # Masses and levels of the two halves are undetermined; the expert that is not constant is determined.
    assert {"a[1,1]", "b[1,1,1]"} <= set(finite) and not {"beta0[2]", "a[2,1]", "a[3,1]"} & set(finite)


def test_duplicate_atoms_lose_rank():
    doubled = TABLE_2.split(0)
    found = numerical_rank(fisher_root(doubled, DESIGN))
    assert found.rank == 6 and found.singular_values.shape == (10,)


def test_numerical_rank_reports_values_tolerance_and_gap():
    matrix = np.diag([4.0, 1.0, 1e-6, 0.0])
    found = numerical_rank(matrix)
    assert found.rank == 3 and found.gap == np.inf
    assert found.singular_values.tolist() == [4.0, 1.0, 1e-6, 0.0]
    loose = numerical_rank(matrix, rtol=1e-3)
    assert loose.rank == 2 and loose.gap == pytest.approx(1e6) and loose.tolerance == pytest.approx(4e-3)
    batch = numerical_rank(np.stack([matrix, np.eye(4), np.zeros((4, 4))]))
    assert batch.rank.tolist() == [3, 4, 0] and batch.gap.tolist() == [np.inf, np.inf, 0.0]


def test_batches_equal_loops_and_one_expert_has_no_gate():
    rng = np.random.default_rng(4)
    G, design = random_measure(rng, 2, 2, 1, (3,)), uniform_design(-2, 2, panels=2)
    errors = standard_errors(G, design)
    assert errors.shape == (3, 6)
    for i in range(3):
        np.testing.assert_allclose(errors[i], standard_errors(G[i], design), rtol=1e-6)
    single = random_measure(rng, 1, 3, 2)
    assert fisher_information(single, uniform_design(d=2)).shape == (6, 6)
    assert score(random_measure(rng, 1, 1), [0.5]).shape == (1, 1, 0)


def test_covariance_is_the_inverse_of_the_information():
    G, design = random_measure(np.random.default_rng(4), 2, 2, 1, (3,)), uniform_design(-2, 2, panels=2)
    V = covariance(G, design, n=50)
    np.testing.assert_allclose(V[1] @ fisher_information(G[1], design), np.eye(6) / 50, atol=1e-8)
    np.testing.assert_array_equal(V, np.swapaxes(V, -1, -2))
    errors = np.sqrt(np.diagonal(V, axis1=-2, axis2=-1))
    np.testing.assert_allclose(errors, standard_errors(G, design, n=50), rtol=1e-13)


def test_covariance_of_a_singular_information_names_a_direction():
    doubled = MixingMeasure([0, 0], [[1], [0]], [[1, 0], [1, 0]], [[[2], [0]], [[2], [0]]])
    gate = r"( [+-][0-9.]+ beta[01]\[[1,]+\])+"  # of two equal experts the gate is not determined
    with pytest.raises(ValueError, match=f"rank 4 of 6: along{gate}, for one, .*; take fewer atoms"):
        covariance(doubled, DESIGN)
    with pytest.raises(ValueError, match="rank 4 of 6"):  # of a batch, the one that is singular
        covariance(MixingMeasure.stack([TABLE_2, swap_diagonal().measure]), DESIGN)
    with pytest.raises(ValueError, match="rank 1 of 6"):
        covariance(TABLE_2, sample_design([0.5]))
    # One expert, two covariates of which the second never varies: intercept and second slope are not told apart.
    single = random_measure(np.random.default_rng(5), 1, 2, 2)
    with pytest.raises(ValueError, match=r"rank 2 of 3: along (\+0.71 a.1,1. -0.71|-0.71 a.1,1. \+0.71) b.1,1,2., for"):
        covariance(single, sample_design([[0.0, 1.0], [1.0, 1.0], [3.0, 1.0]]))
    # What counts as zero is the caller's choice.
    with pytest.raises(ValueError, match="rank 5 of 6"):
        covariance(TABLE_2, DESIGN, rcond=5e-5)


def test_fewer_rows_than_coordinates_leave_parameters_undetermined():
    assert np.isinf(standard_errors(TABLE_2, sample_design([0.5]))).all()
    # One expert seen at x = (1, 0, 0) only: a + b_1 is determined, and no coordinate is.
    single = random_measure(np.random.default_rng(0), 1, 2, 3)
    assert np.isinf(standard_errors(single, sample_design([[1.0, 0.0, 0.0]]))).all()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: score([1.0], [0.5]), TypeError, "G: expected a MixingMeasure"),
        (lambda: score(TABLE_2, [np.nan]), ValueError, "x: expected finite"),
        (lambda: score(TABLE_2, [[1.0, 2.0]]), ValueError, "x: expected shape"),
        (lambda: score(TABLE_2, [0.0], "log_abs"), ValueError, "gate 'log_abs': expected finite"),
        (lambda: fisher_root(TABLE_2, [0.5]), TypeError, "design: expected a Design"),
        (lambda: fisher_root(None, DESIGN), TypeError, "G: expected a MixingMeasure"),
        (lambda: fisher_information(TABLE_2, uniform_design(d=2)), ValueError, "design: expected d = 1"),
        (lambda: numerical_rank([1.0, 2.0]), ValueError, "matrix: expected shape"),
        (lambda: numerical_rank(np.empty((0, 3))), ValueError, "matrix: expected at least one entry"),
        (lambda: numerical_rank([[np.inf]]), ValueError, "matrix: expected finite"),
        (lambda: numerical_rank(np.eye(2), rtol=1.0), ValueError, "rtol: expected a number"),
        (lambda: standard_errors(TABLE_2, DESIGN, n=0), ValueError, "n: expected a positive"),
        (lambda: covariance(TABLE_2, DESIGN, n=-1), ValueError, "n: expected a positive"),
        (lambda: covariance(TABLE_2, DESIGN, rcond=-1e-3), ValueError, "rcond: expected a number"),
        (lambda: covariance(TABLE_2, DESIGN, "relu"), ValueError, "gate: expected one of"),
    ],
)
def test_bad_input_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


# The derivatives of the density in other places: each agrees with the score.


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 3), st.integers(1, 2), st.sampled_from(sorted(GATES)))
def test_derivatives_of_the_density_are_density_times_score(seed, k, K, d, gate):
    rng = np.random.default_rng(seed)
    G, x = random_measure(rng, k, K, d, batch=(4,)), rng.uniform(0.1, 2.0, (5, d))
    g, jacobian = density_jacobian(G, x, gate)
    np.testing.assert_allclose(g, density(G, x, gate), rtol=1e-12)
    last = [k - 1, *range(k + (k - 1) * d, k + k * d)]  # the gate of the last atom: fixed in the score's gauge
    np.testing.assert_allclose(np.delete(jacobian, last, -1), g[..., None] * score(G, x, gate), rtol=1e-9, atol=1e-13)
    along = jacobian[..., : k + k * d] @ np.concatenate([np.ones((k, 1)), np.zeros((k * d, 1))])
    assert np.abs(along).max() < 1e-13  # a translation of beta0


@pytest.mark.parametrize("gate", ["identity", "tanh"])
def test_the_gradient_of_mle_is_the_sum_of_scores(gate):
    data = WeightedPoints.from_labels(*sample(TABLE_2, 500, np.random.default_rng(0), gate=gate))
    start = TABLE_3.in_gauge("last").canonical()
    for steps in (1, 2, 3):
        found = mle(data, start, gate=gate, max_iter=steps)
        scores = score(found.measure, data.points, gate)
        gradient = (data.weights[..., None] * scores).sum(axis=(0, 1)) / data.total
        assert not found.at_bound
        assert found.gradient_norm == pytest.approx(np.abs(gradient).max(), rel=1e-8)


@pytest.mark.parametrize("gate", ["identity", "tanh"])
@pytest.mark.parametrize(("K", "d"), [(2, 1), (3, 2)])
def test_taylor_functions_of_first_order_span_the_scores(K, d, gate):
    rng = np.random.default_rng(1)
    G, x = random_measure(rng, 2, K, d), rng.uniform(0.1, 2.0, (40, d))
    terms = taylor.taylor_terms(G, (False, False), gate)
    g, jacobian = density_jacobian(G, x, gate)
    total = np.exp(G.beta0[:, None] + G.beta1 @ GATES[gate](x).T).sum(axis=0)
    functions = np.moveaxis(taylor.evaluate(G, x, terms, gate) / total[:, None], 0, -1).reshape(-1, len(terms))
    derivatives = np.swapaxes(jacobian, 0, 1).reshape(len(functions), -1)
    coefficients, *_ = np.linalg.lstsq(functions, derivatives, rcond=1e-12)
    np.testing.assert_allclose(functions @ coefficients, derivatives, atol=1e-11)
    assert len(terms) == derivatives.shape[1]


# ------------------------------------------------------------------------------------------------------------
# Of a sample, and with a penalty


def fitted(penalty, seed=0, n=400, theta=None):
    """A sample with K = 3, d = 2, and the mode for two experts."""
    rng = np.random.default_rng(seed)
    truth = random_start(2, 3, 2, rng, sd=1.5)
    data = WeightedPoints.from_labels(*sample(truth, n, rng, covariates=rng.normal(size=(n, 2))), 3)
    theta = Theta.cube(1e4) if theta is None else theta
    return data, mle(data, theta.clip(truth.in_gauge("last")), theta=theta, penalty=penalty).measure


@pytest.mark.parametrize("penalty", [Ridge(), Ridge(0.5, 0.1)])
def test_the_observed_information_is_the_second_difference_of_the_objective(penalty):
    data, G = fitted(Ridge(0.5, 0.1))
    shifted, v, h = G.translate(0.3, -1.0), G.to_vector(), 1e-3
    H = observed_information(shifted, data, penalty=penalty)  # in no particular gauge

    def objective(w):
        M = MixingMeasure.from_vector(w, 2, 3, 2)
        return float(log_likelihood(M, data) - penalty.value(M))

    steps = h * np.eye(v.size)
    for p, q in [(0, 0), (0, 1), (1, 4), (2, 9), (3, 3), (4, 6), (8, 10), (7, 14), (14, 14)]:
        s, t = steps[p], steps[q]
        second = objective(v + s + t) - objective(v + s - t) - objective(v - s + t) + objective(v - s - t)
        assert -second / (4 * h * h) == pytest.approx(H[p, q], rel=1e-3, abs=1e-3)


def test_expected_observed_and_sandwich_agree_where_the_model_is_right():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(50, 2))
    truth = random_start(2, 3, 2, rng, sd=1.5)
    data = WeightedPoints(points, 1e4 * density(truth, points))  # a sample that is its own expectation
    kinds = [covariance(truth, data, kind=kind) for kind in ("expected", "observed", "sandwich")]
    np.testing.assert_allclose(kinds[1], kinds[0], rtol=1e-6, atol=1e-9 * np.abs(kinds[0]).max())
    np.testing.assert_allclose(kinds[2], kinds[0], rtol=1e-6, atol=1e-9 * np.abs(kinds[0]).max())
    by_design = covariance(truth, sample_design(points), n=data.total)
    np.testing.assert_allclose(by_design, kinds[0], rtol=1e-8)
    halves = [WeightedPoints(data.points, data.weights / 2) for _ in range(2)]
    pooled = WeightedPoints.from_labels(*sample(truth, 9_000, rng, covariates=rng.normal(size=(9_000, 2))), 3)
    np.testing.assert_allclose(sum(score_products(truth, half) for half in halves), score_products(truth, data))
    parts = [WeightedPoints(pooled.points[i::2], pooled.weights[:, i::2]) for i in range(2)]
    total = score_products(truth, pooled)  # of more than one block
    np.testing.assert_allclose(sum(score_products(truth, part) for part in parts), total, atol=1e-8 * total.max())


def test_the_sandwich_is_robust_to_rows_that_are_repeated():
    data, G = fitted(Ridge(0.5, 0.1))
    twice = WeightedPoints(data.points, 2.0 * data.weights)
    one, two = (standard_errors(G, d, kind="observed") for d in (data, twice))
    np.testing.assert_allclose(two, one / np.sqrt(2.0), rtol=1e-10)
    wrong = WeightedPoints(data.points, np.abs(np.random.default_rng(0).normal(size=data.weights.shape)))
    assert not np.allclose(standard_errors(G, wrong), standard_errors(G, wrong, kind="sandwich"), rtol=0.1)


@pytest.mark.parametrize("kind", ["expected", "observed"])
def test_the_penalty_is_part_of_the_information(kind):
    penalty = Ridge(0.5, 0.1)
    data, G = fitted(penalty)
    V, plain = (covariance(G, data, kind=kind, penalty=p) for p in (penalty, Ridge()))
    difference = np.linalg.inv(V) - np.linalg.inv(plain)
    zero = MixingMeasure.from_vector(0.0 * G.to_vector(), 2, 3, 2)
    nothing = WeightedPoints(data.points, 0.0 * data.weights)
    ridge = observed_information(zero, nothing, penalty=penalty)
    np.testing.assert_allclose(difference, ridge, atol=1e-7 * np.abs(np.linalg.inv(V)).max())
    rng = np.random.default_rng(0)
    for v in rng.normal(size=(5, 15)):  # the quadratic form is the penalty
        assert v @ ridge @ v / 2 == pytest.approx(float(penalty.value(MixingMeasure.from_vector(v, 2, 3, 2))))


def test_a_penalty_identifies_what_the_data_do_not():
    doubled = fitted(Ridge(0.5, 0.1))[1].split(0)
    data, _ = fitted(Ridge(0.5, 0.1))
    assert np.isinf(standard_errors(doubled, data)).any()
    assert np.isfinite(standard_errors(doubled, data, penalty=Ridge(0.5, 0.1))).all()
    with pytest.raises(ValueError, match="G: expected a nonsingular information, got rank .* of 24: along"):
        covariance(doubled, data, kind="observed")


@pytest.mark.parametrize("kind", ["expected", "observed", "sandwich"])
def test_parameters_on_the_boundary_are_not_estimated(kind):
    theta = Theta(50.0, 50.0, 50.0, 0.6)
    data, G = fitted(Ridge(), theta=theta)
    names, touching = G.parameter_names(2, 3, 2), theta.touching(G)
    assert 0 < len(touching) < 8
    sd, without = (standard_errors(G, data, kind=kind, theta=t) for t in (theta, None))
    at = np.isin(names, touching)
    assert np.isinf(sd[at]).all() and np.isfinite(sd[~at]).all() and np.isfinite(without).all()
    assert (sd[~at] <= without[~at] * (1 + 1e-9)).all() or kind == "sandwich"
    V = covariance(G, data, kind=kind, theta=theta)
    np.testing.assert_allclose(np.sqrt(np.diagonal(V)), sd)
    if kind == "expected":
        J = np.linalg.inv(covariance(G, data))
        np.testing.assert_allclose(V[np.ix_(~at, ~at)], np.linalg.inv(J[np.ix_(~at, ~at)]), rtol=1e-6)


def test_wrong_input_with_a_sample():
    data, G = fitted(Ridge(0.5, 0.1))
    for call, error, match in (
        (lambda: covariance(G, data, kind="bootstrap"), ValueError, "kind: expected 'expected', 'observed' or"),
        (lambda: covariance(G, sample_design(data.points), kind="observed"), TypeError, "data: expected a Weighted"),
        (lambda: standard_errors(G, data, penalty=1.0), TypeError, "penalty: expected a Ridge"),
        (lambda: standard_errors(G, data, theta=1.0), TypeError, "theta: expected a Theta"),
        (lambda: observed_information(TABLE_2, data), ValueError, "G: expected K = 3 and d = 2"),
    ):
        with pytest.raises(error, match=match):
            call()
