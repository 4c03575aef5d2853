"""Lets gRPC read its sockets in the one thread that waits for them, instead of handing events on to its own threads.

On a device those hand-overs take a tenth to a fifth of an answer (docs/decisions/0181). gRPC reads the variable while
it is imported.

Rules:
 * What the operator has set stays.
 * Only versions that were seen to know the switches are told: another would complain of them on the standard error.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

VARIABLE = "GRPC_EXPERIMENTS"
SWITCHES = "-event_engine_listener,-event_engine_client"
KNOWN = ("1.85.",)


def poll_in_one_thread() -> None:
    """Say so to the gRPC that is installed, for this process and those that it starts; before gRPC is imported."""
    try:
        installed = version("grpcio")
    except PackageNotFoundError:  # whoever imports it hears of that
        return
    if installed.startswith(KNOWN):
        os.environ.setdefault(VARIABLE, SWITCHES)
