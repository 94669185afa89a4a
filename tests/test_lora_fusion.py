"""LoRAFusion: what a pool of adapters holds, runs, and writes for a task."""

from __future__ import annotations

from itertools import pairwise

import analog
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim import simulate
from cimsim.adaptation import (
    BASE_TASK,
    AdaptedTask,
    LoraFusion,
    adaptation_named,
    adaptation_text,
    switched,
    task_bits,
)
from cimsim.adaptation.pool import block_of
from cimsim.costs.cluster import elementwise_busy
from cimsim.errors import MappingError
from cimsim.ir import Elementwise, Linear, Norm, Phase, Workload
from cimsim.mapping import Registers
from cimsim.schedule.work import dma_ps
from cimsim.studies.layer import layer_workload

FORMS = [(cross, packed) for cross in (True, False) for packed in (True, False)]


def flan_t5_large() -> Workload:
    """The 144 adapted matrices of FLAN-T5-large: q and v of 24 + 2 x 24 attentions, rank 16."""
    b = small._Block(1, 16, ("q", "v"))
    x = b.add(Norm(name="norm", inputs=(), tokens=1, norm="rms", rows=1, columns=1024))
    for block in range(24):
        for part in (
            f"encoder.block.{block}.layer.0.SelfAttention",
            f"decoder.block.{block}.layer.0.SelfAttention",
            f"decoder.block.{block}.layer.1.EncDecAttention",
        ):
            for matrix in "qv":
                b.linear(f"{part}.{matrix}", x, 1024, 1024)
    phase = Phase(name="prefill", tokens=1, ops=tuple(b.ops))
    return small.workload_of("flan", (phase,), 16)


def test_the_published_counts_of_flan_t5_large() -> None:
    """4,718,592 values of one LoRA, 148,416 a task, 94,371,840 in the pool (reference, 1.3)."""
    workload, fusion = flan_t5_large(), LoraFusion()
    assert workload.adapter is not None
    assert workload.adapter.parameter_count == 4_718_592
    assert len(fusion.branches(workload)) == 144
    assert fusion.task_values(workload) == 148_416 == 144 * 1024 + 20 * 48
    assert fusion.pool_values(workload) == 94_371_840
    applied = fusion.apply(workload)
    lora = [p.size for p in applied.parameters if p.role in ("lora_a", "lora_b")]
    assert sum(lora) == 94_371_840 == applied.adapter.parameter_count  # type: ignore[union-attr]
    assert LoraFusion(magnitudes=False).task_values(workload) == 960


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("encoder.block.3.layer.0.SelfAttention.q", "encoder.block.3"),
        ("model.layers.11.mlp.up_proj", "model.layers.11"),
        ("0", "0"),
        ("classifier.dense", ""),
        ("conv1.dense", ""),
    ],
)
def test_a_block_is_the_path_up_to_the_first_number(name: str, block: str) -> None:
    assert block_of(name) == block


@pytest.mark.parametrize(
    ("cells", "held", "unpacked"), [(1, (64, 24, 24), 320), (2, (128, 40, 48), 480),
                                    (4, (256, 80, 96), 800)]
)  # fmt: skip
def test_arrays_of_a_pool_of_one_matrix(
    cells: int, held: tuple[int, int, int], unpacked: int
) -> None:
    """Arrays of 128x128 cells at `cells` a weight (reference, 1.8): 75 %, 69 % and 69 % more."""
    rram = {"rows": 128, "columns": 128, "cells_per_weight": cells, "bits_per_cell": 8 // cells,
            "tile_count": 2000}  # fmt: skip
    machine = small.machine(rram=rram)
    layer = layer_workload(1024, 1024, 16, 1)
    for packed in (True, False):
        fusion = LoraFusion(packed=packed)
        placed = analog.mapped(layer, machine, adaptation_text(fusion)).placements
        arrays = {role: sum(p.units.size for p in placed.values() if p.role == role)
                  for role in ("base", "lora_a", "lora_b")}  # fmt: skip
        pool = arrays["lora_a"] + arrays["lora_b"]
        assert (arrays["base"], pool) == (held[0], held[1] + held[2] if packed else unpacked)
        if packed:
            assert tuple(arrays.values()) == held
            assert round(100 * pool / arrays["base"]) == (75 if cells == 1 else 69)


@given(st.integers(1, 9), st.integers(1, 5), st.sampled_from(FORMS), st.booleans())
@settings(max_examples=25, deadline=None)
def test_multiply_accumulates_and_vector_work(
    adapters: int, rank: int, form: tuple[bool, bool], magnitudes: bool
) -> None:
    """Products grow by the pool; K r steps after A, K r before B, a product an output."""
    cross, packed = form
    workload = small.decoder(layers=1, rank=rank)
    plain = adaptation_named("none").apply(workload)
    fusion = LoraFusion(adapters, cross=cross, packed=packed, magnitudes=magnitudes)
    applied = Workload.model_validate(fusion.apply(workload).model_dump())
    assert applied.macs - plain.macs == adapters * (workload.macs - plain.macs)
    for phase, before in zip(applied.phases, workload.phases, strict=True):
        found, old = _functions(phase), _functions(before)
        adapted = [op for op in before.ops if isinstance(op, Linear) and op.role == "lora_b"]
        ranks = sum(op.rows * op.in_features for op in adapted)
        outputs = sum(op.rows * op.out_features for op in adapted)
        mul = adapters * ranks + (ranks if cross else 0) + (outputs if magnitudes else 0)
        assert found["mul"] - old["mul"] == mul
        assert found.get("axpy", 0) == (ranks * (adapters - 1) if cross else 0)
        more = 0 if packed else outputs * (adapters - 1)
        assert found["add"] - old["add"] == more


def _functions(phase: Phase) -> dict[str, int]:
    found: dict[str, int] = {}
    for op in phase.ops:
        if isinstance(op, Elementwise):
            for name, times in op.functions.items():
                found[name] = found.get(name, 0) + times * op.elements
    return found


def test_one_adapter_with_coefficient_1_is_plain_lora_and_two_vector_steps() -> None:
    """A to the cluster by link, two kernels, DMA into the buffer; plain LoRA writes it itself."""
    machine, layer = small.machine(), layer_workload(16, 16, 2, 1)
    plain, one = (
        simulate(layer, machine, adaptation=text, pipeline="token").report
        for text in ("lora-rram", "lora-fusion:adapters=1,magnitudes=false")
    )
    kernels_ps = 2 * elementwise_busy(machine.pmca, 2, {"mul": 1}).cycles * 1000
    drain_ps = dma_ps(machine, 2 * machine.activation_bits / 8, 1)
    written_ps = 2000 + 2 * 16 / 8 / 50e9 * 1e12  # 2 results of 16 bits into the buffer
    extra_ps = kernels_ps + drain_ps - written_ps
    assert (one.latency_s - plain.latency_s) * 1e12 == pytest.approx(extra_ps)
    cells = ("rram.adc", "rram.cells", "rram.dac", "rram.shift_add")
    for part in cells:
        assert one.energy_by_component_J[part] == plain.energy_by_component_J[part]
    assert one.reprogramming.cells_written == plain.reprogramming.cells_written


def test_more_adapters_never_take_less() -> None:
    machine, layer = small.machine(), layer_workload(48, 40, 2, 3)
    for cross, packed in FORMS:
        reports = [
            simulate(layer, machine, adaptation=LoraFusion(k, cross=cross, packed=packed),
                     pipeline="token").report for k in (1, 2, 8)
        ]  # fmt: skip
        for few, many in pairwise(reports):
            assert few.latency_s <= many.latency_s
            assert few.energy_J < many.energy_J
            assert few.reprogramming.cells_written < many.reprogramming.cells_written


MODEL = small.decoder()
A, B, BASE = (AdaptedTask(name, MODEL) for name in ("a", "b", BASE_TASK))


@pytest.mark.parametrize("unit", ["rram", "sram", "pmca"])
def test_a_switch_writes_no_cell(unit: str) -> None:
    machine = small.machine()
    fusion = LoraFusion(5, unit, coefficient_bits=8, magnitude_bits=12)
    mapping = analog.mapped(MODEL, machine, adaptation_text(fusion))
    assert switched(mapping, A, A) == ()
    for before, after in ((A, B), (B, A), (BASE, A), (A, BASE)):
        written = switched(mapping, before, after)
        assert all(isinstance(part, Registers) for part in written)
        bits = sum(part.bits for part in written if isinstance(part, Registers))
        channels = 2 * (32 + 16 + 16 + 32)
        assert bits == 12 * channels + 8 * 5 * 2
    assert task_bits(machine, mapping, A) == bits
    report = simulate(MODEL, machine, adaptation=fusion, pipeline="token").report
    again = report.reprogramming.adapter_switch
    assert (again.cells_written, again.sram_bits_written, again.wear) == (0, 0, 0.0)
    assert again.register_bits_written == bits
    assert 0.0 < again.energy_J < report.reprogramming.energy_J


def test_the_pool_is_written_once() -> None:
    machine = small.machine()
    first = [
        simulate(MODEL, machine, adaptation=text, pipeline="token").report.reprogramming
        for text in ("none", "lora-rram", "lora-fusion:adapters=7")
    ]
    base, plain, pool = (written.cells_written for written in first)
    assert pool - base == 7 * (plain - base)


def test_what_is_saved_with_a_task_is_its_own() -> None:
    workload = small.saved(MODEL, "head")
    mapping = analog.mapped(workload, small.machine(), "lora-fusion:adapters=2")
    one, other = AdaptedTask("1", workload), AdaptedTask("2", workload)
    written = [p for p in switched(mapping, one, other) if not isinstance(p, Registers)]
    assert [(p.weight, p.count) for p in written] == [("head.weight", 32 * 50)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lora-fusion:adapters=0", "a pool of 0 adapters was asked for: it holds 1 to 4096"),
        ("lora-fusion:coefficient_bits=0", "coefficient_bits is 1 to 64 bits of a value, got 0"),
        ("lora-fusion:magnitude_bits=65", "magnitude_bits is 1 to 64 bits of a value, got 65"),
    ],
)
def test_options_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(MappingError, match=said):
        adaptation_named(text)


def test_workloads_that_have_no_plain_lora_are_refused() -> None:
    with pytest.raises(MappingError, match="workload 'tiny-decoder' has none: trace it with LoRA"):
        LoraFusion().apply(small.decoder(rank=None))
    from test_branches import doubled

    with pytest.raises(MappingError, match=r"'layers\.0\.q' has 2 LoRA branches, and a pool takes"):
        LoraFusion().apply(doubled(MODEL))


def test_a_task_of_another_rank_does_not_fit_the_pool() -> None:
    mapping = analog.mapped(MODEL, small.machine(), "lora-fusion:adapters=2")
    other = AdaptedTask("b", small.decoder(rank=3))
    with pytest.raises(MappingError, match=r"rank 3, for which 'layers\.0\.q\.lora_A\.weight' of"):
        switched(mapping, A, other)


def test_a_machine_without_the_unit_is_refused() -> None:
    with pytest.raises(MappingError, match="needs a `sram` block"):
        simulate(MODEL, small.machine(sram=None), adaptation="lora-fusion:unit=sram",
                 pipeline="token")  # fmt: skip
