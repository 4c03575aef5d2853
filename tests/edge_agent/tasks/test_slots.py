"""Slots, of which one is committed, and what was proven before it waits in another."""

import json

import pytest

from edge_agent.tasks.slots import Slots
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.errors import ReleaseError
from router.core.release.manifest import MANIFEST_FILE, File, digest, write_manifest


def stage(slots, number, words=WORDS):
    manifest, files = tiny_release(TASK, number, words)
    for name, file in slots.missing(manifest).items():
        slots.parts.mkdir(parents=True, exist_ok=True)
        slots.part(file).write_bytes(files[name])
        slots.check_part(name, file)
    data = write_manifest(manifest)
    return slots.stage(manifest, data).folder, digest(data)


@pytest.fixture
def slots(tmp_path):
    return Slots(tmp_path / "home")


def test_nothing_is_committed_at_first(slots):
    assert slots.committed() is None
    slots.tidy()


def test_what_is_staged_does_not_serve_until_it_is_committed(slots):
    _, digest_of_1 = stage(slots, 1)
    assert slots.committed() is None
    slots.commit(digest_of_1)
    assert slots.committed().manifest.number == 1
    _, digest_of_2 = stage(slots, 2)
    assert slots.committed().manifest.number == 1
    slots.commit(digest_of_2)
    assert slots.committed().manifest.number == 2


def test_releases_take_turns_in_the_slots(slots):
    names = []
    for number in (1, 2, 3):
        folder, sha256 = stage(slots, number)
        slots.commit(sha256)
        names.append(folder.name)
    assert names == ["a", "b", "c"]


def installed(slots, number, words=WORDS, *, probation=True):
    folder, sha256 = stage(slots, number, words)
    slots.commit(sha256, probation=probation)
    return folder


def test_what_was_proven_stays_until_its_successors_have_proven_themselves(slots):
    first = installed(slots, 1)
    slots.prove()
    installed(slots, 2)
    installed(slots, 3)
    slots.tidy()
    assert first.exists()
    assert len([position for position in slots.folder.iterdir() if position.is_dir()]) == 2
    slots.prove()
    slots.tidy()
    assert not first.exists()


def test_after_three_starts_that_end_in_disorder_the_release_before_serves_again(slots):
    installed(slots, 1)
    slots.prove()
    installed(slots, 2)
    installed(slots, 3, {**WORDS, "novel": "lights"})
    for _ in range(3):
        slots.start()
        assert slots.committed().manifest.number == 3
    slots.start()
    slots.tidy()
    assert slots.committed().manifest.number == 1
    crashed = slots.crashed()
    assert (crashed.release, crashed.reason.partition(":")[0]) == (3, "crash loop")
    assert not slots.on_probation


def test_a_first_release_that_loops_leaves_nothing_committed(slots):
    installed(slots, 1)
    for _ in range(4):
        slots.start()
    assert slots.committed() is None
    assert slots.crashed().release == 1


@pytest.mark.parametrize("well", ["calm", "prove"])
def test_starts_are_forgotten_after_an_orderly_end_and_once_the_release_is_proven(slots, well):
    installed(slots, 1, probation=False)
    installed(slots, 2)
    for _ in range(3):
        slots.start()
    getattr(slots, well)()
    for _ in range(3):
        slots.start()
    assert slots.committed().manifest.number == 2


def test_a_pointer_of_an_older_agent_is_read_and_its_release_is_proven(slots):
    folder, sha256 = stage(slots, 1)
    slots.commit(sha256)
    (slots.folder / "active").write_text(json.dumps({"slot": folder.name, "manifest_sha256": sha256}))
    assert slots.committed().manifest.number == 1
    assert not slots.on_probation


def test_a_torn_stage_is_cleared_away(slots):
    _, sha256 = stage(slots, 1)
    slots.commit(sha256)
    folder, _ = stage(slots, 2)
    (slots.folder / ".active.torn").write_text("half")
    slots.tidy()
    assert not folder.exists()
    assert not (slots.folder / ".active.torn").exists()
    assert slots.committed().manifest.number == 1


def test_files_of_the_same_content_are_linked_and_not_fetched(slots):
    _, sha256 = stage(slots, 1)
    slots.commit(sha256)
    committed = slots.committed()
    manifest, _ = tiny_release(TASK, 2, WORDS)
    assert slots.missing(manifest) == {}
    folder, _ = stage(slots, 2)
    for name in manifest.files:
        assert (folder / name).samefile(committed.folder / name)


def test_a_damaged_file_is_not_linked(slots):
    _, sha256 = stage(slots, 1)
    slots.commit(sha256)
    committed = slots.committed()
    (committed.folder / "tokenizer.json").write_text("rotten")
    assert list(slots.missing(committed.manifest)) == ["tokenizer.json"]


def test_a_release_with_a_missing_file_is_not_staged(slots):
    manifest, _ = tiny_release(TASK, 1, WORDS)
    with pytest.raises(ReleaseError, match="is missing"):
        slots.stage(manifest, b"")


def test_parts_are_kept_until_their_release_is_committed(slots):
    _, sha256 = stage(slots, 1)
    slots.tidy()
    manifest, _ = tiny_release(TASK, 1, WORDS)
    assert slots.missing(manifest) == {}
    slots.stage(manifest, write_manifest(manifest))
    slots.commit(sha256)
    assert not slots.parts.exists()


@pytest.mark.parametrize("name", ["model.onnx", "golden.jsonl", MANIFEST_FILE])
def test_a_committed_release_that_the_disk_damaged_is_noticed(slots, name):
    folder, sha256 = stage(slots, 1)
    slots.commit(sha256)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(ReleaseError, match=name):
        slots.committed()
    (folder / name).unlink()
    with pytest.raises(ReleaseError, match="can't be read"):
        slots.committed()


@pytest.mark.parametrize("content", ["", "{", '{"slot": "../../etc", "manifest_sha256": ""}'])
def test_a_pointer_that_can_not_be_read_is_noticed_and_forgotten(slots, content):
    slots.folder.mkdir()
    (slots.folder / "active").write_text(content)
    with pytest.raises(ReleaseError, match="active"):
        slots.committed()
    slots.forget("it is damaged")
    assert slots.committed() is None


def test_a_part_with_a_wrong_hash_is_deleted(slots):
    slots.parts.mkdir(parents=True)
    file = File(4, digest(b"good"))
    slots.part(file).write_bytes(b"evil")
    with pytest.raises(ReleaseError, match=r"model.onnx has the SHA-256"):
        slots.check_part("model.onnx", file)
    assert not slots.part(file).exists()
