"""The distillation log's table as its library knows it: how it is kept, and what comes out of the library.

Rules:
 * Nothing but errors comes out of the library, also where it panics.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deltalake.exceptions import DeltaError

CONFIGURATION: dict[str, str | None] = {
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 10 minutes",  # nobody reads a former version
    "delta.deletedFileRetentionDuration": "interval 10 minutes",
    "delta.enableExpiredLogCleanup": "true",
}


@contextmanager
def logged_errors() -> Iterator[None]:
    """Raise what the table's library says as one line; its panic, which is no ``Exception``, as a ``DeltaError``."""
    try:
        yield
    except DeltaError as error:
        error.args = (str(error).partition("\n")[0],)
        raise
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise DeltaError(f"the table's library failed: {str(error).partition(chr(10))[0]}") from error
