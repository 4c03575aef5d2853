"""A gateway over mutual TLS signs by itself what serves, orders that alone, and gives the root to who enrols."""

import asyncio
import time

import pytest
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from cloud_worker.config.releases import Approval
from cloud_worker.gateway.open_gateway import OpenGateway
from cloud_worker.gateway.query_parts import Gatherers
from cloud_worker.gateway.run_file import RunFile
from cloud_worker.gateway.testing import trusted_fleet
from cloud_worker.identity.testing import TrustedAuthority, trusted_config
from cloud_worker.pool.batcher import UnderWay
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.files import TIMESTAMP, RepositoryFiles
from cloud_worker.releases.repository.keeping import Keeper
from cloud_worker.releases.repository.testing import (
    ONLINE_PASSPHRASE,
    SignedCloud,
    TufDevice,
    ceremony_of,
    make_repository,
    sign_online,
)
from cloud_worker.releases.rollback import roll_back
from cloud_worker.startup.preflight import check_door
from cloud_worker.state.store import Store
from router.core.errors import ConfigError
from router.core.release.reports import DeviceReport
from router.core.release.signed_task import manifest_target
from router.identity.bundle import Bundle
from router.identity.certificates import new_key, request_for, sign_renewal
from router.identity.names import Role
from router.transport.channel import open_channel
from router.transport.fleet_wire import orders_from_proto, report_to_proto
from router.v1 import enrolment_pb2, enrolment_pb2_grpc, fleet_pb2_grpc, release_pb2, release_pb2_grpc

SECONDS = 60  # for what takes less than one


class OverGrpc(FetcherInterface):
    """Fetches from the running loop's channel, as a device does, for a client that runs in another thread."""

    def __init__(self, channel):
        self._stub, self._loop = release_pb2_grpc.ReleasesStub(channel), asyncio.get_running_loop()

    def _fetch(self, url):
        parts = url.split("/", 3)[3].split("/")
        asked = {"file": parts[-1]}
        if parts[:2] == ["targets", "models"]:
            asked = {"task": parts[2], "release": int(parts[3]), "file": "manifest.json"}
        try:
            yield asyncio.run_coroutine_threadsafe(self._read(asked), self._loop).result(SECONDS)
        except Exception as error:
            raise DownloadHTTPError(str(error), 404) from error

    async def _read(self, asked):
        call = self._stub.Fetch(release_pb2.FetchRequest(**asked), timeout=SECONDS)
        return b"".join([chunk.data async for chunk in call])


async def order_of(channel):
    report = report_to_proto(DeviceReport("kitchen"))
    orders = orders_from_proto(await fleet_pb2_grpc.FleetStub(channel).Sync(report, timeout=SECONDS))
    return orders.tasks[0]


async def test_a_gateway_signs_what_serves_within_seconds_and_a_device_finds_it(tmp_path):
    config = trusted_config(tmp_path)
    store = Store(config.store_url)
    store.declare_tasks(config.tasks)
    publisher = Publisher(config.releases_folder)
    publish_first_releases(config.tasks, store, publisher)
    make_repository(config)
    run_file = RunFile(config.run_folder, "gateway-0")
    gateway = await OpenGateway.opened(config, "gateway-0", Gatherers(UnderWay()), run_file, insecure=False)
    identity = TrustedAuthority(tmp_path, config, store).bundle(Role.DEVICE, "kitchen")
    channel = open_channel(f"127.0.0.1:{gateway.port}", identity=identity)
    try:
        assert (await order_of(channel)).release == 0
        root = RepositoryFiles(config.repository_folder).root_bytes()
        device = TufDevice(tmp_path / "device", root, OverGrpc(channel))
        assert await asyncio.to_thread(device.fetch, manifest_target("home", 0)) is not None
        number = roll_back(store, publisher, config.task("home"), 0)  # as the command `pin` does, in another process
        until = time.monotonic() + SECONDS
        while (order := await order_of(channel)).release != number:
            assert order.release == 0
            assert time.monotonic() < until
        assert await asyncio.to_thread(device.fetch, manifest_target("home", number)) is not None
        await asyncio.to_thread(ceremony_of(config, tmp_path / "offline").rotate, "online", (), None)
        while len(RepositoryFiles(config.repository_folder).versions("root")) < 2:
            assert await asyncio.to_thread(device.fetch, manifest_target("home", number)) is not None
            assert time.monotonic() < until
        assert await asyncio.to_thread(device.fetch, manifest_target("home", number)) is not None
    finally:
        await channel.close(0)
        await gateway.refuse_new_calls()
        await gateway.close()


async def test_who_enrols_or_renews_is_given_the_newest_root(tmp_path):
    async with trusted_fleet(tmp_path) as fleet:
        root = fleet.bundle(Role.DEVICE, "other").authorities
        channel = open_channel(fleet.enrolment, identity=Bundle(b"", b"", root))
        stub, key = enrolment_pb2_grpc.EnrolmentStub(channel), new_key()
        asked = enrolment_pb2.EnrollRequest(token=fleet.token("kitchen"), certificate_request=request_for(key))
        try:
            given = await stub.Enroll(asked, timeout=SECONDS)
            assert given.root_metadata == b""
            files = RepositoryFiles(fleet.config.repository_folder)
            ceremony = make_repository(fleet.config)
            assert (await stub.Enroll(asked, timeout=SECONDS)).root_metadata == files.root_bytes()
            ceremony.rotate("root", (), None)
            await asyncio.to_thread(sign_online, fleet.config, fleet.store)
            assert files.versions("root") == [1, 2]
            request = request_for(new_key())
            renewal = enrolment_pb2.RenewRequest(
                certificate=given.certificate, certificate_request=request, proof=sign_renewal(key, request)
            )
            assert (await stub.Renew(renewal, timeout=SECONDS)).root_metadata == files.root_bytes()
        finally:
            await channel.close(0)


def test_a_start_without_keys_says_how_they_are_made(tmp_path):
    config = trusted_config(tmp_path)
    with pytest.raises(ConfigError, match="headrace-cloud keys init"):
        check_door(config, insecure=False)
    check_door(config, insecure=True)
    by_hand = config.model_copy(update={"releases": config.releases.model_copy(update={"approval": Approval.MANUAL})})
    with pytest.raises(ConfigError, match="headrace-cloud keys init"):
        check_door(by_hand, insecure=True)
    Store(config.store_url)
    make_repository(config)
    check_door(config, insecure=False)
    (tmp_path / "issuing.txt").write_bytes(b"another passphrase of this length")
    with pytest.raises(ConfigError, match="passphrase is not that"):
        check_door(config, insecure=True)


def test_a_cloud_that_was_off_for_months_signs_before_a_device_asks(tmp_path):
    now = time.time()
    cloud = SignedCloud.in_folder(tmp_path).make_keys(now=now - 150 * 86_400)
    Keeper(cloud.config, cloud.store, lambda: ONLINE_PASSPHRASE, lambda task, number: None).sign()
    assert cloud.device().fetch(manifest_target("home", 0)) is not None


async def test_what_hinders_signing_stops_no_gateway_and_is_told_once(tmp_path, caplog):
    cloud = SignedCloud.in_folder(tmp_path).make_keys()
    newest = cloud.files.metadata / "timestamp.json"
    whole = newest.read_bytes()
    newest.write_bytes(b"{}")
    keeper = Keeper(cloud.config, cloud.store, lambda: ONLINE_PASSPHRASE, lambda task, number: None)
    for _ in range(3):
        await keeper.try_to_sign()
    assert [("can't be signed" in record.message, "timestamp.json" in record.message) for record in caplog.records] == [
        (True, True)
    ]
    newest.write_bytes(whole)
    cloud.another_release()
    await keeper.try_to_sign()
    assert cloud.device().fetch(manifest_target("home", 1)) is not None


def test_what_a_clock_that_was_ahead_has_signed_is_signed_anew(tmp_path):
    now = time.time()
    cloud = SignedCloud.in_folder(tmp_path).make_keys(now=now)
    cloud.sign(now + 10 * 365 * 86_400)
    cloud.sign(now)
    for role in (TIMESTAMP, "snapshot", "models"):
        assert cloud.files.latest(role).signed.expires.timestamp() < now + 91 * 86_400
    assert cloud.device().fetch(manifest_target("home", 0)) is not None
