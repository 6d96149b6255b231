"""The demo as a newcomer meets it: every button of the desk, and the example clients."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests

from deploy.sandbox.events import SERVICES
from tests.running import Running, a_running_system, eventually

#: Case -> the state it ends in, and a step that its story must hold.
ENDS = {
    "in-contact": ("in_contact", {"what": "first_contact"}),
    "no-answer": ("assigned", {"meaning": "no_answer"}),
    "never-answered": ("offered", {"what": "offered"}),
    "declined-twice": ("assigned", {"what": "declined"}),
    "introduced": ("assigned", {"purpose": "introduction", "what": "message_delivered"}),
    "left-advice": ("assigned", {"what": "assigned"}),
    "spanish": ("assigned", {"template": "introduction.es"}),
    "stopped": ("assigned", {"meaning": "stop"}),
    "said-no": ("closed", {"because": "client_declined"}),
    "someone-else": ("assigned", {"because": "client_wants_another"}),
    "unclear": ("assigned", {"meaning": "unclear"}),
    "wrong-number": ("assigned", {"meaning": "wrong_number"}),
    "danger": ("assigned", {"meaning": "danger"}),
    "consent-revoked": ("assigned", {"what": "consent_revoked"}),
    "unconfirmed": ("assigned", {"what": "message_unconfirmed"}),
    "failed-then-mail": ("assigned", {"what": "message_failed", "next_channel": "email"}),
    "failed": ("assigned", {"what": "message_failed"}),
    "no-consent": ("held", {"what": "held"}),
    "no-birth-date": ("held", {"what": "held"}),
    "long-ago": ("held", {"what": "held"}),
    "under-18": ("held", {"what": "held"}),
    "transferred": ("held", {"what": "held"}),
    "incarcerated": ("held", {"what": "held"}),
    "died": ("closed", {"because": "died"}),
    "cancelled": ("closed", {"because": "cancelled"}),
    "no-language": ("waiting", {"what": "waiting"}),
    "no-such-mentor": ("waiting", {"what": "waiting"}),
    "honolulu": ("assigned", {"what": "message_delayed", "because": "outside_hours"}),
    "mail-only": ("assigned", {"channel": "email", "what": "message_handed_over"}),
}
SOUTH = ("honolulu", "mail-only")


class AtTheDesk:
    """Somebody with a browser that runs no scripts."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._url = f"{running.access['sandbox_url']}/desk"
        self.id = ""
        self.said = ""

    def send(self, kind: str) -> str:
        """Send a discharge; its id."""
        self._post("/send", kind=kind)
        return self.id

    def do(self, deed: str) -> str:
        """Press a button; what the desk says."""
        self._post("/do", deed=deed, d=self.id)
        return self.said

    def answer(self, who: str, words: str) -> None:
        """Answer from a phone, once it can be."""
        number = self.number(who)
        self._post("/answer", d=self.id, number=number, text=words)

    def number(self, who: str) -> str:
        """The number of a phone, once it is known."""
        shown = rf'id="{who}-buttons".*?name="number" value="(\+\d+)"'
        found = eventually(
            lambda: re.search(shown, self.page(), re.DOTALL), otherwise=f"the {who} has no phone"
        )
        return str(found[1])

    def page(self) -> str:
        """The page as it is now."""
        answer = requests.get(self._url, params={"d": self.id}, timeout=30)
        assert 200 == answer.status_code
        return answer.text

    def shows(self, words: str, seconds: float = 30.0) -> None:
        """Wait until the page shows these words."""
        eventually(lambda: words in self.page(), seconds=seconds, otherwise=words)

    def story_has(self, **step: str) -> dict[str, Any]:
        """Wait until the story has such a step; the step."""

        def look() -> dict[str, Any] | None:
            steps = self._running.story(self.id)["steps"]
            return next((s for s in steps if step.items() <= s.items()), None)

        found: dict[str, Any] = eventually(look, otherwise=lambda: f"{step}: {self.page()}")
        return found

    def _post(self, path: str, **form: str) -> None:
        answer = requests.post(self._url + path, data=form, timeout=30)
        assert 200 == answer.status_code, answer.text
        self.id = (re.findall(r"[?&]d=([\w-]+)", answer.url) or [""])[0]
        self.said = (re.findall(r"said=([\w-]+)", answer.url) or [""])[0]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with a_running_system(WARM_HANDOFF_EXAMPLES="1") as running:
        yield running


@pytest.fixture
def desk(running: Running) -> AtTheDesk:
    return AtTheDesk(running)


def test_each_example_ends_as_its_label_says_and_leaves_the_guarantees_whole(
    running: Running,
) -> None:
    eventually(
        lambda: " example clients made in " in running.output,
        seconds=90,
        otherwise=lambda: running.output,
    )
    examples: dict[str, str] = json.loads((running.var / "examples.json").read_text())

    for label, discharge_id in examples.items():
        _ends_as_told(running, _case(label), discharge_id)
    assert set(ENDS) == set(map(_case, examples))
    assert f"{len(examples)} of {len(examples)} example clients made" in running.output, (
        running.output
    )
    assert 40 <= len(examples) <= 45
    assert 2 == sum(
        step["what"] == "declined"
        for step in running.story(examples["EX-declined-twice-1"])["steps"]
    )
    assert 0 == running.services("check").returncode
    assert f"the demo desk: {running.access['sandbox_url']}/desk" in running.output


def _case(label: str) -> str:
    return label.removeprefix("EX-").rpartition("-")[0]


def _ends_as_told(running: Running, case: str, discharge_id: str) -> None:
    state, step = ENDS[case]
    facility = "south" if case in SOUTH else "north"

    def look() -> bool:
        story = running.story(discharge_id, facility)
        has_step = any(step.items() <= one.items() for one in story["steps"])
        return state == story["state"] and has_step

    said = f"{case} is not {state} with {step}"
    eventually(look, otherwise=lambda: f"{said}: {running.story(discharge_id, facility)}")


def test_a_hand_over_at_the_desk_from_the_discharge_to_the_talk(
    running: Running, desk: AtTheDesk
) -> None:
    client_id = running.story(desk.send("english"))["client_id"]
    first = desk.number("mentor")

    assert "answered" == desk.do("mentor-no")
    desk.story_has(what="declined")
    eventually(lambda: desk.number("mentor") != first, otherwise="nobody else was asked")
    desk.answer("mentor", "yes, happy to")
    desk.story_has(what="reply", meaning="yes")
    running.wait_for(desk.id, "assigned")
    assert "revoked" == desk.do("revoke")
    desk.story_has(what="consent_revoked", channel="text")
    assert "stopped" == desk.do("client-stop")
    desk.story_has(what="reply", meaning="stop")

    for event in ("ClientDischarged", "AssignmentDeclined", "MentorAssigned", "ReplyReceived"):
        # The desk lets events gather for half a second, and the story may be there before them.
        told = rf"{event}</strong>\s*<span class=\"place\">{client_id[:8]}"
        eventually(lambda told=told: re.search(told, desk.page()), otherwise=event)  # type: ignore[misc]
    page = desk.page()
    assert re.search(r"intake-events/\d+@\d+", page)
    assert "wh_" not in page


@pytest.mark.parametrize(
    ("kind", "state"),
    [("spanish", "offered"), ("no-language", "waiting"), ("left", "offered"), ("under-18", "held")],
)
def test_each_kind_of_person_begins_as_the_desk_says(
    running: Running, desk: AtTheDesk, kind: str, state: str
) -> None:
    desk.send(kind)

    running.wait_for(desk.id, state)
    desk.shows(f'<strong class="tag {state}">')
    if state == "waiting":
        assert "no-offer" == desk.do("nobody-answers")


def test_what_is_said_while_kafka_is_away_arrives_afterwards(
    running: Running, desk: AtTheDesk
) -> None:
    before = running.pid("kafka")
    assert "kafka" == desk.do("stop-kafka")
    desk.shows("Kafka is away")
    running.wait_for(desk.send("english"), "received")

    desk.shows("Kafka is up", seconds=60)
    assert running.pid("kafka") != before
    running.wait_for(desk.id, "offered", seconds=60)
    # The desk itself hears again, too.
    client = running.story(desk.id)["client_id"][:8]
    offered = rf'AssignmentOffered</strong>\s*<span class="place">{client}'
    eventually(lambda: re.search(offered, desk.page()), otherwise="the desk hears nothing")


def test_workers_that_are_killed_come_back(running: Running, desk: AtTheDesk) -> None:
    before = {service: running.pid(f"worker-{service}") for service in SERVICES}

    assert ["killed"] * 3 == [desk.do(f"kill-{service}") for service in SERVICES]

    for service, pid in before.items():
        eventually(lambda s=service, p=pid: running.pid(f"worker-{s}") != p)  # type: ignore[misc]
        up = rf'id="{service}-up" data-live><span class="up">'
        eventually(lambda u=up: re.search(u, desk.page()), otherwise=f"{service} stays away")  # type: ignore[misc]
    running.wait_for(desk.send("no-language"), "waiting")


def test_time_passes_until_an_offer_expires_and_then_for_days(
    running: Running, desk: AtTheDesk
) -> None:
    running.wait_for(desk.send("english"), "offered")
    began = running.now()

    assert "passing" == desk.do("nobody-answers")
    desk.story_has(what="offer_expired")
    eventually(lambda: "Time passes:" not in desk.page(), otherwise="time never stops")
    assert timedelta(hours=2) <= running.now() - began < timedelta(hours=4)

    assert "passing" == desk.do("month")
    assert "passing-already" == desk.do("hour")
    eventually(lambda: running.now() - began > timedelta(days=2), otherwise="time stands still")
    desk.shows(f"{running.now():%B %Y}")
