"""Experiments of a printed size, simulated from pools: their lines, the size of the tests, and cut losses."""

import numpy as np
import pytest

from replication.experiments import (
    CUT,
    compare,
    false_alarms,
    pool_sizes,
    rounding,
    simulate,
    tick_sizes,
    truncated,
)
from replication.panels import ReportedLine

SIZES = np.array([1e4, 2e4, 5e4, 1e5])


def test_losses_without_noise_give_their_own_line():
    losses = 7.0 * SIZES[:, None] ** -0.4 * np.ones((4, 3))
    made = simulate(SIZES, np.stack([losses, 2.0 * losses]), SIZES, rng=np.random.default_rng(0), count=5)
    assert made.size == pytest.approx(np.exp(np.log(SIZES).mean()))
    np.testing.assert_allclose(made.slope, -0.4, atol=1e-12)
    level = np.log(7.0) - 0.4 * np.log(made.size)
    np.testing.assert_allclose(made.log_level, np.array([[level, level + np.log(2.0)]] * 5), atol=1e-12)
    np.testing.assert_allclose(made.spike, 0.0, atol=1e-12)


def test_between_the_pools_the_expected_loss_is_linear_in_log_n():
    losses = np.array([[1.0, 1.0], [3.0, 3.0]])
    every = np.geomspace(1e4, 1e5, 5)
    made = simulate([1e4, 1e5], losses, every, rng=np.random.default_rng(1), replications=4000, count=20)
    expected = np.log(np.linspace(1.0, 3.0, 5))
    u = np.log(every) - np.log(every).mean()
    assert made.slope.mean() == pytest.approx((u @ expected) / (u @ u), abs=0.01)
    assert made.log_level.mean() == pytest.approx(expected.mean(), abs=0.01)


def test_a_spike_is_what_rises_above_the_line():
    losses = np.ones((4, 2))
    losses[1] = 50.0
    made = simulate(SIZES, losses, SIZES, rng=np.random.default_rng(2), count=3)
    logs = np.log(losses[:, 0])
    line = np.polyval(np.polyfit(np.log(SIZES), logs, 1), np.log(SIZES))
    np.testing.assert_allclose(made.spike, (logs - line).max(), rtol=1e-9)


def test_the_spread_is_that_of_the_pool_and_of_the_experiment():
    rng = np.random.default_rng(3)
    losses = rng.exponential(size=(4, 400))
    made = simulate(SIZES, losses, SIZES, rng=rng, replications=100, count=4000)
    # log(mean of m) has variance about 1 / m; the level is the mean of four, and the pool has noise of its own.
    expected = np.sqrt((1.0 / 100 + 1.0 / 400) / 4)
    assert made.log_level.std() == pytest.approx(expected, rel=0.1)


def test_the_tests_reject_about_as_many_replicates_as_they_say():
    rng, trials, line = np.random.default_rng(4), 150, ReportedLine(-0.4, 3.123456789, True, "a test")
    rejected = high = 0
    u = np.log(SIZES) - np.log(SIZES).mean()
    for _ in range(trials):
        pool, other = (rng.exponential(size=(4, R)) * line(SIZES)[:, None] for R in (80, 40))
        logs = np.log(other.mean(axis=1))
        slope = float(u @ logs / (u @ u))
        constant = float(logs.mean() - slope * np.log(SIZES).mean())
        found = compare(ReportedLine(slope, constant, True, "a test"), SIZES, pool, SIZES, rng=rng, count=200)
        rejected, high = rejected + found.differs, high + found.too_high
    assert rejected / trials <= 0.11 and high / trials <= 0.08  # nominal 0.05 and 0.025
    assert rejected > 0


def test_a_line_far_below_is_too_high_and_one_far_above_is_different():
    losses = np.random.default_rng(5).exponential(size=(4, 60))
    found = compare(ReportedLine(0.0, 0.05, False, "a test"), SIZES, losses, SIZES, rng=np.random.default_rng(6))
    assert found.too_high and found.z_too_high > 5.0 and found.outcome(0.5) == "too high"
    found = compare(ReportedLine(0.0, 20.0, False, "a test"), SIZES, losses, SIZES, rng=np.random.default_rng(6))
    assert not found.too_high and found.differs
    assert found.outcome(0.05) == "different" and found.outcome(0.5) == "undecided"
    assert found.ratio == pytest.approx(1.0 / 20.0, rel=0.2)


def test_one_huge_loss_does_not_make_a_setting_too_high():
    losses = 0.1 * np.ones((4, 40))
    losses[:, 0] = 1e6  # the means are far above the line; all but one loss are far below it
    line = ReportedLine(0.0, 1.0, False, "a test")
    found = compare(line, SIZES, losses, SIZES, rng=np.random.default_rng(7))
    assert found.ratio > 10.0 and not found.too_high
    assert truncated(SIZES, losses, line).max() == CUT


def test_false_alarms_rise_where_single_fits_dominate():
    rng = np.random.default_rng(8)
    light = false_alarms(SIZES, rng.exponential(size=(30, 4, 80)), rng=rng, trials=4).mean()
    heavy = false_alarms(SIZES, np.exp(4.0 * rng.normal(size=(30, 4, 80))), rng=rng, trials=4).mean()
    assert light < 0.10 < heavy


def test_rounding_of_printed_numbers():
    assert rounding(ReportedLine(-0.48195, 4.8, True, "1a"), np.e**10) == pytest.approx((5e-6, 0.05 + 5e-5))
    assert rounding(ReportedLine(-0.34, 1028.7, False, "2a"), np.e**10) == pytest.approx((0.005, 0.05 + 0.05 / 1028.7))


def test_pool_sizes_span_all_sizes():
    sizes = tuple(range(100, 1001, 10))
    assert pool_sizes(sizes, 3) == (100, 320, 1000)
    with pytest.raises(ValueError, match="count"):
        pool_sizes((3, 5), 3)


def test_where_a_curve_begins_by_its_ticks():
    low, high = tick_sizes(10.0, 0.5, 100_000)
    for begin, shown in ((low * 1.001, [10.0]), (low * 0.999, [9.5, 10.0]), (high * 1.001, [])):
        left = np.log(begin) - 0.05 * (np.log(100_000) - np.log(begin))
        assert [tick for tick in (9.0, 9.5, 10.0) if tick >= left] == shown


@pytest.mark.parametrize(
    ("sizes", "losses", "every", "word"),
    [
        ([2.0, 1.0], np.ones((2, 3)), [1.0, 2.0], "sizes"),
        ([1.0, 2.0], np.ones((2, 1)), [1.0, 2.0], "losses"),
        ([1.0, 2.0], -np.ones((2, 3)), [1.0, 2.0], "losses"),
        ([1.0, 2.0], np.zeros((2, 3)), [1.0, 2.0], "losses"),
        ([1.0, 2.0], np.ones((2, 3)), [1.0, 3.0], "every"),
    ],
)
def test_bad_pools_are_refused(sizes, losses, every, word):
    with pytest.raises(ValueError, match=word):
        simulate(sizes, losses, every, rng=np.random.default_rng(0))
