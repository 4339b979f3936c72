"""The maximum likelihood estimator: exact derivatives, real maxima on and off the boundary, and honest certificates."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from logitmoe import (
    MixingMeasure,
    StoppingRule,
    Theta,
    WeightedPoints,
    compress,
    em,
    log_likelihood,
    mle,
    newton,
    random_start,
    sample,
)
from logitmoe.gates import as_gate, power
from logitmoe.measure import DEFAULT_THETA
from logitmoe.newton import MLEResult, log_likelihood_difference
from logitmoe.second_order import LEAST_MASS, Likelihood
from replication.arithmetic import precise_log_likelihood_difference
from replication.pairs import constant_split
from replication.paper import TABLE_2
from replication.samples import draw, expected
from replication.starts import near_truth

# Well conditioned: on [-3, 3] its Fisher information is far from singular.
CLEAR = MixingMeasure([0.0, 0.0], [[-1.1], [0.0]], [[-3.3, 0.0], [-3.5, 0.0]], [[[-3.5], [0.0]], [[3.3], [0.0]]])
FIELDS = ("beta0", "beta1", "a", "b")
SHAPES = [(2, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (3, 2, 4), (2, 2, 3)]  # K, d, k


def clear_data(n=4_000, seed=0):
    rng = np.random.default_rng(seed)
    x, y = sample(CLEAR, n, rng, covariates=rng.uniform(-3.0, 3.0, (n, 1)))
    return WeightedPoints.from_labels(x, y, 2)


def clear_starts(k, size, seed=1, sd=0.3):
    start = near_truth(CLEAR, k, np.random.default_rng(seed), size=size, sd=sd, split_mass=True)
    return DEFAULT_THETA.clip(start.in_gauge("last"))


def random_problem(seed):
    """A random sample with K in 2..4, d in 1..2, starts with k in 1..4 that know nothing of it, a gate and a Theta."""
    rng = np.random.default_rng([55, seed])
    K, d, k = int(rng.integers(2, 5)), int(rng.integers(1, 3)), int(rng.integers(1, 5))
    truth = random_start(int(rng.integers(1, 4)), K, d, rng, sd=2.0)
    n = int(rng.integers(15, 90))
    gate = as_gate(["identity", "tanh", "cos", "sigmoid", power(3)][seed % 5])
    theta = Theta(*rng.choice([0.5, 3.0, 10.0, 30.0], 4))
    x, y = sample(truth, n, rng, covariates=rng.uniform(-1.0, 1.0, (n, d)), gate=gate)
    start = random_start(k, K, d, rng, size=2, sd=float(rng.choice([0.1, 1.0, 4.0])), theta=theta)
    return WeightedPoints.from_labels(x, y, K), start, gate, theta


def parameters(result):
    return np.concatenate([getattr(result.measure, name).ravel() for name in FIELDS])


# ------------------------------------------------------------------------------------------------------------
# Derivatives


class Point:
    """A random problem with signed weights, and the derivatives of its log-likelihood at one point."""

    def __init__(self, K, d, k, seed=0, gate="tanh"):
        rng = np.random.default_rng([K, d, k, seed])
        self.gate = as_gate(gate)
        points, weights = rng.uniform(-1.0, 1.0, (5, d)), rng.normal(1.0, 2.0, (K, 5))
        self.data = WeightedPoints(points, weights)
        G = random_start(k, K, d, rng, size=1)
        self.start = MixingMeasure(G.beta0 + 0.3, G.beta1 - 0.2, G.a, G.b)  # the last gate is not zero
        self.kernel = Likelihood(self.data, self.start, self.gate, DEFAULT_THETA)
        self.v = self.kernel.vectors(self.start)
        self.rng = rng

    def derivatives(self, v):
        gates, experts, g = self.kernel.probabilities(v, np.zeros(len(v), dtype=int))
        weights = np.repeat(self.data.weights[:, None], len(v), axis=1)
        residual = weights - weights.sum(axis=0) * g
        gradient, *parts = self.kernel.scores(gates, experts, g, residual)
        return gradient, self.kernel.hessian(gates, experts, weights, *parts)

    def log_likelihood(self, v):
        """Of one coefficient vector of numbers or mpf, in 40 digits, by the formula of the paper."""
        k, K, q = self.start.k, self.start.K, 1 + self.data.d
        rows = [list(v[i : i + q]) for i in range(0, len(v), q)]
        last = [self.start.beta0[0, -1], *self.start.beta1[0, -1]]
        gates = [*rows[: k - 1], [mpmath.mpf(float(c)) for c in last]]
        rows = rows[k - 1 :]
        total = mpmath.mpf(0)
        for x, M, w in zip(self.data.points, self.gate(self.data.points), self.data.weights.T, strict=True):
            x, M = ([mpmath.mpf(1), *(mpmath.mpf(float(c)) for c in values)] for values in (x, M))
            mass = [mpmath.exp(mpmath.fdot(row, M)) for row in gates]
            g = [mpmath.mpf(0)] * K
            for i in range(k):
                own = rows[i * (K - 1) : (i + 1) * (K - 1)]
                f = [mpmath.exp(mpmath.fdot(row, x)) for row in own] + [mpmath.mpf(1)]
                g = [g_s + mass[i] * f_s / sum(f) for g_s, f_s in zip(g, f, strict=True)]
            total += sum(mpmath.mpf(float(w_s)) * mpmath.log(g_s / sum(mass)) for w_s, g_s in zip(w, g, strict=True))
        return total

    def path(self, v, step, t):
        """The coefficients after t steps, straight in masses and in masses times coefficients, in 40 digits."""
        v, step = ([mpmath.mpf(float(c)) for c in row] for row in (v, step))
        k, K, q = self.start.k, self.start.K, 1 + self.data.d
        new = []
        for i in range(k - 1):  # the gates of an atom, and its experts further on, share its mass
            mass = mpmath.exp(v[i * q])
            moved = mass * (1 + t * step[i * q])
            new.append(mpmath.log(moved))
            new += [
                (mass * c + t * mass * (s + c * step[i * q])) / moved for c, s in self._pairs(v, step, i * q + 1, q - 1)
            ]
        for i in range(k):
            first, width = (k - 1) * q + i * (K - 1) * q, (K - 1) * q
            mass = mpmath.exp(v[i * q]) if i < k - 1 else mpmath.mpf(1)
            growth = step[i * q] if i < k - 1 else 0
            moved = mass * (1 + t * growth)
            new += [(mass * c + t * mass * (s + c * growth)) / moved for c, s in self._pairs(v, step, first, width)]
        return new

    @staticmethod
    def _pairs(v, step, first, width):
        return zip(v[first : first + width], step[first : first + width], strict=True)


@pytest.mark.parametrize("K, d, k", SHAPES)
def test_the_gradient_is_that_of_the_log_likelihood(K, d, k):
    point = Point(K, d, k)
    gradient = point.derivatives(point.v)[0][0]
    with mpmath.workdps(40):
        v, h = [mpmath.mpf(float(c)) for c in point.v[0]], mpmath.mpf(10) ** -15
        assert float(point.log_likelihood(v)) == pytest.approx(
            float(log_likelihood(point.start, point.data, point.gate)[0]), rel=1e-12
        )
        for c in range(len(v)):
            up, down = ([*v[:c], v[c] + s * h, *v[c + 1 :]] for s in (1, -1))
            slope = (point.log_likelihood(up) - point.log_likelihood(down)) / (2 * h)
            assert gradient[c] == pytest.approx(float(slope), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("K, d, k", SHAPES)
def test_the_hessian_is_the_derivative_of_the_gradient(K, d, k):
    point = Point(K, d, k, seed=1)
    hessian = point.derivatives(point.v)[1][0]
    assert np.array_equal(hessian, hessian.T)
    h, P = 1e-3, point.v.shape[1]
    shifts = np.eye(P)
    # Differences of sixth order of the gradient, one row for each coefficient.
    coefficients = {1: 45.0, 2: -9.0, 3: 1.0}
    slope = sum(
        c * (point.derivatives(point.v + j * h * shifts)[0] - point.derivatives(point.v - j * h * shifts)[0])
        for j, c in coefficients.items()
    ) / (60.0 * h)
    assert np.abs(-slope - hessian).max() < 1e-9 * max(1.0, np.abs(hessian).max())


@pytest.mark.parametrize("K, d, k", [(2, 1, 3), (3, 2, 2), (4, 1, 2), (2, 2, 1)])
def test_move_is_straight_in_masses_and_bend_is_the_hessian_along_it(K, d, k):
    point = Point(K, d, k, seed=2)
    gradient, hessian = point.derivatives(point.v)
    plain = hessian.copy()
    point.kernel.bend(gradient, hessian)
    for _ in range(4):
        step = 0.4 * point.rng.uniform(-1.0, 1.0, point.v.shape)
        with mpmath.workdps(40):
            moved = [float(c) for c in point.path(point.v[0], step[0], 1)]
            assert point.kernel.move(point.v, step)[0] == pytest.approx(moved, rel=1e-13, abs=1e-14)
            h = mpmath.mpf(10) ** -10
            down, here, up = (point.log_likelihood(point.path(point.v[0], step[0], t)) for t in (-h, 0, h))
            first, second = float((up - down) / (2 * h)), float((up - 2 * here + down) / h**2)
        assert gradient[0] @ step[0] == pytest.approx(first, rel=1e-10)
        assert -step[0] @ hessian[0] @ step[0] == pytest.approx(second, rel=1e-9, abs=1e-9)
    assert k == 1 or np.abs(plain - hessian).max() > 0.1
    point.kernel.bend(-gradient, hessian)  # as the certificate takes it back
    assert np.abs(plain - hessian).max() < 1e-13 * np.abs(plain).max()


@pytest.mark.parametrize("K, d, k", [(2, 1, 3), (3, 2, 2), (2, 1, 1)])
def test_room_says_where_a_step_leaves_the_box(K, d, k):
    point = Point(K, d, k, seed=3)
    kernel, left = point.kernel, 0
    kernel.radii = point.rng.uniform(0.5, 3.0, kernel.radii.shape)
    for _ in range(50):
        v = kernel.radii * point.rng.uniform(-1.0, 1.0, point.v.shape)
        step = point.rng.normal(size=v.shape) * point.rng.choice([0.1, 1.0, 10.0])
        room = kernel.room(v, step)
        assert (room > 0.0).all()
        for c in range(v.shape[1]):
            top = min(room[0, c], room[0, kernel.is_mass].min(initial=np.inf), 1e3)
            with mpmath.workdps(30):
                inside = [abs(point.path(v[0], step[0], f * top)[c]) for f in (0.3, 0.7, 0.999)]
                assert max(inside) <= kernel.radii[c] * (1 + 1e-12)
                if room[0, c] <= top:  # it is this coordinate that ends the step
                    at, mass = point.path(v[0], step[0], room[0, c])[c], kernel.is_mass[c]
                    edge = mass and float(mpmath.exp(at - v[0, c])) == pytest.approx(LEAST_MASS)
                    assert edge or float(abs(at)) == pytest.approx(kernel.radii[c], rel=1e-9)
                    left += 1
    assert left > 30
    # On the boundary: no room outwards, and all the room inwards, to the other side.
    v = kernel.radii[None].copy()
    assert (kernel.room(v, np.full(v.shape, 0.1)) == 0.0)[0, ~kernel.is_mass].all()
    assert (kernel.room(v, np.full(v.shape, -0.1)) > 0.0).all()
    assert (kernel.room(v, np.zeros(v.shape)) == np.inf).all()


def test_the_trust_region_step_is_the_best_in_the_ball():
    rng = np.random.default_rng(3)
    values = np.sort(rng.normal(size=(300, 4)), axis=1)
    values[:100] = np.abs(values[:100])
    values[:100].sort(axis=1)
    component = rng.normal(size=(300, 4)) * rng.choice([1e-3, 1.0, 30.0], (300, 1))
    component[100:150, 0] = 0.0  # the hard case
    radius = rng.choice([0.1, 1.0, 5.0], 300)
    step, full = newton._trust_region_step(values, component, radius)
    length = np.linalg.norm(step, axis=1)
    assert (length <= radius * (1 + 1e-9)).all()
    assert full.any() and not full[150:][values[150:, 0] < 0.0].any()
    assert np.allclose((values * step)[full], component[full])
    promise = (component * step - 0.5 * values * step**2).sum(axis=1)
    tried = rng.normal(size=(4_000, 4))
    tried *= rng.uniform(0.9, 1.0, (4_000, 1)) / np.linalg.norm(tried, axis=1, keepdims=True)
    for j in range(300):
        other = radius[j] * np.concatenate([tried, -tried, 0.5 * tried])
        assert (other @ component[j] - 0.5 * other**2 @ values[j]).max() <= promise[j] + 1e-9 * abs(promise[j])


# ------------------------------------------------------------------------------------------------------------
# The maximum


def test_the_log_likelihood_rises_with_every_step_inside_theta(monkeypatch):
    monkeypatch.setattr(newton, "BATCH_NODES", 6 * 400)  # all fits at once: the same rounding each time
    rng = np.random.default_rng(7)
    x, y = sample(TABLE_2, 400, rng)
    data, theta = WeightedPoints.from_labels(x, y, 2), Theta(2.0, 4.0, 3.0, 3.0)
    start = random_start(3, 2, 1, rng, size=6, sd=2.0, theta=theta)
    before, rises = start, 0
    for steps in range(1, 40):
        result = mle(data, start, theta=theta, max_iter=steps)
        assert theta.contains(result.measure).all()
        assert (result.n_iter <= steps).all()
        gain = result.gain(before)
        assert (gain >= -1e-12).all()
        rises += np.count_nonzero(gain > 0.0)
        before = result.measure
    assert rises > 100


def test_it_is_the_limit_of_em():
    data, start = clear_data(), clear_starts(2, 3)
    slow = em(data, start, stopping=StoppingRule("parameters", 1e-12, 5_000), acceleration="squarem")
    result = mle(data, start)
    assert (result.reason == "converged").all() and slow.converged.all()
    assert np.abs(parameters(result) - parameters(slow)).max() < 1e-6
    assert (np.abs(result.gain(slow)) < 1e-9).all()
    assert (result.predicted_gain < 1e-9).all() and (result.gradient_norm < 1e-8).all()
    assert (result.smallest_eigenvalue > 1e-6).all() and not result.at_bound.any()
    assert result.log_likelihood == pytest.approx(log_likelihood(result.measure, data), rel=1e-13)


def test_one_expert_is_a_multinomial_logit():
    rng = np.random.default_rng(11)
    K, d, n = 3, 2, 400
    x = rng.normal(size=(n, d))
    truth = random_start(1, K, d, rng)
    x, y = sample(truth, n, rng, covariates=x)
    design, onehot = np.c_[np.ones(n), x], np.eye(K)[y - 1]

    def objective(v):
        logits = np.c_[design @ v.reshape(K - 1, 1 + d).T, np.zeros(n)]
        log_p = log_softmax(logits, axis=1)
        residual = (np.exp(log_p) - onehot)[:, :-1]
        return -(onehot * log_p).sum(), (residual.T @ design).ravel()

    best = minimize(objective, np.zeros((K - 1) * (1 + d)), jac=True, method="BFGS", options={"gtol": 1e-7})
    result = mle(WeightedPoints.from_labels(x, y, K), random_start(1, K, d, rng))
    fitted = np.c_[result.measure.a[0, :-1], result.measure.b[0, :-1]].ravel()
    assert fitted == pytest.approx(best.x, abs=1e-6)
    assert float(result.log_likelihood) == pytest.approx(-best.fun, abs=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_no_general_purpose_optimiser_goes_higher_from_there(seed):
    data, start, gate, theta = random_problem(seed)
    result = mle(data, start[0], gate=gate, theta=theta, tol=1e-12)
    assert result.converged
    k, K, d = start.k, start.K, start.d
    G = result.measure

    def unpack(v):
        parts = np.split(v, np.cumsum([k - 1, (k - 1) * d, k * (K - 1)]))
        beta0, beta1 = np.append(parts[0], G.beta0[-1]), np.vstack([parts[1].reshape(k - 1, d), G.beta1[-1:]])
        a = np.c_[parts[2].reshape(k, K - 1), np.zeros(k)]
        b = np.concatenate([parts[3].reshape(k, K - 1, d), np.zeros((k, 1, d))], axis=1)
        return MixingMeasure(beta0, beta1, a, b)

    v = np.concatenate([G.beta0[:-1], G.beta1[:-1].ravel(), G.a[:, :-1].ravel(), G.b[:, :-1].ravel()])
    sizes = [k - 1, (k - 1) * d, k * (K - 1), k * (K - 1) * d]
    radii = np.repeat([theta.beta0, theta.beta1, theta.a, theta.b], sizes)
    bounds = np.c_[-radii, radii]
    best = minimize(lambda v: -log_likelihood(unpack(v), data, gate), v, method="L-BFGS-B", bounds=bounds)
    assert -best.fun <= float(result.log_likelihood) + 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_it_is_never_below_em_from_where_em_stopped(seed):
    data, start, gate, theta = random_problem(100 + seed)
    rough = em(data, start, gate=gate, theta=theta, stopping=StoppingRule("relative", 1e-4))
    result = mle(data, rough.measure, gate=gate, theta=theta)
    assert (result.gain(rough) >= 0.0).all()
    # EM goes no further from there: at most by what a step promises.
    more = em(data, result.measure, gate=gate, theta=theta, stopping=StoppingRule("absolute", 0.0, 20))
    done = result.reason == "converged"
    assert (result.gain(more)[done] > -1e-6).all()


@pytest.mark.parametrize("shift", [1e-6, 0.0])
def test_it_leaves_the_saddle_of_two_equal_atoms(shift):
    rng, data = np.random.default_rng(21), clear_data()
    one = mle(data, random_start(1, 2, 1, rng))
    G = one.measure.split(0, 0.5).in_gauge("last")
    G = MixingMeasure(G.beta0, G.beta1 + [[shift], [0.0]], G.a + [[shift, 0.0], [0.0, 0.0]], G.b)
    assert float(one.gain(G)) == pytest.approx(0.0, abs=1e-6)
    result = mle(data, G)
    assert result.reason == "converged"
    assert result.gain(one) > 10.0
    assert result.smallest_eigenvalue > 0.0
    assert result.gain(CLEAR) > 0.0


def test_a_flat_ridge_does_not_break_it():
    found = constant_split()
    truth, ridge = found.measure, found.other  # one density, on a ridge of measures with k* + 1 atoms
    data = expected(truth, 10**8, domain=(-1.0, 1.0), p=40)
    rng = np.random.default_rng(5)
    start = near_truth(truth, ridge.k, rng, size=12, sd=0.5, split_mass=True).in_gauge("last")
    result = mle(data, DEFAULT_THETA.clip(start), max_iter=2_000)
    assert (result.gain(truth) <= 1e-6).all()  # nothing is more likely than the truth
    best = result.gain(truth) > -1e-3
    assert np.count_nonzero(best) >= 6
    assert (np.abs(result.smallest_eigenvalue[best]) < 1e-7).all()
    spread = np.ptp(result.measure.a[best][:, :, 0], axis=0).max()
    assert spread > 0.1  # they end at different points of the ridge
    # A start on the ridge is a maximum at once.
    there = mle(data, DEFAULT_THETA.clip(ridge.canonical().in_gauge("last")))
    assert there.reason == "converged" and abs(float(there.gain(truth))) < 1e-6


# ------------------------------------------------------------------------------------------------------------
# Bounds


def free_gradient(result, data, gate, theta):
    """Derivatives of the log-likelihood by differences, coordinates and their bounds; the last gate left out."""
    rows, h = [], 1e-5
    G = result.measure
    for name in FIELDS:
        value = getattr(G, name)
        for index in np.ndindex(value.shape):
            if (name in ("beta0", "beta1") and index[0] == G.k - 1) or (name in "ab" and index[1] == G.K - 1):
                continue
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[index] += sign * h
                other = MixingMeasure(**{**{n: getattr(G, n) for n in FIELDS}, name: moved})
                ends.append(float(log_likelihood_difference(other, G, data, gate)))
            rows.append(((ends[0] - ends[1]) / (2 * h), value[index], getattr(theta, name)))
    return np.array(rows).T


def check_stationary(result, data, gate, theta, tol):
    slope, value, radius = free_gradient(result, data, gate, theta)
    gap = radius - np.abs(value)
    held = gap == 0.0
    assert float(result.distance_to_bound) == gap.min()
    assert bool(result.at_bound) == held.any()
    assert (np.abs(slope[~held]) < tol).all()
    assert (slope[held] * np.sign(value[held]) > -tol).all()
    return held


def test_separable_data_end_on_the_boundary_with_the_gradient_outwards():
    x = np.linspace(-1.0, 1.0, 40)
    data = WeightedPoints.from_labels(x, np.where(x < 0.0, 1, 2), 2)
    theta = Theta(3.0, 4.0, 5.0, 6.0)
    start = random_start(2, 2, 1, np.random.default_rng(1), size=5, theta=theta)
    result = mle(data, start, theta=theta)
    assert (result.reason == "converged").all() and result.at_bound.all()
    assert "5 on the boundary" in result.summary()
    counts = [
        np.count_nonzero(check_stationary(fit, data, "identity", theta, 1e-4))
        for fit in map(result.__getitem__, range(5))
    ]
    assert min(counts) >= 1
    # One expert: the steepest slope that Theta allows, and the intercept that is best for it.
    one = mle(data, random_start(1, 2, 1, np.random.default_rng(2), theta=theta), theta=theta)
    assert one.measure.b[0, 0, 0] == -6.0 and abs(one.measure.a[0, 0]) < 1e-6
    assert one.distance_to_bound == 0.0


def test_every_random_problem_ends_at_a_stationary_point_of_the_box():
    held = 0
    for seed in range(25):
        data, start, gate, theta = random_problem(300 + seed)
        result = mle(data, start, gate=gate, theta=theta, tol=1e-10)
        for fit in (result[0], result[1]):
            if fit.reason == "converged":
                held += np.count_nonzero(check_stationary(fit, data, gate, theta, 1e-3))
    assert held > 50


@pytest.mark.parametrize("steps", [1, 3, 500])
def test_the_certificate_is_of_the_parameters_that_are_free(steps):
    n, theta = 600, Theta(10.0, 0.5, 10.0, 10.0)  # the true slope of the gate is larger
    data = clear_data(n)
    start = theta.clip(clear_starts(2, ()))
    start = MixingMeasure(start.beta0, 0.9 * start.beta1, start.a, start.b)  # the first step comes to the boundary
    result = mle(data, start, theta=theta, max_iter=steps)
    kernel = Likelihood(data, start.reshape((1,)), as_gate("identity"), theta)
    v = kernel.vectors(result.measure.reshape((1,)))
    gates, experts, g = kernel.probabilities(v, np.array([0]))
    weights = data.weights[:, None]
    gradient, *parts = kernel.scores(gates, experts, g, weights - weights.sum(axis=0) * g)
    hessian, gradient = kernel.hessian(gates, experts, weights, *parts)[0], gradient[0]
    free = np.abs(v[0]) < kernel.radii
    assert np.count_nonzero(~free) == 1 and result.at_bound and (gradient[~free] * v[0, ~free] > 1.0).all()
    values, vectors = np.linalg.eigh(hessian[np.ix_(free, free)])
    assert float(result.smallest_eigenvalue) == pytest.approx(values[0] / n, rel=1e-9)
    assert float(result.gradient_norm) == pytest.approx(np.abs(gradient[free]).max() / n, rel=1e-6, abs=1e-14)
    promise = 0.5 * ((vectors.T @ gradient[free]) ** 2 / np.abs(values)).sum()
    assert float(result.predicted_gain) == pytest.approx(promise, rel=1e-6, abs=1e-15)
    assert (promise > 1e-3) == (steps < 500)


def test_a_coordinate_comes_back_from_the_boundary():
    """A start on the boundary in every coordinate, of a problem with its maximum inside."""
    data = clear_data()
    theta = Theta.cube(8.0)
    inside = mle(data, clear_starts(2, ()), theta=theta)
    corner = MixingMeasure([-8.0, 0.0], [[-8.0], [0.0]], [[-8.0, 0.0], [-8.0, 0.0]], [[[-8.0], [0.0]], [[8.0], [0.0]]])
    result = mle(data, corner, theta=theta)
    assert abs(float(result.gain(inside))) < 1e-8
    assert not result.at_bound and result.distance_to_bound > 0.1


def test_a_small_theta():
    data = clear_data(500)
    theta = Theta.cube(1e-3)
    result = mle(data, random_start(2, 2, 1, np.random.default_rng(1), theta=theta, size=3), theta=theta)
    assert theta.contains(result.measure).all() and result.at_bound.all() and result.converged.all()
    for fit in (result[0], result[2]):
        check_stationary(fit, data, "identity", theta, 1e-2)


# ------------------------------------------------------------------------------------------------------------
# Batches


def test_a_batch_equals_its_fits_one_by_one(monkeypatch):
    data, start = clear_data(2_000), clear_starts(3, (4, 3), sd=0.6)
    together = mle(data, start)
    assert together.log_likelihood.shape == together.reason.shape == (4, 3)
    for index in np.ndindex(4, 3):
        alone = mle(data, start[index])
        assert float(alone.log_likelihood) == pytest.approx(together.log_likelihood[index], abs=1e-9)
        assert alone.reason == together.reason[index]
        assert alone.n_iter == together.n_iter[index]
        for name in ("predicted_gain", "gradient_norm", "smallest_eigenvalue", "distance_to_bound"):
            assert float(getattr(alone, name)) == pytest.approx(getattr(together, name)[index], abs=1e-6)
        assert alone.measure.allclose(together.measure[index], atol=1e-4)
    # Slots that fits leave and others enter change nothing.
    monkeypatch.setattr(newton, "BATCH_NODES", 5 * data.m)
    few = mle(data, start)
    assert few.log_likelihood == pytest.approx(together.log_likelihood, abs=1e-9)
    assert np.array_equal(few.n_iter, together.n_iter) and np.array_equal(few.reason, together.reason)


def test_the_axes_of_data_and_starts_broadcast():
    samples = [clear_data(800, seed) for seed in range(3)]
    rng = np.random.default_rng(3)
    points = rng.uniform(-3.0, 3.0, (300, 1))
    samples = [WeightedPoints.from_labels(*sample(CLEAR, 300, rng, covariates=points), 2) for _ in range(3)]
    data = WeightedPoints(points, np.stack([s.weights for s in samples])[:, None])
    start = clear_starts(2, 4, sd=0.2)
    result = mle(data, start)
    assert result.measure.batch_shape == result.log_likelihood.shape == (3, 4)
    for i, one in enumerate(samples):
        apart = mle(one, start)
        assert result.log_likelihood[i] == pytest.approx(apart.log_likelihood, abs=1e-8)
        assert result.log_likelihood[i] == pytest.approx(log_likelihood(result.measure[i], one), rel=1e-12)
    assert np.ptp(result.log_likelihood[:, 0]) > 1.0


def test_an_empty_batch():
    result = mle(clear_data(50), clear_starts(2, (2, 0)))
    assert result.log_likelihood.shape == (2, 0) and result.summary().startswith("0 fits")


@pytest.mark.parametrize("axis, shared", [(0, True), (1, True), (-1, True), (1, False), (-1, False)])
def test_best_keeps_the_most_likely_along_an_axis(axis, shared):
    rng = np.random.default_rng(8)
    points = rng.uniform(-3.0, 3.0, (120, 1))
    weights = np.stack(
        [WeightedPoints.from_labels(*sample(CLEAR, 120, rng, covariates=points), 2).weights for _ in range(3)]
    )
    data = WeightedPoints(points, weights[0] if shared else weights[:, None])
    start = random_start(3, 2, 1, rng, size=(3, 5), sd=2.0)
    result = mle(data, start)
    assert np.ptp(result.log_likelihood, axis=axis).min() > 1e-3  # starts do differ
    best = result.best(axis)
    winner = result.log_likelihood.argmax(axis=axis)
    assert best.log_likelihood == pytest.approx(result.log_likelihood.max(axis=axis))
    for j, w in enumerate(winner):
        index = (w, j) if axis == 0 else (j, w)
        assert best[j].measure.allclose(result.measure[index])
        assert best.n_iter[j] == result.n_iter[index] and best.reason[j] == result.reason[index]
    # It has the data of its fits: gains are zero against themselves, and right against others.
    truth = log_likelihood(best.measure, best.data) - log_likelihood(CLEAR, best.data)
    assert best.gain(CLEAR) == pytest.approx(truth, abs=1e-9)
    assert (best.gain(best) == 0.0).all()
    with pytest.raises(ValueError, match="axis: expected one of the 0 batch axes"):
        best[0].best()
    with pytest.raises(ValueError, match="axis"):
        result.best(2)
    if shared:
        assert float(best.best().log_likelihood) == result.log_likelihood.max()
    else:
        with pytest.raises(ValueError, match="axis: expected an axis of fits to the same data"):
            result.best(0)
        part = result[:, 1:4].best()  # their data are spelt out now, but the same
        assert part.log_likelihood == pytest.approx(result.log_likelihood[:, 1:4].max(axis=1))


def test_best_tells_fits_apart_that_rounding_hides():
    data = draw(CLEAR, 10**12, np.random.default_rng(4), domain=(-3.0, 3.0), p=48)
    result = mle(data, clear_starts(2, 5))
    top = result.best().measure
    size = np.array([2e-9, 1e-9, 0.0, 5e-10, 4e-9])
    other = MixingMeasure.stack([top] * 5)
    shifted = MixingMeasure(other.beta0, other.beta1, other.a + size[:, None, None] * [1.0, 0.0], other.b)
    loss = -log_likelihood_difference(shifted, top, data)
    assert 1e-9 < np.sort(loss)[1] < 1e-5  # far below the 1e-4 nats that a log-likelihood is rounded to
    shuffled = np.array([0.0, 3e-4, -2e-4, 1e-4, 0.0])  # rounding errors of that size
    noisy = replace(result, measure=shifted, log_likelihood=float(result.log_likelihood[0]) + shuffled)
    assert noisy.log_likelihood.argmax() != 2
    assert np.array_equal(noisy.best().measure.a, shifted.a[2])


def test_indexing_reaches_the_batch_axes_only():
    rng = np.random.default_rng(9)
    weights = rng.integers(1, 5, (3, 1, 2, 20)).astype(float)
    data = WeightedPoints(np.linspace(-1.0, 1.0, 20), weights)
    result = mle(data, random_start(2, 2, 1, rng, size=(3, 4)), max_iter=3)
    for index in (1, (1, 2), slice(1, None), (Ellipsis, 0), (slice(None), None, 3), np.array([True, False, True])):
        part = result[index]
        assert isinstance(part, MLEResult)
        assert np.shape(part.log_likelihood) == part.measure.batch_shape == part.data.batch_shape
        assert np.array_equal(part.log_likelihood, result.log_likelihood[index])
        assert part.log_likelihood == pytest.approx(log_likelihood(part.measure, part.data), rel=1e-12)
        assert np.shape(part.missing_classes) == (*part.measure.batch_shape, 2)
    for index in ((0, 0, 0), 3, (Ellipsis, 0, 0, 0)):
        with pytest.raises(IndexError):
            result[index]


def test_the_gain_over_measures_and_results():
    data, start = clear_data(1_000), clear_starts(2, 3)
    fits, rough = mle(data, start), em(data, start, stopping=StoppingRule("relative", 1e-3))
    plain = fits.log_likelihood - rough.log_likelihood
    assert (plain > 0.01).all()
    assert fits.gain(rough) == pytest.approx(plain, abs=1e-9)
    assert fits.gain(rough.measure) == pytest.approx(plain, abs=1e-9)
    assert fits.gain(CLEAR) == pytest.approx(fits.log_likelihood - log_likelihood(CLEAR, data), abs=1e-9)
    assert fits[0].gain(fits).shape == (3,)
    assert fits.gain(fits[0]) == pytest.approx(-fits[0].gain(fits), abs=1e-9)


def test_best_counts_the_starts_that_agree_with_it():
    data = clear_data(500)
    fits = mle(data, clear_starts(2, 6))
    best = fits.best()
    within = fits.gain(best) >= -0.1
    assert best.n_starts == 6 and best.n_agree == within.sum() >= 1
    assert f"starts: 6; within 0.1 nats of the best: {within.sum()}, itself included" in best.summary()
    assert fits.n_agree is None and "starts:" not in fits.summary()


def test_the_summary_says_what_happened():
    data = clear_data(500)
    text = mle(data, clear_starts(2, 3)).summary()
    first = "3 fits, 2 experts, 2 classes, fitted to the points\n"
    assert text == first + "3 stopped: converged (" + MLEResult.reasons["converged"] + ")"
    expected = "MLEResult of 1 fit, 2 experts, 2 classes, fitted to the points\n1 stopped: max_iter ("
    assert repr(mle(data, clear_starts(1 + 1, ()), max_iter=1)) == expected + MLEResult.reasons["max_iter"] + ")"
    assert not mle(data, clear_starts(2, ()), max_iter=1).converged


# ------------------------------------------------------------------------------------------------------------
# Compressed data, precision


def test_compressed_data_have_the_maximum_of_the_points():
    rng = np.random.default_rng(31)
    x, y = sample(TABLE_2, 20_000, rng)
    start = DEFAULT_THETA.clip(near_truth(TABLE_2, 2, rng, size=2, sd=0.1).in_gauge("last"))
    raw = mle(WeightedPoints.from_labels(x, y, 2), start)
    moments = compress(x, y, 2, p=64)
    short = mle(moments, start)
    assert (short.log_likelihood == pytest.approx(raw.log_likelihood, abs=1e-8)) and raw.converged.all()
    assert short.measure.allclose(raw.measure, atol=1e-4)
    assert (short.nodes == 32).all() and (short.compression_error < 1e-12).all()
    assert raw.nodes is None and raw.compression_error is None
    assert short.gain(raw) == pytest.approx(0.0, abs=1e-8)


def test_only_fits_that_need_them_get_more_nodes():
    rng = np.random.default_rng(32)
    steep = MixingMeasure([0.0], [[0.0]], [[20.0, 0.0]], [[[-40.0], [0.0]]])
    samples = [sample(G, 3_000, rng) for G in (TABLE_2, steep)]
    theta = Theta.cube(60.0)
    few = [compress(x, y, 2, p=256) for x, y in samples]
    moments = type(few[0]).stack(few)
    start = random_start(1, 2, 1, rng, size=2)
    result = mle(moments, start, theta=theta)
    assert result.nodes[0] == 32 and result.nodes[1] > 32
    assert (result.compression_error <= 1e-9).all()
    for j, (x, y) in enumerate(samples):
        raw = mle(WeightedPoints.from_labels(x, y, 2), start[j], theta=theta)
        assert result.log_likelihood[j] == pytest.approx(float(raw.log_likelihood), abs=1e-5)
        assert float(result[j].gain(raw)) == pytest.approx(0.0, abs=1e-5)
        assert result.measure[j].allclose(raw.measure, atol=1e-2)
    loose = mle(moments, start, theta=theta, compression_tol=1.0)
    assert (loose.nodes == 32).all()
    one = mle(moments[1], start[1], theta=theta)
    assert one.nodes == result.nodes[1] and float(one.log_likelihood) == pytest.approx(
        result.log_likelihood[1], abs=1e-9
    )


def exact_difference(G, H, data):
    """The log-likelihood of G less that of H, for K = 2 and d = 1, in 50 digits."""

    def logs(J, x):
        x = mpmath.mpf(float(x))
        lines = [
            (
                mpmath.exp(mpmath.mpf(float(p)) + mpmath.mpf(float(q)) * x),
                mpmath.mpf(float(a)) + mpmath.mpf(float(b)) * x,
            )
            for p, q, a, b in zip(J.beta0, J.beta1[:, 0], J.a[:, 0], J.b[:, 0, 0], strict=True)
        ]
        p = sum(mass / (1 + mpmath.exp(-u)) for mass, u in lines) / sum(mass for mass, _ in lines)
        return mpmath.log(p), mpmath.log(1 - p)

    with mpmath.workdps(50):
        terms = [
            mpmath.mpf(float(w)) * (new - old)
            for x, column in zip(data.points[:, 0], data.weights.T, strict=True)
            for w, new, old in zip(column, logs(G, x), logs(H, x), strict=True)
        ]
        return float(mpmath.fsum(terms))


@pytest.mark.parametrize("truth, domain", [(CLEAR, (-3.0, 3.0)), (TABLE_2, (0.0, 1.0))])
def test_the_difference_is_precise_where_that_of_log_likelihoods_is_not(truth, domain):
    rng = np.random.default_rng(41)
    data = draw(truth, 10**12, rng, domain=domain, p=48)
    vector = truth.to_vector()
    plain, reformulated = [], []
    for _ in range(12):
        G = MixingMeasure.from_vector(vector + 1e-6 * rng.standard_normal(vector.size), 2, 2, 1)
        exact = exact_difference(G, truth, data)
        assert 1e-3 < abs(exact) < 1e3
        assert precise_log_likelihood_difference(G, truth, data) == pytest.approx(exact, rel=1e-15)
        reformulated.append(abs(float(log_likelihood_difference(G, truth, data)) - exact))
        plain.append(abs(float(log_likelihood(G, data) - log_likelihood(truth, data)) - exact))
    assert 1e-5 < max(plain) < 1e-2
    assert max(reformulated) < 1e-8 and np.median(reformulated) < 1e-9
    # The gradient: its error is below what the search takes for rounding, and far below the noise of the sample.
    G = truth.in_gauge("last").reshape((1,))
    kernel = Likelihood(data, G, as_gate("identity"), DEFAULT_THETA)
    gates, experts, g = kernel.probabilities(kernel.vectors(G), np.array([0]))
    weights = data.weights[:, None]
    gradient = kernel.scores(gates, experts, g, weights - weights.sum(axis=0) * g)[0][0]
    h = 2.0**-40
    for c, sign in [(c, s) for c in range(6) for s in (1,)]:
        shift = np.zeros((1, 6))
        shift[0, c] = sign * h
        up, down = (kernel.measure(kernel.vectors(G) + s * shift, G)[0] for s in (1, -1))
        slope = exact_difference(up, down, data) / (2 * h)
        assert abs(gradient[c] - slope) < min(4 * 2.2e-16 * 1e12 / np.sqrt(48), 1e-4)
        assert abs(slope) > 10.0


def test_the_maximum_at_a_trillion_points():
    data = draw(CLEAR, 10**12, np.random.default_rng(43), domain=(-3.0, 3.0), p=48, size=4)
    result = mle(data, clear_starts(2, 4))
    assert result.converged.all() and (result.predicted_gain < 1e-9).all()
    for j in range(4):
        assert float(result[j].gain(CLEAR)) == pytest.approx(
            exact_difference(result.measure[j], CLEAR, data[j]), abs=1e-8
        )
    assert (result.gain(CLEAR) > 0.0).all() and (result.gain(CLEAR) < 30.0).all()  # half a chi square with 6 degrees


def test_differences_between_measures_far_apart():
    near = MixingMeasure([0.0], [[0.0]], [[0.0, 0.0]], [[[0.0], [0.0]]])
    far = MixingMeasure([0.0], [[0.0]], [[200.0, 0.0]], [[[300.0], [0.0]]])
    data = WeightedPoints(np.linspace(0.0, 1.0, 7), np.arange(14.0).reshape(2, 7))
    plain = float(log_likelihood(far, data) - log_likelihood(near, data))
    assert plain < -1e4
    assert float(log_likelihood_difference(far, near, data)) == pytest.approx(plain, rel=1e-12)
    assert float(log_likelihood_difference(near, far, data)) == pytest.approx(-plain, rel=1e-12)
    assert float(log_likelihood_difference(near, near, data)) == 0.0


# ------------------------------------------------------------------------------------------------------------
# Invariance


def test_the_maximum_does_not_depend_on_the_order_of_atoms_and_classes():
    rng = np.random.default_rng(51)
    a, b = [[1.0, -2.0, 0.0], [-1.0, 2.0, 0.0]], [[[2.0], [1.0], [0.0]], [[-1.0], [1.0], [0.0]]]
    truth = MixingMeasure([0.3, 0.0], [[3.0], [0.0]], a, b)
    x, y = sample(truth, 4_000, rng, covariates=rng.uniform(-2.0, 2.0, (4_000, 1)))
    theta, data = Theta.cube(25.0), WeightedPoints.from_labels(x, y, 3)
    start = truth.canonical().in_gauge("last")
    result = mle(data, start, theta=theta)
    assert result.converged and not result.at_bound and result.smallest_eigenvalue > 1e-6
    swapped = mle(data, start.permute([1, 0]).in_gauge("last"), theta=theta)
    assert float(swapped.gain(result)) == pytest.approx(0.0, abs=1e-8)
    assert swapped.measure.permute([1, 0]).in_gauge("last").allclose(result.measure, atol=1e-4)
    order = [2, 0, 1]
    relabelled = WeightedPoints(data.points, data.weights[order])
    other = mle(relabelled, start.relabel_classes(order).canonical(), theta=theta)
    assert float(other.log_likelihood) == pytest.approx(float(result.log_likelihood), abs=1e-8)
    assert other.measure.allclose(result.measure.relabel_classes(order).canonical(), atol=1e-4)


def test_the_last_gate_stays_where_it_was():
    data, start = clear_data(1_000), clear_starts(2, ())
    moved = start.translate(0.7, -0.4)
    result, other = mle(data, start), mle(data, moved)
    assert other.measure.beta0[-1] == moved.beta0[-1] and other.measure.beta1[-1, 0] == moved.beta1[-1, 0]
    assert other.measure.in_gauge("last").allclose(result.measure, atol=1e-5)
    assert float(other.log_likelihood) == pytest.approx(float(result.log_likelihood), abs=1e-9)


# ------------------------------------------------------------------------------------------------------------
# Odd data, wrong input


def test_a_class_without_a_sample():
    data = clear_data(300)
    three = WeightedPoints(data.points, np.insert(data.weights, 1, 0.0, axis=0))
    result = mle(three, random_start(2, 3, 1, np.random.default_rng(2), size=3))
    assert result.converged.all() and result.at_bound.all()
    assert np.array_equal(result.missing_classes, np.tile([False, True, False], (3, 1)))
    assert "no sample of class 2" in result.summary()
    assert (result.measure.a[..., 1] == -10.0).all()
    assert not mle(data, clear_starts(2, ())).missing_classes.any()


def test_no_weight_at_all():
    data = WeightedPoints([0.0, 0.5, 1.0], np.zeros((2, 3)))
    start = clear_starts(2, 2)
    result = mle(data, start)
    assert (result.reason == "converged").all() and (result.log_likelihood == 0.0).all()
    assert result.measure.allclose(start)
    for name in ("predicted_gain", "gradient_norm", "smallest_eigenvalue"):
        assert (getattr(result, name) == 0.0).all()


def test_negative_weights_and_weights_of_one_class():
    rng = np.random.default_rng(61)
    for j in range(20):
        weights = rng.normal(1.0, 2.0, (3, 12))
        if j % 2:
            weights[1:] = 0.0
        start = random_start(3, 3, 1, rng, size=3)
        result = mle(WeightedPoints(np.linspace(-1.0, 1.0, 12), weights), start)
        assert np.isfinite(parameters(result)).all() and np.isfinite(result.log_likelihood).all()
        assert (result.gain(start) >= 0.0).all()
        assert set(result.reason) <= set(MLEResult.reasons)


def test_covariates_that_make_probabilities_vanish_are_reported():
    data = clear_data(200)
    big = WeightedPoints(1e4 * data.points, data.weights)
    start = MixingMeasure([0.0], [[0.0]], [[0.0, 0.0]], [[[9.0], [0.0]]])
    result = mle(big, start, max_iter=5)
    assert result.reason == "underflow" and not result.converged
    assert float(result.log_likelihood) == pytest.approx(float(log_likelihood(result.measure, big)))
    assert "rescale" in result.summary()


def test_random_problems_have_no_nan_and_a_reason():
    reasons, bounds = set(), 0
    for seed in range(400, 480):
        data, start, gate, theta = random_problem(seed)
        with np.errstate(all="raise", under="ignore"):
            result = mle(data, start, gate=gate, theta=theta, max_iter=60)
        assert theta.contains(result.measure).all()
        assert np.isfinite(parameters(result)).all()
        for name in ("log_likelihood", "predicted_gain", "gradient_norm", "distance_to_bound"):
            assert np.isfinite(getattr(result, name)).all()
        assert not np.isnan(result.smallest_eigenvalue).any()
        assert (result.predicted_gain >= 0.0).all() and (result.distance_to_bound >= 0.0).all()
        assert (result.gain(start) >= 0.0).all()
        assert (result.n_iter >= 1).all() and (result.n_iter <= 60).all()
        reasons |= set(result.reason.tolist())
        bounds += np.count_nonzero(result.at_bound)
    assert reasons <= set(MLEResult.reasons) and {"converged", "max_iter"} <= reasons
    assert bounds > 50


@pytest.mark.parametrize(
    "change, error, match",
    [
        (dict(data="x"), TypeError, "data: expected WeightedPoints or ChebyshevMoments"),
        (dict(start="x"), TypeError, "start: expected a MixingMeasure"),
        (dict(start=random_start(2, 3, 1, np.random.default_rng(0))), ValueError, "start: expected K = 2"),
        (dict(start=random_start(2, 2, 2, np.random.default_rng(0))), ValueError, "start: expected d = 1"),
        (dict(start=CLEAR.relabel_classes([1, 0])), ValueError, "start: expected class K = 2 as the reference"),
        (dict(theta=Theta.cube(1.0)), ValueError, "start: expected parameters inside"),
        (dict(theta=10.0), TypeError, "theta: expected a Theta"),
        (dict(gate="softplus"), ValueError, "gate"),
        (dict(tol=0.0), ValueError, "tol: expected a positive number"),
        (dict(tol=np.nan), ValueError, "tol"),
        (dict(tol="small"), TypeError, "tol"),
        (dict(max_iter=0), ValueError, "max_iter"),
        (dict(max_iter=2.5), TypeError, "max_iter"),
        (dict(compression_tol=-1.0), ValueError, "compression_tol"),
    ],
)
def test_wrong_input(change, error, match):
    arguments = dict(data=clear_data(20), start=CLEAR) | change
    with pytest.raises(error, match=match):
        mle(arguments.pop("data"), arguments.pop("start"), **arguments)


def test_batch_axes_that_do_not_agree():
    data = WeightedPoints([0.0, 1.0], np.ones((3, 2, 2)))
    with pytest.raises(ValueError, match="start: expected batch axes that broadcast"):
        mle(data, clear_starts(2, 4))
    with pytest.raises(ValueError, match="batch axes of G, G_reference and data"):
        log_likelihood_difference(clear_starts(2, 4), CLEAR, data)


@pytest.mark.parametrize(
    "position, value, error, match",
    [
        (0, "G", TypeError, "G: expected a MixingMeasure"),
        (1, random_start(2, 3, 1, np.random.default_rng(0)), ValueError, "G_reference: expected K = 2 and d = 1"),
        (2, compress([0.1, 0.2], [1, 2], p=4), TypeError, "points"),
    ],
)
def test_wrong_input_of_the_difference(position, value, error, match):
    arguments = [CLEAR, CLEAR, clear_data(20)]
    arguments[position] = value
    with pytest.raises(error, match=match):
        log_likelihood_difference(*arguments)
