"""A task's recipe -> what its student practises, phase after phase, and the prompt that it reads in use.

Rules:
 * A recipe is named as in ``cloud_worker.language.recipes``; ``denoise+responses`` practises one before the other.
 * What the student reads in use is what the last phase trained it on, the task's own prompt within it.
 * Texts that teach are distinct within a task; the latest row of a text is the one that teaches.
 * An answer that can't be read teaches nothing; its query may still be practised on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cloud_worker.config.recipe_needs import recipe_name, recipe_of, wants_rationales
from cloud_worker.language.examples import Example, Lessons, sample_of
from cloud_worker.language.rationales import ANSWER_PHRASE, CHECKS
from cloud_worker.language.recipes import Recipe, choose
from cloud_worker.language.recipes.reasoning import STEPS, Mixture
from cloud_worker.language.recipes.step_by_step import PREDICT
from cloud_worker.language.templates import Template
from router.core.domain.agreement import parse_calls, parse_json
from router.core.domain.record import Record
from router.core.domain.task import Judge, Task

# What each recipe calls the template that the student reads in use; the others put it into a prompt of their own.
_TEMPLATE = {"prompt-erasure": "lean"}
_OWN_PROMPT = {"reasoning": STEPS, "step-by-step": PREDICT}
_REASONED = frozenset({"reasoning", "responses", "prompt-erasure"})  # the answer is written after its reason
_OF_OTHERS = frozenset({"layers", "rationales", "tasks", "tokens", "training"})  # options that no recipe takes
_CHECK_OF = {Judge.NUMBER: "reaches-answer"}  # of the steps of ``reasoning``; others need to be readable

Reader = Callable[[str], object | None]
READERS: dict[Judge, Reader] = {Judge.STRUCTURE: parse_json, Judge.TOOL_CALL: parse_calls}


@dataclass(frozen=True, slots=True)
class Curriculum:
    """What a student that writes practises.

    Attributes:
        before: Recipes that practise on queries alone, in their order.
        last: The recipe that teaches answers.
        prompt: Template around a query in use.
        answer_after: Words in what it writes after which the answer stands; empty when all of it is the answer.
        readers: By task: reads an answer where it must be JSON; what it can't read doesn't teach.
    """

    before: tuple[Recipe, ...]
    last: Recipe
    prompt: Template
    answer_after: str
    readers: Mapping[str, Reader]

    def lessons(self, rows: Sequence[Record], queries: Sequence[Record] = ()) -> list[Lessons[Example]]:
        """What each phase makes of the rows; unreadable answers are counted with the last.

        Args:
            rows: Those that may teach.
            queries: Others, whose text alone is practised on.
        """
        latest = list({(row.task, row.text): row for row in rows}.values())
        unread = [row for row in latest if not self._is_readable(row)]
        left_out = {row.key for row in unread}
        taught = self.last([row for row in latest if row.key not in left_out])
        if unread:
            sample = taught.sample or sample_of(unread[0].answer, "the answer can't be read")
            taught = replace(taught, kept_out=taught.kept_out + len(unread), sample=sample)
        return [*(recipe([*latest, *queries]) for recipe in self.before), taught]

    def _is_readable(self, row: Record) -> bool:
        reads = self.readers.get(row.task)
        return reads is None or reads(row.answer) is not None


def curriculum_of(task: Task, others: Sequence[Task] = ()) -> Curriculum:
    """The curriculum that a task's configuration asks for.

    Args:
        task: As ``recipe_options`` has checked it.
        others: The tasks that its student learns beside it.
    """
    *before, last = recipe_name(task).split("+")
    source = f"tasks.{task.name}"
    prompt, options = _reading(task, others)
    splits = last in _REASONED and wants_rationales(task)
    return Curriculum(
        before=tuple(choose(name, source) for name in before),
        last=choose(last, source, **options),
        prompt=prompt,
        answer_after=ANSWER_PHRASE if splits else "",
        readers={one.name: READERS[one.judge] for one in (task, *others) if one.judge in READERS},
    )


def _reading(task: Task, others: Sequence[Task]) -> tuple[Template, dict[str, Any]]:
    """The prompt in use, and the recipe's options as it takes them."""
    recipe = recipe_of(task)
    options = {name: value for name, value in task.options.items() if name not in _OF_OTHERS}
    if recipe == "instructions":
        templates = {one.name: _templates_of(one) for one in (task, *others)}
        return templates[task.name][0], {**options, "templates": templates}
    prompt = Template(task.prompt)
    options[_TEMPLATE.get(recipe, "template")] = prompt
    if recipe == "reasoning":
        options["mixture"] = Mixture(**options.get("mixture", {}))
        options.setdefault("check", _CHECK_OF.get(task.judge, "readable"))
    if "check" in options:
        options["check"] = CHECKS[options["check"]]
    if "rich" in options:
        options["rich"] = Template(options["rich"])
    own = _OWN_PROMPT.get(recipe)
    return (Template(own.fill(task.prompt)) if own else prompt), options


def _templates_of(task: Task) -> list[Template]:
    """The ways to ask a task: its ``options.templates``, or its prompt."""
    return [Template(wording) for wording in task.options.get("templates", [task.prompt])]
