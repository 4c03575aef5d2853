"""``headrace-cloud ca init | status | renew``: the certificate authority of a fleet.

Rules:
 * The root's key goes to a folder of the operator's choice, to be locked away; it is needed for ``renew`` alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_worker.commands.options import ConfigOption, JsonOption, errors_as_exit_codes
from cloud_worker.config.cloud import read_config
from cloud_worker.identity.authority import Trust, days_left, make_authority, read_trust, renew_issuing
from cloud_worker.identity.passphrases import ROOT_VARIABLE, VARIABLE, passphrase_of, read_passphrase
from router.io.terminal import say, say_json

app = typer.Typer(
    help="Make the certificate authority of a fleet, look at it, or renew its issuing key.", no_args_is_help=True
)

RootOption = Annotated[
    Path, typer.Option("--root", help="Folder of the root's key, to be locked away.", metavar="FOLDER")
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help=f"Holds the passphrase of the issuing key; else identity.passphrase_file, or {VARIABLE}.",
        metavar="FILE",
    ),
]
RootPassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--root-passphrase-file", help=f"Holds the passphrase of the root's key; else {ROOT_VARIABLE}.", metavar="FILE"
    ),
]


@app.command()
def init(
    config: ConfigOption,
    root: RootOption,
    passphrase_file: PassphraseOption = None,
    root_passphrase_file: RootPassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the authority: a root, and an issuing key for gateways. Done once.

    Example: headrace-cloud ca init -c cloud.toml --root /media/stick/root --root-passphrase-file root.txt
    """
    with errors_as_exit_codes():
        settings = read_config(config)
        trust = make_authority(
            settings.ca_folder,
            root,
            passphrase_of(settings, passphrase_file),
            _of_root(root_passphrase_file),
            time.time(),
        )
        _tell(trust, as_json)
        if not as_json:
            say(f"the root's key is in {root}: lock it away; `headrace-cloud ca renew` alone needs it", err=True)


@app.command()
def status(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Tell the fingerprint that devices check, and when the certificates end.

    Example: headrace-cloud ca status -c cloud.toml
    """
    with errors_as_exit_codes():
        _tell(read_trust(read_config(config).ca_folder), as_json)


@app.command()
def renew(
    config: ConfigOption,
    root: RootOption,
    passphrase_file: PassphraseOption = None,
    root_passphrase_file: RootPassphraseOption = None,
    distrust: Annotated[
        bool,
        typer.Option("--distrust", help="Trust nothing that a former issuing key signed: every device enrols again."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make another issuing key, signed by the root. Gateways take it up by themselves.

    Example: headrace-cloud ca renew -c cloud.toml --root /media/stick/root --root-passphrase-file root.txt
    """
    with errors_as_exit_codes():
        settings = read_config(config)
        words = passphrase_of(settings, passphrase_file)
        trust = renew_issuing(
            settings.ca_folder, root, words, _of_root(root_passphrase_file), time.time(), distrust=distrust
        )
        _tell(trust, as_json)


def _of_root(file: Path | None) -> bytes:
    return read_passphrase(file, ROOT_VARIABLE, "--root-passphrase-file")


def _tell(trust: Trust, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "root_sha256": trust.root_sha256.hex(),
        "root_days_left": round(days_left(trust.root), 1),
        "issuing_days_left": round(days_left(trust.issuing), 1),
        "former_issuers": len(trust.former),
    }
    if as_json:
        say_json(facts)
        return
    say(f"root         {facts['root_sha256']}  ends in {facts['root_days_left']:,.0f} days")
    former = f"{facts['former_issuers']} former ones are trusted"
    say(f"issuing key  ends in {facts['issuing_days_left']:,.0f} days; {former}")
