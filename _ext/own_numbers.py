"""Sphinx extension: the numbers of this book's own theorems, which cannot be taken for the paper's.

sphinx-proof counts theorems, lemmas and definitions each on their own, as the paper does: "Theorem 2.1" could be in
either.  Here what a chapter states and proves is counted in one sequence, by letters, behind the chapter's number:
Definition 2-A, Theorem 2-B.  The paper has no such numbers.  Titles and ``{prf:ref}`` read them from the same place.

A figure or table of a page that is no chapter would be "Table 2", as the paper's: it is Table I.2.

sphinx-proof also gives the text of each statement, and each proof, the same identifier; they are counted.
"""

from docutils import nodes
from sphinx_proof.proof_type import PROOF_TYPES

#: The counter that all of them share.
COUNTER = "theorem"


def letters(number):
    """Write 1, 2, ..., 26, 27, ... as A, B, ..., Z, AA, ..."""
    written = ""
    while number:
        number, digit = divmod(number - 1, 26)
        written = chr(ord("A") + digit) + written
    return written


def count_together(app, config):
    """Let every kind of statement take its number from the one counter."""
    config.prf_realtyp_to_countertyp = dict.fromkeys(PROOF_TYPES, COUNTER)


def number_by_letters(app, env):
    """Replace each number, once the table of contents has given it: (2, 1) becomes ("2-A",)."""
    for counters in env.toc_fignumbers.values():
        for anchor, number in counters.get(COUNTER, {}).items():
            if isinstance(number[-1], int):
                counters[COUNTER][anchor] = ("-".join([*map(str, number[:-1]), letters(number[-1])]),)
        for numbered in (counters.get("figure", {}), counters.get("table", {})):
            for anchor, number in numbered.items():
                if len(number) == 1:
                    numbered[anchor] = ("I", *number)
    return []


def tell_apart(app, doctree):
    """Count on a page what sphinx-proof gives one identifier: proof-1, proof-2, ..."""
    for name in ("proof", "proof-content"):
        alike = (node for node in doctree.findall(nodes.Element) if node.get("ids") == [name])
        for count, node in enumerate(alike, 1):
            node["ids"] = [f"{name}-{count}"]


def setup(app):
    app.connect("config-inited", count_together)
    app.connect("doctree-read", tell_apart, priority=100)  # before the contents are collected
    app.connect("env-get-updated", number_by_letters, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
