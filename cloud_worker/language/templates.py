"""Templates around a query: one field, filled by plain replacement.

Rules:
 * A query is data: braces in it are never read as fields.
 * A template without its field is refused where it is written, not where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from router.errors import ConfigError

FIELD = "{text}"


@dataclass(frozen=True, slots=True)
class Template:
    """A text with one ``{text}`` where the query goes.

    Attributes:
        wording: The whole template.
    """

    wording: str = FIELD

    def __post_init__(self) -> None:
        """Refuse a wording in which the query does not stand exactly once."""
        if self.wording.count(FIELD) != 1:
            problem = f"{self.wording!r} needs the field {FIELD} exactly once, where the query goes"
            raise ConfigError("template", "", problem)

    def fill(self, text: str) -> str:
        """The template around ``text``."""
        before, after = self.wording.split(FIELD)
        return before + text + after

    def strip(self, text: str) -> str | None:
        """The query that ``fill`` was given to get ``text``, or ``None`` if it does not look like that."""
        before, after = self.wording.split(FIELD)
        fits = text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after)
        return text[len(before) : len(text) - len(after)] if fits else None


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
