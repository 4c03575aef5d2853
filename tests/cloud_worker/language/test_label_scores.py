"""What a label's text is worth after a prompt, read as the running text that models are trained on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cloud_worker.language.generation import said_after, score_texts
from router.core.errors import BadInputError
from router.students.writers.transformers_loader import Form, LanguageModel

TOPICS = {
    "play a song": "music", "will it rain": "weather", "turn it on": "lamp",
    "put on jazz": "music", "is it warm": "weather", "make it dark": "lamp off",
}  # fmt: skip
RUNNING = [f"{text} this is about {topic}\n\n" for text, topic in TOPICS.items()]


def running_tokenizer():
    """Byte-level BPE as real models have it: a space belongs to the word behind it, and nothing is put around."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        RUNNING * 20,
        trainers.BpeTrainer(vocab_size=400, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>", model_max_length=48)


@pytest.fixture(scope="module")
def reader():
    """A causal model that has read running text, and no end token."""
    tokenizer = running_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=48, bos_token_id=None, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    batch = tokenizer(RUNNING, padding=True, padding_side="right", return_tensors="pt")
    wanted = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        model(**batch, labels=wanted).loss.backward()
        optimiser.step()
    return LanguageModel(model.eval(), tokenizer, Form.CAUSAL, 48)


LABELS = ["music", "weather", "lamp", "lamp off"]


def test_a_label_is_scored_as_it_stands_in_running_text(reader):
    prompts = [f"{text} this is about" for text in TOPICS]
    scores = score_texts(reader, prompts, LABELS)
    assert [LABELS[row] for row in scores.argmax(1)] == list(TOPICS.values())
    assert np.exp(scores).sum(1) == pytest.approx(1.0)
    assert np.exp(scores.max(1)).min() > 0.9


def test_a_pattern_that_ends_in_a_space_gets_no_second_one(reader):
    spaced, plain = (score_texts(reader, [f"play a song this is about{end}"], LABELS) for end in (" ", ""))
    assert spaced == pytest.approx(plain, abs=1e-6)


def test_the_end_token_counts_for_nothing_in_running_text(reader):
    def gives(language, prompt, label):
        ids = language.tokenizer(f"{prompt} {label}")["input_ids"]
        start = len(language.tokenizer(prompt)["input_ids"])
        with torch.inference_mode():
            steps = torch.log_softmax(language.model(torch.tensor([ids])).logits[0].double(), -1)
        return sum(float(steps[position - 1, ids[position]]) for position in range(start, len(ids)))

    prompt = "play a song this is about"
    music, weather = (gives(reader, prompt, label) for label in ("music", "weather"))
    scores = score_texts(reader, [prompt], ["music", "weather"])[0]
    assert scores[0] - scores[1] == pytest.approx(music - weather, abs=1e-4)


def test_a_label_that_goes_on_takes_its_share_from_the_one_it_begins_with(reader):
    short, long = score_texts(reader, ["make it dark this is about"], ["lamp", "lamp off"])[0]
    assert long > math.log(0.9) > short
    short, long = score_texts(reader, ["turn it on this is about"], ["lamp", "lamp off"])[0]
    assert short > math.log(0.9) > long


def test_a_prompt_that_leaves_no_room_for_its_longest_label_is_refused(reader):
    with pytest.raises(BadInputError, match=r"input has \d+ tokens with the longest text; the model's window is 48"):
        score_texts(reader, ["song " * 46], LABELS)


def test_a_label_stands_alone_where_the_prompt_is_closed_or_read_apart(reader, words):
    from cloud_worker.language.tiny_models import make_model

    assert said_after(reader, "this is about", "music") == " music"
    assert said_after(reader, "this is about ", "music") == "music"
    assert said_after(make_model("t5", words), "this is about", "music") == "music"
    assert said_after(make_model("llama", words), "this is about", "music") == "music"  # its prompts end in </s>
