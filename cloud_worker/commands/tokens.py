"""``headrace-cloud tokens create | list | revoke``: who may join the fleet.

Rules:
 * A token is shown once. It is for one device by name, or for any new device, which is given the token's labels.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cloud_worker.commands.options import ConfigOption, JsonOption, WhoOption, errors_as_exit_codes, user_name
from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.identity.authority import read_trust
from cloud_worker.identity.labels import read_label_options
from cloud_worker.identity.tokens import Token, Tokens, TokenState
from cloud_worker.releases.recovered_state import open_for_reading, open_store
from cloud_worker.state.overrides import Overrides
from router.core.errors import ConfigError, UnknownTaskError
from router.identity.names import is_name
from router.io.table import show_table
from router.io.terminal import Screen, say, say_json

app = typer.Typer(help="Make enrolment tokens for devices, list or revoke them.", no_args_is_help=True)

HOUR_SECONDS = 3600.0
MOST_HOURS, MOST_TOKENS = 24 * 30, 1000


@app.command()
def create(
    config: ConfigOption,
    device: Annotated[str, typer.Option("--device", help="For the device of this name alone.", metavar="NAME")] = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", help="The device is given it; may be repeated.", metavar="KEY=VALUE")
    ] = None,
    hours: Annotated[
        float, typer.Option("--hours", help="How long it may be used.", min=0.01, max=MOST_HOURS, metavar="N")
    ] = 24.0,
    count: Annotated[
        int, typer.Option("--count", help="So many, each for another device.", min=1, max=MOST_TOKENS, metavar="N")
    ] = 1,
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a token, which enrols one device, once. It is shown here and nowhere else.

    \b
    Examples:
      headrace-cloud tokens create -c cloud.toml --device kitchen
      headrace-cloud tokens create -c cloud.toml --label site=berlin --count 20 --hours 72
    """  # noqa: D301 - \b keeps the lines of the examples
    with errors_as_exit_codes():
        labels = read_label_options(label or [])
        _check_scope(device, labels, count)
        settings = read_config(config)
        trust = read_trust(settings.ca_folder)
        tokens, who = _tokens(settings), who or user_name()
        now = time.time()
        made = [tokens.create(device, labels, trust.root_sha256, who, now, hours * HOUR_SECONDS) for _ in range(count)]
        whom = device or ",".join(f"{key}={value}" for key, value in labels.items())
        Overrides(open_store(settings).engine).record(f"{count} tokens for {whom}"[:50], who=who, why="", now=now)
        if as_json:
            say_json({"tokens": made, "expires_at": now + hours * HOUR_SECONDS})
            return
        for token in made:
            say(token)


@app.command("list")
def list_tokens(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List tokens, oldest first, and what became of them.

    Example: headrace-cloud tokens list -c cloud.toml
    """
    with errors_as_exit_codes():
        now = time.time()
        tokens = Tokens(open_for_reading(read_config(config)).engine).all()
        if as_json:
            say_json({"tokens": [asdict(token) | {"state": token.state(now).value} for token in tokens]})
        elif tokens:
            heads = ("id", "for", "labels", "state", "made by", "expires in")
            show_table(Screen(), heads, [_row(token, now) for token in tokens], title="tokens")
        else:
            say("no token has been made yet")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Id of the token, as `list` shows it.", metavar="ID")],
    config: ConfigOption,
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a token be used no more. A device that has used it stays: see `devices revoke`.

    Example: headrace-cloud tokens revoke 3f9c2a7b10 -c cloud.toml
    """
    with errors_as_exit_codes():
        settings, now = read_config(config), time.time()
        token = _tokens(settings).revoke(name, now)
        if token is None:
            raise UnknownTaskError(
                f"there is no token {name!r}; `headrace-cloud tokens list` tells those that there are"
            )
        Overrides(open_store(settings).engine).record(
            f"revoke token {name}"[:50], who=who or user_name(), why="", now=now
        )
        state = token.state(now)
        if as_json:
            say_json({"token": name, "was": state.value})
        elif state is TokenState.USED:
            ending = f"`headrace-cloud devices revoke {token.used_by}` ends that"
            say(f"{name}: {token.used_by} has used it, and stays; {ending}")
        else:
            say(f"{name}: revoked")


def _tokens(settings: CloudConfig) -> Tokens:
    settings.data.mkdir(parents=True, exist_ok=True)
    return Tokens(open_store(settings).engine)


def _check_scope(device: str, labels: dict[str, str], count: int) -> None:
    if not device and not labels:
        raise ConfigError("--device", "", "is missing; name the device, or give --label for any new one")
    if device and not is_name(device):
        raise ConfigError("--device", "", "is no name of a device; use letters, digits, '.', '_' and '-', up to 64")
    if device and count > 1:
        raise ConfigError("--count", str(count), "is for tokens by --label; a name is for one device")


def _row(token: Token, now: float) -> tuple[Any, ...]:
    state = token.state(now)
    told = f"used by {token.used_by}" if state is TokenState.USED else state.value
    labels = ",".join(f"{key}={value}" for key, value in token.labels.items())
    left = f"{(token.expires_at - now) / HOUR_SECONDS:.1f} h" if state is TokenState.OPEN else ""
    return token.id, token.device or "any new device", labels, told, token.made_by, left
