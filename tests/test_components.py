"""Component models: what they give, where the anchor holds, and what is refused."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import close

import cimsim
from cimsim.blocks import CrossbarTiles
from cimsim.costs import leakage
from cimsim.costs.components import (
    COMPONENTS,
    NODE,
    adc,
    cell,
    dac,
    lines,
    sample_hold,
    standing,
    tile_logic,
)
from cimsim.costs.tile import mvm_energy_J
from cimsim.errors import SpecError
from cimsim.spec import Architecture

MACHINE = cimsim.machine("halora_rram_sram")
GIVEN = json.loads(MACHINE.model_dump_json(exclude_none=True))


def content(**models: Any) -> dict[str, Any]:
    """The content of a machine file whose tiles have `models` and none of the numbers they give."""
    data: dict[str, Any] = copy.deepcopy(GIVEN)
    data["rram"]["models"], data["ranges"] = models, {}
    for name in ("adc_energy_pJ", "adc_area_um2"):
        del data["rram"][name], data["rram"]["sources"][name]
    return data


def tile(**values: Any) -> CrossbarTiles:
    """The tiles of the machine with other values at paths, dots as double underscores."""
    changed = {f"rram.{name.replace('__', '.')}": value for name, value in values.items()}
    made = MACHINE.with_values({k.replace("rram.technology", "technology"): v
                                for k, v in changed.items()}).rram  # fmt: skip
    assert made is not None
    return made


def test_converters_by_hand() -> None:
    """8 bits, 28 nm, 0.9 V, 1.28 GS/s.

    Steps 800 fF 0.81 V^2 = 0.648 pJ. SNDR 49.92 dB, FOM 302.739 - 6.4608 ln 1.28e9 = 167.255 dB:
    10^-11.7335 / 2 J = 0.9235 pJ. At 10 MS/s FOM 180.14: 10^-13.022 / 2 = 0.0475 pJ.
    Area 10^0.9108 256 = 2084.7 um2. 2^8 counts of 4.2 fF: 0.871 pJ. Flash: 256 of 39.4 fJ.
    """
    assert adc.steps_pJ(8, 28, 0.9) == pytest.approx(0.648)
    assert adc.schreier_pJ(8, 1.28e9) == pytest.approx(0.9235, rel=1e-3)
    assert adc.schreier_pJ(8, 1e7) == pytest.approx(0.0475, rel=2e-3)
    assert adc.array_um2(8, 28) == pytest.approx(2084.7, rel=1e-4)
    assert adc.counting_pJ(8, 28, 0.9) == pytest.approx(0.8709, rel=1e-3)
    assert adc.walden_pJ(8) == pytest.approx(10.09, rel=1e-3)
    assert adc.counter_um2(8, 28) == pytest.approx(8 * 2 * 3.684)


def test_the_other_parts_by_hand() -> None:
    """50 fF 8 0.81 = 0.324 pJ; a line of 64 cells of 0.04 um2: 64 0.2 um 0.2 fF/um 0.81 = 2.07 fJ.

    Its driver takes a third of it beside. V^2 G t = 0.04 20.5 uS 100 ns = 82 fJ. 53 F^2 at 28 nm
    = 0.04155 um2. An adder of 16 bits: 16 (3 0.7 + 2 1.05 + 2.1) fF 0.81 = 0.0816 pJ.
    """
    assert dac.binary_pJ(8, 28, 0.9) == pytest.approx(0.324)
    assert dac.word_line_pJ(64, 0.04, 0.9) == pytest.approx(2.0736e-3 * 4 / 3)
    assert dac.binary_um2(8, 32) == pytest.approx(21.248)
    assert dac.binary_um2(1, 32) == pytest.approx(0.166)
    assert dac.one_bit_pJ(28, 0.9) == pytest.approx(2.1 * 0.81e-3)
    assert dac.pulse_width_pJ(8, 28, 0.9) == pytest.approx(0.8709, rel=1e-3)
    assert cell.read_fJ(0.2, 20.5, 100) == pytest.approx(82.0)
    assert cell.cell_um2(53, 28) == pytest.approx(0.041552)
    assert tile_logic.addition_pJ(16, 28, 0.9) == pytest.approx(0.081648)
    assert tile_logic.multiplication_pJ(16, 28, 0.9) == pytest.approx(16 * 0.081648)
    assert tile_logic.register_um2(16384, 32) == pytest.approx(2100, rel=2e-3)
    assert tile_logic.adder_um2(16, 28) == pytest.approx(16 * (3 + 2 * 2.4) * 0.614)
    assert tile_logic.multiplier_um2(16, 28) == pytest.approx(256 * 7.8 * 0.614)
    assert tile_logic.addition_ns(16, 28) == pytest.approx((4.8 + 4 * 2) * 0.0478)
    assert tile_logic.latch_ns(56) == pytest.approx(2 * 3.4 * 0.0478)


PUBLISHED = {
    # ADC choices of MNSIM 2.0 and converters of the survey: bits, ns, nm, pJ, um2
    "ISAAC and PUMA": (8, 0.78125, 32, 1.5625, 1200),
    "VLSI 2020 CD1.3": (8, 1.0, 28, 2.55, 2000),
    "ISSCC 2018 9.4": (8, 1 / 1.1, 40, 3.64, 1650),
    "MNSIM choice 4": (6, 1.0, 28, 1.26, 580),
    "ISSCC 2017 28.5": (10, 1 / 1.5, 14, 4.61, 1600),
}


@pytest.mark.parametrize(("bits", "time", "node", "pJ", "um2"), PUBLISHED.values(), ids=PUBLISHED)
def test_sar_meets_published_converters(
    bits: int, time: float, node: float, pJ: float, um2: float
) -> None:
    """Energy and area within 2.6 times; bits are effective ones.

    ISSCC 2017 28.5 has 10 nominal bits, about 8.5 effective ones: 4.6 pJ where 10 would take 19.
    """
    effective = 8.9 if bits == 10 else bits
    energy = adc.steps_pJ(bits, node, 0.9) + adc.schreier_pJ(effective, 1e9 / time)
    energy = max(energy, adc.decisions_pJ(bits, 0.9))
    assert 1 / 2.6 < energy / pJ < 1.7
    assert 1 / 2.6 < adc.array_um2(bits, node) / um2 < 2.6


@pytest.mark.parametrize(
    ("bits", "pJ"), [(7, 133 / 150), (6, 2.6e3 / 2.2e3), (6, 1.26)], ids=["90 nm", "40 nm", "28 nm"]
)
def test_converters_of_few_bits_have_a_floor(bits: int, pJ: float) -> None:
    """Within 1.4 times of the three that it is the mean of, whatever the node; with V squared."""
    assert 1 / 1.4 < adc.decisions_pJ(bits, 0.9) / pJ < 1.4
    assert adc.decisions_pJ(bits, 1.8) == pytest.approx(4 * adc.decisions_pJ(bits, 0.9))
    fast = Architecture.model_validate(content(adc={"kind": "sar"})).with_values
    few = fast({"rram.adc_bits": 4, "rram.adc_time_ns": 100.0}).rram
    assert few is not None
    assert few.adc_energy_pJ == adc.decisions_pJ(4, 0.9)


def test_absolute_and_anchored() -> None:
    absolute = Architecture.model_validate(content(adc={"kind": "sar"})).rram
    assert absolute is not None
    assert absolute.adc_energy_pJ == adc.steps_pJ(8, 28, 0.9) + adc.schreier_pJ(8, 1.28e9)
    assert tile().adc_energy_pJ == 1.5625
    assert tile().adc_area_um2 == 1200
    less = tile(adc_bits=6).adc_energy_pJ
    law = adc.decisions_pJ(6, 0.9)
    assert law > adc.steps_pJ(6, 28, 0.9) + adc.schreier_pJ(6, 1.28e9)
    assert less == pytest.approx(1.5625 * law / absolute.adc_energy_pJ, rel=1e-12)
    assert MACHINE.with_values({"rram.adc_bits": 6}).digest() != MACHINE.digest()


@given(
    bits=st.integers(1, 15),
    node=st.floats(14.0, 60.0),
    rate=st.floats(1e6, 5e9),
    more=st.floats(1.01, 1.5),
)
def test_more_costs_more(bits: int, node: float, rate: float, more: float) -> None:
    """More bits, a larger node, a faster or longer one never cost less."""
    laws: list[Callable[[float, float], float]] = [
        lambda b, n: adc.steps_pJ(b, n, 0.9),
        lambda b, n: adc.counting_pJ(b, n, 0.9),
        lambda b, n: dac.binary_pJ(b, n, 0.9),
        lambda b, n: dac.pulse_width_pJ(b, n, 0.9),
        lambda b, n: tile_logic.addition_pJ(b, n, 0.9),
        lambda b, n: tile_logic.multiplication_pJ(b, n, 0.9),
        adc.array_um2, adc.counter_um2, dac.binary_um2, dac.pulse_width_um2,
        tile_logic.adder_um2, tile_logic.register_um2, cell.cell_um2,
    ]  # fmt: skip
    for law in laws:
        assert law(bits, node) < law(bits + 1, node)
        assert law(bits, node) < law(bits, node * more)
    assert adc.schreier_pJ(bits + 1, rate) > 3.9 * adc.schreier_pJ(bits, rate)
    assert adc.schreier_pJ(bits, rate * more) >= adc.schreier_pJ(bits, rate)
    assert dac.word_line_pJ(64 * more, 0.04, 0.9) > dac.word_line_pJ(64, 0.04, 0.9)


def test_laws_scale_as_they_say() -> None:
    """Twice the voltage is four times the energy, twice the node twice it and four times the area.

    A counter of a bit more counts twice as long; a read over twice the voltage takes four times.
    """
    for energy in (
        adc.steps_pJ,
        adc.counting_pJ,
        dac.binary_pJ,
        dac.pulse_width_pJ,
        tile_logic.addition_pJ,
        tile_logic.multiplication_pJ,
    ):
        assert energy(8, 28, 1.8) == pytest.approx(4 * energy(8, 28, 0.9))
        assert energy(8, 56, 0.9) == pytest.approx(2 * energy(8, 28, 0.9))
    for area in (
        adc.array_um2,
        adc.counter_um2,
        dac.binary_um2,
        dac.pulse_width_um2,
        tile_logic.register_um2,
        tile_logic.adder_um2,
        cell.cell_um2,
    ):
        assert area(8, 56) == pytest.approx(4 * area(8, 28))
    for counting in (adc.counting_pJ, dac.pulse_width_pJ):
        assert counting(9, 28, 0.9) == pytest.approx(2 * counting(8, 28, 0.9))
    assert dac.one_bit_pJ(56, 1.8) == pytest.approx(8 * dac.one_bit_pJ(28, 0.9))
    assert dac.word_line_pJ(64, 0.04, 1.8) == pytest.approx(4 * dac.word_line_pJ(64, 0.04, 0.9))
    assert cell.read_fJ(0.4, 20.5, 100) == pytest.approx(4 * cell.read_fJ(0.2, 20.5, 100))


@pytest.mark.parametrize(
    ("path", "value", "moved"),
    [
        ("adc_bits", 9, {"adc_energy_pJ", "adc_area_um2", "leakage_uW"}),
        ("adc_time_ns", 0.5, {"adc_energy_pJ"}),
        ("dac_bits", 9, {"dac_energy_pJ", "dac_area_um2"}),
        ("integration_ns", 200.0, {"cell_read_energy_fJ"}),
        ("g_max_uS", 80.0, {"cell_read_energy_fJ"}),
        ("models.cell.read_V", 0.3, {"cell_read_energy_fJ"}),
        ("models.cell.area_F2", 60.0, {"cell_area_um2", "dac_energy_pJ", "dac_area_um2"}),
        ("models.adc.supply_V", 1.0, {"adc_energy_pJ"}),
        ("rows", 128, {"digital_area_um2", "leakage_uW"}),
        ("columns", 128, {"dac_energy_pJ", "dac_area_um2", "digital_area_um2", "leakage_uW"}),
        ("columns_per_adc", 32, {"digital_area_um2", "leakage_uW"}),
        ("affine_lanes", 128, {"digital_area_um2"}),
        ("models.standing.supply_V", 1.2, {"leakage_uW"}),
        (
            "output_bits",
            24,
            {
                "shift_add_energy_pJ",
                "accumulate_energy_pJ",
                "affine_energy_pJ",
                "digital_area_um2",
                "leakage_uW",
            },
        ),
        (
            "technology_nm",
            32,
            {
                name
                for kinds in COMPONENTS["rram"].values()
                for name in next(iter(kinds.values())).gives
            }
            - {"cell_read_energy_fJ", "sample_energy_fJ", "sample_area_um2"},
        ),
    ],
)
def test_costs_follow_the_knob(path: str, value: float, moved: set[str]) -> None:
    """Every cost that a knob is said to move grows with it, and no other moves."""
    before, after = tile(), tile(**{path.replace(".", "__"): value})
    given = {
        name for kinds in COMPONENTS["rram"].values() for k in kinds.values() for name in k.gives
    }
    grown = {n for n in given if (getattr(after, n) or 0.0) > (getattr(before, n) or 0.0)}
    assert grown == moved
    fallen = {n for n in given if (getattr(after, n) or 0.0) < (getattr(before, n) or 0.0)}
    assert fallen <= {path}


@pytest.mark.parametrize(("kind", "time"), [("flash", 0.5), ("ramp", 128.0), ("cco", 0.78125)])
def test_the_architecture_decides_the_time(kind: str, time: float) -> None:
    """At 2 GHz flash takes 0.5 ns, a ramp of 8 bits 256 clocks; `cco` leaves what is given."""
    clock = {} if kind == "cco" else {"models__adc__clock_GHz": 2.0}
    assert tile(models__adc__kind=kind, **clock).adc_time_ns == time


def test_round_trips() -> None:
    again = Architecture.model_validate(MACHINE.model_dump())
    assert again == MACHINE
    assert again.digest() == MACHINE.digest()
    assert pickle.loads(pickle.dumps(MACHINE)) == MACHINE
    there = MACHINE.with_values({"rram.adc_bits": 6}).with_values({"rram.adc_bits": 8})
    assert there.rram is not None
    assert there.rram.adc_energy_pJ == 1.5625


def test_what_gives_a_number_is_its_source() -> None:
    assert MACHINE.rram is not None
    source = MACHINE.rram.sources["adc_energy_pJ"]
    assert source.startswith("model adc (sar): ")
    assert "anchored on MNSIM" in source
    assert "rram.adc_energy_pJ" not in MACHINE.assumed()
    other = MACHINE.with_values({"rram.models.adc.anchor.adc_energy_pJ": 3})
    assert other.rram is not None
    assert other.rram.adc_energy_pJ == 3
    assert "rram.adc_energy_pJ" in other.assumed()
    found = {model.path: model for model in MACHINE.modelled()}["rram.models.adc"]
    assert found.outputs == {"adc_energy_pJ": 1.5625, "adc_area_um2": 1200.0}
    assert found.inputs == {"adc_bits": 8.0, "adc_time_ns": 0.78125, NODE: 28.0}
    assert not found.outside
    far = MACHINE.with_values({"technology_nm": 7})
    assert [m.outside for m in far.modelled() if m.path == "rram.models.adc"] == [
        ("technology_nm 7 outside 14 to 65",)
    ]


def test_a_model_goes_out_and_comes_in() -> None:
    out = MACHINE.with_values({"rram.models.adc": None, "rram.adc_energy_pJ": 2.0})
    assert out.rram is not None
    assert out.rram.adc_energy_pJ == 2.0
    assert out.rram.adc_area_um2 == 1200
    assert {"rram.adc_energy_pJ", "rram.adc_area_um2"} <= out.assumed().keys()
    back = out.with_values({"rram.models.adc.kind": "sar", "rram.models.adc.supply_V": 0.8})
    assert back.rram is not None
    law = adc.steps_pJ(8, 28, 0.8) + adc.schreier_pJ(8, 1.28e9)
    assert back.rram.adc_energy_pJ == pytest.approx(law)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("rram.adc_energy_pJ", 1.0, "rram.models.adc.anchor.adc_energy_pJ"),
        ("rram.models.adcs.kind", "sar", "rram.models.adc"),
        ("rram.models.cell.anchor.read_V", None, "rram.models.cell.anchor.read_V"),
        ("rram.models.adc.kind", "magic", "'magic', not 'sar' or 'flash'"),
        ("rram.models.adc.kind", 3, "is 3, not 'sar'"),
        ("rram.models.adc.supply", 1.0, "rram.models.adc.supply"),
        ("rram.models.adc.anchor.rows", 64, "anchor names rows"),
        ("rram.models.adc", 3, "set its kind, or null"),
        ("rram.models", None, "`rram` has rram.models.cell"),
        ("rram.adc_bits", 20, "holds for adc_bits 1 to 16, not 20"),
        ("pmca.core.models.x.kind", "sar", "models"),
        ("nothing.models.adc.kind", "sar", "no models"),
    ],
)
def test_what_is_refused(path: str, value: Any, told: str) -> None:
    with pytest.raises(SpecError, match=told.replace(".", r"\.")):
        MACHINE.with_values({path: value})


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"adc": {"kind": "sar", "supply_V": 0.8}}, "no source for supply_V"),
        (
            {"adc": {"kind": "sar", "anchor": {"adc_bits": 8, "adc_energy_pJ": 2}}},
            "anchor_sources names nothing",
        ),
        ({"adc": {"kind": "ramp"}}, "rram.models.adc.clock_GHz: Field required"),
        ({"adc": {}}, "kind is None"),
        (
            {"gears": {"kind": "sar"}},
            "no such component, it has cell, dac, adc, sample, logic, standing",
        ),
    ],
)
def test_what_a_file_may_not_say(models: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Architecture.model_validate(content(**models))


@pytest.mark.parametrize(
    ("block", "field"), [("buffer", "banks"), ("buffer", "bandwidth_GBps"), ("dram", "channels")]
)
@pytest.mark.parametrize("value", [0, -1, 10**400])
def test_a_wrong_input_is_named_by_itself(block: str, field: str, value: int) -> None:
    """Laws see what a file says before it is checked: the field is told, not the law's division."""
    data = copy.deepcopy(GIVEN)
    data[block][field] = value
    with pytest.raises(ValueError, match=rf"{block}\.{field}|{field}") as caught:
        Architecture.model_validate(data)
    assert "ZeroDivision" not in str(caught.value)


def test_no_two_components_give_the_same_field() -> None:
    for block, known in COMPONENTS.items():
        seen: dict[str, str] = {}
        for component, kinds in known.items():
            for field in {name for kind in kinds.values() for name in kind.gives}:
                assert seen.setdefault(field, component) == component, f"{block}.{field}"


@pytest.mark.parametrize(
    ("machine", "values", "told"),
    [
        ("hermes_pcm", {"rram.adc_bits": 10}, "2^10 counts at 7.75 GHz take 132.2 ns"),
        ("hermes_pcm", {"rram.integration_ns": 33.0}, "2^8 counts at 7.75 GHz take 33.04 ns"),
        ("hermes_pcm", {"rram.models.adc.clock_GHz": 1.0}, "2^8 counts at 1 GHz take 256 ns"),
        ("hermes_pcm", {"rram.models.dac.clock_GHz": 1.9}, "lower dac_bits, or raise"),
        ("halora_rram_sram", {"rram.models.dac.kind": "pwm", "rram.dac_bits": 9},
         "2^9 counts at 3.87 GHz take 132.2 ns, integration_ns is 100"),
    ],
)  # fmt: skip
def test_counts_fit_the_time_of_reading(machine: str, values: dict[str, Any], told: str) -> None:
    """A counter of 14 nm takes (3.4 + 2) 0.0239 ns a count; a file may say a slower clock."""
    with pytest.raises(SpecError, match=re.escape(told)):
        cimsim.machine(machine).with_values(values)


def test_counts_that_fit_are_taken() -> None:
    tiles = cimsim.machine("hermes_pcm").with_values({"rram.integration_ns": 33.1}).rram
    assert tiles is not None
    clocked = {"rram.models.adc.clock_GHz": 2.0, "rram.models.dac.clock_GHz": 2.0}
    slow = cimsim.machine("hermes_pcm").with_values(clocked).rram
    assert slow is not None
    assert slow.adc_energy_pJ == tiles.adc_energy_pJ == 42.1


def test_ends_of_columns_by_hand() -> None:
    """64 cells of 0.04 um2: 64 (0.04 + 0.35) fF; a third of it more in drivers. 12 kT 2^16 / V^2.

    kT at 300 K is 4.142e-21 J, so that 8 bits at 0.9 V take 4.02 fF.
    """
    line = lines.line_fF(64, 0.04, 28)
    assert line == pytest.approx(64 * 0.39)
    assert lines.driven_fJ(line, 0.2) == pytest.approx(line * 4 / 3 * 0.04)
    assert lines.driver_um2(line, 28) == pytest.approx(line / 3 / 0.7 * 0.614)
    assert lines.settling_ns(1000, 500, 750, 7) == pytest.approx(8 * math.log(2))
    assert sample_hold.hold_fF(8, 0.9) == pytest.approx(4.021, rel=1e-3)
    assert sample_hold.hold_fF(9, 0.9) == pytest.approx(4 * sample_hold.hold_fF(8, 0.9))
    assert sample_hold.hold_fF(2, 0.9) == 1.0


def test_a_sample_and_hold_costs_every_column_every_pulse() -> None:
    """Energy and area of the columns, and nothing else; twice the rows, a longer bit line."""
    with_it = MACHINE.with_values({"rram.models.sample.kind": "sample_hold",
                                   "rram.models.sample.read_V": 0.2})  # fmt: skip
    before, after = MACHINE.rram, with_it.rram
    assert before is not None
    assert after is not None
    assert after.sample_energy_fJ is not None
    assert after.sample_area_um2 is not None
    line = lines.line_fF(64, before.cell_area_um2, 28)
    held = sample_hold.hold_fF(8, 0.9)
    assert after.sample_energy_fJ == pytest.approx(lines.driven_fJ(line, 0.2) + held * 0.81)
    assert after.sample_area_um2 == pytest.approx(lines.driver_um2(line, 28) + held / 2)
    grown = after.tile_area_um2 - before.tile_area_um2
    assert grown == pytest.approx(64 * after.sample_area_um2)
    parts, more = mvm_energy_J(before, 40, 24, 3, 2), mvm_energy_J(after, 40, 24, 3, 2)
    assert more.pop("sample") == close(3 * 24 * after.sample_energy_fJ * 1e-15)
    assert more == parts
    taller = with_it.with_values({"rram.rows": 128}).rram
    assert taller is not None
    assert taller.sample_energy_fJ is not None
    assert taller.sample_energy_fJ - held * 0.81 == pytest.approx(2 * lines.driven_fJ(line, 0.2))
    with pytest.raises(SpecError, match="together, or neither"):
        MACHINE.with_values({"rram.sample_area_um2": 1.0})


def test_standing_power_by_hand() -> None:
    """PUMA's 0.2 mW an 8-bit ADC, 64 drivers of 0.39 uW, 192 B of 2 KiB of 0.33 mW: HaLoRA's 256.

    Half the node is half of it; leakage at 0.8 of 1 V is 0.8 10^(-0.1 0.2 / 0.09) of it.
    """
    assert standing.tile_uW(1, 8, 64, 1536, 32, 1.0) == pytest.approx(256, rel=1e-3)
    assert standing.tile_uW(2, 4, 0, 0, 16, 1.0) == pytest.approx(100)
    assert leakage.voltage_ratio(0.8, 1.0) == pytest.approx(0.8 * 10 ** (-0.02 / 0.09))
    assert leakage.voltage_ratio(0.8, 0.8) == 1.0
    assert leakage.node_ratio(14, 28) == 0.5
    assert tile().leakage_uW == 256
    law = standing.tile_uW(8, 8, 64, 1536, 28, 1.0) / standing.tile_uW(1, 8, 64, 1536, 28, 1.0)
    assert tile(columns_per_adc=8).leakage_uW == pytest.approx(256 * law)


@pytest.mark.parametrize("entry", ["sar", None, 3, {"kind": ["sar"]}, {"kind": 3}])
def test_what_is_wrong_with_an_input_is_told_beside_a_wrong_model(entry: Any) -> None:
    """A model that lacks an input says so, whatever stands for the models behind it."""
    data = copy.deepcopy(GIVEN)
    data["rram"]["g_min_uS"] = "much"
    data["tile_link"]["models"]["port"] = entry
    with pytest.raises(ValueError, match=r"rram\.g_min_uS|reads g_min_uS|Input should be"):
        Architecture.model_validate(data)


@pytest.mark.parametrize(
    ("kind", "bits", "alone"),
    [("binary", 8, dac.binary_um2(8, 28)), ("one_bit", 1, dac.binary_um2(1, 28)),
     ("pwm", 8, dac.pulse_width_um2(8, 28))],
)  # fmt: skip
def test_every_input_has_the_driver_of_its_line(kind: str, bits: int, alone: float) -> None:
    """Area beside the converter: stages for 64 cells of a word line."""
    few = {"rram.input_bits": bits} if bits == 1 else {}
    made = MACHINE.with_values({"rram.models.dac.kind": kind, "rram.dac_bits": bits, **few}).rram
    assert made is not None
    line = dac.word_line_fF(64, made.cell_area_um2)
    assert made.dac_area_um2 == pytest.approx(alone + lines.driver_um2(line, 28))


def test_drains_shrink_with_the_node_and_results_with_slices() -> None:
    """0.7 fF a drain at 56 nm; two columns a weight are half as many results to keep."""
    assert lines.line_fF(64, 0.04, 56) == pytest.approx(64 * (0.04 + 0.7))
    model = COMPONENTS["rram"]["standing"]["circuits"]
    at = {"rows": 64.0, "columns": 64.0, "columns_per_adc": 64.0, "adc_bits": 8.0,
          "cells_per_weight": 2.0, "input_bits": 8.0, "output_bits": 16.0, NODE: 32.0}  # fmt: skip
    found = model.law(model.entry(kind="circuits", sources={}), at)["leakage_uW"]
    assert found == pytest.approx(standing.tile_uW(1, 8, 64, 512 + 512, 32, 1.0))


def test_each_pulse_is_sampled() -> None:
    held = {"rram.models.sample.kind": "sample_hold", "rram.models.sample.read_V": 0.2}
    tiles = MACHINE.with_values({**held, "rram.input_pulses": 3}).rram
    assert tiles is not None
    assert tiles.sample_energy_fJ is not None
    found = mvm_energy_J(tiles, 40, 24, 1, 1)["sample"]
    assert found == close(3 * 24 * tiles.sample_energy_fJ * 1e-15)
