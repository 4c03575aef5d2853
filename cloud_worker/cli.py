"""``headrace-cloud``: start a cluster, look at it, end it."""

from __future__ import annotations

import logging

import typer

import cloud_worker.installed  # noqa: F401 - first: ends the process with a line where the extra is missing
from cloud_worker.extra import COMMAND, EXTRA
from router.commands.lazy_commands import add_later
from router.commands.program import Program, VersionOption
from router.io.terminal import log_to_stderr

app = Program(COMMAND, help="Runs the cloud side: gateway, teachers, distillation log, refresh, releases.")

UP = "up"
# Each sub-command: where it is, and what `--help` says of it.
COMMANDS = {
    UP: ("startup.commands:up", "Start the cluster and keep it until Ctrl-C; a second Ctrl-C ends it at once."),
    "status": (
        "commands.status:status",
        "Show tasks, devices, releases and the log; exit code 1 when nothing runs.",
    ),
    "down": ("startup.commands:down", "End the cluster in order: what was answered reaches the log first."),
    "evaluate": (
        "commands.evaluate:evaluate",
        "Say what cascades of several models cost and get wrong, from tables of their answers.",
    ),
    "audit-verdict": (
        "commands.audit_judge:audit_verdict",
        "Say how far the verdict model agrees with people; it judges only if this says that it may.",
    ),
    "observe": (
        "commands.operate:observe",
        "Ask the cloud always, and record what would have stayed; `status` then tells the saving.",
    ),
    "serve": ("commands.operate:serve", "Serve by the policy again, after `observe` or `escalate-all`."),
    "escalate-all": ("commands.operate:escalate_all", "Let devices keep nothing: everything escalates."),
    "freeze": ("commands.operate:freeze", "Fit and promote nothing; what serves goes on, and is watched."),
    "thaw": ("commands.operate:thaw", "Refresh again, after `freeze`."),
    "pin": (
        "commands.operate:pin",
        "Let one release serve, under a new number if it is an older one, and promote nothing until `unpin`.",
    ),
    "unpin": (
        "commands.operate:unpin",
        "Promote again, after `pin`; what was pinned serves on until something better is certified, unless by force.",
    ),
    "audit": ("commands.operate:audit", "List what operators have done, oldest first."),
    "rollout": (
        "commands.rollouts.operate:app",
        "Bring a release to the fleet in steps; see where one stands, hold it, or take it back.",
    ),
    "devices": (
        "commands.devices:app",
        "List the devices of the fleet, label one, set one apart, remove or revoke one.",
    ),
    "erase": (
        "commands.erase:erase",
        "Erase what is held of a device or a subject; without either, list what was erased and who has yet to answer.",
    ),
    "ca": ("commands.ca:app", "Make the certificate authority of a fleet, look at it, or renew its issuing key."),
    "keys": ("commands.signing.keys:app", "Make the keys that sign releases, sign by them, or replace them."),
    "releases": ("commands.signing.releases:app", "Approve releases by hand, or mirror all that is signed."),
    "tokens": ("commands.tokens:app", "Make enrolment tokens for devices, list or revoke them."),
    "clients": ("commands.clients:app", "Give certificates to clients and operators, list or revoke them."),
    "label": (
        "commands.label:label",
        "Label drawn rows, blind to every answer: here, or in a file that goes out and comes back.",
    ),
    "competence": (
        "commands.label:competence",
        "Tell who is right by the gold labels: teacher, student and what is served; and whether escalating pays.",
    ),
    "feedback": ("commands.feedback:feedback_app", "What callers said of their answers; review it."),
}

for name, (where, summary) in COMMANDS.items():
    add_later(app, name, f"cloud_worker.{where}", summary, extra=EXTRA)


@app.callback()
def main(context: typer.Context, show_version: VersionOption = False) -> None:
    """Run the cloud side: gateway, teachers, distillation log, refresh, releases."""
    if context.invoked_subcommand != UP:  # a daemon logs; a command says what it has to say itself
        log_to_stderr(logging.ERROR, f"{COMMAND}: %(message)s")


if __name__ == "__main__":
    app()
