"""The graph of the paper's statements."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from replication.statements import OWN, STATEMENTS, draw_statements, tabulate
from replication.verdicts import NUMBERED, collect

BOOK = Path(__file__).parents[2] / "book"
FOUND = collect(sorted(BOOK.glob("*.ipynb")))
VERDICTS = {v.title: v for there in FOUND.values() for v in there}
PAGES = {v.title: path.stem for path, there in FOUND.items() for v in there}


def test_every_theorem_proposition_and_lemma_is_there():
    names = [name for name in NUMBERED if name.split()[0] in ("Theorem", "Proposition", "Lemma")]
    assert names and set(names) <= set(STATEMENTS)
    assert all(used in STATEMENTS for s in STATEMENTS.values() for used in s.uses)
    assert all(to in STATEMENTS for *_, carried in OWN.values() for to in carried)
    places = [s.at for s in STATEMENTS.values()] + [own[2] for own in OWN.values()]
    assert all(abs(a[0] - b[0]) >= 1 for i, a in enumerate(places) for b in places[:i] if a[1] == b[1]), "boxes overlap"


def test_arrows_go_up_from_what_is_used():
    assert all(STATEMENTS[used].at[1] <= s.at[1] for s in STATEMENTS.values() for used in s.uses)


def test_the_drawing_is_svg_with_a_link_for_every_box():
    svg = draw_statements(VERDICTS, PAGES)
    root = ET.fromstring(svg)
    links = [a.get("href") for a in root.iter("a")]
    assert len(links) == len(STATEMENTS) + len(OWN)
    assert all(re.fullmatch(r"\w+\.html#[\w-]+", link) for link in links)
    for link in links[: len(STATEMENTS)]:
        page, anchor = link.split(".html#")
        assert any(v.anchor == anchor for path, there in FOUND.items() if path.stem == page for v in there)
    arrows = [p for p in root.iter("path") if p.get("marker-end")]
    assert len(arrows) == sum(len(s.uses) for s in STATEMENTS.values()) + sum(len(own[3]) for own in OWN.values())


def test_the_table_says_what_the_drawing_shows():
    rows = tabulate(VERDICTS, caption="c", name="tab-x").rows
    assert [row[0] for row in rows] == list(STATEMENTS)
    by_name = {row[0]: row for row in rows}
    assert by_name["Theorem 3.3"][2] == "Proposition 3.2" and "thm-ta-regime1" in by_name["Theorem 3.1"][3]


def test_a_missing_verdict_is_an_error():
    with pytest.raises(KeyError):
        draw_statements({}, PAGES)
