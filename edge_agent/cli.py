"""``headrace-edge``: run an agent on this device."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Annotated

import typer

import edge_agent.installed  # noqa: F401 - first: ends the process with a line where the extra is missing
from edge_agent.installed import COMMAND, EXTRA
from router.commands.program import Program, VersionOption
from router.core.errors import HeadraceError
from router.io.extras import import_problem
from router.io.terminal import LogLines, say

app = Program("headrace-edge", help="Answers queries on this device, escalates what it can't, and updates itself.")
log = logging.getLogger("edge_agent")

CRASHED = HeadraceError.exit_code


@app.callback()
def main(show_version: VersionOption = False) -> None:
    """Answer queries on this device, escalate what it can't, and update itself."""


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="The agent's TOML file.")],
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Plain transport, between programs on this machine only.")
    ] = False,
    json_logs: Annotated[bool, typer.Option("--json", help="Write the log as JSON lines.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Run the agent until SIGINT or SIGTERM; a second one ends it at once.

    Example: headrace-edge run --config agent.toml --insecure
    """
    _start_logging(as_json=json_logs, level=logging.DEBUG if verbose else logging.INFO)
    try:
        # Here, so that --help is cheap; and all of it now, not with the first student in the middle of serving.
        import onnxruntime  # noqa: F401
        import tokenizers  # noqa: F401

        from edge_agent.config import check_addresses, load_config
        from edge_agent.daemon import serve

        settings = load_config(config)
        check_addresses(settings, str(config), insecure=insecure)
        asyncio.run(serve(settings, insecure=insecure))
    except HeadraceError as error:
        say(f"headrace-edge: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except ImportError as error:
        say(str(problem := import_problem(COMMAND, EXTRA, error)), err=True)
        raise typer.Exit(problem.exit_code) from None
    except Exception as error:  # the outermost edge of a daemon
        log.critical("a part of the agent failed, so all of it stops", exc_info=error)
        raise typer.Exit(CRASHED) from None


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


def _start_logging(*, as_json: bool, level: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if as_json else LogLines("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("edge_agent", "router"):
        logging.getLogger(name).setLevel(level)


if __name__ == "__main__":
    app(prog_name="headrace-edge")
