"""The jars of the local Kafka broker: pinned in a list, fetched once, checked at every start.

python -m deploy.local.jars regenerate [KAFKA_VERSION]
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

from deploy.local.trouble import Trouble

LIST = Path(__file__).with_name("kafka-jars.txt")
BROKER = "org.apache.kafka:kafka_2.13"
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.1"
ATTEMPTS = 3
THREADS = 8
WORKPLACE = ".fetching-"

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>warm-handoff</groupId><artifactId>kafka-jars</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""
DEPENDENCY = (
    "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
)


class NotFetched(Trouble):
    """Jars of the broker could not be fetched with the right content; try again when online."""


@dataclass(frozen=True, kw_only=True)
class Jar:
    group: str
    artifact: str
    version: str
    sha256: str

    @classmethod
    def read(cls, line: str) -> Self:
        coordinate, sha256 = line.split()
        group, artifact, version = coordinate.split(":")
        return cls(group=group, artifact=artifact, version=version, sha256=sha256)

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def is_intact_at(self, file: Path) -> bool:
        return file.is_file() and sha256_of(file) == self.sha256


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One line that is updated on a terminal; a line now and then where it can't be."""

    total: int
    out: TextIO

    def show(self, done: int) -> None:
        text = f"Fetching the Kafka broker: {done} of {self.total} jars"
        if self.out.isatty():
            self.out.write(f"\r{text}" + ("\n" if done == self.total else ""))
        elif done % 10 == 0 or done == self.total:
            self.out.write(f"{text}\n")
        self.out.flush()


Fetch = Callable[[Jar, Path], Path]
"""Fetches a jar into a folder of its own and says where in it the jar lies."""


def pinned() -> list[Jar]:
    return [Jar.read(line) for line in LIST.read_text().splitlines()]


def kafka_version(jars: Iterable[Jar]) -> str:
    return next(jar.version for jar in jars if f"{jar.group}:{jar.artifact}" == BROKER)


def cache_folder(version: str) -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "warm-handoff" / f"kafka-{version}"


def learned_in(folder: Path) -> Path:
    """Where what a broker has learned from the jars lies, beside them."""
    return folder / "learned"


def sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fetch_from_maven_central(jar: Jar, folder: Path) -> Path:
    # jgo is slow to import and only needed when something is missing.
    from jgo.maven import MavenContext, PythonResolver

    context = MavenContext(repo_cache=folder, local_repos=[], resolver=PythonResolver())
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    return component.artifact(packaging="jar").resolve()


def ensure_jars(
    jars: list[Jar], folder: Path, *, fetch: Fetch = fetch_from_maven_central, out: TextIO
) -> list[Path]:
    """Every jar, whole and with the pinned content, in the order of the list."""
    folder.mkdir(parents=True, exist_ok=True)
    with the_only_one_in(folder):
        missing = [jar for jar in jars if not jar.is_intact_at(folder / jar.file_name)]
        # What was learned from a jar is taken from no other file, not even from the same again.
        for learned in learned_in(folder).glob("*.aot") if missing else ():
            learned.unlink()
        fetch_all(missing, folder, fetch, Progress(total=len(missing), out=out))
    return [folder / jar.file_name for jar in jars]


@contextmanager
def the_only_one_in(folder: Path) -> Iterator[None]:
    """Let one run fetch while others wait, and sweep up what a fetch that was cut short left."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for workplace in folder.glob(f"{WORKPLACE}*"):
            shutil.rmtree(workplace)
        yield


def fetch_all(missing: list[Jar], folder: Path, fetch: Fetch, progress: Progress) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        fetched = [threads.submit(fetch_checked, jar, folder, fetch) for jar in missing]
        try:
            for done, future in enumerate(as_completed(fetched), start=1):
                future.result()
                progress.show(done)
        except NotFetched:
            threads.shutdown(cancel_futures=True)
            raise


def fetch_checked(jar: Jar, folder: Path, fetch: Fetch) -> None:
    reason = ""
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(dir=folder, prefix=WORKPLACE) as workplace:
            try:
                file = fetch(jar, Path(workplace))
            # The errors of a fetcher are not a closed set, and each is answered in the same way.
            except Exception as error:
                reason = f"it could not be fetched ({type(error).__name__})"
                continue
            if jar.is_intact_at(file):
                # Moved only when checked, so that a jar in the folder is whole or absent.
                file.replace(folder / jar.file_name)
                return
            reason = "what was fetched is not what is pinned"
    raise NotFetched(f"{jar.file_name}: {reason}, {ATTEMPTS} times.")


def regenerate(version: str) -> None:
    """Write the list anew, as Maven resolves it; what jgo resolves by itself is wrong."""
    maven = shutil.which("mvn")
    if maven is None:
        sys.exit("Regenerating the list needs Maven (mvn), which is not on this machine.")
    roots = [f"{BROKER}:{version}", LOGGING]
    with tempfile.TemporaryDirectory() as folder:
        dependencies = "".join(DEPENDENCY.format(*root.split(":")) for root in roots)
        (Path(folder) / "pom.xml").write_text(POM.format(dependencies=dependencies))
        subprocess.run(
            [
                *(maven, "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"),
                *("-DoutputDirectory=jars", "-Dmdep.useRepositoryLayout=true"),
            ],
            cwd=folder,
            check=True,
        )
        lines = sorted(line_of(jar, Path(folder) / "jars") for jar in Path(folder).rglob("*.jar"))
    LIST.write_text("".join(f"{line}\n" for line in lines))
    print(f"{LIST.name} now holds the {len(lines)} jars of Kafka {version}.")


def line_of(jar: Path, repository: Path) -> str:
    *group, artifact, version, _ = jar.relative_to(repository).parts
    return f"{'.'.join(group)}:{artifact}:{version}  {sha256_of(jar)}"


if __name__ == "__main__":
    if sys.argv[1:2] != ["regenerate"]:
        sys.exit("usage: python -m deploy.local.jars regenerate [KAFKA_VERSION]")
    regenerate(sys.argv[2] if len(sys.argv) > 2 else kafka_version(pinned()))
