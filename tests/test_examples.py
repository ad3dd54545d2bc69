"""What the documentation shows is run, and prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orch.settings import Settings

ROOT = Path(__file__).parent.parent
BLOCKS = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
EXAMPLES = [
    pytest.param(code, output, id=f"{path.name}-{number}")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for number, (code, output) in enumerate(BLOCKS.findall(path.read_text()), 1)
]


def run(path: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
    return subprocess.run(
        [sys.executable, str(path)],
        cwd=path.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
    )


def test_the_readme_has_an_example_with_its_output() -> None:
    assert any(str(param.id).startswith("README.md") for param in EXAMPLES)


@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_an_example_prints_what_the_page_says_and_nothing_on_stderr(
    code: str, output: str, tmp_path: Path
) -> None:
    script = tmp_path / "example.py"
    script.write_text(code)
    ended = run(script)
    assert (ended.stdout, ended.stderr, ended.returncode) == (output, "", 0)


def test_the_example_file_is_the_one_in_the_readme() -> None:
    code = BLOCKS.findall((ROOT / "README.md").read_text())[0][0].strip()
    assert code in (ROOT / "examples" / "hello.py").read_text()


def test_every_setting_is_on_its_page_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        row = f"| `{name}` | `ORCH_{name.upper()}` | `{default}` | {field.description} |"
        assert row in page


def test_every_fault_point_is_on_its_page() -> None:
    code = "".join(path.read_text() for path in (ROOT / "orch").rglob("*.py"))
    page = (ROOT / "docs" / "faults.md").read_text()
    for name in set(re.findall(r'\bfault\("(\w+)"\)', code)):
        assert f"`{name}`" in page, name


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
