"""A repository of signed releases in memory, with its keys, for tests of whoever takes them.

Every state that was published stays, as on a mirror: a test replays or mixes what it likes in ``files``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from router.core.domain.task import Task
from router.core.release.manifest import Manifest, digest, write_manifest
from router.core.release.signed_task import manifest_target, task_target, write_signed_task

TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")
MODELS = "models"
LIFE = timedelta(days=30)


@dataclass(slots=True)
class SignedRepository:
    """Root and targets offline, ``models`` delegated; one key a role.

    Attributes:
        signers: Key by role; a test may put another in its place.
        ends: When each role's metadata expire; 30 days from now where it says nothing.
        files: All that a mirror serves, by path.
        versions: Of each role, as published last.
    """

    signers: dict[str, CryptoSigner] = field(default_factory=dict)
    ends: dict[str, datetime] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    _tasks: dict[str, TargetFile] = field(default_factory=dict)
    _manifests: dict[str, TargetFile] = field(default_factory=dict)
    _root: Root = field(init=False)

    def __post_init__(self) -> None:
        """Make the keys, and publish the first root."""
        for role in (*TOP_LEVEL, MODELS):
            self.signers.setdefault(role, CryptoSigner.generate_ed25519())
        roles = {role: Role([self.signers[role].public_key.keyid], 1) for role in TOP_LEVEL}
        keys: dict[str, Key] = {
            self.signers[role].public_key.keyid: self.signers[role].public_key for role in TOP_LEVEL
        }
        self._root = Root(1, None, self._end("root"), keys, roles, consistent_snapshot=True)
        self._put("1.root.json", self._root, [self.signers["root"]])

    @property
    def first_root(self) -> bytes:
        """What a device trusts at first."""
        return self.files["metadata/1.root.json"]

    def sign_task(self, task: Task) -> None:
        """Sign a task offline; it counts from the next ``publish`` on."""
        self._target(self._tasks, task_target(task.name), write_signed_task(task))

    def sign_release(self, manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
        """Sign a release by ``models``; returns its manifest's bytes. It counts from the next ``publish`` on."""
        data = write_manifest(manifest)
        self._target(self._manifests, manifest_target(manifest.task.name, manifest.number), data)
        for content in files.values():
            self.files[f"files/{digest(content)}"] = content
        return data

    def rotate(self, role: str) -> None:
        """Give a role another key, by a new root that the old root's key and the new one sign."""
        before = self.signers["root"]
        old, new = self.signers[role], CryptoSigner.generate_ed25519()
        self.signers[role] = new
        self._root.revoke_key(old.public_key.keyid, role)
        self._root.add_key(new.public_key, role)
        self._root.version += 1
        self._put(f"{self._root.version}.root.json", self._root, [before, self.signers["root"]])

    def publish(self) -> None:
        """Make a new state of all but the root."""
        for role in ("targets", MODELS, "snapshot", "timestamp"):
            self.versions[role] = self.versions.get(role, 0) + 1
        version = self.versions
        models = Targets(version[MODELS], None, self._end(MODELS), dict(self._manifests))
        key = self.signers[MODELS].public_key
        paths = [manifest_target("*", 0).replace("/0/", "/*/")]
        delegated = DelegatedRole(MODELS, [key.keyid], 1, True, paths=paths)
        delegations = Delegations({key.keyid: key}, {MODELS: delegated})
        targets = Targets(version["targets"], None, self._end("targets"), dict(self._tasks), delegations)
        meta = {f"{role}.json": MetaFile(version[role]) for role in ("targets", MODELS)}
        snapshot = Snapshot(version["snapshot"], None, self._end("snapshot"), meta)
        timestamp = Timestamp(version["timestamp"], None, self._end("timestamp"), MetaFile(version["snapshot"]))
        signed: dict[str, Targets | Snapshot] = {MODELS: models, "targets": targets, "snapshot": snapshot}
        for role, content in signed.items():
            self._put(f"{version[role]}.{role}.json", content, [self.signers[role]])
        self._put("timestamp.json", timestamp, [self.signers["timestamp"]])

    def at_gateway(self) -> dict[str, bytes]:
        """What a gateway serves under an empty task, by file name."""
        return {path.rpartition("/")[2]: data for path, data in self.files.items() if not path.startswith("files/")}

    def _end(self, role: str) -> datetime:
        return self.ends.get(role, datetime.now(UTC).replace(microsecond=0) + LIFE)

    def _target(self, targets: dict[str, TargetFile], name: str, data: bytes) -> None:
        targets[name] = TargetFile.from_data(name, data, ["sha256"])
        folder, _, base = name.rpartition("/")
        self.files[f"targets/{folder}/{digest(data)}.{base}"] = data

    def _put(self, name: str, content: Any, signers: list[CryptoSigner]) -> None:
        metadata: Metadata[Any] = Metadata(content)
        for signer in signers:
            metadata.sign(signer, append=True)
        self.files[f"metadata/{name}"] = metadata.to_bytes(JSONSerializer(compact=False))
