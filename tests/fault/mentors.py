"""The mentors of a run: ten of them, with places for too few at first, who answer when asked."""

from __future__ import annotations

import math
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from messaging.unavailable import is_away, is_lost_race
from services.matching.mentors import load_roster
from services.notifications.incoming import Desk
from services.notifications.replies import Meaning
from services.notifications.store import Question
from tests.house import House
from tests.running import eventually

#: Places of each of them, so that nobody has to wait.
ENOUGH = 200
MENTORS = 10
#: For so many of those who come there is a place, until in the end there is one for everybody.
PLACED = 0.7
#: In so many parts of a run's time there are more places than in the one before.
PARTS = 3
#: One of so many offers is declined.
DECLINED = 5
ANSWER_EVERY_SECONDS = 0.5
_HEADER = (
    "code,called,mobile,email,opted_in_at,opted_in_how,time_zone,languages,moud_friendly,"
    "facilities,capacity,hours,route,state\n"
)
_OVER = (
    "SELECT mentor_id FROM assignment JOIN mentor ON mentor.id = mentor_id"
    " WHERE assignment.state IN ('offered', 'assigned')"
    " GROUP BY mentor_id, capacity HAVING count(*) > capacity"
)
_OFFERS = "SELECT * FROM question WHERE kind = 'offer' AND state <> 'closed'"


def offer_places(house: House, places: int) -> bool:
    """Load the roster with so many places for each; whether all of it was taken."""
    roster = _HEADER + "".join(
        f"K-{n},Jo{n},+1503555{6000 + n},jo{n}@peers.example.org,2026-01-05T10:00:00-08:00,form,"
        f"America/Los_Angeles,en,yes,north|south,{places},00:00-23:59,workforce,active\n"
        for n in range(MENTORS)
    )
    return not load_roster(house.matching, roster).errors


@dataclass
class Mentors:
    """Get more places while clients come, and answer what they are asked, for as long as it runs.

    ``coming`` clients come within ``seconds``. ``desk`` is notifications' web.
    """

    house: House
    desk: Desk
    coming: float
    seconds: float
    #: What may not go wrong, whatever is away.
    wrong: list[str] = field(default_factory=list)
    declined: int = 0
    _healed: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin, in threads of its own."""
        self._threads = [
            threading.Thread(target=act, daemon=True) for act in (self._widen, self._answer)
        ]
        for thread in self._threads:
            thread.start()

    def take_everybody(self) -> None:
        """All else is well again, nobody was over capacity, and nobody has to wait any longer."""
        self._healed.set()
        widening, _ = self._threads
        widening.join()
        assert [] == self.house.rows("matching", _OVER), "a mentor is over capacity"
        eventually(lambda: self._offer(ENOUGH), otherwise="the roster is not taken")

    def end(self) -> None:
        """Answer nothing more."""
        self._healed.set()
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _widen(self) -> None:
        for part in range(2, PARTS + 1):
            if self._healed.wait(self.seconds / PARTS):
                return
            while not self._offer(places_in(part, self.coming)):
                if self._healed.wait(ANSWER_EVERY_SECONDS):
                    return

    def _answer(self) -> None:
        while not self._ended.wait(ANSWER_EVERY_SECONDS):
            self._tried(self._answer_all)

    def _answer_all(self) -> bool:
        for row in self.house.rows("notifications", _OFFERS):
            question = Question(**row._mapping)
            says_no = question.id.int % DECLINED == 0
            self.desk.button_pressed(question, Meaning.NO if says_no else Meaning.YES, "email")
            self.declined += says_no
        return True

    def _offer(self, places: int) -> bool:
        def offer() -> bool:
            # Whoever waited is placed by this, now and not when the run began.
            self.house.clock.moment = self.desk.participant.now()
            return offer_places(self.house, places)

        return self._tried(offer)

    def _tried(self, act: Callable[[], bool]) -> bool:
        try:
            return act()
        except Exception as error:
            if not is_away(error) and not is_lost_race(error):
                self.wrong.append(f"mentors: {traceback.format_exc(limit=-4)}")
            return False


def places_in(part: int, coming: float) -> int:
    """Places of each mentor in this part of a run, from 1 on, in which so many clients come."""
    return math.ceil(PLACED * coming * part / PARTS / MENTORS)
