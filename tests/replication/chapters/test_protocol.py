"""Stopping rules from one path, lines with their noise, and shares of a factorial."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from logitmoe import MixingMeasure, StoppingRule
from logitmoe.losses import voronoi_cells
from replication.chapters import protocol as protocol_module
from replication.chapters.protocol import (
    fit_lines,
    last_cell_gauge,
    line_weights,
    main_effects,
    representative_sizes,
    rounding,
    run_rules,
)
from replication.jobs import SerialExecutor
from replication.lines import power_law
from replication.panels import ReportedLine
from replication.paper import FIGURE_1A, FIGURE_1B, FIGURE_2C, FIGURE_2D, FIGURES, TABLE_2
from replication.runner import run_panel
from replication.starts import near_truth

RULES = [StoppingRule(name, max_iter=60) for name in ("relative", "absolute", "parameters")]
SMALL = {"sizes": (10_000, 20_000, 40_000), "replications": 2, "checkpoints": (1, 5, 20)}


def small(panel, **change):
    return replace(panel, **(SMALL | change))


# ------------------------------------------------------------------------------------------------------------
# One path, several rules


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("panel", [FIGURE_1A, FIGURE_2D], ids=lambda panel: panel.name)
def test_each_rule_stops_where_its_own_run_stops(panel, rule):
    panel = small(panel, start_sd=0.2)
    together = run_rules([panel], RULES, executor=SerialExecutor())[0][rule.name]
    alone = run_panel(replace(panel, stopping=rule), executor=SerialExecutor())
    assert (together.n_iter == alone.n_iter).all() and (together.reason == alone.reason).all()
    assert (together.at_bound == alone.at_bound).all() and together.panel.stopping == rule
    np.testing.assert_allclose(together.loss("infimum").total, alone.loss("infimum").total, rtol=1e-9)
    np.testing.assert_allclose(together.path_loss().total, alone.path_loss().total, rtol=1e-9)
    np.testing.assert_allclose(together.path_log_likelihood, alone.path_log_likelihood, rtol=1e-12)


def test_the_rules_do_stop_at_different_iterations():
    panel = small(FIGURE_1A, start_sd=0.2)
    loose = [
        StoppingRule("relative", max_iter=60),
        StoppingRule("absolute", 1e-2, 60),
        StoppingRule("parameters", 1e-2, 60),
    ]
    found = run_rules([panel], loose, executor=SerialExecutor())[0]
    iterations = [found[rule.name].n_iter for rule in loose]
    assert all((a != b).any() for a, b in zip(iterations, iterations[1:], strict=False))
    for rule in loose:
        alone = run_panel(replace(panel, stopping=rule), executor=SerialExecutor())
        assert (found[rule.name].n_iter == alone.n_iter).all()


def test_panels_of_several_gates_starts_and_sizes_of_theta_run_together(monkeypatch):
    monkeypatch.setattr(protocol_module, "CHUNK", 4)
    panels = [small(FIGURE_1A), small(FIGURE_1B, start_sd=0.2, split_mass=False), small(FIGURE_2C)]
    panels.append(small(FIGURE_1A, name="narrow", theta=replace(FIGURE_1A.theta, beta1=3.0)))
    together = run_rules(panels, RULES, executor=SerialExecutor())
    for panel, found in zip(panels, together, strict=True):
        alone = run_rules([panel], RULES, executor=SerialExecutor())[0]
        for rule in RULES:
            np.testing.assert_allclose(found[rule.name].loss().total, alone[rule.name].loss().total, rtol=1e-9)
    gap = together[0]["absolute"].measure.beta1 - together[3]["absolute"].measure.beta1
    assert np.abs(gap).max() > 1e-3  # Theta is not shared by mistake


def test_processes_give_the_same_bits(monkeypatch):
    panels = [small(FIGURE_1A), small(FIGURE_1B)]
    one = run_rules(panels, RULES, executor=SerialExecutor())
    with ProcessPoolExecutor(2) as pool:
        two = run_rules(panels, RULES, executor=pool)
    for a, b in zip(one, two, strict=True):
        for rule in RULES:
            assert (a[rule.name].loss().total == b[rule.name].loss().total).all()


def test_fits_that_need_more_nodes_get_them(monkeypatch):
    panel = small(FIGURE_1A, start_sd=0.5)
    monkeypatch.setattr("logitmoe.compression.FIRST_NODES", 16)
    monkeypatch.setattr(protocol_module, "COMPRESSION_TOL", 1.0)
    few = run_rules([panel], RULES, executor=SerialExecutor())[0]["parameters"]
    monkeypatch.setattr(protocol_module, "COMPRESSION_TOL", np.sort(few.compression_error.ravel())[-2])
    more = run_rules([panel], RULES, executor=SerialExecutor())[0]["parameters"]
    assert (few.order == 16).all() and sorted(more.order.flat) == [16] * 5 + [32]
    assert more.order.flat[few.compression_error.argmax()] == 32
    assert more.compression_error.max() < few.compression_error.max()
    np.testing.assert_allclose(more.loss().total, few.loss().total, rtol=1e-4)


@pytest.mark.parametrize(
    ("panels", "rules", "error", "word"),
    [
        ([], RULES, ValueError, "panels"),
        ([FIGURE_1A, FIGURE_1A], RULES, ValueError, "panels"),
        (["1a"], RULES, TypeError, "panels"),
        ([FIGURE_1A], [RULES[0], RULES[0]], ValueError, "rules"),
        ([FIGURE_1A], [RULES[0], StoppingRule("absolute")], ValueError, "rules"),
        ([FIGURE_1A], ["relative"], TypeError, "rules"),
        ([replace(FIGURE_1A, order=None)], RULES, ValueError, "panels"),
    ],
)
def test_bad_runs_are_refused(panels, rules, error, word):
    with pytest.raises(error, match=word):
        run_rules(panels, rules, executor=SerialExecutor())


# ------------------------------------------------------------------------------------------------------------
# A gauge


def test_the_atom_of_the_true_last_cell_is_pinned():
    rng = np.random.default_rng(5)
    fits = near_truth(TABLE_2, 4, rng, size=(5, 3), sd=0.1).translate(rng.normal(size=(5, 3)), 0.3)
    moved = last_cell_gauge(fits, TABLE_2)
    cells = voronoi_cells(fits, TABLE_2)
    seen = 0
    for index in np.ndindex(5, 3):
        inside = np.flatnonzero(cells[index] == 1)
        atom = inside[-1] if inside.size else 3
        seen += atom != 3
        assert moved.beta0[index][atom] == 0.0 and moved.beta1[index][atom, 0] == 0.0
        shift = moved.beta0[index] - fits.beta0[index]
        np.testing.assert_allclose(shift, shift[0], atol=1e-14)
    assert seen > 0  # it is not the gauge "last"


def test_an_empty_cell_leaves_the_last_atom():
    both = TABLE_2.split(0)
    alone = MixingMeasure(both.beta0[:2], both.beta1[:2], both.a[:2], both.b[:2])  # both near the true first atom
    moved = last_cell_gauge(alone, TABLE_2)
    assert moved.beta0[1] == 0.0 and moved.beta1[1, 0] == 0.0


# ------------------------------------------------------------------------------------------------------------
# Sizes


def test_representative_sizes():
    assert representative_sizes(range(100), 2) == (21, 78)  # 50 (1 -+ 3^-1/2) - 1/2, rounded
    for panel in FIGURES:
        sizes = representative_sizes(panel.sizes, 6)
        assert len(sizes) == 6 and set(sizes) <= set(panel.sizes) and list(sizes) == sorted(sizes)
    with pytest.raises(ValueError, match="count"):
        representative_sizes((3, 5), 3)


@pytest.mark.parametrize("panel", FIGURES, ids=lambda panel: panel.name)
def test_few_sizes_give_the_line_of_all_sizes(panel):
    every = np.array(panel.sizes)
    few = np.array(representative_sizes(panel.sizes, 6))
    weights = line_weights(few, every)
    for curve in (lambda u: 0.4 * (u - 11.0) ** 2 - 0.5 * u, lambda u: 0.1 * (u - 10.5) ** 3 - u):
        slope, level = weights @ curve(np.log(few))
        line = np.polyfit(np.log(every), curve(np.log(every)), 1)
        assert slope == pytest.approx(line[0], abs=1e-9)
        assert level == pytest.approx(np.polyval(line, np.log(every).mean()), abs=1e-9)
    smooth = np.log(20.0 / every**0.5 + 0.05)  # not a polynomial in log(n)
    assert weights[0] @ np.log(20.0 / few**0.5 + 0.05) == pytest.approx(
        np.polyfit(np.log(every), smooth, 1)[0], abs=2e-3
    )
    # The noise of the slope is no larger than that of the least-squares line of as many fits at all sizes.
    u = np.log(every) - np.log(every).mean()
    assert 6 * (weights[0] ** 2).sum() < len(every) / (u**2).sum()


def test_weights_for_all_sizes_are_those_of_least_squares():
    sizes = np.array([1.0, 2.0, 5.0, 7.0, 9.0])
    u = np.log(sizes) - np.log(sizes).mean()
    np.testing.assert_allclose(line_weights(sizes, sizes), [u / (u**2).sum(), np.full(5, 0.2)], atol=1e-12)


@pytest.mark.parametrize(("sizes", "every"), [([1, 2, 3], [1, 2, 3]), ([1, 2, 3, -4], [1, 2]), ([1, 2, 3, 4], [1, 1])])
def test_bad_sizes_are_refused(sizes, every):
    with pytest.raises(ValueError, match="sizes|every"):
        line_weights(sizes, every)


# ------------------------------------------------------------------------------------------------------------
# Lines


def test_lines_are_those_of_power_law():
    rng = np.random.default_rng(1)
    sizes = np.array([1e4, 2e4, 5e4, 1e5])
    losses = rng.exponential(size=(3, 4, 30)) * sizes[:, None] ** -0.5
    lines = fit_lines(sizes, losses, rng=rng)
    for i in range(3):
        one = power_law(sizes / lines.size, losses[i], rng=rng)
        assert lines.slope[i] == pytest.approx(one.slope, abs=1e-12)
        assert lines.log_level[i] == pytest.approx(one.log_constant, abs=1e-12)
        widen = np.sqrt(30 / 29)
        theirs = (one.slope_interval, one.slope), (one.log_constant_interval, one.log_constant)
        for mine, (interval, centre) in zip(lines.intervals(), theirs, strict=True):
            np.testing.assert_allclose(mine[i], centre + widen * (np.array(interval) - centre), atol=0.03)


def test_slope_and_level_are_nearly_uncorrelated():
    rng = np.random.default_rng(2)
    lines = fit_lines([1e4, 2e4, 5e4, 1e5], rng.exponential(size=(4, 200)), rng=rng, resamples=4000)
    assert abs(np.corrcoef(lines.slopes, lines.log_levels)[0, 1]) < 0.15


def test_the_box_holds_a_line_of_the_same_setting_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    sizes = np.array([1e4, 2e4, 5e4, 1e5])
    trials, other = 400, 120
    first, second = (rng.exponential(size=(trials, 4, R)) * sizes[:, None] ** -0.4 for R in (40, other // 4))
    lines, theirs = fit_lines(sizes, first, rng=rng, resamples=2000), fit_lines(sizes, second, rng=rng, resamples=2)
    hits = 0
    for i in range(trials):
        log_constant = float(theirs.log_level[i] - theirs.slope[i] * np.log(theirs.size))
        line = ReportedLine(float(theirs.slope[i]), log_constant, True, "a test")
        hits += bool(lines.agrees_with(line, other_fits=other)[i])
    assert 0.92 <= hits / trials <= 0.99  # nominal 0.95, standard error 0.011


def test_a_box_is_wider_against_a_noisy_line_and_a_rounded_one():
    rng = np.random.default_rng(4)
    lines = fit_lines([1e4, 1e5], rng.exponential(size=(2, 30)), rng=rng)
    exact = ReportedLine(-0.123456789012, 1.123456789012, True, "a test")
    width = [np.ptp(lines.box(line, other_fits=fits), axis=-1) for line, fits in ((exact, np.inf), (exact, 60))]
    assert width[1] == pytest.approx(width[0] * np.sqrt(2.0), rel=1e-9)
    rough = ReportedLine(-0.1, 1.1, True, "a test")
    assert np.ptp(lines.box(rough), axis=-1) == pytest.approx(width[0] + 2 * np.array(rounding(rough, lines.size)))


@pytest.mark.parametrize("stretch", [1.0, 2.0])
def test_near_is_inside_the_box(stretch):
    rng = np.random.default_rng(7)
    lines = fit_lines([1e4, 1e5], rng.exponential(size=(300, 2, 10)), rng=rng)
    line = ReportedLine(-0.12, 1.2, False, "a test")
    box = lines.box(line, stretch=stretch, other_fits=40)
    point = np.array([line.slope, np.log(line(lines.size))])
    inside = ((box[..., 0] <= point) & (point <= box[..., 1])).all(axis=-1)
    near = lines.agrees_with(line, stretch=stretch, other_fits=40)
    assert (inside == near).all() and 3 < near.sum() < 297
    at_end = lines.distance(lines.slope, lines.intervals(0.975)[1][:, 1])
    assert at_end == pytest.approx(np.ones(300)) and (lines.distance(lines.slope, lines.log_level) == 0.0).all()


def test_rounding_of_printed_numbers():
    assert rounding(ReportedLine(-0.48195, 4.8, True, "1a"), np.e**10) == pytest.approx((5e-6, 0.05 + 5e-5))
    assert rounding(ReportedLine(-0.34, 1028.7, False, "2a"), np.e**10) == pytest.approx((0.005, 0.05 + 0.05 / 1028.7))


@pytest.mark.parametrize(
    ("sizes", "losses", "word"),
    [
        ([1.0, 2.0], np.ones((3, 4)), "losses"),
        ([1.0, 2.0], np.ones((2, 1)), "losses"),
        ([1.0, 1.0], np.ones((2, 4)), "sizes"),
        ([1.0, 2.0], np.zeros((2, 4)), "losses"),
        ([1.0, 2.0], -np.ones((2, 4)), "losses"),
    ],
)
def test_bad_losses_are_refused(sizes, losses, word):
    with pytest.raises(ValueError, match=word):
        fit_lines(sizes, losses, rng=np.random.default_rng(0))


# ------------------------------------------------------------------------------------------------------------
# Shares


def test_shares_of_a_sum_of_effects():
    a, b, c = np.array([0.0, 3.0]), np.array([0.0, 1.0, 2.0]), np.zeros(2)
    shares = main_effects(a[:, None, None] + b[:, None] + c, ["a", "b", "c"])
    var = np.array([a.var(), b.var()])
    assert shares["a"] == pytest.approx(var[0] / var.sum()) and shares["b"] == pytest.approx(var[1] / var.sum())
    assert all(abs(shares[name]) < 1e-12 for name in ("c", "a x b", "a x c", "b x c", "rest"))


def test_shares_of_interactions():
    sign = np.array([-1.0, 1.0])
    pair = main_effects(sign[:, None, None] * sign[:, None] * np.ones(3), ["a", "b", "c"])
    assert pair["a x b"] == pytest.approx(1.0) and abs(pair["rest"]) < 1e-12
    triple = main_effects(sign[:, None, None] * sign[:, None] * sign, ["a", "b", "c"])
    assert triple["rest"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="names"):
        main_effects(np.eye(2), ["a"])
    with pytest.raises(ValueError, match="values"):
        main_effects(np.ones((2, 2)), ["a", "b"])
