"""Doors and processes that tests of the client's side ask."""

import importlib.util
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("tiny_cascade.py")
START_SECONDS = 30


def _load():
    spec = importlib.util.spec_from_file_location("tiny_cascade", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Process:
    """A real tier in a process of its own."""

    def __init__(self, port=0):
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self.kill()
            raise RuntimeError(f"the tiny tier did not start: {self._process.stderr.read()}")
        self.port = int(line)

    @property
    def target(self):
        return f"127.0.0.1:{self.port}"

    def signal(self, number):
        self._process.send_signal(number)

    def wait(self):
        return self._process.wait(START_SECONDS)

    def kill(self):
        self._process.kill()
        self._process.wait(START_SECONDS)

    def close(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(START_SECONDS)
        self._process.stdout.close()
        self._process.stderr.close()


@pytest.fixture(scope="session")
def tiny():
    """The module ``tiny_cascade``."""
    return _load()


@pytest.fixture
def spawn():
    """Starts tiny tiers as processes: ``spawn(port=0) -> Process``."""
    started = []

    def start(port=0):
        started.append(Process(port))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture(scope="session")
def tier():
    """One tiny tier in a process of its own, for all tests that leave it alone."""
    process = Process()
    yield process
    process.close()


@pytest.fixture
async def door(tiny):
    """A tiny tier in this process: ``door.target``, ``door.servicer``."""
    opened, servicer = tiny.tiny_door()
    await opened.start()
    opened.servicer = servicer
    opened.target = f"127.0.0.1:{opened.port}"
    yield opened
    await opened.stop(None)
