"""``headrace-cloud feedback list | review``: what callers said of their answers, and what an operator makes of it.

Rules:
 * Feedback on a drawn row becomes a gold label that is not blind: a second opinion, which no accuracy counts, since
   who speaks up chose to.
 * What is accepted of any other row may teach, and nothing else may.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from cloud_worker.commands.options import (
    ConfigOption,
    JsonOption,
    TaskArgument,
    WhoOption,
    errors_as_exit_codes,
    user_name,
)
from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.releases.recovered_state import open_for_reading, open_store
from cloud_worker.reports.feedback import feedback_of, waits, warnings_of
from cloud_worker.state.feedback import Feedbacks, Given
from cloud_worker.state.gold_labels import Gold, Label
from cloud_worker.state.states import Review
from cloud_worker.state.store import Store
from router.commands.program import Program
from router.core.errors import BadInputError
from router.io.terminal import Screen, say

feedback_app = Program("feedback", help="What callers said of their answers; review it.")


@feedback_app.command("list")
def list_feedback(
    task: TaskArgument,
    config: ConfigOption,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only corrections that nobody reviewed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what callers said, oldest first.

    Example: headrace-cloud feedback list home -c cloud.toml --waiting
    """
    with errors_as_exit_codes():
        store = open_for_reading(_with_task(read_config(config), task))
        said = [one for one in Feedbacks(store.engine).of(task) if waits(one) or not waiting]
        if as_json:
            figures = feedback_of(store, task)
            say(json.dumps({"feedback": [asdict(one) for one in said], "figures": figures}))
            return
        console = Screen(soft_wrap=True)
        for one in said:
            console.print(_line(one))
        if not said:
            console.print("nothing was said")
        for line in warnings_of(task, feedback_of(store, task)):
            console.print(line, markup=True)


@feedback_app.command()
def review(  # noqa: PLR0913 - one argument for each flag
    task: TaskArgument,
    query_id: Annotated[str, typer.Argument(help="Of the query.", metavar="QUERY_ID")],
    config: ConfigOption,
    caller: Annotated[str, typer.Option("--caller", help="Who asked, where several used the id.")] = "",
    accept: Annotated[bool, typer.Option("--accept", help="The correction is right.")] = False,
    label: Annotated[str, typer.Option("--label", help="What is right, if not the correction.")] = "",
    dismiss: Annotated[bool, typer.Option("--dismiss", help="It is not.")] = False,
    who: WhoOption = "",
    as_json: JsonOption = False,
) -> None:
    """Accept a correction, or dismiss it.

    Example: headrace-cloud feedback review home 7f3a -c cloud.toml --accept
    """
    with errors_as_exit_codes():
        if accept == dismiss:
            raise typer.BadParameter("use either --accept or --dismiss")
        store = open_store(_with_task(read_config(config), task))
        given = _one(Feedbacks(store.engine).find(task, query_id, caller), query_id)
        reviewed = _review(store, given, label.strip() or given.correction, who or user_name(), accept=accept)
        if as_json:
            say(json.dumps(asdict(reviewed)))
        else:
            say(f"{query_id}: {reviewed.review}{_becomes(reviewed)}")


def _review(store: Store, given: Given, right: str, who: str, *, accept: bool) -> Given:
    now = time.time()
    gold, feedbacks = Gold(store.engine), Feedbacks(store.engine)
    key = (given.caller, given.query_id, given.teacher_version)
    if accept and not right:
        raise BadInputError("label", "is empty, and the caller named no correction; say what is right")
    if given.drawn:
        gold.unlabel(given.task, key, _by_feedback(given))
    if accept and given.drawn:
        gold.label(given.task, [Label(key, _by_feedback(given), right, blind=False, at=now, subject=given.subject)])
    return feedbacks.review(given, Review.ACCEPTED if accept else Review.DISMISSED, right if accept else "", who, now)


def _by_feedback(given: Given) -> str:
    return f"feedback of {given.caller}"[:200]


def _becomes(given: Given) -> str:
    if given.review is not Review.ACCEPTED:
        return ""
    if given.drawn:
        return "; a gold label that is not blind, which no accuracy counts"
    return "; it may teach" if given.teacher_version else "; there is no record of it in the log that it could teach"


def _one(found: list[Given], query_id: str) -> Given:
    if not found:
        raise BadInputError("query_id", f"{query_id!r} has no feedback in this task")
    if len(found) > 1:
        raise BadInputError("caller", f"is needed: {', '.join(one.caller for one in found)} used this id")
    return found[0]


def _with_task(config: CloudConfig, task: str) -> CloudConfig:
    config.task(task)
    return config


def _line(one: Given) -> str:
    when = datetime.fromtimestamp(one.given_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    right = f"; right would be {one.correction!r}" if one.correction else ""
    comment = f"; {one.comment!r}" if one.comment else ""
    reviewed = f"; {one.review} by {one.reviewed_by}" if one.review else ""
    source = f"{one.tier.value}, release {one.release}" if one.release else one.tier.value
    said = f"{one.opinion.value}: {one.answer!r} ({source}){right}{comment}{reviewed}"
    return f"{when}  {one.caller}  {one.query_id}  {said}"
