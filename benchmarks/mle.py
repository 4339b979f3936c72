"""The time to the maximum of the likelihood, within 1e-6 nats, on one raw sample of n = 100,000 points of Table 2.

    python benchmarks/mle.py [iterations of EM on compressed data]

Everything but flexmix is measured in one process and one run, on one core, in seconds of the processor's time; what
counts are the ratios.  The sample is that of flexmix/sample.py, fitted with k = 3 experts in the cube of radius 5.  The
likelihood has many local maxima there, and few starts lead to the highest, so every method goes through the same list
of starts: the first is the one that flexmix had, the others lie in turn near the truth and at random.  Two times are
given for each method.

told the maximum    until the first start that leads to it; `mle` takes starts in blocks of 32, L-BFGS-B one by one
all starts          as one has to who does not know it

Times marked * would take too long and are EXTRAPOLATED: for L-BFGS-B from the starts taken, for EM on the raw points
from the time of an iteration.

Compressing the sample is part of every time of a method that uses it.  A method that does not come within 1e-6 nats has
times marked >: lower bounds.
"""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import csv
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

import logitmoe as lm
from replication.paper import TABLE_2
from replication.starts import near_truth

RECORD = Path(__file__).parent / "flexmix"
sys.path.insert(0, str(RECORD))
import sample as drawn

NEAR = 1e-6  # nats from the maximum
THETA = lm.Theta.cube(5.0)
K_FIT, STARTS, BLOCK, REPEATS = 3, 256, 32, 3
MOST = 64  # starts that L-BFGS-B may take
RAW_EM, COMPRESSED_EM = 200, 20_000  # iterations
STEPS = 3_000  # of Newton, at most
COMPRESSION_TOL = 1e-12  # relative to the log-likelihood: 1e-7 nats, below NEAR


@dataclass(frozen=True)
class Run:
    """What one method did: the log-likelihood of the raw sample that it came to, and its times in seconds."""

    method: str
    log_likelihood: float
    told: float
    everything: float
    detail: str
    extrapolated: tuple[bool, bool] = (False, False)  # the two times


# -- the starts ------------------------------------------------------------------------------------------------


def vector(G):
    """The free parameters of a measure: gates of experts 1 and 2, then class 1; intercepts before slopes."""
    G = G.in_gauge("last")
    return np.concatenate([G.beta0[:-1], G.beta1[:-1, 0], G.a[:, 0], G.b[:, 0, 0]])


def measure(v):
    """The inverse of `vector`, with the last gate zero."""
    gates, k = K_FIT - 1, K_FIT
    beta0, beta1, a, b = np.split(v, np.cumsum([gates, gates, k]))
    beta0, beta1 = np.append(beta0, 0.0), np.append(beta1, 0.0)[:, None]
    a, b = (np.stack([c, np.zeros(k)], axis=-1) for c in (a, b))
    return lm.MixingMeasure(beta0, beta1, a, b[..., None])


def first_start():
    """The start that flexmix had."""
    beta0, beta1, a, b = (np.array(drawn.START[name]) for name in ("beta0", "beta1", "a", "b"))
    return measure(np.concatenate([(beta0 - beta0[-1])[:-1], (beta1 - beta1[-1])[:-1], a, b]))


def all_starts(size):
    """The first start, then in turn one near the truth and one at random, batch shape (size,)."""
    rng = np.random.default_rng(drawn.SEED)
    measures = [first_start()]
    while len(measures) < size:
        near = near_truth(TABLE_2, K_FIT, rng, sd=0.3, split_mass=True, theta=THETA)
        free = lm.random_start(K_FIT, 2, 1, rng, theta=THETA)
        measures += [near.in_gauge("last"), free.in_gauge("last")]
    fields = ("beta0", "beta1", "a", "b")
    return THETA.clip(lm.MixingMeasure(*(np.stack([getattr(G, name) for G in measures[:size]]) for name in fields)))


# -- L-BFGS-B --------------------------------------------------------------------------------------------------


class MinusLogLikelihood:
    """Minus the log-likelihood of two classes and its gradient, in plain vectorised NumPy.

    Points x (n,) with sign +1 for class 1 and -1 for class 2, and weights (n,); none for a raw sample.
    """

    def __init__(self, x, sign, weights=None):
        self.design = np.stack([np.ones_like(x), x])
        self.signed = self.design * sign
        self.weights = np.ones_like(x) if weights is None else weights
        self.is_raw = weights is None
        self.calls = 0

    @classmethod
    def of(cls, data):
        """Of WeightedPoints with d = 1, each point once for each class."""
        x = data.points[:, 0]
        return cls(np.tile(x, 2), np.repeat([1.0, -1.0], len(x)), data.weights.ravel())

    def __call__(self, v):
        self.calls += 1
        gates = K_FIT - 1
        logits = v[: 2 * gates].reshape(2, gates).T @ self.design  # that of the last gate is zero
        expert = expit(v[2 * gates :].reshape(2, K_FIT).T @ self.signed)  # probability of the class that was seen
        top = np.maximum(logits.max(axis=0), 0.0)
        logits -= top
        joint = np.empty_like(expert)
        np.exp(logits, out=joint[:-1])
        np.exp(-top, out=joint[-1])
        total = joint.sum(axis=0)
        gate = joint[:-1] / total
        joint *= expert
        density = joint.sum(axis=0)
        value = self.weights @ np.log(density / total)
        joint /= density  # posterior probabilities of the experts
        gate = joint[:-1] - gate
        joint *= 1.0 - expert
        if not self.is_raw:
            gate *= self.weights
            joint *= self.weights
        parts = gate @ self.design.T, joint @ self.signed.T
        return -value, -np.concatenate([part.T.ravel() for part in parts])


class Arrived(Exception):
    """The target was reached."""


def lbfgsb(objective, start, target):
    """L-BFGS-B from one start until the target or until it stalls, begun anew while that gains: value and vector.

    With no tolerances and SciPy's memory of 10, which for each success takes no more evaluations than 20 or 40.
    """
    best, at = np.inf, start

    def watched(v):
        nonlocal best, at
        value, gradient = objective(v)
        if value < best:
            best, at = value, v.copy()
            if -value >= target:
                raise Arrived
        return value, gradient

    options = dict(ftol=0.0, gtol=0.0, maxiter=10**6, maxfun=10**6)
    bounds = [(-THETA.a, THETA.a)] * start.size
    try:
        while True:
            before = best
            minimize(watched, at, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
            if best > before - NEAR:
                break
    except Arrived:
        pass
    return -best, at


# -- the runs --------------------------------------------------------------------------------------------------


def run_mle(x, y, starts, target=np.inf, block=None):
    """Compress, and fit block by block until the target: total and compressing time, best fit, its finders."""
    begun = time.process_time()
    moments = lm.compress(x, y, 2, theta=THETA)
    compressing = time.process_time() - begun
    size = starts.batch_shape[0]
    best, values = None, []
    for first in range(0, size, block or size):
        some = starts[first : first + (block or size)]
        fits = lm.mle(moments, some, theta=THETA, max_iter=STEPS, compression_tol=COMPRESSION_TOL)
        values.extend(fits.log_likelihood)
        fit = fits.best()
        best = fit if best is None or fit.log_likelihood > best.log_likelihood else best
        if best.log_likelihood >= target:
            break
    seconds = time.process_time() - begun
    return seconds, compressing, best, np.count_nonzero(np.array(values) >= best.log_likelihood - NEAR)


def median_mle(x, y, starts, repeats, **options):
    """The median times of `run_mle`, its last fit, and how many starts led to it."""
    runs = [run_mle(x, y, starts, **options) for _ in range(repeats)]
    return *(statistics.median(run[i] for run in runs) for i in (0, 1)), *runs[-1][2:]


def run_lbfgsb(objective, starts, target):
    """L-BFGS-B from one start after the other until the target: seconds, the best value and vector, starts taken."""
    begun = time.process_time()
    best = -np.inf, None
    for used in range(1, starts.batch_shape[0] + 1):
        best = max(best, lbfgsb(objective, vector(starts[used - 1]), target), key=lambda pair: pair[0])
        if best[0] >= target:
            break
    return time.process_time() - begun, *best, used


def run_em(data, starts, iterations, **options):
    """EM for a number of iterations from each start: seconds, and the best fit."""
    begun = time.process_time()
    rule = lm.StoppingRule("absolute", 0.0, iterations)
    result = lm.em(data, starts, theta=THETA, stopping=rule, **options).best()
    return time.process_time() - begun, result.measure


def flexmix_record():
    """The committed rows of flexmix's log-likelihood."""
    with open(RECORD / "log_likelihood.csv", newline="") as file:
        return list(csv.DictReader(file))


def compare(n=drawn.N, size=STARTS, block=BLOCK, repeats=REPEATS, raw_em=RAW_EM, compressed_em=COMPRESSED_EM):
    """Run every method: the maximum, the fit that `mle` polished on the raw points, and a list of Run, `mle` first."""
    x, y = drawn.draw(n)
    raw = lm.WeightedPoints.from_labels(x, y, 2)
    starts = all_starts(size)

    def value(G):
        return float(lm.log_likelihood(G, raw))

    run_mle(x[:1000], y[:1000], starts[:2])  # warm-up
    everything, compressing, fit, finders = median_mle(x, y, starts, repeats)
    polished = lm.mle(raw, fit.measure, theta=THETA)
    maximum = max(value(polished.measure), value(fit.measure))

    # L-BFGS-B, which may raise the maximum: the others are then measured against what it found.
    runs = []
    moments = lm.compress(x, y, 2, theta=THETA)
    nodes = moments.points(int(fit.nodes))
    sign = np.where(y == 1, 1.0, -1.0)
    for where, objective, extra in (
        ("raw points", MinusLogLikelihood(x, sign), 0.0),
        ("compressed", MinusLogLikelihood.of(nodes), compressing),
    ):
        seconds, _, v, used = run_lbfgsb(objective, starts[:MOST], maximum - NEAR / 2)
        best = value(measure(v))
        maximum = max(maximum, best)
        each = seconds / used
        detail = f"{used} starts, {objective.calls:,} evaluations"
        runs.append(
            Run(f"L-BFGS-B (SciPy), {where}", best, extra + seconds, extra + each * size, detail, (False, used < size))
        )

    told, _, block_fit, _ = median_mle(x, y, starts, repeats, target=maximum - NEAR / 2, block=block)
    detail = f"{finders} of {size} starts lead there; compressing: {compressing * 1e3:.0f} ms of each time"
    best = min(value(fit.measure), value(block_fit.measure))
    runs.insert(0, Run("Newton (mle), compressed", best, told, everything, detail))

    for name, acceleration in (("EM", None), ("EM with SQUAREM", "squarem")):
        seconds, G = run_em(moments, starts, compressed_em, acceleration=acceleration)
        detail = f"{size} starts of {compressed_em:,} iterations"
        runs.append(Run(f"{name}, compressed", value(G), *2 * [compressing + seconds], detail))
    # On raw points EM takes the same steps, so the iterations that were too few above are too few here.
    seconds, G = run_em(raw, starts[:1], raw_em)
    detail = f"times: iterations as compressed, {seconds / raw_em * 1e3:.1f} ms each; nats: first start, {raw_em:,}"
    times = 2 * [seconds / raw_em * compressed_em * size]
    runs.append(Run("EM, raw points", value(G), *times, detail, (True, True)))
    if n == drawn.N:
        last = flexmix_record()[-1]
        detail = f"first start, {int(last['iteration']):,} iterations; recorded, another run"
        runs.append(Run("flexmix (R), raw points", float(last["log_likelihood"]), *2 * [float(last["cpu_s"])], detail))
    return maximum, polished, runs


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    maximum, fit, runs = compare(compressed_em=int(arguments[0]) if arguments else COMPRESSED_EM)
    x, y = drawn.draw()
    above = maximum - float(lm.log_likelihood(TABLE_2, lm.WeightedPoints.from_labels(x, y, 2)))
    print(f"n = {drawn.N:,} raw points of Table 2, k = {K_FIT}, {THETA}; one core")
    print(f"the maximum: {maximum:.6f} nats, {above:.6f} above the truth; on the raw points: {fit.reason}, a Newton")
    gain, bound = float(fit.predicted_gain), "" if fit.at_bound else "not "
    print(f"step promises {gain:.0e} nats; {bound}on the boundary of Theta")
    print(f"{'':31s} {'nats':>8s} {'told the maximum':>18s}     {'all starts':>18s}")
    print(f"{'':31s} {'below':>8s} {'seconds':>10s} {'ratio':>7s}     {'seconds':>10s} {'ratio':>7s}")
    for run in runs:
        below = max(maximum - run.log_likelihood, 0.0)
        sign = " " if below <= NEAR else ">"
        line = f"{run.method:31s} {below:8.0e}"
        for seconds, ours, star in (
            (run.told, runs[0].told, "*" if run.extrapolated[0] else " "),
            (run.everything, runs[0].everything, "*" if run.extrapolated[1] else " "),
        ):
            line += f" {sign + f' {seconds:,.2f}':>10s} {sign + f' {seconds / ours:,.0f}':>7s} {star}  "
        print(f"{line} {run.detail}")
    print(f"> not within {NEAR:g} nats of the maximum: lower bounds;  * extrapolated from what was run")


if __name__ == "__main__":
    main()
