"""What may be said of a teacher: the page's examples, and what is refused."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.config.teachers import KINDS
from router.core.domain.token_codec import MOST_BYTES
from router.core.errors import ConfigError

PAGE = (Path(__file__).parents[3] / "docs" / "cluster.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Teachers\n")[1].split("\n## ")[0]
EXAMPLES = [tomllib.loads(block)["teachers"][0] for block in re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)]
TASK = '\n[[tasks]]\nname = "home"\nreference = "{name}"\n'
REMOTE = 'kind = "compatible"\nmodel = "m"\nurl = "http://127.0.0.1:1/v1"\n'


@pytest.fixture
def read(tmp_path):
    for name in ("examples", "answers", "canaries"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "on", "label": "light_on"}\n')

    def read(teacher, name="big", task=""):
        path = tmp_path / "cloud.toml"
        path.write_text(f'data = "data"\n{teacher}\n{TASK.format(name=name)}{task}')
        return read_config(path).teachers

    return read


def test_the_page_tells_of_every_kind():
    assert [example["kind"] for example in EXAMPLES] == re.findall(r"^### `(\w+)`", SECTION, re.MULTILINE)
    assert {example["kind"] for example in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL))
def test_every_example_on_the_page_is_read(read, block):
    said = tomllib.loads(block)["teachers"][0]
    [teacher] = read(block, said["name"])
    taken = teacher.model_dump()
    assert {key for key in said if taken[key] != said[key]} <= {"examples", "answers", "canaries", "patterns"}


def test_the_page_says_how_many_bytes_a_token_takes():
    assert f"at most {MOST_BYTES} bytes a token" in SECTION


@pytest.mark.parametrize(
    ("teacher", "named"),
    [
        ('kind = "oracle"', "teachers.big.kind: is 'oracle'; use one of encoder, recorded"),
        ("", "teachers.big.kind: is ''"),
        ('kind = "generating"', "teachers.big.model: is missing"),
        (
            'kind = "generating"\nmodel = "m"\nprompt = "Answer:"',
            "teachers.big.prompt: 'Answer:' needs the field {text}",
        ),
        ('kind = "generating"\nmodel = "m"\nrationale_prompt = "why"', "teachers.big.rationale_prompt: 'why' needs"),
        ('kind = "generating"\nmodel = "m"\nprompt = "{text} {text}"', "exactly once"),
        ('kind = "patterns"\nmodel = "m"\npatterns = ["{text}", "topic:"]', "teachers.big.patterns: 'topic:' needs"),
        ('kind = "patterns"\nmodel = "m"\npatterns = []', "teachers.big.patterns"),
        (REMOTE.replace("http", "ftp"), "teachers.big.url: 'ftp://127.0.0.1:1/v1' can't be asked"),
        (REMOTE + 'api_key = "secret"', "'api_key' is not a key of this kind; use one of"),
        (REMOTE + 'api_key_variable = "not a name"', "teachers.big.api_key_variable"),
        (REMOTE + "concurrency = 0", "teachers.big.concurrency: is 0"),
        (REMOTE + 'canaries = "none.jsonl"', "teachers.big.canaries: no such file"),
        ('kind = "vllm"\nmodel = "m"\nengine = {trust_remote_code = true}', "it is never true"),
        ('kind = "vllm"\nmodel = "m"\nengine = {tensor_parallel_size = 2}', "gpus says it"),
    ],
)
def test_what_is_wrong_is_named_by_teacher_and_key(read, teacher, named):
    with pytest.raises(ConfigError) as caught:
        read(f'[[teachers]]\nname = "big"\n{teacher}')
    assert named in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("teacher", [EXAMPLES[1], {**EXAMPLES[3], "rationale_prompt": ""}])
def test_a_recipe_that_learns_from_reasons_wants_a_teacher_that_gives_them(read, teacher):
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**teacher, "name": "big"}.items()]
    recipe = 'kind = "text"\nstudent = "generator"\nbase = "m"\nrecipe = "step-by-step"'
    with pytest.raises(ConfigError, match=r"tasks\.home\.recipe: learns from reasons, and teacher 'big' gives none"):
        read("\n".join(["[[teachers]]", *lines]), task=recipe)


def test_a_recipe_that_gives_an_instruction_wants_a_reference_that_writes(read):
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**EXAMPLES[1], "name": "big"}.items()]
    recipe = (
        'kind = "text"\nstudent = "generator"\nbase = "m"\nrecipe = "prompt-erasure"\noptions.rich = "Think. {text}"'
    )
    with pytest.raises(ConfigError, match=r"tasks\.home\.options\.rich: .*teacher 'big' follows none"):
        read("\n".join(["[[teachers]]", *lines]), task=recipe)


def test_engines_share_one_port(read):
    one = '[[teachers]]\nname = "{name}"\nkind = "vllm"\nmodel = "m"\nport = {port}\n'
    with pytest.raises(ConfigError, match="share one"):
        read(one.format(name="big", port=1) + one.format(name="other", port=2))


def test_a_servers_model_is_no_folder_even_if_one_has_its_name(read, tmp_path):
    (tmp_path / "m").mkdir()
    assert read(f'[[teachers]]\nname = "big"\n{REMOTE}')[0].model == "m"
    assert read('[[teachers]]\nname = "big"\nkind = "generating"\nmodel = "m"')[0].model == str(tmp_path / "m")
