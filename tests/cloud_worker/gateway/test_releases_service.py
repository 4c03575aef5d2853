"""The Releases service over a real channel: files in pieces, and nothing but what devices may fetch."""

import os

import grpc
import pytest

from cloud_worker.gateway.releases_service import CHUNK_BYTES, ReleasesServicer
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.released_files import ReleasedFiles
from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.testing import SignedCloud
from router.core.domain.task import Task
from router.core.policy.deferral import Policy
from router.core.release.manifest import MANIFEST_FILE, Manifest
from router.transport.channel import open_channel
from router.transport.server import Door
from router.v1 import release_pb2, release_pb2_grpc

TASK = Task("home", reference="big")


def manifest(number=1):
    return Manifest(task=TASK, number=number, created_at=1.0, policy=Policy(threshold=0.5))


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "releases")


@pytest.fixture
async def fetch(publisher, tmp_path):
    """Asks the service over a real channel; a call gives the chunks."""
    door = Door("127.0.0.1:0", insecure=True)
    files = ReleasedFiles(publisher, RepositoryFiles(tmp_path / "data" / "repository"))
    release_pb2_grpc.add_ReleasesServicer_to_server(ReleasesServicer(files), door.server)
    port = await door.start()
    channel = open_channel(f"127.0.0.1:{port}", insecure=True)
    stub = release_pb2_grpc.ReleasesStub(channel)

    async def ask(**request):
        return [chunk async for chunk in stub.Fetch(release_pb2.FetchRequest(**request), timeout=60)]

    yield ask
    await channel.close()
    await door.stop(0.1)


async def test_a_file_comes_in_chunks_and_whole(publisher, fetch):
    data = os.urandom(2 * CHUNK_BYTES + 7)
    publisher.publish(manifest(), {"model.onnx": data})
    chunks = await fetch(task="home", release=1, file="model.onnx")
    assert [len(chunk.data) for chunk in chunks] == [CHUNK_BYTES, CHUNK_BYTES, 7]
    assert [chunk.offset for chunk in chunks] == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]
    assert {chunk.total for chunk in chunks} == {len(data)}
    assert b"".join(chunk.data for chunk in chunks) == data


@pytest.mark.parametrize(
    ("offset", "length", "expected"), [(3, 0, b"ghts"), (3, 2, b"gh"), (0, 99, b"weights"), (7, 0, b""), (7, 5, b"")]
)
async def test_a_fetch_goes_on_from_its_offset(publisher, fetch, offset, length, expected):
    publisher.publish(manifest(), {"model.onnx": b"weights"})
    chunks = await fetch(task="home", release=1, file="model.onnx", offset=offset, length=length)
    assert b"".join(chunk.data for chunk in chunks) == expected
    assert chunks[0].total == 7


async def test_an_empty_file_is_one_empty_chunk(publisher, fetch):
    publisher.publish(manifest(), {"empty": b""})
    assert [chunk.data for chunk in await fetch(task="home", release=1, file="empty")] == [b""]


@pytest.mark.parametrize(
    ("request_fields", "status"),
    [
        ({"task": "home", "release": 2, "file": MANIFEST_FILE}, grpc.StatusCode.NOT_FOUND),
        ({"task": "home", "release": 1, "file": "other"}, grpc.StatusCode.NOT_FOUND),
        ({"task": "car", "release": 1, "file": MANIFEST_FILE}, grpc.StatusCode.NOT_FOUND),
        ({"task": "home", "release": 1, "file": "../1/manifest.json"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"task": "..", "release": 1, "file": MANIFEST_FILE}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"task": "home", "release": 1, "file": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"task": "home", "release": 1, "file": "model.onnx", "offset": 8}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_what_can_not_be_fetched_is_refused_with_its_status(publisher, fetch, request_fields, status):
    publisher.publish(manifest(), {"model.onnx": b"weights"})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fetch(**request_fields)
    assert caught.value.code() is status
    assert "/" not in caught.value.details().replace(request_fields["file"], "")


async def test_metadata_is_fetched_by_its_name_and_nothing_else_of_the_repository(fetch, tmp_path):
    cloud = SignedCloud.in_folder(tmp_path).make_keys()
    [statement] = cloud.files.statements.iterdir()
    names = ["timestamp.json", "1.root.json", statement.name]
    names += [f"{cloud.files.versions(role)[0]}.{role}.json" for role in ("targets", "models", "snapshot")]
    for name in names:
        data = (cloud.files.find(name) or tmp_path).read_bytes()
        assert b"".join([chunk.data for chunk in await fetch(file=name)]) == data
        assert b"".join([chunk.data for chunk in await fetch(file=name, offset=100)]) == data[100:]
    (cloud.files.metadata / "notes.json").write_text("{}")
    for name in ("2.root.json", "root.json", "notes.json", "../.lock", "1.root.json/", f"{'0' * 64}./etc/passwd", ""):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await fetch(file=name)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
