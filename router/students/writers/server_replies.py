"""What came back from a model's server: read up to a size, whatever it sends."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded with the first writer: most commands make none
    import httpx

MOST_REPLY_BYTES = 64 * 1024 * 1024  # the longest answer with all its alternatives takes some 20 MB


@dataclass(frozen=True, slots=True)
class Received:
    """A reply.

    Attributes:
        status: Of HTTP.
        body: Unpacked.
        headers: Of HTTP.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        """The body as text, whatever it is."""
        return self.body.decode(errors="replace")


def received(reply: httpx.Response) -> Received:
    """The reply, whose head is there, with its whole body.

    Args:
        reply: Under way.

    Raises:
        OverflowError: It is larger than any answer.
    """
    size, pieces = 0, []
    for piece in reply.iter_bytes():
        size += len(piece)
        pieces.append(piece)
        if size > MOST_REPLY_BYTES:
            raise OverflowError(f"it has more than {MOST_REPLY_BYTES:,} bytes")
    return Received(reply.status_code, b"".join(pieces), reply.headers)


def is_no_trust(error: BaseException | None) -> bool:
    """Whether a connection failed over who the server is, or since it speaks no TLS: asking again mends neither."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "WRONG_VERSION_NUMBER" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
