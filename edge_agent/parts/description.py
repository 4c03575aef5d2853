"""What an agent says of itself and of its device, which does not change while it runs."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
from dataclasses import replace
from pathlib import Path

from edge_agent.releases.updater import AGENT_VERSION
from router.core.domain.task import LABEL_STUDENTS
from router.core.release.reports import DeviceReport
from router.core.visible_text import in_line
from router.students.text_student import text_kinds_here

_LIFE_BYTES = 16
_MOST_SAID = 60  # characters of what a system says of itself


class Description:
    """The description of one agent, in one life."""

    def __init__(self, device: str, data: Path) -> None:
        """Describe ``device``, whose agent keeps its things in ``data``."""
        self._data = data
        self._said = DeviceReport(
            device=device,
            agent_version=AGENT_VERSION,
            platform=in_line(f"{platform.system()} {platform.machine()}", _MOST_SAID),
            processor=in_line(platform.processor(), _MOST_SAID),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            formats=(*LABEL_STUDENTS, *text_kinds_here()),
            life=secrets.token_hex(_LIFE_BYTES),
        )

    def report(self) -> DeviceReport:
        """A report that says nothing yet but what the device is, and how much room it has."""
        return replace(self._said, free_disk_bytes=_free_bytes(self._data))


def _free_bytes(folder: Path) -> float:
    try:
        return float(shutil.disk_usage(folder).free)
    except OSError:
        return 0.0
