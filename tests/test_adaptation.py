"""Adaptations take the LoRA branch out of the graph, or leave all as it is."""

from __future__ import annotations

import re

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.adaptation import ADAPTATIONS, adaptation_named
from cimsim.errors import MappingError
from cimsim.ir import Elementwise, Linear, MatMul, Norm, Phase, Workload, load_workload

OUT = ("none", "merged")


def lora_macs(workload: Workload) -> int:
    return sum(
        op.macs * phase.steps
        for phase, op in workload.ops()
        if isinstance(op, Linear) and op.role != "base"
    )


def revalidated(workload: Workload) -> Workload:
    """The same, checked again; raises if the graph is not valid."""
    return Workload.model_validate(workload.model_dump())


@given(st.integers(1, 64), st.integers(0, 3), st.sampled_from(OUT))
@settings(max_examples=30)
def test_exactly_the_lora_macs_go(rank: int, steps: int, name: str) -> None:
    workload = small.decoder(rank=rank, steps=steps)
    adapted = adaptation_named(name).apply(workload)
    tokens = 6 + steps
    by_hand = 2 * tokens * rank * ((32 + 32) + 2 * (32 + 16) + (48 + 32))
    assert lora_macs(workload) == by_hand
    assert workload.macs - adapted.macs == by_hand
    assert lora_macs(adapted) == 0
    assert revalidated(adapted) == adapted


@pytest.mark.parametrize("name", OUT)
def test_what_is_left_is_the_model_without_an_adapter(name: str) -> None:
    for build in (small.decoder, small.encoder):
        adapted = adaptation_named(name).apply(build(rank=3))
        assert adapted.phases == build(rank=None).phases


@pytest.mark.parametrize("name", [n for n in ADAPTATIONS if n not in OUT])
def test_lora_that_runs_stays_in_the_graph(name: str) -> None:
    workload = small.decoder()
    assert adaptation_named(name).apply(workload) is workload


def test_what_is_saved_with_an_adapter_goes_back_to_the_base() -> None:
    workload = small.saved(small.decoder(), "head")
    for name in OUT:
        adapted = adaptation_named(name).apply(workload)
        assert adapted.phases == small.decoder(rank=None).phases
        assert not any(op.in_adapter for _, op in adapted.ops() if isinstance(op, Linear))
    assert adaptation_named("lora-sram").apply(workload) is workload


@pytest.mark.parametrize("path", small.WORKLOADS, ids=lambda p: p.stem)
def test_shipped_workloads_stay_valid_without_lora(path: object) -> None:
    workload = load_workload(str(path))
    adapted = adaptation_named("none").apply(workload)
    assert workload.macs - adapted.macs == lora_macs(workload) > 0
    assert revalidated(adapted) == adapted


def test_both_operands_of_a_product_stay() -> None:
    merge = small.encoder().phases[0].ops[:5]
    assert merge[-1].name == "layers.0.q/merge"
    square = MatMul(
        name="square", inputs=("layers.0.q/merge", "layers.0.q/merge"), tokens=6, batch=1, m=6,
        k=24, n=6, stationary_batch=1, stationary_token_axis="n",
    )  # fmt: skip
    workload = small.workload_of(
        "w", (Phase(name="prefill", tokens=6, ops=(*merge, square)),), rank=2
    )
    adapted = adaptation_named("none").apply(workload)
    assert adapted.phases[0].ops[-1].inputs == ("layers.0.q", "layers.0.q")


def test_a_scaled_branch_goes_as_well() -> None:
    base, a, b = small.encoder().phases[0].ops[1:4]
    scale = Elementwise(
        name="scale", inputs=(b.name,), tokens=6, elements=144, functions={"mul": 1}
    )
    add = Elementwise(
        name="add", inputs=(base.name, "scale"), tokens=6, elements=144, functions={"add": 1}
    )
    norm = Norm(name="norm", inputs=("add",), tokens=6, norm="layer", rows=6, columns=24)
    ops = [op.model_copy(update={"inputs": ()}) for op in (base, a)]
    phase = Phase(name="prefill", tokens=6, ops=(*ops, b, scale, add, norm))
    adapted = adaptation_named("none").apply(small.workload_of("w", (phase,), rank=2))
    assert [op.name for op in adapted.phases[0].ops] == [base.name, "norm"]
    assert adapted.phases[0].ops[1].inputs == (base.name,)


def test_a_branch_that_is_not_added_cannot_be_taken_out() -> None:
    embed, q, a, b = small.encoder().phases[0].ops[:4]
    norm = Norm(name="norm", inputs=(b.name,), tokens=6, norm="layer", rows=6, columns=24)
    phase = Phase(name="prefill", tokens=6, ops=(embed, q, a, b, norm))
    workload = small.workload_of("w", (phase,), rank=2)
    text = (
        "op 'norm' reads the LoRA branch but is no elementwise merge: "
        "this adapter cannot be taken out of the graph"
    )
    with pytest.raises(MappingError, match="^" + re.escape(text) + "$"):
        adaptation_named("merged").apply(workload)


def test_unknown_names_list_the_known_ones() -> None:
    text = "unknown adaptation 'qlora'; known: none, lora-sram, lora-pmca, lora-rram, merged"
    with pytest.raises(MappingError, match="^" + re.escape(text) + "$"):
        adaptation_named("qlora")


def test_table_is_keyed_by_name() -> None:
    assert all(name == adaptation.name for name, adaptation in ADAPTATIONS.items())
