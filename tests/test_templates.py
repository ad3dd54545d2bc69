"""Files with parameters, and files that take steps from others: what is stored knows neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from redis import Redis

from orch import Orchestrator
from orch.cli.app import run_command
from orch.control.simulation import simulate
from orch.errors import InvalidWorkflow, LoadError
from orch.settings import Settings
from orch.workflows.loading import load_definition, loads, save_definition
from orch.workflows.loading.expanding import MAX_USES, expand
from orch.workflows.validation import json_schema

TEMPLATE = r"""
name: Import {{ table }}
parameters:
  table: {type: string, pattern: "^[a-z]+$", description: what to import}
  size: {type: integer, default: 100, minimum: 1}
  options: {type: object, default: {fast: true}}
  limit: {type: [integer, "null"], default: null}
steps:
  - id: fetch
    capability: fetch
    timeout: "{{ limit }}"
    input: {table: "{{table}}", size: "{{ size }}", text: "{{ size }} of {{ table }}",
            options: "{{ options }}", literal: '\{{ table }}', own: "$.input.x"}
"""
COMMON = {
    "parameters": {"pause": {"type": "integer", "default": 5}},
    "steps": [
        {"id": "lint", "capability": "lint", "timeout": 1000, "onError": "report",
         "input": {"pause": "{{ pause }}"}},
        {"id": "tell", "capability": "mail", "timeout": 500},
        {"id": "strict_lint", "use": "lint", "timeout": 9},
        {"id": "pair", "type": "parallel",
         "parallel": {"branches": [{"steps": [{"use": "lint"}]}, {"steps": [{"use": "tell"}]}]}},
    ],
}  # fmt: skip


def content(definition: Any) -> dict[str, Any]:
    return dict(json.loads(definition.canonical()))


def problems(raw: Any, path: Path | None = None, given: Any = None) -> dict[str, str]:
    return {finding.path: finding.message for finding in expand(raw, path, given)[1]}


def write(directory: Path, name: str, value: Any) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else yaml.safe_dump(value))
    return path


# --- parameters ---------------------------------------------------------------------------------


def test_a_value_is_typed_where_it_stands_alone_and_text_where_it_is_a_part() -> None:
    found = content(loads(TEMPLATE, parameters={"table": "orders", "size": 7}))
    assert found["name"] == "Import orders"
    assert found["steps"][0]["input"] == {
        "table": "orders",
        "size": 7,
        "text": "7 of orders",
        "options": {"fast": True},
        "literal": "{{ table }}",
        "own": "$.input.x",
    }
    assert "parameters" not in found and "timeout" not in found["steps"][0]


def test_the_version_is_that_of_what_was_filled_in() -> None:
    one, two = (loads(TEMPLATE, parameters={"table": t}).content_hash() for t in ("a", "b"))
    assert one != two
    assert loads(TEMPLATE, parameters={"table": "a", "size": 100}).content_hash() == one


def test_all_that_is_wrong_with_parameters_is_said_at_once() -> None:
    raw = yaml.safe_load(TEMPLATE)
    raw["parameters"] |= {"bad-name": {}, "other": 3, "wrong": {"type": "nothing", "default": 1}}
    raw["steps"][0]["input"]["more"] = "{{ tabel }} {{ a + 1 }}"
    found = problems(raw, None, {"size": "many", "sizes": 3})
    assert set(found) == {
        "parameters.table",
        "parameters.size",
        "parameters.sizes",
        "parameters.bad-name",
        "parameters.other",
        "parameters.wrong",
        "steps[0].input.more",
    }
    assert "has no value" in found["parameters.table"]
    assert found["parameters.sizes"] == "there is no parameter 'sizes'"
    with pytest.raises(InvalidWorkflow, match="there is no parameter 'sizes'") as caught:
        loads(TEMPLATE, parameters={"sizes": 3})
    assert [f.path for f in caught.value.findings] == ["parameters.sizes", "parameters.table"]


def test_braces_mean_nothing_where_no_parameter_is_declared() -> None:
    text = "name: n\nsteps:\n- {id: a, capability: c, input: '{{ title }}'}\n"
    assert content(loads(text))["steps"][0]["input"] == "{{ title }}"


def test_a_value_is_not_filled_in_again() -> None:
    given = {"table": "orders", "options": {"x": "{{ size }}"}}
    found = content(loads(TEMPLATE, parameters=given))
    assert found["steps"][0]["input"]["options"] == {"x": "{{ size }}"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(JSON_VALUES)
def test_any_value_arrives_unchanged(value: Any) -> None:
    raw = {"parameters": {"p": {}}, "steps": [{"input": {"at": ["{{ p }}"]}}]}
    document, findings = expand(raw, None, {"p": value})
    assert findings == [] and document == {"steps": [{"input": {"at": [value]}}]}


# --- included steps -----------------------------------------------------------------------------


def test_a_step_is_taken_from_a_file_with_the_fields_beside_it_before_its_own(
    tmp_path: Path,
) -> None:
    write(tmp_path, "steps/common.yaml", COMMON)
    flow = {
        "name": "flow",
        "include": ["steps/common.yaml"],
        "steps": [
            {"use": "strict_lint", "id": "first", "on_error": "last", "next": "both"},
            {"use": "pair", "id": "both", "next": "last"},
            {"use": "tell", "id": "last", "input": 1},
        ],
    }
    definition = load_definition(write(tmp_path, "flow.yaml", flow), {"pause": 8})
    first, both, last = content(definition)["steps"]
    assert first == {
        "id": "first",
        "capability": "lint",
        "timeout": 9,
        "onError": "last",
        "next": "both",
        "input": {"pause": 8},
    }
    inner = [branch["steps"][0]["id"] for branch in both["parallel"]["branches"]]
    assert inner == ["lint", "tell"]
    assert (last["timeout"], last["input"]) == (500, 1)
    save_definition(definition, tmp_path / "saved.yaml")
    assert load_definition(tmp_path / "saved.yaml").canonical() == definition.canonical()


def test_files_may_include_files_below_the_first_and_one_twice(tmp_path: Path) -> None:
    write(tmp_path, "lib/a.yaml", {"include": ["b.yaml"], "steps": [{"id": "a", "use": "b"}]})
    write(tmp_path, "lib/b.yaml", {"steps": [{"id": "b", "capability": "b"}]})
    flow = {"name": "f", "include": ["lib/a.yaml", "lib/b.yaml"], "steps": [{"use": "a"}]}
    (step,) = content(load_definition(write(tmp_path, "flow.yaml", flow)))["steps"]
    assert step == {"id": "a", "capability": "b"}


@pytest.mark.parametrize(
    ("include", "sentence"),
    [
        (["none.yaml"], "there is no file"),
        (["../outside.yaml"], "outside of the directory"),
        (["/etc/passwd"], "outside of the directory"),
        (["link.yaml"], "outside of the directory"),
        (["steps.txt"], "is no format"),
        (["circle.yaml"], "in a circle: circle.yaml -> other.yaml -> circle.yaml"),
        (["flow.yaml"], "in a circle"),
        (["twice.yaml", "again.yaml"], "is in twice.yaml already"),
        (["nameless.yaml"], "has no `id`"),
        (["odd.yaml"], "unknown field 'odd'"),
        ({"a": 1}, "must be a list of files"),
    ],
)
def test_what_cannot_be_included_is_said(tmp_path: Path, include: Any, sentence: str) -> None:
    step = {"id": "s", "capability": "c"}
    write(tmp_path, "outside.yaml", {"steps": [step]})
    own = tmp_path / "own"
    write(own, "circle.yaml", {"include": ["other.yaml"], "steps": [step]})
    write(own, "other.yaml", {"include": ["circle.yaml"]})
    write(own, "twice.yaml", {"steps": [step]})
    write(own, "again.yaml", {"steps": [step]})
    write(own, "nameless.yaml", {"steps": [{"capability": "c"}]})
    write(own, "odd.yaml", {"odd": 1})
    write(own, "steps.txt", "x")
    (own / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    flow = {"name": "f", "include": include, "steps": [{"id": "x", "capability": "c"}]}
    with pytest.raises(InvalidWorkflow) as caught:
        load_definition(write(own, "flow.yaml", flow))
    assert any(sentence in f.message for f in caught.value.findings), caught.value.findings


def test_steps_that_are_missing_or_use_each_other_for_ever_are_said(tmp_path: Path) -> None:
    steps = [{"id": "a", "use": "b"}, {"id": "b", "use": "a"}, {"id": "lint", "capability": "c"}]
    write(tmp_path, "common.yaml", {"steps": steps})
    raw = {"include": "common.yaml", "steps": [{"use": "a"}, {"use": "lnit"}, {"use": 3}]}
    found = problems(raw, tmp_path / "flow.yaml")
    assert "in a circle: a -> b -> a" in found["steps[0].use"]
    assert found["steps[1].use"] == "no included file has a step 'lnit'"
    assert set(found) == {"steps[0].use", "steps[1].use", "steps[2].use"}


def test_steps_that_double_each_time_are_bounded(tmp_path: Path) -> None:
    steps: list[Any] = [{"id": "s0", "capability": "c"}]
    for n in range(1, 30):
        twice = [{"steps": [{"use": f"s{n - 1}"}]}] * 2
        steps.append({"id": f"s{n}", "type": "parallel", "parallel": {"branches": twice}})
    write(tmp_path, "common.yaml", {"steps": steps})
    found = problems({"include": "common.yaml", "steps": [{"use": "s29"}]}, tmp_path / "f.yaml")
    assert any(f"more than {MAX_USES}" in message for message in found.values())


def test_only_a_file_can_include() -> None:
    with pytest.raises(InvalidWorkflow, match="only a file can include others"):
        loads("name: n\ninclude: [a.yaml]\nsteps: [{id: a, capability: c}]\n")


def test_a_python_file_takes_no_parameters(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="takes no parameters"):
        load_definition(write(tmp_path, "flow.py", "x = 1"), {"a": 1})


def test_editors_take_what_files_may_hold() -> None:
    validator = Draft202012Validator(json_schema())
    raw = yaml.safe_load(TEMPLATE)
    del raw["steps"][0]["timeout"]
    raw |= {"include": ["common.yaml"]}
    raw["steps"].append({"use": "lint", "timeout": 5})
    assert list(validator.iter_errors(raw)) == []
    assert not validator.is_valid({**raw, "steps": [{"timeout": 5}]})
    assert not validator.is_valid({**raw, "steps": [{"id": "a"}]})


# --- the two faces ------------------------------------------------------------------------------


def test_python_defines_what_was_filled_in(
    redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    write(tmp_path, "common.yaml", COMMON)
    path = write(tmp_path, "flow.yaml", TEMPLATE + "  - use: tell\n")
    path.write_text("include: common.yaml\n" + path.read_text())
    with Orchestrator(settings) as orchestrator:
        raw = yaml.safe_load(TEMPLATE)
        assert orchestrator.validate_workflow(raw)[0].path == "parameters.table"
        one = orchestrator.define_workflow("one", raw, parameters={"table": "orders"})
        assert one.definition.name == "Import orders"
        assert orchestrator.define_workflow("two", TEMPLATE, {"table": "x"}).key == "two"
        loaded = orchestrator.load_workflow(path, {"table": "items"}, name="items")
        assert (loaded.key, len(loaded.definition.steps)) == ("items", 2)
        saved = orchestrator.save_workflow("items", tmp_path / "saved.yaml")
        assert (
            "{{" not in saved.read_text().replace("{{ table }}", "")
            and "use" not in saved.read_text()
        )
        beside = settings.model_copy(update={"workflow_dir": tmp_path})
        with Orchestrator(beside) as other:
            keys = {info.key for info in other.list_workflows()}
        assert {"items", "saved"} <= keys and not {"common", "flow"} & keys
        assert simulate(loaded.definition, key="items").status == "completed"


def test_each_command_takes_parameters(
    tmp_path: Path, redis: Redis, settings: Settings, redis_url: str, capsys: Any
) -> None:
    path = write(tmp_path, "flow.yaml", TEMPLATE)
    table = ["--set", "table=orders"]
    assert run_command(["validate", str(path)]) == 2
    assert "--set table=... (what to import)" in capsys.readouterr().out
    assert run_command(["validate", str(path), *table, "--set", "limit=50"]) == 0
    assert run_command(["graph", str(path), *table]) == 0
    assert run_command(["graph", str(path), *table, "--format", "canvas"]) == 0
    assert run_command(["simulate", str(path), *table]) == 0
    capsys.readouterr()
    where = ["--redis", redis_url]
    assert run_command(["define", str(path), *table, "--as", "orders", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "orders"
    assert run_command(["start", str(path), *table, "--set", "size=3", *where]) == 0
    with Orchestrator(settings) as orchestrator:
        (info,) = orchestrator.list_executions()
        definition = orchestrator.manager.get("flow").definition
        assert definition.steps[0].input["size"] == 3 and info.workflow == "flow"  # type: ignore
    assert run_command(["start", "orders", *table, *where]) == 2
    assert "the name of a workflow" in capsys.readouterr().err
    assert run_command(["validate", str(path), "--set", "table"]) == 2
    redis.flushall()
