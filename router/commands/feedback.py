"""``headrace feedback``: say what you think of an answer."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from router.client.blocking_client import Client
from router.client.request import DEFAULT_DEADLINE_SECONDS
from router.commands.output import reporting
from router.commands.program import IdentityOption
from router.core.domain.feedback import Opinion
from router.io.terminal import say


def feedback(  # noqa: PLR0913 - one argument for each flag
    query_id: Annotated[str, typer.Argument(metavar="QUERY_ID", help="Of the answer; `ask` and `chat` show it.")],
    target: Annotated[list[str], typer.Option(help="Who answered.", metavar="HOST:PORT", envvar="HEADRACE_TARGET")],
    task: Annotated[str, typer.Option(help="The task of the question.", metavar="NAME", envvar="HEADRACE_TASK")],
    right: Annotated[bool, typer.Option("--right", help="The answer is right.")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="The answer is wrong.")] = False,
    correction: Annotated[str, typer.Option(help="What would have been right.", metavar="TEXT")] = "",
    comment: Annotated[str, typer.Option(help="For the operator.", metavar="TEXT")] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Plain transport, this machine only.", envvar="HEADRACE_INSECURE")
    ] = False,
    identity: IdentityOption = None,
    deadline: Annotated[
        float, typer.Option(help="Seconds that it may take.", metavar="SECONDS", envvar="HEADRACE_DEADLINE")
    ] = DEFAULT_DEADLINE_SECONDS,
    device: Annotated[
        str,
        typer.Option(help="Who asked, where an insecure door believes it.", metavar="NAME", envvar="HEADRACE_DEVICE"),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, also of an error.")] = False,
) -> None:
    """Say whether an answer was right, and what would have been.

    Only who asked may say so. It warns the operator, and teaches nothing before it is reviewed.

    Example: headrace feedback 7f3a --task home --target 127.0.0.1:7701 --insecure --wrong --correction "lights off"
    """
    if right == wrong:
        raise typer.BadParameter("give either --right or --wrong")
    opinion = Opinion.RIGHT if right else Opinion.WRONG
    with reporting(as_json):
        with Client(target, insecure=insecure, identity=identity, device=device, deadline=deadline) as client:
            client.feedback(query_id, task, opinion.value, correction=correction, comment=comment)
        say(json.dumps({"query_id": query_id, "verdict": opinion.value}) if as_json else "taken")
