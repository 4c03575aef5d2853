"""Headrace decides here: values in, values out. Start at ``core/domain/query.py``, then ``core/policy/deferral.py``.

Programs that ask import ``Client`` or ``AsyncClient`` from here; nothing is opened, and gRPC not even imported, before.
The import of this package tells the libraries that others of ours load to stay quiet (``quiet_libraries.py``).
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from router.io.quiet_libraries import keep_libraries_quiet

if TYPE_CHECKING:
    from router.client.async_client import AsyncClient
    from router.client.blocking_client import Client
    from router.core.domain.query import Answer, Consent, Message, Provenance, Query, Route, Tier
    from router.core.errors import CallerError, HeadraceError, ServiceError

__all__ = [
    "Answer",
    "AsyncClient",
    "CallerError",
    "Client",
    "Consent",
    "HeadraceError",
    "Message",
    "Provenance",
    "Query",
    "Route",
    "ServiceError",
    "Tier",
]

# gRPC's own fork handlers hang or crash the child of a busy parent; ``lifetime.py`` says instead what to do.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_HOMES = {
    "router.client.async_client": ("AsyncClient",),
    "router.client.blocking_client": ("Client",),
    "router.core.errors": ("CallerError", "HeadraceError", "ServiceError"),
    "router.core.domain.query": ("Answer", "Consent", "Message", "Provenance", "Query", "Route", "Tier"),
}


keep_libraries_quiet()


def __getattr__(name: str) -> object:
    for home, exported in _HOMES.items():
        if name in exported:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
