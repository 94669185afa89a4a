"""Adaptations take the LoRA branch out of the graph, or leave all as it is."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from structure import MODULES

import cimsim
from cimsim import simulate
from cimsim.adaptation import (
    ADAPTATIONS,
    AdaptedTask,
    LoraBeside,
    MergedLora,
    adaptation_for,
    adaptation_named,
    known_adaptations,
    switched,
    two_tasks,
    whole,
    without_lora,
)
from cimsim.errors import MappingError, SpecError
from cimsim.ir import Elementwise, Linear, MatMul, Norm, Phase, Workload, load_workload
from cimsim.mappers import build_mapping
from cimsim.mapping import Correlated, Mapping, Registers, Written

Cli = Callable[..., tuple[int, str, str]]
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


@pytest.mark.parametrize("name", [n for n, of in ADAPTATIONS.items() if isinstance(of, LoraBeside)])
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
    assert workload.macs - adapted.macs == lora_macs(workload)
    assert (lora_macs(workload) > 0) == (workload.adapter is not None)
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
    text = (
        f"unknown adaptation 'qlora', nearest: lora-sram; known: {', '.join(known_adaptations())}"
    )
    with pytest.raises(MappingError, match="^" + re.escape(text) + "$"):
        adaptation_named("qlora")


def test_table_is_keyed_by_name() -> None:
    assert all(name == adaptation.name for name, adaptation in ADAPTATIONS.items())


# Values of a user's own ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Merged:
    """Merged LoRA without a word of cimsim's own values."""

    name: str = "own"

    def apply(self, workload: Workload) -> Workload:
        return without_lora(workload)

    def home(self, op: Linear) -> None:
        return None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written, ...]:
        linear = [op for _, op in after.workload.ops() if isinstance(op, Linear)]
        targets = {op.adapts for op in linear}
        parts = whole(mapping, {op.weight for op in linear if op.name in targets})
        return tuple(replace(part, change=Correlated(1.0 / (1.0 + 0.055**2))) for part in parts)


def test_merged_by_another_name_costs_what_merged_costs() -> None:
    own = Merged()
    bert, halora = cimsim.workload("bert_base_r8_s320"), cimsim.machine("halora_rram_sram")
    mine, known = (
        cimsim.simulate(bert, halora, pipeline="token", adaptation=a).report
        for a in (own, "merged")
    )  # fmt: skip
    switch = mine.reprogramming.adapter_switch
    assert switch == known.reprogramming.adapter_switch
    assert mine.adaptation == own.name
    rram, layers, hidden, wide = halora.rram, 12, 768, 3072
    assert rram is not None
    cells = layers * (3 * hidden**2 + hidden**2 + 2 * hidden * wide)
    assert switch.cells_written == cells == 84_934_656
    pulse_J = (rram.write.pulse_energy_pJ + rram.write.verify_energy_pJ) * 1e-12
    assert rram.write.pulses_per_cell is not None
    # a bit out of DRAM, into the buffer and out of it, over the link
    pJ = halora.dram.energy_pJ_per_bit + 2 * halora.buffer.energy_pJ_per_bit
    moved_J = 8 * (pJ + halora.cluster_link.energy_pJ_per_bit) * 1e-12
    assert switch.cells_changed == pytest.approx(0.887765 * cells, rel=1e-6)
    assert switch.pulses == pytest.approx(switch.cells_changed * rram.write.pulses_per_cell)
    each_J = 0.887765 * rram.write.pulses_per_cell * pulse_J + moved_J
    assert switch.energy_J == pytest.approx(cells * each_J)
    assert f"{switch.energy_J * 1e3:.2f} mJ" == "6.91 mJ"


def without(workload: Workload, *layers: str) -> Workload:
    """`workload` whose adapter leaves out the layers whose names end so."""
    dropped = {op.name for _, op in workload.ops() if isinstance(op, Linear)
               and op.adapts is not None and op.adapts.endswith(layers)}  # fmt: skip
    phases = []
    for phase in workload.phases:
        gone = {op.name: op.inputs[1] for op in phase.ops if set(op.inputs) & dropped
                and op.name not in dropped}  # fmt: skip
        ops = [op for op in phase.ops if op.name not in dropped | gone.keys()]
        phases.append(phase.model_copy(update={"ops": tuple(
            op.model_copy(update={"inputs": tuple(gone.get(s, s) for s in op.inputs)})
            for op in ops)}))  # fmt: skip
    return workload.model_copy(update={"phases": tuple(phases)})


def exchanged(
    mapping: Mapping, before: Workload, after: Workload
) -> tuple[Written | Registers, ...]:
    return switched(mapping, AdaptedTask("before", before), AdaptedTask("after", after))


def names(written: tuple[Written | Registers, ...]) -> set[str]:
    return {part.weight for part in written}


def test_a_switch_between_different_adapters_restores_what_the_first_changed() -> None:
    full, machine = small.decoder(layers=1), small.machine()
    first, second = without(full, ".k", ".v", ".down"), without(full, ".q", ".v", ".down")
    merged = adaptation_named("merged")
    mapping = build_mapping(merged.apply(full), machine, merged)
    assert names(switched(mapping, *two_tasks(first))) == {"layers.0.q.weight"}
    both = {"layers.0.q.weight", "layers.0.k.weight"}
    assert (
        names(exchanged(mapping, first, second)) == both == names(exchanged(mapping, second, first))
    )
    beside = adaptation_named("lora-sram")
    mapping = build_mapping(full, machine, beside)
    ab = {"layers.0.k.lora_A.weight", "layers.0.k.lora_B.weight"}
    assert names(exchanged(mapping, first, second)) == ab
    head = small.saved(first, "head")
    assert names(exchanged(mapping, head, second)) == ab | {"head.weight"}
    alone = build_mapping(merged.apply(full), machine, "none")
    assert exchanged(alone, first, second) == ()


def test_a_switch_to_the_same_task_writes_nothing() -> None:
    workload, machine = small.decoder(), small.machine()
    for name in ("lora-sram", "lora-rram", "lora-pmca"):
        mapping = build_mapping(workload, machine, name)
        first, second = two_tasks(workload)
        assert switched(mapping, first, second)
        assert switched(mapping, first, first) == ()


def test_what_has_no_place_cannot_be_written() -> None:
    machine = small.machine()
    q = without(small.decoder(), ".k", ".v", ".down")
    mapping = build_mapping(q, machine, "lora-sram")
    with pytest.raises(MappingError, match=r"'layers.0.down.lora_A.weight' and 11 more is to be"):
        exchanged(mapping, q, small.decoder())
    wrong = replace(mapping, adaptation=_Says(writes=[3]))
    with pytest.raises(MappingError, match="adaptation 'says' writes 3: `writes` gives values of"):
        switched(wrong, *two_tasks(q))
    nothing = replace(mapping, adaptation=adaptation_named)  # type: ignore[arg-type]
    with pytest.raises(MappingError, match="lacks one of name, apply, home and writes"):
        switched(nothing, *two_tasks(q))


class _Says:
    """Answers what it is told to."""

    name = "says"

    def __init__(self, home: object = None, writes: object = ()) -> None:
        self._home, self._writes = home, writes

    def apply(self, workload: Workload) -> Workload:
        return workload

    def home(self, op: Linear) -> object:
        return self._home

    def writes(self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask) -> object:
        return self._writes


def test_a_home_that_no_machine_has_is_refused() -> None:
    with pytest.raises(MappingError, match="unknown kind of unit 'flash'; known: rram, sram, pmca"):
        build_mapping(small.decoder(), small.machine(), _Says("flash"))  # type: ignore[arg-type]
    with pytest.raises(MappingError, match=r"'says' needs a `sram` block for 'layers\.0\.q'"):
        build_mapping(
            small.decoder(),
            small.machine(sram=None),
            _Says("sram"),  # type: ignore[arg-type]
        )


# Machines name one --------------------------------------------------------------------------------


def test_the_machines_own_is_taken_where_none_is_asked_for() -> None:
    for name, value in known_adaptations().items():
        assert adaptation_for(small.machine(adaptation=name)) == adaptation_named(name) == value
    assert adaptation_for(small.machine(), "merged") == MergedLora()
    assert adaptation_for(small.machine(), Merged()) == Merged()
    unknown = small.machine(adaptation="own")
    assert adaptation_for(unknown, "lora-sram") == LoraBeside("lora-sram", "sram")


@pytest.mark.parametrize("verb", ["run", "check", "map", "accuracy"])
@pytest.mark.parametrize("name", ["qlora", "own_adaptation:ON_SRAM"])
def test_a_machine_file_with_an_unknown_name_is_told(
    cimsim: Cli, tmp_path: Path, verb: str, name: str
) -> None:
    data = small.machine(adaptation=name).model_dump(mode="json", exclude_none=True)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(data))
    code, out, err = cimsim(verb, path, *([] if verb == "check" else ["bert_base_r8_s320"]))
    assert (code, out) == (2, "")
    said = "'qlora', nearest: lora-sram" if name == "qlora" else repr(name.partition(":")[0])
    known = ", ".join(known_adaptations())
    assert err.split() == (
        f"error: {path}: adaptation: unknown adaptation {said}; known: {known}".split()
    )
    with pytest.raises(SpecError, match=r"^tiny: adaptation: unknown adaptation"):
        simulate(small.encoder(), small.machine(adaptation=name), pipeline="token")
    with pytest.raises(SpecError, match="^" + re.escape(str(path))):
        simulate(small.encoder(), path, pipeline="token")
    assert (
        simulate(small.encoder(), path, adaptation="none", pipeline="token").report.adaptation
        == "none"
    )


def test_the_machines_own_needs_its_block() -> None:
    machine = small.machine(sram=None, adaptation="lora-sram")
    with pytest.raises(
        SpecError, match=r"^tiny: adaptation is 'lora-sram', but the machine has no"
    ):
        adaptation_for(machine)
    with pytest.raises(SpecError, match=r"^m\.json: adaptation is 'lora-sram', but"):
        adaptation_for(machine, where="m.json")
    assert adaptation_for(small.machine(sram=None, adaptation="merged")).name == "merged"


# Names are for display ----------------------------------------------------------------------------

SPOKEN = re.compile(r"(?:^|[._])adapt(?:ation)?(?:\.name)?$|^name$")
TESTS = {"startswith", "endswith", "removeprefix", "partition", "split"}


def choices(text: str) -> Iterator[str]:
    """Places where `text` decides by an adaptation's name."""
    meant = {*ADAPTATIONS} - {"none"} | {"lora-"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in TESTS:
            parts = [node.func.value, *node.args]  # type: ignore[attr-defined]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        else:
            continue
        inner = [c for p in parts for c in ast.walk(p)]
        texts = {c.value for c in inner if isinstance(c, ast.Constant) and isinstance(c.value, str)}
        by_name = any(SPOKEN.search(ast.unparse(p)) for p in parts if not isinstance(p, ast.Call))
        adapted = by_name and any("adapt" in ast.unparse(p) for p in parts)
        if texts & meant or (adapted and texts):
            yield ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_nothing_is_decided_by_an_adaptations_name(path: Path) -> None:
    assert list(choices(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "mapping.adaptation != 'merged'", "adaptation == 'none'", "x in ('none', 'merged')",
        "a.name == 'lora-sram'", "adaptation.name in ('mine',)", "m.adaptation.startswith('lora-')",
        "self.adaptation.removeprefix('x')", "match n:\n    case 'merged': pass",
    ],
)  # fmt: skip
def test_a_decision_by_name_would_be_seen(code: str) -> None:
    assert list(choices(code))
    assert not list(choices("adaptation is None and op.role == 'base' and axis != 'none'"))
