"""What an operator is told of signed releases: whose keys count, until when, and what waits for whom."""

from __future__ import annotations

from typing import Any

from tuf.api.metadata import Root, Targets

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.files import MODELS, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, RepositoryFiles
from cloud_worker.releases.repository.keys import LIST, read_list
from cloud_worker.releases.repository.offline import OfflineSigning
from cloud_worker.releases.repository.online import STAGED
from cloud_worker.releases.repository.release_list import SIGNED_STATES, releases_to_sign
from cloud_worker.releases.repository.roles import DAY_SECONDS, keyids_of
from cloud_worker.releases.repository.signed import signed_tasks_of, task_changes
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import Store
from router.core.errors import ConfigError
from router.core.release.signed_task import manifest_target

WARN_SHARE = 0.25  # of the days of what is signed offline: less than that is left
FOR_APPROVAL = "waits for approval: `headrace-cloud releases approve`"
FOR_GATEWAY = "waits for the gateway, which signs it once it runs"


def signing_facts(config: CloudConfig, store: Store, now: float) -> dict[str, Any]:
    """The facts as JSON holds them; times are Unix seconds.

    Returns:
        ``keys`` is ``False`` where nothing is signed. ``problem`` says what can't be read, empty where all can.
    """
    files = RepositoryFiles(config.repository_folder)
    facts: dict[str, Any] = {"keys": files.is_there, "problem": "", "approval": "", "roles": {}}
    facts |= {"waiting": [], "unsigned": [], "tasks_changed": []}
    if not files.is_there:
        return facts
    try:
        root, targets = files.root().signed, files.latest(TARGETS)
        facts["roles"] = _roles(config, files, root, None if targets is None else targets.signed, now)
        offline = OfflineSigning(files, config.keys_folder / STAGED, config.releases, now)
        facts["waiting"] = [
            {"role": one.role, "version": one.version, "have": one.have, "need": one.need} for one in offline.waiting()
        ]
        if targets is not None:
            manual = not _signs_online(config, targets.signed)
            facts["approval"] = "manual" if manual else "automatic"
            facts["tasks_changed"] = task_changes(config.tasks, signed_tasks_of(files, targets.signed))
            facts["unsigned"] = _unsigned(config, store, files, targets.signed, manual)
    except (ConfigError, OSError) as error:
        facts["problem"] = str(error)
    return facts


def signing_lines(facts: dict[str, Any]) -> list[str]:
    """What somebody should do, one line each."""
    lines = [f"signed releases: {facts['problem']}"] if facts["problem"] else []
    for role in (ROOT, TARGETS, MODELS):
        one = facts["roles"].get(role)
        if one and one["is_late"]:
            lines.append(f"what is signed as {role} ends in {one['days_left']:,.0f} days: `headrace-cloud keys sign`")
    for one in facts["waiting"]:
        need = f"{one['have']} of {one['need']} keys have signed"
        lines.append(f"{one['role']} {one['version']} waits for signatures, {need}: `headrace-cloud keys sign`")
    for line in facts["tasks_changed"]:
        lines.append(f"{line}: `headrace-cloud keys sign`")
    for one in facts["unsigned"]:
        lines.append(f"{one['task']}: release {one['release']} is not signed, devices stay as they are: {one['why']}")
    return lines


def _roles(config: CloudConfig, files: RepositoryFiles, root: Root, targets: Targets | None, now: float) -> Any:
    found = {}
    for role in (ROOT, TARGETS, MODELS, SNAPSHOT, TIMESTAMP):
        metadata = files.latest(role)
        by = targets if role == MODELS else root
        if metadata is None or by is None:
            continue
        left = (metadata.signed.expires.timestamp() - now) / DAY_SECONDS
        found[role] = {
            "version": metadata.signed.version,
            "days_left": round(left, 2),
            "is_late": left < WARN_SHARE * config.releases.days(role),
            "threshold": by.get_delegated_role(role).threshold,
            "keys": sorted(keyids_of(by, role)),
        }
    return found


def _signs_online(config: CloudConfig, targets: Targets) -> bool:
    if not (config.keys_folder / LIST).exists():
        return False
    online = {key.public.keyid for key in read_list(config.keys_folder)}
    return bool(online & keyids_of(targets, MODELS))


def _unsigned(
    config: CloudConfig, store: Store, files: RepositoryFiles, targets: Targets, manual: bool
) -> list[dict[str, Any]]:
    models = files.latest(MODELS)
    listed = {} if models is None else models.signed.targets
    wanted = releases_to_sign(store, Publisher(config.releases_folder), signed_tasks_of(files, targets), listed)
    found = []
    for state in store.task_states():
        for row in store.releases(state.name):
            is_due = row.number == state.champion or row.state is ReleaseState.APPROVAL
            path = manifest_target(row.task, row.number)
            known = path in listed and listed[path].hashes.get("sha256") == row.manifest_sha256
            if is_due and row.state in SIGNED_STATES and not known:
                why = wanted.left_out.get((row.task, row.number)) or (FOR_APPROVAL if manual else FOR_GATEWAY)
                found.append({"task": row.task, "release": row.number, "why": why})
    return found
