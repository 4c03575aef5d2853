"""What whoever owns the offline keys does: make a repository, sign what waits, give a role other keys.

Rules:
 * Each step can be told again after a kill: what was staged waits, what was published stays.
 * An offline key is used from its own folder, and is never copied into the data folder.
 * Another key of a role is made before the one it replaces stops counting; metadata decides which counts.
 * Another root is published by ``OnlineSigning``, once what it is to verify is signed as it wants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Role, Root, TargetFile, Targets

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.releases import Approval
from cloud_worker.releases.repository.files import MODELS, ROOT, TARGETS, RepositoryFiles
from cloud_worker.releases.repository.keys import LIST, ListedKey, make_key, open_key, read_list, write_list
from cloud_worker.releases.repository.offline import OfflineSigning, Waiting
from cloud_worker.releases.repository.online import STAGED, ToSign
from cloud_worker.releases.repository.release_list import ReleaseList
from cloud_worker.releases.repository.roles import ONLINE, is_fresh, new_root
from cloud_worker.releases.repository.signed import signed_tasks_of, task_changes
from router.core.domain.task import Task
from router.core.errors import ConfigError
from router.core.release.signed_task import write_signed_task

ROLES = (ROOT, TARGETS, MODELS, ONLINE)
Approve = Callable[[str], bool]  # a release's target path, of one that is not signed yet


def _nothing(tasks: Mapping[str, Task], listed: Mapping[str, TargetFile]) -> ReleaseList:
    return ReleaseList({}, {})


def nothing_new(path: str) -> bool:
    """Approve no release that is not signed yet."""
    return False


@dataclass(frozen=True, slots=True)
class OfflineFolder:
    """Where keys of one owner lie, and what opens them."""

    path: Path
    passphrase: bytes


@dataclass(frozen=True, slots=True)
class Ceremony:
    """What a ceremony has at hand.

    Attributes:
        config: Of the cloud.
        folders: Of the offline keys that are there.
        online_passphrase: Of the online keys.
        now: Unix time in seconds.
        elsewhere: Keys that lie in a service or token, by their role; the first folder lists those that are offline.
        to_sign: Tells which releases may be signed; used where releases are signed offline.
    """

    config: CloudConfig
    folders: Sequence[OfflineFolder]
    online_passphrase: bytes
    now: float
    elsewhere: Sequence[ListedKey] = field(default_factory=tuple)
    to_sign: ToSign = _nothing

    @property
    def files(self) -> RepositoryFiles:
        """The repository."""
        return RepositoryFiles(self.config.repository_folder)

    @property
    def offline(self) -> OfflineSigning:
        """What is signed offline."""
        staged = self.config.keys_folder / STAGED
        return OfflineSigning(self.files, staged, self.config.releases, self.now)

    def make(self, threshold: int) -> None:
        """Make all keys and the first metadata, of which ``threshold`` offline keys sign each.

        Raises:
            ConfigError: There are keys already, or fewer folders than ``threshold``.
        """
        keys_folder = self.config.keys_folder
        if self.files.is_there:
            raise ConfigError(str(self.files.folder), "", "has keys already; `headrace-cloud keys rotate` replaces one")
        if not 1 <= threshold <= len(self.folders):
            raise ConfigError("--threshold", str(threshold), f"must be from 1 to {len(self.folders)}, one key a folder")
        for path in (keys_folder, *(folder.path for folder in self.folders)):
            if (path / LIST).exists():
                raise ConfigError(str(path), "", "holds keys of releases already; name another folder")
        for folder in self.folders:
            if folder.path.resolve() == keys_folder.resolve():
                raise ConfigError(
                    "--offline", str(folder.path), "is where gateways read; take one that can be locked away"
                )
        models_offline = self.config.releases.approval is Approval.MANUAL
        roles = (ROOT, TARGETS, MODELS) if models_offline else (ROOT, TARGETS)
        made = [key for folder in self.folders for key in self._new_offline(folder, roles)]
        online = self._new_online((ONLINE,) if models_offline else (ONLINE, MODELS))
        keys = {role: [key.public for key in (*made, *online) if key.role == role] for role in ROLES}
        with self.files.alone():
            offline = self.offline
            offline.stage_root(new_root(keys, threshold, 0.0))
            offline.stage_targets(self._statements(), keys[MODELS], threshold if models_offline else 1)
            if models_offline:
                self._stage_models(lambda path: True)
            offline.sign(self._signers())
            offline.publish(roots=True)

    def sign(self) -> int:
        """Stage what must be signed, sign it with the keys that are here, publish what is complete.

        Returns:
            How many signatures were added.
        """
        with self.files.alone():
            root = self._root()
            if self.offline.staged(ROOT) is None and not is_fresh(root, self.config.releases.root_days, self.now):
                self.offline.stage_root(root)
            self.offline.stage_targets(self._statements(), *self.delegating())
            if self.signs_models_offline:
                self._stage_models(nothing_new)
            added = self.offline.sign(self._signers())
            self.offline.publish(roots=False)
            return added

    def approve(self, approved: Approve) -> int:
        """Let releases be signed by the keys that are here, and sign nothing else.

        Args:
            approved: Tells of each release that is not signed yet, by its target path.

        Returns:
            How many signatures were added.

        Raises:
            ConfigError: Releases are signed online.
        """
        if not self.signs_models_offline:
            raise ConfigError("releases.approval", "automatic", "signs releases by itself; nothing waits for somebody")
        with self.files.alone():
            self._stage_models(approved)
            added = self.offline.sign(self._signers(), [MODELS])
            self.offline.publish(roots=False)
            return added

    def rotate(self, role: str, to: Sequence[OfflineFolder], threshold: int | None) -> None:
        """Give a role other keys, and sign what says so with the keys that are here.

        Args:
            role: One of ``ROLES``.
            to: Folders of the new keys of an offline role; ``folders`` where empty.
            threshold: How many of them must sign; ``None`` leaves it.
        """
        with self.files.alone():
            targets = self.delegating()
            root = self._root()
            old = root.roles[TARGETS if role in {MODELS, TARGETS} else ROOT].threshold
            most = len(to or self.folders)
            need = min(old, most) if threshold is None else threshold
            if not 1 <= need <= most:
                raise ConfigError("--threshold", str(threshold), f"must be from 1 to {most}, one key a folder")
            if role == ONLINE or (role == MODELS and self.config.releases.approval is Approval.AUTOMATIC):
                made, need = self._new_online((role,)), 1
            else:
                made = [key for folder in to or self.folders for key in self._new_offline(folder, (role,))]
            public = [key.public for key in made]
            if role == MODELS:
                self.offline.stage_targets(self._statements(), public, need)
            else:
                self.offline.stage_root(_with_keys(root, role, public, need))
                self.offline.stage_targets(self._statements(), *targets)
            if self.signs_models_offline:
                self._stage_models(nothing_new)
            self.offline.sign(self._signers(to))
            self.offline.publish(roots=False)

    def waiting(self) -> list[Waiting]:
        """What lacks signatures."""
        return self.offline.waiting()

    def delegating(self) -> tuple[list[Key], int]:
        """Whose keys sign releases by the newest word that there is, staged or published; and how many of them must."""
        found = self.offline.staged(TARGETS) or self.files.latest(TARGETS)
        if found is None or not isinstance(found.signed, Targets) or found.signed.delegations is None:
            raise ConfigError(
                str(self.files.folder), "", "says nothing of releases; `headrace-cloud keys init` makes it"
            )
        delegations = found.signed.delegations
        assert delegations.roles is not None
        role = delegations.roles[MODELS]
        return [delegations.keys[keyid] for keyid in role.keyids], role.threshold

    @property
    def signs_models_offline(self) -> bool:
        """Whether no online key counts for releases, by the newest word that there is."""
        online = {key.public.keyid for key in _listed(self.config.keys_folder)}
        return not any(key.keyid in online for key in self.delegating()[0])

    def changes(self) -> list[str]:
        """What the configuration says of tasks and is not signed yet, one line a field, for whoever signs."""
        published = self.files.latest(TARGETS)
        signed = {} if published is None else signed_tasks_of(self.files, published.signed)
        return task_changes(self.config.tasks, signed)

    def releases_to_sign(self) -> ReleaseList:
        """The releases that may be signed, those that are included."""
        targets = self.offline.staged(TARGETS) or self.files.latest(TARGETS)
        tasks = {} if targets is None else signed_tasks_of(self.files, targets.signed)
        return self.to_sign(tasks, self._listed_releases())

    def _stage_models(self, approved: Approve) -> None:
        wanted, listed = self.releases_to_sign().targets, self._listed_releases()
        self.offline.stage_models({path: one for path, one in wanted.items() if path in listed or approved(path)})

    def _listed_releases(self) -> Mapping[str, TargetFile]:
        models = self.files.latest(MODELS)
        return {} if models is None else models.signed.targets

    def _root(self) -> Root:
        staged = self.offline.staged(ROOT)
        found: Root = (staged or self.files.root()).signed
        return found

    def _statements(self) -> Mapping[str, bytes]:
        return {task.name: write_signed_task(task) for task in self.config.tasks}

    def _new_offline(self, folder: OfflineFolder, roles: Iterable[str]) -> list[ListedKey]:
        """New keys of an owner, listed in the folder."""
        first = folder is self.folders[0]
        made = []
        for role in roles:
            given = [key for key in self.elsewhere if key.role == role] if first else []
            made += given or [make_key(folder.path, role, folder.passphrase, self._name(folder.path, role))]
        write_list(folder.path, [*_listed(folder.path), *made])
        return made

    def _new_online(self, roles: Iterable[str]) -> list[ListedKey]:
        folder = self.config.keys_folder
        made = []
        for role in roles:
            given = [key for key in self.elsewhere if key.role == role]
            made += given or [make_key(folder, role, self.online_passphrase, self._name(folder, role))]
        write_list(folder, [*_listed(folder), *made])
        return made

    def _name(self, folder: Path, role: str) -> str:
        """What tells a later key of a role from the first one."""
        return str(int(self.now)) if any(key.role == role for key in _listed(folder)) else ""

    def _signers(self, more: Sequence[OfflineFolder] = ()) -> list[Signer]:
        """What the keys of the folders sign with; a key that counts nowhere any more is left shut."""
        counting = self._counting()
        folders = {folder.path.resolve(): folder for folder in (*self.folders, *more)}
        return [
            open_key(folder.path, key, folder.passphrase)
            for folder in folders.values()
            for key in read_list(folder.path)
            if key.public.keyid in counting
        ]

    def _counting(self) -> set[str]:
        found = {key.keyid for key in self.delegating()[0]}
        roots = [one.signed for one in (self.offline.staged(ROOT), self.files.latest(ROOT)) if one is not None]
        return found.union(*(root.roles[role].keyids for root in roots for role in (ROOT, TARGETS)))


def _listed(folder: Path) -> list[ListedKey]:
    return read_list(folder) if (folder / LIST).exists() else []


def _with_keys(root: Root, role: str, keys: Sequence[Key], threshold: int) -> Root:
    """A root that trusts other keys for a role."""
    changed: Root = Root.from_dict(root.to_dict())
    for name in ("snapshot", "timestamp") if role == ONLINE else (role,):
        changed.roles[name] = Role([key.keyid for key in keys], threshold)
    changed.keys.update({key.keyid: key for key in keys})
    used = {keyid for one in changed.roles.values() for keyid in one.keyids}
    changed.keys = {keyid: key for keyid, key in changed.keys.items() if keyid in used}
    return changed
