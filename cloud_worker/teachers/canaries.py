"""Canary questions: the same ones again and again, to notice that a model elsewhere has become another one.

Rules:
 * They are asked once in the given time by whichever replica finds that they are due; all replicas read one file.
 * A canary sings when two fresh answers both differ from the one that is known: one alone may be chance.
 * Any that sings makes a new version; no version comes back, even if the old answers do.
 * Nobody waits for them but the first question of all; where they can't be asked, the version that is known stays.
"""

from __future__ import annotations

import fcntl
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloud_worker.config.teachers import RemoteSettings
from cloud_worker.teachers.versions import version_of
from router.core.domain.agreement import normalised
from router.core.domain.generation import Prompt, Writer
from router.core.domain.prompting import Template
from router.core.domain.query import GenerationLimits
from router.core.errors import DataError, DeclinedError, HeadraceError, ModelError, UnavailableError
from router.io.atomic_write import write_whole
from router.io.json_lines import json_lines

log = logging.getLogger(__name__)

CANARY_LIMITS = GenerationLimits(max_tokens=64, temperature=0.0)
_RETRY_SECONDS = 600.0  # after canaries could not be asked

Ask = Callable[[str], str]  # the answer to a canary; raises HeadraceError where there is none
Clock = Callable[[], float]  # Unix time in seconds


@dataclass(frozen=True, slots=True)
class Song:
    """What the canaries said.

    Attributes:
        version: That their answers make.
        answers: To each canary, in order.
        asked_at: Unix time in seconds.
    """

    version: str
    answers: tuple[str, ...]
    asked_at: float


class Canaries:
    """The canaries of one teacher. Threads and processes may share a file of them."""

    def __init__(self, base: str, texts: Sequence[str], path: Path, ask: Ask, *, seconds: float, clock: Clock) -> None:
        """Keep canaries.

        Args:
            base: The version without them.
            texts: The questions.
            path: File that remembers what they said.
            ask: Asks the model.
            seconds: Time between two askings, above 0.
            clock: Now.
        """
        self._base = base
        self._texts = tuple(texts)
        self._path = path
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._song = _read(path)
        self._next = 0.0 if self._song is None else self._song.asked_at + seconds
        self._listening: threading.Thread | None = None

    def version(self) -> str:
        """The version in force.

        Raises:
            UnavailableError: The canaries were never asked, and can't be now.
        """
        with self._lock:
            if self._song is None:
                self._listen()
            elif self._clock() >= self._next and (self._listening is None or not self._listening.is_alive()):
                self._listening = threading.Thread(target=self._listen_again, name="canaries", daemon=True)
                self._listening.start()
            assert self._song is not None
            return self._song.version

    def wait(self) -> None:
        """Until nobody is being asked."""
        if self._listening is not None:
            self._listening.join()

    def _listen_again(self) -> None:
        try:
            self._listen()
        except UnavailableError as error:
            self._next = self._clock() + _RETRY_SECONDS
            log.warning("canaries can't be asked now: %s", error)

    def _listen(self) -> None:
        """Take what another replica has heard lately, or ask.

        Raises:
            UnavailableError: They can't be asked now.
        """
        with _alone(self._path):
            song = _read(self._path)
            if song is None or self._clock() >= song.asked_at + self._seconds:
                song = self._sung(song)
                write_whole(self._path, json.dumps(asdict(song)).encode())
        self._song, self._next = song, song.asked_at + self._seconds

    def _sung(self, before: Song | None) -> Song:
        now = self._clock()
        if before is None or len(before.answers) != len(self._texts):
            answers = tuple(self._said(text) for text in self._texts)
            return Song(version_of(self._base, before.version if before else "", *answers), answers, now)
        answers = tuple(self._heard(*pair) for pair in zip(self._texts, before.answers, strict=True))
        if answers == before.answers:
            return Song(before.version, answers, now)
        version = version_of(self._base, before.version, *answers)
        changed = sum(one != other for one, other in zip(answers, before.answers, strict=True))
        log.warning(
            "%d of %d canaries answer otherwise: version %s -> %s", changed, len(answers), before.version, version
        )
        return Song(version, answers, now)

    def _heard(self, text: str, known: str) -> str:
        """What is said to a canary: the known answer, unless two fresh ones differ from it."""
        first = self._said(text)
        if first == known:
            return known
        return known if self._said(text) == known else first

    def _said(self, text: str) -> str:
        try:
            return normalised(self._ask(text))
        except UnavailableError:
            raise
        except HeadraceError as error:  # a refusal is an answer too
            return f"{type(error).__name__}"


def canaries_of(settings: RemoteSettings, writer: Writer, base: str, cache: Path) -> Canaries | None:
    """The canaries that settings name, or ``None``.

    Args:
        settings: Of the teacher.
        writer: Asks it.
        base: Its version without canaries.
        cache: Folder that remembers what they said.

    Raises:
        DataError: Names the line of the file that can't be used.
    """
    if not settings.canaries:
        return None
    texts = read_canaries(Path(settings.canaries))
    template = Template(settings.prompt)
    path = cache / f"{settings.name}-{version_of(base, *texts)}.canaries.json"

    def ask(text: str) -> str:
        try:
            return writer.write(Prompt(template.fill(text)), CANARY_LIMITS).text
        except DeclinedError:
            raise
        except ModelError as error:  # a server that refuses everything says nothing of the model behind it
            raise UnavailableError(str(error)) from error

    return Canaries(base, texts, path, ask, seconds=settings.canary_hours * 3600, clock=time.time)


def read_canaries(path: Path) -> list[str]:
    """The questions in a file of JSON lines ``{text}``.

    Raises:
        DataError: Names the line that can't be used.
    """
    texts = [_text(path, number, said) for number, said in json_lines(path)]
    if not texts:
        raise DataError(str(path), 0, 'holds no canary; write lines such as {"text": "What is 2 + 2?"}')
    return texts


def _text(path: Path, number: int, value: Any) -> str:
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError(str(path), number, 'is no {"text": ...} whose text is not empty')
    return text


def _read(path: Path) -> Song | None:
    """What the file remembers, or ``None`` where it can't be read."""
    try:
        value = json.loads(path.read_bytes())
        return Song(str(value["version"]), tuple(str(one) for one in value["answers"]), float(value["asked_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While no other replica asks; the lock ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
