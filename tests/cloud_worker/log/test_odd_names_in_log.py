"""Tasks and ids whose names other writers of Delta tables have tripped over: in paths, as nulls, in cut statistics."""

import pytest

from cloud_worker.log.distillation_log import DistillationLog
from router.core.domain.record import Record

NOW = 1_800_000_000.0
TASKS = (
    *("a b", "ü", "a%20b", "x=y", "a:b", "a?b", "a#b", "a'b", 'a"b', "a&b", "~", "a\\b"),
    *("NULL", "null", "__HIVE_DEFAULT_PARTITION__", "1", "2026-01-01", "A", "a"),
)
IDS = (
    "\U0001f600" * 40,
    "z" * 300,
    "\uffff" * 40,
    "\U0010ffff" * 30,
    "a" * 31 + "\U0001f600" * 20,
    "é" * 60,
    "",
    "a\0b",
)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    log = DistillationLog(tmp_path_factory.mktemp("data") / "log")
    for position, task in enumerate(TASKS):
        rows = [Record("kitchen", name, "big", "v1", task, 1, NOW, NOW, "\U0001f600" * 100, "on") for name in IDS]
        log.append(rows, "spool", position + 1)
    return log


@pytest.mark.parametrize("tidied", [False, True])
def test_every_row_is_found_under_its_task_and_id(log, tidied):
    if tidied:
        log.tidy()
    for task in TASKS:
        assert sorted(log.read(task)["query_id"].to_pylist()) == sorted(IDS)
        for name in IDS:
            assert log.find(task, "kitchen", name).query_id == name
    assert log.rows() == len(TASKS) * len(IDS)
