"""The built pages, which the browser tests open, and what to do where there is no browser."""

import os
from pathlib import Path

import pytest

HTML = Path(__file__).resolve().parents[2] / "_build" / "html"
#: Every page, as its path below HTML.
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts)


def unavailable(reason):
    """Skip, or fail where the tests must not be skipped."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{reason} (a failure because CI is set)")
    pytest.skip(reason)
