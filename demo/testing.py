"""A demo as a subprocess, and a look at what it does: for tests that end processes below it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, TypeVar

import psutil

from cloud_worker.config.cloud import read_config
from cloud_worker.state.states import Phase
from demo.fleet_state import Observer
from demo.setting import TASK

SECONDS = 400.0
POLL_SECONDS = 0.1

Told = TypeVar("Told")


class RunningDemo:
    """``python -m demo`` with a small workload, under way."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Start it below ``folder``, with more ``options`` of the command."""
        self.folder = folder / "run"
        command = [sys.executable, "-m", "demo", "--no-ui", "--run", str(self.folder), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._seen: set[Any] = set()

    def descendants(self) -> list[Any]:
        """Every process that runs below the demo now; all of them are remembered."""
        try:
            now = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            now = []
        self._seen |= set(now)
        return now

    def titled(self, title: str) -> Any:
        """The first process below the demo whose title begins so; Ray names its workers by what they run."""

        def found() -> Any:
            return next((process for process in self.descendants() if title_of(process).startswith(title)), None)

        return self.until(found)

    def pid_in(self, file: str) -> int:
        """The process id that a run file tells, once it is there."""

        def told() -> int:
            path = self.folder / file
            return int(json.loads(path.read_bytes())["pid"]) if path.exists() else 0

        return self.until(told)

    def until_answered(self, count: int) -> None:
        """Wait until the agents have answered that many queries, all together."""
        self.until(lambda: (self.folder / "edge-1" / "run" / "agent.json").exists())
        observer = self._observer()
        self.until(lambda: answered(observer) >= count)

    def until_refresh_is(self, phases: Container[Phase]) -> None:
        """Wait until the refresh of the demo's task is in one of ``phases``; the agents have begun to answer."""
        observer = self._observer()
        self.until(lambda: observer.read().state.phase in phases)

    def _observer(self) -> Observer:
        return Observer(read_config(self.folder / "cloud.toml"))

    def until(self, told: Callable[[], Told], seconds: float = SECONDS) -> Told:
        """Wait until ``told`` gives something true, and give it back."""
        deadline = time.monotonic() + seconds
        while not (result := told()):
            if self.process.poll() is not None:
                raise AssertionError(self.words())
            if time.monotonic() > deadline:
                raise AssertionError(f"still not after {seconds} s\n{self.logs()}")
            self.descendants()
            time.sleep(POLL_SECONDS)
        return result

    def figures(self, seconds: float = SECONDS) -> dict[str, Any]:
        """The last line of standard output, once it has ended well within ``seconds``."""
        out, err = self.process.communicate(timeout=seconds)
        if self.process.returncode:
            raise AssertionError(err + self.logs())
        return dict(json.loads(out.splitlines()[-1]))

    def left_behind(self, seconds: float = 20.0) -> list[str]:
        """Titles of the processes that outlive the demo by more than ``seconds``."""
        _, alive = psutil.wait_procs(list(self._seen), timeout=seconds)
        return [title_of(process) for process in alive if process.status() != psutil.STATUS_ZOMBIE]

    def words(self) -> str:
        """The words of a demo that has ended: all that it said."""
        out, err = self.process.communicate()
        return f"ended with {self.process.returncode}\n{out}\n{err}\n{self.logs()}"

    def logs(self) -> str:
        """The ends of the logs of its children."""
        return "\n".join(f"{path}:\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.log")))

    def end(self) -> None:
        """End it, and whatever it has left."""
        self.descendants()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for process in self._seen:
            if process.is_running():
                process.kill()


def answered(observer: Observer) -> int:
    """Queries that the agents told of in their last reports."""
    reports = [report for device in observer.read().devices if (report := device.report) is not None]
    return sum(task.answered for report in reports for task in report.tasks if task.task == TASK)


def title_of(process: Any) -> str:
    """What ``ps`` shows of a process; empty when it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
