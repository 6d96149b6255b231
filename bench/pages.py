"""Pages of staff and mentors while discharges come in, against an empty page of the same app."""

from __future__ import annotations

import csv
import io
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests.house import a_discharge
from tests.running import Running

STAFF, MENTORS, PER_SECOND = 50, 30, 10
#: How long somebody reads before the next page, in seconds.
STAFF_READS, MENTORS_READ = 5.0, 10.0
LIMIT_SECONDS = 1.0
EMPTY = "/sign-in"


def run(seconds: int, clients: int) -> None:
    """Print p50, p95 and the longest of every page, and the p95 against the empty page's."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        running = Running(Path(folder), WARM_HANDOFF_DEMO="1")
        try:
            running.start()
            _make_room(running, seconds * PER_SECOND)
            story = running.register(record_number="B-0", facility="south", wants_gender="man")
            running.wait_for(story, "assigned", facility="south")
            visit = _visit(running, story)
            few = _alone(running)
            _add_closed(running, story, clients)
            many = _alone(running)
            taken = _together(running, story, visit, seconds)
        finally:
            running.stop()
    print(f"Today alone: {1e3 * few:.0f} ms, and {1e3 * many:.0f} ms with {clients} more clients")
    empty = _p(taken[EMPTY], 0.95)
    print(f"an empty page under load: p95 {1e3 * empty:.0f} ms")
    for page, times in sorted(taken.items()):
        p95, longest = _p(times, 0.95), max(times)
        late = sum(t > LIMIT_SECONDS for t in times)
        print(
            f"{page:34} {len(times):6} times, p50 {1e3 * statistics.median(times):4.0f} ms,"
            f" p95 {1e3 * p95:4.0f} ms ({p95 / empty:.1f}x, aim < 4x),"
            f" longest {1e3 * longest:5.0f} ms, {late} over a second"
        )


def _p(times: list[float], share: float) -> float:
    return sorted(times)[int(share * (len(times) - 1))]


def _make_room(running: Running, places: int) -> None:
    """Mentors at south for everybody who will come."""
    demo = Path("deploy/local/demo-mentors.csv").read_text("utf-8")
    rows = list(csv.DictReader(demo.splitlines()))
    template = next(row for row in rows if row["facilities"] == "south" and row["gender"] == "man")
    out = io.StringIO()
    writer = csv.DictWriter(out, template.keys())
    writer.writeheader()
    for number in range(places // 200 + 2):
        changed = {"code": f"B-{number}", "mobile": f"+1503555{8000 + number}", "capacity": "200"}
        writer.writerow({**template, **changed, "email": f"b{number}@peers.example.org"})
    file = running.var / "bench-mentors.csv"
    file.write_text(out.getvalue())
    assert 0 == running.services("mentors", "load", str(file)).returncode


def _visit(running: Running, discharge_id: str) -> requests.Session:
    """A mentor's visit to their pages, by link and code."""
    link, code = running.card_of(discharge_id, facility="south")
    session = requests.Session()
    session.post(link, data={"code": code}, timeout=10).raise_for_status()
    return session


def _signed_in(running: Running) -> requests.Session:
    clerk = next(one for one in running.access["staff"] if one["role"] == "clerk")
    session = requests.Session()
    form = {"email": clerk["email"], "password": clerk["password"]}
    headers = {"Origin": running.access["url"]}
    url = f"{running.access['url']}/sign-in"
    session.post(url, data=form, headers=headers, timeout=30).raise_for_status()
    return session


def _alone(running: Running) -> float:
    """What Today takes when nobody else asks for anything."""
    session, url = _signed_in(running), f"{running.access['url']}/"
    return statistics.median(_timed(session, url) for _ in range(30))


def _timed(session: requests.Session, url: str) -> float:
    began = time.perf_counter()
    answer = session.get(url, timeout=60)
    assert 200 == answer.status_code, (url, answer.status_code)
    return time.perf_counter() - began


def _add_closed(running: Running, like: str, count: int) -> None:
    """Clients whose support is over, each a copy of one who is there; all belong to north."""
    copied = (
        "WITH one AS (SELECT c.*, d.id AS discharge FROM discharge d"
        " JOIN client c ON c.id = d.client_id WHERE d.id = :like),"
        " made AS (INSERT INTO client (id, facility_id, record_token, person)"
        " SELECT gen_random_uuid(), (SELECT id FROM facility WHERE code = 'north'),"
        " md5(random()::text), one.person FROM one, generate_series(1, :count) RETURNING id),"
        " looked AS (INSERT INTO search_token SELECT md5(id::text || n), id"
        " FROM made, generate_series(1, 12) n)"
        " INSERT INTO discharge (id, client_id, facility_id, visit_token, details, high_risk,"
        " state, closed_because, accepted_at)"
        " SELECT gen_random_uuid(), made.id, (SELECT id FROM facility WHERE code = 'north'), 'v',"
        " d.details, false, 'closed', 'cancelled', d.accepted_at - interval '90 days'"
        " FROM made, discharge d WHERE d.id = :like"
    )
    for _ in range(0, count, 5000):
        running.sql("intake", copied, like=like, count=min(5000, count))
    running.sql("intake", "ANALYZE")


def _together(
    running: Running, story: str, visit: requests.Session, seconds: int
) -> dict[str, list[float]]:
    """Everybody at once: what each page took."""
    url, until = running.access["url"], time.monotonic() + seconds
    taken: dict[str, list[float]] = defaultdict(list)
    mine = running.register(record_number="B-1", born_on=None)

    def reading(session: requests.Session, paths: list[str], rest: float, number: int) -> None:
        time.sleep(rest * number / STAFF)
        while time.monotonic() < until:
            path = paths[number % len(paths)]
            number += 1
            shown = "/discharges/<id>" if mine in path else path
            taken[shown].append(_timed(session, f"{url}{path}"))
            time.sleep(rest)

    def entering() -> None:
        began, number = time.monotonic(), 2
        while time.monotonic() < until:
            body: dict[str, Any] = a_discharge(
                running.now(),
                facility="south",
                record_number=f"B-{number}",
                mobile=f"+1503555{number % 10000:04}",
                email=None,
                wants_gender="man",
            )
            running.api("POST", "/api/discharges", body, facility="south")
            number += 1
            time.sleep(max(0.0, began + (number - 2) / PER_SECOND - time.monotonic()))

    staff = ["/", f"/discharges/{mine}", EMPTY, "/discharges/new", "/clients", "/consents/new"]
    session = _signed_in(running)
    works: list[tuple[Callable[..., None], tuple[Any, ...]]] = [(entering, ())]
    works += [(reading, (_copy(session), staff, STAFF_READS, n)) for n in range(STAFF)]
    works += [
        (reading, (_copy(visit), ["/messages/people"], MENTORS_READ, n)) for n in range(MENTORS)
    ]
    threads = [threading.Thread(target=work, args=given) for work, given in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def _copy(session: requests.Session) -> requests.Session:
    """The same sign-in over a connection of its own."""
    another = requests.Session()
    another.cookies.update(session.cookies)
    return another
