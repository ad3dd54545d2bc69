"""The decorator, its checks of input and output, and the context."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import json
import logging
import os
import pathlib
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from orch.agents import capability as module
from orch.agents.capability import Capability, capability, get, registry
from orch.agents.context import Context
from orch.agents.json_value import to_json_value
from orch.agents.shell import ShellText
from orch.errors import SettingsError, StepError
from orch.workflows.expressions import Value


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "_capabilities", {})
    yield


class Order(BaseModel):
    item: str
    count: int = 1


def known(name: str) -> Capability:
    found = get(name)
    assert found is not None
    return found


def refusal(name: str, input: Any) -> StepError:
    with pytest.raises(StepError) as refused:
        known(name).call(input, Context())
    assert refused.value.name == "InvalidInput"
    return refused.value


# Definition ----------------------------------------------------------------------------------


def test_a_decorated_function_stays_callable_and_is_known_by_its_name() -> None:
    @capability("add", description="adds")
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert add(1) == 3
    assert list(registry()) == ["add"]
    assert known("add").description == "adds"
    assert get("subtract") is None


def test_a_docstring_is_the_description() -> None:
    @capability("a")
    def one() -> None:
        """Does nothing."""

    assert known("a").description == "Does nothing."


def test_a_name_that_two_functions_take_is_refused_with_both() -> None:
    @capability("twice")
    def first() -> None: ...

    with pytest.raises(SettingsError, match=r"'twice' is defined twice: by .*first and by .*other"):

        @capability("twice")
        def other() -> None: ...


def test_a_module_that_is_loaded_again_replaces_its_capabilities() -> None:
    def load(answer: int) -> None:
        @capability("again")
        def again() -> int:
            return answer

    load(1)
    load(2)
    assert known("again").call(None, Context()) == 2


@pytest.mark.parametrize("name", ["", "1a", "a b", "-a", "ä", "a\n"])
def test_a_name_that_cannot_be_a_queue_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be the name of a capability"):
        capability(name)


def test_the_decorator_without_a_name_says_how_it_is_written() -> None:
    with pytest.raises(SettingsError) as refused:
        capability(known)  # type: ignore[arg-type]
    assert '@capability("name")' in refused.value.hint


def test_parameters_that_no_input_can_fill_are_refused() -> None:
    with pytest.raises(SettingsError, match="cannot be given by name"):

        @capability("star")
        def star(*many: int) -> None: ...

    with pytest.raises(SettingsError, match="cannot be checked"):

        @capability("socket")
        def socket(of: threading.Thread) -> None: ...


def test_annotations_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"annotations of capability 'lost'.*Nowhere"):

        @capability("lost")
        def lost(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def test_the_schema_shows_types_defaults_and_what_is_required() -> None:
    @capability("order")
    def order(order: Order, note: str = "none", context: Context | None = None) -> None: ...

    schema = known("order").input_schema
    assert schema["required"] == ["order"]
    assert schema["additionalProperties"] is False
    assert sorted(schema["properties"]) == ["note", "order"]
    assert schema["properties"]["note"] == {"title": "Note", "type": "string", "default": "none"}
    json.dumps(schema)


# Input ---------------------------------------------------------------------------------------


def test_arguments_are_converted_to_their_annotations() -> None:
    @capability("order")
    def order(order: Order, on: datetime.date, tags: set[str]) -> list[Any]:
        assert isinstance(order, Order)
        return [order.count, on.year, sorted(tags)]

    given = {"order": {"item": "x", "count": "3"}, "on": "2024-02-29", "tags": ["b", "a"]}
    assert known("order").call(given, Context()) == [3, 2024, ["a", "b"]]


def test_a_list_is_arguments_in_order_and_null_is_none_at_all() -> None:
    @capability("join")
    def join(a: str = "x", b: str = "y") -> str:
        return a + b

    assert known("join").call(["1", "2"], Context()) == "12"
    assert known("join").call(None, Context()) == "xy"
    assert "takes 2 arguments (a, b); found 3" in refusal("join", ["1", "2", "3"]).message
    assert "takes an object" in refusal("join", "text").message


def test_a_refused_input_is_told_field_by_field() -> None:
    @capability("resize")
    def resize(source: str, width: int, size: list[int] | None = None) -> None: ...

    refused = refusal("resize", {"width": "wide", "size": [1, "x"], "heigth": 1})
    assert refused.message == (
        "capability 'resize' cannot take this input: 'source' is missing; 'width' is 'wide' (str), "
        "expected a valid integer, unable to parse string as an integer; 'size.1' is 'x' (str), "
        "expected a valid integer, unable to parse string as an integer; "
        "there is no parameter 'heigth'"
    )
    assert [error["field"] for error in refused.data] == ["source", "width", "size.1", "heigth"]


def test_null_is_no_default() -> None:
    @capability("note")
    def note(text: str = "x") -> None: ...

    assert "'text' is null, expected a valid string" in refusal("note", {"text": None}).message


def test_a_function_with_keyword_arguments_takes_what_it_does_not_name() -> None:
    @capability("more")
    def more(a: int, **rest: Any) -> Any:
        return {"a": a, **rest}

    assert known("more").call({"a": 1, "model_config": 2}, Context()) == {"a": 1, "model_config": 2}


def test_names_that_pydantic_uses_itself_are_ordinary_parameters() -> None:
    @capability("names")
    def names(json: int, copy: int, model_fields: int, schema: int) -> int:
        return json + copy + model_fields + schema

    given = {"json": 1, "copy": 2, "model_fields": 3, "schema": 4}
    assert known("names").call(given, Context()) == 10


def test_the_context_comes_by_its_annotation_and_cannot_be_an_argument() -> None:
    @capability("where")
    def where(a: int, ctx: Context | None = None) -> str:
        assert ctx is not None
        return ctx.idempotency_key

    assert known("where").call({"a": 1}, Context(execution_id="e", path="p[1]")) == "e/p[1]"
    assert "no parameter 'ctx'" in refusal("where", {"a": 1, "ctx": 1}).message


def test_shell_text_gets_the_parts_of_a_text() -> None:
    @capability("sh")
    def sh(command: ShellText | list[str] | str, other: str = "") -> Any:
        return [command.script, command.environment] if isinstance(command, ShellText) else command

    it = known("sh")
    assert it.template_parameters == {"command"}
    parts = ("echo ", Value("a b"))
    found = it.call({"command": "echo a b"}, Context(), templates={"command": parts})
    assert found == ['echo "${ORCH_1}"', {"ORCH_1": "a b"}]
    assert it.call({"command": ["echo", "a b"]}, Context()) == ["echo", "a b"]
    assert it.call({"command": "echo a b"}, Context()) in ("echo a b", ["echo a b", {}])


def test_what_the_function_raises_is_not_wrapped() -> None:
    @capability("raise")
    def fail() -> None:
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        known("raise").call({}, Context())


# Async ---------------------------------------------------------------------------------------


def test_async_functions_share_one_event_loop_of_the_process() -> None:
    loops = []

    @capability("loop")
    async def on_loop() -> int:
        loops.append(asyncio.get_running_loop())
        return os.getpid()

    threads = [threading.Thread(target=lambda: known("loop").call({}, Context())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loops) == 4
    assert len(set(loops)) == 1


def test_a_forked_process_has_an_event_loop_of_its_own() -> None:
    @capability("fork")
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert known("fork").call({}, Context()) == 42
    child = os.fork()
    if child == 0:
        os._exit(known("fork").call({}, Context()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_an_async_function_is_given_up_at_the_deadline() -> None:
    ended = threading.Event()

    @capability("slow")
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(StepError, match="still running at the deadline") as refused:
        known("slow").call({}, Context(deadline=time.time() + 0.05))
    assert refused.value.name == "StepTimeout"
    assert ended.wait(10)


def test_a_timeout_of_its_own_passes_through() -> None:
    @capability("own")
    async def own() -> None:
        raise TimeoutError("of the database")

    with pytest.raises(TimeoutError, match="of the database"):
        known("own").call({}, Context(deadline=time.time() + 60))


# Output --------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.text(st.characters(blacklist_categories=["Cs"])), inner
    ),
    max_leaves=20,
)  # fmt: skip


@given(json_values)
def test_json_stays_as_it_is(value: Any) -> None:
    assert to_json_value(value) == value


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


def test_common_python_values_become_json() -> None:
    id = uuid.uuid4()
    value = {
        "model": Order(item="a"),
        "point": Point(1),
        "at": datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        "path": pathlib.PurePosixPath("/a"),
        "id": id,
        "price": decimal.Decimal("1.10"),
        "colour": Colour.RED,
        "pair": (1, 2),
        "set": {3},
        5: "five",
    }
    assert to_json_value(value) == {
        "model": {"item": "a", "count": 1},
        "point": {"x": 1, "y": 0},
        "at": "2024-02-29T12:00:00Z",
        "path": "/a",
        "id": str(id),
        "price": "1.10",
        "colour": "red",
        "pair": [1, 2],
        "set": [3],
        "5": "five",
    }


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"rows": [{"a": 1}, {"a": object()}]}, r"at \$\.output\.rows\[1\]\.a there is .*object"),
        ([lambda: 1], r"at \$\.output\[0\] there is builtins\.function"),
        ({"p": Point(threading.Lock())}, r"at \$\.output\.p\.x there is _thread\.lock"),
        ({"n": float("nan")}, r"at \$\.output\.n there is builtins\.float nan"),
        (float("-inf"), r"at \$\.output there is builtins\.float -inf"),
        ({"a": {frozenset([1]): 1}}, r"at \$\.output\.a there is builtins\.dict with a key"),
        ({"a": ["\ud800"]}, r"at \$\.output\.a\[0\] there is builtins\.str"),
        (b"\xff", r"at \$\.output there is builtins\.bytes"),
    ],
)
def test_what_is_not_json_is_named_with_its_place(value: Any, place: str) -> None:
    @capability("give")
    def give() -> Any:
        return value

    with pytest.raises(StepError, match=place) as refused:
        known("give").call(None, Context())
    assert refused.value.name == "OutputNotJSON"
    assert "capability 'give'" in refused.value.message


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(StepError, match="contains itself"):
        to_json_value(value)


# Context -------------------------------------------------------------------------------------


def test_a_context_is_made_with_what_matters_to_a_test() -> None:
    beats: list[Any] = []
    context = Context(
        execution_id="e1",
        path="resize[2]",
        deadline=time.time() + 60,
        is_cancelled=lambda: bool(beats),
        on_heartbeat=beats.append,
    )
    assert context.idempotency_key == "e1/resize[2]"
    assert context.step_id == "resize[2]"
    assert 50 < (context.remaining() or 0) <= 60
    assert not context.cancelled()
    context.heartbeat({"done": 3})
    assert context.cancelled()
    assert beats == [{"done": 3}]


def test_a_context_without_arguments_has_no_deadline_and_harmless_hooks() -> None:
    context = Context()
    assert context.remaining() is None
    assert context.cancelled() is False
    context.heartbeat()
    assert Context(deadline=1).remaining() == 0


def test_log_records_say_which_attempt_they_belong_to(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "orch.step"):
        Context(execution_id="e1", path="50%s", attempt=2).log.info("did %d", 3)
    assert caplog.messages == ["e1 50%s #2: did 3"]
    assert caplog.records[0].__dict__["execution_id"] == "e1"
