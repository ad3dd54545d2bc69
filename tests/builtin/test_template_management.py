"""Templates of pages: kept, filled in, and used by pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.page_operations import page_operations
from orch.agents.builtin.template_management import template_management
from orch.errors import StepError

SOURCE = "# {{ title }}\n{% for step in plan.steps %}* {{ step }}\n{% endfor %}"


@pytest.fixture(autouse=True)
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_PAGES", str(tmp_path / "pages"))
    return tmp_path / "pages"


def failure(name: str, *given: Any, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        template_management(*given, **options)
    assert failed.value.name == name, failed.value
    return failed.value


def test_a_template_is_made_once_and_says_what_it_wants(pages: Path) -> None:
    for changed in (True, False):
        made = template_management("create", "plan", SOURCE)
        assert (made["variables"], made["changed"]) == (["plan", "title"], changed)
    assert Path(made["path"]) == pages / "templates" / "plan.md.j2"
    failure("Conflict", "create", "plan", "other")
    assert template_management("update", "plan", "{{ x }}")["variables"] == ["x"]
    assert template_management("read", "plan")["content"] == "{{ x }}"


def test_pages_are_laid_out_by_it() -> None:
    template_management("create", "plan", SOURCE)
    values = {"title": "A", "plan": {"steps": ["b", "c"]}}
    assert template_management("render", "plan", values=values)["content"] == "# A\n* b\n* c\n"
    made = page_operations(templateId="plan", title="A", plan={"steps": ["b"]})
    assert page_operations("read", made["id"])["content"] == "# A\n* b\n"


def test_templates_are_listed_and_deleted(pages: Path) -> None:
    assert template_management() == {"templates": []}
    template_management("create", "plan", SOURCE)
    (pages / "templates" / "broken.md.j2").write_text("{% if %}")
    broken, plan = template_management()["templates"]
    assert (broken["templateId"], plan["variables"]) == ("broken", ["plan", "title"])
    assert "line 1" in broken["error"]
    assert template_management("delete", "broken")["deleted"]
    assert not template_management("delete", "broken")["deleted"]


def test_faults_have_names(pages: Path) -> None:
    failure("TemplateFailed", "create", "plan", "{% for %}")
    assert not (pages / "templates").exists()
    failure("TemplateNotFound", "update", "plan", "x")
    failure("TemplateNotFound", "render", "plan")
    failure("InvalidInput", "create", "../../plan", "x")
    failure("InvalidInput", "create", "plan")
    failure("InvalidInput", "read")
    template_management("create", "plan", SOURCE)
    assert "'title' is undefined" in failure("TemplateFailed", "render", "plan").message
    template_management("create", "evil", "{{ ''.__class__.__mro__[1].__subclasses__() }}")
    failure("TemplateFailed", "render", "evil")
