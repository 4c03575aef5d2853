"""How the processes of an agent write their logs."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from router.io.terminal import LogLines


@dataclass(frozen=True, slots=True)
class LogStyle:
    """The style of log lines: as JSON or plain ones, from which level on."""

    as_json: bool = False
    level: int = logging.INFO


_started: list[LogStyle] = []


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def start_logging(style: LogStyle) -> None:
    """Write logs of ours to the standard error stream, and warnings of everybody else's."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if style.as_json else LogLines("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("edge_agent", "router"):
        logging.getLogger(name).setLevel(style.level)
    _started[:] = [style]


def log_style() -> LogStyle | None:
    """How this process writes its logs; ``None`` where somebody else saw to that."""
    return _started[0] if _started else None
