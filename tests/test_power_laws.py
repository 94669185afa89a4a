"""Power states by hand: wake-ups in picoseconds, leakage on, gated and woken in joules.

The buffer takes 2 ns and 2.5 ps a bit, the tile link 4 ns and 12.5 ps a bit. A tile has 8 rows of
4 columns, inputs of 9 bits; an SRAM unit takes 28 ns for a vector. A wake-up takes 5 ns.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close
from timed import starts_ps, takes_ps

from cimsim.errors import SpecError
from cimsim.ir import Elementwise, Linear, Op, Phase
from cimsim.mappers import DensePacking
from cimsim.schedule.pair import LoraBranch, Pair
from cimsim.simulation import Simulation, simulate

GATED: dict[str, Any] = {
    "idle": "power_gated", "clock_uW": 3.0, "clock_wake_up_ns": 2.0, "gated_leakage_uW": 0.25,
    "wake_up_ns": 5.0, "wake_up_energy_pJ": 7.0,
}  # fmt: skip
WAKE = 5000
SIZES: dict[str, Any] = {
    "rram": {"rows": 8, "columns": 4, "input_bits": 9, "dac_bits": 9, "output_bits": 14},
}
both_engines = pytest.mark.parametrize("engine", ["simpy", "compiled"])


def layer(tokens: int = 3, **changes: Any) -> Linear:
    """A layer of 20 inputs and 6 outputs: 3 x 2 tiles, half of them 2 columns wide."""
    fields: dict[str, Any] = {
        "name": "layer", "inputs": (), "tokens": tokens, "weight": "layer.weight", "rows": tokens,
        "in_features": 20, "out_features": 6,
    }  # fmt: skip
    return Linear(**(fields | changes))


def machine(kind: str = "rram", on: str = "rram", **states: Any) -> Any:
    """Units of `kind` are gated, weights are on `on`."""
    changes = small.merged(small.UNEQUAL | SIZES, {kind: {"power_states": GATED | states}})
    return small.machine(**changes, weights_on=on)


def run(*ops: Op, on: Any, **options: Any) -> Simulation:
    phase = Phase(name="prefill", tokens=max(op.tokens for op in ops), ops=ops)
    options = {"pipeline": "layer:1"} | options
    return simulate(small.workload_of("power", (phase,)), on, **options)


def leaked(done: Simulation, kind: str) -> dict[str, float]:
    """Energy (J) of a kind's leakage by state."""
    found = done.report.energy_by_component_J
    name = f"leakage.{kind}"
    return {key.removeprefix(name): e for key, e in found.items() if key.startswith(name)}


PARTS = (("compute", -1), ("convert", 0))


def overlap(done: Simulation, parts: list[tuple[str, int]]) -> bool:
    """Whether timed steps of these actors run at the same time."""
    spans: list[tuple[int, int]] = []
    for name, step in parts:
        times = zip(starts_ps(done, name)[step], takes_ps(done, name)[step], strict=True)
        spans += [(start, start + time) for start, time in times]
    spans.sort()
    return any(end > start for (_, end), (start, _) in pairwise(spans))


# tiles -------------------------------------------------------------------------------------------


@both_engines
def test_a_tile_is_woken_for_each_token_and_gated_after_its_conversions(engine: Any) -> None:
    done = run(layer(), on=machine(), engine=engine)
    assert takes_ps(done, "layer:compute0.0") == [[WAKE + 100_000] * 3]
    # 4 or 2 columns of 750 ps, 2 ns of shift-and-add
    assert takes_ps(done, "layer:convert0.0") == [[5000] * 3]
    assert takes_ps(done, "layer:convert0.1") == [[3500] * 3]
    # 120 bits from the buffer; 72 bits over the link, 1 ns to the word lines
    first = 2300 + 4900 + 1000
    assert starts_ps(done, "layer:compute0.0") == [[first + 110_000 * n for n in range(3)]]
    on_s = 3 * 3 * (110_000 + 108_500) * 1e-12
    assert done.plan.woken["rram"].on_s == close((on_s,))
    assert done.plan.woken["rram"].wakes == (18.0,)
    assert leaked(done, "rram") == {
        "": close(0.5e-6 * on_s),
        "_gated": close(0.25e-6 * (6 * done.report.latency_s - on_s)),
        "_wake_up": close(18 * 7e-12),
    }


@both_engines
def test_vectors_of_a_token_need_one_wake_up(engine: Any) -> None:
    """The converter is slower than the array: two vectors are done after three times its time."""
    slow = small.changed(machine(), rram={"adc_time_ns": 50.0})
    done = run(layer(rows=6), on=slow, engine=engine)
    convert = 4 * 50_000 + 2000
    piece = WAKE + 100_000 + 2 * convert
    first = starts_ps(done, "layer:compute0.0")[0]
    assert [b - a for a, b in pairwise(first)] == [piece] * 2
    narrow = WAKE + 100_000 + 2 * (2 * 50_000 + 2000)
    assert done.plan.woken["rram"].on_s == close((3 * 3 * (piece + narrow) * 1e-12,))
    assert done.plan.woken["rram"].wakes == (18.0,)


@both_engines
def test_a_tile_of_several_weights_does_one_thing_at_a_time(engine: Any) -> None:
    ops = [layer(name=n, weight=f"{n}.weight", in_features=4, out_features=2) for n in "ab"]
    done = run(*ops, on=machine(), mapper=DensePacking(), engine=engine)
    assert done.report.tiles_used == 1
    times = done.report.unit_times
    on_s = 6 * (WAKE + 100_000 + 3500) * 1e-12
    assert times["rram"].busy_s + times["adc"].busy_s == close(on_s)
    assert done.plan.woken["rram"].on_s == close((on_s,))
    # the port comes before the array, and after the converter
    parts = [(f"{op}:{part}0.0", step) for op in "ab" for part, step in PARTS]
    assert not overlap(done, parts)


def test_states_by_hand() -> None:
    """Always on as without states, the clock beside it; clock-gated only takes time to wake."""
    without = run(layer(), on=small.machine(**small.UNEQUAL | SIZES)).report
    on = run(layer(), on=machine(idle="on"))
    stopped = run(layer(), on=machine(idle="clock_gated"))
    assert on.report.latency_s == without.latency_s
    whole = 6 * without.latency_s
    assert leaked(on, "rram") == {"": close(0.5e-6 * whole), "_clock": close(3e-6 * whole)}
    assert takes_ps(stopped, "layer:compute0.0") == [[2000 + 100_000] * 3]
    assert leaked(stopped, "rram") == {"": close(0.5e-6 * 6 * stopped.report.latency_s)}
    free = machine(wake_up_ns=0.0, wake_up_energy_pJ=0.0, gated_leakage_uW=0.5)
    same = run(layer(), on=free)
    assert math.fsum(leaked(same, "rram").values()) == close(0.5e-6 * 6 * same.report.latency_s)


# SRAM units and clusters -------------------------------------------------------------------------


@both_engines
def test_an_sram_unit_is_woken_for_each_token(engine: Any) -> None:
    done = run(layer(), on=machine("sram", "sram"), engine=engine)
    # 8 rows of 4 weights: 3 x 2 units
    assert takes_ps(done, "layer:compute0.0") == [[WAKE + 28_000] * 3]
    on_s = 18 * 33_000e-12
    assert leaked(done, "sram") == {
        "": close(5e-6 * on_s),
        "_gated": close(0.25e-6 * (6 * done.report.latency_s - on_s)),
        "_wake_up": close(18 * 7e-12),
    }


@both_engines
def test_a_cluster_is_woken_for_each_block(engine: Any) -> None:
    op = Elementwise(
        name="add", inputs=(), tokens=3, elements=3 * 64, functions={"add": 1}
    )  # fmt: skip
    plain = run(op, on=small.machine(**small.UNEQUAL), engine=engine)
    done = run(op, on=machine("pmca"), engine=engine)
    used = plain.report.unit_times["pmca"].units
    work = plain.report.unit_times["pmca"].busy_s * used
    on_s = work + 3 * WAKE * 1e-12
    assert done.report.unit_times["pmca"].busy_s * used == close(on_s)
    assert leaked(done, "pmca") == {
        "": close(machine("pmca").units["pmca"].leakage_W(1) * on_s),
        "_gated": close(0.25e-6 * (used * done.report.latency_s - on_s)),
        "_wake_up": close(3 * 7e-12),
    }
    # the work itself takes no more, and a token each on three clusters wakes them side by side
    found, before = (each.report.energy_by_component_J for each in (done, plain))
    assert found["pmca.cores"] == before["pmca.cores"]
    assert done.report.latency_s == close(plain.report.latency_s + WAKE * 1e-12)


def test_the_pair_counts_wake_ups() -> None:
    adapter = LoraBranch(16, 4, 2)
    pair, gated = Pair(adapter, machine(idle="on")), Pair(adapter, machine())
    # conversions of the tile before it is gated
    assert gated.tile_ps(8) == pair.tile_ps(8) + 8 * (WAKE + 5000)
    woken = Pair(adapter, machine("pmca"))
    assert woken.pmca_ps(8) == pair.pmca_ps(8) + WAKE
    free = Pair(adapter, machine("pmca", idle="on"))
    assert woken.makespan_ps(8, 4) >= free.makespan_ps(8, 4) + WAKE


# whole models ------------------------------------------------------------------------------------


@cache
def decoded(engine: Any = "compiled", grouped: bool = True, **states: Any) -> Simulation:
    """A decoder with LoRA, attention on SRAM units, all kinds of unit gated."""
    each = {"power_states": GATED | states}
    made = small.machine(rram=each, sram=each, pmca=each, attention_on="sram")
    work = small.decoder(prompt=3, steps=2, layers=1)
    return simulate(work, made, pipeline="layer:1", engine=engine, group_tiles=grouped)


def test_engines_agree_and_groups_of_tiles_change_nothing() -> None:
    first = decoded().report
    for other in (decoded("simpy").report, decoded(grouped=False).report):
        assert other.latency_s == first.latency_s
        assert other.energy_by_component_J == close(first.energy_by_component_J)


def test_time_on_and_gated_is_the_time_of_every_unit() -> None:
    done = decoded()
    powers = {k: units.leakage_W(1) for k, units in small.machine().units.items()}
    for kind, power in powers.items():
        found, units = leaked(done, kind), done.plan.unit_counts[kind]
        on_s, gated_s = found[""] / power, found["_gated"] / 0.25e-6
        assert on_s + gated_s == close(units * done.report.latency_s)
        assert 0.0 < on_s < units * done.report.latency_s
        assert found["_wake_up"] == close(math.fsum(done.plan.woken[kind].wakes) * 7e-12)
        times = done.report.unit_times
        adc = times["adc"].busy_s * units if kind == "rram" else 0.0
        assert on_s == pytest.approx(times[kind].busy_s * units + adc, rel=1e-9)


def test_gated_units_of_k_and_v_are_written_or_multiply() -> None:
    done = decoded()
    for stage in {info.stage for info in done.plan.actors if info.part == "write"}:
        assert not overlap(done, [(f"{stage}:{part}", -1) for part in ("write", "compute")])


@settings(max_examples=15, deadline=None)
@given(
    wake=st.floats(0.0, 500.0), more=st.floats(0.0, 500.0),
    gated=st.floats(0.0, 0.5), joule=st.floats(0.0, 100.0), tokens=st.integers(1, 4),
)  # fmt: skip
def test_more_of_a_cost_never_costs_less(
    wake: float, more: float, gated: float, joule: float, tokens: int
) -> None:
    def of(**states: float) -> Any:
        return run(layer(tokens), on=machine(**states)).report

    always = run(layer(tokens), on=machine(idle="on")).report
    base = of(wake_up_ns=wake, gated_leakage_uW=gated, wake_up_energy_pJ=joule)
    slow = of(wake_up_ns=wake + more, gated_leakage_uW=gated, wake_up_energy_pJ=joule)
    leaky = of(wake_up_ns=wake, gated_leakage_uW=0.5, wake_up_energy_pJ=joule + more)
    assert always.latency_s <= base.latency_s <= slow.latency_s
    assert base.energy_J <= slow.energy_J
    assert base.energy_J <= leaky.energy_J
    assert base.latency_s == leaky.latency_s


def test_a_gated_unit_leaks_no_more_than_one_that_is_on() -> None:
    made = machine()
    with pytest.raises(SpecError, match=r"0\.75 exceeds the leakage of a unit that is on, 0\.5 uW"):
        made.with_values({"rram.power_states.gated_leakage_uW": 0.75})
    louder = made.with_values({"pmca.leakage_mW": 2.0, "rram.power_states.idle": "clock_gated"})
    assert louder.rram is not None
    assert louder.rram.power_states is not None
    assert louder.rram.power_states.idle == "clock_gated"
    assert "rram.power_states.wake_up_ns" in made.assumed()
