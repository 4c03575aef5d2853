"""``headrace-cloud clients create | list | revoke``: certificates for whoever asks, and for operators.

Rules:
 * The key is made here and goes into the folder that is named, readable by its owner alone; nothing of it is stored.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cloud_worker.commands.ca import PassphraseOption
from cloud_worker.commands.options import ConfigOption, JsonOption, WhoOption, errors_as_exit_codes, user_name
from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.identity.authority import open_issuer
from cloud_worker.identity.passphrases import passphrase_of
from cloud_worker.identity.register import Enrolled, Register, enrol, keep
from cloud_worker.releases.recovered_state import open_for_reading, open_store
from cloud_worker.state.database.engine import writing
from cloud_worker.state.overrides import Overrides
from router.core.errors import ConfigError, UnknownTaskError
from router.identity.bundle import Bundle, write_bundle
from router.identity.certificates import key_to_pem, new_key, said_by
from router.identity.names import Identity, Role, is_name
from router.io.table import show_table
from router.io.terminal import Screen, say, say_json

app = typer.Typer(help="Give certificates to clients and operators, list or revoke them.", no_args_is_help=True)

DAY_SECONDS = 86_400.0


class Kind(StrEnum):
    """Who is given a certificate here; devices enrol."""

    CLIENT = "client"
    OPERATOR = "operator"


KindOption = Annotated[Kind, typer.Option("--role", help="What it may call.")]
NameArgument = Annotated[str, typer.Argument(help="Name of the client.", metavar="NAME")]


@app.command()
def create(
    name: NameArgument,
    config: ConfigOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for key and certificate; made here.", metavar="FOLDER")],
    role: KindOption = Kind.CLIENT,
    days: Annotated[float, typer.Option("--days", help="How long it holds.", min=0.01, max=366, metavar="N")] = 90.0,
    passphrase_file: PassphraseOption = None,
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a client a certificate. The folder is what `headrace ask --identity` takes.

    Example: headrace-cloud clients create app -c cloud.toml --out app-identity
    """
    with errors_as_exit_codes():
        if not is_name(name):
            raise ConfigError("NAME", "", "is no name; use letters, digits, '.', '_' and '-', up to 64")
        settings, now = read_config(config), time.time()
        issuer = open_issuer(settings.ca_folder, passphrase_of(settings, passphrase_file))
        settings.data.mkdir(parents=True, exist_ok=True)
        store = open_store(settings)
        identity, key = Identity(Role(role.value), name), new_key()
        certificate = issuer.issue(identity, key.public_key(), now, days * DAY_SECONDS)
        given, chain = said_by(certificate), issuer.chain(certificate)
        with writing(store.engine) as connection:
            enrol(connection, identity, {}, now)
            keep(connection, identity, given, chain, now)
        write_bundle(out, Bundle(key_to_pem(key), chain, issuer.trust.root_pem))
        Overrides(store.engine).record(
            f"certificate for {identity.caller}"[:50], who=who or user_name(), why="", now=now
        )
        if as_json:
            say_json({"client": name, "role": role.value, "folder": str(out), "ends": given.ends})
        else:
            say(f"{identity.caller}: key and certificate are in {out}, until {_day(given.ends)}")


@app.command("list")
def list_clients(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List who has a certificate, devices left out.

    Example: headrace-cloud clients list -c cloud.toml
    """
    with errors_as_exit_codes():
        known = Register(open_for_reading(read_config(config)).engine).all(Role.CLIENT, Role.OPERATOR)
        if as_json:
            say_json({"clients": [_facts(one) for one in known]})
        elif known:
            rows = [(one.identity.name, one.identity.role.value, _state(one), _day(one.expires_at)) for one in known]
            show_table(Screen(), ("client", "role", "state", "until"), rows, title="clients")
        else:
            say("no client has a certificate yet")


@app.command()
def revoke(
    name: NameArgument,
    config: ConfigOption,
    role: KindOption = Kind.CLIENT,
    why: Annotated[str, typer.Option("--why", help="Reason, kept in the audit.", metavar="TEXT")] = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Void every certificate of a client. Gateways heed it within seconds.

    Example: headrace-cloud clients revoke app -c cloud.toml --why "left the house"
    """
    with errors_as_exit_codes():
        revoke_identity(read_config(config), Identity(Role(role.value), name), who, why, as_json)


def revoke_identity(settings: CloudConfig, identity: Identity, who: str, why: str, as_json: bool) -> None:
    """Void every certificate of somebody, and tell so.

    Raises:
        UnknownTaskError: It has none.
    """
    now = time.time()
    store = open_store(settings)
    if not Register(store.engine).revoke(identity, now):
        raise UnknownTaskError(f"{identity.role} {identity.name!r} was given no certificate here")
    Overrides(store.engine).record(f"revoke {identity.caller}"[:50], who=who or user_name(), why=why, now=now)
    if as_json:
        say_json({"role": identity.role.value, "name": identity.name, "revoked": True})
    else:
        say(f"{identity.caller}: revoked; what it calls from now on is refused")


def _facts(one: Enrolled) -> dict[str, object]:
    facts = {"client": one.identity.name, "role": one.identity.role.value, "state": _state(one)}
    return {**facts, "ends": one.expires_at, "revoked_at": one.revoked_at}


def _state(one: Enrolled) -> str:
    if one.revoked_at is not None:
        return "revoked"
    return "ok" if time.time() < one.expires_at else "expired"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
