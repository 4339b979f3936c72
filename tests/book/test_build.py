"""The build: chapters run side by side, those that read verdicts last; a failure ends it; files are written whole."""

import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "execute.py"

spec = importlib.util.spec_from_file_location("execute", TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def notebook(path, *sources, title=None, tags=()):
    """Write a notebook that has never been run, and return its path."""
    cells = [new_markdown_cell(f"# {title or path.stem}"), *(new_code_cell(source) for source in sources)]
    for cell in cells[1:]:
        cell.metadata["tags"] = list(tags)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata=tool.NOTEBOOK_METADATA), path)
    return path


def printed(path):
    """What the cells of a notebook have printed."""
    cells = nbformat.read(path, as_version=4).cells
    return [output.text for cell in cells for output in cell.get("outputs", []) if "text" in output]


# ---------------------------------------------------------------------------------------------------------------------
# The runner


def test_the_longest_are_started_first_and_the_readers_wait():
    names = ["introduction", "model", "asymptotics", "ledger", "protocol", "your_data"]
    first, last = tool.in_turn([Path(f"{name}.ipynb") for name in names])
    assert [path.stem for path in first] == ["protocol", "asymptotics", "model", "your_data"]
    assert [path.stem for path in last] == ["introduction", "ledger"]


def test_the_names_of_the_order_are_chapters_and_every_reader_waits():
    stems = {path.stem for path in tool.chapters()}
    assert {*tool.LONGEST, *tool.LAST} <= stems
    readers = {path.stem for path in tool.chapters() if tool.CHAPTERS_VARIABLE in path.read_text("utf-8")}
    assert readers == set(tool.LAST)


MEET = """\
import time
from pathlib import Path

Path("{mine}.met").touch()
deadline = time.monotonic() + 60
while not Path("{other}.met").exists():
    assert time.monotonic() < deadline, "the other chapter is not run at the same time"
    time.sleep(0.05)
"""


def test_two_chapters_run_at_the_same_time(tmp_path):
    paths = [notebook(tmp_path / f"{a}.ipynb", MEET.format(mine=a, other=b)) for a, b in ("ab", "ba")]
    tool.execute(paths, workers=2, say=lambda line: None)


READ = """\
import os
from pathlib import Path

import nbformat

folder = Path(os.environ.get("BOOK_CHAPTERS", "."))
print(folder == Path("."), nbformat.read(folder / "model.ipynb", as_version=4).cells[1].outputs[0].text)
"""


def test_a_reader_finds_the_chapters_of_this_run(tmp_path, monkeypatch):
    monkeypatch.setenv(tool.CHAPTERS_VARIABLE, str(tmp_path / "left over"))
    model = notebook(tmp_path / "book" / "model.ipynb", "print('stored')")
    ledger = notebook(tmp_path / "book" / "ledger.ipynb", READ)
    lines = []
    tool.execute([model], say=lines.append)
    assert lines[0].startswith("running 1 chapters") and lines[1].startswith("ran model in ")
    stored = nbformat.read(model, as_version=4)
    stored.cells[1].source = "import time\n\ntime.sleep(1)\nprint('new')"
    nbformat.write(stored, model)
    before = model.read_bytes(), ledger.read_bytes()
    tool.execute([ledger, model], tmp_path / "run", tmp_path, workers=2, say=lines.append)
    assert printed(tmp_path / "run" / "book" / "ledger.ipynb") == ["False new\n\n"]
    assert (model.read_bytes(), ledger.read_bytes()) == before, "a build changes no stored chapter"
    tool.execute([ledger], say=lines.append)
    assert printed(ledger) == ["True stored\n\n"]


def test_a_failing_cell_names_the_chapter_and_ends_the_run(tmp_path):
    bad = notebook(tmp_path / "bad.ipynb", "x = 1", "raise ValueError('no root in [0, 1]')")
    slow = notebook(tmp_path / "slow.ipynb", "import time\n\ntime.sleep(600)")
    before, running, began = bad.read_bytes(), processes_of(os.getpid()), time.monotonic()
    with pytest.raises(tool.ChapterError, match=r"bad.ipynb, cell 3: (?s:.*)ValueError: no root in \[0, 1\]"):
        tool.execute([bad, slow], workers=2, say=lambda line: None)
    assert time.monotonic() - began < 300, "the other chapter was waited for"
    assert bad.read_bytes() == before
    assert set(processes_of(os.getpid())) <= set(running), "a kernel, or what it has started, outlives the run"


def test_what_a_cell_shows_may_not_fail_either(tmp_path):
    text = "class Shown:\n    def _repr_html_(self):\n        raise ValueError('no picture')"
    path = notebook(tmp_path / "shows.ipynb", text, "display(Shown())\nprint(2)")
    with pytest.raises(tool.ChapterError, match=r"(?s)shows\.ipynb, cell 3: .*ValueError: no picture"):
        tool.execute([path], say=lambda line: None)


def test_a_kernel_that_dies_is_named(tmp_path):
    path = notebook(tmp_path / "dies.ipynb", "x = 1", "import os\n\nos._exit(1)")
    with pytest.raises(tool.ChapterError, match=r"dies.ipynb: Kernel died \(cells of code begun: 2\)"):
        tool.execute([path], say=lambda line: None)


def test_an_intended_error_is_no_failure(tmp_path):
    path = notebook(tmp_path / "shows.ipynb", "raise ValueError", tags=["raises-exception"])
    tool.execute([path], say=lambda line: None)
    assert nbformat.read(path, as_version=4).cells[1].outputs[0].output_type == "error"


# ---------------------------------------------------------------------------------------------------------------------
# Files whole or untouched


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.ipynb"
    tool.write(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # a write beyond 4096 bytes fails, as on a full disk
    try:
        with pytest.raises(OSError):
            tool.write(path, "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    tool.write(path, "new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_kill_leaves_the_old_file(tmp_path, moment):
    path = tmp_path / "a.ipynb"
    path.write_text("old")
    code = (
        f"import os, signal, sys; sys.path.insert(0, {str(TOOL.parent)!r}); import execute; from pathlib import Path\n"
        f"os.{moment} = lambda *given: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"execute.write(Path({str(path)!r}), 'new' * 1000)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == -signal.SIGKILL
    assert path.read_text() == "old"


# ---------------------------------------------------------------------------------------------------------------------
# Interrupted


def processes_of(parent):
    """What `parent` has started, kernels say, and what these have started."""
    below = psutil.Process(parent).children(recursive=True)
    return [child for child in below if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


SLOW = """\
import subprocess
import sys
from pathlib import Path

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path("started").touch()
child.wait()
"""


def interrupt(command, folder, started, number):
    """Run `command` in `folder`, send it a signal once the file `started` is there; return what it said, and its code.

    Fails if a process that it had started is there ten seconds after its end.
    """
    running = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 240
        while not started.exists():
            assert time.monotonic() < deadline and running.poll() is None, "the slow chapter did not start"
            time.sleep(0.05)
        below = processes_of(running.pid)
        assert len(below) >= 2, "the kernel and the process that its cell has started"
        running.send_signal(number)
        said, _ = running.communicate(timeout=120)
    finally:
        running.kill()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
    return said, running.returncode


BY = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])


@BY
def test_an_interruption_says_what_is_done_and_leaves_no_process(tmp_path, number):
    quick, slow = notebook(tmp_path / "quick.ipynb", "print(1)"), notebook(tmp_path / "slow.ipynb", SLOW)
    before = slow.read_bytes()
    command = [sys.executable, str(TOOL), "--workers", "1", str(quick), str(slow)]
    said, code = interrupt(command, tmp_path, tmp_path / "started", number)
    assert code == 128 + number, said
    assert "Interrupted. Run: quick (1 of 2). Their outputs are stored." in said
    assert printed(quick) == ["1\n"] and slow.read_bytes() == before


# ---------------------------------------------------------------------------------------------------------------------
# The build of the book, with the configuration of this repository on two small chapters


def command_of_the_makefile():
    """The line of the Makefile that builds the book, as a list of words."""
    lines = [line.split() for line in (ROOT / "Makefile").read_text("utf-8").splitlines()]
    (command,) = [words for words in lines if words and words[0] == ".venv/bin/jupyter-book"]
    return command


def test_the_settings_of_the_build():
    assert command_of_the_makefile()[1:] == ["build", ".", "--all", "-W", "-n", "--keep-going"]
    settings = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    assert settings["execute"] == {"execute_notebooks": "off", "stderr_output": "warn"}
    assert settings["sphinx"]["local_extensions"]["run_chapters"] == "_ext"


def small_book(folder, address="", **chapters):
    """Write a book of an introduction and `chapters` (name: source of its cell); return the command that builds it.

    `address` is that of a repository, as the configuration would have it.
    """
    for name in ("_ext", "_static", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    del settings["logo"], settings["html"]["favicon"]
    settings["repository"]["url"] = address
    (folder / "_config.yml").write_text(yaml.safe_dump(settings), "utf-8")
    parts = [{"caption": "All", "chapters": [{"file": f"book/{name}"} for name in chapters]}]
    contents = {"format": "jb-book", "root": "book/introduction", "parts": parts}
    (folder / "_toc.yml").write_text(yaml.safe_dump(contents), "utf-8")
    notebook(folder / "book" / "introduction.ipynb", "print('hello')")
    shutil.copy2(ROOT / "book" / "references.bib", folder / "book")
    for name, source in chapters.items():
        path = notebook(folder / "book" / f"{name}.ipynb", source)
        stored = nbformat.read(path, as_version=4)
        stored.cells[1].outputs = [new_output("stream", name="stdout", text="stored-output\n")]
        stored.cells[1].execution_count = 1
        nbformat.write(stored, path)
    program = Path(sys.executable).with_name("jupyter-book")
    return [str(program), *command_of_the_makefile()[1:]]


def build(folder, address="", **chapters):
    """Build a small book as `make book` does; return the finished process."""
    command = small_book(folder, address, **chapters)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def page(folder, name):
    return (folder / "_build" / "html" / "book" / f"{name}.html").read_text("utf-8")


def test_the_pages_show_this_run(tmp_path):
    done = build(tmp_path, model="print('run-' + 'output')", ledger=READ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run-output" in page(tmp_path, "model") and "stored-output" not in page(tmp_path, "model")
    assert "False run-output" in page(tmp_path, "ledger"), "the ledger reads the chapters of this build"
    stored = json.loads((tmp_path / "book" / "model.ipynb").read_text("utf-8"))
    assert stored["cells"][1]["outputs"][0]["text"] == ["stored-output\n"]
    fonts = tmp_path / "_build" / "html" / "_static" / "fonts"
    assert {path.name for path in fonts.iterdir()} >= {"SourceSans3.ttf", "SourceCodePro-LICENSE.txt"}


def test_a_cell_that_fails_ends_the_build(tmp_path):
    done = build(tmp_path, model="raise ValueError('no root')")
    assert done.returncode != 0
    assert "model.ipynb, cell 2: " in done.stderr and "ValueError: no root" in done.stderr
    assert not (tmp_path / "_build" / "html" / "book" / "model.html").exists()


def test_a_warning_on_stderr_fails_the_build(tmp_path):
    done = build(tmp_path, model="import warnings\n\nwarnings.warn('loss of digits')")
    assert done.returncode != 0
    assert "stderr was found in the cell outputs" in done.stderr


@BY
def test_an_interrupted_build_says_that_nothing_is_kept(tmp_path, number):
    command = small_book(tmp_path, simulations=SLOW)
    said, code = interrupt(command, tmp_path, tmp_path / "book" / "started", number)
    assert code != 0
    assert "Interrupted. Run: no chapter (0 of 2). Not kept: the next build runs every chapter again." in said


# ---------------------------------------------------------------------------------------------------------------------
# Where the repository is, told in one place

DRAWING = """\
import matplotlib.pyplot as plt
from replication import show

show.use_style()
plt.plot([1, 2], [3, 5], label="a curve")
plt.show()"""
FIGURE = {"figure": {"name": "fig-simulations-3", "caption": "A curve."}, "image": {"alt": "A curve that rises."}}


def with_figure(folder, address):
    """Build a small book whose chapter "simulations" has a figure; return that page and its plain notebook."""
    command = small_book(folder, address, simulations=DRAWING)
    path = folder / "book" / "simulations.ipynb"
    chapter = nbformat.read(path, as_version=4)
    chapter.cells[1].metadata["mystnb"] = FIGURE
    nbformat.write(chapter, path)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    plain = nbformat.read(folder / "_build" / "html" / "_sources" / "book" / "simulations.ipynb", as_version=4)
    return page(folder, "simulations"), plain


READS_A_FILE = """\
from pathlib import Path

if Path("data").exists():
    print(Path("data/birds.csv").read_text())"""


def test_a_plain_notebook_in_an_empty_folder_says_what_it_lacks(tmp_path, monkeypatch):
    done = build(tmp_path, model="print(1)", your_data=READS_A_FILE)
    assert done.returncode == 0, done.stdout + done.stderr
    sources = tmp_path / "_build" / "html" / "_sources" / "book"
    first = {name: nbformat.read(sources / f"{name}.ipynb", 4).cells[0].source for name in ("model", "your_data")}
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    exec(first["model"], {})  # the packages are here
    with pytest.raises(RuntimeError, match="run: pip install .*, and open this notebook in its folder book"):
        exec(first["your_data"], {})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r'run: pip install "\.\[chapters\]"$'):
        exec(first["model"], {})


def legend(html):
    """The line below a figure, without its tags, and the addresses in it."""
    line = re.search(r'<p class="figure-files">(.*?)</p>', html, re.DOTALL)[1]
    return re.sub("<[^>]+>", "", line), re.findall('href="([^"]+)"', line)


def test_without_an_address_there_are_no_buttons_and_the_code_is_in_the_book(tmp_path):
    html, plain = with_figure(tmp_path, "")
    assert "mybinder.org" not in html and "colab" not in html and "git clone" not in plain.cells[0].source
    said, urls = legend(html)
    files = ["../figures/fig-simulations-3.svg", "../figures/fig-simulations-3.csv"]
    assert sorted(urls[:2]) == sorted(files) and all((tmp_path / "_build/html/book" / url).exists() for url in files)
    assert urls[2:] == ["#code-fig-simulations-3", "../_sources/book/simulations.ipynb"]
    assert html.count('id="code-fig-simulations-3"') == 1
    assert said.endswith(" · Code: cell 1 of simulations.ipynb · In the paper: Figure 3")


def test_with_an_address_binder_and_colab_open_the_plain_notebooks(tmp_path):
    html, plain = with_figure(tmp_path, "https://github.com/someone/moe")
    assert "https://mybinder.org/v2/gh/someone/moe/notebooks?urlpath=lab/tree/book/simulations.ipynb" in html
    assert "https://colab.research.google.com/github/someone/moe/blob/notebooks/book/simulations.ipynb" in html
    assert legend(html)[1][3] == "https://github.com/someone/moe/blob/notebooks/book/simulations.ipynb"
    assert "--branch notebooks https://github.com/someone/moe book" in plain.cells[0].source


def test_colab_opens_what_is_on_github_only(tmp_path):
    html, _ = with_figure(tmp_path, "https://gitlab.com/someone/moe")
    assert "https://mybinder.org/v2/gl/someone%2Fmoe/notebooks" in html and "colab.research" not in html
