import pytest

from cloud_worker.refresh.monitoring.shadow_counts import ShadowCounts


def test_what_one_device_says_moves_the_reading_by_devices_by_no_more_than_its_part(record):
    observing = ShadowCounts(3, 0.0, lambda asked, answer, reference: answer == reference)
    stays = {"release": 3, "local_score": 0.9, "threshold": 0.5}
    rows = [record(n, caller=f"d{n % 4}", local_answer="lights", **stays) for n in range(40)]
    rows += [record(100 + n, caller="liar", local_answer="music", **stays) for n in range(1000)]
    seen = observing.observe(rows)
    assert (seen.rows, seen.kept, seen.disagreed) == (1040, 1040, 1000)
    assert seen.disagreed_by_devices == pytest.approx(20 / 60)
