"""Every number of a machine moves a result or a cost, or is listed, and what is listed does not."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import small

import cimsim
from cimsim.costs.cluster import FUNCTIONS
from cimsim.costs.components import model_of
from cimsim.errors import CimsimError
from cimsim.ir import Elementwise, Norm, Phase, Reduce, Softmax, Workload
from cimsim.report.accounting import halora_accounting
from cimsim.report.inert import OF_STATES, inert_knobs, silent_fields
from cimsim.simulation import simulate
from cimsim.spec import Architecture
from cimsim.values.history import value_at

BUSY = {"rram.write.tiles_in_parallel": 2, "pmca.weights_per_cluster": 8192}
"""So that writes of the small jobs wait, and their weights take several clusters."""
HYBRID = cimsim.machine("halora_rram_sram").with_values(BUSY)
EXACT = ("halora_rram_sram", "halora_rram_only", "halora_sram_only", "isaac_rram", "neurram")
"""Machines of which the small jobs use every part. They write no cell of `hermes_pcm`, tiles of
`ahwa_pcm_pmca` and converters of `puma` are too large or too quick for them, and the others have
tables of which they use a part."""
SAID = {"notes", "architecture", "inputs", "changes", "assumed", "bands"}
"""What a report says of the machine itself, no result."""


def functions() -> Workload:
    """Every function, norm and reduction that clusters know, once over many tokens and once."""
    names = tuple(FUNCTIONS)
    ops: list[Any] = [
        Elementwise(name="f", inputs=(), tokens=64, elements=64 * 512,
                    functions=dict.fromkeys(names, 1)),
        Norm(name="n", inputs=("f",), tokens=64, norm="layer", rows=64, columns=512),
        Norm(name="m", inputs=("n",), tokens=64, norm="rms", rows=64, columns=512),
        Softmax(name="s", inputs=("m",), tokens=64, rows=64, columns=512),
        Reduce(name="r", inputs=("s",), tokens=64, function="max", elements=64,
               inputs_per_output=512),
        Elementwise(name="one", inputs=("r",), tokens=1, elements=4096, functions={"add": 1}),
    ]  # fmt: skip
    return small.workload_of("functions", (Phase(name="prefill", tokens=64, ops=tuple(ops)),))


Jobs = tuple[tuple[Workload, str, str], ...]


@cache
def jobs() -> Jobs:
    """(workload, adaptation, pipeline): sums over several tiles, engine, DRAM, every function."""
    wide = small.decoder(layers=1, prompt=20, steps=3, width=192, hidden=320, rank=4)
    sizes = {"hidden": 128, "intermediate": 192, "layers": 1, "heads": 4, "tokens": 6, "rank": 2}
    return (
        (wide, "lora-rram", "token"),
        (wide, "lora-sram", "layer:block_tokens=4"),
        (small.encoder(layers=1, tokens=64, width=240, rank=16), "lora-pmca", "layer"),
        (functions(), "none", "token"),
        (halora_accounting(**sizes, name="tiny"), "lora-sram", "token"),
    )


def result(machine: Architecture, job: tuple[Workload, str, str]) -> dict[str, Any]:
    """What a job comes to."""
    workload, adaptation, pipeline = job
    done = simulate(workload, machine, adaptation=adaptation, pipeline=pipeline)
    found = done.report.model_dump(mode="json")
    return {name: value for name, value in found.items() if name not in SAID}


def result_or_none(machine: Architecture, job: tuple[Workload, str, str]) -> dict[str, Any] | None:
    """What a job comes to; None where the machine cannot run it."""
    try:
        return result(machine, job)
    except CimsimError:
        return None


def results(machine: Architecture) -> list[dict[str, Any]]:
    """What the jobs come to."""
    return [result(machine, job) for job in jobs()]


def numbers(data: Any, path: str = "") -> dict[str, float]:
    """Every number of a machine, those within models included."""
    if isinstance(data, dict):
        found: dict[str, float] = {}
        for name, value in data.items():
            if name not in ("sources", "anchor_sources", "ranges"):
                found |= numbers(value, f"{path}.{name}" if path else name)
        return found
    number = isinstance(data, int | float) and not isinstance(data, bool)
    return {path: data} if number and path != "format" else {}


def others(value: float) -> tuple[float, ...]:
    """Twice and half, whole where it is whole, and one more where half of it is refused."""
    if float(value).is_integer():
        return (int(2 * value), int(value) // 2, int(value) + 1)
    return (2 * value, value / 2, 1.1 * value)


def can_change(machine: Architecture, field: str) -> bool:
    """Whether the machine takes another value there."""
    for value in others(value_at(machine.content, field)):
        try:
            machine.with_values({field: value})
        except CimsimError:
            continue
        return True
    return False


def moves(
    machine: Architecture, field: str, before: list[dict[str, Any]], able: Jobs | None = None
) -> bool:
    """Whether another value of `field` moves a result; AssertionError if all are refused."""
    tried = 0
    for value in others(value_at(machine.content, field)):
        try:
            other = machine.with_values({field: value})
            found = (result(other, job) for job in able or jobs())
            if any(one != old for one, old in zip(found, before, strict=True)):
                return True
        except CimsimError:
            continue
        tried += 1
    assert tried, f"{field}: every other value was refused"
    return False


@pytest.mark.parametrize("name", EXACT)
def test_every_number_moves_a_result_or_is_listed(name: str) -> None:
    """Twice, half or one more; a number that a model gives is moved by its anchor.

    Inputs of an anchor in a group (`matrix_engine.rows`) have no path by which they are set; bits
    of a DAC that has one by its kind have no other value.
    """
    machine = cimsim.machine(name)
    machine = machine.with_values(
        {f: v for f, v in BUSY.items() if f.split(".")[0] in machine.blocks}
    )
    able = tuple(job for job in jobs() if result_or_none(machine, job) is not None)
    data = machine.content
    fields = [
        field for field in numbers(data)
        if model_of(data, field) is None and "anchor.matrix_engine" not in field
        and can_change(machine, field)
    ]  # fmt: skip
    before, listed = [result(machine, job) for job in able], silent_fields(machine)
    assert len(fields) > 120
    assert listed.keys() <= set(fields)
    assert {f for f in fields if not moves(machine, f, before, able)} == listed.keys()


@pytest.mark.parametrize("name", cimsim.shelves.MACHINES.names())
def test_what_is_listed_of_a_shipped_machine_moves_nothing(name: str) -> None:
    """Of the small jobs, those that the machine runs."""
    machine = cimsim.machine(name)
    able = [job for job in jobs() if result_or_none(machine, job) is not None]
    assert able
    before = [result(machine, job) for job in able]
    for field in silent_fields(machine):
        for value in others(value_at(machine.content, field)):
            try:
                other = machine.with_values({field: value})
            except CimsimError:
                continue
            for job, old in zip(able, before, strict=True):
                assert result_or_none(other, job) in (None, old), (field, value)


def test_levels_that_are_told_apart_are_not_silent() -> None:
    """Cells of 2 bits change with their level; of 8 bits more are not told apart."""
    assert "rram.bits_per_cell" in silent_fields(HYBRID)
    isaac = cimsim.machine("isaac_rram")
    assert "rram.bits_per_cell" not in silent_fields(isaac)
    job = jobs()[0]
    assert result(isaac.with_values({"rram.bits_per_cell": 3}), job) != result(isaac, job)


@pytest.mark.parametrize("idle", OF_STATES)
def test_the_state_of_idle_units_decides_what_is_silent(idle: str) -> None:
    """On: no clock, gate or waking; a state's own numbers move results."""
    machine = HYBRID.with_values({"rram.power_states.idle": idle})
    before, listed = results(machine), silent_fields(machine)
    for names in OF_STATES.values():
        for field in (f"rram.power_states.{name}" for name in names):
            assert moves(machine, field, before) == (field not in listed), field


def test_a_given_voltage_silences_what_would_give_it() -> None:
    free = HYBRID.with_values({"pmca.clock_MHz": 800.0})
    given = free.with_values({"pmca.voltage_V": 0.9})
    for machine in (free, given):
        before = results(machine)
        for name in ("reference_voltage_V", "threshold_voltage_V", "energy_voltage_V"):
            field = f"pmca.supply.{name}"
            silent = field in silent_fields(machine)
            assert silent == (machine is given and name != "energy_voltage_V")
            assert moves(machine, field, before) != silent, field


def test_every_reason_is_of_a_number_that_is_inert_somewhere() -> None:
    found = {
        f for name in cimsim.shelves.MACHINES.names() for f in inert_knobs(cimsim.machine(name))
    }
    from cimsim.report.inert import WHY

    states = {f for f in WHY if ".power_states." in f}
    assert WHY.keys() - states <= found | {"rram.bits_per_cell"}
