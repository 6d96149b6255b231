"""Facilities and mentors from files: what the command that loads them refuses, and what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import DEMO, House


@pytest.mark.parametrize(
    ("what", "file", "ordinary", "revealing", "said"),
    [
        ("facilities", "demo-facilities.toml", "Bridge North", "North Clinic", "north: alias: "),
        ("mentors", "demo-mentors.csv", "M-01,Jo,", "M-01,Sober Jo,", "line 2: called: "),
    ],
)
def test_a_name_that_reveals_is_refused_and_not_repeated(
    center: House, tmp_path: Path, what: str, file: str, ordinary: str, revealing: str, said: str
) -> None:
    changed = tmp_path / file
    changed.write_text((DEMO / file).read_text().replace(ordinary, revealing))

    ran = subprocess.run(
        [sys.executable, "-m", "services", what, "load", changed],
        env=os.environ | center.settings,
        capture_output=True,
        text=True,
    )

    assert 1 == ran.returncode
    assert "1 errors" in ran.stdout
    assert ran.stderr.startswith(said)
    assert not {"Clinic", "Sober"} & set(ran.stderr.split())
    aliases = center.rows("intake", "SELECT settings ->> 'alias' AS alias FROM facility")
    assert {"Bridge North", "Bridge South"} == {row.alias for row in aliases}
