"""`SoftmaxMoEClassifier`: the model by scikit-learn's conventions. Importing this module needs scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .checks import message
from .fitting import INTERCEPTS, Starts, fit
from .penalty import Ridge
from .tables import Table

__all__ = ["SoftmaxMoEClassifier"]


class SoftmaxMoEClassifier(ClassifierMixin, BaseEstimator):
    """Softmax gating multinomial logistic mixture of experts, fitted by :func:`.fit`.

    Parameters
    ----------
    n_experts : int, default 2
    gate : str or Gate, default "identity"
        The map M of the gate.
    penalty : float, Ridge or None, default None
        Ridge penalty of the slopes per standard deviation of a covariate, or a :class:`.Ridge`. None is that of
        :func:`.fit`, 0 maximum likelihood.
    n_starts : int, default 16
        Independent starts.
    classes : array_like, optional
        All labels, if one may be missing from the data of a fit.
    gate_columns, expert_columns : sequence of str or int, optional
        Columns that the gate and the experts see. Default all.
    random_state : int, RandomState or None
        Of the starts.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
        The labels, sorted, or in the order of `classes`.
    model_ : FittedModel
        The fit in full: its summary, standard errors and trace.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X was a frame.

    Examples
    --------
    >>> import numpy as np
    >>> from logitmoe.classifier import SoftmaxMoEClassifier
    >>> X = np.linspace(-3, 3, 200)[:, None]
    >>> y = np.where(np.abs(X[:, 0]) < 1.5, "near", "far")
    >>> float(SoftmaxMoEClassifier(2, penalty=0.01, random_state=1).fit(X, y).score(X, y)) > 0.95
    True
    """

    def __init__(
        self, n_experts=2, *, gate="identity", penalty=None, n_starts=16, classes=None, gate_columns=None,
        expert_columns=None, random_state=None,
    ):  # fmt: skip
        self.n_experts = n_experts
        self.gate = gate
        self.penalty = penalty
        self.n_starts = n_starts
        self.classes = classes
        self.gate_columns = gate_columns
        self.expert_columns = expert_columns
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Fit to covariates X (n, d), an array or a frame, and labels y (n,) of any type; returns the estimator.

        `sample_weight` (n,) are weights of at least 0: a row of weight 2 stands for two.
        """
        names = getattr(X, "columns", None)
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        if sample_weight is not None:
            checks = {"ensure_2d": False, "ensure_non_negative": True, "input_name": "sample_weight"}
            sample_weight = check_array(sample_weight, dtype=np.float64, **checks)
        self.classes_ = np.unique(y) if self.classes is None else np.asarray(self.classes)
        if len(self.classes_) < 2:
            got = f"one class, {self.classes_[0]!r}"
            raise ValueError(message("y", "at least 2 classes", got, "pass classes= if others may come"))
        columns = [self._positions(value, names) for value in (self.gate_columns, self.expert_columns)]
        position = self._encode(y)
        table = Table(sample_weight, list(range(len(self.classes_))), *columns)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        self.model_ = fit(
            X, position, self.n_experts, rng=rng, gate=self.gate, penalty=self._ridge(),
            starts=self.n_starts if isinstance(self.n_starts, Starts) else Starts.of(self.n_starts), table=table,
        ).renamed(names if names is None else [str(name) for name in names], self.classes_.tolist())  # fmt: skip
        return self

    def predict_proba(self, X):
        """Probabilities of the classes, (n, K), in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return self.model_.predict_proba(X)

    def predict_log_proba(self, X):
        """Logarithms of `predict_proba`."""
        return np.log(self.predict_proba(X))

    def predict(self, X):
        """The most probable labels, (n,)."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _ridge(self) -> Ridge | None:
        if self.penalty is None or isinstance(self.penalty, Ridge):
            return self.penalty
        return Ridge(self.penalty, INTERCEPTS) if self.penalty else Ridge()

    def _encode(self, y) -> np.ndarray:
        """Positions of the labels among the classes."""
        listed = {label: i for i, label in enumerate(self.classes_.tolist())}
        try:
            return np.array([listed[label] for label in y.tolist()])
        except KeyError as error:
            got = f"{error.args[0]!r} in y"
            raise ValueError(message("classes", "every label of y", got, "list all of them")) from None

    def _positions(self, columns, names):
        """Columns as indices: names are those of the frame."""
        if columns is None:
            return None
        listed = [] if names is None else [str(name) for name in names]
        return [listed.index(column) if column in listed else column for column in columns]
