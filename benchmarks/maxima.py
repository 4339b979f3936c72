"""The maxima of the expected log-likelihoods of the chapter on the MLE, by a long search: book/data/maxima.csv.

    python benchmarks/maxima.py [starts at least, default 4000] [at most, default 12000] [seed, default 0]

Designs I, II and III, and the former design I, with the gates of the chapter, k = 3.  Rounds of 500 starts
(`population_starts`: random ones of three widths, splits of the truth, recombinations of its lines) go on until the
Good-Turing estimate of the share of starts that would end in a maximum not yet seen is below 1 in 2,000.  A row is a
maximum: design, gate, starts of the case in all, those still moving at their end, starts that ended at this maximum,
its divergence, seed, its coordinates (`MixingMeasure.to_vector`).  The truth is a row too, with k atoms.  The chapter
climbs from each row anew and believes none unread.  A quarter of an hour on one core.
"""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import csv
import sys
from pathlib import Path

import numpy as np
from second_maximiser import THETA, TRUTHS

import logitmoe as lm
from logitmoe.gates import power
from replication.population import Population, population_maxima

GATES = {"x": "identity", "sigmoid": "sigmoid", "tanh": "tanh", "cube": power(3)}
FORMER = ([-0.5, 1.2, 2.1, 3.6, -2.5, 3.6], 2)
CASES = [("I", g) for g in GATES] + [("III", "x"), ("III", "tanh"), ("former I", "x"), ("II", "x"), ("II", "tanh")]
FIELDS = ["design", "gate", "starts", "unfinished", "hits", "divergence", "seed", "vector"]
ROUND, UNSEEN = 500, 1 / 2000


def search(design: str, gate: str, least: int, most: int, seed: int):
    """The maxima of one case."""
    v, K = (TRUTHS | {"former I": FORMER})[design]
    population = Population(lm.MixingMeasure.from_vector(v, 2, K, 1), 3, GATES[gate], theta=THETA)
    rng, found = np.random.default_rng([seed, CASES.index((design, gate))]), None
    while found is None or found.starts < least or (found.unseen >= UNSEEN and found.starts < most):
        found = population_maxima(population, rng, starts=ROUND, known=found)
    return found


if __name__ == "__main__":
    given = [int(v) for v in sys.argv[1:]]
    least, most, seed = (*given, *(4000, 12000, 0)[len(given) :])
    with open(Path(__file__).parents[1] / "book" / "data" / "maxima.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for case in CASES:
            found = search(*case, least, most, seed)
            print(*case, f"{len(found.hits)} maxima, {found.starts} starts, unseen {found.unseen:.5f}", flush=True)
            for G, divergence, hits in zip(found.measure, found.divergence, found.hits, strict=True):
                vector = " ".join(f"{v:.9g}" for v in G.in_gauge("last").to_vector())
                own = [found.starts, found.unfinished, hits, f"{divergence:.4e}", seed]
                writer.writerow([*case, *own, vector])
            file.flush()
