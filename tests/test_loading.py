"""Files in and out: what is taken, and what a broken file is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orch.errors import InvalidWorkflow, LoadError
from orch.workflows.loading import (
    MAX_BYTES,
    dumps,
    find_beside,
    library_definition,
    library_names,
    load_definition,
    load_document,
    loads,
    parse_definition,
    save_definition,
)
from orch.workflows.validation import errors_in, validate_definition

YAML = """\
name: Setup
steps:
  - id: choose
    type: decision
    decision:
      expression: $.input.go
      branches:
        true: run
        false: stop
        null: stop
        1: run
        yes: run
  - {id: run, capability: runner, input: {on: yes, at: 12:30, day: 2024-01-01, n: 010, e: 1e3}}
  - {id: stop, capability: runner}
"""


def write(directory: Path, name: str, content: str | bytes) -> Path:
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def broken(text: str, format: str = "yaml") -> LoadError:
    with pytest.raises(LoadError) as caught:
        loads(text, format, source="flow")  # type: ignore[arg-type]
    return caught.value


def test_keys_of_branches_need_no_quotes_in_yaml() -> None:
    decision = loads(YAML).steps[0].decision
    assert decision is not None
    assert list(decision.branches) == ["true", "false", "null", "1", "yes"]


def test_yaml_is_read_by_the_core_schema_of_1_2() -> None:
    assert loads(YAML).steps[1].input == {
        "on": "yes", "at": "12:30", "day": "2024-01-01", "n": 10, "e": 1000.0
    }  # fmt: skip


def test_keys_that_python_took_for_booleans_are_text_again() -> None:
    definition = parse_definition(
        {
            "name": "n",
            "steps": [
                {
                    "id": "a",
                    "type": "decision",
                    "decision": {"expression": "$.input", "branches": {True: "b", None: "b"}},
                },
                {"id": "b", "capability": "c"},
            ],
        }
    )
    assert definition.steps[0].decision is not None
    assert list(definition.steps[0].decision.branches) == ["true", "null"]


def test_anchors_aliases_and_merges_are_followed() -> None:
    text = """\
name: n
steps:
  - &first {id: a, capability: c, timeout: 5, input: &data {x: [1]}}
  - <<: *first
    id: b
  - {id: c, capability: c, input: *data}
"""
    definition = loads(text)
    assert [step.id for step in definition.steps] == ["a", "b", "c"]
    assert definition.steps[1].timeout == 5
    assert definition.steps[2].input == {"x": [1]}


@pytest.mark.parametrize(
    ("text", "format", "line", "column", "reason"),
    [
        ("name: n\nsteps: [}\n", "yaml", 2, 9, "no valid YAML"),
        ("name: n\n\tsteps: 1\n", "yaml", 2, 1, "no valid YAML"),
        ("name: n\nsteps: []\nname: m\n", "yaml", 3, 1, "the key 'name' is here twice; first in"),
        ("name: n\ntrue: 1\n'true': 2\n", "yaml", 3, 1, "the key 'true' is here twice"),
        ("name: n\n---\nname: m\n", "yaml", 2, 1, "second document"),
        ("name: !!python/name:os.system x\n", "yaml", 1, 7, "is not allowed"),
        ("name: *nobody\n", "yaml", 1, 7, "names no anchor"),
        ("steps: &a [*a]\n", "yaml", 1, 12, "names no anchor"),
        ("name: .nan\n", "yaml", 1, 7, "no JSON number"),
        ("? [a]\n: b\n", "yaml", 1, 3, "a key must be text"),
        ("a: &x [1]\n*x : b\n", "yaml", 2, 1, "a key must be text"),
        ("name: n\x07\n", "yaml", 1, 8, "U\\+0007 is not allowed"),
        ('{"name": "n",\n "steps": ]}', "json", 2, 11, "no valid JSON"),
        ('{"a": {"b": 1,\n "b": 2}}', "json", 2, 2, "the key 'b' is here twice; first in line 1"),
        ('{"a": ["{\\"", {"b": NaN}]}', "json", 1, 21, "NaN is no JSON number"),
    ],
)
def test_a_broken_text_is_shown_with_line_column_and_a_caret(
    text: str, format: str, line: int, column: int, reason: str
) -> None:
    error = broken(text, format)
    assert (error.line, error.column) == (line, column)
    assert error.source == "flow"
    assert error.message.startswith(f"flow:{line}:{column}: ")
    with pytest.raises(LoadError, match=reason):
        raise error
    *_, shown, caret = error.message.split("\n")
    margin = shown.index("|") + 2
    assert caret.index("^") == margin + column - 1


def test_a_yaml_bomb_is_refused_before_it_is_unfolded() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases stand for more than" in broken("\n".join(lines)).message


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_huge_nesting_is_refused(format: str) -> None:
    text = '{"a": ' + "[" * 20_000 + "]" * 20_000 + "}"
    assert "nested" in broken(text, format).message


def test_nesting_by_aliases_is_refused() -> None:
    lines = ["a0: &a0 [1]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 600)]
    assert "nested deeper" in broken("\n".join(lines)).message


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_a_large_file_is_refused(tmp_path: Path, format: str) -> None:
    path = write(tmp_path, f"big.{format}", b" " * (MAX_BYTES + 1))
    with pytest.raises(LoadError, match="larger than 1024 KiB"):
        load_definition(path)


def test_every_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    expected = {
        tmp_path / "none.yaml": "there is no file",
        tmp_path: "is a directory",
        write(tmp_path, "latin.yaml", b"name: n\nx: \xe9\n"): r":2:4: byte 0xe9 is not UTF-8",
        write(tmp_path, "empty.yaml", " \n"): "is empty",
        write(tmp_path, "comment.yaml", "# nothing\n"): "holds nothing",
        write(tmp_path, "list.json", "[]"): "holds a list, not a workflow",
        write(tmp_path, "flow.txt", "name: n"): "no format of a workflow",
        write(tmp_path, "digits.json", '{"a": ' + "1" * 5000 + "}"): "no valid JSON",
    }
    for path, reason in expected.items():
        with pytest.raises(LoadError, match=reason) as caught:
            load_definition(path)
        assert caught.value.source == str(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, "bom.yaml", b"\xef\xbb\xbf" + YAML.encode())
    assert load_definition(path).name == "Setup"


def test_all_errors_of_structure_and_meaning_come_at_once() -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        loads("name: n\nsteps:\n  - {id: a, capability: c, nxt: b, timeout: soon}\n"
              "  - {id: b, capability: c, next: gone}\n")  # fmt: skip
    paths = [finding.path for finding in errors_in(caught.value.findings)]
    assert paths == ["steps[0].nxt", "steps[0].timeout", "steps[1].next"]
    assert "3 errors" in caught.value.message


def test_a_python_file_gives_its_one_definition(tmp_path: Path) -> None:
    head = "from orch.workflows.definition import WorkflowDefinition as W\n"
    steps = "steps=[{'id': 'a', 'capability': 'c'}]"
    one = write(tmp_path, "one.py", f"{head}flow = W(name='one', {steps})\n")
    named = write(
        tmp_path, "two.py", f"{head}workflow = W(name='1', {steps})\nb = W(name='2', {steps})\n"
    )
    assert load_definition(one).name == "one"
    assert load_document(one)["name"] == "one"
    assert load_definition(named).name == "1"
    unclear = write(
        tmp_path, "many.py", f"{head}a = W(name='1', {steps})\nb = W(name='2', {steps})\n"
    )
    with pytest.raises(LoadError, match=r"holds 2 \(a, b\)"):
        load_definition(unclear)
    with pytest.raises(LoadError, match="holds none"):
        load_definition(write(tmp_path, "none.py", "x = 1\n"))


def test_a_python_file_that_fails_says_in_which_line(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r":2:1: raised ZeroDivisionError") as caught:
        load_definition(write(tmp_path, "raises.py", "x = 1\nx / 0\n"))
    assert caught.value.line == 2
    with pytest.raises(LoadError, match="no valid Python") as caught:
        load_definition(write(tmp_path, "syntax.py", "x = 1\nx = (\n"))
    assert caught.value.line == 2
    with pytest.raises(LoadError, match="raised SystemExit"):
        load_definition(write(tmp_path, "exits.py", "raise SystemExit(3)\n"))


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_a_saved_definition_loads_as_the_same_version(tmp_path: Path, suffix: str) -> None:
    definition = loads(YAML)
    path = tmp_path / f"flow{suffix}"
    save_definition(definition, path)
    save_definition(definition, path)
    assert load_definition(path).content_hash() == definition.content_hash()
    assert os.listdir(tmp_path) == [path.name]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "flow.yaml", "old")

    def full(handle: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LoadError, match="no space left"):
        save_definition(loads(YAML), path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["flow.yaml"]
    with pytest.raises(LoadError, match="cannot be written as"):
        save_definition(loads(YAML), tmp_path / "flow.txt")


def test_what_is_dumped_has_no_defaults_and_begins_with_the_name() -> None:
    text = dumps(loads(YAML), "json")
    assert list(json.loads(text)) == ["name", "steps"]
    assert dumps(loads(YAML)).startswith("name: Setup\n")


def test_other_workflows_are_found_beside_a_file(tmp_path: Path) -> None:
    first = write(tmp_path, "first.yaml", YAML)
    second = write(tmp_path, "second.json", "{}")
    assert find_beside(first, "second") == second
    assert find_beside(tmp_path, "first") == first
    assert find_beside(tmp_path, "third") is None
    assert find_beside(tmp_path / "sub", "../first") is None


def test_the_library_holds_five_workflows_without_errors() -> None:
    assert library_names() == [
        "data_processing",
        "global_error_handler",
        "implement_feature",
        "log_error_to_notion",
        "project_setup",
    ]
    for name in library_names():
        definition = library_definition(name)
        assert definition is not None
        findings = validate_definition(definition, known_workflows=library_names())
        assert errors_in(findings) == []


@pytest.mark.parametrize("name", ["nothing", "", "../library/data_processing", "__init__"])
def test_the_library_has_nothing_else(name: str) -> None:
    assert library_definition(name) is None
