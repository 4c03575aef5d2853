import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_worker.config.sections import Refresh
from router.backtest.logs.reader import Asked
from router.backtest.replay import STRIDE, Replay, device_seed, query_id
from router.backtest.students.ngram_student import HashedFitter
from router.core.certification.refresh_schedule import Pace
from router.core.domain.record import is_remembered
from router.core.domain.task import Exploration, Objective, Task
from router.core.policy.exploration import draw


class NoStudent:
    def fit(self, rows):
        return None


def replay(rows, promise=0.05, seed=0, devices=2, least=150, fitter=None):
    asked = [
        Asked(row["text"], row["answer"], row.get("label"), asked_at=position) for position, row in enumerate(rows)
    ]
    task = Task("backtest", "log", objective=Objective(promise))
    fitter = fitter or HashedFitter([row["text"] for row in rows])
    one = Replay(asked, [row["answer"] for row in rows], task, fitter, Pace(min_rows=least))
    return one, one.run(devices, seed)


@pytest.fixture(scope="module")
def lived():
    """A replay of 1,500 easy queries, with its log."""
    return replay(_utterances(1500))


def test_easy_queries_come_home_within_the_promise(lived):
    _, history = lived
    last = history.served[-375:]
    assert history.releases
    assert sum(row.local for row in last) / len(last) > 0.6
    assert sum(not row.agrees for row in history.served) / len(history.served) <= 0.05


def test_before_the_first_release_everything_escalates_and_is_explored(lived):
    _, history = lived
    early = history.served[: history.releases[0].at_query]
    assert early
    assert all(row.cloud and row.explored and not row.local and row.release == 0 for row in early)


def test_what_the_large_model_answers_never_differs_from_it(lived):
    assert all(row.agrees for row in lived[1].served if not row.local)


def test_the_log_has_what_escalated_or_was_explored_and_nothing_else(lived):
    one, history = lived
    logged = {record.query_id for _, record in one.log}
    assert logged == {query_id(0, row.position) for row in history.served if row.cloud}


def test_exploration_is_the_keyed_draw(lived):
    one, history = lived
    records = {record.query_id: record for _, record in one.log}
    for row in history.served:
        query = query_id(0, row.position)
        drawn = draw(device_seed(0, row.position % 2 + 1), query)
        if row.explored:
            assert drawn < records[query].exploration
        elif row.cloud:
            assert drawn >= records[query].exploration


def test_a_query_that_names_its_device_is_asked_by_it_with_draws_of_its_own():
    asked = [Asked(f"text {position}", "yes", device="kitchen" if position % 3 else "") for position in range(30)]
    one = Replay(asked, ["yes"] * 30, Task("backtest", "log"), HashedFitter([row.text for row in asked]), Pace())
    one.run(devices=2)
    assert [record.caller for _, record in one.log] == [
        "kitchen" if position % 3 else f"device-{position % 2 + 1}" for position in range(30)
    ]
    assert device_seed(0, "kitchen") != device_seed(0, "hall")


def test_a_propensity_is_one_unless_the_student_kept_the_query(lived):
    for _, record in lived[0].log:
        assert record.propensity == (record.exploration if record.kept else 1.0)


def test_no_row_certifies_what_it_taught():
    seen = []

    class Watching(HashedFitter):
        def fit(self, rows):
            seen.append({row.query_id for row in rows})
            return super().fit(rows)

    rows = _utterances(900)
    one, history = replay(rows, fitter=Watching([row["text"] for row in rows]))
    assert history.releases
    first = history.releases[0]
    assert len(one.spent) >= first.rows
    spent_after_first = {key[1] for key in one.spent}
    assert not seen[0] & spent_after_first


def test_a_promotion_stands_at_the_end_of_a_stride(lived):
    assert all(release.at_query % STRIDE == 0 for release in lived[1].releases)


def test_releases_are_numbered_upwards(lived):
    numbers = [release.number for release in lived[1].releases]
    assert numbers == sorted(set(numbers))


def test_the_same_seed_gives_the_same_life_and_another_one_another():
    rows = _utterances(700)
    one, same, other = (replay(rows, seed=seed)[1] for seed in (0, 0, 1))
    assert one == same
    assert [row.explored for row in other.served] != [row.explored for row in one.served]


def remembering(answers, memory=10_000, cold=0.25):
    """A replay of as many queries of ten texts, without any student: who answers how is given by place."""
    asked = [
        Asked(f"text {position % 10}", answer, asked_at=50.0 * position) for position, answer in enumerate(answers)
    ]
    task = Task("backtest", "log", objective=Objective(0.2), exploration=Exploration(cold=cold))
    one = Replay(asked, answers, task, NoStudent(), Pace(), memory)
    return one, one.run(devices=2).served


def test_exact_repeats_are_answered_from_memory_and_what_is_drawn_of_them_is_logged_without_a_score():
    one, served = remembering(["yes"] * 3000)
    given = [row for row in served if row.remembered]
    assert len(given) > 1000
    assert all(row.local and row.agrees and row.cloud == row.explored for row in given)
    drawn = {query_id(0, row.position) for row in given if row.explored}
    logged = {record.query_id for _, record in one.log if is_remembered(record)}
    assert logged == drawn
    assert 0.2 < len(drawn) / len(given) < 0.3


@pytest.mark.parametrize("different", [{"memory": 0}, {"cold": 1.0}])
def test_nothing_is_given_from_memory_without_one_nor_where_everything_is_explored(different):
    assert not any(row.remembered for row in remembering(["yes"] * 2000, **different)[1])


def test_a_device_gives_nothing_of_a_reference_that_contradicts_itself():
    draws = random.Random(0)
    _, served = remembering([draws.choice(["yes", "no"]) for _ in range(2000)])
    assert not any(row.remembered for row in served)


def test_answers_by_chance_keep_nothing_local():
    draws = random.Random(0)
    rows = [{"text": row["text"], "answer": draws.choice("abc")} for row in _utterances(800)]
    _, history = replay(rows)
    assert not history.releases
    assert not any(row.local for row in history.served)
    assert history.events


def test_a_change_of_meaning_raises_the_alarm_and_everything_escalates():
    turned = {"lights": "music", "music": "clock", "clock": "lights"}
    rows = _utterances(1200) + [row | {"answer": turned[row["answer"]]} for row in _utterances(1300, seed=5)]
    _, history = replay(rows)
    assert history.alarms >= 1
    alarm = next(event.queries for event in history.events if "breaks its promise" in event.what)
    assert 1200 < alarm <= 2500
    after = history.served[alarm : alarm + STRIDE]
    assert not any(row.local for row in after)
    assert all(row.explored for row in after)


def test_a_small_change_is_suspected_before_the_alarm_and_told_with_everything_explored():
    rows = _utterances(1200)
    for row in _utterances(1800, seed=5):
        changes = "tune" in row["text"] and row["answer"] == "music"
        rows.append(row | {"answer": "lights"} if changes else row)
    one, history = replay(rows, least=900)
    said = [(event.queries, event.what) for event in history.events]
    suspected = next(queries for queries, what in said if "seems to lose more than it may" in what)
    alarm = next(queries for queries, what in said if "breaks its promise" in what)
    assert 1200 < suspected < alarm
    between = history.served[suspected:alarm]
    assert all(row.explored for row in between)
    assert not any(row.local for row in between)  # the reference's answer is there
    assert all(record.exploration == 1.0 for _, record in one.log if suspected <= record.asked_at < alarm)


def test_an_answer_that_is_new_escalates_until_it_is_known():
    rows = _utterances(1000)
    new = {"doors": ("gate", "lock", "hinge", "knob", "porch")}
    rows += [row for pair in zip(_utterances(150, 1), _utterances(150, 2, new), strict=True) for row in pair]
    _, history = replay(rows)
    wrong = [row for row in history.served[1000:] if not row.agrees]
    assert len(wrong) <= 0.1 * 300


@settings(max_examples=5)
@given(st.integers(1, 7), st.integers(0, 1000))
def test_every_query_is_answered_once_whatever_the_fleet(devices, seed):
    rows = _utterances(230)
    _, history = replay(rows, devices=devices, seed=seed, least=60)
    assert [row.position for row in history.served] == list(range(230))


def test_labels_tell_what_was_right():
    rows = [row | {"label": row["answer"]} for row in _utterances(300)]
    rows[3]["label"] = "else"
    _, history = replay(rows)
    assert history.served[3].right is False
    assert history.served[4].right is True


def test_the_pace_is_the_one_of_a_cloud_that_says_nothing():
    given = Refresh()
    assert Pace() == Pace(given.min_rows, given.growth, given.patience_rows, given.early_rows)


def _utterances(count, seed=0, words=None):
    draws = random.Random(seed)
    words = words or {"lights": ("lamp", "bulb", "glow"), "music": ("song", "tune", "album"), "clock": ("noon", "wake")}
    fillers = ("please", "turn", "the", "a", "now", "could", "you", "my", "some", "more")
    rows = []
    for _ in range(count):
        answer = draws.choice(sorted(words))
        parts = [*draws.choices(words[answer], k=2), *draws.choices(fillers, k=3)]
        draws.shuffle(parts)
        rows.append({"text": " ".join(parts), "answer": answer})
    return rows
