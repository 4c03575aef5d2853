"""``few-shot``: a handful of labelled rows, and many without labels.

Schick and Schuetze 2021, "Exploiting Cloze Questions for Few-Shot Text Classification" (PET): one model a pattern is
tuned on the few rows, their averaged label distributions become soft labels of the unlabelled queries, weighted by how
well each pattern does on the few rows before tuning. iPET repeats it: in each generation a model also learns from
queries that a random subset of the others labelled, the surest first, more of them every time. Here labels are scored
as texts after the pattern, which any model that writes can do; nothing is masked. What it gives are rows whose answer
and distribution are the ensemble's, to be learned beside the labelled ones as ``soft-labels`` are.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cloud_worker.language.architectures import LanguageModel
from cloud_worker.language.examples import Example
from cloud_worker.language.generation import said_after, score_texts
from cloud_worker.language.templates import Pattern
from cloud_worker.language.trainer import Progress, Schedule, fit
from router.core.domain.plain_text import plain_for
from router.core.domain.record import Record
from router.core.errors import BadInputError


@dataclass(frozen=True, slots=True)
class Ensemble:
    """How an ensemble is made.

    Attributes:
        patterns: Ways to ask for the label, at least one.
        schedule: Of each model's tuning.
        generations: 1 for PET; more for iPET.
        growth: How many times more self-labelled queries each further generation learns from, above 1.
        subset: Share of the other models that label for one, in (0, 1].
        temperature: Of the averaged distribution, above 0 (PET takes 2).
    """

    patterns: tuple[Pattern, ...]
    schedule: Schedule
    generations: int = 1
    growth: float = 5.0
    subset: float = 0.25
    temperature: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what can't be run."""
        if not self.patterns:
            raise BadInputError("few-shot.patterns", "are missing; give at least one way to ask for the label")
        if self.generations < 1 or self.growth <= 1 or not 0 < self.subset <= 1 or self.temperature <= 0:
            raise BadInputError("few-shot", "needs generations >= 1, growth > 1, subset in (0, 1], temperature > 0")


def few_shot(
    labelled: Sequence[Record],
    unlabelled: Sequence[Record],
    start: LanguageModel,
    ensemble: Ensemble,
    progress: Progress | None = None,
) -> list[Record]:
    """The unlabelled queries with soft labels: each with its likeliest label as answer.

    Args:
        labelled: The few rows; their answers are the labels.
        unlabelled: Queries; their answers are not looked at.
        start: A model that writes; it is copied, never changed.
        ensemble: How the ensemble is made.
        progress: Told the share of models tuned, in (0, 1].

    Raises:
        BadInputError: No labelled row.
    """
    if not labelled:
        raise BadInputError("few-shot.labelled", "are missing; a handful of answered rows is needed")
    labels = tuple(sorted({record.answer for record in labelled}))
    weights = [_untuned_accuracy(start, pattern, labelled, labels) for pattern in ensemble.patterns]
    extra: list[list[Record]] = [[] for _ in ensemble.patterns]
    for generation in range(ensemble.generations):
        tuned = [
            _tuned(start, pattern, [*labelled, *more], ensemble.schedule)
            for pattern, more in zip(ensemble.patterns, extra, strict=True)
        ]
        scores = [
            _scores(model, pattern, unlabelled, labels) for model, pattern in zip(tuned, ensemble.patterns, strict=True)
        ]
        if progress is not None:
            progress((generation + 1) / ensemble.generations)
        if generation + 1 < ensemble.generations:
            size = round(len(labelled) * (ensemble.growth ** (generation + 1) - 1))
            extra = _self_labelled(scores, weights, unlabelled, labels, size, ensemble)
    mixed = _mixed(scores, weights) / ensemble.temperature
    mixed -= np.logaddexp.reduce(mixed, axis=1, keepdims=True)
    return [_soft_labelled(record, labels, row) for record, row in zip(unlabelled, mixed, strict=True)]


def _untuned_accuracy(
    start: LanguageModel, pattern: Pattern, labelled: Sequence[Record], labels: Sequence[str]
) -> float:
    best = _scores(start, pattern, labelled, labels).argmax(1)
    right = [labels[row] == record.answer for row, record in zip(best, labelled, strict=True)]
    return (sum(right) + 1) / (len(right) + 2)  # never nothing: an untuned model knows little


def _tuned(start: LanguageModel, pattern: Pattern, records: Sequence[Record], schedule: Schedule) -> LanguageModel:
    model, plain = replace(start, model=copy.deepcopy(start.model)), plain_for(start.tokenizer)
    prompts = [pattern.template.fill(plain(record.text)) for record in records]
    said = [pattern.say(record.answer) for record in records]
    pairs = zip(prompts, said, strict=True)
    fit(model, [Example(prompt, said_after(start, prompt, text)) for prompt, text in pairs], schedule)
    return model


def _scores(
    model: LanguageModel, pattern: Pattern, records: Sequence[Record], labels: Sequence[str]
) -> NDArray[np.float64]:
    """(records, labels), natural logarithms."""
    plain = plain_for(model.tokenizer)
    prompts = [pattern.template.fill(plain(record.text)) for record in records]
    return score_texts(model, prompts, [pattern.say(label) for label in labels])


def _mixed(scores: Sequence[NDArray[np.float64]], weights: Sequence[float]) -> NDArray[np.float64]:
    shares = np.array(weights) / sum(weights)
    return np.asarray(np.tensordot(shares, np.stack(scores), axes=1))


def _self_labelled(
    scores: Sequence[NDArray[np.float64]],
    weights: Sequence[float],
    unlabelled: Sequence[Record],
    labels: Sequence[str],
    size: int,
    ensemble: Ensemble,
) -> list[list[Record]]:
    """Queries for each model, labelled by a random subset of the others, as many of each label, the surest first."""
    generator = np.random.default_rng(ensemble.schedule.seed)
    found: list[list[Record]] = []
    for own in range(len(scores)):
        others = [row for row in range(len(scores)) if row != own] or [own]
        count = max(1, round(ensemble.subset * len(others)))
        drawn = generator.choice(others, size=count, replace=False)
        mixed = _mixed([scores[row] for row in drawn], [weights[row] for row in drawn])
        found.append(_surest(mixed, unlabelled, labels, -(-size // len(labels))))
    return found


def _surest(
    scores: NDArray[np.float64], unlabelled: Sequence[Record], labels: Sequence[str], each: int
) -> list[Record]:
    best = scores.argmax(1)
    found: list[Record] = []
    for column, label in enumerate(labels):
        rows = sorted(np.flatnonzero(best == column).tolist(), key=lambda row: -float(scores[row].max()))
        found += [replace(unlabelled[row], answer=label) for row in rows[:each]]
    return found


def _soft_labelled(record: Record, labels: Sequence[str], scores: NDArray[np.float64]) -> Record:
    order = np.argsort(-scores, kind="stable")
    names, values = tuple(labels[position] for position in order), tuple(float(scores[position]) for position in order)
    return replace(record, answer=names[0], labels=names, log_probabilities=values, tail_log_probability=None)
