"""Running chapters again: at a smaller scale nothing is stored, and a scaled book does not pass for the book."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def execute(monkeypatch):
    """Run tools/execute.py on no real chapter, with SCALE as given: what it exits with."""

    def run(scale, path):
        monkeypatch.setenv("SCALE", scale)
        command = [sys.executable, str(ROOT / "tools" / "execute.py"), str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    return run


def test_outputs_are_stored_at_the_full_scale_only(execute, tmp_path):
    path = tmp_path / "chapter.ipynb"
    path.write_text("not a notebook", "utf-8")
    refused = execute("0.1", path)
    assert refused.returncode != 0 and "SCALE is 0.1" in refused.stderr
    assert path.read_text("utf-8") == "not a notebook"
    assert "SCALE is" not in execute("1", path).stderr, "at full scale it goes on, and fails at the file"


def make(*arguments):
    command = ["make", "-n", "-W", "requirements.txt", *arguments]
    own = {name: value for name, value in os.environ.items() if name != "SCALE"}  # other tests leave one behind
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_scaled_book_has_a_stamp_of_its_own():
    stamps = [re.findall(r"touch (_build/\S+)", make("book", *scale)) for scale in ((), ("SCALE=0.1",))]
    assert stamps == [["_build/.built"], ["_build/.built-0.1"]]


def test_the_laboratory_installs_before_it_opens():
    commands = make("lab")
    installed = commands.index("-r requirements-lab.txt -c constraints.txt")
    assert installed < commands.index("jupyter lab --notebook-dir=book")
    pins = re.findall(r"^[^#\s].*", (ROOT / "requirements-lab.txt").read_text("utf-8"), re.MULTILINE)
    assert pins and all(re.fullmatch(r"[a-z-]+==[\d.]+", pin) for pin in pins)
