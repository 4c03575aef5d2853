"""How a teacher that writes is asked, and how its text is read.

Rules:
 * A reason stands in front of the answer, in the same text; "the answer is" divides them.
 * A task's instruction stands around the question, and the teacher's own template around both.
 * What can't be read is no lesson, and says why; the answer goes out all the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from cloud_worker.language.rationales import ANSWER_PHRASE, problem_in
from cloud_worker.teachers.base import Question
from cloud_worker.teachers.json_schema import broken_rule
from router.core.domain.agreement import parse_json
from router.core.domain.generation import Prompt, Written
from router.core.domain.prompting import Template, split_answer
from router.core.visible_text import is_blank
from router.students.writers.whole_answer import EMPTY, flaw_of


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says.

    Attributes:
        answer: The answer in it.
        rationale: The reason in it, or empty.
        problem: Why it is no lesson; empty where it is one.
    """

    answer: str
    rationale: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Wording:
    """Templates around a question.

    Attributes:
        prompt: The usual one.
        reasoned: Where a reason is wanted; ``None`` for a teacher that gives none.
    """

    prompt: Template = field(default_factory=Template)
    reasoned: Template | None = None

    @classmethod
    def of(cls, prompt: str, rationale_prompt: str) -> Wording:
        """The wording that the configuration asks for.

        Raises:
            ConfigError: A template without its field.
        """
        return cls(Template(prompt), Template(rationale_prompt) if rationale_prompt else None)

    def asks_reason(self, question: Question) -> bool:
        """Whether the answer to ``question`` is written after a reason."""
        return question.wanted.rationale and not question.reason_apart and self.reasoned is not None

    def prompt_of(self, question: Question) -> Prompt:
        """What the model reads of a question."""
        return _prompt(question, self.reasoned if self.asks_reason(question) and self.reasoned else self.prompt)

    def reason_prompt(self, question: Question) -> Prompt | None:
        """What it reads to give the reason alone, where that is wanted apart from the answer."""
        if not question.wanted.rationale or not question.reason_apart or self.reasoned is None:
            return None
        return _prompt(question, self.reasoned)

    def read(self, question: Question, written: Written) -> Reading:
        """What a text says that was written to ``prompt_of(question)``."""
        if not self.asks_reason(question):
            return Reading(written.text, problem=_problem(question, written, written.text))
        rationale, answer = split_answer(written.text, ANSWER_PHRASE)
        if not answer:
            return Reading(written.text, problem="the reason reaches no answer")
        problem = problem_in(rationale) or _problem(question, written, answer)
        return Reading(answer, "" if problem_in(rationale) else rationale, problem)


def reason_in(written: Written) -> str:
    """The reason in a text; all of it where it names no answer, and nothing where it can't be read."""
    before, after = split_answer(written.text, ANSWER_PHRASE)
    reason = before or after
    return "" if problem_in(reason) else reason


def _prompt(question: Question, template: Template) -> Prompt:
    instruction = Template(question.instruction) if question.instruction else Template()
    messages = question.messages if template.is_bare and instruction.is_bare else ()
    text = template.fill(instruction.fill(question.text))
    (first, last), (before, after) = template.frame, instruction.frame
    return Prompt(text, messages, question.tools, question.response_schema, (first + before, after + last))


def _problem(question: Question, written: Written, answer: str) -> str:
    flaw = flaw_of(written)
    if flaw and flaw != EMPTY:
        return flaw
    for call in written.tool_calls:
        if not _is_object(call.arguments):
            return f"the arguments of {call.name} are no JSON object"
    if question.response_schema and not written.tool_calls:
        if parse_json(answer) is None:
            return "the answer is no JSON"
        broken = broken_rule(question.response_schema, answer)
        if broken:
            return f"the answer breaks its schema: {broken}"
    return "" if written.tool_calls or not is_blank(answer) else EMPTY


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except (ValueError, RecursionError):
        return False
