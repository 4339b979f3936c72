"""Sphinx extension: below the docstring of a module on the API page, a table of what the module offers.

``automodule`` documents the members one below the other, and ``autosummary`` wants their names typed; the names are
taken from the module here, so that the table cannot miss one.
"""

from types import FunctionType


def add_summary(app, what, name, obj, options, lines):
    """Append an autosummary of the public functions and classes to the docstring of a module."""
    if what != "module":
        return
    listed = [
        key
        for key in getattr(obj, "__all__", vars(obj))
        if isinstance(vars(obj)[key], (type, FunctionType))
        and vars(obj)[key].__module__ == name
        and key[0] != "_"
    ]
    if listed:
        lines += ["", ".. autosummary::", "   :nosignatures:", "", *(f"   {key}" for key in listed), ""]


def setup(app):
    app.connect("autodoc-process-docstring", add_summary)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
