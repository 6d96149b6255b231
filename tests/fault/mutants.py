"""Planted bugs, each a change of one line, and the tests that must fail because of it.

``make mutants`` plants each in a copy of the product, runs its tests until one fails, and prints
how many trials that took. A bug that no test finds is a failure, and so is one that can no longer
be planted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Tests that depend on chance are tried so often before the bug counts as missed.
TRIALS = 3
#: Drawn stories are others in each trial, and more than `make test` has time for.
STORIES = {
    "WARM_HANDOFF_EXAMPLES": "60",
    "WARM_HANDOFF_STEPS": "50",
    "WARM_HANDOFF_RANDOM": "1",
}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A line as it is, the bug that takes its place, and who must find it."""

    name: str
    breaks: str
    file: str
    line: str
    bug: str
    tests: str


MUTANTS = (
    Mutant(
        name="the offset is stored before the batch",
        breaks="G3",
        file="messaging/subscriber.py",
        line="            claimed = self._claim(conn, records)",
        bug="            with self._participant.engine.begin() as own:"
        " claimed = self._claim(own, records)",
        tests="tests/component/test_consumer.py",
    ),
    Mutant(
        name="no fence against one who lost its partitions",
        breaks="G3",
        file="messaging/subscriber.py",
        line='    " AND stored.next_offset = given.first"',
        bug='    ""',
        tests="tests/component/test_relay.py",
    ),
    Mutant(
        name="rows are marked before the broker has acknowledged",
        breaks="G4",
        file="messaging/relay.py",
        line='        reached("relay.read")',
        bug='        conn.execute(text("UPDATE outbox SET published_at = clock_timestamp()"))',
        tests="tests/component/test_relay.py",
    ),
    Mutant(
        name="relays pass over each other's rows instead of standing by",
        breaks="G3",
        file="messaging/relay.py",
        line='            if not conn.execute(select(text(f"pg_try_advisory_lock({lock})")))'
        ".scalar():",
        bug="            if not lock:",
        tests="tests/component/test_relay.py",
    ),
    Mutant(
        name="the relay goes on after the last id it has seen",
        breaks="G4",
        file="messaging/relay.py",
        line='        return conn.execute(_UNPUBLISHED, {"beyond": self._beyond, "count": BATCH})'
        ".all()",
        bug="        last = conn.engine.__dict__.setdefault('last', ['']); rows = [r for r in"
        " conn.execute(_UNPUBLISHED, {'beyond': self._beyond, 'count': BATCH}).all() if"
        " str(r.event_id) > last[0]]; last[0] ="
        " max([last[0], *(str(r.event_id) for r in rows)]); return rows",
        tests="tests/component/test_relay.py",
    ),
    Mutant(
        name="a number that was used twice passes for a repetition",
        breaks="G3",
        file="messaging/inbox.py",
        line="        if known not in (None, envelope.event_id):",
        bug="        if False:",
        tests="tests/component/test_early.py",
    ),
    Mutant(
        name="what was applied is applied again",
        breaks="G3",
        file="messaging/inbox.py",
        line="        if is_again:",
        bug="        if False:",
        tests="tests/component/test_early.py",
    ),
    Mutant(
        name="an event does not wait for what it builds on",
        breaks="G3",
        file="messaging/inbox.py",
        line="            if after.producer != me and known < after.seq:",
        bug="            if False:",
        tests="tests/component/test_early.py",
    ),
    Mutant(
        name="what comes behind a parked event overtakes it",
        breaks="G6",
        file="messaging/inbox.py",
        line="        if one.key in self._parked:",
        bug="        if False:",
        tests="tests/component/test_ops_pages.py tests/component/test_messages.py",
    ),
    Mutant(
        name="a message is sent without a lease",
        breaks="G5",
        file="services/notifications/sender.py",
        line='            "state": "leased",',
        bug='            "state": "planned",',
        tests="tests/component/test_messages.py",
    ),
    Mutant(
        name="what nobody can know of is sent again",
        breaks="G5",
        file="services/notifications/sender.py",
        line='                _set(work, row.id, "unconfirmed", reason="lease_expired", **ask)',
        bug='                _set(work, row.id, "planned", reason="lease_expired", **ask)',
        tests="tests/component/test_messages.py",
    ),
    Mutant(
        name="a lease that ran out hands over all the same",
        breaks="G5",
        file="services/notifications/sender.py",
        line="        if uptime() >= leased.ends:",
        bug="        if False:",
        tests="tests/component/test_sending.py",
    ),
    Mutant(
        name="consent is looked at when a message is planned, and not when it leaves",
        breaks="G8",
        file="services/notifications/sender.py",
        line="        reason = forbids(standing)",
        bug="        reason = None",
        tests="tests/component/test_sending.py tests/component/test_messages.py",
    ),
    Mutant(
        name="a restored database uses its numbers again",
        breaks="G3",
        file="messaging/restored.py",
        line="            conn.execute(update(EPOCH).values(epoch=begun + 1))",
        bug="            # It goes on in the epoch before.",
        tests="tests/component/test_restored.py",
    ),
    Mutant(
        name="a restored database speaks before that is noticed",
        breaks="G3",
        file="messaging/outbox.py",
        line="    if now is None:",
        bug="    if not taken:",
        tests="tests/component/test_restored.py",
    ),
    Mutant(
        name="a consent that may be stale counts",
        breaks="G8",
        file="services/notifications/sender.py",
        line="    .where(or_(among(MESSAGE.c.purpose, NEVER_WAITS), and_(_FREE, _HEARD)))",
        bug="    .where(or_(among(MESSAGE.c.purpose, NEVER_WAITS), _FREE))",
        tests="tests/component/test_sending.py",
    ),
    Mutant(
        name="two mentors for one client",
        breaks="G2",
        file="services/matching/migrations/0001_matching.py",
        line="        CREATE UNIQUE INDEX one_mentor ON assignment (client_id)"
        " WHERE state <> 'ended';",
        bug="        CREATE INDEX one_mentor ON assignment (client_id) WHERE state <> 'ended';",
        tests="tests/component/test_offers.py tests/integration/test_places.py",
    ),
    Mutant(
        name="a mentor over capacity",
        breaks="G2",
        file="services/matching/migrations/0001_matching.py",
        line="        CREATE UNIQUE INDEX one_client_a_place ON assignment (mentor_id, place)",
        bug="        CREATE INDEX one_client_a_place ON assignment (mentor_id, place)",
        tests="tests/component/test_offers.py tests/integration/test_places.py",
    ),
    Mutant(
        name="the broker is told by itself how far a reader is",
        breaks="G3",
        file="messaging/kafka/reader.py",
        line="            enable_auto_commit=False,",
        bug="            enable_auto_commit=True, auto_commit_interval_ms=50,",
        tests="tests/contract/test_broker.py",
    ),
    Mutant(
        name="what was said to somebody is kept unsealed",
        breaks="G7",
        file="services/notifications/sender.py",
        line='            "said": to_json(work.keys.seal(said, "contact", owner,'
        ' f"message/{row.id}/said")),',
        bug='            "said": said,',
        tests="tests/integration/test_canary.py",
    ),
    Mutant(
        name="an erased subject is not in the ledger",
        breaks="G7",
        file="messaging/work.py",
        line="        shredding.record(self.conn, keys, self.now)",
        bug="        pass",
        tests="tests/component/test_erasing.py",
    ),
    Mutant(
        name="who is chosen from what was seen is not looked at again",
        breaks="G2",
        file="services/matching/placing.py",
        line="                if still == {mentor_id: seen[mentor_id] for mentor_id in chosen}:",
        bug="                if still:",
        tests="tests/component/test_rosters.py",
    ),
    Mutant(
        name="events are committed before what they tell of",
        breaks="G4",
        file="messaging/work.py",
        line="        outbox.record(self, behind=(*more, self.store.flush, self.timers.flush))",
        bug="        mine = self.conn\n"
        "        with self.participant.engine.begin() as self.conn: outbox.record(self, ())\n"
        "        self.conn = mine\n"
        "        for write in (*more, self.store.flush, self.timers.flush): write()",
        tests="tests/component/test_machine.py",
    ),
    Mutant(
        name="an answer is given before what it says is safe",
        breaks="G1",
        file="services/intake/commands.py",
        line="            accepted.append(visit.accepted())",
        bug="            accepted.append(visit.accepted()); work.finish = lambda *more: None",
        tests="tests/component/test_api_door.py",
    ),
    Mutant(
        name="whoever is erased keeps their keys",
        breaks="G7",
        file="messaging/work.py",
        line="        self.afterwards.append(partial(self._destroy, keys))",
        bug="        pass",
        tests="tests/component/test_erasing.py",
    ),
    Mutant(
        name="what is parked of whoever is erased waits on",
        breaks="G6",
        file="messaging/inbox.py",
        line="            self.forget(one.key, erased_by=one.envelope)",
        bug="            pass",
        tests="tests/component/test_erasing.py",
    ),
    Mutant(
        name="nobody looks again at what two workers took at once",
        breaks="G3",
        file="messaging/early.py",
        line="            applied = apply_ready(self._participant, keys, self._fuse)",
        bug="            applied = 0",
        tests="tests/component/test_early.py",
    ),
    Mutant(
        name="a key is replayed without waiting for what is put behind it",
        breaks="G6",
        file="messaging/inbox.py",
        line='    select(PARKED_KEY.c.key).where(among_given(PARKED_KEY.c.key, "keys"))'
        ".with_for_update(read=True)",
        bug='    select(PARKED_KEY.c.key).where(among_given(PARKED_KEY.c.key, "keys"))',
        tests="tests/component/test_early.py",
    ),
    Mutant(
        name="a message leaves while something waits that may forbid it",
        breaks="G8",
        file="messaging/parking.py",
        line="    return and_(key.not_in(parked), ~exists().where(EARLY.c.key == key))",
        bug="    return key.not_in(parked)",
        tests="tests/component/test_messages.py",
    ),
    Mutant(
        name="a reader passes over what took the place of a lost end",
        breaks="G3",
        file="messaging/cut.py",
        line="        if record.offset < next_offset and record.term > term >= 0:",
        bug="        if False:",
        tests="tests/component/test_cut.py",
    ),
    Mutant(
        name="a log that was cut and has grown again passes for whole",
        breaks="G4",
        file="messaging/cut.py",
        line="            if record is None or not (self._is_compared or _is_there(conn, record)):",
        bug="            if record is None:",
        tests="tests/component/test_cut.py",
    ),
    Mutant(
        name="keys that somebody had before pass for those that were just made",
        breaks="G1",
        file="messaging/sealing.py",
        line="        return {place: key for place, key in keys.items() if place[1] in new}",
        bug="        return keys",
        tests="tests/component/test_sealing.py",
    ),
    Mutant(
        name="an attempt's answer is written over the next one's lease",
        breaks="G5",
        file="services/notifications/sender.py",
        line="                if row is None or row.attempts > leased.row.attempts:",
        bug="                if row is None:",
        tests="tests/component/test_sending.py",
    ),
    Mutant(
        name="what cannot be opened of one person fails whoever reads for many",
        breaks="G6",
        file="messaging/at_hand.py",
        line="                self.unopened[key] = error",
        bug="                raise",
        tests="tests/component/test_unopened.py",
    ),
    Mutant(
        name="the answer of a join for which nobody waits is thrown away",
        breaks="G3",
        file="messaging/kafka/reader.py",
        line="            group._join_task = _Unread(joining)",
        bug="            pass",
        tests="tests/contract/test_broker.py",
    ),
    Mutant(
        name="a replay of many goes on whatever fails",
        breaks="G6",
        file="messaging/replays.py",
        line="            if found is None or run.failed_in_a_row >= FAILURES:",
        bug="            if found is None:",
        tests="tests/component/test_ops_pages.py",
    ),
    Mutant(
        name="what the network has not taken counts as taken",
        breaks="G5",
        file="services/notifications/asking.py",
        line="    mine = next((one for one in found or () if one.provider_id not in others), None)",
        bug="    mine = next((one for one in found or ()), None)",
        tests="tests/component/test_asking.py",
    ),
    Mutant(
        name="a discharge that is held is nobody's task",
        breaks="G9",
        file="services/intake/commands.py",
        line='        work.store.open_task("held", discharge.id, discharge)',
        bug="        pass",
        tests="tests/component/test_held.py",
    ),
)


def plant(mutant: Mutant, checkout: Path) -> None:
    """Put the bug into a copy; raises ``LookupError`` where its line is not there just once."""
    file = checkout / mutant.file
    lines = file.read_text().split("\n")
    if lines.count(mutant.line) != 1:
        raise LookupError(f"{mutant.name}: its line is not once in {mutant.file}")
    lines[lines.index(mutant.line)] = mutant.bug
    file.write_text("\n".join(lines))


def main(wanted: str = "") -> int:
    """Try all, or those whose names hold a word; 1 when any was missed."""
    missed = 0
    for mutant in MUTANTS:
        if wanted not in mutant.name:
            continue
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            _copy(Path(folder))
            plant(mutant, Path(folder))
            caught = next((n for n in range(1, TRIALS + 1) if _fails(mutant, Path(folder))), None)
        said = f"caught in trial {caught}" if caught else f"MISSED in {TRIALS} trials"
        print(f"{mutant.breaks} {mutant.name}: {said}", flush=True)
        missed += caught is None
    return 1 if missed else 0


def _copy(folder: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "hosting" / "built", folder / "hosting" / "built")
    folder.chmod(0o755)


def _fails(mutant: Mutant, folder: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", *mutant.tests.split()]
    environ = {**os.environ, **STORIES}
    ran = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    # Only a test that failed has found something; one that could not be run has not.
    return ran.returncode == 1 and "\nFAILED " in ran.stdout


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
