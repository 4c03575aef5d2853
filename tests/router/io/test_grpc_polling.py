import os
import subprocess
import sys

import pytest

from router.io import grpc_polling
from router.io.grpc_polling import SWITCHES, VARIABLE, poll_in_one_thread

OPENS_A_SERVER = """
import asyncio
from router.io.grpc_polling import poll_in_one_thread
poll_in_one_thread()
from grpc import aio
async def main():
    server = aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await server.stop(0)
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)


def test_a_version_that_is_known_is_told(monkeypatch):
    monkeypatch.setattr(grpc_polling, "version", lambda _: "1.85.3")
    poll_in_one_thread()
    assert os.environ[VARIABLE] == SWITCHES


@pytest.mark.parametrize("installed", ["1.84.0", "1.86.0", "1.850.0", "2.85.1"])
def test_another_version_is_told_nothing(monkeypatch, installed):
    monkeypatch.setattr(grpc_polling, "version", lambda _: installed)
    poll_in_one_thread()
    assert VARIABLE not in os.environ


def test_the_operators_word_stays(monkeypatch):
    monkeypatch.setenv(VARIABLE, "tcp_frame_size_tuning")
    monkeypatch.setattr(grpc_polling, "version", lambda _: "1.85.3")
    poll_in_one_thread()
    assert os.environ[VARIABLE] == "tcp_frame_size_tuning"


def test_the_installed_version_has_nothing_to_say_of_the_switches():
    ran = subprocess.run([sys.executable, "-c", OPENS_A_SERVER], capture_output=True, check=True, text=True)
    assert ran.stderr == ""
