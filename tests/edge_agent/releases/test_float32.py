"""A device whose int8 products round otherwise takes the float32 file beside the model, and only such a device."""

from dataclasses import replace

from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.query import Tier
from router.core.release.manifest import File, digest

OTHER_WORDS = dict(zip(WORDS, reversed(WORDS.values()), strict=True))
FLOAT32 = "model.float32.onnx"


def portable_release(number, *, int8=WORDS, float32=WORDS, threshold=0.5):
    """A release whose golden inputs are of WORDS, and whose two models know what they are told."""
    manifest, files = tiny_release(TASK, number, WORDS, threshold=threshold)
    models = [tiny_release(TASK, number, words)[1]["model.onnx"] for words in (int8, float32)]
    files |= {"model.onnx": models[0], FLOAT32: models[1]}
    listed = {name: File(len(data), digest(data)) for name, data in files.items()}
    return replace(manifest, files=listed, student=replace(manifest.student, model_float32=FLOAT32)), files


def fetched(cloud):
    return [name for _, _, name, _ in cloud.fetches if name.endswith(".onnx")]


async def test_where_int8_answers_as_judged_the_float32_file_is_never_fetched(harness, cloud):
    cloud.publish(*portable_release(1))
    await harness.start()
    await cloud.until_active(1)
    assert fetched(cloud) == ["model.onnx"]
    report = harness.report()
    assert (report.model, report.float32_because) == ("model.onnx", "")


async def test_where_int8_answers_otherwise_float32_serves_and_report_and_status_say_why(harness, cloud, prompt_status):
    cloud.publish(*portable_release(1, int8=OTHER_WORDS))
    await harness.start()
    await cloud.until_active(1)
    for _ in range(2):  # the second time after a restart
        answer = await harness.ask("light")
        assert (answer.text, answer.provenance.tier) == ("lights", Tier.DEVICE)
        (task,) = cloud.last_tasks()
        assert task.model == FLOAT32
        assert task.float32_because.startswith("golden input 1 is answered")
        await harness.status(lambda said, why=task.float32_because: said["tasks"][0]["float32_because"] == why)
        await harness.stop()
        await harness.start()
        await harness.until_serving()
        await cloud.until_active(1)
    cloud.fetches.clear()
    cloud.publish(*portable_release(2, int8=OTHER_WORDS, threshold=0.6))
    await cloud.until_active(2)
    assert fetched(cloud) == []
    cloud.publish(*portable_release(3))
    await cloud.until_active(3)
    assert harness.report().float32_because == ""


async def test_a_release_that_answers_otherwise_in_float32_too_is_refused(harness, cloud):
    cloud.publish(*portable_release(1, int8=OTHER_WORDS, float32=OTHER_WORDS))
    await harness.start()
    await cloud.until(lambda: any(task.refused for task in cloud.last_tasks()))
    ((_, reason),) = cloud.last_tasks()[0].refused
    assert reason.startswith("golden input 1 is answered")


def test_status_prints_why_a_device_runs_in_float32(capsys):
    from edge_agent.identity.status_command import _show

    task = {"task": "home", "release": 2, "ordered": 2, "float32_because": "golden input 1 differs", "refused": ""}
    _show({"device": "d", "running": True, "states": [], "tasks": [task], "signed": True})
    assert "it runs in float32, since in int8 golden input 1 differs" in capsys.readouterr().out
