"""Alerts, their cases, their runbook and the dashboard agree, and Prometheus can read them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.grafana.make_dashboard import dashboard
from tests.expressions import DASHBOARD, PROMETHEUS, ROOT, alerts, expressions, selectors
from tests.needs import program

#: What the issue of operations asks to be told of.
ASKED = {
    "DischargesDoNotFlow",
    "ClientsAreNotWelcomed",
    "ClientsWaitPastThePromise",
    "MessagesStayUnconfirmed",
    "MessagesFail",
    "KeysAreParked",
    "EventsAreNotPublished",
    "ServiceLags",
    "LoopStandsStill",
    "DangerIsNotTaken",
}


def promtool(*arguments: object) -> str:
    """What promtool says; it must be content."""
    command = [program("promtool", "prometheus"), *map(str, arguments)]
    ran = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True)
    assert 0 == ran.returncode, ran.stdout + ran.stderr
    return ran.stdout


def entries() -> dict[str, str]:
    """The runbook: each entry by its anchor."""
    text = (ROOT / "docs/operations.md").read_text()
    runbook = text.split("\n## Runbook\n")[1].split("\n## ")[0]
    found = {}
    for entry in runbook.split("\n### ")[1:]:
        title, _, body = entry.partition("\n")
        anchor = re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        found[anchor] = body
    return found


def test_everything_that_was_asked_for_has_a_rule() -> None:
    assert alerts().keys() >= ASKED


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_urgent_it_is_what_happened_and_where_to_read_on(name: str) -> None:
    rule = alerts()[name]
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")

    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"].endswith(".")
    assert "docs/operations.md" == file
    for part in ("**Means:**", "**Look", "**Do:**|**Look and do:**", "**Wake:**"):
        assert any(one in entries()[anchor] for one in part.split("|")), part


@pytest.mark.parametrize("name", alerts())
def test_an_alert_has_a_case_that_fires_and_one_that_stays_quiet(name: str) -> None:
    cases = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    looks = [look for case in cases for look in case["alert_rule_test"]]

    assert {look["alertname"] for look in looks} == alerts().keys()
    mine = [bool(look["exp_alerts"]) for look in looks if look["alertname"] == name]
    assert True in mine
    assert False in mine


def test_prometheus_reads_its_configuration_and_the_cases_hold() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yml")
    promtool("test", "rules", "rules_test.yml")


def test_a_case_that_does_not_hold_is_found(tmp_path: Path) -> None:
    for name in ("rules.yml", "rules_test.yml"):
        text = (PROMETHEUS / name).read_text()
        (tmp_path / name).write_text(
            text.replace("> 900\n        labels", "> 9000\n        labels")
        )
    command = [program("promtool", "prometheus"), "test", "rules", "rules_test.yml"]

    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert 0 != ran.returncode
    assert "DangerIsNotTaken" in ran.stdout + ran.stderr


def test_alerts_reach_somebody_for_each_urgency() -> None:
    told = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    receivers = {one["name"]: one["email_configs"] for one in told["receivers"]}

    assert told["route"]["receiver"] in receivers
    [page] = told["route"]["routes"]
    assert ['severity="page"'] == page["matchers"]
    assert receivers[page["receiver"]]


def test_the_dashboard_is_what_its_program_prints() -> None:
    made = "python -m deploy.grafana.make_dashboard > deploy/grafana/dashboard.json"

    assert f"{dashboard()}\n" == DASHBOARD.read_text(), made


def test_every_picture_has_a_place_and_a_source() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    sources = yaml.safe_load((ROOT / "deploy/grafana/datasources.yml").read_text())["datasources"]

    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}) == len(panels)
    used = {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"}
    assert {source["uid"] for source in sources} == used


def test_every_expression_can_be_read(tmp_path: Path) -> None:
    rules = [
        {"record": f"expression:{number}", "expr": expression}
        for number, expression in enumerate(expressions().values())
    ]
    file = tmp_path / "expressions.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))

    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


def test_what_an_expression_reads_is_found_in_it() -> None:
    asked = 'time() - (max by (service) (a_b{kind="x y"}) > 0) or sum(rate(c_d_total[5m])) / up'

    assert {'a_b{kind="x y"}', "c_d_total", "up"} == selectors(asked)
