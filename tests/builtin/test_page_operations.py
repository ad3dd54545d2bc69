"""Pages: readable Markdown, one for each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orch.agents.builtin.page_operations import page_operations
from orch.agents.capability import get
from orch.agents.context import Context
from orch.errors import StepError


@pytest.fixture(autouse=True)
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_PAGES", str(tmp_path / "pages"))
    return tmp_path / "pages"


def failure(name: str, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        page_operations(**options)
    assert failed.value.name == name
    return failed.value


def test_everything_that_is_passed_stands_on_the_page(pages: Path) -> None:
    capability = get("page_operations")
    assert capability is not None
    error = {"name": "CommandFailed", "message": "exit code 3", "data": {"stderr": "no `host`"}}
    given = {"error": error, "step": "fetch_data", "severity": "high", "data": "a,b\n1,2\n"}
    context = Context(execution_id="e1", path="handle_fetch_error")
    made = capability.call(given, context)
    assert made["id"].startswith("handle_fetch_error-")
    path = Path(made["path"])
    assert (path.parent, made["url"]) == (pages, path.as_uri())
    _, head, body = path.read_text().split("---\n", 2)
    front = yaml.safe_load(head)
    assert (front["title"], front["severity"]) == ("Error in fetch_data", "high")
    assert "# Error in fetch_data" in body
    assert "- **Severity**: high" in body
    assert "## Error\n\n```yaml\nname: CommandFailed\nmessage: exit code 3\n" in body
    assert "## Data\n\n```\na,b\n1,2\n```" in body


def test_a_step_that_runs_again_writes_the_same_page(pages: Path) -> None:
    context = Context(execution_id="e1", path="doc/0")
    first = page_operations(title="One", context=context)
    created = page_operations(operation="read", id=first["id"])["properties"]["created"]
    second = page_operations(title="Two", context=context)
    assert first == second
    assert len(list(pages.glob("*.md"))) == 1
    properties = page_operations(operation="read", id=first["id"])["properties"]
    assert (properties["title"], properties["created"]) == ("Two", created)
    page_operations(title="One", context=Context(execution_id="e1", path="doc/1"))
    assert len(list(pages.glob("*.md"))) == 2


def test_a_template_lays_a_page_out(pages: Path) -> None:
    (pages / "templates").mkdir(parents=True)
    template = pages / "templates" / "project_plan.md.j2"
    template.write_text("# {{ title }}\n{% for s in plan.steps %}* {{ s }}\n{% endfor %}")
    made = page_operations(templateId="project_plan", plan={"steps": ["a", "b"]})
    read = page_operations(operation="read", id=made["id"])
    assert read["content"] == "# Plan\n* a\n* b\n"
    assert "'plan' is undefined" in failure("TemplateFailed", templateId="project_plan").message
    template.write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    failure("TemplateFailed", templateId="project_plan")


def test_a_template_that_nobody_wrote_leaves_the_default_layout() -> None:
    made = page_operations(templateId="project_plan", plan={"steps": ["a"]})
    assert "steps:\n- a" in page_operations(operation="read", id=made["id"])["content"]


def test_a_page_is_updated_and_added_to() -> None:
    id = page_operations(title="Log", content="first")["id"]
    context = Context(execution_id="e1")
    for _ in range(2):  # the second time is another attempt of the same step
        page_operations(operation="append", id=id, content="more", context=context)
    assert page_operations(operation="read", id=id)["content"].count("more") == 1
    page_operations(operation="update", id=id, content="new")
    read = page_operations(operation="read", id=id)
    assert (read["title"], read["content"]) == ("Log", "# Log\n\nnew\n")


def test_pages_are_listed_found_and_deleted() -> None:
    assert page_operations(operation="list") == {"pages": []}
    page_operations(id="a", title="Alpha", content="a TimeOut happened")
    page_operations(id="b", title="Beta")
    listed = page_operations(operation="list")["pages"]
    assert [(page["id"], page["title"]) for page in listed] == [("a", "Alpha"), ("b", "Beta")]
    found = page_operations(operation="search", query="timeout")["pages"]
    assert [page["id"] for page in found] == ["a"]
    assert page_operations(operation="delete", id="a")["deleted"]
    assert not page_operations(operation="delete", id="a")["deleted"]
    assert len(page_operations(operation="list")["pages"]) == 1


def test_a_page_that_was_edited_by_hand_is_still_a_page(pages: Path) -> None:
    pages.mkdir()
    (pages / "a.md").write_text("plain")
    (pages / "b.md").write_text("---\n: [\n---\n\nx")
    assert page_operations(operation="read", id="a")["content"] == "plain"
    assert [page["title"] for page in page_operations(operation="list")["pages"]] == ["a", "b"]


def test_text_cannot_break_out_of_its_block_or_of_the_front_matter() -> None:
    made = page_operations(title="x\n---\nevil: true", text="```\n# evil\n````\n")
    read = page_operations(operation="read", id=made["id"])
    assert "evil" not in read["properties"]
    assert "`````\n```\n# evil\n````\n`````" in read["content"]


def test_faults_have_names() -> None:
    for operation in ("read", "update", "append"):
        failure("PageNotFound", operation=operation, id="missing")
        failure("InvalidInput", operation=operation)
    for id in ("../a", "a/b", "", ".hidden"):
        failure("InvalidInput", operation="read", id=id)
    failure("InvalidInput", templateId="../secret")
    failure("InvalidInput", operation="search")
