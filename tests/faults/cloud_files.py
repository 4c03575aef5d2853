"""Spoils one file of a cloud at a time, and lets all of it work on what is left, but Ray and its models.

python cloud_files.py FOLDER SEED SECONDS      prints one JSON object, and exits with 1 where something did not hold
"""

import asyncio
import contextlib
import json
import logging
import random
import shutil
import socket
import sqlite3
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray  # noqa: F401 - all that is imported later is imported by now, and takes no time where time counts
from damage import damage
from typer.testing import CliRunner
from waits import LONGEST_SECONDS, Pulse, Stopwatch

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.gateway import actor as gateway
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.spool import Entry, Spool, StoredAnswer
from cloud_worker.log.spool_records import record_of
from cloud_worker.refresh.refresher import RefreshLoop
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.running.config import keep_running
from cloud_worker.running.process_lock import Up, announce, sole
from cloud_worker.startup.preflight import check_data_folder
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import ReleaseRow
from cloud_worker.state.task_figures import Board, Figures
from cloud_worker.teachers.base import TeacherAnswer
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.client.blocking_client import Client
from router.core.domain.record import Record
from router.core.errors import HeadraceError
from router.core.release.reports import DeviceReport, TaskReport
from router.core.statistics.e_process import Certificate, attempt_alpha
from router.transport.channel import open_channel
from router.transport.fleet_wire import report_to_proto
from router.transport.telemetry_names import META_DEVICE
from router.v1 import fleet_pb2_grpc, release_pb2, release_pb2_grpc

METADATA = ((META_DEVICE, "kitchen"),)
LABELS = "labels.jsonl"
PROOF = Certificate(0.02, attempt_alpha(0.95, 1), 400, 1, 9.0, attempt=1)
LOGGED, SPOOLED = 55, 20  # rows in the log, the last in a commit after a checkpoint, and beside it
CONFIG = cloud_toml("""student = "encoder-head"
[tasks.budget]
queries_per_day = 1000000
[door]
listen = "127.0.0.1:0"
""")


def record(number):
    now = time.time()
    row = Record("kitchen", f"q{number}", "big", "v1", "home", 1, now, now, f"text {number}", "on")
    return replace(row, explored=True, local_answer="on", local_score=0.5, release=1)


def free_port():
    """One of this world alone: its gateways take it over, one after the other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def prepared(folder):
    """A cloud's folder after some life."""
    (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    (folder / "cloud.toml").write_text(CONFIG)
    config = read_config(folder / "cloud.toml")
    check_data_folder(config)
    store = open_store(config)
    store.declare_tasks(config.tasks)
    publisher = Publisher(config.releases_folder)
    publish_first_releases(config.tasks, store, publisher)
    manifest, files = tiny_release(config.task("home"), 1, WORDS)
    store.add_release(ReleaseRow("home", 1, "building", "", 0.0, "{}"))
    store.promote("home", 1, publisher.publish(replace(manifest, certificate=PROOF), files), watch="quiet")
    store.device("kitchen")
    store.save_report(DeviceReport("kitchen", "0.1", tasks=(TaskReport("home", 0, answered=9, kept=2),)), time.time())
    Board(store.engine).post("home", 1, Figures(time.time()))
    Overrides(store.engine).lay("freeze", "home", who="me", why="test", now=time.time(), frozen=True)
    log = DistillationLog(config.log_folder)
    for number in range(LOGGED):
        log.append([record(number)], "earlier", number + 1)
    spool = Spool(config.spool_folder / "gateway-0.sqlite")
    for number in range(LOGGED, LOGGED + SPOOLED):
        await spool.append(Entry(StoredAnswer("kitchen", f"q{number}", "d", time.time(), b""), record(number)), 30.0)
    await spool.close()
    with sole(config.run_folder):
        pass
    keep_running(config.run_folder, config)
    announce(config.run_folder, Up(1, "127.0.0.1:1", "127.0.0.1:2", time.time()))
    (config.run_folder / "gateway-0.json").write_text(json.dumps({"pid": 1, "port": free_port()}))
    store.engine.dispose()
    exported = told(folder / "cloud.toml", "label", "home", "--export", str(folder / LABELS), "--who", "ada")
    assert exported.exit_code == 0, exported.output
    rows = [json.loads(line) | {"label": "on"} for line in (folder / LABELS).read_text().splitlines()]
    (folder / LABELS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return config


class Problems(list):
    def __init__(self):
        super().__init__()
        self.slowest = {}

    def __call__(self, what, work):
        """Do some work; an error that is no word to the operator is a problem."""
        watch = Stopwatch()
        try:
            return work()
        except HeadraceError as error:
            if "\n" in str(error):
                self.append(f"{what} says {error}")
        except OSError as error:  # a command tells it as a line
            if not error.filename:
                self.append(f"{what}: {error!r}")
        except Exception:  # noqa: BLE001 - that is what is looked for
            self.append(f"{what}: {traceback.format_exc(limit=-5)}")
        finally:
            self.slowest[what] = max(self.slowest.get(what, 0.0), watch.read()[1])
        return None


def told(config, *words):
    done = CliRunner().invoke(app, [*words, "-c", str(config)], env={"COLUMNS": "120"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def drained(config, log):
    """As the log's writer goes on: looks for damage first, and tries again."""
    for tried in range(3):
        try:
            log.mend()
            drainer = Drainer(config.spool_folder, log, Repeats(open_store(config).engine))
            drainer.drain()
            drainer.close()
            return
        except Exception:
            if tried == 2:
                raise


async def served(config, problems):
    """A gateway opens on what is there, and answers; whether it says that the answer is logged."""
    one, pulse = gateway.Gateway(config, gateway.GATEWAY, True, lambda name: answers), Pulse()
    beating = None
    try:
        target = f"127.0.0.1:{await asyncio.wait_for(one.port(), 120)}"
        beating = asyncio.create_task(pulse.beat())  # before that nobody is served, and nobody waits
        channel = open_channel(target, insecure=True, attempts=1)
        stub = fleet_pb2_grpc.FleetStub(channel)
        for device in ("kitchen", "hall"):
            with Asking(problems, f"Sync of {device}"):
                said = report_to_proto(DeviceReport(device, "0.1", tasks=(TaskReport("home", 0, answered=10),)))
                await stub.Sync(said, metadata=((META_DEVICE, device),), timeout=60)
        for file in ("manifest.json", "model.onnx", "golden.jsonl"):
            with Asking(problems, f"Fetch of {file}"):
                wanted = release_pb2.FetchRequest(task="home", release=1, file=file)
                stream = release_pb2_grpc.ReleasesStub(channel).Fetch(wanted, metadata=METADATA, timeout=60)
                async for _ in stream:
                    pass
        await channel.close(None)
        with Asking(problems, "Answer"):
            client = Client(target, insecure=True)
            answer = await asyncio.to_thread(client.ask, "lamp", "home", deadline=20)
            client.close()
            return answer.query_id if answer.provenance.logged else ""
    finally:
        if beating is not None:
            beating.cancel()
        problems.slowest["the gateway's loop"] = pulse.longest
        with suppress(HeadraceError, asyncio.CancelledError):
            await one.stop()
    return ""


class Asking:
    """A refusal is fine; that it does not know why is not."""

    def __init__(self, problems, what):
        self._problems, self._what = problems, what

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if error is None:
            return False
        code = getattr(error, "code", None)
        name = code().name if callable(code) else type(error).__name__
        if name in {"INTERNAL", "UNKNOWN", "DATA_LOSS"} or not (callable(code) or isinstance(error, HeadraceError)):
            self._problems.append(f"{self._what}: {name} {error}")
        return isinstance(error, Exception)


def tells_of_damage(path):
    """Whether ``status`` says that something was lost or set aside."""
    log = json.loads(told(path, "status", "--json").stdout)["log"]
    return log["put_aside"] or log["quarantined"] or log["unreadable_spools"] or log["state"] != "ok"


def in_log(path):
    """Ids of the rows in data files of the log that anybody can still read, one file after another."""
    found = set()
    for file in path.rglob("*.parquet"):
        if "_delta_log" not in file.parts:
            with suppress(pa.ArrowException, OSError, KeyError):
                table = pq.ParquetFile(file).read(["query_id", "text"]).to_pylist()
                found |= {row["query_id"] for row in table if row["text"] == f"text {str(row['query_id'])[1:]}"}
    return found


def in_spool(path):
    """Ids of the rows of a spool that anybody can still read, one by one, from a copy."""
    found = set()
    with tempfile.TemporaryDirectory() as folder:
        for end in ("", "-wal"):
            with suppress(OSError):
                shutil.copy(path.with_name(path.name + end), folder)
        copy = Path(folder) / path.name
        if not copy.is_file() or not copy.stat().st_size:
            return found
        with suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(copy)) as database:
            for position in range(1, 2 * SPOOLED):
                with suppress(sqlite3.Error, ValueError, TypeError, AttributeError):
                    [row] = database.execute("SELECT body FROM records WHERE position = ?", (position,)).fetchall()
                    found.add(record_of(row[0]).query_id)
    return found


async def tried(folder, hurt):
    """What does not hold; none where all does."""
    left = hurt.exists()  # else nothing is there that could tell
    wanted = in_log(folder / "data" / "log") | in_spool(folder / "data" / "spool" / "gateway-0.sqlite")
    path, problems = folder / "cloud.toml", Problems()
    config = problems("configuration", lambda: read_config(path))
    problems("status", lambda: told(path, "status"))
    if config is None:
        return problems
    problems("data folder", lambda: check_data_folder(config))
    problems("audit", lambda: told(path, "audit"))
    problems("labels", lambda: told(path, "label", "home", "--import", str(folder / LABELS), "--who", "ada"))
    logged = ""
    try:
        logged = await served(config, problems)
    except HeadraceError as error:
        problems.extend([f"gateway: {error}"] if "\n" in str(error) else [])
    except OSError as error:
        problems.extend([] if error.filename else [f"gateway: {error!r}"])
    except Exception:  # noqa: BLE001 - that is what is looked for
        problems.append(f"gateway: {traceback.format_exc(limit=-6)}")
    log = DistillationLog(config.log_folder)
    problems("writer", lambda: drained(config, log))
    problems("status after it", lambda: told(path, "status", "--json"))
    problems("refresher", lambda: RefreshLoop(config, lambda task, rows, recipe: None).step())
    if not any("writer" in one for one in problems):
        found = problems("reading", lambda: {row["query_id"] for row in log.ask("select query_id from log")}) or set()
        inside = hurt.relative_to(folder).parts
        lost = {f"q{number}" for number in range(LOGGED + SPOOLED)} - found
        if readably := sorted(lost & wanted):
            problems.append(f"{len(readably)} acknowledged rows that can be read are lost: {readably[:5]}")
        if lost - wanted and left and not tells_of_damage(path):
            problems.append(f"{len(lost)} acknowledged rows are lost, and nothing tells it")
        if logged and logged not in found and "spool" not in inside:
            problems.append("what was answered as logged is not in the log")
    return problems


async def main(folder, seed, seconds):
    logging.disable(logging.CRITICAL)
    chance = random.Random(seed)
    source = folder / "sound"
    source.mkdir(parents=True)
    await prepared(source)

    async def nothing_spoilt():
        shutil.copytree(source, folder / "sound-used", symlinks=True)
        found = await tried(folder / "sound-used", folder / "sound-used" / "cloud.toml")
        assert not found, found
        shutil.rmtree(folder / "sound-used")
        return found

    def too_slow(problems, sound):
        return [
            f"{what} takes {took:.1f} s, {sound.slowest.get(what, 0.0):.1f} s where nothing is spoilt"
            for what, took in problems.slowest.items()
            if took > sound.slowest.get(what, 0.0) + LONGEST_SECONDS
        ]

    sound = await nothing_spoilt()
    failures, tries, slowest = [], 0, {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tries += 1
        used = folder / "used"
        shutil.copytree(source, used, symlinks=True)
        files = sorted(path for path in used.rglob("*") if path.is_file())
        rooms = sorted({path.parent for path in files})
        room = chance.choice(rooms)
        hurt = chance.choice([path for path in files if path.parent == room])
        how = f"{hurt.relative_to(used)}: {damage(hurt, files, chance)}"
        problems = await tried(used, hurt)
        for what, took in problems.slowest.items():
            slowest[what] = max(slowest.get(what, 0.0), round(took, 2))
        failures += [f"{how}: {problem}" for problem in problems]
        if too_slow(problems, sound):
            sound = await nothing_spoilt()  # the machine may be busier now than it was
        failures += [f"{how}: {slow}" for slow in too_slow(problems, sound)]
        for path in used.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(used)
    print(json.dumps({"seed": seed, "tries": tries, "slowest_seconds": slowest, "failures": failures}))
    sys.exit(1 if failures else 0)


async def answers(questions):
    yield [(position, TeacherAnswer("lights", "v1")) for position, _ in enumerate(questions)]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
