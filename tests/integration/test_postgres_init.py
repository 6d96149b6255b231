"""What the composed PostgreSQL is prepared with is what the local one has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from deploy.local.engines import postgres_of, provide_databases
from deploy.local.postgres import Postgres, binaries
from deploy.local.settings import DATABASE_URLS, ROLES, password_setting, settings_for

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "postgres-init.sh"

ROLES_QUERY = """
    SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolcanlogin, rolreplication
    FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname"""
DATABASES_QUERY = """
    SELECT datname, pg_get_userbyid(datdba), datacl::text FROM pg_database ORDER BY datname"""


def test_the_script_makes_what_a_local_run_makes(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, 1, environment={})
    postgres = postgres_of(tmp_path, settings)
    postgres.start()
    try:
        said = _prepare(postgres, settings)

        prepared = _state(postgres)
        refused = _refused(settings)
        provide_databases(postgres, settings)

        assert _state(postgres) == prepared
        assert ("matching", "intake") in refused
        assert not refused & set(DATABASE_URLS.values())
        assert "" == said
    finally:
        postgres.stop()


def _prepare(postgres: Postgres, settings: dict[str, str]) -> str:
    passwords = {password_setting(role): settings[password_setting(role)] for role in ROLES}
    address = urlsplit(postgres.admin_url)
    program = binaries() / "psql"
    ran = subprocess.run(
        ["bash", str(SCRIPT)],
        env={
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PGHOST": str(address.hostname),
            "PGPORT": str(address.port),
            "PGPASSWORD": str(address.password),
            **passwords,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 0 == ran.returncode, ran.stderr
    return ran.stdout


def _state(postgres: Postgres) -> list[Any]:
    url = postgres.admin_url.replace("+psycopg", "")
    with psycopg.connect(url, connect_timeout=10) as connection:
        return [connection.execute(query).fetchall() for query in (ROLES_QUERY, DATABASES_QUERY)]


def _refused(settings: dict[str, str]) -> set[tuple[str, str]]:
    """Which role may not connect to which database; raises when a password is wrong."""
    refused = set()
    for name, (role, _) in DATABASE_URLS.items():
        for database in ("intake", "matching", "notifications", "keys", "access"):
            url = urlsplit(settings[name].replace("+psycopg", ""))
            try:
                psycopg.connect(
                    url._replace(path=f"/{database}").geturl(), connect_timeout=10
                ).close()
            except psycopg.OperationalError as error:
                if "permission denied for database" not in str(error):
                    raise
                refused.add((role, database))
    return refused
