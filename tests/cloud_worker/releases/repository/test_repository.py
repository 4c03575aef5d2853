"""The repository that a cloud writes, read by a real TUF client."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata

from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository import files
from cloud_worker.releases.repository.files import MODELS, SNAPSHOT, TIMESTAMP
from cloud_worker.releases.repository.signed import SignedReleases
from cloud_worker.releases.repository.testing import FolderFetcher, SignedCloud, TufDevice
from router.core.domain.task import Objective, Task
from router.core.errors import ConfigError
from router.core.release.manifest import read_manifest
from router.core.release.signed_task import manifest_target, read_signed_task, task_target

DAY = 86_400.0


@pytest.fixture
def cloud(tmp_path):
    return SignedCloud.in_folder(tmp_path).make_keys()


def test_a_device_finds_what_is_signed_of_a_task_and_its_release(cloud):
    device = cloud.device()
    assert read_signed_task(device.fetch(task_target("home"))) == replace(cloud.config.tasks[0])
    assert read_manifest(device.fetch(manifest_target("home", 0))).task.name == "home"
    assert device.fetch(manifest_target("home", 1)) is None


def test_a_release_is_signed_once_it_serves_and_the_same_state_changes_nothing(cloud):
    device = cloud.device()
    assert cloud.another_release() == 1
    assert device.fetch(manifest_target("home", 1)) is None
    cloud.sign()
    before = sorted(path.name for path in cloud.files.metadata.iterdir())
    cloud.sign()
    assert sorted(path.name for path in cloud.files.metadata.iterdir()) == before
    assert read_manifest(device.fetch(manifest_target("home", 1))).content == 0


def test_what_was_never_promoted_is_never_signed(cloud):
    publisher = Publisher(cloud.config.releases_folder)
    publisher.publish(replace(publisher.manifest("home", 0), number=7), {})
    cloud.sign()
    assert cloud.device().fetch(manifest_target("home", 7)) is None


def test_a_manifest_that_was_changed_on_the_disk_is_not_signed(cloud):
    number = cloud.another_release()
    path = cloud.config.releases_folder / "home" / str(number) / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"home"', b'"mine"'))
    left_out = cloud.sign().left_out
    assert "not the one" in left_out["home", number]
    assert cloud.device().fetch(manifest_target("home", number)) is None


def test_a_release_that_promises_less_than_was_signed_is_left_out(cloud):
    looser = replace(cloud.config.tasks[0], objective=Objective(max_disagreement=0.5))
    cloud.config = cloud.config.model_copy(update={"tasks": (looser,)})
    number = cloud.another_release()
    assert "objective" in cloud.sign().left_out["home", number]
    assert cloud.device().fetch(manifest_target("home", number)) is None
    assert cloud.ceremony().sign() == 1
    assert cloud.sign().left_out == {}
    assert read_signed_task(cloud.device().fetch(task_target("home"))).objective.max_disagreement == 0.5
    assert cloud.device().fetch(manifest_target("home", number)) is not None


def test_metadata_is_signed_anew_before_half_of_its_days_have_passed(tmp_path):
    now = time.time()
    cloud = SignedCloud.in_folder(tmp_path).make_keys(now=now - 100 * DAY)
    with pytest.raises(ExpiredMetadataError):
        cloud.device().updater()
    versions = {}
    for hours in (0, 1, 11, 13, 24, 5 * 24, 44 * 24, 46 * 24):
        at = now - 100 * DAY + hours * 3600
        cloud.sign(at)
        for role in (TIMESTAMP, SNAPSHOT, MODELS):
            left = cloud.files.latest(role).signed.expires.timestamp() - at
            assert left > 0.5 * cloud.config.releases.days(role) * DAY - 1
        versions[hours] = tuple(cloud.files.latest(role).signed.version for role in (TIMESTAMP, SNAPSHOT, MODELS))
    assert versions[0] == versions[11] != versions[13]
    assert versions[13][1:] == versions[24][1:] != versions[5 * 24][1:]
    assert versions[44 * 24][2] == versions[0][2] != versions[46 * 24][2]
    cloud.sign(now)
    assert cloud.device().fetch(manifest_target("home", 0)) is not None


def test_a_restored_backup_is_not_taken_for_a_rollback(cloud, tmp_path):
    now, device = time.time(), cloud.device()
    shutil.copytree(cloud.config.repository_folder, tmp_path / "backup")
    for hours in range(1, 4):
        cloud.another_release()
        cloud.sign(now + 3600 * hours)
    device.updater()
    shutil.rmtree(cloud.config.repository_folder)
    shutil.copytree(tmp_path / "backup", cloud.config.repository_folder)
    with pytest.raises(RepositoryError):
        device.updater()
    cloud.sign(now + 5 * 3600)
    assert device.fetch(manifest_target("home", 3)) is not None


def test_what_is_signed_is_told_as_devices_find_it(cloud):
    signed = SignedReleases(cloud.files)
    first = cloud.store.task_state("home").manifest_sha256
    assert signed.now().holds("home", 0, first)
    assert not signed.now().holds("home", 0, "0" * 64)
    number = cloud.another_release()
    assert signed.now().before("home", number) == (0, first)
    cloud.sign()
    assert signed.now().holds("home", number, cloud.store.task_state("home").manifest_sha256)
    assert SignedReleases(SignedCloud.in_folder(cloud.config.data / "other").files).now() is None


def test_a_damaged_file_stops_the_signer_and_is_named(cloud):
    newest = max(cloud.files.metadata.glob("*.models.json"))
    newest.write_bytes(newest.read_bytes()[:100])
    cloud.another_release()
    with pytest.raises(ConfigError, match=newest.name):
        cloud.sign()


def killed_after(files_written, folder):
    """Promote and sign in another process, which is killed before it writes one file more; how it ended."""
    child = os.fork()
    if child == 0:
        try:
            left, written = [files_written], files.write_whole

            def write(path, data):
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                written(path, data)

            files.write_whole = write
            cloud = SignedCloud.in_folder(folder)
            cloud.another_release()
            cloud.sign()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("files_written", [0, 1, 2, 3])
def test_a_kill_between_any_two_files_leaves_a_whole_repository(tmp_path, cloud, files_written):
    device = cloud.device()
    device.updater()
    assert killed_after(files_written, tmp_path) == (-signal.SIGKILL if files_written < 3 else 0)
    seen = device.fetch(manifest_target("home", 1))
    assert (seen is not None) == (files_written == 3)
    assert device.fetch(manifest_target("home", 0)) is not None
    cloud.sign()
    assert device.fetch(manifest_target("home", 1)) is not None
    assert TufDevice(tmp_path / "new", cloud.files.root_bytes(), FolderFetcher(cloud.config)).updater()


def test_several_signers_at_once_leave_one_history(tmp_path, cloud):
    script = (
        "import sys; from pathlib import Path; from cloud_worker.releases.repository.testing import SignedCloud\n"
        "cloud = SignedCloud.in_folder(Path(sys.argv[1]))\n"
        "for at in range(5):\n    cloud.sign(2_000_000_000 + at * 100_000)\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=os.environ) for _ in range(2)]
    assert [run.wait(120) for run in runs] == [0, 0]
    snapshots = cloud.files.versions(SNAPSHOT)
    assert cloud.files.latest(TIMESTAMP).signed.snapshot_meta.version == snapshots[-1]
    for version in snapshots:
        assert Metadata.from_file(str(cloud.files.metadata / f"{version}.snapshot.json")).signed.version == version


def test_tasks_of_one_cloud_share_its_repository(tmp_path):
    cloud = SignedCloud.in_folder(tmp_path, tasks=(Task("home", "big"), Task("a b #1", "big"))).make_keys()
    device = cloud.device()
    for name in ("home", "a b #1"):
        assert read_signed_task(device.fetch(task_target(name))).name == name
