"""What a lying gateway, a lying mirror or the thief of an online key offers is refused, each with its own reason."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from edge_agent.releases import downloading
from edge_agent.releases.trust import manifests
from edge_agent.tasks.refusals import Refusal
from edge_agent.testing.faults import Faults
from edge_agent.testing.mirror_server import MirrorServer
from edge_agent.testing.signed_repository import SignedRepository
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.task import Exploration
from router.core.release.manifest import digest
from router.core.release.orders import Order

PAST = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


@dataclass
class World:
    """A repository, and whatever serves it."""

    cloud: object
    repository: SignedRepository
    number: int = 0
    data: bytes = b""
    swapped: dict = field(default_factory=dict)

    def release(self, task=TASK, order=None, **changes):
        """Sign and order the next release; what the test changes of it is done before it is served."""
        self.number += 1
        manifest, files = tiny_release(task, self.number, WORDS, padding=40_000 + 4 * self.number)
        manifest = replace(manifest, **changes)
        self.data = data = self.repository.sign_release(manifest, files)
        self.repository.publish()
        return lambda: self.offer(
            Order(TASK.name, self.number, order or digest(data), 0.0, may_leave=True), files, data
        )

    def offer(self, order, files, data):
        self.cloud.files.put("", 0, self.repository.at_gateway())
        self.cloud.offer(order, {**files, "manifest.json": data})

    def served(self, role):
        """Where the newest metadata of a role lie."""
        name = "timestamp.json" if role == "timestamp" else f"{self.repository.versions[role]}.{role}.json"
        return f"metadata/{name}"

    def swap(self, path, data):
        """Serve other bytes at a path, until ``restore``."""
        self.swapped.setdefault(path, self.repository.files[path])
        self.repository.files[path] = data

    def restore(self):
        """Nothing goes wrong any more."""
        self.repository.files.update(self.swapped)
        self.swapped.clear()
        self.cloud.faults = Faults()

    def change_file(self, name, change):
        """Change what is served of a file of the newest release, at the mirror and at the gateway."""
        _, files = tiny_release(TASK, self.number, WORDS, padding=40_000 + 4 * self.number)
        changed = change(files[name])
        self.swap(f"files/{digest(files[name])}", changed)
        return {**files, name: changed}


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def resigned(data, change):
    """Metadata with one value changed, and the signature of before."""
    said = json.loads(data)
    change(said["signed"])
    return json.dumps(said).encode()


def tampered_file(world):
    offer = world.release()
    files = world.change_file("padding.bin", flipped)
    offer()
    world.cloud.files.put(TASK.name, world.number, files)


def shortened_file(world):
    offer = world.release()
    files = world.change_file("padding.bin", lambda data: data[:-4])
    offer()
    world.cloud.files.put(TASK.name, world.number, files)


def tampered_manifest(world):
    offer = world.release()
    name = next(path for path in world.repository.files if path.startswith(f"targets/models/home/{world.number}/"))
    world.swap(name, flipped(world.repository.files[name]))
    offer()
    world.cloud.files.put(TASK.name, world.number, {"manifest.json": world.repository.files[name]})


def old_timestamp(world):
    before = world.repository.files["metadata/timestamp.json"]
    offer = world.release()
    world.swap("metadata/timestamp.json", resign(world, before, lambda signed: signed.update(version=1)))
    offer()


def resign(world, data, change):
    """Metadata of the timestamp as its key signs them; one value changed."""
    said = json.loads(data)
    change(said["signed"])
    metadata = Metadata.from_bytes(json.dumps(said).encode())
    metadata.sign(world.repository.signers["timestamp"])
    return metadata.to_bytes()


def expired(role):
    def attack(world):
        world.repository.ends[role] = PAST
        world.release()()
        del world.repository.ends[role]

    return attack


def unknown_key(role):
    def attack(world):
        kept = world.repository.signers[role]
        world.repository.signers[role] = CryptoSigner.generate_ed25519()
        world.release()()
        world.repository.signers[role] = kept

    return attack


def tampered_metadata(world):
    offer = world.release()
    path = world.served("snapshot")
    world.swap(
        path, resigned(world.repository.files[path], lambda signed: signed.update(expires="2100-01-01T00:00:00Z"))
    )
    offer()


def mixed_snapshot(world):
    before = world.repository.files[world.served("snapshot")]
    offer = world.release()
    world.swap(world.served("snapshot"), before)
    offer()


def mixed_models(world):
    before = world.repository.files[world.served("models")]
    offer = world.release()
    world.swap(world.served("models"), before)
    offer()


def unsigned_release(world):
    offer = world.release(order="0" * 64)
    offer()


def another_task(world):
    world.release(replace(TASK, exploration=Exploration(floor=0.0)))()


def endless(*names):
    def attack(world):
        offer = world.release()
        world.cloud.faults.endless = frozenset(names_of(world, names))
        offer()

    return attack


def dripped(*names):
    def attack(world):
        offer = world.release()
        world.cloud.faults.dripped = frozenset(names_of(world, names))
        offer()

    return attack


def names_of(world, names):
    """The names, and those by which a mirror knows the same files."""
    files = tiny_release(TASK, world.number, WORDS, padding=40_000 + 4 * world.number)[0].files
    return [*names, *(files[name].sha256 for name in names if name in files)]


ATTACKS = {
    "a file was tampered with": (tampered_file, Refusal.TAMPERED),
    "a manifest was tampered with": (tampered_manifest, Refusal.TAMPERED),
    "a file is too short": (shortened_file, Refusal.WRONG_LENGTH),
    "the timestamp is an old one": (old_timestamp, Refusal.OLD),
    "the timestamp has expired": (expired("timestamp"), Refusal.EXPIRED),
    "the snapshot has expired": (expired("snapshot"), Refusal.EXPIRED),
    "the targets have expired": (expired("targets"), Refusal.EXPIRED),
    "the models have expired": (expired("models"), Refusal.EXPIRED),
    "an unknown key signed the timestamp": (unknown_key("timestamp"), Refusal.UNKNOWN_KEY),
    "an unknown key signed the targets": (unknown_key("targets"), Refusal.UNKNOWN_KEY),
    "metadata were tampered with": (tampered_metadata, Refusal.TAMPERED_METADATA),
    "the snapshot is of another state": (mixed_snapshot, Refusal.MIXED),
    "the models are of another state": (mixed_models, Refusal.MIXED),
    "the order names what nobody signed": (unsigned_release, Refusal.UNSIGNED),
    "the online key signed another task": (another_task, Refusal.OTHER_TASK),
    "the timestamp has no end": (endless("timestamp.json"), Refusal.ENDLESS),
    "a file has no end": (endless("padding.bin"), Refusal.ENDLESS),
    "the timestamp drips": (dripped("timestamp.json"), Refusal.SLOW),
    "a file drips": (dripped("padding.bin"), Refusal.SLOW),
}


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(manifests, "REFRESH_SECONDS", 3.0)
    monkeypatch.setattr(downloading, "PACE_SECONDS", 0.3)
    monkeypatch.setattr(downloading, "SLOWEST_BYTES_PER_SECOND", 1000.0)


@pytest.fixture
def world(cloud):
    made = World(cloud, SignedRepository())
    made.repository.sign_task(TASK)
    return made


@pytest.fixture
def root(world, tmp_path):
    path = tmp_path / "root.json"
    path.write_bytes(world.repository.first_root)
    return path


@pytest.fixture
def mirror(world):
    with MirrorServer(world.repository.files, lambda: world.cloud.faults) as server:
        yield server


@pytest.mark.parametrize("by", ["gateway", "mirror"])
async def test_each_attack_is_refused_with_its_own_reason_and_the_old_release_serves_on(
    harness, cloud, world, root, mirror, impatient, by
):
    world.release()()
    await harness.start(releases={"trusted_root": root, "mirror": mirror.url if by == "mirror" else ""})
    await cloud.until_active(1)
    found = {}
    for name, (attack, _) in ATTACKS.items():
        attack(world)
        number = world.number
        await cloud.until(lambda: any(number in dict(task.refused) for task in cloud.last_tasks()))  # noqa: B023
        found[name] = dict(cloud.last_tasks()[0].refused)[number].partition(":")[0]
        answer = await harness.ask("light")
        assert (answer.text, answer.provenance.release) == ("lights", 1)
        world.restore()
    assert found == {name: refusal for name, (_, refusal) in ATTACKS.items()}
    world.release()()
    await cloud.until_active(world.number)  # it holds nothing against the next release


async def test_a_wrong_clock_is_told_in_place_of_expired_metadata(harness, cloud, world, root):
    world.release()()
    await harness.start(releases={"trusted_root": root})
    await cloud.until_active(1)
    cloud.ahead = 400 * 86_400.0  # by which the cloud's clock is ahead of the device's
    await cloud.until(lambda: cloud.reports[-1].state == "clock_behind")
    expired("timestamp")(world)
    await cloud.until(lambda: any(task.refused for task in cloud.last_tasks()))
    ((_, reason),) = cloud.last_tasks()[0].refused
    assert reason.startswith("wrong clock: this device's is behind")
    assert (await harness.ask("light")).provenance.release == 1


async def test_an_order_can_not_lower_the_exploration_below_the_signed_floor(harness, cloud, world, root):
    world.release()()
    await harness.start(releases={"trusted_root": root})
    await cloud.until_active(1)
    assert cloud.orders[TASK.name].exploration == 0.0
    assert harness.report().exploration == TASK.exploration.floor


async def test_keys_that_are_rotated_are_followed_by_the_first_root_alone(harness, cloud, world, root):
    for role in ("timestamp", "targets", "root"):
        world.repository.rotate(role)
    world.release()()
    await harness.start(releases={"trusted_root": root})
    await cloud.until_active(1)
    assert [file for _, _, file, _ in cloud.fetches[:5]] == [
        *("2.root.json", "3.root.json", "4.root.json", "5.root.json", "timestamp.json")
    ]


@pytest.mark.parametrize("by", ["gateway", "mirror"])
async def test_a_fetch_goes_on_at_the_byte_and_what_lies_here_is_not_fetched_again(
    harness, cloud, world, root, mirror, by
):
    world.release()()
    releases = {"trusted_root": root, "mirror": mirror.url if by == "mirror" else ""}
    await harness.start(releases=releases)
    await cloud.until_active(1)
    await harness.stop()
    world.release()
    manifest, files = tiny_release(TASK, 2, WORDS, padding=40_008)
    part = harness.folder / "tasks" / "home" / "parts" / manifest.files["padding.bin"].sha256
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(files["padding.bin"][:30_000])
    cloud.fetches.clear()
    mirror.asked.clear()
    world.offer(Order(TASK.name, 2, digest(world.data), 0.0, may_leave=True), files, world.data)
    await harness.start(releases=releases)
    await cloud.until_active(2)
    got = mirror.asked if by == "mirror" else [(file, offset) for _, _, file, offset in cloud.fetches]
    files_got = [(name, start) for name, start in got if not name.endswith(".json")]
    assert [start for _, start in files_got] == [30_000]  # of all four files, the rest of one


async def test_an_expired_repository_leaves_the_installed_release_alone_at_a_start(harness, cloud, world, root):
    world.release()()
    await harness.start(releases={"trusted_root": root})
    await cloud.until_active(1)
    await harness.stop()
    expired("timestamp")(world)
    await harness.start(releases={"trusted_root": root})
    await harness.until_serving()
    await cloud.until(lambda: any(task.refused for task in cloud.last_tasks()))
    assert (await harness.ask("light")).provenance.release == 1


def test_a_mirror_needs_a_root_and_a_root_must_be_one(tmp_path):
    from edge_agent.config import Config
    from edge_agent.parts.updates import Updates
    from router.core.errors import ConfigError

    def updates(**releases):
        config = Config(device="d", data=tmp_path, upstream={"target": "127.0.0.1:1"}, releases=releases)
        return Updates(config, None, None, lambda: None, lambda: "ok", insecure=True)

    (tmp_path / "other.json").write_text('{"signed": {"_type": "targets"}}')
    for releases, said in (
        ({"mirror": "https://mirror.example"}, "releases.mirror.*needs a root"),
        ({"trusted_root": tmp_path / "none.json"}, "releases.trusted_root.*can't be read"),
        ({"trusted_root": tmp_path / "other.json"}, "releases.trusted_root.*no root.json"),
    ):
        with pytest.raises(ConfigError, match=said):
            updates(**releases)
    with pytest.raises(ValueError, match="plain http is for this machine only"):
        updates(mirror="http://mirror.example")
    assert not updates().manifests.are_signed
