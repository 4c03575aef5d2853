"""Releases that were damaged or made to harm: the agent refuses each with its reason, and the old release serves on.

``HEADRACE_FUZZ=10`` tries ten times as many; the seed is printed, and ``HEADRACE_FUZZ_SEED`` sets it.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
from dataclasses import replace

from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.query import Query
from router.core.release.manifest import MANIFEST_FILE, digest, write_manifest
from router.core.release.orders import Order
from router.transport.channel import open_channel
from router.transport.wire import answer_from_proto, query_to_proto
from router.v1 import cascade_pb2_grpc

TIMES = int(os.environ.get("HEADRACE_FUZZ", "1"))
SEED = int(os.environ.get("HEADRACE_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
MANIFESTS, FILES = 60 * TIMES, 16 * TIMES
ODD = (0, -1, 1, 2, 0.0, 1e308, -1e308, 2**63, 2**70, None, True, "", "x" * 5000, [], {}, [0.0], [[]], {"a": 1}, "é\0")


def paths_of(value, path=()):
    """Where in a JSON value something stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, held in inner:
        yield (*path, name)
        yield from paths_of(held, (*path, name))


def changed_json(content, chance):
    """The value with one to three of its values changed, left out or doubled."""
    content = json.loads(json.dumps(content))
    for _ in range(chance.randint(1, 3)):
        *inner, name = chance.choice(list(paths_of(content)))
        at = content
        for step in inner:
            at = at[step]
        if isinstance(at, dict) and chance.random() < 0.3:
            del at[name]
        elif isinstance(at[name], list) and chance.random() < 0.3:
            at[name] = at[name] * 2
        else:
            at[name] = chance.choice(ODD)
        if not content:
            break
    return content


def changed_bytes(data, chance):
    """Truncated, flipped, overwritten, emptied or grown."""
    data = bytearray(data)
    way = chance.randrange(5)
    if way == 0:
        return bytes(data[: chance.randrange(len(data))])
    if way == 1:
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif way == 2:
        first = chance.randrange(len(data))
        data[first : first + 200] = chance.randbytes(200)
    elif way == 3:
        return b""
    else:
        data += bytes(data)
    return bytes(data)


def changed_file(name, data, chance):
    if name in {"model.onnx", "asked.bin"} or chance.random() < 0.4:
        return changed_bytes(data, chance)
    lines = [json.dumps(changed_json(json.loads(line), chance)) for line in data.decode().splitlines()]
    return "\n".join(lines).encode()


def mutants(chance):
    """Manifest bytes and files, number by number from 2 on; every hash is right, so that what is inside is read."""
    number = 1
    for _ in range(MANIFESTS):
        number += 1
        manifest, files = tiny_release(TASK, number, WORDS, asked=chance.choice([None, WORDS]))
        content = changed_json(json.loads(write_manifest(manifest)), chance)
        yield number, json.dumps(content).encode(), files
    for _ in range(FILES):
        number += 1
        manifest, files = tiny_release(TASK, number, WORDS, asked=WORDS)
        name = chance.choice(["model.onnx", "tokenizer.json", "golden.jsonl", "asked.bin"])
        files[name] = changed_file(name, files[name], chance)
        listed = {
            **manifest.files,
            name: replace(manifest.files[name], size=len(files[name]), sha256=digest(files[name])),
        }
        yield number, write_manifest(replace(manifest, files=listed)), files


class Device:
    """A real agent in a process of its own."""

    def __init__(self, folder, target):
        self._folder = folder
        self._config = folder / "edge.toml"
        self._config.write_text(
            f'device = "device-1"\ndata = "data"\n[door]\nlisten = "127.0.0.1:0"\n[upstream]\ntarget = "{target}"\n'
        )

    async def start(self):
        run_file = self._folder / "data" / "run" / "agent.json"
        with (self._folder / "agent.log").open("wb") as said:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "edge_agent.cli", "run", "--config", str(self._config), "--insecure"),
                stderr=said,
            )
        async with asyncio.timeout(120):
            while not run_file.exists():
                assert self.process.returncode is None
                await asyncio.sleep(0.02)
        self.target = f"127.0.0.1:{json.loads(run_file.read_text())['port']}"
        self.channel = open_channel(self.target, insecure=True, attempts=1)

    async def ask(self, text):
        stub = cascade_pb2_grpc.CascadeStub(self.channel)
        response = await stub.Answer(query_to_proto(Query("", "home", text)), timeout=60, wait_for_ready=True)
        return answer_from_proto(response)

    async def stop(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        await asyncio.wait_for(self.process.wait(), 120)
        await self.channel.close(None)


def said_of(cloud, number):
    """``refused``, ``active`` or nothing yet."""
    for task in cloud.last_tasks() if cloud.reports else ():
        if number in dict(task.refused):
            return "refused"
        if task.active_release == number:
            return "active"
    return ""


async def test_whatever_a_release_holds_the_agent_lives_and_a_good_one_serves(tmp_path, waits):
    print(f"HEADRACE_FUZZ_SEED={SEED}")
    cloud = CloudSimulator(lambda text: WORDS.get(text, "unknown"))
    await cloud.start()
    device = Device(tmp_path, cloud.target)
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    await device.start()
    counts = {"refused": 0, "active": 0}
    asking = contextlib.ExitStack()
    try:
        await cloud.until_active(1)
        honest = asking.enter_context(waits.beats(device.target, device.process.pid, "light"))
        for number, manifest, files in mutants(random.Random(SEED)):
            cloud.offer(Order("home", number, digest(manifest), 0.05), {**files, MANIFEST_FILE: manifest})
            await cloud.until(lambda number=number: said_of(cloud, number), seconds=120)
            counts[said_of(cloud, number)] += 1
            assert device.process.returncode is None, f"release {number}: {manifest.decode()}"
            answer = await device.ask("light")
            assert answer.text == "lights", f"release {number}: {manifest.decode()}"
        cloud.publish(*tiny_release(TASK, number + 1, WORDS))
        await cloud.until_active(number + 1, seconds=120)
    finally:
        await asyncio.to_thread(asking.close)
        await device.stop()
        await cloud.stop()
    counts["longest_ms"] = round(1000 * max(answer["own_seconds"] for answer in honest.answers))
    print(json.dumps(counts))
    assert {answer.get("text") for answer in honest.answers} == {"lights"}
    assert counts["longest_ms"] < 1000 * waits.LONGEST_SECONDS
    assert counts["refused"] > FILES
    assert device.process.returncode == 0
