"""The commands of ``python -m services``."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from contracts.topics import TOPICS
from hosting.auth import make_token
from hosting.database import engine_for, migrate
from hosting.logs import set_up
from hosting.settings import SettingsError
from messaging import audit, holding, hops, parking, rebuilding, releasing, replays, shredding
from messaging.audit import COMMAND_LINE
from messaging.kafka import bounds, ensure_topics, read_to_the_end, topic_ids
from messaging.unavailable import Unavailable
from services.revealing import reveals
from services.roles import ROLES

SERVICES = ("intake", "matching", "notifications")


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except Unavailable as error:
        print(f"{error}; nothing was changed", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not missing.startswith("services."):
            raise
        print(f"{missing} is not in this image; run the command where it is", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], about: str) -> Any:
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        return command

    for name, run, about in (
        ("web", _web, "serve a service's pages and API"),
        ("worker", _worker, "run a service's relay, consumer, timers and sender"),
    ):
        add(name, run, about).add_argument("service", choices=SERVICES)
    migrating = add("migrate", _migrate, "bring every database, or one, to its newest revision")
    migrating.add_argument("database", choices=[*SERVICES, "keys", "access"], nargs="?")
    topics = add("topics", _topics, "make the topics that are missing")
    topics.add_argument("--replication", type=int, default=1)
    token = add("token", _token, "make an API token for a facility and print it once")
    token.add_argument("facility")
    account = add("account", _account, "make an account of a person, or a new password for it")
    account.add_argument("role", choices=ROLES)
    account.add_argument("facility")
    account.add_argument("email")
    for name, run, about in (
        ("facilities", _facilities, "load facilities from a TOML file"),
        ("mentors", _mentors, "load mentors from a CSV file"),
    ):
        loader = add(name, run, about)
        loader.add_argument("action", choices=["load"])
        loader.add_argument("file", type=Path)
    parked = add("parked", _parked, "look at parked keys, replay or close them")
    actions = ["list", "show", "try", "replay", "replay-all", "close"]
    parked.add_argument("action", choices=actions)
    parked.add_argument("service", choices=SERVICES, nargs="?")
    parked.add_argument("key", type=UUID, nargs="?")
    reasons = releasing.CLOSED_BECAUSE
    parked.add_argument("--reason", choices=reasons, help="why it is closed (needed to close)")
    parked.add_argument("--by", default=COMMAND_LINE, help="who does it, for the audit")
    parked.add_argument("--cause", nargs=2, metavar=("HANDLER", "ERROR"), help="replay-all of it")
    again = "replay one that was replayed in vain before as often as it may be"
    parked.add_argument("--once-more", action="store_true", help=again)
    audited = add("audit", _audit, "list what people did by hand, or verify that it is unaltered")
    audited.add_argument("action", choices=["list", "verify"])
    audited.add_argument("service", choices=SERVICES)
    erase = add("erase", _erase, "erase what is known of a client or a mentor, for good")
    erase.add_argument("key", type=UUID, help="the id of the client, or of the mentor")
    erase.add_argument("--because", required=True, choices=shredding.BECAUSE)
    erase.add_argument("--by", default=COMMAND_LINE, help="who does it, for the audit")
    holds = add("hold", _hold, "hold a topic in a service, let it go, or list what is held")
    holds.add_argument("action", choices=["on", "off", "list"])
    holds.add_argument("service", choices=SERVICES)
    names = [topic.name for topic in TOPICS.values()]
    holds.add_argument("topic", choices=names, nargs="?", help="its own is not published")
    holds.add_argument("--by", help="who it is (needed to hold)")
    holds.add_argument("--because", help="why, without naming anybody (needed to hold)")
    again = add("republish", _republish, "publish again what Kafka no longer has")
    again.add_argument("service", choices=SERVICES, nargs="?")
    rereading = add("reread", _reread, "let a service read a topic again from its beginning")
    rereading.add_argument("service", choices=SERVICES)
    rereading.add_argument("topic", choices=names)
    add("check", _check, "check the published guarantees against everything that is stored")
    add("events", _events, "print the map of events: who says what, and who hears it")
    return parser


def _service(name: str) -> Any:
    return importlib.import_module(f"services.{name}.service")


def _web(options: argparse.Namespace) -> int:
    _service(options.service).build()
    upper = options.service.upper()
    folder = os.environ.get(f"{upper}_METRICS_FOLDER")
    if not folder:
        raise SettingsError(f"settings: {upper}_METRICS_FOLDER is missing (for its metrics files)")
    _empty(Path(folder))
    root = Path(__file__).resolve().parent.parent
    os.environ |= {"PROMETHEUS_MULTIPROC_DIR": folder, "WARM_HANDOFF_SERVICE": options.service}
    os.environ["PROMETHEUS_DISABLE_CREATED_SERIES"] = "True"
    # gunicorn takes this process's place, so that signals and the process id stay the same.
    app = f"services.{options.service}.service:web()"
    config = str(root / "deploy" / "gunicorn.conf.py")
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", config, app])


def _empty(folder: Path) -> None:
    """Begin with no metrics of an earlier run; the app is imported before gunicorn's hooks run."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def _worker(options: argparse.Namespace) -> int:
    set_up(options.service, "worker")
    _service(options.service).build().worker()
    return 0


def _migrate(options: argparse.Namespace) -> int:
    names = [options.database] if options.database else [*SERVICES, "keys", "access"]
    for name in names:
        if name in SERVICES:
            own = f"services/{name}/migrations"
            migrate(_needed(f"{name.upper()}_DATABASE_URL"), "messaging/migrations", own)
        elif name == "keys":
            migrate(_needed("KEYS_OWNER_URL"), "messaging/keys_migrations")
        else:
            migrate(_needed("ACCESS_OWNER_URL"), "hosting/access_migrations")
    print("at the newest revision: " + ", ".join(names))
    return 0


def _topics(options: argparse.Namespace) -> int:
    made = ensure_topics(_needed("KAFKA_SERVERS"), TOPICS.values(), options.replication)
    print(f"topics made: {', '.join(made)}" if made else "every topic is there")
    return 0


def _token(options: argparse.Namespace) -> int:
    access = engine_for(_needed("INTAKE_ACCESS_URL"))
    print(make_token(access, options.facility, datetime.now(UTC)))
    return 0


def _account(options: argparse.Namespace) -> int:
    intake, now = _service("intake").build(), datetime.now(UTC)
    password = secrets.token_urlsafe(12)
    intake.accounts.make(options.email, password, options.role, options.facility, now)
    link = intake.accounts.make_link(options.email, now)
    print(f"password: {password}")
    print(f"or, once and within a day: {_needed('PUBLIC_URL')}/sign-in/{link}")
    return 0


def _facilities(options: argparse.Namespace) -> int:
    from services.intake.facilities import load_facilities

    intake = _service("intake").build()
    loaded, errors = load_facilities(intake.desk, options.file.read_bytes(), reveals=reveals)
    for error in errors:
        print(f"{error.facility}: {error.field}: {error.message}", file=sys.stderr)
    print(f"{len(loaded)} facilities stored, {len(errors)} errors")
    return 1 if errors else 0


def _mentors(options: argparse.Namespace) -> int:
    from services.matching.mentors import load_roster

    participant = _service("matching").build().participant
    loaded = load_roster(participant, options.file.read_bytes(), reveals=reveals)
    for error in loaded.errors:
        print(f"line {error.line}: {error.field}: {error.message}", file=sys.stderr)
    print(
        f"{loaded.stored} mentors stored, {loaded.unchanged} unchanged, {len(loaded.errors)} errors"
    )
    return 1 if loaded.errors else 0


def _parked(options: argparse.Namespace) -> int:
    names = [options.service] if options.service else _here()
    if options.action == "list":
        for name in names:
            for parked in parking.listed(_service(name).build().participant):
                print(
                    f"{name} {parked.key} since {parked.parked_at:%Y-%m-%d %H:%M} "
                    f"{parked.handler} {parked.error} attempts {parked.attempts}"
                    f" events {parked.events}"
                )
        return 0
    if options.action == "replay-all" and options.service:
        return _replay_all(options)
    if options.service is None or options.key is None:
        raise SettingsError(f"parked {options.action} needs a service and a key")
    participant = _service(options.service).build().participant
    if options.key not in {parked.key for parked in parking.listed(participant)}:
        print(f"{options.key} is not parked in {options.service}", file=sys.stderr)
        return 1
    if options.action == "show":
        for record in parking.waiting_records(participant, options.key):
            headers = {name: value.decode(errors="replace") for name, value in record.headers}
            place = f"{record.topic}/{record.partition}/{record.offset}"
            print(json.dumps({"at": place, "headers": headers}))
        return 0
    if options.action == "try":
        found = releasing.rehearse(participant, options.key)
        if found.failure is not None:
            print(f"it would fail again: {found.failure.handler} {found.failure.error}")
            return 1
        print("it would be applied and released; nothing was changed. It would say:")
        for name, times in found.says.items():
            print(f"  {name} {times}")
        return 0
    if options.action == "replay":
        try:
            good = releasing.replay(
                participant, options.key, by=options.by, once_more=options.once_more
            )
        except releasing.TriedEnough:
            print("it was replayed in vain before; mend its cause, then add --once-more")
            return 1
        print("applied and released" if good else "it failed again and stays parked")
        return 0 if good else 1
    if not options.reason:
        raise SettingsError("parked close needs --reason")
    try:
        releasing.close(participant, options.key, because=options.reason, by=options.by)
    except parking.HandlerFailed as failed:
        print(f"the one behind it fails too ({failed}); nothing was changed", file=sys.stderr)
        return 1
    print("closed; what waited behind it was applied")
    return 0


def _replay_all(options: argparse.Namespace) -> int:
    """Ask the service's worker for a replay, and tell how it goes until it has ended."""
    participant = _service(options.service).build().participant
    handler, error = options.cause or (None, None)
    if not replays.begin(participant, by=options.by, handler=handler, error=error):
        print("a replay is under way already; this is how it goes")
    while (run := replays.latest(participant)) is not None:
        print(f"{run.released} released, {run.failed} failed again, {run.left} left")
        if run.ended_at is not None:
            return 1 if run.failed or run.left else 0
        time.sleep(1)
    raise AssertionError("a replay that was begun is kept")


def _audit(options: argparse.Namespace) -> int:
    with _service(options.service).build().participant.engine.connect() as conn:
        if options.action == "list":
            for one in reversed(audit.entries(conn)):
                told = " ".join(f"{name}={value}" for name, value in one.details.items())
                print(f"{one.at:%Y-%m-%d %H:%M:%S} {one.by}: {one.did} {one.about} {told}".rstrip())
            return 0
        broken = audit.broken_at(conn)
    if broken is not None:
        print(f"the audit was altered: link {broken} of its chain does not fit", file=sys.stderr)
        return 1
    print("the audit is as it was written")
    return 0


def _erase(options: argparse.Namespace) -> int:
    said: dict[str, Any] = {"by": options.by, "because": options.because}
    erased = False
    if "intake" in _here():
        erased = _service("intake").build().desk.erase(options.key, **said)
    if not erased and "matching" in _here():
        from services.matching.coordinating import erase_mentor

        erased = erase_mentor(_service("matching").build().participant, options.key, **said)
    if not erased:
        print(f"{options.key} is neither a client nor a mentor here", file=sys.stderr)
        return 1
    print("erased: the keys are destroyed, and the other services are told")
    return 0


def _hold(options: argparse.Namespace) -> int:
    participant = _service(options.service).build().participant
    if options.action == "list":
        for row in hops.held(participant):
            print(f"{row.topic} since {row.since:%Y-%m-%d %H:%M} by {row.by}: {row.because}")
        return 0
    if options.topic is None:
        raise SettingsError(f"hold {options.action} needs a topic")
    if options.action == "off":
        who = options.by or COMMAND_LINE
        gone = holding.let_go(participant.engine, options.topic, by=who, now=participant.now())
        print(f"{options.topic} flows again" if gone else f"{options.topic} was not held")
        return 0
    if not options.by or not options.because:
        raise SettingsError("hold on needs --by and --because")
    said = {"by": options.by, "because": options.because, "now": participant.now()}
    holding.hold(participant.engine, options.topic, **said)
    print(f"{options.topic} is held in {options.service} within two seconds")
    return 0


def _republish(options: argparse.Namespace) -> int:
    servers = _needed("KAFKA_SERVERS")
    for name in [options.service] if options.service else _here():
        own = partial(read_to_the_end, servers, TOPICS[name], {})
        gone, published = rebuilding.republish(engine_for(_database(name)), own)
        print(
            f"{name}: {gone} of {published} published events are not in Kafka"
            + ("; its worker publishes them again" if gone else "; nothing was changed")
        )
    return 0


def _reread(options: argparse.Namespace) -> int:
    if options.topic == TOPICS[options.service].name:
        raise SettingsError(f"{options.service} does not read {options.topic}: it is its own")
    servers = _needed("KAFKA_SERVERS")
    [topic_id] = topic_ids(servers, [options.topic]).values()
    begins = {number: first for number, (first, _) in bounds(servers, options.topic).items()}
    rebuilding.reread(engine_for(_database(options.service)), options.topic, topic_id, begins)
    print(f"{options.service} reads {options.topic} again within a minute")
    return 0


def _check(_: argparse.Namespace) -> int:
    from services.check import check

    return check()


def _events(_: argparse.Namespace) -> int:
    from services.event_map import event_map

    print(event_map())
    return 0


def _here() -> list[str]:
    """The services of this image."""
    return [name for name in SERVICES if importlib.util.find_spec(f"services.{name}")]


def _database(service: str) -> str:
    return _needed(f"{service.upper()}_DATABASE_URL")


def _needed(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SettingsError(f"settings: {name} is missing")
    return value
