"""Why something failed, in one line that ``status`` may show.

Rules:
 * What an error of Headrace's own says is public. Of any other error its kind is named, and the log has the rest.
 * What failed in a Ray task is told as its cause: no process, address or traceback is part of it.
"""

from __future__ import annotations

from router.core.errors import HeadraceError


def reason_of(error: BaseException) -> str:
    """The reason of an error, in one line.

    Args:
        error: As it was caught; of one that came through Ray its ``cause`` counts.
    """
    cause = getattr(error, "cause", None)
    found = cause if isinstance(cause, BaseException) else error
    if isinstance(found, HeadraceError):
        return next((line for line in str(found).splitlines() if line.strip()), type(found).__name__)
    return f"{type(found).__name__}; the log of the refresher says more"
