"""What came of a replay: every query, the releases that served, and what an operator would have been told."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Served:
    """What became of one query.

    Attributes:
        position: In the log, from 0.
        local: A student answered, or the device's memory.
        cloud: The large model was asked, for any reason.
        explored: Drawn for the large model.
        remembered: The answer is what the large model had said before.
        agrees: The answer is the large model's.
        right: The answer is the log's label; ``None`` where that is not known.
        release: In force.
    """

    position: int
    local: bool
    cloud: bool
    explored: bool
    agrees: bool
    right: bool | None
    release: int
    remembered: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """A release that served from query ``at_query`` on, and its certificate."""

    number: int
    at_query: int
    threshold: float
    rows: int
    weight: float
    distinct: int
    losses: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an operator would have been told, after so many queries."""

    queries: int
    what: str


@dataclass(slots=True)
class History:
    """What happened in a replay: its outcome."""

    served: list[Served] = field(default_factory=list)
    releases: list[Released] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    alarms: int = 0
