"""LoRA branches of a workload's ops, by the linear op that they adapt; one op may have several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cimsim.ir.ops import Linear, Op
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True)
class Branches:
    """All branches of one linear op: every A (`down`) and every B (`up`), in the order of the ops.

    `rank` is that of all side by side: their A as one matrix of in x rank, their B as one of
    rank x out.
    """

    down: tuple[Linear, ...]
    up: tuple[Linear, ...]

    @property
    def rank(self) -> int:
        """Columns of every A together."""
        return sum(op.out_features for op in self.down)

    @property
    def vectors(self) -> int:
        """Rows of X that one token brings."""
        return -(-self.down[0].rows // self.down[0].tokens)


def branches_of(ops: Iterable[Op]) -> dict[str, Branches]:
    """Branches by the name of the op that they adapt; those of a name count once, halves not."""
    found: dict[str, dict[str, Linear]] = {}
    for op in ops:
        if isinstance(op, Linear) and op.role != "base" and op.adapts is not None:
            found.setdefault(op.adapts, {}).setdefault(op.name, op)
    halves = {
        name: tuple(tuple(op for op in mine.values() if op.role == role)
                    for role in ("lora_a", "lora_b"))
        for name, mine in found.items()
    }  # fmt: skip
    return {name: Branches(*both) for name, both in halves.items() if all(both)}
