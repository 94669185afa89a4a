"""What an architect would doubt is said, and what is fine is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import small

import cimsim
from cimsim.report.inert import (
    costs_of,
    follows,
    inert_changes,
    inert_knobs,
    is_knob,
    silent_fields,
)
from cimsim.report.plausibility import doubts_on_machine, doubts_on_run
from cimsim.spec import Architecture

HYBRID = cimsim.machine("halora_rram_sram")
FINE: dict[str, Any] = {
    "macs": 10**9, "energy_J": 1e-3, "latency_s": 1e-3, "used_mm2": 100.0, "used": {},
}  # fmt: skip


def counts(machine: Architecture, share: float) -> dict[str, int]:
    """So much of every kind of unit."""
    return {kind: max(1, round(share * unit.count)) for kind, unit in machine.units.items()}


def test_a_die_larger_than_a_reticle_is_said() -> None:
    """26 x 33 = 858 mm2."""
    tiles = HYBRID.rram
    assert tiles is not None
    other = HYBRID.die_area_mm2 - HYBRID.area_mm2()["rram"]
    (told, *_) = doubts_on_machine(HYBRID)
    assert "larger than a reticle (858 mm2)" in told
    assert f"{HYBRID.die_area_mm2:.0f} mm2" in told
    few = small.machine()
    assert few.die_area_mm2 < 858
    assert doubts_on_machine(few) == ()
    assert other > 0


def test_converters_that_cannot_keep_up_are_said() -> None:
    """64 columns of 0.78125 ns are 50 ns of 100; of 2 ns they are 128."""
    assert not [d for d in doubts_on_machine(HYBRID) if "pace" in d]
    slow = HYBRID.with_values({"rram.adc_time_ns": 2.0})
    assert [d for d in doubts_on_machine(slow) if "take 128 ns a pulse, the cells 100 ns" in d]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rram.rows": 8192}, "a bit line over 8192 cells takes 224 ns to settle to 8 bits"),
        ({"rram.columns": 8192, "rram.integration_ns": 50},
         "a word line over 8192 cells takes 224 ns to settle to 8 bits"),
        ({"rram.load_ns": 0.16}, "rram.load_ns 0.16 is shorter than gates of 28 nm take (0.16 ns)"),
        ({"rram.accumulate_ns": 0.6}, "rram.accumulate_ns 0.6 is shorter"),
        ({"technology_nm": 65, "rram.shift_add_ns": 1.4}, "rram.shift_add_ns 1.4 is shorter"),
    ],
)  # fmt: skip
def test_lines_and_logic_that_are_too_slow_are_said(values: dict[str, Any], told: str) -> None:
    """8192 cells of 0.2 um and 0.35 fF have 3.2 pF and 20 kOhm: 9 ln 2 3.2 pF (10 + 1) kOhm.

    A flip-flop takes 3.4 gates of 47.8 ps, a sum of 16 bits 12.8, by node.
    """
    few = {"rram.tile_count": 4096}
    assert any(told in d for d in doubts_on_machine(HYBRID.with_values(few | values)))
    assert not any(told.split(" takes")[0] in d for d in doubts_on_machine(HYBRID))


def test_wires_and_ends_of_a_file_decide_its_settling() -> None:
    """224 ns with 2.5 ohm a cell and 1 kOhm at the end, 20 with neither."""
    free = dict.fromkeys((f"rram.accuracy.{n}_ohm" for n in ("word", "bit", "driver", "sense")), 0)
    long = HYBRID.with_values({"rram.tile_count": 4096, "rram.rows": 8192})
    for values in (free, free | {"rram.accuracy.bit_ohm": 1.0, "rram.accuracy.sense_ohm": 1000.0}):
        told = any("a bit line" in d for d in doubts_on_machine(long.with_values(values)))
        assert told == (values["rram.accuracy.bit_ohm"] == 1.0)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"energy_J": 0.11}, "1.1 W/mm2, above the 1 W/mm2"),
        ({"macs": 10**11}, "200 TOPS/W in all is beyond any published macro"),
        ({"used": counts(HYBRID, 0.01)}, "uses 1.0% of rram, 1.0% of sram, 1.0% of pmca"),
    ],
)
def test_a_run_that_nobody_could_build(changed: dict[str, Any], told: str) -> None:
    """0.11 J in 1 ms on 100 mm2 is 1.1 W/mm2; 2e11 operations in 1 mJ are 200 TOPS/W."""
    fine = {**FINE, "used": counts(HYBRID, 0.5)}
    assert doubts_on_run(HYBRID, **fine) == ()
    (found,) = doubts_on_run(HYBRID, **{**fine, **changed})
    assert told in found


def test_changed_numbers_that_no_cost_follows_are_said_once() -> None:
    changed = HYBRID.with_values({"rram.adc_bits": 6, "dram.access_ns": 50.0})
    (told,) = inert_changes(changed)
    assert told.startswith("dram.access_ns was changed and no energy, leakage or area")
    assert inert_changes(HYBRID) == ()
    without = HYBRID.with_values({"rram.models.adc": None, "rram.models.standing": None})
    without = without.with_values({"rram.adc_bits": 6})
    assert [line for line in inert_changes(without) if "rram.models.adc, rram.models" in line]


def test_costs_are_told_from_knobs() -> None:
    for cost in ("rram.adc_energy_pJ", "pmca.leakage_mW", "rram.cell_area_um2",
                 "tile_link.energy_pJ_per_bit", "sram.write_energy_fJ_per_bit"):  # fmt: skip
        assert not is_knob(cost, 1.0), cost
    for free in ("pmca.exp_cycles", "rram.input_pulses", "pmca.pool_clusters"):
        assert not is_knob(free, 1), free
    for knob in ("pmca.cores", "buffer.banks", "rram.adc_bits", "rram.integration_ns"):
        assert is_knob(knob, 1), knob
    assert not is_knob("weights_on", "rram")
    assert follows(HYBRID, "rram.tile_count", 2**19)
    assert costs_of(HYBRID)["area rram"] == HYBRID.area_mm2()["rram"]


def test_every_number_of_hardware_moves_a_cost_or_is_listed(cimsim: Any) -> None:
    """The list of docs/knobs.md; the clock moves the voltage, and so the energy of all work."""
    listed = inert_knobs(HYBRID)
    page = (small.ROOT / "docs" / "knobs.md").read_text()
    for field in listed:
        assert f"`{field}`" in page, field
    for moved in ("pmca.clock_MHz", "pmca.cores", "buffer.banks", "sram.rows", "dram.channels"):
        assert moved not in listed
    code, out, _ = cimsim("check", "halora_rram_sram", "--knobs", "--json")
    assert code == 0
    assert json.loads(out)["inert"] == listed
    assert json.loads(out)["silent"] == silent_fields(HYBRID)
    code, out, _ = cimsim("check", "halora_rram_sram", "--knobs")
    assert f"{len(listed)} numbers that no cost follows" in out
    assert f"{len(silent_fields(HYBRID))} numbers that no result follows" in out


def test_check_and_run_say_them(cimsim: Any, tmp_path: Any) -> None:
    quick = ("--set", "dram.access_ns=50")
    code, out, _ = cimsim("check", "halora_rram_sram", *quick, "--json")
    assert code == 0
    notes = json.loads(out)["notes"]
    assert any("reticle" in n for n in notes)
    assert any("dram.access_ns" in n for n in notes)
    code, out, _ = cimsim("run", "halora_rram_sram", "minilm_sentiment_r8_s32", *quick,
                          "--pipeline", "token", "--json")  # fmt: skip
    assert code == 0
    assert set(notes) <= set(json.loads(out)["notes"])


def test_limits_are_where_they_are_said_to_be() -> None:
    """A die of 921 mm2 of tiles is beyond 858; what is not in use, or has no time, is no doubt."""
    large = small.machine(rram={"tile_count": 700_000})
    assert 858 < large.die_area_mm2 < 1.2 * 858
    assert any("reticle" in d for d in doubts_on_machine(large))
    assert doubts_on_run(HYBRID, **FINE) == ()
    assert doubts_on_run(HYBRID, **{**FINE, "used_mm2": 0.0}) == ()
    instant = HYBRID.with_values({"rram.shift_add_ns": 0.0, "rram.accumulate_ns": 0.0})
    assert not any("shorter than gates" in d for d in doubts_on_machine(instant))


def test_the_end_of_a_line_delays_it() -> None:
    """1.6 pF behind 20 kOhm: 9 ln 2 32 ns; behind the assumed 1 kOhm a tenth of it."""
    none = dict.fromkeys((f"rram.accuracy.{n}_ohm" for n in ("word", "bit", "driver")), 0)
    tall = HYBRID.with_values({"rram.tile_count": 4096, "rram.rows": 4096, **none})
    assert not any("a bit line" in d for d in doubts_on_machine(tall))
    slow = tall.with_values({"rram.accuracy.sense_ohm": 20_000.0})
    assert any("a bit line" in d for d in doubts_on_machine(slow))


def test_costs_and_reasons_by_hand() -> None:
    """Clusters at 0.8 V take (0.8 / 0.65)^2 of the energies of the file; all units leak."""
    costs = costs_of(HYBRID)
    assert costs["energy of clusters, by the square of V"] == pytest.approx((0.8 / 0.65) ** 2)
    for kind, unit in HYBRID.units.items():
        assert costs[f"leakage {kind}"] == unit.leakage_W(unit.count)
    assert inert_knobs(HYBRID)["sram.clock_MHz"].startswith("slower saves nothing")
    assert is_knob("rram.accuracy.word_ohm", 1.0)
    assert not is_knob("rram.accuracy.adc_noise_ratio", 1.0)
