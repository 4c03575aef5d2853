"""Every family: loads, answers with probabilities, takes a training step. And what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cloud_worker.language.architectures import Form, LanguageModel, load_model
from cloud_worker.language.examples import Example, LabelExample
from cloud_worker.language.generation import label_log_probabilities, write
from cloud_worker.language.tiny_models import FAMILIES, Size, make_model
from cloud_worker.language.tokenizers import byte_tokenizer, word_tokenizer
from cloud_worker.language.trainer import Schedule, fit
from router.core.domain.query import Distribution
from router.core.errors import ModelError

LABELS = ("lights_on", "lights_off")


def made(family: str, tokenizer: Any, **changes: Any) -> LanguageModel:
    labels = LABELS if family in {"bert", "modernbert"} else ()
    return make_model(family, tokenizer, Size(window=64), labels, **changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_answers_with_probabilities_and_takes_a_step(
    family: str, words: Any, tmp_path: Path
) -> None:
    made(family, words).save(tmp_path)
    assert list(tmp_path.glob("*.safetensors"))
    student = load_model(str(tmp_path))
    if student.form is Form.LABELS:
        chances = np.exp(label_log_probabilities(student, ["switch the light on"]))
        assert chances.shape == (1, 2)
        assert chances.sum() == pytest.approx(1.0)
        examples: list[Any] = [LabelExample("switch the light on", Distribution((("lights_on", -0.1),), -2.35))]
    else:
        (answer,) = write(student, ["switch the light on"], max_tokens=3, top_k=2)
        assert answer.tokens
        assert all(token.log_probability <= 0 for token in answer.tokens)
        best = answer.tokens[0].alternatives
        assert best.top[0][1] == pytest.approx(answer.tokens[0].log_probability)
        assert sum(math.exp(value) for _, value in best.top) + math.exp(best.tail or 0) == pytest.approx(1.0, abs=1e-4)
        examples = [Example("switch the light on", "green light")]
    before = {name: value.clone() for name, value in student.model.state_dict().items()}
    done = fit(student, examples, Schedule(steps=1, batch=1))
    assert math.isfinite(done.last_loss)
    assert any(not torch.equal(value, before[name]) for name, value in student.model.state_dict().items())


@pytest.mark.parametrize("family", ["llama", "t5", "bert"])
def test_a_saved_student_comes_back_as_it_was(family: str, words: Any, tmp_path: Path) -> None:
    student = made(family, words, seed=4)
    student.save(tmp_path)
    again = load_model(str(tmp_path))
    assert again.form is student.form
    assert again.labels == student.labels
    assert all(
        torch.equal(first, second)
        for first, second in zip(student.model.parameters(), again.model.parameters(), strict=True)
    )


@pytest.mark.parametrize("family", ["qwen", "flan-t5", "modernbert"])
def test_a_truncated_start_keeps_the_first_layers(family: str, words: Any, tmp_path: Path) -> None:
    made(family, words).save(tmp_path)
    whole, short = load_model(str(tmp_path)), load_model(str(tmp_path), layers=1)
    counts = [sum(weight.numel() for weight in one.model.parameters()) for one in (whole, short)]
    assert counts[1] < counts[0]
    kept = dict(whole.model.named_parameters())
    assert all(torch.equal(value, kept[name]) for name, value in short.model.named_parameters())
    short.save(tmp_path / "short")
    assert load_model(str(tmp_path / "short")).model.config.num_hidden_layers == 1


def test_the_same_seed_makes_the_same_model_and_leaves_the_global_state_alone(words: Any) -> None:
    torch.manual_seed(5)
    first = made("llama", words, seed=1)
    drawn = torch.rand(1)
    second = made("llama", words, seed=1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_more_layers_than_there_are_can_not_be_kept(words: Any, tmp_path: Path) -> None:
    made("llama", words).save(tmp_path)
    with pytest.raises(ModelError, match="no 9 layers"):
        load_model(str(tmp_path), layers=9)


def test_a_tokenizer_that_does_not_fit_its_model_is_refused(words: Any, tmp_path: Path) -> None:
    made("llama", words).save(tmp_path)
    byte_tokenizer(["some other text"], 400).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="308 tokens, up to id 307, and the model 83 rows"):
        load_model(str(tmp_path))


def test_a_tokenizer_with_an_id_beyond_the_rows_is_refused_however_few_its_tokens(words: Any, tmp_path: Path) -> None:
    made("llama", words).save(tmp_path)
    known = json.loads((tmp_path / "tokenizer.json").read_text())
    word = max(known["model"]["vocab"], key=known["model"]["vocab"].get)
    known["model"]["vocab"][word] = 900
    (tmp_path / "tokenizer.json").write_text(json.dumps(known))
    with pytest.raises(ModelError, match="up to id 900"):
        load_model(str(tmp_path))


def test_a_tokenizer_for_a_small_part_of_the_rows_is_refused(words: Any, tmp_path: Path) -> None:
    made("llama", byte_tokenizer(["some other text"], 400)).save(tmp_path)
    words.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"only .* tokens for the .* rows"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["bos_token_id", "eos_token_id", "pad_token_id"])
def test_a_tokenizer_with_other_special_tokens_than_its_model_is_refused(name: str, words: Any, tmp_path: Path) -> None:
    made("llama", words).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {name: 9}))
    with pytest.raises(ModelError, match=f"{name} is . in the tokenizer and 9 in the model"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("ends", [None, [9, 2]])
def test_a_model_may_name_no_end_token_or_several(ends: object, words: Any, tmp_path: Path) -> None:
    made("llama", words).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"eos_token_id": ends}))
    assert load_model(str(tmp_path)).tokenizer.eos_token_id == 2


def test_pickled_weights_are_never_read(words: Any, tmp_path: Path) -> None:
    student = made("llama", words)
    student.save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(student.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load_model(str(tmp_path))


def test_code_that_comes_with_a_model_is_never_run(words: Any, tmp_path: Path) -> None:
    made("llama", words).save(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    path.write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(ModelError):
        load_model(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_torn_file_is_a_clear_error(words: Any, tmp_path: Path) -> None:
    made("llama", words).save(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="can't be loaded"):
        load_model(str(tmp_path))


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        load_model(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("family", "size", "message"),
    [("gpt9", Size(), "gpt9"), ("bert", Size(), "labels"), ("llama", Size(width=30, heads=4), "heads")],
)
def test_what_can_not_be_made_is_said(family: str, size: Size, message: str, words: Any) -> None:
    with pytest.raises(ModelError, match=message):
        make_model(family, words, size)


def test_a_byte_tokenizer_gives_back_any_text() -> None:
    tokenizer = byte_tokenizer(["turn the light on"], 400)
    text = "Grüße, 世界\n  {two} spaces\t"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_a_word_tokenizer_spells_numbers_and_reads_them_back() -> None:
    tokenizer = word_tokenizer(["there are 0123456789 and 9876543210 lights, 1 + 2."])
    ids = tokenizer("105 lights + 92", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == "105 lights + 92"
    assert len(ids) == 7
