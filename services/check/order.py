"""G3: each service applied what another said of a key as 1, 2, 3, each once (H5, H6, H7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from services.check.evidence import Applied, Evidence, Verdict, erased_at, given_up, was_lost

_Stream = tuple[int, UUID]


def judge_order(evidence: Evidence) -> Verdict:
    """What was applied of each stream is the beginning of it, event by event, as it was said.

    An event has one place in its publisher's outbox, so that whatever was applied in its own place
    was applied once.
    """
    broken: list[str] = []
    checked = 0
    streams = {producer: _streams(evidence, producer) for producer in evidence.said}
    lost = {producer: was_lost(evidence, producer) for producer in evidence.said}
    erased = erased_at(evidence)
    for service, applied in evidence.applied.items():
        closed = given_up(evidence, service)
        for one in applied:
            checked += len(one.seqs)
            if one.key in erased:
                continue
            said = streams.get(one.producer, {}).get((one.epoch, one.key), [])
            is_lost = one.epoch < lost.get(one.producer, {}).get(one.key, 0) or one.key in closed
            found = _of_stream(one, said, is_old=evidence.is_old(one.latest), is_lost=is_lost)
            broken += (f"{service} {what}" for what in found)
    return Verdict(
        guarantee="G3",
        says="every service applied what others said in order, each once, without a gap",
        checked=checked,
        violations=tuple(broken),
    )


def _streams(evidence: Evidence, producer: str) -> dict[_Stream, list[UUID | None]]:
    """The ids of each stream by their numbers, with holes where nothing was said."""
    streams: dict[_Stream, list[UUID | None]] = {}
    for row in evidence.said[producer]:
        ids = streams.setdefault((row.epoch, row.key), [])
        ids += [None] * (row.seq - len(ids))
        ids[row.seq - 1] = row.event_id
    return streams


def _of_stream(
    one: Applied, said: Sequence[UUID | None], *, is_old: bool, is_lost: bool
) -> Iterator[str]:
    stream = f"of {one.producer}'s events about key {one.key}"
    if len(one.ids) != 16 * len(one.seqs) or list(one.seqs) != list(range(1, len(one.seqs) + 1)):
        yield f"applied not 1, 2, 3 {stream}"
        return
    if one.cursor != len(one.seqs):
        yield f"applied {len(one.seqs)} {stream}, and its cursor says {one.cursor}"
    if one.backwards:
        yield f"applied {one.backwards} {stream} before the ones that precede them"
    for seq, event_id in zip(one.seqs, one.event_ids(), strict=True):
        known = said[seq - 1] if seq <= len(said) else None
        if known not in (None, event_id):
            yield f"applied {event_id} as {seq} {stream}, which was {known}"
        elif known is None and is_old and not is_lost:
            yield f"applied {event_id} as {seq} {stream}, which was never said"
