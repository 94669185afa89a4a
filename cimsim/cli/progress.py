"""What moves on a terminal while one waits; silent in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from cimsim.values.plaintext import literal

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from cimsim.exploration.sweep import Reached
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
def points_told() -> Iterator[Callable[[Reached], None]]:
    """A bar of points, with the rate of those that were simulated and the time left."""
    if not sys.stderr.isatty():
        yield lambda reached: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    text = TextColumn("{task.description}", markup=False)
    rate = TextColumn("{task.fields[rate]}", markup=False)
    begun = time.monotonic()
    with bar(text, BarColumn(), MofNCompleteColumn(), rate) as made:
        shown = made.add_task("points", total=None, rate="")

        def tell(reached: Reached) -> None:
            told = _rate(reached, time.monotonic() - begun)
            made.update(shown, completed=reached.points, total=reached.total, rate=told)

        yield tell


def _rate(reached: Reached, passed_s: float) -> str:
    """Points a second, and the time that those left take at this rate."""
    run = reached.done + reached.infeasible + reached.pruned
    if not run or passed_s <= 0.0:
        return ""
    left = (reached.total - reached.points) * passed_s / run
    pruned = f"{reached.pruned} pruned, " if reached.pruned else ""
    return f"{pruned}{run / passed_s:.3g} points/s, {timedelta(seconds=round(left))} left"


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
