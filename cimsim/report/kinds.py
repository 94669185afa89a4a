"""Kinds of work: of every op, and of the parts of every interval."""

from __future__ import annotations

from collections.abc import Mapping

from cimsim.engines.program import Duration
from cimsim.ir import Elementwise, Linear, Op, Workload
from cimsim.schedule.plan import ActorInfo
from cimsim.schedule.reloads import RELOAD

OTHER = "vector"
"""The kind of work that has no kind of its own."""


def kinds_of(workload: Workload) -> dict[str, str]:
    """Op -> kind of work: base, lora, attention, sampling, reload, or the op's kind.

    `sampling` chooses the next token, `reload` writes weights that take turns on units. `lora` is
    all that an adapter brings: its branch, the merge of its branch, and the weights saved with it.
    """
    kinds: dict[str, str] = {}
    for phase in workload.phases:
        branch: set[str] = set()
        for op in phase.ops:
            merges = isinstance(op, Elementwise) and not branch.isdisjoint(op.inputs)
            inside = merges and branch.issuperset(op.inputs)
            if inside or (isinstance(op, Linear) and op.role != "base"):
                branch.add(op.name)
            kinds[op.name] = "lora" if merges else _kind(op)
        if phase.sampling is not None:
            kinds[phase.sampling.name] = "sampling"
    return kinds | {RELOAD: "reload"}


def _kind(op: Op) -> str:
    if op.kind == "linear":
        return "lora" if op.in_adapter else "base"
    if op.kind == "matmul":
        return "attention" if op.stationary_token_axis != "none" else OTHER
    return op.kind if op.kind in ("softmax", "norm", "embedding") else OTHER


def times_by_kind(
    info: ActorInfo, at: int, kinds: Mapping[str, str]
) -> list[tuple[str, Duration | None]]:
    """Kinds that timed verb number `at` works on, one after another, and the time (ps) of each.

    The time is None where all of the verb is of one kind.
    """
    portions = info.portions[at]
    found = [(kinds.get(portion.op, OTHER), portion.duration) for portion in portions]
    names = {kind for kind, _ in found} or {kinds.get(info.stage, OTHER)}
    return list(found) if len(names) > 1 else [(names.pop(), None)]
