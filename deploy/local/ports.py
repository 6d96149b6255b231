"""Ports on the loopback address: which are free, and who is told when one is not."""

import os
import random
import socket

from deploy.local.trouble import Trouble

# Below the range from which the kernel takes the local ends of outgoing connections: a port kept
# for later runs would now and then be taken by one of those. Who runs beside another names a part
# of them: between looking and listening the other might take the same.
FIRST, LAST = map(int, os.environ.get("WARM_HANDOFF_PORTS", "20000-31999").split("-"))
KEPT = range(FIRST, LAST + 1)


class PortTaken(Trouble):
    """A port is used by another program; the message names the setting that changes it."""


def free_ports(count: int) -> list[int]:
    candidates = random.SystemRandom().sample(KEPT, len(KEPT))
    return [port for port, _ in zip(filter(is_free, candidates), range(count), strict=False)]


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        # As servers do, so that connections of the last run that are still closing don't count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def check_free(ports: dict[str, int]) -> None:
    """Each port stands under the name of the setting that changes it."""
    taken = [(setting, port) for setting, port in ports.items() if not is_free(port)]
    if taken:
        raise PortTaken(
            "\n".join(f"Port {port} is taken; {setting} changes it." for setting, port in taken)
        )
