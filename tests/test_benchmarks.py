"""The benchmark of maximum likelihood: its pieces, a small run, and flexmix's record.  No times."""

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import logitmoe as lm
from logitmoe.model import expert_log_probabilities, gate_log_probabilities
from replication.paper import TABLE_2

FOLDER = Path(__file__).parents[1] / "benchmarks"


def loaded(name):
    """A file of benchmarks/ as a module; the process's environment and path are put back."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.setenv(variable, "1")
        patch.setattr(sys, "path", list(sys.path))
        label = f"benchmark_of_{Path(name).name}"
        spec = importlib.util.spec_from_file_location(label, FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module
        for imported in ("sample", "ours"):
            sys.modules.pop(imported, None)


def fixture_of(name):
    """A fixture: that file, loaded once for all tests of this module."""
    return pytest.fixture(scope="module")(lambda: (yield from loaded(name)))


benchmark, coverage, other_seeds = fixture_of("mle"), fixture_of("coverage"), fixture_of("other_seeds")
peers = fixture_of("real/peers")


@pytest.fixture(scope="module")
def raw(benchmark):
    x, y = benchmark.drawn.draw()
    return lm.WeightedPoints.from_labels(x, y, 2)


def test_the_sample_is_that_of_the_record(benchmark):
    assert benchmark.drawn.digest(*benchmark.drawn.draw()) == benchmark.drawn.DIGEST


def test_the_sample_is_of_table_2(benchmark, raw):
    # The residuals are uncorrelated with functions of x, within four standard errors.
    x, y = raw.points[:, 0], np.where(raw.weights[0] > 0, 1, 2)
    G = TABLE_2
    gate = np.exp(gate_log_probabilities(G, raw.points))[0]
    expert = np.exp(expert_log_probabilities(G, raw.points))[:, 0]
    mean = gate * expert[0] + (1 - gate) * expert[1]
    residual = (y == 1) - mean
    for direction in (np.ones_like(x), x, x**2, x**3):
        spread = np.sqrt((direction**2 * mean * (1 - mean)).sum())
        assert abs((residual * direction).sum()) < 4 * spread
    assert benchmark.drawn.N == len(x) == 100_000


def test_the_start_is_inside_theta_and_first(benchmark):
    starts = benchmark.all_starts(5)
    assert starts.batch_shape == (5,) and benchmark.THETA.contains(starts).all()
    np.testing.assert_array_equal(benchmark.vector(starts[0]), benchmark.vector(benchmark.first_start()))
    longer = benchmark.all_starts(4)
    np.testing.assert_array_equal(starts.beta0[:4], longer.beta0)
    # The start's numbers, moved to the gauge with a zero last gate, have the density of those that flexmix had.
    S = {name: np.array(value) for name, value in benchmark.drawn.START.items()}
    zero = np.zeros(3)
    as_given = lm.MixingMeasure(
        S["beta0"], S["beta1"][:, None], np.stack([S["a"], zero], -1), np.stack([S["b"], zero], -1)[..., None]
    )
    x = np.linspace(0, 1, 7)[:, None]
    np.testing.assert_allclose(lm.density(starts[0], x), lm.density(as_given, x), rtol=1e-13)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_competitors_likelihood_and_gradient(benchmark, compressed):
    x, y = benchmark.drawn.draw(500)
    data = lm.WeightedPoints.from_labels(x, y, 2)
    objective = benchmark.MinusLogLikelihood(x, np.where(y == 1, 1.0, -1.0))
    if compressed:
        data = lm.compress(x, y, 2, p=24).points()
        objective = benchmark.MinusLogLikelihood.of(data)
    for start in (benchmark.all_starts(4)[i] for i in range(4)):
        v = benchmark.vector(start)
        value, gradient = objective(v)
        assert -value == pytest.approx(float(lm.log_likelihood(start, data)), rel=1e-12)
        steps = 1e-5 * np.eye(v.size)
        slopes = [(objective(v + step)[0] - objective(v - step)[0]) / 2e-5 for step in steps]
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-6)


def test_a_small_run(benchmark):
    maximum, polished, runs = benchmark.compare(n=2_000, size=4, block=2, repeats=1, raw_em=3, compressed_em=3)
    names = [run.method for run in runs]
    newton = runs[0]
    assert "mle" in names[0] and len(names) == len(set(names)) == 6
    values = np.array([run.log_likelihood for run in runs])
    assert values.max() <= maximum + 1e-9
    assert all(0 < run.told and 0 < run.everything for run in runs)
    assert bool(polished.converged)
    x, y = benchmark.drawn.draw(2_000)
    data = lm.WeightedPoints.from_labels(x, y, 2)
    assert newton.log_likelihood >= float(lm.log_likelihood(TABLE_2, data))  # of more atoms than the truth
    # Three iterations of EM do not arrive: the benchmark can tell who does not.
    em = [run for run in runs if run.method.startswith("EM")]
    assert all(maximum - run.log_likelihood > benchmark.NEAR for run in em)
    # A method that is told the target and stops early stops at the target.
    start = benchmark.vector(benchmark.all_starts(1)[0])
    objective = benchmark.MinusLogLikelihood(x, np.where(y == 1, 1.0, -1.0))
    halfway = float(em[0].log_likelihood)
    value, v = benchmark.lbfgsb(objective, start, halfway - 1.0)
    assert halfway - 1.0 <= value < maximum
    assert -objective(v)[0] == value


def test_flexmix_is_not_above_the_maximum(benchmark, raw):
    rows = benchmark.flexmix_record()
    iterations = [int(row["iteration"]) for row in rows]
    values = np.array([float(row["log_likelihood"]) for row in rows])
    assert iterations[0] == 1 and iterations[-1] == 2_000 and iterations == sorted(set(iterations))
    assert (np.diff([float(row["cpu_s"]) for row in rows]) > 0).all()

    # It is the same sample and the same start: the first iteration of the library's EM comes to the same value.
    once = lm.StoppingRule("absolute", 0.0, 1)
    first = lm.em(raw, benchmark.first_start(), theta=benchmark.THETA, stopping=once).log_likelihood
    assert values[0] == pytest.approx(float(first), rel=1e-8)

    x, y = benchmark.drawn.draw()
    moments = lm.compress(x, y, 2, theta=benchmark.THETA)
    best = lm.mle(moments, benchmark.all_starts(16), theta=benchmark.THETA, max_iter=benchmark.STEPS).best()
    maximum = float(lm.log_likelihood(best.measure, raw))
    assert (values < maximum - benchmark.NEAR).all()
    assert values[-1] > float(lm.log_likelihood(TABLE_2, raw))


@pytest.mark.parametrize("label", ["d = 1, K = 2", "d = 2, K = 3"])
@pytest.mark.parametrize("kind", ["observed", "sandwich"])
def test_standard_errors_are_those_of_repeated_samples(coverage, label, kind):
    G, n, width = coverage.DESIGNS[label]
    rng = np.random.default_rng(3)
    x = rng.uniform(-width, width, (coverage.POINTS, G.d))
    assert coverage.worst_sd(G, x, n) <= coverage.WELL
    estimates, errors, converged = coverage.run(G, x, n, 200, rng, kind)
    assert converged.all()
    z = (estimates - G.to_vector()) / errors
    # The mean square of 200 standard normal numbers is 1, with a standard deviation of 0.1; of all together less.
    assert np.abs(np.square(z).mean(axis=0) - 1.0).max() < 0.4
    assert abs(np.square(z).mean() - 1.0) < 0.1
    assert 0.93 < (np.abs(z) < 1.96).mean() < 0.97


def test_the_faint_gate_is_not_well_conditioned(coverage):
    G, n, width = coverage.DESIGNS["d = 1, K = 2, faint gate"]
    x = np.random.default_rng(3).uniform(-width, width, (coverage.POINTS, 1))
    assert coverage.worst_sd(G, x, n) > 3 * coverage.WELL
    assert coverage.worst_sd(G, x, 100 * n) == pytest.approx(coverage.worst_sd(G, x, n) / 10, rel=1e-9)


def test_a_seed_has_one_row_and_the_chapter_gives_its_values(other_seeds, tmp_path):
    path, row = tmp_path / "seeds.csv", {"seed": 2, "missed": "1 of 9"}
    for new in (row, row | {"seed": 1}, row | {"missed": "0 of 9"}):
        other_seeds.update(path, new)
    assert path.read_text() == "seed,missed\n1,1 of 9\n2,0 of 9\n"


@pytest.mark.parametrize("name", ["asymptotics", "protocol", "simulations"])
def test_the_other_seeds_of_a_chapter_are_recorded(other_seeds, name):
    chapter = (other_seeds.BOOK / f"{name}.ipynb").read_text(encoding="utf-8")
    assert all(f'"{value}\\"' in chapter for value in other_seeds.VALUES[name].values())
    with open(other_seeds.BOOK / "data" / f"other_seeds_{name}.csv", encoding="utf-8") as file:
        recorded = list(csv.DictReader(file))
    assert [r["seed"] for r in recorded] == ["1", "2", "3"]
    verdicts = set(recorded[0]) - {"seed", *other_seeds.VALUES[name]}
    assert verdicts and all(value.startswith(("Figure ", "Table ")) for value in verdicts)


@pytest.mark.parametrize("K", [2, 3])
def test_the_peers_maximise_the_same_function(peers, K):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 3))
    _, y = lm.sample(lm.random_start(2, K, 3, rng), 300, rng, covariates=x)
    data, penalty = lm.WeightedPoints.from_labels(x, y, K), lm.Ridge(1.5)
    pytest.importorskip("sklearn")
    found = peers.logistic(x, y, 1.5, 1e-8)
    best = lm.mle(data, found.canonical(), penalty=penalty, theta=lm.Theta.cube(1000.0))
    value = lm.log_likelihood(found, data) - penalty.value(found)
    assert value == pytest.approx(float(best.objective), abs=1e-6)
    torch = pytest.importorskip("torch")
    penalty, start = lm.Ridge(1.5, 0.1), lm.random_start(2, K, 3, rng, size=2)
    minus = peers.torch_objective(data, 2, penalty)
    for G in (start[0], start[1]):
        value = float(lm.log_likelihood(G, data) - penalty.value(G))
        assert -float(minus(torch.tensor(G.to_vector()))) == pytest.approx(value, rel=1e-12)


def record(name):
    with open(FOLDER / "real" / f"{name}.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_expert_is_mnlogit_where_the_maximum_exists(peers):
    pytest.importorskip("statsmodels")
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 3))
    _, y = lm.sample(lm.random_start(1, 3, 3, rng), 300, rng, covariates=x)
    (row,) = peers.mnlogit_rows("drawn", x, y, None)
    (apart,) = peers.mnlogit_rows("separated", x, np.where(x[:, 0] > 0.0, 1, 2), None)
    rows = [dict(zip(peers.HEADERS["mnlogit"], values, strict=True)) for values in (row, apart)]
    assert rows[0]["parameters"] == 8 and "separation" in rows[1]["fit_says"] and not rows[1]["errors_apart"]
    for row in [rows[0], *(row for row in record("peers_mnlogit") if "separation" not in row["fit_says"])]:
        assert row["fit_says"] == row["mnlogit_says"] == "converged True"
        assert abs(float(row["above_mnlogit"])) < 1e-8
        assert float(row["coefficients_apart"]) < 1e-6 and float(row["errors_apart"]) < 1e-6


def test_the_text_has_the_counts_of_the_records():
    text = (FOLDER / "real" / "README.md").read_text(encoding="utf-8")
    exists = [row["data"] for row in record("peers_mnlogit") if "separation" not in row["fit_says"]]
    assert f"on {len(exists)} of the ten" in text and len(record("peers_mnlogit")) == 10
    seeds = [{(r["k"], r["seed"]): float(r["log_likelihood"]) for r in record(f"{by}seeds")} for by in ("", "flexmix_")]
    assert seeds[0].keys() == seeds[1].keys() and len(seeds[0]) == 40
    ours, theirs = ([[one[k, str(seed)] for seed in range(1, 21)] for k in "23"] for one in map(dict, seeds))
    both = " and ".join(f"{count} of 20" for count in np.greater_equal(ours, theirs).sum(axis=1))
    assert f"in {both} pairs" in text
    for name in ("held_out", "held_out_other_folds"):
        rows = [row for row in record(name) if row["gain"]]
        for k in ("1", "2", "by BIC", "by AIC"):
            gains = [float(row["gain"]) for row in rows if row["k"] == k]
            assert len(gains) == 10
            counts = f"| {sum(g >= 0.0 for g in gains)} of 10 | {sum(gains):.0f} |"
            assert counts in text, f"{name} {k}: {counts}"


def test_the_table_of_held_out_scores_is_that_of_the_records():
    text = (FOLDER / "real" / "README.md").read_text(encoding="utf-8")
    scores = {(r["data"], r["k"], r["penalty"]): float(r["held_out"]) for r in record("held_out")}
    choice = {r["data"]: float(r["held_out"]) for r in record("peers_held_out")}
    flexmix = {}
    for r in record("flexmix_held_out"):
        if r["held_out"] != "NA":
            flexmix[r["data"]] = max(float(r["held_out"]), flexmix.get(r["data"], -np.inf))
    names = list(dict.fromkeys(name for name, *_ in scores))
    base = {name: scores[name, "1", "none"] for name in names}
    for name in names:
        values = [base[name], *(scores[name, k, "default"] for k in ("2", "by BIC", "by AIC"))]
        others = ((choice, "not finished"), (flexmix, "none"))
        words = [f"{v:.1f}" for v in values] + [f"{v[name]:.1f}" if name in v else none for v, none in others]
        assert f"| {name} | {' | '.join(words)} |".replace("-", "−") in text, name
    for k in ("2", "by BIC", "by AIC"):
        ours = {name: scores[name, k, "default"] for name in names}
        above = [{name: ours[name] >= theirs[name] for name in theirs} for theirs in (base, flexmix, choice)]
        all_three = sum(all(each.get(name, True) for each in above) for name in names)
        counts = " | ".join(f"{sum(each.values())} of {len(each)}" for each in above)
        assert f"| {k} | {counts} | {all_three} of 10 |" in text
