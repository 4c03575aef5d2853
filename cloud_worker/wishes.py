"""What a task's recipe wants of every logged answer beside the answer itself. Read where no model is loaded."""

from __future__ import annotations

from router.task import Task

DEFAULT_RECIPE = "responses"
LOGGED_ALTERNATIVES = 5  # likeliest tokens logged with each one, where a recipe learns from them
_FROM_TOKENS = frozenset({"soft-tokens"})
_FROM_RATIONALES = frozenset({"reasoning", "step-by-step"})


def recipe_of(task: Task) -> str:
    """The recipe of the last phase, by which the student is asked in use."""
    return (task.recipe or DEFAULT_RECIPE).split("+")[-1]


def wants_rationales(task: Task) -> bool:
    """Whether the reference is to give its reason: the recipe lives from it, or ``options.rationales`` says so."""
    return recipe_of(task) in _FROM_RATIONALES or bool(task.options.get("rationales"))


def wants_tokens(task: Task) -> bool:
    """Whether the likeliest tokens are to be logged: the recipe learns from them, or ``options.tokens`` says so."""
    return recipe_of(task) in _FROM_TOKENS or bool(task.options.get("tokens"))
