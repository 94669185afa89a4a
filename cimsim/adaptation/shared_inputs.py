"""Which linear layers read the same input, and whether a norm makes it that nothing else reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cimsim.ir import Linear, Norm, Op, Workload
from cimsim.values.display import brief

CACHE = "cache:"


@brief
@dataclass(frozen=True, slots=True)
class SharedInput:
    """An input that linear ops read: `layers` on the tiles, and `others` that are not.

    `source` is the op that makes it, None where that is the workload's own input or differs by
    phase. Where `folded` it is a norm
    that no other op reads, whose numbers can be divided once.
    """

    source: str | None
    layers: tuple[str, ...]
    others: tuple[str, ...]
    folded: bool

    @property
    def name(self) -> str:
        """The op that multiplies the input where it is not folded."""
        return f"{self.layers[0]}/rescale"


def shared_inputs(
    workload: Workload, on_tiles: Callable[[Op], bool], *, fold: bool
) -> tuple[SharedInput, ...]:
    """Inputs of the linear ops that `on_tiles` accepts, in the order in which they are read.

    A norm is folded where all that read it, in every phase, are linear ops.
    """
    ops: dict[str, Op] = {}
    readers: dict[str | None, dict[str, Op]] = {}
    for _, op in workload.ops():
        ops[op.name] = op
        for source in op.inputs or (None,):
            name = None if source is None else source.removeprefix(CACHE)
            readers.setdefault(name, {}).setdefault(op.name, op)
    found: list[SharedInput] = []
    for source, reading in readers.items():
        layers = tuple(name for name, op in reading.items() if on_tiles(op))
        if not layers:
            continue
        linear = all(isinstance(op, Linear) for op in reading.values())
        made = None if source is None else ops.get(source)
        others = tuple(
            name for name, op in reading.items() if isinstance(op, Linear) and name not in layers
        )
        folded = fold and linear and isinstance(made, Norm)
        found = _joined(found, SharedInput(source, layers, others, folded))
    return tuple(found)


def _joined(found: list[SharedInput], new: SharedInput) -> list[SharedInput]:
    """`found` with `new`, which takes in what has a layer in common: another phase's input.

    What is made by different ops in different phases is no norm's alone.
    """
    same = [one for one in found if not set(one.layers).isdisjoint(new.layers)]
    if not same:
        return [*found, new]
    every = (*same, new)
    whole = SharedInput(
        None,
        tuple(dict.fromkeys(layer for one in every for layer in one.layers)),
        tuple(dict.fromkeys(other for one in every for other in one.others)),
        folded=False,
    )
    return [whole if one is same[0] else one for one in found if one not in same[1:]]
