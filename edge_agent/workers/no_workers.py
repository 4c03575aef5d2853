"""Stands in for workers where an agent is one process: nothing to start, and nothing to import."""

from __future__ import annotations

from typing import Any


class NoWorkers:
    """What an agent of one process has where one of several has its ``Overseer``."""

    def forget(self) -> None:
        """Let workers forget the answers of the last minutes."""

    def described(self) -> list[dict[str, Any]]:
        """The workers, for the status."""
        return []

    async def start(self, port: int) -> None:
        """Start the workers behind ``port``."""

    async def ready(self) -> None:
        """Return when all workers know what is served."""

    async def run(self) -> None:
        """Look after the workers, until cancelled."""

    async def stop(self) -> None:
        """End the workers in order."""

    async def close(self) -> None:
        """Let go of what they needed."""
