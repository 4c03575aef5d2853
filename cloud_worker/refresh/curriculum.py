"""A task's recipe -> what its student practises, phase after phase, and the prompt that it reads in use.

Rules:
 * A recipe is named as in ``cloud_worker.language.recipes``; ``denoise+responses`` practises one before the other.
 * What the student reads in use is what the last phase trained it on.
 * Texts that teach are distinct; the latest row of a text is the one that teaches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cloud_worker.language.examples import Example, Lessons, sample_of
from cloud_worker.language.rationales import ANSWER_PHRASE
from cloud_worker.language.recipes import Recipe, choose
from cloud_worker.language.recipes.reasoning import STEPS
from cloud_worker.language.recipes.step_by_step import PREDICT
from cloud_worker.language.templates import Template
from cloud_worker.wishes import DEFAULT_RECIPE, wants_rationales
from router.agreement import parse_calls, parse_json
from router.distillation import Record
from router.errors import ConfigError
from router.task import Judge, Task

# What each recipe calls the template that the student reads in use; the others bring a prompt of their own.
_TEMPLATE = {
    "answers": "template",
    "responses": "template",
    "soft-texts": "template",
    "soft-tokens": "template",
    "prompt-erasure": "lean",
}
_OWN_PROMPT = {"reasoning": STEPS, "step-by-step": PREDICT}
READERS = {Judge.STRUCTURE: parse_json, Judge.TOOL_CALL: parse_calls}
_WRITING = (*_TEMPLATE, *_OWN_PROMPT, "instructions")


@dataclass(frozen=True, slots=True)
class Curriculum:
    """What a student that writes practises.

    Attributes:
        phases: Recipes, in their order.
        prompt: Template around a query in use.
        answer_after: Words in what it writes after which the answer stands; empty when all of it is the answer.
        reads: Reads an answer where it must be JSON; what it can't read doesn't teach.
    """

    phases: tuple[Recipe, ...]
    prompt: Template
    answer_after: str = ""
    reads: Callable[[str], object | None] | None = None

    def lessons(self, rows: Sequence[Record]) -> list[Lessons[Example]]:
        """What each phase makes of the rows; unreadable answers are counted with the first."""
        latest = list({row.text: row for row in rows}.values())
        unread = [row for row in latest if self.reads is not None and self.reads(row.answer) is None]
        left_out = {row.key for row in unread}
        taught = [row for row in latest if row.key not in left_out]
        given = [recipe(taught) for recipe in self.phases]
        if unread:
            sample = given[0].sample or sample_of(unread[0].answer, "the answer can't be read")
            given[0] = replace(given[0], kept_out=given[0].kept_out + len(unread), sample=sample)
        return given


def curriculum_of(task: Task) -> Curriculum:
    """The curriculum that a task's configuration asks for.

    Raises:
        ConfigError: An unknown recipe, one that teaches no writing, or options that it does not take.
    """
    source = f"tasks.{task.name}"
    *before, last = (task.recipe or DEFAULT_RECIPE).split("+")
    if last not in _WRITING or set(before) - {"denoise"}:
        usable = ", ".join(sorted(_WRITING))
        raise ConfigError(source, "recipe", f"is {task.recipe!r}; use one of {usable}, with denoise+ before it or not")
    prompt, options = _reading(task, last)
    phases = (*(choose(name, source) for name in before), choose(last, source, **options))
    splits = last in {"reasoning", "responses"} and wants_rationales(task)
    return Curriculum(phases, prompt, ANSWER_PHRASE if splits else "", READERS.get(task.judge))


def _reading(task: Task, recipe: str) -> tuple[Template, dict[str, Any]]:
    """The prompt in use, and the recipe's options."""
    options = {name: value for name, value in task.options.items() if name not in ("rationales", "tokens", "training")}
    prompt = Template(task.prompt)
    if recipe in _OWN_PROMPT:
        return _OWN_PROMPT[recipe], options
    if recipe == "instructions":
        templates = [Template(wording) for wording in options.pop("templates", [task.prompt])]
        return templates[0], {**options, "templates": {task.name: templates}}
    if recipe == "prompt-erasure":
        rich = options.pop("rich", None)
        if not isinstance(rich, str):
            raise ConfigError(f"tasks.{task.name}", "options.rich", "is missing; give the teacher's instruction")
        options["rich"] = Template(rich)
    return prompt, {**options, _TEMPLATE[recipe]: prompt}
