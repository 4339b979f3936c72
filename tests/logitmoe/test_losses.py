"""Voronoi loss against hand-computed examples and brute force; density distances against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from logitmoe import (
    Design,
    MixingMeasure,
    density,
    hellinger,
    sample_design,
    total_variation,
    uniform_design,
    voronoi_loss,
)
from logitmoe.divergences import kullback_leibler
from logitmoe.losses import (
    _infimum_d1,
    _infimum_search,
    _pairs,
    voronoi_cells,
    voronoi_loss_parts,
)
from replication.paper import TABLE_2, TABLE_3

SEEDS = st.integers(0, 2**32 - 1)


def random_measure(rng, k, K=2, d=1, batch=(), spread=1.5):
    return MixingMeasure(
        rng.normal(size=(*batch, k)),
        spread * rng.normal(size=(*batch, k, d)),
        rng.normal(size=(*batch, k, K)),
        rng.normal(size=(*batch, k, K, d)),
    )


def binary(atoms):
    """K = 2, d = 1, from rows (mass, beta1, a, b)."""
    mass, beta1, a, b = np.array(atoms, dtype=float).T
    zero = np.zeros_like(a)
    return MixingMeasure(np.log(mass), beta1[:, None], np.stack([a, zero], -1), np.stack([b, zero], -1)[..., None])


# By hand. True atoms (mass, beta1, a, b) and fitted ones:
#     j = 1: (2,  0, 0,  1)        i = 1: (1,   0.5,   0,    1)     nearest to j = 1
#     j = 2: (1,  4, 1,  0)        i = 2: (1.5, 0,    -0.5,  1.25)  nearest to j = 1
#     j = 3: (3, -4, 0, -1)        i = 3: (0.5, 4.25,  1,    0.5)   nearest to j = 2;  cell 3 stays empty
# Mass: |1 + 1.5 - 2| + |0.5 - 1| + 3 = 4.
# Cell 1 has two atoms: 1 * 0.5^r + 1.5 * (0.5^r + 0.25^r): r = 1: 1.625, r = 2: 0.71875, r = 4: 0.162109375.
# Cell 2 has one atom, power 1: 0.5 * (0.25 + 0 + 0.5) = 0.375.
HAND_TRUE = binary([(2, 0, 0, 1), (1, 4, 1, 0), (3, -4, 0, -1)])
HAND_FIT = binary([(1, 0.5, 0, 1), (1.5, 0, -0.5, 1.25), (0.5, 4.25, 1, 0.5)])


@pytest.mark.parametrize(("r", "over"), [(1, 1.625), (2, 0.71875), (4, 0.162109375)])
def test_loss_by_hand_with_shared_single_and_empty_cells(r, over):
    parts = voronoi_loss_parts(HAND_FIT, HAND_TRUE, r)
    assert parts.cells.tolist() == [0, 0, 1]
    assert parts.sizes.tolist() == [2, 1, 0]
    assert parts.mass == pytest.approx(4.0, rel=1e-14)
    assert parts.over_specified == pytest.approx(over, rel=1e-14)
    assert parts.exact_specified == pytest.approx(0.375, rel=1e-14)
    assert voronoi_loss(HAND_FIT, HAND_TRUE, r) == pytest.approx(4.375 + over, rel=1e-14)


def test_loss_is_not_symmetric():
    # The other way round every cell has one atom: j = 1 in i = 1, j = 3 in i = 2, j = 2 in i = 3, for every r
    # (|2 - 1| + |3 - 1.5| + |1 - 0.5|) + 2 * 0.5 + 3 * (4 + 0.5 + 2.25) + 1 * (0.25 + 0.5) = 25.
    assert voronoi_cells(HAND_TRUE, HAND_FIT).tolist() == [0, 2, 1]
    assert voronoi_loss(HAND_TRUE, HAND_FIT, 2) == pytest.approx(25.0, rel=1e-14)


def test_loss_by_hand_three_classes_two_covariates():
    # One atom in each cell, K = 3, d = 2. Fitted atom 1 (mass 2, true mass 3) is off by beta1 (0.3, 0.4):
    # norm 0.5; a: 0.1 in class 1, 0.2 in class 2; b: (0.6, 0.8) in class 1: norm 1, (0, 0.5) in class 2: 0.5.
    # Atom 2 is exact. D_r = |2 - 3| + 2 * (0.5 + 0.1 + 0.2 + 1 + 0.5) = 5.6 for every r. With a second copy
    # of fitted atom 1 (mass 2) the cell has two atoms: D_2 = |4 - 3| + 4 * (0.25 + 0.01 + 0.04 + 1 + 0.25) =
    # 7.2.
    a = np.array([[0.5, -0.5, 0.0], [1.0, 1.0, 0.0]])
    b = np.array([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [[-9.0, 3.0], [0.0, 0.0], [0.0, 0.0]]])
    true = MixingMeasure(np.log([3.0, 1.0]), [[1.0, 1.0], [0.0, 0.0]], a, b)
    a_fit, b_fit = a.copy(), b.copy()
    a_fit[0, :2] += [0.1, -0.2]
    b_fit[0, :2] += [[0.6, -0.8], [0.0, 0.5]]
    # The class reference of an expert is arbitrary and must not matter.
    fit = MixingMeasure(np.log([2.0, 1.0]), [[1.3, 1.4], [0.0, 0.0]], a_fit + 7.0, b_fit - [2.0, -3.0])
    for r in (1, 2, 4):
        assert voronoi_loss(fit, true, r) == pytest.approx(5.6, rel=1e-13)
    doubled = MixingMeasure(*(np.concatenate([v[:1], v]) for v in (fit.beta0, fit.beta1, fit.a, fit.b)))
    assert voronoi_loss(doubled, true, 2) == pytest.approx(7.2, rel=1e-13)


def test_tie_goes_to_the_lowest_index_and_is_counted_once():
    true = binary([(1, -1, 0, 0), (1, 1, 0, 0)])
    middle = binary([(1, 0, 0, 0)])
    assert voronoi_cells(middle, true).tolist() == [0]
    assert voronoi_loss(middle, true) == pytest.approx(0 + 1 + 1)  # mass of cell 2, slope off by 1
    assert voronoi_cells(middle, true.permute([1, 0])).tolist() == [0]


def test_masses_play_no_part_in_the_cells_and_all_classes_do():
    heavy = binary([(1, -1, 0, 0), (1e6, 1.1, 0, 0)])
    assert voronoi_cells(binary([(1, 0, 0, 0)]), heavy).tolist() == [0]
    rng = np.random.default_rng(5)
    G, H = random_measure(rng, 4, K=4, d=2), random_measure(rng, 3, K=4, d=2)
    g, h = G.canonical(), H.canonical()
    rows = [np.concatenate([m.beta1, m.a, m.b.reshape(m.k, -1)], axis=1) for m in (g, h)]
    nearest = np.linalg.norm(rows[0][:, None] - rows[1][None], axis=-1).argmin(1)
    assert voronoi_cells(G, H).tolist() == nearest.tolist()


@given(SEEDS, st.integers(1, 4), st.integers(1, 3), st.integers(2, 4), st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_permutations_of_atoms_and_of_free_classes_leave_the_loss(seed, k, k_true, K, d):
    rng = np.random.default_rng(seed)
    G, H = random_measure(rng, k, K, d), random_measure(rng, k_true, K, d)
    value = voronoi_loss(G, H)
    assert voronoi_loss(G.permute(rng.permutation(k)), H) == pytest.approx(value, rel=1e-12)
    assert voronoi_loss(G, H.permute(rng.permutation(k_true))) == pytest.approx(value, rel=1e-12)
    order = [*rng.permutation(K - 1), K - 1]
    assert voronoi_loss(G.relabel_classes(order), H.relabel_classes(order)) == pytest.approx(value, rel=1e-12)


def test_another_reference_class_leaves_the_loss_for_two_classes_and_changes_it_for_three():
    rng = np.random.default_rng(1)
    for K, same in ((2, True), (3, False)):
        G, H = random_measure(rng, 3, K), random_measure(rng, 2, K)
        order = list(range(K))[::-1]
        new = voronoi_loss(G.relabel_classes(order), H.relabel_classes(order))
        assert bool(new == pytest.approx(float(voronoi_loss(G, H)), rel=1e-12)) is same


def test_split_of_an_atom_into_equal_halves_costs_nothing():
    assert voronoi_loss(TABLE_2.split(0, 0.3), TABLE_2) <= 1e-14
    assert voronoi_loss(TABLE_2, TABLE_2) == 0.0


# Gauges and the infimum


def test_translation_changes_the_loss_as_it_is_by_the_amount_computed_by_hand():
    # Every mass times e^t0, every slope off by t1, cells unchanged: (e^t0 - 1) sum m + e^t0 |t1| sum m.
    t0, t1 = 0.5, 0.25
    total = np.e + 1.0
    moved = TABLE_2.translate(t0, t1)
    assert voronoi_loss(moved, TABLE_2) == pytest.approx(total * (np.exp(t0) * (1 + t1) - 1), rel=1e-13)
    assert voronoi_loss(moved, TABLE_2, gauge="infimum") <= 1e-14
    best = voronoi_loss_parts(moved, TABLE_2, gauge="infimum")
    assert best.t0 == pytest.approx(-t0, abs=1e-14)
    assert best.t1 == pytest.approx([-t1], abs=1e-14)


@given(
    SEEDS,
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([1.0, 1.5, 2.0, 4.0]),
    st.sampled_from([1, 2]),
)
@settings(max_examples=60, deadline=None)
def test_infimum_and_named_gauges_do_not_see_a_translation(seed, k, k_true, r, d):
    rng = np.random.default_rng(seed)
    G, H = random_measure(rng, k, 3, d), random_measure(rng, k_true, 3, d)
    moved = G.translate(rng.normal(), rng.normal(size=d))
    for gauge in ("last", "mean"):
        assert voronoi_loss(moved, H, r, gauge=gauge) == pytest.approx(voronoi_loss(G, H, r, gauge=gauge), rel=1e-9)
    # For d > 1 the search is numerical, so the two runs agree only as well as it converges.
    rel = 1e-10 if d == 1 else 1e-5
    infimum = voronoi_loss(G, H, r, gauge="infimum")
    assert voronoi_loss(moved, H, r, gauge="infimum") == pytest.approx(infimum, rel=rel)
    assert infimum <= H.mass.sum() * (1 + 1e-12)


@given(
    SEEDS,
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([1.0, 1.5, 2.0, 4.0]),
    st.sampled_from([1, 2]),
)
@settings(max_examples=60, deadline=None)
def test_infimum_is_not_above_the_loss_of_any_translation(seed, k, k_true, r, d):
    rng = np.random.default_rng(seed)
    G, H = random_measure(rng, k, 2, d), random_measure(rng, k_true, 2, d)
    infimum = voronoi_loss(G, H, r, gauge="infimum")
    assert infimum <= voronoi_loss(G, H, r) * (1 + 1e-12)
    t0, t1 = rng.normal(size=200), 2 * rng.normal(size=(200, d))
    assert np.all(infimum <= voronoi_loss(G.translate(t0, t1), H, r) * (1 + 1e-9))


def brute_force(G, H, r, points, levels):
    """Smallest loss as it is on a grid of translations, zoomed in on its best point."""
    d = G.d
    centre, radius = np.zeros(1 + d), np.array([6.0] + [12.0] * d)
    best = np.inf
    for _ in range(levels):
        axes = [c + w * np.linspace(-1, 1, n) for c, w, n in zip(centre, radius, points, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 1 + d)
        losses = voronoi_loss(G.translate(grid[:, 0], grid[:, 1:]), H, r)
        i = int(np.argmin(losses))
        if losses[i] < best:
            best, centre = losses[i], grid[i]
        radius = radius * 0.2
    return best


@pytest.mark.parametrize("r", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("seed", range(6))
def test_infimum_equals_brute_force_for_one_covariate(seed, r):
    rng = np.random.default_rng(seed)
    # The fitted atoms scatter around the true ones, so that the infimum is not simply the limit of no mass.
    H = random_measure(rng, 3, spread=1.0)
    G = MixingMeasure(
        *(v[[0, 0, 1, 2]] + 0.15 * rng.normal(size=v[[0, 0, 1, 2]].shape) for v in (H.beta0, H.beta1, H.a, H.b))
    ).translate(0.7, -1.3)
    infimum = float(voronoi_loss(G, H, r, gauge="infimum"))
    assert infimum < 0.9 * H.mass.sum()
    brute = brute_force(G, H, r, (121, 481), 10)
    assert infimum <= brute * (1 + 1e-12)
    assert brute == pytest.approx(infimum, rel=2e-5)


@pytest.mark.parametrize("r", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_infimum_equals_brute_force_for_two_covariates(seed, r):
    rng = np.random.default_rng(100 + seed)
    H = random_measure(rng, 3, d=2, spread=1.0)
    G = MixingMeasure(
        *(v[[0, 1, 1, 2]] + 0.15 * rng.normal(size=v[[0, 1, 1, 2]].shape) for v in (H.beta0, H.beta1, H.a, H.b))
    ).translate(0.3, [0.4, -0.8])
    infimum = float(voronoi_loss(G, H, r, gauge="infimum"))
    assert infimum < 0.9 * H.mass.sum()
    brute = brute_force(G, H, r, (31, 49, 49), 12)
    assert infimum <= brute * (1 + 1e-9)
    assert brute == pytest.approx(infimum, rel=2e-4)


@pytest.mark.parametrize("r", [1.0, 2.0, 3.5])
def test_search_over_assignments_finds_the_exact_infimum_for_one_covariate(r):
    # Experts that differ little, so that a translation changes many cells: the hard case for the search.
    rng = np.random.default_rng(8)
    for _ in range(40):
        k, k_true = rng.integers(1, 6), rng.integers(1, 5)
        G, H = random_measure(rng, k), random_measure(rng, k_true)
        G, H = (MixingMeasure(m.beta0, m.beta1, 0.2 * m.a, 0.2 * m.b) for m in (G, H))
        pairs = _pairs(G, H, r)
        assert _infimum_search(pairs).total == pytest.approx(float(_infimum_d1(pairs).total), rel=1e-6)


def test_infimum_can_be_the_limit_in_which_the_fitted_mass_vanishes():
    # |s - 1| + 5 s is least at s = 0, where it is the true mass 1.
    true, fit = binary([(1, 0, 0, 0)]), binary([(1, 0, 5, 0)])
    parts = voronoi_loss_parts(fit, true, gauge="infimum")
    assert parts.total == parts.mass == pytest.approx(1.0)
    assert parts.over_specified == parts.exact_specified == 0.0
    assert voronoi_loss_parts(fit, true, gauge="infimum").t0 == -np.inf


def test_infimum_at_a_cell_boundary_is_the_limit_from_the_better_side():
    # The slopes of the true atoms differ by 2 and the experts do not. At t1 = 0 the fitted atom of mass 1 is
    # in the middle. Nearer to j = 1 the loss is |s - 1| + s |1 - t| + 3, nearer to j = 2 |s - 3| + s |1 - t|
    # + 1, so that j = 2 with t1 = 1, s = 3 is best: 1. The search must change the cell to find it.
    true, fit = binary([(1, -1, 0, 0), (3, 1, 0, 0)]), binary([(1, 0, 0, 0)])
    parts = voronoi_loss_parts(fit, true, gauge="infimum")
    assert parts.total == pytest.approx(1.0, rel=1e-14)
    assert (parts.cells.tolist(), parts.t1.tolist()) == ([1], [1.0])
    assert parts.t0 == pytest.approx(np.log(3))


@pytest.mark.parametrize("gauge", ["as_is", "last", "mean", "infimum"])
@pytest.mark.parametrize("d", [1, 2])
def test_batches_equal_loops_and_broadcast(gauge, d):
    rng = np.random.default_rng(2)
    G, H = random_measure(rng, 3, 3, d, (4, 2)), random_measure(rng, 2, 3, d, (2,))
    parts = voronoi_loss_parts(G, H, 2.0, gauge=gauge)
    assert parts.total.shape == (4, 2) and parts.cells.shape == (4, 2, 3) and parts.sizes.shape == (4, 2, 2)
    assert parts.t1.shape == (4, 2, d)
    for index in np.ndindex(4, 2):
        single = voronoi_loss_parts(G[index], H[index[1]], 2.0, gauge=gauge)
        assert parts.total[index] == single.total
        assert parts.cells[index].tolist() == single.cells.tolist()
    assert voronoi_loss(G[0, 0], H, gauge=gauge).shape == (2,)


def test_parts_in_a_named_gauge_report_no_translation():
    parts = voronoi_loss_parts(HAND_FIT, HAND_TRUE, gauge="last")
    assert parts.t0 == 0.0 and parts.t1.tolist() == [0.0]
    expected = voronoi_loss(HAND_FIT.in_gauge("last"), HAND_TRUE.in_gauge("last"))
    assert parts.total == expected != voronoi_loss(HAND_FIT, HAND_TRUE)


# Density distances

DESIGN = uniform_design()


def constant(p):
    p = np.asarray(p)
    return MixingMeasure([0.3], [[1.0]], np.log(p)[None], np.zeros((1, len(p), 1)))


@pytest.mark.parametrize("K", [2, 3])
def test_distances_of_constant_densities_have_their_closed_form(K):
    p, q = (np.array([0.2, 0.8]), np.array([0.5, 0.5])) if K == 2 else (np.array([0.1, 0.3, 0.6]), np.full(3, 1 / 3))
    G, H = constant(p), constant(q)
    assert total_variation(G, H, DESIGN) == pytest.approx(0.5 * np.abs(p - q).sum(), rel=1e-13)
    assert hellinger(G, H, DESIGN) == pytest.approx(np.sqrt(1 - np.sqrt(p * q).sum()), rel=1e-13)
    assert kullback_leibler(G, H, DESIGN) == pytest.approx((p * np.log(p / q)).sum(), rel=1e-13)


def test_distances_agree_with_adaptive_quadrature():
    G, H = (
        TABLE_2,
        TABLE_2.translate(0.0, 0.0).split(1, 0.4, a=[[0.5, 0.0], [1.4, 0.0]], b=[[[1.0], [0]], [[-2], [0]]]),
    )

    def average(function):
        return quad(lambda x: function(*(density(m, [x])[:, 0] for m in (G, H))), 0, 1, epsabs=1e-12, limit=400)[0]

    assert total_variation(G, H, DESIGN) == pytest.approx(average(lambda g, h: np.abs(g - h).sum() / 2), rel=1e-5)
    assert hellinger(G, H, DESIGN) == pytest.approx(
        average(lambda g, h: np.sqrt(((g**0.5 - h**0.5) ** 2).sum() / 2)), rel=1e-5
    )
    # No kinks here, so that the quadrature is exact to rounding.
    assert kullback_leibler(G, H, DESIGN) == pytest.approx(average(lambda g, h: (g * np.log(g / h)).sum()), rel=1e-9)


@given(SEEDS, st.integers(2, 4), st.integers(1, 2), st.sampled_from(["identity", "tanh"]))
@settings(max_examples=50, deadline=None)
def test_inequalities_between_the_distances(seed, K, d, gate):
    rng = np.random.default_rng(seed)
    G, H = random_measure(rng, 2, K, d), random_measure(rng, 3, K, d)
    x = sample_design(rng.random((1, d)))  # one point: the inequalities hold for each x
    V, h, kl = (f(G, H, x, gate) for f in (total_variation, hellinger, kullback_leibler))
    slack = 1 + 1e-12
    assert h**2 <= V * slack and V <= np.sqrt(2) * h * slack
    assert V <= h * np.sqrt(2 - h**2) * slack
    assert 2 * h**2 <= kl * slack and 0 <= V <= 1
    assert total_variation(H, G, x, gate) == pytest.approx(float(V), rel=1e-12)


def test_total_variation_can_exceed_the_hellinger_distance_in_the_papers_normalisation():
    # p = (0.5 + e, 0.5 - e), q = (0.5, 0.5): V = e and h is about e / sqrt(2).
    G, H = constant([0.51, 0.49]), constant([0.5, 0.5])
    assert total_variation(G, H, DESIGN) > 1.4 * hellinger(G, H, DESIGN)


def test_small_divergences_keep_their_digits():
    # KL of (p + e, 1 - p - e) from (p, 1 - p) is e^2 / (2 p (1 - p)) up to e^3. The sum of g log(g / g') has
    # rounding errors of 1e-17 and could not see it.
    p, e = 0.3, 1e-9
    G, H = constant([p + e, 1 - p - e]), constant([p, 1 - p])
    assert kullback_leibler(G, H, DESIGN) == pytest.approx(e**2 / (2 * p * (1 - p)), rel=1e-5, abs=0)
    assert kullback_leibler(H, H, DESIGN) == 0.0


def test_distances_are_finite_where_a_class_has_almost_no_probability():
    G = MixingMeasure([0.0], [[0.0]], [[600.0, 0.0]], [[[0.0], [0.0]]])
    H = MixingMeasure([0.0], [[0.0]], [[-600.0, 0.0]], [[[0.0], [0.0]]])
    assert kullback_leibler(G, H, DESIGN) == pytest.approx(600.0, rel=1e-12)
    assert total_variation(G, H, DESIGN) == pytest.approx(1.0, rel=1e-12)
    assert hellinger(G, H, DESIGN) == pytest.approx(1.0, rel=1e-12)


def test_distances_do_not_see_translations_and_do_broadcast():
    rng = np.random.default_rng(3)
    G, H = random_measure(rng, 3, 3, 2, (5,)), random_measure(rng, 2, 3, 2)
    design = uniform_design(-1, 1, d=2, nodes=8, panels=2)
    for distance in (total_variation, hellinger, kullback_leibler):
        values = distance(G, H, design)
        assert values.shape == (5,)
        assert distance(G.translate(1.0, [2.0, -1.0]), H, design) == pytest.approx(values, rel=1e-10)
        assert distance(G[3], H, design) == pytest.approx(values[3], rel=1e-12)


def test_uniform_design_integrates_polynomials_on_a_box():
    line = uniform_design(-1.0, 2.0, nodes=3, panels=1)
    assert line.points.shape == (3, 1)
    assert line.mean(line.points[:, 0] ** 5) == pytest.approx((2**6 - 1) / 18, rel=1e-13)
    assert line.mean(line.points[:, 0] ** 6) != pytest.approx((2**7 + 1) / 21, rel=1e-3)
    plane = uniform_design([0.0, -1.0], [1.0, 3.0], d=2, nodes=4, panels=2)
    x, y = plane.points.T
    assert plane.mean(x**3 * y**2) == pytest.approx(1 / 4 * 28 / 12, rel=1e-13)
    cube = uniform_design(d=3, nodes=2, panels=2)
    assert cube.m == 64 and cube.d == 3
    assert cube.mean(cube.points.prod(axis=1)) == pytest.approx(1 / 8, rel=1e-13)


def test_sample_design_is_the_sample_mean():
    x = np.random.default_rng(0).normal(size=(50, 2))
    design = sample_design(x)
    assert design.mean(x[:, 0]) == pytest.approx(x[:, 0].mean(), rel=1e-13)
    with pytest.raises(ValueError, match="read-only"):
        design.points[0] = 0.0


# Bad input

THREE = MixingMeasure([0.0], [[0.0]], np.zeros((1, 3)), np.zeros((1, 3, 1)))
PLANE = MixingMeasure([0.0], [[0.0, 0.0]], np.zeros((1, 2)), np.zeros((1, 2, 2)))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: voronoi_loss(TABLE_2, TABLE_3, 0.5), ValueError, "r: expected an order of at least 1"),
        (lambda: voronoi_loss(TABLE_2, TABLE_3, np.nan), ValueError, "r: expected finite"),
        (lambda: voronoi_loss(TABLE_2, TABLE_3, "2"), TypeError, "r: expected real"),
        (lambda: voronoi_loss(TABLE_2, TABLE_3, gauge="first"), ValueError, "gauge: expected one of as_is"),
        (lambda: voronoi_loss(TABLE_2, None), TypeError, "G_true: expected a MixingMeasure"),
        (lambda: voronoi_loss([1.0], TABLE_2), TypeError, "G: expected a MixingMeasure"),
        (lambda: voronoi_cells(TABLE_2, THREE), ValueError, "K = 3 and d = 1"),
        (lambda: voronoi_cells(TABLE_2, PLANE), ValueError, "K = 2 and d = 2"),
        (
            lambda: voronoi_loss(TABLE_2.broadcast_to((2,)), TABLE_2.broadcast_to((3,))),
            ValueError,
            "batch axes that broadcast",
        ),
        (
            lambda: voronoi_loss(TABLE_2.translate(800.0), TABLE_2),
            ValueError,
            "beta0 of G: expected finite masses",
        ),
        (lambda: voronoi_loss(TABLE_2, TABLE_2.translate(800.0)), ValueError, "beta0 of G_true"),
        (lambda: total_variation(TABLE_2, TABLE_3, [0.5]), TypeError, "design: expected a Design"),
        (lambda: hellinger(TABLE_2, TABLE_3, uniform_design(d=2)), ValueError, "design: expected d = 1"),
        (lambda: kullback_leibler(TABLE_2, THREE, DESIGN), ValueError, "K = 3"),
        (lambda: total_variation(TABLE_2, TABLE_3, DESIGN, "relu"), ValueError, "gate: expected one of"),
        (lambda: uniform_design(1.0, 0.0), ValueError, "low: expected numbers less than high"),
        (lambda: uniform_design(0.0, [1.0, 2.0]), ValueError, "high: expected shape"),
        (lambda: uniform_design(d=4), ValueError, "d: expected 1, 2 or 3"),
        (lambda: uniform_design(d=3, panels=32), ValueError, "panels: expected at most"),
        (lambda: uniform_design(nodes=0), ValueError, "nodes"),
        (lambda: uniform_design(np.inf), ValueError, "low: expected finite"),
        (lambda: sample_design([0.1, np.nan]), ValueError, "x: expected finite"),
        (lambda: sample_design(np.empty((0, 2))), ValueError, "at least one point"),
        (lambda: Design([0.0, 1.0], [0.5]), ValueError, "weights: expected one for each of the 2 points"),
        (
            lambda: Design([0.0, 1.0], [0.5, 0.6]),
            ValueError,
            "weights: expected non-negative numbers of sum 1",
        ),
        (lambda: Design([0.0, 1.0], [1.5, -0.5]), ValueError, "weights: expected non-negative"),
    ],
)
def test_bad_input_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()
