"""Do a real teacher's rationales help a student from scratch on SVAMP word problems?

800 problems with the label and rationale that a 540 B model wrote (Hsieh et al. 2023; right 73 % of the time), 200 to
test. Labels are arithmetic expressions: they are parsed, never evaluated as code. Numbers of a problem are named in
the order they appear (``n1 n2 ...``), in every recipe alike, since no student of this size learns arithmetic from 800
rows. Right means that the value equals the truth's; agreement, that it equals the teacher's.

Run: ``python bench/svamp_rationales.py [--quick]``. Needs HEADRACE_DATA (default ../shared/data); ends in one line of
JSON, and in one that says so where the data is absent.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cloud_worker.language.examples import Lessons
from cloud_worker.language.generation import write
from cloud_worker.language.rationales import answer_in, close, evaluate, written
from cloud_worker.language.recipes.responses import answers, responses
from cloud_worker.language.recipes.step_by_step import PREDICT, step_by_step
from cloud_worker.language.templates import Template
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import word_tokenizer
from cloud_worker.language.trainer import Schedule, fit
from router.core.domain.record import Record

SIZE = Size(width=64, layers=2, heads=2, window=256, dropout=0.1)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Problem:
    """One word problem with its numbers named.

    Attributes:
        record: What the log would hold, numbers named.
        numbers: The values, ``n1`` first.
        truth: The right value.
        teacher: The teacher's value, ``None`` where its label is no arithmetic.
    """

    record: Record
    numbers: tuple[str, ...]
    truth: float
    teacher: float | None


def read(path: Path) -> list[Problem]:
    """The problems of one file; those whose truth can't be parsed are left out."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = [problem_of(row, number) for number, row in enumerate(rows)]
    return [problem for problem in found if problem is not None]


def problem_of(row: dict[str, str], number: int) -> Problem | None:
    """One row with its numbers named."""
    truth = evaluate(row["gold"])
    if truth is None:
        return None
    numbers = tuple(dict.fromkeys(NUMBER.findall(row["input"])))
    record = Record(
        caller="bench",
        query_id=str(number),
        teacher="palm-540b",
        teacher_version="1",
        task="svamp",
        task_version=1,
        asked_at=0.0,
        received_at=0.0,
        text=named(row["input"], numbers),
        answer=named(row["llm_label"], numbers),
        rationale=named(row["llm_rationale"], numbers),
    )
    return Problem(record, numbers, truth, evaluate(row["llm_label"]))


def named(text: str, numbers: Sequence[str]) -> str:
    """``text`` with every known number under its name."""
    names = {value: f"n{position}" for position, value in enumerate(numbers, 1)}
    return NUMBER.sub(lambda hit: names.get(hit.group().removesuffix(".0"), hit.group()), text)


def value_of(text: str, numbers: Sequence[str]) -> float | None:
    """The value of a student's expression: names become numbers again."""
    spaced = re.sub(r"\bn\s?(\d+)\b", lambda hit: _number(int(hit.group(1)), numbers), answer_in(text))
    return evaluate(spaced)


def _number(position: int, numbers: Sequence[str]) -> str:
    return numbers[position - 1] if 0 < position <= len(numbers) else "?"


def bare(records: Sequence[Record]) -> Lessons[Any]:
    """Whole responses to bare queries."""
    return responses(records, Template())


RECIPES: dict[str, tuple[Callable[[Sequence[Record]], Lessons[Any]], Template, int]] = {
    "label-only": (answers, Template(), 24),
    "step-by-step": (step_by_step, PREDICT, 24),
    "responses": (bare, Template(), 110),
}


def run(
    train: Sequence[Problem], test: Sequence[Problem], tokenizer: Any, name: str, schedule: Schedule
) -> tuple[float, float, int]:
    """Accuracy against the truth, agreement with the teacher, and rows kept out, of one student."""
    recipe, template, max_tokens = RECIPES[name]
    lessons = recipe([problem.record for problem in train])
    student = make_model("t5", tokenizer, SIZE, seed=schedule.seed)
    fit(student, lessons.examples, schedule)
    found = write(student, [template.fill(problem.record.text) for problem in test], max_tokens)
    values = [value_of(one.text, problem.numbers) for one, problem in zip(found, test, strict=True)]
    right = [value is not None and close(value, one.truth) for value, one in zip(values, test, strict=True)]
    same = [
        value is not None and one.teacher is not None and close(value, one.teacher)
        for value, one in zip(values, test, strict=True)
    ]
    return float(np.mean(right)), float(np.mean(same)), lessons.kept_out


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, few steps: a check, no finding")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.steps = 1, 20
    folder = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "rationales"
    if not folder.is_dir():
        print(json.dumps({"bench": "svamp_rationales", "skipped": f"no data in {folder}; set HEADRACE_DATA"}))
        return
    torch.set_num_threads(1)
    started = time.process_time()
    train, test = read(folder / "svamp_train.jsonl"), read(folder / "svamp_test.jsonl")
    parsed = [one for one in train if one.teacher is not None]
    texts = [f"{one.record.text} {written(one.record)} predict explain" for one in parsed]
    tokenizer = word_tokenizer(texts, 2048, window=256)
    judged = [one for one in test if one.teacher is not None]
    teacher = float(np.mean([close(one.teacher or 0.0, one.truth) for one in judged]) * len(judged) / len(test))
    print(f"{len(train)} train, {len(train) - len(parsed)} unparsed; teacher right on test: {teacher:.3f}", flush=True)
    figures: dict[str, list[tuple[float, float, int]]] = {}
    for name in RECIPES:
        schedules = [Schedule(steps=given.steps, batch=16, rate=2e-3, seed=seed) for seed in range(given.seeds)]
        figures[name] = [run(parsed, test, tokenizer, name, schedule) for schedule in schedules]
        print(f"{name:13} {figures[name]}", flush=True)
    print(
        json.dumps(
            {
                "bench": "svamp_rationales",
                "train": len(parsed),
                "labels_unparsed": len(train) - len(parsed),
                "test": len(test),
                "seeds": given.seeds,
                "steps": given.steps,
                "teacher_accuracy": round(teacher, 4),
                "accuracy": {
                    name: round(float(np.mean([row[0] for row in rows])), 4) for name, rows in figures.items()
                },
                "deviation": {
                    name: round(float(np.std([row[0] for row in rows])), 4) for name, rows in figures.items()
                },
                "agreement": {
                    name: round(float(np.mean([row[1] for row in rows])), 4) for name, rows in figures.items()
                },
                "rationales_kept_out": figures["step-by-step"][0][2],
                "cpu_seconds": round(time.process_time() - started),
            }
        )
    )


if __name__ == "__main__":
    main()
