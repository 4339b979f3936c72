"""Do the conclusions of the chapter on the MLE hold with other seeds of all samples and all starts?

    python benchmarks/other_seeds.py 1 2 3

Runs the whole chapter with each SEED (minutes each, on all cores) and writes a line for it into
book/data/other_seeds.csv, which the chapter quotes. Its verdict takes the other seeds' checks of the search as well.
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
VALUES = {  # columns, and the names under which the chapter gives the values to its text
    "within": "asymptotics-exact-within",
    "late": "asymptotics-late",
    "missed": "asymptotics-missed-count",
}


def run(seed):
    """The row of one seed: what the chapter computes with it."""
    notebook = nbformat.read(BOOK / "asymptotics.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source += f"\nSEED = {seed}"
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(BOOK)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    marks = {o.metadata["scrapbook"]["name"]: o.data[GLUED] for o in outputs if "scrapbook" in o.get("metadata", {})}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "asymptotics.ipynb")
        nbformat.write(notebook, path)
        (verdict,) = collect([path])[path]
    values = {column: marks[name].strip("'") for column, name in VALUES.items()}
    return {"seed": seed, **values, "verdict": verdict.verdict}


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
    for seed in map(int, sys.argv[1:]):
        found = run(seed)
        print(found, flush=True)
        update(BOOK / "data" / "other_seeds.csv", found)
