"""``headrace-cloud evaluate`` on small tables."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cloud_worker.commands.evaluate import evaluate
from cloud_worker.evaluation.answer_tables import (
    COLUMNS,
    chain_name,
    parse_chains,
    read_answers,
    read_bounds,
    read_prices,
)
from cloud_worker.evaluation.chain_figures import evaluate_chains
from router.core.errors import DataError

MODELS = ("small", "middle", "large")
HEADER = "query,model,log_confidence,correct,cost_usd,latency_ms,tokens_in,tokens_out"


def table(path, count=300, seed=0, header=HEADER, extra=""):
    draw = np.random.default_rng(seed)
    lines = [header]
    for query in range(count):
        ease = draw.beta(2, 1.2)
        for position, model in enumerate(MODELS):
            chance = min(max(ease ** (1.0, 0.5, 0.2)[position], 0.01), 0.999)
            right = int(draw.random() < chance)
            lines.append(f"{query},{model},{np.log(chance):.6f},{right},{0.001 * 5**position},1.0,90,10")
    text = "\n".join(lines) + "\n" + extra
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def tables(tmp_path):
    return table(tmp_path / "train.csv"), table(tmp_path / "test.csv.gz", seed=1)


def run(*arguments):
    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def prices(tmp_path, **changes):
    path = tmp_path / "prices.toml"
    path.write_text("".join(f"{name} = {price}\n" for name, price in ({"small": 0.1, "large": 3.0} | changes).items()))
    return path


def test_all_chains_are_printed_as_one_json_object(tables):
    result = run("--train", tables[0], "--test", tables[1], "--json", "--repeats", 20)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [chain["cascade"] for chain in found["chains"]] == ["0->1", "0->2", "1->2", "0->1->2"]
    for chain in found["chains"]:
        assert 0 < chain["low"] <= chain["area"] <= chain["high"] < 1
        assert chain["oracle"] < chain["area"] < chain["random"]
    assert set(found) == {"chains", "mean_area"}
    assert found["mean_area"] == pytest.approx(np.mean([chain["area"] for chain in found["chains"]]))


def test_every_figure_has_an_interval_and_stands_beside_the_oracles(tables):
    result = run("--train", tables[0], "--test", tables[1], "--chains", "small,large", "--json", "--repeats", 50)
    [chain] = json.loads(result.stdout)["chains"]
    for name in ("apgr", "cpt50", "cpt80"):
        assert chain[name]["low"] <= chain[name]["value"] <= chain[name]["high"]
    assert chain["apgr"]["oracle"] > chain["apgr"]["value"] > 0.5
    assert chain["cpt50"]["oracle"] < chain["cpt50"]["value"] < chain["cpt80"]["value"]
    assert chain["resamples_with_gap"] == 1
    assert len(chain["curve"]["cost"]) == len(chain["curve"]["error"])
    assert [model["model"] for model in chain["models"]] == ["small", "large"]
    for model in chain["models"]:
        aurc = model["aurc"]
        assert aurc["oracle"] < aurc["low"] <= aurc["value"] <= aurc["high"] < model["error"]
        assert model["risk_coverage"]["risk"][-1] == pytest.approx(model["error"])
        assert model["risk_coverage"]["coverage"][-1] == 1


def test_without_a_gap_there_is_no_share_of_it(tmp_path):
    paths = [table(tmp_path / f"{seed}.csv", seed=seed) for seed in (0, 1)]
    result = run("--train", paths[0], "--test", paths[1], "--chains", "large,small", "--json", "--repeats", 5)
    [chain] = json.loads(result.stdout)["chains"]
    assert (chain["apgr"], chain["cpt50"], chain["resamples_with_gap"]) == (None, None, None)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    return [read_answers(table(folder / f"{seed}.csv", count=80, seed=seed)) for seed in (0, 1)]


@settings(max_examples=8)
@given(unit=st.floats(1e-9, 1e9))
def test_the_unit_of_cost_changes_no_figure(answers, unit):
    scaled = [replace(one, usd=one.usd * unit) for one in answers]
    before, after = (
        evaluate_chains(*tables, [("small", "large")], repeats=1).chains[0] for tables in (answers, scaled)
    )
    assert after.area.value == pytest.approx(before.area.value)
    assert after.oracle_area == pytest.approx(before.oracle_area)
    assert after.gap.apgr.interval.value == pytest.approx(before.gap.apgr.interval.value)


def test_the_costs_of_the_test_table_choose_nothing(answers):
    train, test = answers
    dear = replace(test, usd=test.usd * np.array([1.0, 1.0, 3.0]))
    one, other = (evaluate_chains(train, known, [("small", "large")], repeats=1).chains[0] for known in (test, dear))
    assert other.curve.y == pytest.approx(one.curve.y)
    assert other.curve.x - dear.usd[0] == pytest.approx(3 * (one.curve.x - test.usd[0]))


def test_prices_choose_and_number_the_models(tables, tmp_path):
    priced = prices(tmp_path)
    result = run("--train", tables[0], "--test", tables[1], "--prices", priced, "--json", "--repeats", 5)
    assert [chain["cascade"] for chain in json.loads(result.stdout)["chains"]] == ["0->1"]


def test_models_without_a_price_are_said_to_be_left_out(tables, tmp_path):
    result = run("--train", tables[0], "--test", tables[1], "--prices", prices(tmp_path), "--json", "--repeats", 5)
    assert "test.csv.gz: left out, since they have no price: middle" in result.stderr
    assert json.loads(result.stdout)


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "names no model"), ("small = 0.1\n", "a chain takes two models, and there is only small")],
)
def test_without_a_chain_there_is_no_figure(tables, tmp_path, content, words):
    (tmp_path / "p.toml").write_text(content)
    result = run("--train", tables[0], "--test", tables[1], "--prices", tmp_path / "p.toml", "--json")
    assert result.exit_code == DataError.exit_code
    assert words in result.output


def test_a_chain_with_nothing_to_save_is_refused(tmp_path):
    path = table(tmp_path / "free.csv")
    path.write_text(re.sub(r",0\.\d+,1\.0,90,10", ",0,1.0,90,10", path.read_text()))
    result = run("--train", path, "--test", path, "--json", "--repeats", 5)
    assert result.exit_code == DataError.exit_code
    assert "chain 0->1: its dearest way costs no more than its cheapest" in result.output


def test_tables_may_name_the_models_in_another_order(tables, tmp_path):
    header, *lines = tables[0].read_text().splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([header, *reversed(lines)]))
    arguments = ["--train", tables[0], "--json", "--repeats", 5, "--test"]
    assert json.loads(run(*arguments, tmp_path / "turned.csv").stdout)["mean_area"] == pytest.approx(
        json.loads(run(*arguments, tables[0]).stdout)["mean_area"]
    )


def test_bounds_say_between_which_costs_the_area_is_taken(tables, tmp_path):
    bounds = tmp_path / "bounds.csv"
    bounds.write_text("cascade,cost_lo,cost_hi\n0->1,10,300\n0->1,10,300\n")
    arguments = ["--train", tables[0], "--test", tables[1], "--prices", prices(tmp_path), "--repeats", 5, "--json"]
    wide = json.loads(run(*arguments, "--bounds", bounds).stdout)["chains"][0]["area"]
    bounds.write_text("cascade,cost_lo,cost_hi\n0->1,200,300\n")
    narrow = json.loads(run(*arguments, "--bounds", bounds).stdout)["chains"][0]["area"]
    assert narrow < wide
    bounds.write_text("cascade,cost_lo,cost_hi\n1->2,10,20\n")
    result = run(*arguments, "--bounds", bounds)
    assert result.exit_code == DataError.exit_code
    assert "0->1" in result.output


def test_the_same_tables_give_the_same_figures(tables):
    arguments = ["--train", tables[0], "--test", tables[1], "--json", "--repeats", 5]
    assert run(*arguments).stdout == run(*arguments).stdout


def test_people_get_a_table_and_a_picture(tables, tmp_path):
    picture = tmp_path / "curves.svg"
    result = run("--train", tables[0], "--test", tables[1], "--repeats", 5, "--picture", picture)
    assert result.exit_code == 0, result.output
    assert "mean area" in result.output
    for words in ("0->1->2", "AURC", "risk at 50%", "random", "oracle", "APGR", "CPT80"):
        assert words in result.output
    assert "…" not in result.output
    assert picture.read_text().lstrip().startswith("<?xml")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("0,small,-0.1,1,0.1,1,1,1\n", "a second time"),
        ("900,small,-0.1,1,0.1,1,1,1\n", "no answer to query 900"),
        ("900,small,-0.1,2,0.1,1,1,1\n", ":902: correct"),
        ("900,small,high,1,0.1,1,1,1\n", ":902: log_confidence"),
        ("900,small,nan,1,0.1,1,1,1\n", "log_confidence"),
        ("900,small,-0.1\n", "misses a value"),
        ("900,small,0.1,1,0.1,1,1,1\n", ":902: log_confidence is '0.1'"),
        ("900,small,-0.1,1,-0.1,1,1,1\n", ":902: cost_usd is '-0.1'"),
        ("900,small,-0.1,1,0.1,1,-1,1\n", ":902: tokens_in is '-1'"),
        ("900,small,-0.1,1,0.1,1,1,1,1\n", ":902: has more values"),
        (f"{'9' * 140_000},small,-0.1,1,0.1,1,1,1\n", ":902: is not CSV that can be read"),
    ],
)
def test_a_bad_line_is_named(tmp_path, extra, words):
    path = table(tmp_path / "bad.csv", extra=extra)
    with pytest.raises(DataError, match=words):
        read_answers(path)


def test_a_missing_file_or_column_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        read_answers(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="no column 'correct'"):
        read_answers(table(tmp_path / "a.csv", header=HEADER.replace("correct", "right")))
    (tmp_path / "empty.csv").write_text(HEADER + "\n")
    with pytest.raises(DataError, match="holds no answer"):
        read_answers(tmp_path / "empty.csv")
    with pytest.raises(DataError, match="two columns named 'correct'"):
        read_answers(table(tmp_path / "b.csv", header=HEADER.replace("latency_ms", "correct")))


def test_a_compressed_table_that_is_torn_is_named(tmp_path):
    whole = gzip.compress(table(tmp_path / "a.csv").read_bytes())
    wrong = bytearray(whole)
    wrong[len(whole) // 2] ^= 255
    for content in (b"\x1f\x8b\x00", whole[:-20], bytes(wrong), whole[:-6] + b"\0" * 6, b"\x1f\x8b\x08" + b"\xff" * 40):
        (tmp_path / "torn.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"torn\.csv: can't be read"):
            read_answers(tmp_path / "torn.csv")


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = table(tmp_path / "a.csv", count=2)
    plain = read_answers(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_answers(path).models == plain.models
    (tmp_path / "p.toml").write_bytes(b"\xef\xbb\xbfsmall = 1.0")
    assert read_prices(tmp_path / "p.toml") == {"small": 1.0}


def test_bad_prices_and_bounds_are_named(tmp_path):
    for content in ("llama3.2-1b = 1", "a = -1", "a = true", "a = 'dear'", "a = ", "a = nan"):
        (tmp_path / "p.toml").write_text(content)
        with pytest.raises(DataError, match=r"p\.toml"):
            read_prices(tmp_path / "p.toml")
    (tmp_path / "b.csv").write_text("cascade,cost_lo,cost_hi\n0->1,3,2\n")
    with pytest.raises(DataError, match="not below"):
        read_bounds(tmp_path / "b.csv")
    (tmp_path / "b.csv").write_text("cascade,cost_lo,cost_hi\n0->1,1,2\n0->1,1,3\n")
    with pytest.raises(DataError, match=r"b\.csv:3: has other bounds for cascade 0->1"):
        read_bounds(tmp_path / "b.csv")


def test_chains_are_named_by_their_models_numbers():
    assert parse_chains("small,large; middle , large", MODELS) == [("small", "large"), ("middle", "large")]
    assert len(parse_chains("all", tuple("abcde"))) == 26
    assert chain_name(("small", "large"), MODELS) == "0->2"
    for bad in ("small", "small,small", "small,huge", ""):
        with pytest.raises(DataError, match="--chains"):
            parse_chains(bad, MODELS)


def test_the_page_lists_every_option_and_column():
    page = (Path(__file__).parents[3] / "docs" / "evaluate.md").read_text(encoding="utf-8")
    app = typer.Typer(add_completion=False)
    app.command()(evaluate)
    options = {option for parameter in typer.main.get_command(app).params for option in parameter.opts}
    first = {word for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for word in re.findall(r"`([^`]+)`", row)}
    assert first == (options - {"--help"}) | set(COLUMNS)


def test_an_error_is_one_line_and_an_exit_code(tables, tmp_path):
    result = run("--train", tables[0], "--test", tmp_path / "nowhere.csv")
    assert result.exit_code == DataError.exit_code
    assert "nowhere.csv" in result.output
    assert "Traceback" not in result.output
