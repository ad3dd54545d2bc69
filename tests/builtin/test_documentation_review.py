"""What a reader would miss."""

from __future__ import annotations

from pathlib import Path

import pytest

from orch.agents.builtin.documentation_review import documentation_review
from orch.errors import StepError

README = """# Cart

Adds up what is in a cart, with taxes and discounts, for shops that sell in several countries.

## Installation

## Usage

See [the code](src/cart.py), [below](#tests-and-more), [elsewhere](https://example.com/x) and
[a heading](docs/guide.md#First-Steps).

## Tests and more
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app" / "src").mkdir(parents=True)
    (tmp_path / "app" / "docs").mkdir()
    (tmp_path / "app" / "README.md").write_text(README)
    (tmp_path / "app" / "docs" / "guide.md").write_text("# Guide\n\n## First steps\n")
    (tmp_path / "app" / "src" / "cart.py").write_text('"""Carts."""\n')
    return tmp_path / "app"


def messages(path: Path) -> list[str]:
    return [issue["message"] for issue in documentation_review(str(path))["issues"]]


def test_a_project_that_says_all_passes(app: Path) -> None:
    output = documentation_review(str(app))
    assert (output["passed"], output["score"], output["issues"]) == (True, 100, [])
    assert output["coverage"] == {"documented": 1, "total": 1, "percent": 100.0}
    assert output["readme"] == str(app / "README.md")


def test_names_without_docstrings_are_counted(app: Path) -> None:
    (app / "src" / "shop.py").write_text(
        '"""Shop."""\n\nclass Shop:\n    def open(self): "Opens."\n    def _close(self): ...\n'
        "    def shut(self): ...\n"
    )
    (app / "src" / "view.js").write_text(
        "/** Shows. */\nexport function show() {}\n\nexport const hide = 1;\n"
    )
    (app / "src" / "test_shop.py").write_text("def test_a(): ...\n")
    output = documentation_review(str(app))
    assert output["coverage"] == {"documented": 4, "total": 7, "percent": 57.1}
    assert not output["passed"]
    assert documentation_review(str(app), minimum=50)["passed"]
    assert [issue["message"] for issue in output["issues"]] == [
        "the class 'Shop' has no docstring",
        "the function 'Shop.shut' has no docstring",
        "the constant 'hide' has no docstring",
    ]


def test_links_that_lead_nowhere_are_named(app: Path) -> None:
    text = "\n[x](gone.md) ![y](docs/z.png) [z](#nowhere) [w](docs/guide.md#no)\n"
    (app / "README.md").write_text(README + text)
    output = documentation_review(str(app))
    assert [entry["message"] for entry in output["brokenLinks"]] == [
        "the link 'gone.md' leads nowhere: there is no 'gone.md'",
        "the link 'docs/z.png' leads nowhere: there is no 'docs/z.png'",
        "the link '#nowhere' leads nowhere: there is no heading 'nowhere'",
        "the link 'docs/guide.md#no' leads nowhere: there is no heading 'no'",
    ]
    assert (output["passed"], output["issues"][0]["line"]) == (False, 14)


def test_a_readme_says_what_a_reader_looks_for(app: Path) -> None:
    (app / "README.md").write_text("Hello.\n")
    assert messages(app) == [
        "it has no title: a heading of the first level",
        "it says next to nothing",
        "no heading says how to install it",
        "no heading says how to use it",
        "no heading says how to test it",
    ]
    (app / "README.md").unlink()
    assert messages(app) == ["there is no README"]


def test_nothing_is_told_of_what_lies_outside(app: Path) -> None:
    (app / "README.md").write_text(README + "\n[x](../../../etc/passwd) [y](../gone)\n")
    assert documentation_review(str(app))["passed"]


def test_a_file_that_cannot_be_read_is_an_issue(app: Path) -> None:
    (app / "src" / "bad.py").write_text("def f(:\n")
    assert any(message.startswith("it cannot be read") for message in messages(app))


def test_faults_have_names(app: Path) -> None:
    for name, path in {"FileNotFound": app / "gone", "WrongKind": app / "README.md"}.items():
        with pytest.raises(StepError) as failed:
            documentation_review(str(path))
        assert failed.value.name == name
