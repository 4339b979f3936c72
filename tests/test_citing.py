"""What the repository says of itself: one version, one paper, in every place where it is cited."""

import json
import re
from pathlib import Path

import pytest
import yaml

import logitmoe

ROOT = Path(__file__).resolve().parents[1]


def entries(path):
    """BibTeX fields by key of each entry in a file, names of fields in lower case and braces left as they are."""
    found = {}
    for key, body in re.findall(r"@\w+\{(\S+),\n(.*?)\n\}", path.read_text("utf-8"), re.DOTALL):
        found[key] = dict(re.findall(r"^\s*(\w+)\s*=\s*\{(.*)\},?$", body, re.MULTILINE))
    return found


def test_one_version_everywhere():
    version = logitmoe.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == version
    assert json.loads((ROOT / "codemeta.json").read_text("utf-8"))["version"] == version
    assert entries(ROOT / "book" / "cite.md")["logitmoe"]["version"] == version
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_paper_is_cited_as_in_the_bibliography():
    cited = entries(ROOT / "book" / "cite.md")["nguyen2024general"]
    assert len(cited) >= 9 and cited == entries(ROOT / "book" / "references.bib")["nguyen2024general"]


@pytest.mark.parametrize("field", ["title", "license", "keywords"])
def test_citation_and_codemeta_agree(field):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    codemeta = json.loads((ROOT / "codemeta.json").read_text("utf-8"))
    if field == "title":
        assert codemeta["referencePublication"]["name"] == citation["references"][0]["title"]
    elif field == "license":
        assert codemeta["license"].endswith(f"/{citation['license']}")
    else:
        assert codemeta["keywords"] == citation["keywords"]
