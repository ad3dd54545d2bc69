"""What kind of failure an error is: a table of names, and what an exception itself tells.

A class is found by the first of these that says one: the exception's own `error_class`, the
table of the settings, an HTTP status, an errno, the table here, the exception that it was
raised from. Where only the name of an error is known (a child's, a report's, one of the
engine's own), the tables alone say.
"""

from __future__ import annotations

import builtins
import errno
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from orch.errors import ErrorClass

CLASS_PREFIX = "class:"
"""Begins what stands for a whole class where names of errors are listed: `class:transient`."""

MOST_CAUSES = 5
"""Exceptions that are followed to what they were raised from."""

_TRANSIENT, _PERMANENT = ErrorClass.TRANSIENT, ErrorClass.PERMANENT
_RESOURCE, _CONFLICT = ErrorClass.RESOURCE, ErrorClass.CONFLICT

_WORDS = frozenset(each.value for each in ErrorClass)

NAMES: Mapping[str, ErrorClass] = {
    name: error_class
    for error_class, names in {
        ErrorClass.TRANSIENT: """
            ConnectionError TimeoutError Timeout ConnectTimeout ReadTimeout PoolTimeout
            NetworkError TransportError ProtocolError RemoteProtocolError MaxRetryError
            NewConnectionError IncompleteRead IncompleteReadError gaierror SSLError
            OperationalError InterfaceError ServerDisconnectedError ClientConnectionError
            WorkerLostError InterruptedError BlockingIOError RetryAfter Unreachable
            BreakerOpen StepTimeout ScheduleTimeout HeartbeatTimeout EventTimeout ExecutionTimeout
            CommandTimeout PollExhausted AgentUnreachable
            """,
        ErrorClass.PERMANENT: """
            ValueError TypeError LookupError AttributeError NameError AssertionError
            NotImplementedError ArithmeticError SyntaxError ImportError RecursionError
            UnicodeError ValidationError PermissionError FileNotFoundError NotADirectoryError
            IsADirectoryError SSLCertVerificationError CertificateError UnsupportedProtocol
            LocalProtocolError ProgrammingError DataError NotSupportedError
            InvalidInput InvalidOutput InvalidItems InvalidWait InvalidProgress OutputNotJSON
            OutputTooLarge ExpressionError NoBranch EndlessDecision MaxIterationsExceeded
            DepthExceeded TemplateFailed NotReadable FileNotFound FileTooLarge UnknownColumn
            PageNotFound PathOutsideRoot GitMissing WorkflowNotFound NotFound NotAllowed
            DatabaseNotFound TemplateNotFound ToolMissing NoFiles NoTests TooManyFiles
            AgentRefused InvalidMessage
            DefinitionError SettingsError InputError BudgetExceeded SecretNotFound
            """,
        ErrorClass.RESOURCE: """
            MemoryError DiskFull RateLimited RateLimitExceeded RateLimitError TooManyRequests
            QuotaExceeded ResourceExhausted OutOfMemory
            """,
        ErrorClass.CONFLICT: """
            Conflict ConflictError ConcurrencyRejected FileExistsError IntegrityError
            StaleDataError WatchError LockError LockTimeout LockNotAvailable Locked
            """,
        ErrorClass.POISON: "WorkerLost",
        ErrorClass.CANCELLED: "Cancelled ChildCancelled CancelledError",
    }.items()
    for name in names.split()
}
"""Names of errors, and of exceptions above them, of the classes that they are. `Interrupted` is
not among them: whether it had its effect is what nobody knows."""

STATUSES: Mapping[int, ErrorClass] = {
    408: _TRANSIENT,
    409: _CONFLICT,
    412: _CONFLICT,
    423: _CONFLICT,
    425: _TRANSIENT,
    429: _TRANSIENT,
    501: _PERMANENT,
    505: _PERMANENT,
    507: _RESOURCE,
}
"""HTTP statuses that are not what the others of their hundred are: 4xx permanent, 5xx transient."""

ERRNOS: Mapping[int, ErrorClass] = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS),
        _RESOURCE,
    ),
    **dict.fromkeys(
        (
            errno.EAGAIN,
            errno.EINTR,
            errno.EPIPE,
            errno.ECONNABORTED,
            errno.ECONNREFUSED,
            errno.ECONNRESET,
            errno.EHOSTDOWN,
            errno.EHOSTUNREACH,
            errno.ENETDOWN,
            errno.ENETRESET,
            errno.ENETUNREACH,
            errno.ETIMEDOUT,
        ),
        _TRANSIENT,
    ),
    **dict.fromkeys((errno.EEXIST, errno.EBUSY, errno.ETXTBSY, errno.EDEADLK), _CONFLICT),
}


def classify(
    error: BaseException, name: str, table: Mapping[str, ErrorClass] | None = None
) -> ErrorClass:
    """The class of an exception that fails an attempt as ``name``.

    ``table``: names of errors, or of exceptions (`KeyError`, `requests.exceptions.Timeout`), to
    classes; it is asked before the one here.
    """
    found = _class_of(error, name, table or {})
    for _ in range(MOST_CAUSES):
        cause = error.__cause__
        if found is not None or cause is None:
            break
        error = cause
        found = _class_of(error, type(error).__name__, table or {})
    return found or ErrorClass.UNKNOWN


def class_of(name: str) -> ErrorClass:
    """The class of an error of which only the name is known: of Python's own, `KeyError` is
    what `LookupError` is."""
    found = getattr(builtins, name, None)
    known = isinstance(found, type) and issubclass(found, BaseException)
    names = [each.__name__ for each in found.__mro__] if known and found else [name]
    return next((NAMES[each] for each in names if each in NAMES), ErrorClass.UNKNOWN)


def class_in(error: Mapping[str, Any]) -> str:
    """The class of an error as it stands in the journal; one of an older release has none."""
    return str(error.get("class") or class_of(str(error.get("name"))))


def is_meant(names: Collection[str], name: str, error_class: str) -> bool:
    """Whether an error is one of ``names``: its own, `class:` and its class, or `*`."""
    return "*" in names or name in names or f"{CLASS_PREFIX}{error_class}" in names


def _class_of(
    error: BaseException, name: str, table: Mapping[str, ErrorClass]
) -> ErrorClass | None:
    own = getattr(error, "error_class", None)
    if isinstance(own, str) and own in _WORDS:
        return ErrorClass(own)
    names = [name, *_names_of(error)]
    said = next((table[each] for each in names if each in table), None)
    return (
        said
        or _by_status(error)
        or ERRNOS.get(getattr(error, "errno", None) or 0)
        or next((NAMES[each] for each in names if each in NAMES), None)
    )


def _names_of(error: BaseException) -> Iterator[str]:
    """Names of its class and of those above it, the nearest first, with and without module."""
    for each in type(error).__mro__:
        yield f"{each.__module__}.{each.__qualname__}"
        yield each.__name__


def _by_status(error: BaseException) -> ErrorClass | None:
    status = _http_status(error)
    if status is None or isinstance(error, SystemExit):
        return None
    return STATUSES.get(status) or (_PERMANENT if status < 500 else _TRANSIENT)


def _http_status(error: BaseException) -> int | None:
    """400 to 599, from where HTTP libraries put it: requests, httpx, aiohttp, urllib, botocore."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        metadata = response.get("ResponseMetadata")
        places: list[Any] = [
            metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None
        ]
    else:
        places = [getattr(response, each, None) for each in ("status_code", "status")]
    places += [getattr(error, each, None) for each in ("status_code", "status", "code")]
    for found in places:
        if isinstance(found, int) and not isinstance(found, bool) and 400 <= found < 600:
            return found
    return None
