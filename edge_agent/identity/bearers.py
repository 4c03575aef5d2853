"""Who may ask an agent that listens beyond this machine, where callers have tokens in place of certificates.

Rules:
 * A token is shown once; of it the file keeps a hash, by the caller's name.
 * What is added or removed holds from the next call on.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

from grpc import aio

from router.core.errors import ConfigError
from router.identity.names import Identity, Role, is_name
from router.io.atomic_write import write_whole

CALLERS_FILE = "callers.json"  # in the identity folder
_SECRET_BYTES = 32
_SCHEME = "bearer "


class Bearers:
    """The callers of one agent."""

    def __init__(self, folder: Path) -> None:
        """Keep them in ``folder``; nothing is touched yet."""
        self._path = folder / CALLERS_FILE
        self._stamp = -1
        self._by_hash: dict[str, str] = {}

    def names(self) -> list[str]:
        """Who there are.

        Raises:
            ConfigError: The file can't be read.
        """
        return sorted(self._read())

    def add(self, name: str) -> str:
        """Make a token for a caller, in place of any before; returns it.

        Raises:
            ConfigError: It is no name, or the file can't be read.
            OSError: It can't be kept.
        """
        if not is_name(name):
            raise ConfigError("NAME", "", "is no name; use letters, digits, '.', '_' and '-', up to 64")
        token = secrets.token_urlsafe(_SECRET_BYTES)
        self._write({**self._read(), name: _hashed(token)})
        return token

    def remove(self, name: str) -> bool:
        """Take a caller's token away; whether there was one.

        Raises:
            ConfigError: The file can't be read.
            OSError: It can't be kept.
        """
        known = self._read()
        if name not in known:
            return False
        self._write({other: token for other, token in known.items() if other != name})
        return True

    def __call__(self, context: aio.ServicerContext[Any, Any]) -> Identity | None:
        """Who calls; ``None`` of whoever shows no token that is known."""
        self._refresh()
        for key, value in context.invocation_metadata() or ():
            if key == "authorization" and isinstance(value, str) and value.lower().startswith(_SCHEME):
                name = self._by_hash.get(_hashed(value[len(_SCHEME) :].strip()))
                return None if name is None else Identity(Role.CLIENT, name)
        return None

    def _refresh(self) -> None:
        try:
            stamp = self._path.stat().st_mtime_ns
        except OSError:
            stamp = 0
        if stamp != self._stamp:
            self._stamp, self._by_hash = stamp, {}
            self._by_hash = {hashed: name for name, hashed in self._read().items()}

    def _read(self) -> dict[str, str]:
        try:
            said = json.loads(self._path.read_bytes())
            return {str(name): str(hashed) for name, hashed in said.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise ConfigError(str(self._path), "", "can't be read; remove it, and add its callers again") from error

    def _write(self, callers: dict[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self._path, json.dumps(callers, indent=1).encode())


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
