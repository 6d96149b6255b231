"""The proxy fails as it is told to: a fault that does nothing would make every run pass."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from deploy.local.ports import free_ports
from tests.fault.proxy import Proxy
from tests.running import eventually


@pytest.fixture
def heard() -> list[bytes]:
    """What reached the server."""
    return []


@pytest.fixture
def proxy(heard: list[bytes]) -> Iterator[Proxy]:
    """One link to a server that answers all that it hears with the same."""

    def serve(conn: socket.socket) -> None:
        with conn:
            try:
                while said := conn.recv(65_536):
                    heard.append(said)
                    conn.sendall(said)
            except ConnectionError:
                return

    def accept() -> None:
        while True:
            try:
                conn, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(conn,), daemon=True).start()

    ours, theirs = free_ports(2)
    proxy = Proxy()
    with socket.create_server(("127.0.0.1", theirs)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        proxy.link("client-server", ours, theirs)
        yield proxy
        proxy.close()
        # A thread that accepts is not woken when its socket is closed.
        listening.shutdown(socket.SHUT_RDWR)


def _connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.links["client-server"].port), timeout=3)


def test_a_link_passes_everything_on(proxy: Proxy) -> None:
    with _connected(proxy) as conn:
        conn.sendall(b"asked")
        assert b"asked" == conn.recv(100)

        proxy.fail("client-server", "delay")
        conn.sendall(b"again")
        assert b"again" == conn.recv(100)

    assert {"delay"} == set(proxy.links["client-server"].struck)


def test_a_link_that_swallows_delivers_what_is_asked_and_no_answer(
    proxy: Proxy, heard: list[bytes]
) -> None:
    with _connected(proxy) as conn:
        proxy.fail("client-server", "swallow")
        conn.sendall(b"asked")
        eventually(lambda: heard == [b"asked"])
        conn.settimeout(0.3)
        with pytest.raises(TimeoutError):
            conn.recv(100)

        proxy.heal()
        conn.settimeout(3)
        with pytest.raises(ConnectionResetError):
            conn.recv(100)


def test_a_link_that_resets_ends_what_is_open_and_what_is_new(proxy: Proxy) -> None:
    with _connected(proxy) as conn:
        conn.sendall(b"asked")
        conn.recv(100)
        proxy.fail("client-server", "reset")
        with pytest.raises(ConnectionResetError):
            conn.recv(100)
    with _connected(proxy) as conn, pytest.raises(ConnectionResetError):
        conn.sendall(b"asked")
        conn.recv(100)


def test_a_link_that_refuses_listens_again_when_it_is_healed(proxy: Proxy) -> None:
    proxy.fail("client-server", "refuse")
    with pytest.raises(ConnectionRefusedError):
        _connected(proxy)

    proxy.heal()
    with _connected(proxy) as conn:
        conn.sendall(b"asked")
        assert b"asked" == conn.recv(100)


def test_a_link_that_cuts_ends_in_mid_message(proxy: Proxy, heard: list[bytes]) -> None:
    proxy.fail("client-server", "cut")
    for _ in range(100):
        with _connected(proxy) as conn:
            conn.sendall(b"x" * 1000)
            got = b""
            while len(got) < 1000 and (more := conn.recv(1000)):
                got += more
        if 0 < len(got) < 1000 or any(len(piece) < 1000 for piece in heard):
            return
    raise AssertionError("nothing was cut in mid-message")
