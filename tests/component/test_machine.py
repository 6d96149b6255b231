"""Anything that people, loops and crashes can do in any order, beside a model of what must follow.

Hypothesis draws what happens next: somebody says something, time passes, one loop of one worker
makes a step, a network answers otherwise, a handler fails, a record comes twice, or a process dies
in a gap between two effects (``messaging/points.py``). The handlers, databases and loops are the
product's own. The model beside them knows only what was asked of the product; it says what must be
so at every moment, and once everything is mended and has come to rest.

``WARM_HANDOFF_EXAMPLES`` and ``WARM_HANDOFF_STEPS`` make it longer, ``WARM_HANDOFF_RANDOM`` draws
other stories each time; ``-s`` prints what was covered.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import create_engine, text

from contracts.event import Event
from contracts.parking import KeyParked, KeyReleased
from contracts.topics import TOPICS
from messaging import parking, points, releasing
from messaging.memory import MemoryBroker
from messaging.sealing import NOT_OPENED
from messaging.shredding import Shredding
from messaging.work import Work
from services.notifications import sender as sending
from services.notifications.channels import Letter, Outcome
from services.notifications.incoming import Desk as IncomingDesk
from services.notifications.mentors import MentorDesk, NoRoute, NotTheirs
from tests.component.test_interleavings import MAY_FOLLOW_A_STOP, ROSTER, Witness
from tests.component.test_unopened import DAMAGED, KEPT, damage, lose_keys
from tests.fault import ledger
from tests.fault.harm import sent_again
from tests.house import House, a_discharge, an_empty_house
from tests.kept import Kept, keep, put_back

EXAMPLES = int(os.environ.get("WARM_HANDOFF_EXAMPLES", "8"))
STEPS = int(os.environ.get("WARM_HANDOFF_STEPS", "30"))
#: Other stories in each run, instead of the same.
RANDOMLY = "WARM_HANDOFF_RANDOM" in os.environ
QUIETLY = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    derandomize=not RANDOMLY,
    deadline=None,
    database=None,
    # A story is shortened where it can be told again the same way; a long search only finds one.
    phases=(Phase.generate, Phase.shrink)[: 1 if RANDOMLY else 2],
    suppress_health_check=list(HealthCheck),
)

#: So few places that mentors are asked one after the other, and that clients wait.
MENTORS = 3
_HEAD, *_ALIKE = ROSTER.splitlines()
FEW = "\n".join([_HEAD, *(one.replace(",north,9,", ",north|south,1,") for one in _ALIKE[:MENTORS])])

SERVICES = ("intake", "matching", "notifications")
#: The points that the steps of each kind of loop pass; what is left is passed by commands.
PASSED_BY = {
    "relay": ("relay.read", "relay.sent", "relay.marked", "relay.beaten"),
    "consumer": tuple(name for name in points.POINTS if name.startswith("batch.")),
    "timers": ("timer.due", "work.begun", "work.decided", "work.written", "work.committed"),
    "sender": ("lease.taken", "sending.begins", "sending.ended", "sending.recorded"),
}
PASSED_BY_COMMANDS = ("keys.made", *(name for name in points.POINTS if name.startswith("work.")))
#: How a network may answer instead of taking a message.
ANSWERS = {
    "rejected": Outcome(kind="rejected", phase="done", reason="refused"),
    "unknown": Outcome(kind="unknown", phase="body", reason="no_answer"),
    "retry": Outcome(kind="retry", phase="done", reason="busy"),
    "not sent": Outcome(kind="not_sent", phase="connect", reason="no_network"),
}
CLIENT_WORDS = ("NO", "SOMEONE ELSE", "STOP", "START", "HELP", "TALK", "OK", "hm")
MENTOR_WORDS = ("YES", "YES", "YES", "NO", "TALKED", "NO ANSWER", "PAUSE", "BACK", "STOP", "START")
#: Where a discharge can be that is open, not held, and has come to rest.
GOES_ON = {"waiting", "offered", "assigned", "in_contact"}
OF_PARKING = (KeyParked, KeyReleased)
#: The consent that each channel needs.
CHANNELS = {"sms": "text", "email": "email"}


class Killed(BaseException):
    """The process is gone; no ``except Exception`` of the product's sees it."""


class Harm:
    """Stands where ``WARM_HANDOFF_CRASH`` would: counts who passes, and kills at one point."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.hit: Counter[str] = Counter()
        self._point = self._name = ""
        self._left = 0
        self._dead = False
        #: ``reached`` compares a point's name with this; every name is met.
        self.name = self

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, name: object) -> bool:
        self._name = str(name)
        return True

    def arm(self, point: str, nth: int = 1) -> None:
        """Whoever passes this point for the nth time dies."""
        self._point, self._left, self._dead = point, nth, False

    def disarm(self) -> None:
        """Nobody dies any more."""
        self.arm("", 0)

    def pass_by(self) -> None:
        """Die, if it is time; and whatever else runs in a dead process dies too."""
        self.passed[self._name] += 1
        if self._dead:
            raise Killed(self._name)
        if self._name == self._point:
            self._left -= 1
            if self._left == 0:
                self.hit[self._name] += 1
                self._dead = True
                raise Killed(self._name)


class _Later(Executor):
    """Does what is submitted when it is waited for, which a dead process never does."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return _Lazy(lambda: fn(*args, **kwargs))


class _Lazy(Future[Any]):
    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self._act = act
        self._asked = 0

    def done(self) -> bool:
        """It takes a while."""
        self._asked += 1
        return self._asked > 1

    def result(self, timeout: float | None = None) -> Any:
        return self._act()


@dataclass
class Visit:
    """What was asked for about one discharge."""

    body: dict[str, Any]
    id: str
    #: Whether support was let begin, and what ended it.
    said: bool = False
    over: str | None = None
    #: A later one went on while this was held, which closes it when it is looked at again.
    overtaken: bool = False

    @property
    def stops(self) -> bool:
        """Whether where the client is holds it."""
        return self.body["reason"] in ("incarcerated", "transferred")


@dataclass
class Client:
    """What was asked for about one client, and what must follow from it."""

    facility: str
    record: str
    mobile: str
    email: str
    id: str = ""
    visits: list[Visit] = field(default_factory=list)
    agreed: set[str] = field(default_factory=set)
    dead: bool = False
    erased: bool = False
    #: Nobody can know where they stand until all is at rest: they said NO to somebody.
    declines: bool = False
    texts: int = 0
    addresses: set[str] = field(default_factory=set)
    #: All that everybody knew when all was at rest last, or was agreed to since.
    may_be_reached: set[str] = field(default_factory=set)
    silent: str | None = None

    def judge(self) -> None:
        """What follows for each discharge from what is known now (design, section 6, step 1)."""
        for visit in self.visits:
            if self.dead and visit.over is None:
                visit.over = "died"
        for visit in sorted(self.visits, key=lambda one: one.body["discharged_at"]):
            # A later discharge replaces an earlier one, in whatever order they are completed.
            later = [v for v in self.visits if v.said and v.over is None and self._after(v, visit)]
            visit.overtaken = visit.overtaken or bool(later)
            if visit.over is None and not visit.said and self.agreed and not visit.stops:
                if later:
                    visit.over = "a later discharge"
                    continue
                for other in self.visits:
                    if other.said and other.over is None:
                        other.over = "a later discharge"
                visit.said = True

    @staticmethod
    def _after(one: Visit, other: Visit) -> bool:
        return bool(one.body["discharged_at"] > other.body["discharged_at"])

    def expected(self, visit: Visit) -> set[tuple[str, str | None]]:
        """Where the discharge may be once all is at rest, and why it is closed."""
        if visit.over is not None:
            found: set[tuple[str, str | None]] = {("closed", visit.over)}
        elif visit.stops or not visit.said:
            found = {("held", None)}
            if visit.overtaken and not visit.said:
                found.add(("closed", "a later discharge"))
        else:
            found = {(state, None) for state in GOES_ON}
        if self.declines and visit.said:
            found.add(("closed", "client_declined"))
        return found


class ModelWitness(Witness):
    """Sees each letter as it leaves: against the database's own word, and against the model."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.house)
        self._machine = machine
        self.said: Counter[str] = Counter()

    def see(self, channel: str, letter: Letter) -> None:
        """Note what may not leave, and what left before."""
        super().see(channel, letter)
        [row] = self._house.rows(
            "notifications",
            "SELECT once, purpose, recipient, is_answer FROM message WHERE id = :id",
            id=letter.message_id,
        )
        self.said[row.once] += 1
        why = "twice" if self.said[row.once] > 1 else self._machine.forbids(channel, letter, row)
        if why is not None:
            self.late.append((row.purpose, row.recipient, why))


class Machine(RuleBasedStateMachine):
    """The house, its model, and everything that may happen."""

    kept: ClassVar[Mapping[str, Kept]]
    databases: ClassVar[dict[str, str]]
    broker: ClassVar[MemoryBroker]
    harm: ClassVar[Harm]
    done: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.done["a story"] += 1
        put_back(self.databases, self.kept)
        self.house = House(self.databases, self.broker.copy())
        self.clients: list[Client] = []
        self.broken: set[tuple[str, UUID]] = set()
        self.damaged: dict[UUID, Callable[[], None]] = {}
        self.mentors = [row.id for row in self.house.rows("matching", "SELECT id FROM mentor")]
        self.stopped: set[str] = set()
        self._doom = ""
        self._texts = 0
        self._let_handlers_fail()
        self.witness = ModelWitness(self)

    def _let_handlers_fail(self) -> None:
        house = self.house
        for name, participant in house.participants.items():
            on = {kind: [self._failing(name), *then] for kind, then in participant.on.items()}
            house.participants[name] = replace(participant, on=on)
            setattr(house, name, house.participants[name])
        house.desk = replace(house.desk, participant=house.intake)
        house.incoming = IncomingDesk(participant=house.notifications, tokens=house.incoming.tokens)
        for name in SERVICES:
            self._kill(name)

    def _failing(self, service: str) -> Callable[[Event, Work], Iterator[Event]]:
        def fails(event: Event, work: Work) -> Iterator[Event]:
            # One that cannot even be parked stops the service: see ``Subscriber._take``.
            if (service, event.key) in self.broken and not isinstance(event, OF_PARKING):
                raise LookupError
            yield from ()

        return fails

    def _kill(self, service: str) -> None:
        self.harm.disarm()
        self.house.kill(service)
        later: Any = _Later()
        self.house.sender._pool = self.house.sender._writing = later

    # What people ask for.

    def _ask(self, what: Callable[[], Any]) -> Any:
        """A command, whose process may die over it: whoever gets no answer asks again."""
        doom, self._doom = self._doom, ""
        self.harm.arm(doom)
        try:
            return what()
        except Killed:
            self.done[f"a command dies: {doom}"] += 1
            self.harm.disarm()
            return what()
        finally:
            self.harm.disarm()

    def _client(self, number: int) -> Client:
        return self.clients[number % len(self.clients)]

    def _register(self, client: Client, body: dict[str, Any]) -> None:
        agreed = body.get("consents", {})
        answer = self._ask(lambda: self.house.register_only(**body))
        client.id = client.id or answer["client_id"]
        assert client.id == answer["client_id"]
        known = [visit for visit in client.visits if visit.id == answer["id"]]
        assert [v.body["visit_number"] for v in known] in ([], [body["visit_number"]])
        if known:
            known[0].body |= body
        else:
            assert all(v.body["visit_number"] != body["visit_number"] for v in client.visits)
            client.visits.append(Visit(body, answer["id"]))
        client.agreed |= set(agreed)
        client.may_be_reached |= set(agreed)
        client.dead = client.dead or body["reason"] == "died"
        if not known:
            client.silent = client.silent if client.dead else None
        client.judge()

    def _body(self, client: Client, visit: str, *, agrees: bool, **changes: Any) -> dict[str, Any]:
        changes |= {
            "facility": client.facility,
            "record_number": client.record,
            "visit_number": visit,
            "mobile": client.mobile,
            "email": client.email,
        }
        # What is agreed to anew was agreed to after whatever was taken back.
        self.house.clock.move(seconds=1)
        now = self.house.clock.now()
        body = a_discharge(now, **changes)
        given = {
            name: one | {"given_at": now.isoformat()} for name, one in body["consents"].items()
        }
        body["consents"] = given if agrees else {}
        return body

    @initialize(facility=st.sampled_from(("north", "south")))
    def somebody_is_discharged(self, facility: str) -> None:
        self._newcomer(facility, agrees=True)

    @precondition(lambda self: len(self.clients) < 5)
    @rule(facility=st.sampled_from(("north", "south")), agrees=st.booleans())
    def another_is_discharged(self, facility: str, agrees: bool) -> None:
        self._newcomer(facility, agrees=agrees)

    def _newcomer(self, facility: str, *, agrees: bool) -> None:
        number = len(self.clients)
        client = Client(
            facility, f"R-{number}", f"+1503555{2000 + 10 * number}", f"{number}@a.example"
        )
        client.addresses = {client.mobile, client.email}
        self.clients.append(client)
        self._register(client, self._body(client, "V-1", agrees=agrees))

    @rule(
        number=st.integers(0, 4),
        reason=st.sampled_from(("completed", "completed", "incarcerated", "left_against_advice")),
        agrees=st.booleans(),
        called=st.sampled_from(("Sam", "Pat")),
    )
    def the_same_visit_is_sent_again(
        self, number: int, reason: str, agrees: bool, called: str
    ) -> None:
        client = self._client(number)
        if not client.erased:
            body = dict(client.visits[-1].body)
            given = self._body(client, "", agrees=agrees)["consents"]
            body |= {"reason": reason, "consents": given, "name": {"called": called}}
            self._register(client, body | {"mobile": client.mobile})

    @rule(number=st.integers(0, 4), agrees=st.booleans())
    def a_later_visit_ends(self, number: int, agrees: bool) -> None:
        client = self._client(number)
        if not client.erased:
            # Two visits of one person do not end at the same moment.
            self.house.clock.move(minutes=1)
            visit = f"V-{len(client.visits) + 1}"
            self._register(client, self._body(client, visit, agrees=agrees))

    @rule(number=st.integers(0, 4))
    def somebody_dies(self, number: int) -> None:
        client = self._client(number)
        if not client.erased:
            self._register(client, client.visits[-1].body | {"reason": "died", "consents": {}})

    @rule(number=st.integers(0, 4), which=st.integers(0, 2))
    def a_visit_is_cancelled(self, number: int, which: int) -> None:
        client = self._client(number)
        visit = client.visits[which % len(client.visits)]
        if not client.erased:
            path = f"/api/discharges/{visit.id}/cancel"
            answer = self._ask(lambda: self.house.api(client.facility).post(path))
            assert answer.status_code == 200, answer.get_data(as_text=True)
            visit.over = visit.over or "cancelled"
            client.judge()

    @rule(number=st.integers(0, 4), agreed=st.sets(st.sampled_from(("text", "email"))))
    def consents_are_as_follows(self, number: int, agreed: set[str]) -> None:
        client = self._client(number)
        if not client.erased:
            given = self._body(client, "", agrees=True)["consents"]
            body = {"facility": client.facility, "record_number": client.record}
            body |= {"consents": {name: given[name] for name in agreed}}  # type: ignore[dict-item]
            api = self.house.api(client.facility)
            answer = self._ask(lambda: api.put("/api/consents", json=body))
            assert answer.status_code == 200, answer.get_data(as_text=True)
            client.agreed = set(agreed)
            client.may_be_reached |= agreed
            client.judge()

    @rule(number=st.integers(0, 4), end=st.integers(1, 9))
    def a_number_changes(self, number: int, end: int) -> None:
        client = self._client(number)
        if not client.erased:
            client.mobile = f"{client.mobile[:-1]}{end}"
            client.addresses.add(client.mobile)
            body = {"facility": client.facility, "record_number": client.record}
            api = self.house.api(client.facility)
            body |= {"mobile": client.mobile}
            answer = self._ask(lambda: api.put("/api/contact", json=body))
            assert answer.status_code == 200, answer.get_data(as_text=True)
            client.judge()

    @rule(number=st.integers(0, 4), sure=st.integers(0, 3))
    def somebody_is_erased(self, number: int, sure: int) -> None:
        client = self._client(number)
        if sure == 0 and not client.erased:
            desk, whom = self.house.desk, UUID(client.id)
            assert self._ask(lambda: desk.erase(whom, by="ops", because="asked"))
            client.erased = True
            for visit in client.visits:
                # Whyever it was closed, nobody is asked for anything about it any more.
                visit.over = "erased"

    def _text(self, number: str, words: str) -> None:
        self._texts += 1
        which = f"SM-{self._texts}"
        self._ask(lambda: self.house.incoming.text_received(number, words, which))
        if words == "STOP":
            self.stopped.add(number)
        elif words == "START":
            self.stopped.discard(number)

    @rule(number=st.integers(0, 4), words=st.sampled_from(CLIENT_WORDS))
    def a_client_texts(self, number: int, words: str) -> None:
        client = self._client(number)
        client.texts += 1
        client.declines = client.declines or words == "NO"
        self._text(client.mobile, words)

    @rule(number=st.integers(0, MENTORS - 1), words=st.sampled_from(MENTOR_WORDS))
    def a_mentor_texts(self, number: int, words: str) -> None:
        self._text(f"+1503555030{number}", words)

    @rule(number=st.integers(0, 4), words=st.sampled_from(MENTOR_WORDS))
    def whoever_is_beside_them_texts(self, number: int, words: str) -> None:
        query = (
            "SELECT code FROM mentor JOIN assignment ON mentor_id = mentor.id"
            " WHERE client_id = :id AND assignment.state <> 'ended'"
        )
        for row in self.house.rows("matching", query, id=self._client(number).id):
            self._text(f"+1503555030{row.code[-1]}", words)

    @rule(number=st.integers(0, 4))
    def a_mentor_passes_a_client_on(self, number: int) -> None:
        """In their pages, where they are shown none but their own, of whom all can be opened."""
        desk = MentorDesk(participant=self.house.notifications)
        goes_on = "id, mentor_id FROM assignment", "state <> 'ended' AND client_id"
        for row in self._about("notifications", self._client(number), *goes_on):
            with suppress(NotTheirs, NoRoute, *NOT_OPENED):
                self._ask(partial(desk.pass_on, row.mentor_id, row.id))
                self.done["a client is passed on"] += 1

    # What happens by itself.

    @rule(minutes=st.sampled_from((1, 10, 50, 130, 300, 14 * 60, 26 * 60, 3 * 24 * 60)))
    def time_passes(self, minutes: int) -> None:
        # Whoever lives writes down what became of a message within its lease, not hours later, and
        # hears what is said: within a minute, or nothing is sent (``messaging/heartbeats.py``).
        self.house.sender.finish_recording()
        for name in ("intake relay", "matching relay", "notifications consumer"):
            while self.house.loops()[name].step():
                pass
        self.house.clock.move(minutes=minutes)

    @rule(answer=st.sampled_from(sorted(ANSWERS)), taken=st.integers(0, 2))
    def a_network_will_answer(self, answer: str, taken: int) -> None:
        fine = [Outcome(kind="accepted", phase="done", provider_id="P") for _ in range(taken)]
        self.house.network.outcomes += [*fine, ANSWERS[answer]]

    @rule(names=st.lists(st.integers(0, 9), min_size=1, max_size=8))
    def loops_make_steps(self, names: list[int]) -> None:
        loops = sorted(self.house.loops().items())
        for number in names:
            loops[number][1].step()

    @rule()
    def all_loops_make_a_step(self) -> None:
        self._round()

    def _round(self) -> None:
        """Every loop once; a worker that dies over it is followed by another."""
        for name in self.house.loops():
            service = "notifications" if name == "sender" else name.partition(" ")[0]
            try:
                self.house.loops()[name].step()
            except Killed as where:
                self.done[f"a worker dies: {where}"] += 1
                self._kill(service)

    @rule(topic=st.sampled_from(SERVICES), back=st.integers(0, 9), count=st.integers(1, 3))
    def records_come_twice(self, topic: str, back: int, count: int) -> None:
        name = TOPICS[topic].name
        for partition in range(self.house.broker.partitions):
            log = list(self.house.broker.log((name, partition)))[::-1]
            for one in log[back : back + count][::-1]:
                self.house.broker.append(replace(sent_again(one), partition=partition))

    # What goes wrong.

    @rule(
        kind=st.sampled_from(sorted(PASSED_BY)),
        which=st.integers(0, 7),
        nth=st.integers(1, 3),
    )
    def workers_die(self, kind: str, which: int, nth: int) -> None:
        """Whichever worker passes this point first dies there; the others go on."""
        self.harm.arm(PASSED_BY[kind][which % len(PASSED_BY[kind])], nth)
        self._round()
        self._round()
        self.harm.disarm()

    @rule(point=st.sampled_from(PASSED_BY_COMMANDS))
    def the_next_command_dies(self, point: str) -> None:
        self._doom = point

    @rule(service=st.sampled_from(SERVICES), number=st.integers(0, 4))
    def a_handler_fails(self, service: str, number: int) -> None:
        self.broken.add((service, UUID(self._client(number).id)))

    @rule(
        number=st.integers(0, 4 + MENTORS),
        purpose=st.sampled_from(("about", "contact")),
        rounds=st.integers(1, 3),
    )
    def keys_are_away_for_a_while(self, number: int, purpose: str, rounds: int) -> None:
        """As when they were put back from before somebody was known, and then from today."""
        whom = self._whom(number)
        if whom is not None:
            put_them_back = lose_keys(self.house, [whom], purpose)
            for _ in range(rounds):
                self._round()
            put_them_back()

    @rule(
        number=st.integers(0, 4 + MENTORS),
        service=st.sampled_from(sorted(KEPT)),
        how=st.sampled_from(sorted(DAMAGED)),
    )
    def what_is_kept_is_damaged(self, number: int, service: str, how: str) -> None:
        """Until everything is mended, or until what is kept of them is written anew."""
        whom, (table, _) = self._whom(number), KEPT[service]
        if whom is None or whom in self.damaged:
            return
        if self.house.rows(service, f"SELECT id FROM {table} WHERE id = :id", id=whom):
            self.done[f"a {table} is damaged"] += 1
            self.damaged[whom] = damage(self.house, service, whom, how=how)

    def _whom(self, number: int) -> UUID | None:
        """A client who is not erased, or a mentor."""
        if number > 4:
            return self.mentors[number - 5]
        client = self._client(number)
        return None if client.erased else UUID(client.id)

    @rule(mended=st.booleans(), dies=st.booleans())
    def what_is_parked_is_replayed(self, mended: bool, dies: bool) -> None:
        if mended:
            self.broken.clear()
        self._doom = "parked.freed" if dies else self._doom
        for name, participant in self.house.participants.items():
            for one in parking.listed(participant):
                if not one.is_tried_enough or mended:
                    self.done["a key is replayed"] += 1
                    self._ask(lambda: releasing.replay(participant, one.key, once_more=mended))  # noqa: B023
                    self.done[f"parked in {name}"] += 1

    # What must be so.

    def forbids(self, channel: str, letter: Letter, row: Any) -> str | None:
        """Why the model does not let this letter leave now; None when it does."""
        if row.purpose in MAY_FOLLOW_A_STOP or row.recipient == "on_call":
            return None
        if letter.to in self.stopped:
            return "the model: STOP"
        if row.recipient != "client":
            return None
        [client] = [one for one in self.clients if letter.to in one.addresses]
        if CHANNELS[channel] not in client.may_be_reached:
            return "the model: no consent"
        if client.silent is not None and not (client.silent == "cancelled" and row.is_answer):
            return f"the model: {client.silent}"
        return None

    @invariant()
    def nothing_left_that_may_not(self) -> None:
        assert [] == self.witness.late

    @invariant()
    def nobody_has_two_mentors_and_no_mentor_too_many(self) -> None:
        many = (
            "SELECT client_id FROM assignment WHERE state <> 'ended' GROUP BY client_id"
            " HAVING count(*) > 1"
        )
        assert [] == self.house.rows("matching", many)
        full = (
            "SELECT mentor.code FROM assignment JOIN mentor ON mentor.id = mentor_id"
            " WHERE assignment.state <> 'ended' GROUP BY mentor.id HAVING count(*) > capacity"
        )
        assert [] == self.house.rows("matching", full)

    @rule()
    def everything_is_mended_and_comes_to_rest(self) -> None:
        self._mend()
        self._assert_at_rest()

    def _mend(self) -> None:
        self.broken.clear()
        for put_it_back in self.damaged.values():
            put_it_back()
        self.damaged.clear()
        self.house.network.outcomes.clear()
        for name in SERVICES:
            Shredding(self.house.participants[name]).step()
        self.house.settle()
        parked = [
            (p, one.key) for p in self.house.participants.values() for one in parking.listed(p)
        ]
        for participant, key in parked:
            assert releasing.replay(participant, key, once_more=True)
        if parked:
            self.house.settle()

    def _assert_at_rest(self) -> None:
        for service in SERVICES:
            for table in ("early", "parked_key", "parked_event"):
                assert [] == self.house.rows(service, f"SELECT key FROM {table}"), (service, table)
        due = "SELECT purpose FROM message WHERE state = 'leased' OR state = 'planned'"
        assert [] == self.house.rows(
            "notifications", f"{due} AND due_at <= :now", now=self.house.clock.now()
        )
        for client in self.clients:
            self._assert_is_where_it_must_be(client)
            self._assert_was_told_as_often_as_there_was_cause(client)
            if client.erased:
                self._assert_cannot_be_opened(client)
            client.may_be_reached = set(client.agreed)
            client.silent = self._silent(client)
        self._assert_messages_are_what_left()

    @staticmethod
    def _silent(client: Client) -> str | None:
        if client.dead or client.erased:
            return "died" if client.dead else "erased"
        over = [visit.over for visit in client.visits]
        return "cancelled" if set(over) == {"cancelled"} else None

    def _assert_is_where_it_must_be(self, client: Client) -> None:
        rows = self._about(
            "intake", client, "id, state, closed_because FROM discharge", "client_id"
        )
        assert sorted(str(row.id) for row in rows) == sorted(v.id for v in client.visits)
        states = {str(row.id): (row.state, row.closed_because) for row in rows}
        for visit in client.visits:
            assert states[visit.id] in client.expected(visit), (visit.body["visit_number"], client)
            if states[visit.id][0] == "closed":
                visit.over = states[visit.id][1]
        client.declines = False
        mine = "state FROM assignment", "state <> 'ended' AND client_id"
        beside = sorted(row.state for row in self._about("matching", client, *mine))
        assert beside == sorted(row.state for row in self._about("notifications", client, *mine))
        goes_on = {state for state, _ in states.values()} & GOES_ON - {"waiting"}
        assert beside == sorted(goes_on)
        if not client.erased:
            own = "channel FROM consent", "revoked_at IS NULL AND client_id"
            kept = {row.channel for row in self._about("intake", client, *own)}
            heard = "channel FROM consent", "client_id"
            told = {row.channel for row in self._about("notifications", client, *heard)}
            assert (client.agreed, client.agreed) == (kept, told)

    def _about(self, service: str, client: Client, what: str, whose: str) -> list[Any]:
        return self.house.rows(service, f"SELECT {what} WHERE {whose} = :id", id=client.id)

    def _assert_was_told_as_often_as_there_was_cause(self, client: Client) -> None:
        """Each message is worded for its cause; a second of the same kind needs a second cause."""
        query = (
            "purpose, is_answer FROM message",
            "recipient = 'client' AND state IN ('handed_over', 'unconfirmed') AND person_id",
        )
        rows = self._about("notifications", client, *query)
        assert sum(row.is_answer for row in rows) <= client.texts
        told = Counter(row.purpose for row in rows)
        assert told["first"] <= len(client.visits)
        said = "type = 'MentorAssigned' AND key"
        assigned = self._about("matching", client, "type FROM outbox", said)
        assert told["introduction"] <= len(assigned)

    def _assert_messages_are_what_left(self) -> None:
        """What counts as handed over has left, and nothing else, but where nobody can know."""
        left = {letter.message_id for _, letter in self.house.network.letters}
        rows = self.house.rows("notifications", "SELECT id, state FROM message")
        states = {str(row.id): row.state for row in rows}
        assert left <= states.keys()
        told = {one for one, state in states.items() if state == "handed_over"}
        unknown = {one for one, state in states.items() if state == "unconfirmed"}
        assert told <= left <= told | unknown

    def _assert_cannot_be_opened(self, client: Client) -> None:
        owner = create_engine(self.databases["KEYS_OWNER_URL"])
        with owner.connect() as conn:
            for purpose in ("identity", "about", "contact"):
                query = f"SELECT wrapped FROM key_{purpose} WHERE person = :id"
                assert {None} == set(conn.execute(text(query), {"id": client.id}).scalars())
        owner.dispose()

    def teardown(self) -> None:
        """Everything is mended, and all nine guarantees hold."""
        try:
            self.harm.disarm()
            self._mend()
            self._assert_at_rest()
            assert [] == self.witness.late
            self.house.clock.move(minutes=2)
            self._mend()
            assert {} == self.house.violated(at_rest=True)
        finally:
            self.house.close()


@pytest.fixture
def machine(engines: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Machine]]:
    """The machine over a house with few mentors, which each example finds as it was."""
    Machine.harm, Machine.done, Machine.databases = Harm(), Counter(), engines
    monkeypatch.setattr(points, "_ARMED", Machine.harm)
    # Leases run out when a worker dies, and whoever looks sees it at once.
    monkeypatch.setattr(sending, "EXPIRE_EVERY_SECONDS", -1.0)
    with an_empty_house(engines) as house:
        house.load_facilities()
        house.load_mentors(FEW)
        Machine.kept, Machine.broker = keep(engines), house.broker
    yield Machine
    put_back(engines, {})


def test_whatever_happens_in_whatever_order_the_promises_hold(machine: type[Machine]) -> None:
    try:
        with ledger.kept("stories", f"{STEPS} steps", trials=EXAMPLES):
            run_state_machine_as_test(machine, settings=QUIETLY)  # type: ignore[no-untyped-call]
    finally:
        for what, count in sorted((machine.done + Counter()).items()):
            print(f"{count:7} {what}")
        for point in points.POINTS:
            passed, died = machine.harm.passed[point], machine.harm.hit[point]
            print(f"{passed:7} passed, {died:4} died: {point}")
