"""Sphinx extension: the built book opens from disk and sends no request to any other place.

* MathJax comes with the book. Of the 12 MB that the package sphinx-mathjax-offline carries, the 2 MB that
  ``tex-chtml.js`` can ask for are copied into ``_static/mathjax``.
* The fonts of text and code come with the book, so that a page is laid out alike on every machine. The packages
  fontpkg-source-sans-3 and fontpkg-source-code-pro carry them; ``_static/book.css`` names them.
* What no reader needs of the theme's files is taken out, 4 MB: the maps of its scripts and styles, for its developers,
  and the translations that it has used when it wrote the pages.
* thebe (run a cell on a public server) is taken out: its script is loaded from a content delivery network and its
  inline configuration, present twice, throws an error on every page.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError

MATHJAX = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")
FONTS = {"fontpkg_source_sans_3": "SourceSans3", "fontpkg_source_code_pro": "SourceCodePro"}  # package: family


def folder_of(package):
    """The folder of an installed package."""
    found = find_spec(package)
    if found is None:
        raise ExtensionError(f"{package} is not installed: pip install -r requirements.txt")
    return Path(found.submodule_search_locations[0])


def copy_fonts(app, exception):
    """Copy the fonts, upright and italic in all weights, and their licences (SIL OFL 1.1) into the output."""
    if exception is not None or app.builder.format != "html":
        return
    target = Path(app.outdir, "_static", "fonts")
    target.mkdir(parents=True, exist_ok=True)
    for package, family in FONTS.items():
        source = folder_of(package)
        for style in ("", "-Italic"):
            shutil.copy2(source / "files" / f"{family}{style}[wght].ttf", target / f"{family}{style}.ttf")
        shutil.copy2(source / "LICENSE", target / f"{family}-LICENSE.txt")


def copy_mathjax(app, exception):
    """Copy the MathJax files into the output, once the pages are written."""
    if exception is not None or app.builder.format != "html":
        return
    source = folder_of("sphinx-mathjax-offline") / "static" / "mathjax"
    target = Path(app.outdir, "_static", "mathjax")
    for name in MATHJAX:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def drop_unused(app, exception):
    """Take the theme's source maps and translations out of the output."""
    if exception is None and app.builder.format == "html":
        shutil.rmtree(Path(app.outdir, "_static", "locales"), ignore_errors=True)
        for path in Path(app.outdir, "_static").rglob("*.map"):
            path.unlink()


def drop_thebe_scripts(app, pagename, templatename, context, doctree):
    """Leave thebe's scripts out of a page's head."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{script.filename} {script.attributes}"
    ]


def drop_thebe_nodes(app, doctree, docname):
    """Leave thebe's configuration out of a page's body."""
    for node in list(doctree.findall(nodes.raw)):
        if "thebe" in node.astext() or node.astext().startswith("<script>kernelName"):
            node.parent.remove(node)


def setup(app):
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", copy_fonts)
    app.connect("build-finished", drop_unused)
    app.connect("html-page-context", drop_thebe_scripts, priority=900)
    app.connect("doctree-resolved", drop_thebe_nodes, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
