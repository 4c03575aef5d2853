"""Recipes: log rows -> what a student learns from. One file each, named after what it does; its paper stands on top.

``choose`` binds one for a student that writes, by the name that a task's configuration uses. What students that label
learn by is called directly: ``soft_labels`` and, with a model besides rows, ``few_shot``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cloud_worker.language.examples import Lessons
from cloud_worker.language.recipes.denoise import denoise
from cloud_worker.language.recipes.few_shot import few_shot
from cloud_worker.language.recipes.instructions import instructions
from cloud_worker.language.recipes.prompt_erasure import prompt_erasure
from cloud_worker.language.recipes.reasoning import reasoning
from cloud_worker.language.recipes.responses import answers, responses
from cloud_worker.language.recipes.soft_labels import soft_labels, soft_texts
from cloud_worker.language.recipes.soft_tokens import soft_tokens
from cloud_worker.language.recipes.step_by_step import step_by_step
from router.core.domain.record import Record
from router.core.errors import ConfigError

__all__ = [
    "RECIPES",
    "Recipe",
    "choose",
    "denoise",
    "few_shot",
    "instructions",
    "prompt_erasure",
    "reasoning",
    "responses",
    "soft_labels",
    "soft_tokens",
    "step_by_step",
]

Recipe = Callable[[Sequence[Record]], Lessons[Any]]

RECIPES: dict[str, Callable[..., Lessons[Any]]] = {
    "answers": answers,
    "denoise": denoise,
    "instructions": instructions,
    "prompt-erasure": prompt_erasure,
    "reasoning": reasoning,
    "responses": responses,
    "soft-texts": soft_texts,
    "soft-tokens": soft_tokens,
    "step-by-step": step_by_step,
}


def choose(name: str, source: str = "recipe", **options: Any) -> Recipe:
    """A recipe with its options, ready for rows.

    Args:
        name: One of ``RECIPES``.
        source: Where the name stands, for the error.
        options: The recipe's own arguments, beside the rows.

    Raises:
        ConfigError: An unknown recipe, or options that it does not take or lacks.
    """
    recipe = RECIPES.get(name)
    if recipe is None:
        raise ConfigError(source, name, f"is no recipe; use one of {', '.join(sorted(RECIPES))}")
    try:
        inspect.signature(recipe).bind((), **options)
    except TypeError as error:
        raise ConfigError(source, name, f"{error}; it takes {', '.join(_options(recipe)) or 'none'}") from error
    return partial(recipe, **options)


def _options(recipe: Callable[..., Lessons[Any]]) -> list[str]:
    return list(inspect.signature(recipe).parameters)[1:]
