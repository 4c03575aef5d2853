import json

from cloud_worker.training.golden_inputs import (
    GOLDEN_CANDIDATES,
    GOLDEN_FILE,
    GOLDEN_INPUTS,
    golden_around,
    golden_inputs,
)
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.query import Query
from router.core.domain.task import Task
from router.students.loader import check_golden
from router.students.onnx_student import Student


def test_half_of_the_golden_inputs_lie_around_the_threshold(tmp_path):
    manifest, files = tiny_release(Task("home", reference="big"), 1, WORDS)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    student = Student.load(tmp_path, manifest)
    sure = [f"lamp {'light ' * (number % 20)}{'lamp ' * (number // 20)}" for number in range(200)]
    close = [f"{'lamp ' * (2 + number % 2)}{'song ' * number}zebra" for number in range(1, 28)]
    by_text = {text: student.predict(Query("", "", text)).score for text in sure + close}
    threshold = sorted(by_text[text] for text in close)[20]
    said = golden_around(student, close + sure, threshold, tmp_path)[GOLDEN_FILE]
    chosen = {json.loads(line)["text"] for line in said.decode().splitlines()}
    assert len(chosen) == GOLDEN_INPUTS
    half = GOLDEN_INPUTS // 2
    nearest = sorted(abs(score - threshold) for score in by_text.values())[:half]
    assert sorted(abs(by_text[text] - threshold) for text in chosen)[:half] == nearest
    assert chosen & set(sure)


def test_a_student_that_writes_keeps_the_golden_inputs_that_it_has(tmp_path):
    assert golden_around(None, ["lamp"] * 100, 0.5, tmp_path) == {}


def test_texts_that_are_all_cut_leave_the_golden_inputs_as_they_are(tmp_path):
    """A device refuses a release whose golden inputs are empty."""
    manifest, files = tiny_release(Task("home", reference="big"), 1, WORDS)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    student = Student.load(tmp_path, manifest)
    cut = [f"{'lamp ' * 200}{number}" for number in range(GOLDEN_CANDIDATES)]
    assert student.predict(Query("", "", cut[0])).score is None
    assert golden_around(student, cut, 0.5, tmp_path) == golden_around(student, [], 0.5, tmp_path / "none") == {}


def test_few_texts_that_are_asked_again_and_again_stand_around_the_threshold_too(tmp_path):
    manifest, files = tiny_release(Task("home", reference="big"), 1, WORDS)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    student = Student.load(tmp_path, manifest)
    known = {f"lamp {'light ' * number}" for number in range(1, 20)}
    asked = {"song", "lamp", "lamp song zebra", "song lamp song"}

    def chosen():
        lines = golden_around(student, [*asked] * 50, 0.7, tmp_path)[GOLDEN_FILE].splitlines()
        return {json.loads(line)["text"] for line in lines}

    (tmp_path / GOLDEN_FILE).write_bytes(golden_inputs(student, sorted(known)))
    assert chosen() == known | asked
    (tmp_path / GOLDEN_FILE).write_bytes(b"spoilt")
    assert chosen() == asked


def test_golden_inputs_are_what_a_device_checks(tmp_path):
    manifest, files = tiny_release(Task("home", reference="big"), 1, WORDS)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    student = Student.load(tmp_path, manifest)
    data = golden_inputs(student, ["lamp", "song", "Füße"])
    assert [json.loads(line)["answer"] for line in data.decode().splitlines()][:2] == ["lights", "music"]
    (tmp_path / manifest.golden.file).write_bytes(data)
    check_golden(tmp_path, manifest)
