"""The order of atoms: one that depends on nothing else, and the one nearest to another measure."""

from itertools import permutations

import numpy as np
import pytest

from logitmoe import MixingMeasure, density, random_start


def test_sorted_is_the_same_for_every_order_and_gauge():
    rng = np.random.default_rng(0)
    G = random_start(4, 3, 2, rng, size=(2, 3)).translate(0.7, -1.0)
    equal = MixingMeasure(np.zeros((2, 3, 4)), G.beta1, G.a, G.b)  # of equal masses
    for H in (G, equal):
        expected = H.sorted()
        for order in permutations(range(4)):
            assert H.permute(order).sorted().allclose(expected, atol=0.0)
        assert (np.diff(expected.beta0) <= 0.0).all()
        x = rng.normal(size=(5, 2))
        np.testing.assert_allclose(density(expected, x), density(H, x), rtol=1e-12)
        assert H.translate(2.0, 3.0).sorted().in_gauge("last").allclose(expected.in_gauge("last"), atol=1e-12)
    assert (equal.sorted().beta1[..., 0].argsort(axis=-1) == np.arange(4)).all()


def test_aligned_undoes_permutations_for_each_measure_of_a_batch():
    rng = np.random.default_rng(1)
    G = random_start(4, 3, 2, rng)
    noisy = []
    for seed in range(24):
        order = np.random.default_rng(seed).permutation(4)
        H = MixingMeasure(*(v + 0.01 * rng.normal(size=v.shape) for v in vars(G).values()))
        noisy.append(H.permute(order).translate(rng.normal(), rng.normal(size=2)))
    fits = MixingMeasure.stack(noisy).reshape((4, 6))
    back = fits.aligned(G).in_gauge("last").canonical()
    assert back.batch_shape == (4, 6)
    np.testing.assert_allclose(back.to_vector() - G.to_vector(), 0.0, atol=0.2)
    assert np.abs(fits.to_vector() - G.to_vector()).max() > 1.0  # the control
    shifted = MixingMeasure(fits.beta0, fits.beta1, fits.a + 3.0, fits.b - 2.0)  # another class reference
    assert shifted.aligned(G).canonical().in_gauge("last").allclose(back, atol=1e-9)


def test_aligned_is_the_best_of_all_orders():
    rng = np.random.default_rng(2)
    G, H = random_start(3, 2, 1, rng), random_start(3, 2, 1, rng)

    def distance(A):
        both = [m.in_gauge("mean") for m in (A, G)]
        parts = [np.concatenate([m.beta0, m.beta1.ravel(), (m.a - m.a.mean(-1, keepdims=True)).ravel(),
                                 (m.b - m.b.mean(-2, keepdims=True)).ravel()]) for m in both]  # fmt: skip
        return np.square(parts[0] - parts[1]).sum()

    best = min(distance(H.permute(order)) for order in permutations(range(3)))
    assert distance(H.aligned(G)) == pytest.approx(best, rel=1e-12)
    assert distance(H.permute([2, 0, 1]).aligned(G)) == pytest.approx(best, rel=1e-12)


def test_measures_of_another_model_are_not_aligned():
    rng = np.random.default_rng(3)
    with pytest.raises(ValueError, match="other: expected a measure of k = 2, K = 2 and d = 1"):
        random_start(2, 2, 1, rng).aligned(random_start(3, 2, 1, rng))
