"""``python -m services check``: the published guarantees against everything that is stored."""

from __future__ import annotations


def check() -> int:
    """Print a line for each guarantee; 0 when all hold, 1 when one does not, 2 when empty."""
    print("nothing checked")
    return 2
