"""Prometheus's own programs for tests, and every expression that rules and the dashboard ask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
#: What Grafana puts there depends on how wide a picture is.
INTERVAL = "5m"
_CLAUSE = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(r"\b(?:up|[a-z]+(?:_[a-z]+)+)\b(?!\s*\()(?:\{[^}]*\})?")


def alerts() -> dict[str, Any]:
    """Every alerting rule by its name."""
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def expressions() -> dict[str, str]:
    """Every expression, by where it stands."""
    found = {f"alert {name}": rule["expr"] for name, rule in alerts().items()}
    for panel in _panels(json.loads(DASHBOARD.read_text())["panels"]):
        for target in panel.get("targets", ()):
            place = f"panel {panel['title']} {target['refId']}"
            assert place not in found, f"two panels have one title: {place}"
            found[place] = target["expr"].replace("$__rate_interval", INTERVAL)
    return found


def _panels(panels: list[Any]) -> Iterator[Any]:
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels", []))


def selectors(expression: str) -> set[str]:
    """The series that an expression reads: each name with the labels that it asks for."""
    return set(_SELECTOR.findall(_CLAUSE.sub("", expression)))
