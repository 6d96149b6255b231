"""Every planted bug can still be planted, and every gap that is named can be reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from messaging.points import POINTS
from tests.fault.mutants import MUTANTS, ROOT, Mutant, plant

GUARANTEES = {f"G{number}" for number in range(1, 10)}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_still_applies(mutant: Mutant, tmp_path: Path) -> None:
    (tmp_path / mutant.file).parent.mkdir(parents=True)
    (tmp_path / mutant.file).write_text((ROOT / mutant.file).read_text())

    plant(mutant, tmp_path)

    for name in mutant.tests.split():
        assert (ROOT / name).is_file()


def test_each_guarantee_has_a_bug_that_breaks_it() -> None:
    assert GUARANTEES == {mutant.breaks for mutant in MUTANTS}


def test_each_planted_bug_is_written_down_with_what_finds_it() -> None:
    found_by = {m: ", ".join(f"`{name}`" for name in m.tests.split()) for m in MUTANTS}
    rows = [f"| {m.breaks} | {m.name} | {found_by[m]} |" for m in MUTANTS]
    text = (ROOT / "docs" / "guarantees.md").read_text()
    written = text.partition("## Bugs that are planted")[2].partition("\n## ")[0]
    assert sorted(rows) == sorted(line for line in written.splitlines() if line.startswith("| G"))


def test_every_point_is_passed_somewhere_and_every_passing_is_named() -> None:
    files = [*(ROOT / "messaging").rglob("*.py"), *(ROOT / "services").rglob("*.py")]
    passed = [
        name for file in files for name in re.findall(r'reached\("([a-z.]+)"', file.read_text())
    ]

    assert set(POINTS) == set(passed)
    assert len(POINTS) >= 20
