"""``headrace-edge callers add | list | remove``: who may ask this agent from other machines, by token."""

from __future__ import annotations

from pathlib import Path

from edge_agent.config import load_config
from edge_agent.identity.bearers import Bearers
from edge_agent.identity.files import IdentityFolder
from router.core.errors import UnknownTaskError
from router.identity.bundle import Bundle, write_bundle
from router.io.terminal import say


def add(config: Path, name: str, out: Path) -> None:
    """Let a caller in, and put what it needs into a folder.

    Raises:
        ConfigError: This device has not enrolled, or it is no name.
        OSError: A file can't be written.
    """
    folder = IdentityFolder(load_config(config).data)
    authorities = folder.bundle().authorities
    write_bundle(out, Bundle(b"", b"", authorities, Bearers(folder.path).add(name)))
    say(f"{name}: its token is in {out}")


def names(config: Path) -> list[str]:
    """Who was let in."""
    return Bearers(IdentityFolder(load_config(config).data).path).names()


def remove(config: Path, name: str) -> None:
    """Let a caller in no more.

    Raises:
        UnknownTaskError: It never was.
    """
    if not Bearers(IdentityFolder(load_config(config).data).path).remove(name):
        raise UnknownTaskError(f"there is no caller {name!r}; `headrace-edge callers list` tells those that there are")
    say(f"{name}: removed")
