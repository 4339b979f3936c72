"""Stopping rules from one path, pools of settings and their outcomes, and shares of a factorial."""

from base64 import b64decode
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from logitmoe import MixingMeasure, StoppingRule
from logitmoe.losses import voronoi_cells
from replication.chapters import protocol as protocol_module
from replication.chapters.protocol import (
    GAUGES,
    CsvFile,
    Pool,
    judge,
    last_cell_gauge,
    loss_in,
    main_effects,
    pools,
    run_rules,
)
from replication.jobs import SerialExecutor
from replication.paper import FIGURE_1A, FIGURE_1B, FIGURE_2C, FIGURE_2D, TABLE_2
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
# The grid


class Short(StoppingRule):
    """Long paths are cut short: what is tested is which fit goes where."""

    def __init__(self, name, tol=1e-6, max_iter=15):
        super().__init__(name, tol, max_iter)


@pytest.fixture
def serial(monkeypatch):
    for name in ("run_panels", "run_rules"):
        monkeypatch.setattr(protocol_module, name, partial(getattr(protocol_module, name), executor=SerialExecutor()))
    monkeypatch.setattr(protocol_module, "WIDTHS", (0.05, 0.2))
    monkeypatch.setattr(protocol_module, "RULES", ("relative", "absolute"))
    monkeypatch.setattr(protocol_module, "StoppingRule", Short)


def test_a_pool_holds_the_losses_of_its_settings(serial):
    panel = replace(FIGURE_2C, sizes=(10_000, 30_000, 100_000))
    found = pools([panel], {"relative": (3, 4), "others": (2, 3)})
    assert set(found) == {("2c", "relative"), ("2c", "absolute")}
    assert found["2c", "relative"].losses.shape == (4, 2, 2, 3, 4)
    assert found["2c", "absolute"].losses.shape == (4, 2, 2, 2, 3)
    assert found["2c", "absolute"].sizes == (10_000, 100_000) and found["2c", "absolute"].converged < 1.0
    one = replace(panel, replications=4, checkpoints=(), start_sd=0.2, split_mass=False)
    alone = run_panel(one, executor=SerialExecutor())
    for g, gauge in enumerate(GAUGES):
        np.testing.assert_allclose(found["2c", "relative"].losses[g, 1, 1], loss_in(gauge, alone), rtol=1e-9)


def test_a_setting_that_is_far_too_high_is_excluded_and_the_line_itself_is_not():
    rng = np.random.default_rng(3)
    panel = replace(FIGURE_2C, sizes=(10_000, 20_000, 50_000, 100_000))
    noise = rng.exponential(size=(2, 1, 1, 4, 60))
    line = panel.reported(np.array(panel.sizes))[:, None]
    losses = noise * line * np.array([1.0, 30.0])[:, None, None, None, None]
    found = judge(Pool(panel, "relative", panel.sizes, losses, 1.0, 0.0, 3.0), 1)
    assert found.compatible.ravel().tolist() == [True, False]
    assert found.too_high.ravel().tolist() == [False, True]
    assert not (found.differs | found.undecided).any()


def test_the_file_in_the_page_is_the_table():
    page = CsvFile("a.csv", ("x", "y"), (("1", "b"), ("2", "c")))._repr_html_()
    assert b64decode(page.split("base64,")[1].split('"')[0]).decode() == "x,y\n1,b\n2,c\n"


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
