"""The search finds what is known and nothing else; the rates at a split; where the rank condition fails."""

import numpy as np
import pytest

from logitmoe import voronoi_loss
from logitmoe.gates import power
from replication.chapters.copies import (
    CONSTANT_TRUTH,
    GENERIC_TRUTH,
    SPLIT_GATES,
    WIDE_SPLIT,
    fibre_defect,
    find_measures,
    over_fitted_rank,
    pinned_deviations,
    searches,
    split_functions,
    split_paths,
    steep_truth,
)
from replication.pairs_modified import doubling
from replication.paper import TABLE_2
from replication.ranks import certified_rank


def search(name, starts=60):
    truth, k, gate, known = searches()[name]
    return find_measures(truth, k, gate, starts, np.random.default_rng(1)), known


@pytest.mark.parametrize("name", ["generic, $K = 2$", "opposite experts, two atoms", "generic, $K = 3$"])
def test_where_the_theorem_applies_only_refinements_are_found(name):
    found, known = search(name)
    assert not known and len(found.distance) >= 5 and found.others == 0 and found.distance.max() < 0.01


@pytest.mark.parametrize("name", ["softplus truth", "Möbius truth", "two equal class slopes, $K = 3$"])
def test_the_search_finds_the_other_measures_where_there_are_some(name):
    found, known = search(name)
    assert known and found.others >= 3


def test_at_opposite_experts_every_other_measure_is_the_doubling():
    found, _ = search("opposite experts", 100)
    pair = doubling((0.4, 1.9), (0.5, 1.2), "tanh")
    assert found.others >= 2
    distance = voronoi_loss(found.measures, pair.other, 2.0, gauge="infimum")
    assert (distance < 1e-3).sum() == found.others
    np.testing.assert_allclose(found.distance[distance < 1e-3], pair.separation(), atol=1e-4)


def test_with_one_constant_expert_only_splits_are_found():
    found, _ = search("one constant expert", 100)
    assert found.others >= 2  # splits are other measures
    assert fibre_defect(found.measures, CONSTANT_TRUTH, "tanh").max() < 0.02
    control = find_measures(GENERIC_TRUTH, 3, "sin", 40, np.random.default_rng(1))
    assert fibre_defect(control.measures, GENERIC_TRUTH, "sin").min() > 0.1


@pytest.mark.parametrize("gate", ["identity", "tanh", "sin"])
def test_orders_along_the_paths_at_a_split(gate):
    V = split_paths(gate, ("1e-5", "1e-7"), WIDE_SPLIT)
    assert np.log10(V[0] / V[1]) / 2 == pytest.approx(2.0 if gate == "identity" else 1.0, abs=1e-3)


@pytest.mark.parametrize("gate", ["tanh", "cos"])
def test_deviations_at_a_split_are_of_the_order_that_the_paths_say(gate):
    # along a path of first order V / size is at most half the root of the information, and of its order
    V = split_paths(gate, ["1e-8"], WIDE_SPLIT)[0]
    assert 0.1 < V / 1e-8 * pinned_deviations(gate, WIDE_SPLIT)[0] < 0.51


def test_with_the_standard_gate_the_slopes_at_a_split_are_not_determined():
    with pytest.raises(ArithmeticError, match="singular"):
        pinned_deviations("identity")


@pytest.mark.parametrize("gate", SPLIT_GATES)
def test_the_functions_at_a_split_are_independent(gate):
    x, functions = split_functions(gate)
    rank = certified_rank(functions, [x], 0, 1)
    assert rank.proved and rank.independent
    assert rank.size == (7 if gate == "identity" else 8)  # M is x


@pytest.mark.parametrize(
    ("gate", "slope", "rank"), [("sigmoid", 1.0, 10), ("sigmoid", 2.0, 12), ("tanh", 2.0, 10), ("tanh", 1.0, 12)]
)
def test_the_rank_falls_where_the_expert_is_the_gate(gate, slope, rank):
    assert over_fitted_rank(steep_truth(slope), gate) == (rank, 14, rank == 12)


def test_the_rank_condition_holds_for_the_square_which_definition_41_excludes():
    assert over_fitted_rank(TABLE_2, power(2)) == (12, 14, True)
