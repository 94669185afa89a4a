"""What moves on a terminal while one waits; silent in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cimsim.values.plaintext import literal

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from cimsim.search.attempt import Progress as Tell


@contextmanager
def progress() -> Iterator[Tell]:
    """A spinner that names the stage."""
    if not sys.stderr.isatty():
        yield lambda stage: None
        return
    from rich.text import Text

    from cimsim.cli.sheet import Terminal

    console = Terminal(error=True)
    spinner = "dots" if console.encoding.startswith("utf") else "line"
    with console.status("starting", spinner=spinner) as status:
        yield lambda stage: status.update(Text(literal(stage)))


@contextmanager
def bar(*columns: ProgressColumn) -> Iterator[Progress]:
    """A bar of these columns; call it on a terminal only."""
    from rich.progress import Progress

    from cimsim.cli.sheet import Terminal

    with Progress(*columns, console=Terminal(error=True), transient=True) as made:
        yield made


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that counts passes over the test set."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    with bar(text, BarColumn(), TaskProgressColumn(), TimeRemainingColumn()) as made:
        shown = made.add_task(literal(label), total=None)
        yield lambda done, total: made.update(shown, completed=done, total=total)
