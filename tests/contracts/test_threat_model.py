"""Every test that the threat model names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_line_of_the_threat_model_names_a_test_that_there_is():
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)", sources, re.MULTILINE))
    assert len(named) > 20
    assert named - there == set()


def test_what_can_not_be_done_is_shown_by_a_test():
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and cells[1] not in {"", "can't", "holds", "---"}:
            assert cells[2].startswith("`test_"), line
