"""The smallest ``cloud.toml``, for tests: one recorded teacher, one task; what a test needs beside, it says itself."""

from __future__ import annotations


def cloud_toml(more: str = "", *, teacher: str = "big") -> str:
    """The text of a configuration whose task ``home`` is answered from ``answers.jsonl`` beside it, by ``teacher``.

    Args:
        more: What follows: keys and tables of the task first, then tables of their own.
        teacher: Its name.
    """
    return f"""
data = "data"
[[teachers]]
name = "{teacher}"
kind = "recorded"
answers = "answers.jsonl"
[[tasks]]
name = "home"
reference = "{teacher}"
{more}"""
