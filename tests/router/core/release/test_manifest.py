"""The manifest: written, read back, and what may replace what."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.label_confidence import Calibration
from router.core.domain.task import Exploration, Objective, Task
from router.core.errors import ReleaseError
from router.core.policy.deferral import Policy
from router.core.release.manifest import (
    FORMAT,
    File,
    Golden,
    Lineage,
    Manifest,
    StudentSpec,
    check_replacement,
    digest,
    is_plain_name,
    read_manifest,
    write_manifest,
)
from router.core.statistics.e_process import Certificate

TASK = Task(name="commands", reference="large", objective=Objective(0.05, 0.9), exploration=Exploration(1, 0.1, 0.3))
EMPTY = Manifest(task=TASK, number=0, created_at=1.5, policy=Policy(threshold=2.0))
FULL = Manifest(
    task=TASK,
    number=3,
    created_at=2.5,
    policy=Policy(threshold=0.87, version=3),
    student=StudentSpec("compact", "model.onnx", "tokenizer.json", ("on", "off"), 64, "s-3"),
    calibration=Calibration(0.1, (0.9, 0.8, 0.1, 0.7), (0.1, 0.2, 0.1, 0.2), (0.1, 2.0, -0.3, 0.4), 1.5, 0.02),
    certificate=Certificate(0.05, 0.05, 300, 2, 3.2, 1),
    golden=Golden("golden.jsonl", 0.02),
    lineage=Lineage(parent=2, attempt=1, rows=900, log_version=4, recipe="compact", seed=1),
    files={name: File(3, digest(b"abc")) for name in ("model.onnx", "tokenizer.json", "golden.jsonl")},
)


@pytest.mark.parametrize("manifest", [EMPTY, FULL])
def test_a_manifest_comes_back_as_it_was_written(manifest):
    assert read_manifest(write_manifest(manifest)) == manifest


def test_a_certificate_from_before_rows_were_weighed_is_read():
    written = json.loads(write_manifest(FULL))
    del written["certificate"]["weight"], written["certificate"]["rate"]
    assert read_manifest(json.dumps(written).encode()).certificate == Certificate(0.05, 0.05, 300, 2, 3.2, 1)


@given(threshold=st.floats(0, 2), version=st.integers(0, 10**6), created=st.floats(0, 4e9))
def test_numbers_come_back_exactly(threshold, version, created):
    manifest = replace(FULL, policy=Policy(threshold, version), created_at=created)
    assert read_manifest(write_manifest(manifest)) == manifest


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"number": 1}', b"\xff\xfe", b'{"task": 3}'])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(ReleaseError, match=r"manifest\.json"):
        read_manifest(data)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    with pytest.raises(ReleaseError):
        read_manifest(data)


def test_an_error_names_the_field():
    content = json.loads(write_manifest(FULL))
    content["policy"]["threshold"] = "high"
    with pytest.raises(ReleaseError, match=r"policy\.threshold"):
        read_manifest(json.dumps(content).encode())


def test_an_agent_that_would_keep_what_is_new_reads_no_release_that_must_not():
    only_asked = replace(FULL, student=replace(FULL.student, asked="asked.bin"))
    assert (only_asked.only_asked, FULL.only_asked, EMPTY.only_asked) == (True, False, False)
    assert (json.loads(write_manifest(only_asked))["format"], json.loads(write_manifest(FULL))["format"]) == (3, 1)
    with pytest.raises(ReleaseError, match=r"does not list: asked\.bin"):
        check_replacement(only_asked, None)


def test_a_newer_format_asks_for_a_newer_agent():
    content = json.loads(write_manifest(FULL)) | {"format": FORMAT + 1}
    with pytest.raises(ReleaseError, match="update the agent"):
        read_manifest(json.dumps(content).encode())


# Where in a manifest, and what a damaged or hostile one may say there.
WRONG = [
    ("calibration.temperature", 0),
    ("calibration.temperature", -1.0),
    ("calibration.temperature", 1e-300),
    ("calibration.scale", [0.0, 0.2, 0.1, 0.2]),
    ("calibration.scale", [0.0]),
    ("calibration.scale", [-0.1, 0.2, 0.1, 0.2]),
    ("calibration.weights", [1.0]),
    ("calibration.weights", [1.0] * 5),
    ("calibration.weights", []),
    ("calibration.mean", [1e300, 0.0, 0.0, 0.0]),
    ("calibration.bias", 1e300),
    ("calibration.error", 2),
    ("golden.least_equal", 2),
    ("golden.least_equal", 0),
    ("golden.least_equal", -1),
    ("golden.tolerance", 2),
    ("golden.tolerance", -0.1),
    ("policy.threshold", -1),
    ("policy.threshold", 1e308),  # no query could carry it
    ("policy.version", 2**64),
    ("policy.version", 10**9 + 1),
    ("number", -1),
    ("number", 2**63),
    ("number", 10**9 + 1),
    ("content", 99),
    ("created_at", 1e999),
    ("min_agent", "9" * 5000),
    ("min_agent", "soon"),
    ("student.max_tokens", -1),
    ("student.max_tokens", 2**62),
    ("student.labels", ["on", "on"]),
    ("student.labels", ["on", ""]),
    ("certificate.rows", -1),
    ("certificate.losses", 301),
    ("certificate.alpha", 1.5),
    ("certificate.log_evidence", 1e999),
    ("self_agreement", 1.5),
    ("escalation", -0.5),
    ("reliability", [[0.5, 3.0, 0.5]]),
    ("task.objective", {"max_disagreement": 0}),
    ("task.exploration", {"floor": 2}),
    ("files", {"model.onnx": {"size": -1, "sha256": "0" * 64}}),
    ("files", {"model.onnx": {"size": 2**60, "sha256": "0" * 64}}),
    ("files", {"model.onnx": {"size": 1, "sha256": "../../../etc/passwd"}}),
    ("files", {"manifest.json": {"size": 1, "sha256": "0" * 64}}),
    ("files", {"A": {"size": 1, "sha256": "0" * 64}, "a": {"size": 1, "sha256": "0" * 64}}),
    ("files", {"x" * 300: {"size": 1, "sha256": "0" * 64}}),
    ("files", {str(name): {"size": 1, "sha256": "0" * 64} for name in range(1001)}),
]


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_a_value_that_can_not_be_right_is_refused_with_its_name(path, value):
    content = json.loads(write_manifest(FULL))
    *inner, name = path.split(".")
    at = content
    for step in inner:
        at = at[step]
    at[name] = value
    with pytest.raises(ReleaseError, match=name):
        read_manifest(json.dumps(content).encode())


def _leaves(value, path=()):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    yield path


@given(data=st.data())
def test_whatever_a_value_is_a_manifest_is_read_or_refused(data):
    content = json.loads(write_manifest(FULL))
    path = data.draw(st.sampled_from([path for path in _leaves(content) if path]))
    odd = st.sampled_from([None, True, "", "x" * 1000, [], {}, [None], 2**70, -(2**70), 1e308, -1e308, 1e999, 0, -1])
    at = content
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = data.draw(odd | st.recursive(st.floats() | st.text(), st.lists, max_leaves=5))
    with contextlib.suppress(ReleaseError):
        read = read_manifest(json.dumps(content).encode())
        assert read_manifest(write_manifest(read)) == read


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "C:model", ".hidden", "a\0"]
)
def test_a_file_outside_the_release_is_refused(name):
    assert not is_plain_name(name)
    content = json.loads(write_manifest(FULL))
    content["files"][name] = content["files"]["model.onnx"]
    with pytest.raises(ReleaseError, match="plain file name"):
        read_manifest(json.dumps(content).encode())


def test_a_newer_release_may_replace_an_older_one_and_not_the_other_way_round():
    check_replacement(FULL, EMPTY)
    check_replacement(FULL, None)
    check_replacement(FULL, FULL)
    with pytest.raises(ReleaseError, match="older"):
        check_replacement(replace(FULL, number=2), FULL)


def test_a_release_of_another_task_is_refused():
    with pytest.raises(ReleaseError, match="not 'commands'"):
        check_replacement(replace(FULL, task=replace(TASK, name="other")), EMPTY)


@pytest.mark.parametrize("missing", ["calibration", "golden"])
def test_a_student_needs_calibration_and_golden_inputs(missing):
    with pytest.raises(ReleaseError, match="no calibration or golden"):
        check_replacement(replace(FULL, **{missing: None}), EMPTY)


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json", "golden.jsonl"])
def test_every_file_that_a_student_needs_is_listed(missing):
    files = {name: file for name, file in FULL.files.items() if name != missing}
    with pytest.raises(ReleaseError, match=missing):
        check_replacement(replace(FULL, files=files), EMPTY)


def test_release_zero_needs_nothing():
    check_replacement(EMPTY, None)
