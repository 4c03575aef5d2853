"""An encoder small enough to be made in a second, and records as a log holds them."""

import importlib.util
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = {
    "lights": ("lamp", "light", "bright", "dark"),
    "music": ("song", "tune", "loud", "album"),
    "clock": ("alarm", "noon", "hour", "wake"),
}
FILLERS = ("please", "turn", "the", "a", "now", "could", "you", "my")


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    """A pretrained encoder of 16 dimensions, as a folder of safetensors."""
    folder = tmp_path_factory.mktemp("encoder")
    words = [*SPECIAL, *FILLERS, *(word for group in WORDS.values() for word in group)]
    backend = Tokenizer(models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def utterances():
    """Makes pairs of text and label, each text of one label's words among fillers."""

    def make(count, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def pick(words):
            return words[int(torch.randint(len(words), (1,), generator=generator))]

        labels = sorted(WORDS)
        pairs = []
        for place in range(count):
            label = labels[place % len(labels)]
            words = [pick(FILLERS), pick(FILLERS), pick(WORDS[label]), pick(FILLERS)]
            pairs.append((" ".join(words), label))
        return pairs

    return make


@pytest.fixture
def world(tmp_path, record):
    """A log, a fleet that asks, and a refresher; see ``world.py``."""
    spec = importlib.util.spec_from_file_location("world", Path(__file__).with_name("world.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.World(tmp_path, record)
