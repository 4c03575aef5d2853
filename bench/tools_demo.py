"""How many requests that call tools come home under a promise, in the real demo?

Teacher and student are models that write, trained on the spot the first time and kept (``python -m demo --workload
tools``). Under lockstep nothing depends on how fast the machine is; runs differ by the devices' seeds. Beside ours: a
cloud that is always asked keeps nothing at home, and differs never.

Run: ``python bench/tools_demo.py [--repeat N] [--limit N]``; ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import json

from bench.parts.demo_runs import Goal, compare, run

PROMISE = 0.02
GOALS = (Goal("local_share_last_quarter", least=0.5), Goal("lost", most=0))


def main() -> None:
    """Print goals and figures, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=1, help="runs")
    parser.add_argument("--limit", type=int, default=0, help="most queries; 0 for all")
    options = parser.parse_args()
    workload = ("--workload", "tools", "--limit", str(options.limit), "--promise", str(PROMISE))
    runs = [run(*workload) for _ in range(options.repeat)]
    told = compare(runs, GOALS, PROMISE) | {"seconds": [figures["seconds"] for figures in runs]}
    told["all_cloud"] = {"local_share_last_quarter": 0.0, "disagreement": 0.0}
    print(json.dumps({"question": "tools_demo", "promise": PROMISE, **told}))


if __name__ == "__main__":
    main()
