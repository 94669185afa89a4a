"""Several sequences at a time: each has its own attention, all share weights and units."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close

from cimsim import gpu
from cimsim.adaptation import adaptation_named
from cimsim.errors import CapacityError, SpecError, WorkloadError
from cimsim.ir import Workload, load_workload, save_workload
from cimsim.mappers import build_mapping
from cimsim.simulation import Simulation, simulate

DYNAMIC = ("rram", "pmca", "sram", "link", "buffer")
BOTH = pytest.mark.parametrize("engine", ["simpy", "compiled"])


def run(workload: Workload, **options: Any) -> Simulation:
    machine = options.pop("machine", small.machine(adaptation="none"))
    return simulate(workload, machine, **({"pipeline": "layer:1"} | options))


@BOTH
@pytest.mark.parametrize("sequences", [1, 2, 5])
def test_a_layer_takes_all_tokens_of_all_sequences_in_a_row(sequences: int, engine: Any) -> None:
    """As one sequence of so many tokens: weights do not care whose token it is."""
    workload = small.one_layer(tokens=3).with_sequences(sequences)
    done = run(workload, engine=engine)
    long = run(small.one_layer(tokens=3 * sequences), engine=engine)
    assert done.run.makespan_ps == long.run.makespan_ps
    assert done.report.energy_by_component_J == long.report.energy_by_component_J
    assert done.report.phases["prefill"].tokens == 3 * sequences
    assert workload.macs == 3 * sequences * 256


@BOTH
@pytest.mark.parametrize("attention_on", ["pmca", "sram"])
def test_work_is_that_of_each_and_their_attention_is_apart(attention_on: str, engine: Any) -> None:
    """Dynamic energy adds up; where layers take turns a sequence begins when its units are free."""
    machine = small.machine(adaptation="none", attention_on=attention_on)
    for workload in (
        small.encoder(rank=None), small.decoder(layers=1, rank=None, prompt=5, steps=3),
    ):  # fmt: skip
        one, three = (
            run(workload.with_sequences(n), engine=engine, machine=machine) for n in (1, 3)
        )
        for unit in DYNAMIC:
            spent = one.report.energy_by_unit_J[unit]
            assert three.report.energy_by_unit_J[unit] == close(3 * spent)
        assert one.run.makespan_ps < three.run.makespan_ps < 3 * one.run.makespan_ps
        assert three.report.reprogramming == one.report.reprogramming


def test_one_after_the_other_where_nothing_streams() -> None:
    """Every stage waits for whole steps: n sequences take one and n - 1 times the slowest stage."""
    workload = small.workload_of("chain", (small.chain(tokens=4, widths=(16, 16, 16)),))
    ends = [
        run(workload.with_sequences(n), pipeline="sequential").run.makespan_ps for n in (1, 2, 3, 4)
    ]
    steps = [b - a for a, b in pairwise(ends)]
    assert steps[0] == steps[1] == steps[2]
    assert steps[0] < ends[0] < 3 * steps[0]


@BOTH
def test_decode_steps_of_a_sequence_wait_for_their_own_alone(engine: Any) -> None:
    """With one token a step the layers are empty but for it; a second sequence fills them.

    More sequences take longer in all, four of them less than twice as long as one.
    """
    workload = small.decoder(layers=3, rank=None, prompt=4, steps=6)
    found = [run(workload.with_sequences(n), engine=engine).report for n in (1, 2, 4)]
    assert [report.phases["decode"].tokens for report in found] == [6, 12, 24]
    one, two, four = (report.latency_s for report in found)
    assert one < two < four < 2 * one
    one, two, four = (report.phases["decode"].tokens_per_s for report in found)
    assert one < two < four


def test_every_sequence_has_units_for_its_keys_and_values() -> None:
    machine = small.machine(adaptation="none", attention_on="sram")
    workload = small.decoder(layers=1, rank=None)
    none = adaptation_named("none")
    one, four = (build_mapping(workload.with_sequences(n), machine, none) for n in (1, 4))
    assert four.units_used["sram"] == 4 * one.units_used["sram"]
    assert four.placements.keys() == one.placements.keys()
    with pytest.raises(CapacityError, match="sram"):
        build_mapping(workload.with_sequences(400), machine, none)


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(1, 5), steps=st.integers(0, 3), sequences=st.integers(1, 4),
    pipeline=st.sampled_from(["layer:1", "layer:2", "token", "sequential"]),
    attention_on=st.sampled_from(["pmca", "sram"]),
)  # fmt: skip
def test_engines_agree(
    tokens: int, steps: int, sequences: int, pipeline: str, attention_on: str
) -> None:
    workload = small.decoder(layers=1, prompt=tokens, steps=steps).with_sequences(sequences)
    machine = small.machine(attention_on=attention_on)
    if pipeline == "layer:2" and tokens < 2:
        pipeline = "layer:1"
    found = [
        simulate(workload, machine, pipeline=pipeline, engine=engine)
        for engine in ("simpy", "compiled")
    ]
    assert found[0].run.makespan_ps == found[1].run.makespan_ps
    report = found[1].report
    assert math.fsum(report.energy_by_unit_J.values()) == close(report.energy_J)
    assert math.fsum(report.energy_by_component_J.values()) == close(report.energy_J)


def test_it_survives_its_file_and_one_is_as_before(tmp_path: Path) -> None:
    workload = small.encoder()
    assert "sequences" not in workload.model_dump()
    assert workload.with_sequences(1).digest() == workload.digest()
    eight = workload.with_sequences(8, name="eight")
    save_workload(eight, tmp_path / "eight.json")
    assert load_workload(tmp_path / "eight.json").sequences == 8
    assert [(c.field, c.old, c.new) for c in eight.changes] == [("sequences", 1, 8)]


def test_wrong_sequences() -> None:
    for wrong in (0, -1, 2.5, "two"):
        with pytest.raises(WorkloadError):
            small.encoder().with_sequences(wrong)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="has 4 sequences at a time"):
        gpu("a100_sxm4_80gb").estimate(small.encoder(rank=None).with_sequences(4))
