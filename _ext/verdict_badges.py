"""Sphinx extension: one badge for a verdict, the same under a chapter's title, beside a claim, on its box and in lists.

* The role ``{verdict}`Theorem 3.1, rate` `` is that verdict's badge, a link to its box; ``verdict-theorem-3-1-rate``,
  the box's anchor, names it too.  A verdict that no chapter gives is a warning, and so ends the build.
* The verdicts of a chapter, badge and finding, are listed under its title.
* A verdict's box has the badge for its title.

What a badge looks like is in ``_static/badges.css``; what it says, an icon and words, does not depend on colours.
"""

import json
import re
from pathlib import Path

from docutils import nodes
from run_chapters import folder_of
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxRole
from sphinx.util.nodes import make_refnode

from replication.ledger import ICONS
from replication.verdicts import collect

#: Chapters that collect the verdicts of others.
COLLECTIONS = ("introduction", "ledger")


def css_class(verdict):
    """The class of a badge: ``verdict-fails-as-printed``."""
    return "verdict-" + re.sub("[^a-z]+", "-", verdict.verdict)


def find_verdicts(app):
    """Read the verdicts of this build: by chapter, and by anchor."""
    folder = folder_of(app)
    if not folder.exists():  # the chapters are not run by this build: what is stored is shown
        folder = Path(app.srcdir)
    found = collect(sorted(folder.glob("book/*.ipynb")))
    app.env.verdicts_of = {path.stem: there for path, there in found.items()}
    app.env.verdicts = {v.anchor: v for there in found.values() for v in there}
    app.env.verdicts |= {v.title: v for there in found.values() for v in there}


def label(verdict):
    """Icon and words, the icon hidden from screen readers, which read the words."""
    icon = nodes.inline("", ICONS[verdict.verdict], classes=["verdict-icon"])
    return nodes.inline("", "", icon, nodes.Text(f" {verdict.verdict}"), classes=["verdict-badge", css_class(verdict)])


class VerdictRole(SphinxRole):
    """``{verdict}`title or anchor` ``."""

    def run(self):
        verdict = self.env.verdicts.get(self.text)
        if verdict is None:
            message = f"no chapter gives a verdict on {self.text!r}"
            return [], [self.inliner.reporter.warning(message, line=self.lineno)]
        options = dict(refdomain="", reftype="verdict", reftarget=verdict.anchor, refwarn=True)
        return [pending_xref(self.rawtext, label(verdict), refdoc=self.env.docname, **options)], []


def resolve(app, env, node, contnode):
    """Lead a badge to the box of its verdict, and leave its looks as they are: a plain reference would not."""
    if node["reftype"] != "verdict":
        return None
    std = env.get_domain("std")
    docname, identifier = std.anonlabels.get(node["reftarget"], ("", ""))
    return make_refnode(app.builder, node["refdoc"], docname, identifier, contnode) if docname else None


def list_verdicts(app, docname, source):
    """Put the list of a chapter's verdicts under its title."""
    name = docname.rpartition("/")[2]
    there = getattr(app.env, "verdicts_of", {}).get(name, ())
    if not there or name in COLLECTIONS:
        return
    notebook = json.loads(source[0])
    lines = [f"- {{verdict}}`{v.anchor}` **{v.title}.** {v.finding}" for v in there]
    block = ["", ":::{container} verdict-list", *lines, ":::", ""]
    for cell in notebook["cells"]:
        text = "".join(cell["source"]).split("\n")
        titles = [n for n, line in enumerate(text) if line.startswith("# ")]
        if cell["cell_type"] == "markdown" and titles:
            text[titles[0] + 1 : titles[0] + 1] = block
            cell["source"] = "\n".join(text)
            break
    source[0] = json.dumps(notebook)


def dress_boxes(app, doctree):
    """Give the box of each verdict its badge for a title, and the class of the badge."""
    known = getattr(app.env, "verdicts", {})
    for box in doctree.findall(nodes.admonition):
        verdict = next((known[name] for name in box["ids"] + box["names"] if name in known), None)
        if verdict is None:
            continue
        box["classes"] = [c for c in box["classes"] if c == "admonition"] + ["verdict-box", css_class(verdict)]
        title = next(iter(box.findall(nodes.title)))
        title.children = []
        title += nodes.Text(f"{verdict.title} ")
        title += label(verdict)


def setup(app):
    app.add_role("verdict", VerdictRole())
    app.add_css_file("badges.css")
    app.connect("builder-inited", find_verdicts, priority=900)  # when the chapters have been run
    app.connect("source-read", list_verdicts, priority=200)  # when the notebook that was run is there
    app.connect("doctree-read", dress_boxes)
    app.connect("missing-reference", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
