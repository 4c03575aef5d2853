"""What a task's recipe is called, and what it wants of every logged answer. Read where no model is loaded."""

from __future__ import annotations

from router.core.domain.task import Kind, StudentKind, Task

DEFAULT_RECIPES = {Kind.TEXT: "responses", Kind.LABEL: "soft-labels"}
LOGGED_ALTERNATIVES = 5  # likeliest tokens logged with each one, where a recipe learns from them
_FROM_TOKENS = frozenset({"soft-tokens"})
_FROM_RATIONALES = frozenset({"reasoning", "step-by-step"})
_FROM_QUERIES = frozenset({"few-shot"})


def recipe_name(task: Task) -> str:
    """The whole recipe, with what is practised before it: ``denoise+responses``."""
    return task.recipe or DEFAULT_RECIPES[task.kind]


def recipe_of(task: Task) -> str:
    """The recipe of the last phase, by which the student is asked in use."""
    return recipe_name(task).split("+")[-1]


def wants_rationales(task: Task) -> bool:
    """Whether the reference is to give its reason: the recipe lives from it, or ``options.rationales`` says so."""
    return recipe_of(task) in _FROM_RATIONALES or bool(task.options.get("rationales"))


def wants_tokens(task: Task) -> bool:
    """Whether the likeliest tokens are to be logged: the recipe learns from them, or ``options.tokens`` says so."""
    return recipe_of(task) in _FROM_TOKENS or bool(task.options.get("tokens"))


def wants_queries(task: Task) -> bool:
    """Whether its recipe also learns from logged queries that teach no answer."""
    return recipe_name(task).startswith("denoise+") or recipe_of(task) in _FROM_QUERIES


def starts_from_base(task: Task) -> bool:
    """Whether its student is a label student that begins as the task's ``base``; few-shot's base is its ensemble's."""
    return task.student == StudentKind.COMPACT and bool(task.base) and recipe_of(task) != "few-shot"


def others_of(task: Task) -> tuple[str, ...]:
    """Names of the other tasks that its student learns beside it."""
    return tuple(task.options.get("tasks", ()))


def instruction_of(task: Task) -> str:
    """The template in which its reference is asked and its student is not; empty for none."""
    return str(task.options["rich"]) if recipe_of(task) == "prompt-erasure" else ""
