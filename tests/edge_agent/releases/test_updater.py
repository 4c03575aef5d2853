"""How a device comes to the release that was ordered."""

import asyncio
import time
from dataclasses import replace

import pytest

from edge_agent.releases import updater
from edge_agent.releases.updater import check_order
from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.query import Reason, Tier
from router.core.errors import ReleaseError
from router.core.release.manifest import File, digest
from router.core.release.orders import Order

MORE_WORDS = {**WORDS, "novel": "lights", "odd": "music"}


async def refused(cloud):
    await cloud.until(lambda: any(task.refused for task in cloud.last_tasks()))
    ((number, reason),) = cloud.last_tasks()[0].refused
    return number, reason


async def test_a_new_release_is_fetched_and_serves(warm, cloud):
    cloud.publish(*tiny_release(TASK, 2, MORE_WORDS))
    await cloud.until_active(2)
    answer = await warm.ask("novel")
    assert (answer.provenance.tier, answer.provenance.release) == (Tier.DEVICE, 2)
    assert warm.report().healthy_answers == 1


async def test_a_file_that_is_there_already_is_not_fetched_again(warm, cloud):
    cloud.fetches.clear()
    cloud.publish(*tiny_release(TASK, 2, WORDS, threshold=0.9))
    await cloud.until_active(2)
    assert [file for _, _, file, _ in cloud.fetches] == ["manifest.json"]
    assert (await warm.ask("light")).text == "lights"


async def test_an_activation_is_reported_at_once(warm, cloud):
    cloud.interval = 600.0
    before = len(cloud.reports)
    await cloud.until(lambda: len(cloud.reports) > before)  # the last one at the old interval
    cloud.publish(*tiny_release(TASK, 2, MORE_WORDS))
    warm.daemon.sync.poke()
    await cloud.until_active(2, seconds=120)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "golden.jsonl"])
async def test_a_corrupted_file_is_refused_and_the_old_release_serves_on(warm, cloud, name):
    cloud.faults.corrupt = frozenset({name})
    cloud.publish(*tiny_release(TASK, 2, MORE_WORDS))
    number, reason = await refused(cloud)
    assert number == 2
    assert name in reason
    assert "SHA-256" in reason
    assert (await warm.ask("light")).provenance.release == 1


async def test_a_refused_release_is_not_fetched_again_and_again(warm, cloud):
    cloud.faults.corrupt = frozenset({"model.onnx"})
    cloud.publish(*tiny_release(TASK, 2, MORE_WORDS))
    await refused(cloud)
    fetches, reports = len(cloud.fetches), len(cloud.reports)
    await cloud.until(lambda: len(cloud.reports) > reports + 3)
    assert len(cloud.fetches) == fetches


async def test_after_a_refused_release_the_next_one_is_taken(warm, cloud):
    cloud.faults.corrupt = frozenset({"model.onnx"})
    cloud.publish(*tiny_release(TASK, 2, MORE_WORDS))
    await refused(cloud)
    cloud.faults.corrupt = frozenset()
    cloud.publish(*tiny_release(TASK, 3, MORE_WORDS))
    await cloud.until_active(3)


async def test_a_student_that_answers_otherwise_here_is_refused(warm, cloud):
    manifest, files = tiny_release(TASK, 2, MORE_WORDS)
    golden = b'{"text": "light", "answer": "music", "score": 1.0}\n'
    files["golden.jsonl"] = golden
    listed = {**manifest.files, "golden.jsonl": File(len(golden), digest(golden))}
    cloud.publish(replace(manifest, files=listed), files)
    _, reason = await refused(cloud)
    assert reason.startswith("golden input 1 is answered 'lights' here")
    assert (await warm.ask("light")).provenance.release == 1


async def test_an_older_release_is_refused(warm, cloud):
    cloud.publish(*tiny_release(TASK, 3, MORE_WORDS))
    await cloud.until_active(3)
    cloud.publish(*tiny_release(TASK, 2, WORDS))
    _, reason = await refused(cloud)
    assert reason == "release 2 is older than 3, which is installed"
    assert (await warm.ask("light")).provenance.reason is Reason.OPERATOR  # the cloud vouches for no release 3
    cloud.publish(*tiny_release(TASK, 4, WORDS))
    await cloud.until_active(4)
    assert (await warm.ask("light")).provenance.reason is Reason.CONFIDENT


async def test_a_broken_fetch_goes_on_where_it_ended(warm, cloud):
    cloud.faults.chunk_bytes, cloud.faults.break_after = 1000, 50_000
    cloud.publish(*tiny_release(TASK, 2, MORE_WORDS, padding=100_000))
    await cloud.until_active(2)
    offsets = [offset for _, _, file, offset in cloud.fetches if file == "padding.bin"]
    assert offsets == [0, 50_000]


async def test_a_file_larger_than_listed_is_refused(warm, cloud):
    manifest, files = tiny_release(TASK, 2, MORE_WORDS)
    cloud.publish(manifest, {**files, "model.onnx": files["model.onnx"] + b"more"})
    _, reason = await refused(cloud)
    assert reason.startswith("endless data: model.onnx has more than the")


async def test_a_release_that_is_not_there_yet_is_fetched_when_it_is(warm, cloud):
    manifest, files = tiny_release(TASK, 2, MORE_WORDS)
    model = {"model.onnx": files.pop("model.onnx")}
    cloud.publish(manifest, files)
    await cloud.until(lambda: any(file == "model.onnx" and n == 2 for _, n, file, _ in cloud.fetches))
    cloud.files.put("home", 2, model)
    await cloud.until_active(2)


async def test_swapping_under_load_drops_no_query(warm, cloud):
    answered = []
    over = asyncio.Event()

    async def ask_on(lane):
        count = 0
        while not over.is_set():
            count += 1
            answered.append(await warm.ask("light novel"[: 5 if count % 2 else 11], query_id=f"{lane}-{count}"))

    async with asyncio.TaskGroup() as group:
        for lane in range(4):
            group.create_task(ask_on(lane))
        for number in range(2, 8):
            cloud.publish(*tiny_release(TASK, number, MORE_WORDS if number % 2 else WORDS))
            await cloud.until_active(number)
        over.set()
    assert {answer.text for answer in answered} == {"lights"}
    releases = {answer.provenance.release for answer in answered if answer.provenance.tier is Tier.DEVICE}
    assert releases >= {2, 3, 4, 5, 6}
    assert warm.report().failed == 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"number": 3}, "release 3 of 'home', which was not ordered"),
        ({"task": replace(TASK, name="car")}, "release 2 of 'car', which was not ordered"),
        ({"min_agent": "99.1"}, "needs agent 99.1 or newer"),
    ],
)
def test_a_manifest_that_was_not_ordered_or_can_not_be_run_is_refused(changes, problem):
    manifest, _ = tiny_release(TASK, 2, WORDS)
    check_order(manifest, Order("home", 2, "", 0.0))
    with pytest.raises(ReleaseError, match=problem):
        check_order(replace(manifest, **changes), Order("home", 2, "", 0.0))


@pytest.mark.parametrize("rate", [50_000, 1_000_000])
async def test_on_a_slow_line_a_fetch_makes_no_query_late(harness, cloud, slow_line, rate, record_property):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    async with slow_line(cloud.target, rate) as line:
        await harness.start(target=line.target)
        await cloud.until_active(1, seconds=120)
        cloud.publish(*tiny_release(TASK, 2, WORDS, padding=8 * rate))
        await cloud.until(lambda: any(release == 2 for _, release, _, _ in cloud.fetches))
        took = []
        for number in range(40):
            started = time.monotonic()
            answer = await harness.ask("novel", query_id=f"q-{number}", seconds=4)
            if harness.report().active_release == 1:  # the fetch is under way
                took.append((time.monotonic() - started, answer.provenance.tier))
            await asyncio.sleep(0.05)
        assert len(took) >= 10
        late = sum(tier is not Tier.CLUSTER for _, tier in took)
        seconds = sorted(each for each, _ in took)
        median, most = seconds[len(seconds) // 2], seconds[-1]
        record_property("late", f"{late} of {len(took)}, median {median:.3f} s, most {most:.3f} s at {rate} bytes/s")
        assert late == 0
        await cloud.until_active(2, seconds=120)
        await harness.stop()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda patch: patch.setattr(updater, "SPARED_BYTES", 2**62), "does not fit beside the"),
        (lambda patch: patch.setattr(updater, "MOST_SECONDS", 0.0), "it was not in place after 0 s"),
    ],
    ids=["no room", "no time"],
)
async def test_why_a_release_has_to_wait_is_said_in_words(warm, cloud, monkeypatch, caplog, fault, said):
    fault(monkeypatch)
    cloud.publish(*tiny_release(TASK, 2, MORE_WORDS))
    await cloud.until(lambda: "has to wait" in caplog.text)
    assert said in caplog.text
    assert "Error(" not in caplog.text
    assert (await warm.ask("light")).provenance.release == 1
