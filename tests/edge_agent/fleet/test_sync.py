"""What a device says of itself, hears, and keeps."""

import asyncio
import json

from edge_agent.tasks.orders import KeptOrders, load_orders, save_orders
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.query import Tier
from router.core.release.orders import Order, Orders

ORDER = Order("home", 3, "ab" * 32, 0.25, threshold=0.75, threshold_version=4)


def test_a_standing_is_kept_and_read_again(tmp_path):
    kept_orders = KeptOrders(bytes(range(32)), (ORDER,), heard=True)
    save_orders(tmp_path / "standing.json", kept_orders)
    assert load_orders(tmp_path / "standing.json") == kept_orders
    assert (tmp_path / "standing.json").stat().st_mode & 0o077 == 0


def test_a_standing_that_can_not_be_read_is_as_good_as_none(tmp_path):
    assert load_orders(tmp_path / "standing.json") == KeptOrders()
    for content in ("", "{", "[]", '{"seed": "xyz", "orders": []}', '{"seed": "", "orders": [{}]}'):
        (tmp_path / "standing.json").write_text(content)
        assert load_orders(tmp_path / "standing.json") == KeptOrders()


def test_a_seed_is_taken_only_when_it_is_one():
    kept_orders = KeptOrders(b"s" * 32)
    assert kept_orders.after(Orders()).seed == b"s" * 32
    assert kept_orders.after(Orders(seed=b"short")).seed == b"s" * 32
    assert kept_orders.after(Orders(seed=b"t" * 32)).seed == b"t" * 32


async def test_a_report_says_what_the_device_is_and_does(warm, cloud):
    report = cloud.reports[-1]
    assert (report.device, report.state) == ("device-1", "ok")
    assert report.formats == ("compact", "encoder-head", "generator", "served")
    assert report.agent_version
    assert report.free_disk_bytes > 0
    assert report.memory_bytes > 0
    assert (report.tasks[0].task, report.tasks[0].active_release) == ("home", 1)


async def test_an_agent_that_starts_offline_serves_what_it_had(warm, cloud):
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    await warm.stop()
    await cloud.stop()
    await warm.start()
    answer = await warm.ask("light", seconds=2)
    assert (answer.provenance.tier, answer.provenance.release) == (Tier.DEVICE, 1)
    assert answer.provenance.explored
    assert warm.daemon.report().outbox_pending == 1


async def test_a_damaged_committed_release_is_fetched_anew(warm, cloud):
    await warm.stop()
    slot = json.loads((warm.folder / "tasks" / "home" / "active").read_text())["slot"]
    (warm.folder / "tasks" / "home" / slot / "model.onnx").write_bytes(b"rotten")
    cloud.reports.clear()
    await warm.start()
    await cloud.until_active(1)
    assert (await warm.ask("light")).provenance.tier is Tier.DEVICE


async def test_an_agent_finds_a_cloud_that_starts_after_it(harness, cloud):
    await cloud.stop()
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    await harness.start()
    await cloud.start()
    await cloud.until_active(1)


async def test_a_cloud_that_is_away_is_told_once_with_its_address_and_again_when_it_is_back(warm, cloud, caplog):
    def told():
        return [record.getMessage() for record in caplog.records if cloud.target in record.getMessage()]

    await cloud.stop()
    for number in range(10):
        await warm.ask("novel", query_id=f"q-{number}", seconds=2)
    assert len(told()) == 1
    assert told()[0].startswith(f"the next tier at {cloud.target} can't be reached: ")
    await cloud.start()
    cloud.reports.clear()
    await cloud.until(lambda: len(cloud.reports) > 2)
    assert len(told()) == 2
    assert f"the next tier at {cloud.target} is back, after" in told()[1]


async def test_a_cloud_that_is_away_at_the_start_is_told(harness, cloud, caplog):
    await cloud.stop()
    await harness.start()
    async with asyncio.timeout(120):
        while f"the next tier at {cloud.target} can't be reached" not in caplog.text:  # noqa: ASYNC110 - logs have no event
            await asyncio.sleep(0.05)
