"""Makes a ``.env`` of ``.env.example``, with new secrets: ``python -m deploy.new_env [FILE]``."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.settings import (
    DATABASE_URLS,
    MASTER_KEYS,
    SECRETS,
    password_setting,
    public_key_of,
    write_privately,
)

EXAMPLE = Path(__file__).resolve().parent.parent / ".env.example"


def main(arguments: list[str]) -> int:
    """Write the file; one that is there already is left alone, for its keys open what is stored."""
    file = Path(arguments[0] if arguments else ".env")
    if file.exists():
        print(f"{file} is there already and was not touched.", file=sys.stderr)
        return 1
    write_privately(file, filled(EXAMPLE.read_text(encoding="utf-8"), new_secrets("postgres")))
    print(f"{file} is made. Keep a copy apart: without its keys nothing stored can be read.")
    return 0


def new_secrets(database_host: str) -> dict[str, str]:
    """A value for each setting that must not have a default."""
    made = {name: make() for name, make in SECRETS.items()}
    made["POSTGRES_PASSWORD"] = secrets.token_urlsafe(24)
    made |= {public: public_key_of(made[private]) for public, private in MASTER_KEYS.items()}
    for setting, (role, database) in DATABASE_URLS.items():
        who = f"{role}:{made[password_setting(role)]}"
        made[setting] = f"postgresql+psycopg://{who}@{database_host}:5432/{database}"
    return made


def filled(example: str, values: Mapping[str, str]) -> str:
    """The example with these values where it leaves a setting empty."""
    return re.sub(
        r"^([A-Z_]+)=$",
        lambda line: f"{line[1]}={values.get(line[1], '')}",
        example,
        flags=re.MULTILINE,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
