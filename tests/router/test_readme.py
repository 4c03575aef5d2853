"""The README's example in Python runs as it stands there, against a tier that answers."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_example_in_python_asks_and_prints_the_answer(tier, capsys):
    [example] = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert "127.0.0.1:7701" in example
    exec(compile(example.replace("127.0.0.1:7701", tier.target), "README.md", "exec"), {})
    assert capsys.readouterr().out == "TURN THE HEATING DOWN device 0.9\n"


def test_what_does_not_work_yet_is_told_before_anything_else():
    [first, *_] = README.read_text().split("\n## ")[1:]
    assert first.startswith("Status\n")
    assert "nothing is published on an index yet" in first
