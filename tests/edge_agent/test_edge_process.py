"""``headrace-edge`` as a process: how it starts, how it ends, and what survives its death."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys

import grpc
import pytest

from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.query import Tier
from router.transport.channel import open_channel

OF_AN_AGENT = """
import sys
import edge_agent.testing.cloud_simulator
import edge_agent.testing.tiny_releases
from edge_agent.cli import app
NESTED = {"opentelemetry.sdk", "edge_agent.workers.overseer"}
sys.argv = ["headrace-edge", "run", "--config", "there is none.toml"]
try:
    app()
except SystemExit:
    pass
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules} | NESTED & set(sys.modules))))
"""


def run_edge(*arguments):
    command = [sys.executable, "-m", "edge_agent.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_an_agent_imports_neither_torch_nor_ray_nor_the_cloud():
    done = subprocess.run([sys.executable, "-c", OF_AN_AGENT], capture_output=True, text=True, timeout=300, check=True)
    loaded = set(done.stdout.split())
    assert {"edge_agent", "router", "onnxruntime", "tokenizers"} <= loaded
    assert not loaded & {
        "huggingface_hub",
        "hf_xet",
        "fsspec",
        "yaml",
    }  # what docs/edge.md says a device can do without
    assert not loaded & {"torch", "ray", "transformers", "cloud_worker", "onnx", "scipy", "sklearn", "pandas"}


def test_a_mistake_in_the_file_ends_with_its_own_exit_code(tmp_path):
    done = run_edge("run", "--config", str(tmp_path / "edge.toml"))
    assert done.returncode == 81
    assert done.stderr == f"headrace-edge: {tmp_path}/edge.toml: there is no such file; give one with --config\n"


async def test_a_port_in_use_is_said_and_nothing_is_left_behind(edge, cloud):
    edge.config.write_text(edge.config.read_text().replace("127.0.0.1:0", cloud.target))
    done = await asyncio.to_thread(run_edge, "run", "--config", str(edge.config), "--insecure")
    assert done.returncode == 85
    assert f"can't listen on {cloud.target}" in done.stderr
    assert not (edge.data / "run" / "agent.json").exists()


async def test_two_agents_do_not_share_a_data_folder(edge):
    await edge.start()
    done = await asyncio.to_thread(run_edge, "run", "--config", str(edge.config), "--insecure")
    assert done.returncode == 85
    assert "is used by another agent" in done.stderr


async def test_the_first_signal_lets_calls_end_and_the_log_is_json_when_asked(edge, cloud):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    await edge.start("--json")
    await cloud.until_active(1)
    cloud.faults.delay = 0.5
    call = asyncio.create_task(edge.ask("novel"))
    await cloud.until(lambda: len(cloud.queries) == 1)
    process = edge.process
    said = await edge.stop()
    assert (await call).text == "lights"
    assert process.returncode == 0
    assert [json.loads(line)["message"] for line in said.splitlines()][-1].startswith("stopping")


async def test_the_outbox_survives_a_kill_and_drains(edge, cloud):
    cloud.publish(*tiny_release(TASK, 1, WORDS), exploration=1.0)
    await edge.start()
    await cloud.until_active(1)
    cloud.faults.hang = True
    for number in range(5):
        assert (await edge.ask("light", query_id=f"q-{number}")).provenance.tier is Tier.DEVICE
    await edge.written(5)
    await edge.kill()
    cloud.faults.hang = False
    cloud.queries.clear()
    await edge.start()
    await cloud.until(lambda: {query.id for query in cloud.queries} == {f"q-{number}" for number in range(5)})
    await cloud.until(lambda: cloud.reports[-1].outbox_pending == 0)
    assert all(query.attempt.kept and query.attempt.explored for query in cloud.queries)


@pytest.mark.parametrize("pieces", [1, 6, 12])
async def test_killed_while_it_fetches_it_serves_the_committed_release(edge, cloud, pieces):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    await edge.start()
    await cloud.until_active(1)
    cloud.faults.chunk_bytes, cloud.faults.chunk_delay = 10_000, 0.01
    cloud.publish(*tiny_release(TASK, 2, {**WORDS, "novel": "lights"}, padding=100_000))
    await cloud.until(lambda: any(release == 2 for _, release, _, _ in cloud.fetches))
    await asyncio.sleep(pieces * 0.01)
    await edge.kill()
    await restarts_on_a_committed_release(edge, cloud, {1, 2})
    cloud.faults.chunk_delay = 0.0
    await cloud.until_active(2)
    assert (await edge.ask("novel")).provenance.release == 2


async def test_killed_at_any_instant_of_many_activations_it_serves_a_committed_release(edge, cloud):
    number = 1
    for round_ in range(4):
        cloud.publish(*tiny_release(TASK, number, WORDS, padding=8_000))
        cloud.reports.clear()
        await edge.start()
        await cloud.until_active(number)
        first = number
        for _ in range(3):
            number += 1
            cloud.publish(*tiny_release(TASK, number, WORDS, padding=8_000 + 4 * number))
            await cloud.until(lambda wanted=number: any(release == wanted for _, release, _, _ in cloud.fetches))
            await asyncio.sleep(0.01 * round_)
        await edge.kill()
        await restarts_on_a_committed_release(edge, cloud, set(range(first, number + 1)))
        await edge.kill()


async def restarts_on_a_committed_release(edge, cloud, releases):
    """Start without a cloud, so that nothing can be fetched."""
    await cloud.stop()
    await edge.start()
    answer = await edge.ask("light")
    assert (answer.text, answer.provenance.tier) == ("lights", Tier.DEVICE)
    assert answer.provenance.release in releases
    slots = list((edge.data / "tasks" / "home").glob("[abc]"))
    assert 1 <= len(slots) <= 2  # what serves, and what was proven before it
    await cloud.start()


@pytest.mark.parametrize("kills", [10, pytest.param(30, marks=pytest.mark.slow)])
async def test_an_answer_that_was_kept_and_drawn_is_never_lost_to_a_kill(edge, cloud, kills):
    cloud.publish(*tiny_release(TASK, 1, WORDS), exploration=1.0)
    await edge.start()
    await cloud.until_active(1, seconds=120)
    kept = set()

    async def ask(name):
        with contextlib.suppress(grpc.aio.AioRpcError):
            answer = await edge.ask("light", query_id=name, seconds=10)
            if answer.provenance.tier is Tier.DEVICE:
                kept.add(name)

    await asyncio.gather(*(ask(f"first-{number}") for number in range(30)))
    await edge.until_proven()  # else the release would give way after three kills
    before = len(kept)
    for kill in range(kills):
        asked = [asyncio.create_task(ask(f"q-{kill}-{number}")) for number in range(40)]
        enough = len(kept) + 3 * (kill % 10)
        while len(kept) < enough and not all(one.done() for one in asked):
            await asyncio.wait([one for one in asked if not one.done()], return_when=asyncio.FIRST_COMPLETED)
        await edge.kill()
        await asyncio.gather(*asked, return_exceptions=True)  # the kill ended those that were under way
        await edge.start()
        await edge.until_serving()  # until then the cloud answers, and nothing is kept
    assert len(kept) - before > 5 * kills
    await cloud.until(lambda: not kept - {query.id for query in cloud.queries}, seconds=120)


async def test_it_starts_and_answers_where_nothing_can_be_written(edge, cloud):
    cloud.publish(*tiny_release(TASK, 1, WORDS), exploration=1.0)
    await edge.start()
    await cloud.until_active(1, seconds=120)
    await edge.stop()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    edge.config.write_text(edge.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    cloud.reports.clear()
    # A limit of 0 bytes a file refuses every write, as a full disk does, to root too.
    command = f"ulimit -f 0; exec {sys.executable} -m edge_agent.cli run --config {edge.config} --insecure"
    edge.process = await asyncio.create_subprocess_exec("bash", "-c", command, stderr=asyncio.subprocess.PIPE)
    edge.channel = open_channel(f"127.0.0.1:{port}", insecure=True, attempts=1)
    await cloud.until_active(1, seconds=120)
    assert (await edge.ask("light")).provenance.tier is Tier.DEVICE
    assert (await edge.ask("novel")).provenance.tier is Tier.CLUSTER
    await cloud.until(lambda: cloud.reports[-1].state in {"disk_full", "disk_unwritable"})
    process = edge.process
    said = await edge.stop()
    assert process.returncode == 0
    assert "Traceback" not in said
    assert f"the port is {port}" in said
