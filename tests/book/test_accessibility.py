"""Built pages through axe-core, light and dark: names, roles, contrast; and no formula takes the Tab key.

axe-core comes with the package axe-core-python, so that no network is needed.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import HTML, PAGES

#: What the theme or docutils do, and this book does not mend: the rule, and a part of the element's selector or text.
EXCUSED = {
    "region": ".only-light",  # the logo stands beside the landmarks of the sidebar
    "scrollable-region-focusable": "#pst-secondary-sidebar",  # the contents of a long page: its links take the key
    "aria-allowed-role": 'role="doc-biblioentry"',  # of the entries of a bibliography
    "aria-roles": 'role="doc-biblioentry"',
    "aria-required-children": ".citation-list",  # its list
    "landmark-unique": ".footnote-list",
}
RULES = {
    "light": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]},
    "dark": {"type": "rule", "values": ["color-contrast"]},  # nothing else differs
}

#: Pages that are looked at in the dark too: the styles are the same on all of them.
DARK = ("book/introduction.html", "book/ledger.html", "book/regime1.html", "book/your_data.html")
#: Pages with every kind of part that the book has; ``AXE=all`` looks at the others too, which takes long.
SOME = (
    *("introduction", "ledger", "model", "regime1", "your_data", "run", "cite", "corrections", "coming_from"),
    *("contributing", "references"),
)
#: Pages made of docstrings alone, on which axe-core takes many minutes; their parts are like those of the others.
LARGE = ("book/api.html",)

# Code is one piece here, and formulas are left as they are written: axe-core looks at each of their letters.
PREPARE = """
document.documentElement.dataset.theme = document.documentElement.dataset.mode = arguments[0];
for (const code of document.querySelectorAll("article pre")) code.textContent = code.textContent;
"""
RUN = """
const done = arguments[1];
axe.run(document, {resultTypes: ["violations"], runOnly: arguments[0]}).then(
  report => done(report.violations.flatMap(
    rule => rule.nodes.map(node => [rule.id, node.target.join(" "), node.html]))),
  error => done([["axe-core failed", String(error), ""]]));
"""


def axe():
    found = find_spec("axe_core_python")
    if found is None:
        pytest.fail("axe-core-python is not installed: pip install -r requirements.txt")
    return Path(found.submodule_search_locations[0], "axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def without_formulas(browser):
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*mathjax*"]})
    yield browser
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


def violations(browser, url, theme):
    """What axe-core finds on a page in a theme and the list does not excuse, one line each."""
    browser.get(url)
    browser.execute_script(PREPARE, theme)
    browser.execute_script(axe())
    found = browser.execute_async_script(RUN, RULES[theme])
    lines = [(rule, f"{where} {html[:120]}") for rule, where, html in found]
    return [f"{rule}: {line}" for rule, line in lines if rule not in EXCUSED or EXCUSED[rule] not in line]


def chosen():
    every = os.environ.get("AXE") == "all"
    return [page for page in PAGES if page not in LARGE and (every or Path(page).stem in SOME)]


@pytest.mark.parametrize("page", chosen() or ["(none)"])
def test_page_is_accessible(without_formulas, page):
    for theme in RULES if page in DARK else ("light",):
        found = violations(without_formulas, (HTML / page).as_uri(), theme)
        assert not found, "\n".join([f"{page}, {theme}", *found])


BAD = {
    "pale text": ('<p style="color: #999; background: #fff">pale</p>', "light", "color-contrast"),
    "dark text in the dark": ('<p style="color: #333; background: #111">dark</p>', "dark", "color-contrast"),
    "image without text": ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "light", "image-alt"),
    "button without name": ("<button></button>", "light", "button-name"),
    "field without label": ("<input>", "light", "label"),
    "one anchor twice": ('<p id="twice">a</p><p id="twice">b</p>', "light", "duplicate-id"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_fault_is_found(without_formulas, tmp_path, name):
    html, theme, rule = BAD[name]
    page = tmp_path / "bad.html"
    body = f"<main><h1>Title</h1><article>{html}</article></main>"
    page.write_text(f"<!doctype html><html lang='en'><title>t</title><body>{body}</body></html>", "utf-8")
    assert any(line.startswith(f"{rule}:") for line in violations(without_formulas, page.as_uri(), theme))


def test_no_formula_is_a_stop_for_the_tab_key(browser):
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    browser.get((HTML / "book" / "model.html").as_uri())
    typeset = """
        const done = arguments[0];
        const all = selector => document.querySelectorAll(selector).length;
        MathJax.startup.promise.then(() => done([all("mjx-container"), all("mjx-container[tabindex='0']")]));"""
    formulas, stops = browser.execute_async_script(typeset)
    assert formulas > 0 and stops == 0
