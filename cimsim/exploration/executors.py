"""Who evaluates points: this process, or others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from cimsim.exploration.points import Point
from cimsim.exploration.rows import Row
from cimsim.runtime.workers import require_guard, streamed

Evaluate = Callable[[Point], Row]
"""An `Evaluator`, or what does as it does."""


class Executor(Protocol):
    """What turns points into rows."""

    def rows(self, points: Iterable[Point]) -> Iterator[Row]:
        """A row of every point, in any order, as they are done.

        Points are taken as they are needed, in the thread that takes the rows: no more are held
        than are in flight.
        """


@contextmanager
def rows_of(executor: Executor, points: Iterable[Point]) -> Iterator[Iterator[Row]]:
    """The rows within a `with`: whatever ends it, processes end with it."""
    rows = executor.rows(points)
    try:
        yield rows
    finally:
        if isinstance(rows, Generator):
            rows.close()


@dataclass(frozen=True)
class OneProcess:
    """The process that asks, one point after the other, in their order."""

    evaluate: Evaluate

    def rows(self, points: Iterable[Point]) -> Iterator[Row]:
        """The rows in the order of the points."""
        return map(self.evaluate, points)


@dataclass(frozen=True)
class ManyProcesses:
    """`workers` processes, each with an evaluator of its own and so with its own caches.

    Raises TaskError where the main program cannot be started twice, WorkerError for a process that
    died.
    """

    evaluate: Evaluate
    workers: int

    def rows(self, points: Iterable[Point]) -> Iterator[Row]:
        """The rows as they are done."""
        require_guard()
        return streamed(_evaluated, self.evaluate, points, self.workers)


def _evaluated(evaluate: Evaluate, point: Point) -> Row:
    return evaluate(point)
