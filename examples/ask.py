"""Ask an agent or the cloud, and say what you think of its answer.

    python examples/ask.py 127.0.0.1:7701 home "turn the heating down"

Both serve the same service, so the same client asks both. More: docs/client.md.
"""

import sys

from router import Client, HeadraceError


def main(target: str, task: str, text: str) -> None:
    """Print the answer, who gave it and why there; then tell that it was right."""
    with Client(target, insecure=True) as client:
        answer = client.ask(text, task)
        said = answer.provenance
        print(answer.text)
        print(f"from the {said.tier.value}, by {said.model}, because: {said.reason.value}")
        client.feedback(answer.query_id, task, "right")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except HeadraceError as error:
        sys.exit(str(error))
