"""What do one draw, one score, one decision, one watch update and a challenger's looks cost?

A challenger looks at rows as they come, and what becomes of it is decided once a batch: beside the cost of one such
decision stands what it comes to for a row. Beside all of them, measured in the same run: the answer of the smallest
student that ships, a compact one with random weights, exported and run as on a device.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cloud_worker.language.encoder import load_encoder
from cloud_worker.training.compact_student import MAX_TOKENS, WIDTH, CompactStudent
from cloud_worker.training.export import MODEL_FILE, TOKENIZER_FILE, export_torch, quantize, write_tokenizer
from router.core.certification.observations import Observation
from router.core.certification.trial import Trial
from router.core.domain.label_confidence import score
from router.core.domain.prediction import Prediction
from router.core.domain.query import Query
from router.core.domain.record import Record
from router.core.domain.task import StudentKind
from router.core.learning.label_calibration import fit_calibration
from router.core.policy.deferral import Policy, decide
from router.core.policy.exploration import SEED_BYTES, is_explored
from router.core.release.manifest import StudentSpec
from router.core.statistics.e_process import Watch, WatchState, attempt_alpha
from router.core.statistics.threshold_planning import Situation, prospect
from router.students.onnx_student import Student

LABELS = 150
PROMISE, RATE, BATCH = 0.02, 0.25, 100
LOOKS = (200, 1000, 3000)
REPEATS = 5
TEXT = "what is the exchange rate between dollars and euros right now"


def microseconds(act: Callable[[], object], times: int) -> float:
    """The least mean time of one call, of several runs."""
    return min(seconds(act, times) for _ in range(REPEATS)) / times * 1e6


def seconds(act: Callable[[], object], times: int = 1) -> float:
    """The time of the processor that so many calls take: a busy machine does not count."""
    began = time.process_time()
    for _ in range(times):
        act()
    return time.process_time() - began


def costs_of_decisions() -> dict[str, float]:
    """Draw, score, decision and watch update, in microseconds."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(400, LABELS))
    calibration = fit_calibration(logits, random.random(400), random.random(400) < 0.9, np.ones(400))
    one = logits[0]
    seed, policy, watch = os.urandom(SEED_BYTES), Policy(0.8), Watch(WatchState(PROMISE, 0.05))
    return {
        "draw": microseconds(lambda: is_explored(seed, "0123456789abcdef", 0.05), 20_000),
        "score": microseconds(lambda: score(calibration, one, 0.7), 5_000),
        "decide": microseconds(lambda: decide(policy, 0.7), 20_000),
        "watch_update": microseconds(lambda: watch.update(lost=False), 10_000),
    }


class Sure:
    """A student that costs nothing, so that a look's own cost is left."""

    def predict(self, query: Query) -> Prediction:
        """Always the same."""
        return Prediction(query.text, 0.9)


def trial_of(observations: list[Observation]) -> Trial:
    """A challenger that has looked at some rows."""
    random = np.random.default_rng(1)
    scores = random.random(2000)
    points = prospect(scores, random.random(2000) < scores**0.1, np.ones(2000), PROMISE)
    return Trial(1, PROMISE, attempt_alpha(0.95, 1), RATE, 0, 10 * max(LOOKS), points, observations=observations)


def looks_of(count: int) -> list[Observation]:
    """What so many rows say of it; half of them met a champion."""
    random = np.random.default_rng(2)
    return [
        Observation(score, wrong, release, kept=score > 0.5, weight=RATE if score < 0.3 else 1.0)
        for score, wrong, release in zip(
            random.random(count).tolist(),
            (random.random(count) < 0.01).tolist(),
            random.integers(0, 2, count).tolist(),
            strict=True,
        )
    ]


def cost_of_looking() -> float:
    """One row looked at, its student's answer left out, in microseconds."""
    rows = [
        Record(
            f"d{position % 10}",
            str(position),
            "big",
            "1",
            "home",
            1,
            float(position),
            float(position),
            "a",
            "a",
            explored=True,
        )
        for position in range(1000)
    ]
    student = Sure()
    return microseconds(lambda: trial_of([]).observe(rows, student, lambda _, one, other: one == other), 1) / len(rows)


def cost_of_next(count: int) -> float:
    """What becomes of a challenger once its last batch has come, in microseconds."""
    return min(_next_after(looks_of(count)) for _ in range(REPEATS)) * 1e6


def _next_after(observations: list[Observation]) -> float:
    trial = trial_of(observations[:-BATCH])
    trial.certified()  # as after the batch before
    trial.observations.extend(observations[-BATCH:])
    situation = Situation(0.025, 0, 4.0 * len(observations), RATE, 0.05, 0.3)
    return seconds(lambda: trial.next(1, situation))


def cost_of_an_answer() -> float:
    """The smallest student's answer, its score left out, in microseconds."""
    torch.manual_seed(0)
    tokenizer = load_encoder("minilm").tokenizer
    student = CompactStudent(torch.randn(len(tokenizer), WIDTH), LABELS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_tokenizer(tokenizer, folder / TOKENIZER_FILE)
        export_torch(student, folder / "full.onnx", ("logits", "similarity"))
        quantize(folder / "full.onnx", folder / MODEL_FILE)
        labels = tuple(str(label) for label in range(LABELS))
        made = Student(
            folder, StudentSpec(StudentKind.COMPACT, MODEL_FILE, TOKENIZER_FILE, labels, MAX_TOKENS, version="random")
        )
        return microseconds(lambda: made.read((TEXT,)), 500)


def main() -> None:
    """Print each cost, then one JSON object."""
    costs = costs_of_decisions() | {"trial_look": cost_of_looking()}
    batches = {count: cost_of_next(count) for count in LOOKS}
    costs |= {f"trial_next_{count}": cost for count, cost in batches.items()}
    costs |= {f"trial_next_{count}_per_row": cost / BATCH for count, cost in batches.items()}
    answer = cost_of_an_answer()
    for name, cost in costs.items():
        print(f"{name:26} {cost:9.2f} µs {cost / answer:8.1%} of an answer")
    print(f"{'answer of a student':26} {answer:9.2f} µs")
    rounded = {name: round(cost, 2) for name, cost in costs.items()}
    said = {"question": "decision_cost", "microseconds": rounded, "batch": BATCH, "student": round(answer, 1)}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
