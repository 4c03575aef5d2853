import pytest

from cloud_worker.releases.publisher import Publisher
from router.core.domain.task import Task
from router.core.policy.deferral import Policy
from router.core.release.manifest import MANIFEST_FILE, Manifest, digest, read_manifest

TASK = Task("home", reference="big")


def manifest(number=1):
    return Manifest(task=TASK, number=number, created_at=1.0, policy=Policy(threshold=0.5))


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "releases")


def test_a_release_says_size_and_hash_of_every_file(publisher):
    told = publisher.publish(manifest(), {"model.onnx": b"weights", "tokenizer.json": b"words"})
    folder = publisher.path("home", 1)
    data = (folder / MANIFEST_FILE).read_bytes()
    assert told == digest(data)
    read = read_manifest(data)
    assert sorted(read.files) == ["model.onnx", "tokenizer.json"]
    for name, file in read.files.items():
        content = (folder / name).read_bytes()
        assert (file.size, file.sha256) == (len(content), digest(content))


def test_a_file_that_lies_there_already_is_linked(publisher, tmp_path):
    shared = tmp_path / "encoder.onnx"
    shared.write_bytes(b"large")
    publisher.publish(manifest(1), {"model.onnx": shared})
    publisher.publish(manifest(2), {"model.onnx": shared})
    assert shared.stat().st_nlink == 3
    assert publisher.manifest("home", 2).files["model.onnx"].sha256 == digest(b"large")


def test_a_release_that_fails_leaves_nothing_behind(publisher, tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        publisher.publish(manifest(), {"tokenizer.json": b"words", "model.onnx": tmp_path / "nowhere"})
    assert list((tmp_path / "releases" / "home").iterdir()) == []


def test_a_published_release_is_never_written_over(publisher):
    publisher.publish(manifest(), {"model.onnx": b"first"})
    with pytest.raises(OSError, match="not empty"):
        publisher.publish(manifest(), {"model.onnx": b"second"})
    assert (publisher.path("home", 1) / "model.onnx").read_bytes() == b"first"


def test_what_is_known_only_later_is_added_to_the_manifest(publisher):
    before = publisher.publish(manifest(), {"model.onnx": b"weights", "golden.jsonl": b""})
    after = publisher.amend(publisher.manifest("home", 1), {"golden.jsonl": b"answers"})
    read = publisher.manifest("home", 1)
    assert before != after == digest((publisher.path("home", 1) / MANIFEST_FILE).read_bytes())
    assert read.files["golden.jsonl"].sha256 == digest(b"answers")
    assert read.files["model.onnx"].sha256 == digest(b"weights")


def test_amending_nothing_changes_nothing(publisher):
    before = publisher.publish(manifest(), {"model.onnx": b"weights"})
    assert publisher.amend(publisher.manifest("home", 1), {}) == before
