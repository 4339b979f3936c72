"""Time limits: that of pyproject.toml for a test, a longer one for a cell of a chapter."""

import pytest

#: Seconds for a cell, a little more than nbval's own limit, which says which cell it was.
CELL_TIMEOUT = 2100


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.timeout(CELL_TIMEOUT))
