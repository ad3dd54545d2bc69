"""Files: written as a whole, below the root, with errors that say what."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from orch.agents.builtin.file_operations import file_operations
from orch.agents.capability import get
from orch.agents.context import Context
from orch.errors import StepError


def failure(name: str, **options: Any) -> StepError:
    with pytest.raises(StepError) as failed:
        file_operations(**options)
    assert failed.value.name == name
    return failed.value


def test_data_is_written_and_a_path_alone_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "a.txt")
    assert file_operations(path, "häh") == {"path": path, "bytes": 4}
    assert file_operations(path) == {"path": path, "bytes": 4, "data": "häh"}


def test_null_is_data_too(tmp_path: Path) -> None:
    capability = get("file_operations")
    assert capability is not None
    path = str(tmp_path / "a.json")
    capability.call({"path": path, "data": None}, Context())
    assert Path(path).read_text() == "null\n"


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_structured_files_give_back_what_was_written(tmp_path: Path, suffix: str) -> None:
    data = {"b": [1, 2.5, None, True], "a": "ä\n"}
    path = str(tmp_path / f"a{suffix}")
    file_operations(path, data)
    assert file_operations(path)["data"] == data


def test_rows_become_csv_with_every_column(tmp_path: Path) -> None:
    path = tmp_path / "a.CSV"
    rows = [{"a": 1, "b": 'x,"y"'}, {"a": None, "c": {"d": [1]}}, {"b": "z\n", "c": True}]
    assert file_operations(str(path), rows)["rows"] == 3
    assert path.read_text() == 'a,b,c\n1,"x,""y""",\n,,"{""d"": [1]}"\n,"z\n",true\n'
    assert file_operations(str(path))["data"][0] == {"a": "1", "b": 'x,"y"', "c": ""}


def test_lists_of_lists_and_single_objects_become_csv_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    file_operations(str(path), [["a", "b"], [1, 2]])
    assert path.read_text() == "a,b\n1,2\n"
    file_operations(str(path), {"a": 1})
    assert path.read_text() == "a\n1\n"
    file_operations(str(path), [])
    assert path.read_text() == ""
    assert "row 2" in failure("InvalidInput", path=str(path), data=[{"a": 1}, 2]).message


def test_the_format_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "a.data"
    file_operations(str(path), [{"a": 1}], format="csv")
    assert path.read_text() == "a\n1\n"
    assert file_operations(str(path), format="text")["data"] == "a\n1\n"
    file_operations(str(path), "ä", encoding="latin-1")
    assert path.read_bytes() == b"\xe4"


def test_a_reader_never_sees_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    contents = ("a" * 300_000, "b" * 300_000)
    file_operations(str(path), contents[0])
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            file_operations(str(path), contents[turn % 2])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {path.read_text() for _ in range(50)} <= set(contents)
    finally:
        stop.set()
        writer.join()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_replacing_keeps_the_mode_and_follows_links(tmp_path: Path) -> None:
    path, link = tmp_path / "a.sh", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o750)
    link.symlink_to(path)
    file_operations(str(link), "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o750
    assert link.is_symlink()


def test_a_new_file_has_the_mode_that_files_have(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    file_operations(str(tmp_path / "new"), "x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_append_adds_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log" / "a.txt"
    for line in ("1\n", "2\n"):
        file_operations(str(path), line, operation="append")
    assert path.read_text() == "1\n2\n"


def test_copy_and_move_can_run_again(tmp_path: Path) -> None:
    one, two, three = (str(tmp_path / name) for name in ("1", "2", "d/3"))
    file_operations(one, "x")
    for _ in range(2):
        assert file_operations(one, operation="copy", destination=two)["path"] == two
    for _ in range(2):
        assert file_operations(two, operation="move", destination=three)["bytes"] == 1
    assert sorted(os.listdir(tmp_path)) == ["1", "d"]
    failure("InvalidInput", path=one, operation="copy")


def test_directories_are_made_listed_and_deleted(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b")
    for _ in range(2):
        file_operations(path, operation="mkdir")
    file_operations(f"{path}/2", "x")
    file_operations(f"{path}/1", "x")
    assert file_operations(path, operation="list")["entries"] == ["1", "2"]
    assert file_operations(path, operation="exists") == {
        "path": path,
        "exists": True,
        "directory": True,
    }
    failure("FileExists", path=path, operation="delete")
    for name in ("1", "2", ""):
        assert file_operations(f"{path}/{name}", operation="delete")["deleted"]
    assert not file_operations(path, operation="delete")["deleted"]


def test_faults_have_names(tmp_path: Path) -> None:
    plain = str(tmp_path / "plain")
    file_operations(plain, "x")
    missing = failure("FileNotFound", path=str(tmp_path / "missing"))
    assert missing.message.startswith("cannot read ")
    failure("WrongKind", path=f"{plain}/below", data="x")
    failure("WrongKind", path=str(tmp_path), data="x")
    failure("WrongKind", path=str(tmp_path))
    failure("WrongKind", path=plain, operation="mkdir")
    failure("FileTooLarge", path=plain, limit=0)
    failure("InvalidInput", path="")
    failure("InvalidInput", path="a\0b")
    failure("InvalidInput", path=plain, operation="write")
    failure("InvalidInput", path=plain, data="ä", encoding="ascii")
    failure("InvalidInput", path=plain, data="a", encoding="no such")
    assert Path(plain).read_text() == "x"


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.txt"])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"[\xff")
    failure("NotReadable", path=str(tmp_path / name))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("operation", ["write", "append"])
def test_a_full_disk_has_a_name(operation: str) -> None:
    full = failure("DiskFull", path="/dev/full", data="x", operation=operation)
    assert full.message == f"cannot {operation} '/dev/full': no space is left on its device"
    assert not Path("/dev/full").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_protected_directory_has_a_name(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    failure("PermissionDenied", path=str(tmp_path / "a"), data="x")


def test_no_path_leaves_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    root.mkdir()
    secret.write_text("s")
    (root / "link").symlink_to(secret)
    (root / "out").symlink_to(tmp_path)
    monkeypatch.setenv("ORCH_FILES_ROOT", str(root))
    assert file_operations("a/b.txt", "x")["path"] == str(root / "a" / "b.txt")
    assert file_operations(str(root / "a" / "b.txt"))["data"] == "x"
    for path in ("../secret", "a/../../secret", str(secret), "link", "out/secret", "/etc/passwd"):
        failure("PathOutsideRoot", path=path)
        failure("PathOutsideRoot", path=path, data="y")
        failure("PathOutsideRoot", path="a/b.txt", operation="copy", destination=path)
    assert secret.read_text() == "s"
