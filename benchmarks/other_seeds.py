"""Do the conclusions of a simulating chapter hold with other seeds of all samples and all starts?

    python benchmarks/other_seeds.py asymptotics|protocol|simulations SEED...

Runs the whole chapter with each SEED (minutes each, on all cores) and writes a line for it into
book/data/other_seeds_CHAPTER.csv, which the chapter quotes: some of the values that it gives to its text, and its
verdicts. The verdict of the chapter on the MLE takes the other seeds' checks of the search as well.
"""

import csv
import os
import sys
import tempfile
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import nbformat
from nbclient import NotebookClient

from replication.verdicts import collect

BOOK = Path(__file__).resolve().parents[1] / "book"
GLUED = "application/papermill.record/text/plain"
VALUES = {  # of each chapter: columns, and the names under which it gives the values to its text
    "asymptotics": {
        "within": "asymptotics-exact-within",
        "late": "asymptotics-late",
        "missed": "asymptotics-missed-count",
    },
    "protocol": {"compatible": "protocol-hits", "largest ratios": "protocol-ratio-most"},
    "simulations": {"compatible": "simulations-compatible", "undecided": "simulations-undecided"},
}


def run(chapter, seed):
    """The row of one seed: what the chapter computes with it."""
    notebook = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source += f"\nSEED = {seed}"
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(BOOK)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    marks = {o.metadata["scrapbook"]["name"]: o.data[GLUED] for o in outputs if "scrapbook" in o.get("metadata", {})}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{chapter}.ipynb")
        nbformat.write(notebook, path)
        verdicts = collect([path])[path]
    values = {column: marks[name].strip("'") for column, name in VALUES[chapter].items()}
    return {"seed": seed, **values, **{" and ".join(found.items): found.verdict for found in verdicts}}


def update(path, row):
    """Put the row of a seed into the file, in the place of that seed's last one."""
    rows = {row["seed"]: row}
    if path.exists():
        with open(path, encoding="utf-8", newline="") as file:
            rows = {int(old["seed"]): old for old in csv.DictReader(file)} | rows
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[seed] for seed in sorted(rows))


if __name__ == "__main__":
    for seed in map(int, sys.argv[2:]):
        found = run(sys.argv[1], seed)
        print(found, flush=True)
        update(BOOK / "data" / f"other_seeds_{sys.argv[1]}.csv", found)
