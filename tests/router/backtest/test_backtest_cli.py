"""The command over whole files: what it prints, writes, refuses, and how it ends."""

import json
import re

import pytest
from typer.testing import CliRunner

from demo import measure
from router.cli import app

runner = CliRunner()


def backtest(*arguments):
    return runner.invoke(app, ["backtest", *map(str, arguments)])


def last_json(done):
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def replayed(tmp_path_factory, utterances):
    """1,200 queries with labels, costs and times, replayed once; the folder holds what was written."""
    folder = tmp_path_factory.mktemp("backtest")
    rows = utterances(1200)
    for position, row in enumerate(rows):
        gold = None if position % 3 == 1 else row["answer"] if position % 50 else "else"
        row |= {"gold": gold, "usd": 0.5, "at": 1767225600 + 60 * position}
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["--label", "gold", "--cost", "usd", "--time", "at", "--promise", "0.05", "--devices", 3]
    done = backtest(folder / "log.jsonl", *given, "--out", folder / "report.json", "--picture", folder / "p.png")
    assert done.exit_code == 0, done.output
    return folder, done, json.loads((folder / "report.json").read_text())


def demo_figures():
    row = measure.Row(True, True, True, True, True, True, 0, 1.0)
    return measure.figures([row], [], 1.0, agents=1, lost=0) | {"seconds": 1.0, "restarts": 0}


def test_the_figures_have_the_demos_keys(replayed):
    _, _, found = replayed
    demo = demo_figures()
    story = {"new_intents_from", "waits", "differing", "new_differing"}  # what only the demo tells
    assert found.keys() - {"backtest"} == demo.keys() - story
    assert found["windows"][0].keys() == demo["windows"][0].keys() - story
    assert found["disagreement_by_release"]["0"].keys() == demo["disagreement_by_release"]["0"].keys()


def test_a_release_has_the_demos_keys(replayed):
    released = {
        "number",
        "at_query",
        "threshold",
        "certifying_rows",
        "certifying_weight",
        "certifying_queries",
        "losses",
        "attempt",
    }
    assert all(release.keys() == released for release in replayed[2]["releases"])
    assert len(replayed[2]["releases"]) > 1


def test_the_shares_are_those_of_the_queries(replayed):
    _, _, found = replayed
    assert found["queries"] == 1200
    assert found["agents"] == 3
    assert sum(part["n"] for part in found["disagreement_by_release"].values()) == 1200
    assert found["local_share"] + found["cloud_share"] >= 1 - 1e-9
    assert found["local_share_last_quarter"] == found["backtest"]["quarters"][3]["local_share"]


def test_costs_are_saved_where_the_large_model_was_not_asked(replayed):
    _, done, found = replayed
    cost = found["backtest"]["cost"]
    assert cost["all"] == 600
    assert cost["paid"] == pytest.approx(600 * found["cloud_share"], abs=1e-3)
    assert f"cost: {cost['paid']:,.2f} instead of 600.00" in done.stdout


def test_what_is_saved_comes_first_and_counts_every_question(replayed):
    _, done, found = replayed
    saved = found["backtest"]["net_saving"]
    assert saved["all"] == pytest.approx(1 - found["cloud_share"], abs=1e-6)
    assert saved["last_quarter"] == pytest.approx(1 - found["cloud_share_last_quarter"], abs=1e-6)
    first = found["releases"][1]["at_query"]
    assert saved["since_first_release"] == pytest.approx(saved["all"] * 1200 / (1200 - first), abs=1e-4)
    assert 0 <= saved["least"] <= saved["since_first_release"] + 0.02
    heads = next(line for line in done.stdout.splitlines() if "promise" in line)
    assert heads.split()[:2] == ["promise", "saved"]
    assert f"asked {saved['all']:.1%} less often, all questions to it counted" in done.stdout


def test_accuracy_stands_with_its_interval_beside_the_large_models(replayed):
    _, done, found = replayed
    assert found["teacher_accuracy"] == 0.98
    assert found["backtest"]["labelled_rows"] == 800
    low, high = found["backtest"]["accuracy_interval"]
    assert low < found["accuracy"] < high
    assert "right by 'gold', known of 800 queries:" in done.stdout


def test_a_person_reads_what_happened_and_what_to_know(replayed):
    said = replayed[1].stdout
    assert "text = text, answer = answer, label = gold" in said
    assert "the large model would have been asked" in said
    assert "serves, certified on" in said
    assert "What to know:" in said
    assert "the promise covers 100% of the queries" in said


def test_the_picture_is_a_picture(replayed):
    assert (replayed[0] / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_every_format_gives_the_same_figures(write_log, make_rows, kind):
    done = backtest(write_log(make_rows(600), kind), "--promise", "0.1", "--json")
    reference = backtest(write_log(make_rows(600), "jsonl", "other"), "--promise", "0.1", "--json")
    found, expected = last_json(done), last_json(reference)
    for timed in (found, expected):
        timed.pop("seconds")
        timed["backtest"].pop("log")
    assert found == expected


def test_several_promises_give_an_object_each(write_log, make_rows, tmp_path):
    log = write_log(make_rows(400))
    done = backtest(log, "--promise", "0.05,0.1", "--promise", "0.2", "--json", "--out", tmp_path / "all.json")
    promises = [json.loads(line)["backtest"]["promise"] for line in done.stdout.splitlines()]
    assert promises == [0.05, 0.1, 0.2]
    assert [one["backtest"]["promise"] for one in json.loads((tmp_path / "all.json").read_text())] == promises


def test_several_seeds_show_how_far_they_spread(write_log, make_rows):
    done = backtest(write_log(make_rows(400)), "--promise", "0.1", "--repeat", 2, "--json")
    low, high = last_json(done)["backtest"]["spread"]["local_share"]
    assert low <= last_json(done)["local_share"] <= high


def test_a_short_log_says_why_nothing_stays(write_log, make_rows):
    done = backtest(write_log(make_rows(200)), "--promise", "0.01")
    assert done.exit_code == 0
    assert "nothing would have stayed on the device" in done.stdout
    assert "A certificate takes" in done.stdout


def test_free_text_is_explained_beside_the_figures(write_log, make_rows):
    rows = make_rows(300)
    for position, row in enumerate(rows):
        row["answer"] = row["answer"] if position % 3 == 0 else f"well, {position}"
    done = backtest(write_log(rows))
    assert done.exit_code == 0
    assert "203 distinct answers in 300 rows: this is free text" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--text", "nothing"], 81, "--text: nothing: .* has no such column"),
        (["--student", "encoder"], 81, "--encoder: name the folder"),
        (["--student", "encoder", "--encoder", "/nowhere"], 83, "model.onnx can't be read"),
        (["--out", "/nowhere/report.json"], 81, "--out: .* can't be written"),
        (["--picture", "/"], 81, "--picture: .* can't be written"),
        (["--picture", "saved.doc"], 81, "--picture: saved.doc: is of no kind known here"),
        (["--promise", "2 %"], 2, "is no share"),
        (["--promise", "0.9"], 2, "out of range"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_code(write_log, make_rows, arguments, code, said):
    done = backtest(write_log(make_rows(120)), *arguments)
    assert done.exit_code == code
    assert re.search(said, " ".join(done.output.split()))


def test_a_bad_line_is_named_and_ends_with_its_code(write_log, make_rows):
    rows = make_rows(120)
    rows[41]["answer"] = None
    done = backtest(write_log(rows), "--json")
    assert done.exit_code == 82
    assert last_json(done)["error"]["kind"] == "DataError"
    assert "log.jsonl:42: column answer: is empty" in last_json(done)["error"]["message"]


def test_too_few_queries_are_refused(write_log, make_rows):
    done = backtest(write_log(make_rows(20)))
    assert done.exit_code == 82
    assert "has 20 queries" in done.output
