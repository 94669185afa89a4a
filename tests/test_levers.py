"""Levers: predicted from the critical path and the bounds, measured by simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from conftest import Cli
from small import close

from cimsim.errors import SimulationError
from cimsim.ir import Elementwise, Phase, Workload, save_workload
from cimsim.mappers import mapper_named
from cimsim.report import Bottlenecks, Bound, Lever, PhaseBounds, Report
from cimsim.report.bottlenecks import no_rate_ps
from cimsim.report.levers import (
    BLOCKS,
    COPIES,
    KNOBS,
    LEVERS,
    RunSetting,
    with_levers,
)
from cimsim.schedule.pipelines import Strategy, parse_pipeline
from cimsim.simulation import simulate
from cimsim.spec import Architecture, load_architecture

KNOB = {(knob.factors[0][0], knob.acts_on): knob for knob in KNOBS}
BANKS, BANDWIDTH = KNOB["buffer.banks", "shared"], KNOB["buffer.bandwidth_GBps", "work"]
INTEGRATION = KNOB["rram.integration_ns", "work"]


def part(**changes: Any) -> PhaseBounds:
    """10 s: 6 on the buffer, of which 4 are a wait for it, 4 on tiles."""
    given: dict[str, Any] = {
        "latency_s": 10.0, "by_unit_s": {"buffer": 6.0, "rram": 4.0}, "by_kind_s": {"base": 10.0},
        "by_layer_s": {"a": 10.0}, "by_wait_s": {"shared": 4.0, "data": 6.0},
        "waits_by_unit_s": {"buffer": {"shared": 4.0, "data": 2.0}, "rram": {"data": 4.0}},
        "waits_by_kind_s": {"base": {"shared": 4.0, "data": 6.0}},
        "waits_by_layer_s": {"a": {"shared": 4.0, "data": 6.0}}, "latency_by_unit_s": {},
        "busiest": None, "chain": None,
        "busiest_by_unit_s": {},
    }  # fmt: skip
    return PhaseBounds(**given | changes)


def setting_of(pipeline: str, tokens: int = 16, **changes: Any) -> RunSetting:
    """A run of a prompt of so many tokens and of decode steps."""
    steps = {"prefill": tokens, "decode": 1}
    strategy = parse_pipeline(pipeline)
    assert isinstance(strategy, Strategy)
    return RunSetting(small.machine(**changes), strategy, mapper_named(None), steps)


def turned(work: Workload, machine: Architecture, lever: Lever, **options: Any) -> Report:
    """The report of a run with a lever turned, by what it says itself."""
    if "copies" in lever.new:
        return simulate(work, machine, mapper="one-per-tile:replicate=(*+2)", **options).report
    if "block_tokens" in lever.new:
        name = options["pipeline"].partition(":")[0]
        options["pipeline"] = f"{name}:block_tokens={lever.new['block_tokens']}"
        return simulate(work, machine, **options).report
    return simulate(work, machine.with_values(dict(lever.new)), **options).report


def test_half_of_the_time_that_a_knob_acts_on() -> None:
    assert BANDWIDTH.predicted_s(part()) == 3.0
    assert BANKS.predicted_s(part()) == 2.0
    assert INTEGRATION.predicted_s(part()) == 2.0
    assert KNOB["dram.channels", "shared"].predicted_s(part()) == 0.0


def test_latency_follows_no_rate() -> None:
    waits = part(latency_by_unit_s={"buffer": 5.0})
    assert BANDWIDTH.predicted_s(waits) == 0.5
    assert BANKS.predicted_s(waits) == 2.0, "a wait for others does"
    assert INTEGRATION.predicted_s(waits) == 2.0


def test_no_more_than_the_bounds_leave() -> None:
    chain = Bound(name="chain", time_s=9.0, latency_ratio=10 / 9)
    assert BANKS.predicted_s(part(chain=chain)) == 1.0, "more servers shorten no chain"
    assert BANDWIDTH.predicted_s(part(chain=chain)) == 3.0, "a quicker unit does"
    busy = {"buffer": 9.5, "rram": 8.0}
    assert BANDWIDTH.predicted_s(part(busiest_by_unit_s=busy)) == 2.0, "the tiles stay"
    assert INTEGRATION.predicted_s(part(busiest_by_unit_s=busy)) == 0.5, "the buffer stays"
    over = part(busiest_by_unit_s={"rram": 10.0}, chain=chain)
    assert BANDWIDTH.predicted_s(over) == BANKS.predicted_s(over) == 0.0


def test_more_cores_do_not_quicken_engines() -> None:
    """Of 6 s on clusters engines multiply for 4; 1.5 s follow no rate."""
    cores, clock = KNOB["pmca.cores", "work"], KNOB["pmca.clock_MHz", "work"]
    found = part(by_unit_s={"pmca": 6.0, "rram": 4.0}, engine_s=4.0)
    assert (cores.predicted_s(found), clock.predicted_s(found)) == (1.0, 3.0)


def test_copies_act_on_waits_for_the_block_before() -> None:
    """4 s in which the next block waits for weights; clusters work for 9 of 10 s in any case."""
    assert COPIES.predicted_s(part(weights_order_s=4.0), 16) == 2.0
    busy = {"rram": 10.0, "adc": 9.5, "pmca": 9.0}
    assert COPIES.predicted_s(part(weights_order_s=4.0, busiest_by_unit_s=busy), 16) == 1.0


def test_smaller_blocks_act_on_what_the_next_stage_waits_for() -> None:
    """Of 6 s on clusters and DMA the next stage waits for 4; nobody's work gets less, and one token
    has no half."""
    waits = {"pmca": {"data": 3.0, "order": 2.0}, "dma": {"data": 1.0}, "rram": {"data": 4.0}}
    found = part(waits_by_unit_s=waits)
    assert (BLOCKS.predicted_s(found, 2), BLOCKS.predicted_s(found, 1)) == (2.0, 0.0)
    busy = found.model_copy(update={"busiest_by_unit_s": {"pmca": 9.0}})
    assert BLOCKS.predicted_s(busy, 2) == 1.0


@pytest.mark.parametrize(
    ("pipeline", "tokens", "old", "new", "made"),
    [
        ("layer:8", 16, {"block_tokens": 8}, {"block_tokens": 4}, "layer:block_tokens=4"),
        ("layer", 16, {"block_tokens": 16}, {"block_tokens": 8}, "layer:block_tokens=8"),
        ("token", 12, {"block_tokens": 12}, {"block_tokens": 6}, "token:block_tokens=6"),
        ("split:3", 16, {"block_tokens": 3}, {"block_tokens": 1}, "split:block_tokens=1"),
        ("sequential", 9, {"block_tokens": 9}, {"block_tokens": 4},
         "given+always+as-is:block_tokens=4"),
        ("shaped+never+as-is:sizes=(a+4)+(b+1)", 16, {"sizes.a": 4, "sizes.b": 1},
         {"sizes.a": 2, "sizes.b": 1}, "shaped+never+as-is:sizes=(a+2)+(b+1)"),
    ],
)  # fmt: skip
def test_blocks_are_halved(
    pipeline: str, tokens: int, old: dict[str, int], new: dict[str, int], made: str
) -> None:
    setting = setting_of(pipeline, tokens)
    found = BLOCKS.turned(setting)
    assert found is not None
    assert found[:2] == (old, new)
    assert found[2]() == replace(setting, pipeline=parse_pipeline(made))


@pytest.mark.parametrize("pipeline", ["balanced", "split", "layer:1"])
def test_what_has_no_block_to_halve(pipeline: str) -> None:
    assert BLOCKS.turned(setting_of(pipeline)) is None


def test_time_of_engines_is_told_apart() -> None:
    """LoRA on clusters: engines multiply, or cores do; attention on arrays is no work of theirs."""
    found = {
        name: simulate(
            small.encoder(tokens=16), small.machine(attention_on="sram"), pipeline=name,
            adaptation="lora-pmca",
        ).bottlenecks().total
        for name in ("engine-only", "cores-only")
    }  # fmt: skip
    cores, engines = found["cores-only"], found["engine-only"]
    assert cores.engine_s == 0.0
    assert 0.0 < engines.engine_s < engines.by_unit_s["pmca"]
    assert engines.engine_s <= engines.by_kind_s["lora"]
    assert engines.weights_order_s <= engines.by_wait_s["order"]


def test_products_that_cores_do_faster_are_no_time_of_engines() -> None:
    """A token of LoRA takes engines longer than cores; a prompt of one token has no other work."""
    machine = small.machine(attention_on="sram")
    done = simulate(small.encoder(tokens=1), machine, pipeline="layer:1", adaptation="lora-pmca")
    lora = {info.stage for info in done.plan.roles if ("pmca", 1) in info.occupies}
    assert done.plan.on_cores & lora
    total = done.bottlenecks().total
    assert total.by_kind_s["lora"] > 0.0
    assert total.engine_s == 0.0


def test_smaller_blocks_gain_in_the_run_what_they_do_in_its_phases() -> None:
    found = simulate(small.decoder(), small.machine(), pipeline="token").bottlenecks()
    waits = {"pmca": {"data": 4.0}}
    phases = {"prefill": part(waits_by_unit_s=waits), "decode": part(waits_by_unit_s=waits)}
    bounds = found.model_copy(update={"total": part(waits_by_unit_s=waits), "phases": phases})
    told = with_levers(bounds, setting_of("layer:8"), None)
    gains = {
        name: [lever.predicted_s for lever in of.levers if lever.acts_on == "blocks"]
        for name, of in {**told.phases, "total": told.total}.items()
    }
    assert gains == {"prefill": [2.0], "decode": [], "total": [2.0]}


def test_copies_are_of_every_weight_that_has_none() -> None:
    setting = setting_of("token")
    found = COPIES.turned(setting)
    assert found is not None
    assert found[:2] == ({"copies": 1}, {"copies": 2})
    twice = mapper_named("one-per-tile:replicate=(*+2)")
    assert found[2]() == replace(setting, mapper=twice)
    assert COPIES.turned(replace(setting, mapper=twice)) is None


def test_copies_by_hand() -> None:
    """One linear layer, its tile the only one at work: each of 5 tokens waits for the one before.
    Two tiles take turns, so that the third starts when the first has gone."""
    machine = small.machine()
    done = simulate(small.one_layer(tokens=5), machine, pipeline="token", adaptation="none")
    total = done.bottlenecks(levers=True).total
    (lever,) = (lever for lever in total.levers if lever.acts_on == "order")
    assert lever.new == {"copies": 2}
    waits = total.waits_by_unit_s
    ordered = sum(waits.get(unit, {}).get("order", 0.0) for unit in COPIES.units)
    assert total.weights_order_s == close(ordered)
    assert lever.predicted_s == close(ordered / 2)
    assert lever.measured_s is not None
    assert 0.9 < lever.measured_s / lever.predicted_s < 1.1


@pytest.mark.parametrize(
    ("size", "length_ps", "quicker_ps"),
    [
        (1000, 61_000, 53_000),  # 45 and 16 cycles; the link takes 50 ns, then 25
        (100, 47_000, 46_000),  # 45 and 2 cycles
        (6400, 320_000, 160_000),  # the link; 45 and 100 cycles, then 95
        (2000, 100_000, 61_000),  # the link; 45 and 32 cycles, then 61
    ],
)
def test_set_ups_follow_no_rate(size: int, length_ps: int, quicker_ps: int) -> None:
    """64 bytes a beat at 1 GHz behind 45 cycles, 20 GB/s on the link. What is left does not shrink
    where the rest is halved."""
    machine, last = small.machine(), np.array([2])
    (left,) = no_rate_ps(machine, np.array([0, 0, 8 * size]), last, np.array([length_ps]))
    assert left + (length_ps - left) // 2 == quicker_ps
    for bits in (8 * size, lambda made: 8 * size):
        assert no_rate_ps(machine, bits, last, np.array([length_ps])) == left
    assert no_rate_ps(machine, None, last, np.array([length_ps])) == 0


def test_a_slow_bank_follows_no_rate() -> None:
    """6400 bytes in one bank of 5 GB/s take 1280 ns, however fast DMA and link are."""
    slow = {"banks": 16, "bandwidth_GBps": 5.0, "interleave_bytes": 2**20}
    machine, length = small.machine(buffer=slow), np.array([1_280_000])
    assert no_rate_ps(machine, 8 * 6400, np.array([0]), length) == length


@pytest.mark.parametrize("setup", [0, 45, 400])
def test_a_quicker_dma_gains_what_was_predicted(setup: int) -> None:
    """Blocks of 6400 additions on many cores: nothing but their transfers binds."""
    op = Elementwise(name="op", inputs=(), tokens=8, elements=8 * 6400, functions={"add": 1})
    work = small.workload_of("copy", (Phase(name="prefill", tokens=8, ops=(op,)),))
    machine = small.machine(
        pmca={"dma_setup_cycles": setup, "cores": 64, "cluster_count": 1, "pool_clusters": 1,
              "tcdm_KiB": 1024.0},
    )  # fmt: skip
    done = simulate(work, machine, pipeline="layer:1", adaptation="none")
    total = done.bottlenecks(levers=True).total
    (lever,) = (lever for lever in total.levers if "pmca.dma_bytes_per_cycle" in lever.new)
    assert lever.measured_s is not None
    assert lever.predicted_s == pytest.approx(lever.measured_s, rel=0.02)


@pytest.mark.parametrize("path", small.ARCHITECTURES, ids=lambda path: path.stem)
def test_every_number_is_one_of_the_machines(path: Path) -> None:
    machine = load_architecture(path)
    for knob in KNOBS:
        fields = [field for field, _ in knob.factors]
        if all(machine.model_dump().get(field.partition(".")[0]) for field in fields):
            for field, factor in knob.factors:
                value: Any = machine
                for name in field.split("."):
                    value = getattr(value, name)
                assert machine.with_values({field: value * factor}) != machine


def test_half_the_integration_time_by_hand() -> None:
    machine = small.machine()
    done = simulate(small.one_layer(tokens=1), machine, pipeline="token")
    total = done.bottlenecks(levers=True).total
    (lever,) = (lever for lever in total.levers if lever.units == ("rram",))
    assert (lever.old, lever.new) == ({"rram.integration_ns": 100.0}, {"rram.integration_ns": 50.0})
    assert lever.measured_s == close(50e-9), "one token, one pulse"
    assert lever.predicted_s == close(total.by_unit_s["rram"] / 2)
    assert {unit for lever in total.levers for unit in lever.units} <= set(total.by_unit_s)


def test_what_does_not_bind_gains_nothing() -> None:
    machine = small.machine()
    done = simulate(small.one_layer(tokens=5), machine, pipeline="token")
    total, latency = done.bottlenecks().total, done.report.latency_s
    for field in ("dram.bandwidth_GBps", "dram.channels", "pmca.clock_MHz", "sram.clock_MHz"):
        (knob,) = (knob for knob in KNOBS if knob.factors[0][0] == field)
        assert knob.predicted_s(total) == 0.0
        block, name = field.split(".")
        doubled = 2 * getattr(getattr(machine, block), name)
        quicker = machine.with_values({field: doubled})
        changed = simulate(small.one_layer(tokens=5), quicker, pipeline="token")
        assert changed.report.latency_s == latency


@pytest.mark.parametrize("attention", ["sram", "pmca"])
def test_levers_are_in_order_and_measured_by_simulation(attention: str) -> None:
    machine = small.machine(attention_on=attention)
    options: dict[str, Any] = {"pipeline": "layer:2", "adaptation": "lora-sram"}
    done = simulate(small.decoder(), machine, **options)
    found = done.bottlenecks(levers=True)
    for name, bounds in {**found.phases, "total": found.total}.items():
        gains = [lever.predicted_s for lever in bounds.levers]
        assert 1 <= len(gains) <= LEVERS
        assert gains == sorted(gains, reverse=True)
        assert min(gains) > 0.0
        for lever in bounds.levers:
            changed = turned(small.decoder(), machine, lever, **options)
            now = changed.latency_s if name == "total" else changed.phases[name].latency_s
            assert lever.measured_s == pytest.approx(bounds.latency_s - now, rel=1e-9, abs=1e-15)
    predicted = done.bottlenecks()
    assert all(lever.measured_s is None for lever in predicted.total.levers)
    pairs = zip(predicted.total.levers, found.total.levers, strict=True)
    assert all(a == b.model_copy(update={"measured_s": None}) for a, b in pairs)


def test_the_strategy_prepares_every_machine_anew() -> None:
    machine = small.machine()
    done = simulate(small.encoder(tokens=16), machine, pipeline="cores-only")
    for lever in done.bottlenecks(levers=True).total.levers:
        changed = turned(small.encoder(tokens=16), machine, lever, pipeline="cores-only")
        gain = done.report.latency_s - changed.latency_s
        assert lever.measured_s == pytest.approx(gain, rel=1e-9, abs=1e-15)


def test_a_machine_that_cannot_be_is_told() -> None:
    found = simulate(small.decoder(), small.machine(), pipeline="token").bottlenecks()
    bounds = found.model_copy(update={"total": part(), "phases": {}})
    tried: list[Architecture] = []

    def refuse(setting: RunSetting) -> dict[str, float]:
        tried.append(setting.machine)
        raise SimulationError("too long for it")

    most = setting_of("token", buffer={"banks": 2**31 - 1})
    told = {lever.acts_on: lever for lever in with_levers(bounds, most, refuse).total.levers[::-1]}
    assert (told["work"].measured_s, told["work"].refused) == (None, "too long for it")
    shared = told["shared"]
    assert shared.new == {"buffer.banks": 2**32 - 2}
    assert shared.measured_s is None
    assert shared.refused is not None
    assert "buffer.banks: Input should be less than or equal to 2147483647" in shared.refused
    assert all(machine.buffer.banks == 2**31 - 1 for machine in tried)
    assert {machine.buffer.bandwidth_GBps for machine in tried} == {50.0, 100.0}


def test_the_command_line_measures_where_asked(cimsim: Cli, tmp_path: Path) -> None:
    file = tmp_path / "decoder.json"
    save_workload(small.decoder(layers=1), file)
    job = ("halora_rram_sram", file, "--pipeline", "token")
    code, out, err = cimsim("run", *job, "--levers")
    assert (code, out) == (2, "")
    assert "--levers had no effect without --bounds: add it" in err
    for options, measured in (((), False), (("--levers",), True)):
        code, out, _ = cimsim("run", *job, "--bounds", *options, "--json")
        assert code == 0
        bounds = Bottlenecks.model_validate_json(json.dumps(json.loads(out)["bounds"]))
        levers = [lever for p in (bounds.total, *bounds.phases.values()) for lever in p.levers]
        assert levers
        assert all((lever.measured_s is not None) == measured for lever in levers)
    table = cimsim("run", *job, "--bounds")[1]
    assert "predicted gain" in table
