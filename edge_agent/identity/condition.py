"""What is the matter with an agent, each trouble by its own name and with its own remedy.

Nothing here reads a clock, a file or a socket.

Rules:
 * What somebody must do comes before what mends itself; the first is what the fleet is told.
 * That the cloud is away is told only where nothing else explains it, and then why, as far as that is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge_agent.identity.clock import Clock
from router.transport.connection_failures import FailureKind


class State(StrEnum):
    """One trouble, or none."""

    OK = "ok"
    REVOKED = "revoked"
    CLOCK_AHEAD = "clock_ahead"
    CLOCK_BEHIND = "clock_behind"
    CERTIFICATE_EXPIRED = "certificate_expired"
    REFUSED = "refused"
    DISK_FULL = "disk_full"
    DATABASE_LOCKED = "database_locked"
    DISK_UNWRITABLE = "disk_unwritable"
    DATABASE_DAMAGED = "database_damaged"
    NOT_TRUSTED = "not_trusted"
    NAME_UNRESOLVED = "name_unresolved"
    OFFLINE = "offline"


REMEDIES: Final[Mapping[State, str]] = {
    State.OK: "",
    State.REVOKED: "ask whoever operates the cloud; with a new token `headrace-edge enroll` joins again",
    State.CLOCK_AHEAD: "set the clock back to the right time (NTP); the rest mends itself",
    State.CLOCK_BEHIND: "set the clock forward to the right time (NTP); the rest mends itself",
    State.CERTIFICATE_EXPIRED: "let the device reach the cloud's enrolment port: it renews by itself",
    State.REFUSED: "look at what the cloud says; it may take this device for another, or want a new enrolment",
    State.DISK_FULL: "make room on the disk of the data folder; answers go on, lessons and updates wait",
    State.DATABASE_LOCKED: "end whatever holds outbox.sqlite, such as a backup; lessons wait in memory",
    State.DISK_UNWRITABLE: "see to the disk and the owner of the data folder; lessons wait in memory",
    State.DATABASE_DAMAGED: "look at the disk; a damaged outbox was set aside, and a restart clears this",
    State.NOT_TRUSTED: "see who answers at the cloud's address: it shows no certificate of this fleet's gateways",
    State.NAME_UNRESOLVED: "check DNS on this device, and the name in upstream.target; answers go on, lessons wait",
    State.OFFLINE: "check the network and the address of the cloud; answers go on, lessons wait",
}
STATE_OF_FAILURE: Final[Mapping[FailureKind, State]] = {
    FailureKind.NOBODY: State.OFFLINE,
    FailureKind.NAME: State.NAME_UNRESOLVED,
    FailureKind.STRANGER: State.NOT_TRUSTED,
}
_ORDER = tuple(state for state in State if state is not State.OK)
_EXPLAINS_AWAY = frozenset({State.CLOCK_AHEAD, State.CLOCK_BEHIND, State.CERTIFICATE_EXPIRED, State.REVOKED})


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known.

    Attributes:
        away: Where the ways to the targets of the next tier are lost; empty while one of them answers.
        refused: The next tier, or who renews, refuses this device.
        revoked: It says that the certificate was revoked.
        certificate_ends: Unix time in seconds, ``None`` without a certificate.
        now: The same of now, by this device's clock.
        clock: How that goes.
        storage: What outbox and updates say of the disk: names of states, ``ok`` among them.
    """

    away: tuple[FailureKind, ...] = ()
    refused: bool = False
    revoked: bool = False
    certificate_ends: float | None = None
    now: float = 0.0
    clock: Clock = Clock.RIGHT
    storage: tuple[str, ...] = ()


def states(facts: Facts) -> tuple[State, ...]:
    """Every trouble that the facts show, the one to see to first in front; ``ok`` alone where there is none."""
    found = {State(name) for name in facts.storage if name in _NAMES}
    if facts.revoked:
        found.add(State.REVOKED)
    elif facts.refused:
        found.add(State.REFUSED)
    if facts.clock is not Clock.RIGHT:
        found.add(State(facts.clock.value))
    elif facts.certificate_ends is not None and facts.now > facts.certificate_ends:
        found.add(State.CERTIFICATE_EXPIRED)
    if not found & _EXPLAINS_AWAY:
        found |= {STATE_OF_FAILURE[kind] for kind in facts.away}
    return tuple(state for state in _ORDER if state in found) or (State.OK,)


_NAMES = frozenset(state.value for state in _ORDER)
