"""``headrace-cloud erase --device NAME | --subject NAME``: what is held of somebody goes, and does not come back.

Rules:
 * Whatever runs, the log's writer erases; while nothing runs, this command does, and holds the data folder meanwhile.
 * What was killed in between is finished by the next command, or the next start.
 * The audit tells that something was erased, by whom and when, and not of whom.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Annotated, Any

import typer

from cloud_worker.commands.options import ConfigOption, JsonOption, WhoOption, errors_as_exit_codes, user_name
from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.fleet.erasures import Erasures, Ordered
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.erasing.concerned import Concerned
from cloud_worker.log.erasing.drain_and_erase import drain_and_erase
from cloud_worker.log.erasing.spools import count_in_spools
from cloud_worker.releases.recovered_state import file_of, open_for_reading, open_store
from cloud_worker.running.process_lock import sole, who_runs
from cloud_worker.state.feedback import Feedbacks
from cloud_worker.state.gold_labels import Gold
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.store import Store
from router.core.errors import OperatorError, UnavailableError
from router.io.terminal import say, say_json

MOST_SECONDS = 900.0  # that a cluster which runs may take
_CHECK_SECONDS = 0.2


def erase(
    config: ConfigOption,
    device: Annotated[str, typer.Option("--device", help="All that this device asked.", metavar="NAME")] = "",
    subject: Annotated[
        str, typer.Option("--subject", help="All that concerns this person, as callers name them.", metavar="NAME")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and erase nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    why: Annotated[str, typer.Option("--why", help="Reason, kept in the audit.", metavar="TEXT")] = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Erase what is held of a device or a subject; without either, list what was erased and who has yet to answer.

    \b
    Examples:
      headrace-cloud erase -c cloud.toml --subject person-17 --dry-run
      headrace-cloud erase -c cloud.toml --device kitchen --yes --why "owner asked"
      headrace-cloud erase -c cloud.toml --json
    """  # noqa: D301 - \b keeps the lines of the examples
    if device and subject:
        raise typer.BadParameter("name a device or a subject, one at a time")
    with errors_as_exit_codes():
        settings = read_config(config)
        if not device and not subject:
            _list(settings, as_json)
            return
        counts = _would_go(settings, Concerned(bool(subject), device or subject, time.time()))
        if dry_run:
            _tell({"dry_run": True, "erased": dict(counts)}, as_json)
            return
        if not yes:
            _ask("subject" if subject else "device", counts)
        store = open_store(settings)
        number = Erasures(store.engine).order(
            device or subject, by_subject=bool(subject), who=who or user_name(), now=time.time()
        )
        did = f"erase a {'subject' if subject else 'device'} ({number})"
        Overrides(store.engine).record(did, who=who or user_name(), why=why, now=time.time())
        _tell(_said(_finished(settings, store, number), store), as_json)


def _ask(kind: str, counts: Counter[str]) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{_in_words(counts)} would go for good: say --yes, or --dry-run")
    typer.confirm(f"{_in_words(counts)} of this {kind} go for good. Erase them?", abort=True, err=True)


def _would_go(settings: CloudConfig, concerned: Concerned) -> Counter[str]:
    """How much would go of the cloud's; of what lies on devices nothing is known here."""
    store = open_for_reading(settings)
    counts = count_in_spools(settings.spool_folder, concerned)
    rows = DistillationLog(settings.log_folder).ask(f"select count(*) as rows from log where {concerned.sql}")
    counts["log"] = sum(row["rows"] for row in rows)
    mine = {"subject" if concerned.by_subject else "caller": concerned.name}
    counts["feedback"], counts["labels"] = Feedbacks(store.engine).count(**mine), Gold(store.engine).count(**mine)
    return counts


def _finished(settings: CloudConfig, store: Store, number: int) -> Ordered:
    """The erasure, once the cloud's part of it is done.

    Raises:
        UnavailableError: The cluster that runs has not done it in time; it will.
    """
    erasures = Erasures(store.engine)
    until = time.monotonic() + MOST_SECONDS
    while time.monotonic() < until:
        found = {one.number: one for one in erasures.all()}.get(number)
        if found is None:
            raise OperatorError("the fleet's database was lost meanwhile; order it again")
        if found.done_at is not None:
            return found
        if who_runs(settings.run_folder)[0] is None:
            _do(settings, store)
            continue
        time.sleep(_CHECK_SECONDS)
    raise UnavailableError(f"erasure {number} is ordered, and not done after {MOST_SECONDS:.0f} s; its log says why")


def _do(settings: CloudConfig, store: Store) -> None:
    """Carry out what is ordered, here; what waits in the spools goes to the log first, or could come back."""
    with sole(settings.run_folder):
        drain_and_erase(settings, store)


def _said(one: Ordered, store: Store) -> dict[str, Any]:
    erasures = Erasures(store.engine)
    devices, rows = erasures.at_devices(one.number)
    return {
        "number": one.number,
        "of": "subject" if one.by_subject else "device",
        "at": one.at,
        "done_at": one.done_at,
        "erased": dict(one.counts),
        "devices": {"answered": devices, "to_answer": erasures.to_answer(one), "rows": rows},
    }


def _list(settings: CloudConfig, as_json: bool) -> None:
    file = file_of(settings)
    store = open_for_reading(settings) if file is None or file.is_file() else None
    known = [] if store is None else [_said(one, store) for one in Erasures(store.engine).all()]
    if as_json:
        say_json({"erasures": known})
        return
    for one in known:
        _tell(one, as_json=False)
    if not known:
        say("nothing was erased yet")


def _tell(said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say_json(said)
        return
    if said.get("dry_run"):
        say(f"{_in_words(Counter(said['erased']))} would go, and what waits on devices")
        return
    state = "erased" if said["done_at"] else "not done yet"
    devices = said["devices"]
    say(f"{said['number']}, a {said['of']}: {_in_words(Counter(said['erased']))} {state}")
    say(f"   devices: {devices['answered']} have answered ({devices['rows']} rows), {devices['to_answer']} have yet to")


_WORDS = {
    "log": "rows of the log",
    "records": "of the spools",
    "quarantine": "in quarantine",
    "feedback": "feedbacks",
    "labels": "labels",
    "releases": "releases that quoted them",
    "put_aside": "damaged files",
}


def _in_words(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[kind]} {words}" for kind, words in _WORDS.items() if counts[kind]) or "nothing"
