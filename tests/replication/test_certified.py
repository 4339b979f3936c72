"""Interval certificates of the rank condition: they agree with 50-digit ranks, and fail where (R) is false."""

import mpmath
import numpy as np
import pytest

from logitmoe.measure import MixingMeasure
from replication.certified import certify_rank
from replication.pairs import AFFINE_SPLIT_TRUTH, exchange, swap, swap_diagonal
from replication.paper import TABLE_2, TABLE_3
from replication.taylor import patterns, rank_decision, rank_points, taylor_terms


@pytest.mark.parametrize("G", [TABLE_2, exchange().measure, swap().measure], ids=["Table 2", "exchange", "swap"])
def test_condition_is_proved(G):
    for over in patterns(3, 2):
        found = certify_rank(G, over)
        assert found.proved and found.smallest > 0.0
        assert (found.rank, found.functions) == ((11, 13) if any(over) else (6, 8))
        assert found.rank == rank_decision(G, taylor_terms(G, over)).rank


@pytest.mark.parametrize(
    ("G", "over", "rank"),  # the ranks are those of 50 digits
    [
        (swap_diagonal().measure, (False, False), 4),
        (swap_diagonal().measure, (True, False), 9),
        (TABLE_3, (False, True), 8),
        (AFFINE_SPLIT_TRUTH, (True, False), 19),
    ],
    ids=["diagonal", "diagonal, over", "Table 3", "affine split"],
)
def test_nothing_is_proved_where_a_pair_exists(G, over, rank):
    found = certify_rank(G, over, np.linspace(0.0, 1.0, 12))
    assert not found.proved
    assert found.rank == rank < found.functions - 1 - G.d


@pytest.mark.parametrize(("k", "K", "d"), [(3, 2, 1), (2, 3, 1), (2, 2, 2)])
def test_more_atoms_classes_and_covariates(k, K, d):
    rng = np.random.default_rng(7)
    a, b = rng.integers(-128, 129, (k, K)) / 64, rng.integers(-128, 129, (k, K, d)) / 64
    G = MixingMeasure(rng.integers(-64, 65, k) / 64, rng.integers(-256, 257, (k, d)) / 64, a, b).canonical()
    for over in patterns(k + 1, k):
        found = certify_rank(G, over)
        assert found.proved and found.rank == found.functions - 1 - d


def test_scattered_points_see_what_a_grid_does_not():
    """An expert that depends on one covariate: its functions are dependent on the grid, and nowhere else."""
    a, b = np.array([[0.5, 0.0], [-1.0, 0.0]]), np.array([[[1.0, 0.75], [0.0, 0.0]], [[0.0, -2.0], [0.0, 0.0]]])
    G, over = MixingMeasure([0.5, 0.0], [[1.5, -1.0], [0.0, 0.0]], a, b), (False, True)
    grid = rank_points(taylor_terms(G, over))
    assert not certify_rank(G, over, grid).proved
    assert certify_rank(G, over).proved


def test_precision_of_the_interval_context_is_restored():
    before = mpmath.iv.dps
    certify_rank(TABLE_2, (False, False), digits=33)
    assert mpmath.iv.dps == before


def test_arguments():
    with pytest.raises(ValueError, match="fitted once"):
        certify_rank(TABLE_2, (True, True))
    with pytest.raises(ValueError, match="as many values"):
        certify_rank(TABLE_2, (True, False), np.linspace(0.0, 1.0, 5))
    with pytest.raises(ValueError, match="batch axes"):
        certify_rank(MixingMeasure.stack([TABLE_2, TABLE_2]), (True, False))
