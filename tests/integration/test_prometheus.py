"""A real Prometheus reads the running product: every expression of ours asks for what there is."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import yaml

from deploy.local.children import tied
from deploy.local.ports import free_ports
from tests.expressions import PROMETHEUS, alerts, expressions, selectors
from tests.needs import program
from tests.running import Running, a_running_system, eventually

#: Series that a system has only once something happened that nobody wishes for, and why.
NOT_THERE = {"loop_failures_total": "no step of a loop has failed: its labels name the error"}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    program("prometheus", "prometheus")
    with a_running_system() as running:
        eventually(lambda: "the discharge is now: assigned" in running.output, seconds=60)
        yield running


@pytest.fixture(scope="module")
def prometheus(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus with our own rules, and our own jobs at this run's ports."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yml").write_text((PROMETHEUS / "rules.yml").read_text())
    (folder / "prometheus.yml").write_text(yaml.safe_dump(at_its_ports(running)))
    [port] = free_ports(1)
    command = [
        program("prometheus", "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            tied(command, signal.SIGTERM), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: all_are_read(url), otherwise=lambda: (folder / "log").read_text())
        yield url
    finally:
        process.terminate()
        process.wait(10)


def at_its_ports(running: Running) -> dict[str, Any]:
    """Our configuration, with the addresses of this run and a shorter interval; nobody is told."""
    ours: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    del ours["alerting"]
    ours["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in ours["scrape_configs"]:
        for one in job["static_configs"]:
            url = running.access["metrics"][f"{one['labels']['service']}-{job['job_name']}"]
            one["targets"] = [url.removeprefix("http://").removesuffix("/metrics")]
    return ours


def ask(url: str, path: str, **query: str) -> Any:
    """What Prometheus answers; it must have understood."""
    answer = requests.get(f"{url}/api/v1/{path}", params=query, timeout=10).json()
    assert "success" == answer["status"], answer
    return answer["data"]


def all_are_read(url: str) -> bool:
    """Whether every process was read, and every rule evaluated."""
    try:
        targets = ask(url, "targets")["activeTargets"]
        rules = [rule for group in ask(url, "rules")["groups"] for rule in group["rules"]]
    except requests.RequestException:
        # While it starts it does not listen yet, or says in plain words that it is not ready.
        return False
    return {"up"} == {one["health"] for one in targets} and {"ok"} == {r["health"] for r in rules}


def test_prometheus_has_read_every_process_and_our_rules(prometheus: str) -> None:
    targets = ask(prometheus, "targets")["activeTargets"]
    rules = [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]

    assert 6 == len(targets)
    assert alerts().keys() == {rule["name"] for rule in rules}


def test_every_series_that_an_expression_reads_is_there(prometheus: str) -> None:
    missing = {
        place: selector
        for place, expression in expressions().items()
        for selector in selectors(expression)
        if selector not in NOT_THERE and not ask(prometheus, "query", query=selector)["result"]
    }

    assert {} == missing


def test_every_expression_is_answered(prometheus: str) -> None:
    for expression in expressions().values():
        ask(prometheus, "query", query=expression)


def test_what_happened_is_what_is_counted(running: Running, prometheus: str) -> None:
    def number(expression: str) -> float | None:
        found = ask(prometheus, "query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    asked = expressions()

    assert 1 == number("sum(intake_discharges_accepted_total)")
    assert 1 == number("sum(intake_discharge_to_first_message_seconds_count)")
    assert 1 == number('max(intake_discharges{state="assigned"})')
    assert 6 == number("sum(up)")
    # Each service hears two topics: every count is there from 0 on, or its first rise is not seen.
    assert 3 * 2 * 5 == number("count(consumer_records_total)")
    assert 2 * 5 == number('count(notifications_messages_total{channel=~"sms|email"})')
    # Whatever the time of the product is, an age is one of minutes.
    assert 0 <= (number(asked["panel Last accepted A"]) or -1) < 600
    eventually(lambda: number(asked["panel Lag A"]) == 0, otherwise="the lag does not go back")


def test_what_every_process_tells_is_well_named(running: Running) -> None:
    for process, url in running.access["metrics"].items():
        told = requests.get(url, timeout=10).text
        command = [program("promtool", "prometheus"), "check", "metrics"]
        ran = subprocess.run(command, input=told, capture_output=True, text=True)
        assert 0 == ran.returncode, f"{process}: {ran.stderr}"


def test_a_process_tells_a_bounded_number_of_things(running: Running) -> None:
    for process, url in running.access["metrics"].items():
        lines = requests.get(url, timeout=10).text.splitlines()
        series = [line for line in lines if not line.startswith("#")]
        assert len(series) < 1_000, process


def test_only_the_second_port_tells_metrics(running: Running) -> None:
    for door in ("", "/matching", "/messages"):
        url = f"{running.access['url']}{door}/metrics"
        assert 404 == requests.get(url, timeout=10).status_code
