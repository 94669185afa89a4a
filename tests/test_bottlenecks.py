"""What bounds a run: the critical path is the makespan to the picosecond, bounds are below it."""

from __future__ import annotations

import csv
import json
import math
import random
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from conftest import Cli
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from programs import random_program
from small import close

from cimsim.engines import Run, run
from cimsim.engines.critical import WAITS, CriticalPath, critical_path
from cimsim.engines.program import (
    Get,
    Hold,
    Program,
    ProgramBuilder,
    Put,
    Use,
    timed_verbs,
    unlimited,
)
from cimsim.errors import SimulationError
from cimsim.report import Bottlenecks, Report
from cimsim.report.bottlenecks import bottlenecks
from cimsim.schedule import Plan
from cimsim.schedule.plan import ActorInfo, Portion
from cimsim.simulation import Simulation, simulate

ENGINES = ("simpy", "compiled")
BOTH = pytest.mark.parametrize("engine", ENGINES)
RANDOM = st.randoms(use_true_random=False)


def completed(program: Program, engine: Any = "compiled") -> Run:
    """A run of `program`; the hypothesis example is dropped if it deadlocks."""
    try:
        return run(program, engine)
    except SimulationError:
        assume(False)
        raise


def told(path: CriticalPath) -> list[tuple[int, int, int, int, str]]:
    """Actor, iteration, start, end and wait of each part."""
    columns = (path.actor, path.iteration, path.start_ps, path.end_ps, path.wait)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(a, i, start, end, WAITS[wait]) for a, i, start, end, wait in rows]


# paths known by hand


@BOTH
def test_a_pipeline_is_bound_by_its_slow_stage(engine: Any) -> None:
    builder = ProgramBuilder()
    between = builder.buffer("b", 2)
    builder.actor("quick", 3, Hold(4), Put(between))
    builder.actor("slow", 3, Get(between), Hold(9))
    assert told(critical_path(run(builder.build(), engine))) == [
        (0, 0, 0, 4, "data"),
        (1, 0, 4, 13, "order"),
        (1, 1, 13, 22, "order"),
        (1, 2, 22, 31, "data"),
    ]


@BOTH
def test_a_pipeline_with_a_slow_source_waits_for_its_data(engine: Any) -> None:
    builder = ProgramBuilder()
    between = builder.buffer("b", 2)
    builder.actor("slow", 2, Hold(9), Put(between))
    builder.actor("quick", 2, Get(between), Hold(0), Hold(4))
    assert told(critical_path(run(builder.build(), engine))) == [
        (0, 0, 0, 9, "order"),
        (0, 1, 9, 18, "data"),
        (1, 1, 18, 22, "data"),
    ]


@BOTH
def test_a_busy_server_is_told_apart(engine: Any) -> None:
    builder = ProgramBuilder()
    unit = builder.resource("unit")
    builder.actor("first", 1, Use(unit, 10))
    builder.actor("second", 1, Hold(1), Use(unit, 5))
    assert told(critical_path(run(builder.build(), engine))) == [
        (0, 0, 0, 10, "shared"),
        (1, 0, 10, 15, "data"),
    ]


@BOTH
def test_a_server_given_back_at_the_request_is_no_wait(engine: Any) -> None:
    builder = ProgramBuilder()
    unit = builder.resource("unit")
    builder.actor("first", 1, Use(unit, 10))
    builder.actor("second", 1, Hold(10), Use(unit, 5))
    assert told(critical_path(run(builder.build(), engine))) == [
        (1, 0, 0, 10, "data"),
        (1, 0, 10, 15, "data"),
    ]


@BOTH
def test_a_full_buffer_holds_its_producer_up(engine: Any) -> None:
    # token 2 is put when the consumer, busy with token 0 until 11, takes token 1
    builder = ProgramBuilder()
    between = builder.buffer("b", 1)
    late = Hold(np.array([0, 0, 50]))
    builder.actor("producer", 3, Hold(1), Put(between), late)
    builder.actor("consumer", 3, Get(between), Hold(10))
    assert told(critical_path(run(builder.build(), engine))) == [
        (0, 0, 0, 1, "data"),
        (1, 0, 1, 11, "full"),
        (0, 2, 11, 61, "data"),
    ]


@BOTH
def test_tokens_in_groups_and_from_the_beginning(engine: Any) -> None:
    # the first group of three is complete with the second Put; one token is there at time 0
    builder = ProgramBuilder()
    between = builder.buffer("b", 8, 1)
    builder.actor("producer", 3, Hold(2), Put(between, np.array([1, 2, 2])), Hold(3))
    builder.actor("consumer", 2, Get(between, 3), Hold(7))
    path = told(critical_path(run(builder.build(), engine)))
    assert path == [
        (0, 0, 0, 2, "data"),
        (0, 0, 2, 5, "order"),
        (0, 1, 5, 7, "data"),
        (1, 0, 7, 14, "order"),
        (1, 1, 14, 21, "data"),
    ]


@BOTH
def test_two_moves_of_one_buffer_in_an_iteration(engine: Any) -> None:
    builder = ProgramBuilder()
    between = builder.buffer("b", 8)
    builder.actor("producer", 2, Hold(1), Put(between), Hold(5), Put(between))
    builder.actor("consumer", 2, Get(between), Get(between), Hold(2))
    assert told(critical_path(run(builder.build(), engine))) == [
        (0, 0, 0, 1, "data"),
        (0, 0, 1, 6, "order"),
        (0, 1, 6, 7, "data"),
        (0, 1, 7, 12, "data"),
        (1, 1, 12, 14, "data"),
    ]


def test_nothing_to_do_has_no_path() -> None:
    builder = ProgramBuilder()
    builder.actor("idle", 3, Hold(0))
    builder.actor("never", 0, Hold(5))
    assert told(critical_path(run(builder.build()))) == []
    assert told(critical_path(run(ProgramBuilder().build()))) == []


# laws on random programs


@settings(max_examples=150)
@given(RANDOM, st.sampled_from(ENGINES))
def test_a_path_is_unbroken_from_0_to_the_makespan(rng: random.Random, engine: Any) -> None:
    result = completed(random_program(rng, actors=8, iterations=8), engine)
    path = critical_path(result)
    edges = [0, *path.end_ps.tolist()]
    assert path.start_ps.tolist() == edges[:-1]
    assert edges[-1] == result.makespan_ps == int((path.end_ps - path.start_ps).sum())
    assert (path.end_ps > path.start_ps).all()
    for a, i, step, start, end in zip(
        path.actor, path.iteration, path.step, path.start_ps, path.end_ps, strict=True
    ):
        starts, ends = result.intervals(a, step)
        assert (starts[i], ends[i]) == (start, end)


@settings(max_examples=150)
@given(RANDOM)
def test_waits_are_what_they_are_called(rng: random.Random) -> None:
    result = completed(random_program(rng, actors=8, iterations=8))
    path = critical_path(result)
    steps = [actor.steps for actor in result.program.actors]
    parts = zip(
        path.actor.tolist(), path.iteration.tolist(), path.step.tolist(), path.wait.tolist(),
        strict=True,
    )  # fmt: skip
    for (a, i, step, wait), (b, j, later, _) in pairwise(parts):
        one, other = steps[a][step], steps[b][later]
        if WAITS[wait] == "shared":
            assert isinstance(one, Use)
            assert isinstance(other, Use)
            assert one.resource == other.resource
        elif a == b and not any(isinstance(verb, Get | Put) for verb in steps[a]):
            assert WAITS[wait] == ("data" if i == j else "order")
        elif a != b:
            assert any(isinstance(verb, Get | Put) for verb in steps[a])


@settings(max_examples=150)
@given(RANDOM, st.integers(1, 50))
def test_longer_work_on_the_path_makes_the_run_longer(rng: random.Random, more: int) -> None:
    # holds where nothing waits for servers: there a grant may go to another one
    result = completed(unlimited(random_program(rng, actors=8, iterations=8)))
    path = critical_path(result)
    assume(path.actor.size)
    at = rng.randrange(path.actor.size)
    number, step = int(path.actor[at]), int(path.step[at])
    actor = result.program.actors[number]
    verb = actor.steps[step]
    assert isinstance(verb, Hold | Use)
    duration = np.array(np.broadcast_to(verb.duration, actor.iterations))
    duration[path.iteration[at]] += more
    steps = (*actor.steps[:step], replace(verb, duration=duration), *actor.steps[step + 1 :])
    actors = list(result.program.actors)
    actors[number] = replace(actor, steps=steps)
    changed = Program(tuple(actors), result.program.buffers, result.program.resources)
    assert run(changed).makespan_ps >= result.makespan_ps + more


@settings(max_examples=150)
@given(RANDOM)
def test_both_engines_have_the_same_path(rng: random.Random) -> None:
    program = random_program(rng)
    one, other = completed(program, "simpy"), completed(program, "compiled")
    assert told(critical_path(one)) == told(critical_path(other))


def planned(program: Program, rng: random.Random, phases: int = 3) -> Plan:
    """A plan of any program, each actor with a layer of its own, its iterations in any phases.

    Some verbs are work on op "a", then on op "b".
    """
    infos = []
    for actor in program.actors:
        phase = sorted(rng.randrange(phases) for _ in range(actor.iterations))
        units = tuple((rng.choice("uv"), 1) for _ in timed_verbs(actor.steps))
        portions = tuple(_any_portions(actor.steps[i], rng) for i in timed_verbs(actor.steps))
        when = np.array(phase, np.int64)
        infos.append(ActorInfo(actor.name, actor.name, "p", units, when, portions))
    names = tuple(f"phase {p}" for p in range(phases))
    return Plan(program, names, tuple(infos), (), (), {}, {}, {}, {}, {}, frozenset())


def _any_portions(verb: Any, rng: random.Random) -> tuple[Portion, ...]:
    if rng.random() < 0.5:
        return ()
    first = verb.duration * rng.randrange(5) // 4
    return Portion("a", first), Portion("b", verb.duration - first)


@settings(max_examples=300)
@given(RANDOM)
def test_bounds_are_below_and_parts_sum_to_the_whole(rng: random.Random) -> None:
    result = completed(random_program(rng, actors=8, iterations=8))
    kinds = {"a": "one kind", "b": "another kind"}
    found = bottlenecks(planned(result.program, rng), result, kinds, [])
    assert found.total.latency_s == result.makespan_ps / 1e12
    assert math.fsum(p.latency_s for p in found.phases.values()) == close(found.total.latency_s)
    assert found.total.busiest is not None
    assert found.total.chain is not None
    for part in (found.total, *found.phases.values()):
        assert (part.busiest is None) == (part.chain is None)
        for bound in (part.busiest, part.chain):
            assert bound is None or bound.time_s <= part.latency_s
        for fold in (part.by_unit_s, part.by_kind_s, part.by_layer_s, part.by_wait_s):
            assert math.fsum(fold.values()) == close(part.latency_s)
        folds = (
            (part.by_unit_s, part.waits_by_unit_s), (part.by_kind_s, part.waits_by_kind_s),
            (part.by_layer_s, part.waits_by_layer_s),
        )  # fmt: skip
        for fold, waits in folds:
            assert list(waits) == list(fold)
            for name, times in waits.items():
                assert math.fsum(times.values()) == close(fold[name])
            for wait, time in part.by_wait_s.items():
                assert math.fsum(w.get(wait, 0.0) for w in waits.values()) == close(time)
        shared = math.fsum(part.shared_by_unit_s().values())
        assert shared == close(part.by_wait_s.get("shared", 0.0))
    first = next(iter(found.phases.values()))
    assert first.busiest is not None, "nothing comes before the first phase"


def test_bounds_by_hand() -> None:
    # both use the unit, 10 + 5 ps on one server; apart the second one takes 1 + 5 ps
    builder = ProgramBuilder()
    unit = builder.resource("unit")
    builder.actor("first", 1, Use(unit, 10))
    builder.actor("second", 1, Hold(1), Use(unit, 5))
    result = run(builder.build())
    total = bottlenecks(planned(result.program, random.Random(1), 1), result, {}, []).total
    assert total.busiest is not None
    assert total.chain is not None
    assert (total.busiest.name, total.busiest.time_s) == ("unit", close(15e-12))
    assert total.busiest.latency_ratio == 1.0
    assert total.chain.time_s == close(10e-12)
    assert total.chain.latency_ratio == 1.5
    assert total.by_layer_s == {"first": close(10e-12), "second": close(5e-12)}
    assert total.by_wait_s == {"shared": close(10e-12), "data": close(5e-12)}


def test_latency_that_occupies_no_unit_is_told_apart() -> None:
    builder = ProgramBuilder()
    builder.actor("a", 2, Hold(4), Hold(3))
    program = builder.build()
    info = ActorInfo("a", "a", "p", (("dram", 8), ("dram", 0)), np.array([0, 1]), ((), ()))
    plan = Plan(program, ("one", "two"), (info,), (), (), {}, {}, {}, {}, {}, frozenset())
    found = bottlenecks(plan, run(program), {}, [])
    assert found.total.by_unit_s == {"dram": close(14e-12)}
    assert found.total.latency_by_unit_s == {"dram": close(6e-12)}
    assert found.phases["two"].latency_by_unit_s == {"dram": close(3e-12)}


def test_what_weights_keep_the_next_block_waiting_for() -> None:
    """Three blocks of 40 ps: the next one waits for the first two. Of weights alone it counts, and
    of what each copy has of its own."""
    builder = ProgramBuilder()
    builder.actor("port", 3, Hold(40))
    program = builder.build()

    def order_s(kind: str, unit: str) -> float:
        info = ActorInfo("a", "a", "p", ((unit, 1),), np.zeros(3, np.int64), ((),))
        plan = Plan(program, ("one",), (info,), (), (), {}, {}, {}, {}, {}, frozenset())
        total = bottlenecks(plan, run(program), {"a": kind}, []).total
        assert total.by_wait_s == {"order": close(80e-12), "data": close(40e-12)}
        return total.weights_order_s

    for unit in ("rram", "adc", "sram", "link"):
        assert order_s("base", unit) == order_s("lora", unit) == close(80e-12)
        assert order_s("attention", unit) == 0.0
    assert order_s("lora", "pmca") == 0.0


def test_room_in_a_buffer_is_no_wait_for_the_block_before() -> None:
    """As the producer above that is held up: 1 and 50 ps of a tile, 10 of converters."""
    builder = ProgramBuilder()
    between = builder.buffer("b", 1)
    builder.actor("tile", 3, Hold(1), Put(between), Hold(np.array([0, 0, 50])))
    builder.actor("converters", 3, Get(between), Hold(10))
    program = builder.build()
    phase = np.zeros(3, np.int64)
    infos = (
        ActorInfo("a", "a", "p", (("rram", 1), ("rram", 1)), phase, ((), ())),
        ActorInfo("a", "a", "p", (("adc", 1),), phase, ((),)),
    )
    plan = Plan(program, ("one",), infos, (), (), {}, {}, {}, {}, {}, frozenset())
    total = bottlenecks(plan, run(program), {"a": "base"}, []).total
    assert total.by_wait_s == {"data": close(51e-12), "full": close(10e-12)}
    assert total.weights_order_s == 0.0


def test_work_is_spread_over_servers_and_rounded_up() -> None:
    builder = ProgramBuilder()
    unit = builder.resource("unit", 2)
    for i in range(3):
        builder.actor(f"a{i}", 1, Use(unit, 5))
    result = run(builder.build())
    total = bottlenecks(planned(result.program, random.Random(1), 1), result, {}, []).total
    assert total.busiest is not None
    assert (total.busiest.name, total.busiest.time_s) == ("unit", close(8e-12))
    assert max(total.busiest_by_unit_s.values()) == close(8e-12)


def test_a_phase_that_begins_early_has_no_bound() -> None:
    # the second phase of "short" runs while the first phase of "long" does
    builder = ProgramBuilder()
    builder.actor("long", 1, Hold(10))
    builder.actor("short", 2, Hold(3))
    program = builder.build()
    infos = (
        ActorInfo("long", "long", "p", (("u", 1),), np.array([0]), ((),)),
        ActorInfo("short", "short", "p", (("u", 1),), np.array([0, 1]), ((),)),
    )
    plan = Plan(program, ("one", "two"), infos, (), (), {}, {}, {}, {}, {}, frozenset())
    found = bottlenecks(plan, run(program), {}, [])
    assert found.phases["one"].busiest is not None
    assert found.phases["two"].busiest is None
    assert found.phases["two"].chain is None
    assert found.phases["two"].latency_s == 0.0


# whole simulations


@pytest.fixture(scope="module", params=["sram", "pmca"])
def simulation(request: pytest.FixtureRequest) -> Simulation:
    machine = small.machine(attention_on=request.param, adaptation="lora-pmca")
    return simulate(small.decoder(), machine, pipeline="token")


def test_phases_are_those_of_the_report(simulation: Simulation) -> None:
    found, report = simulation.bottlenecks(), simulation.report
    assert found.total.latency_s == report.latency_s
    for name, phase in report.phases.items():
        assert found.phases[name].latency_s == close(phase.latency_s)
        assert found.phases[name].chain is not None, "decode follows the prompt"
    assert set(found.total.by_kind_s) <= set(report.latency_by_kind_s)


def test_layers_sum_to_the_report(simulation: Simulation) -> None:
    found, report = simulation.bottlenecks(), simulation.report
    assert math.fsum(row.energy_J for row in found.layers) == close(report.energy_J)
    for name, phase in report.phases.items():
        rows = [row for row in found.layers if row.phase == name]
        assert math.fsum(row.energy_J for row in rows) == close(phase.energy_J)
        critical: Counter[str] = Counter()
        for row in rows:
            critical[row.layer] += row.critical_s
        layers = found.phases[name].by_layer_s
        assert {k: v for k, v in critical.items() if v} == {k: close(v) for k, v in layers.items()}
    busy: dict[str, float] = defaultdict(float)
    for row in found.layers:
        busy[row.unit] += row.busy_s
    for unit, times in report.unit_times.items():
        assert busy[unit] == close(times.busy_s * times.units)
    for kind, energy in report.energy_by_kind_J.items():
        rows = [row for row in found.layers if row.kind == kind]
        assert math.fsum(row.energy_J for row in rows) == close(energy)


def test_both_engines_are_bound_alike() -> None:
    made = [
        simulate(small.decoder(), small.machine(), engine=engine, pipeline="token")
        for engine in ENGINES
    ]  # type: ignore[arg-type]
    assert made[0].bottlenecks() == made[1].bottlenecks()


def test_paper_accounting_has_its_energies(cimsim: Cli) -> None:
    code, out, _ = cimsim(
        "run",
        "--pipeline",
        "token",
        "halora_rram_sram",
        "halora_accounting_1b",
        "--bounds",
        "--json",
    )
    assert code == 0
    report = Report.model_validate_json(out)
    assert report.bounds is not None
    assert math.fsum(r.energy_J for r in report.bounds.layers) == close(report.energy_J)


# the command line


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    from cimsim.ir import save_workload

    path = tmp_path_factory.mktemp("work") / "decoder.json"
    save_workload(small.decoder(layers=1), path)
    return "halora_rram_sram", path


def test_bounds_are_part_of_the_report_where_asked_for(
    cimsim: Cli, files: tuple[str, Path], tmp_path: Path
) -> None:
    _, without, _ = cimsim("run", "--pipeline", "token", *files, "--json")
    code, out, err = cimsim(
        "run", "--pipeline", "token", *files, "--bounds", "--json", "-o", tmp_path
    )
    assert (code, err) == (0, "")
    data = json.loads(out)
    found = Bottlenecks.model_validate_json(json.dumps(data.pop("bounds")))
    assert data == json.loads(without), "nothing else changes"
    report = Report.model_validate_json((tmp_path / "report.json").read_text())
    assert report.bounds == found
    with (tmp_path / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{k: str(v) for k, v in row.model_dump().items()} for row in found.layers]
    assert list(rows[0]) == [
        "layer", "unit", "kind", "phase", "busy_s", "critical_s", "energy_J",
    ]  # fmt: skip
    row = report.row()
    assert found.total.chain is not None
    assert row["bounds.total.chain_s"] == found.total.chain.time_s
    assert row["bounds.decode.critical.kind.base_s"] == found.phases["decode"].by_kind_s["base"]


def test_layers_of_an_older_run_do_not_stay(
    cimsim: Cli, files: tuple[str, Path], tmp_path: Path
) -> None:
    ask = ("run", "--pipeline", "token", *files, "--no-band", "-o", tmp_path)
    assert cimsim(*ask, "--bounds")[0] == 0
    assert (tmp_path / "layers.csv").exists()
    assert cimsim(*ask)[0] == 0
    assert not (tmp_path / "layers.csv").exists()


@pytest.mark.parametrize("width", [40, 80])
def test_tables(
    cimsim: Cli, files: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, err = cimsim("run", "--pipeline", "token", *files, "--bounds")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= width
    for word in ("Lower bounds of the latency", "Critical path", "busiest", "chain", "wait"):
        assert word in out
    assert "Critical path" not in cimsim("run", "--pipeline", "token", *files)[1]


@pytest.mark.parametrize("wrong", ["--bounds=3", "--bound", "--bounds-only"])
def test_wrong_options_are_refused(cimsim: Cli, files: tuple[str, Path], wrong: str) -> None:
    code, out, err = cimsim("run", "--pipeline", "token", *files, wrong)
    assert (code, out) == (2, "")
    assert wrong.split("=")[0] in err


def test_a_table_of_layers_that_cannot_be_written_is_told(
    cimsim: Cli, files: tuple[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "layers.csv").mkdir()
    code, _, err = cimsim("run", "--pipeline", "token", *files, "--bounds", "-o", tmp_path)
    assert code == 1
    assert "layers.csv" in err
