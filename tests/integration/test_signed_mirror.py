"""What a cloud signs and mirrors is what a device believes: both sides' own code, over HTTP."""

import pytest

from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.mirror import Mirror
from cloud_worker.releases.repository.testing import SignedCloud
from cloud_worker.state.store import ReleaseRow
from edge_agent.releases.downloading import fetch_part
from edge_agent.releases.sources.mirror import MirrorSource
from edge_agent.releases.sources.source import ReleaseFile
from edge_agent.releases.trust.manifests import Manifests
from edge_agent.tasks.refusals import Refusal, RefusedError
from edge_agent.tasks.slots import Slots
from edge_agent.testing.faults import Faults
from edge_agent.testing.mirror_server import MirrorServer
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.task import Task
from router.core.release.manifest import read_manifest
from router.core.release.orders import Order


@pytest.mark.parametrize("name", ["home", "lamps #2, 50% off & more"])
async def test_a_device_takes_from_a_mirror_what_its_cloud_signed_and_nothing_else(name, tmp_path):
    cloud = SignedCloud.in_folder(tmp_path, tasks=[Task(name, "big")])
    publisher = Publisher(cloud.config.releases_folder)
    manifest, files = tiny_release(Task(name, "big"), 1, WORDS)
    sha256 = publisher.publish(manifest, files)
    cloud.store.add_release(ReleaseRow(name, 1, "building", sha256, 1.0))
    cloud.store.promote(name, 1, sha256)
    repository = cloud.make_keys().files
    site = tmp_path / "site"
    Mirror(repository, cloud.config.releases_folder, site).write()
    tree = {path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    root, slots = tree["metadata/1.root.json"], Slots(tmp_path / "device" / "slots")
    with MirrorServer(tree, Faults) as mirror:
        source = MirrorSource.at(mirror.url)
        manifests = Manifests(tmp_path / "device" / "repository", lambda: root, source, lambda: "ok")
        signed = read_manifest(await manifests.ordered(Order(name, 1, sha256, 0.0)))
        for part, file in slots.missing(signed).items():
            await fetch_part(source, slots, ReleaseFile(name, 1, part, file))
        assert slots.missing(signed) == {}
        with pytest.raises(RefusedError) as refused:
            await manifests.ordered(Order(name, 2, sha256, 0.0))
        assert refused.value.refusal is Refusal.UNSIGNED
        await source.close()
