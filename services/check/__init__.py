"""``python -m services check``: what is promised, judged by all that is stored; a file for each.

The judges take plain values and know no database. They import no service: they are a second
opinion, and an image holds one service only.
"""

from services.check.command import check, judge
from services.check.evidence import Evidence, Verdict
from services.check.reading import gather
from services.check.records import kafka

__all__ = ["Evidence", "Verdict", "check", "gather", "judge", "kafka"]
