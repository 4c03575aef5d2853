"""What the cloud orders to be erased is in no byte of the device's folder afterwards, and the cloud hears of it."""

import sqlite3

import pytest

from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.privacy.erasure import Erasure, digest_of

SUBJECT, CANARY = "person-17", "xylophone"


def holding(folder, *wanted):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if any(one.encode() in path.read_bytes() for one in wanted))


@pytest.fixture
async def waiting(warm, cloud):
    """An agent with queries of two people in its outbox, which nobody takes now."""
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks() and cloud.last_tasks()[0].exploration == 1.0)
    cloud.faults.unavailable = True
    for number in range(6):
        mine = {"subject": SUBJECT, "conversation": CANARY} if number % 2 else {"subject": "other"}
        await warm.ask("light", query_id=f"q{number}", **mine)
    damaged = warm.folder / "outbox.sqlite.damaged-1"
    damaged.write_bytes(CANARY.encode())
    assert len(holding(warm.folder, CANARY)) >= 2
    return warm


async def test_a_subjects_queries_leave_every_byte_and_the_rest_is_taught(waiting, cloud):
    cloud.erasures = [Erasure(7, digest_of(SUBJECT))]
    cloud.faults.unavailable = False
    cloud.faults.spent = True  # reports are heard, queries are not
    await cloud.until(lambda: any(report.erased for report in cloud.reports))
    (erased,) = next(report.erased for report in cloud.reports if report.erased)
    assert (erased.number, erased.rows) == (7, 3)
    assert len({number for task, number in erased.numbers if task == "home"}) == 3
    assert holding(waiting.folder, SUBJECT, CANARY) == []
    assert waiting.daemon.report().outbox_pending == 3
    assert not cloud.erasures


async def test_all_that_a_device_holds_goes_once_it_hears_of_it_also_after_a_restart(waiting, cloud):
    await waiting.stop()
    cloud.erasures = [Erasure(8)]
    cloud.faults.unavailable, cloud.faults.spent = False, True
    await waiting.start()
    await cloud.until(lambda: any(report.erased for report in cloud.reports))
    assert next(report.erased for report in cloud.reports if report.erased)[0].rows == 6
    assert holding(waiting.folder, SUBJECT, CANARY, "q1", "q2") == []
    with sqlite3.connect(waiting.folder / "outbox.sqlite") as database:
        assert database.execute("SELECT count(*) FROM waiting").fetchone() == (0,)


async def test_a_held_database_puts_the_erasure_off_until_it_can_be_done(waiting, cloud):
    holder = sqlite3.connect(waiting.folder / "outbox.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    cloud.erasures = [Erasure(9, digest_of(SUBJECT))]
    cloud.faults.unavailable, cloud.faults.spent = False, True
    seen = len(cloud.reports)
    await cloud.until(lambda: len(cloud.reports) > seen + 3)
    assert not any(report.erased for report in cloud.reports)
    holder.execute("ROLLBACK")
    holder.close()
    await cloud.until(lambda: any(report.erased for report in cloud.reports))
    assert holding(waiting.folder, SUBJECT, CANARY) == []


async def test_the_slot_that_does_not_serve_is_cleared_now_and_after_the_next_release(warm, cloud):
    tasks = warm.folder / "tasks" / "home"
    cloud.publish(*tiny_release(TASK, 2, WORDS))
    await cloud.until_active(2)
    assert len([slot for slot in ("a", "b") if (tasks / slot).is_dir()]) == 2
    cloud.erasures = [Erasure(1, digest_of(SUBJECT))]
    await cloud.until(lambda: any(report.erased for report in cloud.reports))
    cloud.publish(*tiny_release(TASK, 3, WORDS))
    await cloud.until_active(3)
    await cloud.until(lambda: len([slot for slot in ("a", "b") if (tasks / slot).is_dir()]) == 1)


async def test_answers_of_the_last_minutes_go_too(warm, cloud):
    first = await warm.ask("light", query_id="again")
    assert (await warm.ask("light", query_id="again")).usage == first.usage
    cloud.erasures = [Erasure(7, digest_of(SUBJECT))]
    await cloud.until(lambda: any(report.erased for report in cloud.reports))
    await warm.ask("music", query_id="again")  # its first question is known no more
