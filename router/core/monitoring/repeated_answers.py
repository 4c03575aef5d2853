"""Does the reference say the same to the same text again? If so, a device may give what it said before.

Rules:
 * Evidence comes in clusters: of a text's repeats in ``APART`` answers one speaks for the reference. Against it speaks
   the first contradiction of each text, whenever it comes.
 * It is proven by the bet of a certificate, against "a repeat is answered otherwise as often as the allowance", and
   watched from then on by the bet of a live watch; see ``e_process``.
 * What was answered in two ways once is asked of the reference from then on, so that it says nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from router.core.statistics.e_process import Watch, WatchState, is_certified

APART = 100  # answers of the reference, of all texts of the task


@dataclass(slots=True)
class RepeatedAnswers:
    """The repetitions of one version of a reference, of one task, as one device has met them.

    Attributes:
        allowance: Largest share of repeats that may be answered otherwise, in (0, 1).
        alpha: Chance of a false proof, and of a false alarm, in (0, 1).
        repeats: That count, so far.
        changed: Among them, those that were answered otherwise.
    """

    allowance: float
    alpha: float
    repeats: int = 0
    changed: int = 0
    _proven: bool = False
    _watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        """Begin the watch."""
        self._watch = Watch(WatchState(self.allowance, self.alpha))

    @property
    def may_answer(self) -> bool:
        """Whether an old answer may be given for the reference's."""
        return self._proven and not self._watch.state.alarmed

    def follow(self, since: int, *, changed: bool) -> None:
        """A text was asked again.

        Args:
            since: Answers of the reference since the text counted last; ``APART`` where it never did.
            changed: The reference answered otherwise than before.
        """
        if since >= APART or changed:
            self.repeats += 1
            self.changed += changed
        self._proven = self._proven or is_certified(self.allowance, self.alpha, self.repeats, self.changed)
        self._watch.update(changed)
        self._watch.freeze()
