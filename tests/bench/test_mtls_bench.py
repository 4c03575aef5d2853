import pytest

from bench.mtls_overhead import measured

FIGURES = ("plain_ms", "secure_ms", "ratio", "paired_ratio", "plain_cpu_ms", "secure_cpu_ms", "cpu_ratio")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_kinds_answer_locally_and_escalated_and_take_reports():
    figures = measured(10)
    assert set(figures) == {
        "queries",
        *(f"{what}_{which}" for what in ("escalated", "local", "sync") for which in FIGURES),
    }
    assert all(value >= 0 for value in figures.values())
