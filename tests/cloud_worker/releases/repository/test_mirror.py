"""A mirror, served by a plain web server, and read by a TUF client over HTTP."""

import functools
import hashlib
import http.server
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.mirror import Mirror
from cloud_worker.releases.repository.testing import SignedCloud
from cloud_worker.releases.rollback import roll_back
from cloud_worker.state.store import ReleaseRow
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.task import Task
from router.core.errors import OperatorError
from router.core.release.manifest import read_manifest
from router.core.release.signed_task import manifest_target, task_target


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class OverHttp(FetcherInterface):
    def _fetch(self, url):
        try:
            with urllib.request.urlopen(url, timeout=120) as answer:
                yield answer.read()
        except urllib.error.HTTPError as error:
            raise DownloadHTTPError(str(error), error.code) from error


@pytest.fixture
def cloud(tmp_path):
    """A release with a student, and one that brings its content back."""
    cloud = SignedCloud.in_folder(tmp_path)
    publisher = Publisher(cloud.config.releases_folder)
    manifest, files = tiny_release(Task("home", "big"), 1, WORDS)
    sha256 = publisher.publish(manifest, files)
    cloud.store.add_release(ReleaseRow("home", 1, "building", sha256, 1.0))
    cloud.store.promote("home", 1, sha256)
    roll_back(cloud.store, publisher, Task("home", "big"), 1)
    return cloud.make_keys()


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site").mkdir()
    handler = functools.partial(Quiet, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield tmp_path / "site", f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def mirror(cloud, folder):
    return Mirror(cloud.files, cloud.config.releases_folder, folder).write()


def device(cloud, folder, url):
    for name in ("metadata", "targets"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    updater = Updater(
        str(folder / "metadata"),
        f"{url}metadata/",
        str(folder / "targets"),
        f"{url}targets/",
        fetcher=OverHttp(),
        bootstrap=cloud.files.root_bytes(),
    )
    updater.refresh()
    return updater


def test_a_device_finds_on_a_web_server_what_it_finds_at_a_gateway(cloud, site, tmp_path):
    folder, url = site
    done = mirror(cloud, folder)
    assert (done.releases, done.missing) == (3, [])
    updater = device(cloud, tmp_path / "device", url)
    for path in (task_target("home"), manifest_target("home", 2)):
        data = Path(updater.download_target(updater.get_targetinfo(path))).read_bytes()
    manifest = read_manifest(data)
    assert len(manifest.files) == done.files > 0  # of two releases, each once
    for file in manifest.files.values():
        data = urllib.request.urlopen(f"{url}files/{file.sha256}", timeout=120).read()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.rglob("*") if path.is_file())


def test_a_mirror_that_is_up_to_date_copies_nothing_and_drops_what_nothing_names(cloud, site):
    folder, _ = site
    mirror(cloud, folder)
    assert mirror(cloud, folder).copied == 0
    (folder / "files" / ("0" * 64)).write_text("of a release that is gone")
    (folder / "index.html").write_text("mine")
    cloud.another_release()
    cloud.sign()
    done = mirror(cloud, folder)
    assert (done.releases, done.removed) == (4, 1)
    assert done.copied == 4  # the manifest, and three of metadata: no file of the release
    assert (folder / "index.html").exists()


def test_what_a_mirror_changes_a_device_refuses(cloud, site, tmp_path):
    folder, url = site
    mirror(cloud, folder)
    before = (folder / "metadata" / "timestamp.json").read_bytes()
    cloud.another_release()
    cloud.sign(2_000_000_000)
    mirror(cloud, folder)
    updater = device(cloud, tmp_path / "device", url)
    [manifest] = (folder / "targets" / "models" / "home" / "2").iterdir()
    manifest.write_bytes(manifest.read_bytes().replace(b"home", b"mine"))
    with pytest.raises(RepositoryError):
        updater.download_target(updater.get_targetinfo(manifest_target("home", 2)))
    (folder / "metadata" / "timestamp.json").write_bytes(before)
    with pytest.raises(RepositoryError):
        device(cloud, tmp_path / "device", url)


def test_a_spoilt_file_of_a_release_never_comes_to_a_mirror(cloud, site):
    folder, _ = site
    spoilt = cloud.config.releases_folder / "home" / "1" / "tokenizer.json"
    spoilt.write_bytes(b"x" + spoilt.read_bytes()[1:])
    done = mirror(cloud, folder)
    assert ["is not what was signed" in line for line in done.missing] == [True]
    assert not [path for path in folder.rglob("*") if "unfinished" in path.name]


def test_without_keys_there_is_nothing_to_mirror(tmp_path):
    with pytest.raises(OperatorError, match="keys init"):
        mirror(SignedCloud.in_folder(tmp_path), tmp_path / "site")
