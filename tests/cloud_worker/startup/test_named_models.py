"""What ``up`` knows of the models that fits will load, before anything starts."""

import http.server
import json
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.teachers import EncoderSettings, RecordedSettings
from cloud_worker.startup.model_checks import check_named_models
from router.core.domain.task import Judge, Kind, Task
from router.core.errors import ConfigError

TASK = Task("home", reference="big", student="encoder-head")
RECORDED = RecordedSettings(name="big", answers="answers.jsonl")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "encoder"
    made.mkdir()
    (made / "config.json").write_text('{"model_type": "bert"}')
    Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(made / "tokenizer.json"))
    save_file({"weight": np.zeros(2, np.float32)}, made / "model.safetensors")
    return made


def config(encoder="minilm", task=TASK, teacher=RECORDED, servers=()):
    return CloudConfig.model_construct(encoder=str(encoder), tasks=(task,), teachers=(teacher,), servers=servers)


def test_a_folder_with_what_is_needed_is_taken(folder):
    check_named_models(config(folder))
    check_named_models(config(teacher=EncoderSettings(name="big", model=str(folder))))


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("config.json", None, "no config.json"),
        ("tokenizer.json", None, "no a tokenizer"),
        ("model.safetensors", None, "no model.safetensors"),
        ("config.json", b"{", "config.json can't be read"),
        ("config.json", b"\xff", "config.json can't be read"),
        ("config.json", b"{}", "has no model_type"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "can't be read as safetensors"),
        ("model.safetensors", b"", "can't be read as safetensors"),
        ("tokenizer.json", b"version https://git-lfs.github.com/spec/v1\n", "tokenizer.json is not one"),
        ("tokenizer.json", b"{}", "tokenizer.json is not one"),
        ("tokenizer.json", b"\xff", "tokenizer.json is not one"),
    ],
)
def test_a_folder_that_can_not_be_meant_is_refused_with_its_key(folder, file, content, named):
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"encoder: .*{named}"):
        check_named_models(config(folder))


@pytest.mark.parametrize("name", ["/nowhere/encoder", "./encoder", "~/no such encoder", "models/of/ours"])
def test_a_folder_that_is_not_there_is_refused(name):
    with pytest.raises(ConfigError, match=r"encoder: .*does not exist"):
        check_named_models(config(name))


@pytest.mark.parametrize("name", ["", "mini lm", "a//b", "minilm!"])
def test_what_is_no_name_of_a_model_is_refused(name):
    with pytest.raises(ConfigError, match="encoder: "):
        check_named_models(config(name))


def test_each_key_that_names_a_model_is_looked_at():
    wrong = "/nowhere/encoder"
    with pytest.raises(ConfigError, match=r"teachers\.big: model: "):
        check_named_models(config(teacher=EncoderSettings(name="big", model=wrong)))
    with pytest.raises(ConfigError, match=r"tasks\.home: base: "):
        check_named_models(config(task=replace(TASK, student="compact", base=wrong)))
    served = replace(TASK, kind=Kind.TEXT, judge=Judge.NORMALISED_TEXT, student="served", base="small")
    with pytest.raises(ConfigError, match=r"tasks\.home: base: 'small' is at no server"):
        check_named_models(config(task=served))


def test_an_encoder_that_no_task_needs_is_not_looked_at():
    text = replace(TASK, kind=Kind.TEXT, judge=Judge.NORMALISED_TEXT, student="generator", base="b")
    check_named_models(config("/nowhere", task=text))


class Hub(http.server.BaseHTTPRequestHandler):
    """Knows one model, and one without safetensors."""

    def do_GET(self):
        files = {"known": ["config.json", "tokenizer.json", "model.safetensors"], "old": ["config.json", "vocab.txt"]}
        name = self.path.split("?")[0].removeprefix("/api/models/").split("/")[1]
        body = json.dumps({"id": f"org/{name}", "siblings": [{"rfilename": one} for one in files.get(name, [])]})
        self.send_response(200 if name in files else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [("org/known", 0, ""), ("org/old", 81, "no model.safetensors"), ("org/unknown", 81, "the hub does not give it")],
)
def test_a_hubs_name_is_asked_of_the_hub(name, code, said, tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        program = (
            "import sys; from cloud_worker.language.encoder_source import check_encoder_source as check\n"
            "from router.core.errors import ModelError\n"
            f"try: check({name!r})\nexcept ModelError as error: print(error); sys.exit(81)"
        )
        environment = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}", "HF_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        hub.shutdown()
    assert done.returncode == code, done.stderr
    assert said in done.stdout


def test_up_says_so_before_anything_starts(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "on"}\n')
    (tmp_path / "cloud.toml").write_text(
        'data = "data"\nencoder = "./nowhere"\n[door]\nlisten = "127.0.0.1:0"\n'
        '[[teachers]]\nname = "big"\nkind = "recorded"\nanswers = "answers.jsonl"\n'
        '[[tasks]]\nname = "home"\nreference = "big"\n'
    )
    command = [sys.executable, "-m", "cloud_worker.cli", "up", "--insecure", "--config", str(tmp_path / "cloud.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == ConfigError.exit_code
    assert "encoder: encoder folder ./nowhere does not exist" in done.stderr


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://[::1", "foo://bar"])
def test_a_proxy_that_can_not_be_used_is_told_where_the_hub_would_be_asked(proxy, tmp_path):
    program = (
        "from cloud_worker.language.encoder_source import check_encoder_source as check\n"
        "from router.core.errors import ModelError\n"
        "try: check('org/known')\nexcept ModelError as error: print(error)"
    )
    environment = {"ALL_PROXY": proxy, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://hub.invalid"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert "the hub does not give it" in done.stdout, done.stderr
