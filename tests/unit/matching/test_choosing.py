"""Tests of choosing a mentor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.choosing import (
    KINDS_KEPT,
    LASTING,
    PART_TOLD,
    PASSING,
    PREFERRED,
    REQUIRED,
    SOFT,
    TOLD,
    Candidate,
    Choice,
    Chosen,
    Lasting,
    Nobody,
    Rules,
    Seeker,
    choose,
    rank,
    turn,
)

NORTH, SOUTH = UUID(int=1), UUID(int=2)
TODAY = date(2026, 11, 24)
RULES = Rules(today=TODAY, asks=True)


def a_seeker(**facts: Any) -> Seeker:
    usual: dict[str, Any] = {
        "client_id": UUID(int=100),
        "facility_id": NORTH,
        "language": "en",
        "moud": False,
        "needs": frozenset({"job", "fear"}),
        "pathways": frozenset({"smart"}),
        "high_risk": False,
        "time_zone": "America/Los_Angeles",
        "waiting_since": datetime(2026, 11, 24, 18, tzinfo=UTC),
    }
    return Seeker(**usual | facts)


def a_mentor(number: int = 1, **facts: Any) -> Candidate:
    usual: dict[str, Any] = {
        "mentor_id": UUID(int=1000 + number),
        "facility_ids": frozenset({NORTH}),
        "languages": frozenset({"en"}),
        "pathways": frozenset({"smart"}),
        "strengths": frozenset({"job"}),
        "moud_friendly": True,
        "gender": "woman",
        "age_band": "36-50",
        "time_zone": "America/Los_Angeles",
        "capacity": 4,
        "load": 1,
        "active": True,
        "route": "workforce",
        "route_ends_on": None,
        "credential_ends_on": None,
        "recovery_since": date(2015, 1, 1),
        "opted_in": True,
        "has_open_offer": False,
    }
    return Candidate(**usual | facts)


def chosen(seeker: Seeker, candidates: Sequence[Candidate], rules: Rules = RULES) -> Chosen:
    answer = choose(seeker, candidates, rules)
    assert isinstance(answer, Chosen)
    return answer


def nobody(seeker: Seeker, candidates: Sequence[Candidate], rules: Rules = RULES) -> Nobody:
    answer = choose(seeker, candidates, rules)
    assert isinstance(answer, Nobody)
    return answer


# One unsuitable pair for each rule: what it takes of the client, and what of the mentor.
BLOCKED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "active": ({}, {"active": False}),
    "opted_in": ({}, {"opted_in": False}),
    "capacity": ({}, {"load": 4}),
    "open_offer": ({}, {"has_open_offer": True}),
    "facility": ({}, {"facility_ids": frozenset({SOUTH})}),
    "language": ({}, {"languages": frozenset({"es"})}),
    "moud": ({"moud": True}, {"moud_friendly": False}),
    "gender": ({"wants_gender": "man"}, {}),
    "age_band": ({"wants_age_band": "66+"}, {}),
    "route": ({}, {"route": "consent"}),
    "credential": ({}, {"credential_ends_on": TODAY - timedelta(days=1)}),
    "recovery": ({}, {"recovery_since": date(2024, 11, 25)}),
    "refused": ({"refused": frozenset({UUID(int=1001)})}, {}),
}


def test_every_rule_is_told_in_words_and_tested() -> None:
    assert list(REQUIRED) == list(TOLD)
    assert set(REQUIRED) == set(BLOCKED)


@pytest.mark.parametrize("name", REQUIRED)
def test_each_rule_alone_keeps_a_mentor_from_being_chosen(name: str) -> None:
    of_client, of_mentor = BLOCKED[name]

    answer = nobody(a_seeker(**of_client), [a_mentor(**of_mentor)])

    assert {name: 1} == answer.removed == answer.only_blocker
    assert f"None of 1 mentor can be chosen: {TOLD[name].removes} 1." == answer.why
    assert f"1 mentor could be chosen {TOLD[name].lets_through}." == answer.change


@pytest.mark.parametrize(
    "facts",
    [
        {"route": "qsoa", "route_ends_on": TODAY - timedelta(days=1)},
        {"route": "qsoa", "route_ends_on": None},
        {"route": "workforce", "route_ends_on": TODAY - timedelta(days=1)},
        {"route": ""},
    ],
)
def test_a_route_that_has_ended_or_is_of_no_known_kind_is_closed(facts: dict[str, Any]) -> None:
    assert {"route": 1} == nobody(a_seeker(), [a_mentor(**facts)]).removed


@pytest.mark.parametrize(
    "facts",
    [
        {"route": "qsoa", "route_ends_on": TODAY},
        {"credential_ends_on": TODAY},
        {"recovery_since": date(2024, 11, 24)},
        {"recovery_since": None},
        {"gender": None, "age_band": None},
    ],
)
def test_the_last_day_counts_and_what_is_not_known_keeps_nobody_away(
    facts: dict[str, Any],
) -> None:
    assert a_mentor().mentor_id == chosen(a_seeker(), [a_mentor(**facts)]).mentor_id


def test_recovery_begun_on_a_leap_day_is_counted_from_the_first_of_march() -> None:
    begun = a_mentor(recovery_since=date(2024, 2, 29))

    day_before = replace(RULES, today=date(2026, 2, 28))
    day = replace(RULES, today=date(2026, 3, 1))

    assert {"recovery": 1} == nobody(a_seeker(), [begun], day_before).removed
    assert begun.mentor_id == chosen(a_seeker(), [begun], day).mentor_id


def test_a_wish_is_not_met_by_a_mentor_of_whom_nothing_is_known() -> None:
    seeker = a_seeker(wants_gender="woman", wants_age_band="36-50")

    answer = nobody(seeker, [a_mentor(1, gender=None), a_mentor(2, age_band=None)])

    assert {"gender": 1, "age_band": 1} == answer.only_blocker


def test_a_facility_that_assigns_may_choose_a_mentor_with_an_open_offer() -> None:
    answer = chosen(a_seeker(), [a_mentor(has_open_offer=True)], replace(RULES, asks=False))

    assert a_mentor().mentor_id == answer.mentor_id


@pytest.mark.parametrize(
    "less",
    [
        {"pathways": frozenset({"12_step"})},
        {"pathways": frozenset()},
        {"strengths": frozenset({"housing"})},
        {"strengths": frozenset()},
        {"load": 2},
        {"time_zone": "America/New_York"},
        {"time_zone": "Nowhere"},
    ],
)
def test_the_mentor_who_fits_better_is_chosen(less: dict[str, Any]) -> None:
    better, worse = a_mentor(1), a_mentor(2, **less)

    assert better.mentor_id == chosen(a_seeker(), [worse, better]).mentor_id


def test_a_mentor_of_whom_nothing_is_known_comes_before_one_who_does_not_fit() -> None:
    unknown = a_mentor(1, pathways=frozenset(), strengths=frozenset(), load=2)
    unfit = a_mentor(2, pathways=frozenset({"12_step"}), strengths=frozenset({"housing"}))

    assert unknown.mentor_id == chosen(a_seeker(), [unfit, unknown]).mentor_id


def test_the_parts_are_named_and_their_maxima_sum_to_ten_thousand() -> None:
    perfect = a_mentor(load=0, pathways=frozenset("abc"), strengths=frozenset("xyz"))

    answer = chosen(a_seeker(pathways=frozenset("abc"), needs=frozenset("xyz")), [perfect])

    assert 10_000 == sum(most for most, _ in PREFERRED.values()) == answer.points
    assert tuple(PREFERRED) == tuple(name for name, _ in answer.parts)


@pytest.mark.parametrize(
    ("time_zone", "points"),
    [("Pacific/Honolulu", 1500), ("Pacific/Pago_Pago", 1249), ("America/Anchorage", 1249)],
)
def test_zones_about_a_day_apart_have_nearly_the_same_time_of_day(
    time_zone: str, points: int
) -> None:
    seeker = a_seeker(time_zone="Pacific/Kiritimati")

    answer = chosen(seeker, [a_mentor(time_zone=time_zone)])

    assert points == dict(answer.parts)["zone"]


def test_of_mentors_who_fit_alike_the_one_with_the_lower_load_is_chosen() -> None:
    busy, free = a_mentor(1, load=2, capacity=4), a_mentor(2, load=1, capacity=2)

    assert free.mentor_id == chosen(a_seeker(), [busy, free]).mentor_id


def test_ties_do_not_favour_the_same_mentor_for_every_client() -> None:
    equals = [a_mentor(number) for number in range(4)]

    winners = {chosen(a_seeker(client_id=UUID(int=n)), equals).mentor_id for n in range(100)}

    assert {mentor.mentor_id for mentor in equals} == winners


def test_the_sentence_says_why_this_one() -> None:
    best = a_mentor(1, strengths=frozenset({"job", "fear"}), time_zone="America/Denver")

    answer = chosen(a_seeker(), [best, a_mentor(2, load=3, pathways=frozenset({"12_step"}))])

    assert (
        "The best of 2 suitable mentors: shares 1 pathway, has strengths for 2 needs, "
        "has 3 of 4 places free, is 1 h away by the clock."
    ) == answer.why


def test_the_sentence_leaves_out_what_is_no_reason() -> None:
    only = a_mentor(pathways=frozenset(), strengths=frozenset(), time_zone="Nowhere")

    answer = chosen(a_seeker(), [only])

    assert "The only suitable mentor: has 3 of 4 places free." == answer.why


def test_the_sentence_says_why_nobody_and_names_the_change_that_helps_most() -> None:
    candidates = [
        a_mentor(1, load=4),
        a_mentor(2, load=4, active=False),
        a_mentor(3, load=4, languages=frozenset({"es"})),
        a_mentor(4, languages=frozenset({"es"})),
        a_mentor(5, languages=frozenset({"es"})),
    ]

    answer = nobody(a_seeker(), candidates)

    assert (
        "None of 5 mentors can be chosen: no free place 3, no shared language 3, paused 1 "
        "(some are counted more than once)."
    ) == answer.why
    assert (
        "2 mentors could be chosen if the client were at ease in a language that they speak."
    ) == answer.change


def test_no_change_is_named_when_no_single_one_helps() -> None:
    answer = nobody(a_seeker(), [a_mentor(load=4, active=False)])

    assert "" == answer.change


def test_an_empty_roster_is_told() -> None:
    answer = nobody(a_seeker(), [])

    assert ("No mentors are on the roster.", "", {}) == (answer.why, answer.change, answer.removed)


def test_high_risk_is_served_first_then_the_longest_wait() -> None:
    earlier, later = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
    waiting = [
        a_seeker(client_id=UUID(int=4), waiting_since=later),
        a_seeker(client_id=UUID(int=3), waiting_since=earlier),
        a_seeker(client_id=UUID(int=2), waiting_since=later, high_risk=True),
        a_seeker(client_id=UUID(int=1), waiting_since=later),
    ]

    assert [2, 3, 1, 4] == [seeker.client_id.int for seeker in sorted(waiting, key=turn)]


def usually(value: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The suitable value often enough that about half of the mentors pass all rules."""
    return st.sampled_from([value] * 24 + list(others))


def numbered(found: list[Candidate]) -> list[Candidate]:
    return [replace(mentor, mentor_id=UUID(int=1001 + place)) for place, mentor in enumerate(found)]


words = st.frozensets(st.sampled_from("abcd"), max_size=3)
zones = st.sampled_from(["America/New_York", "America/Phoenix", "Asia/Kathmandu", "Nowhere"])
seekers = st.builds(
    a_seeker,
    language=usually("en", "es"),
    moud=st.booleans(),
    needs=words,
    pathways=words,
    wants_gender=st.sampled_from([None, None, "woman"]),
    wants_age_band=st.sampled_from([None, None, "36-50"]),
    time_zone=zones,
    refused=st.frozensets(st.sampled_from([UUID(int=1001), UUID(int=1003)])),
)
days = usually(None, *(TODAY + timedelta(days=days) for days in (-1, 0, 1)))
mentors = st.builds(
    a_mentor,
    facility_ids=usually(frozenset({NORTH}), frozenset({SOUTH}), frozenset({NORTH, SOUTH})),
    languages=usually(frozenset({"en"}), frozenset({"en", "es"}), frozenset({"es"})),
    pathways=words,
    strengths=words,
    moud_friendly=usually(True, False),
    gender=usually("woman", "man", None),
    age_band=usually("36-50", "66+", None),
    time_zone=zones,
    capacity=usually(3, 0, 1),
    load=st.sampled_from([0, 0, 1, 1, 2, 2, 3, 4]),
    active=usually(True, False),
    route=usually("workforce", "qsoa", "consent"),
    route_ends_on=days,
    credential_ends_on=days,
    recovery_since=usually(date(2015, 1, 1), None, date(2025, 1, 1), date(2024, 11, 24)),
    opted_in=usually(True, False),
    has_open_offer=usually(False, True),
)
rosters = st.lists(mentors, min_size=1, max_size=8).map(numbered)
rule_sets = st.builds(
    Rules, today=st.just(TODAY), asks=st.booleans(), minimum_recovery_years=st.integers(0, 3)
)


def failures(seeker: Seeker, mentor: Candidate, rules: Rules) -> set[str]:
    """The rules once more, written out plainly, for the tests to compare with."""
    route_ends_on = mentor.route_ends_on or (date.min if mentor.route == "qsoa" else date.max)
    since = mentor.recovery_since
    years = rules.minimum_recovery_years
    checks = {
        "active": mentor.active,
        "opted_in": mentor.opted_in,
        "capacity": mentor.capacity - mentor.load >= 1,
        "open_offer": not mentor.has_open_offer or not rules.asks,
        "facility": bool({seeker.facility_id} & mentor.facility_ids),
        "language": bool({seeker.language} & mentor.languages),
        "moud": mentor.moud_friendly if seeker.moud else True,
        "gender": seeker.wants_gender is None or seeker.wants_gender == mentor.gender,
        "age_band": seeker.wants_age_band is None or seeker.wants_age_band == mentor.age_band,
        "route": mentor.route in ("workforce", "qsoa") and route_ends_on >= rules.today,
        "credential": (mentor.credential_ends_on or date.max) >= rules.today,
        "recovery": since is None or since.replace(year=since.year + years) <= rules.today,
        "refused": not {mentor.mentor_id} & seeker.refused,
    }
    return {name for name, holds in checks.items() if not holds}


@settings(max_examples=150)
@given(seekers, rosters, rule_sets, st.randoms(use_true_random=False))
def test_the_order_of_the_mentors_does_not_matter(
    seeker: Seeker, roster: list[Candidate], rules: Rules, random: Any
) -> None:
    shuffled = random.sample(roster, len(roster))

    assert choose(seeker, roster, rules) == choose(seeker, iter(shuffled), rules)


@settings(max_examples=300)
@given(seekers, rosters, rule_sets)
def test_the_answer_agrees_with_the_rules_written_out_plainly(
    seeker: Seeker, roster: list[Candidate], rules: Rules
) -> None:
    failed = {mentor.mentor_id: failures(seeker, mentor, rules) for mentor in roster}

    answer = choose(seeker, roster, rules)

    if isinstance(answer, Chosen):
        assert set() == failed[answer.mentor_id]
    else:
        assert all(failed.values())
        told = [name for names in failed.values() for name in names]
        alone = [name for names in failed.values() if len(names) == 1 for name in names]
        assert {name: told.count(name) for name in told} == answer.removed
        assert {name: alone.count(name) for name in alone} == answer.only_blocker
        helps_most = max(map(alone.count, alone), default=0)
        best = [name for name in REQUIRED if helps_most and alone.count(name) == helps_most]
        assert answer.change.endswith(f"{TOLD[best[0]].lets_through}." if best else "")
        assert bool(best) == bool(answer.change)


@settings(max_examples=300)
@given(st.lists(seekers, min_size=2, max_size=8), rosters, rule_sets)
def test_many_chosen_for_in_turn_get_what_each_alone_would(
    clients: list[Seeker], roster: list[Candidate], rules: Rules
) -> None:
    choice, now = Choice(roster, rules), {one.mentor_id: one for one in roster}

    for seeker in clients:
        answer = choice.choose(seeker)

        assert choose(seeker, now.values(), rules) == answer
        if isinstance(answer, Chosen):
            first = rank(seeker, now.values(), rules)[0]
            assert (first.mentor_id, first.points) == (answer.mentor_id, answer.points)
            taken = now[answer.mentor_id]
            now[taken.mentor_id] = replace(taken, load=taken.load + 1, has_open_offer=rules.asks)
            choice.changed(now[taken.mentor_id])


@settings(max_examples=300)
@given(st.lists(st.tuples(seekers, rule_sets), min_size=2, max_size=8), rosters)
def test_what_was_judged_before_holds_whatever_places_are_taken_since(
    clients: list[tuple[Seeker, Rules]], roster: list[Candidate]
) -> None:
    lasting, now = Lasting(), {one.mentor_id: one for one in roster}

    for seeker, rules in clients:
        answer = Choice(now.values(), rules, lasting).choose(seeker)

        assert choose(seeker, now.values(), rules) == answer
        if isinstance(answer, Chosen):
            taken = now[answer.mentor_id]
            now[taken.mentor_id] = replace(taken, load=taken.load + 1, has_open_offer=True)


def test_what_was_judged_by_summer_time_does_not_hold_in_winter() -> None:
    lasting, seeker = Lasting(), a_seeker(time_zone="America/Phoenix")
    roster = [a_mentor(1), a_mentor(2, time_zone="America/Phoenix", load=1)]

    for today in (date(2026, 7, 1), date(2026, 12, 1), date(2026, 7, 1)):
        rules = Rules(today=today, asks=False)
        suitable = Choice(roster, rules, lasting).choose(seeker)
        assert choose(seeker, roster, rules) == suitable
        held = lasting.points("zone", seeker, (0, 1), roster, rules)
        assert (held[0] == held[1]) == (today.month == 7)


def test_what_is_kept_of_what_was_judged_has_an_end() -> None:
    lasting, roster = Lasting(), [a_mentor(number) for number in range(3)]

    for number in range(5 * KINDS_KEPT):
        seeker = a_seeker(pathways=frozenset({f"way-{number}"}), time_zone="UTC")
        Choice(roster, Rules(today=TODAY, asks=False), lasting).choose(seeker)
        Choice(roster, Rules(today=TODAY + timedelta(days=number), asks=False), lasting).choose(
            seeker
        )

    assert len(lasting._points) <= KINDS_KEPT
    assert len(lasting._let_through) <= KINDS_KEPT


@settings(max_examples=150)
@given(seekers, rosters, rule_sets)
def test_the_parts_sum_to_the_points_and_stay_within_their_maxima(
    seeker: Seeker, roster: list[Candidate], rules: Rules
) -> None:
    answer = choose(seeker, [*roster, a_mentor(99, languages=frozenset({"en", "es"}))], rules)

    if isinstance(answer, Chosen):
        assert answer.points == sum(points for _, points in answer.parts)
        assert all(0 <= points <= PREFERRED[name][0] for name, points in answer.parts)


@settings(max_examples=150)
@given(seekers, rosters, rule_sets)
def test_mentors_who_are_not_suitable_change_nothing(
    seeker: Seeker, roster: list[Candidate], rules: Rules
) -> None:
    suitable = [mentor for mentor in roster if not failures(seeker, mentor, rules)]

    among_all, among_suitable = choose(seeker, roster, rules), choose(seeker, suitable, rules)

    assert isinstance(among_all, Nobody) or among_all == among_suitable


@settings(max_examples=150)
@given(seekers, rosters, rule_sets, st.integers(1, 3))
def test_more_load_never_ranks_a_mentor_higher(
    seeker: Seeker, roster: list[Candidate], rules: Rules, more: int
) -> None:
    for place, mentor in enumerate(roster):
        busier = [*roster[:place], replace(mentor, load=mentor.load + more), *roster[place + 1 :]]

        before, after = choose(seeker, roster, rules), choose(seeker, busier, rules)

        won_after = isinstance(after, Chosen) and after.mentor_id == mentor.mentor_id
        won_before = isinstance(before, Chosen) and before.mentor_id == mentor.mentor_id
        assert won_before or not won_after


@settings(max_examples=150)
@given(words, words, words, words, st.sampled_from("abcde"))
def test_one_more_thing_in_common_never_lowers_the_points(
    pathways: frozenset[str],
    known: frozenset[str],
    needs: frozenset[str],
    strengths: frozenset[str],
    shared: str,
) -> None:
    seeker = a_seeker(pathways=pathways, needs=needs)
    mentor = a_mentor(pathways=known, strengths=strengths)
    told_more = replace(seeker, pathways=pathways | {shared}, needs=needs | {shared})
    known_more = replace(mentor, pathways=known | {shared}, strengths=strengths | {shared})

    before = dict(chosen(seeker, [mentor]).parts)
    after = dict(chosen(told_more, [known_more]).parts)

    assert before["pathways"] <= after["pathways"]
    assert before["needs"] <= after["needs"]


def test_the_same_answer_is_given_in_every_process() -> None:
    equals = [a_mentor(number) for number in range(50)]

    answer = chosen(a_seeker(), equals)

    assert UUID(int=1015) == answer.mentor_id


def test_those_who_can_be_chosen_come_first_in_the_order_of_choosing() -> None:
    best = a_mentor(1, pathways=frozenset({"smart"}))
    second = a_mentor(2, pathways=frozenset({"secular"}))
    by_hand = a_mentor(3, languages=frozenset({"es"}))
    out = a_mentor(4, active=False, languages=frozenset({"es"}))

    ranked = rank(a_seeker(), [out, by_hand, second, best], RULES)

    assert [one.mentor_id for one in (best, second, by_hand, out)] == [
        one.mentor_id for one in ranked
    ]
    assert [(), (), ("language",), ("active", "language")] == [one.failed for one in ranked]
    assert [True, True, True, False] == [one.may_be_chosen_by_hand for one in ranked]
    assert ranked[0].points == sum(points for _, points in ranked[0].parts) > ranked[1].points
    assert "shares 1 pathway" in ranked[0].reasons


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from(["en", "es"]))))
def test_the_first_of_the_ranking_is_the_one_who_is_chosen(
    mentors: list[tuple[int, bool, str]],
) -> None:
    candidates = [
        a_mentor(number, load=load, active=active, languages=frozenset({language}))
        for number, (load, active, language) in enumerate(mentors)
    ]

    answer, ranked = choose(a_seeker(), candidates, RULES), rank(a_seeker(), candidates, RULES)

    if isinstance(answer, Chosen):
        assert (answer.mentor_id, answer.points, ()) == (
            ranked[0].mentor_id,
            ranked[0].points,
            ranked[0].failed,
        )
    else:
        assert all(one.failed for one in ranked)


def test_law_route_places_state_and_a_no_are_not_soft() -> None:
    hard = {"active", "opted_in", "capacity", "open_offer", "facility", "moud", "route"}

    assert hard | {"credential", "refused"} == REQUIRED.keys() - SOFT


def test_every_part_of_the_points_and_every_soft_rule_is_told() -> None:
    assert PREFERRED.keys() == PART_TOLD.keys()
    assert SOFT < REQUIRED.keys()
    assert LASTING.keys() | {"room"} == PREFERRED.keys()
    assert set(PASSING) < REQUIRED.keys()


def test_a_mentor_without_places_is_judged_too() -> None:
    [judged] = rank(a_seeker(), [a_mentor(capacity=0, load=0)], RULES)

    assert ("capacity",) == judged.failed
