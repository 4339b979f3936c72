"""The sample of the benchmark of maximum likelihood, and its first start; NumPy only, independent of the library.

    python sample.py FOLDER

writes both as CSV for flexmix.R.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

SEED, N = 20231014188, 100_000
#: SHA-256 of the sample as CSV.
DIGEST = "99126ecc99522cb8c1127a372807f58627c56cecd17a15a8a04cb39a3935419f"
#: Table 2 of the paper; class 2 and the gate of expert 2 are the reference.
BETA0, BETA1 = np.array([1.0, 0.0]), np.array([3.0, 0.0])
A, B = np.array([-1.0, 1.0]), np.array([2.0, -1.0])  # of class 1
#: Expert 1 and expert 2 in two halves, each number moved a little, and rounded.
START = {
    "beta0": [1.21, -0.52, -0.84],
    "beta1": [2.87, 0.13, -0.21],
    "a": [-0.85, 1.18, 0.77],
    "b": [1.92, -1.24, -0.83],
}


def draw(n=N, seed=SEED):
    """Covariates (n,), uniform on [0, 1] and rounded to 9 decimals, and classes (n,) in 1, 2."""
    rng = np.random.default_rng(seed)
    x = rng.random(n).round(9)
    gate = 1.0 / (1.0 + np.exp(BETA0[1] - BETA0[0] + (BETA1[1] - BETA1[0]) * x))  # of expert 1
    first, second = (1.0 / (1.0 + np.exp(-(A[i] + B[i] * x))) for i in (0, 1))
    return x, np.where(rng.random(n) < gate * first + (1.0 - gate) * second, 1, 2)


def csv(x, y):
    """The sample as text."""
    return "x,y\n" + "".join(f"{value:.9f},{label}\n" for value, label in zip(x, y, strict=True))


def digest(x, y):
    """SHA-256 of that text, see DIGEST."""
    return hashlib.sha256(csv(x, y).encode()).hexdigest()


def start_csv():
    """The start as text, one row for each expert."""
    rows = (",".join(f"{value:.2f}" for value in row) for row in zip(*START.values(), strict=True))
    return "\n".join([",".join(START), *rows]) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    x, y = draw()
    if digest(x, y) != DIGEST:
        raise SystemExit(f"sample.csv: expected SHA-256 {DIGEST}, got {digest(x, y)}; NumPy drew another sample")
    for name, text in (("sample.csv", csv(x, y)), ("start.csv", start_csv())):
        (folder / name).write_bytes(text.encode())
