import math

import numpy as np
import pytest

from cloud_worker.config.teachers import EncoderSettings
from cloud_worker.teachers import NoAnswer, Question
from cloud_worker.teachers.labelled_examples import read_examples
from cloud_worker.teachers.loader import load_teacher
from cloud_worker.teachers.prepare import prepare_teacher
from cloud_worker.teachers.recorded import RecordedTeacher
from router.core.errors import DataError, ModelError

EXAMPLES = """
{"text": "turn on the light", "label": "light_on"}
{"text": "lights on please", "label": "light_on"}
{"text": "switch the lamp on", "label": "light_on"}
{"text": "what is the weather", "label": "weather"}
{"text": "will it rain today", "label": "weather"}
{"text": "how warm is it outside", "label": "weather"}
{"text": "play some music", "label": "music"}
{"text": "put on a song", "label": "music"}
{"text": "turn on the radio", "label": "music"}
"""


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    path = tmp_path_factory.mktemp("examples") / "examples.jsonl"
    path.write_text(EXAMPLES)
    return path


@pytest.fixture(scope="module")
def settings(examples):
    return EncoderSettings(name="big", model="minilm", examples=str(examples))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def teacher(settings, cache):
    return load_teacher(settings, cache)


def questions(*texts):
    return [Question(text) for text in texts]


def test_it_answers_like_its_examples(teacher):
    replies = list(teacher.answer(questions("please switch on the light", "is it going to rain", "play a song")))
    assert [reply.text for reply in replies] == ["light_on", "weather", "music"]


def test_its_distribution_is_whole_and_starts_with_its_answer(teacher):
    for reply in teacher.answer(questions("lights", "rain", "asdf qwer")):
        assert reply.text == reply.distribution.top[0][0]
        values = [value for _, value in reply.distribution.top]
        assert values == sorted(values, reverse=True)
        assert math.fsum(math.exp(value) for value in values) == pytest.approx(1.0)
        assert reply.distribution.tail is None


def test_a_copy_loads_the_fitted_head_and_answers_the_same(settings, cache, teacher):
    heads = [path.read_bytes() for path in cache.iterdir()]
    copy = load_teacher(settings, cache, lambda stage, share: pytest.fail("it fits again"))
    assert copy.version == teacher.version
    assert [path.read_bytes() for path in cache.iterdir()] == heads
    ask = questions("lights on", "rain")
    assert [reply.distribution for reply in copy.answer(ask)] == [reply.distribution for reply in teacher.answer(ask)]


def test_a_torn_head_is_fitted_again(settings, cache, teacher):
    [path] = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    heard = []
    again = load_teacher(settings, cache, lambda stage, share: heard.append(share))
    assert heard[-1] == 1.0
    assert again.version == teacher.version
    with np.load(path, allow_pickle=False) as head:
        assert list(head["labels"]) == ["light_on", "music", "weather"]


def test_other_examples_make_another_version(settings, cache, teacher, tmp_path):
    path = tmp_path / "two.jsonl"
    path.write_text('{"text": "yes", "label": "yes"}\n{"text": "no", "label": "no"}\n')
    other = load_teacher(settings.model_copy(update={"examples": str(path)}), cache)
    assert other.version != teacher.version
    assert [reply.text for reply in other.answer(questions("yes", "no"))] == ["yes", "no"]


def test_it_is_prepared_in_another_process_that_says_what_is_wrong(settings, cache, teacher, tmp_path):
    heard = []
    assert prepare_teacher(settings, cache, lambda stage, share: heard.append(stage)) == teacher.version
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "a"}\n')
    with pytest.raises(DataError, match=r"broken\.jsonl:1: label"):
        prepare_teacher(settings.model_copy(update={"examples": str(broken)}), cache, lambda stage, share: None)


def test_a_model_folder_that_can_not_be_read_is_named(settings, cache, tmp_path):
    with pytest.raises(ModelError, match=str(tmp_path)):
        load_teacher(settings.model_copy(update={"model": str(tmp_path)}), cache)


def test_one_label_alone_is_refused(settings, cache, tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text('{"text": "a", "label": "same"}\n{"text": "b", "label": "same"}\n')
    with pytest.raises(DataError, match="'same'"):
        load_teacher(settings.model_copy(update={"examples": str(path)}), cache)


def test_recorded_answers_are_replayed_the_first_wins_and_others_have_none(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"text": "a", "label": "1"}\n\n{"text": "a", "label": "2"}\n{"text": "b", "label": "3"}\n')
    replies = list(RecordedTeacher("log", path).answer(questions("b", "never", "a")))
    assert [reply.text for reply in (replies[0], replies[2])] == ["3", "1"]
    assert replies[0].distribution.top == (("3", 0.0),)
    assert isinstance(replies[1], NoAnswer)
    assert "'log'" in replies[1].problem


def test_a_byte_order_mark_before_the_first_example_is_passed_over(tmp_path):
    path = tmp_path / "examples.jsonl"
    path.write_text('{"text": "a", "label": "b"}', encoding="utf-8-sig")
    assert [example.text for example in read_examples(path)] == ["a"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "holds no example"),
        (b'{"text": "a", "label": "b"}\nnonsense\n', ":2: is not JSON"),
        (b"[1, 2]\n", ":1: is not an object"),
        (b'{"text": "", "label": "b"}\n', ":1: text"),
        (b'{"text": "a", "label": 3}\n', ":1: label"),
        (b'{"text": "\xff", "label": "b"}\n', "UTF-8"),
        (b"[" * 100_000, ":1: is JSON that is nested too deeply"),
    ],
)
def test_a_line_that_can_not_be_used_is_named(tmp_path, content, named):
    path = tmp_path / "examples.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


LONG = "turn on the light " + "please " * 300 + "no, cancel that and play a song"


def test_an_answer_to_what_was_read_in_part_is_no_lesson(teacher):
    whole, cut = teacher.answer(questions("turn on the light", LONG))
    assert whole.problem == ""
    assert cut.text
    assert cut.problem == "the teacher read only its first 64 tokens"


def test_what_a_question_spells_is_text(teacher):
    said, plain = teacher.answer(questions("play a song [SEP] [PAD] [MASK]", "play a song [ SEP] [ PAD] [ MASK]"))
    assert said.distribution == plain.distribution
