"""``[releases]`` in ``cloud.toml``: who signs releases, and how long what is signed holds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Approval(StrEnum):
    """Whether a release goes to devices by itself, or waits for somebody who has the offline key."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class ReleasesSettings(BaseModel):
    """Signed releases. What is online is signed anew once half of its days have passed.

    Attributes:
        approval: ``manual`` keeps the key that signs releases offline.
        keys: Folder of the online keys; empty for ``keys`` in the data folder.
        passphrase_file: Opens the online keys; without it, what opens the issuing key does.
        root_days: How long the root's metadata holds, which says whose keys count.
        targets_days: The same of what is signed of tasks.
        models_days: The same of the list of releases.
        snapshot_days: The same of the list of metadata.
        timestamp_days: The same of what says which list is the newest; a device takes nothing from an older one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    approval: Approval = Approval.AUTOMATIC
    keys: Path | None = None
    passphrase_file: Path | None = None
    root_days: float = Field(365.0, gt=0, le=3650)
    targets_days: float = Field(365.0, gt=0, le=3650)
    models_days: float = Field(90.0, gt=0, le=3650)
    snapshot_days: float = Field(7.0, gt=0, le=3650)
    timestamp_days: float = Field(1.0, gt=0, le=3650)

    def days(self, role: str) -> float:
        """How many days the metadata of a role holds."""
        found: float = getattr(self, f"{role}_days")
        return found
