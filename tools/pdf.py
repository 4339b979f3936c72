"""Print the built book: `book.pdf`, the whole of it, and `summary.pdf`, what was found, on a few pages.

    python tools/pdf.py        from _build/html into _build/pdf (also: make pdf, which builds the pages first)

Nothing is run again. The articles of the pages are joined, in the order of the contents, into one page whose links lead
to places within; Chromium typesets its formulas and prints it, in the style of `_static/print.css`. Folded code,
buttons and links to files are left out, and so are the pages of `LEFT_OUT`. The summary is made of the parts of pages
that `SUMMARY` names.
"""

import argparse
import base64
import html
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run"
MISSING = (
    "The PDFs are printed by Chromium, which is not installed, or chromedriver is not."
    " Debian: apt install chromium chromium-driver"
)
LONGEST_WAIT = 1800  # seconds, for the formulas of the whole book on a busy machine
#: Pages that are of no use on paper: the API, and the list of files for download.
LEFT_OUT = ("book/api", "book/figures")
#: What is not printed: folded code, and what only a screen has a use for.
DROPPED = "script, button, input, select, details.hide, .headerlink, .figure-files, .moe-controls, .toctree-wrapper"
#: Parts of the summary: page, name of a section, figure or table; the heading before it, or none.
SUMMARY = (
    ("book/introduction", "sec-outcome", ""),
    ("book/asymptotics", "tab-asymptotics-table1", "Table 1 as measured"),
    ("book/introduction", "fig-map", "Where the parameters can be recovered"),
    ("book/simulations", "fig-simulations-1", "The paper's three figures, computed again"),
    ("book/simulations", "fig-simulations-2-standard", ""),
    ("book/simulations", "fig-simulations-2-modified", ""),
    ("book/simulations", "fig-simulations-3", ""),
)


class PdfError(RuntimeError):
    """A PDF that cannot be made, and why."""


def contents(root=ROOT):
    """The pages in reading order, in pairs of the name of a part of the book and its pages."""
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    parts = [("", [toc["root"]])]
    parts += [(part["caption"], [chapter["file"] for chapter in part["chapters"]]) for part in toc["parts"]]
    return [(caption, [page for page in pages if page not in LEFT_OUT]) for caption, pages in parts]


def read(page, folder):
    """A built page, parsed."""
    return BeautifulSoup((folder / f"{page}.html").read_text("utf-8"), "html.parser")


def anchor(page, name=""):
    """The name in the joined page of a place in a page; without a name, of its beginning."""
    return f"{page.rpartition('/')[2]}--{name}"


def article(page, folder, included):
    """The article of a built page, ready to be joined to those of the pages `included`."""
    found = read(page, folder).find("article", class_="bd-article")
    for element in found.select(DROPPED):
        element.decompose()
    for details in found.find_all("details"):
        details["open"] = ""
    for element in found.find_all(True):
        for key in ("id", "for", "aria-labelledby", "aria-describedby"):
            if element.get(key):
                element[key] = " ".join(anchor(page, name) for name in element[key].split())
        for key, value in element.attrs.items():
            if isinstance(value, str) and "url(#" in value:  # parts of a drawing
                element[key] = re.sub(r"url\(#", f"url(#{anchor(page)}", value)
        if element.get("src"):
            element["src"] = address(element["src"], page, folder)
            del element["loading"]
    for link in found.find_all("a"):
        lead_inside(link, page, folder, included)
    found["id"] = anchor(page)
    return found


def address(url, page, folder):
    """The address of a file of the book, from anywhere on this machine; another address as it is."""
    if re.match(r"[a-z]+:", url):
        return url
    path, _, query = url.partition("?")
    return (folder / page).parent.joinpath(path).resolve().as_uri() + (f"?{query}" if query else "")


def lead_inside(link, page, folder, included):
    """Turn a link to a place in the book into one within the joined page; one to what is not printed into text."""
    key = next((key for key in ("href", "xlink:href") if link.get(key)), None)
    if key is None or re.match(r"(?!data:)[a-z]+:", link[key]):
        return
    if link[key].startswith("data:"):  # a file for download
        link.unwrap()
        return
    path, _, name = link[key].partition("#")
    target = page
    if path:
        target = (folder / page).parent.joinpath(path).resolve().relative_to(folder.resolve())
        target = target.with_suffix("").as_posix() if target.suffix == ".html" else None
    if target in included:
        link[key] = f"#{anchor(target, name)}"
        link["class"] = "internal"
    else:
        link.unwrap()


def head(built, page, folder, title):
    """The head of the joined page: the styles of a built page, and MathJax as it is set there."""
    parts = [f'<meta charset="utf-8"><title>{html.escape(title)}</title>']
    for link in built.select('head link[rel~="stylesheet"]'):
        parts.append(f'<link rel="stylesheet" href="{address(link["href"], page, folder)}">')
    for script in built.find_all("script"):
        if "mathjax/" in script.get("src", ""):
            parts.append("<script>MathJax.options.enableAssistiveMml = false;</script>")  # every formula once
            parts.append(f'<script defer src="{address(script["src"], page, folder)}"></script>')
        elif "window.MathJax" in script.get_text():
            parts.append(f"<script>{script.get_text()}</script>")
    return "\n".join(parts)


def repository(root=ROOT):
    """The address of the repository, if `_config.yml` has one."""
    return (yaml.safe_load((root / "_config.yml").read_text("utf-8")).get("repository") or {}).get("url") or ""


def document(name, title, about, body, folder):
    """The text of a page that is to be printed: a title, what it is about, which edition this is, and the body."""
    first = contents()[0][1][0]
    built = read(first, folder)
    url = html.escape(repository())
    edition = built.find(class_="extra_footer").decode_contents().strip()  # licence, version and commit
    edition += f' <a href="{url}">{url}</a>' if url else ""
    start = f'<!DOCTYPE html><html lang="en" data-theme="light"><head>{head(built, first, folder, title)}</head>'
    above = f'<h1>{html.escape(title)}</h1><p>{about}</p><p class="edition">{edition}</p>'
    front = f'<header class="front">{above}</header>'
    return f'{start}<body class="printed printed-{name}"><main>{front}{body}</main></body></html>'


def joined(folder, title):
    """The whole book as one page."""
    parts = contents()
    included = [page for _, pages in parts for page in pages]
    articles = {page: article(page, folder, included) for page in included}
    lines = []
    for caption, pages in parts:
        lines += [f"<h2>{html.escape(caption)}</h2>"] if caption else []
        titles = [(anchor(page), articles[page].h1.decode_contents()) for page in pages]
        links = (f'<li><a class="internal" href="#{name}">{text}</a></li>' for name, text in titles)
        lines.append(f"<ul>{''.join(links)}</ul>")
    about = "An executable replication of Nguyen, Akbarian, Nguyen and Ho (2024). Printed from the built pages."
    body = f'<nav class="chapters">{"".join(lines)}</nav>' + "\n".join(map(str, articles.values()))
    return document("book", title, about, body, folder)


def summary(folder, title):
    """The parts of `SUMMARY` as one page."""
    parts = []
    for page, name, above in SUMMARY:
        place = article(page, folder, [page]).find(id=anchor(page, name))
        if place is None:
            raise PdfError(f"{page} has no {name}, which the summary shows: see SUMMARY in tools/pdf.py")
        if place.name == "span" and not place.get_text(strip=True):  # a label: it stands in front, or within
            place = place.find_parent("section") or place.find_next_sibling()
        parts.append((f"<h2>{html.escape(above)}</h2>" if above else "") + str(place))
    page = BeautifulSoup("\n".join(parts), "html.parser")
    there = {element["id"] for element in page.find_all(id=True)}
    for link in page.find_all("a", href=re.compile("^#")):
        if link["href"][1:] not in there:
            link.unwrap()
    about = (
        "A summary of an executable replication of H. Nguyen, P. Akbarian, T. Nguyen and N. Ho, <em>A General Theory"
        " for Softmax Gating Multinomial Logistic Mixture of Experts</em>, ICML 2024."
        " The evidence for each line is in the chapters of the book; figures and tables are numbered as there."
    )
    return document("summary", title, about, str(page), folder)


WAIT = """
const done = arguments[arguments.length - 1];
MathJax.startup.promise
  .then(() => document.fonts.ready)
  .then(() => Promise.all([...document.images].map(image => image.decode().catch(() => 0))))
  .then(() => done({
    formulas: document.querySelectorAll(".math").length, typeset: document.querySelectorAll("mjx-container").length,
    wrong: [...document.querySelectorAll("mjx-merror")].map(node => node.textContent),
    missing: [...document.images].filter(image => !image.naturalWidth).map(image => image.src),
  }));
"""
MARGINS = {"marginTop": 0.7, "marginBottom": 0.75, "marginLeft": 0.75, "marginRight": 0.75}  # inches
PAPER = {"paperWidth": 8.27, "paperHeight": 11.69, **MARGINS}
SMALL = "font: 8px sans-serif; color: #555; width: 100%; margin: 0 20mm; display: flex; justify-content: space-between"


def start_browser(profile):
    """A Chromium without a window."""
    chromium, driver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    if not chromium or not driver:
        raise PdfError(MISSING)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    browser.command_executor.client_config.timeout = LONGEST_WAIT
    browser.set_page_load_timeout(LONGEST_WAIT)
    browser.set_script_timeout(LONGEST_WAIT)
    return browser


def printed(browser, path, title):
    """The PDF of a page, as bytes."""
    browser.get(path.as_uri())
    found = browser.execute_async_script(WAIT)
    if found["wrong"] or found["missing"] or found["typeset"] < found["formulas"]:
        raise PdfError(f"{path.name} cannot be printed: {found}")
    foot = f'<div style="{SMALL}"><span>{html.escape(title)}</span><span class="pageNumber"></span></div>'
    options = {
        **PAPER, "printBackground": True, "displayHeaderFooter": True, "headerTemplate": "<span></span>",
        "footerTemplate": foot, "generateTaggedPDF": True, "generateDocumentOutline": True,
    }  # fmt: skip
    return base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", options)["data"])


def make(folder, target, names=("summary", "book"), say=print):
    """Print the built pages of `folder` into the folder `target`."""
    if not (folder / "index.html").exists():
        raise PdfError(f"There is no built book in {folder}: run `make book` first")
    target.mkdir(parents=True, exist_ok=True)
    book = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["title"]
    pages = {"summary": (summary, "Was the paper reproduced?"), "book": (joined, book)}
    if unknown := set(names) - set(pages):
        raise PdfError(f"There is no {', '.join(sorted(unknown))}, only {' and '.join(pages)}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        browser = start_browser(f"{scratch}/profile")
        try:
            for name in names:
                started = time.monotonic()
                compose, title = pages[name]
                path = Path(scratch, f"{name}.html")
                path.write_text(compose(folder, title), "utf-8")
                content = printed(browser, path, title)
                (target / f"{name}.pdf").write_bytes(content)
                say(f"{target / name}.pdf: {len(content) / 1e6:.1f} MB in {time.monotonic() - started:.0f} s")
        finally:
            browser.quit()


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Print the built book.")
    parser.add_argument("names", nargs="*", help="summary or book; default: both")
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html", help="the built pages")
    parser.add_argument("--target", type=Path, default=ROOT / "_build" / "pdf", help="where the PDFs go")
    given = parser.parse_args(arguments)
    try:
        make(given.html, given.target, given.names or ("summary", "book"))
    except PdfError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
