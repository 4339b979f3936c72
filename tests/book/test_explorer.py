"""The explorer, in a browser: what it draws and reads off against the package, at many settings and by keyboard."""

import json
from pathlib import Path

import numpy as np
import pytest

from logitmoe import MixingMeasure, density, voronoi_loss
from replication import pairs, pairs_modified
from replication.paper import TABLE_2, TABLE_3

EXPLORER = Path(__file__).resolve().parents[2] / "book" / "explorer.html"
POINTS = np.arange(101) / 100
TABLES = {"2": TABLE_2, "3": TABLE_3}
PARTS = (('<div class="moe-plots">', '</div>\n<div class="moe-read"'), ('role="status">', "</div>\n<noscript>"))

SET = """
const [mode, table, fractions] = arguments, root = document.getElementById("moe-explorer");
root.querySelector(`input[value=${mode}]`).click();
const select = root.querySelector("select");
select.value = table;
select.dispatchEvent(new Event("change"));
[...root.querySelectorAll("input[type=range]")].forEach((slider, i) => {
  slider.value = Number(slider.min) + fractions[i] * (slider.max - slider.min);
  slider.dispatchEvent(new Event("input"));
});
return root.dataset.state;
"""


@pytest.fixture(scope="module")
def explorer(browser, tmp_path_factory):
    page = tmp_path_factory.mktemp("explorer") / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><title>t</title>{EXPLORER.read_text('utf-8')}", "utf-8")
    browser.get_log("browser")
    browser.get(page.as_uri())
    return browser


def state(browser):
    return json.loads(browser.find_element("id", "moe-explorer").get_attribute("data-state"))


def measure(atoms):
    columns = {key: np.array([atom[key] for atom in atoms], float) for key in ("b0", "b1", "a", "b")}
    zero = np.zeros(len(atoms))
    return MixingMeasure(
        columns["b0"],
        columns["b1"][:, None],
        np.stack([columns["a"], zero], 1),
        np.stack([columns["b"], zero], 1)[..., None],
    )


def from_library(mode, table, v):
    """The pair that the package builds from the same values."""
    if mode == "split":
        return pairs.constant_split(fraction=v["f"], probabilities=[v["p"], 1 - v["p"]])
    if mode == "copies":
        return pairs.gating_copies(TABLES[table], v["g"], v["f"])
    if mode == "translation":
        return pairs.translation(TABLES[table], v["t0"], v["t1"])
    lines = (v["u0"], v["u1"]), (v["v0"], v["v1"])
    return pairs.swap(*lines) if mode == "swap" else pairs_modified.doubling(*lines)


def check(found, pair=None):
    truth, other = (pair.measure, pair.other) if pair else (measure(found["truth"]), measure(found["other"]))
    np.testing.assert_allclose(found["density"], density(other, POINTS)[0], rtol=0, atol=1e-12)
    gap = np.abs(density(other, POINTS) - density(truth, POINTS)).max()
    assert found["gap"] == pytest.approx(gap, abs=1e-12)
    for name, gauge in (("loss", "as_is"), ("infimum", "infimum")):
        expected = float(voronoi_loss(other, truth, 2, gauge=gauge))
        assert found[name] == pytest.approx(expected, rel=1e-9, abs=1e-9), (name, found)


def test_two_hundred_settings_agree_with_the_package(explorer):
    rng = np.random.default_rng(20240601)
    checked = dict.fromkeys(("split", "copies", "swap", "doubling", "translation", "free"), 0)
    while sum(checked.values()) < 200 or min(checked.values()) < 20:
        mode, table = rng.choice(list(checked)), str(rng.choice(["2", "3"]))
        found = json.loads(explorer.execute_script(SET, mode, table, rng.random(6).tolist()))
        if found["other"] is None:  # a split that does not exist: the package refuses it too
            with pytest.raises(ValueError):
                from_library(mode, table, found["values"])
            continue
        check(found)
        if mode != "free":
            check(found, from_library(mode, table, found["values"]))
            assert found["gap"] < 1e-12 < found["loss"], "the density stays and the loss does not"
        checked[mode] += 1


def test_the_explorer_is_moved_by_keyboard(explorer):
    from selenium.webdriver.common.keys import Keys

    explorer.execute_script(SET, "swap", "2", [0.7, 0.8, 0.3, 0.6])
    explorer.find_element("css selector", "input[value=swap]").send_keys(Keys.ARROW_RIGHT)
    before = state(explorer)
    assert before["mode"] == "doubling"
    explorer.find_element("css selector", "input[data-key=u1]").send_keys(Keys.ARROW_RIGHT * 3)
    after = state(explorer)
    assert after["values"]["u1"] == pytest.approx(before["values"]["u1"] + 0.03)
    assert after["loss"] != before["loss"] and after["gap"] < 1e-12
    check(after)


def test_without_script_the_first_setting_is_there(explorer):
    """The static figure in the file is what the script draws first; it needs no request."""
    text = EXPLORER.read_text("utf-8")
    explorer.refresh()
    elements = (explorer.find_element("css selector", f".moe-{part}") for part in ("plots", "read"))
    drawn = [element.get_attribute("innerHTML") for element in elements]
    static = [text.split(start, 1)[1].split(end, 1)[0] for start, end in PARTS]
    assert drawn[0].count("<svg") == 3 and drawn == static
    assert "http" not in text and "import(" not in text and "fetch(" not in text
    assert [entry for entry in explorer.get_log("browser") if entry["level"] == "SEVERE"] == []
