"""A student whose answers are known already: what a trial and a watch are given in the place of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from router.core.domain.prediction import Prediction
from router.core.domain.query import Message, Query
from router.core.domain.record import Record
from router.core.errors import BadInputError
from router.core.learning.training_rows import query_of


class Predicted:
    """Says of each row's query what was said of it; of one that could not be read it says so again."""

    def __init__(self, rows: Iterable[Record], said: Sequence[Prediction | None]) -> None:
        """Know what was ``said`` of each of some rows, ``None`` of one that can't be read."""
        self._known: dict[tuple[str, str, tuple[Message, ...]], Prediction] = {}
        for row, prediction in zip(rows, said, strict=True):
            if prediction is not None:
                with suppress(BadInputError):  # of a chat that is none
                    self._known[_asked(query_of(row))] = prediction

    def predict(self, query: Query) -> Prediction:
        """Answer one query as it was answered before.

        Raises:
            BadInputError: It can't read this one.
        """
        known = self._known.get(_asked(query))
        if known is None:
            raise BadInputError("text", "can't be read by this student")
        return known


def _asked(query: Query) -> tuple[str, str, tuple[Message, ...]]:
    return query.id, query.text, query.messages
