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

    def __init__(self, port=0, grace=0.5):
        command = [sys.executable, str(SCRIPT), str(port), str(grace)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.read_line()
        if not line:
            self.kill()
            raise RuntimeError(f"the tiny tier did not start: {self._process.stderr.read()}")
        self.port = int(line)

    def read_line(self):
        """The next line that it writes, or an empty one when none comes."""
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        return self._process.stdout.readline().strip() if ready else ""

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
    """Starts tiny tiers as processes: ``spawn(port=0, grace=0.5) -> Process``."""
    started = []

    def start(port=0, grace=0.5):
        started.append(Process(port, grace))
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
