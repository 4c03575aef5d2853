"""No word of what is asked, answered or said comes into a log, a span, a metric, an error, or a file not meant for it.

A canary goes the whole way, and into every trouble on it: client, agent, student, gateway, teacher, log, feedback.
"""

import asyncio
import contextlib
import logging
from concurrent import futures

import grpc
import pytest

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.teachers import RecordedSettings
from cloud_worker.log.erasing.drain_and_erase import drain_and_erase
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.startup.in_process import serving_config
from cloud_worker.teachers.base import TeacherAnswer
from edge_agent.config import Config
from edge_agent.daemon import Daemon
from edge_agent.testing.cloud_simulator import CloudSimulator
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.client.async_client import AsyncClient
from router.core.domain.query import Message, Query, Route
from router.core.domain.task import Task
from router.core.errors import HeadraceError

ASKED, ANSWERED, SAID = "xylophonist", "glockenspielerin", "vibraphonette"  # in a question, an answer, a feedback
CANARIES = tuple(word.encode() for word in (ASKED, ANSWERED, SAID))
FOR_TEXTS = ("outbox.sqlite", "spool/", "log/", "fleet.sqlite")  # where texts belong


class Collector(grpc.GenericRpcHandler):
    """A collector of OTLP that keeps the bytes of all that comes."""

    def __init__(self):
        self.received = []

    def service(self, details):
        def keep(request, context):
            self.received.append((details.method, request))
            return b""

        return grpc.unary_unary_rpc_method_handler(keep)


@pytest.fixture
def collector():
    server, collector = grpc.server(futures.ThreadPoolExecutor(4)), Collector()
    server.add_generic_rpc_handlers((collector,))
    collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield collector
    server.stop(1).wait()


class Teacher:
    """Answers with a canary, or fails with one."""

    name, version, threads = "big", "big-1", 1

    def answer(self, questions):
        for question in questions:
            if "fail" in question.text:
                raise ValueError(f"can't answer {question.text}")
            yield TeacherAnswer(f"{ANSWERED}", self.version)


@contextlib.asynccontextmanager
async def agent(folder, target, otlp):
    config = Config(
        device="kitchen",
        data=folder,
        door={"listen": "127.0.0.1:0"},
        upstream={"target": target},
        telemetry={"otlp": otlp},
    )
    daemon, stop = Daemon(config, insecure=True), asyncio.Event()
    running = asyncio.create_task(daemon.run(stop))
    try:
        async with asyncio.timeout(120):
            await daemon.opened.wait()
        yield daemon, f"127.0.0.1:{daemon.port}"
    finally:
        stop.set()
        await running


async def trouble(client, errors):
    """Ask in every way that goes wrong, and keep what is said of it."""
    for asked in (
        {"text": ASKED * 1000},
        {"text": ASKED, "messages": [Message("user", ASKED)]},
        {"messages": [Message(ASKED, "hello")]},
        {"text": f"fail {ASKED}"},
        {"text": ASKED, "route": Route.LOCAL_ONLY},
        {"text": ASKED, "id": "twice"},
        {"text": f"{ASKED} again", "id": "twice"},
        {"text": ASKED, "response_schema": f"{{{ASKED}"},
    ):
        try:
            await client.answer(Query(asked.pop("id", ""), "home", **asked), 10.0)
        except HeadraceError as error:
            errors.append(str(error))
    for comment in (SAID, SAID * 1000):
        with contextlib.suppress(HeadraceError):
            await client.feedback("twice", "home", "wrong", correction=SAID, comment=comment)


def files_that_hold(folder):
    found = {path for path in folder.rglob("*") if path.is_file() and any(c in path.read_bytes() for c in CANARIES)}
    return sorted(str(path.relative_to(folder)) for path in found)


def is_told(collector, caplog, capfd, errors):
    """Where a canary was heard of."""
    out = capfd.readouterr()
    heard = {
        **{f"OTLP {method}": data for method, data in collector.received},
        "stdout": out.out.encode(),
        "stderr": out.err.encode(),
        "logs": "\n".join(logging.Formatter().format(record) for record in caplog.records).encode(),
    }
    heard |= {f"error {text[:40]}": text.encode() for text in errors if "query id" not in text}
    return [name for name, data in heard.items() if any(canary in data for canary in CANARIES)]


async def test_no_word_of_a_query_is_told_or_kept_where_it_does_not_belong(tmp_path, collector, caplog, capfd):
    caplog.set_level(logging.INFO)  # what is told at DEBUG is turned on by hand
    errors = []
    teachers = (RecordedSettings(name="big", answers=""),)
    config = CloudConfig(
        data=tmp_path / "cloud", teachers=teachers, tasks=(Task("home", "big"),), telemetry={"otlp": collector.url}
    )
    config = config.model_copy(update={"door": config.door.model_copy(update={"listen": "127.0.0.1:0"})})
    async with serving_config(config, [Teacher()]) as target:
        async with (
            agent(tmp_path / "edge", target, collector.url) as (_, near),
            AsyncClient(near, insecure=True) as client,
        ):
            assert (await client.ask(ASKED, "home", deadline=30.0)).text == ANSWERED
            await trouble(client, errors)
        async with AsyncClient(target, insecure=True, device="direct") as client:
            assert (await client.ask(ASKED, "home", deadline=30.0)).text == ANSWERED
            await trouble(client, errors)
    await asyncio.to_thread(drain_and_erase, config, open_store(config))
    assert {method.split(".")[3] for method, _ in collector.received} >= {"trace", "metrics"}
    assert is_told(collector, caplog, capfd, errors) == []
    assert all(any(name in path for name in FOR_TEXTS) for path in files_that_hold(tmp_path)), files_that_hold(tmp_path)
    assert files_that_hold(tmp_path)  # else this test would see nothing


async def test_no_word_of_a_query_that_a_device_kept_is_told(tmp_path, collector, caplog, capfd):
    caplog.set_level(logging.INFO)  # what is told at DEBUG is turned on by hand
    errors = []
    cloud = CloudSimulator(lambda text: ANSWERED)
    cloud.publish(*tiny_release(Task("home", "simulated"), 1, {**WORDS, ASKED: ANSWERED}), exploration=1.0)
    await cloud.start()
    try:
        async with (
            agent(tmp_path, cloud.target, collector.url) as (_, near),
            AsyncClient(near, insecure=True) as client,
        ):
            await cloud.until_active(1)
            cloud.faults.unavailable = True
            kept = await client.ask(ASKED, "home")
            assert kept.text == ANSWERED
            await client.ask(f"{ASKED} unknown", "home", deadline=5.0)
            await trouble(client, errors)
            for part in ("outbox.sqlite", "outbox.sqlite-wal"):
                (tmp_path / part).touch()
    finally:
        await cloud.stop()
    assert is_told(collector, caplog, capfd, errors) == []
    released = "tasks/home/"  # the student's own labels and words
    stray = [path for path in files_that_hold(tmp_path) if not path.startswith(("outbox.sqlite", released))]
    assert stray == []
