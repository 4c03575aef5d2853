"""An enrolled agent before a gateway with mutual TLS: how it is asked, and what it says of itself."""

import asyncio
import contextlib
import shutil
import socket
import sqlite3
import time
from types import SimpleNamespace

import pytest

from cloud_worker.releases.repository.testing import make_repository, sign_online
from edge_agent.identity.bearers import Bearers
from edge_agent.identity.condition import State
from edge_agent.identity.enrolling import enrol, renew
from router.client.async_client import AsyncClient
from router.core.domain.query import Attempt, Query
from router.core.errors import ConfigError, DeniedError, ServiceError, StartError, UnavailableError
from router.identity.bundle import IDENTITY_FILE, Bundle, write_bundle
from router.identity.names import Identity, Role
from router.transport.server import Door

DAY = 86_400.0
KITCHEN = Identity(Role.DEVICE, "kitchen")


async def ask(target, **options):
    async with AsyncClient(target, deadline=options.pop("deadline", 10.0), **options) as client:
        return (await client.ask("x", "home")).text


async def test_an_agent_asks_in_the_name_of_its_certificate_and_is_asked_on_this_machine_without_any(agent, fleet):
    await agent.start()
    assert await ask(f"127.0.0.1:{agent.daemon.port}", insecure=True, device="garage") == "kitchen"
    assert set(fleet.callers.heard) == {"kitchen"}
    assert fleet.store.find_device("kitchen") is not None
    said = await agent.until_state("ok")
    assert (said["device"], said["upstream"]) == ("kitchen", fleet.target)


async def test_a_socket_is_its_owners_alone_and_needs_nothing_else(agent, tmp_path):
    path = tmp_path / "agent.sock"
    await agent.start(listen=f"unix:{path}")
    assert path.stat().st_mode & 0o777 == 0o600
    assert await ask(f"unix:{path}") == "kitchen"
    await agent.stop()
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))  # and nobody listens at it any more
    await agent.start(listen=f"unix:{path}")
    with pytest.raises(StartError, match="in use"):
        await Door(f"unix:{path}").start()
    await agent.stop()
    path.write_text("a file")
    with pytest.raises(StartError, match="can't listen"):
        await Door(f"unix:{path}").start()
    assert path.read_text() == "a file"


async def test_beyond_this_machine_callers_show_a_certificate_and_know_whom_they_ask(agent, fleet, tmp_path):
    await agent.start(listen="0.0.0.0:0")
    write_bundle(tmp_path / "app", fleet.bundle(Role.CLIENT, "app"))
    where = f"127.0.0.1:{agent.daemon.port}"
    assert await ask(f"kitchen@{where}", identity=tmp_path / "app") == "kitchen"
    for target in (where, f"garage@{where}"):
        with pytest.raises(ServiceError):
            await ask(target, identity=tmp_path / "app", deadline=1.0)
    with pytest.raises(ServiceError):
        await ask(where, insecure=True, deadline=1.0)


@pytest.mark.slow
async def test_workers_ask_who_calls_too(agent, fleet, tmp_path):
    await agent.start(workers=3, listen="0.0.0.0:0")
    write_bundle(tmp_path / "app", fleet.bundle(Role.CLIENT, "app"))
    where = f"127.0.0.1:{agent.daemon.port}"
    async with asyncio.timeout(120):
        while not all(one["ready"] for one in agent.daemon.workers.described()):  # noqa: ASYNC110 - bounded above
            await asyncio.sleep(0.05)
    for _ in range(12):  # a connection each
        assert await ask(f"kitchen@{where}", identity=tmp_path / "app") == "kitchen"
        with pytest.raises(ServiceError):
            await ask(where, insecure=True, deadline=0.5)


async def test_beyond_this_machine_a_token_does_where_it_is_configured(agent, tmp_path):
    await agent.start(listen="0.0.0.0:0", callers="token")
    where = f"kitchen@127.0.0.1:{agent.daemon.port}"
    authorities = agent.identity.bundle().authorities
    bearers = Bearers(agent.identity.path)
    write_bundle(tmp_path / "panel", Bundle(b"", b"", authorities, bearers.add("panel")))
    write_bundle(tmp_path / "guess", Bundle(b"", b"", authorities, "guess"))
    assert await ask(where, identity=tmp_path / "panel") == "kitchen"
    with pytest.raises(DeniedError):
        await ask(where, identity=tmp_path / "guess")
    assert bearers.names() == ["panel"]
    assert bearers.remove("panel")
    with pytest.raises(DeniedError):
        await ask(where, identity=tmp_path / "panel")
    assert (agent.identity.path / "callers.json").stat().st_mode & 0o777 == 0o600
    assert "panel" not in (agent.identity.path / "callers.json").read_text().replace('"panel"', "")


async def test_without_enrolment_or_under_another_name_no_agent_starts(agent, fleet):
    await agent.start()
    await agent.stop()
    with pytest.raises(ConfigError, match="is not whom its certificate names"):
        await agent.start(device="garage")
    (agent.identity.path / IDENTITY_FILE).unlink()
    agent.identity = type(agent.identity)(agent.folder.parent / "nobody")
    from edge_agent.config import Config
    from edge_agent.daemon import Daemon

    with pytest.raises(StartError, match="headrace-edge enroll"):
        Daemon(Config(device="x", data=agent.folder, upstream={"target": fleet.target}), insecure=False)


async def test_a_revoked_agent_says_so_and_goes_on_once_it_has_enrolled_again(agent, fleet):
    await agent.start()
    await agent.until_state("ok")
    fleet.register.revoke(KITCHEN, time.time())
    said = await agent.until_state("revoked")
    assert "token" in said["states"][0]["remedy"]
    with pytest.raises(UnavailableError, match="this device, whose certificate was revoked"):
        await ask(f"127.0.0.1:{agent.daemon.port}", insecure=True)
    await enrol(agent.identity, fleet.enrolment, fleet.token("kitchen"))
    agent.daemon.sync.poke()
    await agent.until_state("ok")


async def test_an_agent_that_slept_for_sixty_days_rejoins_by_itself(agent, fleet):
    await agent.start()
    await agent.stop()
    asleep = fleet.bundle(Role.DEVICE, "kitchen", days=30, now=time.time() - 60 * DAY)
    (agent.identity.path / IDENTITY_FILE).write_bytes(asleep.key + asleep.chain)
    await agent.start()
    await agent.until_state("ok")
    assert await ask(f"127.0.0.1:{agent.daemon.port}", insecure=True) == "kitchen"
    assert agent.identity.certificate().ends > time.time() + 29 * DAY


async def test_an_expired_certificate_is_told_while_nobody_renews_it(agent, fleet):
    await agent.start()
    await agent.stop()
    asleep = fleet.bundle(Role.DEVICE, "kitchen", days=30, now=time.time() - 60 * DAY)
    (agent.identity.path / IDENTITY_FILE).write_bytes(asleep.key + asleep.chain)
    (agent.identity.path / "cloud").write_text("127.0.0.1:1\n")
    await agent.start()
    await agent.until_state("certificate_expired")


@pytest.mark.parametrize(("years", "state"), [(10, "clock_ahead"), (-10, "clock_behind")])
async def test_a_clock_ten_years_off_is_told_either_way(agent, fleet, monkeypatch, years, state):
    await agent.start(target="127.0.0.1:1")
    off = years * 365 * DAY
    monkeypatch.setattr(agent.daemon.renewal, "_now", lambda: time.time() + off)
    await agent.until_state(state)
    monkeypatch.setattr(agent.daemon.renewal, "_now", time.time)
    monkeypatch.setattr(agent.daemon.renewal, "_clock_check_at", 0.0)
    await agent.until_state("offline")


async def test_a_clock_minutes_off_is_told_by_what_the_cloud_says(agent, monkeypatch):
    await agent.start()
    await agent.until_state("ok")
    for seconds, state in ((300.0, "clock_ahead"), (-300.0, "clock_behind")):
        device = SimpleNamespace(time=lambda seconds=seconds: time.time() + seconds)  # its clock, not the gateway's
        monkeypatch.setattr("edge_agent.fleet.sync.time", device)
        await agent.until_state(state)


async def test_offline_is_told_and_ends(agent, fleet):
    await agent.start(target="127.0.0.1:1")
    said = await agent.until_state("offline")
    assert said["state"] == "offline"
    with pytest.raises(UnavailableError):
        await ask(f"127.0.0.1:{agent.daemon.port}", insecure=True, deadline=2.0)


async def test_a_foreign_lock_on_the_outbox_is_told_and_ends(agent):
    await agent.start()
    await agent.until_state("ok")
    with contextlib.closing(sqlite3.connect(agent.folder / "outbox.sqlite", isolation_level=None)) as foreign:
        foreign.execute("BEGIN EXCLUSIVE")
        agent.daemon.outbox.put(Query("q", "home", "x", attempt=Attempt(answer="lights", kept=True)))
        said = await agent.until_state("database_locked")
        assert "backup" in said["states"][0]["remedy"]
        foreign.execute("ROLLBACK")
    await agent.until_state("ok")


async def test_a_full_disk_is_told_with_what_would_do(agent):
    await agent.start()
    await agent.until_serving("home")  # or the updater would say that all is well after that
    agent.daemon.updater.state = "disk_full"
    said = await agent.until_state("disk_full")
    assert "make room" in said["states"][0]["remedy"]
    agent.daemon.updater.state = "ok"
    await agent.until_state(State.OK)


async def test_a_spoilt_identity_is_told_and_mended_while_the_agent_goes_on(agent, monkeypatch):
    monkeypatch.setattr("edge_agent.identity.renewal.TAKE_UP_PAUSE", 0.1)
    monkeypatch.setattr("router.transport.tls.rotating_channel.CONNECT_SECONDS", 1.0)
    await agent.start()
    await agent.until_state("ok")
    path = agent.identity.path / IDENTITY_FILE
    whole = path.read_bytes()
    key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    for spoilt in (b"", whole[:300], key + whole[whole.index(b"-----BEGIN CERTIFICATE") :]):
        path.write_bytes(spoilt)
        await agent.daemon.renewal.step()
        assert await ask(f"127.0.0.1:{agent.daemon.port}", insecure=True) == "kitchen"
    with pytest.raises(ConfigError, match="key that can't be read"):
        await renew(agent.identity)
    path.write_bytes(whole)
    await agent.daemon.renewal.step()
    assert await ask(f"127.0.0.1:{agent.daemon.port}", insecure=True) == "kitchen"
    await agent.until_state("ok")


async def test_a_device_of_a_cloud_with_keys_takes_what_they_signed_and_says_so(agent, fleet):
    make_repository(fleet.config)
    sign_online(fleet.config, fleet.store)
    await agent.start()
    said = await agent.until_state("ok")
    hosted = await agent.until_serving("home")
    assert said["signed"] is True
    assert hosted.exploration >= hosted.serving.manifest.task.exploration.floor
    kept = sorted(path.name for path in (agent.folder / "repository" / "metadata").glob("*.json"))
    assert kept == ["models.json", "root.json", "snapshot.json", "targets.json", "timestamp.json"]


async def test_a_root_that_can_not_be_read_stops_updates_and_nothing_else(agent, fleet):
    make_repository(fleet.config)
    sign_online(fleet.config, fleet.store)
    await agent.start()
    await agent.stop()
    (agent.identity.path / "root.json").unlink()
    (agent.identity.path / "root.json").mkdir()
    shutil.rmtree(agent.folder / "tasks", ignore_errors=True)
    await agent.start()
    assert (await agent.until_state("ok"))["signed"] is True
    hosted = await agent.until_ordered("home")
    with pytest.raises(ConfigError, match=r"root.json.*can't be read"):
        await agent.daemon.updates.manifests.ordered(hosted.order)
    assert await ask(f"127.0.0.1:{agent.daemon.port}", insecure=True) == "kitchen"
    assert hosted.serving is None


async def test_a_device_that_enrolled_before_there_were_keys_gets_the_root_with_its_next_certificate(agent, fleet):
    await agent.start()
    assert (await agent.until_state("ok"))["signed"] is False
    make_repository(fleet.config)
    sign_online(fleet.config, fleet.store)
    await renew(agent.identity)
    first = agent.identity.root()
    assert b'"root"' in first
    (agent.identity.path / "root.json").write_bytes(b"another root")
    await renew(agent.identity)
    assert agent.identity.root() == b"another root"  # what a device trusts is never replaced over the wire
