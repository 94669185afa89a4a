"""Numbers on columns: files, conversions, energy, time and memory, all by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from own_columns import OwnColumns
from pydantic import ValidationError
from small import close

import cimsim
from cimsim.blocks import CrossbarTiles
from cimsim.costs.columns import (
    applied_pJ,
    gate_pJ,
    memory_um2,
    memory_W,
    number_count,
    scale_pJ,
    shift_pJ,
)
from cimsim.costs.tile import columns_ps, mvm_energy_J
from cimsim.errors import MappingError, WorkloadError
from cimsim.ir import ColumnScale, Linear, Workload, load_workload, save_workload
from cimsim.mappers import build_mapping
from cimsim.mapping import Grid
from cimsim.report import Report

MODEL = small.decoder(layers=1, rank=None)
GATE, SHIFT, SCALE = (
    ColumnScale(kind="gate", bits=1),
    ColumnScale(kind="shift", bits=2),
    ColumnScale(kind="scale", bits=8),
)
LINEAR = {op.weight: op for op in MODEL.phases[0].ops if isinstance(op, Linear)}


def run(columns: ColumnScale | None, machine: Any = None, **how: Any) -> Report:
    machine = small.machine() if machine is None else machine
    return cimsim.simulate(
        MODEL, machine, adaptation=OwnColumns(columns), pipeline="token", **how
    ).report


@pytest.fixture(scope="module")
def plain() -> Report:
    return run(None)


def runs_of(op: Linear) -> int:
    """Vectors through the weight of `op` in all phases."""
    return sum(
        o.rows * phase.steps for phase, o in MODEL.ops() if isinstance(o, Linear)
        and o.weight == op.weight
    )  # fmt: skip


def conversions() -> int:
    """Conversions of a run: 16 rows a block, a column and pulse each."""
    return sum(
        runs_of(op) * math.ceil(op.in_features / 16) * op.out_features for op in LINEAR.values()
    )


# Files -------------------------------------------------------------------------------------------


def test_files_without_columns_do_not_name_them(tmp_path: Path) -> None:
    save_workload(MODEL, tmp_path / "w.json")
    assert '"columns":{' not in (tmp_path / "w.json").read_text()
    assert '"columns":null' not in (tmp_path / "w.json").read_text()


@pytest.mark.parametrize("columns", [GATE, SHIFT, SCALE], ids=lambda c: c.kind)
def test_columns_go_through_a_file(tmp_path: Path, columns: ColumnScale) -> None:
    workload = OwnColumns(columns.model_copy(update={"kept_share": 0.25})).apply(MODEL)
    save_workload(workload, tmp_path / "w.json")
    assert load_workload(tmp_path / "w.json") == workload


def test_softmax_and_norm_have_columns_of_another_kind() -> None:
    """A width that grows with the context is no field that is equal in all phases."""
    assert Workload.model_validate(MODEL.model_dump()) == MODEL


def test_all_phases_have_the_same_numbers() -> None:
    workload = OwnColumns(GATE).apply(MODEL)
    first, second = workload.phases
    ops = list(second.ops)
    at = next(i for i, op in enumerate(ops) if isinstance(op, Linear))
    ops[at] = ops[at].model_copy(update={"columns": None})
    with pytest.raises(WorkloadError, match=r"has columns None, in prefill ColumnScale"):
        workload.remade(phases=(first, second.model_copy(update={"ops": tuple(ops)})))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "gate", "bits": 2}, "a gate of 2 bits: it has 1"),
        ({"kind": "shift", "bits": 2, "over": "channels"}, "a shift over channels"),
        ({"kind": "scale", "bits": 1}, "that is a gate"),
        ({"kind": "gate", "bits": 1, "packed": True}, "packed is said of a gate over blocks"),
        ({"kind": "gate", "bits": 1, "kept_share": 1.5}, "less than or equal to 1"),
        ({"kind": "gate", "bits": 0}, "greater than 0"),
        ({"kind": "turn", "bits": 1}, "'gate', 'shift' or 'scale'"),
    ],
)
def test_numbers_that_cannot_be_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ColumnScale(**fields)


def test_lora_has_none() -> None:
    adapted = small.decoder(layers=1)
    op = next(op for op in adapted.phases[0].ops if isinstance(op, Linear) and op.role == "lora_a")
    with pytest.raises(ValidationError, match="of role lora_a: base ops alone have them"):
        Linear(**(dict(op) | {"columns": GATE}))


# Energy ------------------------------------------------------------------------------------------


def test_all_kept_is_no_mask_in_time_and_all_but_the_mask(plain: Report) -> None:
    gated = run(GATE)
    assert gated.latency_s == plain.latency_s
    assert gated.unit_times == plain.unit_times
    more = set(gated.energy_by_component_J) - set(plain.energy_by_component_J)
    assert more == {"rram.columns", "leakage.columns"}
    for component, energy in plain.energy_by_component_J.items():
        assert gated.energy_by_component_J[component] == energy
    asked = conversions() * 2 * 0.7e-15 * 0.9**2
    assert gated.energy_by_component_J["rram.columns"] == close(asked)


@pytest.mark.parametrize("kept", [0.0, 0.25, 0.75])
def test_energy_falls_by_exactly_the_gated_conversions(plain: Report, kept: float) -> None:
    every, some = run(GATE), run(GATE.model_copy(update={"kept_share": kept}))
    gone = (1.0 - kept) * conversions()
    found = every.energy_by_component_J["rram.adc"] - some.energy_by_component_J.get("rram.adc", 0)
    assert found == close(gone * 1.5e-12)
    outputs = sum(
        runs_of(op) * (math.ceil(op.in_features / 16) - 1) * op.out_features
        for op in LINEAR.values()
    )
    parts = 1.5 + 0.05 + 2 * 0.06  # conversion, shift and add, two bytes of a register
    expected = gone * parts * 1e-12 + (1.0 - kept) * outputs * 0.04e-12
    assert every.energy_J - some.energy_J == pytest.approx(expected, rel=1e-9)
    assert some.latency_s == every.latency_s == plain.latency_s


@settings(max_examples=30)
@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.sampled_from([GATE, SHIFT, SCALE]))
def test_keeping_more_never_costs_less(a: float, b: float, columns: ColumnScale) -> None:
    rram = small.machine().rram
    assert isinstance(rram, CrossbarTiles)
    low, high = (columns.model_copy(update={"kept_share": k}) for k in sorted((a, b)))
    less, more = (mvm_energy_J(rram, 40, 24, 3, 2, c) for c in (low, high))
    assert all(less[part] <= more[part] for part in less)
    assert applied_pJ(low, 100, 16, 28.0) <= applied_pJ(high, 100, 16, 28.0)
    assert mvm_energy_J(rram, 40, 24, 3, 2, GATE) == mvm_energy_J(rram, 40, 24, 3, 2)


def test_gates_shifters_and_multipliers_by_hand() -> None:
    # C V^2 of gates of 0.7 fF and flip-flops of 2.1 fF at 28 nm and 0.9 V
    assert gate_pJ(28.0) == close(2 * 0.7e-3 * 0.81)
    assert shift_pJ(16, 28.0) == close(16 * (4 * 4 * 0.7 + 2.1) * 0.81e-3)
    assert shift_pJ(1, 28.0) == close(2.1 * 0.81e-3)
    assert scale_pJ(16, 8, 28.0) == close(16 * 8 * (3 * 0.7 + 2 * 1.05 + 2.1) * 0.81e-3)
    assert shift_pJ(16, 56.0) == close(2 * shift_pJ(16, 28.0))


def test_what_numbers_take_on_results_by_hand() -> None:
    shift = SHIFT.model_copy(update={"kept_share": 0.5})
    assert applied_pJ(shift, 100, 16, 28.0) == close(50 * shift_pJ(16, 28.0))
    assert applied_pJ(SCALE, 100, 16, 28.0) == close(100 * scale_pJ(16, 8, 28.0))
    # the factor of an output is there anyway
    channels = SCALE.model_copy(update={"over": "channels"})
    assert applied_pJ(channels, 100, 16, 28.0) == 0.0
    # every turn of a converter asks its bit
    gate = GATE.model_copy(update={"kept_share": 0.5})
    assert applied_pJ(gate, 100, 16, 28.0) == close(100 * gate_pJ(28.0))


def test_shifts_and_scales_are_part_of_a_run(plain: Report) -> None:
    for columns, each_pJ in ((SHIFT, shift_pJ(16, 28.0)), (SCALE, scale_pJ(16, 8, 28.0))):
        report = run(columns)
        assert report.energy_by_component_J["rram.columns"] == close(conversions() * each_pJ / 1e12)
        assert report.latency_s > plain.latency_s


# Time --------------------------------------------------------------------------------------------


def test_steps_of_the_pipeline_by_hand() -> None:
    rram = small.machine().rram
    assert isinstance(rram, CrossbarTiles)
    assert columns_ps(rram, 16, None) == columns_ps(rram, 16, GATE) == 0
    assert columns_ps(rram, 16, SHIFT) == 1000
    assert columns_ps(rram, 10, SCALE) == 3 * 1500
    assert columns_ps(rram, 10, SCALE.model_copy(update={"over": "channels"})) == 0


def test_a_step_of_a_pipeline_is_paid_once_by_vectors_behind_each_other() -> None:
    machine = small.machine()
    grid, arrays = Grid(40, 24, 16, 16), machine.arrays("rram")
    bare, shifted = (arrays.vector(grid, machine.tile_link, c) for c in (None, SHIFT))
    for vectors in (1, 2, 7):
        assert shifted.all_sent_ps(vectors) - bare.all_sent_ps(vectors) == 1000
        assert shifted.all_loaded_ps(vectors) == bare.all_loaded_ps(vectors)


@pytest.mark.parametrize("columns", [GATE, SHIFT, SCALE], ids=lambda c: c.kind)
@pytest.mark.parametrize("unit", ["rram", "sram"])
def test_both_engines_agree(columns: ColumnScale, unit: str) -> None:
    machine = small.machine(weights_on=unit, attention_on="pmca", sram={"unit_count": 4096})
    some = columns.model_copy(update={"kept_share": 0.5})
    reports = [run(some, machine, engine=engine) for engine in ("compiled", "simpy")]
    assert reports[0] == reports[1]


def test_a_gated_column_of_digital_units_has_no_products() -> None:
    machine = small.machine(weights_on="sram", sram={"unit_count": 4096})
    every, half = (run(GATE.model_copy(update={"kept_share": k}), machine) for k in (1.0, 0.5))
    products = [r.energy_by_component_J["sram.products"] for r in (every, half)]
    assert products[1] == close(products[0] / 2)
    assert every.latency_s == half.latency_s


# Order of kept channels --------------------------------------------------------------------------

CHANNELS = ColumnScale(kind="gate", bits=1, over="channels", kept_share=0.4)
PACKED = CHANNELS.model_copy(update={"packed": True})


@pytest.mark.parametrize(
    ("kept", "columns", "block", "skipped"),
    [
        (0.4, 64, 16, 32),  # 26 channels in 2 of 4 blocks
        (0.5, 64, 16, 32),
        (0.51, 64, 16, 16),
        (1.0, 64, 16, 0),
        (0.0, 64, 16, 48),  # one block stays: a layer has an output
        (0.4, 50, 16, 18),  # 20 channels in 2 blocks, of 3.125
        (0.9, 10, 16, 0),
    ],
)
def test_blocks_behind_what_is_kept_by_hand(
    kept: float, columns: int, block: int, skipped: int
) -> None:
    scale = PACKED.model_copy(update={"kept_share": kept})
    assert scale.skips(columns, block) == skipped
    assert CHANNELS.skips(columns, block) == 0


def test_arrays_without_a_kept_channel_have_no_work() -> None:
    strewn, packed = run(CHANNELS), run(PACKED)
    assert packed.latency_s <= strewn.latency_s
    by = [report.energy_by_component_J for report in (strewn, packed)]
    # outputs of the five shapes: 32 -> 13 kept in 1 of 2 blocks, 16 -> 1 of 1, 48 -> 20 in 2 of 3,
    # 50 -> 20 in 2 of 4
    of = {32: (16, 32), 16: (16, 16), 48: (32, 48), 50: (32, 50)}
    cells = [
        sum(runs_of(op) * op.in_features * of[op.out_features][n] for op in LINEAR.values())
        for n in (0, 1)
    ]
    assert by[1]["rram.cells"] / by[0]["rram.cells"] == close(cells[0] / cells[1])
    assert by[1]["rram.adc"] == close(by[0]["rram.adc"])
    assert by[1]["rram.dac"] < by[0]["rram.dac"]
    engines = [run(PACKED, engine=engine) for engine in ("compiled", "simpy")]
    assert engines[0] == engines[1]


# Memory ------------------------------------------------------------------------------------------


def test_how_many_numbers_by_hand() -> None:
    grid = Grid(40, 24, 16, 16)
    assert number_count(GATE, grid) == 3 * 24
    assert number_count(CHANNELS, grid) == 24
    assert number_count(GATE.model_copy(update={"slices": 4}), grid) == 4 * 3 * 24


def test_memory_of_the_numbers_has_area_and_leaks(plain: Report) -> None:
    report = run(SHIFT)
    bits = 2 * sum(math.ceil(op.in_features / 16) * op.out_features for op in LINEAR.values())
    # ISAAC's registers of 32 nm, PUMA's leakage a KiB
    assert report.area_used_by_unit_mm2["columns"] == close(bits * 0.128 * (28 / 32) ** 2 * 1e-6)
    built = 2 * 16 * small.machine().rram.tile_count  # type: ignore[union-attr]
    assert report.area_by_unit_mm2["columns"] == close(memory_um2(built, 28.0) * 1e-6)
    watts = bits / 8192 * 2.1e-6 * 28 / 32
    assert memory_W(bits, 28.0) == close(watts)
    leaked = report.energy_by_component_J["leakage.columns"]
    assert leaked == close(watts * report.latency_s)
    assert "columns" not in plain.area_by_unit_mm2
    assert report.area_mm2 == close(plain.area_mm2 + report.area_by_unit_mm2["columns"])


# Wrong input -------------------------------------------------------------------------------------


def test_slices_are_those_of_the_machine() -> None:
    own = OwnColumns(GATE.model_copy(update={"slices": 3}))
    with pytest.raises(MappingError, match="has 3 numbers on each column, but a weight of arch"):
        build_mapping(own.apply(MODEL), small.machine(), own)


def test_columns_need_arrays() -> None:
    own = replace(OwnColumns(GATE), unit="pmca")
    with pytest.raises(MappingError, match="`pmca` units hold no matrices in arrays"):
        build_mapping(own.apply(MODEL), small.machine(), own)
