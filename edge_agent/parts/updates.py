"""Puts together what updates an agent: where releases come from, whom they are believed, and the updater."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from edge_agent.config import Config
from edge_agent.identity.files import IdentityFolder
from edge_agent.releases.probation import Probation
from edge_agent.releases.sources.gateway import GatewaySource
from edge_agent.releases.sources.mirror import MirrorSource
from edge_agent.releases.sources.source import Source
from edge_agent.releases.trust.manifests import Manifests
from edge_agent.releases.updater import Updater
from edge_agent.tasks.all_tasks import Tasks
from edge_agent.upstream.client import Upstream
from router.core.errors import ConfigError

REPOSITORY = "repository"  # in the data folder


class Updates:
    """The updates of one agent's releases.

    Attributes:
        updater: Installs what is ordered.
        probation: Of what was installed.
        manifests: Tells what is to be believed.
    """

    def __init__(
        self,
        config: Config,
        tasks: Tasks,
        upstream: Upstream,
        changed: Callable[[], None],
        clock: Callable[[], str],
        *,
        insecure: bool,
    ) -> None:
        """Prepare.

        Args:
            config: All that is set.
            tasks: Take the releases.
            upstream: The next tier.
            changed: Called after each activation and refusal.
            clock: Tells how the device's clock is wrong.
            insecure: Plain transport: releases are signed only where a root is configured.

        Raises:
            ConfigError: The root can't be read, or a mirror stands there without one.
        """
        settings = config.releases
        identity = IdentityFolder(config.data)
        given = read_root(settings.trusted_root) if settings.trusted_root is not None else b""
        self._source: Source = MirrorSource.at(settings.mirror) if settings.mirror else GatewaySource(upstream)

        def first_root() -> bytes:
            return given or (b"" if insecure else identity.root())

        self.manifests = Manifests(config.data / REPOSITORY, first_root, self._source, clock)
        if settings.mirror and not self.manifests.are_signed:
            raise ConfigError(
                "releases.mirror",
                settings.mirror,
                "needs a root to check releases by: enrol with a cloud that has keys, or set releases.trusted_root",
            )
        if self.manifests.are_signed:
            tasks.hold_floors()
        self.probation = Probation(tasks)
        self.updater = Updater(tasks, self._source, self.manifests, changed)

    async def close(self) -> None:
        """Let connections go."""
        await self._source.close()


def read_root(path: Path) -> bytes:
    """The first root of the repository, as a file.

    Raises:
        ConfigError: It can't be read, or is none.
    """
    try:
        data = path.read_bytes()
        said = json.loads(data)["signed"]["_type"]
    except OSError as error:
        raise ConfigError("releases.trusted_root", str(path), f"can't be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        said = ""
    if said != "root":
        raise ConfigError("releases.trusted_root", str(path), "is no root.json of a repository; take the cloud's")
    return data
