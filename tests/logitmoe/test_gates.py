"""Gates: values, the tests that M(x) makes sense, and the ways to name a gate."""

import math
import pickle

import mpmath
import numpy as np
import oracles
import pytest
import scipy
import sympy

from logitmoe import GATES, Gate
from logitmoe.gates import Elementwise, as_gate, cos, identity, log_abs, normalize, power, sigmoid, sin, tanh


@pytest.mark.parametrize("name", GATES)
def test_gate_agrees_with_the_loop(name):
    x = np.random.default_rng(1).uniform(-4, 4, (50, 3))
    expected = [oracles.GATES[name](list(point)) for point in x]
    np.testing.assert_allclose(GATES[name](x), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", GATES)
def test_gate_keeps_leading_axes(name):
    x = np.random.default_rng(2).uniform(0.1, 1, (4, 5, 2))
    np.testing.assert_array_equal(GATES[name](x), GATES[name](x.reshape(20, 2)).reshape(4, 5, 2))


@pytest.mark.parametrize("m", [1, 2, 5])
def test_power(m):
    x = np.array([[-2.0, 0.5], [3.0, 0.0]])
    np.testing.assert_allclose(power(m)(x), [[u**m for u in row] for row in x.tolist()], rtol=1e-15)
    assert power(m).name == f"power({m})"


@pytest.mark.parametrize("m, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_power_refuses_other_exponents(m, error):
    with pytest.raises(error, match="m: expected an integer of at least 1"):
        power(m)


def test_sigmoid_and_tanh_are_finite_far_out():
    np.testing.assert_array_equal(sigmoid([[-800.0], [800.0]]), [[0.0], [1.0]])
    np.testing.assert_array_equal(tanh([[-800.0], [800.0]]), [[-1.0], [1.0]])


@pytest.mark.parametrize("gate", [sigmoid, tanh])
def test_pole_is_where_the_gate_is_singular(gate):
    # Near a simple pole i p the modulus grows like residue / distance; both residues are 1.
    for distance in (1e-3, 1e-4):
        z = 1j * (gate.pole - distance)
        modulus = abs(1 / (1 + np.exp(-z))) if gate is sigmoid else abs(np.tanh(z))
        assert modulus * distance == pytest.approx(1, abs=2e-3)


def test_poles_of_the_other_gates():
    assert {identity.pole, cos.pole, sin.pole, power(3).pole} == {math.inf}
    assert log_abs.pole == normalize.pole == 0


def test_log_abs_at_zero_names_gate_and_point():
    with pytest.raises(ValueError, match=r"gate 'log_abs': expected finite values.*at x = \[0\. 2\.\]"):
        log_abs([[1.0, 1.0], [0.0, 2.0], [0.0, 0.0]])


def test_normalize_at_zero_names_gate_and_point():
    with pytest.raises(ValueError, match=r"gate 'normalize': expected finite values.*at x = \[0\. 0\.\]"):
        normalize([[1.0, 0.0], [0.0, 0.0]])


def test_power_that_overflows_is_an_error():
    with pytest.raises(ValueError, match=r"gate 'power\(3\)': expected finite values"):
        power(3)([[1e200]])


def test_gate_that_returns_nan_once_is_an_error():
    gate = as_gate(lambda x: np.where(x > 0.5, np.nan, x))
    np.testing.assert_array_equal(gate([[0.25]]), [[0.25]])
    with pytest.raises(ValueError, match=r"expected finite values of M\(x\), got \[nan\] at x = \[0.75\]"):
        gate([[0.25], [0.75]])


def test_gate_of_wrong_shape_is_an_error():
    with pytest.raises(ValueError, match=r"gate 'sum': expected an array of the shape of x, \(3, 2\).*\(3,\)"):
        Gate("sum", lambda x: x.sum(axis=-1))(np.ones((3, 2)))


def test_complex_gate_is_an_error():
    with pytest.raises(TypeError, match="gate 'rotate': expected real numbers, got dtype complex128"):
        Gate("rotate", lambda x: 1j * x)([[1.0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_gate_refuses_points_that_are_not_finite(bad):
    with pytest.raises(ValueError, match=r"x: expected finite numbers, got -?(nan|inf) at index \(1, 0\)"):
        tanh([[1.0], [bad]])


def test_gate_refuses_a_bare_number():
    with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., \*\), got shape \(\)"):
        tanh(1.0)


def test_as_gate():
    assert as_gate(cos) is cos
    assert as_gate("cos") is cos
    gate = as_gate(np.arctan)
    assert (gate.name, gate.pole) == ("arctan", math.inf)
    np.testing.assert_array_equal(gate([[1.0]]), [[np.arctan(1.0)]])


def test_as_gate_reads_powers():
    np.testing.assert_array_equal(as_gate("power(3)")([[2.0]]), [[8.0]])
    for name in ("power(x)", "power()", "power3"):
        with pytest.raises(ValueError, match="gate: expected one of identity"):
            as_gate(name)


@pytest.mark.parametrize("name", [*GATES, "power(3)"])
def test_the_formula_in_many_digits_and_in_symbols(name):
    gate = as_gate(name)
    x = np.random.default_rng(3).uniform(0.1, 3, (4, 2)) * [1, -1]
    with mpmath.workdps(40):
        precise = gate.exact(Elementwise(mpmath), np.vectorize(mpmath.mpf, otypes=[object])(x))
    np.testing.assert_allclose(gate(x), precise.astype(float), rtol=1e-15, atol=1e-16)
    u = sympy.symbols("u:2", real=True)
    symbolic = gate.exact(Elementwise(sympy), np.array(u))
    for point, row in zip(x, precise, strict=True):
        values = [f.subs(dict(zip(u, map(sympy.Rational, point), strict=True))).evalf(30) for f in symbolic]
        with mpmath.workdps(40):
            assert all(abs(mpmath.mpf(str(v)) - w) < 1e-25 for v, w in zip(values, row, strict=True))


@pytest.mark.parametrize("name", GATES)
def test_the_formula_gives_the_bits_of_numpy(name):
    x = np.random.default_rng(4).normal(size=(1000, 3)) * 10 ** np.random.default_rng(5).uniform(-8, 2, (1000, 1))
    direct = {
        "identity": lambda x: x,
        "sigmoid": scipy.special.expit,
        "tanh": np.tanh,
        "cos": np.cos,
        "sin": np.sin,
        "log_abs": lambda x: np.log(np.abs(x)),
        "normalize": lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
    }
    assert GATES[name](x).tobytes() == direct[name](x).tobytes()


def test_formula_or_map():
    x = np.array([[0.5]])
    assert Gate("g", lambda f, x: f.exp(-x))(x) == Gate("g", lambda x, scale=1.0: np.exp(-x * scale))(x)
    assert as_gate(lambda f, x: f.arctan(x)).exact(Elementwise(mpmath), x.astype(object))[0, 0] == mpmath.atan(0.5)
    with pytest.raises(TypeError, match="gate 'g': expected a formula of f and x.*write it as Gate"):
        Gate("g", np.exp).exact(Elementwise(mpmath), x)


def test_unknown_gate_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="gate: expected one of identity, sigmoid, .*got 'softplus'"):
        as_gate("softplus")


@pytest.mark.parametrize("bad", [None, 3, np.ones(2)])
def test_not_a_gate(bad):
    with pytest.raises(TypeError, match="gate: expected a Gate, a name or a callable"):
        as_gate(bad)


@pytest.mark.parametrize("pole", [-1.0, math.nan])
def test_pole_must_be_a_distance(pole):
    with pytest.raises(ValueError, match="pole: expected a distance >= 0"):
        Gate("g", np.cos, pole)


def test_gate_needs_a_name_and_a_function():
    with pytest.raises(TypeError, match="name: expected a str"):
        Gate(np.cos, np.cos)
    with pytest.raises(TypeError, match="function: expected a callable"):
        Gate("cos", "cos")


def test_named_gates_cannot_be_changed():
    with pytest.raises(TypeError):
        GATES["identity"] = cos


@pytest.mark.parametrize("gate", [*GATES.values(), power(3)], ids=lambda gate: gate.name)
def test_gates_can_be_sent_to_another_process(gate):
    copy = pickle.loads(pickle.dumps(gate))
    np.testing.assert_array_equal(copy([[0.3, 0.4]]), gate([[0.3, 0.4]]))
    assert (copy is gate) == (gate.name in GATES)  # `identity` is recognised by equality in another process too
