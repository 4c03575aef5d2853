"""Rows that are odd in any way: commands tell of them, `up` logs what can be logged and counts the rest."""

import asyncio
import json
import math
import sqlite3
import subprocess
import time
from dataclasses import replace

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.log.distillation_log import DistillationLog, records_of
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.spool import Entry, Spool, StoredAnswer
from cloud_worker.state.feedback import Feedbacks, Given
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store
from router.core.domain.feedback import Opinion
from router.core.domain.query import Tier
from router.core.domain.record import Record

NOW = 1_800_000_000.0
LAST, EARLIER = 253_402_300_000.0, 90_000_000_000.0  # in the years 9999 and 4821
UNFIT = (
    {"release": 2**63},
    {"sequence_number": -(2**63) - 1},
    {"tokens_in": 10**30},
    {"asked_at": 1e300},
    {"received_at": math.nan},
    {"propensity": 0.0},
    {"usd": math.inf},
    {"received_at": LAST},
    {"asked_at": LAST},
)
ODD = (
    {"text": "\u202e\u200b\ufeff\x1b[31m\r\n\t\x00\U0010ffff" * 20, "answer": "\u0301\u0301", "subject": "\x9b2J"},
    {"text": "", "answer": ""},
    {"text": "[red]lamp[/red]", "answer": "a" * 4000, "local_answer": "b" * 4000, "conversation": "\U0001f600" * 60},
    {"release": 2**63 - 1, "sequence_number": 2**63 - 1, "tokens_in": -(2**63), "tokens_out": 2**63 - 1},
    {"usd": -1e308, "milliseconds": 1e308, "local_score": -5.0, "threshold": 1e308, "exploration": 7.0},
    {"asked_at": 0.0, "received_at": EARLIER},
    {"asked_at": -EARLIER, "received_at": 0.0},
    {"asked_at": EARLIER, "received_at": EARLIER},
    {"propensity": 5e-324, "explored": True, "covered": True},
    {"labels": ("on",) * 300, "log_probabilities": (-math.inf,) * 300, "tail_log_probability": -math.inf},
    {"task_version": 2**62, "teacher_version": "", "query_id": "\u00fc\u4e2d"},
)
ODD_FEEDBACK = Given(
    **{"task": "home", "caller": "kitchen", "query_id": "\u202e", "teacher_version": "", "opinion": Opinion.WRONG},
    **{"correction": "\x1b[31m\x9b2J\x00", "comment": "[red]\u202e", "tier": Tier.CLUSTER, "release": 2**63 - 1},
    **{"answer": "", "drawn": True, "subject": "", "given_at": EARLIER},
)


def records(kinds, name):
    base = Record("kitchen", "", "recorded", "v1", "home", 1, NOW, NOW, "lights on", "light_on")
    return [
        replace(base, **{"query_id": f"{name}{cloud_folder}", **changes}) for cloud_folder, changes in enumerate(kinds)
    ]


def fill(config, rows):
    async def append():
        spool = Spool(config.spool_folder / "gateway-0.sqlite")
        for row in rows:
            await spool.append(Entry(StoredAnswer(row.caller, row.query_id, "digest", NOW, b""), row), 60.0)
        await spool.close()

    asyncio.run(append())
    with sqlite3.connect(config.spool_folder / "gateway-0.sqlite") as spool:
        bodies = (b"\xff\xfe{", b'{"caller": 1}', b"", b'"\\ud800"')
        spool.executemany(
            "INSERT INTO records (caller, query_id, teacher_version, body) VALUES ('kitchen', ?, 'v1', ?)",
            [(f"bytes{cloud_folder}", body) for cloud_folder, body in enumerate(bodies)],
        )
    return len(rows) + 4


def run(cloud_folder, *words):
    command = [cloud_folder.command("")[0], *words, "--config", cloud_folder.folder / "cloud.toml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert "Traceback" not in done.stderr
    for piece in ("\x1b[31m", "\x9b", "\u202e", "\x00"):
        assert piece not in done.stdout
        assert piece not in done.stderr
    return done


def test_every_command_that_tells_of_rows_bears_odd_ones(cloud_folder):
    config = read_config(cloud_folder.folder / "cloud.toml")
    config.data.mkdir()
    store = Store(config.store_url)
    store.declare_tasks(config.tasks)
    waits = fill(config, records(UNFIT, "bad") + records(ODD, "odd"))
    before = json.loads(run(cloud_folder, "status", "--json").stdout)["log"]
    assert (before["spool_pending"], before["quarantined"], before["unreadable_spools"]) == (waits, 0, 0)
    drainer = Drainer(config.spool_folder, DistillationLog(config.log_folder), Repeats(store.engine))
    assert drainer.drain() == len(ODD)
    drainer.close()
    status = run(cloud_folder, "status")
    assert status.returncode == 1, status.stderr
    assert f"{len(UNFIT) + 4} records can't be written, and are kept in quarantine" in status.stdout
    told = json.loads(run(cloud_folder, "status", "--json").stdout)["log"]
    assert (told["rows"], told["spool_pending"], told["quarantined"]) == (len(ODD), 0, len(UNFIT) + 4)
    out = cloud_folder.folder / "rows.jsonl"
    label = run(cloud_folder, "label", "home", "--export", str(out), "--who", "ada", "--every-release")
    assert label.returncode == 0, label.stderr
    Feedbacks(store.engine).keep(ODD_FEEDBACK)
    for words in (("competence", "home"), ("competence", "home", "--json"), ("feedback", "list", "home")):
        done = run(cloud_folder, *words)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_up_logs_the_odd_rows_of_a_spool_and_counts_those_that_it_cannot(cloud_folder):
    config = read_config(cloud_folder.folder / "cloud.toml")
    config.data.mkdir()
    fill(config, records(UNFIT, "bad") + records(ODD, "odd"))
    up = cloud_folder.run("up", "--insecure", "--detach")
    assert up.returncode == 0, up.stderr
    assert cloud_folder.ask() == "light_on"
    end = time.monotonic() + 60.0
    while (told := json.loads(run(cloud_folder, "status", "--json").stdout)["log"])["rows"] < len(ODD) + 1:
        assert time.monotonic() < end, told
    assert (told["quarantined"], told["unreadable_spools"], told["state"]) == (len(UNFIT) + 4, 0, "ok")
    assert "kept in quarantine" in run(cloud_folder, "status").stdout
    assert cloud_folder.run("down").returncode == 0
    assert len(records_of(DistillationLog(config.log_folder).read("home"))) == len(ODD) + 1
