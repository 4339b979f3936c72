"""The PDFs: a summary on a few pages, and the book with typeset formulas and links that lead to places within."""

import importlib.util
import os
import re
import shutil
from pathlib import Path

import pypdf
import pytest
from pages import HTML, PAGES, unavailable

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("pdf", ROOT / "tools" / "pdf.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

#: TeX that no formula on paper, and no visible code, has.
RAW = re.compile(r"\\(?:frac|begin|operatorname|mathbb|widetilde)\b|\\[(\[]|\$\$")

pytestmark = [
    pytest.mark.timeout(2400),  # the first test waits until the book is printed
    pytest.mark.skipif(not PAGES, reason="the book is not built: run `make book` first"),
]


@pytest.fixture(scope="module")
def pdfs(tmp_path_factory):
    """Both PDFs, by name: those of `make pdf` if they are of these pages, or else new ones."""
    folder = HTML.parent / "pdf"
    made = [folder / f"{name}.pdf" for name in ("summary", "book")]
    newest = max(path.stat().st_mtime for path in (HTML / "index.html", ROOT / "tools" / "pdf.py"))
    if not all(path.exists() and path.stat().st_mtime > newest for path in made):
        folder = tmp_path_factory.mktemp("pdf")
        try:
            tool.make(HTML, folder, say=lambda line: None)
        except tool.PdfError as error:
            if str(error) == tool.MISSING:
                unavailable(str(error))
            raise
    return {name: pypdf.PdfReader(folder / f"{name}.pdf") for name in ("summary", "book")}


def text(pages):
    return "\n".join(page.extract_text() for page in pages)


def titles(outline):
    """All titles of an outline, of whatever depth."""
    for entry in outline:
        yield from titles(entry) if isinstance(entry, list) else [entry.title]


def words(chapter):
    """The title of a page without its number and formulas."""
    page = (HTML / f"{chapter}.html").read_text("utf-8")
    found = re.search(r"<h1>((?:(?!<h1).)*?)<a class=.headerlink", page, re.DOTALL)[1]
    return " ".join(re.sub(r'<span class="(?:section-number|math[^"]*)">.*?</span>|<[^>]+>', " ", found).split())


def test_the_summary_has_what_was_found(pdfs):
    assert 2 <= len(pdfs["summary"].pages) <= 4
    found = " ".join(text(pdfs["summary"].pages).split())
    for said in ("Was the paper reproduced?", "Theorem 3.1", "Table 1 as measured", "Figure 1 of", "Version "):
        assert said in found
    assert "Figure 3 computed again" in found and not RAW.findall(found)
    assert sum(len(page.images) for page in pdfs["summary"].pages) >= 5, "the map, and the paper's three figures"


def test_the_book_is_whole_and_has_no_api(pdfs):
    assert 100 < len(pdfs["book"].pages) < 250
    there = ["".join(title.split()) for title in titles(pdfs["book"].outline)]  # a line's end is no space there
    for page in (page for _, pages in tool.contents() for page in pages):
        assert any("".join(words(page).split(" n = ")[0].split()) in title for title in there), page
    assert not [title for title in there if "logitmoe." in title or title == "Figuresandtables"]


def test_formulas_are_typeset(pdfs):
    some = pdfs["book"].pages[1::6]  # the tool itself counts the formulas; to read all pages takes a minute
    found = text(some)
    assert len(found) > 1000 * len(some) and RAW.findall(found) == []


def test_links_lead_to_places_within(pdfs):
    links = [note.get_object() for page in pdfs["book"].pages for note in page.get("/Annots", [])]
    inside = [link["/Dest"] for link in links if "/Dest" in link]
    assert len(inside) > 1000 and set(inside) <= set(pdfs["book"].named_destinations)
    outside = [link["/A"]["/URI"] for link in links if "/URI" in link.get("/A", {})]
    assert outside and all(re.match(r"https?://|mailto:", address) for address in outside)


def test_the_joined_page_has_unique_names_and_no_folded_code():
    page = tool.joined(HTML, "all of it")
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names)) > 500
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(names)
    assert not re.findall(r"<(?:button|input|select|script>toggle)|copybtn|above-input|figure-files", page)


def test_without_a_browser_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="apt install chromium chromium-driver"):
        tool.main(["summary", "--html", str(HTML), "--target", str(tmp_path)])
    assert os.listdir(tmp_path) == []


def test_without_a_built_book_it_is_said_how_to_build_it(tmp_path):
    with pytest.raises(SystemExit, match="run `make book` first"):
        tool.main(["--html", str(tmp_path), "--target", str(tmp_path / "pdf")])
