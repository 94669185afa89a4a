"""Kinds of work: of every op, and the time in which some unit is at work on each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cimsim.engines import Run
from cimsim.engines.program import Duration, IntArray, timed_verbs
from cimsim.ir import Elementwise, Linear, Op, Workload
from cimsim.schedule.plan import ActorInfo, Plan
from cimsim.units import ps_to_seconds

OTHER = "vector"
"""The kind of work that has no kind of its own."""


def kinds_of(workload: Workload) -> dict[str, str]:
    """Op -> kind of work: base, lora, attention, or the op's kind.

    `lora` is all that an adapter brings: its branch, the merge of its branch, and the weights
    saved with it.
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
    return kinds


def _kind(op: Op) -> str:
    if op.kind == "linear":
        return "lora" if op.in_adapter else "base"
    if op.kind == "matmul":
        return "attention" if op.stationary_token_axis != "none" else OTHER
    return op.kind if op.kind in ("softmax", "norm", "embedding") else OTHER


def latency_by_kind_s(plan: Plan, run: Run, kinds: Mapping[str, str]) -> dict[str, float]:
    """Time (s) in which at least one unit works on each kind of work.

    `kinds` is the kind of each op's work, `vector` where it has none. The ops of a verb work one
    after another within its interval.
    """
    found: dict[str, list[tuple[IntArray, IntArray]]] = {}
    for number, (actor, info) in enumerate(zip(plan.program.actors, plan.actors, strict=True)):
        for at, step in enumerate(timed_verbs(actor.steps)):
            start, end = run.intervals(number, step)
            for kind, time in times_by_kind(info, at, kinds):
                done = end if time is None else start + time
                found.setdefault(kind, []).append((start, done))
                start = done
    return {kind: ps_to_seconds(_union_ps(spans)) for kind, spans in sorted(found.items())}


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


def _union_ps(spans: list[tuple[IntArray, IntArray]]) -> int:
    """Time (ps) that some of `spans` cover: from the first start to the last end without gaps.

    A gap before the start number i is one where i spans have ended, all that have started.
    """
    start, end = (np.sort(np.concatenate(side), kind="stable") for side in zip(*spans, strict=True))
    if not start.size:
        return 0
    gaps = np.maximum(start[1:] - end[:-1], 0)
    return int(end[-1] - start[0] - gaps.sum())
