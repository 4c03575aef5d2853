"""Spoils one file of a cloud at a time, and lets all of it work on what is left, but Ray and its models.

python cloud_files.py FOLDER SEED SECONDS      prints one JSON object, and exits with 1 where something did not hold
"""

import asyncio
import json
import logging
import random
import shutil
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import ray  # noqa: F401 - all that is imported later is imported by now, and takes no time where time counts
from damage import damage
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.gateway import actor as gateway
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.spool import Entry, Spool, StoredAnswer
from cloud_worker.refresh.refresher import RefreshLoop
from cloud_worker.releases.initial import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.running.config import keep_running
from cloud_worker.running.process_lock import Up, announce, sole
from cloud_worker.startup.preflight import check_data_folder
from cloud_worker.state.overrides import Hands
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.task_figures import Board, Figures
from cloud_worker.teachers.base import TeacherAnswer
from router.client.grpc_client import Client
from router.core.domain.record import Record
from router.core.errors import HeadraceError
from router.core.release.orders import DeviceReport, TaskReport
from router.transport.channel import open_channel
from router.transport.telemetry_names import META_DEVICE
from router.transport.wire import report_to_proto
from router.v1 import fleet_pb2_grpc

LOGGED, SPOOLED = 55, 20  # rows in the log, the last in a commit after a checkpoint, and beside it
CONFIG = """
data = "data"
[door]
listen = "127.0.0.1:0"
[[teachers]]
name = "big"
kind = "recorded"
answers = "answers.jsonl"
[[tasks]]
name = "home"
reference = "big"
student = "encoder-head"
[tasks.budget]
queries_per_day = 1000000
"""


def record(number):
    now = time.time()
    return Record("kitchen", f"q{number}", "big", "v1", "home", 1, now, now, f"text {number}", "on")


async def prepared(folder):
    """A cloud's folder after some life."""
    (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    (folder / "cloud.toml").write_text(CONFIG)
    config = read_config(folder / "cloud.toml")
    check_data_folder(config)
    store = open_store(config)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, Publisher(config.releases_folder))
    store.device("kitchen")
    store.save_report(DeviceReport("kitchen", "0.1", tasks=(TaskReport("home", 0, answered=9, kept=2),)), time.time())
    Board(store.engine).post("home", 1, Figures(time.time()))
    Hands(store.engine).lay("freeze", "home", who="me", why="test", now=time.time(), frozen=True)
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
    (config.run_folder / "gateway-0.json").write_text('{"pid": 1, "port": 2}')
    store.engine.dispose()
    return config


class Problems(list):
    def __init__(self):
        super().__init__()
        self.slowest = {}

    def __call__(self, what, work):
        """Do some work; an error that is no word to the operator is a problem."""
        began = time.monotonic()
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
            self.slowest[what] = max(self.slowest.get(what, 0.0), time.monotonic() - began)
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
    one = gateway.Gateway(config, gateway.GATEWAY, True)
    try:
        target = f"127.0.0.1:{await asyncio.wait_for(one.port(), 20)}"
        began = time.monotonic()
        channel = open_channel(target, insecure=True, attempts=1)
        stub = fleet_pb2_grpc.FleetStub(channel)
        for device in ("kitchen", "hall"):
            with Asking(problems, f"Sync of {device}"):
                said = report_to_proto(DeviceReport(device, "0.1", tasks=(TaskReport("home", 0, answered=10),)))
                await stub.Sync(said, metadata=((META_DEVICE, device),), timeout=20)
        await channel.close(None)
        with Asking(problems, "Answer"):
            client = Client(target, insecure=True)
            answer = await asyncio.to_thread(client.ask, "lamp", "home", deadline=20)
            client.close()
            problems.slowest["answering"] = max(problems.slowest.get("answering", 0.0), time.monotonic() - began)
            return answer.query_id if answer.provenance.logged else ""
    finally:
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


async def tried(folder, hurt):
    """What does not hold; none where all does."""
    path, problems = folder / "cloud.toml", Problems()
    config = problems("configuration", lambda: read_config(path))
    problems("status", lambda: told(path, "status"))
    if config is None:
        return problems
    problems("data folder", lambda: check_data_folder(config))
    problems("audit", lambda: told(path, "audit"))
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
        wanted = range(LOGGED) if "spool" in inside else range(LOGGED, LOGGED + SPOOLED) if "log" in inside else ()
        lost = [number for number in wanted if f"q{number}" not in found]
        if lost:
            problems.append(f"{len(lost)} acknowledged rows are lost: {lost[:5]}")
        if logged and logged not in found and "spool" not in inside:
            problems.append("what was answered as logged is not in the log")
    return problems


async def main(folder, seed, seconds):
    logging.disable(logging.CRITICAL)
    gateway.asker = lambda name: answers
    chance = random.Random(seed)
    sound = folder / "sound"
    sound.mkdir(parents=True)
    await prepared(sound)
    failures, tries, slowest = [], 0, {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tries += 1
        used = folder / "used"
        shutil.copytree(sound, used, symlinks=True)
        files = sorted(path for path in used.rglob("*") if path.is_file())
        rooms = sorted({path.parent for path in files})
        room = chance.choice(rooms)
        hurt = chance.choice([path for path in files if path.parent == room])
        how = f"{hurt.relative_to(used)}: {damage(hurt, files, chance)}"
        problems = await tried(used, hurt)
        for what, took in problems.slowest.items():
            slowest[what] = max(slowest.get(what, 0.0), round(took, 2))
        failures += [f"{how}: {problem}" for problem in problems]
        for path in used.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(used)
    print(json.dumps({"seed": seed, "tries": tries, "slowest_seconds": slowest, "failures": failures}))
    sys.exit(1 if failures else 0)


async def answers(questions):
    yield [(place, TeacherAnswer("lights", "v1")) for place, _ in enumerate(questions)]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
