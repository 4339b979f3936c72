"""What a panel of the paper's Figure 1 costs: compressed and in batches, against the same EM on the raw points.

    python benchmarks/panel.py [scale]

Everything is measured in one process and one run, on one core.  The compressed runner computes Figure 1a at a scale
(default 0.05, 400 of its 8,000 fits; 1 is the whole panel), drawing and compressing included, under both readings of
the stopping rule.  On the raw points only a few fits are run, for some iterations: their time for each point and
iteration, times the points and iterations of the panel, is an EXTRAPOLATION to the same work, and labelled so.
"""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import sys
import time
from dataclasses import replace

import numpy as np

import logitmoe as lm
from replication.jobs import SerialExecutor
from replication.paper import FIGURE_1A
from replication.runner import run_panels
from replication.starts import near_truth

ITERATIONS = 100
SEED = 20231014188


def raw_cost(n, rng):
    """Seconds for each point and iteration of EM on n raw points, after a warm-up."""
    x, y = lm.sample(FIGURE_1A.truth, n, rng)
    data = lm.WeightedPoints.from_labels(x, y, 2)
    start = near_truth(FIGURE_1A.truth, FIGURE_1A.k, rng, sd=FIGURE_1A.start_sd, split_mass=True)
    lm.em(data, start, stopping=lm.StoppingRule("absolute", 0.0, 2))
    begun = time.perf_counter()
    result = lm.em(data, start, stopping=lm.StoppingRule("absolute", 0.0, ITERATIONS))
    return (time.perf_counter() - begun) / (n * int(result.n_iter))


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    scale = float(arguments[0]) if arguments else 0.05
    rng = np.random.default_rng(SEED)
    panels = [replace(FIGURE_1A, name=rule, stopping=lm.StoppingRule(rule)) for rule in ("relative", "absolute")]
    begun = time.perf_counter()
    results = run_panels(panels, scale=scale, executor=SerialExecutor(), progress=False)
    both = time.perf_counter() - begun
    share = results[0].panel.fits / FIGURE_1A.fits
    print(f"Figure 1a at scale {scale:g}: {results[0].panel.fits:,} of {FIGURE_1A.fits:,} fits, k = 3; one core")
    print(f"compressed, both rules, measured: {both:.1f} s; the whole panel in proportion: {both / share:,.0f} s")

    sizes = [FIGURE_1A.sizes[i] for i in (0, 66, 133, 199)]
    costs = np.array([raw_cost(n, rng) for n in sizes])
    for n, cost in zip(sizes, costs, strict=True):
        print(f"raw points, one fit of {ITERATIONS} iterations, n = {n:7,}: {cost * n * 1e3:6.1f} ms for an iteration")
    for result in results:
        each = np.interp(result.sizes, sizes, costs)  # seconds for a point and iteration
        raw = (each[:, None] * result.sizes[:, None] * result.n_iter).sum()
        sampling, fitting = result.seconds["sampling"], result.seconds["fitting"]
        name, iterations = result.panel.name, result.n_iter.mean()
        print(f"{name} rule, {iterations:,.0f} iterations for each fit on average, the same fits:")
        print(f"   compressed, measured:     {fitting:9.1f} s of EM, and {sampling:.1f} s of drawing and compressing")
        print(f"   raw points, EXTRAPOLATED: {raw:9,.0f} s of EM, without drawing")
        ratios = raw / fitting, raw / (fitting + sampling)
        print("   EM alone {:,.0f} times less, with drawing and compressing {:,.0f}".format(*ratios))


if __name__ == "__main__":
    main()
