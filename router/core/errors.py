"""The error tree, and its one map to gRPC status and exit code.

    HeadraceError
     ├─ CallerError                  the caller must change the request
     │   ├─ BadInputError             INVALID_ARGUMENT
     │   │   └─ TooLongError           longer than what the model reads
     │   ├─ UnknownTaskError          NOT_FOUND
     │   ├─ ConflictingQueryError     ALREADY_EXISTS
     │   ├─ TooLargeError             INVALID_ARGUMENT: a message, either way
     │   ├─ NotPossibleError          FAILED_PRECONDITION
     │   └─ NotServedError            UNIMPLEMENTED
     ├─ ServiceError                 the caller may try again
     │   ├─ UnavailableError          UNAVAILABLE
     │   │   └─ BusyError              a model's server asked to be left alone
     │   ├─ EmptyAnswerError          an answer came that holds no text
     │   ├─ OverloadedError           RESOURCE_EXHAUSTED
     │   │   └─ SpentError             a limit of its task is spent for today
     │   ├─ DeadlineError             DEADLINE_EXCEEDED
     │   └─ DeniedError               PERMISSION_DENIED
     │       └─ RevokedError            its certificate was revoked
     └─ OperatorError                whoever set this up must change something
         ├─ ConfigError               names file, key, value and what would do
         ├─ DataError                 names file and line
         ├─ ModelError                a model folder, file or server that can't be used
         │   └─ DeclinedError          its server declines one question, and answers others
         ├─ ReleaseError              a release that may not be used, and why
         └─ StartError                port in use, cluster unreachable
             └─ WrongClockError         the clock of this machine is wrong

Rules:
 * ``str(error)`` is public: it may reach a caller. What is private is logged where it happens.
 * Exit code and status live on the class; nothing else maps them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from router.core.visible_text import in_line


class HeadraceError(Exception):
    """Anything that Headrace says went wrong.

    Attributes:
        status: Name of the gRPC status that it travels as.
        exit_code: Exit code of a command that ends with it; ``docs/exit-codes.md`` lists them.
    """

    status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 70

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross to another process as the same error, whatever its kind is made from."""
        return (_same_error, (type(self), str(self), self.__dict__))


class CallerError(HeadraceError):
    """The caller must change the request."""

    status = "INVALID_ARGUMENT"
    exit_code = 64


class BadInputError(CallerError):
    """A field of a request is out of its range."""

    exit_code = 65

    def __init__(self, field: str, problem: str) -> None:
        """Name the ``field`` as the contract spells it, and the ``problem`` so that it reads after the name."""
        super().__init__(f"{field} {problem}")
        self.field = field


class TooLongError(BadInputError):
    """The input is longer than what the model can read."""

    exit_code = 73

    def __init__(self, problem: str) -> None:
        """Say the ``problem`` so that it reads after the field's name, ``input``."""
        super().__init__("input", problem)


class TooLargeError(CallerError):
    """A message is larger than may be sent or taken, and would be so again."""

    exit_code = 71


def no_such_task(name: str, known: Iterable[str]) -> UnknownTaskError:
    """A task that nobody has declared here, with the names of those that were."""
    return UnknownTaskError(f"no task {name!r} here; tasks here: {', '.join(sorted(known))}")


class UnknownTaskError(CallerError):
    """No such task here."""

    status = "NOT_FOUND"
    exit_code = 66


class ConflictingQueryError(CallerError):
    """The same query id came with another question."""

    status = "ALREADY_EXISTS"
    exit_code = 67


class NotPossibleError(CallerError):
    """The request is fine, and can't be met in the state that this tier is in."""

    status = "FAILED_PRECONDITION"
    exit_code = 68


class NotServedError(CallerError):
    """The contract has it; this tier does not serve it."""

    status = "UNIMPLEMENTED"
    exit_code = 69


class ServiceError(HeadraceError):
    """The caller may try again. ``retry_after`` is the time in seconds after which that makes sense, if known."""

    status = "UNAVAILABLE"
    exit_code = 75
    retry_after: float | None = None


class UnavailableError(ServiceError):
    """The next tier can't be reached now."""


class BusyError(UnavailableError):
    """A model's server asked to be left alone; other tasks go on."""

    exit_code = 89

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """Say why, and in how many seconds it may be asked again."""
        super().__init__(message)
        self.retry_after = retry_after


class EmptyAnswerError(ServiceError):
    """An answer came that holds no text. Raised where answers are shown."""

    exit_code = 74


class OverloadedError(ServiceError):
    """Shed."""

    status = "RESOURCE_EXHAUSTED"
    exit_code = 76

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """Say why, and when to come back."""
        super().__init__(message)
        self.retry_after = retry_after


class SpentError(OverloadedError):
    """A limit of the task is spent for today: trying again helps nobody, and other tasks go on."""

    exit_code = 79


class DeadlineError(ServiceError):
    """The deadline passed before an answer was there."""

    status = "DEADLINE_EXCEEDED"
    exit_code = 77


class DeniedError(ServiceError):
    """The caller may not ask that."""

    status = "PERMISSION_DENIED"
    exit_code = 78


class RevokedError(DeniedError):
    """The caller's certificate was revoked: it must enrol again."""

    exit_code = 87


class OperatorError(HeadraceError):
    """Whoever set this up must change something."""

    status = "FAILED_PRECONDITION"
    exit_code = 80

    def __str__(self) -> str:
        """One line, whatever is in the name of a file or in what a library said."""
        return in_line(super().__str__())


class ConfigError(OperatorError):
    """A setting is missing or wrong."""

    exit_code = 81

    def __init__(self, source: str, key: str, problem: str) -> None:
        """Name the file or variable, the key, and what would do."""
        super().__init__(f"{source}: {key}: {problem}" if key else f"{source}: {problem}")
        self.source, self.key, self.problem = source, key, problem


class DataError(OperatorError):
    """A line of a data file can't be used."""

    exit_code = 82

    def __init__(self, source: str, line: int, problem: str) -> None:
        """Name the file, the line (from 1; 0 for the whole file), and what would do."""
        super().__init__(f"{source}:{line}: {problem}" if line else f"{source}: {problem}")


class ModelError(OperatorError):
    """A model can't be loaded or does not fit."""

    exit_code = 83


class DeclinedError(ModelError):
    """A model's server declines this very question, and answers others."""

    exit_code = 86


class ReleaseError(OperatorError):
    """A release may not be used."""

    exit_code = 84


class StartError(OperatorError):
    """A daemon can't start here."""

    exit_code = 85


class WrongClockError(StartError):
    """The clock of this machine is wrong, so that no certificate holds."""

    exit_code = 88

    def __init__(self, message: str, *, is_ahead: bool) -> None:
        """Say what it says and what is right, and which way it is off."""
        super().__init__(message)
        self.is_ahead = is_ahead


def error_for_status(status: str, message: str) -> HeadraceError:
    """The error that a gRPC status stands for, on the caller's side.

    Args:
        status: Name of a gRPC status, as ``grpc.StatusCode.X.name``.
        message: The public message that came with it.
    """
    by_status: dict[str, type[HeadraceError]] = {
        "NOT_FOUND": UnknownTaskError,
        "ALREADY_EXISTS": ConflictingQueryError,
        "FAILED_PRECONDITION": NotPossibleError,
        "UNIMPLEMENTED": NotServedError,
        "UNAVAILABLE": UnavailableError,
        "RESOURCE_EXHAUSTED": OverloadedError,
        "DEADLINE_EXCEEDED": DeadlineError,
        "PERMISSION_DENIED": DeniedError,
        "UNAUTHENTICATED": DeniedError,
        "INVALID_ARGUMENT": CallerError,
    }
    return by_status.get(status, ServiceError)(message)


def _same_error(kind: type[HeadraceError], message: str, attributes: dict[str, Any]) -> HeadraceError:
    error = kind.__new__(kind, message)
    error.__dict__.update(attributes)
    return error
