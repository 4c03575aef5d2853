"""Golden inputs: texts with what a student answers to them, which a device asks its copy before it serves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from router.core.domain.prediction import DeviceStudent
from router.core.domain.query import Query
from router.students.onnx_student import Student

GOLDEN_FILE = "golden.jsonl"
GOLDEN_INPUTS = 64
GOLDEN_CANDIDATES = 500


def golden_inputs(student: DeviceStudent, texts: Sequence[str]) -> bytes:
    """What the student answers to some texts, as JSON lines ``{text, answer, score}``.

    A text that it would always defer, since it was cut for one, has no score to compare, and the next one is taken.
    """
    lines: list[str] = []
    for text in texts:
        if len(lines) == GOLDEN_INPUTS:
            break
        prediction = student.predict(Query("", "", text))
        if prediction.score is None:
            continue
        lines.append(
            json.dumps({"text": text, "answer": prediction.answer, "score": prediction.score}, ensure_ascii=False)
        )
    return ("\n".join(lines) + "\n").encode()


def golden_around(
    student: DeviceStudent | None, texts: Sequence[str], threshold: float, folder: Path
) -> dict[str, bytes]:
    """Golden inputs of which half are those whose scores lie nearest to the threshold, where a small change decides.

    Args:
        student: The release's; one that writes keeps the golden inputs that it has, since asking it takes too long.
        texts: What was asked, the latest last; of their distinct ones the last ``GOLDEN_CANDIDATES`` are tried. Where
            they are few, those of the golden inputs that it has join them.
        threshold: Least score that the release keeps.
        folder: Of the release.

    Returns:
        The file, by its name; nothing where the golden inputs stay as they are.
    """
    if not isinstance(student, Student):
        return {}
    candidates = list(dict.fromkeys((*reversed(texts), *_texts_of(folder / GOLDEN_FILE))))[:GOLDEN_CANDIDATES]
    prediction = ((student.predict(Query("", "", text)).score, text) for text in candidates)
    scored = [(score, text) for score, text in prediction if score is not None]  # what was cut has none
    if not scored:
        return {}
    ranked = sorted(scored, key=lambda pair: abs(pair[0] - threshold))
    near = [text for _, text in ranked[: GOLDEN_INPUTS // 2]]
    others = [text for _, text in scored if text not in near]
    return {GOLDEN_FILE: golden_inputs(student, near + others)}


def _texts_of(file: Path) -> list[str]:
    """The texts of golden inputs; none of a file that is not there or can't be read."""
    try:
        return [str(json.loads(line)["text"]) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError, KeyError, TypeError):
        return []
