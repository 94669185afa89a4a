"""Sequences whose entries are made when one of them is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TypeVar, overload

Entry = TypeVar("Entry", covariant=True)


class MadeLate(Sequence[Entry]):
    """A sequence that knows its length before its entries, which `_make` makes, all at once."""

    @abstractmethod
    def _make(self) -> Iterable[Entry]:
        """All entries, in order."""

    @cached_property
    def _made(self) -> tuple[Entry, ...]:
        return tuple(self._make())

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._made)

    @overload
    def __getitem__(self, at: int) -> Entry: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Entry, ...]: ...

    def __getitem__(self, at: int | slice) -> Entry | tuple[Entry, ...]:
        return self._made[at]
