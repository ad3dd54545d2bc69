"""Transformations of data, and files from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.component_generation import component_generation
from orch.errors import StepError

SALES = "region,amount,zip\nNorth,10,01234\nSouth,2.5,00001\nNorth,5,\n"


def rows(data: Any, *transformations: dict[str, Any]) -> Any:
    found = component_generation(data=data, transformations=list(transformations))
    assert found["rows"] == len(found["result"])
    return found["result"]


def failure(name: str, *transformations: Any, data: Any = SALES) -> StepError:
    with pytest.raises(StepError) as failed:
        component_generation(data=data, transformations=list(transformations))
    assert failed.value.name == name
    return failed.value


def test_csv_becomes_rows_and_columns_of_numbers_become_numbers() -> None:
    assert component_generation(data=SALES, transformations=None) == {
        "result": [
            {"region": "North", "amount": 10, "zip": "01234"},
            {"region": "South", "amount": 2.5, "zip": "00001"},
            {"region": "North", "amount": 5, "zip": ""},
        ],
        "rows": 3,
    }


def test_a_missing_number_is_null() -> None:
    assert rows("a,b\n1,x\n,y\n") == [{"a": 1, "b": "x"}, {"a": None, "b": "y"}]


@pytest.mark.parametrize("data", ["a sentence, or two", "a,b\nc\n", "", {"a": 1}, None, 5, "[{"])
def test_data_passes_where_nothing_is_to_be_done(data: Any) -> None:
    assert component_generation(data=data)["result"] == data


def test_the_steps_follow_one_another() -> None:
    assert rows(
        SALES,
        {"type": "filter", "where": "amount > 2.5"},
        {"type": "rename", "columns": {"region": "area"}},
        {"type": "aggregate", "by": "area", "values": {"total": {"sum": "amount"}}},
    ) == [{"area": "North", "total": 15}]


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("amount > 100", 0),
        ("region == 'North'", 2),
        ('region == "region" || amount == 10', 1),
        ("$.row.amount >= 5 && !($.row.zip == '')", 1),
        ("amount * 2 == 5", 1),
        ("zip.length > 0", 2),
        ("$.row['region'] == 'South'", 1),
        ("true", 3),
        ("null", 0),
        ("amount > 1e0", 3),
    ],
)
def test_a_filter_reads_the_columns_by_name(where: str, count: int) -> None:
    assert len(rows(SALES, {"type": "filter", "where": where})) == count


def test_columns_are_chosen_derived_and_converted() -> None:
    assert rows(
        SALES,
        {"type": "derive", "columns": {"double": "amount * 2", "label": "region + '!'"}},
        {"type": "select", "columns": ["label", "double", "amount"]},
        {"type": "convert", "columns": {"double": "text", "amount": "number"}},
        {"type": "limit", "count": 1},
    ) == [{"label": "North!", "double": "20", "amount": 10}]
    kinds = {"n": "integer", "b": "boolean", "t": "text"}
    given = [{"n": "7", "b": "Yes", "t": 1.5}, {"n": 3.0, "b": 0, "t": None}]
    assert rows(given, {"type": "convert", "columns": kinds}) == [
        {"n": 7, "b": True, "t": "1.5"},
        {"n": 3, "b": False, "t": None},
    ]


def test_groups_are_summarised_in_the_order_of_their_appearance() -> None:
    values = {
        "total": {"sum": "v"},
        "mean": {"mean": "v"},
        "least": {"min": "v"},
        "most": {"max": "v"},
        "n": {"count": True},
        "known": {"count": "v"},
    }
    given = [{"g": "b", "v": 0.1}, {"g": "a", "v": None}] + [{"g": "b", "v": 0.1}] * 9
    assert rows(given, {"type": "aggregate", "by": ["g"], "values": values}) == [
        {"g": "b", "total": 1.0, "mean": 0.1, "least": 0.1, "most": 0.1, "n": 10, "known": 10},
        {"g": "a", "total": 0, "mean": None, "least": None, "most": None, "n": 1, "known": 0},
    ]
    count = {"type": "aggregate", "values": {"n": {"count": True}}}
    assert rows(given, count) == [{"n": 11}]
    assert rows([], count) == [{"n": 0}]


def test_rows_are_sorted_whatever_they_hold() -> None:
    given = [{"v": v} for v in (3, "a", None, 1.5, True, "B", [1])]
    ordered = [row["v"] for row in rows(given, {"type": "sort", "by": "v"})]
    assert ordered == [None, True, 1.5, 3, "B", "a", [1]]
    turned = rows(given, {"type": "sort", "by": ["v"], "descending": True})
    assert [row["v"] for row in turned] == ordered[::-1]


@pytest.mark.parametrize(
    ("transformation", "name", "reason"),
    [
        ({"type": "shuffle"}, "InvalidInput", "'filter', 'select', 'rename'"),
        ({"type": "filter"}, "InvalidInput", "where: Field required"),
        ({"type": "limit", "count": -1}, "InvalidInput", "count: "),
        ({"type": "limit", "count": 1, "x": 1}, "InvalidInput", "x: Extra"),
        ({"type": "filter", "where": "amount >"}, "InvalidInput", "cannot read 'amount >'"),
        ({"type": "filter", "where": "$.input.x"}, "InvalidInput", "columns of a row only"),
        ({"type": "filter", "where": "region > 1"}, "ExpressionError", "cannot apply `>`"),
        ({"type": "filter", "where": "price > 1"}, "UnknownColumn", "'price'"),
        ({"type": "select", "columns": ["x"]}, "UnknownColumn", "'region', 'amount', 'zip'"),
        ({"type": "sort", "by": "x"}, "UnknownColumn", "transformation 1 (`sort`)"),
        (
            {"type": "aggregate", "by": "region", "values": {"t": {"sum": "zip"}}},
            "InvalidInput",
            "sum of 'zip' needs numbers, found '01234'",
        ),
        (
            {"type": "aggregate", "values": {"t": {"sum": "amount", "min": "amount"}}},
            "InvalidInput",
            "found sum, min",
        ),
        ({"type": "convert", "columns": {"region": "number"}}, "InvalidInput", "cannot become"),
    ],
)
def test_a_transformation_that_cannot_be_done_says_why(
    transformation: dict[str, Any], name: str, reason: str
) -> None:
    assert reason in failure(name, transformation).message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "found null"),
        (5, "found int"),
        ([1], "row 1 of `data` is int"),
        ("a,b\n1\n", "row 2 has 1 fields"),
        ("a,a\n1,2\n", "no names of their own"),
        ("", "it is empty"),
        ("[1", "is not JSON"),
    ],
)
def test_data_that_is_no_rows_says_why(data: Any, reason: str) -> None:
    assert reason in failure("InvalidInput", {"type": "limit", "count": 1}, data=data).message


def test_components_are_rendered_into_the_directory(tmp_path: Path) -> None:
    components = [
        {"name": "Button.jsx", "template": "<{{ name }} {{ label | upper }}/>\n", "label": "go"},
        {"name": "deep/data.json", "content": "{{ raw }}"},
        "Plain",
    ]
    for _ in range(2):
        made = component_generation(components=components, path=str(tmp_path))
        names = ["Button.jsx", "deep/data.json", "Plain.js"]
        files = [str(tmp_path / name) for name in names]
        assert made == {"files": files, "kept": [], "path": str(tmp_path)}
    assert (tmp_path / "Button.jsx").read_text() == "<Button.jsx GO/>\n"
    assert (tmp_path / "deep/data.json").read_text() == "{{ raw }}"
    assert (tmp_path / "Plain.js").read_text() == "// Plain: a stub; no template was given\n"


def test_no_components_are_no_files(tmp_path: Path) -> None:
    empty = {"files": [], "kept": [], "path": str(tmp_path)}
    assert component_generation(components=None, path=str(tmp_path)) == empty
    assert component_generation() == {"files": [], "kept": [], "path": None}


@pytest.mark.parametrize(
    ("component", "name"),
    [
        ("../out", "PathOutsideRoot"),
        ({"name": "/etc/x"}, "PathOutsideRoot"),
        ({"content": "x"}, "InvalidInput"),
        ({"name": "a", "template": "{{ missing }}"}, "TemplateFailed"),
        ({"name": "a", "template": "{% if %}"}, "TemplateFailed"),
        ({"name": "a", "template": "{{ name.__class__.mro() }}"}, "TemplateFailed"),
    ],
)
def test_a_component_that_cannot_be_made_says_why(
    tmp_path: Path, component: Any, name: str
) -> None:
    with pytest.raises(StepError) as failed:
        component_generation(components=["First", component], path=str(tmp_path / "d"))
    assert failed.value.name == name
