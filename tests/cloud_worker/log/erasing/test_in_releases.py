"""Releases quote and number what was asked: erased texts go from all of them, and what serves comes anew."""

import json

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.erasing.in_releases import ErasedTexts, forget_in_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_at_start
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.query import Query
from router.core.release.kept_texts import KeptTexts
from router.core.release.manifest import MANIFEST_FILE, digest
from router.students.loader import check_golden

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


def erased(text):
    texts = ErasedTexts()
    texts.add([text])
    return texts


def quoted(publisher, number):
    path = publisher.path("home", number) / "golden.jsonl"
    return {json.loads(line)["text"] for line in path.read_text().splitlines()}


def test_an_erased_text_leaves_every_release_and_what_serves_comes_under_a_new_number(cloud):
    config, store, publisher = cloud
    assert forget_in_releases(config, store, publisher, erased("lamp")) == 2
    state = store.task_state("home")
    assert state.champion == 3
    for number in (1, 2, 3):
        assert quoted(publisher, number) == {*WORDS} - {"lamp"}
        data = (publisher.path("home", number) / MANIFEST_FILE).read_bytes()
        assert {row.number: row.manifest_sha256 for row in store.releases("home")}[number] == digest(data)
        assert publisher.student("home", number, publisher.manifest("home", number))
    assert state.manifest_sha256 == digest((publisher.path("home", 3) / MANIFEST_FILE).read_bytes())
    assert forget_in_releases(config, store, publisher, erased("lamp")) == 0


def test_an_erased_text_leaves_the_texts_that_releases_may_keep(cloud):
    config, store, publisher = cloud
    sha256 = publisher.publish(*tiny_release(config.task("home"), 3, WORDS, asked=[*WORDS, "something else"]))
    store.add_release(ReleaseRow("home", 3, ReleaseState.BUILDING, sha256, 1.0))
    store.promote("home", 3, sha256)
    assert forget_in_releases(config, store, publisher, erased("Something  ELSE!")) == 1
    assert store.task_state("home").champion == 4
    for number in (3, 4):
        left = KeptTexts.read((publisher.path("home", number) / "asked.bin").read_bytes())
        assert "something else" not in left
        assert all(word in left for word in WORDS)
        student = publisher.student("home", number, publisher.manifest("home", number))
        assert student.predict(Query("q", "home", "lamp")).score is not None
    assert forget_in_releases(config, store, publisher, erased("something else")) == 0


def test_a_golden_input_goes_with_a_text_that_may_be_kept_no_more_however_it_was_spelled(cloud):
    config, store, publisher = cloud
    sha256 = publisher.publish(*tiny_release(config.task("home"), 3, WORDS, asked=WORDS))
    store.add_release(ReleaseRow("home", 3, ReleaseState.BUILDING, sha256, 1.0))
    store.promote("home", 3, sha256)
    assert forget_in_releases(config, store, publisher, erased("Lamp?")) == 1
    assert quoted(publisher, 4) == {*WORDS} - {"lamp"}
    assert quoted(publisher, 2) == {*WORDS}
    manifest = publisher.manifest("home", 4)
    check_golden(publisher.path("home", 4), manifest)


def test_what_quotes_nothing_stays_as_it_is(cloud):
    config, store, publisher = cloud
    assert forget_in_releases(config, store, publisher, erased("never asked")) == 0
    assert store.task_state("home").champion == 2
