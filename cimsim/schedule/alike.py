"""Stages that are alike: equal in all that their work depends on, names apart.

Layers of a transformer repeat. What their blocks take is worked out for one of them; the keys here
say for which others it holds, of this layout and of others on the same machine.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from cimsim.spec import Architecture
from cimsim.values.latest import Latest

T = TypeVar("T")

MACHINES_KEPT = 4
"""Choice: a strategy of a search prepares its own machine or takes the one that there is."""


class Alike:
    """Results by what they depend on beside one machine, each found once."""

    def __init__(self) -> None:
        self._results: dict[Hashable, Any] = {}
        self._numbers: dict[Hashable, int] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave when it was first called for this key."""
        if key not in self._results:
            self._results[key] = make()
        found: T = self._results[key]
        return found

    def number(self, key: Hashable) -> int:
        """A number that tells `key` from others: shorter to compare."""
        return self._numbers.setdefault(key, len(self._numbers))


class Known:
    """What was worked out in layouts on the machines that were used last, for further ones."""

    def __init__(self) -> None:
        self._machines = Latest[tuple[Architecture, Alike]](MACHINES_KEPT)

    def on(self, architecture: Architecture) -> Alike:
        """What is known of this very machine: an equal one may be told apart by who reads it."""
        return self._machines.get(id(architecture), lambda: (architecture, Alike()))[1]
