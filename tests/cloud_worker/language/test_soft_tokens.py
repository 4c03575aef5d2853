"""From the tokens in the log to a loss over them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from cloud_worker.config.recipe_needs import wants_tokens
from cloud_worker.language.batching import encode
from cloud_worker.language.generation import write
from cloud_worker.language.recipes.soft_tokens import soft_tokens
from cloud_worker.language.templates import Template
from cloud_worker.language.tiny_models import make_model
from cloud_worker.language.trainer import Schedule, fit
from router.core.domain.query import Distribution, GenerationLimits, TokenProbability
from router.core.domain.record import Record
from router.core.domain.task import Kind, Task
from router.core.domain.token_codec import pack, unpack

Row = Callable[..., Record]
DOUBT = Distribution((("red", math.log(0.6)), ("green", math.log(0.3))), math.log(0.1))
SURE = Distribution((("</s>", math.log(0.98)), ("on", math.log(0.01))), math.log(0.01))
TOKENS = (TokenProbability("red", math.log(0.6), DOUBT), TokenProbability("</s>", math.log(0.98), SURE))


def test_every_token_is_taught_with_what_else_it_might_have_been(row: Row) -> None:
    (example,) = soft_tokens([row("light?", "red", tokens=pack(TOKENS))], Template("say {text}")).examples
    assert (example.prompt, example.target) == ("say light?", "red")
    assert example.alternatives == tuple(token.alternatives for token in unpack(pack(TOKENS)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tokens": pack(TOKENS), "rationale": "It is."},
        {"tokens": pack([TokenProbability("red", -0.1)])},
        {"tokens": pack(TOKENS)[:-3]},
    ],
)
def test_without_probabilities_of_the_answers_tokens_its_text_teaches(row: Row, changes: dict[str, Any]) -> None:
    (example,) = soft_tokens([row("light?", "red", **changes)]).examples
    assert (example.target, example.alternatives) == ("red", ())


def test_a_blank_answer_is_kept_out(row: Row) -> None:
    assert soft_tokens([row("light?", " ")]).kept_out == 1


def test_a_student_learns_the_doubt_that_went_through_the_log(row: Row, words: Any) -> None:
    logged = pack(TOKENS)
    lessons = soft_tokens([row("light", "red", tokens=logged)])
    student = make_model("llama", words)
    assert encode(student, lessons.examples).hardened == 0
    fit(student, lessons.examples, Schedule(steps=80, batch=1, rate=1e-2))
    (written,) = write(student, ["light"], 4, top_k=2)
    assert written.text == "red"
    learnt = {token: math.exp(value) for token, value in written.tokens[0].alternatives.top}
    assert learnt == pytest.approx({"red": 0.6, "green": 0.3}, abs=0.05)


def test_a_task_with_this_recipe_logs_tokens() -> None:
    task = Task("talk", "big", kind=Kind.TEXT, recipe="denoise+soft-tokens", limits=GenerationLimits(max_tokens=4))
    assert wants_tokens(task)
    assert not wants_tokens(Task("talk", "big", kind=Kind.TEXT))
