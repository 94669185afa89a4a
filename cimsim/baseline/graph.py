"""Which ops of a phase run in which kernel: attention, shared inputs, fused elementwise groups.

Everything is found in the op graph, nothing by names. An attention is a product whose
stationary operand runs over tokens along n, a softmax, and a product whose stationary operand
runs over tokens along k, joined by elementwise ops (scale, mask) and moves. The level of an op
is the largest number of matrix products and attentions before it on any path, so ops of one
level that are joined to each other can run in one kernel without waiting for another.
"""

from __future__ import annotations

from dataclasses import dataclass

from cimsim.ir import (
    Elementwise,
    Linear,
    MatMul,
    Move,
    Op,
    Phase,
    Reduce,
    Softmax,
    output_elements,
)

_PASSING = (Elementwise, Move)


@dataclass(frozen=True)
class Attention:
    """One recognised attention; `members` are the names of all ops it replaces."""

    scores: MatMul
    values: MatMul
    members: frozenset[str]


def read_elements(op: Op) -> int:
    """Values that one step of `op` reads of any one input, at most."""
    return op.elements * op.inputs_per_output if isinstance(op, Reduce) else output_elements(op)


class PhaseGraph:
    """The ops of a phase with their consumers, attentions and levels."""

    def __init__(self, phase: Phase) -> None:
        self.ops: dict[str, Op] = {op.name: op for op in phase.ops}
        self.sampling = phase.sampling.name if phase.sampling is not None else None
        self.consumers: dict[str, list[str]] = {name: [] for name in self.ops}
        for op in phase.ops:
            for source in op.inputs:
                if source in self.ops:
                    self.consumers[source].append(op.name)
        self.attentions = tuple(
            found for op in phase.ops if isinstance(op, Softmax) and (found := self._attention(op))
        )
        self.attention_of = {
            name: index for index, a in enumerate(self.attentions) for name in a.members
        }
        self.level = self._levels()

    def producers(self, name: str) -> list[str]:
        """Names of the ops of this phase that `name` reads."""
        return [source for source in self.ops[name].inputs if source in self.ops]

    def is_heavy(self, name: str) -> bool:
        """Whether the op is a matrix product or part of an attention."""
        return isinstance(self.ops[name], Linear | MatMul) or name in self.attention_of

    def _path(self, start: str, axis: str, forward: bool) -> list[str]:
        """Ops from `start` to the nearest MatMul with that token axis, through passing ops."""
        came: dict[str, str] = {start: ""}
        queue = [start]
        for name in queue:
            op = self.ops[name]
            if isinstance(op, MatMul):
                if op.stationary_token_axis != axis:
                    continue
                path = []
                while name:
                    path.append(name)
                    name = came[name]
                return path
            if name != start and not isinstance(op, _PASSING):
                continue
            for other in self.consumers[name] if forward else self.producers(name):
                if other not in came:
                    came[other] = name
                    queue.append(other)
        return []

    def _attention(self, softmax: Softmax) -> Attention | None:
        before = self._path(softmax.name, "n", forward=False)
        after = self._path(softmax.name, "k", forward=True)
        if not (before and after):
            return None
        scores, values = self.ops[before[0]], self.ops[after[0]]
        if not (isinstance(scores, MatMul) and isinstance(values, MatMul)):
            return None
        members = set(before) | set(after)
        self._absorb(members)
        return Attention(scores, values, frozenset(members))

    def _absorb(self, members: set[str]) -> None:
        """Add moves and constant scales around an attention that its kernel does itself."""
        queue = list(members)
        for name in queue:
            for other in self.producers(name):
                if other not in members and self._is_layout(other):
                    feeds = self.consumers[other]
                    if all(consumer in members for consumer in feeds):
                        members.add(other)
                        queue.append(other)
            for other in self.consumers[name]:
                if other not in members and isinstance(self.ops[other], Move):
                    members.add(other)
                    queue.append(other)

    def _is_layout(self, name: str) -> bool:
        op = self.ops[name]
        if isinstance(op, Move):
            return True
        one_function = isinstance(op, Elementwise) and sum(op.functions.values()) == 1
        return one_function and len(op.inputs) == 1

    def _levels(self) -> dict[str, int]:
        last = {index: name for name, index in self.attention_of.items()}
        for name in self.ops:
            if name in self.attention_of:
                last[self.attention_of[name]] = name
        level: dict[str, int] = {}
        for name in self.ops:
            if name not in self.attention_of:
                level[name] = self._level_after(self.producers(name), level)
            elif last[self.attention_of[name]] == name:
                members = [
                    n for n in self.ops if n in self.attentions[self.attention_of[name]].members
                ]
                outside = [p for n in members for p in self.producers(n) if p not in members]
                level.update(dict.fromkeys(members, self._level_after(outside, level)))
        return level

    def _level_after(self, producers: list[str], level: dict[str, int]) -> int:
        return max((level[p] + self.is_heavy(p) for p in producers), default=0)
