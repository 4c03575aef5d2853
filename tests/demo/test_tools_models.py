"""The models of requests that call tools: tokenizer, training in miniature, and what is kept."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import cloud_worker
import demo
import router
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


def unseen(kind, share):
    """Hears of no training."""
    pytest.fail(f"the {kind} was made")


def test_what_is_kept_is_not_made_again(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(models, "KINDS", ())  # so that only its folder is made
        folder = asyncio.run(models.made(tmp_path, 0, unseen)).teacher.parent
    for kind in models.KINDS:
        (folder / kind).mkdir()
    found = asyncio.run(models.made(tmp_path, 0, unseen))
    assert (found.teacher, found.base) == (folder / "teacher", folder / "base")


CODE = ("making.py", "home.toml", "trainer.py", "tiny_models.py", "tokenizers.py", "transformers_loader.py")


FOLDERS = """
import asyncio, sys
from pathlib import Path
from demo.tools import models

models.KINDS = ()  # so that only the folder is made
for path in (None, *map(Path, sys.argv[2:])):
    if path is not None:
        text = path.read_text()
        path.write_text(text + "\\n")
    print(asyncio.run(models.made(Path(sys.argv[1]), 0, print)).teacher.parent.name)
    if path is not None:
        path.write_text(text)
"""


def test_what_was_made_by_other_code_is_made_again(tmp_path):
    code = tmp_path / "code"
    for package in (demo, cloud_worker, router):
        folder = Path(package.__file__).parent
        shutil.copytree(folder, code / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    changed = [path for name in CODE for path in code.rglob(name)]
    assert len(changed) == len(CODE)
    told = subprocess.run(
        [sys.executable, "-c", FOLDERS, str(tmp_path / "cache"), *map(str, changed)],
        cwd=code, env={**os.environ, "PYTHONPATH": str(code)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert len(set(told.stdout.split())) == 1 + len(CODE)


def test_a_training_that_fails_says_which_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "KINDS", ("nonsense",))
    with pytest.raises(StartError, match="nonsense can't be trained"):
        asyncio.run(models.made(tmp_path, 0, lambda kind, share: None))
    (folder,) = tmp_path.iterdir()
    assert list(folder.iterdir()) == []


TRAINING = """#!/bin/sh
made=$(dirname "$(dirname "$4")")/$3  # by another demo, meanwhile
mkdir "$made" && touch "$made/first"
mkdir "$4" && touch "$4/late"
"""


def test_the_faster_of_two_demos_wins(tmp_path, monkeypatch):
    training = tmp_path / "training"
    training.write_text(TRAINING)
    training.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(training))
    found = asyncio.run(models.made(tmp_path / "cache", 0, lambda kind, share: None))
    for folder in (found.teacher, found.base):
        assert [path.name for path in folder.iterdir()] == ["first"]
    assert {path.name for path in found.teacher.parent.iterdir()} == set(models.KINDS)


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
