"""A fit to somebody's data, in the units of the data: what it says, predicts, prints, and how it is kept in a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .checks import as_number, message
from .files import read_arrays, read_words, write_arrays
from .gates import GATES, Gate, as_gate
from .inference import Coefficients, Uncertainty, criteria, frame, in_words, uncertainty
from .measure import FIELDS, MixingMeasure
from .model import density, gate_log_probabilities, responsibilities
from .newton import MLEResult
from .penalty import Ridge
from .separation import Separation, separations
from .tables import Sample, Units, as_matrix

__all__ = ["AGREE", "FittedModel", "Run"]

#: Nats within which two starts count as agreeing.
AGREE = 1e-3
#: Points from which a fit does not look for separation.
SEPARATION_POINTS = 20_000
_KIND = "logitmoe.FittedModel"


@dataclass(frozen=True)
class Run:
    """One start: where it came from, and its objective after the short run and after the long, if there was one."""

    origin: str
    short: float = float("nan")
    long: float = float("nan")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FittedModel:
    """The result of :func:`.fit`: print it, or read its attributes.

    Experts are in the order of their shares, the largest first; the last is the gate's reference. Coefficients are in
    the units of the data: those of the gate are of M(x), those of the experts of x.

    Attributes
    ----------
    measure : MixingMeasure
        The fitted parameters in the units of the data.
    standard : MixingMeasure
        The same in the units of the fit, see `units`: there the penalty acts.
    units : Units
    gate : Gate
        The map M, of x.
    names, classes : tuple
        Names of the d columns, and the K labels; the last is the reference.
    columns : ndarray of bool, shape (2, d)
        Which columns the gate, and the experts, see.
    log_likelihood, objective : float
        In nats, of the whole sample; `objective` is less the penalty.
    n : float
        Sample size: the sum of the weights.
    parameters : int
        Number of parameters that were fitted.
    aic, bic, icl : float
        Lower is better.
    shares : ndarray, shape (k,)
        Mean posterior probabilities of the experts.
    penalty : Ridge
        On the slopes and intercepts of the standardised covariates.
    runs : tuple of Run
        The trace of the starts.
    agree, others : int
        Of `others` independent starts that were run to the end, the best not counted, `agree` reached the best.
    result : MLEResult or None
        The certificate of the maximum, in the units of the fit; None for a fit that was loaded.
    remarks : tuple of str
        What is odd about the fit: empty experts, starts that do not agree; see `notes`.
    """

    measure: MixingMeasure
    standard: MixingMeasure
    units: Units
    gate: Gate
    names: tuple[str, ...]
    classes: tuple
    columns: np.ndarray
    log_likelihood: float
    n: float
    parameters: int
    aic: float
    bic: float
    icl: float
    shares: np.ndarray
    penalty: Ridge
    runs: tuple[Run, ...]
    agree: int
    others: int
    remarks: tuple[str, ...]
    result: MLEResult | None
    observed: Uncertainty

    @property
    def k(self) -> int:
        """Number of experts."""
        return self.measure.k

    @property
    def objective(self) -> float:
        """Log-likelihood less the penalty."""
        return self.log_likelihood - float(self.penalty.value(self.standard))

    @property
    def converged(self) -> bool:
        """Whether the last run ended at a maximum; True for a fit that was loaded."""
        return self.result is None or bool(self.result.converged)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the fit, in words: `remarks`, and the separations of :func:`.separations`."""
        if self.result is None or self.result.data.m > SEPARATION_POINTS:
            return self.remarks
        found = separations(self.standard, self.result.data, self.units.gate(self.gate))
        remedy = "only the penalty keeps it finite" if self.penalty else "the maximum is at infinity: give a penalty"
        return (*self.remarks, *(f"separation, {one.words(self.names)}{self._key(one)}; {remedy}" for one in found))

    def _key(self, separation: Separation) -> str:
        """Which labels the numbers of the classes that a separation names stand for."""
        if separation.expert is None or self.classes == tuple(range(1, len(self.classes) + 1)):
            return ""
        return f" (class {', '.join(f'{s} is {self.classes[s - 1]}' for s in sorted(set(separation.named)))})"

    # -- coefficients ----------------------------------------------------------------------------------------

    def coefficients(self, kind: str = "observed", level: float = 0.95) -> Coefficients:
        """The table of coefficients, with standard errors by the "observed" or "expected" information or "sandwich".

        A fit that was loaded has the observed information only: a ValueError for the others.
        """
        level = as_number(level, "level", "a number inside (0, 1)", "pass e.g. 0.95", above=0.0, below=1.0)
        found = self.observed
        if kind != "observed":
            if self.result is None:
                remedy = "fit again to have the data"
                raise ValueError(message("kind", "'observed' for a fit that was loaded", repr(kind), remedy))
            data, gate = self.result.data, self.units.gate(self.gate)
            found = uncertainty(self.standard, data, gate, penalty=self.penalty, kind=kind, active=self.active)
        mapped, errors = found.mapped(self._to_x[self._order])
        rows, keep = self._rows, np.flatnonzero(self.active[self._order])
        names = [" ".join(filter(None, row)) for row in rows]
        notes = [f"not identified: {in_words(direction, names)}" for direction in mapped.unidentified]
        part, label, term = ([rows[u][i] for u in keep] for i in range(3))
        estimate = self.measure.to_vector()[self._order]
        return Coefficients(part, label, term, estimate[keep], errors[keep], kind, level, notes)

    def to_frame(self, kind: str = "observed", level: float = 0.95):
        """`coefficients` as a pandas DataFrame."""
        return self.coefficients(kind, level).to_frame()

    @property
    def active(self) -> np.ndarray:
        """The coordinates of `MixingMeasure.to_vector` that were fitted, (P,): not of columns that are not seen."""
        return _active(self.columns, self.k, len(self.classes))

    @cached_property
    def _to_x(self) -> np.ndarray:
        """The matrix (P, P) that takes coefficients of the fit's units to those of the data: all of it is linear."""
        G = self.standard
        unit = MixingMeasure.from_vector(np.eye(G.to_vector().size), G.k, G.K, G.d)
        return self.units.to_x(unit).to_vector().T

    @cached_property
    def _order(self) -> np.ndarray:
        """Positions in the vector, (P,), of the rows of the table: intercepts before their slopes, atom by atom."""
        G = self.standard
        J, T, d = G.k - 1, G.K - 1, G.d
        ends = np.cumsum([J, J * d, G.k * T])
        beta0, beta1, a, b = np.split(np.arange(G.to_vector().size), ends)
        gate = np.hstack([beta0[:, None], beta1.reshape(J, d)])
        return np.concatenate([gate.ravel(), np.hstack([a[:, None], b.reshape(G.k * T, d)]).ravel()])

    @property
    def _rows(self) -> list[tuple[str, str, str]]:
        terms = ["(intercept)", *self.names]
        gates = [(f"gate {i + 1}", "", term) for i in range(self.k - 1) for term in terms]
        labels = [str(label) for label in self.classes[:-1]]
        return gates + [(f"expert {i + 1}", label, t) for i in range(self.k) for label in labels for t in terms]

    # -- predictions -----------------------------------------------------------------------------------------

    def predict_proba(self, x) -> np.ndarray:
        """Probabilities of the classes, (n, K), at covariates (n, d), an array or a frame."""
        return density(self.standard, self._standardised(x), self.units.gate(self.gate)).T

    def predict(self, x) -> np.ndarray:
        """The most probable labels, (n,)."""
        return np.array(self.classes)[self.predict_proba(x).argmax(axis=1)]

    def gate_probabilities(self, x) -> np.ndarray:
        """Probabilities of the experts, (n, k), before the label is seen."""
        return np.exp(gate_log_probabilities(self.standard, self._standardised(x), self.units.gate(self.gate))).T

    def responsibilities(self, x, y) -> np.ndarray:
        """Probabilities of the experts, (n, k), given covariates and labels (n,)."""
        r = responsibilities(self.standard, self._standardised(x), self.units.gate(self.gate))
        position = self._positions(y, r.shape[-1])
        return r[:, position, np.arange(len(position))].T

    def log_score(self, x, y) -> np.ndarray:
        """Log-probabilities, (n,), of labels that were seen at covariates: held out, how well the fit predicts."""
        probability = self.predict_proba(x)
        seen = probability[np.arange(len(probability)), self._positions(y, len(probability))]
        return np.log(np.maximum(seen, np.finfo(float).tiny))

    def _positions(self, y, n: int) -> list[int]:
        """The places among the classes of n labels."""
        labels, listed = np.asarray(y).tolist(), {label: s for s, label in enumerate(self.classes)}
        if not isinstance(labels, list) or len(labels) != n:
            got = len(labels) if isinstance(labels, list) else repr(labels)
            raise ValueError(message("y", f"{n} labels, one for each row of x", got, "make the two agree"))
        for i, label in enumerate(labels):
            if label not in listed:
                expected, got = f"labels among {', '.join(map(str, self.classes))}", f"{label!r} at index {i}"
                raise ValueError(message("y", expected, got, "name all classes in the fit, Table(classes=...)"))
        return [listed[label] for label in labels]

    def _standardised(self, x) -> np.ndarray:
        return self.units.standardise(as_matrix(x, self.names)[0])

    def refitted(self, result: MLEResult) -> FittedModel:
        """The fitted model of another maximum for the same table."""
        sample = Sample(result.data, self.names, self.classes, *self.columns)
        run = Run("refit", float(result.objective), float(result.objective))
        return FittedModel.of(result, sample, self.units, self.gate, (*self.runs, run), (0, 0))

    def renamed(self, names=None, classes=None) -> FittedModel:
        """The same fit with other names of the columns, and other labels."""
        names, classes = (tuple(new or old) for new, old in ((names, self.names), (classes, self.classes)))
        return replace(self, names=names, classes=classes)

    # -- words -----------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"FittedModel of {self.k} experts, {len(self.classes)} classes, log-likelihood {self.log_likelihood:.2f}"

    def __str__(self) -> str:
        return self.summary()

    def summary(self, kind: str = "observed", level: float = 0.95) -> str:
        """What was fitted, how well, how sure one can be, and the table of coefficients."""
        K, d, shares = len(self.classes), len(self.names), ", ".join(f"{share:.3f}" for share in self.shares)
        penalty = f"slopes {self.penalty.slopes:g}, intercepts {self.penalty.intercepts:g}" if self.penalty else "none"
        lines = [
            f"{self.k} expert{'s' * (self.k > 1)}, {K} classes, {d} covariate{'s' * (d > 1)}, gate {self.gate.name}",
            f"n = {self.n:g}, {self.parameters} parameters, log-likelihood {self.log_likelihood:.3f}",
            f"AIC {self.aic:.2f}, BIC {self.bic:.2f}, ICL {self.icl:.2f}",
            f"penalty (standardised covariates): {penalty}; log-likelihood less penalty {self.objective:.3f}",
            f"shares of the experts: {shares}",
            f"classes: {', '.join(map(str, self.classes))} (the last is the reference)",
            self._starts(),
            *self.notes,
            str(self.coefficients(kind, level)),
        ]
        return "\n".join(lines)

    def _starts(self) -> str:
        if self.k == 1:
            return "starts: one is enough, the problem is concave"
        counts = {}
        for run in self.runs:
            kind = run.origin.split(" ")[0]
            counts[kind] = counts.get(kind, 0) + 1
        parts = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        return f"starts: {parts}; of {self.others} other independent long runs {self.agree} reached the best"

    def trace(self) -> dict[str, list]:
        """The starts as a dict of columns: origin, objective after the short run and after the long (nan for none)."""
        names = ("origin", "short", "long")
        return {name: [getattr(run, name) for run in self.runs] for name in names}

    def trace_frame(self):
        """`trace` as a pandas DataFrame."""
        return frame(self.trace())

    # -- files -----------------------------------------------------------------------------------------------

    def save(self, path) -> None:
        """Write the whole fit, without the data, to a file ``.json`` or ``.npz`` that :meth:`load` reads back.

        Raises TypeError for labels that are neither text, numbers nor bool, and ValueError for a gate without a name
        that :func:`.as_gate` knows.
        """
        try:
            known = as_gate(self.gate.name)
        except ValueError:
            known = None
        if known is None or (self.gate.name in GATES and known is not self.gate):
            remedy = "use a gate that is known by name, or save the measure"
            raise ValueError(message("gate", f"one of {', '.join(GATES)} or a power", repr(self.gate.name), remedy))
        odd = [label for label in self.classes if not isinstance(label, (str, bool, int, float))]
        if odd:
            remedy = "fit text or numbers"
            raise TypeError(message("classes", "text, numbers or bool", type(odd[0]).__name__, remedy))
        G, U = self.standard, self.observed
        numbers = [self.log_likelihood, self.n, self.parameters, self.aic, self.bic, self.icl]
        numbers += [self.penalty.slopes, self.penalty.intercepts]
        arrays = {name: getattr(G, name) for name in FIELDS} | vars(self.units)
        arrays |= {"columns": self.columns.astype(float), "shares": self.shares, "numbers": np.array(numbers)}
        arrays |= {"covariance": U.covariance, "unidentified": U.unidentified}
        runs = [[run.origin, *(v if v == v else None for v in (run.short, run.long))] for run in self.runs]
        words = {"gate": self.gate.name, "names": list(self.names), "classes": list(self.classes)}
        words |= {"runs": runs, "agree": self.agree, "others": self.others, "notes": list(self.notes)}
        write_arrays(path, _KIND, [G.k, G.K, G.d, *U.unidentified.shape], arrays, words)

    @classmethod
    def load(cls, path) -> FittedModel:
        """Read a fit that `save` wrote; a ValueError if any bit of the file has changed since."""
        arrays, words = read_arrays(path, _KIND, _shapes), read_words(path, _KIND)
        gate = as_gate(words["gate"])
        standard = MixingMeasure(**{name: arrays[name] for name in FIELDS})
        units = Units(**{name: arrays[name] for name in ("shift", "scale", "gate_shift", "gate_scale")})
        log_likelihood, n, parameters, aic, bic, icl, slopes, intercepts = arrays["numbers"].tolist()
        return cls(
            measure=units.to_x(standard), standard=standard, units=units, gate=gate,
            names=tuple(words["names"]), classes=tuple(words["classes"]), columns=arrays["columns"].astype(bool),
            log_likelihood=log_likelihood, n=n, parameters=int(parameters), aic=aic, bic=bic, icl=icl,
            shares=arrays["shares"], penalty=Ridge(slopes, intercepts), agree=words["agree"], others=words["others"],
            runs=tuple(Run(o, *(float("nan") if v is None else v for v in both)) for o, *both in words["runs"]),
            remarks=tuple(words["notes"]), result=None,
            observed=Uncertainty(arrays["covariance"], arrays["unidentified"]),
        )  # fmt: skip

    @classmethod
    def of(cls, result: MLEResult, sample: Sample, units: Units, gate: Gate, runs: tuple[Run, ...], counts):
        """The fitted model of a maximum in the units of the fit: what :func:`.fit` ends with."""
        data, inner = result.data, units.gate(gate)
        G = result.measure.in_gauge("last").canonical()
        columns = np.stack([sample.gate, sample.experts])
        k, K = G.k, G.K
        parameters = (k - 1) * (1 + int(sample.gate.sum())) + k * (K - 1) * (1 + int(sample.experts.sum()))
        found = criteria(G, data, inner, result.log_likelihood, parameters)
        order = np.argsort(-found["shares"].round(9), kind="stable")
        G = G.permute(order).in_gauge("last")
        found["shares"] = found["shares"][order]
        U = uncertainty(G, data, inner, penalty=result.penalty, active=_active(columns, k, K))
        n, (agree, others) = float(data.total), counts
        empty = np.flatnonzero(found["shares"] * n < 1.0) + 1
        notes = [f"expert {i} is empty: its share is below one row" for i in empty]
        if others and not agree:
            notes.append("no other start reached the best: take more starts")
        if not result.converged:
            notes.append(f"not a maximum: {result.reason} ({result.reasons[str(result.reason)]})")
        if result.at_bound:
            notes.append(f"on the boundary of {result.theta}: the maximum may be at infinity")
        if result.missing_classes.any():
            missing = ", ".join(str(sample.classes[s]) for s in np.flatnonzero(result.missing_classes))
            held = "only the penalty keeps its intercepts finite"
            held = held if result.penalty.intercepts else "the maximum is at infinity: give a penalty"
            notes.append(f"no row of class {missing}: {held}")
        for u in np.flatnonzero((np.ptp(data.points, axis=0) == 0.0) & columns.any(axis=0)):
            held = "only the penalty holds its coefficients, at 0"
            held = held if result.penalty.slopes else "its coefficients are not told from the intercepts"
            notes.append(f"column {sample.names[u]} is constant: {held}")
        return cls(
            measure=units.to_x(G), standard=G, units=units, gate=gate, names=sample.names, classes=sample.classes,
            columns=columns, log_likelihood=float(result.log_likelihood), n=n, parameters=parameters,
            penalty=result.penalty, runs=runs, agree=agree, others=others, remarks=tuple(notes), result=result,
            observed=U, **found,
        )  # fmt: skip


def _shapes(k, K, d, r, P):
    """Shapes of the arrays in a file."""
    measure = {"beta0": (k,), "beta1": (k, d), "a": (k, K), "b": (k, K, d)}
    units = {name: (d,) for name in ("shift", "scale", "gate_shift", "gate_scale")}
    rest = {"columns": (2, d), "shares": (k,), "numbers": (8,), "covariance": (P, P), "unidentified": (r, P)}
    return measure | units | rest


def _active(columns: np.ndarray, k: int, K: int) -> np.ndarray:
    """The coordinates (P,) that are fitted if the gate and the experts see the columns marked in (2, d)."""
    gate, experts = columns.astype(bool)
    intercepts = np.ones(k - 1, dtype=bool), np.ones(k * (K - 1), dtype=bool)
    return np.concatenate([intercepts[0], np.tile(gate, k - 1), intercepts[1], np.tile(experts, k * (K - 1))])
