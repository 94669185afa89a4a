"""What the parts of a cluster spend: published points, voltage and clock, monotonicity."""

from __future__ import annotations

from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from small import close

import cimsim
from cimsim import shipped
from cimsim.blocks import PmcaClusters
from cimsim.costs import Busy, product_busy, softmax_busy
from cimsim.costs.cluster_energy import (
    cluster_energy,
    leakage_W,
    least_voltage_V,
    supply_voltage_V,
)
from cimsim.costs.components import cluster, sram_unit
from cimsim.report import Report
from cimsim.simulation import simulate
from cimsim.spec import Architecture

MHZ = st.floats(1.0, 4000.0)


def clusters(**changes: Any) -> PmcaClusters:
    return small.machine(pmca=changes).pmca


def dynamic_J(pmca: PmcaClusters, busy: Busy, moved_bytes: int = 0) -> float:
    """All that the work takes but leakage."""
    energy, (cycles, *counts) = cluster_energy(pmca), busy.counts
    found = [energy.computed_J(*counts), energy.on_J(cycles * 1e6 / pmca.clock_MHz)]
    return sum(sum(parts.values()) for parts in (*found, energy.moved_J(moved_bytes)))


def test_the_published_cluster_takes_its_published_power() -> None:
    """RedMulE, arXiv 2204.11192, abstract: 43.5 mW at 688 GFLOPS/W and 31.6 multiply-adds a cycle,
    which is 473.5 MHz; leakage is the machine's 1 mW."""
    clock = 43.5e-3 * 688e9 / (2 * 31.6) / 1e6
    assert clock == pytest.approx(473.5, abs=0.1)
    machine = shipped.machine("halora_rram_sram")
    pmca = machine.with_values({"pmca.clock_MHz": clock, "pmca.voltage_V": 0.65}).pmca
    job = product_busy(pmca, 1, 512, 512, 512)
    watts = dynamic_J(pmca, job) / (job.cycles / (clock * 1e6)) + pmca.leakage_mW * 1e-3
    assert watts == pytest.approx(43.5e-3, rel=5e-3)


def test_the_same_cluster_in_software_takes_its_published_power() -> None:
    """4.65 times less efficient and 22 times slower: 9.2 mW, 1.44 multiply-adds a cycle. Of a core
    with `lanes` lanes a cycle takes 0.6 pJ and 2.56 pJ a lane: 0.18 of them are at work."""
    for name, lanes in (("halora_rram_sram", 4), ("ahwa_pcm_pmca", 2)):
        pmca = shipped.machine(name).pmca
        assert pmca.simd_width == lanes
        lane = pmca.engine_energy_pJ_per_cycle / 32
        core = pmca.core_energy_pJ_per_cycle - lanes * lane + 31.6 / 22 / 8 * lane
        cycle_pJ = 8 * core + pmca.shared_energy_pJ_per_cycle + 16 * pmca.tcdm_energy_pJ_per_byte
        watts = cycle_pJ * 1e-12 * 473.5e6 + pmca.leakage_mW * 1e-3
        assert watts == pytest.approx(43.5e-3 * 4.65 / 22, rel=0.03)


@pytest.mark.parametrize(
    ("clock_MHz", "volts"),
    [
        (1000.0, 0.8),  # the reference
        (1339.7, 1.1),  # (0.8 / 0.5)^1.3 * 0.8 / 1.1 = 1.8421 * 0.72727
        (486.2, 0.5),  # (0.2 / 0.5)^1.3 * 0.8 / 0.5 = 0.30388 * 1.6: the lowest
        (100.0, 0.5),
    ],
)
def test_voltages_by_hand(clock_MHz: float, volts: float) -> None:
    """A threshold of 0.3 V, 1 GHz at 0.8 V, and no less than 0.5 V."""
    found = least_voltage_V(clusters(clock_MHz=clock_MHz))
    assert found == pytest.approx(volts, rel=1e-3)


def test_the_law_meets_both_published_points_of_the_engine() -> None:
    """RedMulE, arXiv 2301.03904, abstract: 470 MHz at 0.65 V, 613 MHz at 0.8 V."""
    supply = shipped.machine("ahwa_pcm_pmca").pmca.supply
    engine = supply.model_copy(update={"reference_clock_MHz": 613.0, "reference_voltage_V": 0.8})
    for clock, volts in ((613.0, 0.8), (470.0, 0.65)):
        pmca = clusters(clock_MHz=clock).model_copy(update={"supply": engine})
        assert least_voltage_V(pmca) == pytest.approx(volts, rel=2e-3)


def test_energy_grows_with_the_square_of_the_voltage() -> None:
    busy = softmax_busy(clusters(), 640, 8)
    low, high = (dynamic_J(clusters(voltage_V=v), busy, 100) for v in (0.8, 1.6))
    assert high == close(4 * low)
    assert supply_voltage_V(clusters(voltage_V=0.9)) == 0.9


@given(first=MHZ, second=MHZ)
def test_more_clock_never_costs_less_for_the_same_work(first: float, second: float) -> None:
    low, high = sorted((first, second))
    found = []
    for clock in (low, high):
        pmca = clusters(clock_MHz=clock)
        found.append((least_voltage_V(pmca), dynamic_J(pmca, softmax_busy(pmca, 640, 8), 640)))
    assert found[0][0] <= found[1][0] * (1 + 1e-9)
    assert found[0][1] <= found[1][1] * (1 + 1e-9)


@given(rows=st.integers(1, 40), width=st.integers(1, 200), cores=st.integers(1, 9))
@settings(max_examples=50)
def test_cores_at_work_are_no_more_than_there_are(rows: int, width: int, cores: int) -> None:
    """Nor fewer than the cycles say: one of them is the busiest."""
    busy = softmax_busy(clusters(cores=cores), rows * width, rows)
    assert busy.cycles - 1 <= busy.core_cycles <= cores * busy.cycles + 1
    assert busy.core_cycles <= (min(rows, cores) if width == 1 else cores) * busy.cycles + 1


def run(machine: Architecture) -> Report:
    return simulate(small.decoder(), machine, pipeline="token").report


def test_a_slow_clock_costs_leakage_and_a_fast_one_voltage() -> None:
    machine = shipped.machine("halora_rram_only")
    clocks = {mhz: run(machine.with_values({"pmca.clock_MHz": mhz})) for mhz in (100, 1000, 2000)}

    def clusters_J(report: Report, unit: str) -> float:
        parts = report.energy_by_component_J
        return sum(energy for name, energy in parts.items() if name.startswith(f"{unit}.pmca"))

    work = {mhz: report.energy_by_unit_J["pmca"] for mhz, report in clocks.items()}
    volts = {
        mhz: least_voltage_V(machine.with_values({"pmca.clock_MHz": mhz}).pmca) for mhz in clocks
    }
    assert volts[100] == 0.5
    for mhz in (100, 2000):
        assert work[mhz] == pytest.approx(work[1000] * (volts[mhz] / 0.8) ** 2, rel=1e-3)
    assert clusters_J(clocks[100], "leakage") > clusters_J(clocks[1000], "leakage")


def test_a_softmax_leaves_the_engine_alone() -> None:
    spent = run(small.machine()).energy_by_component_J
    without = run(small.machine(pmca={"engine_energy_pJ_per_cycle": 0.0})).energy_by_component_J
    assert {name for name in spent if spent[name] != without.get(name)} <= {"pmca.engine"}


def test_a_voltage_below_what_the_clock_needs_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        small.machine(pmca={"clock_MHz": 1000.0, "voltage_V": 0.7})
    assert "pmca.voltage_V is 0.7, but pmca.clock_MHz 1000 needs 0.8 V" in str(caught.value)


@pytest.mark.parametrize(
    ("supply", "message"),
    [
        ({"threshold_voltage_V": 0.5}, "threshold_voltage_V 0.5 is not below reference_voltage_V"),
        ({"lowest_voltage_V": 1.3}, "lowest_voltage_V 1.3 is above highest_voltage_V 1.2"),
    ],
)
def test_voltages_that_cannot_be_are_refused(supply: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        small.machine(pmca={"supply": supply})
    assert message in str(caught.value)


def test_the_power_of_older_files_is_refused_with_what_takes_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        small.machine(pmca={"active_power_mW": 43.5})
    assert "active_power_mW is gone" in str(caught.value)


def test_a_voltage_beyond_what_transistors_bear_is_noted() -> None:
    machine = small.machine(pmca={"clock_MHz": 2000.0})
    (note,) = (n for n in run(machine).notes if "pmca.clock_MHz" in n)
    assert "clusters need 2.07 V for 2000 MHz" in note
    assert not any("pmca.clock_MHz" in n for n in run(small.machine()).notes)


def test_cores_in_teams_that_share_rows() -> None:
    """Two rows of 600 on four cores: teams of two, 300 * 14.5 and 40 a row and two joins of 14, a
    barrier of 10 and a fold of one level; all four together 2 * (150 * 14.5 + 40 + 2 * 17). Three
    share a row at a time: 200 * 14.5 + 40 + 2 * 17."""
    busy = softmax_busy(clusters(cores=4), 1200, 2)
    assert busy.counts[:2] == (20 + 4418, 4 * 20 + 2 * 2 * 4418)
    assert softmax_busy(clusters(cores=3), 1200, 2).core_cycles == 3 * 20 + 2 * 3 * 2974


def test_leakage_follows_the_supply() -> None:
    """0.8 V beside 0.65: 0.8 / 0.65 10^(0.1 0.15 / 0.09) = 1.807 times; at 0.65 V that of the file.

    A run on one cluster leaks so much more, and nothing else of its leakage moves.
    """
    made = cimsim.machine("halora_rram_sram")
    slow = made.with_values({"pmca.clock_MHz": 400.0, "pmca.voltage_V": 0.65})
    assert leakage_W(slow.pmca) == pytest.approx(1e-3, rel=1e-12)
    assert leakage_W(made.pmca) == pytest.approx(1e-3 * 0.8 / 0.65 * 10 ** (0.015 / 0.09))
    assert made.units["pmca"].leakage_W(3) == pytest.approx(3 * leakage_W(made.pmca))
    louder = made.with_values({"pmca.voltage_V": 0.9}).pmca
    assert leakage_W(louder) > leakage_W(made.pmca)


def test_leakage_of_units_follows_node_and_supply() -> None:
    """As wide transistors as the node makes them: of the same parts at half the node, half."""
    assert sram_unit.unit_uW(1e4, 56, 0.9) == pytest.approx(sram_unit.unit_uW(1e4, 28, 0.9) / 2)
    parts = sram_unit.unit_uW(1e4, 28, 0.9)
    assert sram_unit.unit_uW(0.25e4, 14, 0.9) == pytest.approx(parts / 2)
    assert sram_unit.unit_uW(1e4, 28, 1.0) / parts == pytest.approx(1 / 0.9 * 10 ** (0.01 / 0.09))
    assert cluster.leakage_mW(0.5, 22) == pytest.approx(1.0)
    assert cluster.leakage_mW(0.125, 11) == pytest.approx(0.5)
