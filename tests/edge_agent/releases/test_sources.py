"""Where releases come from, with all that servers of files do on the way; and what lies here of a repository."""

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_agent.releases.downloading import fetch_part
from edge_agent.releases.sources.mirror import MirrorSource
from edge_agent.releases.sources.source import ReleaseFile
from edge_agent.releases.trust.manifests import Manifests
from edge_agent.tasks.refusals import Refusal, RefusedError
from edge_agent.tasks.slots import Slots
from edge_agent.testing.faults import Faults
from edge_agent.testing.mirror_server import MirrorServer
from edge_agent.testing.signed_repository import SignedRepository
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.errors import UnavailableError, UnknownTaskError
from router.core.release.manifest import File, digest
from router.core.release.orders import Order

CONTENT = bytes(range(256)) * 400
WANTED = ReleaseFile("home", 1, "model.onnx", File(len(CONTENT), digest(CONTENT)))


@pytest.fixture
def served():
    """A server that answers as its ``say`` does: status, headers, body, by the byte that is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            status, headers, body = self.server.say(start)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
async def source(served):
    made = MirrorSource.at(f"http://127.0.0.1:{served.server_address[1]}/")
    yield made
    await made.close()


@pytest.fixture
def slots(tmp_path):
    made = Slots(tmp_path / "home")
    made.parts.mkdir(parents=True)
    made.part(WANTED.file).write_bytes(CONTENT[:1000])
    return made


def ranged(start, first):
    return 206, {"Content-Range": f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"}, CONTENT[first:]


@pytest.mark.parametrize(
    "say",
    [
        lambda start: ranged(start, start),
        lambda start: ranged(start, start - start % 512),  # a cache that is aligned to blocks
        lambda start: (200, {}, CONTENT),
    ],
    ids=["as asked", "from a block on", "whole"],
)
async def test_a_part_is_completed_whatever_the_mirror_makes_of_ranges(served, source, slots, say):
    served.say = say
    await fetch_part(source, slots, WANTED)
    assert slots.part(WANTED.file).read_bytes() == CONTENT


async def test_a_part_that_goes_on_where_the_file_has_ended_is_dropped(served, source, slots):
    served.say = lambda start: (416, {}, b"") if start else (200, {}, CONTENT)
    with pytest.raises(RefusedError, match=r"wrong length: model.onnx ends before byte 1000"):
        await fetch_part(source, slots, WANTED)
    await fetch_part(source, slots, WANTED)
    assert slots.part(WANTED.file).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((206, {"Content-Range": "bytes 5000-5001/9000"}, b"xx"), UnavailableError),
        ((206, {}, b"xx"), UnavailableError),
        ((503, {}, b""), UnavailableError),
        ((302, {"Location": "/again"}, b""), UnavailableError),  # for ever
        ((404, {}, b""), UnknownTaskError),
        ((403, {}, b""), UnknownTaskError),
        ((200, {"Content-Length": "5000"}, b"short"), UnavailableError),
    ],
)
async def test_what_a_mirror_can_not_give_leaves_the_part_as_it_is(served, source, slots, answer, error):
    served.say = lambda start: answer
    with pytest.raises(error):
        await fetch_part(source, slots, WANTED)
    assert slots.part(WANTED.file).read_bytes() == CONTENT[:1000]


@pytest.fixture
def repository():
    made = SignedRepository()
    made.sign_task(TASK)
    return made


def ordered(repository, number=1):
    manifest, files = tiny_release(TASK, number, WORDS)
    data = repository.sign_release(manifest, files)
    repository.publish()
    return Order("home", number, digest(data), 0.0)


async def manifest_from(repository, folder, order, clock=lambda: "ok"):
    with MirrorServer(repository.files, Faults) as mirror:
        source = MirrorSource.at(mirror.url)
        try:
            return await Manifests(folder, lambda: repository.first_root, source, clock).ordered(order)
        finally:
            await source.close()


def spoilt(folder):
    for path in [*folder.rglob("*.json")]:
        path.unlink()
        path.write_bytes(b"{")


def folders(folder):
    for path in [*folder.rglob("*.json")]:
        path.unlink()
        path.mkdir()


def emptied(folder):
    for path in [*folder.rglob("*.json")]:
        path.unlink()
        path.touch()


def no_folder(folder):
    shutil.rmtree(folder)
    folder.write_text("a file")


def torn(folder):
    (folder / "metadata" / "tmpabc").write_bytes(b"half")
    (folder / "metadata" / "root.json").unlink()


@pytest.mark.parametrize("damage", [spoilt, folders, emptied, no_folder, torn])
async def test_whatever_became_of_the_metadata_here_they_are_made_anew_from_the_first_root(
    repository, tmp_path, damage
):
    folder = tmp_path / "repository"
    repository.rotate("timestamp")
    first = await manifest_from(repository, folder, ordered(repository))
    damage(folder)
    assert await manifest_from(repository, folder, ordered(repository)) == first
    assert not (folder / "metadata" / "tmpabc").exists()


async def test_who_lost_the_metadata_does_not_trust_a_key_again_that_was_rotated(repository, tmp_path):
    folder, order = tmp_path / "repository", ordered(repository)
    stolen = dict(repository.files)  # with the key of that time, as its thief may go on to sign
    repository.rotate("timestamp")
    newest = await manifest_from(repository, folder, ordered(repository))
    shutil.rmtree(folder)
    rotated, repository.files = repository.files, stolen
    with pytest.raises(RefusedError) as refused:
        await manifest_from(repository, folder, order)
    assert refused.value.refusal is Refusal.UNKNOWN_KEY
    repository.files = rotated
    assert await manifest_from(repository, folder, ordered(repository)) == newest


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"\0" + path.read_bytes()[1:])])
async def test_without_the_newest_root_trust_begins_with_the_first(repository, tmp_path, damage):
    folder = tmp_path / "repository"
    repository.rotate("snapshot")
    first = await manifest_from(repository, folder, ordered(repository))
    damage(tmp_path / "repository.root")
    shutil.rmtree(folder)
    assert await manifest_from(repository, folder, ordered(repository)) == first


async def test_another_repository_is_taken_up_after_its_root_was_put_in_place(repository, tmp_path):
    for _ in range(3):
        repository.publish()
    repository.rotate("snapshot")
    await manifest_from(repository, tmp_path, ordered(repository))
    another = SignedRepository()
    another.sign_task(TASK)
    assert await manifest_from(another, tmp_path, ordered(another))


async def test_whoever_waits_for_metadata_is_let_go_at_once(repository, tmp_path):
    order = ordered(repository)
    faults = Faults(dripped=frozenset({"timestamp.json"}), drip_seconds=5.0)
    with MirrorServer(repository.files, lambda: faults) as mirror:
        source = MirrorSource.at(mirror.url)
        waiting = asyncio.create_task(
            Manifests(tmp_path, lambda: repository.first_root, source, lambda: "ok").ordered(order)
        )
        while not any(path.endswith("timestamp.json") for path, _ in mirror.asked):  # noqa: ASYNC110 - in a thread
            await asyncio.sleep(0.01)
        waiting.cancel()
        async with asyncio.timeout(4):
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await asyncio.get_running_loop().shutdown_default_executor()
        await source.close()


def self_signed(folder):
    """A certificate of 127.0.0.1 with its key, as one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mirror")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "mirror.pem"
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem) + key.private_bytes(pem, *plain))
    return path


async def test_a_mirror_behind_https_is_one_whose_certificate_this_machine_trusts(repository, tmp_path, monkeypatch):
    certificate, order = self_signed(tmp_path), ordered(repository)
    with MirrorServer(repository.files, Faults, certificate=certificate) as mirror:
        for trusted in (False, True):
            if trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            source = MirrorSource.at(mirror.url)
            asked = Manifests(tmp_path / "repository", lambda: repository.first_root, source, lambda: "ok")
            if trusted:
                assert digest(await asked.ordered(order)) == order.manifest_sha256
            else:
                with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                    await asked.ordered(order)
            await source.close()
