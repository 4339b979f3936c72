"""The ledger: every numbered object of the paper has its row, and no two verdicts on one object are opposites."""

from pathlib import Path

import pytest

from replication.ledger import CLAIMS, ICONS, claim_rows, object_rows
from replication.verdicts import FAILS, HOLDS, LONGEST_FINDING, NUMBERED, VERDICTS, Verdict, collect

BOOK = Path(__file__).parents[2] / "book"
STORED = [v for found in collect(sorted(BOOK.glob("*.ipynb"))).values() for v in found]


def test_every_class_has_an_icon_of_its_own():
    assert set(ICONS) == set(VERDICTS)
    assert len(set(ICONS.values())) == len(VERDICTS)


def test_every_numbered_object_has_a_row_with_one_finding():
    rows = object_rows(STORED)
    labels = [row[0] for row in rows]
    assert len(set(labels)) == len(labels)
    assert all(any(label == name or label.startswith(f"{name}, ") for label in labels) for name in NUMBERED)
    assert all(0 < len(finding.split()) <= LONGEST_FINDING for _, _, finding, _ in rows)
    assert not any("no verdict" in row for row in rows)


def opposites(verdicts):
    """Objects with a verdict that holds and one that fails, of which one has no aspect, or both the same one."""
    pairs = [(a, b) for a in verdicts for b in verdicts if a.verdict == HOLDS and b.verdict == FAILS]
    return [
        set(a.items) & set(b.items)
        for a, b in pairs
        if set(a.items) & set(b.items) and (not a.aspect or not b.aspect or a.aspect == b.aspect)
    ]


def test_no_two_verdicts_on_an_object_are_opposites():
    common = dict(items=("Equation (6)",), claim="c", finding="f.", evidence="e")
    assert opposites([Verdict(verdict=HOLDS, **common), Verdict(verdict=FAILS, aspect="a", **common)])  # the control
    assert not opposites(STORED)


def test_every_claim_has_a_badge_and_one_sentence():
    rows = claim_rows(STORED)
    assert [name for name, _, _ in rows] == [name for name, _, _ in CLAIMS] + ["Practical implications"]
    assert all(badges.startswith("{verdict}`verdict-") for _, badges, _ in rows)
    assert all(0 < len(finding.split()) <= LONGEST_FINDING for _, _, finding in rows)


def test_the_landing_page_hides_no_failure():
    # Where a statement as a whole fails, a badge says so.
    by_title = {v.title: v for v in STORED}
    for _, headline, others in CLAIMS:
        items = by_title[headline].items
        shown = {by_title[title].verdict for title in (headline, *others)}
        whole = [v for v in STORED if set(v.items) & set(items) and v.verdict == FAILS and not v.aspect]
        assert not whole or FAILS in shown


def test_a_claim_without_its_verdict_is_an_error():
    with pytest.raises(KeyError):
        claim_rows([v for v in STORED if "Theorem 4.4" not in v.items])


def test_unknown_objects_are_refused():
    with pytest.raises(ValueError, match="names of CATALOGUE"):
        object_rows([], ("Theorem 9",))
    assert object_rows([], ("Table 1",)) == [["Table 1", "no verdict", "", ""]]
