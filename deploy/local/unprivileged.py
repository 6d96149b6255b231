"""Runs a command as the user `nobody`, for a program that refuses to run as root.

    python -m deploy.local.unprivileged FOLDER -- COMMAND...

FOLDER is what the command writes to. Where `nobody` may not enter the way to it or to the command
(a checkout below a home folder of mode 700), the command alone is given the right to pass; no
folder's mode is ever changed.
"""

import ctypes
import os
import pwd
import sys
from pathlib import Path

from deploy.local.tied import end_with_parent, signal_at_parents_end

USER = "nobody"

PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Capabilities(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


_libc = ctypes.CDLL(None, use_errno=True)


def owner() -> tuple[int, int]:
    user = pwd.getpwnam(USER)
    return user.pw_uid, user.pw_gid


def become_unprivileged() -> None:
    # Changing the user clears the signal at the parent's end, so it is set anew.
    signal_number = signal_at_parents_end()
    _checked(_libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
    uid, gid = owner()
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    end_with_parent(signal_number)


def keep_only(capabilities: int) -> None:
    # The kernel reads two halves; no capability used here is in the second one.
    halves = (_Capabilities * 2)(_Capabilities(capabilities, capabilities, capabilities))
    _checked(_libc.capset(ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), halves))


def pass_on(capability: int) -> None:
    _checked(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0))


def can_reach(folder: Path, program: Path) -> bool:
    # access(2) asks for the bare user, whatever capabilities this process still holds.
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK) and os.access(program, os.R_OK | os.X_OK)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def main(arguments: list[str]) -> None:
    folder, _, *command = arguments
    become_unprivileged()
    if can_reach(Path(folder), Path(command[0])):
        keep_only(0)
    else:
        keep_only(1 << CAP_DAC_OVERRIDE)
        pass_on(CAP_DAC_OVERRIDE)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
