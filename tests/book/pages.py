"""The built pages, which the browser tests open."""

from pathlib import Path

HTML = Path(__file__).resolve().parents[2] / "_build" / "html"
#: Every page, as its path below HTML.
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts)
