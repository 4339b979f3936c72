"""The classifier by scikit-learn's conventions, and one expert against statsmodels' MNLogit."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from logitmoe import Ridge, Starts, Table, WeightedPoints, default_penalty, fit, mle, random_start
from logitmoe.classifier import SoftmaxMoEClassifier

QUICK = Starts(random=1, partitions=1, splits=0, perturbations=0, long=2)
FRAME, LABELS = load_iris(return_X_y=True, as_frame=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[LABELS]


@parametrize_with_checks([SoftmaxMoEClassifier(n_starts=2)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_frames_labels_and_predictions():
    frame = FRAME.assign(wide=FRAME["petal width (cm)"] > 1.0)
    model = SoftmaxMoEClassifier(n_starts=QUICK, random_state=1).fit(frame, NAMES)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert model.feature_names_in_.tolist() == list(frame.columns) == list(model.model_.names)
    np.testing.assert_allclose(model.predict_proba(frame).sum(axis=1), 1.0)
    assert model.predict_proba(frame).shape == (150, 3) and model.score(frame, NAMES) > 0.95
    assert "virginica (the last is the reference)" in model.model_.summary()
    table = model.model_.to_frame()
    assert list(table.columns[:4]) == ["part", "class", "term", "estimate"] and "wide" in set(table["term"])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    same = clone(model).fit(frame, NAMES)
    np.testing.assert_array_equal(same.predict_proba(frame), model.predict_proba(frame))


def test_a_classifier_with_a_modified_gate_can_be_pickled():
    model = SoftmaxMoEClassifier(2, gate="tanh", n_starts=QUICK, random_state=1).fit(FRAME, NAMES)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(FRAME), model.predict_proba(FRAME))


def test_a_class_that_a_fold_lacks_keeps_its_column():
    rows = LABELS > 0
    model = SoftmaxMoEClassifier(1, classes=[0, 1, 2], n_starts=QUICK, random_state=1).fit(FRAME[rows], LABELS[rows])
    probability = model.predict_proba(FRAME[rows])
    assert probability.shape == (100, 3) and probability[:, 0].max() < 0.1
    with pytest.raises(ValueError, match="classes: expected every label of y, got 0 in y"):
        SoftmaxMoEClassifier(1, classes=[1, 2]).fit(FRAME, LABELS)


def test_columns_penalty_and_pipelines():
    columns = {"gate_columns": ["sepal length (cm)"], "expert_columns": [2, 3]}
    model = SoftmaxMoEClassifier(2, penalty=Ridge(1.0, 0.01), n_starts=QUICK, random_state=1, **columns)
    model.fit(FRAME, NAMES)
    assert model.model_.parameters == 2 + 12 and model.model_.penalty == Ridge(1.0, 0.01)
    assert not SoftmaxMoEClassifier(1, penalty=0.0).fit(FRAME, LABELS > 1).model_.penalty
    assert SoftmaxMoEClassifier(1).fit(FRAME, LABELS > 1).model_.penalty.slopes == 2.0
    pipeline = make_pipeline(StandardScaler(), SoftmaxMoEClassifier(n_starts=QUICK, random_state=1)).fit(FRAME, NAMES)
    assert pipeline.score(FRAME, NAMES) > 0.95


@pytest.mark.parametrize("name", ["anes96", "fair", "spector"])
def test_one_expert_is_the_multinomial_logit_of_statsmodels(name):
    sm = pytest.importorskip("statsmodels.api")
    data = getattr(sm.datasets, name).load_pandas().data
    if name == "anes96":
        x, y = data[["logpopul", "selfLR", "age", "educ", "income"]], data["PID"].astype(int)
    elif name == "fair":
        x, y = data.drop(columns="affairs"), (data["affairs"] > 0).astype(int)
    else:
        x, y = data[["GPA", "TUCE", "PSI"]], data["GRADE"].astype(int)
    K = y.max() + 1
    theirs = sm.MNLogit(y.to_numpy(), sm.add_constant(x.to_numpy())).fit(disp=0, maxiter=200, tol=1e-14)
    table = Table(classes=[*range(1, K), 0])  # theirs is against the first class
    ours = fit(x, y, 1, rng=np.random.default_rng(0), penalty=Ridge(), table=table)
    assert ours.log_likelihood == pytest.approx(theirs.llf, abs=1e-8)
    assert ours.aic == pytest.approx(theirs.aic, abs=1e-7) and ours.bic == pytest.approx(theirs.bic, abs=1e-7)
    coefficients = ours.coefficients()
    np.testing.assert_allclose(coefficients.estimate, np.asarray(theirs.params).T.ravel(), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(coefficients.error, np.asarray(theirs.bse).T.ravel(), rtol=1e-6)


def test_agreement_of_starts_is_not_that_of_the_chosen_few():
    """Of iris the starts that are best after a short run agree on a maximum that is not the highest."""
    x = (FRAME - FRAME.mean()).to_numpy() / FRAME.std(ddof=0).to_numpy()
    data, penalty = WeightedPoints.from_labels(x, 1 + LABELS), default_penalty(4)
    many = random_start(2, 3, 4, np.random.default_rng(99), size=60, sd=0.9)
    highest = mle(data, many, theta=penalty.theta(150, 3), penalty=penalty, max_iter=1000).objective.max()
    fits = [fit(FRAME, LABELS, 2, rng=np.random.default_rng(seed)) for seed in range(8)]
    assert sum(fitted.objective > highest - 1e-3 for fitted in fits) >= 7, "5 without the starts that EM leaves alone"
    assert max(fitted.agree / fitted.others for fitted in fits) < 0.9 and min(fitted.others for fitted in fits) >= 20
    beside = fit(FRAME, LABELS, 2, rng=np.random.default_rng(1), starts=Starts(long=8))
    assert beside.objective < highest - 0.1 and beside.agree == beside.others


def test_weights_that_are_none_are_named():
    x, y = np.linspace(-1.0, 1.0, 20)[:, None], np.arange(20) % 2
    with pytest.raises(ValueError, match="sample_weight"):
        SoftmaxMoEClassifier(1).fit(x, y, sample_weight=np.r_[-1.0, np.ones(19)])
    with pytest.raises(ValueError, match="weights: expected shape"):
        SoftmaxMoEClassifier(1).fit(x, y, sample_weight=np.ones((20, 2)))
