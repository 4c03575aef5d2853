"""``soft-labels``: learn the teacher's whole distribution, not its first choice.

Turc, Chang, Lee and Toutanova 2019, "Well-Read Students Learn Better": distil soft labels into a compact student that
starts pretrained, or truncated from a larger encoder; temperature after Hinton, Vinyals and Dean 2015. The start is the
student's business (``load_model(source, labels, layers=2)`` truncates).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cloud_worker.language.examples import Example, LabelExample, Lessons, gather, group_of
from cloud_worker.language.templates import Template
from router.core.domain.query import Distribution
from router.core.domain.record import Record

LEAST_PROBABILITY = 1e-6  # of a label that is learned; all that are less likely add up to nothing


def soft_labels(records: Sequence[Record], template: Template | None = None) -> Lessons[LabelExample]:
    """One distribution a row; a row whose teacher gave none teaches its answer as certain.

    Args:
        records: Rows that may teach.
        template: Around the query; the bare query if left out.
    """
    template = template or Template()
    return gather([(record, _label_example(record, template)) for record in records])


def hard_labels(records: Sequence[Record], template: Template | None = None) -> Lessons[LabelExample]:
    """The teacher's first choice as certain: what ``soft_labels`` is compared with."""
    template = template or Template()
    certain = [
        (record, [LabelExample(template.fill(record.text), Distribution(((record.answer, 0.0),)))])
        for record in records
    ]
    return gather(certain)


def label_examples(texts: Sequence[str], labels: Sequence[str], targets: NDArray[np.float32]) -> list[LabelExample]:
    """One distribution a distinct text, of what several rows say of it together.

    Args:
        texts: What the student reads.
        labels: That it knows.
        targets: (texts, labels) probabilities; each row sums to 1.
    """
    return [LabelExample(text, _dense(labels, row)) for text, row in zip(texts, targets, strict=True)]


def _dense(labels: Sequence[str], target: NDArray[np.float32]) -> Distribution:
    positions = [position for position in np.argsort(-target, kind="stable") if target[position] > LEAST_PROBABILITY]
    return Distribution(tuple((labels[position], math.log(target[position])) for position in positions))


def soft_texts(
    records: Sequence[Record], template: Template | None = None, temperature: float = 1.0, most: int = 4
) -> Lessons[Example]:
    """The same for a student that writes: every likely label is a text to write, weighted by its probability.

    Args:
        records: Rows that may teach.
        template: Around the query.
        temperature: Flattens the weights, above 0.
        most: Likeliest labels kept; their weights sum to 1.

    Raises:
        ValueError: A temperature that is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; use a number above 0")
    template = template or Template()
    return gather([(record, _texts(record, template, temperature, most)) for record in records])


def distribution_of(record: Record) -> Distribution:
    """What the teacher said of the labels; certain of its answer where it said nothing."""
    if not record.labels:
        return Distribution(((record.answer, 0.0),))
    pairs = tuple(zip(record.labels, record.log_probabilities, strict=True))
    return Distribution(pairs, record.tail_log_probability)


def _label_example(record: Record, template: Template) -> list[LabelExample] | str:
    if len(record.labels) != len(record.log_probabilities):
        return "labels and log-probabilities differ in number"
    return [LabelExample(template.fill(record.text), distribution_of(record))]


def _texts(record: Record, template: Template, temperature: float, most: int) -> list[Example] | str:
    if len(record.labels) != len(record.log_probabilities):
        return "labels and log-probabilities differ in number"
    pairs = distribution_of(record).top[:most]
    highest = max(value for _, value in pairs)
    powers = [math.exp((value - highest) / temperature) for _, value in pairs]
    prompt, group = template.fill(record.text), group_of(record)
    shares = [power / sum(powers) for power in powers]
    return [Example(prompt, label, share, group) for (label, _), share in zip(pairs, shares, strict=True)]
