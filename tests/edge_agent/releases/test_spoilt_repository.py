"""Whatever a server makes of a repository, the updater says an error of ours, and believes nothing of it."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata

from edge_agent.releases.trust.manifests import Manifests
from edge_agent.testing.signed_repository import SignedRepository
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.errors import HeadraceError, UnknownTaskError
from router.core.release.manifest import digest
from router.core.release.orders import Order

ROLES = ("timestamp", "snapshot", "targets", "models")
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner), max_leaves=6)  # fmt: skip # noqa: E501


class Memory:
    """A source that serves a tree from memory."""

    def __init__(self, files):
        self.files = files

    async def repository(self, path):
        if path not in self.files:
            raise UnknownTaskError(path)
        yield self.files[path]


@pytest.fixture(scope="module")
def published():
    repository = SignedRepository()
    repository.sign_task(TASK)
    manifest, files = tiny_release(TASK, 1, WORDS)
    data = repository.sign_release(manifest, files)
    repository.publish()
    return repository, Order("home", 1, digest(data), 0.0), data


def path_of(repository, role):
    return "metadata/timestamp.json" if role == "timestamp" else f"metadata/{repository.versions[role]}.{role}.json"


async def ordered(repository, files, order):
    with tempfile.TemporaryDirectory() as folder:
        manifests = Manifests(Path(folder) / "repository", lambda: repository.first_root, Memory(files), lambda: "ok")
        return await manifests.ordered(order)


async def test_the_files_as_they_were_signed_are_believed(published):
    repository, order, data = published
    assert await ordered(repository, repository.files, order) == data


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(role=st.sampled_from(ROLES), spoilt=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
async def test_bytes_of_any_kind_for_metadata_are_refused(published, role, spoilt):
    repository, order, _ = published
    with pytest.raises(HeadraceError):
        await ordered(repository, {**repository.files, path_of(repository, role): spoilt}, order)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(role=st.sampled_from(ROLES), where=st.integers(0, 30), value=JSON)
async def test_metadata_signed_by_a_stolen_key_and_of_any_shape_are_refused_or_believed_and_never_a_crash(
    published, role, where, value
):
    """The thief signs whatever it likes: the signature holds, and the content is of any shape."""
    repository, order, data = published
    said = json.loads(repository.files[path_of(repository, role)])
    keys = [(said["signed"], key) for key in said["signed"]]
    inner = [value for value in said["signed"].values() if isinstance(value, dict)]
    keys += [(one, key) for one in inner for key in one]
    parent, key = keys[where % len(keys)]
    parent[key] = value
    try:
        signed = Metadata.from_dict(json.loads(json.dumps(said)))
        signed.sign(repository.signers[role])
        content = signed.to_bytes()
    except Exception:  # noqa: BLE001 - python-tuf itself can't write it
        content = json.dumps(said).encode()
    try:
        got = await ordered(repository, {**repository.files, path_of(repository, role): content}, order)
    except HeadraceError:
        return
    assert got == data


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"signed": ' * 20_000, b"\xff\xfe", b"1e999", b""])
@pytest.mark.parametrize("path", ["metadata/2.root.json", "metadata/timestamp.json"])
async def test_what_breaks_readers_of_json_is_refused(published, content, path):
    repository, order, _ = published
    with pytest.raises(HeadraceError):
        await ordered(repository, {**repository.files, path: content}, order)
