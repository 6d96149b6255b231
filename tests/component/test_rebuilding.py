"""What the broker no longer has is published again and read again, beside all that runs."""

from __future__ import annotations

from functools import partial

from contracts.topics import TOPICS
from messaging import rebuilding
from messaging.broker import Record
from tests.house import House

INTAKE = TOPICS["intake"].name


def _republish(center: House, service: str) -> tuple[int, int]:
    own = partial(center.broker.read_to_the_end, TOPICS[service].name, {})
    return rebuilding.republish(center.participants[service].engine, own)


def _said(record: Record) -> bool:
    return b"ClientDischarged" in dict(record.headers).values()


def test_what_is_in_the_topic_is_not_published_again(center: House) -> None:
    center.register(facility="south")

    gone, published = _republish(center, "intake")

    assert 0 == gone < published
    assert (
        0 == center.rows("intake", "SELECT count(*) FROM outbox WHERE published_at IS NULL")[0][0]
    )


def test_what_is_gone_is_published_again_wherever_it_lay(center: House) -> None:
    story = center.register(facility="south")
    said = len(center.network.letters)
    logs = [center.broker.log((INTAKE, n)) for n in range(center.broker.partitions)]
    at, log = next((at, log) for log in logs for at, record in enumerate(log) if _said(record))
    # Another lies in its place, so that no end of the log says that it is gone.
    log[at] = log[at - 1]

    assert 1 == _republish(center, "intake")[0]
    center.settle()

    assert 0 == _republish(center, "intake")[0]
    assert story["state"] == center.story(story["id"], "south")["state"]
    assert said == len(center.network.letters)


def test_a_service_that_reads_again_applies_nothing_twice(center: House) -> None:
    story = center.register(facility="south")
    applied = "SELECT count(*), max(applied_at) FROM inbox"
    before, said = center.rows("matching", applied), len(center.network.letters)
    begins = dict.fromkeys(range(center.broker.partitions), 0)

    rebuilding.reread(center.matching.engine, INTAKE, center.broker.id_of(INTAKE), begins)
    # A worker that goes on finds it with the next record, or when it is seen to stand still.
    center.restart("matching")
    center.settle()

    assert before == center.rows("matching", applied)
    assert said == len(center.network.letters)
    assert story["state"] == center.story(story["id"], "south")["state"]
    ends = [len(center.broker.log((INTAKE, n))) for n in range(center.broker.partitions)]
    query = "SELECT next_offset FROM stored_offset WHERE topic = :topic ORDER BY partition"
    assert ends == [row.next_offset for row in center.rows("matching", query, topic=INTAKE)]
