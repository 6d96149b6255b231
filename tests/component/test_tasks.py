"""What needs a person: who, how old, how pressing, what next, and when it is done."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from services.intake.domain import TASKS
from tests.house import House


@pytest.fixture
def held(center: House) -> dict[str, Any]:
    """The task of a discharge that waits for an address."""
    center.register(consents=None)
    (task,) = center.tasks()
    return task


@pytest.fixture
def unclear(center: House) -> dict[str, Any]:
    """The task of a reply that only a person can read."""
    center.register()
    center.text("+15035550123", "I want to quit drinking")
    (task,) = center.tasks()
    return task


def finish(
    center: House, task: dict[str, Any], reason: str = "done", facility: str = "north"
) -> Any:
    return center.api(facility).post(f"/api/tasks/{task['id']}/done", json={"reason": reason})


def test_a_task_says_who_does_what_by_when(center: House, held: dict[str, Any]) -> None:
    center.clock.move(minutes=90)

    (task,) = center.tasks()

    assert "held" == task["kind"]
    assert {"role": "coordinator", "name": "Robin Lane"} == task["owner"]
    assert 90 * 60 == task["age_seconds"]
    assert "ordinary" == task["risk"]
    assert TASKS["held"].action == task["next_action"]
    assert datetime.fromisoformat(task["opened_at"]) < datetime.fromisoformat(task["due_at"])


def test_the_one_on_call_owns_words_of_danger(center: House) -> None:
    center.register()

    center.text("+15035550123", "I want to kill myself")

    (task,) = center.tasks()
    assert ("danger", "Alex Reed") == (task["kind"], task["owner"]["name"])


def test_the_riskiest_comes_first(center: House, held: dict[str, Any]) -> None:
    center.clock.move(hours=1)

    center.register(
        record_number="R-2", consents=None, high_risk=["recent_overdose"], mobile="+15035550124"
    )

    assert ["high", "ordinary"] == [task["risk"] for task in center.tasks()]


def test_what_is_done_is_no_longer_asked_and_is_told(
    center: House, unclear: dict[str, Any]
) -> None:
    answer = finish(center, unclear, "Spoke with the client")

    steps = center.story(unclear["discharge_id"])["steps"]
    assert (200, {"id": unclear["id"]}) == (answer.status_code, answer.get_json())
    assert [] == center.tasks()
    assert "task_done" in [step["what"] for step in steps]
    assert "Spoke" not in str(center.rows("intake", "SELECT * FROM task"))


def test_done_twice_is_once(center: House, unclear: dict[str, Any]) -> None:
    finish(center, unclear)
    center.clock.move(hours=1)

    again = finish(center, unclear, "another reason")

    what = [step["what"] for step in center.story(unclear["discharge_id"])["steps"]]
    (row,) = center.rows("intake", "SELECT opened_at, done_at FROM task")
    assert 200 == again.status_code
    assert 1 == what.count("task_done")
    assert row.opened_at == row.done_at


def test_another_facilitys_task_is_not_there(center: House, held: dict[str, Any]) -> None:
    answer = finish(center, held, facility="south")

    assert 404 == answer.status_code
    assert [] == center.tasks("south")
    assert [held["id"]] == [task["id"] for task in center.tasks()]


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": None}, {"reason": "x" * 301}])
def test_a_task_is_not_done_without_a_reason(
    center: House, held: dict[str, Any], body: dict[str, Any]
) -> None:
    answer = center.api().post(f"/api/tasks/{held['id']}/done", json=body)

    assert 422 == answer.status_code
    assert ["reason"] == [error["field"] for error in answer.get_json()["errors"]]
    assert [held["id"]] == [task["id"] for task in center.tasks()]


def test_a_held_discharge_is_asked_about_for_as_long_as_it_is_held(
    center: House, held: dict[str, Any]
) -> None:
    answer = finish(center, held, "The client wants no messages")

    assert 422 == answer.status_code
    assert [held["id"]] == [task["id"] for task in center.tasks()]

    center.register()

    assert [] == center.tasks()


def test_whoever_will_not_go_on_with_a_held_discharge_cancels_it(
    center: House, held: dict[str, Any]
) -> None:
    center.api().post(f"/api/discharges/{held['discharge_id']}/cancel")

    assert [] == center.tasks()
