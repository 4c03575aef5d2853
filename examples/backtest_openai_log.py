"""What would Headrace have saved on a log of OpenAI requests and responses? From a program, with the figures as values.

    python examples/backtest_openai_log.py requests.jsonl

A line is ``{"request": {"messages": [...]}, "response": {"choices": [...]}}``; other logs, and what the figures mean:
docs/backtest.md. From the shell: ``headrace backtest requests.jsonl``.
"""

import sys
from pathlib import Path

from router import HeadraceError
from router.backtest.logs.reader import Columns, How, read_log
from router.backtest.run import Plan, run
from router.core.domain.task import Judge


def main(path: str) -> None:
    """Replay the log under two promises, and print what each would have saved."""
    log = read_log(Path(path), Columns(), how=How("openai"))
    plan = Plan(promises=(0.02, 0.1), judge=Judge.NORMALISED_TEXT)
    for result in run(log, plan):
        figures = result.figures
        print(
            f"at most {result.promise:.0%} differ: {figures['local_share_last_quarter']:.0%} of the last quarter stay "
            f"on the device, {figures['disagreement']:.1%} of all answers differ"
        )


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except HeadraceError as error:
        sys.exit(str(error))
