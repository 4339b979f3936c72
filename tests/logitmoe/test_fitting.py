"""`fit` for data: invariance to units, names and order; the result, its tables and files; the choice of k."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logitmoe import (
    FittedModel,
    MixingMeasure,
    Ridge,
    Starts,
    Table,
    WeightedPoints,
    compress,
    diagnose,
    fit,
    merge_indistinct,
    sample,
    select_k,
)
from logitmoe.gates import cos
from logitmoe.inference import uncertainty
from logitmoe.model import log_likelihood

FEW = Starts(random=4, partitions=4, splits=0, perturbations=0, long=4)
TRUTH = MixingMeasure(
    [0.3, 0.0],
    [[4.0, 0.5], [0.0, 0.0]],
    [[0.5, 0.0, 0.0], [-0.5, 0.5, 0.0]],
    [[[2.0, -2.0], [0.5, 2.0], [0, 0]], [[-2.0, 1.5], [0.5, -2.0], [0, 0]]],
)
X, Y = sample(TRUTH, 400, np.random.default_rng(1), covariates=np.random.default_rng(0).standard_normal((400, 2)))


def rng():
    return np.random.default_rng(5)


def run(x=X, y=Y, k=2, penalty=None, **options):
    penalty = Ridge(0.5, 0.01) if penalty is None else penalty
    return fit(x, y, k, rng=rng(), penalty=penalty, starts=FEW, **options)


REFERENCE, UNPENALISED = run(), run(penalty=Ridge())


def same(fitted, other, x, x_other, order=slice(None)):
    """Whether two fits have one log-likelihood, one penalty and one density, to 1e-8."""
    assert fitted.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-8)
    assert fitted.objective == pytest.approx(other.objective, abs=1e-8)
    np.testing.assert_allclose(fitted.predict_proba(x)[:, order], other.predict_proba(x_other), atol=1e-8)


scales = st.floats(1e-3, 1e3)
shifts = st.floats(-50.0, 50.0)
signs = st.sampled_from([-1.0, 1.0])


@settings(max_examples=4, deadline=None)
@given(st.tuples(scales, scales), st.tuples(signs, signs), st.tuples(shifts, shifts), st.permutations([0, 1]))
def test_units_and_the_order_of_columns_make_no_difference(scale, sign, shift, order):
    scale = np.multiply(scale, sign)
    moved = (np.asarray(shift) * scale + scale * X)[:, list(order)]
    same(run(moved), REFERENCE, moved, X)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32))
def test_without_a_penalty_any_affine_map_makes_no_difference(seed):
    """In the maximum, not in the random starts: so the sample is one whose maximum a few starts find."""
    x, y = sample(TRUTH, 2000, np.random.default_rng(1), covariates=np.random.default_rng(0).standard_normal((2000, 2)))
    local = np.random.default_rng(seed)
    matrix = np.linalg.qr(local.standard_normal((2, 2)))[0] * local.uniform(0.2, 5.0, 2)
    moved = x @ matrix + local.uniform(-20.0, 20.0, 2)
    same(run(moved, y, penalty=Ridge()), run(x, y, penalty=Ridge()), moved, x)


@settings(max_examples=3, deadline=None)
@given(st.permutations([1, 2, 3]), st.integers(0, 2**32))
def test_classes_and_rows_may_be_permuted(classes, seed):
    rows = np.random.default_rng(seed).permutation(len(X))
    relabelled = np.array([0, *classes])[Y]  # class s is now classes[s - 1]
    fitted = run(X[rows], relabelled[rows])
    same(fitted, REFERENCE, X, X, order=np.array(classes) - 1)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32))
def test_replicated_rows_are_weights(seed):
    counts = np.random.default_rng(seed).integers(0, 4, len(X))
    weighted = run(table=Table(weights=counts, classes=[1, 2, 3]))
    replicated = run(np.repeat(X, counts, axis=0), np.repeat(Y, counts), table=Table(classes=[1, 2, 3]))
    same(weighted, replicated, X, X)
    assert weighted.n == counts.sum() == replicated.n and weighted.bic == pytest.approx(replicated.bic, abs=1e-8)


def test_coefficients_are_in_the_units_of_the_data():
    fitted = run(170.0 + 10.0 * X)
    data = np.eye(3)[:, Y - 1]
    points = WeightedPoints(170.0 + 10.0 * X, data)
    assert log_likelihood(fitted.measure, points) == pytest.approx(fitted.log_likelihood, abs=1e-7)
    plain, table = REFERENCE.coefficients(), fitted.coefficients()
    slopes = np.array([term != "(intercept)" for term in table.term])
    np.testing.assert_allclose(10.0 * table.estimate[slopes], plain.estimate[slopes], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(10.0 * table.error[slopes], plain.error[slopes], rtol=1e-5)


def test_a_modified_gate_sees_standardised_features_and_its_coefficients_are_those_of_the_features():
    x = 3.0 + 2.0 * X
    fitted = run(x, gate="cos")
    points = WeightedPoints(x, np.eye(3)[:, Y - 1])
    assert log_likelihood(fitted.measure, points, cos) == pytest.approx(fitted.log_likelihood, abs=1e-7)
    features = (np.cos(x) - fitted.units.gate_shift) / fitted.units.gate_scale
    np.testing.assert_allclose(fitted.units.gate(cos)(fitted.units.standardise(x)), features, atol=1e-12)
    assert features.mean(axis=0) == pytest.approx(0.0, abs=1e-12) and features.std(axis=0) == pytest.approx(1.0)


def test_the_situations_of_large_and_remote_covariates_have_their_maximum():
    x = np.random.default_rng(0).uniform(0, 100, (400, 6))
    y = 1 + (np.random.default_rng(1).random(400) < 1.0 / (1.0 + np.exp(-0.03 * (x - 50).sum(axis=1))))
    fitted = fit(x, y, 1, rng=rng(), penalty=Ridge())
    assert fitted.converged and fitted.log_likelihood == pytest.approx(-174.0, abs=0.5)
    remote, labels = 36.0 + 6.0 * np.random.default_rng(2).random(300), np.random.default_rng(3).random(300)
    labels = np.where(labels < 1.0 / (1.0 + np.exp(-2.0 * (remote - 39.0))), "a", "b")
    far, near = (fit(v, labels, 1, rng=rng(), penalty=Ridge()) for v in (remote + 1e4, remote - 39.0))
    assert far.log_likelihood == pytest.approx(near.log_likelihood, abs=1e-8)
    assert fit(np.arange(6.0), [1, 99999] * 3, 1, rng=rng()).classes == (1, 99999)


def test_the_summary_says_what_users_read(tmp_path):
    fitted = run(table=Table(classes=[3, 1, 2]))
    text = fitted.summary()
    for part in ("log-likelihood", "AIC", "BIC", "ICL", "shares", "400", "15 parameters", "(intercept)", "observed"):
        assert part in text
    assert fitted.classes == (3, 1, 2) and "classes: 3, 1, 2 (the last is the reference)" in text
    r = fitted.responsibilities(X, Y)
    np.testing.assert_allclose(r.sum(axis=1), 1.0)
    np.testing.assert_allclose(fitted.shares, r.mean(axis=0), atol=1e-12)
    assert (np.diff(fitted.shares) <= 1e-9).all()
    entropy = -(r * np.log(r)).sum()
    assert fitted.icl == pytest.approx(fitted.bic + 2.0 * entropy)
    assert fitted.aic == pytest.approx(-2.0 * fitted.log_likelihood + 30.0)
    for name in ("fit.json", "fit.npz"):
        fitted.save(tmp_path / name)
        again = FittedModel.load(tmp_path / name)
        assert again.summary() == text and again.gate is fitted.gate
        np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
        with pytest.raises(ValueError, match="kind: expected 'observed' for a fit that was loaded"):
            again.coefficients("sandwich")
    content = (tmp_path / "fit.json").read_bytes()
    (tmp_path / "fit.json").write_bytes(content.replace(b"identity", b"Identity"))
    with pytest.raises(ValueError, match="checksum"):
        FittedModel.load(tmp_path / "fit.json")


def test_standard_errors_of_all_kinds_agree_where_the_model_is_true():
    fitted = run(penalty=Ridge())
    tables = [fitted.coefficients(kind) for kind in ("observed", "expected", "sandwich")]
    for table in tables[1:]:
        np.testing.assert_allclose(table.error, tables[0].error, rtol=0.6)
    low, high = tables[0].interval.T
    np.testing.assert_allclose((high - low) / 2.0, 1.959964 * tables[0].error, rtol=1e-6)
    with pytest.raises(ValueError, match="kind: expected one of observed, expected, sandwich"):
        uncertainty(fitted.standard, fitted.result.data, kind="robust")


def test_what_the_data_do_not_identify_has_an_infinite_error_and_is_said():
    x = np.column_stack([X[:, 0], 2.0 * X[:, 0] + 1.0])
    fitted = fit(x, Y == 1, 1, rng=rng(), penalty=Ridge())
    table = fitted.coefficients()
    assert np.isinf(table.error).all() and "not identified: " in str(table)  # the intercept too: 1 is in the span
    ridge = fit(x, Y == 1, 1, rng=rng(), penalty=Ridge(0.1, 0.01)).coefficients()
    assert np.isfinite(ridge.error).all() and "not identified" not in str(ridge)


class Frame:
    """As much of a data frame as the library looks at."""

    def __init__(self, **columns):
        self.data, self.columns = columns, list(columns)
        self.index = np.arange(len(next(iter(columns.values()))))

    def __getitem__(self, name):
        return self.data[name]


def test_the_gate_and_the_experts_may_see_different_columns():
    both = run(table=Table(gate=[0], experts=["x2", -2]))
    assert both.parameters == 2 + 12 and not both.standard.beta1[:, 1].any() and both.standard.b.any()
    assert [t for p, t in zip(*(both.coefficients().columns()[n] for n in ("part", "term")), strict=True)][:3] == [
        "(intercept)", "x1", "(intercept)",
    ]  # fmt: skip
    fewer = fit(X[:, :1], Y, 2, rng=rng(), penalty=Ridge(0.5, 0.01), starts=FEW)
    other = run(table=Table(gate=[0], experts=[0]))
    assert other.log_likelihood == pytest.approx(fewer.log_likelihood, abs=1e-8)
    assert other.parameters == fewer.parameters and other.bic == pytest.approx(fewer.bic, abs=1e-8)
    np.testing.assert_allclose(other.coefficients().error, fewer.coefficients().error, rtol=1e-6)


def test_separation_is_named():
    x = np.linspace(-1.0, 1.0, 40)
    y = np.where(x > 0.1, "up", "down")
    plain, ridge = (fit(x, y, 1, rng=rng(), penalty=p) for p in (Ridge(), Ridge(0.1, 0.01)))
    assert any("separation, expert 1: class 1 is told from 2, completely" in note for note in plain.notes)
    assert any("(class 1 is down, 2 is up)" in note for note in plain.notes)
    assert "give a penalty" in plain.summary() and "only the penalty keeps it finite" in ridge.summary()
    assert ridge.converged and not ridge.result.at_bound
    assert not any("separation" in note for note in UNPENALISED.notes)


def test_a_frame_gives_the_names_and_a_bool_column_is_a_number():
    fitted = run(Frame(age=X[:, 0], smoker=X[:, 1] > 0), np.array(["a", "b", "c"])[Y - 1])
    assert fitted.names == ("age", "smoker") and fitted.classes == ("a", "b", "c")
    assert set(fitted.coefficients().term) == {"(intercept)", "age", "smoker"}
    other = Frame(smoker=X[:, 1] > 0, more=X[:, 0], age=X[:, 0])
    np.testing.assert_array_equal(
        fitted.predict_proba(other), fitted.predict_proba(np.column_stack([X[:, 0], X[:, 1] > 0]))
    )
    with pytest.raises(TypeError, match=r"x\['word'\]: expected numbers or bool"):
        run(Frame(word=np.array(["u", "v"] * 200)), Y)
    with pytest.raises(ValueError, match="x: expected a column 'smoker'"):
        fitted.predict(Frame(age=X[:, 0]))


def test_a_frame_with_two_columns_of_one_name_is_refused():
    """The second of them was read as the first, in the fit and in the prediction, without a word."""
    frame = Frame(age=X[:, 0], dose=X[:, 1])
    fitted = run(frame)
    frame.columns.append("age")
    for call in (run, fitted.predict):
        with pytest.raises(ValueError, match="x: expected columns of different names, got 'age' twice"):
            call(frame)


def test_a_fit_with_a_modified_gate_can_be_pickled_and_copied():
    fitted = run(gate="tanh")
    for again in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        assert str(again) == str(fitted)
        np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
        assert again.coefficients("sandwich").error.tolist() == fitted.coefficients("sandwich").error.tolist()


def test_labels_that_the_fit_does_not_know_are_named():
    for score in (REFERENCE.log_score, REFERENCE.responsibilities):
        with pytest.raises(ValueError, match="y: expected labels among 1, 2, 3, got 7 at index 1"):
            score(X[:2], [1, 7])
        with pytest.raises(ValueError, match="y: expected 3 labels, one for each row of x, got 2"):
            score(X[:3], [1, 2])


def test_missing_labels_are_named():
    for missing in (None, float("nan")):
        y = np.array(["a", "b"] * 200, dtype=object)
        y[3] = missing
        with pytest.raises(TypeError, match=f"y: expected a label in every row, got {missing} at index 3"):
            run(y=y)
    with pytest.raises(TypeError, match="y: expected labels of one type, got labels of types int, str"):
        run(y=np.array(["a", 1] * 200, dtype=object))


def test_a_constant_column_and_a_class_without_rows_are_named_with_or_without_a_penalty():
    x = np.column_stack([X, np.full(400, 7.0)])
    for penalty, says in ((Ridge(0.5, 0.01), "only the penalty"), (Ridge(), "not told from the intercepts")):
        notes = fit(x, Y > 1, 1, rng=rng(), penalty=penalty).notes
        assert [note for note in notes if "column x3 is constant" in note and says in note]
        seen = fit(x, Y > 1, 1, rng=rng(), penalty=penalty, table=Table(gate=[0], experts=[0, 1])).notes
        assert not any("constant" in note for note in seen)
    for penalty, says in ((Ridge(0.5, 0.01), "only the penalty"), (Ridge(), "the maximum is at infinity")):
        notes = fit(X, Y, 1, rng=rng(), penalty=penalty, table=Table(classes=[4, 3, 2, 1])).notes
        assert [note for note in notes if note.startswith("no row of class 4") and says in note]
        assert penalty or not any("only the penalty" in note for note in notes)


def test_of_many_classes_a_note_explains_those_that_it_names():
    labels = np.array([f"label {i:02d}" for i in range(40)])
    fitted = fit(np.arange(40.0), labels, 1, rng=rng())
    (note,) = (note for note in fitted.notes if note.startswith("separation"))
    named = [int(word) for word in re.findall(r"class (\d+) is told from (\d+)", note)[0]]
    key = ", ".join(f"{s} is {labels[s - 1]}" for s in sorted(named))
    assert f"(class {key})" in note and len(note) < 200


def test_one_expert_needs_one_start():
    assert "starts: one is enough, the problem is concave" in run(k=1).summary()


def test_select_k_never_loses_without_a_penalty_and_tables_say_so():
    found = select_k(X, Y, range(1, 4), rng=rng(), penalty=Ridge(), starts=FEW)
    heights = [found[k].log_likelihood for k in (1, 2, 3)]
    assert (np.diff(heights) >= -1e-9).all() and found.best("bic").k == 2
    header, *lines, lowest = str(found).splitlines()
    assert header.split("  ")[0] == "k" and len(header.replace("log-", "").split()) == 6 and len(lines) == 3
    assert lowest.startswith("lowest:") and found.columns()["k"] == [1, 2, 3] and len(found.columns()) == 8
    with pytest.raises(ValueError, match="criterion"):
        found.best("r2")


def test_indistinct_experts_are_merged_and_named():
    fitted = fit(X, Y, 3, rng=rng(), penalty=Ridge(0.5, 0.01), starts=FEW)
    merged = merge_indistinct(fitted, z=1.2)
    assert merged.k <= fitted.k and merge_indistinct(merged, z=1.2).k == merged.k
    constant = fit(X, np.random.default_rng(0).integers(2, size=400), 1, rng=rng(), penalty=Ridge())
    found = diagnose(constant, z=3.0)
    assert [f.page for f in found] == ["regime2"] and "expert 1 is constant" in str(found[0])
    assert (Path(__file__).parents[2] / "book" / f"{found[0].page}.ipynb").exists()
    assert diagnose(UNPENALISED) == []


def test_all_starts_are_run_on_unless_the_points_are_many(monkeypatch):
    few = Starts(random=6, partitions=6, splits=2, perturbations=1, short=2)
    assert Starts.of(10).long is None and Starts.of(3).random == 2

    def long_runs():
        runs = fit(X, Y, 2, rng=rng(), penalty=Ridge(0.5, 0.01), starts=few).runs
        return sum(np.isfinite(run.long) for run in runs if run.origin != "perturbation")

    assert long_runs() == 20  # the random ones without EM too
    monkeypatch.setattr("logitmoe.fitting.SCREEN", 100)
    assert long_runs() == 8


def test_points_are_not_compressed_where_one_outlier_stretches_the_domain(monkeypatch):
    compressed = []
    monkeypatch.setattr("logitmoe.fitting.SCREEN", 100)
    monkeypatch.setattr("logitmoe.fitting.MANY_MOMENTS", 3000)
    monkeypatch.setattr("logitmoe.fitting.compress", lambda *a, **b: compressed.append(1) or compress(*a, **b))
    for z in (X[:, 0], np.append(X[1:, 0], 1e5)):
        fitted = fit(z, Y, 2, rng=rng(), starts=FEW)
        assert fitted.converged and len(compressed) == 1


def test_progress_is_silent_unless_asked_for(caplog, capsys):
    run()
    assert not caplog.records and capsys.readouterr() == ("", "")
    with caplog.at_level("INFO", logger="logitmoe"):
        run()
    words = " ".join(record.getMessage() for record in caplog.records)
    assert "k = 2: 8 short runs" in words and "4 long runs" in words and f"{REFERENCE.objective:.3f}" in words


def test_wrong_tables_are_named():
    with pytest.raises(ValueError, match="y: expected labels of classes, got 0.5"):
        run(X, X[:, 0] * 0 + 0.5)
    with pytest.raises(ValueError, match="y: expected at least 2 classes, got one class"):
        run(X, np.ones(400))
    with pytest.raises(ValueError, match="classes: expected every label of y, each once, got 3 in y"):
        run(table=Table(classes=[1, 2]))
    with pytest.raises(ValueError, match="weights: expected numbers >= 0"):
        run(table=Table(weights=np.full(400, -1.0)))
    with pytest.raises(ValueError, match="gate: expected names among x1, x2"):
        run(table=Table(gate=["age"]))
    for stray in ("x1", 0):
        with pytest.raises(TypeError, match=f"gate: expected a list of columns, got {stray!r}"):
            run(table=Table(gate=stray))
    frame = Frame(age=X[:, 0])
    frame.columns.clear()
    for empty in (np.empty((400, 0)), frame):
        with pytest.raises(ValueError, match="x: expected at least one covariate"):
            run(empty, Y)
    with pytest.raises(TypeError, match="rng: expected a numpy.random.Generator"):
        fit(X, Y, 2, rng=1)
    with pytest.raises(TypeError, match="penalty: expected a Ridge"):
        fit(X, Y, 2, rng=rng(), penalty=0.1)
