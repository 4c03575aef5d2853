"""What a former version left in its folders and wrote on the wire, recorded: this one takes it up whole.

`data/` holds an agent's folder and a cloud's, and messages of the contract. A slow test has the former version leave
them again, and compares; with HEADRACE_RECORD=1 it writes them anew.
"""

import contextlib
import json
import os
import sqlite3
import tarfile
from base64 import b64decode
from pathlib import Path

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.fleet.ordering import OrderBook
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_at_start
from cloud_worker.releases.repository.testing import make_repository, sign_online
from cloud_worker.state.repeated_rows import Repeats
from edge_agent.config import Config
from edge_agent.outbox.file import OutboxFile
from edge_agent.outbox.reading import select
from edge_agent.parts.kept_state import KeptState
from router.core.domain.query import Consent, Reason, Tier
from router.core.domain.task import Mode
from router.transport.fleet_wire import orders_from_proto, report_from_proto
from router.transport.wire import answer_from_proto, query_from_proto
from router.v1 import cascade_pb2, fleet_pb2

DATA = Path(__file__).with_name("data")
RECORDED = "149dabb"
LEFT = DATA / f"folders-{RECORDED}.tar.xz"
MESSAGES = DATA / f"messages-{RECORDED}.json"
MOST_BYTES = 60_000


@pytest.fixture
def left(tmp_path):
    with tarfile.open(LEFT) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path


def counts(left):
    return json.loads((left / "counts.json").read_text())


async def test_an_agents_folder_is_taken_up_with_release_orders_and_all_that_waits(left):
    data = left / "device" / "agent-data"
    kept = KeptState(Config(device="kitchen", data=data, upstream={"target": "127.0.0.1:1"}))
    assert kept.tasks.kept_orders.heard
    await kept.tasks.load()
    home = kept.tasks.get("home")
    assert (home.serving.manifest.number, home.serving.student is not None) == (1, True)
    assert home.order.release == 1
    assert home.slots.on_probation is False
    waits = counts(left)["waiting"]
    assert kept.outbox.pending == waits > 0
    await kept.outbox.close()
    file = OutboxFile(data / "outbox.sqlite", lambda: 1e9)
    rows, broken = select(file, 100, frozenset(), frozenset())
    file.close()
    assert (len(rows), broken, file.was_damaged) == (waits, [], False)
    assert {row.query.attempt.release for row in rows} == {1}


def test_a_clouds_folder_is_taken_up_with_fleet_releases_log_and_spool(left):
    config = read_config(left / "cloud.toml")
    log = DistillationLog(config.log_folder)
    before = log.read("home", columns=["query_id"])["query_id"].to_pylist()
    assert len(before) == counts(left)["logged"] > 0
    store = open_at_start(config)
    [device] = store.devices()
    assert (device.id, device.report.tasks[0].active_release) == ("kitchen", 1)
    drainer = Drainer(config.spool_folder, log, Repeats(store.engine))
    drainer.drain()
    drainer.close()
    after = log.read("home", columns=["query_id"])["query_id"].to_pylist()
    assert len(set(after)) == len(after) == len(before) + counts(left)["spooled"] > len(before)
    assert set(before) < set(after)
    book = OrderBook(store, config.tasks, Publisher(config.releases_folder))
    [order] = book.orders_of_all({"kitchen": {"home": 1}}, store.task_states())["kitchen"][0]
    assert (order.release, order.mode, order.watch) == (1, Mode.SERVE, "quiet")


def test_releases_of_before_there_were_keys_are_signed_once_there_are(left):
    config = read_config(left / "cloud.toml")
    store = open_at_start(config)
    make_repository(config)
    assert [*sign_online(config, store).targets] == ["models/home/0/manifest.json", "models/home/1/manifest.json"]


def test_messages_of_before_are_read_as_they_were_meant():
    said = {name: b64decode(text) for name, text in json.loads(MESSAGES.read_text()).items()}
    query = query_from_proto(cascade_pb2.AnswerRequest.FromString(said["query"]))
    assert (query.tenant, query.subject, query.consent, query.limits.seed) == ("acme", "anna", Consent.GRANTED, 9)
    assert (query.attempt.reason, query.attempt.threshold, query.attempt.sequence_number) == (Reason.EXPLORED, 0.75, 7)
    answer = answer_from_proto(cascade_pb2.AnswerResponse.FromString(said["answer"]))
    assert (answer.text, answer.provenance.tier, answer.provenance.logged) == ("lights", Tier.CLUSTER, True)
    report = report_from_proto(fleet_pb2.SyncRequest.FromString(said["report"]))
    assert (report.tasks[0].refused, report.tasks[0].model, report.erased) == (((4, "rotten"),), "", ())
    orders = orders_from_proto(fleet_pb2.SyncResponse.FromString(said["orders"]))
    assert (orders.contract, orders.erasures, orders.tasks[0].mode) == (0, (), Mode.OBSERVE)
    assert orders.tasks[0].queries_per_day == 1000


def live(house, version):
    """Live as a cloud and a device do, and leave something of each kind; how many rows are where."""
    gateway = house.start_gateway(version)
    house.step(version, "release", "cloud.toml", "1")
    agent = house.start_agent(version)
    house.until_release(1)
    house.ask("light", 20)  # off probation, where there is such a thing
    house.until_taught()
    logged = len(house.logged(version))
    house.ask("something else", 2)
    house.stop(gateway)
    house.ask("lamp", 8)
    waiting = house.wait(lambda: (house.status() or {}).get("outbox_pending"))
    house.stop(agent)
    [spool] = (house.folder / "data" / "spool").glob("*.sqlite")
    return {"logged": logged, "spooled": count(spool, "records"), "waiting": waiting}


def count(path, table):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def schemas(folder):
    found = {}
    for path in folder.rglob("*.sqlite"):
        with contextlib.closing(sqlite3.connect(path)) as database:
            said = database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        found[path.relative_to(folder).as_posix()] = said
    return found


def pack(folder, counts):
    (folder / "counts.json").write_text(json.dumps(counts))
    for path in (folder / "data" / "log" / "_delta_log").glob("*.json"):  # says where it was made
        path.write_text(path.read_text().replace(str(folder), "/somewhere"))
    with tarfile.open(LEFT, "w:xz") as packed:
        for name in ("cloud.toml", "answers.jsonl", "counts.json", "data", "device/agent-data"):
            packed.add(folder / name, name, filter=lambda one: None if "/run" in one.name else one)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_former_version_leaves_and_writes_what_was_recorded(make_house, former, tmp_path):
    if former.name != RECORDED:
        pytest.skip(f"what is recorded is of {RECORDED}, and the former version is {former.name}")
    house = make_house(secure=False)
    messages, counts = house.step(former, "messages"), live(house, former)
    if os.environ.get("HEADRACE_RECORD"):
        MESSAGES.write_text(f"{messages}\n")
        pack(house.folder, counts)
    with tarfile.open(LEFT) as packed:
        packed.extractall(tmp_path / "recorded", filter="data")
    assert json.loads(messages) == json.loads(MESSAGES.read_text())
    recorded = schemas(tmp_path / "recorded")
    assert {name: schemas(house.folder)[name] for name in recorded} == recorded
    assert LEFT.stat().st_size < MOST_BYTES
