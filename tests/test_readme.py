"""The README keeps its promises: its Python prints what stands below it, its commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
PROGRAMS = [path for path in DOCUMENTS if PYTHON.search(path.read_text())]
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)

IN_TURN = """
import sys
for code in sys.stdin.read().split(chr(0)):
    exec(code, {"__name__": "__main__"})
    print(end=chr(0), flush=True)
"""
"""Runs programs in turn, each in a namespace of its own; ends what each prints by NUL."""


def _commands() -> list[str]:
    lines = [line for path in DOCUMENTS for block in SHELL.findall(path.read_text())
             for line in block.replace("\\\n", " ").splitlines()]  # fmt: skip
    return list(dict.fromkeys(line for line in lines if line.startswith("cimsim ")))


@pytest.mark.parametrize("path", PROGRAMS, ids=[path.name for path in PROGRAMS])
def test_python_prints_what_stands_below(path: Path) -> None:
    blocks = PYTHON.findall(path.read_text())
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN], input="\0".join(code for code, _ in blocks),
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    printed = done.stdout.split("\0")[:-1]
    assert len(printed) == len(blocks)
    for (_, output), found in zip(blocks, printed, strict=True):
        assert found == output or not output


@pytest.mark.parametrize("command", _commands())
def test_commands_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cimsim: Any
) -> None:
    for folder in ("arch_configs", "scenarios", "workloads"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    code, _, err = cimsim(*shlex.split(command, comments=True)[1:])
    assert code == 0, err
    for page in tmp_path.glob("*.md"):  # made by the command, and kept in docs
        kept = (ROOT / "docs" / page.name).read_text(encoding="utf-8")
        assert page.read_text(encoding="utf-8") == kept, f"{page.name} is out of date: {command}"
