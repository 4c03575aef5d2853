"""A text's vector, computed once ever: a cache in SQLite.

Rule:
 * What is broken off goes on where it was, but for the last ``KEPT_AT_ONCE`` texts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import numpy as np

from router.core.arrays import Floats

KEPT_AT_ONCE = 200  # texts; an encoder in numpy takes up to 0.2 s of the processor for one


class Features(AbstractContextManager["Features"]):
    """Vectors by text, kept in one file."""

    def __init__(self, path: Path, embed: Callable[[str], Floats]) -> None:
        """Keep what ``embed`` gives in ``path``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=60)
        self._connection.execute("CREATE TABLE IF NOT EXISTS vectors (text TEXT PRIMARY KEY, vector BLOB NOT NULL)")
        self._embed = embed

    def of(self, texts: Sequence[str], progress: Callable[[float], None] = lambda share: None) -> list[Floats]:
        """One vector a text."""
        known = self._known()
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(missing), KEPT_AT_ONCE):
            some = missing[start : start + KEPT_AT_ONCE]
            for position, text in enumerate(some, start):
                known[text] = np.asarray(self._embed(text), np.float32)
                if position % 50 == 0:
                    progress(position / len(missing))
            with self._connection:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO vectors VALUES (?, ?)", [(text, known[text].tobytes()) for text in some]
                )
        progress(1.0)
        return [known[text] for text in texts]

    def _known(self) -> dict[str, Floats]:
        rows = self._connection.execute("SELECT text, vector FROM vectors")
        return {text: np.frombuffer(vector, np.float32) for text, vector in rows}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._connection.close()
