"""Files are read with clear errors and written whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from cimsim.errors import CapacityError, OutputError, SpecError, WorkloadError
from cimsim.files import load_json, write_bytes, write_text


def whole(text: str) -> str:
    return "^" + re.escape(text) + "$"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_json_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '{"a": [1, 2.5, null, "x"]}')
    assert load_json(path, SpecError, "spec") == {"a": [1, 2.5, None, "x"]}


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    text = f"{path}: cannot read the workload file: No such file or directory."
    with pytest.raises(WorkloadError, match=whole(text)):
        load_json(path, WorkloadError, "workload")


def test_folder_and_binary(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=whole(f"{tmp_path}: cannot read the x file: Is a dir")[:-1]
    ):
        load_json(tmp_path, SpecError, "x")
    path = tmp_path / "b.json"
    path.write_bytes(b"\xff\xfe{}")
    text = f"{path}: cannot read the x file: it is not UTF-8 text."
    with pytest.raises(SpecError, match=whole(text)):
        load_json(path, SpecError, "x")


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ('{\n  "a": 1,\n  "b" 2\n}', "line 3, column 7", "Expecting ':' delimiter"),
        ("", "line 1, column 1", "Expecting value"),
        ('{"a": [1, 2', "line 1, column 12", "Expecting ',' delimiter"),
        ('{"a": 1} x', "line 1, column 10", "Extra data"),
    ],
)
def test_broken_json_says_where(tmp_path: Path, text: str, where: str, why: str) -> None:
    path = write(tmp_path / "a.json", text)
    full = f"{path}: {where}: the spec file is not valid JSON: {why}."
    with pytest.raises(SpecError, match=whole(full)):
        load_json(path, SpecError, "spec")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, value: str) -> None:
    path = write(tmp_path / "a.json", f'{{"a": {value}}}')
    full = f"{path}: the spec file is not valid JSON: {value} is not a number that a file may hold."
    with pytest.raises(SpecError, match=whole(full)):
        load_json(path, SpecError, "spec")


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '{"x": {"rows": 1, "rows": 2}}')
    full = f"{path}: the spec file is not valid JSON: the key 'rows' stands twice in one object."
    with pytest.raises(SpecError, match=whole(full)):
        load_json(path, SpecError, "spec")


def test_very_deep_json_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", "[" * 200_000)
    with pytest.raises(SpecError, match="is not valid JSON"):
        load_json(path, SpecError, "spec")


def test_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    write_text(path, "eins\n")
    write_text(path, "zwei ü\n")
    assert path.read_bytes() == "zwei ü\n".encode()
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_written_file_has_the_usual_mode(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    write_bytes(tmp_path / "ours", b"x")
    assert (tmp_path / "ours").stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize("step", ["replace", "chmod", "fdopen"])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = write(tmp_path / "a.txt", "old")

    def fail(first: Any, *rest: Any) -> None:
        if isinstance(first, int):
            os.close(first)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    text = f"{path}: cannot write: No space left on device."
    with pytest.raises(OutputError, match=whole(text)):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_target_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "old")
    with pytest.raises(OutputError, match="cannot write"):
        write_text(file / "b.txt", "new")
    assert file.read_text() == "old"


def test_capacity_error_carries_its_numbers() -> None:
    error = CapacityError(
        "needs 12 units, there are 10 (2 short).",
        unit="tiles", demand=12, bound=10, largest=(("a", 7), ("b", 5)), levers=("Raise x", "do y"),
    )  # fmt: skip
    assert str(error) == (
        "needs 12 units, there are 10 (2 short). Largest: a (7), b (5). Raise x or do y."
    )
    assert (error.demand, error.bound, error.gap, error.unit) == (12, 10, 2, "tiles")
    assert error.exit_code == 1
    assert SpecError("x").exit_code == 2
    assert OutputError("x").exit_code == 1
    assert str(CapacityError("full.", unit="u", demand=1, bound=0)) == "full."
