"""``headrace-edge``: enrol this device, run an agent on it, look at it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import edge_agent.installed  # noqa: F401 - first: ends the process with a line where the extra is missing
from edge_agent.installed import COMMAND, EXTRA
from edge_agent.log_lines import LogStyle, start_logging
from router.commands.program import Program, VersionOption, output_is_stuck
from router.core.errors import HeadraceError, OperatorError
from router.io.extras import import_problem
from router.io.grpc_polling import poll_in_one_thread
from router.io.terminal import say

app = Program("headrace-edge", help="Answers queries on this device, escalates what it can't, and updates itself.")
log = logging.getLogger("edge_agent")

CRASHED = HeadraceError.exit_code
NOT_RUNNING = 1


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

    \b
    Examples:
      headrace-edge run --config agent.toml
      headrace-edge run --config agent.toml --insecure
    """  # noqa: D301 - \b keeps the lines of the examples
    start_logging(LogStyle(json_logs, logging.DEBUG if verbose else logging.INFO))
    poll_in_one_thread()  # before gRPC is imported
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


@app.command()
def enroll(
    cloud: Annotated[str, typer.Option("--cloud", help="Where the cloud enrols devices.", metavar="HOST:PORT")],
    token: Annotated[
        str,
        typer.Option(
            "--token",
            help="As `headrace-cloud tokens create` printed it; - reads it from standard input.",
            envvar="HEADRACE_TOKEN",
        ),
    ],
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The agent's TOML file; written here if there is none.")
    ] = Path("agent.toml"),
    device: Annotated[
        str, typer.Option("--device", help="Name of this device, where neither file nor token says it.", metavar="NAME")
    ] = "",
    ca_fingerprint: Annotated[
        str,
        typer.Option("--ca-fingerprint", help="SHA-256 of the fleet's root, in place of the token's.", metavar="HEX"),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Join a fleet: make a key here, and have it certified. Again with the same token after a break, if need be.

    \b
    Examples:
      headrace-edge enroll --cloud cloud.example:7702 --token hr1....
      headrace-edge enroll --cloud cloud.example:7702 --token - --config kitchen.toml --device kitchen < token
    """  # noqa: D301 - \b keeps the lines of the examples
    start_logging(LogStyle(level=logging.WARNING))
    with _errors_as_exit_codes():
        from edge_agent.identity.enroll_command import enroll_device

        enroll_device(config, cloud, token, device, ca_fingerprint, as_json=as_json)


@app.command()
def status(
    config: Annotated[Path, typer.Option("--config", "-c", help="The agent's TOML file.")] = Path("agent.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell whether the agent runs, what is the matter with it, and what would do; exit code 1 when it does not run.

    Example: headrace-edge status --config agent.toml
    """
    with _errors_as_exit_codes():
        from edge_agent.identity.status_command import show_status

        if not show_status(config, as_json=as_json):
            raise typer.Exit(NOT_RUNNING)


callers = typer.Typer(help="Tokens for those who ask this agent from other machines.", no_args_is_help=True)
app.add_typer(callers, name="callers")
_ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The agent's TOML file.")]
_NameArgument = Annotated[str, typer.Argument(help="Name of the caller.", metavar="NAME")]


@callers.command("add")
def add_caller(
    name: _NameArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder for what the caller needs; made here.", metavar="FOLDER")],
    config: _ConfigOption = Path("agent.toml"),
) -> None:
    """Let a caller in, where door.callers is "token". The folder is what `headrace ask --identity` takes.

    Example: headrace-edge callers add wall-panel --out wall-panel
    """
    with _errors_as_exit_codes():
        from edge_agent.identity.callers_command import add

        add(config, name, out)


@callers.command("list")
def list_callers(config: _ConfigOption = Path("agent.toml")) -> None:
    """List who was let in by token.

    Example: headrace-edge callers list
    """
    with _errors_as_exit_codes():
        from edge_agent.identity.callers_command import names

        for name in names(config):
            say(name)


@callers.command("remove")
def remove_caller(name: _NameArgument, config: _ConfigOption = Path("agent.toml")) -> None:
    """Let a caller in no more, from the next call on.

    Example: headrace-edge callers remove wall-panel
    """
    with _errors_as_exit_codes():
        from edge_agent.identity.callers_command import remove

        remove(config, name)


@contextmanager
def _errors_as_exit_codes() -> Iterator[None]:
    try:
        yield
    except HeadraceError as error:
        say(f"headrace-edge: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except ImportError as error:
        say(str(problem := import_problem(COMMAND, EXTRA, error)), err=True)
        raise typer.Exit(problem.exit_code) from None
    except OSError as error:
        if output_is_stuck():
            raise
        say(f"headrace-edge: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        raise typer.Exit(OperatorError.exit_code) from None


if __name__ == "__main__":
    app(prog_name="headrace-edge")
