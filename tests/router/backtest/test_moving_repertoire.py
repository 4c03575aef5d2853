"""A student that knows by heart what it was taught, where texts come and go: of others that is worth no certificate."""

import numpy as np
import pytest

from router.backtest.logs.reader import Asked
from router.backtest.replay import Replay
from router.backtest.students.student import Fit
from router.core.certification.refresh_schedule import Pace
from router.core.domain.label_confidence import Reading
from router.core.domain.task import Objective, Task
from router.core.learning.held_out import LabelMeasures
from router.core.learning.training_rows import calibrating

LABELS = ("no", "yes")
PROMISE, LOST = 0.05, 0.1  # of the texts that it was not taught it answers so many wrongly, as sure as of any other
LIVES = 10


class Parrot:
    """Says "yes" to what it was not taught."""

    def __init__(self, taught):
        self.taught = taught

    def read(self, texts):
        said = [LABELS.index(self.taught.get(text, "yes")) for text in texts]
        return Reading(9.0 * np.eye(2)[said], np.zeros(len(texts)))


class ParrotFitter:
    def fit(self, rows):
        held, parrot = calibrating(rows), Parrot({row.text: row.answer for row in rows})
        return Fit(LABELS, parrot, held, LabelMeasures(LABELS, parrot.read([row.text for row in held])))


def replayed(texts, seed):
    """The loop after these queries, and what it served."""
    wrong = np.random.default_rng(seed + 1_000).random(texts.max() + 1) < LOST
    asked = [Asked(f"text {text}", LABELS[int(not wrong[text])], asked_at=at) for at, text in enumerate(texts)]
    task = Task("moves", "log", objective=Objective(PROMISE))
    one = Replay(asked, [row.answer for row in asked], task, ParrotFitter(), Pace(min_rows=300))
    return one, one.run(devices=5, seed=seed)


def released(texts, seed):
    """Whether anything serves within these queries that keeps all, and so truly loses ``LOST``."""
    one, _ = replayed(texts, seed)
    return any(served.has_student and not served.manifest.only_asked for served in one.loop.releases.served.values())


@pytest.mark.parametrize("times, life", [(8, 320), (20, 800), (8, 1_500), (40, 2_000)])
def test_what_is_known_by_heart_proves_nothing_of_texts_to_come(times, life):
    made = [np.random.default_rng(seed) for seed in range(LIVES)]
    lives = [np.arange(1_200) // times + random.integers(life // times, size=1_200) for random in made]
    assert sum(released(texts, seed) for seed, texts in enumerate(lives)) <= 1


def test_commands_that_stay_are_worth_knowing_by_heart():
    made = [np.random.default_rng(seed) for seed in range(LIVES)]
    lives = [replayed(random.integers(40, size=1_200), seed) for seed, random in enumerate(made)]
    assert sum(bool(history.releases) for _, history in lives) >= LIVES - 1


@pytest.mark.parametrize("moving", [0.1, 0.25])
def test_where_a_part_moves_on_what_was_asked_before_is_kept_and_nothing_else(moving):
    kept = lost = later = lives = 0
    for seed in range(LIVES):
        random = np.random.default_rng(seed)
        stays = random.integers(40, size=3_000)
        passing = 40 + np.arange(3_000) // 8 + random.integers(100, size=3_000)
        texts = np.where(random.random(3_000) < moving, passing, stays)
        one, history = replayed(texts, seed)
        served = [release.manifest for release in one.loop.releases.served.values() if release.has_student]
        assert all(manifest.only_asked for manifest in served)
        if not history.releases:
            continue
        first = history.releases[0].at_query
        lives, known = lives + 1, set(texts[:first].tolist())
        for answered in history.served[first:]:
            assert not answered.local or int(texts[answered.position]) in known
            kept, later = kept + answered.local, later + 1
            lost += answered.local and not answered.agrees
    assert lives >= LIVES - 3  # in the others a challenger that keeps all is tried first, in vain
    assert kept > 0.9 * (1 - moving) * later
    assert lost <= PROMISE * later


def test_as_texts_go_a_release_that_keeps_those_of_today_takes_over():
    """Each text is asked 60 times within 4,000 queries: what the first release keeps is asked no more by then."""
    lately, lost = [], []
    for seed in range(4):
        texts = np.arange(6_000) // 60 + np.random.default_rng(seed).integers(4_000 // 60, size=6_000)
        _, history = replayed(texts, seed)
        lately.append(np.mean([answered.local for answered in history.served[-1_500:]]))
        lost.append(np.mean([answered.local and not answered.agrees for answered in history.served]))
    assert np.mean(lately) > 0.25
    assert max(lost) <= PROMISE


def test_where_the_rest_stays_no_challenger_is_tried_for_what_would_soon_be_gone_again():
    tried = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        passing = 40 + np.arange(6_000) // 8 + random.integers(100, size=6_000)
        texts = np.where(random.random(6_000) < 0.25, passing, random.integers(40, size=6_000))
        _, history = replayed(texts, seed)
        tried += [event for event in history.events if "keeps only what was asked before" in event.what]
    assert 3 <= len(tried) <= 5


@pytest.mark.parametrize("min_rows", [1, 2, 3])
def test_a_first_fit_may_have_next_to_no_rows(min_rows):
    asked = [Asked(f"text {text}", "yes", asked_at=text) for text in range(40)]
    one = Replay(asked, ["yes"] * 40, Task("moves", "log"), ParrotFitter(), Pace(min_rows=min_rows, early_rows=1))
    assert not one.run(devices=2, seed=0).releases
