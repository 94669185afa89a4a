"""Compiled code is kept where it can be, by nobody else's leave, and runs where it cannot be."""

from __future__ import annotations

import importlib.util
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cimsim.runtime import jit

SOURCE = """
from cimsim.runtime.jit import njit

@njit(cache=True)
def double(x):
    return 2 * x
"""


def load(folder: Path) -> Callable[[int], int]:
    """`double`, compiled from a module of its own in `folder`."""
    path = folder / "module_of_its_own.py"
    if not path.exists():  # written again it would be another source to numba before 0.68
        path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    double: Callable[[int], int] = module.double
    return double


@pytest.fixture
def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that takes no cache, no home, and an empty temporary directory."""
    jit._tell.cache_clear()
    for name in ("code", "temporary"):
        (tmp_path / name).mkdir()
    (tmp_path / "code" / "__pycache__").write_text("a file, so that nothing is put here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "code" / "__pycache__" / "none"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "cimsim"]


def test_a_place_that_can_be_written_is_used_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jit._tell.cache_clear()
    assert load(tmp_path)(21) == 42
    assert list((tmp_path / "__pycache__").glob("*.nbc"))
    assert said(caplog) == []


def test_the_temporary_directory_comes_next_with_one_line(
    blocked: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = str(jit._config.CACHE_DIR)
    assert load(blocked / "code")(21) == 42
    (place,) = (blocked / "temporary").iterdir()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert list(place.rglob("*.nbc"))
    (line,) = said(caplog)
    assert f"kept in {place}" in line
    assert "NUMBA_CACHE_DIR" in line
    assert str(jit._config.CACHE_DIR) == before
    double: Any = load(blocked / "code")
    assert double(21) == 42
    assert sum(double.stats.cache_hits.values()) == 1
    assert len(said(caplog)) == 1


def _open_to_all(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


def _link(place: Path) -> None:
    target = place.with_name("elsewhere")
    target.mkdir(mode=0o700)
    place.symlink_to(target)


def _foreign(place: Path) -> None:
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)


@pytest.mark.parametrize("spoil", [Path.touch, _open_to_all, _link, _foreign])
def test_a_directory_that_others_can_write_is_not_taken(
    blocked: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    if spoil is _foreign and os.getuid() != 0:
        pytest.skip("only root gives a directory away")
    spoil(blocked / "temporary" / f"cimsim-numba-{os.getuid()}")
    assert jit.own_directory() is None
    assert load(blocked / "code")(21) == 42
    (line,) = said(caplog)
    assert "compiled anew in every run" in line
    assert not list((blocked / "temporary").rglob("*.nb?"))


def test_no_temporary_directory_is_no_error(
    blocked: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert load(blocked / "code")(21) == 42
    assert len(said(caplog)) == 1


def test_the_users_own_directory_is_used(
    blocked: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jit._config, "CACHE_DIR", str(blocked / "mine"))
    assert load(blocked / "code")(21) == 42
    assert list((blocked / "mine").rglob("*.nbc"))
    assert said(caplog) == []


def test_without_a_home_no_directory_named_tilde_is_made(
    blocked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(jit, "_writable_beside", lambda: False)
    monkeypatch.chdir(blocked)
    assert load(blocked / "code")(21) == 42
    assert sorted(path.name for path in blocked.iterdir()) == ["code", "temporary"]


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x80\x04K\x01.broken"])
def test_a_broken_cache_is_made_anew(tmp_path: Path, content: bytes) -> None:
    assert load(tmp_path)(21) == 42
    for path in (tmp_path / "__pycache__").glob("*.nb?"):
        path.write_bytes(content)
    assert load(tmp_path)(21) == 42
    double: Any = load(tmp_path)
    assert double(21) == 42
    assert sum(double.stats.cache_hits.values()) == 1


def test_a_full_disk_costs_the_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jit._tell.cache_clear()
    double = load(tmp_path)

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert double(21) == 42
    (line,) = said(caplog)
    assert "No space left on device" in line


def test_workers_leave_the_line_to_their_parent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jit._tell.cache_clear()
    monkeypatch.setattr(jit, "parent_process", lambda: object())
    with caplog.at_level(logging.DEBUG):
        jit._tell("x")
    assert said(caplog) == []
    jit._tell.cache_clear()


def test_a_function_that_is_not_counted_counts_no_references() -> None:
    def moved(a: Any, b: Any, swap: bool) -> int:
        first, second = a, b
        while first[0] < second[0]:
            if swap:
                first, second = second, first
            first[0] += 1
        return int(first[0])

    found = []
    for counted in (True, False):
        compiled: Any = jit.njit(counted=counted)(moved)
        assert compiled(np.array([0]), np.array([5]), False) == 5
        (code,) = compiled.inspect_llvm().values()
        found.append(code.count("call void @NRT_decref"))
    assert found[0] > 0
    assert found[1] == 0
