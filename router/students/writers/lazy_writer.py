"""A model that is being loaded: whoever opens it goes on at once, whoever asks it waits.

Rules:
 * Loading takes seconds (torch alone does); a device opens its door before that, and escalates meanwhile.
 * What loading fails with is what every prompt fails with.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from pathlib import Path

from router.core.domain.generation import Prompt, Written
from router.core.domain.query import GenerationLimits
from router.core.errors import ModelError
from router.students.writers.local_writer import LocalWriter

log = logging.getLogger(__name__)


class LazyWriter:
    """The model in a folder, loaded by a thread of its own."""

    in_process = True
    is_private = True

    def __init__(self, folder: Path) -> None:
        """Begin to load; the thread ends with the process."""
        self._loaded: Future[LocalWriter] = Future()
        threading.Thread(target=self._load, args=(folder,), name="loading", daemon=True).start()

    def write(self, prompt: Prompt, limits: GenerationLimits = GenerationLimits(), top_k: int = 0) -> Written:
        """Write like ``LocalWriter.write``, once the model is there.

        Raises:
            ModelError: It can't be loaded.
        """
        try:
            writer = self._loaded.result()
        except ModelError as error:
            raise ModelError(str(error)) from None  # a new one: what is raised again and again grows its traceback
        return writer.write(prompt, limits, top_k)

    def _load(self, folder: Path) -> None:
        try:
            self._loaded.set_result(LocalWriter.load(folder))
        except ModelError as error:
            self._loaded.set_exception(error)
        except Exception:  # the thread's outermost edge: whoever asks for a text must hear of it
            log.exception("a model could not be loaded")
            self._loaded.set_exception(ModelError("the model can't be loaded; the log says why"))
