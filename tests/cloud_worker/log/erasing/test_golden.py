"""Golden inputs quote what was asked: erased texts go from all of them, and what serves comes anew."""

import json

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.erasing.erase import hash_of_text
from cloud_worker.log.erasing.golden import forget_golden
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_at_start
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.release.manifest import MANIFEST_FILE, digest

CONFIG = cloud_toml()


@pytest.fixture
def cloud(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "music"}\n')
    (tmp_path / "cloud.toml").write_text(CONFIG)
    config = read_config(tmp_path / "cloud.toml")
    config.data.mkdir()
    store, publisher = open_at_start(config), Publisher(config.releases_folder)
    store.declare_tasks(config.tasks)
    for number in (1, 2):
        manifest, files = tiny_release(config.task("home"), number, WORDS)
        sha256 = publisher.publish(manifest, files)
        store.add_release(ReleaseRow("home", number, ReleaseState.BUILDING, sha256, 1.0))
        store.promote("home", number, sha256)
    return config, store, publisher


def quoted(publisher, number):
    path = publisher.path("home", number) / "golden.jsonl"
    return {json.loads(line)["text"] for line in path.read_text().splitlines()}


def test_an_erased_text_leaves_every_release_and_what_serves_comes_under_a_new_number(cloud):
    config, store, publisher = cloud
    assert forget_golden(config, store, publisher, {hash_of_text("lamp")}) == 2
    state = store.task_state("home")
    assert state.champion == 3
    for number in (1, 2, 3):
        assert quoted(publisher, number) == {*WORDS} - {"lamp"}
        data = (publisher.path("home", number) / MANIFEST_FILE).read_bytes()
        assert {row.number: row.manifest_sha256 for row in store.releases("home")}[number] == digest(data)
        assert publisher.student("home", number, publisher.manifest("home", number))
    assert state.manifest_sha256 == digest((publisher.path("home", 3) / MANIFEST_FILE).read_bytes())
    assert forget_golden(config, store, publisher, {hash_of_text("lamp")}) == 0


def test_what_quotes_nothing_stays_as_it_is(cloud):
    config, store, publisher = cloud
    assert forget_golden(config, store, publisher, {hash_of_text("never asked")}) == 0
    assert store.task_state("home").champion == 2
