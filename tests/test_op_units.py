"""Units that take what a table says, by hand: times to the picosecond, energies, what is refused.

The machine is that of test_array_laws: the buffer takes 2 ns and 2.5 ps a bit, 96 bits of a row of
16 values; a transfer has all banks for 15 ps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close
from timed import charged_J, starts_ps

from cimsim import machine as shipped
from cimsim.costs.op_units import KNOWN_OPS, OpWork, cost_of
from cimsim.costs.tile import adders_ps
from cimsim.errors import MappingError, SpecError
from cimsim.ir import Elementwise, MatMul, Norm, Op, Phase, Softmax, Workload
from cimsim.report import inert
from cimsim.report.leakage import leakage_W
from cimsim.simulation import Simulation, simulate
from cimsim.spec import Architecture, load_architecture
from cimsim.unit_kinds.area import die_area_mm2
from cimsim.values.reads import Remembered

WRITE = 2000 + 240
"""96 bits of a row out of a unit (ps)."""
SHARE = 15

Costs = dict[str, dict[str, tuple[float, float]]]
"""Op -> size -> time (ns) and energy (nJ)."""


def units(count: int, ops: Costs, **more: Any) -> dict[str, Any]:
    def entry(time: float, energy: float) -> dict[str, Any]:
        why = dict.fromkeys(("time_ns", "energy_nJ"), "assumed: for tests")
        return {"time_ns": time, "energy_nJ": energy, "sources": why}

    found = {"unit_count": count, "unit_area_mm2": 0.25, "leakage_mW": 3.0}
    return {
        **found, **more, "sources": dict.fromkeys(found, "assumed: for tests"),
        "ops": {op: {size: entry(*cost) for size, cost in sizes.items()}
                for op, sizes in ops.items()},
    }  # fmt: skip


def machine(**op_units: dict[str, Any]) -> Architecture:
    base = small.machine(**(small.UNEQUAL | {"adaptation": "none"})).content
    return Architecture.model_validate({**base, "op_units": op_units})


def norms(count: int = 1, tokens: int = 5, width: int = 16) -> Workload:
    """Layer norms of `tokens` rows, none of which reads another."""
    ops = tuple(
        Norm(name=f"n{i}", inputs=(), tokens=tokens, norm="layer", rows=tokens, columns=width)
        for i in range(count)
    )
    return small.workload_of("norms", (Phase(name="prefill", tokens=tokens, ops=ops),))


def run(workload: Workload, built: Architecture, **options: Any) -> Simulation:
    return simulate(workload, built, **({"pipeline": "layer:1"} | options))


NORM = {"layer_norm": {"16": (7.0, 0.5), "32": (11.0, 0.75)}}
BOTH = pytest.mark.parametrize("engine", ["simpy", "compiled"])


@BOTH
@pytest.mark.parametrize(("count", "rounds"), [(1, 5), (2, 3), (3, 2), (5, 1), (9, 1)])
def test_rows_go_round_the_units(count: int, rounds: int, engine: Any) -> None:
    done = run(norms(), machine(vector=units(count, NORM)), engine=engine)
    last = min(count, 5) - 1 if 5 % count == 0 or count > 5 else 5 % count - 1
    assert done.run.makespan_ps == rounds * (7000 + WRITE) + last * SHARE
    assert charged_J(done, "n0")["vector.layer_norm"] == [close(5 * 0.5e-9)]
    assert charged_J(done, "n0")["buffer.access"] == [close(5 * 96 * 0.067e-12)]


@pytest.mark.parametrize(
    ("width", "passes", "each_ns", "each_nJ"),
    [(16, 1, 7, 0.5), (17, 1, 11, 0.75), (32, 1, 11, 0.75), (33, 2, 11, 0.75), (96, 3, 11, 0.75)],
)
def test_a_row_takes_the_least_entry_or_passes_of_the_longest(
    width: int, passes: int, each_ns: float, each_nJ: float
) -> None:
    done = run(norms(1, 1, width), machine(vector=units(1, NORM)))
    bits = 6 * width
    fullest = min(bits, 512)
    write = 2000 + math.ceil(2.5 * fullest)
    assert done.run.makespan_ps == passes * each_ns * 1000 + write
    assert charged_J(done, "n0")["vector.layer_norm"] == [close(passes * each_nJ * 1e-9)]


@BOTH
def test_stages_share_the_units_of_their_table(engine: Any) -> None:
    """Two norms of one row: one after the other on one unit, which writing does not keep."""
    one, two = (run(norms(2, 1), machine(vector=units(n, NORM)), engine=engine) for n in (1, 2))
    assert [starts_ps(one, f"n{i}:work")[0] for i in range(2)] == [[0], [7000]]
    assert [starts_ps(two, f"n{i}:work")[0] for i in range(2)] == [[0], [0]]
    assert one.run.makespan_ps == 14_000 + WRITE
    assert two.run.makespan_ps == 7000 + WRITE + SHARE


def attention(tokens: int, heads: int = 2, size: int = 4, *, between: bool = True) -> Workload:
    """Scores, what is done to them, and values, of queries, keys and values that norms made."""
    width = heads * size
    ops: list[Op] = [
        Norm(name=n, inputs=(), tokens=tokens, norm="layer", rows=tokens, columns=width)
        for n in "qkv"
    ]
    common: dict[str, Any] = {
        "tokens": tokens, "batch": heads, "m": tokens, "stationary_batch": heads, "causal": True,
    }  # fmt: skip
    ops.append(
        MatMul(name="s", inputs=("q", "k"), k=size, n=tokens, stationary_token_axis="n", **common)
    )
    last = "s"
    if between:
        ops.append(
            Elementwise(
                name="scale", inputs=("s",), tokens=tokens, elements=heads * tokens * tokens,
                functions={"mul": 1},
            )
        )  # fmt: skip
        last = "scale"
    ops.append(
        Softmax(name="p", inputs=(last,), tokens=tokens, rows=heads * tokens, columns=tokens,
                causal=True)
    )  # fmt: skip
    ops.append(
        MatMul(name="o", inputs=("p", "v"), k=tokens, n=size, stationary_token_axis="k", **common)
    )
    return small.workload_of("attention", (Phase(name="prefill", tokens=tokens, ops=tuple(ops)),))


TABLE = {"attention": {"4x8": (20.0, 2.0), "8x8": (50.0, 6.0), "8x16": (45.0, 7.0)}}


@BOTH
@pytest.mark.parametrize("between", [True, False])
def test_attention_is_one_run_over_all_tokens(engine: Any, between: bool) -> None:
    """It begins once the last row of Q, K and V is there; 3 x 8 values a token are read, 8 written.

    The three units do nine rows, the last three of which are written one behind the other.
    """
    built = machine(vector=units(3, {"layer_norm": {"8": (7.0, 0.5)}}), mixer=units(1, TABLE))
    done = run(attention(3, between=between), built, engine=engine)
    write, share = 2000 + 120, 8  # 48 bits of a row
    begin = starts_ps(done, "o:work")[0][0]
    rows = done.run.finish_ps(
        next(i for i, a in enumerate(done.plan.program.actors) if a.name == "v:collect")
    )
    assert begin == int(rows[-1]) == 3 * 7000 + write + 2 * share
    read = 2000 + math.ceil(2.5 * 432)  # 3 tokens x 24 values x 6 bits
    assert done.run.makespan_ps == begin + read + 20_000 + 2000 + 360
    assert charged_J(done, "o")["mixer.attention"] == [close(2e-9)]
    assert charged_J(done, "o")["buffer.access"] == [close((432 + 144) * 0.067e-12)]
    assert set(done.report.energy_by_unit_J) >= {"vector", "mixer"}
    assert done.report.energy_by_unit_J["pmca"] == 0.0
    assert done.report.energy_by_kind_J["attention"] >= 2e-9
    assert math.fsum(done.report.energy_by_component_J.values()) == close(done.report.energy_J)


@pytest.mark.parametrize(
    ("tokens", "heads", "time_ns"), [(3, 2, 20), (4, 2, 20), (5, 2, 45), (8, 3, 45)]
)
def test_attention_takes_the_fastest_entry_that_holds_it(
    tokens: int, heads: int, time_ns: float
) -> None:
    built = machine(mixer=units(1, TABLE)).op_units
    assert built is not None
    assert cost_of(built, "mixer", OpWork("attention", heads * 4, tokens, tokens))[0] == time_ns


def test_attention_beyond_the_table_is_refused() -> None:
    built = machine(mixer=units(1, TABLE))
    with pytest.raises(MappingError, match=r"9 queries, 9 keys and 8 values .* hold 8x8x16: add"):
        run(attention(9), built)


def test_a_decode_step_has_an_entry_of_its_own() -> None:
    """One query to 7, 8, 9 keys: the entries 1x8x8 and 1x16x8, once each step."""
    table = {"attention": {"8x8": (50.0, 6.0), "1x8x8": (5.0, 1.0), "1x16x8": (9.0, 1.5)}}
    tables = {"layer_norm": {"8": (1.0, 0.1)}, "softmax": {"8": (1.0, 0.1)}}
    workload = small.decoder(layers=1, prompt=6, steps=3, rank=None, width=8, heads=2, hidden=8)
    done = run(workload, machine(mixer=units(1, table), vector=units(1, tables)))
    stage = next(k for k in done.plan.booked if k.stage.endswith(".values")).stage
    assert charged_J(done, stage)["mixer.attention"] == [close(6e-9), close((1 + 1 + 1.5) * 1e-9)]
    starts = starts_ps(done, f"{stage}:work")
    assert len(starts[0]) == 4


def test_attention_has_the_width_of_all_heads_of_its_queries() -> None:
    """Four heads of 8 on two of keys and values: 32 values, not 16; in the prompt and in a step."""
    table = {"attention": {
        "8x16": (5.0, 1.0), "8x32": (50.0, 6.0), "1x9x16": (3.0, 1.0), "1x9x32": (9.0, 2.0),
    }}  # fmt: skip
    done = run(small.decoder(layers=1, steps=2, rank=None), machine(mixer=units(1, table)))
    assert done.report.energy_by_component_J["mixer.attention"] == close((6 + 2 * 2) * 1e-9)


def test_what_no_table_lists_runs_on_clusters_or_is_refused() -> None:
    """RMS norms and SiLU of the decoder are in no table."""
    workload = small.decoder(layers=1, steps=0, rank=None)
    table = {"attention": {"8x64": (50.0, 6.0)}, "add": {"64": (3.0, 0.1)}}
    done = run(workload, machine(some=units(1, table)))
    assert done.report.energy_by_unit_J["pmca"] > 0.0
    assert done.report.energy_by_component_J["some.add"] == close(6 * 2 * 0.1e-9)
    with pytest.raises(MappingError, match=r"needs rms_norm, which no table of 'tiny' lists"):
        run(workload, machine(some=units(1, table, others="refused")))


def test_a_table_with_all_its_work_leaves_clusters_dark() -> None:
    table = {"attention": {"8x64": (50.0, 6.0)}} | {
        op: {"64": (3.0, 0.1)} for op in ("add", "mul", "silu", "rms_norm", "move")
    }
    done = run(
        small.decoder(layers=1, steps=0, rank=None), machine(some=units(2, table, others="refused"))
    )
    assert "pmca" not in done.report.unit_times
    assert done.report.unit_times["some"].units == 2
    assert done.report.energy_by_component_J["leakage.some"] == close(
        2 * 3e-3 * done.report.latency_s
    )


def test_functions_of_two_tables_are_not_one_op() -> None:
    op = Elementwise(name="e", inputs=(), tokens=1, elements=16, functions={"add": 1, "mul": 2})
    workload = small.workload_of("e", (Phase(name="prefill", tokens=1, ops=(op,)),))
    both = {"add": {"16": (3.0, 0.1)}, "mul": {"16": (5.0, 0.2)}}
    assert run(workload, machine(a=units(1, both))).run.makespan_ps == 3000 + 2 * 5000 + WRITE
    apart = machine(a=units(1, {"add": both["add"]}), b=units(1, {"mul": both["mul"]}))
    with pytest.raises(MappingError, match="'e' takes functions of op_units a and b"):
        run(workload, apart)


def test_scores_that_others_read_are_no_attention() -> None:
    workload = attention(3)
    phase = workload.phases[0]
    other = Elementwise(name="e", inputs=("s",), tokens=3, elements=18, functions={"add": 1})
    ops = (*phase.ops, other)
    two = small.workload_of("two", (Phase(name="prefill", tokens=3, ops=ops),))
    with pytest.raises(MappingError, match=r"scores 's' is not softmax .* 2 ops read 's'"):
        run(two, machine(mixer=units(1, TABLE)))


@pytest.mark.parametrize(
    ("op_units", "told"),
    [
        ({"v": units(1, {"gelo": {"16": (1.0, 0.1)}})}, "lists 'gelo', which is no op .* gelu"),
        ({"v": units(1, {"gelu": {"x": (1.0, 0.1)}})}, "gelu has size 'x': write it like 512"),
        ({"v": units(1, {"gelu": {"0": (1.0, 0.1)}})}, "each number is 1 to"),
        ({"v": units(1, {"gelu": {"8x8": (1.0, 0.1)}})}, "gelu has size '8x8'"),
        ({"v": units(1, {"attention": {"8": (1.0, 0.1)}})}, "write it like 64x512 or 1x64x512"),
        ({"v": units(1, {"gelu": {}})}, "lists an op without a size"),
        ({"v": units(1, {})}, "ops is empty"),
        ({"v": units(1, {"gelu": {"8": (1, 0.1), "08": (1, 0.1)}})}, "names a size twice"),
        (
            {n: units(1, {"gelu": {"8": (1.0, 0.1)}}) for n in "vw"},
            "op_units.v and op_units.w both list gelu",
        ),
        ({"rram": units(1, NORM)}, "op_units.rram cannot be called so"),
        ({"a b": units(1, NORM)}, "cannot be called so"),
    ],
)  # fmt: skip
def test_wrong_tables(op_units: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        machine(**op_units)


def test_attention_has_one_place() -> None:
    base = small.machine(attention_on="sram").content
    with pytest.raises(ValueError, match="lists attention, but attention_on is 'sram'"):
        Architecture.model_validate({**base, "op_units": {"m": units(1, TABLE)}})


def test_numbers_of_a_table_have_paths_sources_and_an_area() -> None:
    built = machine(vector=units(3, NORM))
    path = "op_units.vector.ops.layer_norm.16.time_ns"
    faster = built.with_values({path: 2.0})
    assert run(norms(1, 1), faster).run.makespan_ps == 2000 + WRITE
    assert faster.assumed()[path] == "set by the user"
    assert [change.field for change in faster.changes] == [path]
    assert built.area_mm2()["vector"] == close(0.75)
    assert built.area_mm2({"vector": 1})["vector"] == close(0.25)
    assert leakage_W(built, {"vector": 2})["vector"] == close(6e-3)
    assert inert.follows(built, "op_units.vector.unit_count", 6)
    for wrong, told in (
        ("op_units.vector.ops.layer_norm.16", "no single value|name one of its fields"),
        (
            "op_units.vector.ops.layer_norm.17.time_ns",
            r"no `op_units\.vector\.ops\.layer_norm\.17`",
        ),
        ("op_units.other.unit_count", r"no `op_units\.other`"),
        ("op_units.vector.ops.layer_norm.16.time", "there is no field"),
    ):
        with pytest.raises(SpecError, match=told):
            built.with_values({wrong: 1.0})


def test_a_file_may_say_what_differs_in_a_table(tmp_path: Path) -> None:
    ops = {"gelu": {"256": {"time_ns": 5, "sources": {"time_ns": "Own et al."}}, "512": None}}
    data = {"extends": "ibm_3dcim", "name": "own", "op_units": {"digital": {"ops": ops}}}
    path = tmp_path / "own.json"
    path.write_text(json.dumps(data))
    own, base = load_architecture(path), shipped("ibm_3dcim")
    assert own.op_units is not None
    assert base.op_units is not None
    mine, theirs = own.op_units["digital"].ops, base.op_units["digital"].ops
    assert set(mine["gelu"]) == {"256", "768", "1024"}
    assert mine["gelu"]["256"].time_ns == 5
    assert mine["gelu"]["256"].sources["time_ns"] == "Own et al."
    assert mine["add"] == theirs["add"]
    changes = {change.field for change in own.changes}
    assert "op_units.digital.ops.gelu.256.time_ns" in changes


@settings(max_examples=30, deadline=None)
@given(
    tokens=st.integers(1, 7), count=st.integers(1, 4), width=st.integers(1, 70),
    stages=st.integers(1, 3),
)  # fmt: skip
def test_engines_agree_and_more_units_are_never_slower(
    tokens: int, count: int, width: int, stages: int
) -> None:
    workload = norms(stages, tokens, width)
    built = [machine(vector=units(n, NORM)) for n in (count, count + 1)]
    ends = [run(workload, each).run.makespan_ps for each in built]
    assert run(workload, built[0], engine="simpy").run.makespan_ps == ends[0]
    assert ends[1] <= ends[0] + tokens * stages * 2 * math.ceil(6 * width / 6.4)  # banks in turn
    energies = [run(workload, each).report.energy_by_component_J for each in built]
    assert energies[0]["vector.layer_norm"] == close(energies[1]["vector.layer_norm"])


def test_a_file_with_tables_has_the_area_of_its_machine() -> None:
    built = machine(vector=units(3, NORM), mixer=units(2, TABLE))
    assert die_area_mm2(built.content) == close(built.die_area_mm2)
    assert built.die_area_mm2 == close(small.machine(**small.UNEQUAL).die_area_mm2 + 5 * 0.25)


def test_what_is_remembered_of_a_table_is_told_from_another() -> None:
    """Equal machines but for one time of a table have results of their own."""
    slow = machine(vector=units(1, NORM))
    fast = slow.with_values({"op_units.vector.ops.layer_norm.16.time_ns": 2.0})
    known: Remembered[float] = Remembered(4)

    def time_ns(built: Architecture) -> float:
        return cost_of(built.op_units or {}, "vector", OpWork("layer_norm", 16))[0]

    assert [known.get("norm", each, time_ns) for each in (slow, fast, slow)] == [7.0, 2.0, 7.0]
    assert len(known) == 2


def test_partial_sums_meet_in_a_tree_or_in_a_chain() -> None:
    built = small.machine().rram
    assert built is not None
    for adders, levels in (("tree", (0, 1, 2, 2, 3, 3)), ("chain", (0, 1, 2, 3, 4, 5))):
        tiles = built.model_copy(update={"adders": adders})
        assert [adders_ps(tiles, n) for n in range(1, 7)] == [1000 * level for level in levels]
    assert adders_ps(built, 5) == 3000


def test_known_ops_are_those_of_workloads(cimsim: Callable[..., tuple[int, str, str]]) -> None:
    assert {"attention", "layer_norm", "rms_norm", "softmax", "gelu", "add", "argmax"} <= set(
        KNOWN_OPS
    )
    code, out, _ = cimsim("check", "ibm_3dcim", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["origins"]["op_units"]["published"] >= 30
