"""``[identity]`` in ``cloud.toml``: where devices enrol, and how long what they are given holds."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class IdentitySettings(BaseModel):
    """Certificates.

    Attributes:
        listen: Where devices enrol and renew, ``host:port``.
        folder: Of the certificate authority; empty for ``ca`` in the data folder.
        passphrase_file: Opens the issuing key; without it the environment does (``HEADRACE_CA_PASSPHRASE``).
        certificate_days: How long a device's certificate holds; it is renewed after two thirds of that.
        per_address: Most calls a minute from one address to the door where devices enrol.
        together: The same of all addresses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    listen: str = "127.0.0.1:7702"
    folder: Path | None = None
    passphrase_file: Path | None = None
    certificate_days: float = Field(30.0, gt=0, le=365)
    per_address: int = Field(60, ge=1)
    together: int = Field(3000, ge=1)
