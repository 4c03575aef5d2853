"""A gateway's doors, over real TLS: who gets in, and what each may call."""

import asyncio
import importlib
import pkgutil
import random
import time

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import router.v1
from cloud_worker.fleet.metrics import IdentityMetrics
from cloud_worker.gateway.testing import trusted_fleet
from cloud_worker.identity.revocations import READ_SECONDS
from cloud_worker.reports.devices import briefs_of, devices_of
from router.core.errors import DeniedError, NotServedError, RevokedError, ServiceError, UnavailableError
from router.core.release.reports import DeviceReport
from router.identity.access import ANYBODY, MAY_CALL
from router.identity.bundle import Bundle
from router.identity.names import Identity, Role
from router.transport.channel import call_error, open_channel
from router.transport.fleet_wire import orders_from_proto, report_to_proto
from router.transport.telemetry_names import META_DEVICE
from router.v1 import cascade_pb2, cascade_pb2_grpc, enrolment_pb2, fleet_pb2_grpc

CALLERS = (Role.DEVICE, Role.CLIENT, Role.OPERATOR)
MOST_SECONDS = 5.0  # until a revocation is heeded


def contract():
    """Every call of the contract, of health and of reflection: whole name, and whether it streams."""
    modules = [importlib.import_module(f"router.v1.{found.name}") for found in pkgutil.iter_modules(router.v1.__path__)]
    files = [module.DESCRIPTOR for module in modules if module.__name__.endswith("_pb2")]
    for file in (*files, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        told = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(told)
        for service in told.service:
            for method in service.method:
                name = f"/{told.package}.{service.name}/{method.name}"
                yield name, method.client_streaming, method.server_streaming


CONTRACT = {name: streams for name, *streams in contract()}


async def call(channel, method, metadata=()):
    """Call a method with an empty request; what it raises in the end, ``None`` when it answers."""
    of_requests, of_responses = CONTRACT[method]
    kind = f"{'stream' if of_requests else 'unary'}_{'stream' if of_responses else 'unary'}"
    stub = getattr(channel, kind)(method)
    request = iter([b""]) if of_requests else b""
    try:
        made = stub(request, timeout=60, metadata=metadata)
        if of_responses:
            async for _ in made:
                made.cancel()
                return None
        else:
            await made
    except grpc.aio.AioRpcError as error:
        return call_error(error)
    return None


async def answer(channel, metadata=()):
    """What a gateway answers: the caller's name."""
    stub = cascade_pb2_grpc.CascadeStub(channel)
    response = await stub.Answer(cascade_pb2.AnswerRequest(task="home", text="x"), timeout=60, metadata=metadata)
    return response.answer


@pytest.fixture
def open_as(fleet):
    """Opens a channel with an identity."""

    def opened(bundle, target=None):
        return open_channel(target or fleet.target, identity=bundle, attempts=1)

    return opened


def test_every_call_of_the_contract_says_who_may_make_it():
    assert set(MAY_CALL) == set(CONTRACT)


@pytest.mark.parametrize("role", CALLERS)
async def test_each_role_may_call_what_the_table_says_and_nothing_else(fleet, open_as, role):
    async with open_as(fleet.bundle(role, "somebody")) as channel:
        for method, allowed in MAY_CALL.items():
            error = await call(channel, method)
            if role in allowed:
                assert not isinstance(error, DeniedError), (method, error)
            else:
                assert isinstance(error, DeniedError), (method, error)
                assert f"a {role} may not call" in str(error)
    assert set(fleet.callers.heard) == {Identity(role, "somebody").caller}


async def test_who_has_no_certificate_calls_nothing_where_certificates_are_wanted(fleet, open_as):
    authorities = fleet.bundle(Role.CLIENT, "app").authorities
    async with open_as(Bundle(b"", b"", authorities)) as channel:
        for method in MAY_CALL:
            assert isinstance(await call(channel, method), UnavailableError)
    assert fleet.callers.heard == []


async def test_on_the_door_for_enrolment_only_what_anybody_may_call_is_served(fleet, open_as):
    authorities = fleet.bundle(Role.CLIENT, "app").authorities
    for bundle in (Bundle(b"", b"", authorities), fleet.bundle(Role.OPERATOR, "ada")):
        async with open_as(bundle, fleet.enrolment) as channel:
            for method, allowed in MAY_CALL.items():
                error = await call(channel, method)
                if allowed != ANYBODY:
                    assert isinstance(error, DeniedError | NotServedError | ServiceError), (method, error)
    assert fleet.callers.heard == []


@pytest.mark.parametrize("which", ["another fleet's", "expired", "not yet valid", "without its issuer", "a gateway's"])
async def test_a_wrong_certificate_calls_nothing(fleet, open_as, tmp_path, which):
    now = time.time()
    mine = fleet.bundle(Role.DEVICE, "kitchen")
    if which == "another fleet's":
        (tmp_path / "other").mkdir()
        async with trusted_fleet(tmp_path / "other") as other:
            theirs = other.bundle(Role.DEVICE, "kitchen")
        wrong = Bundle(theirs.key, theirs.chain, mine.authorities)
    elif which == "a gateway's":
        wrong = fleet.bundle(Role.GATEWAY, "gateway-0")
    elif which == "without its issuer":
        other = fleet.bundle(Role.DEVICE, "garage")
        wrong = Bundle(mine.key, other.chain, mine.authorities)  # another's certificate, without its key
    else:
        days = 10 if which == "not yet valid" else -10
        wrong = fleet.bundle(Role.DEVICE, "kitchen", now=now + days * 86_400)
    async with open_as(wrong) as channel:
        for method in MAY_CALL:
            try:
                error = await call(channel, method)
            except grpc.aio.UsageError as unusable:
                error = UnavailableError(str(unusable))
            assert isinstance(error, ServiceError), (method, error)
    assert fleet.callers.heard == []


async def test_a_device_can_never_act_as_another(fleet, open_as):
    async with open_as(fleet.bundle(Role.DEVICE, "kitchen")) as channel:
        assert await answer(channel, [(META_DEVICE, "garage")]) == "kitchen"
        stub = fleet_pb2_grpc.FleetStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Sync(report_to_proto(DeviceReport("garage")), timeout=60, metadata=[(META_DEVICE, "garage")])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert fleet.store.find_device("garage") is None


async def test_a_device_learns_its_own_seed_and_a_client_of_its_name_none(fleet, open_as):
    seeds = {}
    for name in ("kitchen", "garage"):
        async with open_as(fleet.bundle(Role.DEVICE, name)) as channel:
            sent = report_to_proto(DeviceReport(name))
            orders = orders_from_proto(await fleet_pb2_grpc.FleetStub(channel).Sync(sent, timeout=60))
            seeds[name] = orders.seed
            assert abs(orders.now - time.time()) < 60
    assert seeds["kitchen"] != seeds["garage"]
    async with open_as(fleet.bundle(Role.CLIENT, "kitchen")) as channel:
        assert await answer(channel) == "client:kitchen"
        assert isinstance(await call(channel, "/headrace.v1.Fleet/Sync"), DeniedError)


async def test_a_revoked_certificate_is_refused_on_an_open_connection_within_five_seconds(fleet, open_as):
    assert READ_SECONDS * 2 <= MOST_SECONDS
    async with open_as(fleet.bundle(Role.DEVICE, "kitchen")) as channel:
        assert await answer(channel) == "kitchen"
        fleet.register.revoke(Identity(Role.DEVICE, "kitchen"), time.time())
        began = time.monotonic()
        with pytest.raises(RevokedError):
            while time.monotonic() - began < 60:
                error = await call(channel, "/headrace.v1.Cascade/Answer")
                if error is not None:
                    raise error
                await asyncio.sleep(0.05)
        for method, allowed in MAY_CALL.items():
            if allowed != ANYBODY:
                assert isinstance(await call(channel, method), RevokedError), method


async def test_who_is_to_answer_is_checked_and_a_device_never_passes_for_a_gateway(fleet, open_as):
    device = fleet.bundle(Role.DEVICE, "kitchen")
    async with open_as(device, f"kitchen@{fleet.target}") as channel:
        assert isinstance(await call(channel, "/headrace.v1.Cascade/Answer"), UnavailableError)
    async with trusted_fleet_of_device(device) as port, open_as(device, f"127.0.0.1:{port}") as channel:
        assert isinstance(await call(channel, "/headrace.v1.Cascade/Answer"), UnavailableError)


def trusted_fleet_of_device(bundle):
    """A door that shows a device's certificate, on a free port."""
    import contextlib

    from router.transport.server import Door
    from router.transport.tls.door_tls import DoorMaterial, DoorTls

    @contextlib.asynccontextmanager
    async def opened():
        material = DoorMaterial(bundle.key, bundle.chain, bundle.authorities)
        door = Door("127.0.0.1:0", tls=DoorTls(lambda: material))
        try:
            yield await door.start()
        finally:
            await door.stop(0)

    return opened()


async def test_who_can_not_come_stands_in_the_fleets_table_and_is_counted(fleet, open_as):
    for name in ("kitchen", "garage", "hall"):
        async with open_as(fleet.bundle(Role.DEVICE, name)) as channel:
            await fleet_pb2_grpc.FleetStub(channel).Sync(report_to_proto(DeviceReport(name)), timeout=60)
    fleet.register.revoke(Identity(Role.DEVICE, "garage"), time.time())
    fleet.bundle(Role.DEVICE, "hall", now=time.time() - 10 * 86_400)
    told = {one["device"]: one["state"] for one in devices_of(fleet.config, fleet.store, None)}
    assert told == {"kitchen": "ok", "garage": "revoked", "hall": "certificate_expired"}
    brief = {one.device: one.state for one in briefs_of(fleet.config, fleet.store, None)}
    assert brief == told
    reader = InMemoryMetricReader()
    IdentityMetrics(MeterProvider([reader]).get_meter("test"), fleet.register)
    [metric] = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    counts = {point.attributes["state"]: point.value for point in metric.data.data_points}
    assert (metric.name, counts) == ("headrace.fleet.shut_out", {"revoked": 1, "certificate_expired": 1})


@pytest.mark.parametrize("method", ["Enroll", "Renew", "Authorities"])
async def test_spoilt_messages_break_nothing_on_the_door_for_enrolment(fleet, open_as, method):
    rng, whole = random.Random(method), fleet.bundle(Role.DEVICE, "kitchen")
    request = enrolment_pb2.RenewRequest(certificate=whole.chain, certificate_request=b"x" * 200, proof=b"y" * 70)
    if method == "Enroll":
        request = enrolment_pb2.EnrollRequest(token=fleet.token("hall"), certificate_request=b"x" * 200, device="hall")
    said = set()
    async with open_as(Bundle(b"", b"", whole.authorities), fleet.enrolment) as channel:
        stub = channel.unary_unary(f"/headrace.v1.Enrolment/{method}")
        for _ in range(300):
            data = bytearray(request.SerializeToString())
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            try:
                await stub(bytes(data[: rng.randrange(len(data) + 1)]), timeout=60)
            except grpc.aio.AioRpcError as error:
                said.add(error.code().name)
    assert said <= {"INVALID_ARGUMENT", "PERMISSION_DENIED"}


async def test_what_a_distrusted_issuer_gave_calls_nothing_at_a_gateway(fleet, open_as, monkeypatch):
    monkeypatch.setattr("cloud_worker.identity.gateway_identity._CHECK_SECONDS", 0.0)
    stolen = fleet.bundle(Role.DEVICE, "kitchen")
    fleet.renew_issuing()
    async with open_as(stolen) as channel:
        assert await answer(channel) == "kitchen"
    fleet.renew_issuing(distrust=True)
    async with open_as(stolen) as channel:
        assert isinstance(await call(channel, "/headrace.v1.Cascade/Answer"), UnavailableError)
    async with open_as(fleet.bundle(Role.DEVICE, "kitchen")) as channel:
        assert await answer(channel) == "kitchen"
