"""Shows what a start is doing: step by step, with the seconds, here and in the terminal of a detached start.

Rules:
 * A terminal sees the step that lasts, and its seconds; a file or a pipe gets a line when it begins and one when it is
   done.
 * What the terminal of a detached start is told is one JSON object a line: ``begun``; ``done`` with its ``seconds``;
   ``ready``.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Steps:
    """The steps of one start."""

    def __init__(self, console: Console, tell_to: int = -1) -> None:
        """Show on ``console``, and tell the file descriptor ``tell_to`` unless it is negative."""
        self._console = console
        self._tell_to = tell_to

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step, while the context lasts."""
        began = time.monotonic()
        self._tell(begun=name)
        with shown(self._console, name):
            yield
        self._done(name, time.monotonic() - began)

    @contextmanager
    def bar(self, name: str) -> Iterator[Any]:
        """One step whose share is known; gives a function of stage and share in [0, 1]."""
        began = time.monotonic()
        self._tell(begun=name)
        if not self._console.is_terminal:
            self._console.print(beginning(name))
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        hidden = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as progress:
            task = progress.add_task(name, total=1.0)
            yield lambda stage, share: progress.update(task, description=f"{name}: {stage}", completed=share)
        self._done(name, time.monotonic() - began)

    def ready(self) -> None:
        """Tell that it serves; nothing more is told."""
        self._tell(ready=True)
        if self._tell_to >= 0:
            os.close(self._tell_to)
            self._tell_to = -1

    def _done(self, name: str, seconds: float) -> None:
        self._tell(done=name, seconds=seconds)
        self._console.print(finished(name, seconds))

    def _tell(self, **what: Any) -> None:
        if self._tell_to < 0:
            return
        with contextlib.suppress(BrokenPipeError):  # whoever started this has gone; it serves all the same
            os.write(self._tell_to, (json.dumps(what) + "\n").encode())


def follow(told: Iterable[bytes], console: Console) -> tuple[bool, set[str]]:
    """Show the steps of another process as they are told; whether it serves, and the lines that were shown."""
    lines: set[str] = set()
    with ExitStack() as showing:
        for line in told:
            what = json.loads(line)
            showing.close()
            if "ready" in what:
                return True, lines
            if "begun" in what:
                lines.add(beginning(what["begun"]))
                showing.enter_context(shown(console, what["begun"]))
            else:
                lines.add(text := finished(what["done"], what["seconds"]))
                console.print(text)
    return False, lines


@contextmanager
def shown(console: Console, name: str) -> Iterator[None]:
    """Say that a step lasts, while the context does."""
    if not console.is_terminal:
        console.print(beginning(name))
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(name, total=None)
        yield


def beginning(name: str) -> str:
    """The line of a step that begins."""
    return f"starting: {name}"


def finished(name: str, seconds: float) -> str:
    """The line that says that a step is done."""
    return f"{name:<28} {seconds:6.1f} s"
