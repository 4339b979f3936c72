"""The book as it is stored: chapters run and clean, figures described, citations known, and a changed number caught."""

import copy
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from pybtex.database import parse_file

from replication.verdicts import collect

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"
MAX_LINES = 30
MAX_WIDTH = 87  # characters of a line of code that fit into the column
MAX_WORDS = 100  # of a box; a formula, a number and a reference are one word each
ROOM = "code of one chapter belongs in lib/replication/chapters/<chapter>.py"
MIN_ALT = 20  # characters

spec = importlib.util.spec_from_file_location("execute", ROOT / "tools" / "execute.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

ENTRIES = re.findall(
    r"^\s*(?:- )?(?:root|file): *(\S+)", (ROOT / "_toc.yml").read_text("utf-8"), re.MULTILINE
)
CHAPTERS = tool.chapters()
PAGES = [
    path for entry in ENTRIES for path in (ROOT / f"{entry}.ipynb", ROOT / f"{entry}.md") if path.exists()
]

MACHINE_PATH = re.compile(
    r"(?<![\w./~])(?:/(?:home|root|tmp|usr|opt|var|mnt|work|Users|private)/|~/|[A-Z]:\\)|site-packages"
)
TIME_OF_DAY = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\b\d\d:\d\d:\d\d\b")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
NUMPY_SCALAR = re.compile(r"\bnp\.(?:float|int|uint|complex|bool|str)\w*\(")
BOX = re.compile(r"^(`{3,}|:{3,})\{(?:admonition|note|tip|warning)\}(.*?)\n(.*?)\n\1", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^\s*(`{3,}|:{3,})\{table\}.*?\n\s*\1", re.MULTILINE | re.DOTALL)
CITATION = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")


# ---------------------------------------------------------------------------------------------------------------------
# The rules: each function yields what is wrong with one notebook, one line each


def code_cells(notebook):
    return [(n, cell) for n, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]


def output_texts(cell):
    """All that a reader sees of the outputs of a cell, as text."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        elif output.output_type == "error":
            yield "\n".join([output.evalue, *output.traceback])
        else:
            yield from (str(data) for mime, data in output.data.items() if not mime.startswith("image/"))


def unrun_cells(notebook):
    for expected, (n, cell) in enumerate(code_cells(notebook), 1):
        if not cell.source.strip():
            yield f"cell {n}: empty code cell"
        if cell.execution_count != expected:
            yield f"cell {n}: execution count {cell.execution_count}, expected {expected}: run `make execute`"


def errors(notebook):
    for n, cell in code_cells(notebook):
        intended = "raises-exception" in cell.metadata.get("tags", [])
        for output in cell.outputs:
            if output.output_type == "error" and not intended:
                yield f"cell {n}: error {output.ename} without the tag raises-exception"
            if output.output_type == "stream" and output.name == "stderr":
                yield f"cell {n}: something on stderr: {output.text[:60]!r}"


def machine_traces(notebook):
    for n, cell in enumerate(notebook.cells, 1):
        texts = [cell.source, *(output_texts(cell) if cell.cell_type == "code" else [])]
        for pattern, name in ((MACHINE_PATH, "machine path"), (TIME_OF_DAY, "time of day")):
            yield from (
                f"cell {n}: {name} {hit.group()!r}" for text in texts for hit in pattern.finditer(text)
            )
        for pattern, name in ((ADDRESS, "memory address"), (NUMPY_SCALAR, "repr of a NumPy scalar")):
            yield from (
                f"cell {n}: {name} {hit.group()!r}" for text in texts[1:] for hit in pattern.finditer(text)
            )


def long_cells(notebook):
    for n, cell in code_cells(notebook):
        lines = len(cell.source.splitlines())
        if lines > MAX_LINES:
            yield f"cell {n}: {lines} lines of code, at most {MAX_LINES}: {ROOM}"


def metadata_noise(notebook):
    if notebook.metadata != tool.NOTEBOOK_METADATA:
        yield f"metadata of the notebook: {dict(notebook.metadata)}: run `make execute`"
    for n, cell in enumerate(notebook.cells, 1):
        extra = set(cell.metadata) - set(tool.CELL_METADATA)
        if extra:
            yield f"cell {n}: metadata {sorted(extra)}: run `make execute`"


def undescribed_figures(notebook):
    for n, cell in code_cells(notebook):
        images = [mime for output in cell.outputs for mime in output.get("data", {}) if "image/" in mime]
        if not images:
            continue
        if images != ["image/png"]:
            yield f"cell {n}: one image/png is expected, found {images}"
        described = cell.metadata.get("mystnb", {})
        figure, alt = described.get("figure", {}), described.get("image", {}).get("alt", "")
        if not figure.get("caption", "").strip():
            yield f"cell {n}: figure without caption"
        if not figure.get("name", "").startswith("fig-"):
            yield f"cell {n}: figure without a name that starts with fig-"
        if len(alt.strip()) < MIN_ALT or alt == figure.get("caption"):
            yield f"cell {n}: figure without alt text of its own, of {MIN_ALT} characters and more"


def wide_code(notebook):
    hidden = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
    for n, cell in code_cells(notebook):
        widest = max(map(len, cell.source.splitlines()), default=0)
        if widest > MAX_WIDTH and not hidden & set(cell.metadata.get("tags", [])):
            yield f"cell {n}: a line of {widest} characters, at most {MAX_WIDTH} where the code is shown"


def long_boxes(notebook):
    for n, cell in enumerate(notebook.cells, 1):
        for _, title, body in BOX.findall(cell.source if cell.cell_type == "markdown" else ""):
            text = re.sub(r"^:[\w-]+:.*$", "", body, flags=re.MULTILINE)
            count = len(re.findall(r"\S*\w\S*", re.sub(r"\$[^$]*\$|\{[\w:]+\}`[^`]*`", "one", text)))
            if count > MAX_WORDS:
                yield f"cell {n}: {count} words in the box {title!r}, at most {MAX_WORDS}"


def bare_tables(notebook):
    for n, cell in enumerate(notebook.cells, 1):
        texts = [cell.source] if cell.cell_type == "markdown" else []
        texts += [output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])]
        for text in texts:
            if re.search(r"^\s*\|[ :|-]+\|\s*$", TABLE.sub("", text), re.MULTILINE):
                yield f"cell {n}: a table without a caption"


RULES = [unrun_cells, errors, machine_traces, long_cells, metadata_noise, undescribed_figures]
RULES += [wide_code, long_boxes, bare_tables]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_keeps_the_rule(path, rule):
    assert list(rule(nbformat.read(path, as_version=4))) == []


def good_notebook():
    """A notebook that keeps every rule: a printed number, and a figure."""
    printed = new_code_cell("print(f'{0.1 + 0.2:.4f}')", execution_count=1)
    printed.outputs = [new_output("stream", name="stdout", text="0.3000\n")]
    figure = new_code_cell("plt.show()", execution_count=2)
    figure.outputs = [new_output("display_data", data={"image/png": "aGVsbG8=", "text/plain": "<Figure>"})]
    figure.metadata["mystnb"] = {
        "figure": {"name": "fig-good", "caption": "A curve."},
        "image": {"alt": "A curve that rises from 0 to 1."},
    }
    cells = [new_markdown_cell("# Title\n\nText of 10:30 h."), printed, figure]
    return new_notebook(cells=cells, metadata=copy.deepcopy(tool.NOTEBOOK_METADATA))


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


SPOILED = {
    "never run": (unrun_cells, lambda cells: cells[1].update(execution_count=None)),
    "run out of order": (unrun_cells, lambda cells: cells[2].update(execution_count=7)),
    "empty cell": (unrun_cells, lambda cells: cells[1].update(source=" ")),
    "stored error": (
        errors,
        lambda cells: cells[1].outputs.append(new_output("error", ename="E", evalue="e")),
    ),
    "stderr": (errors, lambda cells: cells[1].outputs.append(stream("Warning: x", "stderr"))),
    "path in an output": (
        machine_traces,
        lambda cells: cells[1].outputs.append(stream("read /home/me/x.json")),
    ),
    "path in a source": (machine_traces, lambda cells: cells[1].update(source="open('/tmp/x')")),
    "path in the text": (machine_traces, lambda cells: cells[0].update(source="See `~/book`.")),
    "time in an output": (machine_traces, lambda cells: cells[1].outputs.append(stream("2026-01-02 10:11"))),
    "address": (machine_traces, lambda cells: cells[1].outputs.append(stream("<f at 0x7f8ea543c900>"))),
    "NumPy scalar": (machine_traces, lambda cells: cells[1].outputs.append(stream("np.float64(0.5)"))),
    "31 lines": (long_cells, lambda cells: cells[1].update(source="x = 1\n" * 31)),
    "times of execution": (metadata_noise, lambda cells: cells[1].metadata.update(execution={"t": "now"})),
    "no caption": (undescribed_figures, lambda cells: cells[2].metadata["mystnb"]["figure"].pop("caption")),
    "no name": (
        undescribed_figures,
        lambda cells: cells[2].metadata["mystnb"]["figure"].update(name="curve"),
    ),
    "no alt text": (undescribed_figures, lambda cells: cells[2].metadata["mystnb"].pop("image")),
    "a wide line": (wide_code, lambda cells: cells[1].update(source=f"x = {'1' * MAX_WIDTH}")),
    "a long box": (
        long_boxes,
        lambda cells: cells[0].update(source="```{admonition} In short\n:class: note\n\n" + "word " * 101 + "\n```"),
    ),
    "a bare table": (bare_tables, lambda cells: cells[0].update(source="| a | b |\n| --- | :-: |\n| 1 | 2 |")),
    "two images": (undescribed_figures, lambda cells: cells[2].outputs.append(cells[2].outputs[0])),
}


def test_good_notebook_keeps_every_rule():
    assert [line for rule in RULES for line in rule(good_notebook())] == []


@pytest.mark.parametrize("name", SPOILED)
def test_rules_catch(name):
    rule, spoil = SPOILED[name]
    notebook = good_notebook()
    spoil(notebook.cells)
    assert len(list(rule(notebook))) == 1


def test_other_kernel_is_noise():
    notebook = good_notebook()
    notebook.metadata["kernelspec"]["display_name"] = "my-env"
    assert len(list(metadata_noise(notebook))) == 1


# ---------------------------------------------------------------------------------------------------------------------
# The book as a whole


def test_contents_and_chapters_agree():
    assert len(CHAPTERS) >= 3
    found = [path.relative_to(ROOT).with_suffix("").as_posix() for path in PAGES]
    assert found == ENTRIES, "each page of _toc.yml is one .ipynb or one .md"
    stray = {
        path
        for path in [*BOOK.rglob("*.ipynb"), *BOOK.rglob("*.md")]
        if ".ipynb_checkpoints" not in path.parts
    }
    assert stray - set(PAGES) == set(), "not in _toc.yml"


def test_figure_names_and_glue_keys_are_unique():
    names, keys = [], []
    cells = [cell for path in CHAPTERS for _, cell in code_cells(nbformat.read(path, as_version=4))]
    for cell in cells:
        names += [cell.metadata.mystnb.figure.name] if "figure" in cell.metadata.get("mystnb", {}) else []
        metadata = [output.get("metadata", {}) for output in cell.outputs]
        keys += [entry.scrapbook.name for entry in metadata if "scrapbook" in entry]
    assert [name for name in names if names.count(name) > 1] == []
    assert [key for key in keys if keys.count(key) > 1] == []


def page_text(path):
    if path.suffix == ".md":
        return path.read_text("utf-8")
    cells = nbformat.read(path, as_version=4).cells
    captions = [cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "") for cell in cells]
    return "\n".join([*(cell.source for cell in cells if cell.cell_type == "markdown"), *captions])


def test_citations_are_in_the_bibliography():
    known = set(parse_file(str(BOOK / "references.bib")).entries)
    lists = [(path.name, keys) for path in PAGES for keys in CITATION.findall(page_text(path))]
    cited = {(page, key.strip()) for page, keys in lists for key in keys.split(",")}
    assert cited, "the book cites nothing"
    assert {(page, key) for page, key in cited if key not in known} == set()


VERDICTS = [(path, verdict.title) for path, there in collect(CHAPTERS).items() for verdict in there]


@pytest.mark.parametrize(("path", "title"), VERDICTS, ids=[title for _, title in VERDICTS])
def test_a_verdict_has_its_badge_beside_the_claim(path, title):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    assert f"{{verdict}}`{title}`" in "\n".join(cells)


def test_every_reference_has_a_doi_or_an_address():
    entries = parse_file(str(BOOK / "references.bib")).entries
    for key, entry in entries.items():
        doi, url = entry.fields.get("doi"), entry.fields.get("url")
        assert doi or url, f"{key} has neither doi nor url"
        assert doi is None or re.fullmatch(r"10\.\d{4,9}/\S+", doi), f"{key}: {doi} is not a DOI"
        assert url is None or url.startswith("https://"), f"{key}: {url} is not an https address"


def test_api_page_shows_every_public_module():
    modules = {
        ".".join(path.relative_to(ROOT / "lib").with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "lib").rglob("*.py")
        if not path.stem.startswith("_") or path.stem == "__init__"
    }
    shown = re.findall(r"^\.\. automodule:: ([\w.]+)$", (BOOK / "api.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(modules), "book/api.md has one automodule for each public module"


# ---------------------------------------------------------------------------------------------------------------------
# Stored numbers: what tools/execute.py writes is what nbval compares

SMALL_CHAPTER = """\
import matplotlib.pyplot as plt
---
print(f"{1 / 3:.4f}")
---
round(2 / 7, 4)
---
from myst_nb import glue

glue("small-number", f"{3 / 7:.4f}", display=False)
---
plt.plot([0, 1])
plt.show()
"""


@pytest.fixture(scope="module")
def small_chapter(tmp_path_factory):
    path = tmp_path_factory.mktemp("chapter") / "small.ipynb"
    cells = [new_code_cell(source.strip()) for source in SMALL_CHAPTER.split("---\n")]
    nbformat.write(new_notebook(cells=cells), path)
    tool.execute([path])
    return path


def run_nbval(path):
    """Run nbval on a notebook in a process of its own; return the cells that failed, and the finished process."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-sanitize-with", str(SANITIZE), path.name]
    command += ["-rf", "--rootdir=.", "-p", "no:cacheprovider", "-p", "no:xdist", "--color=no"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=path.parent, capture_output=True, text=True, env=environment, timeout=300
    )
    return re.findall(r"^FAILED .*::(Cell \d+)", done.stdout, re.MULTILINE), done


def test_stored_numbers_pass_unchanged(small_chapter):
    failed, done = run_nbval(small_chapter)
    assert failed == [] and done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_a_changed_stored_number_is_caught(small_chapter, tmp_path):
    text = small_chapter.read_text("utf-8")
    for stored, changed in (("0.3333", "0.3334"), ("0.2857", "0.2867"), ("0.4286", "0.4285")):
        assert text.count(stored) == 1
        text = text.replace(stored, changed)
    path = tmp_path / "changed.ipynb"
    path.write_text(text, "utf-8")
    failed, done = run_nbval(path)
    assert done.returncode == 1 and failed == ["Cell 1", "Cell 2", "Cell 3"], done.stdout + done.stderr


def test_only_the_sign_of_a_rounding_error_is_overlooked(tmp_path):
    path = tmp_path / "zero.ipynb"
    sources = ['print("0.00 0.0e+00")', 'print("0.01")', 'print("0.0e-05")']
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources]), path)
    tool.execute([path])
    text = path.read_text("utf-8")
    for stored in ('"0.00 0.0e+00\\n"', '"0.01\\n"', '"0.0e-05\\n"'):
        assert text.count(stored) == 1
        text = text.replace(stored, '"-' + stored[1:])
    path.write_text(text, "utf-8")
    failed, done = run_nbval(path)
    assert failed == ["Cell 1", "Cell 2"], done.stdout + done.stderr


def test_storing_a_chapter_twice_gives_the_same_file(small_chapter, tmp_path):
    path = tmp_path / "again.ipynb"
    path.write_bytes(small_chapter.read_bytes())
    tool.execute([path])
    assert path.read_bytes() == small_chapter.read_bytes()
