"""`make run`: engines, databases, services, sandbox and front door, in the foreground."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local import children, run_record
from deploy.local.children import ALLOCATING, CHECKOUT, Child
from deploy.local.engines import kafka_of, postgres_of, provide_databases
from deploy.local.front_door import front_door
from deploy.local.ports import check_free
from deploy.local.settings import (
    PORTS,
    ROLES,
    SERVICES,
    engines_elsewhere,
    password_setting,
    settings_for,
)
from deploy.local.supervisor import AskedToStop, Supervisor
from deploy.local.trouble import Trouble
from deploy.local.wishes import Wishes

STARTED = time.monotonic()


def say(text: str) -> None:
    # A closed terminal must not keep the children from being ended.
    with suppress(OSError):
        print(f"{time.monotonic() - STARTED:5.1f} s  {text}", flush=True)


def main() -> int:
    var = Path(os.environ.get("WARM_HANDOFF_VAR") or CHECKOUT / "var").resolve()
    try:
        with run_record.locked(var):
            run(var, front_port())
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 1
    return 0


def front_port() -> int:
    given = os.environ.get("WARM_HANDOFF_PORT") or "8080"
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise Trouble(f"WARM_HANDOFF_PORT must be a port, not {given!r}.")
    return int(given)


def run(var: Path, port: int) -> None:
    for name in run_record.end_abandoned(var):
        say(f"Ended {name}, which an earlier run had left")
    settings = settings_for(var, port, os.environ)
    elsewhere = engines_elsewhere(os.environ)
    check_free(ports_used(var, port, settings, elsewhere))
    children.set_aside(var / "log")
    os.environ.update(settings, WARM_HANDOFF_VAR=str(var), PYTHONUNBUFFERED="1")
    supervisor = Supervisor(var, say)
    supervisor.listen_to_signals()
    try:
        wishes = Wishes(var / "wishes", supervisor, move_clock)
        bring_up(supervisor, var, port, elsewhere)
        supervisor.watch_for_ever(wishes.look if is_demo() else lambda: None)
    except AskedToStop:
        say("Stopping; the data stays")
    finally:
        supervisor.stop()
    say("Stopped")


def ports_used(
    var: Path, port: int, settings: Mapping[str, str], elsewhere: Mapping[str, str]
) -> dict[str, int]:
    unused = {"POSTGRES_PORT"} if "INTAKE_DATABASE_URL" in elsewhere else set()
    unused |= {"KAFKA_PORT", "KAFKA_CONTROLLER_PORT"} if "KAFKA_SERVERS" in elsewhere else set()
    kept = {
        f"{name} in {var / 'settings.env'}": int(settings[name])
        for name in PORTS
        if name not in unused
    }
    return {"WARM_HANDOFF_PORT": port, **kept}


def bring_up(supervisor: Supervisor, var: Path, port: int, elsewhere: Mapping[str, str]) -> None:
    is_first_run = not (var / "access.json").exists()
    start_engines(supervisor, var, elsewhere)
    say("Topics and databases")
    supervisor.run_to_end([services("topics"), services("migrate")], seconds=120)
    set_clock(first_run=is_first_run)
    say("Services, sandbox and front door")
    for child in product(var, port):
        supervisor.start(child)
    wait_until_all_answer(supervisor, readiness_urls())
    if is_first_run:
        say("The demo center")
        supervisor.wait_for(in_background(lambda: make_center(var)))
    print(f"Warm Handoff is ready: {os.environ['PUBLIC_URL']}", flush=True)
    for line in sign_in_links(var):
        print(f"  sign in once, as {line}", flush=True)
    if is_demo():
        print(f"  the demo desk: {os.environ['SANDBOX_URL']}/desk", flush=True)
    if is_first_run and is_demo():
        in_background(lambda: tell_first_stories(var))


def is_demo() -> bool:
    return os.environ.get("WARM_HANDOFF_DEMO") != "0"


def start_engines(supervisor: Supervisor, var: Path, elsewhere: Mapping[str, str]) -> None:
    """The slow one, Kafka, is prepared and comes up while PostgreSQL and its databases do."""
    kafka = None if "KAFKA_SERVERS" in elsewhere else kafka_of(var, os.environ)
    postgres = None if "INTAKE_DATABASE_URL" in elsewhere else postgres_of(var, os.environ)
    if kafka:
        say("Kafka")
        kafka_is_prepared = in_background(kafka.prepare)
    if postgres:
        say("PostgreSQL")
        supervisor.wait_for(in_background(postgres.prepare))
        supervisor.start(postgres.child)
        wait_for_engine(supervisor, "PostgreSQL", postgres.is_ready)
        databases_are_there = in_background(lambda: provide_databases(postgres, os.environ))
    if kafka:
        supervisor.wait_for(kafka_is_prepared)
        supervisor.start(kafka.child)
        wait_for_engine(supervisor, "Kafka", kafka.is_ready)
    if postgres:
        supervisor.wait_for(databases_are_there)


def wait_for_engine(supervisor: Supervisor, name: str, is_ready: Callable[[], bool]) -> None:
    supervisor.wait_until(
        is_ready, seconds=60, otherwise=lambda: f"{name} is not ready; see var/log."
    )
    say(f"{name} is up")


def services(*arguments: str) -> Child:
    return Child(
        name="-".join(arguments),
        command=(sys.executable, "-m", "services", *arguments),
        environment=ALLOCATING,
    )


def product(var: Path, port: int) -> list[Child]:
    for service in SERVICES:
        folder = Path(os.environ[f"{service}_METRICS_FOLDER"])
        # What processes of an earlier run counted would be added to what these count.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    return [
        *(
            replace(services(kind, name.lower()), hidden=hidden_from(name, os.environ))
            for name in SERVICES
            for kind in ("web", "worker")
        ),
        sandbox(var),
        front_door(var, port, os.environ),
    ]


def sandbox(var: Path) -> Child:
    """With a demo it has a desk, which calls the public API and may wish for trouble."""
    desk = {
        "SANDBOX_ACCESS": str(var / "access.json"),
        "SANDBOX_WISHES": str(var / "wishes"),
    }
    return Child(
        name="sandbox",
        command=(sys.executable, "-m", "deploy.sandbox"),
        environment=desk if is_demo() else {},
        hidden=hidden_from("SANDBOX", os.environ),
    )


def hidden_from(service: str, settings: Mapping[str, str]) -> frozenset[str]:
    """What one service must not see: the others' databases and keys, owners' and passwords."""
    others = tuple(f"{other}_" for other in SERVICES if other != service)
    return frozenset(
        name
        for name in settings
        if name.startswith(others)
        or name.endswith("_OWNER_URL")
        or name in map(password_setting, ROLES)
    )


def readiness_urls() -> list[str]:
    public = os.environ["PUBLIC_URL"]
    return [
        *(f"{public}{door}/readyz" for door in ("", "/matching", "/messages")),
        *(f"http://127.0.0.1:{os.environ[f'{s}_WORKER_METRICS_PORT']}/readyz" for s in SERVICES),
        f"{os.environ['SANDBOX_URL']}/messages.json",
    ]


def wait_until_all_answer(supervisor: Supervisor, urls: list[str]) -> None:
    waiting = list(urls)

    def all_answer() -> bool:
        waiting[:] = [url for url in waiting if not answers(url)]
        return not waiting

    supervisor.wait_until(
        all_answer,
        seconds=120,
        otherwise=lambda: f"These do not answer: {', '.join(waiting)}; see var/log.",
    )


def answers(url: str) -> bool:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=2)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def set_clock(*, first_run: bool) -> None:
    # Imported late, for it imports the product, which is slow and needs the settings.
    from deploy.local import demo

    try:
        done = demo.set_clock(first_run=first_run)
    except ValueError as error:
        raise Trouble(f"WARM_HANDOFF_NOW cannot be used: {error}.") from error
    if done:
        say(done)


def sign_in_links(var: Path) -> list[str]:
    """One line for each person of the demo."""
    from deploy.local import demo

    return demo.sign_in_links(var)


def make_center(var: Path) -> None:
    from deploy.local import demo

    demo.make_center(var)


def tell_first_stories(var: Path) -> None:
    from deploy.local import demo, examples

    demo.tell_first_story(var)
    if os.environ.get("WARM_HANDOFF_EXAMPLES") != "0":
        examples.add(var)


def move_clock(seconds: float) -> None:
    """Not in the thread that children belong to, which must not wait for a database."""
    from deploy.local import demo

    in_background(lambda: demo.move_clock(seconds))


def in_background(work: Callable[[], None]) -> Future[None]:
    """Not a pool: the end of the run must not wait for its threads."""
    outcome: Future[None] = Future()

    def run_it() -> None:
        try:
            work()
            outcome.set_result(None)
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run_it, daemon=True).start()
    return outcome


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # An ordinary exit would first finish every download that is still queued.
    os._exit(code)
