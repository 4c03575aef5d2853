"""Reading what a teacher wrote beside its answer: rationales, numbers, worked answers.

Rules:
 * Text of a teacher is data: it is never evaluated as code; arithmetic (+ - * / and brackets) is parsed.
 * What can't be read is reported as a problem in words, never as an exception: the row is kept out, the loop goes on.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

from router.core.domain.prompting import split_answer
from router.core.domain.record import Record

Check = Callable[[Record], str]

MOST_WORDS = 400
ANSWER_PHRASE = "the answer is"
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def readable(record: Record) -> str:
    """The problem with a record's rationale, or an empty text."""
    return problem_in(record.rationale)


def problem_in(rationale: str) -> str:
    """The problem with a rationale, or an empty text: it is there, it is text, and it is no novel."""
    text = rationale.strip()
    if not text:
        return "no rationale"
    if "\ufffd" in text or any(ord(letter) < 32 and letter not in "\n\t\r" for letter in text):
        return "rationale is not text"
    if len(text.split()) > MOST_WORDS:
        return f"rationale has more than {MOST_WORDS} words"
    return ""


def reaches_answer(record: Record) -> str:
    """Why a rationale does not end at the answer's number, or is not ``readable``; empty where it does."""
    problem = readable(record)
    if problem:
        return problem
    wanted = number_of(record.answer)
    if wanted is None:
        return "answer is no number"
    found = last_number(record.rationale)
    if found is None:
        return "rationale holds no number"
    return "" if close(found, wanted) else "rationale does not reach its answer"


CHECKS: dict[str, Check] = {"readable": readable, "reaches-answer": reaches_answer}


def anything(record: Record) -> str:
    """The problem with a record's answer, or an empty text: any answer that is not blank will do."""
    return "" if record.answer.strip() else "no answer"


def written(record: Record) -> str:
    """The teacher's whole response: its rationale, if it gave one, then its answer."""
    rationale = record.rationale.strip()
    return f"{rationale} {ANSWER_PHRASE} {record.answer}" if rationale else record.answer


def answer_in(text: str) -> str:
    """What stands after the last "the answer is", or the whole text where that is missing."""
    return split_answer(text, ANSWER_PHRASE)[1]


def last_number(text: str) -> float | None:
    """The last number that a text names."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def number_of(answer: str) -> float | None:
    """The number that an answer stands for: an arithmetic expression, or the last number in its text."""
    value = evaluate(answer)
    return last_number(answer) if value is None else value


def evaluate(expression: str) -> float | None:
    """The value of an arithmetic expression, or ``None`` if it is none, divides by zero or is over 200 characters."""
    if len(expression) > 200:
        return None
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return None


def close(first: float, second: float) -> bool:
    """Whether two numbers are the same up to rounding in their sixth digit."""
    return abs(first - second) <= 1e-6 * max(1.0, abs(first), abs(second))


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("not arithmetic")
