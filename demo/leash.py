"""Run a command that ends when its parent does: ``python leash.py PARENT PROGRAM ARGUMENT ...``.

Rules:
 * The command takes this process over, so that its id and its words are as if the parent had started it.
 * However the parent dies, by SIGKILL too, the command gets SIGTERM. Linux alone can do that; elsewhere it just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); kept through exec


def main(parent: str, *command: str) -> None:
    """Become ``command``, unless the process ``parent`` is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() == int(parent):
        os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
