"""A refresher where a repertoire was not shown to stay: what it releases keeps what was asked before alone."""

from dataclasses import replace

import pytest

from cloud_worker.refresh.staging import ASKED_FILE
from router.core.domain.query import Query
from router.core.errors import ReleaseError
from router.core.release.kept_texts import KeptTexts
from router.core.release.manifest import check_replacement
from router.core.statistics.repertoire import Repertoire
from router.students.loader import check_golden

NEVER_ASKED = "light lamp"


@pytest.fixture
def moving(world, monkeypatch):
    """Texts may be asked no more, and what is new is too rare to prove anything."""
    monkeypatch.setattr("router.core.refresh.asked_texts.repertoire_of", lambda texts, rows: Repertoire(False, 1e6))
    return world


def served(world):
    number = world.state.champion
    manifest = world.publisher.manifest("home", number)
    return manifest, world.publisher.path("home", number), world.publisher.student("home", number, manifest)


def waits(world):
    """The trial of the first challenger that waits."""
    while world.refresher.contexts["home"].loop.trial is None:
        world.ask_and_step(100)
    return world.refresher.contexts["home"].loop.trial


def test_a_release_keeps_what_was_asked_before_it_was_proved_and_nothing_else(moving):
    moving.until_certified()
    manifest, folder, student = served(moving)
    assert (manifest.only_asked, manifest.format) == (True, 3)
    kept = KeptTexts.read((folder / ASKED_FILE).read_bytes())
    assert len(kept) == len(moving.asks)
    assert all(text in kept for text in moving.asks)
    assert student.predict(Query("q", "home", "light")).score >= manifest.policy.threshold
    assert student.predict(Query("q", "home", NEVER_ASKED)).score is None
    check_golden(folder, manifest)
    (row,) = (row for row in moving.store.releases("home") if row.number == manifest.number)
    assert row.remark == "it keeps only what was asked before it was proved: 7 texts"
    listed = {name: file for name, file in manifest.files.items() if name != ASKED_FILE}
    with pytest.raises(ReleaseError, match=r"names files that it does not list: asked\.bin"):
        check_replacement(replace(manifest, files=listed), None)


def test_a_text_that_is_asked_only_while_a_release_is_proved_is_none_of_them(moving):
    waits(moving)
    moving.asks = [*moving.asks, NEVER_ASKED]
    moving.truth = moving.truth | {NEVER_ASKED: "music"}  # it would lose every eighth query
    moving.until_certified()
    manifest, folder, student = served(moving)
    assert NEVER_ASKED not in KeptTexts.read((folder / ASKED_FILE).read_bytes())
    assert student.predict(Query("q", "home", NEVER_ASKED)).score is None
    assert manifest.certificate.losses == 0


def test_it_is_so_after_a_kill_too(moving):
    before = waits(moving)
    assert before.only_asked
    moving.start()
    moving.refresher.step()
    again = moving.refresher.contexts["home"].loop.trial
    assert again.only_asked
    assert (again.rows, again.asked.stays) == (before.rows, True)
    moving.until_certified()
    assert served(moving)[0].certificate.attempt == 1


def test_what_serves_after_an_alarm_keeps_only_what_was_asked_too(moving):
    moving.until_certified()
    first, _, _ = served(moving)
    moving.truth = {**moving.truth, "song": "lights", "tune": "lights"}
    for _ in range(40):
        moving.ask_and_step(100)
        if moving.state.watch == "alarmed":
            break
    moving.truth = {**moving.truth, "song": "music", "tune": "music"}
    for _ in range(60):
        moving.ask_and_step(100)
        if moving.state.champion not in {0, first.number}:
            break
    manifest, _, student = served(moving)
    assert manifest.number > first.number
    assert manifest.only_asked
    assert student.predict(Query("q", "home", "never asked at all")).score is None
