"""A fleet's database of an older version is migrated once, by `up` alone; one of a newer version is refused."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, make_url, text
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.fleet.twins import Incarnations
from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.releases.recovered_state import open_at_start, open_store
from cloud_worker.state.database import revisions
from cloud_worker.state.database.engine import open_engine
from cloud_worker.state.feedback import Feedbacks
from cloud_worker.state.gold_labels import Gold
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.schema import METADATA, OLDER, REVISION
from cloud_worker.state.store import Store, migrate_store
from cloud_worker.state.tallies import Tallies
from router.core.certification.class_gate import ClassFigures
from router.core.domain.task import Mode, Task
from router.core.errors import OperatorError
from router.core.statistics.threshold_planning import Point

BEFORE = Path(__file__).with_name("data") / "fleet_before_revisions.sql"  # as the last version without them wrote it
NEWER = ("tokens", "identities", "certificates", "revocations", "quarantines")  # tables
NEWER += ("erasures", "erased_keys", "erased_at_devices", "rollouts", "rollout_devices", "device_labels")
SCRIPTS = Path(revisions.__file__).with_name("migrations")
CONFIG = cloud_toml()
MIGRATE = """
import os, sys
from sqlalchemy import Engine, event
from cloud_worker.state.store import Store, migrate_store
if len(sys.argv) > 2:
    @event.listens_for(Engine, "before_cursor_execute")
    def end(_, __, statement, *___):
        if statement.lstrip().startswith(sys.argv[2]):
            os._exit(9)
sys.stdin.readline()
print(migrate_store(sys.argv[1]), len(Store(sys.argv[1]).releases("home")))
"""


@pytest.fixture
def path(tmp_path):
    """A data folder with the database of a version before revisions, in the state of a fleet at work."""
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    (tmp_path / "cloud.toml").write_text(CONFIG)
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "fleet.sqlite") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(BEFORE.read_text())
    connection.close()
    return tmp_path / "data" / "fleet.sqlite"


def url_of(path):
    return f"sqlite:///{path}"


def change(path, statement, *values):
    with sqlite3.connect(path) as connection:
        connection.execute(statement, values)
    connection.close()


def counts(path):
    with sqlite3.connect(path) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}


def test_a_database_from_before_revisions_goes_on_with_all_that_was_noted(path):
    before = counts(path)
    assert migrate_store(url_of(path)) is True
    assert migrate_store(url_of(path)) is False
    since = dict.fromkeys(NEWER, 0)
    assert counts(path) == {**before, **since, "alembic_version": 1}
    store = Store(url_of(path))
    rows = {row.number: row for row in store.releases("home")}
    assert [row.state for row in rows.values()] == [
        *("retired", "rejected", "retired", "retired", "retired", "retired", "champion", "waiting", "building")
    ]
    assert (rows[0].reason, rows[1].reason) == ("no student", "no certificate: 400 rows")
    assert (rows[2].alarmed, rows[2].remark, rows[2].local_share) == (True, "2 rows were left out", 0.6)
    assert rows[2].classes == (ClassFigures("lights", 80, 60, 1), ClassFigures("música", 40, 30, 0))
    assert (rows[3].back_to, rows[3].fallen) == (1, "another version of the reference answers")
    assert (rows[4].lost, rows[4].local_share, rows[5].local_share) == (True, None, None)
    assert (rows[6].local_share, rows[6].alarmed, rows[6].lost) == (0.7, False, False)
    assert (rows[7].rate, rows[7].patience, rows[7].remark) == (0.2, 1500.0, "3 rows were left out")
    assert rows[7].points == (Point(0.95, 0.25, 0.005), Point(0.75, 0.5, 0.0125))
    state = store.task_state("home")
    assert (state.phase, state.watch, state.champion, state.attempt) == ("waiting", "quiet", 6, 5)
    assert store.task_state("car").mode is Mode.OBSERVE


def test_what_the_other_tables_hold_is_read_as_before(path):
    migrate_store(url_of(path))
    store = Store(url_of(path))
    engine, home = store.engine, Task("home", reference="big")
    assert Overrides(engine).of("home").holds == "release 6 is pinned"
    assert [action.who for action in Overrides(engine).actions()] == ["ada", "ada", "bob"]
    assert [sums.answered for sums in Tallies(engine).of_task("home")] == [180]
    assert [one.label for one in Gold(engine).labels("home")] == ["lights"]
    assert [one.correction for one in Feedbacks(engine).of("home")] == ["music"]
    assert [stored.policy.tiers[0].teacher for stored in PoolPolicies(engine).of(home)] == ["small"]
    assert Incarnations(engine).spans() == {"hall": ((5.0, 65.0),)}
    assert store.spent_by("home", 7) == {("kitchen", "q3", "v1")}
    assert store.device("hall").report.tasks[0].answered == 90


@pytest.mark.parametrize(
    "note", ["{", "{}", "[1]", '{"local_share": "x"}', '{"classes": 3, "back_to": "x"}', "{" * 9000]
)
@pytest.mark.parametrize("number", [2, 6, 7])
def test_a_note_that_a_disk_has_spoilt_is_as_good_as_none(path, note, number):
    change(path, "UPDATE releases SET note = ? WHERE number = ? AND task = 'home'", note, number)
    migrate_store(url_of(path))
    row = next(row for row in Store(url_of(path)).releases("home") if row.number == number)
    assert (row.local_share, row.rate, row.points, row.classes, row.back_to) == (None, None, (), (), None)


def test_a_store_that_is_older_than_the_tallies_is_counted(path):
    change(path, "DROP TABLE devices_seen")
    change(path, "DROP TABLE task_sums")
    migrate_store(url_of(path))
    tallies = Tallies(Store(url_of(path)).engine)
    assert [(one.answered, one.covered) for one in tallies.of_task("home")] == [(180, 160)]
    assert tallies.held_back_since(0.0) == {"hall": 2, "kitchen": 2}


def test_what_devices_asked_of_the_large_model_is_counted_in(path):
    change(path, """UPDATE devices SET report = replace(report, '"escalated":0', '"escalated":30') WHERE id = 'hall'""")
    change(path, """UPDATE devices SET report = replace(report, '"explored_kept":0', '"explored_kept":5')""")
    migrate_store(url_of(path))
    sums = Tallies(Store(url_of(path)).engine).of_task("home")
    assert [(one.answered, one.escalated, one.explored_kept) for one in sums] == [(180, 30, 10)]


@pytest.mark.parametrize("spoilt", ["{", "3", '{"tasks": 3}', '{"tasks": [{"task": 1}]}', '{"tasks": [{}]}'])
def test_a_report_that_is_spoilt_hinders_no_migration(path, spoilt):
    change(path, "UPDATE devices SET report = ? WHERE id = 'hall'", spoilt)
    migrate_store(url_of(path))
    assert [one.escalated for one in Tallies(Store(url_of(path)).engine).of_task("home")] == [0]


def test_processes_that_migrate_at_once_do_so_once(path):
    command = [sys.executable, "-c", MIGRATE, url_of(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=120) for process in processes]
    assert sorted(end[0] for end in ends) == ["False 9\n", "False 9\n", "True 9\n"], [end[1][-500:] for end in ends]


@pytest.mark.parametrize("statement", ["UPDATE releases", "DROP TABLE releases", "INSERT INTO alembic_version"])
def test_a_kill_in_the_middle_leaves_everything_as_it_was(path, statement):
    before = counts(path)
    command = [sys.executable, "-c", MIGRATE, url_of(path), statement]
    assert subprocess.run(command, input="go\n", text=True, check=False).returncode == 9
    assert counts(path) == before
    assert migrate_store(url_of(path)) is True


@pytest.mark.parametrize("words", [("status",), ("audit",), ("freeze", "home"), ("devices", "remove", "hall")])
def test_a_command_leaves_an_older_database_as_it_is_and_says_what_to_do(path, words):
    before = path.read_bytes()
    done = CliRunner().invoke(app, [*words, "--config", str(path.parent.parent / "cloud.toml")])
    assert done.exit_code == OperatorError.exit_code
    assert done.stderr.count("\n") == 1
    assert "`headrace-cloud up` brings it to this one" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("words", [("status",), ("freeze", "home")])
def test_a_database_of_a_newer_version_is_refused_in_one_line(path, words):
    migrate_store(url_of(path))
    change(path, "UPDATE alembic_version SET version_num = '9999'")
    config = path.parent.parent / "cloud.toml"
    done = CliRunner().invoke(app, [*words, "--config", str(config)])
    assert done.exit_code == OperatorError.exit_code
    assert (done.stderr.count("\n"), "newer version of Headrace (revision 9999" in done.stderr) == (1, True)
    with pytest.raises(OperatorError, match="newer version"):
        open_at_start(read_config(config))
    assert [one.name for one in path.parent.iterdir() if "damaged" in one.name] == []


def test_an_older_copy_in_the_place_of_an_open_database_is_refused_and_kept(path):
    old = path.with_name("copy")
    shutil.copy(path, old)
    config = read_config(path.parent.parent / "cloud.toml")
    store = open_at_start(config)
    store.engine.dispose()
    store.task_state("home")
    old.replace(path)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    with pytest.raises(OperatorError, match="older version"):
        store.task_state("home")
    assert [one.name for one in path.parent.iterdir() if "damaged" in one.name] == []
    store.engine.dispose()
    assert open_at_start(config).task_state("home").champion == 6


def test_a_damaged_older_database_is_made_anew_at_the_start(path):
    os.truncate(path, path.stat().st_size // 2)
    config = read_config(path.parent.parent / "cloud.toml")
    assert open_at_start(config).task_states() == []
    assert [one.name for one in path.parent.iterdir() if "fleet.sqlite.damaged-" in one.name]


def test_the_revisions_end_where_the_schema_says():
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [REVISION]
    assert {one.revision for one in scripts.walk_revisions()} == {REVISION, *OLDER}


@pytest.mark.parametrize("made", ["whole", "by revisions"])
def test_the_tables_are_the_same_whether_made_whole_or_by_revisions(state_url, made):
    engine = open_engine(state_url)
    if made == "whole":
        revisions.make_schema(engine)
    else:
        with engine.begin() as connection:
            revisions.upgrade(connection)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        keys = {name: inspect(connection).get_pk_constraint(name)["constrained_columns"] for name in METADATA.tables}
    assert keys == {name: [column.name for column in table.primary_key] for name, table in METADATA.tables.items()}
    engine.dispose()


def test_a_database_of_a_server_from_before_revisions_goes_on(state_url):
    engine = open_engine(state_url)
    with engine.begin() as connection:
        revisions.upgrade(connection, "0001")
        connection.execute(text("DROP TABLE alembic_version"))
        said = json.dumps({"local_share": 0.5, "alarmed": True, "classes": []})
        row = {"note": said, "state": "retired", "number": 1}
        columns = "INSERT INTO releases (task, number, state, manifest_sha256, created_at, note)"
        connection.execute(text(f"{columns} VALUES ('home', :number, :state, '', 1.0, :note)"), row)
    engine.dispose()
    with pytest.raises(OperatorError, match="older version"):
        Store(state_url)
    assert migrate_store(state_url) is True
    (row,) = Store(state_url).releases("home")
    assert (row.local_share, row.alarmed, row.reason) == (0.5, True, "")


def test_alembic_is_loaded_only_where_a_migration_is_due(path):
    script = (
        "import sys; from cloud_worker.state.store import Store, migrate_store; {}; print('alembic' in sys.modules)"
    )

    def loads(act):
        return subprocess.check_output([sys.executable, "-c", script.format(act)], text=True).strip()

    assert loads(f"migrate_store({url_of(path)!r})") == "True"
    assert loads(f"migrate_store({url_of(path)!r}); Store({url_of(path)!r})") == "False"
    assert loads(f"Store({url_of(path.with_name('new'))!r})") == "False"


def test_a_flag_that_a_disk_has_spoilt_ends_nothing(path):
    migrate_store(url_of(path))
    change(path, "UPDATE releases SET state = ?, points = ? WHERE number = 7", "w?iting", "no JSON")
    change(path, "UPDATE tasks SET watch = 'qu?et', phase = 'x' WHERE name = 'home'")
    store = open_store(read_config(path.parent.parent / "cloud.toml"))
    row = next(row for row in store.releases("home") if row.number == 7)
    assert (row.state, row.points) == ("rejected", ())
    assert (store.task_state("home").watch, store.task_state("home").phase) == ("alarmed", "idle")


def test_a_url_may_be_written_as_operators_know_it(postgres):
    with postgres.database() as url:
        assert make_url(url).drivername == "postgresql"
        assert Store(url).task_states() == []
