"""The house keeps its walls: imports go down, services are apart, shared rooms know no domain."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Words of the domain that shared code must not hold. A client here is always a person.
DOMAIN = (
    "client", "mentor", "peer", "discharge", "assignment", "caseload", "consent", "disclosure",
    "facility", "coordinator", "wait-list",
)  # fmt: skip
SHARED = sorted(
    path
    for kind in ("messaging/**/*.py", "hosting/**/*.py", "hosting/page_templates/*.html")
    for path in ROOT.glob(kind)
)
PRODUCT = sorted(
    path
    for room in ("contracts", "messaging", "hosting", "services", "deploy", "bench", "tests")
    for path in (ROOT / room).rglob("*.py")
)
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "core"}


def test_import_rules_are_kept() -> None:
    ran = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert 0 == ran.returncode, ran.stdout


@pytest.mark.parametrize("service", ["intake", "matching", "notifications"])
def test_a_service_imports_without_its_siblings(service: str) -> None:
    siblings = {"intake", "matching", "notifications"} - {service}
    hidden = "\n".join(f"sys.modules['services.{name}'] = None" for name in sorted(siblings))
    program = f"import sys\n{hidden}\nimport services.{service}.service, services.command_line"

    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)

    assert 0 == ran.returncode, ran.stderr


@pytest.mark.parametrize("path", SHARED, ids=lambda p: str(p.relative_to(ROOT)))
def test_shared_code_holds_no_word_of_the_domain(path: Path) -> None:
    words = set(re.findall(r"[a-z]+(?:-[a-z]+)?", _without_paths(path.read_text()).lower()))

    found = {word for word in words for domain in DOMAIN if word in (domain, f"{domain}s")}
    assert set() == found


def _without_paths(text: str) -> str:
    # kafka-python and Flask name things of their own that we cannot rename.
    foreign = (
        r"client_id=|prometheus_client|test_client|\.assignment\b|\._coordinator|services[./]\w+"
    )
    return re.sub(foreign, "", text)


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_says_what_it_is_for_and_has_a_name_that_says_something(path: Path) -> None:
    assert path.stem not in BANNED
    tree = ast.parse(path.read_text())
    if tree.body:
        assert ast.get_docstring(tree), "the first line of a module says what it is for"


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_promised_for_later(path: Path) -> None:
    marks = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X"))

    assert not re.search(rf"\b({marks})\b", path.read_text())
