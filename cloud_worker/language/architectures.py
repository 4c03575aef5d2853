"""Language models, loaded by name or folder; ``families`` makes tiny ones on the spot.

Rules:
 * Weights are safetensors; code that comes with a model is never run.
 * A tokenizer that can name a token the model has no row for does not fit, and is refused at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer

from router.errors import ModelError

UNBOUNDED_WINDOW = 100_000  # tokenizers say 1e30 when they know no window
DEFAULT_WINDOW = 512


class Form(StrEnum):
    """How a model answers: by writing on, by writing from a reading, or by a label head."""

    CAUSAL = "causal"
    SEQ2SEQ = "seq2seq"
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model that is ready to train and to run.

    Attributes:
        model: The transformer.
        tokenizer: Its tokenizer; has a padding and an end token.
        form: How it answers.
        window: Most tokens it can see at once; prompt and answer together for a causal one.
        labels: What the label head's outputs mean, for ``Form.LABELS`` only.
    """

    model: Any
    tokenizer: Any
    form: Form
    window: int
    labels: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write weights (safetensors), configuration and tokenizer, so that ``load_model`` reads them back."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load_model(source: str, labels: tuple[str, ...] = (), layers: int = 0) -> LanguageModel:
    """Load a model and its tokenizer.

    Args:
        source: A folder, or a hub's name.
        labels: Ask for a label head over these; a new one is random unless the folder has one for the same labels.
        layers: Keep this many of the first layers (a truncated start, Turc et al. 2019); 0 keeps all.

    Raises:
        ModelError: Names the source, and what is wrong with it.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        labels = labels or _labels_of(config)
        form = _form_of(config, labels)
        named = {"id2label": dict(enumerate(labels)), "label2id": {name: row for row, name in enumerate(labels)}}
        model = _AUTO[form].from_pretrained(
            source,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            **(named if form is Form.LABELS else {}),
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"model {source!r} can't be loaded as safetensors: {reason}") from error
    if layers:
        truncate(model, layers)
    _complete(tokenizer)
    return checked(LanguageModel(model.eval(), tokenizer, form, _window_of(config, tokenizer), labels))


def truncate(model: Any, layers: int) -> None:
    """Keep the first ``layers`` layers of every stack, in place.

    Raises:
        ModelError: The model has fewer, or no stack that is known.
    """
    stacks = [
        (owner, name)
        for owner in model.modules()
        for name in ("layers", "layer", "block")
        if isinstance(getattr(owner, name, None), torch.nn.ModuleList) and _is_stack(getattr(owner, name))
    ]
    if not stacks or layers < 1 or any(len(getattr(owner, name)) < layers for owner, name in stacks):
        raise ModelError(f"{type(model).__name__} has no {layers} layers to keep")
    for owner, name in stacks:
        setattr(owner, name, getattr(owner, name)[:layers])
    for key in ("num_hidden_layers", "num_layers", "num_decoder_layers"):
        if getattr(model.config, key, None):
            setattr(model.config, key, layers)
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:layers]


def checked(language: LanguageModel) -> LanguageModel:
    """Return ``language`` when its tokenizer fits its model.

    Raises:
        ModelError: A token without a row, or no padding or end token.
    """
    rows = language.model.get_input_embeddings().num_embeddings
    tokens = len(language.tokenizer)
    if tokens > rows:
        raise ModelError(
            f"the tokenizer has {tokens} tokens and the model {rows} rows; take the tokenizer of this model"
        )
    for name in ("pad_token_id", "eos_token_id"):
        if getattr(language.tokenizer, name) is None and language.form is not Form.LABELS:
            raise ModelError(f"the tokenizer has no {name.removesuffix('_id')}; a student that writes needs it")
    return language


def _is_stack(modules: torch.nn.ModuleList) -> bool:
    """Layers of one class; a T5 block keeps its unlike sub-layers in a list of the same name."""
    return len({type(module) for module in modules}) == 1


def _form_of(config: Any, labels: tuple[str, ...]) -> Form:
    if labels:
        return Form.LABELS
    if config.is_encoder_decoder:
        return Form.SEQ2SEQ
    if config.model_type in {"bert", "modernbert", "roberta", "distilbert"}:
        raise ValueError(f"{config.model_type} answers by labels; give them")
    return Form.CAUSAL


def _labels_of(config: Any) -> tuple[str, ...]:
    names = tuple(config.id2label[row] for row in sorted(config.id2label or {}))
    classifies = any("SequenceClassification" in name for name in config.architectures or [])
    return names if classifies else ()


def _window_of(config: Any, tokenizer: Any) -> int:
    known = [tokenizer.model_max_length] if tokenizer.model_max_length < UNBOUNDED_WINDOW else []
    places = getattr(config, "max_position_embeddings", None)
    known += [places] if places else []
    return int(min(known)) if known else DEFAULT_WINDOW


def _complete(tokenizer: Any) -> None:
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token


_AUTO: dict[Form, Any] = {
    Form.CAUSAL: transformers.AutoModelForCausalLM,
    Form.SEQ2SEQ: transformers.AutoModelForSeq2SeqLM,
    Form.LABELS: transformers.AutoModelForSequenceClassification,
}
