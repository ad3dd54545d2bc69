"""Drawings: right edges, safe text, always the same."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.workflows.definition import WorkflowDefinition, WorkflowStep
from orch.workflows.graph import as_json, escape_label, mermaid, node_ids


def definition(*steps: dict[str, Any], **fields: Any) -> WorkflowDefinition:
    return WorkflowDefinition.model_validate({"name": "n", "steps": list(steps), **fields})


def task(step_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": step_id, "capability": "c", **fields}


DRAWN = definition(
    task("fetch", name="Fetch it", onError="clean", next="choose"),
    {
        "id": "choose",
        "type": "decision",
        "decision": {"expression": "$.x", "branches": {"true": "both"}, "default": "end"},
    },
    {
        "id": "both",
        "type": "parallel",
        "next": "end",
        "parallel": {
            "branches": [
                {"name": "Left", "steps": [task("l1", next="l2"), task("l2")]},
                {"steps": [task("r1")]},
            ]
        },
    },
    {"id": "end", "type": "wait", "wait": {"duration": 5}},
    task("clean", onError={"errors": ["Disk"], "next": "end"}),
    errorHandlers=[{"error": "Timeout", "handler": "clean"}, {"handler": "mailer"}],
)


def test_the_drawing_of_a_workflow() -> None:
    assert (
        mermaid(DRAWN)
        == """\
flowchart TD
    step_fetch["Fetch it"]
    step_choose{"choose"}
    subgraph step_both["both"]
        subgraph step_both_0["Left"]
            step_l1["l1"]
            step_l2["l2"]
        end
        subgraph step_both_1["branch 1"]
            step_r1["r1"]
        end
    end
    step_end(["end"])
    step_clean["clean"]
    step_errorHandlers_0>"error: Timeout"]
    step_errorHandlers_1>"error: *"]
    step_errorHandlers_1_mailer[["mailer"]]
    step_fetch --> step_choose
    step_fetch -.->|"error"| step_clean
    step_choose -->|"true"| step_both
    step_choose -->|"default"| step_end
    step_both --> step_end
    step_clean -.->|"error: Disk"| step_end
    step_l1 --> step_l2
    step_errorHandlers_0 -.-> step_clean
    step_errorHandlers_1 -.-> step_errorHandlers_1_mailer
"""
    )


def test_nodes_and_edges_as_data() -> None:
    graph = as_json(DRAWN)
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert nodes["l2"] == {
        "id": "l2",
        "label": "l2",
        "type": "task",
        "path": "steps[2].parallel.branches[0].steps[1]",
        "parent": "both/0",
    }
    assert nodes["both/0"]["parent"] == "both"
    assert {"from": "choose", "to": "both", "kind": "branch", "label": "true"} in graph["edges"]
    assert {"from": "fetch", "to": "clean", "kind": "error", "label": "error"} in graph["edges"]
    assert all(edge["from"] in nodes and edge["to"] in nodes for edge in graph["edges"])


@pytest.mark.parametrize("kind", ["map", "loop"])
def test_steps_within_a_step_are_drawn_in_its_box(kind: str) -> None:
    within = {"items": "$.input", "steps": [task("a")]} if kind == "map" else {"steps": [task("a")]}
    text = mermaid(definition({"id": "outer", "type": kind, kind: within}))
    assert 'subgraph step_outer["outer"]\n        step_a["a"]\n    end' in text


def test_ids_that_would_collide_are_told_apart() -> None:
    ids = node_ids(definition(task("a.b", next="a_b"), task("a_b")))
    assert ids == {"a.b": "step_a_b", "a_b": "step_a_b_2"}


def test_a_label_cannot_end_its_quotes_or_mean_anything() -> None:
    assert escape_label('say "hi" <b>') == "say #34;hi#34; #60;b#62;"
    assert escape_label("one\r\ntwo") == "one<br/>two"
    assert escape_label("`x` #1; %%{a}%% $$y$$ [z]") == (
        "#96;x#96; #35;1#59; #37;#37;#123;a#125;#37;#37; #36;$y#36;$ #91;z#93;"
    )


@given(st.text(max_size=30))
def test_no_name_breaks_the_drawing(name: str) -> None:
    step = WorkflowStep.model_construct(id="a", name=name, capability="c")
    labelled = WorkflowDefinition.model_construct(name="n", steps=[step])
    try:
        text = mermaid(labelled)
    except ValueError:  # half of a surrogate pair: no definition can hold it
        assert re.search("[\ud800-\udfff]", name)
        return
    assert len(text.splitlines()) == 2
    assert re.fullmatch(r'    step_a\["[^"`<>]*(<br/>[^"`<>]*)*"\]', text.splitlines()[1])


def test_the_same_definition_gives_the_same_text() -> None:
    again = WorkflowDefinition.model_validate(DRAWN.model_dump(by_alias=True))
    assert mermaid(again) == mermaid(DRAWN)


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    step = task("leaf")
    for level in range(200):
        step = {
            "id": f"p{level}",
            "type": "parallel",
            "parallel": {"branches": [{"steps": [step]}]},
        }
    assert mermaid(definition(step)).count("subgraph") == 400
