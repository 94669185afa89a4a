"""Laws of remembered runs: a report folded anew is the report of a run, whatever was changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.adaptation import adaptation_for
from cimsim.errors import CimsimError
from cimsim.ir import Workload
from cimsim.mappers import mapper_named
from cimsim.report import Report
from cimsim.schedule.pipelines import pipeline_named
from cimsim.search import memory as memories
from cimsim.search import outcomes
from cimsim.search.memory import Memory
from cimsim.simulation import figures, simulate
from cimsim.spec import Architecture, load_architecture
from cimsim.values.field_paths import Value
from cimsim.values.history import value_at
from cimsim.values.latest import Latest

IN_WORDS = {"notes", "assumed", "inputs", "changes"}


def remembered(workload: Workload, machine: Architecture, memory: Memory, pipeline: str) -> Report:
    found = figures(
        workload, machine, pipeline_named(pipeline), adaptation_for(machine), mapper_named(None),
        memory,
    )  # fmt: skip
    assert found is not None
    return found.report


def told(report: Report) -> dict[str, Any]:
    return report.model_dump(exclude=IN_WORDS)


def numbers(data: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a machine file that stands for itself, by its path."""
    if isinstance(data, dict):
        for name, value in data.items():
            if name not in ("sources", "ranges", "models", "format"):
                yield from numbers(value, f"{path}.{name}" if path else name)
    elif isinstance(data, int | float) and not isinstance(data, bool):
        yield path, data


def others(machine: Architecture) -> Iterator[tuple[str, Architecture]]:
    """The machine with each of its numbers changed, where it takes that; models taken out."""
    data = machine.model_dump(mode="json", exclude_none=True)
    models = {m.path: None for m in machine.modelled()}
    plain = machine.with_values(models) if models else machine
    for path, value in numbers(data):
        for other in (value + 1, value * 2, value / 2):
            try:
                yield path, plain.with_values({path: other})
            except CimsimError:
                continue
            break


@pytest.mark.parametrize("name", ["ahwa_pcm_pmca", "halora_rram_sram", "neurram"])
def test_a_report_folded_anew_is_that_of_a_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every number of a shipped machine that moves no run."""

    class AnewError(Exception):
        pass

    def anew(*_: object, **__: object) -> Any:
        raise AnewError

    machine = load_architecture(small.ROOT / "arch_configs" / f"{name}.json")
    memory, workload = Memory(), small.encoder(layers=1, tokens=1)
    remembered(workload, machine, memory, "token")
    shared = []
    for field, other in others(machine):
        with monkeypatch.context() as patched:
            patched.setattr(outcomes.LaidOut, "on", anew)
            try:
                found = remembered(workload, other, memory, "token")
            except AnewError:
                continue
        shared.append(field)
        assert told(found) == told(remembered(workload, other, Memory(), "token")), field
    assert len(shared) > 30
    costs = {f for f in shared if f.endswith(("_pJ", "_fJ", "_um2", "leakage_uW", "leakage_mW"))}
    assert {f for f, _ in numbers(machine.model_dump(exclude_none=True))
            if f.endswith("_pJ") and value_at(machine.model_dump(), f) is not None
            } <= costs | {"paper_accounting"}  # fmt: skip


TIMES = (
    "_ns", "clock_MHz", "_GBps", "hops", "columns_per_adc", "input_bits", "output_bits", "lanes",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [
        ("ahwa_pcm_pmca", "token"),
        ("halora_rram_sram", "layer:block_tokens=2"),
        ("neurram", "token"),
    ],
)
def test_times_put_into_a_schedule_are_those_of_a_run(name: str, pipeline: str) -> None:
    """For every number of a shipped machine that may move a time, with the schedule kept or not."""
    machine = load_architecture(small.ROOT / "arch_configs" / f"{name}.json")
    memory, workload = Memory(), small.decoder(layers=1, prompt=3, steps=2, rank=2)
    remembered(workload, machine, memory, pipeline)
    kept = []
    for field, other in others(machine):
        if not field.endswith(TIMES):
            continue
        schedules, runs = len(memory.schedules), len(memory.outcomes)
        try:
            expected = told(simulate(workload, other, pipeline=pipeline).report)
        except CimsimError:
            continue
        assert told(remembered(workload, other, memory, pipeline)) == expected, field
        if len(memory.outcomes) > runs and len(memory.schedules) == schedules:
            kept.append(field)
    assert {f"{machine.weights_on}.integration_ns", "tile_link.bandwidth_GBps"} <= set(kept)


def test_a_schedule_that_times_change_is_made_anew() -> None:
    """Where blocks or clusters are chosen by their times, and where a time comes to be another
    kind of value: constant over blocks, or none at all.
    """
    memory, machine = Memory(), small.machine()
    workload = small.decoder(layers=2, prompt=4, steps=2, rank=2)
    for pipeline in ("balanced", "split"):
        for values in (
            {"rram.integration_ns": 1.0},
            {"rram.integration_ns": 5000.0},
            {"tile_link.near_hops": 3},
            {"tile_link.near_hops": 3, "tile_link.hop_ns": 0.0},
            {"buffer.bandwidth_GBps": 1e6, "buffer.access_ns": 0.0},
            {"dram.bandwidth_GBps": 0.01},
        ):
            other = machine.with_values(values)  # type: ignore[arg-type]
            expected = told(simulate(workload, other, pipeline=pipeline).report)
            assert told(remembered(workload, other, memory, pipeline)) == expected, values


CHANGES: dict[str, list[Value]] = {
    "rram.integration_ns": [100.0, 250.0],
    "rram.columns_per_adc": [16, 4],
    "rram.rows": [16, 8],
    "rram.adc_energy_pJ": [1.5, 9.0],
    "rram.cell_read_energy_fJ": [7.0, 1.0],
    "rram.leakage_uW": [0.5, 3.0],
    "rram.write.pulse_ns": [100.0, 400.0],
    "sram.clock_MHz": [200.0, 90.0],
    "pmca.clock_MHz": [500.0, 250.0],
    "pmca.cores": [8, 2],
    "pmca.pool_clusters": [4, 2],
    "pmca.tcdm_KiB": [128.0, 8.0],
    "pmca.dma_energy_pJ_per_byte": [1.0, 5.0],
    "tile_link.bandwidth_GBps": [4.0, 0.5],
    "tile_link.near_hops": [None, 1],
    "tile_link.near_energy_pJ_per_bit": [None, 0.01],
    "cluster_link.energy_pJ_per_bit": [0.1, 2.0],
    "buffer.banks": [4, 1],
    "buffer.area_mm2": [1.0, 2.0],
    "dram.energy_pJ_per_bit": [4.0, 20.0],
    "dram.background_mW": [10.0, 1.0],
    "attention_on": ["pmca", "sram"],
    "activation_bits": [8, 16],
}


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_points_share_nothing_that_differs(data: st.DataObject) -> None:
    """Machines that differ in random fields, structure included, one after the other."""
    memory, machine = Memory(), small.machine()
    workload = small.decoder(layers=1, prompt=2, steps=1, rank=2)
    for _ in range(3):
        fields = data.draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3, unique=True))
        changes = {field: data.draw(st.sampled_from(CHANGES[field])) for field in fields}
        pipeline = data.draw(st.sampled_from(["token", "layer:block_tokens=2", "cores-only"]))
        other = machine.with_values(changes) if changes else machine
        try:
            expected = told(simulate(workload, other, pipeline=pipeline).report)
        except CimsimError as problem:
            with pytest.raises(type(problem)):
                remembered(workload, other, memory, pipeline)
            continue
        for _ in range(2):
            assert told(remembered(workload, other, memory, pipeline)) == expected


def test_a_search_shares_its_trials_where_costs_differ() -> None:
    memory, machine = Memory(), small.machine()
    workload = small.encoder(layers=2, tokens=3)
    remembered(workload, machine, memory, "auto")
    trials = len(memory.trials)
    other = machine.with_values({"pmca.leakage_mW": 9.0, "rram.adc_energy_pJ": 4.0})
    found = remembered(workload, other, memory, "auto")
    assert len(memory.trials) == trials
    assert told(found) == told(simulate(workload, other).report)


def test_memory_stays_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "RUNS_KEPT", 3)
    monkeypatch.setattr(memories, "SCHEDULES_KEPT", 2)
    memory, workload, machine = Memory(), small.encoder(layers=1, tokens=1), small.machine()
    for number in range(8):
        other = machine.with_values(
            {"rram.integration_ns": 100.0 + number, "pmca.clock_MHz": 200.0 + number}
        )
        remembered(workload, other, memory, "token")
        assert len(memory.outcomes) <= 3
        assert len(memory.schedules) <= 2


def test_values_of_users_are_not_remembered() -> None:
    """They may have a state."""

    class Own:
        name, split, share_clusters = "own", False, None

        def block(self, stage: Any, tokens: int, costs: Any) -> int:
            return 1

        def is_barrier(self, producer: Any, consumer: Any) -> bool:
            return False

        def prepare(self, workload: Any, architecture: Any, mapper: Any) -> Any:
            return architecture, mapper

    memory, machine = Memory(), small.machine()
    workload = small.encoder(layers=1, tokens=1)
    figures(workload, machine, Own(), adaptation_for(machine), mapper_named(None), memory)
    assert len(memory.outcomes) == 0


def test_what_was_asked_for_last_is_kept_and_what_fails_is_not() -> None:
    kept: Latest[int] = Latest(2)
    made: list[str] = []

    def get(key: str) -> int:
        return kept.get(key, lambda: made.append(key) or len(made))  # type: ignore[func-returns-value]

    assert [get(key) for key in "abacab"] == [1, 2, 1, 3, 1, 4]
    assert made == ["a", "b", "c", "b"]
    with pytest.raises(ZeroDivisionError):
        kept.get("d", lambda: 1 // 0)
    assert get("a") == 1
