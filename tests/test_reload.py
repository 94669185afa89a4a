"""Weights that take turns on units, written while the machine runs: by hand, and laws.

SRAM units are 8 rows by 4 columns of 5 bits, written 9 bits in a cycle of 4 ns, so that a weight of
4 x 2 takes 20 ns; its 40 bits take 100 ns of latency out of DRAM and 2 ns twice out of the buffer.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close
from timed import starts_ps, takes_ps

from cimsim.adaptation import adaptation_for, adaptation_named, programmed
from cimsim.cli.tables import print_mapping, print_report
from cimsim.costs.loading import loaded_s
from cimsim.errors import CapacityError, MappingError
from cimsim.ir import Linear, Phase, Workload
from cimsim.mappers import TakingTurns, build_mapping, mapper_named
from cimsim.mapping import Mapping
from cimsim.report import load_report
from cimsim.report.writes import reprogramming
from cimsim.schedule.pipelines import pipeline_named
from cimsim.search.memory import Memory
from cimsim.simulation import Simulation, figures, simulate
from cimsim.spec import Architecture
from cimsim.views.tiles import tile_maps

ENGINES: Any = ("simpy", "compiled")
WRITE = 100_000 + 2 * 2000 + 20_000
"""Of a weight on one SRAM unit (ps): latencies of DRAM and of the buffer twice, and 5 cycles."""


def sram(units: int, **changes: Any) -> Architecture:
    """A machine with all weights on SRAM."""
    top = {k: v for k, v in changes.items() if k not in small.SRAM}
    block = {k: v for k, v in changes.items() if k in small.SRAM}
    built = {"weights_on": "sram", "rram": None, "sram": {"unit_count": units} | block} | top
    return small.machine(**small.merged(small.UNEQUAL, built))


def tiles(count: int, **changes: Any) -> Architecture:
    """A machine with all weights on tiles of 16 x 16, of which all may be written at a time."""
    return small.machine(
        adaptation="none",
        rram={"tile_count": count, "write": {"tiles_in_parallel": 4096}} | changes,
    )


def sram_machine(count: int) -> Architecture:
    """The same of SRAM units of 16 x 16."""
    return small.machine(
        adaptation="none", weights_on="sram", rram=None, sram={"unit_count": count}
    )


def chain(*widths: int, tokens: int = 1) -> Workload:
    return small.workload_of("chain", (small.chain(tokens=tokens, widths=widths),))


def run(workload: Workload, built: Architecture, mapper: str = "reload", **more: Any) -> Simulation:
    return simulate(workload, built, mapper=mapper, **({"pipeline": "layer:1"} | more))


def mapped(workload: Workload, built: Architecture, mapper: str) -> Mapping:
    return build_mapping(workload, built, adaptation_named("none"), mapper)


def alone_ps(built: Architecture, *widths: int, tokens: int = 1) -> int:
    """Layers that stay, one after the other."""
    return run(chain(*widths, tokens=tokens), built, "one-per-tile").run.makespan_ps


@pytest.mark.parametrize("engine", ENGINES)
def test_two_layers_on_one_unit_by_hand(engine: Any) -> None:
    """Written, done; written, done: the first one over what the run before has left."""
    done = run(chain(4, 2, 4), sram(1), engine=engine)
    first, second = alone_ps(sram(1), 4, 2), alone_ps(sram(1), 2, 4)
    # the link takes 40 bits at 20 GB/s, DRAM and buffer 40 and 80 at theirs: all of it beside cells
    assert starts_ps(done, "layer0:reload write") == [[104_000]]
    assert takes_ps(done, "layer0:reload write") == [[20_000]]
    assert starts_ps(done, "layer1:reload") == [[WRITE + first]]
    assert done.run.makespan_ps == 2 * WRITE + first + second
    assert done.report.reloads is not None
    assert done.report.reloads.writes == 2
    assert done.report.reloads.lifetime_runs is None


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loading", ["overlapped", "sequential"])
def test_a_write_takes_what_a_switch_of_adapter_takes(engine: Any, loading: Any) -> None:
    """The same closed form of DRAM, buffer, link and pulses, one behind or beside the other."""
    built = tiles(1).with_values({"adapter_loading": loading})
    done = run(chain(16, 16, 16), built, engine=engine)
    weight = mapped(chain(16, 16), built, "one-per-tile").placements["layer0.weight"]
    cells_s = reprogramming(built, [weight.written()]).time_s
    write_s = loaded_s(
        built.buffer, built.dram, 16 * 16 * 8, cells_s, overlapped=loading != "sequential"
    )
    expected_s = 2 * (write_s + alone_ps(built, 16, 16) * 1e-12)
    assert done.run.makespan_ps == pytest.approx(expected_s * 1e12, abs=2.0)


def test_sequential_loading_is_slower_by_the_memories() -> None:
    """Where a link is as slow as cells, both loadings differ by what overlaps."""
    ends = [
        run(chain(16, 16, 16), tiles(1).with_values({"adapter_loading": how})).run.makespan_ps
        for how in ("overlapped", "sequential")
    ]
    built = tiles(1)
    apart = loaded_s(built.buffer, built.dram, 2048, 0.0, overlapped=False)
    latencies = 100e-9 + 2 * 2e-9
    assert ends[1] - ends[0] == pytest.approx(2e12 * (apart - latencies), abs=2.0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cycles_bits", [1, 3, 9, 40])
def test_two_groups_hide_the_shorter_of_write_and_work(engine: Any, cycles_bits: int) -> None:
    """Layer i starts when its write and the layer before are done; its write starts when the layer
    of its own group before is done.
    """
    count, tokens = 6, 3
    built = sram(2, write_bits_per_cycle=cycles_bits)
    work = alone_ps(built, 4, 4, tokens=tokens)
    write = 104_000 + -(-16 * 5 // cycles_bits) * 4000
    for groups in (1, 2):
        machine = sram(groups, write_bits_per_cycle=cycles_bits)
        done = run(chain(*[4] * (count + 1), tokens=tokens), machine, f"reload:{groups}",
                   pipeline="sequential", engine=engine)  # fmt: skip
        ends = [0] * groups
        for _ in range(count):
            ends.append(max(ends[-1], ends[-groups] + write) + work)
        if groups == 1:
            assert ends[-1] == count * (write + work)
        assert done.run.makespan_ps == ends[-1]


@pytest.mark.parametrize("mapper", ["reload:1", "reload:2", "reload:4", "reload:4,release=unit"])
def test_as_many_groups_as_layers_are_the_machine_that_holds_all(mapper: str) -> None:
    workload = chain(16, 16, 16, 16, 16, tokens=3)
    done, plain = run(workload, tiles(4), mapper), run(workload, tiles(4), "one-per-tile")
    assert done.run.makespan_ps == plain.run.makespan_ps
    assert done.report.energy_J == plain.report.energy_J
    assert done.mapping.digest() == plain.mapping.digest()
    assert done.report.reloads is None
    assert "reload" not in done.report.energy_by_kind_J


def test_a_weight_that_is_alone_on_its_units_is_never_written() -> None:
    """Three layers on two groups: the second one stays."""
    done = run(chain(16, 16, 16, 16), tiles(2), "reload:2")
    assert {p.weight: p.units.item() for p in done.mapping.placements.values()} == {
        "layer0.weight": 0, "layer1.weight": 1, "layer2.weight": 0,
    }  # fmt: skip
    assert done.report.reloads is not None
    assert done.report.reloads.writes == 2
    actors = [a.name for a in done.plan.program.actors]
    assert "layer0:reload" in actors
    assert "layer1:reload" not in actors


def test_only_blocks_that_have_gone_are_written() -> None:
    """Two blocks, then one: the second tile keeps what it has."""
    done = run(chain(32, 16, 8), tiles(2))
    assert done.report.reloads is not None
    assert done.report.reloads.cells_written == 16 * 16 + 16 * 8
    assert done.report.reloads.loaded_bytes == 16 * 16 + 16 * 8


@pytest.mark.parametrize("layers", [4, 7])
def test_more_groups_are_never_slower_and_write_no_more(layers: int) -> None:
    workload = chain(*[16] * (layers + 1), tokens=2)
    found = [run(workload, tiles(g), f"reload:{g}").report for g in range(1, layers + 1)]
    for few, more in pairwise(found):
        assert more.latency_s <= few.latency_s
        assert more.energy_by_kind_J.get("reload", 0.0) <= few.energy_by_kind_J["reload"]
    assert found[0].latency_s > found[1].latency_s
    assert found[-1].reloads is None


def test_a_unit_is_written_sooner_than_its_group() -> None:
    workload = chain(*[16] * 5, tokens=2)
    group, unit = (run(workload, tiles(2), f"reload:release={r}") for r in ("group", "unit"))
    assert unit.run.makespan_ps < group.run.makespan_ps
    assert unit.report.energy_by_kind_J["reload"] == group.report.energy_by_kind_J["reload"]


def test_energy_is_that_of_writing_and_of_bringing_all_bits() -> None:
    workload = chain(*[16] * 4)
    built = tiles(1)
    done = run(workload, built).report
    weight = mapped(chain(16, 16), built, "one-per-tile").placements["layer0.weight"]
    one = reprogramming(built, [weight.written()])
    bits = 3 * 16 * 16 * 8
    brought = bits * (3.9e-12 + 2 * 0.067e-12)
    assert done.energy_by_kind_J["reload"] == close(3 * one.energy_J + brought)
    found = done.reloads
    assert found is not None
    assert found.energy_J == close(done.energy_by_kind_J["reload"])
    assert found.load_energy_J == close(brought)
    assert found.loaded_bytes == bits // 8
    assert done.energy_by_component_J["dram.access"] == close(bits * 3.9e-12)
    assert done.energy_by_component_J["link.cluster_link"] == close(bits * 0.3e-12)
    assert found.pulses == close(3 * one.pulses)
    assert found.cells_changed == close(3 * one.cells_changed)


def test_energy_goes_with_cells_that_change_and_their_pulses() -> None:
    workload = chain(*[16] * 4)
    one, twice = (
        run(workload, tiles(1, write=small.RRAM["write"] | {"pulses_per_cell": n})).report
        for n in (8.5, 17.0)
    )
    pulses = "rram.write_pulses"
    assert twice.energy_by_component_J[pulses] == close(2.0 * one.energy_by_component_J[pulses])
    assert one.reloads is not None
    assert one.energy_by_component_J[pulses] == close(one.reloads.cells_changed * 8.5 * 1e-12)
    assert one.reloads.cells_changed < one.reloads.cells_written


def test_wear_is_that_of_all_weights_of_a_tile() -> None:
    """Three weights on one tile: three writes of 8.5 pulses on changed cells, 1e6 survived."""
    done = run(chain(*[16] * 4), tiles(1)).report
    found = done.reloads
    assert found is not None
    each = found.cells_changed / found.cells_written * 8.5 / 1e6
    assert found.wear == close(3.0 * each)
    assert found.lifetime_runs == close(1.0 / found.wear)
    assert found.lifetime_s == close(done.latency_s / found.wear)


def test_every_step_writes_anew_and_sequences_share() -> None:
    workload = small.decoder(layers=2, rank=None, steps=5)
    built = tiles(20)
    one = run(workload, built).report.reloads
    four = run(workload.with_sequences(4), built).report
    assert one is not None
    assert four.reloads is not None
    weights = [p for p in mapped(workload, built, "reload").placements.values() if p.turn]
    assert one.writes > 0
    assert one.writes % (1 + 5) == 0
    assert one.writes <= len(weights) * (1 + 5)
    assert four.reloads.writes == one.writes
    assert four.reloads.loaded_bytes == one.loaded_bytes
    assert four.latency_s < 4 * run(workload, built).report.latency_s


@settings(deadline=None, max_examples=12)
@given(
    count=st.integers(8, 40), groups=st.integers(1, 3), steps=st.integers(0, 3),
    sequences=st.integers(1, 3), release=st.sampled_from(["group", "unit"]),
    pipeline=st.sampled_from(["token", "layer:1", "sequential"]), sram_too=st.booleans(),
)  # fmt: skip
def test_engines_agree_and_all_tokens_come_out(
    count: int, groups: int, steps: int, sequences: int, release: str, pipeline: str,
    sram_too: bool,
) -> None:  # fmt: skip
    workload = small.decoder(layers=2, rank=None, steps=steps).with_sequences(sequences)
    built = sram_machine(count) if sram_too else tiles(count)
    mapper = f"reload:groups={groups},release={release}"
    try:
        fast, slow = (
            run(workload, built, mapper, pipeline=pipeline, engine=engine) for engine in ENGINES
        )
    except CapacityError:
        assert count < groups * 8  # the head of 32 x 50 takes 8 units
        return
    assert fast.run.makespan_ps == slow.run.makespan_ps
    fits = sram_machine(99) if sram_too else tiles(99)
    plain = run(workload, fits, "one-per-tile", pipeline=pipeline)
    part = "sram.products" if sram_too else "rram.adc"
    products = fast.report.energy_by_component_J[part]
    assert products == close(plain.report.energy_by_component_J[part])


def test_lora_and_what_several_ops_use() -> None:
    """A and B of LoRA on tiles take turns as well; a weight of two ops stays."""
    workload = small.decoder(layers=2, steps=2)
    built = tiles(16)
    done = simulate(workload, built, adaptation="lora-rram", mapper="reload", pipeline="token")
    roles = {p.role for p in done.mapping.placements.values() if p.turn is not None}
    assert {"base", "lora_a", "lora_b"} <= roles
    switch = done.report.reprogramming.adapter_switch
    assert switch.cells_written == 0

    ops = [
        Linear(name=f"l{i}", inputs=(f"l{i - 1}",) if i else (), tokens=1, weight=name, rows=1,
               in_features=16, out_features=16)
        for i, name in enumerate(("a", "b", "a", "c"))
    ]  # fmt: skip
    tied = small.workload_of("tied", (Phase(name="prefill", tokens=1, ops=tuple(ops)),))
    mapping = mapped(tied, tiles(2), "reload")
    turns = {name: None if p.turn is None else p.turn.number
             for name, p in mapping.placements.items()}  # fmt: skip
    assert turns == {"a": None, "b": 0, "c": 1}
    assert run(tied, tiles(2)).report.reloads is not None


def test_what_is_programmed_first_is_what_stands_at_rest() -> None:
    built = tiles(2)
    mapping = mapped(chain(*[16] * 5), built, "reload:2")
    assert [part.weight for part in programmed(mapping)] == ["layer2.weight", "layer3.weight"]
    assert mapping.cell_utilisation == close(1.0)
    assert run(chain(*[16] * 5), built).report.reprogramming.cells_written == 2 * 16 * 16


def test_a_model_that_does_not_fit_is_refused_and_told_how() -> None:
    with pytest.raises(
        CapacityError, match=r"rewrite tiles while the model runs \(--mapper reload"
    ):
        mapped(chain(16, 16, 16), tiles(1), "one-per-tile")
    with pytest.raises(CapacityError) as none:
        mapped(chain(16, 32), tiles(1), "one-per-tile")
    assert "reload" not in str(none.value)


def test_one_weight_that_is_too_large_is_refused() -> None:
    workload = chain(16, 32, 16)
    with pytest.raises(CapacityError, match=r"needs 2 units, rram\.tile_count is 1"):
        mapped(workload, tiles(1), "reload")
    with pytest.raises(CapacityError, match=r"needs 4 units.*take fewer groups"):
        mapped(workload, tiles(3), "reload:2")
    assert mapped(workload, tiles(3), "reload").used("rram") == 2


def test_weights_are_kept_in_dram() -> None:
    built = tiles(1).with_values({"dram.capacity_GiB": 2.0**-21})  # 512 bytes
    mapped(chain(16, 16, 16), built, "reload")
    with pytest.raises(CapacityError, match="reloaded weights need 768 bytes of DRAM"):
        mapped(chain(16, 16, 16, 16), built, "reload")


@pytest.mark.parametrize("text", ["reload:0", "reload:-1", "reload:groups=1.5", "reload:groups=x",
                                  "reload:release=never"])  # fmt: skip
def test_options_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(MappingError, match=r"groups|release"):
        mapper_named(text)


def test_stacked_arrays_do_not_take_turns() -> None:
    with pytest.raises(MappingError, match=r"rram\.tiers .* is 2: leave it out"):
        mapped(chain(16, 16, 16), tiles(1, tiers=2), "reload")


def test_a_report_keeps_it_and_says_how_much(tmp_path: Any, capsys: Any) -> None:
    report = run(chain(*[16] * 4), tiles(1)).report
    (told,) = (note for note in report.notes if "mapper reload" in note)
    share = report.energy_by_kind_J["reload"] / report.energy_J
    assert f"{share:.1%} of the energy" in told
    assert report.inputs["mapper"] == "reload"
    assert report.row()["reloads.writes"] == 3
    report.save(tmp_path / "report.json")
    assert load_report(tmp_path / "report.json") == report
    print_report(report)
    assert "reloads of a run" in capsys.readouterr().out


def test_the_critical_path_shows_it() -> None:
    done = run(chain(*[16] * 4), tiles(1))
    found = done.bottlenecks(levers=True).total
    assert found.by_kind_s["reload"] > 0.9 * done.report.latency_s
    pulses = found.levers[0]
    assert set(pulses.new) == {"rram.write.pulse_ns", "rram.write.verify_ns"}
    assert pulses.predicted_s == pytest.approx(pulses.measured_s, rel=0.01)


def test_a_schedule_is_used_again_with_other_write_times() -> None:
    """On a machine with other pulses the same program runs with other times."""
    workload, memory = chain(*[16] * 4), Memory()
    for pulse_ns in (100.0, 130.0):
        built = tiles(1).with_values({"rram.write.pulse_ns": pulse_ns})
        quick = figures(
            workload, built, pipeline_named("layer:1"), adaptation_for(built), TakingTurns(), memory
        )
        whole = run(workload, built).report
        assert quick is not None
        assert quick.report.latency_s == whole.latency_s
        assert quick.report.energy_J == whole.energy_J
        assert quick.report.reloads == whole.reloads


def test_strategies_are_tried_on_all_layers() -> None:
    """On fewer layers, which fit, nothing would be rewritten: estimates would be far too low."""
    workload = small.encoder(layers=5, rank=None, width=32, hidden=32)
    found = run(workload, tiles(24), pipeline="auto").report
    assert found.search is not None
    assert found.reloads is not None
    (token,) = (row for row in found.search.candidates if row.pipeline == "token")
    told = run(workload, tiles(24), pipeline="token").report.latency_s
    assert token.estimated_s == pytest.approx(told, rel=1e-9)


def test_the_map_has_turns(capsys: Any, tmp_path: Any) -> None:
    built = tiles(4)
    mapping = mapped(chain(*[16] * 8), built, "reload:2")
    (drawn,) = tile_maps(mapping, built, 16)
    assert [tile.held for tile in drawn.tiles] == [
        ((f"layer{n}.weight", 1.0),) for n in (4, 5, 6, 3)
    ]
    assert drawn.filled == close(1.0)
    print_mapping(mapping)
    assert "turn" in capsys.readouterr().out


def test_cells_that_are_written_in_every_run_are_no_chip_to_measure() -> None:
    torch = pytest.importorskip("torch")
    from cimsim.functional import program_chip

    model = torch.nn.Sequential()
    for n in range(2):
        model.add_module(f"layer{n}", torch.nn.Linear(16, 16, bias=False))
    workload, built = chain(16, 16, 16), tiles(1)
    with pytest.raises(MappingError, match=r"takes turns with other weights .* programmed anew"):
        program_chip(model, mapped(workload, built, "reload"), built, "ideal")
    program_chip(model, mapped(workload, tiles(2), "reload"), tiles(2), "ideal")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("at_a_time", "writes"), [(1, 2), (2, 1), (4, 1)])
def test_writes_share_the_drivers(engine: Any, at_a_time: int, writes: int) -> None:
    """Two tiles that one driver writes take as long as one write of both."""
    built = tiles(2, write=small.RRAM["write"] | {"tiles_in_parallel": at_a_time})
    ops = tuple(
        Linear(name=f"l{n}", inputs=(), tokens=1, weight=f"l{n}.weight", rows=1, in_features=16,
               out_features=16)
        for n in range(4)
    )  # fmt: skip
    apart = small.workload_of("apart", (Phase(name="prefill", tokens=1, ops=ops),))
    done = run(apart, built, engine=engine)
    placed = list(done.mapping.placements.values())[:2]
    one_s, both_s = (reprogramming(built, [p.written() for p in placed[:n]]).time_s for n in (1, 2))
    assert both_s == close(writes * one_s)
    ready = [starts_ps(done, f"{name}:read")[0][0] for name in ("l0", "l1")]
    latency = 100_000 + 2 * 2000
    assert min(ready) == pytest.approx(latency + one_s * 1e12, abs=2.0)
    # reads share the buffer, for 3 ps a byte
    assert max(ready) == pytest.approx(latency + both_s * 1e12, abs=100.0)


@settings(deadline=None, max_examples=20)
@given(
    parallel=st.integers(1, 6), cells=st.integers(1, 20),
    current=st.one_of(st.none(), st.integers(1, 60)),
    count=st.integers(1, 7), rows=st.integers(1, 40),
)  # fmt: skip
def test_what_writes_share_is_no_more_than_they_take_together(
    parallel: int, cells: int, current: int | None, count: int, rows: int
) -> None:
    limit = {} if current is None else {"cell_current_uA": 1000.0, "current_limit_mA": current}
    scheme = {"tiles_in_parallel": parallel, "cells_in_parallel": cells} | limit
    built = tiles(64, write=small.RRAM["write"] | scheme)
    workload = chain(rows, *[16] * count)
    written = [p.written() for p in mapped(workload, built, "one-per-tile").placements.values()]
    unit = built.units["rram"]
    shared_s = sum(unit.write([part], built.cluster_link).shared_s for part in written)
    together_s = unit.write(written, built.cluster_link).time_s
    assert shared_s <= together_s * (1 + 1e-9)
