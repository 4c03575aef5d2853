"""Several gateways of one fleet with mutual TLS: one is gone, or is none of this fleet's; each is told by its state."""

import asyncio

import pytest

from cloud_worker.gateway.testing import trusted_fleet
from edge_agent.identity.status_file import read_status
from router.client.async_client import AsyncClient
from router.core.errors import UnavailableError


@pytest.fixture
async def stranger(tmp_path):
    """A gateway of another fleet."""
    (tmp_path / "other").mkdir()
    async with trusted_fleet(tmp_path / "other") as other:
        yield other


async def ask(agent, deadline=10.0):
    async with AsyncClient(f"127.0.0.1:{agent.daemon.port}", insecure=True, deadline=deadline) as client:
        return (await client.ask("x", "home")).text


async def until(agent, upstream, *states):
    """Wait until the status names the target in use and, in order, the state of each; the status."""
    async with asyncio.timeout(120):
        while True:
            said = await asyncio.to_thread(read_status, agent.folder)
            told = said and (said["upstream"], *(one["state"] for one in said["targets"]))
            if told == (upstream, *states):
                return said
            await asyncio.sleep(0.05)


async def test_where_one_is_gone_the_other_is_asked_until_it_is_back(agent, fleet):
    async with fleet.another_gateway("gateway-1") as second:
        await agent.start(others=(second.target,))
        assert await ask(agent) == "kitchen"
        await until(agent, fleet.target, "ok", "ok")
        await fleet.gateway.doors.stop(0)
        heard = len(second.callers.heard)
        assert [await ask(agent) for _ in range(3)] == ["kitchen"] * 3
        assert second.callers.heard[heard:] == ["kitchen"] * 3
        said = await until(agent, second.target, "offline", "ok")
        assert (said["state"], said["targets"][0]["target"]) == ("ok", fleet.target)
        assert said["targets"][0]["because"]
        async with fleet.another_gateway("gateway-2", fleet.target) as back:
            async with asyncio.timeout(120):
                while not back.callers.heard:
                    assert await ask(agent) == "kitchen"
            await until(agent, fleet.target, "ok", "ok")


async def test_one_that_is_none_of_this_fleets_is_told_so_and_hears_nothing(agent, fleet, stranger):
    await agent.start(target=stranger.target, others=(fleet.target,))
    assert await ask(agent) == "kitchen"
    said = await until(agent, fleet.target, "not_trusted", "ok")
    assert said["state"] == "ok"
    assert "shows no certificate of this fleet's" in said["targets"][0]["because"]
    assert stranger.callers.heard == []


async def test_where_none_is_of_this_fleet_that_is_the_state_and_queries_end_in_time(agent, stranger, monkeypatch):
    monkeypatch.setattr("edge_agent.upstream.target.SYNC_SECONDS", 0.5)
    await agent.start(target=stranger.target)
    said = await agent.until_state("not_trusted")
    assert said["states"][0]["remedy"]
    with pytest.raises(UnavailableError):
        await ask(agent, deadline=2.0)
    assert stranger.callers.heard == []
