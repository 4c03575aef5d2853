"""Labels by patterns: over a model that was trained on the spot, and one that knows nothing."""

import json
import math

import pytest

from cloud_worker.config.teachers import PatternsSettings
from cloud_worker.language.examples import Example
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import word_tokenizer
from cloud_worker.language.trainer import Schedule, fit
from cloud_worker.teachers import NoAnswer, Question
from cloud_worker.teachers.loader import load_teacher
from cloud_worker.teachers.pattern_teacher import labelling_of
from router.core.errors import ConfigError, DataError

PATTERNS = ("{text} this is about", "question : {text} topic :")
SAID = {"light_on": "lamps", "weather": "rain", "music": "songs"}
TAUGHT = [
    ("turn on the lamp", "light_on"),
    ("lights please", "light_on"),
    ("will it rain", "weather"),
    ("how warm is it", "weather"),
    ("play a song", "music"),
    ("put on the radio", "music"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    texts = [*(text for text, _ in TAUGHT), *PATTERNS, *SAID.values()]
    language = make_model("llama", word_tokenizer(texts, window=64), Size(width=48, window=64))
    lessons = [Example(pattern.replace("{text}", text), SAID[label]) for pattern in PATTERNS for text, label in TAUGHT]
    fit(language, lessons, Schedule(steps=60, batch=12, rate=5e-3))
    folder = tmp_path_factory.mktemp("patterns")
    language.save(folder)
    return folder


@pytest.fixture
def settings(folder):
    return PatternsSettings(name="pet", model=str(folder), patterns=PATTERNS, verbaliser=SAID)


def write_examples(path, count=9):
    rows = [{"text": f"text {position}", "label": list(SAID)[position % 3]} for position in range(count)]
    path.write_text("\n".join(json.dumps(row) for row in sorted(rows, key=lambda row: row["label"])))
    return str(path)


def test_it_answers_with_labels_by_what_its_model_would_write(settings, tmp_path):
    teacher = load_teacher(settings, tmp_path)
    replies = list(teacher.answer([Question(text) for text, _ in TAUGHT]))
    assert [reply.text for reply in replies] == [label for _, label in TAUGHT]
    for reply in replies:
        assert reply.text == reply.distribution.top[0][0]
        assert {label for label, _ in reply.distribution.top} == set(SAID)
        assert math.fsum(math.exp(value) for _, value in reply.distribution.top) == pytest.approx(1.0)


def test_several_patterns_are_averaged(settings, tmp_path):
    both = load_teacher(settings, tmp_path).scores("play a song")
    one, other = (
        load_teacher(settings.model_copy(update={"patterns": (pattern,)}), tmp_path).scores("play a song")
        for pattern in PATTERNS
    )
    mean = (one + other) / 2
    assert both - both[0] == pytest.approx(mean - mean[0])


def test_examples_stand_in_front_of_the_question_each_label_in_turn(settings, tmp_path):
    examples = write_examples(tmp_path / "examples.jsonl")
    labelling = labelling_of(settings.model_copy(update={"examples": examples, "shots": 4}))
    assert len({shot.label for shot in labelling.shots[:3]}) == 3
    assert len(labelling.shots) == 4
    with_shots = load_teacher(settings.model_copy(update={"examples": examples, "shots": 2}), tmp_path)
    assert with_shots.scores("play a song") != pytest.approx(load_teacher(settings, tmp_path).scores("play a song"))


def test_examples_that_do_not_fit_are_left_out_and_a_question_that_does_not_is_refused(settings, tmp_path):
    examples = write_examples(tmp_path / "examples.jsonl", 60)
    teacher = load_teacher(settings.model_copy(update={"examples": examples, "shots": 60}), tmp_path)
    fits, too_long = teacher.answer([Question("play a song"), Question("song " * 70)])
    assert fits.text in SAID
    assert isinstance(too_long, NoAnswer)
    assert too_long.field == "input"


def test_other_words_examples_or_shots_are_another_version(settings, tmp_path):
    examples = write_examples(tmp_path / "examples.jsonl")
    changes = (
        {},
        {"verbaliser": {**SAID, "music": "tunes"}},
        {"patterns": PATTERNS[:1]},
        {"examples": examples},
        {"examples": examples, "shots": 3},
    )
    versions = [load_teacher(settings.model_copy(update=change), tmp_path).version for change in changes]
    assert len(set(versions)) == len(changes)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"verbaliser": {"one": "a"}}, "labels: are"),
        ({"verbaliser": {"one": "a", "two": "a"}}, "verbaliser: says two labels alike"),
        ({"verbaliser": {"one": "a", "two": " "}}, "two: is empty"),
    ],
)
def test_labels_that_can_not_be_told_apart_are_refused(settings, tmp_path, change, named):
    with pytest.raises(ConfigError, match=named):
        load_teacher(settings.model_copy(update=change), tmp_path)


def test_an_example_that_can_not_be_read_is_named(settings, tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"text": "a"}\n')
    with pytest.raises(DataError, match=r"broken\.jsonl:1: label"):
        load_teacher(settings.model_copy(update={"examples": str(path)}), tmp_path)


def test_a_question_that_breaks_the_model_fails_alone(settings, tmp_path, monkeypatch):
    teacher = load_teacher(settings, tmp_path)
    score = teacher.scores

    def breaking(text):
        if text == "break it":
            raise IndexError("index out of range in self")
        return score(text)

    monkeypatch.setattr(teacher, "scores", breaking)
    replies = list(teacher.answer([Question(text) for text in ("will it rain", "break it", "play a song")]))
    assert [replies[0].text, replies[2].text] == ["weather", "music"]
    assert isinstance(replies[1], NoAnswer)
    assert "index out of range" not in replies[1].problem
