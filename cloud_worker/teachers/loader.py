"""From what the configuration says of a teacher to one that is ready."""

from __future__ import annotations

from pathlib import Path

from cloud_worker.config.teachers import (
    CompatibleSettings,
    EncoderSettings,
    GeneratingSettings,
    HostedSettings,
    PatternsSettings,
    RecordedSettings,
    TeacherSettings,
    VllmSettings,
)
from cloud_worker.teachers.base import Progress, Teacher
from cloud_worker.teachers.recorded import RecordedTeacher


def load_teacher(settings: TeacherSettings, cache: Path, progress: Progress | None = None) -> Teacher:
    """The teacher that ``settings`` describe. What only some teachers need is imported for those alone.

    Args:
        settings: From the configuration.
        cache: Folder of what is made once and kept.
        progress: Hears how far a fit is.

    Raises:
        OperatorError: A model or file can't be used; names it.
    """
    match settings:
        case RecordedSettings():
            return RecordedTeacher(settings.name, Path(settings.answers))
        case EncoderSettings():
            from cloud_worker.teachers.encoder_teacher import load_encoder_teacher

            return load_encoder_teacher(settings.name, settings.model, Path(settings.examples), cache, progress)
        case PatternsSettings():
            from cloud_worker.teachers.pattern_teacher import load_patterns_teacher

            return load_patterns_teacher(settings)
        case GeneratingSettings():
            from cloud_worker.teachers.prompts import Wording
            from cloud_worker.teachers.transformers_teacher import load_generating_teacher

            wording = Wording.of(settings.prompt, settings.rationale_prompt)
            return load_generating_teacher(settings.name, settings.model, wording)
        case CompatibleSettings():
            from cloud_worker.teachers.openai_compatible import load_compatible_teacher

            return load_compatible_teacher(settings, cache)
        case HostedSettings():
            from cloud_worker.teachers.litellm_teacher import load_hosted_teacher

            return load_hosted_teacher(settings, cache)
        case VllmSettings():
            from cloud_worker.teachers.vllm_teacher import load_vllm_teacher

            return load_vllm_teacher(settings, cache)
    raise TypeError(f"{type(settings).__name__} are settings of no kind")
