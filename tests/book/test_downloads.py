"""What the built book offers for download: a plain notebook of each chapter, SVG and CSV of each figure; its size."""

import csv
import importlib.util
import json
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from pages import HTML, PAGES

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("execute", ROOT / "tools" / "execute.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

CHAPTERS = [path.stem for path in tool.chapters()]
#: Plain notebooks that are run; ``NOTEBOOKS=all`` runs every one, which takes as long as the build.
RUN = CHAPTERS if os.environ.get("NOTEBOOKS") == "all" else ["polynomial_rate"]
SUFFIXES = {"image/svg+xml": "svg", "text/csv": "csv"}

pytestmark = pytest.mark.skipif(not PAGES, reason="the book is not built: run `make book` first")


def plain(chapter):
    return HTML / "_sources" / "book" / f"{chapter}.ipynb"


def figures(chapter):
    """Names of the figures of a chapter."""
    cells = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4).cells
    return [cell.metadata.mystnb.figure.name for cell in cells if "figure" in cell.metadata.get("mystnb", {})]


def page(name):
    return (HTML / "book" / f"{name}.html").read_text("utf-8")


FIGURES = [(chapter, name) for chapter in CHAPTERS for name in figures(chapter)]


# ---------------------------------------------------------------------------------------------------------------------
# Plain notebooks


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_notebook_for_download_is_plain(chapter):
    text = plain(chapter).read_text("utf-8")
    assert re.findall(r"\{glue.{20}|:::.{20}|```\{.{20}", text) == []
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.findall(r"\{[a-z:]+\}`[^`]*`|^\([\w-]+\)=$", words, re.MULTILINE) == []
    assert re.findall(r"\\(?:R|E|softmax|Dr|Ok)(?![A-Za-z])", words) == [], "a macro that only the book knows"
    captioned = [cell.id for cell in notebook.cells if cell.id.startswith("fig-")]
    assert captioned == figures(chapter)
    assert "find_spec" in notebook.cells[0].source


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_download_button_leads_to_it(chapter):
    assert re.search(rf'href="\.\./_sources/book/{chapter}\.ipynb"[^>]*download', page(chapter))


def printed(notebook):
    """What the cells of a notebook print, cell by cell, without the first one."""
    cells = [cell for cell in notebook.cells[1:] if cell.cell_type == "code"]
    return [[output.text for output in cell.outputs if output.output_type == "stream"] for cell in cells]


@pytest.mark.parametrize("chapter", RUN)
def test_the_plain_notebook_runs_and_shows_plain_text(tmp_path, chapter):
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns(".*"))
    shutil.copy2(ROOT / "_toc.yml", tmp_path)
    path = tmp_path / "book" / f"{chapter}.ipynb"
    shutil.copy2(plain(chapter), path)
    before = printed(nbformat.read(path, as_version=4))
    tool.execute([path], say=lambda line: None)
    after = nbformat.read(path, as_version=4)
    assert printed(after) == before and sum(map(len, before)) > 0
    outputs = [output for cell in after.cells for output in cell.get("outputs", [])]
    shown = [output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})]
    assert shown and not [text for text in shown if re.search(r":::|```\{", text)]


# ---------------------------------------------------------------------------------------------------------------------
# Files of the figures


@pytest.mark.parametrize(("chapter", "name"), FIGURES, ids=[name for _, name in FIGURES])
def test_a_figure_has_its_files(chapter, name):
    drawing = ElementTree.parse(HTML / "figures" / f"{name}.svg").getroot()
    assert drawing.tag.endswith("svg") and drawing.findall(".//{*}path")
    assert rows(name), "nothing is plotted"
    for suffix in SUFFIXES.values():
        link = f'href="../figures/{name}.{suffix}"'
        assert link in page(chapter) and link in page("figures")


def rows(name):
    """The rows of a figure's CSV file, with x, y and value as numbers where they are there."""
    with open(HTML / "figures" / f"{name}.csv", encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    numbers = ("x", "y", "value")
    return [{key: float(row[key]) if key in numbers and row[key] else row[key] for key in row} for row in found]


def glued(chapter, key):
    """A number that the stored chapter gives to its text."""
    for cell in nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4).cells:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("scrapbook", {}).get("name") == key:
                return output.data["application/papermill.record/text/plain"].strip("'")
    raise KeyError(key)


def test_the_files_give_plotted_values_back():
    smallest = min(row["y"] for row in rows("fig-identifiability-spectrum"))
    assert f"{smallest:.1e}" == glued("identifiability", "identifiability-smallest")
    limits = {row["series"]: row["y"] for row in rows("fig-regime2-sequence")}
    for r in (1, 2):
        assert f"{limits[f'its limit, $r = {r}$']:.5f}" == glued("regime2", f"regime2-limit-{r}")


def test_the_page_lists_every_figure_and_every_named_table():
    text, tables = page("figures"), []
    for chapter in CHAPTERS:
        for cell in nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4).cells:
            texts = [cell.source] if cell.cell_type == "markdown" else []
            texts += [output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])]
            tables += [name for one in texts for name in re.findall(r"\{table\} .+\n *:name: (\S+)", one)]
    linked = set(re.findall(r'href="[\w.]+\.html#([\w-]+)"', text))
    assert {name for _, name in FIGURES} <= linked
    assert len(tables) > 50 and set(tables) <= linked


def test_the_built_book_is_small():
    """Under 40 MB, the PDFs aside, which `make pdf` makes."""
    sizes = {path.relative_to(HTML): path.stat().st_size for path in HTML.rglob("*") if path.is_file()}
    assert [path for path in sizes if path.suffix == ".map"] == []
    images = [path.read_bytes() for path in HTML.glob("_images/*.png")]
    assert len(images) >= len(FIGURES) and {image[25] for image in images} == {3}, "an image without a palette (3)"
    assert sum(size for path, size in sizes.items() if path.suffix != ".pdf") < 40e6


# ---------------------------------------------------------------------------------------------------------------------
# A chapter that is run for a build gives the files, any other run does not

DRAWING = """\
import matplotlib.pyplot as plt
from replication import show

show.use_style()
plt.plot([1, 2], [3, 5], label="a curve")
plt.show()"""


@pytest.mark.parametrize("for_a_build", [True, False])
def test_only_a_build_keeps_the_files(tmp_path, monkeypatch, for_a_build):
    monkeypatch.delenv(tool.CHAPTERS_VARIABLE, raising=False)
    path = tmp_path / "drawing.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(DRAWING)]), path)
    tool.execute([path], tmp_path / "run" if for_a_build else None, tmp_path, say=lambda line: None)
    run = nbformat.read(tmp_path / "run" / path.name if for_a_build else path, as_version=4)
    (output,) = run.cells[0].outputs
    assert set(output.data) - {"text/plain"} == {"image/png", *(SUFFIXES if for_a_build else ())}
    if for_a_build:
        assert output.data["text/csv"].splitlines()[1:] == ["1,,a curve,line,1,1,3,", "1,,a curve,line,1,2,5,"]
        assert json.dumps(output.data["image/svg+xml"])
