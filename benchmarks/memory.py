"""What a large sample takes: peak memory and time for each iteration, by n, on the points themselves.

    python benchmarks/memory.py [n ...]

Every size and method is a process of its own.  The setting: d = 10 covariates, k = 5 experts, K = 4 classes.  The time
for each iteration is to be linear in n, so that the last line of a method shows ratios near 1, and the peak for a
million points at most 2 GiB.  A larger sample is the smallest one repeated, so that the iterations, and the steps
inside them, are the same for all; processor time counts, the least of two runs.

So measured, on two cores that another program used too: the peak for a million points was 1.71 GiB for EM and 0.82 GiB
for mle, which takes the points in parts.  The processor time for each point, relative to 62,500 points, was 1.27 at
250,000 and 1.29 at 1,000,000 for EM, and 1.08 and 1.19 for mle.  So the peak keeps to its bound; the time of EM is
linear from 250,000 points on, and a quarter above that of the smallest sample.
"""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import resource
import subprocess
import sys
import time

import numpy as np

import logitmoe as lm

D, K_FIT, CLASSES, ITERATIONS = 10, 5, 4, 5
SIZES = 62_500, 250_000, 1_000_000
REPEATS = 2


def run(method, n):
    """Seconds and seconds of all cores for each iteration, and the peak memory in GiB of the process."""
    rng = np.random.default_rng(0)
    truth = lm.random_start(K_FIT, CLASSES, D, rng, sd=0.7)
    few = min(n, SIZES[0])
    x, y = lm.sample(truth, few, rng, covariates=rng.normal(size=(few, D)))
    rows = np.arange(n) % few
    data = lm.WeightedPoints.from_labels(x[rows], y[rows], CLASSES)
    start = lm.random_start(K_FIT, CLASSES, D, rng, sd=0.3)
    del x, y, rows
    taken = np.inf
    for _ in range(REPEATS):
        begun, cpu = time.perf_counter(), time.process_time()
        if method == "em":
            result = lm.em(data, start, stopping=lm.StoppingRule("absolute", 0.0, ITERATIONS))
        else:
            result = lm.mle(data, start, max_iter=ITERATIONS)
        seconds = np.array([time.perf_counter() - begun, time.process_time() - cpu]) / int(result.n_iter)
        taken = np.minimum(taken, seconds)
    return *taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["one"]:
        print(*run(arguments[1], int(arguments[2])))
        return
    sizes = [int(n) for n in arguments] or SIZES
    print(f"d = {D}, k = {K_FIT}, K = {CLASSES}, {ITERATIONS} iterations, {os.cpu_count()} cores")
    for method in ("em", "mle"):
        costs = []
        for n in sizes:
            command = [sys.executable, __file__, "one", method, str(n)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds, cpu, peak = map(float, answer.split())
            cost = f"{seconds:8.2f} s for each iteration, {cpu / n * 1e6:6.2f} us of the cores for each point"
            print(f"{method:4s} n = {n:9,}: {cost}, peak memory {peak:.2f} GiB", flush=True)
            costs.append(cpu / n)
        ratios = ", ".join(f"{cost / costs[0]:.2f}" for cost in costs)
        print(f"{method:4s} time of the cores for each point, relative to the first n: {ratios}", flush=True)


if __name__ == "__main__":
    main()
