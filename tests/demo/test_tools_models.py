"""The models of requests that call tools: tokenizer, training in miniature, and what is kept."""

import asyncio
import shutil
import time
from pathlib import Path

import pytest
import torch

from cloud_worker.language.architectures import load_model
from cloud_worker.language.generation import write
from cloud_worker.language.tiny_models import Size
from cloud_worker.language.trainer import Schedule
from demo.configs import MOST_TOKENS
from demo.tools import models
from demo.tools.grammar import ELSEWHERE, HOME, Grammar
from demo.tools.making import MAKINGS, WINDOW, Making, make, shared_tokenizer
from demo.tools.workload import generate, pairs
from router.core.errors import StartError

MOST_SECONDS = 210.0
SMALL = Making(HOME, 60, Size(width=48, layers=2, heads=2, window=WINDOW), Schedule(steps=90, batch=20, rate=5e-3))


@pytest.fixture(scope="module")
def tokenizer():
    return shared_tokenizer()


@pytest.fixture(scope="module")
def made():
    torch.set_num_threads(1)
    return make(SMALL)


def test_requests_and_calls_come_back_as_they_were(tokenizer):
    for name in (HOME, ELSEWHERE):
        for line in pairs(Grammar.read(name), 1500, "back"):
            for text in (line.text, line.label):
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text


def test_a_word_is_the_same_token_in_a_request_and_in_a_call(tokenizer):
    call = '[{"name":"message_send","arguments":{"message":"see you on monday","person":"anna"}}]'
    said = tokenizer.tokenize("tell anna see you on monday")
    told = tokenizer.tokenize(call)
    assert said[1:] == ["Ġanna", "Ġsee", "Ġyou", "Ġon", "Ġmonday"]
    assert [token for token in told if token.startswith("Ġ")] == ["Ġsee", "Ġyou", "Ġon", "Ġmonday", "Ġanna"]


def test_a_call_is_short_in_tokens(tokenizer):
    lengths = [len(tokenizer.tokenize(line.label)) for line in pairs(Grammar.read(HOME), 1000, "short")]
    assert sum(lengths) / len(lengths) < 12
    assert max(lengths) < 48


def test_every_call_of_the_stream_can_be_written_to_its_end(tokenizer):
    for line in generate(3000, seed=1, examples=1).stream:
        assert len(tokenizer(line.label)["input_ids"]) <= MOST_TOKENS
        assert len(tokenizer(line.text)["input_ids"]) + MOST_TOKENS <= WINDOW


def test_the_tokenizer_is_the_same_for_teacher_and_base(tokenizer):
    assert shared_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_a_model_learns_its_few_requests(made):
    lines = pairs(Grammar.read(HOME), SMALL.examples, f"{HOME} 0")[:20]
    written = [one.text for one in write(made, [line.text for line in lines], 48)]
    assert sum(text == line.label for text, line in zip(written, lines, strict=True)) >= 10


def test_a_saved_model_writes_the_same(made, tmp_path):
    made.save(tmp_path / "model")
    texts = ["turn on the kitchen lights", "wake me at seven"]
    before, after = (write(model, texts, 32) for model in (made, load_model(str(tmp_path / "model"))))
    assert [one.text for one in before] == [one.text for one in after]


def test_the_base_learns_elsewhere_and_is_smaller_than_the_teacher():
    assert MAKINGS["base"].grammar == ELSEWHERE
    assert MAKINGS["teacher"].grammar == HOME
    assert MAKINGS["base"].size.width <= MAKINGS["teacher"].size.width


def test_the_examples_beside_a_run_are_what_the_teacher_learnt_from():
    assert generate(1, seed=3, examples=40).examples == pairs(Grammar.read(HOME), 40, f"{HOME} 3")


def test_what_is_kept_is_not_made_again(tmp_path):
    folder = tmp_path / f"tools-{models._state()}-0"
    for kind in models.KINDS:
        (folder / kind).mkdir(parents=True)
    found = asyncio.run(models.made(tmp_path, 0, lambda kind, share: pytest.fail("it was made")))
    assert (found.teacher, found.base) == (folder / "teacher", folder / "base")


CODE = ("making.py", "home.toml", "trainer.py", "tiny_models.py", "tokenizers.py", "transformers_loader.py")


@pytest.mark.parametrize("changed", CODE)
def test_what_was_made_by_other_code_is_made_again(changed, tmp_path):
    positions = []
    for number, position in enumerate(models._MADE_BY):
        copy = shutil.copytree if position.is_dir() else shutil.copy
        positions.append(Path(copy(position, tmp_path / (str(number) if position.is_dir() else position.name))))
    assert models._state(positions) == models._state()
    (path,) = tmp_path.rglob(changed)
    path.write_text(path.read_text() + "\n")
    assert models._state(positions) != models._state()


def test_a_training_that_fails_says_which_and_leaves_nothing(tmp_path):
    with pytest.raises(StartError, match="nonsense can't be trained"):
        asyncio.run(models._make("nonsense", tmp_path / "model", 0, lambda kind, share: None))
    assert list(tmp_path.iterdir()) == []


def test_the_faster_of_two_demos_wins(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "first").touch()
    (tmp_path / "late").mkdir()
    models._keep(tmp_path / "late", tmp_path / "model")
    assert (tmp_path / "model" / "first").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_teacher_is_mostly_right_and_not_always_and_made_in_minutes():
    torch.set_num_threads(1)
    began = time.process_time()  # of one thread: its time on a core that is idle otherwise
    teacher = make(MAKINGS["teacher"])
    assert time.process_time() - began < MOST_SECONDS
    lines = pairs(Grammar.read(HOME), 1000, "asked")
    written = [one.text for one in write(teacher, [line.text for line in lines], 48)]
    right = sum(text == line.label for text, line in zip(written, lines, strict=True))
    assert 0.92 * len(lines) <= right < len(lines)
