"""Sphinx extension: the docstring of a module, on the API page.

* A table of the module's functions and classes is added below it. ``automodule`` documents the members one below the
  other, and ``autosummary`` wants their names typed; here they are taken from the module, so that none is missed.
* Its underlined titles become rubrics: as sections, "References" would be there twice.
"""

import re
from types import FunctionType


def prepare_docstring(app, what, name, obj, options, lines):
    """Change, in place, the lines of a module's docstring."""
    if what != "module":
        return
    lines[:] = re.sub(r"^(\w.*)\n-{3,}$", r".. rubric:: \1\n", "\n".join(lines), flags=re.MULTILINE).split("\n")
    listed = [
        key
        for key in getattr(obj, "__all__", vars(obj))
        if isinstance(vars(obj)[key], (type, FunctionType)) and vars(obj)[key].__module__ == name and key[0] != "_"
    ]
    if listed:
        lines += ["", ".. autosummary::", "   :nosignatures:", "", *(f"   {key}" for key in listed), ""]


def setup(app):
    app.connect("autodoc-process-docstring", prepare_docstring)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
