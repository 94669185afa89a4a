"""Who evaluates points: this process, or others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from cimsim.exploration.points import Point
from cimsim.exploration.rows import Row

Evaluate = Callable[[Point], Row]
"""An `Evaluator`, or what does as it does."""


class Executor(Protocol):
    """What turns points into rows."""

    def rows(self, points: Iterable[Point]) -> Iterator[Row]:
        """A row of every point, in any order, as they are done.

        Points are taken as they are needed: no more are held than are in flight.
        """


@dataclass(frozen=True)
class OneProcess:
    """The process that asks, one point after the other, in their order."""

    evaluate: Evaluate

    def rows(self, points: Iterable[Point]) -> Iterator[Row]:
        """The rows in the order of the points."""
        return map(self.evaluate, points)
