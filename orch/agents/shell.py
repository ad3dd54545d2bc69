"""Shell text in which values can do no harm.

A value that is interpolated into a shell command reaches the shell as an environment
variable, never as script text. What is written in its place depends on the quoting around it,
so the literal text is read as POSIX sh reads it (Shell Command Language, 2.2 to 2.7):

    bare, `...`           echo VALUE      echo "${ORCH_1}"
    $(...)                $(x VALUE)      "$(x "${ORCH_1}")"
    double quotes         "a VALUE"       "a ${ORCH_1}"
    single quotes         'a VALUE'       'a '"${ORCH_1}"''
    here-document         <<EOF           ${ORCH_1}

A place in which a shell would not take the value unchanged is refused: after a backslash or a
`$`, in `$((...))`, `${...}` and `$'...'`, in the word or the body of a quoted here-document.
Even where a shell reads the text in another way than this module, the value stays data: at
worst it is split into words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from orch.errors import StepError
from orch.workflows.expressions import Value, to_text


@dataclass(frozen=True)
class ShellText:
    """A script, and the environment variables by which its values reach it.

    As the annotation of a capability's parameter it takes a text in which the workflow mixes
    words and expressions; a plain text is a script as it stands.
    """

    script: str
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_parts(cls, parts: Iterable[str | Value]) -> ShellText:
        """Make a script of literal text and values.

        Raises StepError `InvalidInput` for a value in a place where it cannot stand, and for
        one that no environment variable can hold.
        """
        parts = tuple(parts)
        names: dict[str, str] = {}
        layout = _layout(tuple(p if isinstance(p, str) else None for p in parts))
        quotings = iter(layout.quotings)
        script: list[str] = []
        at = 0
        for part in parts:
            if isinstance(part, str):
                script += [layout.marks(at + i) + char for i, char in enumerate(part)]
                at += len(part)
            else:
                text = _environment_text(part)
                name = names.setdefault(text, f"ORCH_{len(names) + 1}")
                script.append(layout.marks(at) + next(quotings).value.replace("NAME", name))
                at += 1
        script.append(layout.marks(at))
        return cls("".join(script), {name: text for text, name in names.items()})

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_accept)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string"}


def _accept(value: Any) -> ShellText:
    if isinstance(value, ShellText):
        return value
    if isinstance(value, str):
        return ShellText(value)
    raise ValueError("Input should be a shell command as text")


def _environment_text(value: Value) -> str:
    text = to_text(value.value)
    if "\0" in text:
        raise _refusal("a value has a NUL character, which no command can take")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refusal("a value has half of a surrogate pair, which is no text") from None
    return text


def _refusal(reason: str, hint: str = "") -> StepError:
    return StepError("InvalidInput", f"the shell command cannot be built: {reason}", hint=hint)


class _Quoting(Enum):
    """What stands for a value, by the quoting around it."""

    BARE = '"${NAME}"'
    DOUBLE = "${NAME}"
    SINGLE = "'\"${NAME}\"'"


@dataclass(frozen=True)
class _Layout:
    """How each value is quoted, and before which items a quotation mark is added."""

    quotings: tuple[_Quoting, ...]
    added: tuple[int, ...]

    def marks(self, at: int) -> str:
        return '"' * self.added.count(at)


@lru_cache(maxsize=1024)
def _layout(parts: tuple[str | None, ...]) -> _Layout:
    """Read a script; a value is None here, since its text must not matter."""
    items: list[str | int] = []
    slots = 0
    for part in parts:
        if part is None:
            items.append(slots)
            slots += 1
        else:
            items.extend(part)
    found: dict[int, _Quoting] = {}
    added: list[int] = []
    try:
        _Reader(items, found, added).commands(end=None)
    except RecursionError:
        raise _refusal("its substitutions are nested too deeply") from None
    return _Layout(tuple(found[slot] for slot in range(slots)), tuple(added))


_BLANKS = frozenset(" \t")
_WORD_ENDS = frozenset(" \t\n;&|()<>")
_COMMAND_STARTS = frozenset("\n;&|()")
_KEEPS_COMMAND_POSITION = frozenset(
    ["if", "then", "elif", "else", "while", "until", "do", "{", "!", "in"]
)
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789")
_SPECIAL_PARAMETERS = frozenset("@*#?-$!0123456789")

_IN_PARAMETER = (
    "a value stands inside `${...}`",
    "give it to a variable first: `v=VALUE; echo ${x:-$v}`",
)
_IN_ARITHMETIC = (
    "a value stands inside `$((...))`, where some shells run what it holds",
    "calculate in the workflow's expression instead",
)


class _Reader:
    """Reads shell text, one method per state; the call stack is the stack of states.

    An item is a character, or the number of a value. Every method starts behind what opened
    its state and returns behind what closes it. ``added`` collects where quotation marks are
    put around bare `$(...)` that hold a value; without it none are put.
    """

    def __init__(
        self, items: list[str | int], found: dict[int, _Quoting], added: list[int] | None = None
    ) -> None:
        self.items = items
        self.at = 0
        self.found = found
        self.added = added

    def peek(self, ahead: int = 0) -> str | int | None:
        place = self.at + ahead
        return self.items[place] if place < len(self.items) else None

    def take(self) -> str | int | None:
        item = self.peek()
        self.at += 1
        return item

    def text_follows(self, text: str) -> bool:
        return self.items[self.at : self.at + len(text)] == list(text)

    def commands(self, end: str | None) -> None:
        """Commands: a script, or what stands in `$(...)`, which `end` closes."""
        _Commands(self, end).read()

    def single_quotes(self) -> None:
        while (item := self.take()) not in (None, "'"):
            if isinstance(item, int):
                self.found[item] = _Quoting.SINGLE

    def ansi_quotes(self) -> None:
        """`$'...'`: quoting in some shells, a `$` and single quotes in others."""
        while (item := self.take()) not in (None, "'"):
            if isinstance(item, int):
                raise _refusal("a value stands inside `$'...'`", "use \"...\" or '...'")
            if item == "\\":
                self.take()

    def double_quotes(self, refuse: tuple[str, str] | None = None) -> None:
        while (item := self.take()) not in (None, '"'):
            if not isinstance(item, int):
                self.expansion(item, quoted=True)
            elif refuse:
                raise _refusal(*refuse)
            else:
                self.found[item] = _Quoting.DOUBLE

    def here_document(self) -> None:
        """The body of a here-document; quotation marks are plain text in it."""
        while (item := self.take()) is not None:
            if isinstance(item, int):
                self.found[item] = _Quoting.DOUBLE
            else:
                self.expansion(item, quoted=True)

    def expansion(self, item: str | None, *, quoted: bool) -> None:
        """What `\\`, `$` and a backtick open, in every state that has them."""
        if item == "\\":
            if isinstance(self.take(), int):
                raise _refusal(
                    "a value follows a backslash", r"write `\\` for a backslash, or leave it out"
                )
        elif item == "`":
            self.backticks(quoted)
        elif item == "$":
            self.dollar(quoted)

    def dollar(self, quoted: bool) -> None:
        following = self.peek()
        if isinstance(following, int):
            raise _refusal("a value follows a `$`", r"write `\$` for a dollar sign")
        if self.text_follows("(("):
            self.at += 2
            self.arithmetic()
        elif following == "(":
            self.substitution(quoted)
        elif following == "{":
            self.at += 1
            self.parameter(quoted)
        elif following == "'" and not quoted:
            self.at += 1
            self.ansi_quotes()
        elif following in _SPECIAL_PARAMETERS:
            self.at += 1
        else:
            while self.peek() in _NAME:
                self.at += 1

    def substitution(self, quoted: bool) -> None:
        """`$(...)`. What a command makes of a value stays one word, as the value itself does."""
        begin, values = self.at - 1, len(self.found)
        self.at += 1
        self.commands(end=")")
        if self.added is not None and not quoted and len(self.found) > values:
            self.added += [begin, self.at]

    def arithmetic(self) -> None:
        depth = 2
        while depth and (item := self.take()) is not None:
            if isinstance(item, int):
                raise _refusal(*_IN_ARITHMETIC)
            depth += (item == "(") - (item == ")")
            self.expansion(item, quoted=True)

    def parameter(self, quoted: bool) -> None:
        """`${...}`. In double quotes an apostrophe is text, save in the pattern of `#` and `%`."""
        while self.peek() in _NAME:
            self.at += 1
        apostrophe_quotes = not quoted or self.peek() in ("#", "%")
        while (item := self.take()) not in (None, "}"):
            if isinstance(item, int):
                raise _refusal(*_IN_PARAMETER)
            if item == "'" and apostrophe_quotes:
                self.single_quotes()
            elif item == '"':
                self.double_quotes(refuse=_IN_PARAMETER if quoted else None)
            else:
                self.expansion(item, quoted=quoted)

    def backticks(self, quoted: bool) -> None:
        """Up to the next backtick; one layer of backslashes is taken off before it is read."""
        escapes = ("\\", "`", "$", '"') if quoted else ("\\", "`", "$")
        inner: list[str | int] = []
        while (item := self.take()) not in (None, "`"):
            assert item is not None
            if item == "\\" and self.peek() in escapes:
                item = self.items[self.at]
                self.at += 1
            inner.append(item)
        _Reader(inner, self.found).commands(end=None)


class _Commands:
    """Bare text: words, comments, here-documents, and the parentheses of `case`."""

    def __init__(self, reader: _Reader, end: str | None) -> None:
        self.reader = reader
        self.end = end
        self.parentheses = 0
        self.cases = 0
        self.word = ""
        self.command_position = True
        self.documents: list[tuple[str, bool, bool]] = []

    def read(self) -> None:
        reader = self.reader
        while (item := reader.take()) is not None:
            if isinstance(item, int):
                reader.found[item] = _Quoting.BARE
                self.word += "?"
            elif item == "#" and not self.word:
                self.comment()
            elif item == "\\" and reader.peek() == "\n":
                reader.at += 1
            elif item in _WORD_ENDS:
                self.end_word()
                if item == ")" and self.closes():
                    return
                self.operator(item)
            else:
                self.word += item if item in _NAME or item in "{!" else "?"
                self.quoting(item)

    def quoting(self, item: str) -> None:
        if item == "'":
            self.reader.single_quotes()
        elif item == '"':
            self.reader.double_quotes()
        else:
            self.reader.expansion(item, quoted=False)

    def end_word(self) -> None:
        """Only `case` and `esac` matter, and only where a command may start."""
        if not self.word:
            return
        if self.command_position and self.word == "case":
            self.cases += 1
        elif self.command_position and self.word == "esac" and self.cases:
            self.cases -= 1
        inside_case = self.word != "in" or self.cases > 0
        self.command_position = self.word in _KEEPS_COMMAND_POSITION and inside_case
        self.word = ""

    def closes(self) -> bool:
        """Whether this `)` ends the substitution, and not a subshell or a pattern of `case`."""
        if self.parentheses:
            self.parentheses -= 1
            return False
        return self.end == ")" and not self.cases

    def operator(self, item: str) -> None:
        if item == "(":
            self.parentheses += 1
        elif item == "\n" and self.documents:
            self.read_documents()
        elif item == "<" and self.reader.text_follows("<<"):
            self.reader.at += 2  # `<<<`, a here-string: its word is an ordinary one
        elif item == "<" and self.reader.peek() == "<":
            self.reader.at += 1
            self.document_word()
        if item in _COMMAND_STARTS:
            self.command_position = True

    def comment(self) -> None:
        while self.reader.peek() not in (None, "\n"):
            item = self.reader.take()
            if isinstance(item, int):
                self.reader.found[item] = _Quoting.DOUBLE

    def document_word(self) -> None:
        """`<<WORD`, `<<-WORD`, `<<'WORD'`: remembered until the line ends."""
        reader = self.reader
        strip_tabs = reader.peek() == "-"
        reader.at += strip_tabs
        while reader.peek() in _BLANKS:
            reader.at += 1
        word, quoted, mark = "", False, ""
        while (item := reader.peek()) is not None:
            if isinstance(item, int):
                raise _refusal("a value stands in the word that ends a here-document")
            if not mark and item in _WORD_ENDS:
                break
            reader.at += 1
            if mark:
                mark, word = ("", word) if item == mark else (mark, word + item)
            elif item in ("'", '"'):
                mark, quoted = item, True
            elif item == "\\":
                quoted = True
            else:
                word += item
        self.documents.append((word, quoted, strip_tabs))

    def read_documents(self) -> None:
        for word, quoted, strip_tabs in self.documents:
            body = self.document_body(word, quoted, strip_tabs)
            if not quoted:
                _Reader(body, self.reader.found).here_document()
            elif any(isinstance(item, int) for item in body):
                raise _refusal(
                    f"a value stands in the here-document that a quoted {word!r} ends, where "
                    "nothing is expanded",
                    f"write `<<{word}` without quotes, and `\\$` for a dollar sign",
                )
        self.documents = []

    def document_body(self, word: str, quoted: bool, strip_tabs: bool) -> list[str | int]:
        """Everything before the line that is `word`; a continued line cannot be that one."""
        reader = self.reader
        body: list[str | int] = []
        continued = False
        while reader.peek() is not None:
            line: list[str | int] = []
            while (item := reader.take()) not in (None, "\n"):
                assert item is not None
                line.append(item)
            text = [item if isinstance(item, str) else "\0" for item in line]
            plain = "".join(text)
            if not continued and (plain.lstrip("\t") if strip_tabs else plain) == word:
                break
            backslashes = len(plain) - len(plain.rstrip("\\"))
            continued = not quoted and backslashes % 2 == 1
            body += [*line, "\n"]
        return body
