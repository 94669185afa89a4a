"""Shapes of stages: a short text for what a cluster stage works on, equal for equal work."""

from __future__ import annotations

from functools import lru_cache

from cimsim.ir import Linear, branches_of, output_elements
from cimsim.schedule.graph import Node
from cimsim.schedule.stages import Stage


def shape_of(stage: Stage) -> str:
    """The kinds of the ops and the values a token that the last one yields, `norm-2048`.

    LoRA has the sizes of its layer and its rank (of all branches) instead, `lora-2048x512x4`.
    """
    return _shape(stage.nodes)


@lru_cache(maxsize=1 << 14)  # choice: stages of the parts of a large model
def _shape(nodes: tuple[Node, ...]) -> str:
    ops = [node.any for node in nodes]
    linear = [op for op in ops if isinstance(op, Linear)]
    if branches := branches_of(linear):
        first, last = linear[0], linear[-1]
        rank = next(iter(branches.values())).rank
        return f"lora-{first.in_features}x{last.out_features}x{rank}"
    kinds = "-".join(op.kind for op in ops)
    return f"{kinds}-{output_elements(ops[-1]) // ops[-1].tokens}"
