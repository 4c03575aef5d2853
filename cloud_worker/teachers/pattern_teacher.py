"""A teacher that labels with a language model: what would it write after the question, the name of which label?

Schick and Schuetze 2021, "Exploiting Cloze Questions for Few-Shot Text Classification" (PET): a pattern puts the
question into a sentence, a verbaliser says each label in words, and several patterns are averaged. Here the label's
words stand after the pattern, which any model that writes can score; answered examples may stand in front, as Brown et
al. 2020 do.

Rules:
 * Its answer is one of its labels, whatever the question says; its distribution holds them all.
 * A question that breaks the model fails alone.
 * Examples that do not fit into the window are left out, the last first; a question that does not fit is refused.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud_worker.config.teachers import PatternsSettings
from cloud_worker.language.batching import encode_prompt
from cloud_worker.language.generation import score_texts
from cloud_worker.language.templates import Pattern, Template
from cloud_worker.teachers.base import NoAnswer, Question, Reply, TeacherAnswer
from cloud_worker.teachers.labelled_examples import Example, read_examples
from cloud_worker.teachers.versions import digest_of_file, digest_of_model, version_of
from router.core.domain.plain_text import plain_for
from router.core.domain.query import Distribution
from router.core.errors import BadInputError, ConfigError, ModelError
from router.students.writers.local_writer import FAILURES, failure
from router.students.writers.transformers_loader import Form, LanguageModel, fastest_device, load_language

log = logging.getLogger(__name__)

_SCORED = "as running text"  # how; part of the version


@dataclass(frozen=True, slots=True)
class Labelling:
    """How a model is asked for a label.

    Attributes:
        patterns: Ways to ask, at least one; their scores are averaged.
        labels: What it may answer, at least two.
        shots: Answered examples in front of every question, in this order.
    """

    patterns: tuple[Pattern, ...]
    labels: tuple[str, ...]
    shots: tuple[Example, ...] = ()


class PatternsTeacher:
    """Answers with the label whose words are likeliest."""

    threads = 1

    def __init__(self, name: str, language: LanguageModel, labelling: Labelling, version: str) -> None:
        """Score with ``language``.

        Raises:
            ModelError: It has a label head, or no room for a label.
        """
        if language.form is Form.LABELS:
            raise ModelError(f"teacher {name!r}: a model with a label head writes no text; patterns can't be scored")
        self.name = name
        self.version = version
        self._language = language
        self._labelling = labelling
        self._reserved = max(
            len(language.tokenizer(f" {pattern.say(label)}", add_special_tokens=False)["input_ids"]) + 1
            for pattern in labelling.patterns
            for label in labelling.labels
        )

    def answer(self, questions: Sequence[Question]) -> Iterator[Reply]:
        """Label the questions, one after the other: each is a batch of its own, a row for every label."""
        for question in questions:
            began = time.perf_counter()
            try:
                scores = self.scores(question.text)
            except BadInputError as error:
                yield NoAnswer(str(error).removeprefix(f"{error.field} "), error.field)
                continue
            except FAILURES as error:
                log.error("teacher %s has no answer: %s", self.name, failure(error, "a question"))
                yield NoAnswer(f"teacher {self.name!r} has no answer to this; its operator's log says why")
                continue
            order = np.argsort(-scores, kind="stable")
            labels = self._labelling.labels
            distribution = Distribution(tuple((labels[position], float(scores[position])) for position in order))
            milliseconds = (time.perf_counter() - began) * 1000
            yield TeacherAnswer(labels[order[0]], self.version, distribution, milliseconds)

    def scores(self, text: str) -> NDArray[np.float64]:
        """Natural log-probabilities of the labels, (labels,): the mean over the patterns, normalised again.

        Raises:
            BadInputError: The text is longer than the window, without any example.
        """
        labels = self._labelling.labels
        each = [
            score_texts(self._language, [self._prompt(pattern, text)], [pattern.say(label) for label in labels])[0]
            for pattern in self._labelling.patterns
        ]
        mean = np.mean(each, axis=0)
        return np.asarray(mean - np.logaddexp.reduce(mean))

    def _prompt(self, pattern: Pattern, text: str) -> str:
        plain = plain_for(self._language.tokenizer)
        asked = pattern.template.fill(plain(text))
        shown = [
            f"{pattern.template.fill(plain(shot.text))} {pattern.say(shot.label)}\n\n" for shot in self._labelling.shots
        ]
        while True:
            prompt = "".join(shown) + asked
            try:
                encode_prompt(self._language, prompt, self._reserved)
            except BadInputError:
                if not shown:
                    raise
                shown.pop()
            else:
                return prompt


def load_patterns_teacher(settings: PatternsSettings) -> PatternsTeacher:
    """The teacher that ``settings`` describe, its model loaded.

    Raises:
        ModelError: The model can't be loaded.
        DataError: Names the line of the examples that can't be used.
        ConfigError: Fewer than two labels, or one that is said by an empty text.
    """
    labelling = labelling_of(settings)
    language = load_language(settings.model, device=fastest_device())
    examples = digest_of_file(Path(settings.examples)) if settings.examples else ""
    version = version_of("patterns", digest_of_model(settings.model), repr(labelling), examples, _SCORED)
    return PatternsTeacher(settings.name, language, labelling, version)


def labelling_of(settings: PatternsSettings) -> Labelling:
    """How the settings want labels asked.

    Raises:
        DataError: Names the line of the examples that can't be used.
        ConfigError: Fewer than two labels, or one that is said by an empty text.
    """
    examples = read_examples(Path(settings.examples)) if settings.examples else []
    labels = dict.fromkeys((*settings.labels, *settings.verbaliser, *(example.label for example in examples)))
    source = f"teachers.{settings.name}"
    if len(labels) < 2:
        raise ConfigError(source, "labels", f"are {list(labels)}; name two or more, here or in examples")
    verbaliser = tuple(settings.verbaliser.items())
    patterns = tuple(Pattern(Template(pattern), verbaliser) for pattern in settings.patterns)
    said = [patterns[0].say(label) for label in labels]
    if len(set(said)) < len(said):
        raise ConfigError(source, "verbaliser", f"says two labels alike: {sorted(said)}")
    return Labelling(patterns, tuple(labels), _spread(examples)[: settings.shots])


def _spread(examples: Sequence[Example]) -> tuple[Example, ...]:
    """The examples in an order in which every label comes before any comes again."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_label[example.label].append(example)
    rounds = chain.from_iterable(zip_longest(*by_label.values()))
    return tuple(example for example in rounds if example is not None)
