"""Opening hours by the clocks of the place, also on the days when those clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hosting.hours import (
    EVERY_DAY,
    Hours,
    after_open_time,
    is_open,
    narrower,
    next_opening,
    parse_hours,
)

MINUTE = timedelta(minutes=1)
ZONES = (
    "America/New_York",
    "America/Los_Angeles",
    "America/Phoenix",
    "America/Adak",
    "Pacific/Honolulu",
    "America/Puerto_Rico",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
)
NINE_TO_EIGHT = parse_hours("09:00-20:00")

minutes_of_a_year = st.integers(0, 366 * 24 * 60 - 1).map(
    lambda minute: datetime(2026, 1, 1, tzinfo=UTC) + minute * MINUTE
)
# The hours around each change of clocks of 2026 in the zones above, where mistakes hide.
minutes_of_changes = st.builds(
    lambda day, minute: day + minute * MINUTE,
    st.sampled_from(
        [
            datetime(2026, month, day, tzinfo=UTC)
            for month, day in ((3, 8), (4, 4), (10, 3), (11, 1))
        ]
    ),
    st.integers(0, 48 * 60),
)
moments = minutes_of_a_year | minutes_of_changes
zones = st.sampled_from(ZONES)


@st.composite
def opening_hours(draw: st.DrawFn) -> Hours:
    start = draw(st.integers(0, 24 * 60 - 1))
    end = draw(st.integers(start + 1, 24 * 60))
    days = draw(st.sets(st.integers(0, 6), min_size=1))
    return Hours(time(*divmod(start, 60)), time(*divmod(end % (24 * 60), 60)), frozenset(days))


def local(zone: str, *parts: int) -> datetime:
    year, month, day, hour, minute = parts
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("mon-fri 09:00-20:00", Hours(time(9), time(20), frozenset(range(5)))),
        ("09:00-20:00", Hours(time(9), time(20))),
        (" Sat,Sun  10:30 - 24:00 ", Hours(time(10, 30), time(0), frozenset({5, 6}))),
        ("fri-mon 08:00-12:00", Hours(time(8), time(12), frozenset({4, 5, 6, 0}))),
        ("mon-tue,thu 08:00-12:00", Hours(time(8), time(12), frozenset({0, 1, 3}))),
        ("00:00-24:00", Hours(time(0), time(0))),
    ],
)
def test_hours_are_read_as_people_write_them(text: str, hours: Hours) -> None:
    assert hours == parse_hours(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9-5",
        "mon-fri",
        "xyz 09:00-20:00",
        "20:00-09:00",
        "09:00-09:00",
        "09:00-25:00",
        "09:60-20:00",
        "mon-wed-fri 09:00-20:00",
        "mon- 09:00-20:00",
        "24:00-24:00",
    ],
)
def test_hours_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hours|days"):
        parse_hours(text)


def test_hours_without_a_day_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one day"):
        Hours(time(9), time(20), frozenset())


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a zone"):
        is_open(datetime(2026, 1, 1), "America/Phoenix", NINE_TO_EIGHT)


@pytest.mark.parametrize(("hour", "minute", "expected"), [(8, 59, False), (9, 0, True)])
def test_the_door_opens_on_the_minute(hour: int, minute: int, expected: bool) -> None:
    moment = local("America/Adak", 2026, 7, 1, hour, minute)

    assert expected == is_open(moment, "America/Adak", NINE_TO_EIGHT)


@pytest.mark.parametrize(("hour", "minute", "expected"), [(19, 59, True), (20, 0, False)])
def test_the_door_closes_on_the_minute(hour: int, minute: int, expected: bool) -> None:
    moment = local("Pacific/Honolulu", 2026, 7, 1, hour, minute)

    assert expected == is_open(moment, "Pacific/Honolulu", NINE_TO_EIGHT)


def test_phoenix_keeps_its_clocks_when_its_neighbours_change_theirs() -> None:
    opening = datetime(2026, 7, 1, 16, tzinfo=UTC)

    assert is_open(opening, "America/Phoenix", NINE_TO_EIGHT)
    assert not is_open(opening - MINUTE, "America/Phoenix", NINE_TO_EIGHT)


def test_a_closed_evening_waits_for_the_next_open_day() -> None:
    weekdays = parse_hours("mon-fri 09:00-20:00")
    friday_evening = local("America/New_York", 2026, 11, 27, 20, 0)

    opening = next_opening(friday_evening, "America/New_York", weekdays)

    assert local("America/New_York", 2026, 11, 30, 9, 0) == opening


def test_an_open_moment_waits_for_nothing() -> None:
    moment = local("America/New_York", 2026, 11, 25, 12, 34)

    assert moment == next_opening(moment, "America/New_York", NINE_TO_EIGHT)


def test_a_night_with_a_change_of_clocks_still_ends_at_nine() -> None:
    for month, day in ((3, 7), (10, 31)):
        evening = local("America/Adak", 2026, month, day, 21, 0)

        opening = next_opening(evening, "America/Adak", NINE_TO_EIGHT)

        assert (9, 0) == (
            opening.astimezone(ZoneInfo("America/Adak")).hour,
            opening.astimezone(ZoneInfo("America/Adak")).minute,
        )


def test_an_opening_that_the_clocks_skip_comes_when_they_have_jumped() -> None:
    hours = parse_hours("02:30-05:00")
    before = local("America/New_York", 2026, 3, 8, 1, 0)

    assert datetime(2026, 3, 8, 7, tzinfo=UTC) == next_opening(before, "America/New_York", hours)


def test_hours_that_fall_in_the_repeated_hour_open_twice() -> None:
    hours = parse_hours("01:15-01:45")
    between = local("America/New_York", 2026, 11, 1, 1, 50)

    opening = next_opening(between, "America/New_York", hours)

    assert datetime(2026, 11, 1, 6, 15, tzinfo=UTC) == opening


def test_hours_that_lie_in_the_skipped_hour_wait_for_the_next_day() -> None:
    hours = parse_hours("02:10-02:50")
    before = local("America/New_York", 2026, 3, 8, 1, 0)

    opening = next_opening(before, "America/New_York", hours)

    assert local("America/New_York", 2026, 3, 9, 2, 10) == opening


def test_two_open_hours_asked_late_end_the_next_morning() -> None:
    late = local("America/Los_Angeles", 2026, 11, 24, 19, 0)

    deadline = after_open_time(late, "America/Los_Angeles", NINE_TO_EIGHT, timedelta(hours=2))

    assert local("America/Los_Angeles", 2026, 11, 25, 10, 0) == deadline


def test_open_time_that_ends_with_the_day_ends_at_closing() -> None:
    late = local("America/Los_Angeles", 2026, 11, 24, 18, 0)

    deadline = after_open_time(late, "America/Los_Angeles", NINE_TO_EIGHT, timedelta(hours=2))

    assert local("America/Los_Angeles", 2026, 11, 24, 20, 0) == deadline


@pytest.mark.parametrize(("month", "day", "hours_long"), [(3, 8, 23), (11, 1, 25), (7, 1, 24)])
def test_a_whole_open_day_is_as_long_as_it_really_is(month: int, day: int, hours_long: int) -> None:
    always = parse_hours("00:00-24:00")
    midnight = local("America/New_York", 2026, month, day, 0, 0)

    end = after_open_time(midnight, "America/New_York", always, timedelta(hours=hours_long))

    assert (midnight.date() + timedelta(days=1)) == end.astimezone(midnight.tzinfo).date()
    assert time(0) == end.astimezone(midnight.tzinfo).time()


def test_a_negative_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        after_open_time(datetime.now(UTC), "UTC", NINE_TO_EIGHT, -MINUTE)


def test_the_narrower_of_two_hours_is_open_when_both_are() -> None:
    weekday_mornings = parse_hours("mon-fri 06:00-12:00")

    assert parse_hours("mon-fri 09:00-12:00") == narrower(NINE_TO_EIGHT, weekday_mornings)
    assert NINE_TO_EIGHT == narrower(NINE_TO_EIGHT, parse_hours("00:00-24:00"))


@pytest.mark.parametrize("other", ["20:00-24:00", "07:00-09:00"])
def test_hours_that_never_meet_have_no_narrower(other: str) -> None:
    assert narrower(NINE_TO_EIGHT, parse_hours(other)) is None


@given(moments, zones, opening_hours())
@settings(max_examples=400, deadline=None)
def test_the_next_opening_is_the_first_open_minute(
    moment: datetime, zone: str, hours: Hours
) -> None:
    opening = next_opening(moment, zone, hours)

    assert opening >= moment
    assert is_open(opening, zone, hours)
    assert opening == moment or not is_open(opening - timedelta(microseconds=1), zone, hours)
    waited = int((opening - moment) / MINUTE)
    # Every minute of the last two days of the wait, and an hourly sample of what went before.
    for ago in (*range(1, min(waited, 2880) + 1), *range(60, waited + 1, 60)):
        assert not is_open(opening - ago * MINUTE, zone, hours)


@given(moments, zones, opening_hours(), st.integers(0, 600))
@settings(max_examples=150, deadline=None)
def test_open_time_is_the_sum_of_the_open_minutes(
    moment: datetime, zone: str, hours: Hours, minutes: int
) -> None:
    end = after_open_time(moment, zone, hours, minutes * MINUTE)

    passed = int((end - moment) / MINUTE)
    assume(passed <= 3 * 24 * 60)
    assert minutes == sum(is_open(moment + n * MINUTE, zone, hours) for n in range(passed))


@given(moments, zones, opening_hours(), st.integers(0, 59_999_999))
@settings(max_examples=150, deadline=None)
def test_a_fraction_of_a_minute_changes_no_opening(
    moment: datetime, zone: str, hours: Hours, microseconds: int
) -> None:
    within = moment + timedelta(microseconds=microseconds)

    opening = next_opening(within, zone, hours)

    assert opening == within if is_open(within, zone, hours) else opening.second == 0


@given(moments, zones, opening_hours(), opening_hours())
@settings(max_examples=300, deadline=None)
def test_narrower_hours_are_open_exactly_when_both_are(
    moment: datetime, zone: str, a: Hours, b: Hours
) -> None:
    both = narrower(a, b)

    open_in_both = is_open(moment, zone, a) and is_open(moment, zone, b)
    assert open_in_both == (both is not None and is_open(moment, zone, both))
    assert both == narrower(b, a)


@pytest.mark.parametrize("zone", ZONES)
def test_no_opening_of_a_year_is_outside_the_hours(zone: str) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    wrong = []

    for _ in range(365 * 24 * 60 // 47):
        clock = next_opening(moment, zone, NINE_TO_EIGHT).astimezone(ZoneInfo(zone)).time()
        if not time(9) <= clock < time(20):
            wrong.append(moment)
        # Forty-seven minutes meet every minute of the hour in turn.
        moment += 47 * MINUTE

    assert [] == wrong


def test_hours_are_those_of_every_day_unless_days_are_named() -> None:
    assert EVERY_DAY == Hours(time(9), time(20)).days
