"""What a pretrained encoder reads in texts, in the format of devices; each text is read once ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cloud_worker.language.encoder import load_encoder
from cloud_worker.training.compact_student import MAX_TOKENS
from cloud_worker.training.export import MODEL_FILE, TOKENIZER_FILE, export_encoder
from cloud_worker.training.spec import Recipe
from router.core.arrays import Floats
from router.students.feature_cache import Features
from router.students.onnx_student import OnnxEncoder


def exported_vectors(
    recipe: Recipe, texts: Sequence[str], progress: Callable[[float], None]
) -> tuple[Path, OnnxEncoder, dict[str, Floats]]:
    """The folder of the exported encoder, the encoder as a device opens it, and its vector of each text.

    Args:
        recipe: Names the encoder and the cache.
        texts: What is read.
        progress: Told the share that is done.
    """
    exported = export_encoder(load_encoder(recipe.encoder), recipe.cache / "encoders")
    encoder = OnnxEncoder.load(exported / MODEL_FILE, exported / TOKENIZER_FILE, MAX_TOKENS)
    with Features(recipe.cache / "features" / f"{exported.name}.sqlite", encoder.embed) as features:
        vectors = features.of(texts, progress)
    return exported, encoder, dict(zip(texts, vectors, strict=True))
