"""Moments and days as people read them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from hosting.moments import day_told, told

NOW = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
TODAY = date(2026, 11, 24)


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (timedelta(seconds=20), "now"),
        (timedelta(minutes=89), "in 89 min"),
        (timedelta(hours=-2), "2 h ago"),
        (timedelta(hours=47), "in 47 h"),
        (timedelta(days=-3), "3 days ago"),
    ],
)
def test_a_moment_is_told_as_people_say_it(ahead: timedelta, words: str) -> None:
    assert words == told(NOW + ahead, "America/Los_Angeles", NOW)["told"]


def test_a_moment_is_exact_by_the_clocks_of_its_place() -> None:
    assert "Tue 24 Nov 2026, 08:00 HST" == told(NOW, "Pacific/Honolulu", NOW)["exact"]


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (0, "today (Tue 24 Nov 2026)"),
        (1, "tomorrow (Wed 25 Nov 2026)"),
        (-1, "yesterday (Mon 23 Nov 2026)"),
        (9, "in 9 days (Thu 03 Dec 2026)"),
        (-9, "9 days ago (Sun 15 Nov 2026)"),
        (433, "in 14 months (Mon 31 Jan 2028)"),
        (-3523, "10 years ago (Sun 02 Apr 2017)"),
    ],
)
def test_a_day_is_told_as_people_say_it(ahead: int, words: str) -> None:
    assert words == day_told(TODAY + timedelta(days=ahead), TODAY)
