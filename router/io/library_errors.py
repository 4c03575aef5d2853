"""What libraries raise on files and texts that come from outside, as errors of ``router.core.errors``.

They raise errors of any kind on a file that was damaged or made to harm; those written in Rust panic past
``Exception``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from router.core.errors import HeadraceError, ModelError
from router.io.wordless_errors import tell

log = logging.getLogger(__name__)


@contextmanager
def as_model_error(what: str) -> Iterator[None]:
    """Turn whatever is raised inside into a ``ModelError`` that names its kind; errors of ours pass.

    Args:
        what: What can't be used then, for the message and the log.

    Raises:
        ModelError: Something else than an error of ours was raised.
    """
    try:
        yield
    except (HeadraceError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        tell(log, f"{what} can't be used", error)
        raise ModelError(f"{what} can't be used: {type(error).__name__}") from error
