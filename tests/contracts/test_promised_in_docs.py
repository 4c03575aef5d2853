"""The docs claim nothing that can't work yet: no package index, no command that erases."""

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


@pages
def test_no_page_claims_erasure(page):
    text = " ".join(page.read_text().split())
    assert "for erasure" not in text
    assert "can be erased" not in text


@pages
def test_examples_name_the_agents_own_port(page):
    assert "127.0.0.1:7600" not in page.read_text()
