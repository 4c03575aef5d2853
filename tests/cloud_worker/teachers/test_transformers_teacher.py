"""The teacher that writes in its own process, over models made on the spot."""

import copy
import json
import logging

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from cloud_worker.config.teachers import REASONED, GeneratingSettings
from cloud_worker.language.generation import write_ids
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import byte_tokenizer
from cloud_worker.teachers import NoAnswer, Question
from cloud_worker.teachers import transformers_teacher as generating
from cloud_worker.teachers.loader import load_teacher
from cloud_worker.teachers.prompts import Wording
from cloud_worker.teachers.transformers_teacher import GeneratingTeacher
from router.core.domain.query import FinishReason, GenerationLimits, Message, Tool, Wanted
from router.core.errors import ModelError
from router.students.writers import transformers_loader as loading
from router.students.writers.local_writer import LocalWriter
from router.students.writers.testing import tiny_writer_files
from router.students.writers.transformers_loader import Form, LanguageModel

# Each word knows what follows it; a chain holds a word once.
WORDS = {"lamp": "dark room the answer is on", "gadget": "unclear", "json": "[1]", "long": "a b c d e f g"}
TEXTS = ["turn on the lamp", "what is the weather like today", "play a song by somebody", "two and two is four"]
REASON = Wanted(rationale=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("writer")
    for name, content in tiny_writer_files(WORDS).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def teacher(folder, tmp_path_factory):
    settings = GeneratingSettings(name="writer", model=str(folder), rationale_prompt="{text}")
    return load_teacher(settings, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", params=["llama", "t5"])
def random_language(request):
    return make_model(request.param, byte_tokenizer(TEXTS, 340, 128), Size(window=128))


@pytest.fixture(scope="module")
def random_teacher(random_language):
    return GeneratingTeacher("random", random_language, "v1", Wording())


@pytest.fixture(scope="module")
def bart():
    """Random weights, 32 positions of a table: a position beyond them is an error."""
    tokenizer = byte_tokenizer(TEXTS, 340, 32)
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=16, max_position_embeddings=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, decoder_start_token_id=2, forced_eos_token_id=None,
        init_std=0.5,
    )  # fmt: skip
    torch.manual_seed(4)
    return LanguageModel(BartForConditionalGeneration(config).eval(), tokenizer, Form.SEQ2SEQ, 32)


def ask(teacher, text, **fields):
    [reply] = teacher.answer([Question(text, **fields)])
    return reply


def test_it_writes_what_its_model_writes_and_says_what_that_took(teacher):
    reply = ask(teacher, "json")
    assert (reply.text, reply.version, reply.finish_reason) == ("[1]", teacher.version, FinishReason.STOP)
    assert (reply.tokens_in, reply.tokens_out) == (1, 2)  # the word and the end
    assert (reply.tokens, reply.rationale, reply.problem) == ((), "", "")


def test_together_or_alone_it_says_the_same(random_teacher):
    limits = GenerationLimits(max_tokens=6)
    together = list(random_teacher.answer([Question(text, limits=limits) for text in TEXTS]))
    for text, reply in zip(TEXTS, together, strict=True):
        alone = ask(random_teacher, text, limits=GenerationLimits(max_tokens=6, stop=("\x00",)))
        assert (reply.text, reply.tokens_out) == (alone.text, alone.tokens_out)


def test_what_its_folder_says_of_ends_and_penalties_is_the_same_for_one_and_for_many(random_teacher, random_language):
    language = random_language
    settings, before = language.model.generation_config, copy.deepcopy(language.model.generation_config)
    first = ask(random_teacher, TEXTS[0], limits=GenerationLimits(max_tokens=6), wanted=Wanted(top_k=1)).tokens[1]
    settings.repetition_penalty, settings.no_repeat_ngram_size = 5.0, 1
    settings.eos_token_id = [language.tokenizer.eos_token_id, language.tokenizer.convert_tokens_to_ids(first.token)]
    try:
        teacher = GeneratingTeacher("random", language, "v1", Wording())
        limits = GenerationLimits(max_tokens=6)
        together = list(teacher.answer([Question(text, limits=limits) for text in TEXTS]))
        assert together[0].tokens_out <= 2
        for text, reply in zip(TEXTS, together, strict=True):
            alone = teacher.answer_one(Question(text, limits=limits))
            assert (reply.text, reply.tokens_out, reply.finish_reason) == (
                alone.text,
                alone.tokens_out,
                alone.finish_reason,
            )
    finally:
        language.model.generation_config = before


def test_an_answer_of_a_sequence_to_sequence_model_ends_where_its_window_does_and_keeps_no_neighbour_back(bart):
    teacher = GeneratingTeacher("bart", bart, "v1", Wording())
    limits = [GenerationLimits(max_tokens=most) for most in (20, 64, 20)]
    replies = list(teacher.answer([Question(TEXTS[0], limits=limit) for limit in limits]))
    assert [reply.tokens_out for reply in replies] == [20, 32, 20]
    assert [reply.finish_reason for reply in replies] == [FinishReason.LENGTH] * 3


def test_places_count_from_the_start_of_a_question_however_long_its_neighbours_are(bart):
    teacher = GeneratingTeacher("bart", bart, "v1", Wording())
    limits = GenerationLimits(max_tokens=8)
    wanted = Wanted(top_k=1)
    questions = [Question(text, limits=limits, wanted=wanted) for text in ("go", TEXTS[0])]
    for reply, question in zip(teacher.answer(questions), questions, strict=True):
        alone = teacher.answer_one(question)
        ours, theirs = ([token.log_probability for token in one.tokens] for one in (reply, alone))
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_a_question_that_breaks_the_model_fails_alone(folder, caplog):
    language = loading.load_language(str(folder))
    teacher = GeneratingTeacher("writer", language, "v1", Wording())
    forward = language.model.forward
    broken = language.tokenizer("gadget")["input_ids"][0]

    def breaking(input_ids=None, **given):
        if broken in input_ids:
            raise IndexError("index out of range in self")
        return forward(input_ids=input_ids, **given)

    language.model.forward = breaking
    replies = list(teacher.answer([Question(text) for text in ("json", "gadget", "lamp")]))
    assert [replies[0].text, replies[2].text] == ["[1]", "dark room the answer is on"]
    assert isinstance(replies[1], NoAnswer)
    assert "index out of range" not in replies[1].problem


def test_answers_come_batch_by_batch(teacher, monkeypatch):
    written = []
    monkeypatch.setattr(generating, "write_ids", lambda *given: written.append(given) or write_ids(*given))
    questions = [Question("json", limits=GenerationLimits(max_tokens=most)) for most in (2, 3, 2)]
    replies = teacher.answer(questions)
    next(replies)
    assert len(written) == 1
    assert [reply.text for reply in replies] == ["[1]", "[1]"]
    assert len(written) == 2


def test_a_text_is_one_turn_of_a_chat_where_the_model_has_a_template_and_its_tools_stand_in_it():
    language = make_model("llama", byte_tokenizer(TEXTS, 340, 128), Size(window=128))
    teacher = GeneratingTeacher("random", language, "v1", Wording())
    limits, tools = GenerationLimits(max_tokens=4), (Tool("dim"),)
    plain = [teacher.answer_one(Question(TEXTS[0], limits=limits)).tokens_in for _ in range(2)]
    language.tokenizer.chat_template = (
        "{% for message in messages %}[{{ message.role }}] {{ message.content }}{% endfor %}"
        "{% if tools %}{{ tools[0].function.name }}{% endif %}"
    )
    asked = [
        Question(TEXTS[0], limits=limits),
        Question(TEXTS[0], messages=(Message("user", TEXTS[0]),), limits=limits),
    ]
    text, chat = teacher.answer(asked)
    assert (text.text, text.tokens_in) == (chat.text, chat.tokens_in)
    assert text.tokens_in > plain[0]
    assert teacher.answer_one(Question(TEXTS[0], limits=limits, tools=tools)).tokens_in > text.tokens_in


def test_every_question_keeps_its_own_limit_and_its_own_place(teacher):
    limits = [2, 5, 1, 2, 60]
    replies = list(teacher.answer([Question("long", limits=GenerationLimits(max_tokens=most)) for most in limits]))
    assert [reply.text for reply in replies] == ["a b", "a b c d e", "a", "a b", "a b c d e f g"]
    assert [reply.finish_reason for reply in replies[:4]] == [FinishReason.LENGTH] * 4


def test_a_reason_stands_before_the_answer_and_comes_apart_from_it(teacher):
    reply = ask(teacher, "lamp", wanted=REASON)
    assert (reply.text, reply.rationale, reply.problem) == ("on", "dark room", "")


def test_an_answer_without_a_readable_reason_goes_out_and_is_no_lesson(teacher):
    reply = ask(teacher, "gadget", wanted=REASON)
    assert (reply.text, reply.rationale) == ("unclear", "")
    assert reply.problem


def test_a_wish_of_the_caller_alone_changes_no_answer(teacher):
    plain, wished = ask(teacher, "lamp"), ask(teacher, "lamp", wanted=REASON, reason_apart=True)
    assert wished.text == plain.text == "dark room the answer is on"
    assert wished.rationale == "dark room"
    assert wished.tokens_out > plain.tokens_out


@pytest.mark.parametrize(
    ("text", "kind", "problem"),
    [
        ("json", "array", ""),
        ("json", "object", "the answer breaks its schema: $: [1] is not of type 'object'"),
        ("gadget", "array", "the answer is no JSON"),
    ],
)
def test_an_answer_that_breaks_the_schema_is_no_lesson(teacher, text, kind, problem):
    reply = ask(teacher, text, response_schema=json.dumps({"type": kind}))
    assert reply.text
    assert reply.problem == problem


def test_tokens_come_with_as_many_alternatives_as_are_wanted_and_a_tail(teacher):
    reply = ask(teacher, "json", wanted=Wanted(top_k=2))
    assert [token.token for token in reply.tokens] == ["[1]", "<end>"]
    for token in reply.tokens:
        assert len(token.alternatives.top) == 2
        assert token.alternatives.tail is not None


def test_a_chat_is_read_as_its_transcript_where_the_tokenizer_has_no_template(teacher):
    messages = (Message("user", "gadget"), Message("assistant", "unclear"), Message("user", "json"))
    reply = ask(teacher, "user: gadget\nassistant: unclear\nuser: json", messages=messages)
    assert reply.text == "[1]"


def test_what_is_longer_than_the_window_is_refused_and_its_neighbours_are_answered(teacher):
    replies = list(teacher.answer([Question("json"), Question("lamp " * 40), Question("gadget")]))
    assert [replies[0].text, replies[2].text] == ["[1]", "unclear"]
    assert isinstance(replies[1], NoAnswer)
    assert replies[1].field == "input"
    assert "window" in replies[1].problem


def test_a_stop_that_the_model_can_not_write_is_refused_by_name(teacher):
    reply = ask(teacher, "json", limits=GenerationLimits(stop=("never seen",)))
    assert isinstance(reply, NoAnswer)
    assert (reply.field, "'never seen'" in reply.problem) == ("limits.stop", True)


def test_a_stop_ends_the_answer(teacher):
    assert ask(teacher, "long", limits=GenerationLimits(stop=("c",))).text == "a b"


def test_another_wording_or_model_is_another_version(folder, tmp_path):
    settings = GeneratingSettings(name="writer", model=str(folder))
    version = load_teacher(settings, tmp_path).version
    assert load_teacher(settings, tmp_path).version == version
    other = settings.model_copy(update={"prompt": "Say: {text}"})
    assert load_teacher(other, tmp_path).version != version
    for name, content in tiny_writer_files({**WORDS, "more": "words"}).items():
        (tmp_path / name).write_bytes(content)
    assert load_teacher(settings.model_copy(update={"model": str(tmp_path)}), tmp_path).version != version


def test_a_teacher_computes_on_a_gpu_where_torch_sees_one_and_a_student_on_the_processor(folder, tmp_path, monkeypatch):
    assert loading.fastest_device() == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert loading.fastest_device() == "cuda"
    loaded = []

    def load(*what, **how):
        loaded.append(loading.load_language(*what, **how))
        return loaded[-1]

    monkeypatch.setattr(generating, "load_language", load)
    monkeypatch.setattr(generating, "fastest_device", lambda: "meta")  # a device that needs no hardware
    monkeypatch.setattr(
        generating,
        "load_language",
        lambda *what, **how: loaded.append(loading.load_language(*what, **how)) or loaded[0],
    )
    load_teacher(GeneratingSettings(name="writer", model=str(folder)), tmp_path)
    assert loaded[0].model.device.type == "meta"
    assert LocalWriter.load(folder).language.model.device.type == "cpu"


def test_a_tokenizer_that_does_not_fit_is_said_before_anything_is_answered(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name, content in tiny_writer_files({f"w{position}": "x" for position in range(40)}).items():
        if name.startswith("tokenizer"):
            (tmp_path / name).write_bytes(content)
    settings = GeneratingSettings(name="writer", model=str(tmp_path))
    with pytest.raises(ModelError, match="take the tokenizer of this model"):
        load_teacher(settings, tmp_path)


def test_without_other_words_it_asks_for_steps(teacher):
    wording = Wording.of("{text}", REASONED)
    prompt = wording.prompt_of(Question("two and two?", wanted=REASON))
    assert prompt.text.startswith("two and two?\n\nThink step by step")
    assert wording.prompt_of(Question("two and two?")).text == "two and two?"


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.ERROR)
