"""The tools: mutations that apply, kernels that can be told apart, time limits that end what hangs."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


mutate, kernels = tool("mutate"), tool("kernels")


@pytest.mark.parametrize("mutation", mutate.MUTATIONS, ids=lambda m: m.name)
def test_a_mutation_applies_and_its_tests_are_there(mutation):
    assert mutate.mutated(mutation, ROOT) != (ROOT / mutation.file).read_text("utf-8")
    assert all((ROOT / word).is_file() for word in mutation.tests.split() if word.endswith(".py"))


def test_there_are_many_mutations_of_every_module():
    files = {m.file for m in mutate.MUTATIONS}
    assert len(mutate.MUTATIONS) == len({m.name for m in mutate.MUTATIONS}) >= 40
    estimator = {f"lib/logitmoe/{p.name}" for p in (ROOT / "lib/logitmoe").glob("*.py")}
    assert estimator - files == {"lib/logitmoe/__init__.py"}


def test_a_change_is_caught_or_survives_in_a_copy(tmp_path):
    (tmp_path / "code.py").write_text("VALUE = 1\n")
    (tmp_path / "test_code.py").write_text("from code_of import VALUE\n\n\ndef test_it():\n    assert VALUE == 1\n")
    (tmp_path / "code_of.py").write_text("VALUE = 1\nOTHER = 2\n")
    seen = mutate.Mutation("seen", "code_of.py", "VALUE = 1", "VALUE = 3", "test_code.py")
    assert mutate.caught_by(seen, tmp_path) == "test_code.py::test_it"
    unseen = mutate.Mutation("unseen", "code_of.py", "OTHER = 2", "OTHER = 3", "test_code.py")
    assert mutate.caught_by(unseen, tmp_path) is None
    assert (tmp_path / "code_of.py").read_text() == "VALUE = 1\nOTHER = 2\n"
    with pytest.raises(ValueError, match="twice: expected its text once in code_of.py, got it 2 times"):
        mutate.mutated(mutate.Mutation("twice", "code_of.py", " = ", " == ", ""), tmp_path)


def test_kernels_are_taken_and_what_a_processor_cannot_do_is_not_run(monkeypatch):
    assert kernels.available("Nehalem") and kernels.available("Prescott")
    monkeypatch.setitem(kernels.KERNELS, "Unknown", "")
    with pytest.raises(RuntimeError, match="did not take the kernel Unknown"):
        kernels.available("Unknown")


def test_the_workflows_call_what_is_defined_elsewhere():
    flows = {name: yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text()) for name in ("ci", "weekly")}
    assert set(flows["ci"][True]) == {"push", "pull_request"}  # YAML reads "on" as true
    steps = flows["ci"]["jobs"]["book"]["steps"]
    run = steps.index({"run": ".ci/run"})
    printed, *rest = steps[run + 1 :]
    assert printed["run"].startswith("make pdf && cp _build/pdf/*.pdf _build/html/")
    assert all("uses" in step for step in rest)  # the pages that it has built are published, and the PDFs beside them
    assert [step["with"]["path"] for step in rest] == ["_build/html", "_build/html/_sources/book/*.ipynb"]
    assert not any("make" in str(step) for step in [*steps[:run], *rest])
    branch = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["branch"]
    assert flows["ci"][True]["push"] == {"branches-ignore": [branch]}
    assert flows["ci"]["jobs"]["notebooks"]["steps"][-1]["run"].endswith(f"HEAD:refs/heads/{branch}\n")
    assert not any("make book" in str(step) or "jupyter-book" in str(step) for step in steps)
    assert flows["weekly"]["jobs"]["weekly"]["steps"][-1] == {"run": "${{ matrix.command }}"}
    *targets, everything = flows["weekly"]["jobs"]["weekly"]["strategy"]["matrix"]["command"]
    assert targets == ["make kernels", "make mutations"] and everything == "AXE=all NOTEBOOKS=all .ci/run"
    assert all(f"\n{target.split()[1]}: " in (ROOT / "Makefile").read_text() for target in targets)


def test_what_hangs_is_ended_and_a_chapter_has_more_time(tmp_path):
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntimeout = 3\n")
    (tmp_path / "test_it.py").write_text("import time\n\n\ndef test_it():\n    time.sleep(60)\n")
    cell = {"cell_type": "code", "metadata": {}, "execution_count": 1, "outputs": []}
    cell["source"] = "import time; time.sleep(4)"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}
    (tmp_path / "chapter.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--nbval", "chapter.ipynb"]
    command.append("test_it.py")
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert "PASSED chapter.ipynb::Cell 0" in done.stdout
    assert "FAILED test_it.py::test_it" in done.stdout and "Timeout" in done.stdout
