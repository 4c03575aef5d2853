"""Certificates change on both sides, again and again, while queries go on: none fails."""

import asyncio
import sys

import pytest

from cloud_worker.gateway.testing import trusted_fleet
from router.client.async_client import AsyncClient
from router.client.blocking_client import Client
from router.core.errors import UnavailableError
from router.identity.bundle import Bundle, write_bundle
from router.identity.certificates import read_certificate
from router.identity.names import Role
from router.transport.channel import open_channel
from router.transport.tls.rotating_channel import RotatingChannel
from router.v1 import cascade_pb2, cascade_pb2_grpc

CONCURRENCY = 8


class Load:
    """Asks over one channel until it has asked so often."""

    def __init__(self, channel, queries):
        self.stub, self.left, self.done, self.failed = cascade_pb2_grpc.CascadeStub(channel), queries, 0, []

    async def run(self):
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(self._ask())

    async def _ask(self):
        while self.left > 0:
            self.left -= 1
            try:
                await self.stub.Answer(cascade_pb2.AnswerRequest(task="home", text="x"), timeout=60)
                self.done += 1
            except Exception as error:  # noqa: BLE001 - each is counted
                self.failed.append(repr(error))


@pytest.mark.parametrize("queries", [1500, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_certificates_change_on_both_sides_under_load_and_no_query_fails(tmp_path, monkeypatch, capsys, queries):
    monkeypatch.setattr("cloud_worker.identity.gateway_identity._CHECK_SECONDS", 0.0)
    async with trusted_fleet(tmp_path, door={"max_connection_seconds": 1}) as fleet:
        bundles = [fleet.bundle(Role.DEVICE, "kitchen")]
        channel = RotatingChannel(lambda: open_channel(fleet.target, identity=bundles[-1]))
        load = Load(channel, queries)
        running = asyncio.create_task(load.run())
        rotations = 0
        while not running.done():
            await asyncio.to_thread(fleet.renew_issuing)
            bundles.append(await asyncio.to_thread(fleet.bundle, Role.DEVICE, "kitchen"))
            await channel.rotate()
            rotations += 1
        await running
        await channel.close(None)
    with capsys.disabled():
        sys.stderr.write(f"\n{load.done} answered, {len(load.failed)} failed, {rotations} rotations of each side\n")
    assert load.failed == []
    assert load.done == queries
    assert rotations >= 3
    assert len(set(fleet.callers.heard)) == 1


async def test_a_gateways_new_certificate_is_shown_and_taken_without_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr("cloud_worker.identity.gateway_identity._CHECK_SECONDS", 0.0)
    from router.identity.shown_certificate import read_shown_certificate

    async with trusted_fleet(tmp_path) as fleet:
        host, port = fleet.target.split(":")
        root = fleet.bundle(Role.DEVICE, "kitchen").authorities
        seen = []
        for _ in range(2):
            for where in (port, fleet.enrolment.split(":")[1]):
                shown = await asyncio.to_thread(read_shown_certificate, host, int(where), root)
                seen.append(read_certificate(shown).serial)
            fleet.renew_issuing()
    assert seen[0] == seen[1] != seen[2] == seen[3]


@pytest.mark.parametrize("kind", [AsyncClient, Client])
async def test_a_client_shows_the_certificate_that_is_put_in_its_folder(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("router.client.identity.CHECK_SECONDS", 0.0)
    (tmp_path / "cloud").mkdir()
    async with trusted_fleet(tmp_path / "cloud") as fleet:
        write_bundle(tmp_path / "app", fleet.bundle(Role.CLIENT, "app"))
        client = kind(fleet.target, identity=tmp_path / "app", deadline=10.0)

        async def ask():
            made = client.ask if kind is AsyncClient else lambda *words: asyncio.to_thread(client.ask, *words)
            return (await made("x", "home")).text

        assert await ask() == "client:app"
        write_bundle(tmp_path / "app", fleet.bundle(Role.CLIENT, "other"))
        async with asyncio.timeout(120):
            while await ask() != "client:other":
                assert set(fleet.callers.heard) == {"client:app"}
        (tmp_path / "app" / "identity.pem").write_bytes(b"spoilt")
        assert await ask() == "client:other"
        closed = client.close()
        if closed is not None:
            await closed


async def test_a_channel_that_can_not_be_opened_anew_goes_on_as_it_was(tmp_path):
    async with trusted_fleet(tmp_path) as fleet:
        bundle = fleet.bundle(Role.DEVICE, "kitchen")
        made = iter([open_channel(fleet.target, identity=bundle)])
        channel = RotatingChannel(lambda: next(made))
        with pytest.raises((StopIteration, RuntimeError)):
            await channel.rotate()
        load = Load(channel, 10)
        await load.run()
        assert (load.done, load.failed) == (10, [])
        await channel.close(None)


async def test_what_the_door_does_not_take_is_not_shown_and_no_query_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("router.transport.tls.rotating_channel.CONNECT_SECONDS", 1.0)
    (tmp_path / "cloud").mkdir()
    (tmp_path / "other").mkdir()
    async with trusted_fleet(tmp_path / "cloud") as fleet, trusted_fleet(tmp_path / "other") as other:
        mine, strangers = fleet.bundle(Role.DEVICE, "kitchen"), other.bundle(Role.DEVICE, "kitchen")
        shown = [mine]
        channel = RotatingChannel(lambda: open_channel(fleet.target, identity=shown[-1]))
        load = Load(channel, 20)
        await load.run()
        for wrong in (strangers, Bundle(mine.key, strangers.chain, mine.authorities), Bundle(b"x", b"y", b"z")):
            shown.append(wrong)
            with pytest.raises(UnavailableError):
                await channel.rotate()
            load.left = 20
            await load.run()
        assert (load.done, load.failed) == (80, [])
        await channel.close(None)
