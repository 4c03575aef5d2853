"""Which slot of a task is committed, and whether its release is still on probation: what the file ``active`` says.

Nothing here reads a clock, a file or a socket.

Rules:
 * A release with a student is on probation until it has proven itself; until then its predecessor stays where it is.
 * A release whose agent starts again and again without an orderly end has to give way to its predecessor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from router.core.errors import ReleaseError

NAMES = ("a", "b", "c")
MOST_STARTS = 3  # of an agent with a release on probation, one after the other, that none of them ended in order


@dataclass(frozen=True, slots=True)
class FilledSlot:
    """A slot, and the SHA-256 in hex of the manifest of what lies in it."""

    slot: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class Pointer:
    """What is committed of one task.

    Attributes:
        slot: Its slot.
        manifest_sha256: Of its manifest, in hex.
        probation: Whether its release has yet to prove itself.
        former: What was proven before it; ``None`` without such a one, and once it has proven itself.
        starts: Of the agent since it was committed, or since the last orderly end.
    """

    slot: str
    manifest_sha256: str
    probation: bool = False
    former: FilledSlot | None = None
    starts: int = 0

    @property
    def used(self) -> frozenset[str]:
        """The slots that are needed."""
        return frozenset({self.slot, self.former.slot} if self.former else {self.slot})

    @property
    def is_looping(self) -> bool:
        """Whether its release has to give way."""
        return self.probation and self.starts >= MOST_STARTS

    def followed_by(self, filled: FilledSlot, *, probation: bool) -> Pointer:
        """What is committed once another release is. What was on probation itself is nothing to go back to."""
        proven = self.former if self.probation else FilledSlot(self.slot, self.manifest_sha256)
        return Pointer(filled.slot, filled.manifest_sha256, probation, proven if probation else None)

    def proven(self) -> Pointer:
        """The same release, off probation."""
        return Pointer(self.slot, self.manifest_sha256)

    def started(self) -> Pointer:
        """The pointer after one more start."""
        return replace(self, starts=self.starts + 1)

    def calm(self) -> Pointer:
        """The pointer after an orderly end, or a long run."""
        return replace(self, starts=0)


_POINTER = TypeAdapter(Pointer)


def write_pointer(pointer: Pointer) -> bytes:
    """The pointer as JSON."""
    return _POINTER.dump_json(pointer)


def read_pointer(data: bytes) -> Pointer:
    """The pointer that the bytes spell.

    Raises:
        ReleaseError: They spell none, or one to a slot that there is not.
    """
    try:
        pointer = _POINTER.validate_json(data)
    except ValidationError as error:
        raise ReleaseError(f"it can't be read: {error}") from error
    strange = sorted(pointer.used - set(NAMES))
    if strange:
        raise ReleaseError(f"it names a slot {strange[0]!r}; there are {NAMES}")
    return pointer
