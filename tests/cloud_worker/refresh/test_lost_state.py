"""The fleet's database damaged, gone or overwritten, also while it is used: made anew from the releases."""

import os
import sqlite3

import pytest

from cloud_worker.log.distillation_log import records_of
from cloud_worker.releases.certificates import Certificates
from cloud_worker.releases.recovered_state import open_store
from cloud_worker.reports.status import gather_report
from cloud_worker.state.attempts import was_left
from cloud_worker.state.overrides import Overrides
from router.core.certification.served_releases import LOST
from router.core.domain.task import Mode
from router.core.errors import UnavailableError


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def flip(path):
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(byte ^ 0x5A for byte in range(200)) * 40)


def overwrite(path):
    with path.open("r+b") as file:
        file.write(b"no database at all, " * 2000)


def replace_by_text(path):
    path.unlink()
    path.write_text("mine\n")


def folder(path):
    path.unlink()
    path.mkdir()
    (path / "x").write_text("mine")


def foreign(path):
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE notes (a)")


def remove(path):
    path.unlink()


HARMS = (cut, empty, flip, overwrite, replace_by_text, folder, foreign, remove)


def settled(store):
    """The store's file alone holds everything."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def until_served(world):
    for _ in range(60):
        world.ask(100)
        world.refresher.step()
        if world.publisher.manifest("home", world.state.champion).student is not None:
            return
    raise AssertionError("nothing was certified")


def again(act):
    """What hears that the database was made anew is done again, as it says."""
    try:
        return act()
    except UnavailableError as error:
        assert "made anew" in str(error)
        return act()


@pytest.mark.parametrize("harm", HARMS)
def test_a_lost_database_is_made_anew_at_the_next_start(world, harm):
    until_served(world)
    before, numbers = world.state, [row.number for row in world.store.releases("home")]
    settled(world.store)
    world.store.engine.dispose()
    path = world.config.data / "fleet.sqlite"
    harm(path)
    store = open_store(world.config)
    after = store.task_state("home")
    assert (after.champion, after.manifest_sha256) == (before.champion, before.manifest_sha256)
    assert (after.attempt, after.watch) == (before.attempt, "alarmed")
    assert [row.number for row in store.releases("home")] == numbers
    with store.engine.begin() as connection:
        assert was_left(connection, "home", world.config.task("home").version)
    manifest = world.publisher.manifest("home", after.champion)
    assert Certificates(store, world.publisher).why_fallen(manifest, world.config.task("home")) == LOST
    report = gather_report(world.config)
    assert "home" in report["state_lost"]
    assert harm is remove or any("fleet.sqlite.damaged-" in name for name in report["log"]["put_aside"])


@pytest.mark.parametrize("harm", HARMS)
def test_who_has_the_database_open_goes_on_with_the_one_made_anew(world, harm):
    until_served(world)
    before = world.state
    settled(world.store)
    world.store.engine.dispose()
    one, other = open_store(world.config), open_store(world.config)
    overrides = Overrides(one.engine)
    assert other.task_state("home").mode is Mode.SERVE
    path = world.config.data / "fleet.sqlite"
    harm(path)
    for store in (one, other):
        again(lambda store=store: store.update_task("home", phase_note="first"))
        again(lambda store=store: store.task_state("home"))
    again(lambda: one.update_task("home", phase_note="second"))  # a lost page may be met only now
    again(lambda: other.task_state("home"))
    one.update_task("home", phase_note="second")
    assert other.task_state("home").phase_note == "second"
    assert other.task_state("home").attempt == before.attempt
    assert again(lambda: overrides.of("home")).pinned is None


def test_after_a_loss_attempts_go_on_and_no_row_of_before_certifies_again(world):
    until_served(world)
    before = world.state
    settled(world.store)
    world.store.engine.dispose()
    (world.config.data / "fleet.sqlite").unlink()
    world.start()
    keys = {row.key for row in records_of(world.log.read("home"))}
    assert world.store.spent("home") >= keys
    assert world.store.losses_to_settle() == set()
    world.refresher.step()
    assert world.state.champion == before.champion
    assert world.state.watch == "alarmed"
    for _ in range(60):
        world.ask(100)
        world.refresher.step()
        if world.state.watch != "alarmed":
            break
    manifest = world.publisher.manifest("home", world.state.champion)
    assert world.state.champion > before.champion
    assert manifest.certificate.attempt > before.attempt
    assert not world.store.spent_by("home", world.state.champion) & keys


def test_a_first_start_makes_a_database_and_tells_of_no_loss(tmp_path, world):
    config = world.config.model_copy(update={"data": tmp_path / "fresh"})
    assert open_store(config).losses() == {}
