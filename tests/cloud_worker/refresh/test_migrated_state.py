"""A refresher goes on after a migration where the version before it ended: with the challenger that waits."""

import json
import sqlite3
from dataclasses import asdict, astuple

import pytest

from cloud_worker.releases.recovered_state import open_at_start
from cloud_worker.state.database.migrations.versions import r0001_first
from cloud_worker.state.schema import METADATA
from cloud_worker.state.store import Store
from router.core.errors import OperatorError

OLD_RELEASES = """
CREATE TABLE releases (
    task VARCHAR(200) NOT NULL, number INTEGER NOT NULL, state VARCHAR(20) NOT NULL,
    manifest_sha256 VARCHAR(64) NOT NULL, created_at FLOAT NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (task, number)
)
"""


def note_of(row):
    """What the version before revisions noted of a release."""
    if row.points and row.local_share is None:
        points = [astuple(point) for point in row.points]
        return json.dumps({"rate": row.rate, "patience": row.patience, "points": points, "remark": row.remark})
    if row.local_share is not None:
        classes = [asdict(one) for one in row.classes]
        facts = {"local_share": row.local_share, "remark": row.remark, "classes": classes}
        return json.dumps(facts | ({"alarmed": True} if row.alarmed else {}))
    return row.reason


def turn_back(world):
    """The world's database as the version before revisions would have written it."""
    rows = world.store.releases("home")
    world.store.engine.dispose()
    with sqlite3.connect(world.config.data / "fleet.sqlite") as connection:
        later = METADATA.tables.keys() - r0001_first.TABLES.keys()
        for table in (*later, "releases"):
            connection.execute(f"DROP TABLE {table}")
        for table in (METADATA.tables.keys() & r0001_first.TABLES.keys()) - {"releases"}:
            first = {name for name, *_ in r0001_first.TABLES[table]}
            for column in set(METADATA.tables[table].columns.keys()) - first:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute(OLD_RELEASES)
        values = [(r.task, r.number, r.state, r.manifest_sha256, r.created_at, note_of(r)) for r in rows]
        connection.executemany("INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?)", values)
    connection.close()


def start(world):
    with pytest.raises(OperatorError, match="older version"):
        Store(world.config.store_url)
    world.store = open_at_start(world.config)
    world.start()


def test_a_waiting_challenger_is_certified_on_the_rows_of_before_and_after(world):
    world.ask_and_step(200)
    world.ask_and_step(50)
    (waiting,) = (row for row in world.store.releases("home") if row.state == "waiting")
    looked = world.store.spent_by("home", waiting.number)
    assert looked
    turn_back(world)
    start(world)
    assert world.state.phase == "waiting"
    world.until_certified()
    assert world.state.champion == waiting.number
    assert world.store.spent_by("home", waiting.number) > looked
    assert world.publisher.manifest("home", waiting.number).certificate.attempt == 1


def test_a_champion_serves_on_and_what_alarmed_stays_so(world):
    world.until_certified()
    champion = world.state.champion
    world.store.update_release("home", champion, alarmed=True)
    before = {row.number: row for row in world.store.releases("home")}[champion]
    turn_back(world)
    start(world)
    after = {row.number: row for row in world.store.releases("home")}[champion]
    assert (after.local_share, after.classes, after.alarmed) == (before.local_share, before.classes, True)
    world.refresher.step()
    assert world.state.watch == "alarmed"
