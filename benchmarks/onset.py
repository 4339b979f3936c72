"""How large n must be before an over-specified fit is near the truth, at random truths: book/data/onset.csv.

    python benchmarks/onset.py

For d = 1 and d = 2 covariates and K = 2 and 3 classes, truths are those of `random_truth` (seed 1000 (d - 1) + 100 K +
number).  For each the maxima of the expected log-likelihood with k = 3 atoms are searched for, with few starts for
d = 2, where the nodes are a grid; to compare, the truths of d = 1 are searched with as few too.  A row has d, K, the
number of starts, the seed, the worst sqrt(n) sd, the divergences of the nearest maximum that is far from the truth (D_2
of at least 0.3; infinite if none is nearer than 2e-5) and of the nearest of all others, the Good-Turing estimate of
the share of starts that would end in a maximum not seen, and the truth's coordinates (`MixingMeasure.to_vector`).  A
search over truths is the same: take the row with the largest divergence.  Rows that are in the file are left; in all it
takes about half an hour on one core.
"""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import csv
from pathlib import Path

import numpy as np

import logitmoe as lm
from replication.population import Population, population_maxima, random_truth

THETA = lm.Theta(3.0, 10.0, 10.0, 10.0)
FILE = Path(__file__).parents[1] / "book" / "data" / "onset.csv"
HEADER = ["d", "K", "starts", "seed", "worst", "far", "other", "unseen", "truth"]
PLAN = {(1, 1000): 40, (1, 100): 40, (2, 100): 20}  # of each d and number of starts: truths for each K
NODES = {1: 48, 2: 16}  # for a covariate


def row(d: int, K: int, starts: int, seed: int) -> list:
    """One truth's row."""
    p, rng = NODES[d], np.random.default_rng(seed)
    truth = random_truth(K, rng, d=d, theta=THETA, p=p)
    found = population_maxima(Population(truth, 3, theta=THETA, p=p), rng, starts=starts)
    worst = lm.standard_errors(truth, lm.uniform_design(-3, 3, d=d, nodes=p, panels=1)).max()
    vector = " ".join(f"{v:.6f}" for v in truth.to_vector())
    ends = [f"{v:.4e}" for v in (found.nearest, found.nearest_other)]
    return [d, K, starts, seed, f"{worst:.1f}", *ends, f"{found.unseen:.4f}", vector]


def main():
    """Add what the file does not have."""
    if not FILE.exists():
        FILE.write_text(",".join(HEADER) + "\n")
    with open(FILE, newline="") as file:
        there = {(int(old["starts"]), int(old["seed"])) for old in csv.DictReader(file)}
    with open(FILE, "a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for (d, starts), truths in PLAN.items():
            for number in range(truths):
                for K in (2, 3):
                    seed = 1000 * (d - 1) + 100 * K + number
                    if (starts, seed) not in there:
                        writer.writerow(row(d, K, starts, seed))
                        file.flush()


if __name__ == "__main__":
    main()
