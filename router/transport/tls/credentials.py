"""TLS of whoever dials, by gRPC's own credentials."""

from __future__ import annotations

import grpc

from router.identity.bundle import Bundle


def channel_credentials(bundle: Bundle) -> grpc.ChannelCredentials:
    """Credentials of whoever dials: a certificate where the bundle holds one, else its bearer token if there is one."""
    if bundle.key:
        return grpc.ssl_channel_credentials(bundle.authorities, bundle.key, bundle.chain)
    tls = grpc.ssl_channel_credentials(bundle.authorities)
    if not bundle.bearer:
        return tls
    return grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(bundle.bearer))
