"""Spoils one file of an agent at a time, and starts the agent on what is left.

python edge_files.py FOLDER SEED SECONDS      prints one JSON object, and exits with 1 where something did not hold
"""

import asyncio
import contextlib
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time
import traceback
from pathlib import Path

import grpc
from damage import damage
from google.protobuf.message import DecodeError
from waits import LONGEST_SECONDS, Pulse

from edge_agent.config import check_addresses, load_config
from edge_agent.daemon import Daemon
from edge_agent.outbox.bounds import Bounds
from edge_agent.outbox.store import Outbox
from edge_agent.parts.data_folder import held
from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.query import Attempt, Query, Reason
from router.core.errors import ConfigError, HeadraceError, StartError
from router.io.sealed import unseal
from router.transport.channel import open_channel
from router.transport.wire import answer_from_proto, query_from_proto, query_to_proto
from router.v1 import cascade_pb2, cascade_pb2_grpc

ROWS = 40  # that wait in the outbox
CONFIG = 'device = "device-1"\ndata = "data"\n[door]\nlisten = "127.0.0.1:0"\n[upstream]\ntarget = "{target}"\n'
SURE = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}


async def running(config):
    """A daemon, opened, with what ends it."""
    daemon, stop = Daemon(config, insecure=True), asyncio.Event()
    task = asyncio.create_task(daemon.run(stop))
    opened = asyncio.create_task(daemon.opened.wait())
    await asyncio.wait({task, opened}, timeout=120, return_when=asyncio.FIRST_COMPLETED)
    if not opened.done():
        opened.cancel()
        await task  # raises what ended it
        raise AssertionError("it did not open its door")
    return daemon, stop, task


async def asked(port):
    """The text that is answered, or the status."""
    channel = open_channel(f"127.0.0.1:{port}", insecure=True, attempts=1)
    try:
        stub = cascade_pb2_grpc.CascadeStub(channel)
        return answer_from_proto(await stub.Answer(query_to_proto(Query("", "home", "light")), timeout=3)).text
    except grpc.RpcError as error:
        return error.code().name
    finally:
        await channel.close(None)


async def prepared(folder):
    """An agent's folder after some life: a release in place, its orders, what it sent, and rows for the cloud."""
    cloud = CloudSimulator(lambda text: WORDS.get(text, "unknown"))
    await cloud.start()
    path = folder / "edge.toml"
    path.write_text(CONFIG.format(target=cloud.target))
    config = load_config(path)
    with held(config.data):
        daemon, stop, task = await running(config)
        cloud.publish(*tiny_release(TASK, 1, WORDS))
        await cloud.until_active(1)
        await asked(daemon.port)
        stop.set()
        await task
    await cloud.stop()
    path.write_text(CONFIG.format(target="127.0.0.1:9"))
    outbox = Outbox(config.data / "outbox.sqlite", Bounds(1000))
    writing = asyncio.create_task(outbox.write_loop())
    for number in range(ROWS):
        attempt = Attempt(1, "lights", 0.5, Reason.EXPLORED, True, 0.25, kept=True, asked_at=time.time())
        await outbox.keep(Query(f"q{number}", "home", f"light {number}", attempt=attempt), numbered=True)
    writing.cancel()
    await outbox.close()
    (config.data / "spent.json").write_text(json.dumps({"home": {"day": int(time.time() // 86400), "queries": 3}}))
    return config.data


def readable(path):
    """Ids of the waiting queries that anybody can still read, one by one, from a copy."""
    with tempfile.TemporaryDirectory() as folder:
        for end in ("", "-wal"):
            beside = path.with_name(path.name + end)
            with contextlib.suppress(OSError):
                shutil.copy(beside, folder)
        copy, found = Path(folder) / path.name, set()
        with contextlib.suppress(sqlite3.Error, OSError), contextlib.closing(sqlite3.connect(copy)) as database:
            if not copy.stat().st_size:
                return found
            for position in range(1, 2 * ROWS):
                with contextlib.suppress(sqlite3.Error, ValueError, TypeError, DecodeError, AttributeError):
                    [row] = database.execute("SELECT query FROM waiting WHERE place = ?", (position,)).fetchall()
                    query = query_from_proto(cascade_pb2.AnswerRequest.FromString(unseal(row[0])))
                    if query.text == f"light {query.id[1:]}":
                        found.add(query.id)
        return found


async def tried(path, wanted, *, gone=False):
    """What does not hold of an agent in whose outbox the queries ``wanted`` can be read; empty where all does."""
    try:
        config = load_config(path)
        check_addresses(config, str(path), insecure=True)
    except ConfigError as error:
        return "" if "\n" not in str(error) and str(path) in str(error) else f"says of its configuration: {error}"
    try:
        with held(config.data):
            daemon, stop, task = await running(config)
            said = await asked(daemon.port)
            state = daemon.report().state
            waiting = {one.query.id for one in await daemon.outbox.head(2 * ROWS)}
            dropped = daemon.outbox.dropped
            stop.set()
            await task
    except StartError as error:
        return "" if "\n" not in str(error) else f"says at its start: {error}"
    if said in SURE:
        return f"answers {said}"
    if lost := wanted - waiting:
        return f"{len(lost)} queries that can be read are lost: {sorted(lost)[:5]}"
    if len(waiting) < ROWS and not dropped and state == "ok" and not gone:
        return f"{len(waiting)} of {ROWS} queries wait still, and nothing tells it"
    return ""


async def main(folder, seed, seconds):
    chance = random.Random(seed)
    sound = folder / "sound"
    sound.mkdir(parents=True)
    await prepared(sound)
    failures, tries, slowest = [], 0, 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tries += 1
        used = folder / "used"
        shutil.copytree(sound, used, symlinks=True)
        files = sorted(path for path in used.rglob("*") if path.is_file() and path.name != "lock")
        if chance.random() < 0.3:
            files = [used / "edge.toml"]
        hurt = chance.choice(files)
        how = f"{hurt.relative_to(used)}: {damage(hurt, files, chance)}"
        pulse, wanted = Pulse(), readable(used / "data" / "outbox.sqlite")
        beating = asyncio.create_task(pulse.beat())
        try:
            gone = not (used / "data" / "outbox.sqlite").exists()  # then nothing is left that could tell
            problem = await tried(used / "edge.toml", wanted, gone=gone)
        except BaseException as error:  # noqa: BLE001 - that is what is looked for
            inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
            problem = "".join(traceback.format_exception(inner)[-6:])
            if isinstance(inner, HeadraceError):
                problem = f"ends with {type(inner).__name__}: {inner}"
        finally:
            beating.cancel()
        slowest = max(slowest, pulse.longest)
        if pulse.longest > LONGEST_SECONDS:
            failures.append(f"{how}: stalls for {pulse.longest:.1f} s")
        if problem:
            failures.append(f"{how}: {problem}")
        for path in used.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(used)
    print(json.dumps({"seed": seed, "tries": tries, "longest_stall_seconds": round(slowest, 2), "failures": failures}))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
