"""Language models made on the spot: random weights, any size, one configuration a family.

Rules:
 * The tokenizer sets the vocabulary, so that it always fits.
 * The same family, size and seed give the same weights; the global random state is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from cloud_worker.language.architectures import Form, LanguageModel, checked
from router.core.errors import ModelError


@dataclass(frozen=True, slots=True)
class Size:
    """How large a model made on the spot is.

    Attributes:
        width: Of the hidden states.
        layers: Of each stack.
        heads: Of attention; divides ``width``.
        window: Most tokens.
        dropout: Share, in [0, 1), where the family has it.
    """

    width: int = 32
    layers: int = 2
    heads: int = 2
    window: int = 256
    dropout: float = 0.0


FAMILIES = ("llama", "mistral", "mixtral", "phi", "qwen", "gemma", "stablelm", "t5", "flan-t5", "bert", "modernbert")


def make_model(
    family: str, tokenizer: Any, size: Size | None = None, labels: tuple[str, ...] = (), seed: int = 0
) -> LanguageModel:
    """A model of random weights.

    Args:
        family: One of ``FAMILIES``.
        tokenizer: Sets the vocabulary.
        size: How large; the smallest if left out.
        labels: For a label head; encoders need them.
        seed: Of the weights.

    Raises:
        ModelError: An unknown family, an encoder without labels, or a size that is none.
    """
    size = size or Size()
    maker = _MAKERS.get(family)
    if maker is None:
        raise ModelError(f"family {family!r} is not known; use one of {', '.join(FAMILIES)}")
    if size.width % size.heads:
        raise ModelError(f"width {size.width} can't be split over {size.heads} heads")
    form = _FORMS.get(family, Form.CAUSAL)
    if form is Form.LABELS and not labels:
        raise ModelError(f"family {family!r} answers by labels; give them")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = maker(size, tokenizer, labels)
    return checked(LanguageModel(model.eval(), tokenizer, form, size.window, labels))


def _decoder(kind: str, **extra: Any) -> Callable[[Size, Any, tuple[str, ...]], Any]:
    def make(size: Size, tokenizer: Any, labels: tuple[str, ...]) -> Any:
        del labels
        heads: dict[str, Any] = {"num_key_value_heads": size.heads, "head_dim": size.width // size.heads}
        if kind in {"Phi", "StableLm"}:
            heads.pop("head_dim")
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=len(tokenizer),
            hidden_size=size.width,
            intermediate_size=4 * size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            max_position_embeddings=size.window,
            **_tokens(tokenizer),
            **heads,
            **extra,
        )
        config._attn_implementation = "eager"  # on a processor, at this size, a third faster than the fused one
        return getattr(transformers, f"{kind}ForCausalLM")(config)

    return make


def _t5(gated: str) -> Callable[[Size, Any, tuple[str, ...]], Any]:
    def make(size: Size, tokenizer: Any, labels: tuple[str, ...]) -> Any:
        del labels
        start: dict[str, Any] = {"decoder_start_token_id": tokenizer.pad_token_id}
        config = transformers.T5Config(
            vocab_size=len(tokenizer),
            d_model=size.width,
            d_kv=size.width // size.heads,
            d_ff=4 * size.width,
            num_layers=size.layers,
            num_heads=size.heads,
            dropout_rate=size.dropout,
            feed_forward_proj=gated,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            **start,
        )
        return transformers.T5ForConditionalGeneration(config)

    return make


def _encoder(kind: str, **extra: Any) -> Callable[[Size, Any, tuple[str, ...]], Any]:
    def make(size: Size, tokenizer: Any, labels: tuple[str, ...]) -> Any:
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=len(tokenizer),
            hidden_size=size.width,
            intermediate_size=4 * size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            max_position_embeddings=size.window,
            id2label=dict(enumerate(labels)),
            label2id={name: row for row, name in enumerate(labels)},
            **_tokens(tokenizer),
            **extra,
        )
        return getattr(transformers, f"{kind}ForSequenceClassification")(config)

    return make


def _tokens(tokenizer: Any) -> dict[str, Any]:
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    return {name: getattr(tokenizer, name) for name in names}


_FORMS = {"t5": Form.SEQ2SEQ, "flan-t5": Form.SEQ2SEQ, "bert": Form.LABELS, "modernbert": Form.LABELS}

_MAKERS: dict[str, Callable[[Size, Any, tuple[str, ...]], Any]] = {
    "llama": _decoder("Llama"),
    "mistral": _decoder("Mistral", sliding_window=64),
    "mixtral": _decoder("Mixtral", num_local_experts=4, num_experts_per_tok=2),
    "phi": _decoder("Phi"),
    "qwen": _decoder("Qwen2"),
    "gemma": _decoder("Gemma"),
    "stablelm": _decoder("StableLm"),
    "t5": _t5("relu"),
    "flan-t5": _t5("gated-gelu"),
    "bert": _encoder("Bert"),
    # From scratch, the mean of all tokens learns intents in hundreds of steps, where the first token needs thousands.
    "modernbert": _encoder("ModernBert", cls_token_id=1, sep_token_id=2, classifier_pooling="mean"),
}
