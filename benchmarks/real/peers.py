"""Other Python programs on the data sets of datasets.py: python peers.py FOLDER KIND [NAME...]

Each needs packages that the project does not: give it an environment of its own, with lib/ on PYTHONPATH.

mnlogit: one expert without a penalty, and statsmodels' MNLogit with its defaults, against the same class; where the
maximum exists the largest difference of a coefficient, in standard errors, and of a standard error, relative, observed
information both (statsmodels).
one: one expert with the default penalty of the slopes, and scikit-learn's LogisticRegression (scikit-learn).
two: two experts with the default penalty from the same 8 random starts, by `mle` and by PyTorch's L-BFGS with automatic
derivatives, and `fit` with starts of its own (torch; `pip install torch==2.13.0`).
choice: two experts without a penalty from 5 starts each, and lcl-choice, to which a row is a person with one choice
among the classes, its covariates times a dummy of each class but the last, and the same covariates decide on the expert
(lcl-choice). held_out: its log score in the five folds.

In one run, the processor time of each is beside that of `fit`, whose seconds are with all its starts, the standard
errors and the criteria. What is maximised is the same function for all of a data set, `objective`; repeated runs are
timed in turn, and the least counts. Lines are appended to FOLDER/peers_one.csv, and so on.
"""

import os
import sys
import time
import warnings
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np

from logitmoe import MixingMeasure, Ridge, Table, WeightedPoints, default_penalty, fit, mle, random_start
from logitmoe.model import log_likelihood

sys.path.insert(0, str(Path(__file__).parent))
from ours import FAIR, LEAST, STARTS, append_rows

RANDOM, REPEATS, AGREE = 8, 3, 1e-3
SEPARATION = "separation"


def timed(methods, repeats):
    """Of each method its result and the least processor time of runs that take turns."""
    seconds, results = {name: np.inf for name in methods}, {}
    for _ in range(repeats):
        for name, method in methods.items():
            begun = time.process_time()
            results[name] = method()
            seconds[name] = min(seconds[name], time.process_time() - begun)
    return results, seconds


# -- one expert --------------------------------------------------------------------------------------------------


def logistic(x, y, slopes, tol=None):
    """The measure of scikit-learn's LogisticRegression, whose penalty is that of `Ridge(slopes)`."""
    from sklearn.linear_model import LogisticRegression

    K, d = int(y.max()), x.shape[1]
    options = {} if tol is None else {"tol": tol}
    C = (2.0 if K == 2 else 1.0) / slopes  # for two classes it penalises their difference, ours half of it twice
    found = LogisticRegression(C=C, max_iter=100_000, **options).fit(x, y)
    a, b = np.zeros((1, K)), np.zeros((1, K, d))
    if K == 2:
        a[0, 1], b[0, 1] = found.intercept_[0], found.coef_[0]
    else:
        a[0], b[0] = found.intercept_, found.coef_
    return MixingMeasure([0.0], np.zeros((1, d)), a, b)


def one_rows(name, x, y, fold):
    data, penalty = WeightedPoints.from_labels(x, y), Ridge(default_penalty(x.shape[1]).slopes)
    methods = {
        "fit": lambda: fit(x, y, 1, rng=np.random.default_rng(12), penalty=penalty),
        "scikit-learn": lambda: logistic(x, y, penalty.slopes),
        "scikit-learn, tol 1e-8": lambda: logistic(x, y, penalty.slopes, 1e-8),
    }
    results, seconds = timed(methods, REPEATS)
    for method, found in results.items():
        value = found.objective if method == "fit" else log_likelihood(found, data) - penalty.value(found)
        ratio = seconds[method] / seconds["fit"]
        yield [name, method, f"{value:.6f}", f"{seconds[method]:.4f}", f"{ratio:.3g}"]


def mnlogit_rows(name, x, y, fold):
    import statsmodels.api as sm

    table = Table(classes=[*range(2, int(y.max()) + 1), 1])  # theirs is against the first class
    ours = fit(x, y, 1, rng=np.random.default_rng(12), penalty=Ridge(), table=table)
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn"):
        warnings.simplefilter("always")
        theirs = sm.MNLogit(y - 1, sm.add_constant(x)).fit(disp=0)
    named = sorted({warning.category.__name__ for warning in caught})
    said = "; ".join([f"converged {bool(theirs.mle_retvals['converged'])}", *named])
    values = [f"{ours.log_likelihood:.6f}", f"{ours.log_likelihood - theirs.llf:.1e}"]
    apart = ["", ""]
    if SEPARATION not in _said(ours):
        mine = ours.coefficients()
        estimates, errors = (np.asarray(v).T.ravel() for v in (theirs.params, theirs.bse))
        apart = [f"{np.abs(v).max():.1e}" for v in ((estimates - mine.estimate) / mine.error, errors / mine.error - 1)]
    yield [name, ours.parameters, _said(ours), said, *values, *apart]


def _said(fitted):
    """What a fit says of itself: whether it converged, and whether it names a separation."""
    return f"converged {fitted.converged}" + f"; {SEPARATION}" * any(SEPARATION in note for note in fitted.notes)


# -- two experts -------------------------------------------------------------------------------------------------


def torch_objective(data, k, penalty):
    """Minus the log-likelihood less the penalty of a vector as of `MixingMeasure.to_vector`, a function of tensors."""
    import torch

    K, d = data.K, data.d
    x, weights = torch.tensor(data.points.copy()), torch.tensor(data.weights.copy())
    sizes = [k - 1, (k - 1) * d, k * (K - 1), k * (K - 1) * d]

    def objective(v):
        beta0, beta1, a, b = torch.split(v, sizes)
        gate = torch.cat([torch.cat([beta0[:, None], beta1.reshape(-1, d)], 1), v.new_zeros(1, 1 + d)])
        experts = torch.cat([a.reshape(k, K - 1, 1), b.reshape(k, K - 1, d)], 2)
        experts = torch.cat([experts, v.new_zeros(k, 1, 1 + d)], 1)
        p = torch.log_softmax(gate[:, :1] + gate[:, 1:] @ x.T, 0)
        q = torch.log_softmax(experts[..., :1] + experts[..., 1:] @ x.T, 1)
        cost = 0.0
        for part, axis in ((gate, 0), (experts, 1)):
            centred = (part - part.mean(axis, keepdim=True)) ** 2
            cost = cost + 0.5 * (penalty.intercepts * centred[..., 0].sum() + penalty.slopes * centred[..., 1:].sum())
        return cost - (weights * torch.logsumexp(p[:, None] + q, 0)).sum()

    return objective


def torch_lbfgs(data, start, penalty):
    """Values (B,) that L-BFGS ends at from each of the starts (B,)."""
    import torch

    torch.set_num_threads(1)
    objective, values = torch_objective(data, start.k, penalty), []
    for vector in start.to_vector():
        v = torch.tensor(vector.copy(), requires_grad=True)
        options = {"max_iter": 1000, "max_eval": 5000, "tolerance_grad": 1e-6, "tolerance_change": 1e-12}
        optimiser = torch.optim.LBFGS([v], line_search_fn="strong_wolfe", **options)

        def closure(optimiser=optimiser, v=v):
            optimiser.zero_grad()
            value = objective(v)
            value.backward()
            return value

        optimiser.step(closure)
        values.append(-float(objective(v.detach())))
    return np.array(values)


def two_rows(name, x, y, fold):
    data, penalty = WeightedPoints.from_labels(x, y), default_penalty(x.shape[1])
    theta = penalty.theta(float(data.total), data.K)
    start = random_start(2, data.K, data.d, np.random.default_rng(12), size=RANDOM, sd=2.0 / np.sqrt(1.0 + data.d))
    methods = {
        "fit": lambda: fit(x, y, 2, rng=np.random.default_rng(12)),
        "mle": lambda: mle(data, start, theta=theta, penalty=penalty, max_iter=1000).objective,
        "PyTorch": lambda: torch_lbfgs(data, start, penalty),
    }
    results, seconds = timed(methods, 1)
    results["fit"] = np.array([results["fit"].objective])
    for method, values in results.items():
        agree, ratio = int((values > values.max() - AGREE).sum()), seconds[method] / seconds["fit"]
        of = "" if method == "fit" else f"{agree} of {len(values)}"
        yield [name, method, f"{values.max():.6f}", of, f"{seconds[method]:.3f}", f"{ratio:.3g}"]


# -- lcl-choice --------------------------------------------------------------------------------------------------


def choices(x, y, K):
    """Rows as persons with one choice each, in the long format; names of the covariates of experts and of the gate."""
    import polars as pl

    n, d = x.shape
    z, person = np.c_[np.ones(n), x], np.repeat(np.arange(n), K)
    columns = {"panel": person, "case": person, "alt": np.tile(np.arange(1, K + 1), n)}
    columns["choice"] = columns["alt"] == np.repeat(y, K)
    experts = {f"class{s}_{u}": (columns["alt"] == s) * z[person, u] for s in range(1, K) for u in range(d + 1)}
    gate = {f"gate_{u}": x[person, u] for u in range(d)}
    return pl.DataFrame(columns | experts | gate), list(experts), list(gate)


def choice_fit(x, y, K):
    """lcl-choice's fit, from as many starts as `fit` has."""
    import lcl

    table, experts, gate = choices(x, y, K)
    ids = lcl.ChoiceIds(alt="alt", case="case", panel="panel", choice="choice")
    spec = lcl.LCLSpec(ids=ids, utility=experts, membership=gate, classes=2)
    options = {"fit": lcl.FitOptions(seed=12, starts=STARTS, num_devices=1)}
    return lcl.fit(table, spec, options=lcl.Options(inference=lcl.InferenceOptions(skip=True), **options))


def choice_rows(name, x, y, fold):
    K = int(y.max())
    methods = {
        "fit": lambda: fit(x, y, 2, rng=np.random.default_rng(12), penalty=Ridge(), starts=FAIR),
        "lcl-choice": lambda: choice_fit(x, y, K),
    }
    results, seconds = timed(methods, 1)
    ours, theirs = results.values()
    yield [name, "fit", f"{ours.log_likelihood:.6f}", _said(ours), f"{seconds['fit']:.2f}", 1]
    value = float(theirs.loglik(choices(x, y, K)[0]))
    ratio = seconds["lcl-choice"] / seconds["fit"]
    said = f"converged {bool(theirs.converged)}"
    yield [name, "lcl-choice", f"{value:.6f}", said, f"{seconds['lcl-choice']:.2f}", f"{ratio:.3g}"]


def held_out_rows(name, x, y, fold):
    K, score, converged, begun = int(y.max()), np.empty(len(y)), 0, time.process_time()
    for f in range(fold.max() + 1):
        out = fold == f
        found = choice_fit(x[~out], y[~out], K)
        converged += bool(found.converged)
        each = found.loglik(choices(x[out], y[out], K)[0], per_panel=True)
        score[out] = np.maximum(each.sort("panel")["log_likelihood"].to_numpy(), LEAST)
    yield [name, "lcl-choice", f"{score.sum():.4f}", converged, f"{time.process_time() - begun:.0f}"]


HEADERS = {
    "mnlogit": [
        "data",
        "parameters",
        "fit_says",
        "mnlogit_says",
        "log_likelihood",
        "above_mnlogit",
        "coefficients_apart",
        "errors_apart",
    ],
    "one": ["data", "method", "objective", "seconds", "times_fit"],
    "two": ["data", "method", "objective", "starts_at_best", "seconds", "times_fit"],
    "choice": ["data", "method", "log_likelihood", "says", "seconds", "times_fit"],
    "held_out": ["data", "method", "held_out", "folds_converged", "seconds"],
}
ROWS = {"mnlogit": mnlogit_rows, "one": one_rows, "two": two_rows, "choice": choice_rows, "held_out": held_out_rows}

if __name__ == "__main__":
    append_rows("peers", HEADERS, ROWS)
