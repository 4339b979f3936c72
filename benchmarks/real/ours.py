"""`fit` on the data sets of datasets.py: python ours.py FOLDER likelihood|seeds|held_out|penalties [NAME...]

likelihood: without a penalty, the best of 5 independent starts, and the seconds of this process.
seeds: the same for each of 20 seeds.
held_out: the log score in five folds (sum over the rows) for one expert without a penalty, for one and two with the
default, and with the default for the k of 1, 2, 3 that select_k's BIC or AIC, or (not for fgl and fair, where it
takes long) five folds inside, choose in each training set; what these gain over the first, with the half-width of a
95 % interval (1.96 standard errors of the sum over the rows, which takes them as independent), and in how many folds.
The last column has the k that was chosen: by BIC on all rows, or in each of the five training sets.
penalties: the log score for other weights of the slopes, as multiples of the number of covariates.
Lines are appended to FOLDER/ours_likelihood.csv, and so on.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np

from logitmoe import Ridge, Starts, Table, fit, select_k
from logitmoe.fitting import INTERCEPTS

NAMES = ("penguins", "birthwt", "iris", "pima", "biopsy", "wine", "breast_cancer", "anes96", "fgl", "fair")
STARTS, SEEDS = 5, 20  #: as in flexmix.R
KS, FOLDS = (1, 2, 3), 5
SLOW = ("fgl", "fair")  #: without folds inside the training sets
FAIR = Starts(random=3, partitions=2, splits=0, perturbations=0, long=5)
QUICK = Starts(random=3, partitions=3, splits=0, perturbations=0, long=3)
LEAST = np.log(1e-15)  # as in flexmix.R
FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)


def read(path):
    with open(path, encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    table = np.array(rows, dtype=float)
    return table[:, :-2], table[:, -2].astype(int), table[:, -1].astype(int)


def held_out(x, y, fold, k, penalty):
    """Log-probabilities (n,) of the labels, each from a fit without its fold."""
    score, classes = np.empty(len(y)), Table(classes=list(range(1, y.max() + 1)))
    for f in range(fold.max() + 1):
        rng, out = np.random.default_rng([12, f, k]), fold == f
        fitted = fit(x[~out], y[~out], k, rng=rng, penalty=penalty, starts=QUICK, table=classes)
        score[out] = np.maximum(fitted.log_score(x[out], y[out]), LEAST)
    return score


def chosen(x, y, fold, inside):
    """Of each rule for k: log-probabilities (n,) of the labels, by the fits that it chooses, and the k of the folds."""
    classes, scores, ks = Table(classes=list(range(1, y.max() + 1))), {}, {}
    for f in range(fold.max() + 1):
        rng, out = np.random.default_rng([12, f, 7]), fold == f
        options = {"rng": rng, "starts": QUICK, "table": classes}
        fits = select_k(x[~out], y[~out], KS, **options)
        rules = {"BIC": fits.best("bic").k, "AIC": fits.best("aic").k}
        if inside:
            rules["folds"] = KS[int(inner(x[~out], y[~out], split(y[~out], rng), options).argmax())]
        for rule, k in rules.items():
            scores.setdefault(rule, np.empty(len(y)))[out] = np.maximum(fits[k].log_score(x[out], y[out]), LEAST)
            ks.setdefault(rule, []).append(k)
    return {rule: (scores[rule], ks[rule]) for rule in scores}


def inner(x, y, fold, options):
    """Log scores (3,) of the numbers of experts in the folds of a training set."""
    scores = np.zeros(len(KS))
    for f in range(FOLDS):
        out = fold == f
        fits = select_k(x[~out], y[~out], KS, **options)
        scores += [np.maximum(fits[k].log_score(x[out], y[out]), LEAST).sum() for k in KS]
    return scores


def split(y, rng):
    """Folds (n,), each class spread over them."""
    fold = np.empty(len(y), dtype=int)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        fold[rows] = (np.arange(rows.size) + rng.integers(FOLDS)) % FOLDS
    return fold


def likelihood_rows(name, x, y, fold):
    for k in (2, 3):
        begun = time.process_time()
        fitted = fit(x, y, k, rng=np.random.default_rng(12), penalty=Ridge(), starts=FAIR)
        seconds = time.process_time() - begun
        yield [name, k, STARTS, f"{fitted.log_likelihood:.6f}", fitted.agree, fitted.others, f"{seconds:.1f}"]


def seeds_rows(name, x, y, fold):
    for k in (2, 3):
        for seed in range(1, SEEDS + 1):
            fitted = fit(x, y, k, rng=np.random.default_rng(seed), penalty=Ridge(), starts=FAIR)
            yield [name, k, seed, STARTS, f"{fitted.log_likelihood:.6f}"]


def held_out_rows(name, x, y, fold):
    base = held_out(x, y, fold, 1, Ridge())
    best = []
    for penalty in (Ridge(), None):
        rng = np.random.default_rng(12)
        best.append(select_k(x, y, KS, rng=rng, penalty=penalty, starts=QUICK).best("bic").k)
    yield [name, 1, "none", f"{base.sum():.4f}", "", "", "", best[0]]
    scores = [(k, held_out(x, y, fold, k, None), best[1]) for k in (1, 2)]
    rules = chosen(x, y, fold, name not in SLOW)
    scores += [(f"by {rule}", score, " ".join(map(str, ks))) for rule, (score, ks) in rules.items()]
    for k, score, number in scores:
        gain = score - base
        half = 1.96 * gain.std(ddof=1) * np.sqrt(gain.size)
        folds = sum(int(gain[fold == f].sum() >= 0.0) for f in range(fold.max() + 1))
        yield [name, k, "default", f"{score.sum():.4f}", f"{gain.sum():.4f}", f"{half:.4f}", folds, number]


def penalties_rows(name, x, y, fold):
    for factor in FACTORS:
        for k in (1, 2):
            score = held_out(x, y, fold, k, Ridge(factor * x.shape[1], INTERCEPTS)).sum()
            yield [name, k, factor, f"{score:.4f}"]


HEADERS = {
    "likelihood": ["data", "k", "starts", "log_likelihood", "agree", "others", "seconds"],
    "seeds": ["data", "k", "seed", "starts", "log_likelihood"],
    "held_out": ["data", "k", "penalty", "held_out", "gain", "half_width", "folds_not_below", "k_chosen"],
    "penalties": ["data", "k", "slopes_per_covariate", "held_out"],
}
ROWS = {"likelihood": likelihood_rows, "seeds": seeds_rows, "held_out": held_out_rows, "penalties": penalties_rows}


def append_rows(program, headers, rows):
    """Write the rows of the data sets that the command line names, FOLDER WHAT [NAME...], behind those in the file."""
    folder, what, names = Path(sys.argv[1]), sys.argv[2], sys.argv[3:] or NAMES
    path = folder / f"{program}_{what}.csv"
    fresh = not path.exists()
    with open(path, "a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(headers[what])
        for name in names:
            for row in rows[what](name, *read(folder / f"{name}.csv")):
                writer.writerow(row)
                file.flush()


if __name__ == "__main__":
    append_rows("ours", HEADERS, ROWS)
