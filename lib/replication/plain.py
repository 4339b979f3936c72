r"""The text of the book as plain Markdown, which Jupyter and Colab show without the book around it.

The chapters are written in MyST: boxes and theorems are directives, numbers and references are roles, and a cell that
shows a table or a verdict shows MyST too. :func:`plain` writes all of it as Markdown. The book makes its plain
notebooks with it, and :func:`show_plainly` does the same to what the cells of such a notebook show when they are run.
"""

from __future__ import annotations

import re
from pathlib import Path

from .ledger import in_words
from .verdicts import collect

__all__ = ["default_word", "plain", "show_plainly"]

OPENING = re.compile(r"^(?P<indent>[ >]*)(?P<fence>`{3,}|:{3,})(?:\{(?P<name>[\w:.-]+)\})?[ ]*(?P<title>.*)$")
OPTION = re.compile(r"^:([\w-]+):[ ]*(.*)$")
ROLE = re.compile(r"\{([a-z][\w:.-]*)\}`([^`]+)`")
TARGET = re.compile(r"^\([\w-]+\)=$")
EQUATION = re.compile(r"^(\s*)\$\$[ ]*\(([\w-]+)\)[ ]*$")


def default_word(role, target):
    """What is written for a role by one who knows only its text: the text before ``<target>``, or the target.

    Roles that name code give code; a label alone becomes words, ``tab-model-truths`` "the table *model truths*".
    """
    text, _, rest = target.partition("<")
    if rest and text.strip():
        return text.strip()
    if role in ("func", "class", "mod", "meth", "attr", "data", "download"):
        return f"`{target.lstrip('!~').rpartition('/')[2]}`"
    if role in ("number", "equation"):
        return ""
    kind, _, name = target.partition("-")
    kinds = {"fig": "the figure", "tab": "the table", "eq": "the equation", "sec": "the section", "thm": "the theorem"}
    kinds |= {"lem": "the lemma", "ex": "the example", "def": "the definition", "cor": "the corollary"}
    return f"{kinds.get(kind, kind)} *{name.replace('-', ' ')}*" if name else target


def plain(text, word=default_word, macros=None):
    r"""Write MyST as plain Markdown.

    Boxes and theorems become quotations with a bold title, proofs paragraphs, folded parts ``<details>``, tables get
    their caption above them. Labels, comments and raw HTML are left out; blocks of code stay as they are.

    Parameters
    ----------
    text : str
        MyST.
    word : callable
        ``word(role, target)`` is what is written for ``{role}`target` ``. It is called with the role ``number`` for
        the number of a labelled statement or table, ``Theorem 2-A`` say, and with ``equation`` for that of an equation;
        both may be empty.
    macros : dict, optional
        TeX macros without arguments that only the book knows, by name: each is replaced by what it stands for.

    Returns
    -------
    str

    Examples
    --------
    >>> print(plain("See {ref}`the proof <sec-proof>`.\n\n:::{admonition} In short\n:class: note\n\nIt holds.\n:::"))
    See the proof.
    <BLANKLINE>
    > **In short**
    >
    > It holds.
    """
    for name, meaning in (macros or {}).items():
        text = re.sub(rf"\\{name}(?![A-Za-z])", lambda _, meaning=meaning: meaning, text)
    lines, written = text.split("\n"), []
    while lines:
        line = lines.pop(0)
        opening = OPENING.match(line)
        if opening and (opening["name"] or opening["fence"][0] == "`"):
            body = _body(lines, opening)
            block = _directive(opening["name"], opening["title"], body, word) if opening["name"] else None
            block = [line, *body, opening["fence"]] if block is None else [opening["indent"] + one for one in block]
            written += block
        elif not TARGET.match(line.strip()) and not line.startswith("% "):
            labelled = EQUATION.match(line)
            number = word("equation", labelled[2]) if labelled else ""
            written += [f"{labelled[1]}\\tag{{{number}}}"] if number else []
            line = f"{labelled[1]}$$" if labelled else line
            written.append(ROLE.sub(lambda role: word(role[1], role[2]), line))
    return "\n".join(written)


def _body(lines, opening):
    """Take the lines of a block, up to the fence that ends it, and that fence, out of `lines`."""
    end = re.compile(rf"^[ >]*{opening['fence'][0]}{{{len(opening['fence'])},}}[ ]*$")
    for count, line in enumerate(lines):
        if end.match(line):
            body = [one.removeprefix(opening["indent"]) for one in lines[:count]]
            del lines[: count + 1]
            return body
    body = [one.removeprefix(opening["indent"]) for one in lines]  # without an end it goes on to that of the text
    lines.clear()
    return body


def _directive(name, title, body, word):
    """The lines of one directive in plain Markdown; None for a block of code, which stays."""
    options = {}
    while body and (option := OPTION.match(body[0])):
        options[option[1]] = option[2]
        body = body[1:]
    label = options.get("label", options.get("name", ""))
    if name in ("code-block", "code"):
        return [f"```{title}", *body, "```"]
    if name == "math":
        return ["$$", *body, "$$"]
    if name == "raw":
        return ["*(What stands here works in the built book only.)*"]
    title, inner = plain(title, word), plain("\n".join(body), word).strip("\n").split("\n")
    number = word("number", label) if label else ""
    if name == "table":
        return [f"*{f'{number}. ' if number else ''}{title}*", "", *inner]
    if name == "dropdown":
        return ["<details>", f"<summary>{title}</summary>", "", *inner, "", "</details>"]
    if name == "prf:proof":
        return ["*Proof.*", "", *inner, "", "∎"]
    if name.startswith("prf:"):
        head = number or name.removeprefix("prf:").capitalize()
        title = f"**{head}**" + (f" ({title})." if title else ".")
    elif title:
        title = f"**{title}**"
    elif name != "container":
        title = f"**{name.capitalize()}**"
    quoted = ["", *inner] if title else inner
    return [f"> {one}".rstrip() for one in ([title] if title else []) + quoted]


def show_plainly(macros=None):
    """Let the cells of the notebook that is running show plain Markdown where they would show MyST.

    The words of a verdict are read from the chapters in the folder of the notebook. Outside IPython it does nothing.

    Parameters
    ----------
    macros : dict, optional
        As for :func:`plain`.
    """
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is None or getattr(shell.display_formatter.format, "plain", False):
        return
    shown, stored = shell.display_formatter.format, {}

    def word(role, target):
        if role == "verdict" and not stored:
            found = collect(sorted(Path().glob("*.ipynb")))
            stored.update({v.anchor: in_words(v) for there in found.values() for v in there})
        return stored.get(target) or default_word(role, target)

    def show(thing, include=None, exclude=None):
        data, metadata = shown(thing, include=include, exclude=exclude)
        if "text/markdown" in data:
            data["text/markdown"] = plain(data["text/markdown"], word, macros)
        return data, metadata

    show.plain = True
    shell.display_formatter.format = show
