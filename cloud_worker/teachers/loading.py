"""From what the configuration says of a teacher to one that is ready."""

from __future__ import annotations

from pathlib import Path

from cloud_worker.config import TeacherSettings
from cloud_worker.teachers.base import Progress, Teacher
from cloud_worker.teachers.recorded import RecordedTeacher


def load_teacher(settings: TeacherSettings, cache: Path, progress: Progress | None = None) -> Teacher:
    """The teacher that ``settings`` describe.

    Args:
        settings: From the configuration.
        cache: Folder of what is fitted once and kept.
        progress: Hears how far a fit is.

    Raises:
        OperatorError: A model or file can't be used; names it.
    """
    if settings.kind == "recorded":
        return RecordedTeacher(settings.name, Path(settings.answers))
    if settings.kind == "generating":
        from cloud_worker.teachers.generating import Wording, load_generating_teacher

        return load_generating_teacher(
            settings.name, settings.model, Wording(settings.prompt, settings.rationale_prompt)
        )
    from cloud_worker.teachers.encoder import load_encoder_teacher  # torch: seconds, and hundreds of megabytes

    return load_encoder_teacher(settings.name, settings.model, Path(settings.examples), cache, progress)
