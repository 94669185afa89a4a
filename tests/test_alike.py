"""Layers that are alike are worked out once: the plan is the one of working out each of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.adaptation import adaptation_named
from cimsim.engines.program import Get, Put
from cimsim.ir import Elementwise, Op, Workload
from cimsim.mappers import build_mapping
from cimsim.schedule import Plan, build_plan
from cimsim.schedule.alike import Alike
from cimsim.schedule.graph import Node
from cimsim.schedule.pipelines import parse_pipeline


class Forgetful(Alike):
    """Works everything out anew."""

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        hash(key)
        return make()


def plan_of(workload: Workload, pipeline: str, **changes: Any) -> Plan:
    machine, adaptation = small.machine(**changes), adaptation_named("lora-pmca")
    adapted, chosen = adaptation.apply(workload), parse_pipeline(pipeline)
    mapping = build_mapping(adapted, machine, adaptation)
    return build_plan(adapted, machine, mapping, chosen)


def told(plan: Plan, **changes: Any) -> list[Any]:
    """All that a plan says, as lists."""

    def each(amount: Any) -> Any:
        return amount.tolist() if isinstance(amount, np.ndarray) else amount

    rows: list[Any] = [
        plan.charges(small.machine(**changes)),
        plan.block_tokens,
        plan.program.buffers,
    ]
    for actor, info in zip(plan.program.actors, plan.actors, strict=True):
        verbs = [
            (type(v), v.buffer, each(v.count)) if isinstance(v, Get | Put) else each(v.duration)
            for v in actor.steps
        ]
        portions = [[(p.op, each(p.duration)) for p in verb] for verb in info.portions]
        rows.append((actor.name, actor.iterations, verbs, info.stage, info.occupies, portions))
    return rows


WORKLOADS = st.one_of(
    st.builds(
        small.decoder,
        layers=st.integers(2, 3), prompt=st.integers(2, 6), steps=st.integers(0, 3),
        rank=st.sampled_from([None, 2]), causal=st.booleans(),
    ),
    st.builds(small.encoder, layers=st.integers(2, 3), tokens=st.integers(1, 6)),
)  # fmt: skip


def unlike(workload: Workload, layer: int) -> Workload:
    """`workload` with more work in the pointwise ops of one layer."""

    def changed(op: Op) -> Op:
        if isinstance(op, Elementwise) and op.name.startswith(f"layers.{layer}."):
            return op.model_copy(update={"functions": {**op.functions, "exp": 3}})
        return op

    phases = tuple(
        phase.model_copy(update={"ops": tuple(changed(op) for op in phase.ops)})
        for phase in workload.phases
    )
    return workload.model_copy(update={"phases": phases})


@given(
    workload=st.builds(unlike, WORKLOADS, st.integers(0, 3)),
    pipeline=st.sampled_from(["token", "sequential", "layer:block_tokens=2", "balanced"]),
    clusters=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_the_plan_is_that_of_every_layer_by_itself(
    workload: Workload, pipeline: str, clusters: int
) -> None:
    changes = {"pmca": {"pool_clusters": clusters}}
    once = told(plan_of(workload, pipeline, **changes), **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cimsim.schedule.assembler.Alike", Forgetful)
        patch.setattr("cimsim.schedule.alike.Alike.once", Forgetful.once)
        each = told(plan_of(workload, pipeline, **changes), **changes)
    assert once == each


def test_ops_are_alike_that_differ_in_names_alone() -> None:
    phase = small.chain(tokens=3, widths=(4, 4, 4, 5))
    first, second, third = (Node(op.name, {0: op}) for op in phase.ops)
    alike = Alike()
    assert alike.node(first) == alike.node(second) != alike.node(third)
    later = Node("later", {1: phase.ops[0]})
    assert alike.node(later) != alike.node(first)


def test_equal_layers_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Hashable] = []
    once = Alike.once

    def counted(self: Alike, key: Hashable, make: Callable[[], Any]) -> Any:
        return once(self, key, lambda: (made.append(key), make())[1])

    monkeypatch.setattr(Alike, "once", counted)
    plan_of(small.decoder(layers=1), "token")
    single = len(made)
    plan_of(small.decoder(layers=2), "token")
    two = len(made) - single
    plan_of(small.decoder(layers=9), "token")
    # the first and the last layer have other neighbours than those between
    assert len(made) - single - two == two < 2 * single
