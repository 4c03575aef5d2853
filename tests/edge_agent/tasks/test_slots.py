"""Two slots, of which one is committed."""

import pytest

from edge_agent.tasks.slots import Slots
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.errors import ReleaseError
from router.core.release.manifest import MANIFEST_FILE, File, digest, write_manifest


def stage(slots, number, words=WORDS, committed=None):
    manifest, files = tiny_release(TASK, number, words)
    for name, file in slots.missing(manifest, committed).items():
        slots.parts.mkdir(parents=True, exist_ok=True)
        slots.part(file).write_bytes(files[name])
        slots.check_part(name, file)
    data = write_manifest(manifest)
    return slots.stage(manifest, data, committed), digest(data)


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
    assert names == ["a", "b", "a"]


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
    assert slots.missing(manifest, committed) == {}
    folder, _ = stage(slots, 2, committed=committed)
    for name in manifest.files:
        assert (folder / name).samefile(committed.folder / name)


def test_a_damaged_file_is_not_linked(slots):
    _, sha256 = stage(slots, 1)
    slots.commit(sha256)
    committed = slots.committed()
    (committed.folder / "tokenizer.json").write_text("rotten")
    assert list(slots.missing(committed.manifest, committed)) == ["tokenizer.json"]


def test_a_release_with_a_missing_file_is_not_staged(slots):
    manifest, _ = tiny_release(TASK, 1, WORDS)
    with pytest.raises(ReleaseError, match="is missing"):
        slots.stage(manifest, b"", None)


def test_parts_are_kept_until_their_release_is_committed(slots):
    _, sha256 = stage(slots, 1)
    slots.tidy()
    manifest, _ = tiny_release(TASK, 1, WORDS)
    assert slots.missing(manifest, None) == {}
    slots.stage(manifest, write_manifest(manifest), None)
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
