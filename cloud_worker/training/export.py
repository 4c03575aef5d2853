"""A fitted student -> the device's format: ONNX, int8 where it answers as before.

Rules:
 * No external data, no custom operators: one file a model.
 * Dynamic int8 is kept only where it proves equal on real texts; else float32 ships.
 * Beside int8 lies float32, for devices whose processor rounds otherwise; no other device fetches it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from cloud_worker.language.encoder import Encoder, pooled
from cloud_worker.training.compact_student import MAX_TOKENS, CompactStudent, OneText
from router.core.domain.label_confidence import Reading
from router.core.release.manifest import StudentSpec
from router.students.onnx_student import Student

LEAST_EQUAL = 0.99  # share of texts on which int8 must answer as float32 does
OPSET = 18
MODEL_FILE = "model.onnx"
FLOAT32_FILE = "model.float32.onnx"  # beside an int8 one
HEAD_FILE = "head.onnx"
TOKENIZER_FILE = "tokenizer.json"


class Embedding(torch.nn.Module):
    """An encoder as one module: ``input_ids`` and ``attention_mask`` -> ``embedding``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(1, T) each -> (1, D)."""
        return pooled(self.model, input_ids, attention_mask)


def export_encoder(encoder: Encoder, folder: Path) -> Path:
    """Write the encoder as ONNX, int8 and float32, with its tokenizer into ``folder``, once, and return its folder."""
    target = folder / encoder.version
    if (target / FLOAT32_FILE).is_file():
        return target
    shutil.rmtree(target, ignore_errors=True)  # of a version that wrote int8 alone
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        export_torch(Embedding(encoder.model), made / FLOAT32_FILE, ("embedding",))
        quantize(made / FLOAT32_FILE, made / MODEL_FILE)
        write_tokenizer(encoder.tokenizer, made / TOKENIZER_FILE)
        try:
            made.rename(target)
        except OSError:
            if not (target / FLOAT32_FILE).is_file():
                raise
    return target


def export_compact(
    student: torch.nn.Module, spec: StudentSpec, tokenizer: Any, texts: Sequence[str]
) -> dict[str, bytes]:
    """The student's files: int8 and float32 if the first answers ``texts`` as the second does, else float32 alone."""
    with tempfile.TemporaryDirectory() as scratch:
        full, small = Path(scratch) / "full", Path(scratch) / "small"
        for folder in (full, small):
            folder.mkdir()
            write_tokenizer(tokenizer, folder / TOKENIZER_FILE)
        lean = OneText(student) if isinstance(student, CompactStudent) else student
        export_torch(lean, full / MODEL_FILE, ("logits", "similarity"), spec.max_tokens)
        quantize(full / MODEL_FILE, small / MODEL_FILE)
        files = {name: (full / name).read_bytes() for name in (MODEL_FILE, TOKENIZER_FILE)}
        if _answer_alike(full, small, spec, texts) >= LEAST_EQUAL:
            files |= {MODEL_FILE: (small / MODEL_FILE).read_bytes(), FLOAT32_FILE: files[MODEL_FILE]}
        return files


def head_model(weights: NDArray[np.float32], bias: NDArray[np.float32], centroids: NDArray[np.float32]) -> bytes:
    """A linear head as ONNX: embedding (1, dimensions) -> logits (1, labels), similarity (1,).

    Args:
        weights: (dimensions, labels).
        bias: (labels,).
        centroids: (labels, dimensions), each of length one.
    """
    constants = {"weights": weights, "bias": bias, "centroids": centroids.T.copy()}
    nodes = [
        helper.make_node("Gemm", ["embedding", "weights", "bias"], ["logits"]),
        helper.make_node("MatMul", ["embedding", "centroids"], ["nearness"]),
        helper.make_node("ReduceMax", ["nearness", "axis"], ["similarity"], keepdims=0),
    ]
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, weights.shape[0]])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, weights.shape[1]]),
            helper.make_tensor_value_info("similarity", TensorProto.FLOAT, [1]),
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def export_torch(model: torch.nn.Module, path: Path, outputs: tuple[str, ...], max_tokens: int = MAX_TOKENS) -> None:
    """Write a model that reads ``input_ids`` and ``attention_mask``, each (1, tokens), as one ONNX file."""
    model.eval()
    ids, mask = torch.arange(1, 9).unsqueeze(0), torch.ones(1, 8, dtype=torch.long)  # one tensor twice is one input
    tokens = torch.export.Dim("tokens", min=1, max=max_tokens)
    program = torch.onnx.export(
        model,
        (ids, mask),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=["input_ids", "attention_mask"],
        output_names=[f"graph_{name}" for name in outputs],
        dynamic_shapes=({1: tokens}, {1: tokens}),
    )
    assert program is not None
    exported = program.model_proto
    _rename_outputs(exported, outputs)
    path.write_bytes(exported.SerializeToString())


def _rename_outputs(model: onnx.ModelProto, outputs: tuple[str, ...]) -> None:
    """Give the outputs their names; values inside that bear one of them make way."""
    new = {name: f"inner_{name}" for name in outputs}
    new |= {f"graph_{name}": name for name in outputs}
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in (*model.graph.output, *model.graph.value_info):
        value.name = new.get(value.name, value.name)
    for constant in model.graph.initializer:
        constant.name = new.get(constant.name, constant.name)


def quantize(source: Path, target: Path) -> None:
    """Dynamic int8 of all weights, a scale a channel: one scale for all moves MiniLM's vectors to a cosine of .97."""
    quantize_dynamic(str(source), str(target), per_channel=True, weight_type=QuantType.QInt8)


def write_tokenizer(tokenizer: Any, path: Path) -> None:
    """Write a fast tokenizer in the format of the tokenizers library, without padding or truncation."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    backend.save(str(path))


def _answer_alike(full: Path, small: Path, spec: StudentSpec, texts: Sequence[str]) -> float:
    read = [Student(folder, spec).read(texts).logits.argmax(axis=1) for folder in (full, small)]
    return float((read[0] == read[1]).mean()) if len(texts) else 1.0


def exported_reading(spec: StudentSpec, files: dict[str, bytes], texts: Sequence[str]) -> Reading:
    """What a student says to ``texts``, opened from its files as a device opens it."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in files.items():
            (Path(scratch) / name).write_bytes(data)
        return Student(Path(scratch), spec).read(texts)
