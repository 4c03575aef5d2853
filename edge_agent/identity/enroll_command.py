"""``headrace-edge enroll``: a device joins a fleet by one command.

Rules:
 * Where the agent's file is missing it is written, with what the cloud says and nothing else.
 * Who may enrol says the token; the name is the file's, or else the option's, the token's, or this machine's.
"""

from __future__ import annotations

import asyncio
import json
import platform
import re
import sys
from pathlib import Path
from typing import Any

from edge_agent.config import load_config
from edge_agent.identity.enrolling import check_device, enrol
from edge_agent.identity.files import IdentityFolder
from router.core.errors import ConfigError, DeniedError, HeadraceError
from router.identity.join_token import read_fingerprint
from router.io.atomic_write import write_whole
from router.io.terminal import say, say_json

STANDARD_INPUT = "-"
_MOST_NAME = 64


def enroll_device(config: Path, cloud: str, token: str, device: str, ca_fingerprint: str, *, as_json: bool) -> None:
    """Join a fleet, and tell what was given.

    Args:
        config: The agent's file, which may be missing.
        cloud: ``HOST:PORT``.
        token: As the operator made it, or ``-`` for standard input.
        device: A name, where neither file nor token says it.
        ca_fingerprint: Of the fleet's root; empty for the token's.
        as_json: Print JSON.

    Raises:
        HeadraceError: It can't join; says why.
        OSError: What it is given can't be kept.
    """
    token = sys.stdin.readline().strip() if token == STANDARD_INPUT else token
    root = read_fingerprint(ca_fingerprint) if ca_fingerprint else b""
    settings = load_config(config) if config.exists() else None
    if settings is not None and device not in {"", settings.device}:
        raise ConfigError("--device", device, f"is not {settings.device!r}, as {config} says; leave it out")
    data = settings.data if settings is not None else config.absolute().parent / "agent-data"
    wanted = settings.device if settings is not None else device
    folder = IdentityFolder(data)
    named, upstream = asyncio.run(_join(folder, cloud, token, wanted, root))
    if settings is not None:
        check_device(named, settings.device)
    else:
        write_whole(config, _file(named, data.name, upstream))
    told = {"device": named, "config": str(config), "upstream": upstream, "ends": folder.certificate().ends}
    _tell(told, as_json=as_json)


async def _join(folder: IdentityFolder, cloud: str, token: str, device: str, root: bytes) -> tuple[str, str]:
    try:
        return await enrol(folder, cloud, token, device, root)
    except HeadraceError as error:  # as the status of the call says
        if isinstance(error, DeniedError) or device or "device is no name" not in str(error):
            raise
        return await enrol(folder, cloud, token, _of_machine(), root)  # a token for any new device


def _of_machine() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", platform.node()).lstrip("._-")[:_MOST_NAME] or "device"


def _file(device: str, data: str, upstream: str) -> bytes:
    lines = (f"device = {json.dumps(device)}", f"data = {json.dumps(data)}", "", "[upstream]")
    return "\n".join((*lines, f"target = {json.dumps(upstream)}", "")).encode()


def _tell(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(told)
        return
    say(f"{told['device']} has enrolled; `headrace-edge run --config {told['config']}` starts it")
