"""A version of a task that comes back goes on where it was left: nothing is given to a lineage a second time."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from cloud_worker.releases.certificates import Certificates
from cloud_worker.releases.first_release import publish_first_releases, recall_attempts
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import mark_alarmed
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.store import ReleaseRow, Store
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.task import Mode, Task
from router.core.release.manifest import Lineage
from router.core.statistics.e_process import Certificate, attempt_alpha

FIRST = Task("home", reference="big")
SECOND = replace(FIRST, version=2)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'fleet.sqlite'}"


@pytest.fixture
def store(url):
    return Store(url)


def publish(store, publisher, task, number, attempt):
    manifest, files = tiny_release(task, number, WORDS)
    proof = Certificate(0.02, attempt_alpha(0.95, attempt), 412, 1, 9.0, attempt=attempt)
    manifest = replace(manifest, lineage=Lineage(attempt=attempt), certificate=proof, judged_by="label")
    digest = publisher.publish(manifest, files)
    store.add_release(ReleaseRow(task.name, number, "building", digest, 1.0))
    store.promote(task.name, number, digest)
    return manifest


@pytest.mark.parametrize("way", [[2, 1], [2, 3, 1], [2, 1, 2, 1], [5, 1]])
def test_attempts_go_on_when_a_version_comes_back(store, url, way):
    store.declare_tasks([FIRST])
    store.update_task("home", attempt=4)
    for version in way:
        Store(url).declare_tasks([replace(FIRST, version=version)])  # each by a start of its own
    assert store.task_state("home").attempt == 4


def test_each_version_counts_its_own_attempts(store):
    store.declare_tasks([FIRST])
    store.update_task("home", attempt=4)
    store.declare_tasks([SECOND])
    assert store.task_state("home").attempt == 0
    store.update_task("home", attempt=2)
    store.declare_tasks([FIRST])
    store.update_task("home", attempt=5)
    store.declare_tasks([SECOND])
    assert store.task_state("home").attempt == 2
    store.declare_tasks([FIRST])
    assert store.task_state("home").attempt == 5


def test_a_task_that_is_left_out_for_a_while_goes_on(store):
    store.declare_tasks([FIRST])
    store.update_task("home", attempt=3)
    store.declare_tasks([Task("car", reference="big")])
    store.declare_tasks([SECOND])
    store.declare_tasks([FIRST])
    assert store.task_state("home").attempt == 3


def test_the_operators_hand_comes_back_whole(store):
    store.declare_tasks([FIRST])
    overrides = Overrides(store.engine)
    overrides.lay("test", "home", who="me", why="", now=1.0, mode=Mode.ESCALATE_ALL, frozen=True)
    laid = overrides.of("home")
    store.declare_tasks([SECOND])
    assert overrides.of("home").mode is Mode.SERVE
    store.declare_tasks([FIRST])
    assert overrides.of("home") == laid


def test_alarms_spent_rows_and_the_judge_are_still_known(store, tmp_path):
    publisher = Publisher(tmp_path / "releases")
    store.declare_tasks([FIRST])
    manifest = publish(store, publisher, FIRST, 1, 1)
    Lineages(store.engine).hold_judge(FIRST, "label")
    store.spend("home", 1, [("kitchen", "q1", "v1")])
    mark_alarmed(store, "home", 1)
    for task in (SECOND, FIRST):
        store.declare_tasks([task])
        publish_first_releases([task], store, publisher)
    assert Certificates(store, publisher).why_fallen(manifest, FIRST) == "it broke its promise"
    assert store.spent("home") == {("kitchen", "q1", "v1")}
    assert Lineages(store.engine).judge("home", 1) == "label"


def test_an_older_store_whose_attempts_began_anew_takes_them_from_its_releases(store, url, tmp_path):
    publisher = Publisher(tmp_path / "releases")
    store.declare_tasks([FIRST])
    publish(store, publisher, FIRST, 1, 3)
    publish(store, publisher, SECOND, 2, 7)
    with store.engine.begin() as connection:
        connection.execute(text("DELETE FROM versions_left"))  # as it was before
    again = Store(url)
    again.declare_tasks([FIRST])
    recall_attempts([FIRST], again, publisher)
    assert again.task_state("home").attempt == 3
    again.update_task("home", attempt=4)
    recall_attempts([FIRST], again, publisher)
    assert again.task_state("home").attempt == 4
    again.declare_tasks([SECOND])
    recall_attempts([SECOND], again, publisher)
    assert again.task_state("home").attempt == 7
    again.declare_tasks([FIRST])
    assert again.task_state("home").attempt == 4
