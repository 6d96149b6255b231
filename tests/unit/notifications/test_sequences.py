"""Sequences are data files: read whole, refused with what to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from hosting.settings import SettingsError
from services.notifications.sequences import SEQUENCES, sequence


def test_check_ins_are_on_the_days_that_were_promised() -> None:
    assert (1, 3, 7) == sequence("check_in").days


def test_every_sequence_that_is_there_can_be_read() -> None:
    names = [path.stem for path in SEQUENCES.iterdir()]

    assert ["check_in"] == names
    assert all(sequence(name).days for name in names)


@pytest.mark.parametrize(
    ("written", "instead", "named"),
    [
        ("days = [1, 3, 7]", "days = []", "days"),
        ("days = [1, 3, 7]", "days = [3, 1]", "the earliest first"),
        ("days = [1, 3, 7]", "days = [1, 1]", "Name each day once"),
        ("days = [1, 3, 7]", "days = ['one']", "days"),
        ("jitter_minutes = 45", "jitter_minutes = -1", "jitter_minutes"),
        ("unanswered = 2", "", "unanswered"),
        ("unanswered = 2", "unanswered = 2\nunknown = 1", "unknown"),
        ("unanswered = 2", "unanswered =", "check_in.toml"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, written: str, instead: str, named: str
) -> None:
    text = (SEQUENCES / "check_in.toml").read_text("utf-8")
    assert written in text
    (tmp_path / "check_in.toml").write_text(text.replace(written, instead), "utf-8")

    with pytest.raises(SettingsError, match=named):
        sequence("check_in", tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.toml"):
        sequence("nothing", tmp_path)
