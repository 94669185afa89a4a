"""Laws of a whole simulation: closed forms, conservation, monotony, and both engines alike."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close

from cimsim import engines
from cimsim.adaptation import ADAPTATIONS, adaptation_named
from cimsim.engines.program import Get, Hold, Program, Put, Use
from cimsim.errors import MappingError
from cimsim.ir import Linear, MatMul, Workload, load_workload
from cimsim.mappers import DensePacking, Mapper, OneBlockPerTile, build_mapping
from cimsim.report import Report
from cimsim.report.leakage import leakage_W
from cimsim.report.occupancy import BufferedTokens, phase_ends_ps
from cimsim.schedule import build_plan
from cimsim.schedule.pair import Pair
from cimsim.schedule.pipelines import PIPELINES, BlockCosts, Pipeline, parse_pipeline
from cimsim.schedule.stages import Stage
from cimsim.simulation import Simulation, simulate
from cimsim.spec import Architecture, load_architecture
from cimsim.units import ps_to_seconds

MACHINES = {
    name: load_architecture(small.ROOT / "arch_configs" / f"{name}.json")
    for name in ("halora_rram_sram", "ahwa_pcm_pmca", "isaac_rram")
}
TINY = {
    "analog": small.machine(),
    "sram": small.machine(attention_on="sram", adaptation="lora-sram"),
}
ONE_BIT = small.machine(rram={"bits_per_cell": 1, "cells_per_weight": 8, "tile_count": 8192})
"""Its weights take several cells, so that a difference of few levels takes fewer."""
MODELS = {"decoder": small.decoder(), "encoder": small.encoder(layers=2, tokens=9)}
CASES = [(m, w, p) for m in TINY for w in MODELS for p in PIPELINES]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def done(request: pytest.FixtureRequest) -> Simulation:
    return case(*request.param)


@cache
def case(machine: str, workload: str, pipeline: str) -> Simulation:
    return simulate(MODELS[workload], TINY[machine], pipeline=PIPELINES[pipeline])


# Closed forms ------------------------------------------------------------------------------------


def stages_ps(machine: Architecture, inputs: int, outputs: int) -> tuple[int, int, int, int]:
    """Read, compute, convert and send of one token of a layer on one row of tiles, by hand."""
    rram, port, buffer = machine.rram, machine.tile_link, machine.buffer
    assert rram is not None
    wide, tall = min(outputs, rram.columns), min(inputs, rram.rows)

    def ps(*times_ns: float) -> int:
        return sum(round(time * 1000) for time in times_ns)

    def through(bits: int) -> float:
        return port.hops * port.hop_ns + bits / 8 / port.bandwidth_GBps

    def stored(bits: int) -> float:
        assert bits <= buffer.banks * 512
        return buffer.access_ns + min(bits, 512) / 8 / buffer.bandwidth_GBps  # stripes of 64 bytes

    conversion = min(wide, rram.columns_per_adc) * rram.adc_time_ns
    slower = max(rram.integration_ns, conversion)
    levels = math.ceil(math.log2(-(-inputs // rram.rows)))
    scale = levels * rram.accumulate_ns + -(-wide // rram.affine_lanes) * rram.affine_ns
    return (
        ps(stored(inputs * machine.activation_bits), through(tall * rram.input_bits), rram.load_ns),
        ps(rram.integration_ns) + (rram.input_pulses - 1) * ps(slower),
        ps(conversion, rram.shift_add_ns),
        ps(scale, through(wide * rram.output_bits), stored(outputs * rram.output_bits)),
    )


@given(
    st.integers(1, 16), st.integers(1, 16), st.integers(1, 30),
    st.sampled_from([(100.0, 0.75, 1), (5.0, 4.0, 1), (3.0, 0.1, 8), (1.0, 0.5, 3)]),
    st.sampled_from([8.0, 0.05, 0.5]),
)  # fmt: skip
@settings(max_examples=20)
def test_a_layer_on_one_tile_fills_and_drains_a_pipeline_of_four_stages(
    inputs: int, outputs: int, tokens: int, array: tuple[float, float, int], bandwidth: float
) -> None:
    integration, conversion, pulses = array
    machine = small.machine(
        rram={"integration_ns": integration, "adc_time_ns": conversion, "input_pulses": pulses},
        tile_link={"bandwidth_GBps": bandwidth},
    )
    run = simulate(small.one_layer(inputs, outputs, tokens), machine, pipeline="token").run
    stages = stages_ps(machine, inputs, outputs)
    assert run.makespan_ps == sum(stages) + (tokens - 1) * max(stages)


@pytest.mark.parametrize(("inputs", "outputs"), [(48, 16), (16, 40), (70, 33)])
def test_tiles_of_a_layer_work_side_by_side(inputs: int, outputs: int) -> None:
    machine = small.machine()
    run = simulate(small.one_layer(inputs, outputs, 7), machine, pipeline="token").run
    stages = stages_ps(machine, inputs, outputs)
    assert run.makespan_ps == sum(stages) + 6 * max(stages)


@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_replicas_share_the_tokens_of_a_layer(replicas: int) -> None:
    machine, tokens = small.machine(), 9
    mapper = OneBlockPerTile(replicate=(("layer.weight", replicas),))
    done = simulate(small.one_layer(16, 16, tokens), machine, mapper=mapper, pipeline="token")
    assert done.report.tiles_used == replicas
    each = done.run.finish_ps(_actor(done, "layer:send" if replicas == 1 else "layer:collect"))
    assert each.size == tokens
    stages = stages_ps(machine, 16, 16)
    alone = sum(stages) + (-(-tokens // replicas) - 1) * max(stages)
    # 16 and 32 bytes of a token take all banks for 20 and 40 ps
    assert 0 <= done.run.makespan_ps - alone <= tokens * (replicas - 1) * 60


def test_energy_of_a_layer_by_hand() -> None:
    report = simulate(small.one_layer(32, 16, 3), small.machine(), pipeline="token").report
    parts = report.energy_by_component_J
    assert parts["rram.adc"] == close(3 * 2 * 16 * 1.5e-12)
    assert parts["rram.cells"] == close(3 * 32 * 16 * 7e-15)
    moved = 3 * (32 * 8 + 16 * 16)
    assert parts["link.tile_link"] == close(moved * 0.4e-12)
    assert parts["buffer.access"] == close(moved * 0.067e-12)
    assert report.energy_by_unit_J["pmca"] == 0.0


def _actor(done: Simulation, name: str) -> int:
    return next(i for i, a in enumerate(done.plan.program.actors) if a.name == name)


# Conservation ------------------------------------------------------------------------------------


def test_no_unit_is_busier_than_the_run_is_long(done: Simulation) -> None:
    report = done.report
    for unit, time in report.unit_times.items():
        assert time.busy_s + time.idle_s == close(report.latency_s)
        assert 0.0 <= time.busy_s <= report.latency_s
        assert report.utilisation[unit] == close(time.busy_s / report.latency_s)
    assert report.latency_s == ps_to_seconds(done.run.makespan_ps)


def test_the_link_of_a_shared_tile_is_no_busier_than_the_run_is_long() -> None:
    machine = small.machine(rram={"rows": 128, "columns": 128}, tile_link={"bandwidth_GBps": 0.001})
    done = simulate(
        small.encoder(tokens=8), machine, mapper=DensePacking(), pipeline=parse_pipeline("layer:1")
    )
    assert done.report.tiles_used == 1
    assert done.report.utilisation["link"] <= 1.0


def test_no_actor_is_busier_than_the_run_is_long(done: Simulation) -> None:
    for index, actor in enumerate(done.plan.program.actors):
        busy = 0
        for step, verb in enumerate(actor.steps):
            if isinstance(verb, Hold | Use):
                start, end = done.run.intervals(index, step)
                assert (end[:-1] <= start[1:]).all()
                busy += int((end - start).sum())
        assert busy <= done.run.makespan_ps


def test_a_resource_never_serves_more_than_it_has_servers(done: Simulation) -> None:
    changes: list[list[tuple[int, int]]] = [[] for _ in done.plan.program.resources]
    for index, actor in enumerate(done.plan.program.actors):
        for step, verb in enumerate(actor.steps):
            if isinstance(verb, Use):
                start, end = done.run.intervals(index, step)
                longer = end > start
                changes[verb.resource] += [(int(t), 1) for t in start[longer]]
                changes[verb.resource] += [(int(t), -1) for t in end[longer]]
    for resource, moments in zip(done.plan.program.resources, changes, strict=True):
        level = np.cumsum([step for _, step in sorted(moments)])
        assert level.max(initial=0) <= resource.servers
    assert any(changes)


def test_energies_sum_to_the_total(done: Simulation) -> None:
    report = done.report
    charged = math.fsum(
        e for charge in done.plan.charges(done.architecture) for e in charge.energy_J
    )
    leaked = report.energy_by_unit_J["leakage"]
    assert report.energy_J == close(charged + leaked)
    assert all(e >= 0.0 for charge in done.plan.charges(done.architecture) for e in charge.energy_J)
    for split in (
        report.energy_by_unit_J, report.energy_by_component_J, report.energy_by_kind_J,
        {name: phase.energy_J for name, phase in report.phases.items()},
    ):  # fmt: skip
        assert math.fsum(split.values()) == close(report.energy_J)


def test_leakage_is_power_times_makespan(done: Simulation) -> None:
    power = leakage_W(done.architecture, done.plan.unit_counts)
    leaked = {unit: p * done.report.latency_s for unit, p in power.items() if p}
    components = done.report.energy_by_component_J
    found = {
        key.removeprefix("leakage."): energy
        for key, energy in components.items()
        if key.startswith("leakage.")
    }
    assert found == close(leaked)
    assert found


def test_phases_follow_each_other(done: Simulation) -> None:
    phases = done.report.phases
    assert math.fsum(p.latency_s for p in phases.values()) == close(done.report.latency_s)
    for phase in done.workload.phases:
        result = phases[phase.name]
        assert result.tokens == phase.tokens * phase.steps
        assert result.tokens_per_s == close(result.tokens / result.latency_s)
        assert result.latency_s > 0.0
    if "decode" in phases:
        assert (phases["prefill"].tokens, phases["decode"].tokens) == (6, 4)


def test_every_token_of_every_layer_is_computed(done: Simulation) -> None:
    blocks: Counter[str] = Counter()
    for info in done.plan.actors:
        blocks[info.stage] += int(info.phase.size) if info.part.startswith("read") else 0
    linear = [op for _, op in done.workload.ops() if isinstance(op, Linear) and op.role == "base"]
    for op in linear:
        tokens = sum(
            other.tokens * phase.steps
            for phase, other in done.workload.ops()
            if other.name == op.name
        )
        assert blocks[op.name] == tokens


def test_the_report_needs_no_more_than_the_ends_that_are_kept(done: Simulation) -> None:
    assert phase_ends_ps(done.plan, done.ends) == phase_ends_ps(done.plan, done.run)
    ends = done.run.iteration_end_ps
    places = BufferedTokens(done.plan, replace(done.run, iteration_end_ps=np.arange(ends.size)))
    assert places.peak_bytes(ends) == done.report.buffer_peak_KiB * 1024 > 0
    assert done.ends.makespan_ps == done.run.makespan_ps
    assert done.run is done.run


# Engines and lanes -------------------------------------------------------------------------------


def assert_engines_agree(program: Program) -> None:
    reference, compiled = (engines.run(program, e) for e in ("simpy", "compiled"))
    assert np.array_equal(reference.start_ps, compiled.start_ps)
    assert np.array_equal(reference.end_ps, compiled.end_ps)
    assert np.array_equal(reference.iteration_end_ps, compiled.iteration_end_ps)
    assert reference.makespan_ps == compiled.makespan_ps > 0


def plan_of(workload: Workload, machine: str, pipeline: str) -> Program:
    """The program of `workload` on a shipped machine, with tiles enough."""
    architecture = small.changed(MACHINES[machine], rram={"tile_count": 1 << 20})
    chosen = PIPELINES[pipeline]
    architecture, mapper = chosen.prepare(workload, architecture, OneBlockPerTile())
    adaptation = adaptation_named(architecture.adaptation)
    mapping = build_mapping(workload, architecture, adaptation, mapper)
    return build_plan(workload, architecture, mapping, chosen).program


SHIPPED = [path.stem for path in small.TRACED]
IN_TURN = [
    (workload, machine, list(PIPELINES)[(3 * i + j) % len(PIPELINES)])
    for i, workload in enumerate(SHIPPED)
    for j, machine in enumerate(MACHINES)
]
EVERY = [
    (workload, list(MACHINES)[(i + j) % len(MACHINES)], pipeline)
    for i, workload in enumerate(("bert_base_r8_s320", "llama3.2_1b_r4_p512_d128"))
    for j, pipeline in enumerate(PIPELINES)
]


@pytest.mark.parametrize(("workload", "machine", "pipeline"), sorted({*IN_TURN, *EVERY}))
def test_engines_agree_on_shipped_workloads(
    workload: str, machine: str, pipeline: str, cut: dict[str, Workload]
) -> None:
    assert_engines_agree(plan_of(cut[workload], machine, pipeline))


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("workload", MODELS)
def test_engines_agree_on_shipped_machines(workload: str, machine: str, pipeline: str) -> None:
    assert_engines_agree(plan_of(MODELS[workload], machine, pipeline))


@pytest.fixture(scope="module")
def cut() -> dict[str, Workload]:
    """Every shipped workload, cut down to one block and three tokens."""
    return {path.stem: small.cut_down(load_workload(path), 3, 2) for path in small.TRACED}


def test_cut_down_keeps_kinds_and_phases(cut: dict[str, Workload]) -> None:
    for path in small.TRACED:
        full, less = load_workload(path), cut[path.stem]
        assert [p.name for p in less.phases] == [p.name for p in full.phases]
        for one, other in zip(full.phases, less.phases, strict=True):
            assert {op.kind for op in one.ops} == {op.kind for op in other.ops}
        assert less.phases[0].tokens == 3


@pytest.mark.parametrize("adaptation", ADAPTATIONS)
@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("workload", MODELS)
def test_engines_agree_on_every_adaptation(workload: str, grouped: bool, adaptation: str) -> None:
    machine = ONE_BIT if adaptation == "delta" else TINY["sram"]
    reports = [
        simulate(
            MODELS[workload], machine, adaptation=adaptation, engine=engine,
            group_tiles=grouped, pipeline=parse_pipeline("layer:2"),
        )
        for engine in ("simpy", "compiled")
    ]  # fmt: skip
    first, second = (done.report.to_json() for done in reports)
    assert first == second
    assert np.array_equal(reports[0].run.end_ps, reports[1].run.end_ps)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("mapper", [OneBlockPerTile(), DensePacking(replicate=(("*", 2),))])
@pytest.mark.parametrize("machine", TINY)
def test_grouping_tiles_changes_no_time(machine: str, mapper: Any, pipeline: str) -> None:
    workload = small.decoder(rank=3, layers=1, prompt=5, steps=2)
    one, many = (
        simulate(
            workload, TINY[machine], mapper=mapper, group_tiles=grouped,
            pipeline=PIPELINES[pipeline],
        )
        for grouped in (True, False)
    )  # fmt: skip
    assert len(many.plan.program.actors) > len(one.plan.program.actors)
    assert many.run.makespan_ps == one.run.makespan_ps
    for name in (a.name for a in one.plan.program.actors if a.name.endswith(":send")):
        assert np.array_equal(
            one.run.finish_ps(_actor(one, name)), many.run.finish_ps(_actor(many, name))
        )
    assert one.report.to_json() == many.report.to_json()


# Order -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("machine", TINY)
def test_a_decode_step_starts_when_the_one_before_has_ended(machine: str, pipeline: str) -> None:
    done = case(machine, "decoder", pipeline)
    steps = done.workload.phases[1].steps
    ends = np.zeros(steps + 1, np.int64)
    starts = np.full(steps + 1, np.iinfo(np.int64).max)
    for index, (actor, info) in enumerate(
        zip(done.plan.program.actors, done.plan.actors, strict=True)
    ):
        finish = done.run.finish_ps(index)
        later = np.flatnonzero(info.phase == 1)
        per_step = later.size // steps
        if later.size == 0 or later.size % steps:
            continue
        number = np.zeros(finish.size, np.int64)
        number[later] = 1 + np.arange(later.size) // per_step
        if info.stage == "head":
            np.maximum.at(ends, number, finish)
        for step, verb in enumerate(actor.steps):
            if isinstance(verb, Hold | Use):
                start, end = done.run.intervals(index, step)
                worked = end > start
                np.minimum.at(starts, number[worked], start[worked])
    assert (ends > 0).all()
    assert (np.diff(ends) > 0).all()
    assert (starts[1:] >= ends[:-1]).all()


class WaitForKeys:
    """A plain object: streams in blocks, but attention waits for all of its inputs."""

    name, split, share_clusters = "wait", False, None

    def __init__(self, block_tokens: int) -> None:
        self.block_tokens = block_tokens

    def block(self, stage: Stage, tokens: int, costs: Pair | BlockCosts) -> int:
        return min(self.block_tokens, tokens)

    def is_barrier(self, producer: Stage, consumer: Stage) -> bool:
        return any(isinstance(node.any, MatMul) for node in consumer.nodes)

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper
    ) -> tuple[Architecture, Mapper]:
        return architecture, mapper


@pytest.mark.parametrize("machine", TINY)
def test_causal_attention_streams(machine: str) -> None:
    workload = small.decoder(prompt=24, steps=0)
    streamed, waited, in_turn = (
        simulate(workload, TINY[machine], pipeline=pipeline)
        for pipeline in (parse_pipeline("layer:1"), WaitForKeys(1), PIPELINES["sequential"])
    )
    assert streamed.run.makespan_ps < waited.run.makespan_ps
    assert streamed.run.makespan_ps < in_turn.run.makespan_ps
    assert waited.report.pipeline == "wait"
    barred = simulate(
        small.decoder(prompt=24, steps=0, causal=False),
        TINY[machine],
        pipeline=parse_pipeline("layer:1"),
    )
    assert streamed.run.makespan_ps < barred.run.makespan_ps


def first_use(done: Simulation, node: str) -> int:
    """When the stage of op `node` first works on a token, its K/V writes left out."""
    chain = {"layers.0.scores", "layers.0.softmax", "layers.0.values", "layers.0.join"}
    stages = {node} if node in {info.stage for info in done.plan.actors} else chain
    starts = [
        int(done.run.intervals(index, step)[0].min())
        for index, info in enumerate(done.plan.actors)
        if info.stage in stages and not info.part.startswith(("write", "read"))
        for step, verb in enumerate(done.plan.program.actors[index].steps)
        if isinstance(verb, Hold | Use)
    ]
    return min(starts)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("machine", TINY)
def test_only_causal_attention_starts_before_the_last_key(machine: str, causal: bool) -> None:
    workload = small.decoder(prompt=24, steps=0, layers=1, rank=None, causal=causal)
    done = simulate(workload, TINY[machine], pipeline=parse_pipeline("layer:1"))
    last = "layers.0.k:send" if machine == "analog" else "layers.0.scores:write"
    keys = int(done.run.finish_ps(_actor(done, last))[-1])
    assert (first_use(done, "layers.0.scores") < keys) == causal


def first_start(done: Simulation, stage: str, part: str) -> int:
    index = _actor(done, f"{stage}:{part}")
    steps = done.plan.program.actors[index].steps
    timed = [i for i, verb in enumerate(steps) if isinstance(verb, Hold | Use)]
    return int(done.run.intervals(index, timed[0])[0][0])


def test_barriers_stand_where_the_pipeline_says() -> None:
    workload, machine = small.encoder(tokens=12), TINY["analog"]
    starts = {}
    for pipeline in (PIPELINES["sequential"], parse_pipeline("layer:1")):
        done = simulate(workload, machine, pipeline=pipeline)
        embedded = done.run.finish_ps(_actor(done, "embed:look-up"))
        starts[pipeline.name] = first_start(done, "layers.0.q", "read")
        last = int(embedded[-1])
        assert (starts[pipeline.name] >= last) == (pipeline.name == "sequential")
    assert starts["layer"] < starts["sequential"]


# Monotony ----------------------------------------------------------------------------------------

FASTER: list[dict[str, Any]] = [
    {"tile_link": {"bandwidth_GBps": 16.0}},
    {"cluster_link": {"bandwidth_GBps": 16.0}},
    {"buffer": {"bandwidth_GBps": 128.0}},
    {"buffer": {"banks": 64}},
    {"dram": {"bandwidth_GBps": 64.0}},
    {"dram": {"channels": 4}},
    {"pmca": {"clock_MHz": 2000.0}},
    {"sram": {"clock_MHz": 400.0}},
    {"rram": {"integration_ns": 50.0}},
    {"rram": {"adc_time_ns": 0.375}},
]


@pytest.mark.parametrize("change", FASTER, ids=str)
@pytest.mark.parametrize("machine", TINY)
def test_twice_as_fast_is_never_slower(machine: str, change: dict[str, Any]) -> None:
    faster = small.changed(TINY[machine], **change)
    for workload in (small.one_layer(32, 32, 9), *MODELS.values()):
        before, after = (
            simulate(workload, m, pipeline=PIPELINES["sequential"]).run.makespan_ps
            for m in (TINY[machine], faster)
        )
        assert after <= before
    block = next(iter(change))
    matters = block != "sram" or machine == "sram"
    idle = block == "cluster_link" or "channels" in change[block]  # a row of a table is a stripe
    assert (after < before) == matters or idle


@pytest.mark.parametrize(
    "pipeline", [PIPELINES["sequential"], parse_pipeline("token:2"), parse_pipeline("layer:2")]
)
def test_a_second_copy_of_the_bottleneck_is_never_slower(pipeline: Pipeline) -> None:
    # 3 us an MVM: tiles are the bottleneck.
    machine = small.changed(TINY["analog"], rram={"integration_ns": 3000.0})
    workload = small.encoder(tokens=12)
    one, two = (
        simulate(
            workload, machine, pipeline=pipeline,
            mapper=OneBlockPerTile(replicate=(("*", copies),)),
        ).run.makespan_ps
        for copies in (1, 2)
    )  # fmt: skip
    assert two < one


@given(st.integers(1, 12), st.integers(1, 6))
@settings(max_examples=15)
def test_more_copies_of_a_layer_are_never_slower(tokens: int, replicas: int) -> None:
    machine, workload = small.machine(), small.one_layer(20, 20, tokens)
    fewer, more = (
        simulate(
            workload, machine, mapper=OneBlockPerTile(replicate=(("*", n),)), pipeline="token"
        ).run.makespan_ps
        for n in (replicas, replicas + 1)
    )
    assert more <= fewer


def test_more_tokens_and_more_steps_take_longer() -> None:
    def run(prompt: int, steps: int) -> Report:
        return simulate(
            small.decoder(prompt=prompt, steps=steps), TINY["analog"], pipeline="token"
        ).report

    base, longer, further = run(4, 2), run(8, 2), run(4, 4)
    assert base.latency_s < longer.latency_s
    assert base.latency_s < further.latency_s
    assert base.energy_J < min(longer.energy_J, further.energy_J)


# Energy and pipelines ----------------------------------------------------------------------------


def dynamic(done: Simulation, *names: str) -> dict[str, float]:
    return {
        key: energy
        for key, energy in done.report.energy_by_component_J.items()
        if not key.startswith("leakage.") and key.startswith(names or ("",))
    }


@pytest.mark.parametrize("machine", TINY)
@pytest.mark.parametrize("workload", MODELS)
def test_arrays_take_the_same_energy_in_every_pipeline(machine: str, workload: str) -> None:
    runs = [simulate(MODELS[workload], TINY[machine], pipeline=kind) for kind in PIPELINES.values()]
    arrays = [dynamic(d, "rram.", "sram.", "link.tile_link", "dram.") for d in runs]
    assert all(energies == arrays[0] for energies in arrays)
    assert len(arrays[0]) >= 9


@pytest.mark.parametrize("machine", TINY)
def test_waiting_costs_leakage_only(machine: str) -> None:
    runs = [
        simulate(MODELS["decoder"], TINY[machine], pipeline=pipeline)
        for pipeline in (parse_pipeline("token:2"), parse_pipeline("layer:2"), WaitForKeys(2))
    ]
    assert len({d.run.makespan_ps for d in runs}) == 3
    assert all(dynamic(d) == dynamic(runs[0]) for d in runs)
    leaked = [d.report.energy_by_unit_J["leakage"] for d in runs]
    power = leaked[0] / runs[0].report.latency_s
    for d, energy in zip(runs, leaked, strict=True):
        assert energy == close(power * d.report.latency_s)


def test_leakage_doubles_with_its_power() -> None:
    machine = TINY["analog"]
    twice = small.changed(
        machine, rram={"leakage_uW": 1.0}, pmca={"leakage_mW": 2.0}, buffer={"leakage_mW": 40.0},
        dram={"background_mW": 20.0}, tile_link={"leakage_uW": 0.2},
        cluster_link={"leakage_uW": 0.26},
    )  # fmt: skip
    one, two = (simulate(MODELS["encoder"], m, pipeline="token").report for m in (machine, twice))
    assert two.energy_by_unit_J["leakage"] == close(2 * one.energy_by_unit_J["leakage"])
    assert two.latency_s == one.latency_s


# The call ----------------------------------------------------------------------------------------


def test_the_same_inputs_give_the_same_bytes(done: Simulation) -> None:
    again = simulate(done.workload, done.architecture, pipeline=done.report.pipeline)
    assert again.report.to_json() == done.report.to_json()


def test_defaults_and_stages_are_told() -> None:
    told: list[str] = []
    done = simulate(
        MODELS["encoder"],
        TINY["sram"],
        seed=7,
        inputs={"note": "x"},
        progress=told.append,
        pipeline="token",
    )
    assert told == ["mapping", "scheduling", "simulating", "reporting"]
    report = done.report
    assert (report.adaptation, report.mapper) == ("lora-sram", "one-per-tile")
    assert (report.workload, report.architecture) == ("tiny-encoder", "tiny")
    assert report.inputs["seed"] == 7
    assert report.inputs["note"] == "x"
    assert report.inputs["mapping_sha256"] == done.mapping.digest()
    assert report.assumed == TINY["sram"].assumed()
    (told_note,) = report.notes
    assert told_note.startswith("the machine is much larger than the run needs")


def test_the_slow_engine_tells_the_share_that_is_done() -> None:
    told: list[str] = []
    simulate(
        MODELS["encoder"], TINY["sram"], engine="simpy", progress=told.append, pipeline="token"
    )
    assert told[:3] + told[-1:] == ["mapping", "scheduling", "simulating", "reporting"]
    shares = [int(re.fullmatch(r"simulating, (\d+)% done", text)[1]) for text in told[3:-1]]  # type: ignore[index]
    assert shares == list(range(1, 101))


def test_a_buffer_that_is_too_small_is_noted() -> None:
    report = simulate(
        MODELS["encoder"],
        small.changed(TINY["analog"], buffer={"capacity_KiB": 0.01}),
        pipeline="token",
    ).report
    (note,) = (note for note in report.notes if note.startswith("activations"))
    assert note.startswith(f"activations need {report.buffer_peak_KiB:.0f} KiB")
    assert "raise buffer.capacity_KiB" in note


def test_a_barrier_keeps_a_whole_layer_in_the_buffer() -> None:
    workload = small.workload_of("two", (small.chain(tokens=40, widths=(16, 16, 16)),))
    barred, streamed = (
        simulate(workload, TINY["analog"], pipeline=pipeline).report.buffer_peak_KiB
        for pipeline in (PIPELINES["sequential"], parse_pipeline("layer:1"))
    )
    assert barred == 40 * 16 / 1024
    assert 16 / 1024 <= streamed < barred


def token_times(done: Simulation, verb_type: type, buffer: int) -> list[int]:
    """When each token of `buffer` was put or taken, one by one."""
    times = []
    for index, actor in enumerate(done.plan.program.actors):
        for verb in actor.steps:
            if isinstance(verb, verb_type) and verb.buffer == buffer:
                for i, time in enumerate(done.run.finish_ps(index)):
                    many = isinstance(verb.count, np.ndarray)
                    times += [int(time)] * int(verb.count[i] if many else verb.count)
    return times


def peak_KiB(done: Simulation) -> float:
    """Largest number of KiB alive at once, token by token."""
    lives: dict[tuple[str, int, int], tuple[int, int, float]] = {}
    for edge in done.plan.activations:
        puts = token_times(done, Put, edge.buffer)
        gets = token_times(done, Get, edge.buffer)
        for token, (start, end) in enumerate(zip(puts, gets, strict=True)):
            key = (edge.producer, len(puts), token)
            last = max(end, lives[key][1]) if key in lives else end
            lives[key] = (start, last, edge.bytes_per_token)
    peak = max(
        sum(size for start, end, size in lives.values() if start <= moment <= end)
        for moment in {start for start, _, _ in lives.values()}
    )
    return peak / 1024


def test_the_peak_of_the_buffer_is_found(done: Simulation) -> None:
    assert done.report.buffer_peak_KiB == close(peak_KiB(done))


@pytest.mark.parametrize("sources", [("layer0", "layer3"), ("layer3", "layer0"), ("layer3",)])
def test_data_stays_in_the_buffer_until_its_last_reader_has_it(sources: tuple[str, ...]) -> None:
    chain = small.chain(tokens=10, widths=(16, 64, 16, 16, 64, 16))
    last = chain.ops[-1].model_copy(update={"inputs": sources})
    phase = chain.model_copy(update={"ops": (*chain.ops[:-1], last)})
    done = simulate(
        small.workload_of("skip", (phase,)), TINY["analog"], pipeline=PIPELINES["sequential"]
    )
    assert done.report.buffer_peak_KiB == close(peak_KiB(done))
    outputs = 64 + 64 if "layer0" in sources else 64
    assert 10 * outputs <= 1024 * done.report.buffer_peak_KiB < 10 * (outputs + 16)


def test_an_unknown_adaptation() -> None:
    with pytest.raises(MappingError, match="unknown adaptation 'x'"):
        simulate(MODELS["encoder"], TINY["sram"], adaptation="x", pipeline="token")


@pytest.mark.parametrize("path", small.ARCHITECTURES, ids=lambda path: path.stem)
def test_every_shipped_machine_runs_a_decoder(path: Path) -> None:
    one, other = (
        simulate(MODELS["decoder"], load_architecture(path), engine=engine, pipeline="token")
        for engine in ("simpy", "compiled")
    )
    assert one.report.to_json() == other.report.to_json()
    assert np.array_equal(one.run.end_ps, other.run.end_ps)
    assert all(0.0 <= share <= 1.0 for share in one.report.utilisation.values())
    assert one.report.latency_s > 0.0
