import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from router.cli import app

HEADRACE = Path(sys.executable).with_name("headrace")


@pytest.fixture
def ask(tier):
    """Runs ``headrace ask`` against a real tier."""

    def run(*arguments, target=tier.target, task="home", env=None, piped=b""):
        flags = ["--target", target, "--task", task, "--insecure"]
        return CliRunner().invoke(app, ["ask", *flags, *map(str, arguments)], env=env or {}, input=piped)

    return run


def write_lines(path, *lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_question_prints_its_answer_and_says_where_it_comes_from(ask):
    result = ask("lights on")
    assert result.exit_code == 0
    assert result.stdout == "LIGHTS ON\n"
    assert "device; tiny on 0; release 7; confident; confidence 0.90" in result.stderr


def test_the_query_id_that_feedback_takes_is_shown(ask, tier):
    plain = ask("lights on")
    [said] = [line for line in plain.stderr.splitlines() if line.startswith("query id: ")]
    shown = said.removeprefix("query id: ")
    assert shown
    assert shown not in plain.stdout
    assert json.loads(ask("lights on", "--json").stdout)["id"]


@pytest.mark.parametrize(
    "name", ["100% #1/%20 ü", "[a]|b*", 'it\'s "so"', "new\nline", "space ", "~", "no text \udcff"]
)
def test_a_file_of_questions_is_answered_in_exactly_that_folder(ask, tmp_path, name):
    (folder := tmp_path / name).mkdir(parents=True)
    write_lines(folder / "asked.jsonl", {"text": "lights on"})
    result = ask("--file", folder / "asked.jsonl", "--out", folder / "out.jsonl")
    assert result.exit_code == 0, result.output
    assert read_lines(folder / "out.jsonl")[0]["answer"]["text"] == "LIGHTS ON"
    assert sorted(path.name for path in folder.iterdir()) == ["asked.jsonl", "out.jsonl"]
    assert [path.name for path in tmp_path.iterdir()] == [folder.relative_to(tmp_path).parts[0]]


def test_json_holds_the_answer_and_nothing_else(ask):
    result = ask("lights on", "--json", "--top-k", 1, "--rationale")
    said = json.loads(result.stdout)
    assert said["answer"]["text"] == "LIGHTS ON"
    assert said["answer"]["release"] == 7
    assert said["answer"]["labels"] == [["yes", -0.1]]
    assert said["answer"]["rationale"] == "because"


def test_what_is_wanted_besides_is_shown(ask):
    result = ask("lights on", "--top-k", 2, "--rationale")
    assert result.stdout.splitlines()[1:] == ["    -0.100  yes", "    -2.400  no", "  because"]


def test_the_environment_gives_defaults(tier):
    env = {"HEADRACE_TARGET": f"127.0.0.1:1 {tier.target}", "HEADRACE_TASK": "home", "HEADRACE_INSECURE": "1"}
    result = CliRunner().invoke(app, ["ask", "lights on"], env=env)
    assert result.stdout == "LIGHTS ON\n"


@pytest.mark.parametrize(
    ("arguments", "options", "code", "says"),
    [
        (["bad"], {}, 65, "headrace: text is bad"),
        (["  "], {}, 65, "headrace: input needs"),
        (["lights"], {"task": "unknown"}, 66, "headrace: no task 'unknown' here"),
        (["misconfigured"], {}, 68, "headrace: this service is not set up"),
        (["busy for an hour"], {}, 76, "headrace: busy"),
        (["spent"], {}, 79, "headrace: nothing is left for today"),
        (["hang", "--deadline", "0.3"], {}, 77, "did not answer before the deadline"),
        (
            ["lights", "--deadline", "0.3"],
            {"target": "127.0.0.1:1"},
            75,
            "headrace: no answer within 0.3 s: 127.0.0.1:1",
        ),
        (["lights"], {"target": "nowhere"}, 81, "write HOST:PORT"),
        (["lights"], {"target": "10.0.0.1:7600"}, 81, "not on this machine"),
        (["--file", "a", "lights"], {}, 2, "give either a TEXT, or --file together with --out"),
        ([], {}, 2, "give either a TEXT, or --file together with --out"),
    ],
)
def test_every_error_has_its_message_and_exit_code(ask, arguments, options, code, says):
    result = ask(*arguments, **options)
    assert result.exit_code == code
    assert says in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_without_insecure_the_command_says_what_to_do(tier):
    result = CliRunner().invoke(app, ["ask", "lights", "--target", tier.target, "--task", "home"])
    assert result.exit_code == 81
    assert "--insecure" in result.stderr


def test_json_tells_an_error_too(ask):
    result = ask("bad", "--json")
    assert json.loads(result.stdout)["error"] == {
        "kind": "BadInputError",
        "message": "text is bad; say something else",
        "exit_code": 65,
    }


def test_a_file_of_questions_is_answered_with_its_other_keys_kept(ask, tmp_path):
    source = write_lines(
        tmp_path / "in.jsonl", {"text": "lights on", "label": "on"}, "", {"text": "öffne", "id": "mine"}
    )
    result = ask("--file", source, "--out", tmp_path / "out.jsonl", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"questions": 2, "answered": 2, "answered_before": 0, "failed": 0}
    by_text = {line["text"]: line for line in read_lines(tmp_path / "out.jsonl")}
    assert by_text["lights on"]["answer"]["text"] == "LIGHTS ON"
    assert by_text["lights on"]["label"] == "on"
    assert by_text["lights on"]["id"].startswith("1-")
    assert by_text["öffne"]["id"] == "mine"


def test_a_second_run_asks_only_what_has_no_answer(ask, tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_lines(source, *({"text": f"light {number}"} for number in range(20)))
    assert ask("--file", source, "--out", out).exit_code == 0
    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:12]) + b'{"text": "light 1')  # torn by a power cut
    result = ask("--file", source, "--out", out)
    assert "8 answered, 12 answered before, 0 without an answer" in result.stderr
    assert sorted(line["text"] for line in read_lines(out)) == sorted(f"light {number}" for number in range(20))


def test_the_same_line_has_the_same_id_in_every_run(ask, tmp_path):
    source = write_lines(tmp_path / "in.jsonl", {"text": "a"}, {"text": "a"}, {"text": "b"})
    ids = []
    for name in ("one", "two"):
        ask("--file", source, "--out", tmp_path / name)
        ids.append({line["id"] for line in read_lines(tmp_path / name)})
    assert ids[0] == ids[1]
    assert len(ids[0]) == 3


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"question": "x"}', 'has no "text"'),
        ('{"text": 5}', 'has no "text"'),
        ('{"text": " "}', "input needs"),
        ('{"text": "x", "id": ["a"]}', 'has an "id"'),
        ('{"text": "x", "id": ""}', 'has an "id"'),
        ('{"text": "x", "id": "fine"}', "of line 1"),
        ('{"text": "x", "answer": "y"}', 'has a key "answer"'),
        ('{"text": "\\ud800"}', "text can't be sent"),
        (json.dumps({"text": "x", "id": "y" * 65}), "query_id is longer than 64 bytes"),
        (json.dumps({"text": "x" * 300_000}), "over the limit"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_wrong_line_is_named_before_anything_is_sent(ask, tmp_path, line, says):
    source = write_lines(tmp_path / "in.jsonl", {"text": "lights", "id": "fine"}, line)
    result = ask("--file", source, "--out", tmp_path / "out.jsonl", target="127.0.0.1:1")
    assert result.exit_code == 82
    assert f"{source}:2: " in result.stderr
    assert says in result.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_bytes_that_are_no_text_are_named(ask, tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "\xff"}\n')
    result = ask("--file", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl")
    assert result.exit_code == 82
    assert "in.jsonl:1: is not UTF-8" in result.stderr


def test_a_file_that_is_missing_is_named(ask, tmp_path):
    result = ask("--file", tmp_path / "none.jsonl", "--out", tmp_path / "out.jsonl")
    assert result.exit_code == 82
    assert "none.jsonl: can't be read: No such file" in result.stderr


@pytest.mark.parametrize("content", ['{"text": "lights"}', '{"text": "lights"}\n', "notes\n", "{not ours", "{}\n"])
def test_a_file_that_holds_something_else_is_never_written_to(ask, tmp_path, content):
    source = write_lines(tmp_path / "in.jsonl", {"text": "lights"})
    (tmp_path / "other").write_text(content)
    result = ask("--file", source, "--out", tmp_path / "other")
    assert result.exit_code == 82
    assert (tmp_path / "other").read_text() == content


def test_a_folder_that_is_missing_is_named(ask, tmp_path):
    source = write_lines(tmp_path / "in.jsonl", {"text": "lights"})
    result = ask("--file", source, "--out", tmp_path / "none" / "out.jsonl")
    assert result.exit_code == 82
    assert "out.jsonl: can't be written: No such file" in result.stderr


def test_a_question_that_fails_alone_is_counted_and_the_others_go_on(ask, tmp_path):
    source = write_lines(tmp_path / "in.jsonl", {"text": "bad"}, {"text": "lights"}, {"text": "hang"})
    result = ask("--file", source, "--out", tmp_path / "out.jsonl", "--deadline", 2, "--concurrency", 1)
    assert result.exit_code == 65
    assert "line 1: text is bad" in result.stderr
    assert "1 answered, 0 answered before, 2 without an answer" in result.stderr
    assert [line["text"] for line in read_lines(tmp_path / "out.jsonl")] == ["lights"]


def test_an_error_that_concerns_all_ends_the_run(ask, tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *({"text": f"light {number}"} for number in range(50)))
    result = ask("--file", source, "--out", tmp_path / "out.jsonl", task="unknown")
    assert result.exit_code == 66
    assert result.stderr.count("no task 'unknown' here") == 1
    assert "0 answers are in" in result.stderr


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_ctrl_c_leaves_a_whole_file(door, tmp_path, concurrency):
    lines = [{"text": f"light {number}"} for number in range(10)] + [{"text": "hang"}] * 4
    source, out = write_lines(tmp_path / "in.jsonl", *lines), tmp_path / "out.jsonl"
    flags = ["--task", "home", "--target", door.target, "--insecure", "--concurrency", str(concurrency)]
    running = await asyncio.create_subprocess_exec(
        HEADRACE, "ask", "--file", source, "--out", out, *flags, stderr=asyncio.subprocess.PIPE
    )
    try:
        for _ in range(concurrency):
            await asyncio.wait_for(door.servicer.hanging.get(), 120)
        running.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(running.communicate(), 120)
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    assert running.returncode == 130
    assert b"10 answers are in" in said
    assert b"Traceback" not in said
    assert len(read_lines(out)) == 10


def test_the_version_is_said():
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("headrace 0.")


def test_help_shows_examples_that_stay_on_their_lines():
    shown = CliRunner().invoke(app, ["ask", "--help"]).stdout
    assert '  headrace ask "turn the heating down" --task home --target 127.0.0.1:7701 --insecure\n' in shown


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"rout": "local_only"}, 'has a key "rout"; write "route"'),
        ({"routes": "local_only"}, 'has a key "routes"; write "route"'),
        ({"Route": "local_only"}, 'has a key "Route"; write "route"'),
        ({"privacy": "local-only"}, 'has a key "privacy"; write "route"'),
        ({"local_only": True}, 'has a key "local_only"; write "route": "local_only"'),
        ({"consnt": "refused"}, 'has a key "consnt"; write "consent"'),
        ({"Subject": "anna"}, 'has a key "Subject"; write "subject"'),
        ({"topk": 3}, 'has a key "topk"; write "top_k"'),
        ({"timeout": 3}, 'has a key "timeout"; write "deadline"'),
        ({"messages": []}, 'has a key "messages"'),
        ({"route": "home"}, "route is 'home', a str; use 'auto', 'local_only' or 'cloud_only'"),
        ({"route": None}, "route is None"),
        ({"consent": False}, "consent is False"),
        ({"top_k": "3"}, "wanted.top_k is '3'"),
        ({"rationale": 1}, "wanted.rationale is 1"),
        ({"deadline": "soon"}, "deadline is 'soon'"),
        ({"subject": 5}, "subject is 5"),
    ],
)
def test_a_line_that_says_something_wrong_about_its_question_is_refused(ask, tmp_path, says, told):
    source = write_lines(tmp_path / "in.jsonl", {"text": "fine"}, {"text": "lights", **says})
    result = ask("--file", source, "--out", tmp_path / "out.jsonl", target="127.0.0.1:1")
    assert result.exit_code == 82
    assert f"{source}:2: {told}" in result.stderr
    assert not (tmp_path / "out.jsonl").exists()


async def test_a_line_may_say_of_its_question_what_a_program_may(door, tmp_path):
    says = {
        "route": "local_only",
        "consent": "refused",
        "subject": "anna",
        "tenant": "t",
        "conversation": "c",
        "top_k": 1,
    }
    source = write_lines(tmp_path / "in.jsonl", {"text": "lights", "deadline": 20.5, "rationale": True, **says})
    flags = ["--task", "home", "--target", door.target, "--insecure", "--out", tmp_path / "out"]
    running = await asyncio.create_subprocess_exec(HEADRACE, "ask", "--file", source, *flags)
    assert await asyncio.wait_for(running.wait(), 120) == 0
    (seen,) = door.servicer.seen
    assert (seen.route, seen.consent, seen.subject) == ("local_only", "refused", "anna")
    assert (seen.tenant, seen.conversation, seen.wanted.top_k, seen.wanted.rationale) == ("t", "c", 1, True)
    assert read_lines(tmp_path / "out")[0]["route"] == "local_only"


def test_a_route_for_all_is_not_loosened_by_a_line(ask, tmp_path):
    source = write_lines(tmp_path / "in.jsonl", {"text": "lights", "route": "auto"})
    result = ask("--file", source, "--out", tmp_path / "out", "--route", "local_only")
    assert result.exit_code == 82
    assert ':1: has "route": "auto", and --route local_only holds for every line' in result.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"text": "a", "route": "local_only", "route": "auto"}', 'the key "route" stands twice'),
        ('{"text": "a", "options": {"route": "local_only"}}', 'has options within "options"'),
        ('{"text": "a", "no_log": true}', 'has a key "no_log"; write "route": "local_only" or "consent": "refused"'),
        ('{"text": "a", "store": false}', 'has a key "store"'),
        ('{"text": "a", "Confidential": true}', 'has a key "Confidential"'),
        ('{"text": "a", "do-not-train": true}', 'has a key "do-not-train"'),
    ],
)
def test_a_wish_about_privacy_in_other_words_is_refused(ask, tmp_path, line, told):
    (tmp_path / "in.jsonl").write_text(line)
    result = ask("--file", tmp_path / "in.jsonl", "--out", tmp_path / "out")
    assert (result.exit_code, told in result.stderr) == (82, True), result.stderr


def test_keys_that_mean_nothing_here_are_told(ask, tmp_path):
    source = write_lines(
        tmp_path / "in.jsonl", {"text": "a", "label": "on", "content": 1}, {"text": "b", "note": "", "done": True}
    )
    result = ask("--file", source, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "headrace: kept as they are, and not read: content, done, label, note" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lights", "--concurrency", "3"], "--concurrency is for --file"),
        (["lights", "--consent", "no"], "'no' is not one of 'as_task', 'granted', 'refused'"),
        (["lights", "--routes", "local_only"], "No such option: --routes"),
        (["lights", "--route", "LOCAL_ONLY"], "'LOCAL_ONLY' is not one of"),
        (["lights", "off"], "unexpected extra argument"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(ask, arguments, says):
    result = ask(*arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


async def test_consent_can_be_refused_from_the_shell(door):
    flags = ["--task", "home", "--target", door.target, "--insecure", "--consent", "refused"]
    for command in (["ask", "lights"], ["chat"]):
        running = await asyncio.create_subprocess_exec(HEADRACE, *command, *flags, stdin=asyncio.subprocess.PIPE)
        await asyncio.wait_for(running.communicate(b"lights\n"), 120)
    assert [query.consent for query in door.servicer.seen] == ["refused", "refused"]


async def test_a_route_and_a_consent_of_the_environment_hold(door):
    flags = ["--task", "home", "--target", door.target, "--insecure"]
    given = {**os.environ, "HEADRACE_ROUTE": "local_only", "HEADRACE_CONSENT": "refused"}
    for command in (["ask", "lights"], ["chat"]):
        running = await asyncio.create_subprocess_exec(
            HEADRACE, *command, *flags, stdin=asyncio.subprocess.PIPE, env=given
        )
        await asyncio.wait_for(running.communicate("\ufefflights\n".encode()), 120)
    assert [(query.route, query.consent) for query in door.servicer.seen] == [("local_only", "refused")] * 2
    assert door.servicer.seen[1].messages[0].content == "lights"


@pytest.mark.parametrize(
    "twice", [["--route", "local_only", "--route", "auto"], ["--consent=refused", "--consent", "granted"]]
)
def test_a_wish_about_privacy_that_is_said_twice_is_refused(ask, twice):
    result = ask("lights", *twice)
    assert (result.exit_code, "is given twice; give it once" in result.stderr) == (2, True)


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\ufeff\n"])
def test_a_question_that_nobody_can_see_is_empty(ask, text):
    result = ask(text)
    assert (result.exit_code, "needs either a text that is not empty" in result.stderr) == (65, True)


@pytest.mark.parametrize("text", ["say nothing", "say a line", "be filtered"])
def test_an_answer_without_a_word_is_told_and_no_success(ask, text):
    result = ask(text)
    assert (result.exit_code, result.stdout) == (74, "")
    assert "headrace: tiny on 0 (device) gave an answer without a word" in result.stderr
    assert ("filtered" in result.stderr) == (text == "be filtered")
    assert json.loads(ask(text, "--json").stdout)["error"]["kind"] == "EmptyAnswerError"


def test_a_question_of_a_file_whose_answer_holds_no_word_is_counted_as_failed(ask, tmp_path):
    source = write_lines(tmp_path / "in.jsonl", {"text": "a"}, {"text": "say nothing"}, {"text": "b"})
    result = ask("--file", source, "--out", tmp_path / "out.jsonl")
    assert result.exit_code == 74
    assert "line 2: tiny on 0 (device) gave an answer without a word" in result.stderr
    assert {line["text"] for line in read_lines(tmp_path / "out.jsonl")} == {"a", "b"}
