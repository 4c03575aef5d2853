"""``soft-tokens``: learn what the teacher might have written instead, token by token.

Kim and Rush 2016, "Sequence-Level Knowledge Distillation", word-level form, on the teacher's own text. The log keeps
the likeliest tokens and a tail for the rest; ``topk_loss`` is a whole distribution's loss over them.

The student needs the teacher's tokenizer. Where its tokens are others the text alone counts, and the trainer says how
often (``hardened``).
"""

from __future__ import annotations

from collections.abc import Sequence

from cloud_worker.language.examples import Example, Lessons, gather, group_of
from cloud_worker.language.rationales import anything
from cloud_worker.language.templates import Template
from router.core.domain.query import TokenProbability
from router.core.domain.record import Record
from router.core.domain.token_codec import unpack


def soft_tokens(records: Sequence[Record], template: Template | None = None) -> Lessons[Example]:
    """The query -> the answer, each token with what else the teacher thought of.

    A row without token probabilities, or with a reason in front of its answer, teaches the answer alone.

    Args:
        records: Rows that may teach.
        template: Around the query; the bare query if left out.
    """
    template = template or Template()
    return gather([(record, _example(record, template)) for record in records])


def _example(record: Record, template: Template) -> list[Example] | str:
    alternatives = tuple(token.alternatives for token in _tokens(record))
    if not all(step.top for step in alternatives):
        alternatives = ()
    made = Example(template.fill(record.text), record.answer, 1.0, group_of(record), alternatives)
    return anything(record) or [made]


def _tokens(record: Record) -> Sequence[TokenProbability]:
    """None where a reason was written too, and where a disk has spoilt them."""
    try:
        return () if record.rationale else unpack(record.tokens)
    except ValueError:
        return ()
