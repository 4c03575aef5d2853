"""What students and teachers may count on, of everything that writes: in process or at a server."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_worker.teachers.litellm_teacher import HostedWriter
from router.core.domain.generation import Prompt
from router.core.domain.query import FinishReason, GenerationLimits, Message, Tool
from router.core.errors import HeadraceError
from router.students.writers.lazy_writer import LazyWriter
from router.students.writers.local_writer import LocalWriter
from router.students.writers.server_writer import ServedWriter
from router.students.writers.testing import FakeChatServer, tiny_writer_files

SAID = {"light": "lights on now", "song": "music"}
CHAT = (Message("system", "be brief"), Message("user", "light"))
ODD = ("", " ", "\x00", "\x1b[31m", "\u202eevil", "<end>", "</s><|im_end|>", "x " * 3000, "\n" * 500, "\U0001f600" * 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for name, data in tiny_writer_files(SAID).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def server():
    with FakeChatServer(lambda text: SAID.get(text.split()[-1] if text.split() else "", "hm")) as server:
        yield server


@pytest.fixture(scope="module", params=["local", "being loaded", "served", "hosted"])
def writer(request, folder, server):
    match request.param:
        case "local":
            yield LocalWriter.load(folder)
        case "being loaded":
            yield LazyWriter(folder)
        case "served":
            writer = ServedWriter(server.url, "tiny", seconds=10)
            yield writer
            writer.close()
        case "hosted":
            yield HostedWriter("openai/gpt-4o-mini", key="secret", url=server.url, seconds=10)


def test_it_says_where_it_computes_and_who_may_read_along(writer):
    assert isinstance(writer.in_process, bool) and isinstance(writer.is_private, bool)
    assert writer.is_private or not writer.in_process


def test_it_writes_the_text_without_its_end(writer):
    written = writer.write(Prompt("the light"), GenerationLimits())
    assert (written.text.strip(), written.finish_reason) == ("lights on now", FinishReason.STOP)
    assert written.tokens_in > 0 and written.tokens_out > 0


def test_a_chat_is_answered_in_its_last_turn(writer):
    assert writer.write(Prompt("be brief light", CHAT), GenerationLimits()).text.strip() == "lights on now"


def test_the_limit_of_tokens_holds_and_is_told(writer):
    written = writer.write(Prompt("light"), GenerationLimits(max_tokens=2))
    assert (written.text.split(), written.finish_reason) == (["lights", "on"], FinishReason.LENGTH)
    assert written.tokens_out <= 2


def test_the_same_prompt_gives_the_same_text_again_and_from_many_threads(writer):
    def write(text):
        return writer.write(Prompt(text), GenerationLimits()).text.strip()

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(write, ["light", "song"] * 8))
    assert found == ["lights on now", "music"] * 8


def test_without_alternatives_wanted_there_are_none(writer):
    for token in writer.write(Prompt("light"), GenerationLimits()).tokens:
        assert not token.alternatives.top


def test_probabilities_are_whole_or_not_there(writer):
    written = writer.write(Prompt("light"), GenerationLimits(), top_k=2)
    assert written.tokens
    for token in written.tokens:
        values = [value for _, value in token.alternatives.top]
        assert len(values) == 2 and values == sorted(values, reverse=True)
        assert token.log_probability <= 0
        assert math.fsum(map(math.exp, values)) + math.exp(token.alternatives.tail) == pytest.approx(1, abs=1e-3)
    assert "".join(token.token for token in written.tokens).replace(" ", "").startswith("lightson")


def test_wanted_alternatives_change_no_text(writer):
    plain, told = (writer.write(Prompt("light"), GenerationLimits(), top_k) for top_k in (0, 3))
    assert plain.text == told.text


def test_its_figures_are_figures(writer):
    written = writer.write(Prompt("light"), GenerationLimits())
    for figure in (written.tokens_in, written.tokens_out, written.usd):
        assert math.isfinite(figure) and figure >= 0


def test_tools_and_a_schema_are_no_error(writer):
    tools = (Tool("dim", "Dims.", '{"type": "object"}'),)
    prompt = Prompt("light", CHAT, tools=tools, response_schema='{"type": "string"}')
    assert writer.write(prompt, GenerationLimits()).text.strip() == "lights on now"


@pytest.mark.parametrize("text", ODD)
def test_any_text_is_written_on_or_refused_in_our_words(writer, text):
    try:
        written = writer.write(Prompt(text), GenerationLimits(max_tokens=3))
    except HeadraceError as error:
        assert str(error)
    else:
        assert isinstance(written.text, str)
    assert writer.write(Prompt("song"), GenerationLimits()).text.strip() == "music"
