"""Sphinx extension: the notebook that a page's download button gives is plain, and runs where no book is.

A chapter's own notebook has MyST in its text: ``{glue:text}`` for numbers, directives for boxes, roles for references.
The one in ``_sources`` of the built book, where the theme's button leads to, has the values, Markdown and words
instead, the captions as text, and a first cell that installs what the chapter needs. For that the repository's address
is read from ``repository`` in ``_config.yml``; where it is not given, the cell says what to do.
"""

import re
from pathlib import Path

import nbformat
from docutils import nodes
from pybtex.database import parse_file
from run_chapters import folder_of

from replication.ledger import in_words
from replication.plain import default_word, plain
from replication.verdicts import MIME

#: Kinds of data that the plain notebook keeps of what a cell shows, and verdicts, which the ledger reads.
SHOWN = ("text/plain", "text/markdown", "text/html", "image/png", MIME)
#: Files of the repository that the code of a chapter reads.
READ = re.compile(r'"((?:data|\.\.)/[\w./-]+)"')
GLUED = "application/papermill.record/text/plain"
KNOWN = """\
    !git clone --quiet --depth 1 --branch {branch} {url} book
    %pip install --quiet "./book[chapters]"
    %cd -q book/book
"""
UNKNOWN = """\
    raise RuntimeError('In a copy of the repository of this book, run: pip install ".[chapters]"{also}')
"""
FIRST = """\
# Installs what this chapter needs, where it is opened outside a copy of the repository.
from importlib.util import find_spec
{path}
if find_spec("replication") is None{missing}:
{install}
from replication.plain import show_plainly

show_plainly({macros})"""


def chapter(app, docname):
    """The notebook of a page as it was run: by this build, or as it is stored."""
    run = folder_of(app) / f"{docname}.ipynb"
    return nbformat.read(run if run.exists() else app.env.doc2path(docname), as_version=4)


def glued(notebook):
    """The values that a notebook gives to its text, by key."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "scrapbook" in output.get("metadata", {}):
                found[output.metadata.scrapbook.name] = output.data[GLUED].strip("'\"")
    return found


def authors(entry):
    names = ["".join(map(str, person.last_names)).strip("{}") for person in entry.persons["author"]]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names)


class Words:
    """What is written for the roles of one page: called with a role and its target, as `plain` does."""

    def __init__(self, app, docname, values, bibliography):
        self.app, self.env, self.docname = app, app.env, docname
        self.values, self.bibliography = values, bibliography

    def __call__(self, role, target):
        text, _, inside = target.partition("<")
        label = inside.rstrip("> ") if inside and text.strip() else target
        if role == "glue:text":
            return self.values[target.partition(":")[0]]
        if role in ("cite:t", "cite:p"):
            cited = [self.bibliography[key.strip()] for key in target.split(",")]
            form = "{} ({})" if role == "cite:t" else "{}, {}"
            written = "; ".join(form.format(authors(entry), entry.fields["year"]) for entry in cited)
            return written if role == "cite:t" else f"({written})"
        if role == "verdict":
            return in_words(self.env.verdicts[target])
        found = ""
        if role in ("numref", "prf:ref", "number"):
            found = self.number(label)
        elif role in ("eq", "equation"):
            found = self.equation(label)
            found = f"({found})" if found and role == "eq" else found
        elif label == target and role == "ref":
            found = self.env.get_domain("std").labels.get(label, ("", "", ""))[2]
        elif label == target and role == "doc":
            page = str(Path(self.docname).parent / label)
            found = f"*{self.env.titles[page].astext()}*" if page in self.env.titles else ""
        return found or default_word(role, target)

    def number(self, label):
        """The kind and number of a figure, a table or a statement."""
        proofs = getattr(self.env, "proof_list", {})
        std = self.env.get_domain("std")
        if label in proofs:
            docname, kind, counter, identifier = proofs[label]["docname"], proofs[label]["realtype"], "theorem", label
            form = f"{kind.capitalize()} %s"
        elif label in std.anonlabels:
            docname, identifier = std.anonlabels[label]
            counters = self.env.toc_fignumbers.get(docname, {})
            counter = next((one for one in ("figure", "table") if identifier in counters.get(one, {})), None)
            if counter is None:
                return ""
            form = self.app.config.numfig_format[counter]
        else:
            return ""
        number = self.env.toc_fignumbers.get(docname, {}).get(counter, {}).get(identifier)
        return form % ".".join(map(str, number)) if number else ""

    def equation(self, label):
        docname, number = self.env.get_domain("math").equations.get(label, ("", ""))
        numbered = self.env.toc_fignumbers.get(docname, {}).get("displaymath", {})
        return ".".join(map(str, numbered.get(f"equation-{nodes.make_id(label)}", (number,))))


def first_cell(notebook, options, macros):
    """The code of the first cell of a notebook; `options` are the theme's."""
    url, branch = options.get("repository_url"), options.get("repository_branch") or "main"
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    reads = READ.search(code)
    missing = f' or not Path("{reads[1]}").exists()' if reads else ""
    also = ", and open this notebook in its folder book" if reads else ""
    install = KNOWN.format(url=url, branch=branch) if url else UNKNOWN.format(also=also)
    written = ", ".join(f'"{name}": r"{meaning}"' for name, meaning in macros.items())
    path = "from pathlib import Path\n" if reads else ""
    return FIRST.format(path=path, missing=missing, install=install, macros=f"{{{written}}}" if macros else "")


def make_plain(notebook, word, macros, first):
    """Change a notebook, in place, into a plain one."""
    cells = [nbformat.v4.new_code_cell(first, id="install")]
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type != "code":
            cell.source = plain(cell.source, word, macros)
            continue
        cell.outputs = [output for output in cell.outputs if GLUED not in output.get("data", {})]
        for output in cell.outputs:
            if "data" in output:
                output.data = {mime: data for mime, data in output.data.items() if mime in SHOWN}
                if "text/markdown" in output.data:
                    output.data["text/markdown"] = plain(output.data["text/markdown"], word, macros)
        if {"hide-input", "remove-input", "hide-cell"} & set(cell.metadata.get("tags", [])):
            cell.metadata["jupyter"] = {"source_hidden": True}
        figure = cell.metadata.pop("mystnb", {}).get("figure")
        if figure:
            name, caption = figure["name"], plain(figure["caption"], word, macros)
            cells.append(nbformat.v4.new_markdown_cell(f"*{word('number', name)}.* {caption}", id=name))
    for number, cell in enumerate(cells):
        cell.setdefault("id", f"cell-{number}")
    notebook.cells, notebook.nbformat_minor = cells, 5  # the first version whose cells have names
    return notebook


def write_notebooks(app, exception):
    """Write the plain notebook of each chapter where Sphinx has put its source."""
    if exception is not None or app.builder.format != "html":
        return
    bibliography = parse_file(str(Path(app.srcdir, app.config.bibtex_bibfiles[0]))).entries
    macros = app.config.mathjax3_config["tex"].get("macros", {})
    for docname in app.env.found_docs:
        if str(app.env.doc2path(docname)).endswith(".ipynb"):
            notebook = chapter(app, docname)
            first = first_cell(notebook, app.config.html_theme_options, macros)
            notebook = make_plain(notebook, Words(app, docname, glued(notebook), bibliography), macros, first)
            nbformat.validate(notebook)
            target = Path(app.outdir, "_sources", f"{docname}.ipynb")
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, target)


def setup(app):
    app.connect("build-finished", write_notebooks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
