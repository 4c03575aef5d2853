"""TLS of a door, by gRPC's own credentials.

Rules:
 * Whoever dials checks that it reached whom it meant: a door's certificate names its role, whatever its address is.
 * A door asks for its certificate anew at each handshake, so that another one is shown without a restart; when it
   can't be had, the one before goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from router.core.errors import HeadraceError
from router.transport.tls.access_interceptor import Who, nobody

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DoorMaterial:
    """What a door shows and takes, in PEM.

    Attributes:
        key: Its private key.
        chain: Its certificate, then its issuer's.
        authorities: Whose certificates it takes from callers.
    """

    key: bytes
    chain: bytes
    authorities: bytes


@dataclass(frozen=True, slots=True)
class DoorTls:
    """TLS of one door.

    Attributes:
        material: Gives what to show now, the same object while nothing changed; called from gRPC's own threads.
        wants_certificates: Callers without a certificate are turned away in the handshake.
        who: Knows who calls.
        max_connection_seconds: Connections are closed in order after this time, so that what has changed is shown.
    """

    material: Callable[[], DoorMaterial]
    wants_certificates: bool = True
    who: Who = nobody
    max_connection_seconds: float = 600.0


def server_credentials(tls: DoorTls) -> grpc.ServerCredentials:
    """Credentials of a door, which follow what its material becomes.

    Raises:
        HeadraceError: There is nothing to show at first.
    """
    shown = tls.material()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        try:
            now = tls.material()
        except (HeadraceError, OSError) as error:
            log.error("the door's certificate can't be renewed, and the one before goes on: %s", error)
            return None
        if now is shown:
            return None
        shown = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown),
        fetch,  # type: ignore[arg-type] # None says that nothing changed, which the stubs lack
        require_client_authentication=tls.wants_certificates,
    )


def _configuration(material: DoorMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.authorities)
