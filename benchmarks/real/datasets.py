"""Ten real data sets, as CSV with standardised covariates, labels 1..K and five folds.

    Rscript export.R FOLDER        # needs R and its package MASS
    python datasets.py FOLDER [SEED]  # needs scikit-learn, statsmodels and pandas

Columns: x1..xd, y, fold.  Rows are in the order of the source, but for the folds, which come from the seed (12).
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn.datasets
import statsmodels.api as sm

SEED, FOLDS = 12, 5
ROOT = Path(__file__).parent.parent.parent


def sources(folder):
    """Pairs of a name and a table (covariates, labels)."""
    for name in ("iris", "wine", "breast_cancer"):
        x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
        yield name, x[:, :10] if name == "breast_cancer" else x, y  # of each nucleus the ten means
    birds = pd.read_csv(ROOT / "book/data/penguins.csv", na_values="NA").dropna()
    yield "penguins", birds[["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]], birds["sex"]
    votes = sm.datasets.anes96.load_pandas().data
    party = np.digitize(votes["PID"], [2.5, 3.5])  # Democrat, independent, Republican
    yield "anes96", votes[["logpopul", "selfLR", "age", "educ", "income"]], party
    fair = sm.datasets.fair.load_pandas().data
    yield "fair", fair.drop(columns="affairs"), fair["affairs"] > 0
    for name in ("birthwt", "pima", "biopsy", "fgl"):
        table = pd.read_csv(folder / f"raw_{name}.csv")
        yield name, table.drop(columns="y"), table["y"]


def write(folder, seed=SEED):
    for i, (name, x, y) in enumerate(sources(folder)):
        x = np.asarray(x, dtype=float)
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        y = np.unique(np.asarray(y), return_inverse=True)[1] + 1
        rng = np.random.default_rng([seed, i])
        fold = np.empty(len(y), dtype=int)
        for label in np.unique(y):  # each class spread over the folds
            rows = rng.permutation(np.flatnonzero(y == label))
            fold[rows] = (np.arange(rows.size) + rng.integers(FOLDS)) % FOLDS
        table = pd.DataFrame(x, columns=[f"x{u + 1}" for u in range(x.shape[1])]).assign(y=y, fold=fold)
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.12g", lineterminator="\n")
        print(name, x.shape, y.max())


if __name__ == "__main__":
    write(Path(sys.argv[1]), *map(int, sys.argv[2:]))
