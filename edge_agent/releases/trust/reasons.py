"""From what python-tuf raises to the reason that an operator can act on.

python-tuf says ``BadVersionNumberError`` of a replay and of a mix of two states alike, and ``UnsignedMetadataError`` of
an unknown key and of a changed byte. What was fetched last shows which it is.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    SlowRetrievalError,
    UnsignedMetadataError,
)

from edge_agent.releases.trust.bridge import BridgedFetcher
from edge_agent.tasks.refusals import Refusal, RefusedError
from router.core.errors import HeadraceError, UnavailableError

_VERSIONED = re.compile(r"metadata/(\d+)\.(.+)\.json")


def why(error: RepositoryError | DownloadError, fetcher: BridgedFetcher, metadata: Path) -> HeadraceError:
    """What to tell of a refresh or a target that failed.

    Args:
        error: As python-tuf raised it.
        fetcher: Knows what was fetched last.
        metadata: Folder of what is trusted.
    """
    refusal, mends = _refusal(error, fetcher, metadata)
    if refusal is None:
        return fetcher.problem or UnavailableError(str(error))
    said = f"{fetcher.path.partition('/')[2]}: {error}" if fetcher.path else str(error)
    return RefusedError(refusal, said, mends=mends)


def _refusal(
    error: RepositoryError | DownloadError, fetcher: BridgedFetcher, metadata: Path
) -> tuple[Refusal | None, bool]:
    """The reason, and whether it mends by itself; ``None`` where the source is merely away."""
    match error:
        case SlowRetrievalError():
            return Refusal.SLOW, True
        case DownloadLengthMismatchError():
            return Refusal.ENDLESS, False
        case DownloadHTTPError():
            return Refusal.UNSIGNED, True
        case DownloadError():
            return None, True
        case ExpiredMetadataError():
            return Refusal.EXPIRED, True
        case BadVersionNumberError():
            return (Refusal.MIXED if _is_misnamed(fetcher) else Refusal.OLD), True  # a cache on the way may lag behind
        case LengthOrHashMismatchError():
            found = _of_content(error, fetcher)
            return found, found is Refusal.MIXED
        case UnsignedMetadataError():
            return (Refusal.TAMPERED_METADATA if _names_known_key(fetcher, metadata) else Refusal.UNKNOWN_KEY), False
    return Refusal.SPOILT, False


def _of_content(error: LengthOrHashMismatchError, fetcher: BridgedFetcher) -> Refusal:
    if not fetcher.path.startswith("targets/"):
        return Refusal.MIXED
    return Refusal.WRONG_LENGTH if "length" in str(error).casefold() else Refusal.TAMPERED


def _is_misnamed(fetcher: BridgedFetcher) -> bool:
    """Whether what was fetched is of another version than the name that it was asked by."""
    asked = _VERSIONED.fullmatch(fetcher.path)
    return asked is not None and _signed(_json(bytes(fetcher.data))).get("version") != int(asked[1])


def _names_known_key(fetcher: BridgedFetcher, metadata: Path) -> bool:
    """Whether a signature claims to be by a key of the role, so that the content must have been changed."""
    asked = _VERSIONED.fullmatch(fetcher.path)
    role = asked[2] if asked is not None else "timestamp"
    known = _keys_of(role, metadata)
    signatures = _json(bytes(fetcher.data)).get("signatures")
    return any(
        isinstance(one, dict) and one.get("keyid") in known
        for one in (signatures if isinstance(signatures, list) else [])
    )


def _keys_of(role: str, metadata: Path) -> set[str]:
    """Ids of the keys that may sign a role, by the metadata that are trusted."""
    roles = _signed(_read(metadata / "root.json")).get("roles")
    found = dict(roles) if isinstance(roles, dict) else {}
    delegations = _signed(_read(metadata / "targets.json")).get("delegations")
    delegated = delegations.get("roles") if isinstance(delegations, dict) else None
    for one in delegated if isinstance(delegated, list) else []:
        if isinstance(one, dict):
            found.setdefault(str(one.get("name")), one)
    said = found.get(role)
    ids = said.get("keyids") if isinstance(said, dict) else None
    return {str(one) for one in ids} if isinstance(ids, list) else set()


def _read(path: Path) -> dict[str, Any]:
    try:
        return _json(path.read_bytes())
    except OSError:
        return {}


def _json(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _signed(metadata: dict[str, Any]) -> dict[str, Any]:
    signed = metadata.get("signed")
    return signed if isinstance(signed, dict) else {}
