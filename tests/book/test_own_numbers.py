"""The numbers of our own statements, in a small book: letters behind the chapter's number, in titles and in links."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXT = Path(__file__).resolve().parents[2] / "_ext"
spec = importlib.util.spec_from_file_location("own_numbers", EXT / "own_numbers.py")
own_numbers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(own_numbers)

STATEMENT = "```{{prf:{kind}}} Named\n:label: {label}\nText.\n```\n\n```{{prf:proof}}\nA proof.\n```\n\n"
PAGES = {
    "index.md": "# Book\n\n```{table} A caption\n| a |\n| - |\n| 1 |\n```\n\n```{toctree}\n:numbered:\na\nb\n```\n",
    "a.md": "# A\n\n" + STATEMENT.format(kind="theorem", label="one") + STATEMENT.format(kind="lemma", label="two"),
    "b.md": "# B\n\n" + STATEMENT.format(kind="theorem", label="three") + "{prf:ref}`two` {prf:ref}`three`\n",
}


@pytest.mark.parametrize(("number", "expected"), [(1, "A"), (26, "Z"), (27, "AA"), (52, "AZ"), (53, "BA")])
def test_letters(number, expected):
    assert own_numbers.letters(number) == expected


@pytest.fixture(scope="module")
def small_book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    lines = ["extensions = ['sphinx_proof', 'own_numbers', 'myst_parser']", "master_doc = 'index'"]
    lines += ["numfig = True", "numfig_secnum_depth = 1", f"import sys; sys.path.insert(0, {str(EXT)!r})"]
    (folder / "conf.py").write_text("\n".join(lines), "utf-8")
    for name, text in PAGES.items():
        (folder / name).write_text(text, "utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(folder), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: (folder / "out" / f"{name}.html").read_text("utf-8") for name in ("a", "b", "index")}


def test_titles_share_one_sequence_of_letters(small_book):
    title = re.compile(r'<span class="caption-number">(.*?) ?</span>')
    titles = {name: title.findall(text) for name, text in small_book.items()}
    assert titles == {"a": ["Theorem 1-A", "Lemma 1-B"], "b": ["Theorem 2-A"], "index": ["Table I.1"]}


def test_links_have_the_numbers_of_the_titles(small_book):
    assert re.findall(r'<a class="reference internal" href="(\S*#(?:two|three))"[^>]*>(.*?)</a>', small_book["b"]) == [
        ("a.html#two", "Lemma 1-B"),
        ("#three", "Theorem 2-A"),
    ]


def test_no_identifier_is_there_twice(small_book):
    ids = re.findall(r'\bid="([^"]+)"', small_book["a"])
    assert {"one", "two", "proof-1", "proof-2"} <= set(ids)
    assert sorted({name for name in ids if ids.count(name) > 1}) == []
