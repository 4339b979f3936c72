"""Sphinx extension: under each figure its SVG, the CSV of what it plots, its code and its counterpart in the paper.

A chapter that is run by the build gives SVG and CSV beside the image (`replication.figure_files`). Here they are taken
out of the notebook, written into the folder ``figures`` of the built book under the figure's name, which does not
change, and linked to. The image itself is made smaller, for the page and for the notebook that the page offers. The
code is a cell of the page and of the chapter's notebook: in the repository, at the commit of the build, if
``_config.yml`` has its address, otherwise the plain notebook. What the figure is in the paper is said by
`replication.paper.COUNTERPARTS`. On the page ``book/figures`` the line ``<!-- figures and tables -->`` becomes the list
of all figures and tables.
"""

import base64
import re
import shutil
from pathlib import Path

import nbformat
from docutils import nodes
from plain_notebooks import chapter, glued
from repository import file_in_repository
from run_chapters import execute, folder_of

from replication.figure_files import small_png
from replication.paper import COUNTERPARTS
from replication.plain import plain

KINDS = {"image/svg+xml": ("svg", "Figure as SVG"), "text/csv": ("csv", "Plotted data as CSV")}
LIST, MARK = "book/figures", "<!-- figures and tables -->"
TABLE = re.compile(r"\{table\} (.+)\n *:name: (\S+)")


def figure_of(cell):
    """Name and caption of the figure that a cell shows; None if it shows none."""
    return cell.metadata.get("mystnb", {}).get("figure")


def take_files(app):
    """Move SVG and CSV of each figure from the chapters that were run into files, and make the images smaller."""
    app.env.figure_files = {}
    folder = Path(app.outdir, "figures")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(folder_of(app).glob("**/*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    image = small_png(base64.b64decode(output.data["image/png"]))
                    output.data["image/png"] = base64.b64encode(image).decode("ascii")
                for mime in KINDS.keys() & output.get("data", {}).keys():
                    content = output.data.pop(mime)
                    if figure_of(cell):
                        suffix, name = KINDS[mime][0], figure_of(cell)["name"]
                        (folder / f"{name}.{suffix}").write_text(content, "utf-8")
                        app.env.figure_files.setdefault(name, []).append(mime)
        nbformat.write(notebook, path)


def cells_of(notebook):
    """The cell that draws each figure of a notebook, by the figure's name."""
    return {figure_of(cell)["name"]: cell for cell in notebook.cells if figure_of(cell)}


def links(app, name, page, cell, docname):
    """What is said beside a figure of `page`, as seen from `docname`.

    Each piece is the text before it, its own text, and the address that it leads to, "" for none.
    """
    up = "../" * docname.count("/")
    for mime in sorted(app.env.figure_files.get(name, ())):
        suffix, text = KINDS[mime]
        yield " · ", text, f"{up}figures/{name}.{suffix}"
    shown = not {"remove-input", "remove-cell"} & set(cell.metadata.get("tags", []))
    here = "" if page == docname else f"{up}{page}.html"
    yield " · Code: ", f"cell {cell.execution_count}", f"{here}#{code_anchor(name)}" if shown else ""
    source = file_in_repository(app, f"{page}.ipynb") or f"{up}_sources/{page}.ipynb"
    yield " of ", f"{page.rpartition('/')[2]}.ipynb", source
    if name in COUNTERPARTS:
        yield " · ", f"In the paper: {COUNTERPARTS[name]}", ""


def code_anchor(name):
    """The anchor of the cell that draws a figure: ``code-fig-map``."""
    return f"code-{name}"


def link_files(app, doctree):
    """Put the line below the caption of each figure, and an anchor at its code."""
    page = app.env.docname
    if not str(app.env.doc2path(page)).endswith(".ipynb"):
        return
    cells = cells_of(chapter(app, page))
    for figure in doctree.findall(nodes.figure):
        for name in set(figure["names"]) & cells.keys():
            line = nodes.paragraph("", "", classes=["figure-files"])
            for count, (before, text, url) in enumerate(links(app, name, page, cells[name], page)):
                line += nodes.Text(before if count else before.removeprefix(" · "))
                line += nodes.reference("", text, refuri=url) if url else nodes.Text(text)
            figure += nodes.legend("", line)
            cell = figure.parent
            while cell is not None and "cell" not in cell.get("classes", []):
                cell = cell.parent
            if cell is not None:
                cell["ids"].append(code_anchor(name))


def only_values(values):
    """Replace the numbers in a caption, and leave its other roles to the page."""
    return lambda role, target: values[target] if role == "glue:text" else f"{{{role}}}`{target}`"


def list_all(app, docname, source):
    """Write the list of figures and tables, chapter by chapter in the order of the contents."""
    if docname != LIST:
        return
    lines = []
    for path in execute.chapters(Path(app.srcdir)):
        page = path.relative_to(app.srcdir).with_suffix("").as_posix()
        notebook = chapter(app, page)
        word, figures, tables = only_values(glued(notebook)), [], []
        for cell in notebook.cells:
            if figure_of(cell):
                name, caption = figure_of(cell)["name"], figure_of(cell)["caption"]
                found = links(app, name, page, cell, docname)
                said = "".join(f'{one}<a href="{url}">{text}</a>' if url else one + text for one, text, url in found)
                figures.append(f"- {{numref}}`{name}`: {plain(caption, word)}{said}")
            texts = [cell.source] if cell.cell_type == "markdown" else []
            texts += [output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])]
            found = (hit for text in texts for hit in TABLE.findall(text))
            tables += [f"- {{numref}}`{name}`: {plain(caption, word)}" for caption, name in found]
        if figures or tables:
            title = re.search(r"^# (.+)$", "\n".join(cell.source for cell in notebook.cells), re.MULTILINE)
            lines += ["", f"## {title[1] if title else path.stem}", "", *figures, *tables]
    source[0] = source[0].replace(MARK, "\n".join(lines))


def setup(app):
    app.connect("builder-inited", take_files, priority=600)  # when the chapters have been run
    app.connect("source-read", list_all)
    app.connect("doctree-read", link_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
