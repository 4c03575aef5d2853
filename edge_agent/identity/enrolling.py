"""Get a certificate: with a token at first, with the one before from then on.

Rules:
 * The token goes to whoever has the root that it names, and to nobody else.
 * What is repeated after a break uses the same key, so that the same certificate comes.
 * A clock that is wrong is told as such, before TLS fails for it in other words.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc

from edge_agent.identity.clock import check_clock
from edge_agent.identity.files import IdentityFolder
from router.core.errors import ConfigError, DeniedError, ServiceError
from router.identity.bundle import Bundle
from router.identity.certificates import (
    Certificate,
    PrivateKey,
    certificates_in,
    fingerprint,
    key_from_pem,
    key_sha256,
    read_certificate,
    request_for,
    sign_renewal,
    to_pem,
)
from router.identity.join_token import read_token
from router.identity.shown_certificate import read_shown_certificate
from router.transport.address import Address, read_address
from router.transport.channel import call_error, open_channel
from router.v1 import enrolment_pb2, enrolment_pb2_grpc

SECONDS = 15.0  # that one call may take

_T = TypeVar("_T")


async def enrol(
    folder: IdentityFolder,
    cloud: str,
    token: str,
    device: str = "",
    root_sha256: bytes = b"",
    now: Callable[[], float] = time.time,
) -> tuple[str, str]:
    """Get the first certificate; returns the device's name, and where the cloud takes queries.

    Args:
        folder: Keeps it.
        cloud: ``HOST:PORT`` where devices enrol.
        token: As the operator made it.
        device: Its name; may be empty where the token names one.
        root_sha256: Of the fleet's root, in place of what the token says; empty for that.
        now: Tells Unix time in seconds.

    Raises:
        ConfigError: The address or the token can't be read.
        DeniedError: The cloud has another root, or does not take the token.
        StartError: The clock of this device is wrong.
        HeadraceError: The cloud can't be reached, or says something else.
        OSError: What came can't be kept.
    """
    address = read_address(cloud, "--cloud", "")
    wanted = root_sha256 or read_token(token).root_sha256
    root = await _root_at(address, wanted)
    await _check_clock(address, root, now())
    key = folder.pending_key()
    request = enrolment_pb2.EnrollRequest(token=token.strip(), certificate_request=request_for(key), device=device)
    async with _asking(address, root) as stub:
        given = await _said(stub.Enroll(request, timeout=SECONDS, wait_for_ready=True), str(address))
    identity = _checked(given.certificate, key).identity
    if identity is None:
        raise DeniedError(f"{address} gave a certificate that names nobody")
    folder.keep_root(given.root_metadata)  # first: without it nothing would be checked
    folder.keep(key, given.certificate, root, str(address))
    return identity.name, str(Address(address.host, given.port))


async def renew(folder: IdentityFolder, now: Callable[[], float] = time.time) -> None:
    """Get another certificate for the one that there is, and put it in its place.

    Raises:
        RevokedError: It was revoked.
        DeniedError: It is renewed no more, or whoever answers is no gateway of this fleet.
        StartError: The clock of this device is wrong.
        HeadraceError: The cloud can't be reached, or says something else.
        OSError: What came can't be kept.
    """
    address, before = read_address(folder.cloud(), str(folder.path), "cloud"), folder.bundle()
    await _check_clock(address, before.authorities, now())
    key = folder.pending_key()
    asked = request_for(key)
    try:
        proof = sign_renewal(key_from_pem(before.key), asked)
    except ValueError as error:
        raise ConfigError(str(folder.path), "", f"holds a key that can't be read: {error}; enrol again") from error
    request = enrolment_pb2.RenewRequest(certificate=before.chain, certificate_request=asked, proof=proof)
    async with _asking(address, before.authorities) as stub:
        given = await _said(stub.Renew(request, timeout=SECONDS, wait_for_ready=True), str(address))
    _checked(given.certificate, key)
    if not folder.root():  # enrolled before the cloud had one; a root that is there is never replaced
        folder.keep_root(given.root_metadata)
    folder.keep(key, given.certificate, before.authorities)


def _checked(chain: bytes, key: PrivateKey) -> Certificate:
    """What a certificate that came says; it is for ``key``, or worth nothing."""
    said = read_certificate(chain)
    if said.key_sha256 != key_sha256(key.public_key()):
        raise DeniedError("the cloud gave a certificate for another key than this device's")
    return said


async def _root_at(address: Address, wanted: bytes) -> bytes:
    """The root of the cloud, in PEM, once it is known to be the one that is wanted."""
    shown = await asyncio.to_thread(read_shown_certificate, address.host, address.port)
    async with _asking(address, shown) as stub:
        request = enrolment_pb2.AuthoritiesRequest()
        told = await _said(stub.Authorities(request, timeout=SECONDS, wait_for_ready=True), str(address))
    try:
        found = [one for one in certificates_in(told.authorities) if fingerprint(one) == wanted]
    except ValueError:
        found = []
    if not found:
        raise DeniedError(
            f"{address} has another root than the token names: it is another fleet, or somebody in between; nothing was"
            " told to it"
        )
    return to_pem(found)


async def _check_clock(address: Address, root: bytes, now: float) -> None:
    shown = read_certificate(await asyncio.to_thread(read_shown_certificate, address.host, address.port, root))
    check_clock(shown, now)


@asynccontextmanager
async def _asking(address: Address, authorities: bytes) -> AsyncIterator[Any]:
    channel = open_channel(str(address), identity=Bundle(b"", b"", authorities), attempts=1)
    try:
        yield enrolment_pb2_grpc.EnrolmentStub(channel)
    finally:
        await channel.close(None)


async def _said(call: Awaitable[_T], target: str) -> _T:
    try:
        reply = await call
    except grpc.aio.AioRpcError as error:
        raise call_error(error, target) from error
    if reply is None:  # gRPC could not read it
        raise ServiceError(f"{target} does not speak as a cloud does: its reply can't be read")
    return reply


def check_device(named: str, device: str) -> None:
    """Check that a certificate is for the device that is configured.

    Raises:
        ConfigError: It is for another.
    """
    if named != device:
        raise ConfigError("device", device, f"is not the name that the token is for, {named!r}; change one of them")
