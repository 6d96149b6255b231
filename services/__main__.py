"""``python -m services``: run, migrate, load and look into the system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hosting.settings import load_environment
from services.command_line import main

if __name__ == "__main__":
    load_environment(Path(os.environ.get("WARM_HANDOFF_VAR", "var")).resolve(), os.environ)  # type: ignore[arg-type]
    sys.exit(main(sys.argv[1:]))
