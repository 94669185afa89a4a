"""First-time programming in detail."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import small
from small import close

import cimsim
from cimsim import simulate
from cimsim.errors import CapacityError, MappingError
from cimsim.ir import save_workload
from cimsim.studies.programming import Programming, UnitProgramming, program

Cli = Callable[..., tuple[int, str, str]]
MODEL = small.decoder(layers=1)


def unit(found: Programming, name: str) -> UnitProgramming:
    (only,) = (each for each in found.units if each.unit == name)
    return only


@pytest.mark.parametrize("adaptation", ["lora-rram", "lora-sram", "lora-pmca", "merged"])
def test_it_is_the_reports_first_programming_in_parts(adaptation: str) -> None:
    machine = small.machine()
    found = program(MODEL, machine, adaptation=adaptation)
    assert machine.rram is not None
    told = simulate(MODEL, machine, adaptation=adaptation, pipeline="token").report.reprogramming
    assert (found.energy_J, found.time_s) == (close(told.energy_J), close(told.time_s))
    tiles = unit(found, "rram")
    assert tiles.cells is not None
    assert tiles.cells.cells == told.cells_written == tiles.amounts["cells_written"]
    assert tiles.cells.pulses == close(told.pulses)
    assert tiles.cells.hottest == close(told.hottest_pulses)
    # energies and pulses of weights add up; times do not, weights are written side by side
    assert sum(w.energy_J for w in found.weights) == close(found.energy_J)
    assert sum(w.pulses for w in found.weights) == close(tiles.cells.pulses)
    assert max(w.time_s for w in found.weights) <= found.time_s
    values = sum(p.values for p in found.weights if p.unit == "rram")
    assert tiles.cells.cells == values * machine.rram.devices_per_weight


def test_pulses_by_hand() -> None:
    """8.5 pulses a cell, each the last with probability 1 / 8.5, of the cells that change."""
    machine = small.machine()
    assert machine.rram is not None
    scheme = machine.rram.write
    assert scheme.pulses_per_cell == 8.5
    found = program(MODEL, machine, adaptation="merged")
    cells = unit(found, "rram").cells
    assert cells is not None
    share = cells.changed / cells.cells
    assert cells.mean == close(8.5 * share)
    survives = 1.0 - 1.0 / 8.5
    assert share * survives**cells.most <= 0.01 < share * survives ** (cells.most - 1)
    brute = sum(1.0 - (1.0 - share * survives**k) ** cells.cells for k in range(800))
    assert cells.hottest == pytest.approx(brute, rel=1e-6)
    assert cells.writes_left == close(scheme.endurance_cycles / cells.hottest)
    parts = unit(found, "rram").energy_by_part_J
    assert parts["verify"] == close(cells.pulses * scheme.verify_energy_pJ * 1e-12)


def test_twice_the_endurance_is_twice_the_writes() -> None:
    machine = small.machine()
    more = machine.with_values({"rram.write.endurance_cycles": 2e6})
    less = machine.with_values({"rram.write.endurance_cycles": 1e6})
    left = []
    for each in (less, more):
        cells = unit(program(MODEL, each, adaptation="merged"), "rram").cells
        assert cells is not None
        assert cells.writes_left is not None
        left.append(cells.writes_left)
    assert left[1] == close(2.0 * left[0])
    assert math.isfinite(left[1])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(CapacityError, match=r"rram\.tile_count is 2"):
        program(MODEL, small.machine().with_values({"rram.tile_count": 2}))
    with pytest.raises(MappingError, match="unknown adaptation 'glue'"):
        program(MODEL, small.machine(), adaptation="glue")


def test_the_command_line_prints_it(
    cimsim: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = small.machine().model_dump(mode="json", exclude_none=True)
    (tmp_path / "m.json").write_text(json.dumps(machine))
    save_workload(MODEL, tmp_path / "w.json")
    files = tmp_path / "m.json", tmp_path / "w.json"
    code, out, err = cimsim("program", *files, "--adapt", "lora-sram", "--json")
    assert (code, err) == (0, "")
    assert Programming.model_validate_json(out) == program(
        MODEL, small.machine(), adaptation="lora-sram"
    )
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cimsim("program", *files, "--adapt", "lora-sram", "--weights", 2)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for said in ("pulses of a cell", "sram bits written", "total", "14 more (--weights"):
        assert said in out
    assert cimsim("program", *files, "--weights", -1)[0] == 2
    assert cimsim("program", *files, "--set", "rram.tile_count=1")[0] == 1


def test_it_is_part_of_the_public_calls() -> None:
    assert cimsim.program is program
