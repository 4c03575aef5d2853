"""``headrace-cloud up | down``: start a cluster, end it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cloud_worker.commands.options import ConfigOption, errors_as_exit_codes
from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.running.config import keep_running
from cloud_worker.running.process_lock import Up, announce, sole, wait_until_ended, who_runs
from cloud_worker.running.ray_environment import make_importable, prepare_environment
from cloud_worker.startup.detached import start_detached
from cloud_worker.startup.leftovers import end_leftovers, mark
from cloud_worker.startup.preflight import check_data_folder, check_door, check_models, check_ray, check_verdict
from cloud_worker.startup.restart import Restart
from cloud_worker.startup.steps import Steps
from cloud_worker.teachers.prepare import prepare_teacher
from router.core.errors import StartError
from router.io.terminal import Screen, log_to_stderr

log = logging.getLogger("cloud_worker")

_NOTHING_RUNS = 1
_DOWN_SECONDS = 60.0
_HEAD_SECONDS = 0.5


def up(
    config: ConfigOption,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Plain transport, between programs on this machine only.")
    ] = False,
    address: Annotated[
        str, typer.Option(help="Join this Ray cluster instead of starting one.", metavar="HOST:PORT")
    ] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Return once it serves; `down` ends it.")] = False,
    tell_to: Annotated[int, typer.Option("--tell-to", hidden=True)] = -1,
) -> None:
    """Start the cluster and keep it until Ctrl-C; a second Ctrl-C ends it at once.

    \b
    Examples:
      headrace-cloud up --config cloud.toml --insecure
      headrace-cloud up --config cloud.toml --insecure --detach
    """  # noqa: D301 - \b keeps the lines of the examples
    console = Screen(stderr=True)
    with errors_as_exit_codes():
        settings = read_config(config, **({"ray": {"address": address}} if address else {}))
        settings = settings.model_copy(update={"data": settings.data.absolute()})  # the working folder will change
        make_importable()
        if detach:
            start_detached(console, settings, sys.argv[1:])
            return
        _Stop().install()
        log_to_stderr(logging.WARNING, "%(asctime)s %(levelname)-7s %(message)s")
        _run(console, settings, Restart.from_here(tell_to), insecure=insecure, tell_to=tell_to)


def down(config: ConfigOption) -> None:
    """End the cluster in order: what was answered reaches the log first.

    Example: headrace-cloud down --config cloud.toml
    """
    console = Screen(stderr=True)
    with errors_as_exit_codes():
        folder = read_config(config).run_folder
        pid, _ = who_runs(folder)
        if not pid:
            console.print("nothing runs on this data folder")
            return
        _interrupt(pid)
        if not wait_until_ended(folder, _DOWN_SECONDS):
            console.print(f"process {pid} has not ended after {_DOWN_SECONDS:.0f} s; `kill -9 {pid}` ends it at once")
            raise typer.Exit(_NOTHING_RUNS)
        console.print(f"process {pid} has ended")


def _run(console: Console, settings: CloudConfig, restart: Restart, *, insecure: bool, tell_to: int) -> None:
    """Serve until a signal comes; begin anew where Ray's head is gone."""
    steps = Steps(console, tell_to)
    check_data_folder(settings)
    check_models(settings)
    with sole(settings.run_folder):
        if left := end_leftovers(settings.run_folder):
            console.print(f"an earlier `up` was killed: {left} processes of it have ended")
        check_door(settings, insecure=insecure)
        with_token = check_ray(settings)
        mark(settings.run_folder)  # before Ray starts, which else imports what lies in the working folder
        for teacher in settings.teachers:
            with steps.bar(f"Preparing {teacher.name}") as progress:
                prepare_teacher(teacher, settings.teachers_folder, progress)
        check_verdict(settings)
        prepare_environment(own_cluster=not settings.ray.address, with_token=with_token)
        with steps.step("Loading Ray"):
            from cloud_worker.startup.cluster import running  # Ray reads the environment while it is imported

        keep_running(settings.run_folder, settings)
        with running(settings, insecure=insecure, step=steps.step) as cluster:
            _Stop().install()  # Ray puts its own handler for SIGTERM
            announce(settings.run_folder, Up(os.getpid(), cluster.listen, cluster.ray, time.time()))
            console.print(Text("ready", style="bold green"), f"on {cluster.listen}; Ctrl-C ends it")
            if cluster.enrolment:
                console.print(f"devices enrol at {cluster.enrolment}")
            steps.ready()
            gone = _wait_for_signal(cluster.ended_head)
            if gone:
                log.error("Ray's %s has ended, and brings back nothing that ends; everything begins anew", gone)
                restart()
            console.print("ending: what was answered goes to the log first; Ctrl-C again ends at once")


def _interrupt(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise StartError(f"process {pid} is another user's; whoever started it can end it, or root") from error
    except ProcessLookupError:
        return  # it has ended meanwhile, or runs on another machine


def _wait_for_signal(ended_head: Callable[[], Sequence[str]]) -> str:
    """Wait for a signal, or until something of Ray's head has ended; says what."""
    never = threading.Event()
    try:
        while not (gone := ended_head()):
            never.wait(_HEAD_SECONDS)
    except KeyboardInterrupt:
        return ""
    return " and ".join(gone)


class _Stop:
    """The first SIGINT or SIGTERM interrupts, the second ends the process at once."""

    asked = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if _Stop.asked:
            os._exit(128 + number)
        _Stop.asked = True
        raise KeyboardInterrupt
