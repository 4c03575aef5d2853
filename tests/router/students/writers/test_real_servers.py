"""The same questions to real servers of language models, ``transformers serve`` and llama.cpp's, and to the fake one.

The real ones serve one tiny model, made on the spot, so that what they write can be held against what it writes in this
process.
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import byte_tokenizer
from router.core.domain.generation import Prompt
from router.core.domain.query import FinishReason, GenerationLimits, Message
from router.core.errors import BadInputError
from router.students.writers.local_writer import LocalWriter, prompt_ids
from router.students.writers.server_writer import ServedWriter
from router.students.writers.testing import FakeChatServer

REAL = [pytest.param(name, marks=pytest.mark.slow) for name in ("transformers_serve", "llama_cpp")]
START_SECONDS = 200
WINDOW = 256
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
CHAT = Prompt("", (Message("system", "be brief"), Message("user", "turn the light on")))
ALONE = Prompt("", (Message("user", "play a song"),))
SAID = "light on in the hall"
LIMITS = GenerationLimits(max_tokens=30)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The model in this process, and the folder that it lies in."""
    tokenizer = byte_tokenizer(["turn the light on in the hall", "play a song", "system user assistant: brief"], 400)
    tokenizer.chat_template = TEMPLATE
    folder = tmp_path_factory.mktemp("model")
    language = make_model("llama", tokenizer, Size(window=WINDOW), seed=3)
    teach(language, SAID)
    language.save(folder)
    return LocalWriter.load(folder), folder


def teach(language, text):
    """Have it say one text to every chat of these tests, so that what it writes can be read."""
    target = language.tokenizer(text, add_special_tokens=False)["input_ids"] + [language.tokenizer.eos_token_id]
    rows = [(prompt_ids(language.tokenizer, prompt), target) for prompt in (CHAT, ALONE)]
    optimiser = torch.optim.Adam(language.model.parameters(), 1e-2)
    for _ in range(40):
        for prompt, wanted in rows:
            logits = language.model(torch.tensor([prompt + wanted[:-1]])).logits[0, len(prompt) - 1 :]
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits, torch.tensor(wanted)).backward()
            optimiser.step()


@contextmanager
def running(command, port, healthy, said):
    """A server as a process, once its port answers."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with said.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            wait_for(f"http://127.0.0.1:{port}{healthy}", process, said)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(url, process, said):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, said.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)  # another process: nothing tells when it listens
    pytest.fail(f"no answer at {url}: {said.read_text()}")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def transformers_serve(local, tmp_path_factory):
    port, folder = free_port(), local[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--device", "cpu", str(folder)]
    with running(command, port, "/health", tmp_path_factory.mktemp("said") / "log") as url:
        yield ServedWriter(url, str(folder))


@pytest.fixture(scope="module")
def llama_cpp(local, tmp_path_factory):
    for package in ("llama_cpp", "gguf"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install --group servers")
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(local[0].language, file)
    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(file), "--model_alias", "tiny"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", str(WINDOW), "--logits_all", "True"]
    command += ["--n_threads", "1"]
    with running(command, port, "/v1/models", file.with_name("log")) as url:
        yield ServedWriter(url, "tiny")


def write_gguf(language, file):
    """The model as llama.cpp reads it: the same weights, queries and keys in its order of rotation."""
    import gguf

    config, state = language.model.config, {name: t.numpy() for name, t in language.model.state_dict().items()}
    inner = json.loads(language.tokenizer.backend_tokenizer.to_str())
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(WINDOW)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(len(language.tokenizer))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    special = {token["id"] for token in inner["added_tokens"]}
    names = language.tokenizer.convert_ids_to_tokens(list(range(len(language.tokenizer))))
    writer.add_token_list(names)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if position in special else gguf.TokenType.NORMAL for position in range(len(names))]
    )
    writer.add_token_merges([" ".join(pair) for pair in inner["model"]["merges"]])
    writer.add_bos_token_id(language.tokenizer.bos_token_id)
    writer.add_eos_token_id(language.tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    mapping = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weights in state.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            rows = weights.shape[0]
            weights = weights.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(rows, -1)
        writer.add_tensor(mapping.get_name(name, try_suffixes=(".weight",)), weights.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def fake():
    with FakeChatServer(lambda text: SAID) as server:
        yield ServedWriter(server.url, "tiny")


@pytest.fixture(params=["fake", *REAL])
def served(request):
    """Each server in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=REAL)
def real(request):
    """Each real server in turn."""
    return request.getfixturevalue(request.param)


def test_a_server_says_what_the_model_was_taught(served):
    written = served.write(CHAT, LIMITS)
    assert (written.text, written.finish_reason) == (SAID, FinishReason.STOP)
    assert written.tokens_in > 0


def test_a_server_writes_what_the_model_writes_here(real, local):
    expected, written = local[0].write(CHAT, LIMITS), real.write(CHAT, LIMITS)
    assert written.text == expected.text == SAID
    assert written.tokens_in == expected.tokens_in
    assert written.tokens_out in (expected.tokens_out - 1, expected.tokens_out)  # some count the end, some don't


def test_a_text_alone_is_a_conversation_of_one(served):
    assert served.write(Prompt("play a song"), LIMITS).text == served.write(ALONE, LIMITS).text == SAID


def test_a_limit_holds(served):
    written = served.write(CHAT, GenerationLimits(max_tokens=3))
    assert written.tokens_out == 3
    assert written.finish_reason is FinishReason.LENGTH


def test_a_stop_ends_the_answer(served):
    written = served.write(CHAT, GenerationLimits(max_tokens=30, stop=(" in",)))
    assert written.text == "light on"
    assert written.finish_reason is FinishReason.STOP


def test_a_seed_gives_the_same_draw(served):
    warm = GenerationLimits(max_tokens=12, temperature=1.5, seed=4)
    assert served.write(CHAT, warm).text == served.write(CHAT, warm).text


@pytest.mark.slow
def test_transformers_serve_gives_no_token_probabilities(transformers_serve):
    assert transformers_serve.write(CHAT, LIMITS, 3).tokens == ()


@pytest.mark.slow
def test_llama_cpp_gives_the_models_own_token_probabilities(llama_cpp, local):
    expected, written = local[0].write(CHAT, LIMITS, 1), llama_cpp.write(CHAT, LIMITS, 1)
    ours = [token.log_probability for token in expected.tokens[:-1]]  # the end is no token to it
    assert [token.log_probability for token in written.tokens] == pytest.approx(ours, abs=0.01)
    assert "".join(token.token for token in written.tokens) == SAID
    for token, other in zip(expected.tokens, written.tokens, strict=False):
        assert other.alternatives.tail == pytest.approx(token.alternatives.tail, abs=0.05)


@pytest.mark.slow
def test_a_prompt_over_the_window_of_llama_cpp_is_bad_input(llama_cpp):
    with pytest.raises(BadInputError, match="input is longer than the window of the model 'tiny'"):
        llama_cpp.write(Prompt("turn the light on " * WINDOW))


def test_many_prompts_use_one_connection(served, monkeypatch):
    opened, connect = [], socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda *given, **named: opened.append(given) or connect(*given, **named)
    )
    for _ in range(3):
        served.write(CHAT, GenerationLimits(max_tokens=1))
    assert len(opened) <= 1  # none where it has one already
