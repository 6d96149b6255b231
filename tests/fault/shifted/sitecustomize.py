"""A process whose machine's clock is wrong: by ``SHIFT_SECONDS``, where a drill says so.

Python imports this by itself, before anything else, where its folder stands in ``PYTHONPATH``.
What is measured by the monotonic clock is right, as on a machine whose date was set wrong.
"""

import ctypes
import datetime
import gc
import os
import time

_shift = float(os.environ.get("SHIFT_SECONDS", "0"))
_time, _time_ns = time.time, time.time_ns


def _now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
    return cls.fromtimestamp(time.time(), tz)


if _shift:
    time.time = lambda: _time() + _shift
    time.time_ns = lambda: _time_ns() + int(_shift * 1e9)
    # Everybody has the class already, so that it is changed and not replaced.
    gc.get_referents(datetime.datetime.__dict__)[0]["now"] = classmethod(_now)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))
