"""Fit a student of whatever kind its task names; its libraries are loaded by the process that fits."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_worker.training.spec import Fitted, Progress, Recipe
from router.core.domain.record import Record
from router.core.domain.task import WRITING_STUDENTS


def fit_student(rows: Sequence[Record], recipe: Recipe, progress: Progress) -> Fitted | None:
    """A student that is ready to be calibrated; ``None`` when too few rows teach one.

    Args:
        rows: Teachable ones.
        recipe: What a fit needs beside its rows.
        progress: Told a phase and its share done.

    Raises:
        HeadraceError: A model can't be loaded, or a recipe is unknown.
    """
    if recipe.task.student in WRITING_STUDENTS:
        from cloud_worker.training.text_students import fit_writer  # transformers: seconds, and hundreds of megabytes

        return fit_writer(rows, recipe, progress)
    from cloud_worker.training.label_students import fit  # torch: as above

    return fit(rows, recipe, progress)
