"""``headrace-edge status``: what a running agent says of itself, or what can be seen without one."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_agent.config import Config, load_config
from edge_agent.identity.condition import REMEDIES, Facts, State, states
from edge_agent.identity.files import IdentityFolder
from edge_agent.identity.status_file import read_status
from router.core.errors import ConfigError
from router.io.terminal import say, say_json

STALE_SECONDS = 30.0
LEAST_FREE_BYTES = 1_000_000
_NOT_RUNNING = "not_running"
_NOT_ENROLLED = "not_enrolled"


def show_status(path: Path, *, as_json: bool) -> bool:
    """Print the status of the agent that a file describes; whether it runs.

    Raises:
        ConfigError: The file can't be read.
    """
    config = load_config(path)
    told = status_of(config)
    if as_json:
        say_json(told)
    else:
        _show(told)
    return bool(told["running"])


def status_of(config: Config) -> dict[str, Any]:
    """The status, ready for JSON."""
    said = read_status(config.data)
    if said is not None and _lives(said):
        return {"running": True, "enrolled": IdentityFolder(config.data).exists, **said}
    seen = _without_agent(config)
    if not _is_held(config.data):
        return {"running": False, **seen}
    rest = [one for one in seen["states"] if one["state"] != _NOT_RUNNING]
    full = shutil.disk_usage(config.data).free < LEAST_FREE_BYTES
    state = State.DISK_FULL if full else State.DISK_UNWRITABLE  # else it would have written its status
    found = [*rest, {"state": state.value, "remedy": REMEDIES[state]}]
    return {"running": True, **seen, "state": found[0]["state"], "states": found}


def _without_agent(config: Config) -> dict[str, Any]:
    folder = IdentityFolder(config.data)
    told: dict[str, Any] = {"device": config.device, "upstream": config.upstream.target, "enrolled": folder.exists}
    found = [{"state": _NOT_RUNNING, "remedy": "`headrace-edge run` starts it"}]
    if not folder.exists:
        found.append({"state": _NOT_ENROLLED, "remedy": "`headrace-edge enroll` joins a fleet; a demo needs none"})
        return {**told, "state": _NOT_RUNNING, "states": found, "certificate_ends": None}
    try:
        ends = folder.certificate().ends
    except ConfigError as error:
        found.append({"state": _NOT_ENROLLED, "remedy": str(error)})
        return {**told, "state": _NOT_RUNNING, "states": found, "certificate_ends": None}
    seen = states(Facts(certificate_ends=ends, now=time.time()))
    found += [{"state": state.value, "remedy": REMEDIES[state]} for state in seen if REMEDIES[state]]
    return {**told, "state": _NOT_RUNNING, "states": found, "certificate_ends": ends}


def _is_held(data: Path) -> bool:
    """Whether an agent holds the data folder, as it does from its start to its end."""
    try:
        handle = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _lives(said: dict[str, Any]) -> bool:
    try:
        os.kill(int(said["pid"]), 0)
    except PermissionError:
        pass  # another user's, but it is there
    except (OSError, KeyError, TypeError, ValueError, OverflowError):
        return False
    at = said.get("at")
    return isinstance(at, int | float) and abs(time.time() - at) < STALE_SECONDS


def _show(told: dict[str, Any]) -> None:
    does = "runs" if told["running"] else "does not run"
    say(f"{told.get('device', '')}: {does}; upstream {told.get('upstream', '')}")
    for one in told["states"]:
        remedy = f": {one['remedy']}" if one.get("remedy") else ""
        say(f"  {one['state']}{remedy}")
    for one in (lost for lost in told.get("targets", ()) if lost["because"]):
        say(f"  {one['target']} is {one['state']}: {one['because']}")
    if told.get("refusal"):
        say(f"  the cloud says: {told['refusal']}")
    ends = told.get("certificate_ends")
    if ends is not None:
        say(f"  certificate until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC")
    if told.get("outbox_pending") or told.get("outbox_dropped"):
        because = ", ".join(f"{why} {count}" for why, count in told.get("outbox_dropped_because", {}).items())
        dropped = f", {told['outbox_dropped']} dropped ({because})" if told.get("outbox_dropped") else ""
        say(f"  outbox: {told.get('outbox_pending', 0)} queries wait{dropped}")
    for worker in told.get("workers", ()):
        does = "ready" if worker["ready"] else "starting"
        restarted = f", started again {worker['restarts']} times" if worker["restarts"] else ""
        say(f"  worker {worker['worker']}: {does}, process {worker['pid']}{restarted}")
    for task in told.get("tasks", ()):
        _show_task(task)
    if told.get("signed") is False:
        say("  releases are not signed: this device has no root of the cloud's repository")


def _show_task(task: dict[str, Any]) -> None:
    say(f"  task {task['task']}: release {task['release']}")
    if task.get("float32_because"):
        say(f"    it runs in float32, since in int8 {task['float32_because']}")
    if task.get("refused"):
        say(f"    release {task['ordered']} is not taken: {task['refused']}")
