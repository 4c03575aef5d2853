"""What is erased is in no byte of the data folder any more, and does not come back."""

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
from deltalake import DeltaTable
from sqlalchemy import MetaData
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.fleet.erasures import Erasures
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.erasing.drain_and_erase import drain_and_erase
from cloud_worker.log.spool import Entry, Spool, StoredAnswer
from cloud_worker.log.spool_records import body_of
from cloud_worker.releases.recovered_state import open_at_start, open_store
from cloud_worker.running.process_lock import who_runs
from cloud_worker.state.feedback import Feedbacks, Given
from cloud_worker.state.gold_labels import Gold, Label
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.repeated_rows import Repeats
from router.client.blocking_client import Client
from router.core.domain.feedback import Opinion
from router.core.domain.query import Tier
from router.core.domain.record import Record, Source

CONFIG = cloud_toml()
SUBJECT, CANARY = "person-17", "xylophone"  # whom it concerns, and what that one says
NAMES = (SUBJECT.encode(), CANARY.encode())


def record(number, caller="kitchen", subject="", text="turn it on", **changes):
    now = time.time()
    one = Record(
        caller=caller,
        query_id=f"q{number}",
        teacher="big",
        teacher_version="big-1",
        is_reference=True,
        task="home",
        task_version=1,
        asked_at=now - 60,
        received_at=now - 59,
        text=text,
        answer="lights",
        source=Source.TAUGHT,
        kept=True,
        explored=True,
        exploration=0.5,
        propensity=0.5,
        subject=subject,
        sequence_number=number + 1_000_000,
    )
    return replace(one, **changes)


class Cloud:
    """The data folder of a cloud in which nothing runs."""

    def __init__(self, folder, state_url=""):
        (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "music"}\n')
        self.file = folder / "cloud.toml"
        self.file.write_text(CONFIG + (f'[store]\nurl = "{state_url}"\n' if "postgresql" in state_url else ""))
        self.config = read_config(self.file)
        self.config.data.mkdir()
        self.store = open_at_start(self.config)
        self.store.declare_tasks(self.config.tasks)

    def spool(self, *records, name="gateway-0"):
        async def append():
            spool = Spool(self.config.spool_folder / f"{name}.sqlite")
            for one in records:
                answer = StoredAnswer(one.caller, one.query_id, "digest", time.time(), one.text.encode())
                await spool.append(Entry(answer, one))
            await spool.close()

        asyncio.run(append())

    def drain(self):
        drain_and_erase(self.config, self.store)

    def keys(self):
        table = DistillationLog(self.config.log_folder).read("home", columns=["query_id"])
        return sorted(table["query_id"].to_pylist())

    def run(self, *arguments):
        return CliRunner().invoke(app, ["erase", "-c", str(self.file), *arguments])

    def erase(self, *arguments):
        done = self.run(*arguments, "--yes", "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def holding(self, *wanted):
        """Files whose bytes, or whose columns, hold one of these, and tables of the state."""
        return [*holding(self.config.data, *wanted), *self._tables_holding(wanted)]

    def _tables_holding(self, wanted):
        tables = MetaData()
        with self.store.engine.connect() as connection:
            tables.reflect(connection)
            for name, table in tables.tables.items():
                rows = str([tuple(row) for row in connection.execute(table.select())]).encode()
                if any(one in rows for one in wanted):
                    yield name


def holding(folder, *wanted):
    """Files below a folder whose bytes, or whose columns, hold one of these."""
    import pyarrow.parquet as pq

    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and any(one in path.read_bytes() for one in wanted):
            found.append(path.name)
    for path in folder.rglob("*.parquet"):  # compressed
        if any(one in str(pq.read_table(path, partitioning=None).to_pylist()).encode() for one in wanted):
            found.append(path.name)
    return found


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


@pytest.fixture
def filled(cloud):
    return fill(cloud)


@pytest.fixture
def filled_anywhere(tmp_path, state_url):
    """The same with the state in each kind of database."""
    return fill(Cloud(tmp_path, state_url))


def fill(cloud):
    """Rows of a subject in the log's several files, in spools, in quarantine, and in what people said."""
    mine = {"subject": SUBJECT, "text": f"play the {CANARY}"}
    for start in (0, 10, 20):
        rows = [record(start + number, **(mine if number % 5 == 0 else {})) for number in range(10)]
        cloud.spool(*rows)
        cloud.drain()
    cloud.spool(record(40, **mine), record(41), name="gateway-1")
    with sqlite3.connect(cloud.config.spool_folder / "gateway-1.sqlite") as spool:
        body = body_of(record(42, **mine))
        spool.execute("INSERT INTO quarantine VALUES (9000, ?, 'is odd', 1)", (body,))
        spool.execute("INSERT INTO quarantine VALUES (9001, ?, 'is broken', 1)", (body[:-40],))
    feedbacks, gold = Feedbacks(cloud.store.engine), Gold(cloud.store.engine)
    given = Given("home", "kitchen", "q0", "", Opinion.WRONG, CANARY, "", Tier.DEVICE, 1, CANARY, False, "", 1.0)
    feedbacks.keep(given)
    feedbacks.keep(replace(given, query_id="q1", correction="other", answer="other"))
    gold.label("home", [Label(("kitchen", "q0", "big-1"), "ada", CANARY, subject=SUBJECT)])
    (cloud.config.spool_folder / "gateway-1.sqlite.damaged-20260101T000000-abcd.salvaged").write_bytes(NAMES[0])
    return cloud


def test_what_concerns_a_subject_is_in_no_byte_of_the_data_folder_afterwards(filled_anywhere):
    filled = filled_anywhere
    assert filled.holding(*NAMES)
    said = filled.erase("--subject", SUBJECT, "--why", "asked by letter")
    assert said["erased"]["log"] + said["erased"]["records"] == 7
    assert (said["erased"]["quarantine"], said["erased"]["feedback"], said["erased"]["put_aside"]) == (2, 1, 1)
    assert filled.holding(*NAMES) == []
    assert filled.keys() == sorted(f"q{number}" for number in (*range(30), 41) if number == 41 or number % 5)
    assert [one.correction for one in Feedbacks(filled.store.engine).of("home")] == ["other"]
    (audited,) = [one for one in Overrides(filled.store.engine).actions() if one.did.startswith("erase")]
    assert (audited.did, audited.why) == ("erase a subject (1)", "asked by letter")


def test_erased_numbers_count_as_come_so_that_no_device_is_taken_for_a_liar(filled):
    filled.erase("--subject", SUBJECT)
    erased = {("kitchen", 1_000_000 + number) for number in (0, 5, 10, 15, 20, 25, 40, 42)}
    assert Repeats(filled.store.engine).of("home") >= erased


def test_what_a_device_asked_goes_and_that_of_others_stays(cloud):
    cloud.spool(record(1, text=CANARY), record(2, "cellar"))
    cloud.drain()
    cloud.spool(record(3, text=CANARY), record(4, "cellar"))
    assert cloud.erase("--device", "kitchen")["erased"]["log"] == 2
    assert cloud.holding(CANARY.encode()) == []
    assert cloud.keys() == ["q2", "q4"]


def test_an_erased_row_never_comes_back_and_what_is_asked_afterwards_is_taken_in(filled):
    filled.erase("--subject", SUBJECT)
    late = record(50, subject=SUBJECT, text=CANARY)  # from an outbox
    again = record(0, subject="", text=CANARY, asked_at=time.time() + 5, received_at=time.time() + 5)  # the same key
    filled.spool(late, again, record(60, subject=SUBJECT, asked_at=time.time() + 5, received_at=time.time() + 5))
    filled.drain()
    assert not {"q50", "q0"} & set(filled.keys())
    assert "q60" in set(filled.keys())
    filled.spool(record(1), name="gateway-2")  # one that was not erased comes again, too
    filled.drain()
    assert filled.keys().count("q1") == 1


def test_the_same_again_finds_nothing_and_says_so(filled):
    filled.erase("--subject", SUBJECT)
    again = filled.erase("--subject", SUBJECT)
    assert sum(again["erased"].values()) == 0
    assert [one["number"] for one in json.loads(filled.run("--json").stdout)["erasures"]] == [1, 2]


def test_a_dry_run_counts_and_erases_nothing(filled):
    before, files = filled.keys(), sorted(path for path in filled.config.data.rglob("*.parquet"))
    said = json.loads(filled.run("--subject", SUBJECT, "--dry-run", "--json").stdout)
    assert said["dry_run"] and said["erased"]["log"] == 6 and said["erased"]["records"] == 1
    assert (filled.keys(), sorted(path for path in filled.config.data.rglob("*.parquet"))) == (before, files)
    assert not Erasures(filled.store.engine).all()


def test_nothing_is_erased_without_a_yes(filled):
    done = filled.run("--subject", SUBJECT)
    assert done.exit_code == 2 and "--yes" in done.output
    assert not Erasures(filled.store.engine).all()
    assert filled.run("--subject", "a", "--device", "b").exit_code == 2


KILLED = """
import os, sys
from pathlib import Path
from cloud_worker.config.cloud import read_config
from cloud_worker.fleet.erasures import Erasures
from cloud_worker.log.erasing import erase
from cloud_worker.log.erasing.drain_and_erase import drain_and_erase
from cloud_worker.releases.recovered_state import open_store

def dies(*_, **__):
    os.kill(os.getpid(), 9)

path, at, subject = sys.argv[1:]
config = read_config(Path(path))
store = open_store(config)
Erasures(store.engine).order(subject, by_subject=True, who="ada", now=__import__("time").time())
place, name = at.rsplit(":", 1)
holder = __import__(place, fromlist=["_"]) if place != "table" else __import__("deltalake").DeltaTable
if len(sys.argv[2].split(".")) and hasattr(holder, name):
    setattr(holder, name, dies)
drain_and_erase(config, store)
"""


@pytest.mark.parametrize(
    "at",
    [
        "table:delete",
        "table:vacuum",
        "table:create_checkpoint",
        "cloud_worker.log.erasing.table:_forget_before",
        "cloud_worker.log.erasing.erase:forget_in_releases",
        "cloud_worker.log.erasing.spools:empty_free_pages",
        "cloud_worker.log.erasing.fleet_state:empty_free_pages",
    ],
)
def test_what_was_killed_in_the_middle_is_finished_by_whoever_comes_next(filled, at):
    command = [sys.executable, "-c", KILLED, str(filled.file), at, SUBJECT]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": "."}, timeout=300)
    assert done.returncode == -9, done.stderr
    assert Erasures(filled.store.engine).pending()
    filled.drain()  # as the log's writer does, when it has started again
    assert not Erasures(filled.store.engine).pending()
    assert filled.holding(*NAMES) == []
    assert len(filled.keys()) == 25
    DeltaTable(filled.config.log_folder)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.1, 0.2, 0.4, 0.8])
def test_a_command_that_is_killed_so_long_after_its_order_is_finished_by_the_next(filled_anywhere, seconds):
    filled = filled_anywhere
    command = [sys.executable, "-m", "cloud_worker.cli", "erase", "-c", filled.file, "--subject", SUBJECT, "--yes"]
    erasures = Erasures(filled.store.engine)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: erasures.all())
        time.sleep(seconds)
        process.kill()
    filled.erase("--subject", SUBJECT)
    assert not erasures.pending()
    assert filled.holding(*NAMES) == []
    assert len(filled.keys()) == 25
    DeltaTable(filled.config.log_folder)


def until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_log_writer_that_is_killed_again_and_again_erases_all_the_same(place):
    texts = [f"play the {CANARY} {number}" for number in range(12)]
    lines = [{"text": text, "label": CANARY} for text in texts] + [{"text": "lights on", "label": "light_on"}]
    (place.folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    up = place.run("up", "--insecure", "--detach")
    assert up.returncode == 0, up.stderr
    config = read_config(place.folder / "cloud.toml")
    with Client(f"127.0.0.1:{place.port}", insecure=True, deadline=60) as client:
        for turn, pause in enumerate((0.0, 0.1, 0.3, 0.8)):
            for text in texts:
                client.ask(text, "home", subject=SUBJECT)
                client.ask("lights on", "home")
            erasing = subprocess.Popen(place.command("erase", "--subject", SUBJECT, "--yes"), cwd=place.folder)
            erasures = Erasures(open_store(config).engine)
            until(lambda turn=turn, erasures=erasures: len(erasures.all()) > turn)
            for _ in range(3):
                killed = writer_of(place)
                time.sleep(pause)
                killed.kill()
                until(lambda killed=killed: (now := writer_of(place)) is not None and now != killed, 120)
            assert erasing.wait(300) == 0
            assert holding(config.data, *NAMES) == [], turn
    kept = DistillationLog(config.log_folder).read("home", columns=["text"])["text"].to_pylist()
    assert kept == ["lights on"] * len(kept)
    assert len(kept) == 4 * len(texts)


def writer_of(place):
    """The process of the log's writer, ``None`` while there is none."""
    up, _ = who_runs(place.run_folder)
    for one in psutil.Process(up).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if " ".join(one.cmdline()).startswith("ray::LogWriter"):
                return one
    return None
