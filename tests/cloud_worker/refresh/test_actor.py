"""Where a fit runs."""

from cloud_worker.refresh.actor import fit_options


def test_a_fit_runs_on_the_node_that_reads_its_files():
    where = fit_options("ab" * 28)["scheduling_strategy"]
    assert (where.node_id, where.soft) == ("ab" * 28, False)
