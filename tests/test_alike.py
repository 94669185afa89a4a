"""Layers that are alike are worked out once: the plan is the one of working out each of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from itertools import product
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.adaptation import adaptation_named
from cimsim.engines.encoding import encode
from cimsim.engines.program import Get, Put
from cimsim.ir import Elementwise, Op, Workload
from cimsim.mappers import build_mapping
from cimsim.schedule import Plan, build_plan
from cimsim.schedule.alike import Alike, Known
from cimsim.schedule.assembler import Assembler
from cimsim.schedule.graph import Node
from cimsim.schedule.pipelines import AsIs, Strategy, parse_pipeline
from cimsim.schedule.stages import Stage
from cimsim.spec import Architecture


class Forgetful(Alike):
    """Works everything out anew."""

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        hash(key)
        return make()


def untemplated(self: Assembler, stage: Any, key: Any, outside: Any, add: Any) -> None:
    """Lays every stage out by itself."""
    STAGE(self, stage, None, outside, add)


STAGE = Assembler.stage


def plan_of(workload: Workload, pipeline: str, **changes: Any) -> Plan:
    return plan_on(small.machine(**changes), workload, pipeline)


def plan_on(
    machine: Architecture, workload: Workload, pipeline: str | Strategy,
    known: Known | None = None,
) -> Plan:  # fmt: skip
    adaptation = adaptation_named("lora-pmca")
    chosen = parse_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    adapted = adaptation.apply(workload)
    mapping = build_mapping(adapted, machine, adaptation)
    return build_plan(adapted, machine, mapping, chosen, known=known)


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
        who = (info.stage, info.layer, info.part, info.occupies, info.phase.tolist())
        rows.append((actor.name, actor.iterations, verbs, *who, portions))
    rows.append(plan.program.describe(10**6))
    rows += [plan.wakings and plan.woken, plan.on_cores, plan.unit_counts, plan.activations]
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


PIPELINES = [
    "token", "sequential", "layer:block_tokens=2", "balanced", "replicated:copies=2",
    "token:share_clusters=8",
]  # fmt: skip


@given(
    workload=st.builds(unlike, WORKLOADS, st.integers(0, 3)),
    pipeline=st.sampled_from(PIPELINES),
    clusters=st.sampled_from([1, 2, 4]),
    attention=st.sampled_from(["pmca", "sram"]),
)
@settings(max_examples=40, deadline=None)
def test_the_plan_is_that_of_every_layer_by_itself(
    workload: Workload, pipeline: str, clusters: int, attention: str
) -> None:
    changes: dict[str, Any] = {"pmca": {"pool_clusters": clusters}, "attention_on": attention}
    once = told(plan_of(workload, pipeline, **changes), **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cimsim.schedule.alike.Alike", Forgetful)
        patch.setattr(Assembler, "stage", untemplated)
        each = told(plan_of(workload, pipeline, **changes), **changes)
    assert once == each


@given(
    workloads=st.lists(WORKLOADS, min_size=1, max_size=2),
    pipelines=st.lists(st.sampled_from([*PIPELINES, "split"]), min_size=2, max_size=4, unique=True),
    clusters=st.sampled_from([1, 2, 4]),
    attention=st.sampled_from(["pmca", "sram"]),
    tcdm_KiB=st.sampled_from([0.75, 2, 64]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_what_other_layouts_worked_out_changes_no_plan(
    workloads: list[Workload], pipelines: list[str], clusters: int, attention: str, tcdm_KiB: float
) -> None:
    pmca = {"pool_clusters": clusters, "tcdm_KiB": tcdm_KiB}
    changes: dict[str, Any] = {"pmca": pmca, "attention_on": attention}
    machine, known = small.machine(**changes), Known()
    for job in product(workloads, pipelines):
        shared, alone = plan_on(machine, *job, known), plan_on(machine, *job)
        assert told(shared, **changes) == told(alone, **changes)


class ByName:
    """Blocks of a user's own: a token in the first layer, two in others."""

    name, split = "by-name", False

    def tokens(self, stage: Stage, step: int, costs: Any, *, turns: bool) -> int:
        return min(step, 1 if stage.name.startswith("layers.0.") else 2)

    def check(self, workload: Workload) -> None:
        pass


def test_a_users_own_blocks_are_asked_for_of_every_stage() -> None:
    pipeline = Strategy(ByName(), "layers", AsIs())
    plan = plan_on(small.machine(), small.decoder(layers=3, steps=0, rank=None), pipeline)
    blocks = {n: b for n, b in plan.block_tokens.items() if n.startswith("layers.")}
    assert set(blocks.values()) == {1, 2}
    assert all((block == 1) == name.startswith("layers.0.") for name, block in blocks.items())


def test_what_is_known_of_a_machine_is_not_of_another() -> None:
    known = Known()
    one, other = small.machine(), small.machine()
    assert known.on(one) is known.on(one) is not known.on(other)


def test_ops_are_alike_that_differ_in_names_alone() -> None:
    phase = small.chain(tokens=3, widths=(4, 4, 4, 5))
    first, second, third = (Node(op.name, {0: op}) for op in phase.ops)
    assert first.content is second.content is not third.content
    later = Node("later", {1: phase.ops[0]})
    assert later.content is not first.content


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


def counted_calls(work: Callable[[], Any]) -> int:
    """Calls of functions written in Python that `work` makes."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def test_a_further_layer_is_stamped_not_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many actors are drafted and encoded of 9 layers as of 5, and a layer costs few calls."""
    drafted: list[str] = []
    draft = Assembler._drafted

    def noted(self: Assembler, stage: Any, part: str, *others: Any) -> Any:
        drafted.append(f"{stage.name}:{part}")
        return draft(self, stage, part, *others)

    monkeypatch.setattr(Assembler, "_drafted", noted)
    machine, adaptation = small.machine(), adaptation_named("lora-pmca")

    def found(layers: int) -> tuple[int, int, int, int]:
        adapted = adaptation.apply(small.decoder(layers=layers, steps=0))
        mapping = build_mapping(adapted, machine, adaptation)
        plans: list[Plan] = []

        def lay_out() -> None:
            plans.append(build_plan(adapted, machine, mapping, parse_pipeline("token")))

        lay_out()
        drafted.clear()
        laid_out = counted_calls(lay_out)
        encoded = counted_calls(lambda: encode(plans[-1].program))
        return len(drafted), laid_out, encoded, plans[-1].program.actor_count

    few, more, most = (found(layers) for layers in (3, 5, 9))
    assert few[0] == more[0] == most[0]
    assert most[3] - more[3] == 2 * (more[3] - few[3]) > 0
    laid_out, encoded = ((most[at] - few[at]) / 6 for at in (1, 2))
    assert (more[1] - few[1]) / 2 == pytest.approx(laid_out, rel=0.02)
    assert laid_out < 2000
    assert encoded < 60
