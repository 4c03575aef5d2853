"""Docs and messages claim nothing that can't work yet: no package index, no command that erases."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pages
def test_no_page_installs_from_where_nothing_is_published(page):
    text = page.read_text().replace("headrace[edge] @ file:", "")
    for wrong in ("pip install headrace", 'install "headrace[', "install 'headrace["):
        assert wrong not in text


def test_no_message_installs_from_where_nothing_is_published():
    packages = ("router", "edge_agent", "cloud_worker", "demo")
    sources = {path for package in packages for path in (ROOT / package).rglob("*.py")}
    tells = ROOT / "router" / "io" / "extras.py"  # says beside it that nothing is published, and what to do in a clone
    sources -= {tells}
    installs = re.compile(r"install\s+(-\S+\s+)*[\\'\"]*headrace")
    assert [str(source) for source in sorted(sources) if installs.search(source.read_text())] == []


@pages
def test_no_page_claims_erasure(page):
    text = " ".join(page.read_text().split())
    assert "for erasure" not in text
    assert "can be erased" not in text


@pages
def test_examples_name_the_agents_own_port(page):
    assert "127.0.0.1:7600" not in page.read_text()
