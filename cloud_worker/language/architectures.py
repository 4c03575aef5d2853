"""Language models to train: loaded by name or folder, whole or truncated; ``families`` makes tiny ones on the spot.

Rules:
 * What a device can run is loaded by the code that a device runs: ``router.students.writers.transformers_loader``.
"""

from __future__ import annotations

from typing import Any

import torch

from router.core.errors import ModelError
from router.students.writers.transformers_loader import Form, LanguageModel, checked, load_language

__all__ = ["Form", "LanguageModel", "checked", "load_model", "truncate"]


def load_model(source: str, labels: tuple[str, ...] = (), layers: int = 0) -> LanguageModel:
    """Load a model and its tokenizer.

    Args:
        source: A folder, or a hub's name.
        labels: Ask for a label head over these; a new one is random unless the folder has one for the same labels.
        layers: Keep this many of the first layers (a truncated start, Turc et al. 2019); 0 keeps all.

    Raises:
        ModelError: Names the source, and what is wrong with it.
    """
    language = load_language(source, labels)
    if layers:
        truncate(language.model, layers)
    return language


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


def _is_stack(modules: torch.nn.ModuleList) -> bool:
    """Layers of one class; a T5 block keeps its unlike sub-layers in a list of the same name."""
    return len({type(module) for module in modules}) == 1
