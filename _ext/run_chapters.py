"""Sphinx extension: every chapter is run when the book is built, and the pages show what came out of this run.

myst-nb, left to itself, runs the chapters one after another. Here they are run side by side before any page is read
(`tools/execute.py`), into the folder ``chapters`` beside the pages, and each page is made from the notebook in there;
myst-nb is told to run nothing. Nothing is cached: a build runs all of them.
"""

import gc
import shutil
import sys
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import execute  # noqa: E402

LOGGER = logging.getLogger(__name__)


def folder_of(app):
    return Path(app.outdir).parent / "chapters"


def run_chapters(app):
    """Run all notebooks of the table of contents; a cell that fails ends the build."""
    if app.config.nb_execution_mode != "off":
        raise ExtensionError('_config.yml: execute_notebooks must be "off", or every chapter is run twice')
    shutil.rmtree(folder_of(app), ignore_errors=True)
    root = Path(app.srcdir)
    try:
        execute.execute(execute.chapters(root), folder_of(app), root, say=LOGGER.info)
    except execute.ChapterError as error:
        raise ExtensionError(str(error)) from None


def all_chapters(app, env, added, changed, removed):
    """Names of the pages to read again: all notebooks, since all have been run."""
    return [name for name in env.found_docs if str(env.doc2path(name)).endswith(".ipynb")]


def take_run_chapter(app, docname, source):
    """Replace the stored notebook by the one that has just been run."""
    if str(app.env.doc2path(docname)).endswith(".ipynb"):
        source[0] = (folder_of(app) / f"{docname}.ipynb").read_text("utf-8")


def setup(app):
    gc.set_threshold(100_000, 20, 20)  # Sphinx keeps what it makes: looking for garbage all the time is a seventh of it
    app.connect("builder-inited", run_chapters)
    app.connect("env-get-outdated", all_chapters)
    app.connect("source-read", take_run_chapter, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
