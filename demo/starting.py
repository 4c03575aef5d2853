"""What starts before the stream: the models that write, the cloud, the agents; step by step, with the seconds of each.

Rules:
 * A terminal sees the step that lasts, and for how long; a file or a pipe gets a line when it begins and one when it is
   done.
 * The cloud's steps are told by itself, as ``up --detach`` shows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from cloud_worker.startup.steps import Steps, beginning, finished, follow
from demo import secure
from demo.configs import Models
from demo.processes import Stage, staged
from demo.setting import Addresses
from demo.tools.models import CACHE, KINDS, made

CLOUD_START_SECONDS = 600.0
AGENT_START_SECONDS = 60.0


@contextlib.asynccontextmanager
async def running(folder: Path, addresses: Addresses, console: Console) -> AsyncIterator[Stage]:
    """The cloud and every agent, serving; ended on the way out.

    Raises:
        StartError: A child does not start, or an agent was given up meanwhile; names its log.
    """
    async with staged(folder) as stage:
        steps = Steps(console)
        if addresses.is_secure:
            with steps.step("Authority and keys"):
                await secure.found(addresses)
        plain = () if addresses.is_secure else ("--insecure",)
        up = ("cloud_worker.cli", "up", "--config", str(addresses.cloud_config), *plain)
        identity = addresses.client if addresses.is_secure else None
        await start_cloud(
            stage, addresses.cloud_target, console, *up, identity=identity, network=addresses.cloud_network
        )
        for config in addresses.agent_configs:
            if addresses.is_secure:
                with steps.step(f"Enrolment of {config.stem}"):
                    await secure.enrolled(stage, addresses, config.stem, config)
            command = ("edge_agent.cli", "run", "--config", str(config), *plain)
            await stage.start(config.stem, *command)
            stage.keep(config.stem, *command)
        for name, target in zip(addresses.devices, addresses.agent_targets, strict=True):
            with steps.step(f"Agent {name}"):
                await stage.serving(name, target, AGENT_START_SECONDS)
        yield stage


async def start_cloud(
    stage: Stage, target: str, console: Console, *command: str, identity: Path | None = None, network: str = ""
) -> None:
    """Start the cloud, show its steps, and return once it serves on ``target``; ``identity`` is whom it is asked as.

    Raises:
        StartError: It ended, or took too long; names its log.
    """
    hear, say = os.pipe()
    try:
        await stage.start("cloud", *command, "--tell-to", str(say), pass_fds=(say,), network=network)
    except BaseException:
        os.close(hear)
        raise
    finally:
        os.close(say)
    following = asyncio.create_task(asyncio.to_thread(_follow, hear, console))  # ends with the cloud, if not before
    await stage.serving("cloud", target, CLOUD_START_SECONDS, identity)
    await following


def _follow(hear: int, console: Console) -> None:
    with os.fdopen(hear, "rb") as told:
        follow(told, console)


def models_shown(seed: int, console: Console) -> Models:
    """The models that write, made now or the last time; shown while they are made."""
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bars = {kind: progress.add_task(f"training the {kind}", total=1.0, visible=False) for kind in KINDS}
        begun: set[str] = set()

        def heard(kind: str, share: float) -> None:
            progress.update(bars[kind], completed=share, visible=True)
            if kind not in begun and not console.is_terminal:
                console.print(beginning(f"training the {kind}"))
            begun.add(kind)

        models = asyncio.run(made(CACHE, seed, heard))
    for bar in progress.tasks:
        if bar.finished:
            console.print(finished(bar.description, bar.finished_time or 0.0))
    return models
