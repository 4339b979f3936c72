"""MyST as plain Markdown: every kind of markup that the chapters use."""

import json
from types import SimpleNamespace

import pytest
from IPython.core.formatters import DisplayFormatter

from replication.plain import default_word, plain, show_plainly
from replication.show import table
from replication.verdicts import HOLDS, Verdict

CASES = {
    "text stays": ("# A title\n\nText, $x_1$, `code`.", "# A title\n\nText, $x_1$, `code`."),
    "labels and comments go": ("(sec-a)=\n# A\n\n% a note\nText", "# A\n\nText"),
    "box": ("```{admonition} In short\n:class: note\n\nYes.\n```", "> **In short**\n>\n> Yes."),
    "box of colons": (":::{note}\nYes.\n:::", "> **Note**\n>\n> Yes."),
    "theorem": ("```{prf:theorem} Two atoms\n:label: thm-a\n\nIt is.\n```", "> **Theorem** (Two atoms).\n>\n> It is."),
    "proof": ("```{prf:proof}\nClear.\n```", "*Proof.*\n\nClear.\n\n∎"),
    "table": ("```{table} A caption.\n:name: tab-a\n\n| a |\n|---|\n```", "*A caption.*\n\n| a |\n|---|"),
    "folded": (
        "````{dropdown} Proof\n```{prf:proof}\nClear.\n```\n````",
        "<details>\n<summary>Proof</summary>\n\n*Proof.*\n\nClear.\n\n∎\n\n</details>",
    ),
    "box in a box": (
        "````{admonition} A\n\n```{prf:lemma} B\nText.\n```\n````",
        "> **A**\n>\n> > **Lemma** (B).\n> >\n> > Text.",
    ),
    "in a list": ("1. one\n\n   :::{table} C.\n\n   | a |\n   :::", "1. one\n\n   *C.*\n   \n   | a |"),
    "code stays": ("```python\nx = '{ref}`a`'\n```", "```python\nx = '{ref}`a`'\n```"),
    "code-block": ("```{code-block} python\nx = 1\n```", "```python\nx = 1\n```"),
    "labelled equation": ("$$\nx\n$$ (eq-a)", "$$\nx\n$$"),
    "no end": ("```{note}\nYes.", "> **Note**\n>\n> Yes."),
}


@pytest.mark.parametrize("name", CASES)
def test_plain(name):
    text, expected = CASES[name]
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("role", "target", "expected"),
    [
        ("ref", "the proof <sec-proof>", "the proof"),
        ("numref", "tab-model-truths", "the table *model truths*"),
        ("eq", "eq-a", "the equation *a*"),
        ("prf:ref", "thm-regime1", "the theorem *regime1*"),
        ("func", "~logitmoe.fitting.fit", "`logitmoe.fitting.fit`"),
        ("number", "thm-a", ""),
        ("doc", "model", "model"),
    ],
)
def test_default_words(role, target, expected):
    assert default_word(role, target) == expected


def test_words_of_a_reader_who_knows_the_book():
    numbers = {("number", "thm-a"): "Theorem 2-A", ("equation", "eq-a"): "2.1", ("glue:text", "b"): "0.5"}
    text = "```{prf:theorem} Two\n:label: thm-a\nIt is {glue:text}`b`.\n\n$$\nx\n$$ (eq-a)\n```"
    expected = "> **Theorem 2-A** (Two).\n>\n> It is 0.5.\n>\n> $$\n> x\n> \\tag{2.1}\n> $$"
    assert plain(text, lambda *role: numbers[role]) == expected


def test_macros_are_written_out_and_longer_names_are_left():
    assert plain(r"$\R \Re \E_X$", macros={"R": r"\mathbb{R}", "E": r"\mathbb{E}"}) == r"$\mathbb{R} \Re \mathbb{E}_X$"


def test_a_notebook_that_shows_plainly(monkeypatch):
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    shown = table(["a"], [["{ref}`x <y>` of $\\R$"]], caption="A caption.", name="tab-a")
    assert "```{table}" in shell.display_formatter.format(shown)[0]["text/markdown"]
    for _ in range(2):  # once is enough
        show_plainly({"R": r"\mathbb{R}"})
    data, _ = shell.display_formatter.format(shown)
    assert data["text/markdown"] == "*A caption.*\n\n| a |\n| --- |\n| x of $\\mathbb{R}$ |"


def test_badges_become_the_words_of_the_chapters_beside_the_notebook(monkeypatch, tmp_path):
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    given = dict(items=("Theorem 3.1",), claim="C.", verdict=HOLDS, finding="F.", evidence="E.")
    output = {"output_type": "display_data", "metadata": {}, "data": Verdict(**given)._repr_mimebundle_()}
    cell = {"cell_type": "code", "outputs": [output]}
    (tmp_path / "chapter.ipynb").write_text(json.dumps({"cells": [cell]}), "utf-8")
    monkeypatch.chdir(tmp_path)
    show_plainly()
    data, _ = shell.display_formatter.format(table(["a"], [["{verdict}`verdict-theorem-3-1`"], ["{ref}`b <c>`"]]))
    assert data["text/markdown"].split("\n")[-2:] == ["| **✔ holds** |", "| b |"]


def test_outside_a_notebook_nothing_is_changed(monkeypatch):
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    show_plainly()
