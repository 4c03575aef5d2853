"""Reads the certificate that a server shows, before anything is said to it.

Rules:
 * Whether the certificate holds now is not looked at: a device whose clock is wrong learns so from it.
 * With authorities it is checked to be a gateway's of theirs; without, it is worth nothing but to find those.
"""

from __future__ import annotations

import socket
import ssl

from router.core.errors import DeniedError, UnavailableError
from router.identity.names import GATEWAY_SERVER

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name
DEFAULT_SECONDS = 5.0


def read_shown_certificate(host: str, port: int, authorities: bytes = b"", seconds: float = DEFAULT_SECONDS) -> bytes:
    """The certificate at ``host:port``, in PEM.

    Args:
        host: Name or address.
        port: The same machine's port.
        authorities: In PEM; who must have given it. Empty for whomever.
        seconds: Most time to take.

    Raises:
        UnavailableError: Nobody answers there, or nobody who speaks TLS.
        DeniedError: It is no certificate of a gateway of these authorities.
    """
    where = f"{host}:{port}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    if authorities:
        context.load_verify_locations(cadata=authorities.decode("ascii", errors="replace"))
        context.verify_flags |= _NO_CHECK_TIME
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=seconds) as connection,
            context.wrap_socket(connection, server_hostname=GATEWAY_SERVER) as talking,
        ):
            return ssl.DER_cert_to_PEM_cert(talking.getpeercert(binary_form=True) or b"").encode()
    except ssl.SSLCertVerificationError as error:
        raise DeniedError(f"{where} is no gateway of this fleet: {error.verify_message}") from error
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{where} can't be reached ({error})") from error
