"""`fit` on the data sets of datasets.py: python ours.py FOLDER held_out|likelihood

held_out: the log score in five folds (sum over the rows) with the default penalty, and for one expert without one.
likelihood: without a penalty, the best of 5 independent starts, and the seconds of this process.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np

from logitmoe import Ridge, Starts, Table, fit

NAMES = ("penguins", "birthwt", "iris", "pima", "biopsy", "wine", "breast_cancer", "anes96", "fgl", "fair")
STARTS = 5  #: as in flexmix.R
FAIR = Starts(random=3, partitions=2, splits=0, perturbations=0, long=5)
QUICK = Starts(random=3, partitions=3, splits=0, perturbations=0, long=3)
LEAST = np.log(1e-15)  # as in flexmix.R


def read(path):
    with open(path, encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    table = np.array(rows, dtype=float)
    return table[:, :-2], table[:, -2].astype(int), table[:, -1].astype(int)


def held_out(x, y, fold, k, penalty):
    score, classes = 0.0, Table(classes=list(range(1, y.max() + 1)))
    for f in range(fold.max() + 1):
        rng = np.random.default_rng([12, f, k])
        fitted = fit(x[fold != f], y[fold != f], k, rng=rng, penalty=penalty, starts=QUICK, table=classes)
        score += np.maximum(fitted.log_score(x[fold == f], y[fold == f]), LEAST).sum()
    return score


def likelihood_rows(name, x, y, fold):
    for k in (2, 3):
        begun = time.process_time()
        fitted = fit(x, y, k, rng=np.random.default_rng(12), penalty=Ridge(), starts=FAIR)
        seconds = time.process_time() - begun
        yield [name, k, STARTS, f"{fitted.log_likelihood:.6f}", fitted.agree, fitted.others, f"{seconds:.1f}"]


def held_out_rows(name, x, y, fold):
    yield [name, 1, "none", f"{held_out(x, y, fold, 1, Ridge()):.4f}"]
    for k in (1, 2):
        yield [name, k, "default", f"{held_out(x, y, fold, k, None):.4f}"]


HEADERS = {
    "likelihood": ["data", "k", "starts", "log_likelihood", "agree", "others", "seconds"],
    "held_out": ["data", "k", "penalty", "held_out"],
}

if __name__ == "__main__":
    folder, what = Path(sys.argv[1]), sys.argv[2]
    rows = {"likelihood": likelihood_rows, "held_out": held_out_rows}[what]
    with open(folder / f"ours_{what}.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADERS[what])
        for name in NAMES:
            for row in rows(name, *read(folder / f"{name}.csv")):
                writer.writerow(row)
                file.flush()
