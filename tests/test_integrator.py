"""Columns that integrate several pulses before they convert: NeuRRAM's one- and two-phase input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import small
from hypothesis import given
from hypothesis import strategies as st
from small import close

from cimsim.analog.hardware import hardware_of
from cimsim.blocks import CrossbarTiles, Integrator
from cimsim.costs.tile import conversions, convert_ps, integrate_ps, mvm_energy_J
from cimsim.errors import SpecError
from cimsim.simulation import simulate
from cimsim.validation.machines import NEURRAM_RUNS, full, neurram

CIRCUIT: dict[str, Any] = {
    "phases": 2, "start_ns": 40.0, "cycle_ns": 30.0, "start_energy_fJ": 5.0,
    "cycle_energy_fJ": 3.0,
}  # fmt: skip


def tiles(pulses: int = 7, **circuit: Any) -> CrossbarTiles:
    found = small.machine(
        rram={"input_pulses": pulses, "dac_bits": 8, "integrator": {**CIRCUIT, **circuit}}
    ).rram
    assert found is not None
    return found


def circuit(rram: CrossbarTiles) -> Integrator:
    assert rram.integrator is not None
    return rram.integrator


def test_pulses_cycles_and_bits_of_the_paper() -> None:
    """Fig. 3e and f: 3 magnitude bits take 1 + 2 + 4 cycles; 3 and 3 are converted to 8 and 5."""
    one, two = (circuit(tiles(6, phases=phases)) for phases in (1, 2))
    assert one.cycles(3) == 7
    assert two.pulses(6) == (3, 3)
    assert two.cycles(6) == 14
    assert two.converted_bits(6, 8) == 8 + 5
    assert two.pulses(7) == (4, 3)
    assert two.converted_bits(7, 10) == 10 + 7
    assert one.converted_bits(6, 8) == 8


def test_time_and_energy_of_neurram_by_hand() -> None:
    """Two phases of 4 and 3 pulses: 15 + 7 cycles, conversions of 10 and 7 bits."""
    rram = full("neurram").rram
    assert conversions(rram) == 1.7
    by_hand_ns = 2 * 426 + 7 * 10 + 22 * 310 + 1.7 * 2452
    assert integrate_ps(rram, 256) == pytest.approx(by_hand_ns * 1e3)
    assert convert_ps(rram, 256) == 1000
    parts = mvm_energy_J(rram, 128, 256, 1, 1)
    assert parts["cells"] == close(128 * 256 * 7 * 7.86e-15)
    assert parts["dac"] == close(128 * 7 * 3.93e-12)
    assert parts["adc"] == close(256 * 1.7 * 6.22e-12)
    assert parts["integrator"] == close(256 * (2 * 495 + 22 * 357) * 1e-15)


def test_a_word_line_costs_the_same_whatever_part_of_it_is_used() -> None:
    """An eighth of the columns takes 0.34 + 0.66 / 8 of the energy; all in cells, an eighth."""
    rram = full("neurram").rram
    whole, part = (mvm_energy_J(rram, 128, columns, 1, 1) for columns in (256, 32))
    assert part["dac"] == whole["dac"]
    kinds = ("cells", "dac", "adc", "integrator")
    share = sum(part[kind] for kind in kinds) / sum(whole[kind] for kind in kinds)
    assert share == pytest.approx(0.342 + 0.658 / 8, abs=2e-3)


def test_two_phases_pay_from_six_bits_on() -> None:
    """Extended Data Fig. 12d: at 5 and 6 bits two phases are faster, at 4 one is enough."""
    for bits in (5, 6, 7, 8):
        assert neurram(bits, bits + 2, 2).mvm_s < neurram(bits, bits + 2, 1).mvm_s
    assert neurram(3, 5, 2).mvm_s > neurram(3, 5, 1).mvm_s
    faster = {(b, p): t for b, _, p, t, _ in NEURRAM_RUNS}
    assert faster[6, 2] > faster[6, 1]


@given(st.integers(1, 12), st.integers(1, 4), st.integers(2, 12))
def test_phases_keep_all_pulses_and_more_pulses_never_cost_less(
    pulses: int, phases: int, bits: int
) -> None:
    found = circuit(tiles(12, phases=phases))
    assert sum(found.pulses(pulses)) == pulses
    assert found.cycles(pulses) < found.cycles(pulses + 1)
    assert bits <= found.converted_bits(pulses, bits) <= phases * bits
    more = circuit(tiles(12, phases=phases + 1))
    assert more.cycles(pulses) <= found.cycles(pulses)


@pytest.mark.parametrize("field", ["start_ns", "cycle_ns", "start_energy_fJ", "cycle_energy_fJ"])
def test_every_number_of_it_moves_time_or_energy(field: str) -> None:
    plain, more = tiles(), tiles(**{field: 2 * CIRCUIT[field]})
    times = [integrate_ps(rram, 16) for rram in (plain, more)]
    energies = [math.fsum(mvm_energy_J(rram, 16, 16, 1, 1).values()) for rram in (plain, more)]
    if field.endswith("ns"):
        assert times[1] > times[0]
        assert energies[1] == energies[0]
    else:
        assert times[1] == times[0]
        assert energies[1] > energies[0]


def test_a_run_takes_it_along() -> None:
    """A layer of one tile: each token keeps the tile as long as the closed form."""
    machine = small.machine(
        rram={"input_pulses": 7, "dac_bits": 8, "integrator": CIRCUIT}, adaptation="none"
    )
    report = simulate(small.one_layer(16, 16), machine, pipeline="token").report
    tokens = next(iter(report.phases.values())).tokens
    rram = machine.rram
    assert rram is not None
    # two starts, 7 pulses of 100 ns, 22 cycles, 16 columns of 8 and 5 bits at 0.75 ns for 8
    by_hand_ns = 2 * 40 + 7 * 100 + 22 * 30 + 16 * 0.75 * 13 / 8
    assert integrate_ps(rram, 16) == pytest.approx(by_hand_ns * 1e3)
    assert report.unit_times["rram"].busy_s * report.unit_times["rram"].units == pytest.approx(
        tokens * by_hand_ns * 1e-9
    )
    by_hand_J = tokens * 16 * (2 * 5 + 22 * 3) * 1e-15
    assert report.energy_by_component_J["rram.integrator"] == close(by_hand_J)


def test_the_accuracy_path_converts_once_a_phase() -> None:
    two, one = full("neurram"), neurram(4, 6, 1)
    assert hardware_of(two.machine).dac.pulses == 2
    assert hardware_of(one.machine).dac.pulses == 1


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(SpecError, match=r"integrator\.phases 8 exceeds input_pulses 7"):
        full("neurram").machine.with_values({"rram.integrator.phases": 8})
    with pytest.raises(SpecError, match=r"a phase of 17 pulses takes 2\^17 - 1 cycles"):
        full("neurram").machine.with_values({"rram.input_pulses": 34})
