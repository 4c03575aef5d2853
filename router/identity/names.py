"""Who somebody is, as a certificate says it.

Rules:
 * A certificate names one identity in its URI: ``spiffe://headrace/<role>/<name>`` (SPIFFE-ID, section 2).
 * Devices, clients and operators have namespaces of their own: a client named as a device is another caller.
 * Doors are known by a name of their role, wherever they stand: whoever asks a gateway is never served by a device.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from router.core.release.reports import is_device_name

ANONYMOUS: Final = "anonymous"
GATEWAY_SERVER: Final = "gateway.headrace.internal"
_PREFIX = "spiffe://headrace/"
_HASHED_CHARACTERS = 40  # of a device's name in the name of its door; 160 bits


class Role(StrEnum):
    """What somebody may be."""

    DEVICE = "device"
    CLIENT = "client"
    OPERATOR = "operator"
    GATEWAY = "gateway"


_ROLES = frozenset(role.value for role in Role)


@dataclass(frozen=True, slots=True)
class Identity:
    """One of a role, by name."""

    role: Role
    name: str

    @property
    def uri(self) -> str:
        """The URI that a certificate names it by."""
        return f"{_PREFIX}{self.role}/{self.name}"

    @property
    def caller(self) -> str:
        """The caller that the log names: a device by its name, everybody else with the role too."""
        return self.name if self.role is Role.DEVICE else f"{self.role}:{self.name}"

    @property
    def server(self) -> str:
        """The name that its door has in its certificate. Hashed, since host names don't tell upper case from lower."""
        if self.role is Role.GATEWAY:
            return GATEWAY_SERVER
        return f"{hashlib.sha256(self.name.encode()).hexdigest()[:_HASHED_CHARACTERS]}.agent.headrace.internal"


def is_name(name: str) -> bool:
    """Whether somebody may be called so: as devices are, and not as whoever names nobody."""
    return is_device_name(name) and name != ANONYMOUS


def identity_of(uri: str) -> Identity | None:
    """The identity that a certificate's URI names, ``None`` of any other URI."""
    role, slash, name = uri.removeprefix(_PREFIX).partition("/")
    if not uri.startswith(_PREFIX) or not slash or role not in _ROLES or not is_name(name):
        return None
    return Identity(Role(role), name)
