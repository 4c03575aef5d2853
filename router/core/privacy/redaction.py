"""Texts with what names a person taken out: the one text that students, teachers, the log and lessons read.

Rules:
 * What is found is replaced by its kind, such as ``<mail>``; nothing else of a text changes.
 * The same text gives the same, everywhere and always; redacting again changes nothing.
 * The time grows with the length of the text, and with nothing else that a caller chooses.
 * Finds that overlap become one, so that no rest of one stays. It is named by the first in order: redactors of the
   operator's own, then ``BUILT_IN``.
 * A redactor that fails lets no text through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from router.core.domain.feedback import Feedback
from router.core.domain.query import Message, Query
from router.core.errors import NotPossibleError
from router.core.privacy.addresses import find_ip, find_mail
from router.core.privacy.keys import find_key
from router.core.privacy.numbers import find_card, find_iban, find_phone
from router.core.privacy.plain_view import Span, plain_view

Find = Callable[[str], Iterable[Span]]  # text -> what to take out of it, in characters, the end not included

BUILT_IN: Mapping[str, Find] = {
    "key": find_key,
    "iban": find_iban,
    "card": find_card,
    "mail": find_mail,
    "ip": find_ip,
    "phone": find_phone,
}
_MOST_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is taken out of texts.

    Attributes:
        own: Redactors of the operator's own, by name, in order.
        built_in: Names of ours.
    """

    own: tuple[tuple[str, Find], ...] = ()
    built_in: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is."""
        return bool(self.own or self.built_in)

    def of_text(self, text: str) -> str:
        """``text`` without what is found in it.

        Raises:
            NotPossibleError: A redactor of the operator's own failed.
        """
        for _ in range(_MOST_ROUNDS):  # what stood before a find may be one of its own afterwards
            redacted = self._once(text)
            if redacted == text:
                break
            text = redacted
        return text

    def of_query(self, query: Query) -> Query:
        """The query with its texts redacted: what was asked, and the arguments of calls in a chat."""
        if not self:
            return query
        messages = tuple(self._of_message(message) for message in query.messages)
        return replace(query, text=self.of_text(query.text), messages=messages)

    def of_feedback(self, feedback: Feedback) -> Feedback:
        """The feedback with its texts redacted."""
        if not self:
            return feedback
        said = self.of_text(feedback.correction), self.of_text(feedback.comment)
        return replace(feedback, correction=said[0], comment=said[1])

    def _of_message(self, message: Message) -> Message:
        calls = tuple(replace(call, arguments=self.of_text(call.arguments)) for call in message.tool_calls)
        return replace(message, content=self.of_text(message.content), tool_calls=calls)

    def _once(self, text: str) -> str:
        if not text:
            return text
        found = [(*span, name) for name, find in self.own for span in _checked(name, find, text)]
        view = plain_view(text)
        for name, find in BUILT_IN.items():
            if name in self.built_in:
                found += [(*view.span(*span), name) for span in find(view.text)]
        return _replaced(text, found) if found else text


def _replaced(text: str, found: list[tuple[int, int, str]]) -> str:
    rank = {name: number for number, name in enumerate(dict.fromkeys(name for _, _, name in found))}
    pieces, taken = [], 0
    start, end, name = -1, -1, ""
    for begin, stop, kind in [*sorted(found), (len(text) + 1, len(text) + 1, "")]:
        if begin < end:
            end, name = max(end, stop), min(name, kind, key=rank.__getitem__)
            continue
        if name:
            pieces += [text[taken:start], f"<{name}>"]
            taken = end
        start, end, name = begin, stop, kind
    return "".join((*pieces, text[taken:]))


def _checked(name: str, find: Find, text: str) -> list[Span]:
    try:
        spans = [(int(start), int(end)) for start, end in find(text)]
    except Exception as error:  # noqa: BLE001 - of a stranger's code: whatever it is, no text passes
        raise NotPossibleError(
            f"the redactor {name!r} failed ({type(error).__name__}), so this text goes nowhere"
        ) from None
    own = f"<{name}>"
    inside = [(max(start, 0), min(end, len(text))) for start, end in spans]
    return [(start, end) for start, end in inside if start < end and text[start:end] not in own]
