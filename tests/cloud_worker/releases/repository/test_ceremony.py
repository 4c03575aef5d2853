"""What owners of offline keys do: make, sign, rotate, approve; and what a thief of a key can and can't."""

import json
import shutil
import time
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, TargetFile
from tuf.api.serialization.json import JSONSerializer

from cloud_worker.config.releases import Approval
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository import files, keys, offline
from cloud_worker.releases.repository.approval import promote_approved
from cloud_worker.releases.repository.files import MODELS, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from cloud_worker.releases.repository.keys import key_by_uri, open_key, read_list
from cloud_worker.releases.repository.offline import Waiting
from cloud_worker.releases.repository.testing import OFFLINE_PASSPHRASE, ONLINE_PASSPHRASE, SignedCloud
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow
from router.core.domain.task import Exploration, Objective
from router.core.errors import ConfigError, OperatorError
from router.core.release.signed_task import manifest_target, read_signed_task, task_target
from router.io.atomic_write import write_whole

DAY = 86_400.0


@pytest.fixture
def cloud(tmp_path):
    return SignedCloud.in_folder(tmp_path).make_keys()


@pytest.fixture
def shared(tmp_path):
    """Three owners, two of whom must sign."""
    owners = [tmp_path / name for name in "abc"]
    return SignedCloud.in_folder(tmp_path).make_keys(*owners, threshold=2)


def changed_task(cloud, **changes):
    return {"tasks": (replace(cloud.config.tasks[0], **changes),)}


def test_keys_are_encrypted_readable_by_their_owner_alone_and_made_once(cloud):
    keys = [*cloud.config.keys_folder.glob("*.key"), *cloud.owners[0].glob("*.key")]
    assert sorted(path.name for path in keys) == [
        "release-models.key",
        "release-online.key",
        "release-root.key",
        "release-targets.key",
    ]
    for path in keys:
        assert path.stat().st_mode & 0o077 == 0
        with pytest.raises(TypeError):
            serialization.load_pem_private_key(path.read_bytes(), None)
    with pytest.raises(ConfigError, match="has keys already"):
        cloud.ceremony().make(1)
    with pytest.raises(ConfigError, match="passphrase is not that"):
        open_key(cloud.config.keys_folder, read_list(cloud.config.keys_folder)[0], OFFLINE_PASSPHRASE)


def test_a_threshold_is_met_by_owners_one_after_the_other(shared):
    a, _, c = shared.owners
    changes = changed_task(shared, objective=Objective(max_disagreement=0.01))
    before = shared.files.latest(TARGETS).signed.version
    assert shared.ceremony(a, **changes).sign() == 1
    assert shared.ceremony(a, **changes).sign() == 1  # again, which adds nothing
    assert [(one.role, one.have, one.need) for one in shared.ceremony(a).waiting()] == [(TARGETS, 1, 2)]
    shared.sign()
    assert shared.files.latest(TARGETS).signed.version == before
    shared.ceremony(c, **changes).sign()
    shared.sign()
    assert shared.ceremony(a).waiting() == []
    signed = read_signed_task(shared.device().fetch(task_target("home")))
    assert signed.objective.max_disagreement == 0.01


def test_what_waits_is_signed_only_as_the_owner_has_it(shared):
    """Somebody on the cloud's machine changes what waits between two signatures: the first one is worth nothing."""
    a, b, _ = shared.owners
    stricter = changed_task(shared, objective=Objective(max_disagreement=0.01))
    shared.ceremony(a, **stricter).sign()
    waiting = shared.config.keys_folder / "staged" / "targets.json"
    changed = Metadata.from_file(str(waiting))
    changed.signed.targets["tasks/home.json"] = TargetFile.from_data("tasks/home.json", b"{}", ["sha256"])
    changed.to_file(str(waiting))
    shared.ceremony(b, **stricter).sign()
    assert [(one.have, one.need) for one in shared.ceremony(a).waiting()] == [(1, 2)]


def test_a_root_is_rotated_by_old_and_new_keys_and_devices_of_years_follow(shared, tmp_path):
    a, _, c = shared.owners
    d, e = tmp_path / "d", tmp_path / "e"
    old = shared.device("old")
    old.updater()
    shared.ceremony(a).rotate(ROOT, shared.ceremony(d, e).folders, 2)
    shared.sign()
    assert shared.files.versions(ROOT) == [1]  # one of two old keys has signed
    shared.ceremony(c).sign()
    shared.sign()
    assert shared.files.versions(ROOT) == [1, 2]
    shared.ceremony(a, c).rotate(ROOT, shared.ceremony(a, c).folders, 2)  # their old keys count no more
    shared.ceremony(d).sign()
    shared.sign()
    assert shared.files.versions(ROOT) == [1, 2]
    shared.ceremony(e).sign()
    shared.sign()
    assert shared.files.versions(ROOT) == [1, 2, 3]
    assert old.fetch(manifest_target("home", 0)) is not None
    assert shared.device("new").fetch(manifest_target("home", 0)) is not None


def test_keys_of_tasks_are_rotated_with_what_they_signed(cloud):
    device = cloud.device()
    device.updater()
    before = cloud.files.root().signed.roles[TARGETS].keyids
    cloud.ceremony().rotate(TARGETS, (), None)
    cloud.sign()
    assert cloud.files.root().signed.roles[TARGETS].keyids != before
    assert device.fetch(task_target("home")) is not None


@pytest.mark.parametrize("role", ["online", MODELS])
def test_an_online_key_is_rotated(cloud, role):
    device = cloud.device()
    device.updater()
    cloud.ceremony().rotate(role, (), None)
    cloud.sign()
    assert device.fetch(manifest_target("home", 0)) is not None


def online_signer(cloud, role):
    [key] = [key for key in read_list(cloud.config.keys_folder) if key.role == role]
    return open_key(cloud.config.keys_folder, key, ONLINE_PASSPHRASE)


def forge(cloud, role, change, *signers):
    """Write the next version of a role as a thief does who has the cloud's disk and some keys."""
    metadata = cloud.files.latest(role)
    metadata.signed.version += 1
    change(metadata.signed)
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    cloud.files.write(role, metadata)
    return metadata.signed.version


def join(cloud, **versions):
    """Join metadata into a list, and say that it is the newest."""
    online = online_signer(cloud, "online")
    meta = {f"{role}.json": MetaFile(version) for role, version in versions.items()}
    number = forge(cloud, SNAPSHOT, lambda signed: signed.meta.update(meta), online)
    forge(cloud, TIMESTAMP, lambda signed: setattr(signed, "snapshot_meta", MetaFile(number)), online)


def test_whoever_has_all_online_keys_changes_no_privacy_no_floor_and_no_objective(cloud):
    device = cloud.device()
    honest = device.fetch(task_target("home"))
    thief = [online_signer(cloud, "online"), online_signer(cloud, MODELS)]
    task = cloud.config.tasks[0]
    worse = replace(task, exploration=Exploration(floor=0.0), objective=Objective(0.5), log_by_default=False)
    data = json.dumps(worse, default=str).encode()
    forged = TargetFile.from_data(task_target("home"), data, ["sha256"])
    cloud.files.write_statement("home", data)

    version = forge(cloud, TARGETS, lambda signed: signed.targets.update({forged.path: forged}), *thief)
    join(cloud, targets=version)
    with pytest.raises(UnsignedMetadataError):
        device.updater()

    (cloud.files.metadata / f"{version}.targets.json").unlink()
    listed = forge(cloud, MODELS, lambda signed: signed.targets.update({forged.path: forged}), *thief)
    join(cloud, targets=cloud.files.latest(TARGETS).signed.version, models=listed)
    assert cloud.device("new").fetch(task_target("home")) == honest


def test_who_has_the_timestamp_key_alone_signs_no_release(cloud):
    online = online_signer(cloud, "online")
    forged = TargetFile.from_data(manifest_target("home", 9), b"{}", ["sha256"])
    version = forge(cloud, MODELS, lambda signed: signed.targets.update({forged.path: forged}), online)
    join(cloud, models=version)
    device = cloud.device()
    with pytest.raises(UnsignedMetadataError):
        device.fetch(manifest_target("home", 9))


def test_devices_recover_from_a_thief_who_went_ahead_of_all_versions(cloud):
    """Versions that a thief made as high as they go stop no update once the stolen keys are replaced."""
    device, far = cloud.device(), 2**40
    thief = online_signer(cloud, "online"), online_signer(cloud, MODELS)
    models = forge(cloud, MODELS, lambda signed: setattr(signed, "version", far), thief[1])
    number = forge(
        cloud,
        SNAPSHOT,
        lambda signed: (setattr(signed, "version", far), signed.meta.update({"models.json": MetaFile(models)})),
        thief[0],
    )
    forge(
        cloud,
        TIMESTAMP,
        lambda signed: (setattr(signed, "version", far), setattr(signed, "snapshot_meta", MetaFile(number))),
        thief[0],
    )
    device.fetch(manifest_target("home", 0))
    for path in cloud.files.metadata.glob(f"{far}.*"):
        path.unlink()
    cloud.files.metadata.joinpath("timestamp.json").unlink()
    cloud.sign()
    with pytest.raises(RepositoryError):
        device.updater()
    cloud.ceremony().rotate(MODELS, (), None)
    cloud.ceremony(now=time.time() + 5).rotate("online", (), None)
    cloud.sign()
    assert device.fetch(manifest_target("home", 0)) is not None


def test_old_metadata_that_is_played_again_is_refused(cloud, tmp_path):
    device = cloud.device()
    shutil.copytree(cloud.files.metadata, tmp_path / "recorded")
    cloud.another_release()
    cloud.sign(time.time() + 10)
    device.updater()
    shutil.copy(tmp_path / "recorded" / "timestamp.json", cloud.files.metadata / "timestamp.json")
    with pytest.raises(RepositoryError):
        device.updater()


def test_keys_elsewhere_sign_by_their_uris(tmp_path):
    cloud = SignedCloud.in_folder(tmp_path)
    given = []
    for role in (ROOT, TARGETS, "online", MODELS):
        signer = CryptoSigner.generate_ecdsa() if role == ROOT else CryptoSigner.generate_ed25519()
        (tmp_path / f"{role}.pem").write_bytes(signer.private_bytes)
        public = (
            serialization.load_pem_private_key(signer.private_bytes, None)
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        (tmp_path / f"{role}.pub").write_bytes(public)
        given.append(key_by_uri(role, f"file2:{tmp_path / role}.pem", tmp_path / f"{role}.pub"))
    cloud.owners = (tmp_path / "owner",)
    ceremony = replace(cloud.ceremony(), elsewhere=given)
    ceremony.make(1)
    cloud.sign()
    assert list(tmp_path.glob("**/*.key")) == []
    assert cloud.device().fetch(manifest_target("home", 0)) is not None
    (tmp_path / f"{ROOT}.pem").unlink()
    with pytest.raises(ConfigError, match="not there"):
        cloud.ceremony().rotate(ROOT, (), None)
    with pytest.raises(ConfigError, match="known are"):
        key_by_uri(ROOT, "carrier-pigeon:1", tmp_path / f"{ROOT}.pub")


def certified(cloud):
    """A release that waits for approval, as a refresh leaves it."""
    publisher, number = Publisher(cloud.config.releases_folder), cloud.store.next_release("home")
    manifest = replace(publisher.manifest("home", 0), number=number)
    row = ReleaseRow("home", number, ReleaseState.APPROVAL, publisher.publish(manifest, {}), time.time())
    cloud.store.add_release(row)
    return number


def test_by_hand_a_release_waits_for_the_offline_key(tmp_path):
    cloud = SignedCloud.in_folder(tmp_path, approval="manual").make_keys()
    assert not list(cloud.config.keys_folder.glob("release-models*"))
    device = cloud.device()
    first, second = certified(cloud), certified(cloud)
    cloud.sign()
    promote_approved(cloud.store, cloud.config.tasks, cloud.files, lambda task, number: None)
    assert (device.fetch(manifest_target("home", first)), cloud.store.champion("home")) == (None, 0)
    cloud.ceremony().sign()  # for tasks: approves nothing
    assert device.fetch(manifest_target("home", first)) is None
    cloud.ceremony().approve(lambda path: path == manifest_target("home", first))
    cloud.sign()
    assert device.fetch(manifest_target("home", first)) is not None
    assert device.fetch(manifest_target("home", second)) is None
    promote_approved(cloud.store, cloud.config.tasks, cloud.files, lambda task, number: None)
    assert cloud.store.champion("home") == first
    assert cloud.store.task_state("home").exploration == cloud.config.tasks[0].exploration.floor


def test_by_hand_what_was_approved_is_signed_again_before_it_ends(tmp_path):
    now = time.time()
    cloud = SignedCloud.in_folder(tmp_path, approval="manual").make_keys(now=now - 80 * DAY)
    first, second = certified(cloud), certified(cloud)
    cloud.ceremony(now=now - 79 * DAY).approve(lambda path: path == manifest_target("home", first))
    cloud.sign(now)
    assert cloud.ceremony(now=now).sign() == 1
    cloud.sign(now)
    assert cloud.files.latest(MODELS).signed.expires.timestamp() > now + 89 * DAY
    device = cloud.device()
    assert device.fetch(manifest_target("home", first)) is not None
    assert device.fetch(manifest_target("home", second)) is None


def test_a_key_of_releases_goes_offline_and_comes_back(cloud):
    device = cloud.device()
    device.updater()
    by_hand = {"releases": cloud.config.releases.model_copy(update={"approval": Approval.MANUAL})}
    cloud.ceremony(**by_hand).rotate(MODELS, (), None)
    number = cloud.another_release()
    cloud.sign()
    assert device.fetch(manifest_target("home", number)) is None
    assert device.fetch(manifest_target("home", 0)) is not None
    cloud.ceremony().rotate(MODELS, (), None)
    cloud.sign()
    assert device.fetch(manifest_target("home", number)) is not None


def test_offline_metadata_is_signed_anew_in_the_second_half_of_its_days(tmp_path):
    now = time.time()
    cloud = SignedCloud.in_folder(tmp_path).make_keys(now=now - 200 * DAY)
    cloud.ceremony(now=now - 100 * DAY).sign()
    assert (cloud.files.versions(ROOT), len(cloud.files.versions(TARGETS))) == ([1], 1)
    cloud.ceremony(now=now).sign()
    cloud.sign(now)
    assert (cloud.files.versions(ROOT), len(cloud.files.versions(TARGETS))) == ([1, 2], 2)
    for role in (ROOT, TARGETS):
        assert cloud.files.latest(role).signed.expires.timestamp() > now + 364 * DAY


def test_an_online_key_that_is_lost_is_replaced(cloud):
    device = cloud.device()
    device.updater()
    (cloud.config.keys_folder / "release-online.key").unlink()
    with pytest.raises(ConfigError, match="not there"):
        cloud.sign()
    cloud.ceremony(now=time.time() + 5).rotate("online", (), None)
    cloud.sign()
    assert device.fetch(manifest_target("home", 0)) is not None


def test_a_service_that_does_not_sign_is_named(cloud):
    signer = online_signer(cloud, MODELS)
    signer.sign = lambda payload: (_ for _ in ()).throw(TimeoutError("no answer"))
    with pytest.raises(OperatorError, match="does not sign: no answer"):
        keys.add_signature(cloud.files.latest(MODELS), signer)


def test_a_root_that_has_ended_is_signed_anew_and_devices_go_on(tmp_path):
    now = time.time()
    cloud = SignedCloud.in_folder(tmp_path).make_keys(now=now - 400 * DAY)
    device = cloud.device()
    cloud.sign(now)
    with pytest.raises(ExpiredMetadataError):
        device.updater()
    cloud.ceremony(now=now).sign()
    cloud.sign(now)
    assert device.fetch(manifest_target("home", 0)) is not None


class KilledError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("role", [ROOT, TARGETS, "online", MODELS])
def test_a_rotation_that_was_cut_off_between_any_two_files_is_finished(tmp_path, role, monkeypatch):
    """Devices read the repository at that moment, and after the gateway or the same command has gone on."""
    written = write_whole
    cut_off = 0
    for files_written in range(12):
        cloud = SignedCloud.in_folder(tmp_path / f"{files_written}").make_keys()
        device = cloud.device()
        device.updater()
        left = [files_written]

        def write(path, data, left=left):
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            written(path, data)

        with monkeypatch.context() as patched:
            for module in (keys, offline, files):
                patched.setattr(module, "write_whole", write)
            try:
                cloud.ceremony().rotate(role, (), None)
                cloud.sign()
            except KilledError:
                cut_off += 1
        assert device.fetch(manifest_target("home", 0)) is not None  # at any moment
        cloud.sign()
        assert device.fetch(manifest_target("home", 0)) is not None
        cloud.ceremony().sign()
        cloud.sign()
        assert device.fetch(manifest_target("home", 0)) is not None
        cloud.ceremony(now=time.time() + 100).rotate(role, (), None)
        cloud.sign()
        assert device.fetch(manifest_target("home", 0)) is not None
        assert cloud.ceremony().waiting() == []
        if left[0] > 0:
            break
    assert cut_off >= 4


def test_what_waits_is_told(shared):
    a, *_ = shared.owners
    shared.ceremony(a, **changed_task(shared, local_only=True)).sign()
    [waiting] = shared.ceremony(a).waiting()
    assert waiting == Waiting(TARGETS, waiting.version, 1, 2)
    [change] = shared.ceremony(a, **changed_task(shared, local_only=True)).changes()
    assert change == "home: local_only is True, was signed as False"


def test_a_threshold_beyond_the_owners_is_refused(tmp_path):
    cloud = SignedCloud.in_folder(tmp_path)
    with pytest.raises(ConfigError, match="--threshold"):
        cloud.ceremony(tmp_path / "a").make(2)
    assert not cloud.files.is_there


def test_metadata_is_written_as_devices_read_it(cloud):
    root = Metadata.from_bytes(cloud.files.root_bytes())
    assert root.signed.consistent_snapshot is True
    assert cloud.files.latest(TARGETS).signed.delegations.roles[MODELS].terminating is True
    for role in (TARGETS, MODELS):
        for target in cloud.files.latest(role).signed.targets.values():
            assert target.length > 0
            assert set(target.hashes) == {"sha256"}
    assert root.to_bytes(JSONSerializer(compact=False)) == cloud.files.root_bytes()
