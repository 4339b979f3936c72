"""How large n must be before an over-specified fit is near the truth, at random truths: book/data/onset.csv.

    python benchmarks/onset.py [truths for each K, default 40] [starts, default 500] [first, default 0]

Truths are those of `random_truth` (seed 100 K + number).  For each the maxima of the expected log-likelihood with
k = 3 atoms are searched for.  A row has K, the seed, the worst sqrt(n) sd, the divergences of the nearest maximum that
is far from the truth (D_2 of at least 0.3) and of the nearest of all others, the Good-Turing estimate of the share of
starts that would end in a maximum not seen, and the truth's coordinates (`MixingMeasure.to_vector`).  A search over
truths is the same: take the row with the largest divergence.  A quarter to half an hour on one core.  With a first
number above 0 the file is kept and goes on from there.
"""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import csv
import sys
from pathlib import Path

import numpy as np

import logitmoe as lm
from replication.population import Population, population_maxima, random_truth

THETA = lm.Theta(3.0, 10.0, 10.0, 10.0)
DESIGN = lm.uniform_design(-3, 3, nodes=48, panels=1)


def row(K: int, number: int, starts: int) -> list:
    """One truth's row."""
    seed = 100 * K + number
    rng = np.random.default_rng(seed)
    truth = random_truth(K, rng, theta=THETA)
    found = population_maxima(Population(truth, 3, theta=THETA), rng, starts=starts)
    worst = lm.standard_errors(truth, DESIGN).max()
    vector = " ".join(f"{v:.6f}" for v in truth.to_vector())
    ends = [f"{v:.4e}" for v in (found.nearest, found.nearest_other)]
    return [K, seed, f"{worst:.1f}", *ends, f"{found.unseen:.4f}", vector]


if __name__ == "__main__":
    given = [int(v) for v in sys.argv[1:]]
    truths, starts, first = (*given, *(40, 500, 0)[len(given) :])
    with open(Path(__file__).parents[1] / "book" / "data" / "onset.csv", "a" if first else "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not first:
            writer.writerow(["K", "seed", "worst", "far", "other", "unseen", "truth"])
        for number in range(first, truths):
            for K in (2, 3):
                writer.writerow(row(K, number, starts))
                file.flush()
