"""``reasoning``: specialise a small student on worked steps.

Fu, Peng, Ou, Sabharwal and Khot 2023, "Specializing Smaller Language Models towards Multi-Step Reasoning": tune on the
steps that reach their answer, mixing four forms of the data, with and without steps and with and without examples in
the prompt, so that the student keeps both ways of being asked. In use it writes its steps, then the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cloud_worker.language.examples import Example, Lessons, gather, group_of
from cloud_worker.language.rationales import Check, reaches_answer, written
from cloud_worker.language.templates import Template
from router.core.domain.record import Record
from router.core.errors import BadInputError

STEPS = Template("{text}\nLet's think step by step.")
PLAIN = Template("{text}\nAnswer:")


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of the four forms in the loss of a row; they are normalised.

    Attributes:
        steps: Query -> steps and answer.
        plain: Query -> answer alone.
        shown_steps: Examples with steps, then the query -> steps and answer.
        shown_plain: Examples with answers, then the query -> answer alone.
    """

    steps: float = 0.4
    plain: float = 0.1
    shown_steps: float = 0.4
    shown_plain: float = 0.1

    def __post_init__(self) -> None:
        """Refuse shares that are negative, or all nothing."""
        shares = (self.steps, self.plain, self.shown_steps, self.shown_plain)
        if min(shares) < 0 or sum(shares) <= 0:
            raise BadInputError("mixture", "needs shares of at least 0, one of them above it")


def reasoning(
    records: Sequence[Record],
    mixture: Mixture | None = None,
    shots: int = 2,
    check: Check = reaches_answer,
    template: Template | None = None,
) -> Lessons[Example]:
    """Up to four examples a row, in one group; rows whose steps do not reach their answer are kept out.

    Args:
        records: Rows that may teach.
        mixture: Shares of the four forms.
        shots: Examples in a prompt: the sound rows before this one, in the order of the log. The first rows see fewer.
        check: Says what is wrong with a row's steps.
        template: Around the query, within the prompts of the forms; nothing if left out.
    """
    mixture, template = mixture or Mixture(), template or Template()
    given: list[tuple[Record, list[Example] | str]] = []
    sound: list[Record] = []
    for record in records:
        problem = check(record)
        asked = replace(record, text=template.fill(record.text))
        given.append((record, problem or _forms(asked, sound[-shots:] if shots else [], mixture)))
        if not problem:
            sound.append(asked)
    return gather(given)


def _forms(record: Record, shown: Sequence[Record], mixture: Mixture) -> list[Example]:
    group, steps = group_of(record), written(record)
    asked, plain = STEPS.fill(record.text), PLAIN.fill(record.text)
    before_steps = "".join(f"{STEPS.fill(one.text)}\n{written(one)}\n\n" for one in shown)
    before_plain = "".join(f"{PLAIN.fill(one.text)} {one.answer}\n\n" for one in shown)
    forms = [
        (asked, steps, mixture.steps),
        (plain, record.answer, mixture.plain),
        (before_steps + asked, steps, mixture.shown_steps if shown else 0.0),
        (before_plain + plain, record.answer, mixture.shown_plain if shown else 0.0),
    ]
    whole = sum(share for _, _, share in forms) or 1.0
    return [Example(prompt, target, share / whole, group) for prompt, target, share in forms if share > 0]
