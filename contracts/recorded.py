"""Compare the shape of an event with the one that was released: only additions may differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Shape = Mapping[str, Mapping[str, Any]]


def broken_promises(event: str, recorded: Shape, current: Shape) -> Iterator[str]:
    """What a reader of the released shape would stumble over, and what to do instead."""
    for field, was in recorded.items():
        now = current.get(field)
        if now is None:
            yield (
                f"{event}.{field} was removed or renamed: leave it, and add the new one beside it,"
                " with a default"
            )
        elif now["type"] != was["type"]:
            yield (
                f"{event}.{field} was {was['type']} and is {now['type']}: add a new field beside"
                " it, or say a new event"
            )
        elif now["required"] and not was["required"]:
            yield (f"{event}.{field} became required: earlier events lack it, so give it a default")
        elif "holds" in was:
            yield from broken_promises(f"{event}.{field}", was["holds"], now.get("holds", {}))
    for field in current.keys() - recorded.keys():
        if current[field]["required"]:
            yield f"{event}.{field} is new and required: earlier events lack it; give it a default"
