"""Copy the README's figure out of the stored outputs of the chapter that draws it.

    python tools/readme_figure.py
"""

import base64
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
CHAPTER, FIGURE, TARGET = "book/identifiability.ipynb", "fig-identifiability-swap", "book/images/swap.png"


def figure(chapter, name):
    """The PNG, as bytes, of the cell whose figure is called `name`; KeyError if there is none."""
    for cell in nbformat.read(chapter, as_version=4).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name:
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    return base64.b64decode(output["data"]["image/png"])
    raise KeyError(f"{chapter} has no stored figure {name}")


if __name__ == "__main__":
    (ROOT / TARGET).write_bytes(figure(ROOT / CHAPTER, FIGURE))
