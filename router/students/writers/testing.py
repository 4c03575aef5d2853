"""For tests: a server of a language model in this process, and a model small enough to be built in one.

``FakeChatServer`` answers over real HTTP what it is told to, records what it was asked, and breaks on demand.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHAT_PATH = "/v1/chat/completions"
UNKNOWN, END, UNSURE = "<unk>", "<end>", "hm"
TINY_WINDOW = 32  # tokens


@dataclass(slots=True)
class ChatFaults:
    """What goes wrong, until it is set back.

    Attributes:
        status: Answered instead of 200, with ``said`` as the message of the error; 0 for none.
        said: See ``status``.
        body: Sent instead of a reply.
        encoding: How replies claim to be packed.
        hang: No answer until the server is closed.
        refuse_probabilities: Requests that ask for token probabilities get 400.
        no_probabilities: Replies hold none.
        location: Where an answer of status 3xx leads.
        refuses: A key of the request that gets 400, with its name.
        slow: Seconds that each answer takes.
        headers: That a refusal has beside.
        drip: A head without end comes, byte by byte.
    """

    status: int = 0
    said: str = "broken on purpose"
    body: bytes | None = None
    encoding: str = "identity"
    hang: bool = False
    refuse_probabilities: bool = False
    no_probabilities: bool = False
    location: str = ""
    refuses: str = ""
    slow: float = 0.0
    drip: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class FakeChatServer:
    """An OpenAI-compatible server that says what ``answer`` says to the last message, word by word.

    Attributes:
        answer: The text to a prompt; a list of tool calls stands for one that calls.
        log_probability: Of each token, at most 0.
        faults: What goes wrong.
        requests: The body of every request, in order.
        connections: How many were opened.
    """

    answer: Callable[[str], str | list[dict[str, Any]]]
    log_probability: float = -0.1
    faults: ChatFaults = field(default_factory=ChatFaults)
    requests: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    _closing: threading.Event = field(default_factory=threading.Event)
    _server: _Server | None = None

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_of": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def url(self) -> str:
        """What its clients are told."""
        port = self._server.server_address[1] if self._server else 0
        return f"http://127.0.0.1:{port}/v1"

    def is_closing(self, seconds: float) -> bool:
        """Whether it is being closed; waits so long for that."""
        return self._closing.wait(seconds)

    def reply(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body for one request."""
        faults = self.faults
        if faults.hang:
            self._closing.wait()
        self._closing.wait(faults.slow)
        if faults.refuse_probabilities and body.get("logprobs"):
            return 400, _error("logprobs is not supported by this model")
        if faults.refuses in body:
            return 400, _error(f"Unsupported parameter: '{faults.refuses}' is not supported with this model.")
        if faults.status:
            return faults.status, _error(faults.said)
        return 200, faults.body if faults.body is not None else json.dumps(self._completion(body)).encode()

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        said = self.answer(body["messages"][-1]["content"])
        calls = said if isinstance(said, list) else []
        words = "" if isinstance(said, list) else said
        tokens = [f" {word}" if position else word for position, word in enumerate(words.split(" "))] if words else []
        kept = tokens[: body.get("max_tokens") or None]
        message: dict[str, Any] = {"role": "assistant", "content": "".join(kept) or None}
        if calls:
            message["tool_calls"] = [
                {"id": f"call-{position}", "type": "function", "function": call} for position, call in enumerate(calls)
            ]
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "length" * (len(kept) < len(tokens))}
        choice["finish_reason"] = choice["finish_reason"] or ("tool_calls" if calls else "stop")
        if body.get("logprobs") and not self.faults.no_probabilities:
            choice["logprobs"] = {"content": [self._token(token, body) for token in kept]}
        usage = {"prompt_tokens": 7, "completion_tokens": len(kept)}
        return {"id": "fake", "object": "chat.completion", "choices": [choice], "usage": usage}

    def _token(self, token: str, body: dict[str, Any]) -> dict[str, Any]:
        others = [(token, self.log_probability), ("other", self.log_probability - 5)]
        top = [{"token": name, "logprob": value} for name, value in others[: body.get("top_logprobs", 0)]]
        return {"token": token, "logprob": self.log_probability, "top_logprobs": top}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # many connect at once; five may wait otherwise, and the next ones are late


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: FakeChatServer

    def setup(self) -> None:
        super().setup()
        self.server_of.connections += 1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.server_of.requests.append(body)
        if self.server_of.faults.drip:
            self._drip()
            return
        status, data = (404, _error("no such path")) if self.path != CHAT_PATH else self.server_of.reply(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Encoding", self.server_of.faults.encoding)
        self.send_header("Content-Length", str(len(data)))
        if self.server_of.faults.location:
            self.send_header("Location", self.server_of.faults.location)
        for name, value in self.server_of.faults.headers.items() if status >= 400 else ():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _drip(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        with contextlib.suppress(OSError):
            while not self.server_of.is_closing(0.05):
                self.wfile.write(b"a")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error"}}).encode()


def tiny_writer_files(words: dict[str, str]) -> dict[str, bytes]:
    """A folder of transformers, as bytes by file name, whose model goes on from the last word that it read.

    It is a chain of words without a single layer: each knows what follows it, and an unknown one makes it unsure.

    Args:
        words: What is written after each word. All of it must be one chain: a word has one follower everywhere.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = [UNKNOWN, END, UNSURE, *sorted({word for key in words for word in (key, *words[key].split())})]
    positions = {word: position for position, word in enumerate(vocabulary)}
    size = len(vocabulary)
    config = LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=1, num_hidden_layers=0, num_attention_heads=1, head_dim=2,
        max_position_embeddings=TINY_WINDOW, bos_token_id=None, eos_token_id=positions[END],
        pad_token_id=positions[END],
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    followers = torch.zeros(size, size)
    for key, text in {**words, UNKNOWN: UNSURE}.items():
        chain = [key, *text.split(), END]
        for word, follower in itertools.pairwise(chain):
            followers[positions[follower], positions[word]] = 20.0
    followers[positions[UNSURE], positions[UNKNOWN]] = 0.5
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.copy_(followers / size**0.5)  # the norm makes a row of the identity size**0.5 long
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=_word_tokenizer(positions),
        unk_token=UNKNOWN,
        eos_token=END,
        pad_token=END,
        model_max_length=TINY_WINDOW,
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _word_tokenizer(positions: dict[str, int]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(positions, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer
