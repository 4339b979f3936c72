"""The further pairs: equal densities (double, 50 digits, symbolic), unequal measures, assumptions, controls."""

import mpmath
import numpy as np
import pytest
import sympy as sp

from logitmoe import MixingMeasure, total_variation, uniform_design
from replication.chapters.modified_gating import conic_ratio
from replication.pairs import Counterexample, swap
from replication.pairs_modified import (
    doubling,
    equal_experts,
    mobius_gate,
    mobius_gate_pair,
    parallel_lines,
    unequal_antipodal_pair,
)
from replication.ranks import certified_rank

GRID = np.linspace(-4.0, 4.0, 801)
DESIGN = uniform_design()
EVERY_GATE = [doubling, unequal_antipodal_pair, equal_experts]
CONSTANT = ((0.3, 2.0), (0.0, 0.0))  # h, and the constant 1/2 in the place of the pair h', -h'


@pytest.mark.parametrize("gate", ["identity", "tanh", "sigmoid", "cos", "sin"])
@pytest.mark.parametrize("function", EVERY_GATE)
def test_densities_are_equal_for_every_gate_and_the_measures_are_not(function, gate):
    example = function(gate=gate)
    assert example.gate.name == gate
    assert example.density_gap(GRID) <= 1e-14
    assert total_variation(example.measure, example.other, DESIGN, gate) <= 1e-15
    assert example.assumptions["different modulo translation and permutation"]
    assert example.separation() > 1.0


@pytest.mark.parametrize("t", [2.0, 0.5, 7.0])
def test_densities_of_the_mobius_pair_are_equal_for_its_gate_only(t):
    example = mobius_gate_pair(t)
    assert example.density_gap(GRID) <= 1e-14
    assert example.separation() > 1.0
    with_tanh = Counterexample(example.name, example.measure, example.other, "tanh", "")
    assert with_tanh.density_gap(GRID) > 0.01
    other_gate = Counterexample(example.name, example.measure, example.other, mobius_gate(t + 1.0), "")
    assert other_gate.density_gap(GRID) > 0.001


# 50 digits


def mp_density(atoms, x, M):
    """Probability of class 1, for atoms (mass, gate slope, a, b) in mpmath's current precision."""
    weights = [m * mpmath.exp(c * M(x)) for m, c, _, _ in atoms]
    experts = [1 / (1 + mpmath.exp(-a - b * x)) for *_, a, b in atoms]
    return sum(w * f for w, f in zip(weights, experts, strict=True)) / sum(weights)


def mp_atoms(G, masses=None):
    """Atoms of a measure with d = 1 and K = 2; the exact masses in place of rounded logarithms where given."""
    masses = [mpmath.exp(mpmath.mpf(v)) for v in G.beta0] if masses is None else masses
    rest = zip(G.beta1[:, 0], G.a[:, 0], G.b[:, 0, 0], strict=True)
    return [(m, *map(mpmath.mpf, line)) for m, line in zip(masses, rest, strict=True)]


def mp_gap(one, two, M):
    return max(abs(mp_density(one, x, M) - mp_density(two, x, M)) for x in (mpmath.mpf(i) / 7 for i in range(-28, 29)))


@pytest.mark.parametrize("M", [mpmath.tanh, mpmath.cos, lambda x: x])
def test_fifty_digits(M):
    with mpmath.workdps(50):
        example = doubling()
        E = mpmath.exp(mpmath.mpf(example.measure.beta0[0]))
        one, two = mp_atoms(example.measure), mp_atoms(example.other, [E**2, 2 * E, 1])
        assert mp_gap(one, two, M) < mpmath.mpf(10) ** -47
        for experts, masses in (((CONSTANT[0], (-0.4, 1.0)), (1, 1, 1, 1)), (CONSTANT, (1, 2, 1))):
            example = unequal_antipodal_pair(experts=experts)
            one, two = mp_atoms(example.measure, [2, 1, 1]), mp_atoms(example.other, masses)
            assert mp_gap(one, two, M) < mpmath.mpf(10) ** -47
        example = equal_experts()
        one, two = mp_atoms(example.measure), mp_atoms(example.other)
        assert mp_gap(one, two, M) < mpmath.mpf(10) ** -47
        # control: one mass a little off is seen
        assert mp_gap(mp_atoms(example.measure, [1, 1, 1, 1, 1 + mpmath.mpf(10) ** -20]), two, M) > 1e-23


def test_fifty_digits_of_the_mobius_pair():
    with mpmath.workdps(50):
        example = mobius_gate_pair(2.0)
        one, two = mp_atoms(example.measure, [3, 1]), mp_atoms(example.other, [3, 1])
        # log 2 as a double is log t for a t near 2, for which the identity is exact as well
        t = mpmath.exp(one[1][2])
        one, two = ([(t + 1, *atoms[0][1:]), atoms[1]] for atoms in (one, two))

        def gate(x):
            return mpmath.log((1 + mpmath.exp(x)) / (t + mpmath.exp(x)))

        assert mp_gap(one, two, gate) < mpmath.mpf(10) ** -47
        assert mp_gap(one, two, lambda x: gate(x) * (1 + mpmath.mpf(10) ** -20)) > 1e-23
        values = [float(gate(mpmath.mpf(x))) for x in (-30, -1, 0, 3, 30)]
        computed = mobius_gate(2.0)(np.array([[-30.0], [-1], [0], [3], [30]]))[:, 0]
        np.testing.assert_allclose(computed, values, rtol=1e-13)


# Exact algebra. T stands for exp(M(x)), an arbitrary positive number, but in the pair of the Moebius gate; the experts'
# odds are free symbols as well.

E, T, U, V, W, m, t, y = sp.symbols("E T U V W m t y", positive=True)


def binary(odds):
    return odds / (1 + odds)


def mixture(*atoms):
    return sum(w * f for w, f in atoms) / sum(w for w, _ in atoms)


def equal(one, two):
    return sp.cancel(sp.together(mixture(*one) - mixture(*two))) == 0


def test_exact_doubling():
    truth = [(E, binary(V)), (1, binary(1 / V))]
    three = [(E**2, binary(V)), (2 * E, sp.Rational(1, 2)), (1, binary(1 / V))]
    assert equal(truth, three)
    assert not equal(truth, [*three[:1], (E, sp.Rational(1, 2)), *three[2:]])


def test_exact_unequal_antipodal_pair():
    truth = [(T * (1 + m), binary(V)), (T, binary(1 / V)), (1, binary(W))]  # m: the difference of the masses
    assert equal(truth, [(T * m, binary(V)), (T, binary(U)), (T, binary(1 / U)), (1, binary(W))])
    assert equal(truth, [(T * m, binary(V)), (2 * T, sp.Rational(1, 2)), (1, binary(W))])
    assert not equal(truth, [(T * m, binary(V)), (T, sp.Rational(1, 2)), (1, binary(W))])


def test_exact_equal_experts():
    one = [(1, binary(V)), (T, binary(V)), (1, binary(W)), (T, binary(W)), (T**2, binary(W))]
    two = [(1, binary(V)), (T**3, binary(V)), (1, binary(W)), (T**2, binary(W)), (T**4, binary(W))]
    assert equal(one, two)
    assert not equal(one, [*two[:-1], (T**3, binary(W))])


def test_exact_mobius_pair():
    h = (1 + y) / (t + y)
    f = [binary(y), binary(t * y), binary(y / t)]
    assert equal([((t + 1) * h, f[0]), (1, f[1])], [((t + 1) * h, f[1]), (1, f[2])])
    assert not equal([(t * h, f[0]), (1, f[1])], [(t * h, f[1]), (1, f[2])])
    third = binary(y * (t + 2) / (2 * t + 1))  # the plain mixture that a search finds
    assert equal([((t + 1) * h, f[0]), (1, f[1])], [(1, f[1]), (1, third)])


# The gate of the Moebius pair satisfies Definition 4.1 as printed


def test_the_mobius_gate_satisfies_definition_41():
    x = sp.Symbol("x", real=True)
    M = sp.log((1 + sp.exp(x)) / (2 + sp.exp(x)))
    functions = [x**p * M**q for p, q in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))]
    for low, high in ((0, 1), (-1, 1)):
        rank = certified_rank(functions, [x], low, high)
        assert rank.proved and rank.independent
    # bounded on the whole line
    values = mobius_gate(2.0)(np.linspace(-700.0, 700.0, 2001)[:, None])
    assert values.min() >= -np.log(2.0) and values.max() <= 0.0
    assert sp.limit(M, x, -sp.oo) == -sp.log(2) and sp.limit(M, x, sp.oo) == 0
    assert conic_ratio(mobius_gate(2.0), DESIGN) > 1e-9


# Assumptions


def both(example, key):
    return example.assumptions[f"G*: {key}"] and example.assumptions[f"G: {key}"]


def test_the_mobius_pair_satisfies_everything_that_was_asked_for():
    a = (example := mobius_gate_pair().in_gauge("last")).assumptions
    asked = ["last gate is zero", "some beta1 is not zero", "experts pairwise distinct", "Regime 1"]
    asked += ["gate slopes pairwise distinct", "class slopes of each expert pairwise distinct"]
    assert all(both(example, key) for key in asked)
    assert a["k >= k*"] and a["same number of atoms"] and a["Theta contains both"] and not a["gate is the identity"]
    experts = np.concatenate([example.measure.b[:, 0, 0], example.other.b[:, 0, 0]])
    assert (experts == 1.0).all()  # so that no two experts are opposite


def test_the_doubling_has_the_truth_of_the_swap_in_regime_1():
    example = doubling(gate="tanh")
    assert example.measure.allclose(swap().measure)
    a = example.assumptions
    assert a["G*: Regime 1"] and not a["G: Regime 1"] and both(example, "gate slopes pairwise distinct")
    assert both(example, "experts pairwise distinct") and both(example, "last gate is zero")
    assert (example.measure.k, example.other.k) == (2, 3)
    assert not a["G: class slopes of each expert pairwise distinct"]


def test_the_unequal_pair_in_regime_1_and_with_equal_numbers_of_atoms():
    example = unequal_antipodal_pair()
    assert both(example, "Regime 1") and (example.measure.k, example.other.k) == (3, 4)
    assert both(example, "experts pairwise distinct") and both(example, "last gate is zero")
    assert not example.assumptions["G*: gate slopes pairwise distinct"]
    constant = unequal_antipodal_pair(experts=CONSTANT)
    assert constant.assumptions["same number of atoms"] and not constant.assumptions["G: Regime 1"]


def test_equal_experts_are_what_excludes_the_pair_of_that_name():
    example = equal_experts()
    assert example.assumptions["same number of atoms"] and not both(example, "experts pairwise distinct")
    assert both(example, "Regime 1")


# Limits


def test_the_unequal_pair_refutes_the_local_bound():
    distances = []
    for size in (1e-1, 1e-2, 1e-3):
        example = unequal_antipodal_pair(experts=((0.3, 2.0), (0.3 + size, 2.0 - size)))
        assert example.density_gap(GRID) <= 1e-14
        distances.append(example.separation())
    assert distances[0] > 5 * distances[1] > 25 * distances[2] > 0.0  # of order size


def test_more_covariates():
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    for example in (
        doubling((0.5, 2.0, 1.0), (-1.0, 1.0, 0.5), "tanh"),
        unequal_antipodal_pair(slope=[1.5, -1.0], experts=((0.3, 2.0, 0.0), (-0.4, 1.0, 1.0)), last=(1.0, 1.0, 0.5)),
        equal_experts([0.5, 0.25], ((-1.0, 2.0, 1.0), (1.0, -1.0, 0.0))),
    ):
        assert example.measure.d == 2 and example.density_gap(x) <= 1e-14 and example.separation() > 0.1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: doubling(v=(1.0, 0.0)), "v"),
        (lambda: doubling(u=(1.0, 0.0)), "u"),
        (lambda: doubling(v=3.0), "v"),
        (lambda: doubling(u=(1.0, 1.0, 2.0)), "shape"),
        (lambda: unequal_antipodal_pair(masses=(1.0, 1.0)), "masses"),
        (lambda: unequal_antipodal_pair(slope=0.0), "slope"),
        (lambda: unequal_antipodal_pair(experts=((0.3, 2.0), (-0.3, -2.0))), "experts"),
        (lambda: unequal_antipodal_pair(experts=((0.3, 2.0),)), "both"),
        (lambda: mobius_gate(1.0), "t"),
        (lambda: mobius_gate_pair(-2.0), "t"),
        (lambda: equal_experts(step=0.0), "step"),
        (lambda: equal_experts(experts=((1.0, 1.0), (1.0, 1.0))), "experts"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_the_pairs_are_measures_of_the_library():
    for example in (doubling(), unequal_antipodal_pair(), mobius_gate_pair(), equal_experts()):
        assert isinstance(example.measure, MixingMeasure) and "4.2" in example.refutes


# Parallel lines

ORDERS = [(1.0, -0.5), (-0.25, 0.5), (1.0, 0.5), (-1.0, -0.5), (0.5, 1.0), (-0.5, -1.0)]


@pytest.mark.parametrize("shifts", ORDERS)
def test_parallel_lines_have_equal_densities(shifts):
    pair = parallel_lines(shifts=shifts)
    assert pair.density_gap(GRID) < 1e-14
    assert pair.separation() > 0.05
    assert (pair.measure.k, pair.other.k) == (2, 3)
    several = parallel_lines(u=(0.5, [2.0, -1.0]), shifts=shifts)
    assert several.density_gap(np.random.default_rng(0).uniform(-1.0, 1.0, (200, 2))) < 1e-14


def test_parallel_lines_need_an_affine_gate():
    assert parallel_lines(gate="tanh").density_gap(GRID) > 1e-3


def test_parallel_lines_in_exact_algebra():
    w, p, q = sp.symbols("w p q", positive=True)
    one, two, third = w / (w + p), w / (w + q), w / (w + 1)
    g = (w * one + two) / (w + 1)
    assert sp.cancel((1 - p) * w**2 * (one - g) + (q - p) * w * (third - g) + p * (q - 1) * (two - g)) == 0


@pytest.mark.parametrize("shifts", ORDERS[:1])
def test_parallel_lines_are_admissible_truths(shifts):
    flags = parallel_lines(shifts=shifts).in_gauge("last").assumptions
    asked = ["last gate is zero", "experts pairwise distinct", "Regime 1", "gate slopes pairwise distinct"]
    asked += ["some beta1 is not zero", "class slopes of each expert pairwise distinct"]
    assert all(flags[f"{side}: {key}"] for side in ("G*", "G") for key in asked)
    assert flags["gate is the identity"] and flags["Theta contains both"]


def test_parallel_lines_check_their_arguments():
    with pytest.raises(ValueError, match="different numbers"):
        parallel_lines(shifts=(1.0, 1.0))
    with pytest.raises(ValueError, match="different numbers"):
        parallel_lines(shifts=(0.0, 1.0))
    with pytest.raises(ValueError, match="not zero"):
        parallel_lines(u=(1.0, 0.0))
