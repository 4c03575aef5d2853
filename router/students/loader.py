"""Open the student of a release, and check that it answers here as it did where it was judged.

Whatever the files hold, what comes out is an error of ``router.core.errors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from router.core.domain.prediction import DeviceStudent
from router.core.domain.query import Query
from router.core.domain.task import LABEL_STUDENTS, WRITING_STUDENTS
from router.core.errors import DataError, ModelError, ReleaseError
from router.core.release.manifest import Manifest
from router.io.json_lines import json_lines
from router.io.library_errors import as_model_error
from router.students.onnx_student import Student
from router.students.text_student import TextStudent

MOST_GOLDEN = 10_000


def open_student(folder: Path, manifest: Manifest, servers: Mapping[str, str] | None = None) -> DeviceStudent:
    """Open the student of a release.

    Args:
        folder: Where the release's files lie.
        manifest: The release.
        servers: URL of the local server of each model that is served rather than shipped.

    Raises:
        ModelError: The release has none, or it can't be used.
    """
    with as_model_error(f"the student of release {manifest.number}"):
        if manifest.student is None or manifest.student.kind in LABEL_STUDENTS:
            return Student.load(folder, manifest)
        if manifest.student.kind in WRITING_STUDENTS:
            return TextStudent.of_release(folder, manifest, servers)
    known = ", ".join((*LABEL_STUDENTS, *WRITING_STUDENTS))
    raise ModelError(f"student kind {manifest.student.kind!r} is not known here; known are {known}")


def check_golden(folder: Path, manifest: Manifest, student: DeviceStudent | None = None) -> None:
    """Check that the student answers here as it did where it was judged.

    Args:
        folder: Where the release's files lie.
        manifest: The release.
        student: The release's student where it is open already.

    Raises:
        ModelError: The student can't be used.
        ReleaseError: More answers differ, or a score is off by more, than the release tolerates, or its task takes
            none of the golden inputs for their length.
        UnavailableError: The student's server can't be reached now.
    """
    if manifest.student is None:
        return
    if manifest.golden is None:
        raise ReleaseError(f"release {manifest.number} has a student but no golden inputs")
    student = student or open_student(folder, manifest)
    golden = _read_golden(folder / manifest.golden.file)
    shortest = min(len(text.encode(errors="surrogatepass")) for text, _, _ in golden)
    if shortest > manifest.task.max_text_bytes:
        limit = f"the task takes inputs of {manifest.task.max_text_bytes} bytes at most"
        raise ReleaseError(f"{limit}, and the shortest golden input has {shortest}; raise max_text_bytes")
    with as_model_error(f"the student of release {manifest.number}, asked its golden inputs,"):
        problems = [
            f"golden input {line} {problem}"
            for line, expected in enumerate(golden, start=1)
            if (problem := _difference(student, manifest, *expected))
        ]
    if len(golden) - len(problems) < manifest.golden.least_equal * len(golden):
        raise ReleaseError(f"{problems[0]} ({len(problems)} of {len(golden)} differ)")


def _difference(student: DeviceStudent, manifest: Manifest, text: str, answer: str, score: float) -> str:
    """What is other than expected of one golden input; empty when nothing is."""
    prediction = student.predict(Query("", manifest.task.name, text))
    tolerance = manifest.golden.tolerance if manifest.golden else 0.0
    if prediction.answer != answer:
        return f"is answered {prediction.answer!r} here, and {answer!r} by the release"
    if prediction.score is None or not abs(prediction.score - score) <= tolerance:
        return f"scores {prediction.score} here, {score:.4f} ± {tolerance} expected"
    return ""


def _read_golden(path: Path) -> list[tuple[str, str, float]]:
    try:
        golden = [(str(row["text"]), str(row["answer"]), float(row["score"])) for _, row in json_lines(path)]
    except (DataError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ReleaseError(f"golden inputs {path.name} can't be read: {type(error).__name__}: {error}") from error
    if not golden:
        raise ReleaseError(f"golden inputs {path.name} are empty")
    if len(golden) > MOST_GOLDEN:
        raise ReleaseError(f"golden inputs {path.name} are {len(golden)} lines; {MOST_GOLDEN} at most are right")
    return golden
