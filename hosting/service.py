"""A service put together: its participant, its web app and its worker's loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Blueprint, Flask
from sqlalchemy import Engine

from contracts.event import Event
from contracts.topics import TOPICS
from hosting.clock import Clock
from hosting.database import engine_for
from hosting.measuring import REST_SECONDS, Measure, Measuring
from hosting.process import Loop, Turn, Worker
from hosting.settings import ServiceSettings, SettingsError
from hosting.wakeup import Listener, Waker
from hosting.web import make_app
from messaging import early, lag, metrics, restored
from messaging.audit import Chaining
from messaging.kafka import (
    KafkaBacklog,
    KafkaReader,
    KafkaWriter,
    read_at,
    read_to_the_end,
    topic_ids,
)
from messaging.relay import Relay
from messaging.replays import Replaying
from messaging.sealing import Keyring, SearchTokens
from messaging.shredding import Shredding
from messaging.subscriber import Subscriber
from messaging.timer_loop import TimerLoop
from messaging.work import Handler, Participant, Work
from messaging.wrapping import MasterKeys


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """What every service stands on: databases, keys, clock and tokens."""

    name: str
    settings: ServiceSettings
    database: Engine
    access: Engine
    keyring: Keyring
    clock: Clock
    tokens: SearchTokens
    waker: Waker

    def participant(
        self,
        *,
        on: Mapping[type[Event], Sequence[Handler]],
        timers: Mapping[str, Handler],
        open_store: Callable[[Work], Any],
        settle: Callable[[Work], Any] = lambda work: (),
        keeps: frozenset[type] = frozenset(),
    ) -> Participant:
        """The service as messaging sees it."""
        return Participant(
            name=self.name,
            engine=self.database,
            keyring=self.keyring,
            on=on,
            timers=timers,
            open_store=open_store,
            now=self.clock.now,
            settle=settle,
            keeps=keeps,
            wake=self.waker.wake,
        )

    def web(self, prefix: str, blueprints: Sequence[Blueprint]) -> Flask:
        """The web app, under its prefix at the front door."""
        return make_app(
            self.name,
            prefix=prefix,
            database=self.database,
            access=self.access,
            metrics_port=self.settings.web_metrics_port,
            blueprints=blueprints,
            is_secure=self.settings.public_url.startswith("https:"),
        )

    def _notice_restore(self, participant: Participant) -> None:
        own, servers = TOPICS[self.name], self.settings.kafka_servers
        [topic_id] = topic_ids(servers, [own.name]).values()
        read_back, at = partial(read_to_the_end, servers, own), partial(read_at, servers, own.name)
        restored.notice(participant, topic_id, read_back, at)

    def run_worker(
        self,
        participant: Participant,
        more: Sequence[Loop] = (),
        measures: Sequence[Measure] = (),
        *,
        unhurried: Sequence[Loop] = (),
        seldom: Sequence[Loop] = (),
        hears_after: float = 0.0,
        says_after: float = 0.0,
        beats: bool = False,
    ) -> None:
        """Run relay, consumer, timers, metrics and the service's own loops until a signal.

        What is unhurried looks by itself every half a second, and no commit wakes it; what is
        seldom, every quarter of a minute. A service
        that nobody waits for hears the others, or says its own, a part of a second later and more
        at a time; both in seconds. One that ``beats`` lets the others know that it is not silent
        for lack of a voice.
        """
        servers, fuse = self.settings.kafka_servers, self.settings.fuse_after
        writer = KafkaWriter(servers, self.name)
        topics = [topic.name for who, topic in TOPICS.items() if who != self.name]
        metrics.begin(topics)
        subscriber = Subscriber(
            participant,
            partial(
                KafkaReader,
                servers,
                self.name,
                topics,
                gather_seconds=hears_after,
                dead_after_seconds=self.settings.dead_after_seconds,
            ),
            fuse=fuse,
        )
        watch = lag.LagWatch(self.database, KafkaBacklog(servers, topics), subscriber.stalled)
        gap_after = self.settings.gap_after_seconds
        measuring = Measuring(participant, measures, gap_after_seconds=gap_after)
        relay = Relay(self.name, self.database, writer, beats=beats)
        hearing = [
            Turn(loop=relay, rest_seconds=0.25, gather_seconds=says_after),
            *(Turn(loop=loop, rest_seconds=0.25) for loop in more),
        ]
        turns = [
            *hearing,
            Turn(loop=subscriber, rest_seconds=0),
            Turn(loop=TimerLoop(participant, fuse=fuse), rest_seconds=1.0),
            *(Turn(loop=loop, rest_seconds=0.5) for loop in unhurried),
            *(Turn(loop=loop, rest_seconds=15.0) for loop in seldom),
            Turn(loop=early.Releasing(participant, fuse=fuse), rest_seconds=early.REST_SECONDS),
            Turn(loop=Replaying(participant), rest_seconds=1.0),
            Turn(loop=Shredding(participant), rest_seconds=REST_SECONDS),
            Turn(loop=Chaining(self.database), rest_seconds=REST_SECONDS),
            Turn(loop=measuring, rest_seconds=REST_SECONDS),
            Turn(loop=watch, rest_seconds=lag.REST_SECONDS),
        ]
        worker = Worker(turns, self.database, first=partial(self._notice_restore, participant))
        # What the consumer and the timers commit is for the relay, and for the service's loops.
        listener = Listener(self.settings.database_url)
        for turn in hearing:
            self.waker.wakes(turn.woken)
            listener.wakes(turn.woken)
        listener.start()
        closers = [loop.close for loop in (*more, *seldom) if hasattr(loop, "close")]
        worker.on_stop(
            [*closers, subscriber.close, watch.close, relay.close, writer.close, listener.stop]
        )
        worker.run(self.settings.web_host, self.settings.worker_metrics_port)


def lay_foundation(name: str, settings: ServiceSettings) -> Foundation:
    """Connect nothing yet; everything connects when it is first used, so forks are safe."""
    database = engine_for(settings.database_url, pool=10)
    access = engine_for(settings.access_url, pool=4)
    keys = engine_for(settings.keys_url, pool=4)
    master = MasterKeys(public=settings.public_keys, private=settings.private_keys)
    try:
        keyring = Keyring(keys, master)
    except ValueError as error:
        raise SettingsError(f"settings: {error}") from error
    return Foundation(
        name=name,
        settings=settings,
        database=database,
        access=access,
        keyring=keyring,
        clock=Clock(access, mode=settings.mode),
        tokens=SearchTokens(settings.search_key),
        waker=Waker(database),
    )
