"""`make pictures`: small pictures of the main pages, taken from the running demo.

Start it with `make run` on an empty data folder, wait for the line about example clients, and run
this beside it. Chromium signs in as people do, by a link that works once.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from deploy.local import demo
from deploy.local.children import CHECKOUT
from hosting.settings import load_environment

FOLDER = CHECKOUT / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 900
#: As wide as documents are shown.
SCALE = 0.75
QUALITY = 35
PATIENCE_MS = 20_000


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A page as somebody sees it; ``{EX-...}`` in its path is that example's discharge."""

    name: str
    role: str | None
    path: str
    prepare: Callable[[Page], None] = lambda page: None


def play_a_hand_over(page: Page) -> None:
    """Send a discharge at the desk, and let the mentor say yes."""
    page.click("text=Send the discharge")
    page.click("#mentor-buttons >> text=YES")
    page.wait_for_selector("#state >> text=assigned")
    page.wait_for_selector("#mentor-messages >> text=Your code")


PICTURES = (
    Picture(name="today", role="coordinator", path="/"),
    Picture(name="discharge-form", role="clerk", path="/discharges/new"),
    Picture(name="story", role="coordinator", path="/discharges/{EX-someone-else-1}"),
    Picture(name="mentors", role="coordinator", path="/matching/"),
    Picture(name="flow", role="operations", path="/ops/"),
    Picture(name="desk", role=None, path="/desk", prepare=play_a_hand_over),
)


def main() -> int:
    """Take all of them; where nothing runs, say what to do."""
    var = Path(os.environ.get("WARM_HANDOFF_VAR") or CHECKOUT / "var").resolve()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("Pictures are taken with chromium, which is not installed.", file=sys.stderr)
        return 1
    if not (var / "examples.json").exists():
        print(
            "There is no demo with examples here: start 'make run' on an empty folder first.",
            file=sys.stderr,
        )
        return 1
    load_environment(var, os.environ)  # type: ignore[arg-type]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for role in dict.fromkeys(picture.role for picture in PICTURES):
            take(browser, var, role)
    return 0


def take(browser: Browser, var: Path, role: str | None) -> None:
    """Take the pictures of one role."""
    access = json.loads((var / "access.json").read_text())
    examples = json.loads((var / "examples.json").read_text())
    page = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    if role is not None:
        links = dict(line.split(": ", 1) for line in demo.sign_in_links(var))
        page.goto(links[role])
        with page.expect_navigation():
            page.click("main button")
    for picture in PICTURES:
        if picture.role == role:
            page.goto(access["url" if role else "sandbox_url"] + picture.path.format(**examples))
            picture.prepare(page)
            keep(page, FOLDER / f"{picture.name}.webp")


def keep(page: Page, file: Path) -> None:
    """Write what is seen, in few bytes: only the protocol itself offers webp."""
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": SCALE}
    shot = page.context.new_cdp_session(page).send(
        "Page.captureScreenshot", {"format": "webp", "quality": QUALITY, "clip": clip}
    )
    file.write_bytes(base64.b64decode(shot["data"]))
    print(f"{file.relative_to(CHECKOUT)}  {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
