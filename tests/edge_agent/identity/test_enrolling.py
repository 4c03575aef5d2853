"""A device enrols and renews over real TLS, through breaks and with a wrong clock."""

import asyncio
import contextlib
import time

import pytest

from cloud_worker.gateway.testing import trusted_fleet
from edge_agent.identity.clock import Clock
from edge_agent.identity.enrolling import enrol, renew
from edge_agent.identity.files import IdentityFolder, check_enrolled
from router.core.errors import (
    ConfigError,
    DeadlineError,
    DeniedError,
    OverloadedError,
    RevokedError,
    StartError,
    UnavailableError,
    WrongClockError,
)
from router.identity.bundle import IDENTITY_FILE
from router.identity.names import Identity, Role

DAY = 86_400.0


@pytest.fixture
def folder(tmp_path):
    return IdentityFolder(tmp_path / "data")


@contextlib.asynccontextmanager
async def cutting(target, after):
    """A way to ``target`` that is cut once ``after`` bytes have come back; gives its address."""
    host, port = target.split(":")

    carrying = set()

    async def carry(reader, writer):
        carrying.add(asyncio.current_task())
        there, back = await asyncio.open_connection(host, int(port))
        left = after

        async def up():
            while data := await reader.read(4096):
                back.write(data)

        sending = asyncio.create_task(up())
        try:
            while left > 0 and (data := await there.read(min(left, 512))):
                left -= len(data)
                writer.write(data)
        except OSError:
            pass  # whoever called has gone
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.transport.abort()
            back.transport.abort()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)


async def test_a_device_enrols_with_one_call_and_nobody_else_can_read_its_key(fleet, folder):
    named, upstream = await enrol(folder, fleet.enrolment, fleet.token("kitchen"))
    assert (named, upstream) == ("kitchen", fleet.target)
    assert folder.certificate().identity == Identity(Role.DEVICE, "kitchen")
    assert folder.cloud() == fleet.enrolment
    check_enrolled(folder, "kitchen")
    with pytest.raises(ConfigError, match="kitchen"):
        check_enrolled(folder, "garage")
    assert (folder.path / IDENTITY_FILE).stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert not (folder.path / "pending.pem").exists()


async def test_a_connection_cut_at_any_byte_burns_nothing(fleet, folder, monkeypatch):
    monkeypatch.setattr("edge_agent.identity.enrolling.SECONDS", 1.0)
    token, kitchen = fleet.token("kitchen"), Identity(Role.DEVICE, "kitchen")
    was_given_and_lost = 0
    for after in (300, 900, *range(1200, 4000, 200)):
        async with cutting(fleet.enrolment, after) as way:
            with contextlib.suppress(UnavailableError, DeadlineError, DeniedError):
                await enrol(folder, way, token)
        if folder.exists:
            break
        was_given_and_lost += fleet.register.find(kitchen) is not None
    else:
        await enrol(folder, fleet.enrolment, token)
    assert was_given_and_lost, "no connection broke between the certificate and its arrival"
    assert folder.certificate().identity == kitchen


async def test_a_lost_answer_is_asked_for_again_and_the_same_certificate_comes(fleet, folder):
    token = fleet.token("kitchen")
    pending = folder.pending_key()
    await enrol(folder, fleet.enrolment, token)
    first = folder.certificate().serial
    other = IdentityFolder(folder.path.parent.parent / "again")
    other.path.mkdir(parents=True)
    from router.identity.certificates import key_to_pem

    (other.path / "pending.pem").write_bytes(key_to_pem(pending))
    await enrol(other, fleet.enrolment, token)
    assert other.certificate().serial == first
    with pytest.raises(DeniedError, match="has been used"):
        await enrol(IdentityFolder(folder.path.parent.parent / "thief"), fleet.enrolment, token)


async def test_a_token_is_told_to_the_cloud_that_it_names_and_to_nobody_else(fleet, folder, tmp_path):
    (tmp_path / "other").mkdir()
    async with trusted_fleet(tmp_path / "other") as other:
        token = fleet.token("kitchen")
        with pytest.raises(DeniedError, match="another root"):
            await enrol(folder, other.enrolment, token)
        with pytest.raises(DeniedError, match="another root"):
            await enrol(folder, fleet.enrolment, token, root_sha256=bytes(32))
        with pytest.raises(DeniedError, match="not known here"):
            await enrol(folder, other.enrolment, token, root_sha256=_root(other))
    await enrol(folder, fleet.enrolment, token, root_sha256=_root(fleet))


def _root(fleet):
    from cloud_worker.identity.authority import read_trust

    return read_trust(fleet.config.ca_folder).root_sha256


@pytest.mark.parametrize(("years", "clock"), [(10, Clock.AHEAD), (-10, Clock.BEHIND)])
async def test_a_clock_ten_years_off_is_told_as_such_and_burns_nothing(fleet, folder, years, clock):
    token = fleet.token("kitchen")
    off = years * 365 * DAY
    with pytest.raises(WrongClockError, match=r"clock of this device is (ahead|behind)") as caught:
        await enrol(folder, fleet.enrolment, token, now=lambda: time.time() + off)
    assert caught.value.is_ahead == (clock is Clock.AHEAD)
    await enrol(folder, fleet.enrolment, token)
    with pytest.raises(WrongClockError) as caught:
        await renew(folder, now=lambda: time.time() + off)
    assert caught.value.is_ahead == (clock is Clock.AHEAD)


async def test_a_certificate_is_renewed_with_another_key_and_a_revoked_one_is_not(fleet, folder):
    await enrol(folder, fleet.enrolment, fleet.token("kitchen"))
    before = folder.bundle()
    await renew(folder)
    after = folder.bundle()
    assert after.key != before.key
    assert folder.certificate().identity == Identity(Role.DEVICE, "kitchen")
    fleet.register.revoke(Identity(Role.DEVICE, "kitchen"), time.time())
    with pytest.raises(RevokedError):
        await renew(folder)
    assert folder.bundle() == after


async def test_a_device_that_slept_for_sixty_days_renews_with_what_it_has(fleet, folder):
    await enrol(folder, fleet.enrolment, fleet.token("kitchen"))
    asleep = fleet.bundle(Role.DEVICE, "kitchen", days=30, now=time.time() - 60 * DAY)
    (folder.path / IDENTITY_FILE).write_bytes(asleep.key + asleep.chain)
    assert folder.certificate().ends < time.time()
    await renew(folder)
    assert folder.certificate().ends > time.time() + 29 * DAY


async def test_where_nobody_answers_the_device_says_so(folder, fleet):
    with pytest.raises(UnavailableError, match="can't be reached"):
        await enrol(folder, "127.0.0.1:1", fleet.token("kitchen"))
    with pytest.raises(StartError, match="headrace-edge enroll"):
        check_enrolled(folder, "kitchen")


async def test_whoever_knocks_too_often_is_told_when_to_come_back(tmp_path, folder):
    (tmp_path / "cloud").mkdir()
    async with trusted_fleet(tmp_path / "cloud", identity={"per_address": 2}) as fleet:
        await enrol(folder, fleet.enrolment, fleet.token("kitchen"))  # two calls
        with pytest.raises(OverloadedError, match="come back later") as caught:
            await renew(folder)
        assert 0 < caught.value.retry_after <= 30
