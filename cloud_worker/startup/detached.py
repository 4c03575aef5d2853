"""``up --detach``: the same command in a session of its own, its steps shown here until it serves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import typer
from rich.console import Console

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.running.process_lock import check_nobody_runs
from cloud_worker.startup.preflight import check_data_folder
from cloud_worker.startup.steps import follow

_LAST_WORDS_BYTES = 4000
_STOP_SECONDS = 60.0


def start_detached(console: Console, settings: CloudConfig, arguments: list[str]) -> None:
    """Start ``up`` in a session of its own, and return once it serves.

    Args:
        console: Shows its steps.
        settings: Of the cluster.
        arguments: Of this command; ``--detach`` is left out.

    Raises:
        HeadraceError: It can't begin.
        typer.Exit: It has ended; its last words have been shown.
    """
    check_data_folder(settings)
    check_nobody_runs(settings.run_folder)
    words = settings.run_folder / "up.log"
    hear, say = os.pipe()
    command = [sys.executable, "-P", "-m", "cloud_worker.cli", *(word for word in arguments if word != "--detach")]
    with words.open("wb") as output, os.fdopen(hear, "rb") as told:
        process = subprocess.Popen(
            [*command, "--tell-to", str(say)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(say,),
            start_new_session=True,
        )
        os.close(say)
        try:
            serves, shown = follow(told, console)
        except BaseException:  # Ctrl-C: what has begun here ends here
            _end(process)
            raise
    if serves:
        console.print(f"ready: process {process.pid}; its words are in {words}")
        return
    code = process.wait()
    for line in _last_words(words):
        if line.rstrip() not in shown:
            console.print(line, soft_wrap=True)
    if code < 0:
        console.print(f"headrace-cloud: process {process.pid} was ended by {signal.Signals(-code).name}")
    raise typer.Exit(code if code > 0 else 128 - code)


def _last_words(path: Path) -> list[str]:
    return path.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").splitlines()


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
