import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.commands.label_files import write_rows
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.reports.accuracy import competence_of
from cloud_worker.state.gold_labels import HELD_SECONDS, Gold, Label, rank_of
from cloud_worker.state.store import ReleaseRow, Store
from router.core.domain.record import Record, Source
from router.core.domain.task import Objective, Task

CONFIG = cloud_toml("""labels = ["lights on", "lights off", "music"]
[tasks.objective]
min_accuracy = 0.8
""")
TASK = Task("home", "big", objective=Objective(min_accuracy=0.8))


def record(number, **changes):
    one = Record(
        caller=f"device-{number % 4}",
        query_id=f"q{number}",
        teacher="big",
        teacher_version="big-1",
        task="home",
        task_version=1,
        asked_at=1e9 + number,
        received_at=1e9 + number,
        text=f"text {number}",
        answer="music",
        source=Source.TAUGHT,
        release=1,
        local_answer="lights on",
        local_score=0.6,
        kept=True,
        explored=True,
        exploration=0.05,
        propensity=0.05,
        threshold=0.5,
        subject=f"person-{number % 10}",
    )
    return replace(one, **changes)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "music"}\n')
    path = tmp_path / "cloud.toml"
    path.write_text(CONFIG)
    settings = read_config(path)
    settings.data.mkdir()
    store = Store(settings.store_url)
    store.declare_tasks(settings.tasks)
    store.add_release(ReleaseRow("home", 1, "building", "", 0.0))
    store.promote("home", 1, "")
    return path


@pytest.fixture
def parts(config):
    settings = read_config(config)
    store = Store(settings.store_url)
    return store, DistillationLog(settings.log_folder), Gold(store.engine)


def fill(config, rows):
    DistillationLog(read_config(config).log_folder).append(rows, "test", 1)


def run(config, *words, given=None):
    return CliRunner().invoke(app, [*map(str, words), "--config", str(config)], input=given)


def told(config, *words, given=None):
    done = run(config, *words, "--json", given=given)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


# Which rows


def test_only_drawn_rows_that_count_in_the_promise_are_handed_out(parts):
    _, _, gold = parts
    rows = [
        record(0),
        record(1, explored=False),
        record(2, covered=False),
        record(3, degraded=True),
        record(4, source=Source.DIRECT),
        record(5, source=Source.IMPORTED),
    ]
    assert [row.query_id for row in gold.take("home", "ada", rows, 10, 0.0)] == ["q0"]


def test_no_answer_and_no_score_moves_the_draw(parts):
    _, _, gold = parts
    rows = [record(number) for number in range(60)]
    other = [replace(row, answer="x", local_answer="x", local_score=0.1, kept=False) for row in rows]
    first = {row.key for row in gold.take("home", "ada", rows, 20, 0.0)}
    again = {row.key for row in gold.take("home", "ada", random.Random(1).sample(other, 60), 20, 0.0)}
    assert first == again


def test_queries_have_one_chance_whatever_rate_they_were_drawn_at(parts):
    """2,000 queries at rate 1 and 20,000 at rate 0.1 leave as many rows each; labels go to queries evenly."""
    _, _, gold = parts
    old = [record(number, exploration=1.0) for number in range(2000)]
    new = [record(number, exploration=0.1) for number in range(2000, 4000)]
    taken = gold.take("home", "ada", old + new, 550, 0.0)
    share = sum(row.exploration == 1.0 for row in taken) / 550
    assert share == pytest.approx(2000 / 22000, abs=0.045)


def test_the_draw_depends_on_a_secret_and_stays_below_the_rate():
    rows = [record(number) for number in range(300)]
    one, other = ([rank_of(bytes([key] * 32), row) for row in rows] for key in (1, 2))
    assert one != other
    assert max(one) < 0.05
    assert 0.02 < sum(one) / len(one) < 0.03


def test_a_row_belongs_to_who_took_it_and_is_free_again_later(config, parts):
    _, _, gold = parts
    rows = [record(number) for number in range(4)]
    mine = gold.take("home", "ada", rows, 3, 0.0)
    assert gold.take("home", "ada", rows, 3, 1.0) == mine
    assert {row.key for row in gold.take("home", "bob", rows, 4, 1.0)}.isdisjoint(row.key for row in mine)
    assert len(gold.take("home", "bob", rows, 4, HELD_SECONDS + 2)) == 4


def test_a_share_of_rows_is_labelled_by_two_people_and_no_more(parts):
    store, _, _ = parts
    gold = Gold(store.engine, double_share=0.5)
    rows = [record(number) for number in range(60)]
    taken = gold.take("home", "ada", rows, 60, 0.0)
    gold.label("home", [Label(row.key, "ada", "music") for row in taken])
    twice = gold.take("home", "bob", rows, 60, 1.0)
    assert 15 < len(twice) < 45
    gold.label("home", [Label(row.key, "bob", "music") for row in twice])
    assert not gold.take("home", "eve", rows, 60, 2.0)
    assert not gold.take("home", "ada", rows, 60, 2.0)


def test_what_concerns_a_subject_or_a_device_is_erased(parts):
    _, _, gold = parts
    rows = [record(number) for number in range(20)]
    gold.take("home", "ada", rows, 20, 0.0)
    gold.label("home", [Label(row.key, "ada", "music", subject=row.subject) for row in rows])
    assert gold.forget(subject="person-3") == 2
    assert gold.forget(caller="device-0") == 5
    left = {one.key for one in gold.labels("home")}
    assert left == {one.key for one in gold.drawn("home")}
    assert left == {row.key for row in rows if row.subject != "person-3" and row.caller != "device-0"}
    with pytest.raises(ValueError, match="caller or a subject"):
        gold.forget()


# By hand


def test_rows_are_labelled_one_by_one_with_a_way_back(config, parts):
    fill(config, [record(number) for number in range(3)])
    said = told(config, "label", "home", "--who", "ada", given="music\n/undo\nlights off\n/skip\nlights on\n")
    assert said["labelled"] == 3
    _, _, gold = parts
    assert sorted((one.label, one.skipped) for one in gold.labels("home")) == [
        ("", True),
        ("lights off", False),
        ("lights on", False),
    ]


def test_leaving_keeps_what_is_done_and_the_next_time_goes_on(config, parts):
    fill(config, [record(number) for number in range(3)])
    assert told(config, "label", "home", "--who", "ada", given="music\n/quit\n")["labelled"] == 1
    assert told(config, "label", "home", "--who", "ada", given="music\n")["labelled"] == 1
    _, _, gold = parts
    assert len(gold.labels("home")) == 2


def test_a_part_of_a_label_is_enough_where_no_other_has_it(config, parts):
    fill(config, [record(0)])
    done = run(config, "label", "home", given="lights\nradio\nmus\n")
    assert "which one? lights off, lights on" in done.stdout
    assert "/new radio makes it one" in done.stdout
    _, _, gold = parts
    assert [one.label for one in gold.labels("home")] == ["music"]


def test_a_new_label_comes_in_by_its_command_alone(config, parts):
    fill(config, [record(0)])
    run(config, "label", "home", given="/new fan\n")
    assert [one.label for one in parts[2].labels("home")] == ["fan"]


def test_the_session_shows_no_answer(config):
    fill(config, [record(0, answer="teacher says", local_answer="student says")])
    shown = run(config, "label", "home", given="/quit\n").stdout
    assert "text 0" in shown
    assert "student says" not in shown
    assert "teacher says" not in shown.replace("labels: lights off, lights on, music, teacher says", "")


# By file


@settings(max_examples=25)
@given(answer=st.text(min_size=8, max_size=20), local=st.text(min_size=8, max_size=20))
def test_a_file_that_goes_out_holds_no_answer(tmp_path_factory, answer, local):
    path = tmp_path_factory.mktemp("out") / "rows.jsonl"
    write_rows(path, [record(0, answer=answer, local_answer=local)])
    [line] = path.read_text().splitlines()
    assert json.loads(line) == {"query_id": "q0", "caller": "device-0", "text": "text 0", "label": ""}


@pytest.fixture
def out(config, tmp_path):
    fill(config, [record(number) for number in range(5)])
    path = tmp_path / "rows.jsonl"
    assert told(config, "label", "home", "--who", "ada", "--export", path, "--rows", 3)["rows"] == 3
    return path


def filled(path, *labels):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line, label in zip(lines, labels, strict=False):
        line["label"] = label
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


def test_a_file_comes_back_once_and_again_changes_nothing(config, out, parts):
    filled(out, "music", "lights on")
    assert (out.with_name("rows.jsonl.labels").read_text().split("\n"))[:3] == ["lights off", "lights on", "music"]
    first = told(config, "label", "home", "--who", "ada", "--import", out)
    assert (first["labelled"], first["changed"], first["open"]) == (2, 2, 1)
    assert told(config, "label", "home", "--who", "ada", "--import", out)["changed"] == 0
    filled(out, "music", "lights off", "music")
    assert told(config, "label", "home", "--who", "ada", "--import", out)["changed"] == 2
    assert sorted(one.label for one in parts[2].labels("home")) == ["lights off", "music", "music"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"label": "radio"}, "label: 'radio' is no label"),
        ({"text": "another"}, "text: is not what was handed out"),
        ({"query_id": "q99"}, "query_id: 'q99' of this caller was not handed out"),
        ({"caller": 7}, "caller: is missing, or no text"),
        ({"answer": "music"}, "answer: is no field"),
        ({"label": "music", "skip": True}, "skip: is true beside a label"),
        ({"skip": "yes"}, "skip: is neither true nor false"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_nothing_is_kept(config, out, parts, change, named):
    lines = filled(out, "music", "music", "music")
    lines[2] |= change
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run(config, "label", "home", "--import", out)
    assert done.exit_code == 82
    assert f"rows.jsonl:3: {named}" in done.output
    assert not parts[2].labels("home")


@pytest.mark.parametrize("line_end", ["\u2028", "\u2029", "\u0085"])
def test_a_question_that_holds_a_line_end_of_unicode_comes_back(config, parts, tmp_path, line_end):
    fill(config, [record(0, text=f"song{line_end}x")])
    path = tmp_path / "rows.jsonl"
    told(config, "label", "home", "--export", path)
    path.write_text(path.read_text(encoding="utf-8").replace('"label": ""', '"label": "music"'), encoding="utf-8-sig")
    assert told(config, "label", "home", "--import", path)["changed"] == 1


def test_half_a_character_is_no_label(config, out):
    filled(out, "music", "x\ud800")
    done = run(config, "label", "home", "--import", out, "--new-labels")
    assert done.exit_code == 82
    assert "rows.jsonl:2: holds half of a surrogate pair" in done.output


def test_a_row_that_stands_twice_is_named(config, out):
    text = out.read_text().splitlines()
    out.write_text("\n".join([*text, text[0]]))
    assert "rows.jsonl:4: query_id:" in run(config, "label", "home", "--import", out).output


def test_a_file_that_is_there_is_not_written_over(config, out):
    filled(out, "music")
    before = out.read_text()
    assert run(config, "label", "home", "--export", out).exit_code == 82
    assert out.read_text() == before


def test_a_label_that_the_task_lacks_comes_in_where_that_is_wanted(config, out):
    filled(out, "radio")
    assert told(config, "label", "home", "--import", out, "--new-labels")["changed"] == 1


# Who is right


def labelled(config, parts, rows, right):
    """Label all rows; ``right(row)`` says what is right."""
    _, _, gold = parts
    fill(config, rows)
    taken = gold.take("home", "ada", rows, len(rows), 0.0)
    gold.label("home", [Label(row.key, "ada", right(row)) for row in taken])


def test_a_teacher_that_is_worse_is_told_apart_from_agreement(config, parts):
    rows = [record(number, kept=False, local_score=0.1, source=Source.ESCALATED) for number in range(80)]
    labelled(config, parts, rows, lambda row: "lights on" if int(row.query_id[1:]) % 4 else "music")
    said = told(config, "competence", "home")
    assert said["outcome"] == "escalating does not pay here"
    assert said["teacher_is_worse"]
    assert (said["teacher"]["share"], said["student"]["share"]) == (0.25, 0.75)
    assert said["served"]["share"] == 0.25
    assert "the teacher is worse than its student" in run(config, "competence", "home").stdout


def test_accuracy_is_proved_on_labels_alone_and_open_rows_count_as_wrong(config, parts):
    store, log, gold = parts
    rows = [record(number) for number in range(120)]
    labelled(config, parts, rows[:80], lambda row: "lights on")
    log.append(rows[80:], "test", 2)
    proved = competence_of(store, log, TASK)["promise"]
    assert (proved["certified"], proved["rows"], proved["wrong"]) == (True, 80, 0)
    gold.take("home", "ada", rows, 40, 0.0)
    open_rows = competence_of(store, log, TASK)["promise"]
    assert (open_rows["certified"], open_rows["rows"], open_rows["wrong"]) == (False, 120, 40)


def test_rows_of_another_release_or_reference_do_not_prove_what_serves(config, parts):
    store, log, _ = parts
    rows = [record(number, release=2) for number in range(60)] + [
        record(number, teacher_version="big-0", received_at=1.0) for number in range(60, 120)
    ]
    labelled(config, parts, rows, lambda row: "lights on")
    said = competence_of(store, log, TASK)
    assert said["promise"]["rows"] == 0
    assert said["student"] is None
    assert said["labels"]["in_log"] == 60
    assert competence_of(store, log, TASK, every_release=True)["student"]["rows"] == 60


def test_two_people_are_compared_and_a_dispute_is_no_label(config, parts):
    store, log, gold = parts
    rows = [record(number) for number in range(10)]
    labelled(config, parts, rows, lambda row: "music")
    gold.label("home", [Label(row.key, "bob", "music" if row is not rows[0] else "lights on") for row in rows[:5]])
    counts = competence_of(store, log, TASK)["labels"]
    assert (counts["labelled"], counts["disputed"], counts["people"]) == (9, 1, ["ada", "bob"])
    assert (counts["annotators_agree"]["share"], counts["annotators_agree"]["rows"]) == (0.8, 5)


def test_without_labels_that_is_said(config):
    said = told(config, "competence", "home")
    assert (said["outcome"], said["teacher"], said["labels"]["handed_out"]) == ("not known yet", None, 0)
    assert "no gold labels yet" in run(config, "competence", "home").stdout


def test_a_task_that_is_not_there_is_named(config):
    done = run(config, "competence", "garden")
    assert done.exit_code == 66
    assert "tasks here: home" in done.output


def test_status_tells_accuracy_on_lines_of_its_own(config, parts):
    labelled(config, parts, [record(number) for number in range(60)], lambda row: "lights on")
    done = run(config, "status")
    assert "home: right by people's labels: what is served 100.0%" in done.stdout
    assert "home: at least 80.0% right, 95% sure: proved on 60 rows, 0 wrong" in done.stdout
    report = json.loads(run(config, "status", "--json").stdout)
    assert report["tasks"][0]["competence"]["promise"]["certified"]
    assert report["tasks"][0]["feedback"]["said"] == 0
