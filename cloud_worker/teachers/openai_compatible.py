"""A teacher behind an OpenAI-compatible server: vLLM, llama.cpp's, Ollama, ``transformers serve``, or somebody's API.

Rules:
 * A server that is away does not keep a cluster from starting; its questions are UNAVAILABLE until it is there.
 * Its key comes from an environment variable, is sent to its own URL alone, and stands in no message.
 * Which weights the server holds can't be seen from here: canaries tell when its answers change.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from cloud_worker.config.teachers import CompatibleSettings, RemoteSettings
from cloud_worker.teachers.canaries import canaries_of
from cloud_worker.teachers.prompts import Wording
from cloud_worker.teachers.remote_teacher import WritingTeacher
from cloud_worker.teachers.versions import version_of
from router.core.domain.generation import Writer
from router.core.errors import ConfigError
from router.students.writers.server_address import open_client, read_url
from router.students.writers.server_writer import ServedWriter

log = logging.getLogger(__name__)

_VISIBLE = re.compile(r"[!-~]+")
_PROBE_SECONDS = 2.0


def load_compatible_teacher(settings: CompatibleSettings, cache: Path) -> WritingTeacher:
    """The teacher that ``settings`` describe; says in the log where no server answers yet.

    Args:
        settings: From the configuration.
        cache: Folder that remembers canaries.

    Raises:
        ConfigError: The variable of its key holds none, or its URL can't be asked.
        DataError: Names the line of the canaries that can't be used.
    """
    key = key_of(settings.name, settings.api_key_variable)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    writer = ServedWriter(
        settings.url,
        settings.model,
        headers=headers,
        seconds=settings.seconds,
        connections=settings.concurrency,
    )
    problem = _problem_at(settings.url)
    if problem:
        log.warning("teacher %s: %s; its questions wait for it", settings.name, problem)
    return remote_teacher(settings, writer, cache, settings.url, settings.model)


def remote_teacher(settings: RemoteSettings, writer: Writer, cache: Path, *identity: str) -> WritingTeacher:
    """A teacher over a writer elsewhere.

    Args:
        settings: How it is asked.
        writer: Asks it.
        cache: Folder that remembers canaries.
        identity: What tells its model from others: address, name.

    Raises:
        DataError: Names the line of the canaries that can't be used.
    """
    wording = Wording.of(settings.prompt, settings.rationale_prompt)
    base = version_of(settings.kind, *identity, repr(wording), "greedy")
    canaries = canaries_of(settings, writer, base, cache)
    version = canaries.version if canaries else lambda: base
    return WritingTeacher(settings.name, writer, wording, version, threads=settings.concurrency)


def key_of(teacher: str, variable: str) -> str:
    """The key in an environment variable, without the end of line that a file leaves; empty where none is named.

    Raises:
        ConfigError: It is not set, or holds what no header may. The value is never told.
    """
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        problem = "which is not set; export it and start again"
    elif not _VISIBLE.fullmatch(key):
        problem = "whose value is no key: it may hold visible ASCII characters alone; export it again"
    else:
        return key
    raise ConfigError(f"teachers.{teacher}", "api_key_variable", f"names {variable}, {problem}")


def _problem_at(url: str) -> str:
    import httpx

    from router.students.writers.time_limits import within

    address, socket = read_url(url)
    try:
        with within(_PROBE_SECONDS), open_client(address, socket, seconds=_PROBE_SECONDS) as client:
            client.head(f"{address.rstrip('/')}/models")  # any reply says that it is there
    except httpx.TransportError as error:
        return f"no server answers at {url} ({type(error).__name__})"
    return ""
