"""What tests need of the machine; strangers may lack it, and whoever checks changes may not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

#: Inputs that nobody here wrote; a stranger who has only the repository lacks them.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def only_with(path: Path) -> pytest.MarkDecorator:
    """Skips a test where this file or folder of the shared data is absent, and says so."""
    told = f"{path.relative_to(SHARED)} of ../shared/data is absent"
    return pytest.mark.skipif(not path.exists(), reason=told)


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
