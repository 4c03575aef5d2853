import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from cloud_worker.language.generation import write as write_batch
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import byte_tokenizer, word_tokenizer
from router.core.domain.generation import Prompt
from router.core.domain.query import FinishReason, GenerationLimits, Message, Tool
from router.core.errors import BadInputError, ModelError
from router.io.extras import advice
from router.students.writers.local_writer import LocalWriter, prompt_ids
from router.students.writers.testing import tiny_writer_files

TEXTS = ["turn the light on in the hall", "play a song in the kitchen, then stop", "0 1 2 3 4 5 6 7 8 9"]
ASKED = Prompt("turn the light on")
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "{{ message.role }} {{ message.content }} {% endfor %}{% if tools %}{{ tools[0].function.name }}{% endif %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer(TEXTS, 400, window=64)


@pytest.fixture(scope="module", params=["llama", "t5", "gemma"])
def writer(request, tokenizer):
    return LocalWriter(make_model(request.param, tokenizer, Size(window=64)))


@pytest.fixture(scope="module")
def causal(tokenizer):
    return LocalWriter(make_model("llama", tokenizer, Size(window=64)))


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A writer that knows what it says: "light" is followed by "lights on"."""
    folder = tmp_path_factory.mktemp("chain")
    for name, data in tiny_writer_files({"light": "lights on", "song": "music then stop"}).items():
        (folder / name).write_bytes(data)
    return LocalWriter.load(folder)


def test_a_model_in_a_folder_answers(chain):
    written = chain.write(Prompt("the light"))
    assert (written.text, written.finish_reason) == ("lights on", FinishReason.STOP)
    assert [token.token for token in written.tokens] == ["lights", "on", "<end>"]
    assert all(token.log_probability > -1e-3 for token in written.tokens)
    assert (written.tokens_in, written.tokens_out) == (2, 3)


def test_an_unknown_word_makes_it_unsure(chain):
    assert chain.write(Prompt("zebra")).tokens[0].log_probability < -1


def test_it_writes_what_the_library_itself_would(writer):
    (expected,) = write_batch(writer.language, [ASKED.text], max_tokens=12, top_k=2)
    written = writer.write(ASKED, GenerationLimits(max_tokens=12), top_k=2)
    assert written.text == expected.text
    assert written.finish_reason is expected.finish_reason
    for one, other in zip(written.tokens, expected.tokens, strict=True):
        assert one.token == other.token
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)
        assert [name for name, _ in one.alternatives.top] == [name for name, _ in other.alternatives.top]


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_log_probabilities_are_the_models_own_and_sum_to_one(writer, temperature):
    limits = GenerationLimits(max_tokens=8, temperature=temperature, seed=1)
    whole = len(writer.language.tokenizer)
    for token in writer.write(ASKED, limits, top_k=whole).tokens:
        chances = dict(token.alternatives.top)
        assert sum(math.exp(value) for value in chances.values()) == pytest.approx(1, abs=1e-4)
        assert chances[token.token] == pytest.approx(token.log_probability)
        assert token.alternatives.tail is None


def test_alternatives_and_their_tail_sum_to_one(causal):
    for token in causal.write(ASKED, GenerationLimits(max_tokens=4), top_k=3).tokens:
        top = [value for _, value in token.alternatives.top]
        assert len(top) == 3
        assert top == sorted(top, reverse=True)
        assert sum(map(math.exp, top)) + math.exp(token.alternatives.tail) == pytest.approx(1, abs=1e-4)
    assert not causal.write(ASKED, GenerationLimits(max_tokens=2)).tokens[0].alternatives.top


def test_greedy_says_the_likeliest_token(causal):
    for token in causal.write(ASKED, GenerationLimits(max_tokens=8), top_k=1).tokens:
        assert token.alternatives.top[0][0] == token.token


def test_the_same_prompt_gives_the_same_text_and_a_seed_the_same_draw(writer):
    warm = GenerationLimits(max_tokens=16, temperature=3.0, seed=7)
    assert writer.write(ASKED) == writer.write(ASKED)
    assert writer.write(ASKED, warm) == writer.write(ASKED, warm)
    drawn = {writer.write(ASKED, GenerationLimits(max_tokens=16, temperature=3.0, seed=seed)).text for seed in range(4)}
    assert len(drawn) > 1


def test_drawing_leaves_the_global_random_state_alone(causal):
    before = torch.get_rng_state()
    causal.write(ASKED, GenerationLimits(max_tokens=4, temperature=1.0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_limit_ends_the_answer_and_says_so(chain):
    written = chain.write(Prompt("song"), GenerationLimits(max_tokens=2))
    assert (written.text, written.finish_reason, len(written.tokens)) == ("music then", FinishReason.LENGTH, 2)


@pytest.mark.parametrize(
    ("stop", "text"),
    [(("then",), "music"), (("stop", "then"), "music"), (("c t",), "musi"), (("play",), "music then stop")],
)
def test_a_stop_ends_the_answer_before_itself(tmp_path, stop, text):
    for name, data in tiny_writer_files({"song": "music then stop", "c": "t", "play": "on"}).items():
        (tmp_path / name).write_bytes(data)
    written = LocalWriter.load(tmp_path).write(Prompt("song"), GenerationLimits(stop=stop))
    assert (written.text, written.finish_reason) == (text, FinishReason.STOP)


def test_a_stop_may_span_tokens(causal):
    whole = causal.write(ASKED, GenerationLimits(max_tokens=20)).text
    assert len(whole) > 6
    stop = whole[3:6]
    cut = causal.write(ASKED, GenerationLimits(max_tokens=20, stop=(stop,)))
    assert cut.text == whole[: whole.index(stop)].strip()
    assert cut.finish_reason is FinishReason.STOP


def test_a_stop_that_can_not_be_written_is_refused(chain):
    with pytest.raises(BadInputError, match=r"limits\.stop holds 'zebra'"):
        chain.write(Prompt("song"), GenerationLimits(stop=("zebra",)))


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_prompt_over_the_window_is_refused_by_name(tokenizer, family):
    writer = LocalWriter(make_model(family, tokenizer, Size(window=64)))
    with pytest.raises(BadInputError, match=r"input has \d+ tokens; the model's window leaves 6[34]"):
        writer.write(Prompt("light " * 100))


def test_an_answer_ends_where_the_window_does(causal):
    long = Prompt(" ".join(TEXTS[0] for _ in range(6)))
    read = len(prompt_ids(causal.language.tokenizer, long))
    assert 40 < read < 64
    written = causal.write(long, GenerationLimits(max_tokens=60))
    assert written.tokens_in + len(written.tokens) == 64
    assert written.finish_reason is FinishReason.LENGTH


def test_an_answer_to_what_is_read_apart_ends_where_the_window_does_too(tokenizer):
    language = make_model("t5", tokenizer, Size(window=64))
    limits = GenerationLimits(max_tokens=1500)
    assert len(LocalWriter(language).write(ASKED, limits).tokens) <= 64
    (written,) = write_batch(language, [ASKED.text], max_tokens=1500)
    assert len(written.tokens) <= 64


def test_threads_may_share_a_writer(writer):
    prompts = [Prompt(f"{text} {number}") for text in TEXTS[:2] for number in range(6)]
    limits = GenerationLimits(max_tokens=8)
    alone = [writer.write(prompt, limits) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda prompt: writer.write(prompt, limits), prompts)) == alone


def test_one_thread_computes_and_the_process_keeps_its_own(causal):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        causal.write(ASKED, GenerationLimits(max_tokens=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_chat_template_is_used_where_there_is_one():
    tokenizer = byte_tokenizer(TEXTS, 400)
    chat = Prompt("flat", (Message("system", "brief"), Message("user", "hi")), (Tool("dim"),))
    assert tokenizer.decode(prompt_ids(tokenizer, chat), skip_special_tokens=True) == "flat"
    tokenizer.chat_template = TEMPLATE
    assert tokenizer.decode(prompt_ids(tokenizer, chat)) == "system brief user hi dimassistant"
    assert tokenizer.decode(prompt_ids(tokenizer, Prompt("flat")), skip_special_tokens=True) == "flat"


def test_a_conversation_that_the_template_refuses_is_bad_input():
    tokenizer = byte_tokenizer(TEXTS, 400)
    tokenizer.chat_template = TEMPLATE
    with pytest.raises(BadInputError, match=r"chat\.messages do not fit the model's chat template: no tools"):
        prompt_ids(tokenizer, Prompt("flat", (Message("tool", "hi"),)))


def test_a_model_that_names_further_ends_stops_at_them(tmp_path):
    for name, data in tiny_writer_files({"song": "music then stop"}).items():
        (tmp_path / name).write_bytes(data)
    writer = LocalWriter.load(tmp_path)
    token = writer.language.tokenizer.convert_tokens_to_ids("then")
    writer.language.model.generation_config.eos_token_id = [writer.language.tokenizer.eos_token_id, token]
    assert LocalWriter(writer.language).write(Prompt("song")).text == "music"


def test_a_tokenizer_without_padding_will_do(tmp_path):
    files = tiny_writer_files({"light": "on"})
    files["tokenizer_config.json"] = files["tokenizer_config.json"].replace(
        b'"pad_token": "<end>"', b'"pad_token": null'
    )
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert LocalWriter.load(tmp_path).write(Prompt("light")).text == "on"


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    files = tiny_writer_files({"light": "on"})
    other = tiny_writer_files({"light": "on", "song": "music then stop"})
    for name, data in {**files, "tokenizer.json": other["tokenizer.json"]}.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match="take the tokenizer of this model"):
        LocalWriter.load(tmp_path)


def test_a_label_head_writes_nothing():
    model = make_model("bert", word_tokenizer(TEXTS), labels=("a", "b"))
    with pytest.raises(ModelError, match="writes no text"):
        LocalWriter(model)


def test_without_torch_the_extra_is_named(tmp_path):
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from router.core.errors import ModelError\n"
        "from router.students.writers.local_writer import LocalWriter\n"
        f"try: LocalWriter.load({str(tmp_path)!r})\n"
        "except ModelError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert f"needs torch: {advice('edge-torch')}" in done.stdout


def test_importing_the_writer_imports_no_torch():
    script = "import sys, router.students.loader; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["False", "False"]
