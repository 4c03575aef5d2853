"""``headrace-cloud evaluate`` on small tables."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from cloud_worker.answer_tables import chain_name, parse_chains, read_answers, read_bounds, read_prices
from cloud_worker.evaluate import evaluate
from router.errors import DataError

MODELS = ("small", "middle", "large")
HEADER = "query,model,log_confidence,correct,cost_usd,latency_ms,tokens_in,tokens_out"


def table(path, count=300, seed=0, header=HEADER, extra=""):
    draw = np.random.default_rng(seed)
    lines = [header]
    for query in range(count):
        ease = draw.beta(2, 1.2)
        for place, model in enumerate(MODELS):
            chance = min(max(ease ** (1.0, 0.5, 0.2)[place], 0.01), 0.999)
            right = int(draw.random() < chance)
            lines.append(f"{query},{model},{np.log(chance):.6f},{right},{0.001 * 5**place},1.0,90,10")
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
        assert set(chain) == {"cascade", "area", "low", "high"}
        assert 0 < chain["low"] <= chain["area"] <= chain["high"] < 1
    assert found["mean_area"] == pytest.approx(np.mean([chain["area"] for chain in found["chains"]]))


def test_prices_choose_and_number_the_models(tables, tmp_path):
    priced = prices(tmp_path)
    result = run("--train", tables[0], "--test", tables[1], "--prices", priced, "--json", "--repeats", 5)
    assert [chain["cascade"] for chain in json.loads(result.stdout)["chains"]] == ["0->1"]


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
    assert "small" in result.output
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
    (tmp_path / "torn.csv").write_bytes(b"\x1f\x8b\x00")
    with pytest.raises(DataError, match="can't be read"):
        read_answers(tmp_path / "torn.csv")


def test_bad_prices_and_bounds_are_named(tmp_path):
    for content in ("a = -1", "a = true", "a = 'dear'", "a = ", "a = nan"):
        (tmp_path / "p.toml").write_text(content)
        with pytest.raises(DataError, match=r"p\.toml"):
            read_prices(tmp_path / "p.toml")
    (tmp_path / "b.csv").write_text("cascade,cost_lo,cost_hi\n0->1,3,2\n")
    with pytest.raises(DataError, match="not below"):
        read_bounds(tmp_path / "b.csv")


def test_chains_are_named_by_their_models_numbers():
    assert parse_chains("small,large; middle , large", MODELS) == [("small", "large"), ("middle", "large")]
    assert len(parse_chains("all", tuple("abcde"))) == 26
    assert chain_name(("small", "large"), MODELS) == "0->2"
    for bad in ("small", "small,small", "small,huge", ""):
        with pytest.raises(DataError, match="--chains"):
            parse_chains(bad, MODELS)


def test_an_error_is_one_line_and_an_exit_code(tables, tmp_path):
    result = run("--train", tables[0], "--test", tmp_path / "nowhere.csv")
    assert result.exit_code == DataError.exit_code
    assert "nowhere.csv" in result.output
    assert "Traceback" not in result.output
