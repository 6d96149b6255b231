"""Runs a command in its own place, so that it is told to end when the process that started it ends.

python -m deploy.local.tied PARENT SIGNAL -- COMMAND...
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2


def end_with_parent(signal_number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def signal_at_parents_end() -> int:
    number = ctypes.c_int(0)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
    return number.value


def main(arguments: list[str]) -> None:
    parent, signal_number, _, *command = arguments
    end_with_parent(int(signal_number))
    # A parent that ended before the line above will never send the signal.
    if os.getppid() != int(parent):
        sys.exit("The process that asked for this command has ended.")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
