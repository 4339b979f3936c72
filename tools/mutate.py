"""Change the code in many ways, one at a time, and see which test fails: a change that none sees is a test to write.

Every mutation replaces a text that occurs once in one file, in a copy of the project, and runs the tests that should
see it.  What is printed is the first test that failed; the exit status is 1 if a mutation survived.

    python tools/mutate.py            all of them
    python tools/mutate.py em gate    those with one of these words in their name
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Seconds for the tests of one mutation; a change that makes them hang counts as caught.
LIMIT = 1200
LOGIT, REPL, CHAPTERS = "lib/logitmoe/", "lib/replication/", "lib/replication/chapters/"
T, R, C = "tests/logitmoe/test_", "tests/replication/test_", "tests/replication/chapters/test_"


@dataclass(frozen=True)
class Mutation:
    """A text of one file, the text that replaces it, and the arguments of pytest for the tests that should see it."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = tuple(
    Mutation(*row)
    for row in (
        # The estimator
        ("checks: masked entries", LOGIT + "checks.py", "np.ma.is_masked(value)", "False", T + "faults.py -k masked"),
        ("checks: labels unseen", LOGIT + "checks.py", "2 * seen.size < largest", "False", T + "faults.py -k half"),
        (
            "checks: infinite",
            LOGIT + "checks.py",
            "not np.isfinite(array).all()",
            "np.isnan(array).any()",
            T + "measure.py -k finite",
        ),
        ("data: one class", LOGIT + "data.py", "if K < 2:", "if K < 1:", T + "data.py"),
        ("data: labels shifted", LOGIT + "data.py", "np.arange(1, K + 1)", "np.arange(K)", T + "data.py"),
        (
            "measure: gauge",
            LOGIT + "measure.py",
            "beta1=self.beta1 - self.beta1[..., -1:, :])",
            "beta1=self.beta1)",
            T + "measure.py -k gauge",
        ),
        (
            "measure: rescale",
            LOGIT + "measure.py",
            "self.a - b @ shift",
            "self.a + b @ shift",
            T + "measure.py -k rescal",
        ),
        (
            "measure: box of one side",
            LOGIT + "measure.py",
            "yield np.abs(array)",
            "yield array",
            T + "measure.py -k theta",
        ),
        ("gates: pole", LOGIT + "gates.py", "pole=pi / 2", "pole=pi", T + "gates.py -k pole"),
        (
            "gates: cosine",
            LOGIT + "gates.py",
            'cos = Gate("cos", lambda f, x: f.cos',
            'cos = Gate("cos", lambda f, x: f.sin',
            T + "gates.py",
        ),
        (
            "model: posterior",
            LOGIT + "model.py",
            "log_softmax(joint, axis=-3)",
            "log_softmax(joint, axis=-2)",
            T + "model.py -k loop",
        ),
        (
            "model: inversion",
            LOGIT + "model.py",
            "labels += threshold >= cumulative",
            "labels += threshold <= cumulative",
            T + "model.py -k frequencies",
        ),
        (
            "model: one stream for covariates and classes",
            LOGIT + "model.py",
            "_sample_classes(G, x, y_rng, gate)",
            "_sample_classes(G, x, x_rng, gate)",
            T + "model.py -k 'independent or chunks'",
        ),
        (
            "losses: power of shared cells",
            LOGIT + "losses.py",
            "pairs.mass * (slope**pairs.r",
            "pairs.mass * (slope",
            T + "losses.py -k by_hand",
        ),
        (
            "losses: mass of a cell",
            LOGIT + "losses.py",
            "scale * masses - pairs.mass_true",
            "masses - pairs.mass_true",
            T + "losses.py -k infimum_equals",
        ),
        (
            "divergences: Hellinger",
            LOGIT + "divergences.py",
            "np.sqrt(0.5 * (difference",
            "np.sqrt((difference",
            T + "losses.py -k closed_form",
        ),
        (
            "information: score of b",
            LOGIT + "information.py",
            "np.eye(G.K)[:, : G.K - 1, None] - f",
            "np.eye(G.K)[:, : G.K - 1, None] + f",
            T + "information.py -k 'complex_step or density_times'",
        ),
        (
            "multinomial: halving",
            LOGIT + "multinomial.py",
            "index = index[~(gain >= 0.0)]",
            "index = index[:0]",
            T + "multinomial.py -k halved",
        ),
        (
            "multinomial: Hessian",
            LOGIT + "multinomial.py",
            "np.subtract(expected[c], weight, out=weight)",
            "np.add(expected[c], weight, out=weight)",
            T + "multinomial.py " + T + "em.py -x",
        ),
        (
            "multinomial: face of the box",
            LOGIT + "multinomial.py",
            "(gradient * coefficients[:free] > 0)",
            "(gradient * coefficients[:free] < 0)",
            T + "multinomial.py -k 'face or wrong'",
        ),
        (
            "em: at_bound of one expert",
            LOGIT + "em_algorithm.py",
            "& (self.radii > 0.0)).any(axis=-1)",
            "& (self.radii > 0.0))[:, :6].any(axis=-1)",
            T + "batches.py -k bound",
        ),
        (
            "em: stuck is convergence",
            LOGIT + "em_algorithm.py",
            "failed & (stuck | met)",
            "failed & False",
            T + "multinomial.py -k fails",
        ),
        (
            "em: posterior weights",
            LOGIT + "em_algorithm.py",
            "joint *= (weights / density)[:, None]",
            "joint *= weights[:, None]",
            T + "em.py -k 'never or limit' -x",
        ),
        (
            "squarem: alpha",
            LOGIT + "squarem.py",
            "origin + 2.0 * length",
            "origin + 1.0 * length",
            T + "squarem.py -k published",
        ),
        (
            "squarem: a cycle's end",
            LOGIT + "squarem.py",
            "np.abs(self.first[cycle] - origin)).max",
            "0.0).max",
            T + "squarem.py -k returns",
        ),
        (
            "newton: convergence without a full step",
            LOGIT + "newton.py",
            "done = full & (predicted <= self.tol)",
            "done = predicted <= self.tol",
            T + "batches.py -k radius",
        ),
        (
            "newton: bend",
            LOGIT + "newton.py",
            "self.likelihood.bend(gradient, hessian)\n        self",
            "self",
            T + "newton.py -k 'certificate or general'",
        ),
        (
            "newton: release",
            LOGIT + "newton.py",
            "self.held[index] & (gradient * self.v[index] < 0.0)",
            "self.held[index] & (gradient * self.v[index] > 0.0)",
            T + "newton.py -k 'comes_back or every_random'",
        ),
        (
            "newton: cancellation",
            LOGIT + "newton.py",
            "np.log1p(np.maximum(u, -0.5))",
            "np.log(np.maximum(1 + u, 0.5))",
            T + "newton.py -k precise",
        ),
        (
            "second_order: a block of the Hessian",
            LOGIT + "second_order.py",
            "-= slope[own : own + T]",
            "+= slope[own : own + T]",
            T + "newton.py -k the_hessian",
        ),
        (
            "results: best of starts",
            LOGIT + "results.py",
            "winner = np.expand_dims(height.argmax(axis=axis), axis)",
            "winner = np.expand_dims(height.argmin(axis=axis), axis)",
            T + "newton.py -k best_keeps",
        ),
        (
            "results: sample of a fit in a batch",
            LOGIT + "results.py",
            "reshape(data.batch_shape), shape)",
            "reshape(data.batch_shape) * 0, shape)",
            T + "batches.py -k own_sample",
        ),
        (
            "compression: nodes again, on another sample",
            LOGIT + "compression.py",
            "sample_positions(self, shape)[poor]",
            "np.sort(sample_positions(self, shape)[poor])[::-1]",
            T + "batches.py -k own_sample",
        ),
        (
            "compression: product rule",
            LOGIT + "compression.py",
            "2.0 * sums[:, j, 1:] - moments",
            "2.0 * sums[:, j, 1:] + moments",
            T + "data.py",
        ),
        (
            "chebyshev: order",
            LOGIT + "chebyshev.py",
            "scale > 0.0) & np.isfinite(scale)",
            "scale > 0.0)",
            T + "data.py",
        ),
        (
            "penalty: centred",
            LOGIT + "penalty.py",
            "coefficients - coefficients.mean(axis=axis, keepdims=True)",
            "coefficients",
            T + "penalty.py -k value",
        ),
        ("penalty: box", LOGIT + "penalty.py", "(2.2 * sqrt(", "(0.22 * sqrt(", T + "penalty.py -k 'box or inside'"),
        (
            "separation: complete",
            LOGIT + "separation.py",
            "bool(strict.any() and least.min() > MARGIN)",
            "True",
            T + "separation.py -k quasi",
        ),
        (
            "tables: units",
            LOGIT + "tables.py",
            "return MixingMeasure(G.beta0 - beta1 @ self.gate_shift, beta1, ",
            "return MixingMeasure(G.beta0, beta1, ",
            T + "fitting.py -k units",
        ),
        (
            "inference: ICL",
            LOGIT + "inference.py",
            "bic + 2.0 * entropy",
            "bic - 2.0 * entropy",
            T + "fitting.py -k summary",
        ),
        (
            "fitting: box of columns",
            LOGIT + "fitting.py",
            "theta.beta1 * gate_seen",
            "theta.beta1",
            T + "fitting.py -k different_columns",
        ),
        (
            "fitted: which classes",
            LOGIT + "fitted.py",
            "{s} is {self.classes[s - 1]}",
            "{s - 1} is {self.classes[s - 1]}",
            T + "fitting.py -k separation",
        ),
        (
            "selection: criterion",
            LOGIT + "selection.py",
            "return min(self.fits.values()",
            "return max(self.fits.values()",
            T + "fitting.py -k select",
        ),
        (
            "classifier: order of the classes",
            LOGIT + "classifier.py",
            "self.classes_[self.predict_proba(X).argmax",
            "self.classes_[self.predict_proba(X).argmin",
            T + "classifier.py -k frames",
        ),
        (
            "files: replaced at once",
            LOGIT + "files.py",
            "def replace_file(path, content):",
            "def replace_file(path, content):\n    return Path(path).write_bytes(content)\n\n\n"
            "def _other(path, content):",
            T + "files.py",
        ),
        # The replication
        (
            "starts: an empty cell",
            REPL + "starts.py",
            ".any(axis=1).all(axis=-1)",
            ".any(axis=1).any(axis=-1)",
            T + "em.py -k random_cells",
        ),
        (
            "starts: split masses",
            REPL + "starts.py",
            "(cells[..., :, None] == cells[..., None, :])",
            "(cells[..., :, None] >= cells[..., None, :])",
            T + "em.py -k near_truth",
        ),
        (
            "panels: sample and start share a stream",
            REPL + "panels.py",
            "spawn_key=(n, replication, kind)",
            "spawn_key=(n, replication)",
            R + "panels.py -k streams",
        ),
        (
            "panels: every sample the same",
            REPL + "panels.py",
            "SeedSequence(self.seed, spawn_key=(n, ",
            "SeedSequence(self.seed, spawn_key=(0, ",
            R + "panels.py -k differ",
        ),
        (
            "runner: starts of another stream",
            REPL + "runner.py",
            "rng = panels[0].stream(*unit, START + number)",
            "rng = panels[0].stream(unit[0], 0, START + number)",
            R + "panels.py -k near_truth",
        ),
        (
            "lines: weights of the slope",
            REPL + "lines.py",
            "log_n / (log_n**2).sum()",
            "log_n / log_n.sum()",
            R + "lines.py",
        ),
        (
            "arithmetic: normalisation",
            REPL + "arithmetic.py",
            "joint.sum(-1, keepdims=True)",
            "joint.sum(-2, keepdims=True)",
            R + "arithmetic.py",
        ),
        (
            "taylor: patterns",
            REPL + "taylor.py",
            "if sum(p) <= k - k_true]",
            "if sum(p) < k - k_true]",
            R + "taylor.py",
        ),
        (
            "certified: rounding",
            REPL + "certified.py",
            "return max(value.a, -value.b)",
            "return max(value.b, -value.a)",
            R + "certified.py",
        ),
        (
            "convergence: the pair of rates",
            REPL + "convergence.py",
            "[..., ::-1] ** 2",
            "[..., ::-1]",
            R + "convergence.py",
        ),
        (
            "samples: noise of counts",
            REPL + "samples.py",
            "streams = rng.spawn(len(sizes))",
            "streams = [rng] * len(sizes)",
            R + "samples.py -k determined",
        ),
        (
            "show: class of the experts",
            REPL + "show.py",
            "np.exp(expert_log_probabilities(G, x))[:, s - 1]",
            "np.exp(expert_log_probabilities(G, x))[:, -s]",
            R + "show.py",
        ),
        (
            "show: names of the classes swapped",
            REPL + "show.py",
            'label=f"given $Y = {s}$"',
            'label=f"given $Y = {3 - s}$"',
            R + "show.py",
        ),
        (
            "show: sign of a slope",
            REPL + "show.py",
            'label=f"slope {slope:g}"',
            'label=f"slope {-slope:g}"',
            R + "show.py",
        ),
        (
            "show: name of an axis",
            REPL + "show.py",
            'f"frequency of class {s}"',
            'f"frequency of class {3 - s}"',
            R + "show.py",
        ),
        (
            "verdicts: anchor",
            REPL + "verdicts.py",
            'return "verdict-" + re',
            'return "verdicts-" + re',
            R + "verdicts.py",
        ),
        (
            "paper: a true parameter",
            REPL + "paper.py",
            "np.linspace(low, high, count)",
            "np.linspace(low, high, count + 1)",
            R + "panels.py -k sizes_and_settings",
        ),
        # The book
        (
            "book: warnings pass",
            "Makefile",
            "--all -W -n --keep-going",
            "--all",
            "tests/book/test_build.py -k settings",
        ),
        (
            "book: chapters that fail pass",
            "_config.yml",
            "stderr_output: ",
            "stderr_outputs: ",
            "tests/book/test_build.py",
        ),
        (
            "book: a link that leads nowhere",
            "book/voronoi.ipynb",
            "fig-voronoi-infimum`",
            "fig-voronoi-minimum`",
            "tests/book/test_structure.py",
        ),
    )
)


def mutated(mutation: Mutation, root: Path) -> str:
    """The text of the file with the change; a ValueError unless the text to replace is there, once."""
    text = (root / mutation.file).read_text("utf-8")
    if text.count(mutation.old) != 1 or mutation.old == mutation.new:
        count = text.count(mutation.old)
        raise ValueError(
            f"{mutation.name}: expected its text once in {mutation.file}, got it {count} times; mend the list"
        )
    return text.replace(mutation.old, mutation.new)


def caught_by(mutation: Mutation, copy: Path) -> str | None:
    """The test that fails with the change, or None."""
    file, text = copy / mutation.file, (copy / mutation.file).read_text("utf-8")
    file.write_text(mutated(mutation, copy), "utf-8")
    words = [a or b for a, b in re.findall(r"'([^']*)'|(\S+)", mutation.tests)]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider", *words]
    env = {**os.environ, "PYTHONPATH": str(copy / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return "the time limit"
    finally:
        file.write_text(text, "utf-8")
    if done.returncode in (0, 5):  # 5: no test was run
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode != 1 or not found:
        raise RuntimeError(f"{mutation.name}: pytest did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return found[1]


def main(words: list[str]) -> int:
    chosen = [m for m in MUTATIONS if not words or any(word in m.name for word in words)]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        ignore = shutil.ignore_patterns(
            ".git", ".venv*", "_build", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info"
        )
        shutil.copytree(ROOT, copy, ignore=ignore)
        for mutation in chosen:
            test = caught_by(mutation, copy)
            survivors += [mutation.name] if test is None else []
            print(f"{mutation.name}: {test or 'SURVIVED'}", flush=True)
    print(
        f"{len(chosen) - len(survivors)} of {len(chosen)} caught"
        + f"; survived: {', '.join(survivors)}" * bool(survivors)
    )
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
