"""Patterns: a template around a query, and how each label is said in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from router.core.domain.prompting import FIELD, Template
from router.core.errors import ConfigError

__all__ = ["FIELD", "Pattern", "Template"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A template, and how each label is said in it (Schick and Schuetze 2021: pattern and verbaliser).

    Attributes:
        template: Around the query; what follows it is where the label's text stands.
        verbaliser: Label and its text; a label that is missing is said by its name, underscores as spaces.
    """

    template: Template
    verbaliser: tuple[tuple[str, str], ...] = field(default=())

    def say(self, label: str) -> str:
        """The text that stands for ``label``.

        Raises:
            ConfigError: An empty text can't be scored.
        """
        text = dict(self.verbaliser).get(label, label.replace("_", " "))
        if not text.strip():
            raise ConfigError("verbaliser", label, "is empty; give a text that says the label")
        return text
