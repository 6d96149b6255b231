"""The broker's jars are used only when every byte is the pinned one."""

import hashlib
import io
from pathlib import Path

import pytest

from deploy.local import jars
from deploy.local.jars import Jar, NotFetched, ensure_jars

CONTENT = b"what Maven Central holds"
JAR = Jar(group="org.a", artifact="b", version="1", sha256=hashlib.sha256(CONTENT).hexdigest())


class FakeFetch:
    """Answers with one content after the other, and with the last one from then on."""

    def __init__(self, *contents: bytes) -> None:
        self.contents = list(contents)
        self.calls = 0

    def __call__(self, jar: Jar, folder: Path) -> Path:
        self.calls += 1
        content = self.contents.pop(0) if len(self.contents) > 1 else self.contents[0]
        file = folder / jar.file_name
        file.write_bytes(content)
        return file


def test_a_missing_jar_is_fetched_once(tmp_path: Path) -> None:
    fetch = FakeFetch(CONTENT)

    ensure_jars([JAR], tmp_path, fetch=fetch, out=io.StringIO())
    files = ensure_jars([JAR], tmp_path, fetch=fetch, out=io.StringIO())

    assert files == [tmp_path / "b-1.jar"]
    assert files[0].read_bytes() == CONTENT
    assert fetch.calls == 1


def test_a_jar_that_was_cut_off_is_fetched_anew(tmp_path: Path) -> None:
    (tmp_path / "b-1.jar").write_bytes(CONTENT[:5])

    [file] = ensure_jars([JAR], tmp_path, fetch=FakeFetch(CONTENT), out=io.StringIO())

    assert file.read_bytes() == CONTENT


def test_a_fetch_with_wrong_content_is_refused_and_repeated(tmp_path: Path) -> None:
    fetch = FakeFetch(b"something else", CONTENT[:5], CONTENT)

    [file] = ensure_jars([JAR], tmp_path, fetch=fetch, out=io.StringIO())

    assert file.read_bytes() == CONTENT
    assert fetch.calls == 3


def test_wrong_content_every_time_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match=r"b-1\.jar: what was fetched is not what is pinned"):
        ensure_jars([JAR], tmp_path, fetch=FakeFetch(b"something else"), out=io.StringIO())

    assert [file.name for file in tmp_path.iterdir()] == ["lock"]


def test_what_an_interrupted_fetch_left_is_swept_up(tmp_path: Path) -> None:
    (tmp_path / ".fetching-abc" / "org").mkdir(parents=True)

    ensure_jars([JAR], tmp_path, fetch=FakeFetch(CONTENT), out=io.StringIO())

    assert {file.name for file in tmp_path.iterdir()} == {"lock", "b-1.jar"}


def test_a_network_that_is_away_is_told_in_a_sentence(tmp_path: Path) -> None:
    def fetch(jar: Jar, folder: Path) -> Path:
        raise ConnectionError("an address that nobody needs to see")

    with pytest.raises(NotFetched, match=r"^b-1\.jar: it could not be fetched \(ConnectionError\)"):
        ensure_jars([JAR], tmp_path, fetch=fetch, out=io.StringIO())


def test_progress_is_shown_as_plain_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    out = io.StringIO()

    ensure_jars([JAR], tmp_path, fetch=FakeFetch(CONTENT), out=out)

    assert out.getvalue() == "Fetching the Kafka broker: 1 of 1 jars\n"


def test_the_list_pins_one_broker_with_a_hash_for_each_jar() -> None:
    pinned = jars.pinned()

    assert len({jar.file_name for jar in pinned}) == len(pinned) == 46
    assert all(len(jar.sha256) == 64 for jar in pinned)
    assert jars.kafka_version(pinned) == "4.3.1"
