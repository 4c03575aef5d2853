"""What the command is called, and the extra that brings what it needs."""

from __future__ import annotations

COMMAND, EXTRA = "headrace-cloud", "cloud"
