"""Fits what teachers need, before a cluster starts, in a process of its own that gives its memory back."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from cloud_worker.config.teachers import TeacherSettings
from cloud_worker.teachers.base import Progress
from cloud_worker.teachers.loader import load_teacher
from router.core.errors import HeadraceError, StartError, UnavailableError

log = logging.getLogger(__name__)


def prepare_teacher(settings: TeacherSettings, cache: Path, progress: Progress) -> str:
    """Load a teacher once, so that its replicas find everything fitted, and return its version; empty if not known yet.

    Args:
        settings: From the configuration.
        cache: Folder of what is fitted once and kept.
        progress: Hears how far a fit is.

    Raises:
        OperatorError: A model or file can't be used; names it.
        StartError: The process that fits was killed, or failed in a way that nobody foresaw.
    """
    spawning = multiprocessing.get_context("spawn")
    hear, say = spawning.Pipe(duplex=False)
    process = spawning.Process(target=_prepare, args=(settings, cache, say), daemon=True)
    process.start()
    say.close()
    try:
        return _listen(hear, settings.name, progress)
    finally:
        hear.close()
        process.terminate()
        process.join()


def _listen(hear: Connection, name: str, progress: Progress) -> str:
    while True:
        try:
            word = hear.recv()
        except EOFError as error:
            raise StartError(f"the process that loads teacher {name!r} ended early; is there enough memory?") from error
        if isinstance(word, HeadraceError):
            raise word
        if isinstance(word, str):
            return word
        progress(*word)


def _prepare(settings: TeacherSettings, cache: Path, say: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which then ends this process
    try:
        teacher = load_teacher(settings, cache, lambda stage, share: say.send((stage, share)))
        say.send(teacher.version)
    except UnavailableError as error:  # somebody else's server, which may come while the cluster runs
        log.warning("teacher %s: %s", settings.name, error)
        say.send("")
    except HeadraceError as error:
        say.send(error)
    except Exception as error:  # the process's outermost edge: who waits for it is told which teacher it was
        log.exception("teacher %s can't be loaded", settings.name)
        say.send(StartError(f"teacher {settings.name!r} can't be loaded: {type(error).__name__}; the log says where"))
