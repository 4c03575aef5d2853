"""docs/exit-codes.md lists every error with its exit code and status."""

from pathlib import Path

from edge_agent.tasks.refusals import RefusedError
from router.core import errors

PAGE = Path(__file__).parents[2] / "docs" / "exit-codes.md"


def every(kind):
    yield kind
    for child in kind.__subclasses__():
        yield from every(child)


def test_every_error_is_listed_with_its_code_and_status():
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]] for line in PAGE.read_text().splitlines() if "|" in line
    ]
    listed = {row[1]: (row[0], row[2]) for row in rows if row[0].isdigit() and row[1].endswith("Error")}
    ours = {kind.__name__: (str(kind.exit_code), kind.status) for kind in every(errors.HeadraceError)}
    assert RefusedError.__name__ in ours  # of an agent, beside the tree
    assert listed == ours
