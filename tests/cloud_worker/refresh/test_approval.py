"""Where releases are approved by hand, a certified one waits, and the one before serves on."""

import pytest

from cloud_worker.config.releases import ReleasesSettings
from cloud_worker.releases.repository.approval import OVERTAKEN, promote_approved
from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.testing import ceremony_of, make_repository, sign_online
from cloud_worker.releases.rollback import mark_alarmed
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow
from router.core.refresh.promise_keeping import OUTDATED
from router.core.release.signed_task import manifest_target

EARLIER = 1


def waiting(world):
    return [row.number for row in world.store.releases("home") if row.state is ReleaseState.APPROVAL]


def until_it_waits(world):
    for _ in range(30):
        world.ask_and_step(100)
        if waiting(world) not in ([], [EARLIER]):
            return waiting(world)[-1]
    raise AssertionError(f"nothing was certified: {world.store.releases('home')}")


@pytest.fixture
def by_hand(world, tmp_path):
    """A world whose releases wait for the key of one owner."""
    settings = {"data": tmp_path / "data", "releases": ReleasesSettings(approval="manual")}
    world.config = world.config.model_copy(update={"releases": settings["releases"]})
    make_repository(world.config, tmp_path / "owner")
    sign_online(world.config, world.store)
    world.start()
    world.begun = []
    world.files = RepositoryFiles(world.config.repository_folder)
    world.approve = lambda number: ceremony_of(world.config, tmp_path / "owner").approve(
        lambda path: path == manifest_target("home", number)
    )
    world.promote = lambda: (
        sign_online(world.config, world.store),
        promote_approved(world.store, world.config.tasks, world.files, lambda *told: world.begun.append(told)),
    )
    return world


def test_a_certified_release_waits_and_serves_once_it_is_approved(by_hand):
    world = by_hand
    world.store.add_release(ReleaseRow("home", EARLIER, ReleaseState.APPROVAL, "0" * 64, 0.0))
    number = until_it_waits(world)
    assert (world.state.champion, waiting(world)) == (0, [number])  # in place of the one that waited
    assert world.publisher.manifest("home", number).certificate is not None
    world.promote()
    assert world.state.champion == 0
    world.start()  # after a kill it still waits
    world.ask_and_step(20)
    assert waiting(world) == [number]
    assert world.approve(number) == 1
    world.promote()
    assert (world.state.champion, waiting(world), world.begun) == (number, [], [("home", number)])
    assert world.state.exploration == world.config.task("home").exploration.floor
    world.ask_and_step(100)
    assert (world.state.champion, world.state.watch) == (number, "quiet")
    world.store.update_release("home", EARLIER, state=ReleaseState.APPROVAL)  # as if told of it too late
    world.promote()
    assert world.state.champion == number
    assert {row.number: row.reason for row in world.store.releases("home")}[EARLIER] == OVERTAKEN


def test_nothing_is_promoted_while_the_operator_holds_the_task_nor_after_an_alarm(by_hand):
    number = until_it_waits(by_hand)
    overrides = Overrides(by_hand.store.engine)
    overrides.lay("freeze", "home", who="me", why="", now=1.0, frozen=True)
    by_hand.approve(number)
    by_hand.promote()
    assert (by_hand.state.champion, waiting(by_hand)) == (0, [number])
    overrides.lay("thaw", "home", who="me", why="", now=2.0, frozen=False)
    mark_alarmed(by_hand.store, "home", 0)
    by_hand.promote()
    assert (by_hand.state.champion, waiting(by_hand)) == (0, [])
    assert {row.number: row.reason for row in by_hand.store.releases("home")}[number] == OUTDATED
