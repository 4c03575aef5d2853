"""A language model as judge: trained on the spot to tell four colours apart."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.commands.audit_judge import Labelled, read_pairs
from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.config.sections import VerdictSettings
from cloud_worker.config.testing import cloud_toml
from cloud_worker.judging.model_judge import Verdicts, check_audit, keep_audit, open_judge
from cloud_worker.judging.task_judge import agreeing, judged_by
from cloud_worker.language.examples import Example
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import word_tokenizer
from cloud_worker.language.trainer import Schedule, fit
from cloud_worker.startup.preflight import check_verdict
from router.core.domain.task import Judge, Task
from router.core.errors import ConfigError, DataError, ModelError
from router.core.evaluation.model_judge import Audit, VerdictModel
from router.core.statistics.intervals import Interval

WORDING = "{question} {first} {second} same"
SAME = {"red": "crimson", "crimson": "red", "blue": "azure", "azure": "blue"}
PAIRS = [("which", one, other) for one, other in itertools.permutations(SAME, 2)]
TASK = Task("home", "big", judge=Judge.VERDICT)


def is_same(one, other):
    return one == other or SAME[one] == other


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that knows which colours are the same."""
    torch.set_num_threads(1)
    prompts = VerdictModel("any", wording=WORDING)
    lessons = [Example(prompts.prompt(*pair), "yes" if is_same(*pair[1:]) else "no") for pair in PAIRS]
    tokenizer = word_tokenizer([f"{one.prompt} {one.target} yes no" for one in lessons], window=32)
    model = make_model("llama", tokenizer, Size(width=32, layers=2, heads=2, window=32))
    fit(model, lessons, Schedule(steps=150, batch=12, rate=1e-2))
    found = tmp_path_factory.mktemp("verdict")
    model.save(found)
    return found


@pytest.fixture
def settings(folder):
    return VerdictSettings(model=str(folder), wording=WORDING)


def audited(folder, settings, false_agreement=0.01):
    version = open_judge(settings).model.version
    good = Interval(0.0, 0.0, false_agreement, 300)
    keep_audit(folder, version, Audit(600, good, good, 0.0, 1.0))
    return version


def test_a_trained_judge_tells_pairs_apart_whichever_side_each_comes_from(tmp_path, settings):
    audited(tmp_path, settings)
    judging = Verdicts(settings, tmp_path)
    assert [judging(*pair) for pair in PAIRS] == [is_same(*pair[1:]) for pair in PAIRS]
    assert all(judging(asked, one, other) == judging(asked, other, one) for asked, one, other in PAIRS)


def test_the_same_answer_is_the_same_without_a_model(tmp_path):
    judging = Verdicts(VerdictSettings(model="no such model"), tmp_path)
    assert judging("which", "red", "red")


def test_a_judge_without_an_audit_judges_nothing(tmp_path, settings):
    judging = Verdicts(settings, tmp_path)
    with pytest.raises(ModelError, match="has not been audited; run `headrace-cloud audit-verdict`"):
        judging("which", "red", "blue")
    audited(tmp_path, settings, false_agreement=0.2)
    with pytest.raises(ModelError, match=r"may not judge.*up to 20"):
        judging("which", "red", "blue")
    (tmp_path / f"{open_judge(settings).model.version}.json").write_text("{")
    with pytest.raises(ModelError, match="is no audit"):
        judging("which", "red", "blue")


def test_a_pair_is_asked_once_in_a_versions_life(tmp_path, settings, monkeypatch):
    audited(tmp_path, settings)
    asked = []
    real = type(open_judge(settings)).ask
    monkeypatch.setattr(
        "cloud_worker.judging.model_judge.Judge.ask", lambda self, pairs: asked.extend(pairs) or real(self, pairs)
    )
    first = [Verdicts(settings, tmp_path)(*pair) for pair in PAIRS[:3]]
    again = [Verdicts(settings, tmp_path)(asked, other, one) for asked, one, other in PAIRS[:3]]
    assert first == again
    assert len(asked) == 3
    other = settings.model_copy(update={"threshold": 0.4})
    audited(tmp_path, other)
    Verdicts(other, tmp_path)(*PAIRS[0])
    assert len(asked) == 4


def test_a_pair_beyond_the_window_can_not_be_judged(settings):
    long, short = open_judge(settings).ask([("which", "red " * 40, "blue"), ("which", "red", "crimson")])
    assert long.probability is None and not long.agrees
    assert short.agrees


def test_a_model_with_a_chat_template_is_asked_in_it_and_is_another_judge(settings, folder, tmp_path, monkeypatch):
    chatting = shutil.copytree(folder, tmp_path / "chatting")
    (chatting / "chat_template.jinja").write_text("{% for m in messages %}no {{ m.content }} yes{% endfor %}")
    plain, judge = (open_judge(settings.model_copy(update={"model": str(one)})) for one in (folder, chatting))
    read = []
    monkeypatch.setattr(
        "cloud_worker.judging.model_judge.write_ids", lambda language, ids, **more: read.extend(ids) or []
    )
    for one in (plain, judge):
        with pytest.raises(ValueError, match="shorter"):
            one.ask([PAIRS[0]])
    alone, told = (judge.language.tokenizer.decode(ids, skip_special_tokens=True) for ids in read)
    assert told == f"no {alone} yes"
    assert judge.model.version != replace(plain.model, model=plain.model.model.replace(folder.name, "chatting")).version


def test_other_words_wording_or_weights_make_another_version(settings, tmp_path):
    versions = {open_judge(settings).model.version}
    for changes in ({"wording": "{question} {second} {first} same"}, {"yes": ("yes", "yea")}, {"threshold": 0.6}):
        versions.add(open_judge(settings.model_copy(update=changes)).model.version)
    assert len(versions) == 4
    with pytest.raises(ModelError, match="can't be loaded"):
        open_judge(VerdictSettings(model=str(tmp_path)))


def test_a_task_is_judged_by_its_rule_or_by_the_verdict_model(tmp_path, settings):
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"text": "lamp", "label": "lights"}\n')
    config = CloudConfig(
        data=tmp_path,
        verdict=settings,
        teachers=[{"name": "big", "kind": "recorded", "answers": str(answers)}],
        tasks=[TASK, Task("sums", "big", judge=Judge.NUMBER)],
    )
    version = audited(config.verdicts_folder, settings)
    verdict, number = (agreeing(task, config) for task in config.tasks)
    assert verdict("which", "red", "crimson") and not verdict("which", "red", "blue")
    assert number("", "1,000", "1000.0") and not number("", "1", "2")
    assert judged_by(config.tasks[0], verdict) == version
    assert judged_by(config.tasks[1], number) == "number"


def write_config(folder, model):
    (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    (folder / "cloud.toml").write_text(
        cloud_toml(f"""judge = "verdict"
[verdict]
model = "{model}"
wording = "{WORDING}"
""")
    )
    return folder / "cloud.toml"


def write_pairs(folder, times):
    rows = [dict(zip(("question", "answer", "reference"), pair, strict=True)) for pair in PAIRS * times]
    lines = [json.dumps({**row, "same": is_same(row["answer"], row["reference"])}) for row in rows]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "pairs.jsonl"


def audit(config, pairs, *more):
    return CliRunner().invoke(app, ["audit-verdict", "--config", str(config), "--pairs", str(pairs), *more])


def test_an_audit_with_enough_pairs_lets_the_model_judge(tmp_path, folder):
    config = write_config(tmp_path, folder)
    done = audit(config, write_pairs(tmp_path, 10), "--json")
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures["false_agreement"]["rows"] == 80 and figures["false_agreement"]["share"] == 0
    assert figures["kappa"] == 1
    settings = read_config(config)
    check_audit(settings.verdicts_folder, figures["judge"], 0.1)
    assert not agreeing(settings.tasks[0], settings)("which", "red", "blue")


def test_an_audit_with_few_pairs_says_that_the_model_may_not_judge(tmp_path, folder):
    config = write_config(tmp_path, folder)
    done = audit(config, write_pairs(tmp_path, 1))
    assert done.exit_code == 1
    assert "different pairs called the same  0.0% of 8 (0.0% to 36.9%)" in done.stdout
    assert "it may not judge" in done.stdout


@pytest.mark.parametrize(
    ("line", "problem"),
    [("", "holds no pair"), ("{", "1: is not JSON"), ("[]", "1: needs the texts"), ('{"question": "", "answer": "", '
     '"reference": "", "same": 1}', "1: needs `same`")],
)  # fmt: skip
def test_pairs_that_can_not_be_read_are_named(tmp_path, folder, line, problem):
    (tmp_path / "pairs.jsonl").write_text(line + "\n")
    done = audit(write_config(tmp_path, folder), tmp_path / "pairs.jsonl")
    assert done.exit_code == DataError.exit_code
    assert problem in done.stderr


def test_pairs_may_hold_line_ends_of_unicode(tmp_path):
    (tmp_path / "pairs.jsonl").write_text(
        '{"question": "a\u2028b", "answer": "\u2029", "reference": "\u0085", "same": true}\n', encoding="utf-8"
    )
    assert read_pairs(tmp_path / "pairs.jsonl") == [Labelled("a\u2028b", "\u2029", "\u0085", same=True)]


def test_a_cluster_does_not_start_before_its_verdict_model_is_audited(tmp_path, folder):
    settings = read_config(write_config(tmp_path, folder))
    with pytest.raises(ModelError, match="has not been audited"):
        check_verdict(settings)
    version = audited(settings.verdicts_folder, settings.verdict)
    assert check_verdict(settings) == version
    others = settings.model_copy(update={"tasks": (Task("sums", "big", judge=Judge.NUMBER),)})
    assert check_verdict(others) == ""


def test_a_verdict_task_needs_a_verdict_model(tmp_path):
    with pytest.raises(ConfigError, match=r"verdict\.model: is missing; task home has the judge verdict"):
        read_config(write_config(tmp_path, ""))
