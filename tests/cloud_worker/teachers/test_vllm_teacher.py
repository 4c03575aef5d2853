"""vLLM engines on GPUs, as far as it goes without one."""

import re

import pytest

from cloud_worker.config.teachers import RecordedSettings, VllmSettings
from cloud_worker.teachers import Question
from cloud_worker.teachers.loader import load_teacher
from cloud_worker.teachers.vllm_teacher import Endowment, check_engines, http_options, llm_arguments, url_of
from router.core.errors import StartError
from router.io.extras import advice
from router.students.writers.testing import FakeChatServer

SETTINGS = VllmSettings(name="large", model="org/model", gpus=2, replicas=3, accelerator="H100", engine={"seed": 0})


@pytest.mark.parametrize(
    ("has", "named"),
    [
        (Endowment(vllm=False, gpus=8), f"'large': vllm is not installed; {re.escape(advice('vllm'))}"),
        (Endowment(vllm=True, gpus=5), "'large': 6 GPUs are needed and the cluster has 5"),
    ],
)
def test_what_is_missing_is_said(has, named):
    with pytest.raises(StartError, match=named):
        check_engines([SETTINGS], has)


def test_a_cluster_that_has_it_all_may_start_and_others_need_nothing():
    check_engines([SETTINGS], Endowment(vllm=True, gpus=6))
    check_engines([RecordedSettings(name="log")], Endowment(vllm=False, gpus=0))


@pytest.mark.slow  # Ray's language models take long to import
def test_ray_takes_our_arguments():
    from ray.llm._internal.serve.core.configs.llm_config import LLMConfig

    config = LLMConfig(**llm_arguments(SETTINGS))
    assert (config.model_id, config.model_loading_config.model_source) == ("large", "org/model")
    assert config.engine_kwargs == {"seed": 0, "tensor_parallel_size": 2, "trust_remote_code": False}
    assert config.deployment_config["autoscaling_config"] == {"min_replicas": 3, "max_replicas": 3}
    assert LLMConfig(**llm_arguments(SETTINGS.model_copy(update={"accelerator": ""}))).accelerator_type is None


def test_serve_opens_a_port_on_loopback_and_only_for_engines():
    assert http_options([RecordedSettings(name="log")]) == {"proxy_location": "Disabled"}
    options = http_options([SETTINGS])
    assert options == {"proxy_location": "EveryNode", "http_options": {"host": "127.0.0.1", "port": SETTINGS.port}}
    assert url_of(SETTINGS) == f"http://127.0.0.1:{SETTINGS.port}/large/v1"


def test_a_copy_asks_the_engines_by_the_teachers_name(tmp_path, monkeypatch):
    with FakeChatServer(lambda text: "yes") as server:
        monkeypatch.setattr("cloud_worker.teachers.vllm_teacher.url_of", lambda settings: server.url)
        teacher = load_teacher(SETTINGS, tmp_path)
        [reply] = teacher.answer([Question("ready?")])
    assert (reply.text, server.requests[0]["model"]) == ("yes", "large")
    assert reply.version.startswith("vllm-")


def test_another_engine_is_another_version(tmp_path):
    other = SETTINGS.model_copy(update={"engine": {"quantization": "fp8"}})
    assert load_teacher(other, tmp_path).version != load_teacher(SETTINGS, tmp_path).version
