"""The searches find what is known to exist; their derivatives agree with complex steps and differences."""

import numpy as np
import pytest

from logitmoe import MixingMeasure, Theta, total_variation, uniform_design, voronoi_loss
from replication.chapters.regime1 import (
    _Far,
    _Near,
    far_search,
    limit_ratio,
    loss_gradient,
    near_search,
    polish,
)
from replication.pairs import AFFINE_SPLIT_TRUTH, antipodal_pair, gating_copies, swap, swap_diagonal
from replication.paper import TABLE_2, TABLE_3

WIDE = MixingMeasure([0.0, 0.0], [[-1.1], [0.0]], [[-3.3, 0.0], [-3.5, 0.0]], [[[-3.5], [0.0]], [[3.3], [0.0]]])
DESIGN = uniform_design(-3.0, 3.0, nodes=8, panels=4)
UNIT = uniform_design(nodes=8, panels=2)


def to_measure(v, k, K, d):
    return MixingMeasure.from_vector(v, k, K, d, translations=True)


def test_loss_gradient_is_the_derivative_away_from_kinks():
    rng = np.random.default_rng(1)
    k, step = 3, 1e-7
    v = TABLE_2.split(0).to_vector(translations=True) + 0.2 * rng.normal(size=(20, 12))
    loss, gradient = loss_gradient(to_measure(v, k, 2, 1), TABLE_2)
    assert np.allclose(loss, voronoi_loss(to_measure(v, k, 2, 1), TABLE_2, gauge="infimum"))
    numeric = []
    for e in step * np.eye(12):
        up, down = (voronoi_loss(to_measure(v + s * e, k, 2, 1), TABLE_2, gauge="infimum") for s in (1, -1))
        numeric.append((up - down) / (2 * step))
    assert np.mean(np.abs(np.stack(numeric, -1) - gradient) < 1e-5) > 0.97  # other kinks within a step are rare
    assert np.abs(gradient).max() > 0.5


def test_near_coordinates():
    space = _Near(TABLE_2.canonical(), np.array([0, 1, 1]), 1e-3)
    z = space.start(6, np.random.default_rng(0))
    v, log_loss = space.map(z)
    assert np.abs(log_loss).max() < 1e-2  # at the radius
    dv, dlog = space.jacobian(z)
    step = 1e-6
    for p in range(z.shape[1]):
        e = step * np.eye(z.shape[1])[p]
        up, down = space.map(z + e), space.map(z - e)
        assert np.abs((up[0] - down[0]) / (2 * step) - dv[:, p]).max() < 1e-8
        assert np.abs((up[1] - down[1]) / (2 * step) - dlog[:, p]).max() < 1e-6
    distance = voronoi_loss(to_measure(v, 3, 2, 1), TABLE_2, gauge="infimum")
    assert np.all((distance > 1e-4) & (distance < 1e-2))


def smallest(truth, cells, radius, design=DESIGN, n=20):
    return near_search(truth, cells, radius, n, np.random.default_rng(1), design)


def test_near_search_finds_gating_copies_and_only_with_room():
    assert smallest(WIDE, [0, 0, 1, 1], 0.3).ratio[0] < 1e-14
    assert smallest(WIDE, [0, 0, 1], 0.3).ratio[0] > 1e-5
    assert smallest(WIDE, [0, 1], 0.3).ratio[0] > 1e-3


def test_near_search_starts_where_it_is_told():
    copies = gating_copies(TABLE_2, shift=0.5).other.translate(0.0, -0.25).permute([0, 2, 1, 3])
    known, cells, rng = MixingMeasure.stack([copies]), [0, 0, 1, 1], np.random.default_rng(1)
    found = near_search(TABLE_2, cells, 1e-2, 2, rng, UNIT, known=known)
    assert found.ratio.shape == (3,)
    assert found.ratio[0] < 1e-12 < 1e-9 < found.ratio[1]  # the random starts do not reach the copies
    space = _Near(TABLE_2.canonical(), np.array(cells), 1e-2)
    v, log_loss = space.map(space.place(known))
    assert np.abs(log_loss).max() < 1e-2
    assert total_variation(to_measure(v, 4, 2, 1), TABLE_2, UNIT)[0] < 1e-14  # moved to the radius, and still copies
    with pytest.raises(ValueError, match="4 atoms and one batch axis"):
        near_search(TABLE_2, cells, 1e-2, 2, rng, UNIT, known=TABLE_2)


def test_near_search_finds_the_splits():
    assert smallest(AFFINE_SPLIT_TRUTH, [0, 0, 1], 0.3).ratio[0] < 1e-14
    assert smallest(TABLE_3, [0, 1, 1], 0.3, n=40).ratio[0] < 1e-14  # constant split


def test_near_search_finds_the_diagonal_of_the_swap():
    truth = swap_diagonal().measure
    ratios = [smallest(truth, [0, 1], radius).ratio[0] for radius in (1e-1, 1e-2)]
    assert ratios[0] / ratios[1] == pytest.approx(10.0, rel=0.2)


def test_far_search_finds_the_swap_and_the_antipodal_pair():
    for example, k in ((swap(), 2), (antipodal_pair(), 3)):
        found = far_search(example.measure, k, 0.3, 60, np.random.default_rng(1), DESIGN)
        assert found.ratio[0] < 1e-14 and found.distance.min() >= 0.3
    with_tanh = far_search(swap().measure, 2, 0.3, 30, np.random.default_rng(1), DESIGN, "tanh")
    assert with_tanh.ratio[0] > 1e-6


def test_searches_agree_with_the_limit():
    """Near a truth that is not nearly singular the smallest ratio is that of the limit, up to the L2 surrogate."""
    found = smallest(WIDE, [0, 0, 1], 1e-5, n=30)
    limit = limit_ratio(WIDE, 0, DESIGN, np.random.default_rng(0), starts=10)
    assert 0.5 < found.ratio[0] / limit.ratio < 1.1


def test_results_and_polish():
    found = smallest(WIDE, [0, 1, 1], 1e-2, n=8)
    assert found.measure.batch_shape == (8,) and np.all(np.diff(found.ratio) >= 0.0)
    assert np.allclose(found.ratio, total_variation(found.measure, WIDE, DESIGN) / found.distance)
    assert np.allclose(found.distance, voronoi_loss(found.measure, WIDE, gauge="infimum"))
    better = polish(found, WIDE, DESIGN, count=2, max_iter=300)
    assert better.ratio[0] < found.ratio[0] and better.measure.batch_shape == (2,)
    small = Theta.cube(4.0)
    inside = near_search(WIDE, [0, 0, 1], 1e-2, 5, np.random.default_rng(0), DESIGN, theta=small)
    assert small.contains(inside.measure).all()


def test_errors():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="cells"):
        near_search(TABLE_2, [0, 0], 0.1, 5, rng, UNIT)
    with pytest.raises(ValueError, match="least"):
        far_search(TABLE_2, 2, 4.0, 5, rng, UNIT)
    space = _Far(TABLE_2, 2, 0.3, Theta.cube(10.0))
    space._draw = lambda n, rng: np.tile(TABLE_2.to_vector(translations=True), (n, 1))  # never far
    with pytest.raises(ValueError, match="random measures exceed"):
        space.start(5, rng)


@pytest.mark.parametrize(("atom", "gate"), [(0, "identity"), (1, "identity"), (1, "tanh")])
def test_limit_ratio_is_the_limit_along_its_direction(atom, gate):
    """A measure built from the direction and the coefficients has the ratio, but for a remainder of its size."""
    design = uniform_design(-3.0, 3.0, nodes=8, panels=8)
    found = limit_ratio(WIDE, atom, design, np.random.default_rng(0), gate, starts=8)
    c = {str(t): value for t, value in zip(found.terms, found.coefficients, strict=True)}
    names = ("M w_{}" if gate == "tanh" else "x w_{}", "e_{} f_{}'", "x e_{} f_{}'")
    i, j = atom, 1 - atom
    step = 1e-6
    shift = {n: np.array([c[name.format(n + 1, n + 1)] for name in names]) * step / WIDE.mass[n] for n in (i, j)}
    # In the cell of two the term x e f' has a part of second order, d^2 / dbeta1 da, with the gate x.
    # The loss of the over-fitted cell, m size^2, is read off the coefficient of f''.
    size = np.sqrt(step * c[f"e_{i + 1} f_{i + 1}''"] / (0.5 * WIDE.mass[i] * found.direction[1] ** 2))
    if gate == "identity":
        shift[i][2] -= size**2 * found.direction[0] * found.direction[1]
    both = size * np.outer([1.0, -1.0], found.direction) + shift[i]
    atoms = np.stack([WIDE.beta1[:, 0], WIDE.a[:, 0], WIDE.b[:, 0, 0]], axis=-1)
    rows, cells = np.concatenate([atoms[[i]] + both, atoms[[j]] + shift[j]]), np.array([i, i, j])
    mass = WIDE.mass + step * np.array([c["w_1"], c["w_2"]])
    zero = np.zeros(3)
    G = MixingMeasure(
        np.log(mass[cells] * np.where(cells == i, 0.5, 1.0)), rows[:, :1],
        np.stack([rows[:, 1], zero], -1), np.stack([rows[:, 2:], zero[:, None]], -2),
    )  # fmt: skip
    ratio = total_variation(G, WIDE, design, gate) / voronoi_loss(G, WIDE, gauge="infimum")
    assert ratio == pytest.approx(found.ratio, rel=0.02)
    assert found.ratios[0] == found.ratio and np.all(np.diff(found.ratios) >= 0.0)
    assert abs(np.linalg.norm(found.direction) - 1.0) < 1e-12


def test_limit_ratio_is_zero_where_the_second_order_form_degenerates():
    """A constant expert that is split: a quadratic form with a null vector, ratio 0 (constant_split)."""
    found = limit_ratio(TABLE_3, 1, uniform_design(nodes=8, panels=2), np.random.default_rng(0), starts=8)
    assert found.ratio < 1e-12 and abs(abs(found.direction[1]) - 1.0) < 1e-3
