"""What every fit takes and gives, whatever kind of student comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cloud_worker.training.auxiliary_data import AuxiliaryData
from router.core.domain.record import Record
from router.core.domain.task import Task
from router.core.learning.held_out import Measures
from router.core.release.manifest import StudentSpec

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a fit needs beside its rows.

    Attributes:
        task: Whose student it is; names its kind.
        encoder: Name or folder of the pretrained encoder.
        cache: Folder for exported encoders and features.
        seed: Of everything random.
        threads: For torch.
        servers: Model and URL of each server at hand, for students that are served.
        auxiliary: What the student learns from beside the rows.
    """

    task: Task
    encoder: str
    cache: Path
    seed: int = 0
    threads: int = 1
    servers: tuple[tuple[str, str], ...] = ()
    auxiliary: AuxiliaryData = field(default_factory=AuxiliaryData)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A student that is ready to be calibrated.

    Attributes:
        spec: How to run it.
        files: Content of its files, or where they lie.
        rows: Calibrating rows.
        measures: What a student that did not train on them says of each.
        golden: Texts for the golden inputs.
        remark: What the operator should know of how it was taught; empty for nothing.
    """

    spec: StudentSpec
    files: dict[str, bytes | Path]
    rows: list[Record]
    measures: Measures
    golden: list[str]
    remark: str = ""
