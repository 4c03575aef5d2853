"""The certificate of a gateway's doors, made by the gateway itself and kept in memory alone.

Rules:
 * It holds for a week, and another one is shown after two thirds of that: so it tells devices the time, to within days.
 * A renewed authority is taken up by itself, within a second of the next connection.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from cloud_worker.identity.authority import Issuer, changed_at, open_issuer
from router.identity.certificates import key_to_pem, new_key
from router.identity.names import Identity, Role
from router.transport.tls.door_tls import DoorMaterial

DAY_SECONDS = 86_400.0
CERTIFICATE_SECONDS = 7 * DAY_SECONDS
RENEWED_AFTER = 2 / 3  # of the time that a certificate holds
_CHECK_SECONDS = 1.0


class GatewayIdentity:
    """The key and certificate that one gateway shows. Threads may share it."""

    def __init__(
        self,
        folder: Path,
        passphrase: bytes,
        name: str,
        seconds: float = CERTIFICATE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the authority in ``folder``.

        Args:
            folder: Of the certificate authority.
            passphrase: Of its issuing key.
            name: Of the gateway.
            seconds: How long a certificate holds.
            clock: Tells Unix time in seconds.

        Raises:
            ConfigError: There is no authority, or the passphrase is wrong.
        """
        self._folder, self._passphrase = folder, passphrase
        self._identity = Identity(Role.GATEWAY, name)
        self._seconds, self._clock = seconds, clock
        self._lock = threading.Lock()
        self._checked_at = time.monotonic()
        self._stamp = changed_at(folder)
        self._issuer = open_issuer(folder, passphrase)
        self._material = self._make()

    def issuer(self) -> Issuer:
        """The authority as it is now.

        Raises:
            ConfigError: It has changed, and can't be opened.
        """
        with self._lock:
            self._check()
            return self._issuer

    def material(self) -> DoorMaterial:
        """What the doors show now; the same object while it is the same.

        Raises:
            HeadraceError: There should be another one, and it can't be made.
        """
        with self._lock:
            self._check()
            if self._clock() - self._made_at > RENEWED_AFTER * self._seconds:
                self._material = self._make()
            return self._material

    def _check(self) -> None:
        now = time.monotonic()
        if now - self._checked_at < _CHECK_SECONDS:
            return
        self._checked_at = now
        stamp = changed_at(self._folder)
        if stamp != self._stamp:
            self._issuer = open_issuer(self._folder, self._passphrase)
            self._stamp = stamp
            self._material = self._make()

    def _make(self) -> DoorMaterial:
        key, self._made_at = new_key(), self._clock()
        certificate = self._issuer.issue(self._identity, key.public_key(), self._made_at, self._seconds)
        return DoorMaterial(key_to_pem(key), self._issuer.chain(certificate), self._issuer.trust.issuers_pem)
