"""Queries for an agent with a student, all along while something is wrong; and what of them the log has to hold."""

import asyncio
import time

from router.client.async_client import AsyncClient
from router.core.domain.query import Tier

TOGETHER = 4
PAUSE_SECONDS = 0.1


class Load:
    """Asks ``door``, half of it what the student knows, ``TOGETHER`` at a time, each with ``deadline`` seconds."""

    def __init__(self, door, deadline):
        self._door, self._deadline = door, deadline
        self.answers, self.failures, self.longest = {}, [], 0.0

    async def ask_while(self, holds, most_seconds):
        """Ask until ``holds`` is false, and fail where that takes longer."""
        ends = time.monotonic() + most_seconds
        async with AsyncClient(self._door, deadline=self._deadline) as client:
            while holds():
                assert time.monotonic() < ends, "it takes too long"
                start = len(self.answers) + len(self.failures)
                await asyncio.gather(*(self._ask(client, number) for number in range(start, start + TOGETHER)))
                await asyncio.sleep(PAUSE_SECONDS)

    async def ask_first(self, seconds):
        """Ask what the student knows, and give it so long: it may have to be opened yet."""
        async with AsyncClient(self._door, deadline=seconds) as client:
            self.answers["first"] = (await client.ask("light", "home", query_id="first")).provenance

    async def ask_for(self, seconds):
        """Ask for so long."""
        ends = time.monotonic() + seconds
        await self.ask_while(lambda: time.monotonic() < ends, seconds + 60)

    async def _ask(self, client, number):
        name, began = f"q-{number}", time.monotonic()
        try:
            text = "light" if number % 2 else f"novel {number}"
            self.answers[name] = (await client.ask(text, "home", query_id=name)).provenance
        except Exception as error:  # noqa: BLE001 - each is told
            self.failures.append(f"{name}: {error!r}")
        self.longest = max(self.longest, time.monotonic() - began)

    @property
    def owed(self):
        """The queries that the log must hold once: those that were drawn, degraded, or answered in the cloud."""
        return {
            name
            for name, said in self.answers.items()
            if said.explored or said.degraded or said.tier is not Tier.DEVICE
        }

    def figures(self):
        """How it went, for people."""
        kept = sum(said.tier is Tier.DEVICE for said in self.answers.values())
        degraded = sum(said.degraded for said in self.answers.values())
        told = {"asked": len(self.answers) + len(self.failures), "failed": len(self.failures), "here": kept}
        return told | {"degraded": degraded, "owed": len(self.owed), "longest_s": round(self.longest, 2)}
