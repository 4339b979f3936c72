"""The scale of a run, and that a scaled run decides nothing."""

import pytest

from replication.scale import is_full, run_scale
from replication.verdicts import HOLDS, MIME, Verdict

VERDICT = Verdict(items=("Theorem 3.1",), claim="c.", verdict=HOLDS, finding="It holds.", evidence="e.")


def test_the_scale_comes_from_the_argument_the_environment_or_is_one(monkeypatch):
    monkeypatch.delenv("SCALE", raising=False)
    assert run_scale() == 1.0 and is_full()
    monkeypatch.setenv("SCALE", "0.25")
    assert run_scale() == 0.25 and not is_full()
    assert run_scale(0.1) == 0.1 == run_scale(), "what a cell sets holds for the rest of the run"


@pytest.mark.parametrize("value", ["", "x", "nan", "inf", "0", "-1", "2", [1, 2]])
def test_a_scale_that_is_none_is_named(monkeypatch, value):
    monkeypatch.setenv("SCALE", "1")
    with pytest.raises(ValueError, match=r"SCALE: expected a number in \(0, 1\], got"):
        run_scale(value)


def test_a_scaled_run_shows_and_stores_no_verdict(monkeypatch):
    monkeypatch.setenv("SCALE", "1")
    full = VERDICT._repr_mimebundle_()
    assert MIME in full and "holds" in full["text/markdown"]
    monkeypatch.setenv("SCALE", "0.1")
    scaled = VERDICT._repr_mimebundle_()
    assert list(scaled) == ["text/plain"] and "holds" not in scaled["text/plain"] and "0.1" in scaled["text/plain"]
