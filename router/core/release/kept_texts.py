"""The texts that a release may keep, where what will be asked is not known: those that were asked before it was proved.

A repertoire may move on. What a student says of texts to come is proved by texts that are new to it alone, and often
can't be; what it says of those that were asked goes on counting as long as they are asked, and each that is asked no
more is one less to lose. So a release that keeps those alone loses no more later than while it is proved, however the
others move on: a text that it doesn't know escalates.

Rules:
 * Texts are alike by their words, as pieces of evidence are (``router.core.statistics.likeness``).
 * A chat is never one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from router.core.arrays import Bools, Ints
from router.core.statistics.likeness import likeness

_STORED = np.dtype("<i8")


@dataclass(frozen=True, slots=True)
class KeptTexts:
    """Some texts.

    Attributes:
        numbers: Of each, sorted, none twice.
    """

    numbers: Ints = field(compare=False)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Number some texts."""
        return cls(np.unique(np.array([number_of_text(text) for text in texts], np.int64)))

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The texts of a file.

        Raises:
            ValueError: It holds no sorted numbers.
        """
        numbers = np.frombuffer(data, _STORED).astype(np.int64)
        if (np.diff(numbers) <= 0).any():
            raise ValueError("the numbers of its texts are not sorted")
        return cls(numbers)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.numbers)

    def __contains__(self, text: str) -> bool:
        """Whether a text is one of them."""
        return bool(self.among(np.array([number_of_text(text)], np.int64))[0])

    def among(self, numbers: Ints) -> Bools:
        """(texts,) whether each is one of them, by its number."""
        if not len(self.numbers):
            return np.zeros(len(numbers), np.bool_)
        found = self.numbers[np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)]
        return np.asarray(found == numbers)

    def without(self, numbers: Iterable[int]) -> Self:
        """All but those of these numbers."""
        return type(self)(np.setdiff1d(self.numbers, np.array([*numbers], np.int64), assume_unique=True))

    def to_bytes(self) -> bytes:
        """Write them as a file holds them: eight bytes of each, the lowest first."""
        return self.numbers.astype(_STORED).tobytes()


def number_of_text(text: str) -> int:
    """The number of a text."""
    return likeness(text, "", "")[0]
