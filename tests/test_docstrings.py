"""Docstrings: their examples run, and every public object says what it takes, gives and raises."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import logitmoe
import replication

MODULES = sorted(
    m.name
    for package in (logitmoe, replication)
    for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not m.name.rsplit(".", 1)[1].startswith("_")
)
PUBLIC = [
    name
    for name in logitmoe.__all__
    if inspect.isclass(getattr(logitmoe, name)) or inspect.isfunction(getattr(logitmoe, name))
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module):
    if module == "logitmoe.classifier":
        pytest.importorskip("sklearn")
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_there_are_examples():
    modules = [m for m in MODULES if m != "logitmoe.classifier"]
    count = sum(doctest.testmod(importlib.import_module(m)).attempted for m in modules)
    assert count >= 4


@pytest.mark.parametrize("name", PUBLIC)
def test_public_objects_document_their_parameters(name):
    value = getattr(logitmoe, name)
    text = inspect.getdoc(value)
    assert text and len(text.splitlines()[0]) > 15
    if inspect.isclass(value):
        assert "Parameters\n---" in text or "Attributes\n---" in text
        return
    assert "Returns\n---" in text or "Yields\n---" in text or "result as for" in text
    if re.search(r"(as for|As in|those of)\s+(:func:)?`", text):  # another function's, which the text names
        return
    for parameter in inspect.signature(value).parameters:
        assert parameter in text, f"{name}: the docstring does not mention {parameter}"


@pytest.mark.parametrize("package", ["matplotlib", "mpmath", "sympy", "tqdm", "sklearn", "pandas"])
def test_the_library_itself_needs_numpy_and_scipy_alone(package):
    # What a function imports only when it runs: tests/test_architecture.py reads the code for that.
    code = f"import sys, logitmoe; sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_exported_name_exists_once():
    assert len(set(logitmoe.__all__)) == len(logitmoe.__all__)
    assert all(hasattr(logitmoe, name) for name in logitmoe.__all__)


def test_the_code_in_the_readme_runs(capsys):
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "2 classes" in capsys.readouterr().out


def test_the_readme_lists_every_module():
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in MODULES if f"`{name.rsplit('.', 1)[1]}`" not in text and ".chapters" not in name] == []
