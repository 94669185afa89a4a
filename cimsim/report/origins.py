"""Where the numbers of a machine come from, block by block, and what differs from its base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cimsim.blocks import ASSUMED
from cimsim.costs.components import model_of
from cimsim.spec import Architecture
from cimsim.values.display import brief
from cimsim.values.history import value_at

TOP = "machine"
"""The group of numbers that stand in no block."""


@brief
@dataclass(frozen=True)
class Origins:
    """Numbers of one block by origin; each counts once.

    `modelled` come from a model of a component, whatever that hangs on; `ranged` of the assumed
    ones have a plausible range.
    """

    published: int
    modelled: int
    assumed: int
    ranged: int

    @property
    def numbers(self) -> int:
        """All numbers of the block."""
        return self.published + self.modelled + self.assumed


@dataclass(frozen=True)
class Difference:
    """A value that differs from what the machine extends, or from its file; None: it has none."""

    field: str
    old: Any
    new: Any
    source: str
    """Of the new value; empty where it is no number or comes from no source."""


def origins_of(machine: Architecture) -> dict[str, Origins]:
    """Block -> its numbers by origin; nested groups count with their block."""
    content = machine.content
    found: dict[str, list[str]] = {}
    for path, source in _sourced(content, ""):
        block = path.split(".")[0] if "." in path else TOP
        found.setdefault(block, []).append(_kind(machine, content, path, source))
    return {
        block: Origins(
            published=kinds.count("published"),
            modelled=kinds.count("modelled"),
            assumed=kinds.count("assumed") + kinds.count("ranged"),
            ranged=kinds.count("ranged"),
        )
        for block, kinds in found.items()
    }


def differences_of(machine: Architecture) -> tuple[Difference, ...]:
    """Every value of `machine` that was changed, in the order in which it was."""
    content = machine.content
    return tuple(
        Difference(change.field, change.old, change.new, _source_at(content, change.field))
        for change in machine.changes
        if change.of == "architecture"
    )


def _sourced(data: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
    """(path, source) of every number of a block and of the groups in it; models have their own."""
    found = [(f"{path}{key}", text) for key, text in data.get("sources", {}).items()]
    for key, value in data.items():
        if isinstance(value, Mapping) and key not in ("sources", "models", "ranges"):
            found += _sourced(value, f"{path}{key}.")
    return found


def _kind(machine: Architecture, content: Mapping[str, Any], path: str, source: str) -> str:
    if model_of(content, path) is not None:
        return "modelled"
    if not source.startswith(ASSUMED):
        return "published"
    return "ranged" if path in machine.ranges else "assumed"


def _source_at(content: Mapping[str, Any], path: str) -> str:
    block, _, field = path.rpartition(".")
    holder = value_at(content, block) if block else content
    own = holder if isinstance(holder, Mapping) else {}
    notes = "anchor_sources" if block.endswith(".anchor") else "sources"
    if block.endswith(".anchor"):
        above = value_at(content, block.rpartition(".")[0])
        own = above if isinstance(above, Mapping) else {}
    sources = own.get(notes)
    text = sources.get(field) if isinstance(sources, Mapping) else None
    return text if isinstance(text, str) else ""
