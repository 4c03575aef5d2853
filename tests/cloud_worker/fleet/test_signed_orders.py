"""Where releases are signed, devices hear of those alone that are."""

from dataclasses import replace

import pytest

from cloud_worker.fleet.ordering import OrderBook
from cloud_worker.releases.first_release import publish_objectives
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.signed import SignedReleases
from cloud_worker.releases.repository.testing import SignedCloud
from cloud_worker.releases.rollback import mark_alarmed, roll_back
from cloud_worker.state.store import ReleaseRow
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.task import Mode, Objective, Task
from router.core.release.orders import Watch
from router.core.statistics.e_process import Certificate, attempt_alpha

TASK = Task("home", "big")


@pytest.fixture
def cloud(tmp_path):
    return SignedCloud.in_folder(tmp_path)


def order_of(cloud):
    publisher = Publisher(cloud.config.releases_folder)
    book = OrderBook(cloud.store, cloud.config.tasks, publisher, signed=SignedReleases(cloud.files).now)
    ([order], _) = book.orders("kitchen")
    return order


def promote_student(cloud, number):
    """Let a certified release with a student serve."""
    manifest, files = tiny_release(TASK, number, WORDS)
    proof = Certificate(0.02, attempt_alpha(0.95, 1), 412, 1, 9.0, attempt=1)
    sha256 = Publisher(cloud.config.releases_folder).publish(replace(manifest, certificate=proof), files)
    cloud.store.add_release(ReleaseRow("home", number, "building", sha256, 1.0))
    cloud.store.promote("home", number, sha256, watch=Watch.QUIET, exploration=TASK.exploration.floor)


def test_without_keys_what_serves_is_ordered(cloud):
    assert order_of(cloud).release == 0
    assert cloud.another_release() == order_of(cloud).release == 1


def test_with_keys_a_release_is_ordered_once_it_is_signed(cloud):
    cloud.make_keys()
    before = order_of(cloud)
    number = cloud.another_release()
    assert order_of(cloud) == before
    cloud.sign()
    assert order_of(cloud).release == number
    assert order_of(cloud).manifest_sha256 == cloud.store.task_state("home").manifest_sha256


def test_while_a_way_back_waits_for_a_signature_devices_keep_nothing_of_what_alarmed(cloud):
    cloud.make_keys()
    promote_student(cloud, 1)
    promote_student(cloud, 2)
    cloud.sign()
    assert (order_of(cloud).release, order_of(cloud).mode) == (2, Mode.SERVE)
    mark_alarmed(cloud.store, "home", 2)
    roll_back(cloud.store, Publisher(cloud.config.releases_folder), TASK, 1, watch=Watch.QUIET)
    assert (order_of(cloud).release, order_of(cloud).mode) == (2, Mode.ESCALATE_ALL)
    cloud.sign()
    assert (order_of(cloud).release, order_of(cloud).mode) == (3, Mode.SERVE)


def test_a_changed_wish_is_published_at_once_and_ordered_once_it_is_signed(cloud):
    cloud.make_keys()
    wished = (replace(TASK, objective=Objective(max_disagreement=0.01)),)
    publisher = Publisher(cloud.config.releases_folder)
    publish_objectives(wished, cloud.store, publisher, signed=True)
    publish_objectives(wished, cloud.store, publisher, signed=True)
    assert cloud.store.champion("home") == 1
    assert "objective" in cloud.sign().left_out["home", 1]
    assert order_of(cloud).release == 0
    cloud.ceremony(tasks=wished).sign()
    cloud.sign()
    assert order_of(cloud).release == 1
