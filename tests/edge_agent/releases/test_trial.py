"""A release is tried in a process of its own: whatever its files do there, the agent goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent.releases.trial import try_release
from edge_agent.tasks.slots import Slot
from edge_agent.testing.tiny_releases import TASK, WORDS, empty_release, served_release, tiny_release
from router.core.errors import ReleaseError, UnavailableError
from router.core.release.manifest import MANIFEST_FILE, File, digest, write_manifest

MORE_WORDS = {**WORDS, "novel": "lights", "odd": "music"}


def with_file(release, name, data):
    """The release with another file, listed as it is."""
    manifest, files = release
    listed = {**manifest.files, name: File(len(data), digest(data))}
    return replace(manifest, files=listed), {**files, name: data}


def slot_of(folder, release):
    manifest, files = release
    data = write_manifest(manifest)
    for name, content in {**files, MANIFEST_FILE: data}.items():
        (folder / name).write_bytes(content)
    return Slot("a", folder, manifest, digest(data))


def model_of(nodes, constants=()):
    """An ONNX file with a student's inputs and outputs, whatever comes between."""
    puts = [
        helper.make_tensor_value_info(name, TensorProto.INT64, [1, "T"]) for name in ("input_ids", "attention_mask")
    ]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "L"]),
        helper.make_tensor_value_info("similarity", TensorProto.FLOAT, [1]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants]
    graph = helper.make_graph(nodes, "made", puts, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def endless():
    """A model that loops for as many steps as 63 bits count."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3]),
        ],
    )
    nodes = [
        helper.make_node("Cast", ["steps_text"], ["steps"], to=TensorProto.INT64),
        helper.make_node("Loop", ["steps", "true", "start"], ["logits"], body=body),
        helper.make_node("ReduceMax", ["logits", "one"], ["similarity"], keepdims=0),
    ]
    constants = [
        ("steps_text", np.array(2**62, np.int64)),
        ("true", np.array(True)),
        ("start", np.zeros((1, 3), np.float32)),
        ("one", np.array([1], np.int64)),
    ]
    return model_of(nodes, constants)


def greedy():
    """A model that asks for a petabyte."""
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Mul", ["shape", "many"], ["large"]),
        helper.make_node("ConstantOfShape", ["large"], ["block"]),
        helper.make_node("ReduceMax", ["block", "one"], ["similarity"], keepdims=0),
        helper.make_node("Identity", ["start"], ["logits"]),
    ]
    constants = [
        ("many", np.array([2**24, 2**24], np.int64)),
        ("start", np.zeros((1, 3), np.float32)),
        ("one", np.array([1], np.int64)),
    ]
    return model_of(nodes, constants)


async def test_a_release_that_answers_its_golden_inputs_comes_through(tmp_path):
    await try_release(slot_of(tmp_path, tiny_release(TASK, 1, WORDS)), {})


async def test_a_release_without_a_student_comes_through(tmp_path):
    await try_release(slot_of(tmp_path, (empty_release(TASK), {})), {})


async def test_a_student_that_never_answers_is_given_up(tmp_path):
    release = with_file(tiny_release(TASK, 1, WORDS), "model.onnx", endless())
    with pytest.raises(ReleaseError, match="was not through its golden inputs after 5 s"):
        await try_release(slot_of(tmp_path, release), {}, seconds=5)


TOKENIZER = json.loads(tiny_release(TASK, 1, WORDS)[1]["tokenizer.json"])
EMPTY_MODEL = {**TOKENIZER["model"], "vocab": {}}
FILES = {
    "a model that asks for a petabyte": ("model.onnx", greedy()),
    "no bytes as model": ("model.onnx", b""),
    "noise as model": ("model.onnx", bytes(range(256)) * 50),
    "half a model": ("model.onnx", tiny_release(TASK, 1, WORDS)[1]["model.onnx"][:200]),
    "a tokenizer without vocabulary": ("tokenizer.json", json.dumps({**TOKENIZER, "model": EMPTY_MODEL}).encode()),
    "a tokenizer without model": ("tokenizer.json", b'{"version": "1.0"}'),
    "no JSON as tokenizer": ("tokenizer.json", b"\xff\xfe\x00"),
    "a tokenizer nested without end": ("tokenizer.json", b'{"a":' * 100_000),
    "golden inputs that are a list": ("golden.jsonl", b"[1, 2]\n"),
    "golden inputs nested without end": ("golden.jsonl", b"[" * 100_000),
    "a golden score of 10^400": (
        "golden.jsonl",
        b'{"text": "light", "answer": "lights", "score": 1' + b"0" * 400 + b"}",
    ),
    "no bytes as golden inputs": ("golden.jsonl", b""),
}


@pytest.mark.parametrize("what", FILES)
async def test_a_file_that_can_not_be_used_refuses_the_release(tmp_path, what):
    with pytest.raises(ReleaseError):
        await try_release(slot_of(tmp_path, with_file(tiny_release(TASK, 1, WORDS), *FILES[what])), {}, seconds=60)


async def test_a_server_that_can_not_be_reached_refuses_nothing(tmp_path, unused_tcp_port):
    slot = slot_of(tmp_path, served_release(TASK, 1, "tiny", {"light": "lights"}))
    with pytest.raises(UnavailableError):
        await try_release(slot, {"tiny": f"http://127.0.0.1:{unused_tcp_port}/v1"})


async def test_a_refused_release_leaves_the_old_one_serving(warm, cloud):
    cloud.publish(*with_file(tiny_release(TASK, 2, MORE_WORDS), "model.onnx", greedy()))
    await cloud.until(lambda: any(task.refused for task in cloud.last_tasks()))
    assert (await warm.ask("light")).provenance.release == 1
    cloud.publish(*tiny_release(TASK, 3, MORE_WORDS))
    await cloud.until_active(3)
