"""What goes wrong at a cloud, as a test wishes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Faults:
    """What goes wrong, until it is set back.

    Attributes:
        unavailable: Calls of ``Answer`` and ``Sync`` get UNAVAILABLE.
        hang: They get no answer at all, as over a half-open connection.
        delay: Seconds before each answer.
        unknown_task: Calls of ``Answer`` get NOT_FOUND.
        pushback: Calls of ``Answer`` are shed, to come back after this many seconds.
        unlogged: Answers say ``logged = false``.
        other_id: Answers come under another query's id.
        spent: Calls of ``Answer`` are refused, as where the fleet's limit is spent.
        corrupt: Files whose bytes come changed, of the same length.
        break_after: A fetch breaks after this many bytes; once for each file.
        chunk_bytes: Size of the pieces of a fetch.
        chunk_delay: Seconds before each piece.
    """

    unavailable: bool = False
    hang: bool = False
    delay: float = 0.0
    unknown_task: bool = False
    pushback: float | None = None
    unlogged: bool = False
    other_id: bool = False
    spent: bool = False
    corrupt: frozenset[str] = frozenset()
    break_after: int | None = None
    chunk_bytes: int = 16 * 1024
    chunk_delay: float = 0.0
