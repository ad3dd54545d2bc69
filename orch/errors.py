"""Every exception that the package raises, one tree.

The sentence of an error says what failed, which object, what was found, and what to do;
``hint`` holds the last part, so that the command line can set it apart.

    OrchError
    ├── DefinitionError            a workflow definition cannot be used          exit 2
    │   ├── ExpressionError        an expression does not parse
    │   ├── LoadError              a file is not readable JSON, YAML or Python
    │   ├── InvalidWorkflow        the validator found errors (``findings``)
    │   └── NotSupportedYet        a step type that this version does not run
    ├── InputError                 an input misses the workflow's schema        exit 2
    ├── NotFound                   no such workflow or execution                exit 2
    ├── NotAllowed                 the state of an execution does not allow it  exit 1
    │   └── AlreadyReported        somebody else said before what a task came to
    ├── ConcurrencyRejected        as many executions as may be are active      exit 1
    ├── SettingsError              a setting has a wrong value                  exit 2
    ├── Unreachable                Redis or the broker does not answer          exit 4
    │   └── NoServer               there is no Redis to be found
    ├── PartitionMismatch          Redis holds another partition count          exit 4
    ├── ArchiveError               the archive cannot be written                exit 1
    ├── LayoutMismatch             Redis was filled by another release          exit 4
    ├── HookFailed                 a notice of an escalation was not delivered  exit 1
    ├── WaitTimeout                an execution did not end in time             exit 5
    ├── ExecutionFailed            an execution that ended has no result        exit 1
    ├── JournalError               a script answered what nobody expects
    └── StepError                  a step failed; ``name`` is what handlers match
        ├── RetryAfter             it asks for a pause before the next attempt
        └── StepCancelled          its result is no longer wanted
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orch.workflows.validation import Finding


class ErrorClass(StrEnum):
    """What kind of failure it is: whether trying again helps, and who should look at it."""

    TRANSIENT = "transient"  # it may well pass by itself: a connection, a timeout, a 5xx
    PERMANENT = "permanent"  # the same again comes to the same: wrong input, wrong code
    RESOURCE = "resource"  # something is used up: memory, disk, a rate, a budget
    CONFLICT = "conflict"  # somebody else holds or changed it
    POISON = "poison"  # its workers died under it too often
    CANCELLED = "cancelled"  # nobody wants it any more
    UNKNOWN = "unknown"  # nobody said


class OrchError(Exception):
    """Root of the tree. ``hint`` says what to do; ``exit_code`` is the command line's."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class DefinitionError(OrchError):
    exit_code = 2


class ExpressionError(DefinitionError):
    """An expression does not parse: ``text``, and the 1-based ``column`` of what is wrong."""

    def __init__(self, message: str, *, text: str, column: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.text = text
        self.column = column


class LoadError(DefinitionError):
    """A file could not be read: ``source``, and 1-based ``line`` and ``column`` where known."""

    def __init__(
        self, message: str, *, source: str, line: int = 0, column: int = 0, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.line = line
        self.column = column


class InvalidWorkflow(DefinitionError):
    """A definition has errors; ``findings`` lists all of them."""

    def __init__(self, message: str, *, findings: Sequence[Finding], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.findings = list(findings)


class NotSupportedYet(DefinitionError):
    """A definition is right, but uses a step type that this version cannot run."""


class InputError(OrchError):
    """The input of a workflow misses its schema."""

    exit_code = 2


class NotFound(OrchError):
    exit_code = 2


class NotAllowed(OrchError):
    """What was asked for does not fit the state that an execution or a step is in."""


class ConcurrencyRejected(OrchError):
    """As many executions of a workflow, or of one key of it, are active as may be."""


class PositionLost(OrchError):
    """Events behind the position from which a subscription was to go on are gone."""


class AlreadyReported(NotAllowed):
    """A task was reported before: ``by`` whom, and when (``at``, ISO 8601); '' if unknown."""

    def __init__(self, message: str, *, by: str = "", at: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.by = by
        self.at = at


class AlreadyDecided(NotAllowed):
    """An escalation is dealt with: ``by`` whom, and how (``decision``); '' if unknown."""

    def __init__(self, message: str, *, by: str = "", decision: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.by = by
        self.decision = decision


class SettingsError(OrchError):
    exit_code = 2


class Unreachable(OrchError):
    """A server does not answer; ``url`` says which (without its password)."""

    exit_code = 4

    def __init__(self, message: str, *, url: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.url = url


class NoServer(Unreachable):
    """There is no Redis to be found, and none could be started."""


class PartitionMismatch(OrchError):
    exit_code = 4


class ArchiveError(OrchError):
    """The disk or the directory refuses; what is not written stays in Redis."""


class LayoutMismatch(OrchError):
    """`orch reindex` brings an older one to this release's."""

    exit_code = 4


class HookFailed(OrchError):
    """A hook was not told; ``retryable``: whether it may help to tell it again."""

    def __init__(self, message: str, *, retryable: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class WaitTimeout(OrchError):
    exit_code = 5


class ExecutionFailed(OrchError):
    """An execution has ended, and not completed. ``status``: `failed` or `cancelled`; ``error``:
    its ``name``, ``message`` and what else is known, as `ExecutionContext.error`."""

    def __init__(
        self, message: str, *, status: str, error: Mapping[str, Any], hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.error = error


class JournalError(OrchError):
    """A journal script answered with a word that its contract does not list."""


class StepError(OrchError):
    """Raised inside a step to fail it under a name of its own.

    ``name`` is what ``errorHandlers`` and ``onError`` match; ``data`` must be JSON.
    ``escalation``: the path of escalation that is to be taken, if nobody takes the error.
    ``error_class``: one of `ErrorClass`; without it, the name says. Raises ValueError for another.
    """

    def __init__(
        self,
        name: str,
        message: str,
        *,
        data: Any = None,
        hint: str = "",
        escalation: str = "",
        error_class: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.name = name
        self.data = data
        self.escalation = escalation
        self.error_class = None if error_class is None else ErrorClass(error_class)


class RetryAfter(StepError):
    """Raised inside a step: try again, but not before ``seconds`` have passed.

    Counts as a failed attempt of the step's `retry`; without one, the step fails.
    """

    def __init__(
        self,
        message: str,
        *,
        seconds: float,
        name: str = "RetryAfter",
        data: Any = None,
        error_class: str | None = None,
    ) -> None:
        super().__init__(name, message, data=data, error_class=error_class)
        self.seconds = seconds


class StepCancelled(StepError):
    """Raised by `context.heartbeat()` where nobody wants the result of the attempt any more.

    Let it through: what the attempt comes to is refused in any case.
    """

    def __init__(self, message: str) -> None:
        super().__init__("Cancelled", message)
