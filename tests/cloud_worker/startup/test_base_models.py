"""What ``up`` knows of the models that students start from, before anything starts."""

import subprocess
import sys
from dataclasses import replace

import pytest

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.startup.model_checks import check_bases
from router.core.domain.task import Judge, Kind, Task
from router.core.errors import ConfigError

FILES = {"config.json": '{"model_type": "llama"}', "tokenizer.json": "{}", "model.safetensors": ""}


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_text(content)
    return folder


def config(base, student="generator"):
    kind = {"kind": Kind.TEXT, "judge": Judge.NORMALISED_TEXT} if student != "compact" else {}
    task = replace(Task("home", reference="big", student=student, base=str(base)), **kind)
    return CloudConfig.model_construct(tasks=(task,))


def test_a_folder_with_what_is_needed_is_taken(base):
    check_bases(config(base))


@pytest.mark.parametrize("name", ["tiny-model", "org/tiny-model"])
def test_a_name_of_a_hub_is_left_to_the_load(name):
    check_bases(config(name))


@pytest.mark.parametrize("student", ["served", "compact"])
def test_a_student_that_loads_no_base_needs_none(student):
    check_bases(config("/nowhere/at/all", student))


@pytest.mark.parametrize("name", ["/nowhere/base", "./base", "../base", "~/no such base", "models/of/ours"])
def test_a_folder_that_is_not_there_is_named(name):
    with pytest.raises(ConfigError, match=r"tasks\.home: base: .*is no folder"):
        check_bases(config(name))


@pytest.mark.parametrize(
    ("file", "named"),
    [("config.json", "no config.json"), ("tokenizer.json", "no tokenizer"), ("model.safetensors", "as safetensors")],
)
def test_a_folder_that_lacks_something_is_refused_with_what_it_lacks(base, file, named):
    (base / file).unlink()
    with pytest.raises(ConfigError, match=named):
        check_bases(config(base))


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_configuration_of_no_model_is_refused(base, content):
    (base / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"has a config\.json"):
        check_bases(config(base))


def test_up_says_so_before_anything_starts(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "on"}\n')
    (tmp_path / "cloud.toml").write_text(
        'data = "data"\n[door]\nlisten = "127.0.0.1:0"\n'
        '[[teachers]]\nname = "big"\nkind = "recorded"\nanswers = "answers.jsonl"\n'
        '[[tasks]]\nname = "home"\nreference = "big"\nkind = "text"\njudge = "normalised_text"\n'
        'student = "generator"\nbase = "./nowhere"\n'
    )
    command = [sys.executable, "-m", "cloud_worker.cli", "up", "--insecure", "--config", str(tmp_path / "cloud.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == ConfigError.exit_code
    assert "tasks.home: base: './nowhere' is no folder" in done.stderr
