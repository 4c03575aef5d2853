"""What a task may say of its recipe: names, options, defaults and ranges. Read where no model is loaded.

Rules:
 * What a fit would refuse, or ignore, is refused when the configuration is read: by its key, with what would do.
 * A default stands here as the recipe has it, so that people can read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_worker.config.recipe_needs import recipe_name, recipe_of, starts_from_base
from cloud_worker.language.rationales import CHECKS
from router.core.domain.prompting import FIELD
from router.core.domain.task import Kind, StudentKind, Task
from router.core.errors import ConfigError

FEW_SHOT = "few-shot"
MIXED = ("steps", "plain", "shown_steps", "shown_plain")


@dataclass(frozen=True, slots=True)
class Option:
    """One key of ``tasks.options``.

    Attributes:
        default: What counts where it is left out; ``None`` where another setting decides, or where it is needed.
        fits: Whether a value will do.
        advice: What would do.
        needed: It may not be left out.
        keys: Of a table: its own keys.
    """

    default: Any
    fits: Callable[[Any], bool]
    advice: str
    needed: bool = False
    keys: Mapping[str, Option] | None = None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and value.count(FIELD) == 1


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) and one for one in value)


def _are_templates(value: Any) -> bool:
    return _are_texts(value) and len(value) > 0 and all(_is_template(one) for one in value)


def _says_labels(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(said, str) and said.strip() for said in value.values())


def _mixes(value: Any) -> bool:
    return isinstance(value, Mapping) and (not set(MIXED) <= set(value) or any(value.values()))


def _above_zero(default: float) -> Option:
    return Option(default, lambda value: _is_number(value) and value > 0, "use a number above 0")


def _from_zero(default: float) -> Option:
    return Option(default, lambda value: _is_number(value) and value >= 0, "use a number of at least 0")


def _whole(default: int, least: int) -> Option:
    return Option(default, lambda value: _is_whole(value) and value >= least, f"use a whole number from {least}")


def _share(default: float) -> Option:
    return Option(default, lambda value: _is_number(value) and 0 < value <= 1, "use a number above 0, at most 1")


def _table(keys: Mapping[str, Option]) -> Option:
    return Option({}, lambda value: isinstance(value, Mapping), "write it as a table", keys=keys)


_TEMPLATES = f"give one or more texts, each with the field {FIELD} exactly once"
_YES_OR_NO = Option(False, lambda value: isinstance(value, bool), "use true or false")
_CHECK = Option(None, lambda value: value in CHECKS, f"use one of {', '.join(sorted(CHECKS))}")
_MIXTURE = Option(
    {},
    _mixes,
    "write it as a table of shares, one of them above 0",
    keys={
        "steps": _from_zero(0.4),
        "plain": _from_zero(0.1),
        "shown_steps": _from_zero(0.4),
        "shown_plain": _from_zero(0.1),
    },
)
TRAINING = _table(
    {
        "steps": _whole(400, 1),
        "batch": _whole(32, 1),
        "rate": _above_zero(1e-3),
        "decay": _from_zero(0.01),
        "clip": _above_zero(1.0),
        "temperature": _above_zero(1.0),
        "rank": _whole(0, 0),
        "seed": _whole(0, 0),
    }
)
LAYERS = _whole(0, 0)
LOGGED = {"rationales": _YES_OR_NO, "tokens": _YES_OR_NO}  # of every task whose answers are texts

TEXT_RECIPES: dict[str, dict[str, Option]] = {
    "answers": {},
    "instructions": {
        "templates": Option(None, _are_templates, _TEMPLATES),
        "tasks": Option([], _are_texts, "give a list of names of tasks"),
        "cap": _whole(3000, 1),
    },
    "prompt-erasure": {"rich": Option(None, _is_template, f"give a text with the field {FIELD} exactly once", True)},
    "reasoning": {"mixture": _MIXTURE, "shots": _whole(2, 0), "check": _CHECK},
    "responses": {},
    "soft-texts": {"temperature": _above_zero(1.0), "most": _whole(4, 1)},
    "soft-tokens": {},
    "step-by-step": {"share": _share(0.5), "check": _CHECK},
}
LABEL_RECIPES: dict[str, dict[str, Option]] = {
    "few-shot": {
        "patterns": Option(None, _are_templates, _TEMPLATES, True),
        "verbaliser": Option({}, _says_labels, "write it as a table: label = how it is said"),
        "generations": _whole(1, 1),
        "growth": Option(5.0, lambda value: _is_number(value) and value > 1, "use a number above 1"),
        "subset": _share(0.25),
        "temperature": _above_zero(2.0),
        "most": _whole(2000, 1),
        "training": TRAINING,
    },
    "hard-labels": {},
    "soft-labels": {"temperature": _above_zero(1.0)},
}


def check_recipe(source: str, task: Task, tasks: Sequence[str]) -> None:
    """Check what ``task`` says of its recipe, prompt, base and options.

    Args:
        source: The file, for the error.
        task: The task; its kind and student are known to fit.
        tasks: Names of all tasks.

    Raises:
        ConfigError: Names the key, the value and what would do.
    """
    _check_name(source, task)
    _check_prompt(source, task)
    _check_base(source, task)
    key = f"tasks.{task.name}.options"
    whose = f"{task.student} with a base" if starts_from_base(task) else task.student
    _check_table(source, key, task.options, options_of(task), f"an option of {recipe_name(task)} for {whose}")
    wrong = [name for name in task.options.get("tasks", ()) if name == task.name or name not in tasks]
    if wrong:
        raise ConfigError(source, f"{key}.tasks", f"names {wrong[0]!r}; name other tasks of this file")


def options_of(task: Task) -> dict[str, Option]:
    """The options that a task may set."""
    if task.kind is Kind.TEXT:
        taught = {} if task.student == StudentKind.SERVED else {"layers": LAYERS, "training": TRAINING}
        return {**TEXT_RECIPES[recipe_of(task)], **LOGGED, **taught}
    started = {"layers": LAYERS, "training": TRAINING} if starts_from_base(task) else {}
    return {**LABEL_RECIPES[recipe_of(task)], **started}


def _check_name(source: str, task: Task) -> None:
    *before, last = recipe_name(task).split("+")
    known = TEXT_RECIPES if task.kind is Kind.TEXT else LABEL_RECIPES
    practised = task.kind is Kind.TEXT and task.student != StudentKind.SERVED
    if last in known and (not before or (before == ["denoise"] and practised)):
        return
    whose = "write" if task.kind is Kind.TEXT else "label"
    further = ", with denoise+ before it or not" if practised else ""
    advice = f"students that {whose} take one of {', '.join(sorted(known))}{further}"
    raise ConfigError(source, f"tasks.{task.name}.recipe", f"is {task.recipe!r}; {advice}")


def _check_prompt(source: str, task: Task) -> None:
    key = f"tasks.{task.name}.prompt"
    if not _is_template(task.prompt):
        raise ConfigError(source, key, f"is {task.prompt!r}; it needs the field {FIELD} exactly once")
    if task.prompt == FIELD:
        return
    if task.kind is Kind.LABEL:
        raise ConfigError(source, key, f"is {task.prompt!r}; students that label read the bare query, leave it out")
    if "templates" in task.options:
        raise ConfigError(source, key, f"is {task.prompt!r}, beside options.templates; set one of the two")


def _check_base(source: str, task: Task) -> None:
    if recipe_of(task) == FEW_SHOT and not task.base:
        problem = "is missing; name the model that writes and labels queries for few-shot"
        raise ConfigError(source, f"tasks.{task.name}.base", problem)
    if task.base and task.student == StudentKind.ENCODER_HEAD and recipe_of(task) != FEW_SHOT:
        better = f"leave it out or take {StudentKind.COMPACT}"
        problem = f"is {task.base!r}; students of kind {task.student} read with `encoder`, {better}"
        raise ConfigError(source, f"tasks.{task.name}.base", problem)


def _check_table(source: str, key: str, table: Mapping[str, Any], known: Mapping[str, Option], what: str) -> None:
    for name, value in table.items():
        option = known.get(name)
        if option is None:
            advice = f"use one of {', '.join(sorted(known))}" if known else "there are none"
            raise ConfigError(source, f"{key}.{name}", f"is not {what}; {advice}")
        if isinstance(value, Mapping) and option.keys is not None:
            _check_table(source, f"{key}.{name}", value, option.keys, "a key here")
        if not option.fits(value):
            raise ConfigError(source, f"{key}.{name}", f"is {value!r}; {option.advice}")
    for name in sorted(name for name, option in known.items() if option.needed and name not in table):
        raise ConfigError(source, f"{key}.{name}", f"is missing; {known[name].advice}")
