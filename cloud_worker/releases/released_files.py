"""The files that devices may fetch: those of releases, and the metadata that signs them.

Rules:
 * A file of a release goes by task, number and name. Without a task it is one of the repository's: metadata of a role,
   or what is signed of a task, by its digest.
 * A name that is not plain leads nowhere: nothing outside the two folders is given out.
"""

from __future__ import annotations

from typing import BinaryIO

from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.files import RepositoryFiles
from router.core.errors import BadInputError, UnknownTaskError
from router.core.release.manifest import is_plain_name
from router.core.visible_text import in_line

_MOST_SHOWN = 100  # characters of a name


class ReleasedFiles:
    """The files that the devices of one fleet may fetch."""

    def __init__(self, publisher: Publisher, repository: RepositoryFiles | None = None) -> None:
        """Read where ``publisher`` writes, and the metadata of ``repository``, if any."""
        self._publisher, self._repository = publisher, repository

    def open(self, task: str, number: int, name: str) -> BinaryIO:
        """Open a file to be read.

        Args:
            task: Whose release; empty for a file of the repository.
            number: The release; nothing to a file of the repository.
            name: The file's.

        Raises:
            BadInputError: A name is not plain.
            UnknownTaskError: There is no such file.
        """
        if not task:
            path = None if self._repository is None else self._repository.find(name)
            missing = f"no file {in_line(name, _MOST_SHOWN)!r} in the repository"
        elif not is_plain_name(task) or not is_plain_name(name):
            raise BadInputError("file", "and task must be plain names")
        else:
            path = self._publisher.path(task, number) / name
            missing = f"no file {name!r} in release {number} of task {task!r}"
        if path is None or not path.is_file():
            raise UnknownTaskError(missing)
        try:
            return path.open("rb")
        except FileNotFoundError as error:  # taken away in this moment
            raise UnknownTaskError(missing) from error
