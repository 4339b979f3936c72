"""What a reader meets first: the landing page, the badges, the ledger with its filter, the numbers of our theorems."""

import re

import pytest
from pages import HTML, PAGES
from selenium.webdriver.common.keys import Keys

from replication.ledger import CLAIMS, ICONS
from replication.verdicts import NUMBERED, collect

LANDING, LEDGER = "book/introduction.html", "book/ledger.html"
CHAPTERS = [page for page in PAGES if page.startswith("book/")]
#: Chapters whose plumbing is hidden.
EDITED = (
    *("introduction", "ledger", "model", "identifiability", "density_rate", "voronoi", "regime1", "three_atoms"),
    *("regime2", "modified_gating", "copies", "implications", "simulations", "protocol", "asymptotics"),
    *("polynomial_rate", "references", "run", "cite", "corrections", "coming_from", "your_data"),
)
OF_THE_PAPER = [name for name in NUMBERED if name.split()[0] in ("Theorem", "Proposition", "Figure")]
STORED = collect(sorted((HTML.parents[1] / "book").glob("*.ipynb")))


def opened(browser, page, width=1400, height=1000):
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get((HTML / page).as_uri())
    return browser


def rows(browser, table):
    """The rows that are shown, each the texts of its cells."""
    script = """return [...document.querySelectorAll(arguments[0] + " tbody tr")].filter(row => !row.hidden)
      .map(row => [...row.cells].map(cell => cell.innerText.trim()))"""
    return browser.execute_script(script, table)


def test_the_first_screen_says_what_was_reproduced(browser):
    opened(browser, LANDING)
    table = browser.find_element("css selector", "article table")
    assert table.location["y"] < 700, "the table's top is below the first screen"
    shown = rows(browser, "article table:first-of-type")[: len(CLAIMS) + 1]
    assert [row[0] for row in shown[: len(CLAIMS)]] == [claim[0] for claim in CLAIMS]
    badges = table.find_elements("css selector", "tbody a[href] .verdict-badge")
    assert len(badges) >= len(shown)
    for row in shown:
        assert row[1] and row[-1].endswith("."), row


def test_the_landing_page_names_every_theorem_proposition_and_figure(browser):
    opened(browser, LANDING)
    script = """return [...document.querySelectorAll("a[href*='#verdict-']")].filter(a => a.querySelector(
      ".verdict-badge, rect")).map(a => (a.getAttribute("href") || "").split("#")[1])"""
    linked = set(browser.execute_script(script))
    by_item = {name: {v.anchor for there in STORED.values() for v in there if name in v.items} for name in OF_THE_PAPER}
    assert [name for name, anchors in by_item.items() if not anchors & linked] == []


def test_the_landing_page_shows_no_code(browser):
    opened(browser, LANDING)
    code = browser.find_elements("css selector", "article div.cell_input pre")
    assert [cell.text for cell in code if cell.is_displayed()] == []


@pytest.mark.parametrize("page", [page for page in CHAPTERS if page != "book/api.html"])  # numpydoc's notes: id1 twice
def test_anchors_are_unique_and_nothing_of_the_plumbing_is_shown(browser, page):
    opened(browser, page)
    ids = browser.execute_script("return [...document.querySelectorAll('article [id]')].map(e => e.id)")
    assert sorted({name for name in ids if ids.count(name) > 1}) == []
    if page in [f"book/{name}.html" for name in EDITED]:
        text = browser.execute_script("return document.querySelector('article').innerText")
        assert not re.search(r"\bglue\(|\bVerdict\(\n|rows\.append", text)


SIDEWAYS = """return [...document.querySelectorAll("article div.cell pre")].filter(
  e => e.checkVisibility() && !e.closest("details:not([open])") && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.innerText)"""


@pytest.mark.parametrize("stem", [path.stem for path in STORED])
def test_neither_code_nor_what_it_prints_scrolls_sideways(browser, stem):
    opened(browser, f"book/{stem}.html")
    assert browser.execute_script(SIDEWAYS) == []


# The alpha of the background of each verdict's title, and of what the theme lays over it (no alpha: opaque).
TITLES = r"""
document.documentElement.dataset.theme = arguments[0];
return [...document.querySelectorAll("div.verdict-box > .admonition-title")].flatMap(title =>
  [getComputedStyle(title), getComputedStyle(title, "::before")].map(({backgroundColor: colour}) =>
    Number((/(?:\/|rgba.*,) *([\d.]+)\)$/.exec(colour) || [0, 1])[1])));
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_titles_of_verdicts_are_on_a_tint(browser, theme):
    """axe-core does not see what a pseudo-element covers."""
    opened(browser, "book/density_rate.html")
    alphas = browser.execute_script(TITLES, theme)
    assert alphas and max(alphas) < 0.2


@pytest.mark.parametrize("stem", ["regime1", "simulations"])
def test_the_code_of_a_figure_is_found_from_its_legend(browser, stem):
    opened(browser, f"book/{stem}.html")
    legends = browser.find_elements("css selector", "figure p.figure-files")
    figures = browser.find_elements("css selector", "figure[id]")
    assert len(legends) == len(figures) > 0
    for legend in legends:
        (anchor,) = re.findall(r'href="#(code-[\w-]+)"', legend.get_attribute("innerHTML"))
        cell = browser.find_element("id", anchor)
        assert cell.find_elements("css selector", "div.cell_input pre"), "the cell's code is on the page"
        assert re.search(rf"Code: cell \d+ of {stem}\.ipynb", legend.text)


@pytest.mark.parametrize("stem", [path.stem for path, there in STORED.items() if there])
def test_a_chapter_lists_its_verdicts_under_its_title(browser, stem):
    opened(browser, f"book/{stem}.html")
    expected = [v.anchor for path, there in STORED.items() if path.stem == stem for v in there]
    links = browser.find_elements("css selector", "section > h1 + .verdict-list a")
    assert [link.get_attribute("href").split("#")[1] for link in links] == expected
    anchored = browser.execute_script("return arguments[0].map(id => !!document.getElementById(id))", expected)
    assert all(anchored)


def test_badges_differ_without_colours(browser):
    opened(browser, LEDGER)
    texts = {badge.text for badge in browser.find_elements("css selector", ".verdict-badge") if badge.text}
    assert len(texts) >= 5 and texts <= {f"{icon} {words}" for words, icon in ICONS.items()}
    assert len({text[0] for text in texts}) == len({text[2:] for text in texts}) == len(texts)


def focused(browser):
    return browser.switch_to.active_element


def test_the_ledger_is_filtered_and_sorted_by_keyboard(browser):
    opened(browser, LEDGER)
    everything = rows(browser, "table.ledger")
    browser.find_element("css selector", ".ledger-tools input").send_keys("theorem 3.1")
    some = rows(browser, "table.ledger")
    assert 0 < len(some) < len(everything) and all("Theorem 3.1" in row[0] for row in some)
    focused(browser).send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    assert rows(browser, "table.ledger") == everything
    focused(browser).send_keys(Keys.TAB)
    assert focused(browser).tag_name == "select"
    focused(browser).send_keys("fails")
    failing = rows(browser, "table.ledger")
    assert 0 < len(failing) < len(everything) and all("fails as printed" in row[1] for row in failing)
    focused(browser).send_keys(Keys.HOME)  # all
    assert len(rows(browser, "table.ledger")) == len(everything)
    for _ in range(10):  # to the head of the second column
        focused(browser).send_keys(Keys.TAB)
        if focused(browser).tag_name == "button" and "verdict" in focused(browser).text.lower():
            break
    focused(browser).send_keys(Keys.ENTER)
    words = [row[1].split(" ", 1)[1] for row in rows(browser, "table.ledger")]
    assert words == sorted(words) and words != [row[1].split(" ", 1)[1] for row in everything]
    focused(browser).send_keys(Keys.ENTER)
    assert rows(browser, "table.ledger") == everything


def test_the_ledger_can_be_read_on_a_phone(browser):
    opened(browser, LEDGER, 390, 844)
    assert rows(browser, "table.ledger")
    sides = """return [...document.querySelectorAll("table.ledger td")].filter(cell => cell.innerText.trim())
      .filter(cell => cell.getBoundingClientRect().right > innerWidth).length"""
    assert browser.execute_script(sides) == 0, "cells reach beyond the screen"


def test_our_theorems_have_numbers_that_the_paper_has_not():
    kinds = "Theorem|Lemma|Corollary|Proposition|Definition|Remark|Assumption|Example"
    found = []
    for page in CHAPTERS:
        text = (HTML / page).read_text("utf-8")
        found += re.findall(rf'<span class="caption-number">(?:{kinds}) ([^<]+?) ?</span>', text)
        links = re.findall(rf'<a class="reference internal" href="[^"]*#\w+-[^>]*>(?:{kinds}) ([\d.]+)</a>', text)
        assert links == [], f"{page}: {links}"
    assert len(found) > 20 and len(found) == len(set(found))
    assert all(re.fullmatch(r"\d+-[A-Z]+", number) for number in found), found
