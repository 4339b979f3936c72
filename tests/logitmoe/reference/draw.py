"""Draw the two samples of the flexmix comparison, with the posteriors that both EM runs start from.

Run `python draw.py` here; it needs NumPy only and overwrites sample_K2.csv and sample_K3.csv.  It does not use the
library under test.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
STARTS = (2, 3)  # numbers of experts fitted to each sample


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def choose(rng, probabilities):
    """One index from each row of probabilities."""
    return (rng.random((len(probabilities), 1)) > probabilities.cumsum(axis=1)[:, :-1]).sum(axis=1)


def start(rng, atoms, k):
    """Posteriors in thousandths, none zero: half noise, half a hint at the atom, so that EM has a way to go."""
    p = 0.5 * rng.dirichlet(np.ones(k), len(atoms)) + 0.5 * np.eye(k)[atoms % k]
    parts = np.maximum(np.floor(1000 * p), 1).astype(int)
    parts[np.arange(len(p)), p.argmax(axis=1)] += 1000 - parts.sum(axis=1)
    return parts


def write(seed, n, low, high, beta0, beta1, a, b):
    """Draw from the model with gates (k,), (k, d) and experts (k, K), (k, K, d), and write the sample."""
    rng = np.random.default_rng(seed)
    beta0, beta1, a, b = (np.array(v, dtype=float) for v in (beta0, beta1, a, b))
    K, d = a.shape[1], beta1.shape[1]
    x = rng.uniform(low, high, (n, d)).round(4)
    atoms = choose(rng, softmax(beta0 + x @ beta1.T))
    y = 1 + choose(rng, softmax(a[atoms] + np.einsum("nsd,nd->ns", b[atoms], x)))
    starts = [start(rng, atoms, k) for k in STARTS]
    names = [f"x{j + 1}" for j in range(d)] + ["y"] + [f"start{k}_{i + 1}" for k in STARTS for i in range(k)]
    with open(HERE / f"sample_K{K}.csv", "w", newline="\n") as file:
        print(*names, sep=",", file=file)
        for row in range(n):
            posteriors = (f"{v / 1000:.3f}" for parts in starts for v in parts[row])
            print(*(f"{v:.4f}" for v in x[row]), y[row], *posteriors, sep=",", file=file)


if __name__ == "__main__":
    write(
        seed=20240721,
        n=600,
        low=-2.0,
        high=2.0,
        beta0=[0.5, 0.3, 0.0],
        beta1=[[-1.5], [1.5], [0.0]],
        a=[[-1.5, 0.0], [1.5, 0.0], [0.0, 0.0]],
        b=[[[-1.5], [0.0]], [[-1.0], [0.0]], [[2.5], [0.0]]],
    )
    write(
        seed=20240722,
        n=800,
        low=-2.0,
        high=2.0,
        beta0=[0.4, 0.2, 0.0],
        beta1=[[1.5, 0.0], [-1.0, 1.0], [0.0, 0.0]],
        a=[[1.0, -0.5, 0.0], [-1.0, 0.5, 0.0], [0.0, 1.0, 0.0]],
        b=[
            [[1.0, -1.0], [0.0, 0.5], [0.0, 0.0]],
            [[1.5, 0.5], [-1.0, 1.0], [0.0, 0.0]],
            [[-1.0, 0.0], [0.5, -1.5], [0.0, 0.0]],
        ],
    )
