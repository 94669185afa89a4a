"""Channels gated off beside LoRA."""

from __future__ import annotations

import analog
import pytest
import small
import torch
from torch import nn

from cimsim import simulate
from cimsim.accuracy.placing import as_mapped
from cimsim.adaptation import (
    AdaptedTask,
    PrunedLora,
    adaptation_named,
    adapted_weights,
    switched,
)
from cimsim.adaptation.layers.columns import column_layers, with_numbers
from cimsim.errors import MappingError
from cimsim.mappers import build_mapping
from cimsim.mapping import Mapping, Registers

MODEL = small.decoder(layers=1)
A, B = AdaptedTask("a", MODEL), AdaptedTask("b", MODEL)


def mapped(adaptation: PrunedLora) -> Mapping:
    return build_mapping(adaptation.apply(MODEL), small.machine(), adaptation)


@pytest.mark.parametrize("unit", ["sram", "rram", "pmca"])
def test_a_switch_is_that_of_lora_and_a_bit_a_channel(unit: str) -> None:
    machine = small.machine()
    plain, pruned = (
        simulate(MODEL, machine, adaptation=name, pipeline="token").report
        for name in (f"lora-{unit}", f"pruned-lora:unit={unit}")
    )
    one, other = (r.reprogramming.adapter_switch for r in (plain, pruned))
    # by hand: q 32, k 16, v 16, down 32 outputs, whatever the row blocks
    assert other.register_bits_written == 32 + 16 + 16 + 32
    for amount in ("cells_written", "sram_bits_written", "tcdm_bytes_written"):
        assert getattr(other, amount) == getattr(one, amount)
    gates = [p for p in switched(mapped(PrunedLora()), A, B) if isinstance(p, Registers)]
    assert {gate.weight for gate in gates} == adapted_weights(MODEL)


def test_no_sparsity_is_plain_lora() -> None:
    machine = small.machine()
    plain, pruned = (
        simulate(MODEL, machine, adaptation=name, pipeline="token").report
        for name in ("lora-sram", "pruned-lora:sparsity=0")
    )
    assert pruned.latency_s == plain.latency_s
    gates_J = pruned.energy_by_component_J["rram.columns"]
    for component, energy in plain.energy_by_component_J.items():
        assert pruned.energy_by_component_J[component] == small.close(energy)
    assert 0.0 < gates_J < 0.01 * plain.energy_J


def test_gated_channels_save_their_conversions_alone() -> None:
    machine = small.machine()
    none, half = (
        simulate(MODEL, machine, adaptation=f"pruned-lora:sparsity={s}", pipeline="token").report
        for s in (0, 0.5)
    )
    adapted = [op for _, op in MODEL.ops() if getattr(op, "weight", "") in adapted_weights(MODEL)]
    base = [op for _, op in MODEL.ops() if getattr(op, "role", "") == "base"]

    def conversions(ops: list[object]) -> float:
        blocks = {p.weight: p.grid.row_blocks for p in mapped(PrunedLora()).placements.values()}
        rows = {id(op): sum(op.at(s).rows for s in range(_steps(op))) for op in ops}
        return sum(rows[id(op)] * blocks[op.weight] * op.out_features for op in ops)

    saved = 0.5 * conversions(adapted) / conversions(base)
    adc = [r.energy_by_component_J["rram.adc"] for r in (none, half)]
    assert adc[1] == small.close(adc[0] * (1.0 - saved))
    assert half.latency_s == none.latency_s
    assert half.energy_by_component_J["rram.dac"] == none.energy_by_component_J["rram.dac"]


def _steps(op: object) -> int:
    return next(phase.steps for phase, found in MODEL.ops() if found is op)


def test_packed_channels_leave_whole_arrays_without_work() -> None:
    machine = small.machine()
    spread, packed = (
        simulate(MODEL, machine, adaptation=f"pruned-lora:sparsity=0.6{more}", pipeline="token")
        for more in ("", ",packed=true")
    )
    one, other = (r.report.energy_by_component_J["rram.dac"] for r in (spread, packed))
    assert other < one
    assert packed.report.latency_s <= spread.report.latency_s
    assert packed.mapping.used("rram") == spread.mapping.used("rram")


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(sparsity: float) -> None:
    with pytest.raises(MappingError, match="sparsity is the share of channels gated off"):
        PrunedLora(sparsity)


def test_a_workload_without_lora_is_refused() -> None:
    with pytest.raises(MappingError, match="'tiny-decoder' has none: trace the model with an"):
        PrunedLora().apply(small.decoder(rank=None))


# The torch form ----------------------------------------------------------------------------------


def gated(rows: int) -> nn.Module:
    model = analog.llama()
    names = [n for n, m in model.named_modules() if n.endswith("base_layer")]
    assert names
    return with_numbers(model, "gate", 1, rows, names)


def test_gated_channels_are_those_of_lora_alone_on_tiles() -> None:
    machine = analog.machine()
    workload, plan = analog.traced(analog.llama()), adaptation_named("pruned-lora")
    mapping = build_mapping(plan.apply(workload), machine, plan)
    assert machine.rram is not None
    model = gated(machine.rram.rows)
    layer = next(iter(column_layers(model).values()))
    with torch.no_grad():
        layer.columns.scores[:, 1] = 0.0
    converted = analog.analogize(model, mapping, machine, **analog.ideal(machine))
    with torch.no_grad():
        found, wanted = (m(analog.IDS).logits for m in (converted, model))
        whole = analog.llama()(analog.IDS).logits
    assert float((found - wanted).abs().max()) < 2e-5 * float(wanted.abs().max())
    assert float((whole - wanted).abs().max()) > 1e-4 * float(wanted.abs().max())
    assert as_mapped(model, mapping) is model
    with torch.no_grad():
        layer.columns.scores[0, 1] = 1.0
    assert layer.columns.scores.shape[0] > 1
    with pytest.raises(MappingError, match="a channel is kept or gated as a whole"):
        as_mapped(model, mapping)


def test_a_model_without_gates_is_refused() -> None:
    machine = analog.machine()
    workload, plan = analog.traced(analog.llama()), adaptation_named("pruned-lora")
    mapping = build_mapping(plan.apply(workload), machine, plan)
    with pytest.raises(MappingError, match="pruned-lora needs numbers on columns"):
        as_mapped(analog.llama(), mapping)
