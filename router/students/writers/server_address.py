"""Where a model's server is, and the way there.

Rules:
 * Of the environment proxies and authorities are used, as others use them; proxies never for a server on this machine
   or on a unix socket.
 * What a proxy variable says wrongly is told with its name. What ``no_proxy`` exempts may be a range, also of IPv6.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

from router.core.errors import ConfigError

if TYPE_CHECKING:  # loaded with the first writer: most commands make none
    import httpx

CONNECT_SECONDS = 2.0
UNIX_SCHEME = "unix"
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


def read_url(url: str) -> tuple[str, str | None]:
    """The address to ask, and the path of the unix socket that leads there, if it is one.

    Raises:
        ConfigError: It is neither ``http://``, ``https://`` nor ``unix:/PATH``.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise ConfigError("servers", "url", f"{url!r} is no URL: {error}") from error
    if parts.scheme == UNIX_SCHEME and parts.path.startswith("/"):
        return "http://localhost/v1", parts.path
    if parts.scheme in {"http", "https"} and parts.hostname:
        return url, None
    raise ConfigError(
        "servers", "url", f"{url!r} can't be asked; write http://127.0.0.1:8080/v1 or unix:/run/model.sock"
    )


def is_private(url: str) -> bool:
    """Whether what is sent to a URL stays on this machine: a loopback address, ``localhost``, or a unix socket."""
    parts = urlsplit(url)
    if parts.scheme == UNIX_SCHEME or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def open_client(
    address: str,
    socket: str | None,
    *,
    headers: Mapping[str, str] | None = None,
    seconds: float,
    connections: int = 1,
    idle: float = 0.0,
) -> httpx.Client:
    """A client for one server; it follows no redirect.

    Args:
        address: As ``read_url`` gives it.
        socket: As ``read_url`` gives it.
        headers: Sent with every request.
        seconds: Most for each step of an answer, above 0; ``time_limits.within`` bounds them all together.
        connections: Most of them.
        idle: Seconds that one is kept unused.

    Raises:
        ConfigError: The environment names a proxy or authorities that can't be used.
    """
    import httpx

    from router.students.writers.time_limits import bound

    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=idle)
    variable, proxy = _proxy_for(urlsplit(address)) if socket is None and not is_private(address) else ("", None)
    given: dict[str, Any] = {"limits": limits, "verify": _verify(address), "trust_env": False}
    with proxies_told(variable):
        transport = bound(httpx.HTTPTransport(uds=socket, proxy=proxy, **given))
    return httpx.Client(
        base_url=address,
        headers=dict(headers or {}),
        timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
        transport=transport,
        trust_env=False,
        follow_redirects=False,
    )


def bound_client(client: httpx.Client) -> httpx.Client:
    """The same client, before its first request, so that ``time_limits.within`` holds for it, through proxies too."""
    from router.students.writers.time_limits import bound

    ways: Any = client
    for transport in {ways._transport, *ways._mounts.values()} - {None}:
        bound(transport)
    return client


@contextmanager
def proxies_told(variable: str = "proxies") -> Iterator[None]:
    """Say what is wrong with the proxies of the environment, where httpx is told to use them.

    Raises:
        ConfigError: Names ``variable``, and what would do.
    """
    import httpx

    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        if isinstance(error, ImportError) and "socksio" not in str(error):
            raise
        told = "is a SOCKS proxy, which needs `pip install socksio`" if isinstance(error, ImportError) else f"{error}"
        raise ConfigError("environment", variable, f"{told}; name a proxy such as http://proxy.example:3128") from error


def _verify(address: str) -> Any:
    """Whom to trust; where nothing is encrypted, nobody is asked for."""
    import httpx

    if not address.startswith("https:"):
        return False
    try:
        return httpx.create_ssl_context(trust_env=True)
    except OSError as error:
        named = next((name for name in _AUTHORITIES if os.environ.get(name)), "")
        problem = f"{os.environ.get(named)!r} can't be read: {error.strerror or error}"
        raise ConfigError("environment", named, f"{problem}; name a file that is there") from error


def _proxy_for(parts: SplitResult) -> tuple[str, str | None]:
    """The variable that names the proxy on the way to a host, and the proxy; ``None`` where there is none."""
    proxies = getproxies_environment()
    for kind in (parts.scheme, "all"):
        named = proxies.get(kind, "").strip()
        if named and not _is_exempt(parts.hostname or "", parts.port, proxies.get("no", "")):
            return f"{kind}_proxy", named if "://" in named else f"http://{named}"
    return "", None


def _is_exempt(host: str, port: int | None, listed: str) -> bool:
    """Whether ``no_proxy`` exempts a host: by ``*``, its name or one above it, its address, or a range of addresses."""
    for word in (one.strip().lower() for one in listed.split(",")):
        name = word.removesuffix(f":{port}") if word.count(":") == 1 else word
        name = name.removeprefix("*").removeprefix(".").strip("[]")
        if word == "*" or (name and (host == name or host.endswith(f".{name}") or _is_within(host, name))):
            return True
    return False


def _is_within(host: str, addresses: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(addresses, strict=False)
    except ValueError:
        return False
