"""Queries without an answer that can be learned -> rows that the few-shot ensemble of a task labels."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_worker.language.architectures import load_model
from cloud_worker.language.encoder import location_of
from cloud_worker.language.recipes.few_shot import Ensemble, few_shot
from cloud_worker.language.templates import Pattern, Template
from cloud_worker.language.trainer import Schedule
from cloud_worker.training.spec import Recipe
from router.core.domain.record import Record
from router.core.domain.task import Task
from router.core.learning.training_rows import FOLDS, fold_of

MOST_QUERIES = 2000  # latest ones that are labelled: each costs a row of the model for every pattern and label


def self_labelled(labelled: Sequence[Record], recipe: Recipe) -> list[Record]:
    """The queries beside a task's lessons, with the labels that an ensemble gives them.

    Args:
        labelled: The few rows that the ensemble is tuned on.
        recipe: Its task names the ensemble's model (``base``) and patterns.

    Raises:
        ModelError: The base can't be loaded, or writes nothing.
        BadInputError: A query is longer than its window.
    """
    task = recipe.task
    most = task.options.get("most", MOST_QUERIES)
    queries = [row for row in recipe.auxiliary.queries if fold_of(row, FOLDS) != 0][-most:]
    if not queries:
        return []
    return few_shot(labelled, queries, load_model(location_of(task.base)), ensemble_of(task, recipe.seed))


def ensemble_of(task: Task, seed: int) -> Ensemble:
    """The ensemble that a task's options describe."""
    options = {name: value for name, value in task.options.items() if name in ENSEMBLE}
    said = tuple(task.options.get("verbaliser", {}).items())
    patterns = tuple(Pattern(Template(wording), said) for wording in task.options["patterns"])
    schedule = Schedule(**{"seed": seed, **task.options.get("training", {})})
    return Ensemble(patterns, schedule, **options)


ENSEMBLE = ("generations", "growth", "subset", "temperature")
