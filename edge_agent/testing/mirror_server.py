"""A mirror on this machine, for tests: serves a tree from memory, and lies as it is told."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from edge_agent.testing.faults import Faults

_MOST_ENDLESS = 512  # pieces, after which even a test that fails ends


@dataclass(slots=True)
class MirrorServer:
    """Serves while it is entered.

    Attributes:
        files: What there is, by path.
        faults: What goes wrong.
        certificate: File of a certificate and its key, to serve by https.
        asked: Path and first byte of every request.
        url: Where it listens.
    """

    files: Mapping[str, bytes]
    faults: Callable[[], Faults]
    certificate: Path | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)
    url: str = ""
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        """Listen on a free port."""
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if self.certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(request.path.lstrip("/"))
        said = request.headers.get("Range", "bytes=0-")
        start = int(said.removeprefix("bytes=").rstrip("-"))
        self.asked.append((path, start))
        data = self.files.get(path)
        if data is None:
            request.send_error(404)
            return
        faults, name = self.faults(), path.rpartition("/")[2]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if name not in faults.endless:
            request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        with contextlib.suppress(OSError):  # whoever asked may have gone
            self._send(request, name, data[start:])

    def _send(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        faults = self.faults()
        if name in faults.dripped:
            for position in range(len(data)):
                request.wfile.write(data[position : position + 1])
                request.wfile.flush()
                time.sleep(faults.drip_seconds)
            return
        request.wfile.write(data)
        if name in faults.endless:
            for _ in range(_MOST_ENDLESS):
                request.wfile.write(bytes(faults.chunk_bytes))
