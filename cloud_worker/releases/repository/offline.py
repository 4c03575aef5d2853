"""What is signed offline: who signs, and what holds of each task.

Rules:
 * What is to be signed is staged in a file, gathers signatures there, and is published once enough keys have signed.
   The owners of several keys sign one after the other, each at a time of their own.
 * Another root is signed by enough keys of the one before, and of its own.
 * Another root is not published before what is signed of tasks is signed as it wants: devices would take nothing then.
   Where the keys are at hand that is signed for both roots, so that a device finds a whole repository at any moment.
 * What is published is numbered; killed anywhere, the same call again goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Root, Signed, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from cloud_worker.config.releases import ReleasesSettings
from cloud_worker.releases.repository.files import (
    MODELS,
    ROOT,
    TARGETS,
    RepositoryFiles,
    read_metadata,
)
from cloud_worker.releases.repository.keys import add_signature
from cloud_worker.releases.repository.roles import (
    dated,
    is_fresh,
    is_signed,
    keyids_of,
    new_targets,
    next_version,
    same_content,
    signatures_of,
    statement_targets,
)
from router.core.release.signed_task import task_target
from router.io.atomic_write import write_whole

_KINDS: dict[str, type[Signed]] = {ROOT: Root, TARGETS: Targets, MODELS: Targets}


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for signatures: of ``have`` keys, where ``need`` must sign; of a root, by those before it too."""

    role: str
    version: int
    have: int
    need: int


class OfflineSigning:
    """Signing of one repository by offline keys. Whoever calls it holds ``RepositoryFiles.alone``."""

    def __init__(self, files: RepositoryFiles, staged: Path, settings: ReleasesSettings, now: float) -> None:
        """Sign what lies in ``files``, at Unix time ``now`` in seconds; what waits lies in the folder ``staged``."""
        self._files, self._staged, self._settings, self._now = files, staged, settings, now

    def stage_root(self, root: Root) -> None:
        """Let a root wait for signatures; its version and end are filled in here. One that waits gives way."""
        before = self._files.latest(ROOT)
        version = 1 if before is None else before.signed.version + 1
        self._stage(ROOT, root, version)

    def stage_targets(self, statements: Mapping[str, bytes], models: Iterable[Key], threshold: int) -> bool:
        """Let what is signed of tasks wait for signatures, where that is needed; whether it is.

        Args:
            statements: By task, as ``write_signed_task`` writes it.
            models: Whose keys sign releases.
            threshold: How many of them must.
        """
        wanted = new_targets(statement_targets(statements, task_target), models, threshold)
        before = self._files.latest(TARGETS)
        if self._holds(TARGETS, wanted, before, self._next_root()):
            self._unstage(TARGETS)
            return False
        for task, data in statements.items():
            self._files.write_statement(task, data)
        self._stage_anew(TARGETS, wanted, before)
        return True

    def stage_models(self, releases: Mapping[str, TargetFile]) -> bool:
        """Let the list of releases wait for signatures, where it is another than the one that is signed; whether so."""
        wanted, before = Targets(targets=dict(releases)), self._files.latest(MODELS)
        targets = self._files.latest(TARGETS)
        if targets is not None and self._holds(MODELS, wanted, before, targets.signed):
            self._unstage(MODELS)
            return False
        self._stage_anew(MODELS, wanted, before)
        return True

    def sign(self, signers: Iterable[Signer], roles: Iterable[str] = (ROOT, TARGETS, MODELS)) -> int:
        """Sign what waits of some roles with the keys that count for it; return how many signatures were added."""
        added, keys = 0, list(signers)
        for role in roles:
            staged = self.staged(role)
            if staged is None:
                continue
            mine = [key for key in keys if key.public_key.keyid in self._counting(role)]
            for signer in mine:
                add_signature(staged, signer)
            if mine:
                self._write(role, staged)
            added += len(mine)
        return added

    def publish(self, *, roots: bool) -> None:
        """Publish what has enough signatures.

        Args:
            roots: Another root too; before that, all that it is to verify should be signed as it wants as well.
        """
        root = self.complete_root()
        verifiers = (
            [self._newest_root()] if root is None else [root.signed] if roots else [self._newest_root(), root.signed]
        )
        staged = self.staged(TARGETS)
        ready = staged if staged is not None and all(is_signed(by, TARGETS, staged) for by in verifiers) else None
        current = ready or self._files.latest(TARGETS)
        if roots and root is not None and (current is None or not is_signed(root.signed, TARGETS, current)):
            return  # devices that have the new root would refuse what is signed of tasks
        if ready is not None:
            self._files.write(TARGETS, ready)  # nobody asks for it before a list names it
        if roots and root is not None:
            self._files.write(ROOT, root)
            self._unstage(ROOT)
        if ready is not None:
            self._unstage(TARGETS)
        models = self.staged(MODELS)
        if models is not None and current is not None and is_signed(current.signed, MODELS, models):
            self._files.write(MODELS, models)
            self._unstage(MODELS)

    def waiting(self) -> list[Waiting]:
        """What lacks signatures."""
        found = []
        for role in (ROOT, TARGETS, MODELS):
            staged = self.staged(role)
            if staged is not None:
                counted = [signatures_of(by, role, staged) for by in self._verifiers(role)]
                have, need = min(counted, key=lambda one: one[0] - one[1], default=(0, 1))
                found.append(Waiting(role, staged.signed.version, have, need))
        return found

    def staged(self, role: str) -> Metadata[Any] | None:
        """What waits of a role; ``None`` where nothing does."""
        path = self._staged / f"{role}.json"
        return read_metadata(path, _KINDS[role]) if path.exists() else None

    def _counting(self, role: str) -> set[str]:
        """Whose signatures of a role count; of tasks also by the root that stands: both may be asked for a moment."""
        before = [self._newest_root()] if role == TARGETS and self._files.latest(ROOT) is not None else []
        return set().union(*(keyids_of(by, role) for by in (*self._verifiers(role), *before)))

    def _verifiers(self, role: str) -> list[Root | Targets]:
        """Who says which keys sign a role that waits; all of them must be content."""
        if role == MODELS:
            found = self.staged(TARGETS) or self._files.latest(TARGETS)
            return [] if found is None else [found.signed]
        if role == TARGETS:
            return [self._next_root()]
        before = self._files.latest(ROOT)
        return [self._next_root()] if before is None else [before.signed, self._next_root()]

    def _next_root(self) -> Root:
        staged = self.staged(ROOT)
        return self._newest_root() if staged is None else staged.signed

    def _newest_root(self) -> Root:
        return self._files.root().signed

    def complete_root(self) -> Metadata[Root] | None:
        """A root that waits and has enough signatures."""
        staged = self.staged(ROOT)
        if staged is None or not all(is_signed(by, ROOT, staged) for by in self._verifiers(ROOT)):
            return None
        return staged

    def _holds(self, role: str, wanted: Signed, before: Metadata[Any] | None, by: Root | Targets) -> bool:
        """Whether what is signed of a role says what is wanted, as ``by`` wants it signed, for long enough."""
        if before is None or not same_content(before.signed, wanted) or not is_signed(by, role, before):
            return False
        return is_fresh(before.signed, self._settings.days(role), self._now)

    def _stage_anew(self, role: str, wanted: Signed, before: Metadata[Any] | None) -> None:
        """Stage, unless the same waits already: its signatures are kept."""
        staged = self.staged(role)
        least = 0 if before is None else before.signed.version
        waits = staged is not None and same_content(staged.signed, wanted) and staged.signed.version > least
        if not waits or staged is None or not is_fresh(staged.signed, self._settings.days(role), self._now):
            self._stage(role, wanted, next_version(least, self._now))

    def _stage(self, role: str, signed: Signed, version: int) -> None:
        self._write(role, Metadata(dated(signed, version, self._settings.days(role), self._now)))

    def _write(self, role: str, metadata: Metadata[Any]) -> None:
        write_whole(self._staged / f"{role}.json", metadata.to_bytes(JSONSerializer(compact=False)))

    def _unstage(self, role: str) -> None:
        (self._staged / f"{role}.json").unlink(missing_ok=True)
