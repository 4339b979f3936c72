"""Every built page, opened from disk in Chromium: no request leaves the disk, formulas are typeset, images load.

`make test` builds the book first. Without Chromium and its driver these tests are skipped, and with CI=true they fail.
"""

import json
import re

import pytest
from pages import HTML, PAGES

WIDTHS = (1280, 390)  # pixels: a laptop, a phone

# A font wider than any that a machine is likely to show the pages in: the layout must not depend on the fonts.
WIDE_FONT = """
const style = document.createElement("style");
style.textContent = `*, *::before, *::after {
  font-family: "DejaVu Sans", Verdana, sans-serif !important; letter-spacing: 0.08em !important; }`;
document.head.appendChild(style);
"""

# What a page says of itself once MathJax is done. Text that a reader sees as code may hold a $.
REPORT = r"""
const done = arguments[arguments.length - 1];
const ready = window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve();
ready.then(() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const raw = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.parentElement.closest("pre, code, script, style, noscript, mjx-container")
        && /\$|\\[()\[\]]|\\begin\{/.test(node.data)) raw.push(node.data.trim());
  }
  const formulas = [...document.querySelectorAll(".math.notranslate")];
  const images = [...document.images];
  done({
    formulas: formulas.length,
    typeset: document.querySelectorAll("mjx-container").length,
    untypeset: formulas.filter(f => !f.querySelector("mjx-container")).map(f => f.textContent),
    errors: [...document.querySelectorAll("mjx-merror")].map(e => e.getAttribute("data-mjx-error") || e.textContent),
    raw: raw,
    broken: images.filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.getAttribute("src")),
    wordless: images.filter(i => !(i.alt || "").trim()).map(i => i.getAttribute("src")),
    headings: document.querySelectorAll("h1").length,
  });
}, error => done({failed: String(error)}));
"""

# The elements that stick out to the right of the window and are not inside one that scrolls.
OVERFLOW = r"""
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= width) return [];
const scrolls = e => e && e !== document.body
  && (/auto|scroll|hidden|clip/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
const wide = [...document.body.querySelectorAll("*")].filter(
  e => e.getBoundingClientRect().left + e.scrollWidth > width + 1 && !scrolls(e) && !e.closest(".skip-link"));
const innermost = wide.filter(e => !wide.some(other => e !== other && e.contains(other)));
const named = innermost.map(e => e.tagName + "." + e.className + ": " + e.textContent.trim().slice(0, 60));
return named.length ? named.slice(0, 5) : ["(no single element found)"];
"""


def set_width(browser, width):
    """Emulate a screen; a window cannot be made as narrow as a phone."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def wait_for_redirect(browser):
    """index.html sends the reader to the first chapter: wait for it."""
    from selenium.webdriver.support.ui import WebDriverWait

    script = """return document.readyState === "complete" && !document.querySelector('meta[http-equiv="refresh" i]')"""
    WebDriverWait(browser, 30).until(lambda browser: browser.execute_script(script))


def problems(browser, url):
    """Open a page and return everything that is wrong with it, one line each."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    set_width(browser, WIDTHS[0])
    browser.get(url)
    wait_for_redirect(browser)
    report = browser.execute_async_script(REPORT)
    if "failed" in report:
        return [f"MathJax failed: {report['failed']}"]
    found = [f"MathJax error: {message}" for message in report["errors"]]
    found += [f"formula not typeset: {formula}" for formula in report["untypeset"]]
    if report["typeset"] != report["formulas"]:
        found.append(f"{report['formulas']} formulas but {report['typeset']} typeset")
    found += [f"raw TeX in the text: {text}" for text in report["raw"]]
    found += [f"image does not load: {source}" for source in report["broken"]]
    found += [f"image without alt text: {source}" for source in report["wordless"]]
    for width in WIDTHS:
        set_width(browser, width)
        found += [f"wider than {width} px: {element}" for element in browser.execute_script(OVERFLOW)]
    browser.execute_script(WIDE_FONT)
    for element in browser.execute_script(OVERFLOW):
        found.append(f"wider than {WIDTHS[-1]} px in a wide font: {element}")
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            address = message["params"]["request"]["url"]
            if not re.match(r"file://|data:|blob:", address):
                found.append(f"request to another place: {address}")
    found += [
        f"console: {entry['message']}" for entry in browser.get_log("browser") if entry["level"] == "SEVERE"
    ]
    return found


@pytest.mark.parametrize("page", PAGES or ["(none)"])
def test_page(browser, page):
    found = problems(browser, (HTML / page).as_uri())
    assert not found, "\n".join([page, *found])


def test_search_works_from_disk(browser):
    url = (HTML / "search.html").as_uri() + "?q=model"
    assert problems(browser, url) == []
    assert browser.find_elements("css selector", "#search-results li a"), "no search result for 'model'"


# The first font that is asked for, of text and of code, and the state of all fonts that the page names.
FONTS = """
const done = arguments[arguments.length - 1];
const plain = family => family.split(",")[0].replaceAll('"', "");
const first = selector => plain(getComputedStyle(document.querySelector(selector)).fontFamily);
const named = status => [...document.fonts].filter(font => font.status === status).map(font => plain(font.family));
document.fonts.ready.then(() => done({
  text: ["article p", "h1", ".sidebar-primary-item a"].map(first),
  code: ["article pre", "article code"].map(first),
  loaded: named("loaded"),
  failed: named("error"),
})).catch(error => done({failed: String(error)}));
"""


def test_text_and_code_are_shown_in_the_fonts_of_the_book(browser):
    browser.get((HTML / "book" / "model.html").as_uri())
    found = browser.execute_async_script(FONTS)
    assert found["failed"] == []
    assert set(found["text"]) == {"Source Sans 3"} and set(found["code"]) == {"Source Code Pro"}
    assert {"Source Sans 3", "Source Code Pro"} <= set(found["loaded"]), "a font is loaded when text is shown in it"


BAD = {
    "undefined macro": (r'<span class="math notranslate">\(\notamacro\)</span>', "MathJax error"),
    "wrong TeX": (r'<span class="math notranslate">\(x^2^3\)</span>', "MathJax error"),
    "formula left alone": ('<span class="math notranslate">x^2</span>', "formula not typeset"),
    "dollar": ("<p>$x$</p>", "raw TeX in the text"),
    "missing image": ('<img src="no-such-file.png" alt="a">', "image does not load"),
    "image without alt text": (
        '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
        "image without alt text",
    ),
    "wide block": ('<div style="width: 800px">wide</div>', "wider than 390 px: "),
    "unbroken line": (
        f'<p style="white-space: nowrap; font-size: 10px">A line of narrow letters: {"i" * 80}</p>',
        "wider than 390 px in a wide font",
    ),
    "other place": ('<script src="http://127.0.0.1:9/a.js"></script>', "request to another place"),
    "script error": ("<script>undefinedFunction()</script>", "console: "),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_page_is_caught(browser, tmp_path, name):
    html, expected = BAD[name]
    original = HTML / next(
        page for page in PAGES if "mathjax/tex-chtml.js" in (HTML / page).read_text("utf-8")
    )
    text = original.read_text("utf-8")
    text = text.replace("<head>", f'<head><base href="{original.parent.as_uri()}/">', 1)
    page = tmp_path / "bad.html"
    page.write_text(text.replace("</article>", f"{html}</article>", 1), "utf-8")
    assert any(line.startswith(expected) for line in problems(browser, page.as_uri()))
