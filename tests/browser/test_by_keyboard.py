"""The form of a discharge with the keyboard alone: every stop is seen, and it is quick."""

from __future__ import annotations

from datetime import timedelta

from playwright.sync_api import Page

from tests.browser.screens import Screens
from tests.running import Running

KEYS_A_SECOND = 3
SECONDS = 60
#: The stop itself, or what is drawn for it: the sign beside a box that is ticked, words within.
FOCUS = """() => {
  const one = document.activeElement;
  const shown = (element, part) => {
    if (!element) return false;
    const style = getComputedStyle(element, part);
    const clear = colour => colour === "rgba(0, 0, 0, 0)";
    return style.boxShadow !== "none" ||
      (style.outlineStyle !== "none" && style.outlineWidth !== "0px" && !clear(style.outlineColor));
  };
  const isDrawn = one.matches("[type=checkbox], [type=radio]");
  if (isDrawn) return shown(one.nextElementSibling, "::before");
  return shown(one) || shown(one.firstElementChild);
}"""
WHERE = """() => {
  const one = document.activeElement;
  return one.name || one.innerText.trim() || one.tagName;
}"""


class Keyboard:
    """Counts what is pressed, and looks where it leads."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.keys = 0

    def press(self, key: str) -> None:
        """One key."""
        self._page.keyboard.press(key)
        self.keys += 1

    def tab(self) -> str:
        """On to the next stop, which must be seen; what it is."""
        self.press("Tab")
        where = str(self._page.evaluate(WHERE))
        assert self._page.evaluate(FOCUS), f"nobody sees that {where} has the focus"
        return where

    def fill(self, **fields: str) -> None:
        """Type into the next fields, each by its name; what is left empty is passed."""
        for name, words in fields.items():
            assert name.replace("_at_", "_at-").replace("_on_", "_on-") == self.tab()
            for key in words:
                self.press(key)


def test_a_discharge_is_entered_within_a_minute_by_keyboard_alone(
    running: Running, screens: Screens
) -> None:
    left = running.now() - timedelta(days=1)
    with screens.of("clerk") as page:
        page.goto("/discharges/new")
        keyboard = Keyboard(page)

        assert "record_number" == page.evaluate(WHERE), "typing can begin at once"
        assert page.evaluate(FOCUS)
        for key in "R-70001":
            keyboard.press(key)
        keyboard.fill(visit_number="V-1", given="Alexandra", family="Montgomery", called="Alex")
        keyboard.fill(born_on_month="11", born_on_day="23", born_on_year="1984")
        keyboard.fill(mobile="5035550177", email="")
        keyboard.fill(
            discharged_at_month=f"{left.month}",
            discharged_at_day=f"{left.day}",
            discharged_at_year=f"{left.year}",
            discharged_at_time="10:30",
        )
        keyboard.fill(reason="", agreed=" ")
        # The second channel stays as it is.
        keyboard.fill(agreed="", obtained_by="R. Lane", method=" ")
        keyboard.press("Enter")
        page.wait_for_url("**/discharges/*-*")

        seconds = keyboard.keys / KEYS_A_SECOND
        print(
            f"\nthe eight fields: {keyboard.keys} keys, {seconds:.0f} s at {KEYS_A_SECOND} a second"
        )
        assert seconds < SECONDS
        assert "Alexandra Montgomery" == page.locator("h1").inner_text()


def test_every_stop_of_the_form_is_seen(screens: Screens) -> None:
    with screens.of("clerk") as page:
        page.goto("/discharges/new")
        # Those that are folded away are stops as well.
        page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
        keyboard, stops = Keyboard(page), ["record_number"]
        while (stop := keyboard.tab()) != "then":
            stops.append(stop)
        # Behind the last is the page itself, and then its beginning.
        keyboard.press("Tab")
        while (stop := keyboard.tab()) != "record_number":
            stops.append(stop)

    assert {"reason", "agreed", "method", "needs", "wishes", "Save"} <= set(stops)
    assert {"Skip to main content", "Clients", "Sign out"} <= set(stops)
