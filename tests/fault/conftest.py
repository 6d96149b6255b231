"""Workers that tests may kill."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient
from sqlalchemy import create_engine

from contracts.topics import TOPICS
from deploy.local.demo import next_morning
from hosting.clock import Clock, move_to
from messaging.kafka import ensure_topics
from services.matching.mentors import load_roster
from tests.fault.workers import SERVICES, Workers
from tests.house import DEMO, House
from tests.running import eventually

HEADER = (
    "code,called,mobile,email,opted_in_at,opted_in_how,time_zone,languages,moud_friendly,"
    "facilities,capacity,hours,route,state\n"
)


@pytest.fixture
def workers(engines: dict[str, str], house: House, tmp_path: Path) -> Iterator[Workers]:
    """All three workers on real engines, with a roster that has a place for everybody."""
    _make_topics_anew(engines["KAFKA_SERVERS"])
    owner = create_engine(engines["ACCESS_OWNER_URL"])
    move_to(owner, next_morning(datetime.now(UTC)))
    owner.dispose()
    access = create_engine(engines["INTAKE_ACCESS_URL"])
    house.clock.moment = Clock(access, mode="sandbox").now()
    access.dispose()
    started = Workers(engines, tmp_path)
    started.start("sandbox", "deploy.sandbox")
    for name in SERVICES:
        started.worker(name)
    try:
        from services.intake.facilities import load_facilities

        load_facilities(house.desk, (DEMO / "demo-facilities.toml").read_bytes())
        deadline = time.monotonic() + 40
        while load_roster(house.matching, HEADER + _roster()).errors:
            assert time.monotonic() < deadline, "matching does not hear of the facilities"
            time.sleep(0.5)
        yield started
    finally:
        started.stop()


def _make_topics_anew(servers: str) -> None:
    """What lies in them was said by databases that are empty now."""
    names = {topic.name for topic in TOPICS.values()}
    admin = KafkaAdminClient(bootstrap_servers=servers.split(","))
    try:
        if there := names & set(admin.list_topics()):
            admin.delete_topics(sorted(there))
            eventually(lambda: not names & set(admin.list_topics()), otherwise="topics stay")
    finally:
        admin.close()
    ensure_topics(servers, TOPICS.values(), 1)


def _roster() -> str:
    return "".join(
        f"K-{n},Jo{n},+1503555{6000 + n},jo{n}@peers.example.org,2026-01-05T10:00:00-08:00,form,"
        "America/Los_Angeles,en,yes,south,200,00:00-23:59,workforce,active\n"
        for n in range(10)
    )
