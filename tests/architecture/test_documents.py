"""Documents that say what the code says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from contracts.sealed import PURPOSES
from deploy.local.settings import ROLES
from hosting.settings import ServiceSettings
from services.event_map import BEGIN, END, event_map
from services.intake.settings import IntakeSettings
from services.notifications.replies import understand
from services.notifications.settings import NotificationsSettings
from services.notifications.wording import TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("INTAKE", "MATCHING", "NOTIFICATIONS")
#: Settings that are read outside the services' dataclasses, and where.
ELSEWHERE = {
    "KEYS_OWNER_URL": "services/command_line.py",
    "ACCESS_OWNER_URL": "services/command_line.py",
    "WARM_HANDOFF_VAR": "services/__main__.py",
    "WARM_HANDOFF_PORT": "deploy/local/__main__.py",
    "WARM_HANDOFF_DEMO": "deploy/local/demo.py",
    "WARM_HANDOFF_EXAMPLES": "deploy/local/__main__.py",
    "WARM_HANDOFF_NOW": "deploy/local/demo.py",
    "WEB_WORKERS": "deploy/gunicorn.conf.py",
    "CLOCK_URL": "deploy/sandbox/settings.py",
    "SANDBOX_HOST": "deploy/sandbox/settings.py",
    "SANDBOX_PORT": "deploy/sandbox/settings.py",
    "SANDBOX_SMTP_PORT": "deploy/sandbox/settings.py",
    "SANDBOX_FOLDER": "deploy/sandbox/settings.py",
    "SANDBOX_REPLY_WEBHOOK": "deploy/sandbox/settings.py",
    "SANDBOX_ACCESS": "deploy/sandbox/settings.py",
    "SANDBOX_WISHES": "deploy/sandbox/settings.py",
    **{f"{role}_PASSWORD": "docker-compose.yml" for role in ("POSTGRES", *map(str.upper, ROLES))},
    **{f"{s}_METRICS_FOLDER": "services/command_line.py" for s in SERVICES},
}


def _settings() -> set[str]:
    names: set[str] = set()
    for cls, services in (
        (ServiceSettings, SERVICES),
        (IntakeSettings, SERVICES[:1]),
        (NotificationsSettings, SERVICES[2:]),
    ):
        for declared in fields(cls):
            for service in services:
                name = declared.metadata["env"].replace("{S}", service)
                names |= {name.replace("{PURPOSE}", p.upper()) for p in PURPOSES}
    return names


def test_every_setting_is_in_the_example_and_nothing_else() -> None:
    text = (ROOT / ".env.example").read_text()
    named = re.findall(r"^#?\s?([A-Z][A-Z_]+)=", text, re.MULTILINE)

    private = {"INTAKE_KEY_IDENTITY_PRIVATE", "INTAKE_KEY_RECORD_PRIVATE"}
    private |= {"MATCHING_KEY_ABOUT_PRIVATE", "NOTIFICATIONS_KEY_CONTACT_PRIVATE"}
    expected = {n for n in _settings() if not n.endswith("_PRIVATE")} | private
    assert expected | set(ELSEWHERE) == set(named)


def test_settings_read_elsewhere_are_read_where_it_is_said() -> None:
    for name, path in ELSEWHERE.items():
        last = name.split("_", 1)[1] if name.endswith("_METRICS_FOLDER") else name
        assert last in (ROOT / path).read_text(), name


def test_the_example_holds_no_secret() -> None:
    for line in (ROOT / ".env.example").read_text().splitlines():
        name, separator, value = line.lstrip("# ").partition("=")
        secret = re.search(r"(_URL|_KEY|_TOKEN|_PASSWORD|_PRIVATE)$", name)
        if separator and secret and name not in ("TWILIO_URL", "PUBLIC_URL", "SANDBOX_URL"):
            assert "" == value, name


def test_the_event_map_is_the_one_of_the_code() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    shown = text.split(BEGIN)[1].split(END)[0].strip()

    assert event_map().strip() == shown, "run 'make map'"


def test_the_readme_names_commands_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)\b", (ROOT / "README.md").read_text()))

    assert named <= targets


def test_links_between_documents_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_the_readme_links_every_guide_and_no_other() -> None:
    linked = re.findall(r"\]\((docs/guides/[^)]+)\)", (ROOT / "README.md").read_text())
    guides = {f"docs/guides/{path.name}" for path in (ROOT / "docs/guides").iterdir()}

    assert guides == set(linked)


def test_the_texts_that_clients_are_told_of_are_those_that_are_sent() -> None:
    guide = " ".join((ROOT / "docs/guides/client.md").read_text().split())
    sent = [_sms(path.read_text()) for path in TEMPLATES.glob("*.en.txt")]
    quoted = re.findall(r'"([^"]+)"', guide)

    assert len(quoted) > 10
    for text in quoted:
        parts = [part.strip() for part in text.split("...")]
        assert any(all(part in one for part in parts) for one in sent), text


def _sms(template: str) -> str:
    return " ".join(template.split("--- sms")[1].split("--- email")[0].split())


def test_the_words_that_clients_are_told_of_mean_what_they_say() -> None:
    guide = (ROOT / "docs/guides/client.md").read_text()
    words = re.findall(r"^\| `([A-Z ]+)`", guide, re.MULTILINE)

    assert {"NO", "STOP", "TALK"} < set(words)
    for word in words:
        asked = "check_in" if word in ("OK", "TALK") else None
        assert word.replace(" ", "_") == understand(word, asked).name, word
