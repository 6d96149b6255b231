"""Whatever interleaving of what people say and of what the loops do: one end, and no late message.

Hypothesis draws what staff, a client's phone and a mentor's phone say, and between any two of
these how far each loop of each worker gets: relays, consumers, timers and the sender may stand
still or run ahead. Each source keeps its own order, as it does in life.

``WARM_HANDOFF_EXAMPLES`` raises the number of stories that are drawn for each test.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.notifications.channels import Letter
from tests.house import House, a_discharge

EXAMPLES = int(os.environ.get("WARM_HANDOFF_EXAMPLES", "8"))
QUIETLY = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow],
)

#: Mentors who are alike, so that whoever says no, there is another.
ROSTER = "\n".join(
    [
        "code,called,mobile,email,opted_in_at,opted_in_how,time_zone,languages,pathways,strengths,"
        "moud_friendly,age_band,gender,facilities,capacity,hours,recovery_since,credential,"
        "credential_ends_on,route,route_ends_on,state",
        *(
            f"X-{n},Pat{n},+1503555030{n},pat{n}@peers.example.org,2026-01-05T10:00:00-08:00,form,"
            "America/Los_Angeles,en,12_step,job,yes,36-50,woman,north,9,09:00-20:00,2015-04-02,"
            "CRM,2030-01-31,workforce,,active"
            for n in range(10)
        ),
    ]
)

LOOPS = (
    "sender",
    "intake relay",
    "matching relay",
    "notifications relay",
    "intake consumer",
    "matching consumer",
    "notifications consumer",
    "intake timers",
    "matching timers",
    "notifications timers",
)
STEPS = st.lists(st.sampled_from(LOOPS), max_size=8)

BEGINNINGS = (
    ("register",),
    ("register", "mentor YES"),
    ("register", "mentor YES"),
    ("register bare",),
    ("give", "register bare"),
    ("register bare", "give"),
)
STAFF = ("correct", "give", "revoke text", "revoke email", "hold", "release", "stop outreach")
CLIENT = ("client STOP", "client HELP", "client SOMEONE ELSE", "client TALK", "client OK")
MENTOR = ("mentor YES", "mentor YES", "mentor NO", "mentor TALKED", "mentor PAUSE", "mentor BACK")
TIME = ("time passes",)
#: Each of these closes the support about a discharge.
CLOSING = ("cancel", "die", "client NO")
#: After each of these, something that was to be said may not be said any more.
FORBIDDING = {*CLOSING, "revoke text", "revoke email", "hold", "stop outreach", "client STOP"}
FORBIDDING |= {"client SOMEONE ELSE", "mentor NO", "mentor PAUSE"}

#: What may be said to somebody who wants nothing automated: written again here, on purpose.
MAY_FOLLOW_A_STOP = {"stopped", "help", "danger", "wrong_number", "mentor_stopped", "mentor_help"}
#: What a mentor who was told of somebody hears when that is over.
CLOSES_FOR_MENTORS = {"offer_closed", "ended_for_mentor"}
CONSENT = {"sms": "text", "email": "email"}

_NUMBERS = count()


class Witness:
    """Looks, as each letter leaves, at what notifications had committed by then.

    The sender's lease is committed just before, and nothing else commits between the two here.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self.late: list[tuple[str, str, str]] = []
        house.network.witness = self.see

    def see(self, channel: str, letter: Letter) -> None:
        """Note a letter that something forbade which was committed before."""
        prefix = "mobile" if channel == "sms" else "email"
        [row] = self._house.rows(
            "notifications",
            "SELECT m.purpose, m.recipient, m.is_answer, about.state,"
            " EXISTS (SELECT 1 FROM stopped_address WHERE token = :token) AS stopped,"
            " EXISTS (SELECT 1 FROM consent WHERE client_id = m.subject_id"
            "  AND channel = :consent) AS agreed"
            " FROM message AS m LEFT JOIN person AS about"
            "  ON about.id = m.subject_id AND about.kind = 'client' WHERE m.id = :id",
            id=letter.message_id,
            token=self._house.incoming.tokens.token(prefix, letter.to),
            consent=CONSENT[channel],
        )
        because = self._forbidden_by(row)
        if because is not None:
            self.late.append((row.purpose, row.recipient, because))

    @staticmethod
    def _forbidden_by(row: Any) -> str | None:
        if row.purpose in MAY_FOLLOW_A_STOP or row.recipient == "on_call":
            return None
        if row.stopped:
            return "STOP"
        if row.recipient == "client" and not row.agreed:
            return "revocation"
        if row.is_answer or row.purpose in CLOSES_FOR_MENTORS:
            return "death" if (row.recipient, row.state) == ("client", "died") else None
        # Matching ends what a hold interrupts; nothing must wait for that.
        return str(row.state) if row.state not in (None, "active") else None


class Life:
    """One client at north, and all that is said by and about them."""

    def __init__(self, house: House) -> None:
        self._house = house
        number = next(_NUMBERS)
        self.mobile = f"+1503555{2000 + number}"
        self.email = f"sam{number}@example.org"
        self._body = a_discharge(
            house.clock.now(),
            record_number=f"R-{number}",
            mobile=self.mobile,
            email=self.email,
        )
        self._agreed = dict(self._body.pop("consents"))
        self._offered = dict(self._agreed)
        self._paused: list[str] = []
        self._corrections = 0
        self.id = ""
        self.client_id = ""

    def live(self, script: Sequence[tuple[str, Any]], *, reads_first: bool) -> None:
        """Say each word, then let these loops step, or all of them until they rest (None).

        Loops run within seconds, so that all is at rest before time passes; ``reads_first``: so
        it is before somebody answers, who thereby answers what they were last asked.
        """
        for word, steps in script:
            if word in TIME or (reads_first and word.startswith(("client", "mentor"))):
                self._house.settle()
            self._say(word)
            loops = self._house.loops()
            for name in steps or ():
                loops[name].step()
            if steps is None:
                self._house.settle()
        self._house.settle()

    def end(self) -> None:
        """Leave the house as it was: every mentor is free and active, and it is ten o'clock."""
        self._say("die")
        while self._paused:
            self._say("mentor BACK")
        self._house.settle()
        if self._house.clock.now().hour != 18:
            self._say("time passes")
            self._house.settle()

    def _say(self, word: str) -> None:
        who, _, words = word.partition(" ")
        if who == "client":
            self._house.text_only(self.mobile, words)
        elif who == "mentor":
            self._mentor_says(words)
        elif who == "time":
            # To four in the afternoon of the next day, and to ten in the morning of the day after.
            self._house.clock.move(hours=30 if self._house.clock.now().hour == 18 else 18)
        else:
            self._staff_do(word)

    def _mentor_says(self, words: str) -> None:
        """Whoever is asked or stands beside the client; whoever paused says that they are back."""
        if words == "BACK":
            if self._paused:
                self._house.text_only(self._paused.pop(), words)
            return
        found = self._house.rows(
            "matching",
            "SELECT code FROM mentor JOIN assignment ON mentor_id = mentor.id"
            " WHERE client_id = :id AND assignment.state <> 'ended'",
            id=self.client_id,
        )
        if found:
            mobile = f"+1503555030{found[0].code[-1]}"
            self._house.text_only(mobile, words)
            if words == "PAUSE":
                self._paused.append(mobile)

    def _staff_do(self, word: str) -> None:
        api = self._house.api()
        if word in ("give", "revoke text", "revoke email"):
            self._agreed = dict(self._offered) if word == "give" else self._agreed
            self._agreed.pop(word.removeprefix("revoke "), None)
            body = {"facility": "north", "record_number": self._body["record_number"]}
            answer = api.put("/api/consents", json=body | {"consents": self._agreed})
        elif word == "stop outreach":
            desk = self._house.desk
            desk.stop_outreach(desk.facility("north"), self._body["record_number"])
            return
        elif word == "cancel":
            answer = api.post(f"/api/discharges/{self.id}/cancel")
        else:
            answer = api.post("/api/discharges", json=self._changed(word))
            self.id, self.client_id = answer.get_json()["id"], answer.get_json()["client_id"]
        assert answer.status_code < 300, answer.get_data(as_text=True)

    def _changed(self, word: str) -> dict[str, Any]:
        """The discharge as the clinic's feed would send it now."""
        if word == "register":
            return self._body | {"consents": self._agreed}
        if word == "register bare":
            self._agreed = self._agreed if self.client_id else {}
        if word == "correct":
            self._corrections += 1
            self._body |= {"name": {"called": f"Sam {self._corrections}"}}
        elif word == "readmit":
            self._body |= {"visit_number": f"V-{self._house.clock.now():%m%d}"}
        elif word in ("hold", "release", "die"):
            reasons = {"hold": "incarcerated", "release": "completed", "die": "died"}
            self._body |= {"reason": reasons[word]}
        return dict(self._body)

    def states(self) -> dict[str, Any]:
        """Where everything about this client stands, in all three services."""
        return {
            "discharges": self._rows(
                "intake", "SELECT state, closed_because FROM discharge WHERE client_id = :id"
            ),
            "agreed": self._rows(
                "intake",
                "SELECT channel FROM consent WHERE client_id = :id AND revoked_at IS NULL",
            ),
            "seeks": self._rows("matching", "SELECT state FROM client WHERE id = :id"),
            "beside": self._beside("matching"),
            "beside, as messages know it": self._beside("notifications"),
            "person": self._rows("notifications", "SELECT state FROM person WHERE id = :id"),
            "may be reached": self._rows(
                "notifications", "SELECT channel FROM consent WHERE client_id = :id"
            ),
            "stopped": self._rows(
                "notifications",
                "SELECT token = mobile_token FROM stopped_address JOIN person"
                " ON token IN (mobile_token, email_token) WHERE person.id = :id",
            ),
        }

    def messages(self) -> Counter[tuple[Any, ...]]:
        """All that was to be said about this client: purpose, recipient, channel, state."""
        query = "SELECT purpose, recipient, channel, state FROM message WHERE subject_id = :id"
        return Counter(self._rows("notifications", query))

    def said(self) -> set[tuple[str, str]]:
        """What left, as purpose and recipient: on which channel, and how often, may differ.

        A mentor whose yes was on its way hears that the question is settled, or that it is over.
        """
        gone = ("handed_over", "delivered")
        left = {(row[0], row[1]) for row in self.messages() if row[3] in gone}
        return {("over", who) if what in CLOSES_FOR_MENTORS else (what, who) for what, who in left}

    def _beside(self, service: str) -> list[tuple[Any, ...]]:
        query = "SELECT state FROM assignment WHERE client_id = :id AND state <> 'ended'"
        return self._rows(service, query)

    def _rows(self, service: str, query: str) -> list[tuple[Any, ...]]:
        return sorted(tuple(row) for row in self._house.rows(service, query, id=self.client_id))


@pytest.fixture
def north(house: House) -> House:
    """A house whose mentors are alike."""
    house.load_facilities()
    house.load_mentors(ROSTER)
    return house


@st.composite
def free_scripts(draw: st.DrawFn) -> list[tuple[str, list[str]]]:
    """Anything anybody could say, in any order."""
    every = (*STAFF, *CLIENT, *MENTOR, *CLOSING, *TIME, "readmit")
    words = [
        *draw(st.sampled_from(BEGINNINGS)),
        *draw(st.lists(st.sampled_from(every), max_size=8)),
    ]
    return [(word, draw(STEPS)) for word in words]


@st.composite
def one_ending(draw: st.DrawFn) -> list[tuple[str, list[str]]]:
    """A story with at most one closing word: which of two came first is for the clock to say."""
    every = (*STAFF, *CLIENT, *MENTOR, *TIME)
    words = list(draw(st.lists(st.sampled_from(every), max_size=6)))
    closing = draw(st.sampled_from((None, *CLOSING)))
    if closing is not None:
        place = draw(st.integers(0, len(words)))
        words.insert(place, closing)
    return [(word, draw(STEPS)) for word in (*draw(st.sampled_from(BEGINNINGS)), *words)]


@pytest.mark.parametrize("words", ["offered", "mentor YES"])
@pytest.mark.parametrize("closing", ["cancel", "die"])
def test_nobody_is_told_of_anybody_once_it_is_called_off(
    north: House, words: str, closing: str
) -> None:
    """Matching offers or assigns before it hears of the end; notifications hears that first."""
    witness, life = Witness(north), Life(north)
    to_matching = ("intake relay", "notifications relay", "matching consumer")
    if words == "offered":
        script = [("register", to_matching)]
    else:
        script = [("register", None), (words, to_matching)]

    life.live(
        [*script, (closing, ("intake relay", "notifications consumer", "matching relay"))],
        reads_first=False,
    )

    assert [] == witness.late
    assert {("first", "client")} >= {one for one in life.said() if one[1] == "client"}


@pytest.mark.parametrize(
    "words",
    [
        # Matching hears of the hold before notifications does, whose question is still open.
        [("hold", ("intake relay", "matching consumer", "matching relay")), ("client NO", None)],
        # Notifications hears both, and matching last of all.
        [("hold", ()), ("client NO", ("intake relay", "notifications relay"))],
        [("client NO", ()), ("hold", ("intake relay", "notifications consumer"))],
        [("client NO", None), ("hold", None)],
    ],
)
def test_a_no_holds_whatever_else_was_on_its_way(
    north: House, words: list[tuple[str, Any]]
) -> None:
    """Who wants nobody is introduced to nobody, though a hold for their discharge is lifted."""
    witness, life = Witness(north), Life(north)

    life.live([("register", None), ("mentor YES", None), *words], reads_first=False)
    north.clock.move(minutes=2)
    violated = north.violated()
    life.live([("release", None)], reads_first=False)
    states, told = life.states(), life.messages()
    tasks = {task["kind"] for task in north.tasks()}
    life.end()

    assert {} == violated
    assert [] == witness.late
    assert [("closed", "client_declined")] == states["discharges"]
    assert [("ended",)] == states["seeks"]
    assert [("declined",)] == states["person"]
    assert [] == states["beside"]
    assert 1 == sum(n for (purpose, *_), n in told.items() if purpose == "introduction")
    assert {"client_declined"} == tasks


def test_nothing_leaves_after_what_forbids_it_and_the_services_agree(north: House) -> None:
    """Any words in any order, answers to nothing included.

    At every step: no letter leaves that a STOP, a revocation, a death, a hold or a cancellation
    forbids which notifications had committed. At rest: nothing is early, parked, leased or due,
    and each service knows of the client what the others know.
    """

    @QUIETLY
    @given(free_scripts())
    def holds(script: list[tuple[str, list[str]]]) -> None:
        witness, life = Witness(north), Life(north)
        life.live(script, reads_first=False)
        states = life.states()
        life.end()

        assert [] == witness.late
        _assert_agreed(states)
        _assert_at_rest(north)

    holds()

    assert {} == north.violated()


def test_how_fast_the_loops_are_changes_no_end(north: House) -> None:
    """The same words in the same order, told to a prompt house and to one whose loops dawdle.

    Equal must be every state in every service. Who is asked may differ, for mentors who are alike
    are drawn by lot. Messages must be equal by purpose, recipient, channel and state where no
    word of the story forbids any; where one does, the dawdling house may have left unsaid what
    the prompt one had said before, and says nothing that the prompt one did not say.
    """

    @QUIETLY
    @given(one_ending())
    def holds(script: list[tuple[str, list[str]]]) -> None:
        prompt, dawdling = Life(north), Life(north)
        prompt.live([(word, None) for word, _ in script], reads_first=True)
        at_best = prompt.states(), prompt.messages(), prompt.said()
        prompt.end()
        dawdling.live(script, reads_first=True)
        states, messages, said = dawdling.states(), dawdling.messages(), dawdling.said()
        dawdling.end()

        assert at_best[0] == states
        assert set() == said - at_best[2]
        if FORBIDDING.isdisjoint(word for word, _ in script):
            assert at_best[1] == messages

    holds()

    assert {} == north.violated()


def _assert_agreed(states: dict[str, Any]) -> None:
    """What is known in one service is known in the others."""
    assert states["agreed"] == states["may be reached"]
    assert states["beside"] == states["beside, as messages know it"]
    known = {state for state, _ in states["discharges"] if state != "closed"}
    beside = {state for (state,) in states["beside"]}
    if beside or known & {"offered", "assigned", "in_contact"}:
        assert beside == known
    assert ("waiting" in known) == (("waiting",) in states["seeks"])


def _assert_at_rest(house: House) -> None:
    for service in house.participants:
        for table in ("early", "parked_key", "parked_event"):
            assert [(0,)] == [
                tuple(r) for r in house.rows(service, f"SELECT count(*) FROM {table}")
            ]
    due = "SELECT purpose, state FROM message WHERE state = 'leased' OR state = 'planned'"
    assert [] == house.rows("notifications", f"{due} AND due_at <= :now", now=house.clock.now())
