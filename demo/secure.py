"""A fleet that trusts nobody by address: an authority, keys that sign releases, a token for each device.

Rules:
 * These are the commands that an operator types, in their order; their words go into the logs of the run.
 * What an owner would lock away lies in the run's folder too, under ``offline``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from pathlib import Path

from demo.processes import Stage
from demo.setting import CLIENT_NAME, Addresses
from router.core.errors import StartError

PASSPHRASE_FILES = ("issuing.txt", "root.txt")


async def found(addresses: Addresses) -> None:
    """Make authority, keys and the client that asks the teacher; the cloud does not run yet.

    Raises:
        StartError: A command failed; has its words.
    """
    folder = addresses.cloud_config.parent
    for name in PASSPHRASE_FILES:
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24), encoding="ascii")
    offline, root = str(folder / "offline"), str(folder / "root.txt")
    await _cloud(addresses, "ca", "init", "--root", offline, "--root-passphrase-file", root)
    await _cloud(addresses, "keys", "init", "--offline", offline, "--offline-passphrase-file", root)
    await _cloud(addresses, "clients", "create", CLIENT_NAME, "--out", str(addresses.client))


async def enrolled(stage: Stage, addresses: Addresses, name: str, config: Path) -> None:
    """Enrol one device with a token of its own; the cloud serves.

    Raises:
        StartError: A command failed; has its words.
    """
    (token,) = json.loads(await _cloud(addresses, "tokens", "create", "--device", name, "--json"))["tokens"]
    command = ("enroll", "--cloud", addresses.enrolment_target, "--config", str(config))
    said = await _run("edge_agent.cli", *command, HEADRACE_TOKEN=token)
    with (stage.folder / f"{name}.log").open("a", encoding="utf-8") as log:
        log.write(said)


async def _cloud(addresses: Addresses, *command: str) -> str:
    return await _run("cloud_worker.cli", *command, "--config", str(addresses.cloud_config))


async def _run(module: str, *command: str, **environment: str) -> str:
    """What a command of ours prints, with more in its environment.

    Raises:
        StartError: It failed.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    if process.returncode:
        words = err.decode(errors="replace").strip()
        raise StartError(f"{module} {' '.join(command)} ended with {process.returncode}: {words}")
    return out.decode(errors="replace")
