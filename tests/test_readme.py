"""The README keeps its promises: its Python prints what stands below it, its commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def _python_blocks() -> list[tuple[str, str, str]]:
    return [
        (f"{path.name}-{number}", code, output)
        for path in DOCUMENTS
        for number, (code, output) in enumerate(PYTHON.findall(path.read_text()))
    ]


def _commands() -> list[str]:
    lines = [line for path in DOCUMENTS for block in SHELL.findall(path.read_text())
             for line in block.replace("\\\n", " ").splitlines()]  # fmt: skip
    return list(dict.fromkeys(line for line in lines if line.startswith("cimsim ")))


@pytest.mark.parametrize(
    ("code", "output"),
    [block[1:] for block in _python_blocks()],
    ids=[block[0] for block in _python_blocks()],
)
def test_python_prints_what_stands_below(code: str, output: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    if output:
        assert done.stdout == output


@pytest.mark.parametrize("command", _commands())
def test_commands_run(command: str, tmp_path: Path) -> None:
    for folder in ("arch_configs", "scenarios", "workloads"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    main = "import sys; from cimsim.cli import main; sys.argv[0] = 'cimsim'; main()"
    done = subprocess.run(
        [sys.executable, "-c", main, *shlex.split(command, comments=True)[1:]],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
