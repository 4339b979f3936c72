"""Sphinx extension: under each figure its SVG and the CSV of what it plots, and a page that lists figures and tables.

A chapter that is run by the build gives both beside the image (`replication.figure_files`). Here they are taken out of
the notebook, written into the folder ``figures`` of the built book under the figure's name, which does not change, and
linked to. The image itself is made smaller, for the page and for the notebook that the page offers. On the page
``book/figures`` the line ``<!-- figures and tables -->`` becomes the list of all of them.
"""

import base64
import re
import shutil
from pathlib import Path

import nbformat
from docutils import nodes
from plain_notebooks import chapter, glued
from run_chapters import execute, folder_of

from replication.figure_files import small_png
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


def links(app, name, docname):
    """Address and text of each file of a figure, as seen from a page."""
    for mime in sorted(app.env.figure_files.get(name, ())):
        suffix, text = KINDS[mime]
        yield f"{'../' * docname.count('/')}figures/{name}.{suffix}", text


def link_files(app, doctree):
    """Put the links into the legend of each figure."""
    for figure in doctree.findall(nodes.figure):
        for name in figure["names"]:
            found = [nodes.reference("", text, refuri=url) for url, text in links(app, name, app.env.docname)]
            if found:
                line = nodes.paragraph("", "", classes=["figure-files"])
                for count, reference in enumerate(found):
                    line += [nodes.Text(" · "), reference] if count else [reference]
                figure += nodes.legend("", line)


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
                files = " · ".join(f'<a href="{url}">{text}</a>' for url, text in links(app, name, docname))
                figures.append(f"- {{numref}}`{name}`: {plain(caption, word)} {files}")
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
