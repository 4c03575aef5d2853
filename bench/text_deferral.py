"""Which signal tells a written text that is wrong from one that is right?

Students are trained on the spot on three kinds of text: short answers and worked responses to arithmetic questions, and
tool calls from spoken requests whose words follow Zipf's law. The reference is the generator itself; agreement is by
the product's own judges. The head and the choice of the best single signal are made on rows apart from those tested.

AUROC is the chance that a right text has the higher score. The area under the deferral curve is the mean agreement over
all shares deferred, the lowest scores first, when the reference answers what is deferred. Intervals are of 95 %, by a
bootstrap over the tested rows, paired where two signals are compared. The head counts as not worse than the
single signal chosen apart where the whole interval of their difference lies above -0.01 (a test of non-inferiority):
fewer rows make that harder, not easier.

Run: ``python bench/text_deferral.py [--quick]``. One thread; ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from bench import arithmetic_recipes
from cloud_worker.language.examples import Example
from cloud_worker.language.generation import write
from cloud_worker.language.rationales import written
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import byte_tokenizer, word_tokenizer
from cloud_worker.language.trainer import Schedule, fit
from router.core.arrays import Array, Bools
from router.core.domain.task import Judge, agree
from router.core.evaluation.cascade_curves import bootstrap, deferral_curve
from router.core.learning.reliability import ranking
from router.core.learning.text_calibration import OF_TEXT, fit_text_calibration
from router.core.policy.text_confidence import TEXT_SIGNALS, features, text_scores

LEARNT, CALIBRATING, TESTED = 4000, 1000, 2000
REPEATS = 1000
MARGIN = 0.01  # of either figure; a head that loses less is not worse

NAMES = tuple(
    a + b + c for c in ("na", "lo", "rik", "") for b in ("vi", "sta", "ma", "dor") for a in ("el", "ka", "jo")
)
ROOMS = ("kitchen", "bedroom", "hall", "garage", "office", "attic", "cellar", "porch", "studio", "nursery")
THINGS = ("milk", "bread", "eggs", "rice", "soap", "tea", "salt", "apples", "paper", "candles", "honey", "yeast")
SAID = ("call me", "i am late", "dinner is ready", "the train is full", "bring the keys", "happy birthday")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of text.

    Attributes:
        name: Of the row in the table.
        learnt: Most texts that a student learns from: few enough that it errs.
        judge: Who says what agrees.
        pairs: Question and text, without end.
        max_tokens: Most tokens of a text.
        tokenizer: Made from texts.
        size: Of the student.
    """

    name: str
    learnt: int
    judge: Judge
    pairs: Callable[[random.Random], Iterator[tuple[str, str]]]
    max_tokens: int
    tokenizer: Callable[[Sequence[str]], Any]
    size: Size


def short_answers(draw: random.Random) -> Iterator[tuple[str, str]]:
    """Arithmetic in one step, answered at once."""
    while True:
        record = arithmetic_recipes.question(draw, 0)
        if record.rationale.count("=") == 1:
            yield record.text, record.answer


def worked_responses(draw: random.Random) -> Iterator[tuple[str, str]]:
    """Arithmetic in one to three steps, worked out."""
    while True:
        record = arithmetic_recipes.question(draw, 0)
        yield record.text, written(record)


def tool_calls(draw: random.Random) -> Iterator[tuple[str, str]]:
    """Spoken requests and the call that each means."""
    while True:
        words, name, arguments = _request(draw)
        filler = draw.choice(("please ", "could you ", "hey ", "", "", ""))
        yield f"{filler}{words}", json.dumps({"name": name, "arguments": arguments})


def _request(draw: random.Random) -> tuple[str, str, dict[str, Any]]:
    room, person, number = _zipf(draw, ROOMS), _zipf(draw, NAMES), draw.randint(1, 90)
    kind = draw.randrange(5)
    if kind == 0:
        words = draw.choice(("set a timer for {} minutes", "wake me in {} minutes", "timer {} minutes"))
        return words.format(number), "set_timer", {"minutes": number}
    if kind == 1:
        words = draw.choice(("dim the {} lights to {} percent", "{} lights at {} percent"))
        return words.format(room, number), "set_light", {"room": room, "percent": number}
    if kind == 2:
        said = _zipf(draw, SAID)
        words = draw.choice(("tell {} {}", "send {} the message {}", "text {} that {}"))
        return words.format(person, said), "send_message", {"to": person, "text": said}
    if kind == 3:
        things = [_zipf(draw, THINGS) for _ in range(draw.randint(1, 2))]
        words = draw.choice(("put {} on my list", "add {} to the shopping list"))
        return words.format(" and ".join(things)), "add_items", {"items": things}
    words = draw.choice(("make the {} {} degrees", "heat the {} to {} degrees"))
    return words.format(room, number % 15 + 12), "set_heating", {"room": room, "degrees": number % 15 + 12}


def _zipf(draw: random.Random, words: Sequence[str]) -> str:
    return draw.choices(words, [1 / position for position in range(1, len(words) + 1)])[0]


KINDS = (
    Kind(
        "short answers", 4000, Judge.NUMBER, short_answers, 5, lambda texts: word_tokenizer(texts, window=96), Size(48)
    ),
    Kind("worked responses", 4000, Judge.NUMBER, worked_responses, 40, lambda texts: word_tokenizer(texts), Size(48)),
    Kind("tool calls", 400, Judge.TOOL_CALL, tool_calls, 60, lambda texts: byte_tokenizer(texts, 600), Size(64)),
)


def answered(kind: Kind, seed: int, given: argparse.Namespace) -> tuple[Array, Bools]:
    """Signals (rows, signals) of a student's texts, and whether each agrees; calibrating rows first."""
    most = min(kind.learnt, given.learnt)
    asked = list(islice(kind.pairs(random.Random(seed)), most + given.calibrating + given.tested))
    learnt, held = asked[:most], asked[most:]
    tokenizer = kind.tokenizer([f"{question} {text}" for question, text in learnt])
    student = make_model("llama", tokenizer, kind.size, seed=seed)
    lessons = [Example(question, text) for question, text in learnt]
    fit(student, lessons, Schedule(steps=given.steps, rate=3e-3, seed=seed))
    found = write(student, [question for question, _ in held], kind.max_tokens)
    agrees = [agree(kind.judge, one.text, text) for one, (_, text) in zip(found, held, strict=True)]
    return np.array([features(one.tokens) for one in found]), np.array(agrees)


def logarithms(raw: Array) -> Array:
    """The same signals as plain log-probabilities, (rows, signals): what the head is not given."""
    found = raw.copy()
    found[:, :-1] = -np.logaddexp(0.0, -raw[:, :-1])
    return found


def compare(kind: Kind, given: argparse.Namespace) -> dict[str, Any]:
    """Figures of every signal and of the head, over the students of all seeds."""
    raw, agrees = zip(*(answered(kind, seed, given) for seed in range(given.seeds)), strict=True)
    apart = given.calibrating
    right = [one[apart:] for one in agrees]
    ones = np.ones(apart)
    scores = {
        name: [direction * one[apart:, position] for one in raw]
        for position, (name, direction) in enumerate(zip(TEXT_SIGNALS, OF_TEXT.directions, strict=True))
    }
    heads = [fit_text_calibration(one[:apart], known[:apart], ones) for one, known in zip(raw, agrees, strict=True)]
    scores["head"] = [text_scores(head, one[apart:]) for head, one in zip(heads, raw, strict=True)]
    plain = [logarithms(one) for one in raw]
    others = [fit_text_calibration(one[:apart], known[:apart], ones) for one, known in zip(plain, agrees, strict=True)]
    scores["head on logarithms"] = [text_scores(head, one[apart:]) for head, one in zip(others, plain, strict=True)]
    chosen = []
    for one, known in zip(raw, agrees, strict=True):
        turned = one[:apart] * np.array(OF_TEXT.directions)
        chosen.append(int(np.argmax([ranking(column, known[:apart], ones) for column in turned.T])))
    scores["chosen single"] = [scores[TEXT_SIGNALS[position]][row] for row, position in enumerate(chosen)]
    figures = {
        "auroc": lambda signal, known, weights: ranking(signal, known, weights),
        "deferral_area": lambda signal, known, weights: deferral_curve(
            signal, known, np.ones(len(known), np.bool_), weights
        ).area(0.0, 1.0),
    }
    table: dict[str, Any] = {
        "kind": kind.name,
        "agreement": round(float(np.mean(right)), 4),
        "chosen": [TEXT_SIGNALS[position] for position in chosen],
        "calibration_error": round(float(np.mean([head.error for head in heads])), 4),
        "calibration_error_on_logarithms": round(float(np.mean([head.error for head in others])), 4),
    }
    for name, figure in figures.items():
        table[name] = _rows(scores, right, figure, given)
    return table


Figure = Callable[[Array, Bools, Array], float]


def _rows(
    scores: dict[str, list[Array]], right: Sequence[Bools], figure: Figure, given: argparse.Namespace
) -> dict[str, list[float]]:
    """Value and interval of each signal, and of the head less the best single one: chosen apart, and in hindsight."""

    def mean(name: str, weights: Array) -> float:
        return float(np.mean([figure(one, known, weights) for one, known in zip(scores[name], right, strict=True)]))

    def interval(of: Callable[[Array], float]) -> list[float]:
        found = bootstrap(of, given.tested, repeats=given.repeats)
        return [round(found.value, 4), round(found.low, 4), round(found.high, 4)]

    table = {name: interval(lambda weights, name=name: mean(name, weights)) for name in scores}  # type: ignore[misc]
    best = max(TEXT_SIGNALS, key=lambda name: table[name][0])
    table["head less chosen single"] = interval(lambda weights: mean("head", weights) - mean("chosen single", weights))
    table[f"head less best in hindsight ({best})"] = interval(
        lambda weights: mean("head", weights) - mean(best, weights)
    )
    return table


def is_not_worse(differences: Sequence[Sequence[float]]) -> bool:
    """Whether every difference, as value, low and high of its interval, is shown to be above ``-MARGIN``."""
    return all(low > -MARGIN for _, low, _ in differences)


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, few rows and steps: a check, no finding")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=800)
    given = parser.parse_args()
    given.learnt, given.calibrating, given.tested, given.repeats = LEARNT, CALIBRATING, TESTED, REPEATS
    if given.quick:
        given.seeds, given.steps, given.repeats = 1, 60, 20
        given.learnt, given.calibrating, given.tested = 400, 320, 200
    torch.set_num_threads(1)
    started = time.process_time()
    tables = []
    for kind in KINDS:
        tables.append(compare(kind, given))
        print(json.dumps(tables[-1]), flush=True)
    apart = [table[name]["head less chosen single"] for table in tables for name in ("auroc", "deferral_area")]
    figures = {
        "bench": "text_deferral",
        "seeds": given.seeds,
        "steps": given.steps,
        "calibrating": given.calibrating,
        "tested": given.tested,
        "kinds": tables,
        "head_not_worse": is_not_worse(apart),
        "cpu_seconds": round(time.process_time() - started),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
