"""Run the chapters and store their outputs, so that the same code gives the same file on every machine.

    python tools/execute.py                    every chapter of _toc.yml (also: make execute)
    python tools/execute.py book/model.ipynb   one chapter

A chapter is run from top to bottom in a new kernel, in its own folder. What depends on the machine or on the editor is
left out: times, the kernel's version, and all metadata of cells but the tags and the figures' descriptions.
"""

import argparse
import re
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
CELL_METADATA = ("tags", "mystnb")


def chapters(root=ROOT):
    """Paths of the notebooks in the table of contents, in its order."""
    entries = re.findall(
        r"^\s*(?:- )?(?:root|file): *(\S+)", (root / "_toc.yml").read_text("utf-8"), re.MULTILINE
    )
    return [path for path in (root / f"{entry}.ipynb" for entry in entries) if path.exists()]


def normalise(notebook):
    """Remove, in place, the metadata that says nothing about the chapter."""
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {key: cell.metadata[key] for key in CELL_METADATA if key in cell.metadata}
        )
    return notebook


def execute(path):
    """Run the notebook at `path` and write it back with its outputs; a cell that fails raises CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=None,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(Path(path).parent)}},
    )
    client.execute()
    nbformat.write(normalise(notebook), path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Run chapters and store their outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every chapter of _toc.yml")
    for path in parser.parse_args(arguments).notebooks or chapters():
        print(f"running {path.name}", flush=True)
        execute(path)


if __name__ == "__main__":
    main()
