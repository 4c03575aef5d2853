"""Metadata of the roles as values: made, compared, signed and verified. Nothing here reads a clock, a file or a key.

Rules:
 * ``root`` says whose keys count; ``targets`` is signed offline and says what holds of each task, and whose key signs
   releases (``models``); ``snapshot`` lists what belongs together, ``timestamp`` says which list is the newest.
 * Versions of all but the root are Unix seconds, or one more than before where that is more: what was made after a
   backup was brought back is then never taken for something older.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from securesystemslib.signer import Key
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from cloud_worker.releases.repository.files import MODELS, ROOT, SNAPSHOT, TARGETS, TIMESTAMP

DAY_SECONDS = 86_400.0
ONLINE = "online"  # whose keys sign snapshot and timestamp
MODELS_PATHS = ["models/*/*/manifest.json"]
CLOCK_SECONDS = 3600.0  # by which clocks of one cloud may differ
RENEWED_AFTER = 0.5  # of the days that metadata holds


def new_root(keys: Mapping[str, Iterable[Key]], threshold: int, expires: float, version: int = 1) -> Root:
    """A root.

    Args:
        keys: Of ``root``, ``targets`` and ``online``.
        threshold: How many of the offline keys must sign.
        expires: Unix time in seconds.
        version: Its number.
    """
    found = {name: list(of_role) for name, of_role in keys.items()}
    roles = {
        ROOT: Role([key.keyid for key in found[ROOT]], threshold),
        TARGETS: Role([key.keyid for key in found[TARGETS]], threshold),
        SNAPSHOT: Role([key.keyid for key in found[ONLINE]], 1),
        TIMESTAMP: Role([key.keyid for key in found[ONLINE]], 1),
    }
    known = {key.keyid: key for of_role in found.values() for key in of_role}
    return Root(version=version, expires=utc(expires), keys=known, roles=roles, consistent_snapshot=True)


def new_targets(statements: Mapping[str, TargetFile], models: Iterable[Key], threshold: int) -> Targets:
    """What is signed of tasks, by target path; and whose keys sign releases, of which ``threshold`` must."""
    keys = {key.keyid: key for key in models}
    role = DelegatedRole(MODELS, sorted(keys), threshold, terminating=True, paths=MODELS_PATHS)
    return Targets(targets=dict(statements), delegations=Delegations(keys, {MODELS: role}))


def new_snapshot(targets: int, models: int) -> Snapshot:
    """The snapshot that says that these two versions belong together."""
    return Snapshot(meta={"targets.json": MetaFile(targets), "models.json": MetaFile(models)})


def new_timestamp(snapshot: int) -> Timestamp:
    """The timestamp that says that this list is the newest."""
    return Timestamp(snapshot_meta=MetaFile(snapshot))


def same_content(one: Signed, other: Signed) -> bool:
    """Whether two say the same, whatever their versions and ends."""
    return _content(one) == _content(other)


def is_fresh(signed: Signed, days: float, now: float) -> bool:
    """Whether less than half of its days has passed, at Unix time ``now`` in seconds.

    What holds for longer than its days was signed by a clock that was ahead: it would be played again for years.
    """
    left = signed.expires.timestamp() - now
    return (1.0 - RENEWED_AFTER) * days * DAY_SECONDS < left <= days * DAY_SECONDS + CLOCK_SECONDS


def is_signed(by: Root | Targets, role: str, metadata: Metadata[Any]) -> bool:
    """Whether enough keys of a role have signed, as ``by`` delegates it."""
    try:
        by.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (UnsignedMetadataError, ValueError):
        return False
    return True


def signatures_of(by: Root | Targets, role: str, metadata: Metadata[Any]) -> tuple[int, int]:
    """How many keys of a role have signed well, and how many must."""
    result = by.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return len(result.signed), result.threshold


def keyids_of(by: Root | Targets, role: str) -> set[str]:
    """Whose signatures count for a role; empty where ``by`` does not delegate it."""
    try:
        return set(by.get_delegated_role(role).keyids)
    except ValueError:
        return set()


def next_version(before: int, now: float) -> int:
    """The version of what follows ``before``, at Unix time ``now`` in seconds."""
    return max(before + 1, int(now))


def dated(signed: Signed, version: int, days: float, now: float) -> Signed:
    """The same, as of Unix time ``now`` in seconds for ``days``."""
    signed.version, signed.expires = version, utc(now + days * DAY_SECONDS)
    return signed


def statement_targets(statements: Mapping[str, bytes], path: Callable[[str], str]) -> dict[str, TargetFile]:
    """What is signed of tasks as targets, by ``path`` of each task's name."""
    return {path(task): TargetFile.from_data(path(task), data, ["sha256"]) for task, data in statements.items()}


def utc(seconds: float) -> datetime.datetime:
    """Unix time in seconds as metadata has it: whole seconds of UTC."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def _content(signed: Signed) -> dict[str, Any]:
    return {key: value for key, value in signed.to_dict().items() if key not in {"version", "expires"}}
