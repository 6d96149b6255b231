"""What is deployed holds together: compose, image and scrape configuration, looked at as data."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("intake", "matching", "notifications")
ENGINES = ("kafka", "postgres")
JOBS = ("topics", *(f"migrate-{name}" for name in (*SERVICES, "keys", "access")))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file, with its anchors resolved."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def test_everything_that_the_product_needs_is_composed(compose: dict[str, Any]) -> None:
    processes = {f"{kind}-{name}" for kind in ("web", "worker") for name in SERVICES}

    assert processes | set(JOBS) | {*ENGINES, "mail", "sandbox", "front-door"} == set(
        compose["services"]
    )


def test_every_container_is_limited_and_watched(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert {"mem_limit", "cpus", "pids_limit", "restart"} <= service.keys(), name
        assert name in JOBS or "healthcheck" in service, name
        if name not in ENGINES:
            assert service["read_only"] is True, name
            assert ["ALL"] == service["cap_drop"], name
            assert ["no-new-privileges:true"] == service["security_opt"], name


def test_no_secret_has_a_default_and_every_variable_is_known(compose: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text() + (ROOT / "deploy/postgres-init.sh").read_text()

    for name, default in re.findall(r"\$\{([A-Z_]+)(:[-?][^}]*)?\}", text):
        if re.search(r"(_URL|_KEY|_TOKEN|_PASSWORD|_PRIVATE)$", name):
            public = name in ("PUBLIC_URL", "TWILIO_URL", "SANDBOX_URL")
            harmless = default in (":-", "") or public
            assert default.startswith(":?") or harmless, name
        if not name.endswith("_IMAGE") and name != "POSTGRES_PASSWORD":
            assert name in example, name


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_a_service_gets_its_own_keys_only(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        for kind in ("web", "worker"):
            given = compose["services"][f"{kind}-{name}"]["environment"]
            foreign = [
                key
                for key in given
                if key.startswith(tuple(f"{o.upper()}_" for o in SERVICES if o != name))
            ]
            assert [] == foreign


def test_prometheus_scrapes_every_process(compose: dict[str, Any]) -> None:
    jobs = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"]
    targets = {t.split(":")[0] for job in jobs for s in job["static_configs"] for t in s["targets"]}

    assert {n for n in compose["services"] if n.startswith(("web-", "worker-"))} == targets


def test_the_front_door_leads_where_the_local_one_does() -> None:
    text = (ROOT / "deploy/Caddyfile").read_text()

    assert "admin off" in text
    for path, target in (("/matching/*", "web-matching"), ("/messages/*", "web-notifications")):
        assert re.search(rf"handle {re.escape(path)} {{\s*reverse_proxy {target}:8000", text)


@pytest.mark.parametrize("dockerfile", ["deploy/Dockerfile", "deploy/sandbox/Dockerfile"])
def test_an_image_is_built_as_the_careful_do(dockerfile: str) -> None:
    text = (ROOT / dockerfile).read_text()

    assert "--require-hashes" in text
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    assert re.search(r"^ENTRYPOINT \[", text, re.MULTILINE)
    assert "ADD " not in text
    assert not re.search(r"^(FROM|ARG BASE).*:latest", text, re.MULTILINE)
    assert not re.search(r"apt-get|curl|wget|sudo", text)


@pytest.mark.parametrize("service", SERVICES)
def test_the_files_of_an_image_are_enough_to_run_its_service(service: str, tmp_path: Path) -> None:
    for source, target in _copied("deploy/Dockerfile", service):
        _copy(ROOT / source, tmp_path / target)

    for program in (
        f"import services.{service}.service as s; assert s.web and s.build",
        "import services.command_line as c; c._parser()",
        "import runpy, sys; sys.argv = ['services']; runpy.run_module('services.command_line')",
    ):
        ran = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
        )
        assert 0 == ran.returncode, ran.stderr

    assert {service} == {p.name for p in (tmp_path / "services").iterdir() if p.is_dir()} - {
        "__pycache__"
    }
    assert not (tmp_path / "deploy" / "local").exists()
    assert (tmp_path / "services" / service / "migrations").is_dir()


def test_the_files_of_the_sandbox_image_are_enough(tmp_path: Path) -> None:
    for source, target in _copied("deploy/sandbox/Dockerfile", ""):
        _copy(ROOT / source, tmp_path / target)

    ran = subprocess.run(
        [sys.executable, "-c", "import deploy.sandbox.app, deploy.sandbox.__main__"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert 0 == ran.returncode, ran.stderr


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
