"""Every pair: equal densities (double, 50 digits, symbolic), unequal measures, assumptions, limits."""

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from logitmoe import MixingMeasure, density, hellinger, total_variation, uniform_design, voronoi_loss
from logitmoe.information import fisher_root, numerical_rank
from logitmoe.losses import voronoi_loss_parts
from replication.assumptions import check_assumptions
from replication.pairs import (
    AFFINE_SPLIT_TRUTH,
    affine_split_K3,
    antipodal_pair,
    constant_split,
    exchange,
    gating_copies,
    swap,
    swap_diagonal,
    translation,
)
from replication.paper import TABLE_2, TABLE_3

GRID = np.linspace(-2.0, 2.0, 801)
DESIGN = uniform_design()
SEEDS = st.integers(0, 2**32 - 1)
EXACT = [translation, constant_split, affine_split_K3, gating_copies, antipodal_pair]


def random_measure(rng, k, K, d):
    """Bounded parameters, so that rounding errors of logits stay far below 1e-14."""
    return MixingMeasure(
        rng.uniform(-1, 1, k),
        rng.uniform(-2, 2, (k, d)),
        rng.uniform(-1, 1, (k, K)),
        rng.uniform(-2, 2, (k, K, d)),
    ).canonical()


def line(rng, d):
    return float(rng.uniform(-1, 1)), rng.uniform(-2, 2, d)


# Equal densities


@pytest.mark.parametrize("gate", ["identity", "tanh", "sigmoid", "cos", "sin"])
@pytest.mark.parametrize("function", EXACT)
def test_densities_are_equal_for_every_gate(function, gate):
    example = function(gate=gate)
    assert example.gate.name == gate
    assert example.density_gap(GRID) <= 1e-14
    assert total_variation(example.measure, example.other, DESIGN, gate) <= 1e-15


@pytest.mark.parametrize("function", [swap, exchange])
def test_densities_of_the_swap_and_the_exchange_are_equal_for_the_standard_gate(function):
    assert function().density_gap(GRID) <= 1e-14


def mp_density(G, x, M=lambda x: x):
    """Density (K) of a measure with d = 1 at x, in mpmath's current precision."""
    exact = np.vectorize(lambda v: mpmath.mpf(float(v)), otypes=[object])
    beta0, beta1, a, b = (exact(v) for v in (G.beta0, G.beta1[:, 0], G.a, G.b[:, :, 0]))
    weights = [mpmath.exp(beta0[i] + beta1[i] * M(x)) for i in range(G.k)]
    g = [mpmath.mpf(0)] * G.K
    for i in range(G.k):
        terms = [mpmath.exp(a[i, s] + b[i, s] * x) for s in range(G.K)]
        g = [g[s] + weights[i] / sum(weights) * terms[s] / sum(terms) for s in range(G.K)]
    return g


def mp_gap(example, M=lambda x: x):
    points = [mpmath.mpf(i) / 7 for i in range(-14, 15)]
    pairs = [(mp_density(example.measure, x, M), mp_density(example.other, x, M)) for x in points]
    return max(abs(g - h) for one, two in pairs for g, h in zip(one, two, strict=True))


def test_fifty_digits():
    with mpmath.workdps(50):
        # The parameters of these are exact in binary, and so is the equality.
        for example, M in (
            (swap(), lambda x: x),
            (antipodal_pair(), lambda x: x),
            (antipodal_pair(), mpmath.tanh),
        ):
            assert mp_gap(example, M) < mpmath.mpf(10) ** -47
        # Those of the others contain rounded logarithms: what remains is of the size of the rounding.
        for example in (constant_split(), affine_split_K3(), gating_copies(), exchange(), translation(t0=0.1)):
            assert mp_gap(example) < mpmath.mpf(10) ** -15
        # The 50 digits can tell: the same measures with another gate.
        assert mp_gap(swap(), mpmath.tanh) > 0.01


# Symbolic: e_i stands for exp(beta1_i' M(x)), an arbitrary positive number, so that the identities hold for
# every gate, x and d; m_i for the masses, f_i for the experts' probabilities at x.


def symbolic_density(masses, exponentials, experts):
    total = sum(m * e for m, e in zip(masses, exponentials, strict=True))
    terms = zip(masses, exponentials, experts, strict=True)
    return sum((m * e * f for m, e, f in terms), sp.zeros(*experts[0].shape)) / total


def vanishes(matrix):
    return all(sp.cancel(sp.together(entry)) == 0 for entry in matrix)


M1, M2, M3, E1, E2, E3, F1, F2, F3, FRACTION, P, Q, T, C = sp.symbols(
    "m1:4 e1:4 f1:4 phi p q t c", positive=True
)


def two_classes(f):
    return sp.Matrix([f, 1 - f])


def test_symbolic_translation():
    experts = [two_classes(F1), two_classes(F2)]
    g = symbolic_density([M1, M2], [E1, E2], experts)
    assert vanishes(g - symbolic_density([T * M1, T * M2], [C * E1, C * E2], experts))
    assert not vanishes(g - symbolic_density([T * M1, T * M2], [E1, C * E2], experts))


def test_symbolic_constant_split():
    p = sp.Matrix(sp.symbols("p1 p2 p3", positive=True))
    one = sp.Matrix(sp.symbols("r1 r2 r3", positive=True))
    two = (p - FRACTION * one) / (1 - FRACTION)
    f = sp.Matrix([F1, F2, 1 - F1 - F2])
    g = symbolic_density([M1, M2], [E1, E2], [f, p])
    split = symbolic_density([M1, FRACTION * M2, (1 - FRACTION) * M2], [E1, E2, E2], [f, one, two])
    assert vanishes(g - split)
    # With another slope for one half (E3) it is no identity.
    assert not vanishes(
        g - symbolic_density([M1, FRACTION * M2, (1 - FRACTION) * M2], [E1, E2, E3], [f, one, two])
    )


def test_symbolic_affine_split():
    # Logits (a1 + b1 x, a2, 0), t = exp(a1 + b1 x), c = exp(a2). The split keeps t / (1 + c), moves c / (1 +
    # c).
    def expert(odds, share):  # odds = t / (1 + c)
        return sp.Matrix([odds, share, 1 - share]) / (1 + odds)

    direct = sp.Matrix([T, C, 1]) / (T + C + 1)
    assert vanishes(direct - expert(T / (1 + C), C / (1 + C)))
    q2 = (Q - FRACTION * P) / (1 - FRACTION)
    f = sp.Matrix([F1, F2, 1 - F1 - F2])
    g = symbolic_density([M1, M2], [E1, E2], [expert(T, Q), f])
    split = symbolic_density(
        [FRACTION * M1, (1 - FRACTION) * M1, M2], [E1, E1, E2], [expert(T, P), expert(T, q2), f]
    )
    assert vanishes(g - split)


def test_symbolic_gating_copies():
    experts = [two_classes(F1), two_classes(F2)]
    g = symbolic_density([M1, M2], [E1, E2], experts)
    masses = [FRACTION * M1, FRACTION * M2, (1 - FRACTION) * M1, (1 - FRACTION) * M2]
    assert vanishes(g - symbolic_density(masses, [E1, E2, C * E1, C * E2], experts * 2))
    # Shifting the copy of one atom only is no identity.
    assert not vanishes(g - symbolic_density(masses, [E1, E2, C * E1, E2], experts * 2))


def test_symbolic_antipodal_pair():
    # t = exp(h) and c = exp(h'), sigma(h) = t / (1 + t).
    def g(odds):
        experts = [two_classes(odds / (1 + odds)), two_classes(1 / (1 + odds)), two_classes(F3)]
        return symbolic_density([M1, M1, M3], [E1, E1, E3], experts)

    assert vanishes(g(T) - g(C))


def test_symbolic_swap_and_diagonal():
    u, v, h, d = sp.symbols("u v h d", real=True)

    def g(gate, expert):
        experts = [sp.exp(expert) / (1 + sp.exp(expert)), sp.exp(-expert) / (1 + sp.exp(-expert))]
        return symbolic_density([1, 1], [sp.exp(gate), 1], [two_classes(f) for f in experts])[0]

    def same(left, right):
        return sp.cancel(sp.together(sp.expand((left - right).rewrite(sp.exp), power_exp=True))) == 0

    assert same(g(u, v), g(v, u))
    assert same(g(u, v), (1 + sp.tanh(u / 2) * sp.tanh(v / 2)) / 2)
    assert same(g(h + d, h - d), sp.cosh(h) / (sp.cosh(h) + sp.cosh(d)))
    series = sp.series(sp.cosh(h) / (sp.cosh(h) + sp.cosh(d)), d, 0, 4).removeO()
    assert same(series, sp.cosh(h) / (1 + sp.cosh(h)) - d**2 * sp.cosh(h) / (2 * (1 + sp.cosh(h)) ** 2))
    # Multiplying only one factor by 2 is no identity: the check can fail.
    assert not same(g(u, 2 * v), g(2 * u, v))


def test_symbolic_exchange():
    # t = exp(u), p = exp(v) and q = exp(w): an identity if c = exp(v + w) is p q, and not with another constant.
    def gap(c):
        g = symbolic_density([1, 1], [T, 1], [two_classes(P / (1 + P)), two_classes(Q / (1 + Q))])
        experts = [two_classes(f) for f in (T / (1 + T), 1 / (1 + T), c / (1 + c))]
        return g - symbolic_density([1, 1, 1 + c], [P, Q, 1], experts)

    assert vanishes(gap(P * Q))
    assert not vanishes(gap(2 * P * Q))


# Different measures


@pytest.mark.parametrize("function", [*EXACT[1:], swap, exchange])
def test_measures_differ_in_both_directions_and_in_every_gauge(function):
    example = function()
    assert example.separation() > 0.1
    assert voronoi_loss(example.measure, example.other, gauge="infimum") > 0.1
    for r in (1.0, 4.0):
        assert example.separation(r) > 0.01
    for gauge in ("last", "mean"):
        fixed = example.in_gauge(gauge)
        assert fixed.density_gap(GRID) <= 1e-14
        assert voronoi_loss(fixed.other, fixed.measure) > 0.1
    last = example.in_gauge("last").assumptions
    assert last["G*: last gate is zero"] and last["G: last gate is zero"]
    assert last["different modulo translation and permutation"]


def test_translation_differs_as_it_is_only():
    example = translation()
    assert voronoi_loss(example.other, example.measure) > 1.0
    assert example.separation() <= 1e-14
    assert not example.assumptions["different modulo translation and permutation"]


def test_loss_of_gating_copies_by_hand():
    gamma, p = 0.25, 0.3
    example = gating_copies(shift=gamma, fraction=p)
    total = TABLE_2.mass.sum()
    assert voronoi_loss(example.other, example.measure) == pytest.approx(
        (1 - p) * gamma**2 * total, rel=1e-12
    )
    assert voronoi_loss(example.other, example.measure, 4) == pytest.approx(
        (1 - p) * gamma**4 * total, rel=1e-12
    )
    assert example.separation() == pytest.approx(p * (1 - p) * gamma**2 * total, rel=1e-12)
    best = voronoi_loss_parts(example.other, example.measure, gauge="infimum")
    assert (best.t0, best.t1[0]) == (pytest.approx(0.0, abs=1e-12), pytest.approx(-(1 - p) * gamma, rel=1e-6))


# Assumptions


ALL_TRUE = set(swap().assumptions)


@pytest.mark.parametrize(
    ("function", "missing"),
    [
        (translation, {"G: last gate is zero", "different modulo translation and permutation"}),
        (
            constant_split,
            {
                "same number of atoms",
                "G*: Regime 1",
                "G: Regime 1",
                "G*: class slopes of each expert pairwise distinct",
                "G: class slopes of each expert pairwise distinct",
                "G: gate slopes pairwise distinct",
                "G: last gate is zero",
            },
        ),
        (
            affine_split_K3,
            {
                "same number of atoms",
                "K = 2",
                "G*: class slopes of each expert pairwise distinct",
                "G: class slopes of each expert pairwise distinct",
                "G: gate slopes pairwise distinct",
            },
        ),
        (
            gating_copies,
            {
                "same number of atoms",
                "G: experts pairwise distinct",
                "G: last gate is zero",
                "gate slopes coincide within Voronoi cells",
            },
        ),
        (antipodal_pair, {"G*: gate slopes pairwise distinct", "G: gate slopes pairwise distinct"}),
        (
            exchange,
            {
                "same number of atoms",
                "G: class slopes of each expert pairwise distinct",
                "G: last gate is zero",
                "G: Regime 1",
                "gate slopes coincide within Voronoi cells",
            },
        ),
        (swap, set()),
        (swap_diagonal, set()),
    ],
)
def test_assumptions_that_each_pair_misses(function, missing):
    flags = function().assumptions
    assert set(flags) == ALL_TRUE and all(isinstance(value, bool) for value in flags.values())
    assert {name for name, value in flags.items() if not value} == missing


def test_every_flag_answers_both_ways():
    """One change of a pair at a time turns exactly the flags that it should."""
    base = swap()
    G, H, gate = base.measure, base.other, base.gate

    def missing(measure, other, gate=gate):
        return {name for name, value in check_assumptions(measure, other, gate).items() if not value}

    def change(measure, **fields):
        return MixingMeasure(
            **{name: fields.get(name, getattr(measure, name)) for name in ("beta0", "beta1", "a", "b")}
        )

    assert missing(G, H) == set()
    assert missing(G, H, "tanh") == {"gate is the identity"}
    assert missing(G, H, lambda x: x) == {
        "gate is the identity"
    }  # decided by name and function, not by values
    assert missing(
        H.split(1, b=H.b[[0, 1]], beta1=[[0.1], [0.0]], a=H.a[[1, 1]] + [[0.3, 0], [0, 0]]), H
    ) == {
        "k >= k*",
        "same number of atoms",
        "G*: last gate is zero",
    }
    assert missing(G, change(H, beta0=[11.0, 0.0])) == {"Theta contains both"}
    assert missing(change(G, beta0=[0.5, 0.1]), H) == {"G*: last gate is zero"}
    assert missing(G, change(H, beta1=H.beta1 + 1.0)) == {"G: last gate is zero"}
    assert missing(change(G, beta1=[[0.0], [0.0]]), H) == {
        "G*: some beta1 is not zero",
        "G*: gate slopes pairwise distinct",
    }
    assert missing(G, change(H, beta1=[[0.0], [0.0]])) >= {
        "G: some beta1 is not zero",
        "G: gate slopes pairwise distinct",
    }
    assert "G*: experts pairwise distinct" in missing(change(G, a=G.a[[0, 0]], b=G.b[[0, 0]]), H)
    assert "G: experts pairwise distinct" in missing(G, change(H, a=H.a[[0, 0]], b=H.b[[0, 0]]))
    # Experts that differ by their class reference only are equal, and a common slope is no slope.
    assert "G*: experts pairwise distinct" in missing(
        change(G, a=G.a[[0, 0]] + [[0.0], [3.0]], b=G.b[[0, 0]]), H
    )
    flat = np.array([[[1.0], [1.0]], [[2.0], [0.0]]])
    for label, pair in (("G*", (change(G, b=flat), H)), ("G", (G, change(H, b=flat)))):
        assert missing(*pair) >= {
            f"{label}: Regime 1",
            f"{label}: class slopes of each expert pairwise distinct",
        }
    assert missing(AFFINE_SPLIT_TRUTH, AFFINE_SPLIT_TRUTH.permute([1, 0])) == {
        "K = 2",
        "G: last gate is zero",
        "G*: class slopes of each expert pairwise distinct",
        "G: class slopes of each expert pairwise distinct",
        "different modulo translation and permutation",
    }
    assert "gate slopes coincide within Voronoi cells" in missing(G, gating_copies(G).other)
    assert "gate slopes coincide within Voronoi cells" not in missing(G, G.split(0))
    assert "different modulo translation and permutation" in missing(G, G.split(0).translate(1.0, 2.0))
    with pytest.raises(ValueError, match="without batch axes"):
        check_assumptions(G.broadcast_to((2,)), H)


def test_counterexamples_satisfy_what_the_paper_asks_of_a_truth():
    for function in (*EXACT, swap, exchange):
        flags = function().assumptions
        for name in ("last gate is zero", "some beta1 is not zero", "experts pairwise distinct"):
            assert flags[f"G*: {name}"]
        assert flags["k >= k*"] and flags["Theta contains both"]
    assert constant_split().measure is TABLE_3 and not constant_split().assumptions["G*: Regime 1"]
    for function in (affine_split_K3, gating_copies, antipodal_pair, swap, exchange):
        assert function().assumptions["G*: Regime 1"]
    # For the swap, all of this holds for both measures, with distinct gate slopes.
    assert all(swap().assumptions.values())


# Random parameters


@given(SEEDS, st.integers(1, 4), st.integers(2, 4), st.integers(1, 3), st.sampled_from(["identity", "tanh"]))
@settings(max_examples=30, deadline=None)
def test_translation_and_copies_of_random_measures(seed, k, K, d, gate):
    rng = np.random.default_rng(seed)
    G, x = random_measure(rng, k, K, d), rng.uniform(-1, 1, (50, d))
    assert translation(G, rng.uniform(-1, 1), rng.uniform(-1, 1, d), gate).density_gap(x) <= 1e-14
    copies = gating_copies(G, rng.uniform(0.2, 1, d), rng.uniform(0.1, 0.9), gate)
    assert copies.other.k == 2 * k and copies.density_gap(x) <= 1e-14
    assert copies.separation() > 1e-3
    assert copies.assumptions["different modulo translation and permutation"]


@given(
    SEEDS, st.integers(1, 3), st.integers(2, 4), st.integers(1, 3), st.sampled_from(["identity", "sigmoid"])
)
@settings(max_examples=30, deadline=None)
def test_constant_split_of_random_measures(seed, k, K, d, gate):
    rng = np.random.default_rng(seed)
    G, x = random_measure(rng, k, K, d), rng.uniform(-1, 1, (50, d))
    atom = int(rng.integers(k))
    b = G.b.copy()
    b[atom] = rng.normal(size=d)  # constant in every class reference
    G = MixingMeasure(G.beta0, G.beta1, G.a, b)
    example = constant_split(G, fraction=rng.uniform(0.1, 0.9), gate=gate)
    assert example.other.k == k + 1 and example.density_gap(x) <= 1e-14
    assert example.separation() > 1e-4
    assert constant_split(G, atom).density_gap(x) <= 1e-14


@given(SEEDS, st.integers(1, 3), st.integers(3, 5), st.integers(1, 2), st.sampled_from(["identity", "sin"]))
@settings(max_examples=30, deadline=None)
def test_affine_split_of_random_measures(seed, k, K, d, gate):
    rng = np.random.default_rng(seed)
    G, x = random_measure(rng, k, K, d), rng.uniform(-1, 1, (50, d))
    s, ell = rng.choice(K, 2, replace=False)
    b = G.b.copy()
    b[0, s] = b[0, ell]
    G = MixingMeasure(G.beta0, G.beta1, G.a, b)
    example = affine_split_K3(
        G, 0, classes=(int(s) + 1, int(ell) + 1), fraction=rng.uniform(0.1, 0.9), gate=gate
    )
    assert example.other.k == k + 1 and example.density_gap(x) <= 1e-14
    assert example.assumptions["G*: Regime 1"] and example.assumptions["G: Regime 1"]
    assert example.separation() > 1e-4


@given(SEEDS, st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_antipodal_pairs_and_swaps_of_random_lines(seed, d):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (50, d))
    u, v, w, z = (line(rng, d) for _ in range(4))
    assume(min(np.abs(u[1]).max(), np.abs(v[1]).max()) > 0.01)
    pair = antipodal_pair(u, (v, w), z, "tanh" if seed % 2 else "identity")
    assert pair.density_gap(x) <= 1e-14 and pair.separation() > 1e-4
    example = swap(u, v)
    assert example.density_gap(x) <= 1e-14
    # Far from G* both atoms of G may fall into one cell; everything else always holds.
    assert {name for name, value in example.assumptions.items() if not value} <= {
        "gate slopes coincide within Voronoi cells"
    }
    assume(np.abs(v[1]).max() > 0.01)
    three = exchange(u, v, float(rng.uniform(-1, 1)))
    assert three.density_gap(x) <= 1e-14 and three.other.k == 3
    near = swap_diagonal(u, v, 1e-4)
    assert near.density_gap(x) < 1e-6 and voronoi_loss(near.other, near.measure) > 1e-7


# What breaks each one


def test_constant_split_fails_for_an_expert_that_is_not_constant():
    example = constant_split()
    sloped = TABLE_2  # expert 2 has slope -1: split the level in the same way
    forced = sloped.split(1, 0.5, a=example.other.a[1:], b=sloped.b[[1, 1]])
    assert np.abs(density(sloped, GRID) - density(forced, GRID)).max() > 1e-3
    with pytest.raises(ValueError, match="measure: expected a constant expert"):
        constant_split(TABLE_2)
    with pytest.raises(ValueError, match="atom: expected the index of a constant expert"):
        constant_split(TABLE_3, 0)


def test_constant_split_fails_for_halves_of_different_gate_slope():
    other = constant_split().other
    moved = MixingMeasure(other.beta0, other.beta1 + [[0.0], [0.0], [0.2]], other.a, other.b)
    assert np.abs(density(TABLE_3, GRID) - density(moved, GRID)).max() > 1e-3


def test_affine_split_fails_for_different_class_slopes():
    other = affine_split_K3().other
    b = AFFINE_SPLIT_TRUTH.b.copy()
    b[0, 1] = 1.0
    truth = MixingMeasure(AFFINE_SPLIT_TRUTH.beta0, AFFINE_SPLIT_TRUTH.beta1, AFFINE_SPLIT_TRUTH.a, b)
    forced = truth.split(0, 0.5, a=other.a[:2], b=b[[0, 0]])
    assert np.abs(density(truth, GRID) - density(forced, GRID)).max() > 1e-3
    with pytest.raises(ValueError, match="classes: expected two classes of equal slopes"):
        affine_split_K3(truth)


def test_copies_fail_if_one_atom_has_none():
    other = gating_copies().other
    fewer = MixingMeasure(
        [other.beta0[0], TABLE_2.beta0[1], other.beta0[2]], other.beta1[:3], other.a[:3], other.b[:3]
    )
    assert np.abs(density(TABLE_2, GRID) - density(fewer, GRID)).max() > 1e-3


def test_antipodal_pair_fails_for_unequal_slopes_masses_or_experts():
    example = antipodal_pair()
    for field, step in (
        ("beta1", [[0.2], [0.0], [0.0]]),
        ("beta0", [0.2, 0.0, 0.0]),
        ("a", [[0.2, 0.0], [0, 0], [0, 0]]),
    ):
        one, two = (
            MixingMeasure(
                **{
                    name: getattr(G, name) + np.array(step) if name == field else getattr(G, name)
                    for name in ("beta0", "beta1", "a", "b")
                }
            )
            for G in (example.measure, example.other)
        )
        assert np.abs(density(one, GRID) - density(two, GRID)).max() > 1e-3


@pytest.mark.parametrize(
    ("gate", "works"), [("identity", True), ("tanh", False), ("sigmoid", False), ("cos", False)]
)
@pytest.mark.parametrize("function", [swap, exchange])
def test_swap_and_exchange_need_the_standard_gate(function, gate, works):
    gap = function(gate=gate).density_gap(GRID)
    assert gap <= 1e-14 if works else gap > 0.01


def test_exchange_fails_for_slopes_that_are_not_opposite():
    example = exchange()
    truth = example.measure
    steeper = MixingMeasure(truth.beta0, truth.beta1, truth.a, truth.b + [[[0.0], [0.0]], [[0.2], [0.0]]])
    gates = example.other.beta1 + [[0.0], [0.2], [0.0]]
    other = MixingMeasure(example.other.beta0, gates, example.other.a, example.other.b)
    assert np.abs(density(steeper, GRID) - density(other, GRID)).max() > 0.01


def test_swap_fails_for_experts_that_are_not_opposite():
    example = swap()
    one, two = (
        MixingMeasure(G.beta0, G.beta1, G.a + [[0.0, 0.0], [0.3, 0.0]], G.b)
        for G in (example.measure, example.other)
    )
    assert np.abs(density(one, GRID) - density(two, GRID)).max() > 0.01


# The diagonal


def test_near_the_diagonal_the_distance_is_quadratic_and_the_loss_linear():
    h, direction = (0.5, 2.0), (0.4, 1.0)
    sizes = np.array([1e-1, 1e-2, 1e-3])
    examples = [swap_diagonal(h, direction, size) for size in sizes]
    V = np.array([total_variation(e.measure, e.other, DESIGN) for e in examples])
    H = np.array([hellinger(e.measure, e.other, DESIGN) for e in examples])
    D = np.array([e.separation() for e in examples])
    # The constant of the docstring's expansion, averaged over x.
    x = DESIGN.points[:, 0]
    logit, step = h[0] + h[1] * x, direction[0] + direction[1] * x
    constant = DESIGN.mean(step**2 * np.cosh(logit) / (2 * (1 + np.cosh(logit)) ** 2))
    assert np.all(np.abs(V / sizes**2 / constant - 1) < 0.1 * sizes**2)
    np.testing.assert_allclose(np.log10(H[:-1] / H[1:]), 2.0, atol=0.01)
    np.testing.assert_allclose(np.log10(D[:-1] / D[1:]), 1.0, atol=0.01)
    assert (V / D)[-1] < 1e-4  # the ratio that Theorem 3.1 bounds from below, at size 1e-3


def test_around_the_diagonal_there_are_swaps_at_every_scale():
    for size in (1e-1, 1e-3, 1e-5):
        plus, minus = swap_diagonal(size=size).other, swap_diagonal(size=-size).other
        assert np.abs(density(plus, GRID) - density(minus, GRID)).max() <= 1e-14
        assert voronoi_loss(plus, minus, gauge="infimum") > size


def test_rank_on_and_off_the_diagonal():
    assert numerical_rank(fisher_root(swap_diagonal().measure, DESIGN)).rank == 4
    assert numerical_rank(fisher_root(swap().measure, DESIGN)).rank == 6
    plane = uniform_design(d=2, nodes=8, panels=1)
    diagonal = swap_diagonal((0.5, [2.0, 1.0]), (0.4, [1.0, 0.0])).measure
    assert numerical_rank(fisher_root(diagonal, plane)).rank == 9 - 3  # P = 3 + 2 * 3, less 1 + d


# Bad input


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: translation(t0=0.0, t1=0.0), "t0: expected t0 or t1 different from zero"),
        (lambda: gating_copies(shift=0.0), "shift: expected a vector that is not zero"),
        (lambda: gating_copies(fraction=1.0), "fraction: expected a number inside"),
        (lambda: gating_copies(TABLE_2.broadcast_to((2,))), "without batch axes"),
        (
            lambda: constant_split(probabilities=[0.99, 0.02]),
            "probabilities: expected positive numbers of sum 1",
        ),
        (
            lambda: constant_split(probabilities=[0.01, 0.99]),
            "probabilities: expected positive numbers of sum 1",
        ),
        (lambda: constant_split(atom=5), "atom: expected the index"),
        (lambda: affine_split_K3(TABLE_3), "measure: expected K >= 3"),
        (lambda: affine_split_K3(atom=2), "atom: expected an index in 0..1"),
        (lambda: affine_split_K3(classes=(2, 2)), "classes: expected two labels"),
        (lambda: affine_split_K3(classes=(0, 1)), "classes: expected two labels"),
        (lambda: affine_split_K3(share=0.0), "share: expected q' and q'' inside"),
        (lambda: antipodal_pair(experts=((0.3, 2.0), (-0.3, -2.0))), "experts: expected two lines"),
        (lambda: antipodal_pair(last=1.0), "last: expected a pair"),
        (lambda: swap((1.0, 2.0), (-1.0, -2.0)), "v: expected a line other than u and -u"),
        (lambda: swap((1.0, np.nan)), "u: expected finite"),
        (lambda: exchange((0.5, 0.0)), "u: expected a slope that is not zero"),
        (lambda: exchange(v=(0.5, [0.0])), "v: expected a slope that is not zero"),
        (lambda: exchange((0.5, [1.0, 2.0])), r"v: expected a slope of shape \(2,\), that of u"),
        (lambda: exchange(a2=np.inf), "a2: expected finite"),
        (lambda: exchange(a2=[0.0, 1.0]), "a2: expected 0 axes"),
        (lambda: swap_diagonal(size=0.0), "size: expected a step"),
        (lambda: swap(gate="relu"), "gate: expected one of"),
    ],
)
def test_bad_input_is_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()
