"""What does a student learn worked arithmetic from: answers alone, whole responses, or answers and reasons apart?

Questions come from a generator; a teacher is trained on worked ones and then logs its own answers, mistakes included.
Students start from scratch, and see equal answers in equal steps. ``answers`` and ``step-by-step`` write the answer at
once; ``responses`` writes its steps first, so it pays about ten times the tokens in use.

Run: ``python bench/arithmetic_recipes.py [--quick]``. One thread; ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cloud_worker.language.architectures import LanguageModel
from cloud_worker.language.examples import Lessons
from cloud_worker.language.generation import write
from cloud_worker.language.rationales import answer_in, written
from cloud_worker.language.recipes.responses import answers, responses
from cloud_worker.language.recipes.step_by_step import PREDICT, step_by_step
from cloud_worker.language.templates import Template
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import word_tokenizer
from cloud_worker.language.trainer import Schedule, fit
from router.core.domain.record import Record

NAMES = ("ann", "tom", "eva", "ben", "lia", "max", "zoe", "sam")
THINGS = ("shells", "cards", "pens", "coins", "stamps", "nuts", "beads", "keys")
MORE, LESS = ("gets", "finds", "buys"), ("loses", "sells", "drops")
SIZE = Size(width=48, layers=2, heads=2, window=96)
TESTED = 400


def question(draw: random.Random, number: int) -> Record:
    """One to three operations on a small number, worked out: the record's rationale and answer are exact."""
    name, thing, value = draw.choice(NAMES), draw.choice(THINGS), draw.randint(2, 20)
    told, steps = [f"{name} has {value} {thing}"], []
    for _ in range(draw.randint(1, 3)):
        words, sign, by, result = _operation(draw, value)
        told.append(words)
        steps.append(f"{value} {sign} {by} = {result}.")
        value = result
    text = f"{', '.join(told)}. how many {thing}?"
    return Record(
        "bench", str(number), "exact", "1", "arithmetic", 1, 0.0, 0.0, text, str(value), rationale=" ".join(steps)
    )


def _operation(draw: random.Random, value: int) -> tuple[str, str, int, int]:
    kind = draw.choice("+-*")
    if kind == "*" and value <= 15:
        return "doubles them", "*", 2, 2 * value
    if kind == "+" or value < 2:
        by = draw.randint(1, 9)
        return f"{draw.choice(MORE)} {by}", "+", by, value + by
    by = draw.randint(1, min(9, value - 1))
    return f"{draw.choice(LESS)} {by}", "-", by, value - by


def questions(count: int, seed: int) -> list[Record]:
    """Exact records."""
    draw = random.Random(seed)
    return [question(draw, number) for number in range(count)]


def bare(records: Sequence[Record]) -> Lessons[Any]:
    """Whole responses to bare queries."""
    return responses(records, Template())


RECIPES: dict[str, tuple[Callable[[Sequence[Record]], Lessons[Any]], Template, int]] = {
    "label-only": (answers, Template(), 5),
    "step-by-step": (step_by_step, PREDICT, 5),
    "responses": (bare, Template(), 40),
}


def accuracy(model: LanguageModel, tested: Sequence[Record], template: Template, max_tokens: int) -> float:
    """Share of answers that equal the exact one."""
    found = write(model, [template.fill(record.text) for record in tested], max_tokens)
    return float(np.mean([answer_in(one.text) == record.answer for one, record in zip(found, tested, strict=True)]))


def teach(tokenizer: Any, steps: int) -> LanguageModel:
    """The teacher: trained on exact worked answers."""
    teacher = make_model("llama", tokenizer, SIZE, seed=100)
    fit(teacher, bare(questions(20000, seed=1)).examples, Schedule(steps=steps, rate=3e-3, seed=100))
    return teacher


def answered(teacher: LanguageModel, asked: Sequence[Record]) -> list[Record]:
    """What the log holds: the teacher's own steps and answers."""
    found = write(teacher, [record.text for record in asked], 40)
    return [
        replace(record, teacher="worked", answer=answer_in(one.text), rationale=_steps(one.text))
        for record, one in zip(asked, found, strict=True)
    ]


def _steps(text: str) -> str:
    position = text.rfind("the answer is")
    return text[:position].strip() if position >= 0 else ""


def run(log: Sequence[Record], tested: Sequence[Record], tokenizer: Any, name: str, schedule: Schedule) -> float:
    """Accuracy of one student."""
    recipe, template, max_tokens = RECIPES[name]
    student = make_model("llama", tokenizer, SIZE, seed=schedule.seed)
    fit(student, recipe(log).examples, schedule)
    return accuracy(student, tested, template, max_tokens)


def answers_needed(sizes: Sequence[int], figures: Sequence[float], goal: float) -> float | None:
    """Answers at which a curve reaches ``goal``, log-linear between sizes; ``None`` if it never does."""
    for row, (size, figure) in enumerate(zip(sizes, figures, strict=True)):
        if figure >= goal:
            if row == 0:
                return float(size)
            share = (goal - figures[row - 1]) / max(figure - figures[row - 1], 1e-9)
            return float(sizes[row - 1] * (size / sizes[row - 1]) ** share)
    return None


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, two sizes, few steps: a check, no finding")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1000, 2000, 4000, 8000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    if given.quick:
        given.sizes, given.seeds, given.steps = [200, 400], 1, 40
    torch.set_num_threads(1)
    started = time.process_time()
    tested = questions(TESTED, seed=2)
    tokenizer = word_tokenizer([f"{one.text} {written(one)} predict explain" for one in questions(2000, 1)], window=96)
    teacher = teach(tokenizer, 3 * given.steps)
    log = answered(teacher, questions(max(given.sizes), seed=3))
    exact = {record.text: record.answer for record in questions(max(given.sizes), seed=3)}
    teacher_accuracy = float(np.mean([record.answer == exact[record.text] for record in log]))
    print(f"teacher: {teacher_accuracy:.1%} right on the log; {time.process_time() - started:.0f} s", flush=True)
    table: dict[str, list[list[float]]] = {name: [] for name in RECIPES}
    for size in given.sizes:
        for name, rows in table.items():
            schedules = [Schedule(steps=given.steps, rate=3e-3, seed=seed) for seed in range(given.seeds)]
            rows.append([run(log[:size], tested, tokenizer, name, schedule) for schedule in schedules])
            shown = " ".join(f"{figure:.3f}" for figure in rows[-1])
            print(f"{size:6} answers  {name:13} {shown}", flush=True)
    means = {name: [float(np.mean(row)) for row in rows] for name, rows in table.items()}
    goal = means["label-only"][-1]
    needed = {name: answers_needed(given.sizes, row, goal) for name, row in means.items()}
    figures = {
        "bench": "arithmetic_recipes",
        "sizes": given.sizes,
        "seeds": given.seeds,
        "steps": given.steps,
        "teacher_accuracy": round(teacher_accuracy, 4),
        "accuracy": {name: [round(figure, 4) for figure in row] for name, row in means.items()},
        "deviation": {name: [round(float(np.std(row)), 4) for row in rows] for name, rows in table.items()},
        "answers_to_reach_label_only_on_all": needed,
        "tested": TESTED,
        "cpu_seconds": round(time.process_time() - started),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
