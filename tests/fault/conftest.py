"""Workers that tests may kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.workers import Workers, all_workers
from tests.house import House


@pytest.fixture
def workers(engines: dict[str, str], house: House, tmp_path: Path) -> Iterator[Workers]:
    """All three workers on real engines, with a roster that has a place for everybody."""
    with all_workers(engines, house, tmp_path) as started:
        yield started
