"""What a gateway may count on, of every kind of teacher that ``cloud.toml`` knows, and of one that a user wrote."""

import importlib.util
import json
import logging
import math
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest

from cloud_worker.config.teachers import (
    KINDS,
    CompatibleSettings,
    EncoderSettings,
    GeneratingSettings,
    HostedSettings,
    PatternsSettings,
    RecordedSettings,
    VllmSettings,
)
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import word_tokenizer
from cloud_worker.teachers.base import NoAnswer, NotNow, Question, TeacherAnswer
from cloud_worker.teachers.loader import load_teacher
from cloud_worker.teachers.prepare import prepare_teacher
from router.core.domain.query import GenerationLimits, Wanted
from router.students.writers.testing import FakeChatServer, tiny_writer_files

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_teacher.py"
KNOWN = ("switch the oven off", "make the bed")  # what each of them can answer
ODD = (
    *("", " ", "\x00", "\x1b[31mred", "a\ufffdb", "\u202eevil", "ﬁne", "\U0001f600" * 50, "{text}", "<unk> <end>"),
    *("[/INST] </s> <|im_end|>", "x" * 5000, "\n" * 2000, '{"text": "a"}', "the answer is"),
)
LABELS = {KNOWN[0]: "kitchen", KNOWN[1]: "bedroom"}


def examples_in(folder):
    """Lines of text and label, as teachers and students of labels learn from them."""
    path = folder / "examples.jsonl"
    rows = [
        {"text": f"{text} {word}".strip(), "label": LABELS[text]} for word in ("", "now", "please") for text in KNOWN
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def settings_of(kind, folder, url):
    """The smallest teacher of a kind that answers what is ``KNOWN``."""
    match kind:
        case "recorded":
            return RecordedSettings(name="big", answers=examples_in(folder))
        case "encoder":
            return EncoderSettings(name="big", model="minilm", examples=examples_in(folder))
        case "patterns":
            model = folder / "scorer"
            make_model(
                "llama", word_tokenizer([*KNOWN, "this is about kitchen bedroom"], window=64), Size(window=64)
            ).save(model)
            return PatternsSettings(
                name="big", model=str(model), patterns=["{text} this is about"], labels=LABELS.values()
            )
        case "generating":
            model = folder / "writer"
            model.mkdir()
            for name, data in tiny_writer_files({"off": "kitchen", "bed": "bedroom"}).items():
                (model / name).write_bytes(data)
            return GeneratingSettings(name="big", model=str(model))
        case "compatible":
            return CompatibleSettings(name="big", url=url, model="large", seconds=10)
        case "hosted":
            return HostedSettings(
                name="big", model="openai/gpt-4o-mini", url=url, api_key_variable="BIG_KEY", seconds=10
            )
        case "vllm":
            return VllmSettings(name="big", model="org/model", seconds=10)
    raise AssertionError(f"a kind of teacher that this suite does not know: {kind}")


@pytest.fixture(scope="module")
def server():
    with FakeChatServer(lambda text: LABELS.get(text, "hall")) as server:
        yield server


@pytest.fixture(scope="module", params=[*KINDS, "a user's own"])
def made(request, server, tmp_path_factory):
    """How to open the teacher of a kind, and where."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIG_KEY", "secret")
        patch.setattr("cloud_worker.teachers.vllm_teacher.url_of", lambda settings: server.url)
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
        if request.param not in KINDS:
            described = importlib.util.spec_from_file_location("own_teacher", EXAMPLE)
            module = importlib.util.module_from_spec(described)
            described.loader.exec_module(module)
            yield SimpleNamespace(name="rooms", settings=None, open=module.RoomTeacher)
            return
        settings, cache = settings_of(request.param, folder, server.url), folder / "cache"
        prepare_teacher(settings, cache, lambda stage, share: None)
        yield SimpleNamespace(name="big", settings=settings, open=lambda: load_teacher(settings, cache))


@pytest.fixture(scope="module")
def teacher(made):
    return made.open()


def replies_of(teacher, *texts, **fields):
    return list(teacher.answer([Question(text, limits=GenerationLimits(max_tokens=4), **fields) for text in texts]))


def test_it_is_called_as_configured_and_says_how_many_may_ask_it(made, teacher):
    assert teacher.name == made.name
    assert isinstance(teacher.threads, int) and teacher.threads >= 1


def test_it_answers_what_it_knows(teacher):
    for reply in replies_of(teacher, *KNOWN):
        assert isinstance(reply, TeacherAnswer)
        assert reply.text
        assert not reply.problem


def test_nobody_asks_and_nobody_is_answered(teacher):
    assert list(teacher.answer([])) == []


def test_its_version_is_short_plain_and_that_of_every_answer(teacher):
    assert teacher.version and teacher.version.isprintable() and len(teacher.version) <= 128
    assert {reply.version for reply in replies_of(teacher, *KNOWN)} == {teacher.version}


def test_another_copy_has_the_same_version_and_says_the_same(made, teacher):
    other = made.open()
    assert other.version == teacher.version
    assert [reply.text for reply in replies_of(other, *KNOWN)] == [reply.text for reply in replies_of(teacher, *KNOWN)]


def test_the_same_question_gets_the_same_answer_alone_and_in_company(teacher):
    alone = [replies_of(teacher, text)[0].text for text in KNOWN]
    among = [reply.text for reply in replies_of(teacher, *KNOWN, *ODD, *KNOWN) if isinstance(reply, TeacherAnswer)]
    assert among[:2] == among[-2:] == alone


def test_any_text_gets_one_reply_in_its_place_and_breaks_nothing(teacher):
    replies = replies_of(teacher, *ODD, KNOWN[0])
    assert len(replies) == len(ODD) + 1
    for reply in replies:
        assert isinstance(reply, TeacherAnswer | NoAnswer | NotNow)
        if isinstance(reply, NoAnswer):
            assert reply.problem
            assert "/" not in reply.problem  # a caller reads it: no path of ours
    assert replies[-1].text == replies_of(teacher, KNOWN[0])[0].text


def test_its_figures_are_figures(teacher):
    for reply in replies_of(teacher, *KNOWN, wanted=Wanted(top_k=2)):
        for figure in (reply.milliseconds, reply.tokens_in, reply.tokens_out, reply.usd):
            assert math.isfinite(figure) and figure >= 0


def test_its_probabilities_are_log_probabilities_and_none_is_made_up(teacher):
    for reply in replies_of(teacher, *KNOWN, wanted=Wanted(top_k=2)):
        for held in (reply.distribution, *(token.alternatives for token in reply.tokens)):
            values = [value for _, value in held.top]
            assert values == sorted(values, reverse=True)
            assert all(value <= 1e-9 for value in values)
            whole = math.fsum(map(math.exp, values)) + (0.0 if held.tail is None else math.exp(held.tail))
            assert whole <= 1 + 1e-3
        assert all(token.log_probability <= 1e-9 for token in reply.tokens)
        if reply.distribution.top:
            assert reply.distribution.top[0][0] == reply.text


def test_what_is_wanted_besides_changes_no_answer(teacher):
    plain = [reply.text for reply in replies_of(teacher, *KNOWN)]
    assert [
        reply.text for reply in replies_of(teacher, *KNOWN, wanted=Wanted(top_k=3, rationale=True), reason_apart=True)
    ] == plain


def test_its_settings_and_replies_travel_between_processes(made, teacher):
    replies = replies_of(teacher, *KNOWN)
    assert cloudpickle.loads(cloudpickle.dumps((made.settings, replies))) == (made.settings, replies)
