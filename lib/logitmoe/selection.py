"""How many experts: fits of several k, atoms that the data cannot tell apart, a fit in the paper's terms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .checks import as_count, as_generator, as_instance, message
from .fitted import FittedModel
from .fitting import Starts, as_starts, default_penalty, search
from .gates import Gate, as_gate, identity
from .inference import frame
from .newton import mle
from .penalty import Ridge, as_penalty
from .tables import Table, read_table

__all__ = ["Finding", "Selection", "diagnose", "merge_indistinct", "select_k"]

#: Wald statistic per coefficient below which a difference counts as none, and distance of equal coefficients.
SMALL_Z, EQUAL = 1.0, 1e-3


@dataclass(frozen=True, eq=False)
class Selection:
    """Fits with several numbers of experts.

    Attributes
    ----------
    fits : dict of int to FittedModel
        One for each k.
    """

    fits: dict[int, FittedModel]

    def __getitem__(self, k: int) -> FittedModel:
        return self.fits[k]

    def best(self, criterion: str = "bic") -> FittedModel:
        """The fit with the lowest "aic", "bic" or "icl"."""
        if criterion not in ("aic", "bic", "icl"):
            raise ValueError(message("criterion", "'aic', 'bic' or 'icl'", repr(criterion), "choose one of these"))
        return min(self.fits.values(), key=lambda fitted: getattr(fitted, criterion))

    def columns(self) -> dict[str, list]:
        """The table as a dict of columns: k, parameters, log-likelihood, objective, AIC, BIC, ICL, smallest share."""
        names = ("parameters", "log_likelihood", "objective", "aic", "bic", "icl")
        table = {"k": list(self.fits)} | {name: [getattr(f, name) for f in self.fits.values()] for name in names}
        return table | {"smallest_share": [float(f.shares.min()) for f in self.fits.values()]}

    def to_frame(self):
        """The table as a pandas DataFrame."""
        return frame(self.columns())

    def __str__(self) -> str:
        """Six of the columns; :meth:`columns` has all."""
        rows, table = [["k", "parameters", "log-likelihood", "AIC", "BIC", "ICL"]], self.columns()
        names = ("k", "parameters", "log_likelihood", "aic", "bic", "icl")
        for k, parameters, *numbers in zip(*(table[name] for name in names), strict=True):
            rows.append([str(k), str(parameters), *(f"{v:.2f}" for v in numbers)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(t.rjust(w) for t, w in zip(row, widths, strict=True)) for row in rows]
        lowest = ", ".join(f"{name.upper()} k = {self.best(name).k}" for name in ("aic", "bic", "icl"))
        return "\n".join([*lines, f"lowest: {lowest}"])

    def plot(self, ax):
        """Draw the criteria against k into matplotlib axes; returns them."""
        table = self.columns()
        for name, marker in (("aic", "o"), ("bic", "s"), ("icl", "^")):
            ax.plot(table["k"], table[name], marker=marker, label=name.upper())
        ax.set(xlabel="number of experts k", ylabel="criterion (lower is better)", xticks=table["k"])
        ax.legend()
        return ax


def select_k(
    x: np.ndarray,
    y: np.ndarray,
    ks: Iterable[int] = range(1, 6),
    *,
    rng: np.random.Generator,
    gate: Gate | str = identity,
    penalty: Ridge | None = None,
    starts: Starts | int | None = None,
    table: Table | None = None,
) -> Selection:
    """Fit several numbers of experts, each from the starts of :func:`.fit` and from splits of the fit before it.

    Without a penalty the log-likelihood never falls from one k to the next; with one it may, since more experts have
    more coefficients to penalise.

    Parameters
    ----------
    x, y, rng, gate, penalty, starts, table
        As for :func:`.fit`.
    ks : iterable of int, default 1 to 5

    Returns
    -------
    Selection
    """
    rng, gate, starts = as_generator(rng), as_gate(gate), as_starts(starts)
    ks = sorted({as_count(k, "ks") for k in ks})
    if not ks:
        raise ValueError(message("ks", "at least one number of experts", "none", "pass e.g. range(1, 4)"))
    sample, fits, last = read_table(x, y, table), {}, None
    penalty = default_penalty(sample.data.d) if penalty is None else as_penalty(penalty)
    for k in range(1, ks[-1] + 1):
        last = search(sample, k, rng, gate, penalty, starts, last)
        if k in ks:
            fits[k] = last
    return Selection(fits)


def merge_indistinct(fitted: FittedModel, z: float = SMALL_Z) -> FittedModel:
    """The fit with atoms merged that the data cannot tell apart, run to its maximum again.

    Two atoms count as such if the Wald statistic of the difference of their gates' slopes and experts' coefficients,
    for each coefficient, is at most `z` squared.  They are merged pair by pair, the closest first; the result is the
    fit itself if there is none.

    Parameters
    ----------
    fitted : FittedModel
        Of :func:`.fit`, with its data: not loaded from a file.
    z : float, default 1

    Returns
    -------
    FittedModel
    """
    as_instance(fitted, FittedModel, "fitted", "pass the result of fit")
    if fitted.result is None:
        raise ValueError(message("fitted", "a fit with its data", "one that was loaded", "fit again"))
    while fitted.k > 1:
        pairs = {(i, j): _wald(fitted, i, j) for i in range(fitted.k) for j in range(i)}
        closest = min(pairs, key=pairs.get)
        if not pairs[closest] <= z**2:
            return fitted
        start = fitted.standard.merge(sorted(closest)).in_gauge("last").canonical()
        result, options = fitted.result, {"gate": fitted.units.gate(fitted.gate), "penalty": fitted.penalty}
        again = mle(result.data, result.theta.clip(start), theta=result.theta, tol=1e-12, max_iter=1000, **options)
        fitted = fitted.refitted(again)
    return fitted


def _wald(fitted: FittedModel, i: int, j: int) -> float:
    """Wald statistic of the difference of two atoms, per coefficient."""
    G = fitted.standard
    names = G.parameter_names(G.k, G.K, G.d)
    rows = []
    for name in {n.split("[")[0] + "[{}," + n.split(",", 1)[1] for n in names if "," in n}:
        row = np.zeros(len(names))
        for atom, sign in ((i, 1.0), (j, -1.0)):
            if name.format(atom + 1) in names:  # the gate of the last atom is the reference
                row[names.index(name.format(atom + 1))] += sign
        rows.append(row)
    matrix = np.array(rows)[:, fitted.active]
    matrix = matrix[np.abs(matrix).sum(axis=1) > 0.0]
    difference = matrix @ G.to_vector()[fitted.active]
    covariance = matrix @ fitted.observed.covariance[np.ix_(fitted.active, fitted.active)] @ matrix.T
    if len(fitted.observed.unidentified):
        lost = matrix @ fitted.observed.unidentified[:, fitted.active].T
        covariance = covariance + 1e12 * (lost @ lost.T)
    return float(difference @ np.linalg.pinv(covariance, hermitian=True) @ difference) / len(difference)


@dataclass(frozen=True)
class Finding:
    """One thing to know about a fit: what it is, what follows for its parameters, and the book's page that shows it."""

    what: str
    consequence: str
    page: str

    def __str__(self) -> str:
        return f"{self.what}: {self.consequence} (see the book's page {self.page}.html)"


def diagnose(fitted: FittedModel, z: float = SMALL_Z) -> list[Finding]:
    """What the paper's theory says about a fit: constant, antipodal and equal experts, and atoms to spare.

    A coefficient counts as zero if it is at most 0.001 per standard deviation, or its Wald statistic at most `z`.

    Parameters
    ----------
    fitted : FittedModel
    z : float, default 1

    Returns
    -------
    list of Finding
        Empty if there is nothing to say.
    """
    G, k = as_instance(fitted, FittedModel, "fitted", "pass the result of fit").standard, fitted.k
    error = np.sqrt(np.maximum(np.diag(fitted.observed.covariance), 0.0))
    names = G.parameter_names(G.k, G.K, G.d)
    slopes = G.b[:, :-1] - 0.0
    of_slopes = error[[n.startswith("b[") for n in names]].reshape(slopes.shape)
    seen = fitted.columns[1]
    null = (np.abs(slopes) <= np.maximum(EQUAL, z * of_slopes))[..., seen].all(axis=(1, 2))
    findings = []
    for i in np.flatnonzero(null):
        what = f"expert {i + 1} is constant: no slope differs from zero"
        findings.append(Finding(what, "its parameters interact with those of the gate, and estimates may be slow",
                                "regime2"))  # fmt: skip
    equal = [(j, i) for i in range(k) for j in range(i) if _wald(fitted, i, j) <= z**2]
    for j, i in equal:
        consequence = "how they share their mass is not identified; merge_indistinct makes one of them"
        findings.append(Finding(f"experts {j + 1} and {i + 1} cannot be told apart", consequence, "regime1"))
    for i in range(k):
        for j in range(i):
            total = np.abs(slopes[i] + slopes[j])[..., seen]
            spread = np.sqrt(of_slopes[i] ** 2 + of_slopes[j] ** 2)[..., seen]
            if not (null[i] or null[j]) and (total <= np.maximum(EQUAL, 0.5 * z * spread)).all():
                what = f"experts {j + 1} and {i + 1} are antipodal: their slopes are opposite"
                findings.append(Finding(what, "another measure may have the same density", "identifiability"))
    needed = k - len({i for _, i in equal}) - int((fitted.shares * fitted.n < 1.0).sum())
    if k > 2 * max(needed, 1):
        consequence = "with more than twice the atoms that are needed the rates of the parameters are the slowest"
        findings.append(Finding(f"{k} experts where {max(needed, 1)} would do", consequence, "regime1"))
    return findings
