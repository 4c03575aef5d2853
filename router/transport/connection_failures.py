"""Why nobody was reached: gRPC's own words on a failed connection, sorted by what is the matter.

Nothing here is said to callers: the words may hold addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_NAME, _FAILED = ("DNS resolution failed", "errors resolving"), "failed to connect"
_UNTRUSTED, _BY_TIME = "CERTIFICATE_VERIFY_FAILED", ("expired", "not yet valid")
CLOSED: Final = "it closed the connection, as a door does that takes no such certificate, or none, or only plain text"


class FailureKind(StrEnum):
    """What is the matter with a connection."""

    NOBODY = "nobody"  # nothing answers at the address
    NAME = "name"  # there is no address: the host's name can't be resolved
    STRANGER = "stranger"  # whoever answers has no certificate of this fleet's


@dataclass(frozen=True, slots=True)
class ConnectionFailure:
    """Why nobody was reached.

    Attributes:
        kind: What is the matter.
        words: For people who know the target: the last of what gRPC says.
    """

    kind: FailureKind
    words: str


def read_failure(details: str) -> ConnectionFailure:
    """What the details of a call say that reached nobody.

    Such as ``failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7600: Connection refused``.
    """
    last = details.rpartition(": ")[2]
    if details.startswith(_NAME):
        return ConnectionFailure(FailureKind.NAME, f"its name can't be resolved: {last.rstrip(']')}")
    if _UNTRUSTED in details and not any(word in last for word in _BY_TIME):  # those are the clock's matter
        return ConnectionFailure(FailureKind.STRANGER, f"it shows no certificate of this fleet's: {last}")
    if last == "Socket closed":
        return ConnectionFailure(FailureKind.NOBODY, CLOSED)
    return ConnectionFailure(FailureKind.NOBODY, last if details.startswith(_FAILED) else details)
