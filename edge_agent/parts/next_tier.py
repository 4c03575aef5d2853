"""The way to the next tier: the links, who asks over them, and the renewal of the identity that they need."""

from __future__ import annotations

from edge_agent.config import Config
from edge_agent.identity.links import Links
from edge_agent.identity.renewal import Renewal
from edge_agent.upstream.client import Upstream
from edge_agent.upstream.giving_way import GivingWay
from edge_agent.upstream.target import Target
from router.transport.server import Door


class NextTier:
    """The next tier of one agent, and how far it can be reached.

    Attributes:
        upstream: Asks it.
        renewal: Renews the identity; ``None`` on plain transport.
    """

    def __init__(self, config: Config, *, insecure: bool) -> None:
        """Prepare the links; nothing is sent yet.

        Raises:
            ConfigError: An address may not be used.
        """
        self._links = links = Links(config, insecure=insecure)
        way = GivingWay()

        def lead_to(name: str) -> Target:
            channel, bulk = links.open_channel(name), links.open_bulk_channel(name)
            return Target(channel, config.device, target=name, bulk=bulk, way=way)

        upstream = self.upstream = Upstream([lead_to(name) for name in config.upstream.targets])
        self.renewal: Renewal | None = None
        if links.secured:
            self.renewal = Renewal(links.folder, links.rotate, lambda: upstream.is_away)

    def door(self, service: str) -> Door:
        """The door of this agent, with the identity of the links."""
        return self._links.door(service)

    async def close(self) -> None:
        """Close the links."""
        await self._links.close()
