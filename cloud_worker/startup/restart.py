"""``up`` restarts in its own place: the same process id, command, folder and environment, a fresh program.

Rules:
 * Every process below it is killed first, as by a kill of ``up`` itself: without Ray's head none of them can be told to
   end, and Ray's own library ends this process when it tries. What was acknowledged lies on the disk by then.
 * What was held ends with the old program: locks and open files are not handed over.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cloud_worker.startup.leftovers import end_children

TELL_TO = "--tell-to"


@dataclass(frozen=True, slots=True)
class Restart:
    """How this process was started, from before anything changed. Called, it replaces the process.

    Attributes:
        command: The program and its arguments.
        folder: Its working folder, which relative paths of the command are relative to.
        environment: Its environment.
    """

    command: tuple[str, ...]
    folder: Path
    environment: dict[str, str]

    @classmethod
    def from_here(cls, tell_to: int) -> Restart:
        """This process as it is now; whoever hears the steps at the descriptor ``tell_to`` has heard enough."""
        arguments = sys.argv[1:]
        if tell_to >= 0:
            at = arguments.index(TELL_TO)
            del arguments[at : at + 2]
        command = (sys.executable, "-P", "-m", "cloud_worker.cli", *arguments)
        return cls(command, _working_folder(), dict(os.environ))

    def __call__(self) -> NoReturn:
        """Replace this process."""
        end_children()
        with contextlib.suppress(FileNotFoundError):  # removed since; only relative paths need it
            os.chdir(self.folder)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(self.command[0], self.command, self.environment)


def _working_folder() -> Path:
    """The working folder of this process, or the root where it was removed.

    Then the command names no path that is relative to it.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.sep)
