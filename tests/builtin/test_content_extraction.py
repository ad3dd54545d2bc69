"""Texts that are taken apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.content_extraction import content_extraction
from orch.errors import StepError

MARKDOWN = """---
title: The plan
tags: [a, b]
day: 2026-01-31
---

# Plan *now*

See [the site](https://example.com/x "t") and ![a picture](p.png).

## Tasks
## Tasks

- [ ] first
- [x] second `code`

| Name | Amount |
| --- | --- |
| a | 1 |
| b | 2 |

```python
x = 1
```
"""
HTML = """<html><head><title>The plan</title><script>alert("no")</script></head><body>
<h1>Plan <em>now</em></h1><p>See <a href="https://example.com/x">the site</a> &amp; <img src="p.png"
alt="a picture"></p><ul><li><input type="checkbox" checked> second</li></ul>
<table><tr><th>Name<th>Amount</tr><tr><td>a</td><td>1</td></tr></table><pre>x = 1</pre></body>"""


def test_markdown_is_taken_apart() -> None:
    found = content_extraction(content=MARKDOWN)
    assert (found["format"], found["title"], found["truncated"]) == ("markdown", "The plan", False)
    assert found["metadata"] == {"title": "The plan", "tags": ["a", "b"], "day": "2026-01-31"}
    headings = [(h["level"], h["text"], h["slug"]) for h in found["headings"]]
    assert headings == [(1, "Plan now", "plan-now"), (2, "Tasks", "tasks"), (2, "Tasks", "tasks-1")]
    assert [(each["text"], each["target"], each["image"]) for each in found["links"]] == [
        ("the site", "https://example.com/x", False),
        ("a picture", "p.png", True),
    ]
    assert [(t["text"], t["done"]) for t in found["tasks"]] == [
        ("first", False),
        ("second code", True),
    ]
    assert found["tables"] == [{"header": ["Name", "Amount"], "rows": [["a", "1"], ["b", "2"]]}]
    assert found["code"] == [{"language": "python", "content": "x = 1\n"}]
    assert "**" not in found["text"]
    assert "See the site" in found["text"]


def test_html_is_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "plan.html").write_text(HTML)
    found = content_extraction(str(tmp_path / "plan.html"))
    assert (found["format"], found["title"]) == ("html", "The plan")
    assert found["headings"][0]["text"] == "Plan now"
    assert [each["target"] for each in found["links"]] == ["https://example.com/x", "p.png"]
    assert [(t["text"], t["done"]) for t in found["tasks"]] == [("second", True)]
    assert found["code"][0]["content"] == "x = 1"
    assert "alert" not in found["text"]
    assert "See the site &" in found["text"]
    well = "<table><tr><th>Name</th></tr><tr><td>a</td></tr></table>"
    tables = content_extraction(content=well, format="html")["tables"]
    assert tables == [{"header": ["Name"], "rows": [["a"]]}]


def test_tables_and_data_are_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('name,amount\n"a, b",1\n')
    found = content_extraction(str(tmp_path / "a.csv"))
    assert found["tables"] == [{"header": ["name", "amount"], "rows": [["a, b", "1"]]}]
    found = content_extraction(content='{"a": [1, "https://example.com"]}', format="json")
    assert found["data"] == {"a": [1, "https://example.com"]}
    found = content_extraction(content="to https://example.com/a, and on", format="text")
    assert found["links"][0]["target"].startswith("https://example.com/a")
    assert found["words"] == 4


def test_what_is_long_is_cut_and_says_so() -> None:
    found = content_extraction(content="# a\n" * 20, limit=5, most=3)
    assert (found["truncated"], len(found["text"]), len(found["headings"])) == (True, 5, 3)
    found = content_extraction(content="a\n" * 20, format="csv", most=3)
    assert (found["truncated"], len(found["tables"][0]["rows"])) == (True, 3)


@pytest.mark.parametrize("content", ["", "---\n: [\n---\nx", "<b", "[x](", "- [x]", "\x00", "|a|"])
@pytest.mark.parametrize("format", ["markdown", "html", "csv", "text"])
def test_whatever_is_given_is_read(content: str, format: Any) -> None:
    content_extraction(content=content, format=format)


def test_faults_have_names(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff")
    for name, given in {
        "InvalidInput": {},
        "FileNotFound": {"path": str(tmp_path / "gone")},
        "NotReadable": {"path": str(tmp_path / "a.txt")},
        "WrongKind": {"path": str(tmp_path)},
    }.items():
        with pytest.raises(StepError) as failed:
            content_extraction(**given)
        assert failed.value.name == name
    with pytest.raises(StepError, match="no JSON"):
        content_extraction(content="{", format="json")
