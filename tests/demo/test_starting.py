"""What a person hears while a demo starts."""

import asyncio
import io
import os
import re
from pathlib import Path

import pytest
from rich.console import Console

from demo import starting
from demo.processes import staged
from demo.setting import free_ports
from demo.starting import start_cloud
from router.core.errors import StartError

ROOT = Path(__file__).parents[2]
CLOUD = """
import os, sys, time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cloud_worker.startup.steps import Steps
from rich.console import Console

steps = Steps(Console(file=open(os.devnull, "w")), int(sys.argv[sys.argv.index("--tell-to") + 1]))
with steps.bar("Preparing encoder"):
    pass
with steps.step("Ray [1/2]"):
    if "fail" in sys.argv:
        sys.exit("no luck")
    if "hang" in sys.argv:
        time.sleep(600)
server = grpc.server(futures.ThreadPoolExecutor(2))
servicer = health.HealthServicer()
servicer.set("", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port(sys.argv[1])
server.start()
steps.ready()
time.sleep(600)
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))
    (tmp_path / "a_cloud.py").write_text(CLOUD)
    return tmp_path


@pytest.fixture
def target():
    return f"127.0.0.1:{free_ports(1)[0]}"


async def started(programs, target, *words, terminal=False):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, markup=False, highlight=False)
    try:
        async with staged(programs) as stage:
            await start_cloud(stage, target, console, "a_cloud", target, *words)
    finally:
        said = console.file.getvalue()
    return said


async def test_each_step_of_the_cloud_is_told_in_a_pipe_as_it_begins_and_with_its_seconds(programs, target):
    lines = (await started(programs, target)).splitlines()
    assert [re.sub(r" +[0-9.]+ s$", " N s", line) for line in lines] == [
        "starting: Preparing encoder",
        "Preparing encoder N s",
        "starting: Ray [1/2]",
        "Ray [1/2] N s",
    ]


async def test_a_terminal_sees_the_step_that_lasts_and_its_seconds(programs, target):
    said = await started(programs, target, terminal=True)
    assert "starting:" not in said
    assert re.search(r"Ray \[1/2\].*0:00:0", said)
    assert re.search(r"Ray \[1/2\] +[0-9.]+ s\n", said)


async def test_a_cloud_that_fails_at_a_step_is_named_with_its_last_words(programs, target):
    with pytest.raises(StartError, match=r"(?s)cloud ended with 1.*no luck"):
        await started(programs, target, "fail")


async def test_a_cloud_that_hangs_at_a_step_is_given_up_and_ended(programs, target, monkeypatch):
    monkeypatch.setattr(starting, "CLOUD_START_SECONDS", 3.0)
    async with asyncio.timeout(120):
        with pytest.raises(StartError, match="does not serve after 3 s"):
            await started(programs, target, "hang")
