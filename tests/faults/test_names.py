"""Names that can't be resolved: gRPC asks for them again up to two minutes later, and here it is seconds."""

import asyncio
import json
import re
import signal
import sys
import time

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc

from cloud_worker.gateway.testing import trusted_fleet
from router.client.async_client import AsyncClient
from router.client.blocking_client import Client
from router.identity.bundle import write_bundle
from router.identity.names import Role
from router.transport.address import Address
from router.transport.channel import found_nobody
from router.transport.connection_failures import FailureKind, read_failure
from router.transport.tls.named_channel import NamedChannel, NamedSyncChannel

NAME = "gateway.test"
CHECK = "/grpc.health.v1.Health/Check"
DEADLINE_SECONDS = 10.0
BACK_SECONDS = 40.0  # asserted of a return; two minutes are gRPC's own


@pytest.fixture
def names(networks):
    with networks.NameServer(networks.udp()) as server:
        yield server


@pytest.fixture
async def server():
    """Something that tells its health; gives its port."""
    made = aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), made)
    port = made.add_insecure_port("127.0.0.1:0")
    await made.start()
    yield port
    await made.stop(None)


@pytest.fixture
def target(names, server, monkeypatch):
    """A name that is asked of ``names``; looks come soon."""
    monkeypatch.setattr("router.transport.tls.named_channel.CHECK_SECONDS", 0.2)
    return f"dns://127.0.0.1:{names.port}/{NAME}:{server}"


async def call(channel):
    return await channel.unary_unary(CHECK, bytes, bytes)(b"", timeout=60)


async def until_nobody(channel, seconds):
    """Calls for so long, none of which is answered; the last error."""
    ends = time.monotonic() + seconds
    while True:
        with pytest.raises(aio.AioRpcError) as failed:
            await call(channel)
        if time.monotonic() > ends:
            return failed.value
        await asyncio.sleep(0.05)


async def test_a_name_that_resolves_again_is_found_within_seconds_however_long_it_did_not(names, target):
    channel, found = NamedChannel(lambda: aio.insecure_channel(target)), asyncio.Event()
    told = asyncio.Queue()
    error = await until_nobody(channel, 1.0)
    assert found_nobody(error)
    assert read_failure(error.details()).kind is FailureKind.NAME
    channel.lost(told.put_nowait, found.set)
    assert read_failure(await told.get()).kind is FailureKind.NAME
    names.names[NAME] = "127.0.0.1"
    async with asyncio.timeout(3):
        await found.wait()
        assert await call(channel) is not None
    await channel.close()


def begun_by(work):
    """The tasks that ``work`` begins."""
    before = asyncio.all_tasks()
    work()
    return asyncio.all_tasks() - before


async def test_a_channel_that_is_connected_is_let_be_and_one_that_is_closed_looks_no_more(names, target):
    names.names[NAME] = "127.0.0.1"
    channel, found = NamedChannel(lambda: aio.insecure_channel(target)), []
    await call(channel)
    await asyncio.wait(begun_by(lambda: channel.lost(found=lambda: found.append(1))))
    assert not found
    names.names.clear()
    other = NamedChannel(lambda: aio.insecure_channel(target))
    looks = begun_by(other.lost)
    await asyncio.sleep(0)
    await other.close()
    assert [look.done() for look in looks] == [True]
    await channel.close()


async def test_a_client_without_a_loop_finds_a_name_again_too(names, target):
    def story():
        opened = []
        channel = NamedSyncChannel(lambda: opened.append(grpc.insecure_channel(target)) or opened[-1])
        check = channel.unary_unary(CHECK, bytes, bytes)
        ends = time.monotonic() + 1
        while time.monotonic() < ends:
            with pytest.raises(grpc.RpcError) as failed:
                check(b"", timeout=60)
            assert found_nobody(failed.value)
            channel.lost()
            time.sleep(0.05)
        names.names[NAME] = "127.0.0.1"
        ends = time.monotonic() + 3
        while True:
            try:
                check(b"", timeout=60)
                break
            except grpc.RpcError:
                assert time.monotonic() < ends
                channel.lost()
                time.sleep(0.05)
        with pytest.raises(ValueError, match="closed"):  # what was asked before is asked no more
            opened[0].unary_unary(CHECK, bytes, bytes)(b"", timeout=60)
        channel.close()
        channel.lost()

    await asyncio.to_thread(story)


@pytest.mark.parametrize("kind", [AsyncClient, Client])
async def test_clients_wait_for_a_name_and_are_answered_within_their_deadline(names, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("router.transport.tls.named_channel.CHECK_SECONDS", 0.2)
    ask_names = f"dns://127.0.0.1:{names.port}/"
    written = Address.__str__
    monkeypatch.setattr(Address, "__str__", lambda self: f"{ask_names if self.is_name else ''}{written(self)}")
    (tmp_path / "cloud").mkdir()
    async with trusted_fleet(tmp_path / "cloud") as fleet:
        write_bundle(tmp_path / "app", fleet.bundle(Role.CLIENT, "app"))
        opened = []
        for module in (grpc, aio):
            make = module.secure_channel
            monkeypatch.setattr(
                module, "secure_channel", lambda *given, make=make, **more: opened.append(given) or make(*given, **more)
            )
        client = kind(f"{NAME}:{fleet.gateway.ports.port}", identity=tmp_path / "app", deadline=20.0)

        async def ask():
            made = client.ask("x", "home") if kind is AsyncClient else asyncio.to_thread(client.ask, "x", "home")
            return (await made).text

        asking = asyncio.create_task(ask())
        await asyncio.sleep(1.0)
        names.names[NAME] = "127.0.0.1"
        assert await asking == "client:app"
        assert len(opened) > 1  # it was looked for over others
        closed = client.close()
        if closed is not None:
            await closed


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_dns_that_is_gone_costs_no_answer_and_the_agent_is_back_soon(house, networks, shared, tmp_path, capsys):
    if why := networks.why_none():
        pytest.skip(why)
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    with (
        networks.Network("headrace-names") as network,
        networks.NameServer(network.opened(lambda: networks.udp(port=53))) as server,
    ):
        server.names[NAME] = "127.0.0.1"
        await asyncio.to_thread(house.cloud, "ca", "init", "--root", "root", "--root-passphrase-file", "root.txt")
        await asyncio.to_thread(house.give_student, 0.5)
        story = Story(house, shared("faults/load"), network, server, network.asking(tmp_path / "resolv.conf"))
        try:
            await story.tell()
        finally:
            with capsys.disabled():
                sys.stderr.write(f"\n{json.dumps(story.figures)}\n")
        assert story.load.failures == []
        assert story.load.longest < DEADLINE_SECONDS
        assert story.outbox_dropped == 0
        assert max(story.back.values()) < BACK_SECONDS, story.back
        logged = house.logged()
        assert {name for name, times in logged.items() if times != 1} == set()
        assert set(logged) == story.load.owed


class Story:
    """What happens to one device whose cloud has a name."""

    def __init__(self, house, load, network, server, inside):
        self.house, self.server, self.network, self.inside = house, server, network, inside
        self.back = {}
        self.process, gateway = house.start_gateway(network.inside)
        door = house.enrol(gateway, inside=network.inside)
        file = house.folder / "device" / "agent.toml"
        self.port = gateway["port"]
        file.write_text(file.read_text().replace("127.0.0.1:", f"{NAME}:"))
        (house.folder / "device" / "agent-data" / "identity" / "cloud").write_text(f"{NAME}:{gateway['enrolment']}\n")
        self.load = load.Load(door, DEADLINE_SECONDS)

    @property
    def figures(self):
        return self.load.figures() | {"seconds_until": {what: round(seconds, 1) for what, seconds in self.back.items()}}

    async def tell(self):
        """All of it, the most under load."""
        self.server.names.clear()
        self.agent, _ = await asyncio.to_thread(self.house.start_agent, self.inside)
        told = await self.until("name_unresolved")  # a start without names
        assert told["targets"][0]["target"] == f"{NAME}:{self.port}"
        assert "resolved" in told["targets"][0]["because"]
        await asyncio.sleep(30)  # gRPC's own pauses grow meanwhile
        self.server.names[NAME], began = "127.0.0.1", time.monotonic()
        await self.until("ok")
        self.back["no such name at the start"] = time.monotonic() - began
        await self.has_student()
        await self.gone(self.server.names.clear)
        await self.start_gateway("127.0.0.1")
        await self.returned("at the address that was known")
        await self.gone(self.silence)
        await self.start_gateway("127.0.0.2")
        self.server.is_silent, self.server.names[NAME] = False, "127.0.0.2"
        await self.returned("moved, after silence")
        await self.gone(self.server.names.clear)
        await self.start_gateway("127.0.0.3")
        self.server.names[NAME] = "127.0.0.3"
        await self.returned("moved, after no such name")
        await self.load.ask_while(lambda: self.house.status()["outbox_pending"] > 0, 120)
        self.outbox_dropped = self.house.status()["outbox_dropped"]
        self.silence()  # and stop while everything waits for names
        self.process.send_signal(signal.SIGKILL)
        await self.until("name_unresolved")
        began = time.monotonic()
        self.agent.terminate()
        await asyncio.to_thread(self.agent.wait, 60)
        self.back["stopped"] = time.monotonic() - began

    def silence(self):
        self.server.is_silent = True

    async def has_student(self):
        await asyncio.to_thread(self.house.wait, lambda: self.house.release() == 1)

    async def gone(self, break_names):
        """The gateway is killed, and its name can't be resolved."""
        break_names()
        self.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)
        asking = asyncio.create_task(self.load.ask_for(15))
        told = await self.until("name_unresolved")
        assert NAME in told["targets"][0]["target"]
        await asking

    async def start_gateway(self, host):
        file = self.house.folder / "cloud.toml"
        file.write_text(re.sub(r'(?<=\[door\]\nlisten = ")[^"]*', f"{host}:{self.port}", file.read_text()))
        self.process, _ = await asyncio.to_thread(self.house.start_gateway, self.network.inside)

    async def until(self, *states):
        return await asyncio.to_thread(self.house.until_state, *states)

    async def returned(self, what):
        began = time.monotonic()
        await self.load.ask_while(lambda: self.house.status()["state"] != "ok", 200)
        self.back[what] = time.monotonic() - began
