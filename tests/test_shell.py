"""Values in shell text, given to the real /bin/sh."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orch.agents.shell import ShellText
from orch.errors import StepError
from orch.workflows.expressions import Value, parse_template

NASTY = ["", " ", "a; rm -rf b", "$(id)", "`id`", "${HOME}", "$HOME", "'", '"', "\\", "*", "~", "#"]
NASTY += [
    "a b",
    "\n",
    "a\n",
    "\n\n a\t",
    "-n",
    "%s",
    "!",
    "é\U0001f600",
    "EOF",
    ")",
    "}",
    "a'b\"c`d$e",
]
values = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20),
    st.text("'\"\\`$(){};&|<>*?[]~#!=% \n\ta", max_size=12),
)


def output_of(text: ShellText) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", text.script],
        env={**os.environ, **text.environment},
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    return done.stdout.decode()


def run(template: str, *found: object) -> str:
    """Run a script in which `@` stands for the values, in order."""
    return output_of(shell_text(template, *found))


def shell_text(template: str, *found: object) -> ShellText:
    literals = template.split("@")
    parts: list[str | Value] = [literals[0]]
    for literal, value in zip(literals[1:], found, strict=True):
        parts += [Value(value), literal]
    return ShellText.from_parts(parts)


# Scripts that print their value and `|`; a substitution itself strips newlines at the end, so
# what runs inside one prints the `|` there.
POSITIONS = {
    "bare": "printf '%s|' @",
    "bare, a script of its value alone comes last": "printf '%s|'  @ ",
    "double quotes": 'printf "%s|" "@"',
    "single quotes": "printf '%s|' '@'",
    "substitution, bare": 'printf %s "$(printf \'%s|\' @)"',
    "substitution, double": 'printf %s "$(printf "%s|" "@")"',
    "substitution, single": "printf %s \"$(printf '%s|' '@')\"",
    "substitution in a substitution": 'printf %s "$(printf %s "$(printf "%s|" @)")"',
    "substitution without quotes": "printf %s $(printf '%s|' @)",
    "substitutions without quotes, one in the other": "printf %s $(printf %s $(printf '%s|' @))",
    "substitution without quotes, before another": "printf %s $(printf '%s|' @)$(printf '')",
    "substitution in an assignment": "x=$(printf '%s|' @); printf %s \"$x\"",
    "backticks, bare": "x=`printf '%s|' @`; printf %s \"$x\"",
    "backticks, double": 'x=`printf "%s|" "@"`; printf %s "$x"',
    "backticks, single": "x=`printf '%s|' '@'`; printf %s \"$x\"",
    "backticks in double quotes": "printf %s \"`printf '%s|' @`\"",
    "backticks in double quotes, double": 'printf %s "`printf "%s|" "@"`"',
    "backticks in backticks": "x=`printf %s \"\\`printf '%s|' @\\`\"`; printf %s \"$x\"",
    "assignment": "x=@; printf '%s|' \"$x\"",
    "environment of a command": "x=@ sh -c 'printf \"%s|\" \"$x\"'",
    "argument of another shell": "sh -c 'printf \"%s|\" \"$1\"' sh @",
    "here-document": "cat <<EOF\n@|\nEOF\n",
    "here-document with tabs": "cat <<-EOF\n@|\n\tEOF\n",
    "here-document in a substitution": 'printf "%s" "$(cat <<EOF\n@|\nEOF\n)"',
    "quotes in a here-document": "cat <<EOF >/dev/null\n\"'\nEOF\nprintf '%s|' @",
    "after a quoted here-document": "cat <<'EOF' >/dev/null\n$(' \"\nEOF\nprintf '%s|' @",
    "after two here-documents": "cat <<A <<B >/dev/null\n'\nA\n\"\nB\nprintf '%s|' @",
    "after a continued line of one": "cat <<EOF >/dev/null\n'\\\nEOF\nEOF\nprintf '%s|' @",
    "after a comment": "# it's \"so\nprintf '%s|' @",
    "after a comment in a substitution": "x=$(: # )'\nprintf '%s|' @); printf %s \"$x\"",
    "beside a comment": "printf '%s|' @ # it's @",
    "hash within a word": "printf '%s|' a#'@' | sed '1s/^a#//'",
    "after an escaped quote": "printf '%s|' \\'@ | sed \"1s/^'//\"",
    "after an escaped quote in quotes": 'printf "%s|" "\\"@" | sed \'1s/^"//\'',
    "after an escaped backslash": "printf '%s|' \\\\@ | sed '1s/^.//'",
    "after an escaped dollar": 'printf "%s|" "\\$@" | sed "1s/^.//"',
    "backslash in single quotes": "printf '%s|' '\\@' | sed '1s/^.//'",
    "after special parameters": "printf '%s' \"$#$?\" >/dev/null; printf '%s|' @",
    "after a parameter": "y=; printf '%s|' \"$y@\"",
    "after an expansion": "printf '%s|' \"${y-}@\"",
    "after an expansion with a brace": "printf '%s|' \"${y+'a}\"@ | sed '1s/^//'",
    "after a pattern in quotes": "y=; printf '%s|' \"${y#'}'}@\"",
    "within an expansion's substitution": "printf '%s' \"${y:-$(printf '%s|' @)}\"",
    "after arithmetic": "x=$(((1+2)*3)); printf '%s|' @",
    "within a subshell": "(printf '%s|' @)",
    "within a group": "{ printf '%s|' @; }",
    "after case in a substitution":
        "x=$(case a in a) printf '%s|' @;; *) :;; esac); printf '%s' \"$x\"",
    "after a case in a substitution in quotes":
        "y=\"$(if true; then case a in (a) :;; b) :;; esac; fi)\"; printf '%s|' @",
    "the word of a case": "case @ in *) printf '%s|' @;; esac",
    "in a loop": "for x in @; do printf '%s|' \"$x\"; done",
    "in a function": "f() { printf '%s|' \"$1\"; }; f @",
    "on a continued line": "printf '%s|' \\\n@",
}  # fmt: skip


@pytest.mark.parametrize("position", POSITIONS)
@settings(max_examples=40, deadline=None)
@given(value=values)
@example(value="a; rm -rf b")
@example(value="'\"`$(echo x)\\")
@example(value="line\n\n")
def test_a_value_arrives_unchanged_wherever_it_stands(position: str, value: str) -> None:
    template = POSITIONS[position]
    found = run(template, *[value] * template.count("@"))
    assert found == value + ("|\n" if template.startswith(("cat <<EOF\n", "cat <<-")) else "|")


@settings(max_examples=100, deadline=None)
@given(one=values, other=values)
def test_several_values_keep_apart_and_a_repeated_one_is_passed_once(one: str, other: str) -> None:
    text = shell_text("printf '%s|' @ \"@\" '@'@", one, other, one, other)
    assert output_of(text) == f"{one}|{other}|{one}{other}|"
    assert len(text.environment) == len({one, other})


@settings(max_examples=300, deadline=None)
@given(
    literals=st.lists(st.text("'\"\\`$(){}#\n <E;ac", max_size=10), min_size=2, max_size=4),
    value=st.text("'\"`$(); \nx", max_size=8),
)
def test_no_value_ever_becomes_text_of_the_script(literals: list[str], value: str) -> None:
    marked = f"{value}CANARY"
    parts: list[str | Value] = [literals[0]]
    for literal in literals[1:]:
        parts += [Value(marked), literal]
    try:
        text = ShellText.from_parts(parts)
    except StepError as refused:
        assert refused.name == "InvalidInput"
    else:
        assert "CANARY" not in text.script
        assert set(text.environment.values()) == {marked}


def test_the_templates_of_expressions_are_the_parts() -> None:
    template = parse_template("printf '%s' \"$(dirname ${$.input.path})\" > $.input.log")
    text = ShellText.from_parts(
        template.values({"input": {"path": "/a b/c", "log": "/dev/stdout"}})
    )
    assert output_of(text) == "/a b"


def test_a_path_with_a_command_in_it_stays_one_word(tmp_path: Path) -> None:
    target = tmp_path / "a; rm -rf b" / "c  *"
    run("mkdir -p $(dirname @) && echo failed > @.error.log", str(target), str(target))
    assert [path.name for path in tmp_path.iterdir()] == ["a; rm -rf b"]
    assert [path.name for path in target.parent.iterdir()] == ["c  *.error.log"]


def test_a_substitution_without_a_value_in_it_is_left_to_split_its_words() -> None:
    assert run("for word in $(echo one two); do printf '%s.' $word@; done", "!") == "one!.two!."


def test_values_are_written_as_an_expression_writes_them() -> None:
    assert run("printf '%s|' @ @ @ @", 1, True, None, {"a": [1.5]}) == '1|true||{"a":[1.5]}|'


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("echo \\@", "follows a backslash"),
        ('echo "\\@"', "follows a backslash"),
        ("echo `echo \\\\@`", "follows a backslash"),
        ("echo $@", "follows a `$`"),
        ('echo "$@"', "follows a `$`"),
        ("echo $((1 + @))", "inside `$((...))`"),
        ('echo "$(( (1) + @ ))"', "inside `$((...))`"),
        ("echo ${x:-@}", "inside `${...}`"),
        ("echo \"${x:-'@'}\"", "inside `${...}`"),
        ('echo "${x:-"@"}"', "inside `${...}`"),
        ("echo ${@}", "inside `${...}`"),
        ("echo $'@'", "inside `$'...'`"),
        ("cat <<'EOF'\n@\nEOF\n", "here-document that a quoted 'EOF' ends"),
        ("cat <<\\EOF\n@\nEOF\n", "here-document that a quoted 'EOF' ends"),
        ("cat <<@\nx\n", "word that ends a here-document"),
    ],
)
def test_a_place_that_would_change_a_value_is_refused(template: str, reason: str) -> None:
    with pytest.raises(StepError, match="the shell command cannot be built") as refused:
        shell_text(template, "1")
    assert refused.value.name == "InvalidInput"
    assert reason in refused.value.message


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_a_value_that_no_variable_can_hold_is_refused(value: str) -> None:
    with pytest.raises(StepError, match="a value has") as refused:
        shell_text("echo @", value)
    assert refused.value.name == "InvalidInput"


def test_text_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(StepError, match="nested too deeply"):
        shell_text("$(" * 5000 + "@", "x")


def test_text_without_values_is_a_script_as_it_stands() -> None:
    assert ShellText.from_parts(["echo $HOME"]) == ShellText("echo $HOME", {})
