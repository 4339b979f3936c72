"""The rule for Table 1's rows: which pairs a row covers, and what follows with and without one."""

from dataclasses import replace

import pytest

from replication.pairs import exchange, gating_copies, swap
from replication.pairs_modified import known_pairs
from replication.paper import TABLE_1
from replication.table1 import covers, judge_row
from replication.verdicts import FAILS, NOT_TESTED, READING

REGIME_1, REGIME_2, MODIFIED = TABLE_1


def names(row, gate):
    return {name for name, pair in known_pairs(gate).items() if covers(row, pair)}


def test_which_pairs_each_row_covers():
    splits, antipodal = {"constant split", "two splits"}, {"antipodal pair", "unequal antipodal pair"}
    assert names(REGIME_1, None) == {"affine split", "swap", "parallel lines"} | antipodal
    assert names(REGIME_2, None) == splits
    assert names(MODIFIED, "tanh") == {"affine split", "doubling"} | antipodal | splits
    assert names(MODIFIED, None) == {"Möbius gate"}


def test_a_pair_must_be_of_the_row():
    assert not covers(REGIME_1, exchange().in_gauge("last"))  # one truth has a constant expert
    assert not covers(REGIME_1, gating_copies().in_gauge("last"))  # experts that are not distinct
    assert not covers(REGIME_1, swap(gate="tanh"))  # densities that differ, and another gate
    assert not covers(MODIFIED, swap(gate="tanh"))
    two = swap((0.5, [2.0, 1.0]), (-1.0, [1.0, 0.0]))
    with pytest.raises(ValueError, match="one covariate"):
        covers(REGIME_1, two)


def test_a_promised_rate_fails_by_a_pair_and_is_else_what_is_proved():
    settings = {"proved": ["at Table 2"], "measured": ["for $k = 3$"], "unknown": ["else"]}
    judged = judge_row(REGIME_1, [swap(), exchange()], **settings)
    assert judged.verdict == FAILS
    assert judged.pairs == ("swap ($k \\ge 3$)",)
    assert judged.reading.endswith("swap ($k \\ge 3$). Proved: at Table 2. Measured: for $k = 3$. Open: else.")
    assert judge_row(REGIME_1, [exchange()], proved=["at Table 2"]).verdict == READING
    assert judge_row(REGIME_1, [exchange()], measured=["at Table 2"]).verdict == NOT_TESTED


def test_a_denied_rate_is_proved_by_a_pair():
    splits = known_pairs()["two splits"]
    assert judge_row(REGIME_2, [splits, swap()]).verdict == READING
    assert judge_row(REGIME_2, [splits, swap()]).pairs == ("two splits ($k \\ge 4$)",)
    assert judge_row(REGIME_2, [swap()]).verdict == NOT_TESTED
    assert judge_row(replace(REGIME_2, regime="1"), [swap()]).verdict == READING
