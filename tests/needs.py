"""What tests need of the machine; strangers may lack it, and whoever checks changes may not."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def missing(told: str) -> NoReturn:
    """Skip the test, and say what it lacks; where CI is set that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)


def program(name: str, package: str) -> str:
    """Where a program of Debian's package is."""
    return shutil.which(name) or missing(
        f"{name} is missing: apt-get install -y --no-install-recommends {package}"
    )
