"""What is shipped, what is pinned, and what ``make`` offers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {
    "requirements.lock": ["all"],
    "requirements-dev.lock": ["test"],
    "requirements-build.lock": None,
}
NOT_OURS = {".git", ".venv", ".venv-peers", ".orch", "build", "dist", "demo-output", "__pycache__"}
INDEX = re.compile(
    r"pypi\.org|pythonhosted\.org|--(extra-)?index-url|--find[-]links|--trusted[-]host",
    re.IGNORECASE,
)
# From make to make; a test that is run by `make test` must not inherit them.
MAKE_VARIABLES = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"}


class Pin(NamedTuple):
    requirement: Requirement
    version: str
    hashes: list[str]


class Distributions(NamedTuple):
    wheel: set[str]
    entry_points: str
    sdist: set[str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The names in wheel and sdist, built as `make dist` does."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    stem = f"orch-{PROJECT['version']}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        entry_points = wheel.read(f"{stem}.dist-info/entry_points.txt").decode()
    with tarfile.open(folder / f"{stem}.tar.gz") as sdist:
        inside = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    return Distributions(names, entry_points, inside)


def test_the_wheel_carries_every_file_of_the_package(built: Distributions) -> None:
    shipped = {name for name in built.wheel if name.startswith("orch/")}
    assert shipped == {path for path in _files("orch") if not path.endswith(".pyc")}


@pytest.mark.parametrize("ending", [".lark", ".lua", ".yaml", "/py.typed"])
def test_the_wheel_carries_data(built: Distributions, ending: str) -> None:
    assert any(name.endswith(ending) for name in built.wheel)


def test_the_wheel_claims_no_name_but_orch(built: Distributions) -> None:
    tops = {name.split("/")[0] for name in built.wheel}
    assert tops == {"orch", f"orch-{PROJECT['version']}.dist-info"}
    assert "orch = orch.cli:main" in built.entry_points


def test_the_sdist_carries_what_runs_and_tests_the_package(built: Distributions) -> None:
    wanted = {"worker.py", "beat.py", "Makefile", "LICENSE", "requirements-dev.lock"}
    assert wanted <= built.sdist
    assert not any(name.startswith((".venv", ".git/")) for name in built.sdist)


@pytest.mark.parametrize("lock", [name for name, extras in LOCKS.items() if extras])
def test_a_lock_satisfies_the_project(lock: str) -> None:
    pins = _pins(lock)
    for wanted in _wanted(LOCKS[lock]):
        assert wanted.name in pins, f"{lock} lacks {wanted}; run `make lock`"
        for pin in pins[wanted.name]:
            assert wanted.specifier.contains(pin.version, prereleases=True), f"{wanted}, {pin}"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    pins = [pin for several in _pins(lock).values() for pin in several]
    assert pins
    assert [str(pin.requirement) for pin in pins if not pin.hashes] == []


def test_what_is_tested_is_what_is_shipped() -> None:
    tested = _pins("requirements-dev.lock")
    for lock in ("requirements.lock", "requirements-build.lock"):
        for name, pins in _pins(lock).items():
            assert tested.get(name) == pins, f"{lock} and requirements-dev.lock differ"


def test_no_file_names_a_package_index() -> None:
    found = [
        f"{path}: {match.group()}"
        for path in _files(".")
        if (match := INDEX.search((ROOT / path).read_text(errors="ignore")))
    ]
    assert found == []


def test_the_licence_is_the_whole_text() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    texts = dict(re.findall(r"^([a-z]+):[^#\n]*## (.+)$", makefile, re.MULTILINE))
    assert texts.keys() == set(phony.split())
    done = _make(ROOT)
    for target, text in texts.items():
        assert re.search(rf"^ +{target} +{re.escape(text)}$", done.stdout, re.MULTILINE)


def test_make_says_which_python_it_misses(tmp_path: Path) -> None:
    _copy_build_files(tmp_path)
    done = _make(tmp_path, "dev", "PYTHON=no-such-python")
    assert done.returncode
    assert "no Python 3.11 or newer found (tried: no-such-python)" in done.stderr


def test_two_installations_at_once_become_one(tmp_path: Path) -> None:
    """With a project of nothing, whose build backend counts how often it is asked."""
    _copy_build_files(tmp_path)
    for lock in LOCKS:
        (tmp_path / lock).write_text("# nothing\n")
    (tmp_path / "pyproject.toml").write_text(_COUNTED_PROJECT)
    (tmp_path / "backend.py").write_text(_COUNTING_BACKEND)
    command = [sys.executable, "scripts/bootstrap.py", "run"]
    environment = {**os.environ, "LOCKED": "yes"}
    both = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(map(bool, said)) == [False, True]  # one installed, the other had nothing to do
    assert (tmp_path / "builds").read_text() == "one\n"


def test_the_ci_script_is_sound() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _files(folder: str) -> Iterator[str]:
    """Paths of our files under ``folder``, relative to the root, with slashes."""
    for directory, names, files in os.walk(ROOT / folder):
        ours = {name for name in names if name not in NOT_OURS and not name.endswith("_cache")}
        names[:] = sorted(ours - {".hypothesis"})
        for name in files:
            yield (Path(directory) / name).relative_to(ROOT).as_posix()


def _wanted(extras: list[str] | None) -> list[Requirement]:
    """What the project asks for with ``extras``, its references to itself followed."""
    wanted = [Requirement(text) for text in PROJECT["dependencies"]]
    left = list(extras or [])
    while left:
        for text in PROJECT["optional-dependencies"][left.pop()]:
            requirement = Requirement(text)
            if requirement.name == PROJECT["name"]:
                left += requirement.extras
            else:
                wanted.append(requirement)
    for requirement in wanted:
        requirement.name = canonicalize_name(requirement.name)
    return wanted


def _pins(lock: str) -> dict[str, list[Pin]]:
    pins: dict[str, list[Pin]] = {}
    text = re.sub(r"\\\n", " ", (ROOT / lock).read_text())
    for line in text.splitlines():
        if not line or line.lstrip().startswith("#"):
            continue
        spec, *hashes = re.split(r"\s+--hash=", line.strip())
        requirement = Requirement(spec)
        (exact,) = requirement.specifier
        assert exact.operator == "==", line
        if requirement.marker:  # must be one that pip can evaluate
            requirement.marker.evaluate(dict(default_environment()))
        name = canonicalize_name(requirement.name)
        pins.setdefault(name, []).append(Pin(requirement, exact.version, hashes))
    return pins


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in MAKE_VARIABLES}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def _copy_build_files(folder: Path) -> None:
    (folder / "scripts").mkdir()
    for name in ("Makefile", "pyproject.toml", "scripts/bootstrap.py", *LOCKS):
        shutil.copy(ROOT / name, folder / name)


_COUNTED_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""

_COUNTING_BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    with open("builds", "a") as file:
        file.write("one\\n")
    name = "counted-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        info = "counted-1.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: counted\\nVersion: 1\\n")
        kind = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr(f"{info}/WHEEL", kind)
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
