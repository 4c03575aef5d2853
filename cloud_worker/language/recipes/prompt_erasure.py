"""``prompt-erasure``: the teacher is told how to think, the student is not.

Mitra et al. 2023, "Orca 2: Teaching Small Language Models How to Reason": the teacher answers under a rich instruction
that names a strategy; the student sees the bare query and the teacher's response, and must find the strategy itself.

The gateway asks the reference with the instruction and logs the bare query: rows of the log come erased already, and
rows from elsewhere may still carry it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloud_worker.language.examples import Example, Lessons, gather, group_of
from cloud_worker.language.rationales import anything, written
from cloud_worker.language.templates import Template
from router.core.domain.record import Record


def prompt_erasure(records: Sequence[Record], rich: Template, lean: Template | None = None) -> Lessons[Example]:
    """The query without its rich instruction -> the teacher's whole response.

    Args:
        records: Rows that may teach; a text that does not carry the instruction is taken as bare.
        rich: The instruction that the teacher was given around the query.
        lean: What the student sees around it; nothing if left out.
    """
    lean = lean or Template()
    return gather([(record, anything(record) or [_example(record, rich, lean)]) for record in records])


def _example(record: Record, rich: Template, lean: Template) -> Example:
    bare = rich.strip(record.text)
    query = record.text if bare is None else bare
    return Example(lean.fill(query), written(record), 1.0, group_of(record))
