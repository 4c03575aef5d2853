"""Who may call what: one table for every door.

Rules:
 * What is not in the table may be called by nobody.
 * What anybody may call is served on the door without client certificates, or tells nothing but that it serves.
 * A call in the name of a device is that device's alone; a test enumerates the contract's calls against the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from router.core.errors import DeniedError
from router.identity.names import Identity, Role

ANYBODY: Final = frozenset(Role)
_ASKS = frozenset({Role.DEVICE, Role.CLIENT, Role.OPERATOR})
_IS_DEVICE = frozenset({Role.DEVICE})
_OPERATES = frozenset({Role.OPERATOR})

MAY_CALL: Final[Mapping[str, frozenset[Role]]] = {
    "/headrace.v1.Cascade/Answer": _ASKS,
    "/headrace.v1.Cascade/AnswerStream": _ASKS,
    "/headrace.v1.Cascade/Feedback": _ASKS,
    "/headrace.v1.Fleet/Sync": _IS_DEVICE,
    "/headrace.v1.Releases/Fetch": _IS_DEVICE,
    "/headrace.v1.Enrolment/Authorities": ANYBODY,
    "/headrace.v1.Enrolment/Enroll": ANYBODY,
    "/headrace.v1.Enrolment/Renew": ANYBODY,
    "/grpc.health.v1.Health/Check": ANYBODY,
    "/grpc.health.v1.Health/Watch": ANYBODY,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _OPERATES,
}


def check_access(method: str, caller: Identity | None) -> None:
    """Check that somebody, ``None`` for whoever names nobody, may call a method by its full name.

    Raises:
        DeniedError: Not allowed.
    """
    allowed = MAY_CALL.get(method, frozenset())
    if allowed == ANYBODY or (caller is not None and caller.role in allowed):
        return
    name = method.rpartition("/")[2]
    if caller is None:
        raise DeniedError(f"{name} needs a certificate of this fleet; enrol, or ask its operator for one")
    raise DeniedError(f"a {caller.role} may not call {name}")
