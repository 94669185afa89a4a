"""Kinds of unit: each answers for itself, and a further one needs its value and nothing else."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import analog
import numpy as np
import pytest
import small
import torch
from small import close
from typer.testing import CliRunner

from cimsim import unit_kinds
from cimsim.blocks import Link, MachineBlock, PmcaClusters
from cimsim.cli import app
from cimsim.costs.tile import link_energy_J, transfer_ps
from cimsim.errors import CapacityError, MappingError, SpecError
from cimsim.functional import program_chip
from cimsim.ir import ColumnScale, save_workload
from cimsim.mappers import build_mapping
from cimsim.mapping import Grid, Written, values_by_unit
from cimsim.report import load_report
from cimsim.report.leakage import leakage_W
from cimsim.simulation import simulate
from cimsim.spec import Architecture, load_architecture, machine_type
from cimsim.unit_kinds import Arrays, AttentionArrays, UnitKind, VectorCost, WriteCost
from cimsim.units import cycles_to_ps, ps_to_seconds
from cimsim.values.bounds import Amount, Bits, Clock_MHz, Count, Side


class EdramUnits(MachineBlock):
    """Compute-in-memory units of eDRAM; a read destroys, so each vector ends with a restore."""

    rows: Side
    columns: Side
    unit_count: Count
    weight_bits: Bits
    input_bits: Bits
    output_bits: Bits
    bits_per_cycle: Count
    clock_MHz: Clock_MHz
    mac_energy_fJ: Amount
    write_energy_fJ_per_bit: Amount
    unit_area_um2: Amount
    leakage_uW: Amount
    refresh_uW: Amount


@dataclass(frozen=True, slots=True)
class EdramArrays:
    block: EdramUnits

    @property
    def count(self) -> int:
        return self.block.unit_count

    @property
    def value_bits(self) -> int:
        return self.block.weight_bits

    @property
    def shape(self) -> tuple[int, int]:
        return self.block.rows, self.block.columns

    @property
    def tiers(self) -> int:
        return 1

    @property
    def mac_J(self) -> float:
        return self.block.mac_energy_fJ * 1e-15

    @property
    def converter(self) -> str | None:
        return None

    @property
    def input_bits(self) -> int:
        return self.block.input_bits

    @property
    def output_bits(self) -> int:
        return self.block.output_bits

    def area_mm2(self, units: int) -> float:
        return units * self.block.unit_area_um2 * 1e-6

    def leakage_W(self, units: int) -> float:
        return units * (self.block.leakage_uW + self.block.refresh_uW) * 1e-6

    @property
    def power_states(self) -> None:
        return None

    def per_cluster(self, pmca: PmcaClusters) -> Fraction:
        return Fraction(-(-self.block.unit_count // pmca.cluster_count))

    def passage_ps(self, block: tuple[int, int], vectors: int) -> tuple[int, int]:
        cycles = self.block.input_bits // self.block.bits_per_cycle + 1
        return cycles_to_ps(vectors * cycles, self.block.clock_MHz), 0

    @property
    def slices(self) -> int:
        return 1

    def vector(self, grid: Grid, link: Link, columns: ColumnScale | None = None) -> VectorCost:
        assert columns is None
        rows, outputs = min(grid.rows, grid.block_rows), min(grid.columns, grid.block_columns)
        return VectorCost(
            load_ps=transfer_ps(rows * self.block.input_bits, link),
            load_once_ps=transfer_ps(0, link),
            send_once_ps=transfer_ps(0, link),
            send_ps=transfer_ps(outputs * self.block.output_bits, link),
            output_bits=self.block.output_bits,
            results=grid.row_blocks * grid.columns,
        )

    def vector_J(self, grid: Grid, columns: ColumnScale | None = None) -> dict[str, float]:
        return {"products": grid.rows * grid.columns * self.mac_J}

    def adders_ps(self, row_blocks: int) -> int:
        return cycles_to_ps(row_blocks - 1, self.block.clock_MHz)

    def adders_J(self, sums: float, results: float) -> dict[str, float]:
        return {"accumulate": (sums - results) * 1e-14}

    def write_ps(self, values: int) -> int:
        rows = -(-values // self.block.columns)
        return cycles_to_ps(rows, self.block.clock_MHz)

    def write_J(self, values: float) -> float:
        return values * self.block.weight_bits * self.block.write_energy_fJ_per_bit * 1e-15

    def write(self, written: Sequence[Written], link: Link) -> WriteCost:
        values = values_by_unit(written)
        bits = int(values.sum()) * self.block.weight_bits
        return WriteCost(
            {"edram_bits": bits},
            {"bits": self.write_J(int(values.sum())), "moving": link_energy_J(link, bits)},
            ps_to_seconds(self.write_ps(int(values.max(initial=0)))),
        )

    def write_registers(self, bits: int, link: Link) -> WriteCost:
        return WriteCost({"register_bits_written": bits}, {"moving": link_energy_J(link, bits)})


EDRAM = UnitKind(
    name="edram",
    noun="eDRAM units",
    bound="unit_count",
    port="tile_link",
    exactness="exact",
    does=frozenset({"weights", "attention", "lora"}),
    block=EdramUnits,
    units=EdramArrays,
)
BLOCK: dict[str, Any] = {
    "rows": 16, "columns": 16, "unit_count": 300, "weight_bits": 8, "input_bits": 8,
    "output_bits": 16, "bits_per_cycle": 4, "clock_MHz": 100.0, "mac_energy_fJ": 30.0,
    "write_energy_fJ_per_bit": 5.0, "unit_area_um2": 4000.0, "leakage_uW": 1.0, "refresh_uW": 2.0,
}  # fmt: skip


@pytest.fixture
def edram(monkeypatch: pytest.MonkeyPatch) -> UnitKind[EdramUnits]:
    """cimsim with one kind more."""
    monkeypatch.setitem(unit_kinds.KINDS, "edram", EDRAM)
    return EDRAM


def written(folder: Path, **changes: Any) -> Path:
    """The file of a machine whose weights are in eDRAM."""
    path = folder / "machine.json"
    given = {"edram": BLOCK, "weights_on": "edram", "adaptation": "none"} | changes
    path.write_text(json.dumps(small.sourced(small.merged(small.TOP, given))))
    return path


@pytest.fixture
def machine(edram: UnitKind[EdramUnits], tmp_path: Path) -> Architecture:
    return load_architecture(written(tmp_path))


LAYER = small.one_layer(40, 24, tokens=1)
"""Three by two blocks of 16x16."""


def test_the_machine_reads_the_block(machine: Architecture) -> None:
    units = machine.units["edram"]
    assert isinstance(units, EdramArrays)
    assert units.block.refresh_uW == 2.0
    assert list(machine.blocks)[:4] == ["rram", "sram", "pmca", "edram"]
    assert machine.assumed()["edram.refresh_uW"] == "for tests"
    assert "edram_units=300" in repr(machine)
    assert machine_type().model_json_schema()["properties"]["weights_on"]["enum"][-1] == "edram"
    slower = machine.with_values({"edram.clock_MHz": 50.0})
    assert slower.changes[0].field == "edram.clock_MHz"
    for value in (machine, slower):
        assert pickle.loads(pickle.dumps(value)) == value
        assert pickle.loads(pickle.dumps(value)).changes == value.changes


def test_a_file_with_a_block_that_is_wrong_is_refused(
    edram: UnitKind[EdramUnits], tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=r"edram\.rows: Input should be greater"):
        load_architecture(written(tmp_path, edram=BLOCK | {"rows": 0}))
    with pytest.raises(SpecError, match="weights_on is 'edram', but the machine has no `edram`"):
        load_architecture(written(tmp_path, edram=None))
    lacking = written(tmp_path, edram=None, weights_on="rram", adaptation="lora-edram")
    with pytest.raises(SpecError, match="adaptation is 'lora-edram', but the machine has no"):
        simulate(LAYER, load_architecture(lacking), pipeline="token")


def test_without_the_kind_its_block_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(
        SpecError, match=r"weights_on: Input should be 'rram' or 'sram' \(got 'edram'"
    ):
        load_architecture(path)
    with pytest.raises(SpecError, match="edram: Extra inputs are not permitted"):
        load_architecture(written(tmp_path, weights_on="rram"))


def test_mapping(machine: Architecture, tmp_path: Path) -> None:
    mapping = build_mapping(LAYER, machine, "none")
    placement = mapping.placements["layer.weight"]
    assert (placement.unit, placement.units.shape) == ("edram", (1, 3, 2))
    assert mapping.units_used == {"rram": 0, "sram": 0, "edram": 6}
    few = load_architecture(written(tmp_path, edram=BLOCK | {"unit_count": 5}))
    with pytest.raises(CapacityError, match=r"needs 6 units, edram\.unit_count is 5 \(1 short\)"):
        build_mapping(LAYER, few, "none")


def test_latency_and_energy(machine: Architecture) -> None:
    report = simulate(LAYER, machine, pipeline="token").report
    # buffer 40 B, link 16 B, 8/4 + 1 cycles, link 16 results of 2 B, buffer 48 B
    steps_ns = (2 + 40 / 50, 4 + 16 / 8, 3 * 10, 4 + 32 / 8, 2 + 48 / 50)
    assert report.latency_s == close(sum(steps_ns) * 1e-9)
    assert report.energy_by_component_J["edram.products"] == close(40 * 24 * 30e-15)
    assert report.unit_times["edram"].units == 6
    assert report.unit_times["edram"].busy_s == close(30e-9)
    leaked = 6 * 3e-6 * report.latency_s
    assert report.energy_by_component_J["leakage.edram"] == close(leaked)
    assert report.area_by_unit_mm2["edram"] == close(300 * 4000e-6)
    assert report.area_used_by_unit_mm2["edram"] == close(6 * 4000e-6)
    for built, part in ((report.area_mm2, report.area_by_unit_mm2),
                        (report.area_used_mm2, report.area_used_by_unit_mm2)):  # fmt: skip
        assert built == close(sum(part.values()))
    assert "adc" not in report.unit_times
    assert set(report.energy_by_unit_J) >= set(unit_kinds.KINDS)


def test_area_and_leakage(machine: Architecture) -> None:
    bare = small.machine(adaptation="none")
    ports = machine.area_mm2()["link"] - bare.area_mm2()["link"]
    assert ports == pytest.approx(300 * 100e-6, rel=1e-9)
    assert machine.area_mm2({"edram": 7})["edram"] == close(7 * 4000e-6)
    assert leakage_W(machine, {"edram": 7})["edram"] == close(7 * 3e-6)
    assert leakage_W(machine, {"edram": 7})["link"] == close(7 * 0.1e-6)


def test_writes(machine: Architecture, tmp_path: Path) -> None:
    report = simulate(LAYER, machine, pipeline="token").report
    write = report.reprogramming
    bits = 40 * 24 * 8
    assert write.also_written == {"edram_bits": bits}
    assert write.cells_written == write.sram_bits_written == write.tcdm_bytes_written == 0
    assert write.energy_J == close(bits * (5e-15 + 0.3e-12))
    assert (write.time_s, write.wear) == (close(16 * 10e-9), 0.0)  # 16 rows of the fullest unit
    assert report.row()["programming.edram_bits_written"] == bits
    report.save(tmp_path / "report.json")
    assert load_report(tmp_path / "report.json") == report


def test_attention_is_kept_in_the_arrays(edram: UnitKind[EdramUnits], tmp_path: Path) -> None:
    on = {"weights_on": "rram", "attention_on": "edram"}
    found = simulate(
        small.decoder(rank=None), load_architecture(written(tmp_path, **on)), pipeline="token"
    )
    sram = small.machine(attention_on="sram", adaptation="none")
    known = simulate(small.decoder(rank=None), sram, pipeline="token").report.energy_by_component_J
    mine = found.report.energy_by_component_J
    assert mine["edram.attention"] == close(known["sram.attention"] * 30 / 91)
    assert mine["edram.kv_write"] == close(known["sram.kv_write"] * 5 / 12)
    assert {store.unit for store in found.mapping.kv.values()} == {"edram"}
    assert found.mapping.used("edram") == sum(store.units for store in found.mapping.kv.values())


def test_lora_is_at_home_there(edram: UnitKind[EdramUnits], tmp_path: Path) -> None:
    on = {"weights_on": "rram", "adaptation": "lora-edram"}
    done = simulate(small.decoder(), load_architecture(written(tmp_path, **on)), pipeline="token")
    homes = {p.unit for p in done.mapping.placements.values() if p.role != "base"}
    assert homes == {"edram"}
    switch = done.report.reprogramming.adapter_switch
    count = sum(p.weights for p in done.mapping.placements.values() if p.role != "base")
    assert (switch.also_written, switch.cells_written) == ({"edram_bits": 8 * count}, 0)


def test_the_command_line_shows_it(edram: UnitKind[EdramUnits], tmp_path: Path) -> None:
    save_workload(LAYER, tmp_path / "layer.json")
    files = str(written(tmp_path)), str(tmp_path / "layer.json")
    shown = {
        verb: CliRunner().invoke(app, [verb, *files], env={"COLUMNS": "200"}).output
        for verb in ("check", "map", "run")
    }
    assert "fits, 0 tiles, 0 SRAM units, 6 eDRAM units" in shown["check"]
    assert "0 tiles, 0 SRAM units, 6 eDRAM units" in shown["map"]
    assert "edram bits" in shown["run"]
    assert f"{40 * 24 * 8:,}" in shown["run"]
    told = json.loads(CliRunner().invoke(app, ["map", *files, "--json"]).output)
    assert (told["edram_units_used"], told["tiles_used"]) == (6, 0)


def test_values_are_computed_exactly(machine: Architecture) -> None:
    net, x = analog.network(40, 24, 8), analog.vectors(5, 40)
    mapping = analog.of_module(net, machine, x)
    read = program_chip(net, mapping, machine, "gaussian:0.5").at()
    assert set(read.digital.values()) == {"edram"}
    assert torch.equal(read(x), net(x))


def test_an_unknown_kind_is_an_error_and_no_noisy_memory() -> None:
    net, x, machine = analog.network(16, 8), analog.vectors(2, 16), analog.machine()
    mapping = analog.of_module(net, machine, x)
    placements = {n: replace(p, unit="ghost") for n, p in mapping.placements.items()}
    lost = replace(mapping, placements=placements)
    with pytest.raises(MappingError, match="unknown kind of unit 'ghost'; known: rram, sram, pmca"):
        program_chip(net, lost, machine, "gaussian:0.5")
    with pytest.raises(MappingError, match="unknown kind of unit 'ghost'"):
        machine.arrays("ghost")
    with pytest.raises(MappingError, match="architecture 'tiny' has no `sram` block"):
        small.machine(sram=None).arrays("sram")
    with pytest.raises(
        MappingError, match="`pmca` units hold no matrices in arrays: rram or sram do"
    ):
        machine.arrays("pmca")


def test_noise_is_known_of_one_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, machine = analog.network(16, 8), analog.vectors(2, 16), analog.machine()
    mapping = analog.of_module(net, machine, x)
    monkeypatch.setitem(unit_kinds.KINDS, "flash", replace(unit_kinds.RRAM, name="flash"))
    placements = {n: replace(p, unit="flash") for n, p in mapping.placements.items()}
    with pytest.raises(
        MappingError, match="on 'flash' units: noise is known of the tiles in `rram`"
    ):
        program_chip(net, replace(mapping, placements=placements), machine, "gaussian:0.5")


def some(unit: str, *values: int) -> Written:
    return Written("w", unit, np.arange(len(values)), np.array(values))


@pytest.mark.parametrize("name", ["rram", "sram", "pmca", "edram"])
def test_a_kind_does_what_it_says(name: str, machine: Architecture) -> None:
    kind, units = unit_kinds.KINDS[name], machine.units[name]
    assert kind.name == name
    assert units.count == getattr(machine.blocks[name], kind.bound)
    assert isinstance(units, Arrays) == ("weights" in kind.does)
    if isinstance(units, AttentionArrays):
        assert "attention" in kind.does
        assert units.converter is None
    assert units.area_mm2(6) == close(2 * units.area_mm2(3))
    assert units.leakage_W(6) == close(2 * units.leakage_W(3))
    link = machine.cluster_link
    one, two = (units.write([some(name, *values)], link) for values in ([5], [5, 5]))
    assert two.energy_J == pytest.approx(2 * one.energy_J)
    assert two.time_s >= one.time_s
    assert {n: 2 * amount for n, amount in one.amounts.items()} == two.amounts
    nothing = units.write([some(name, 0)], link)
    assert (nothing.energy_J, nothing.time_s, nothing.wear) == (0.0, 0.0, 0.0)
    assert not any(nothing.amounts.values())
