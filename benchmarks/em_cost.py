"""What one EM iteration of one fit costs: batched on compressed data, against the same EM on the raw points.

    python benchmarks/em_cost.py

Everything is measured in one process and one run, on one core; what counts are the ratios.  Times are medians of
repeated runs after a warm-up.  The setting is that of the paper's Figure 1: n = 100,000 points of Table 2, k = 3.
"""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import resource
import statistics
import time

import numpy as np

import logitmoe as lm
from logitmoe import em_algorithm
from logitmoe.compression import compression_error
from replication.paper import TABLE_2
from replication.starts import near_truth

N, K_FIT, FITS, ITERATIONS, REPEATS = 100_000, 3, 1_024, 200, 3


def seconds(run, repeats=REPEATS):
    """Median wall time of ``run`` after one warm-up, and its last result."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def per_iteration(data, start, repeats=REPEATS, **options):
    """Median seconds for each fit and iteration of runs that all take ``ITERATIONS``."""
    rule = lm.StoppingRule("absolute", 0.0, ITERATIONS)
    time_taken, result = seconds(lambda: lm.em(data, start, stopping=rule, **options), repeats)
    return time_taken / result.n_iter.sum()


def main():
    rng = np.random.default_rng(20231014188)
    x, y = lm.sample(TABLE_2, N, rng)
    starts = near_truth(TABLE_2, K_FIT, rng, size=FITS, sd=0.2)
    compress_time, moments = seconds(lambda: lm.compress(x, y, 2, p=32))
    raw = lm.WeightedPoints.from_labels(x, y, 2)

    print(f"n = {N:,}, k = {K_FIT}, {FITS:,} fits of {ITERATIONS} iterations on 32 nodes; one core")
    raw_cost = per_iteration(raw, starts[0], repeats=1)
    print(f"raw points, one fit:              {raw_cost * 1e3:9.1f} ms for each iteration")
    print(f"compressing the sample:           {compress_time * 1e3:9.1f} ms, once")
    cache = em_algorithm.CACHE_ELEMENTS
    batches = max(1, round(FITS * 2 * K_FIT * 32 / cache))
    automatic = -(-FITS // batches)
    for size in (1, 16, 64, 128, 256, automatic, FITS):
        some = starts[: 8 if size == 1 else FITS]
        em_algorithm.CACHE_ELEMENTS = size * 2 * K_FIT * 32
        cost = per_iteration(moments.points(), some)
        label = f"batches of {size}" + (" (automatic)" if size == automatic else "")
        print(f"{label:30s}    {cost * 1e6:9.2f} us for each fit and iteration, {raw_cost / cost:9,.0f} times less")

    em_algorithm.CACHE_ELEMENTS = cache

    moments_64 = lm.compress(x, y, 2, p=64)
    for order in (12, 16, 24, 32, 64):
        data = moments_64.points(order)
        cost = per_iteration(data, starts)
        fits = lm.em(data, starts[:200], stopping=lm.StoppingRule("absolute", 0.0, ITERATIONS)).measure
        seen = np.abs(lm.log_likelihood(fits[:20], data) / lm.log_likelihood(fits[:20], raw) - 1.0).max()
        estimate = compression_error(fits, moments_64, p=order).max()
        print(
            f"{order} nodes: {cost * 1e6:6.2f} us, {raw_cost / cost:7,.0f} times less; relative error of the fits' "
            f"log-likelihood {seen:.0e} seen, {estimate:.0e} estimated"
        )

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many = near_truth(TABLE_2, K_FIT, rng, size=8_000, sd=0.2)
    result = lm.em(moments, many, stopping=lm.StoppingRule("absolute", 0.0, 10))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"8,000 fits at once: {result.n_iter.sum():,} iterations; peak memory of the process {peak / 2**20:.2f} GiB "
        f"({before / 2**20:.2f} GiB before)"
    )


if __name__ == "__main__":
    main()
