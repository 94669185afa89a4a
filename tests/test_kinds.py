"""Kinds of work: time and energy of every op of a fused chain, of LoRA and its merge."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given
from hypothesis import strategies as st
from small import close
from timed import takes_ps

from cimsim.costs.memory import access_energy_J
from cimsim.costs.tile import link_energy_J
from cimsim.engines import run_for_ends
from cimsim.engines.program import Hold, ProgramBuilder, Use, timed_verbs
from cimsim.ir import Elementwise, Embedding, Norm, Phase, Workload, load_workload
from cimsim.report.kinds import kinds_of
from cimsim.report.needs import needed
from cimsim.schedule import Plan
from cimsim.schedule.plan import ActorInfo, Portion
from cimsim.schedule.portions import parted
from cimsim.simulation import Simulation, simulate
from cimsim.spec import load_architecture
from cimsim.units import ps_to_seconds

MACHINES = {
    "analog": small.machine(),
    "sram": small.machine(attention_on="sram", adaptation="lora-sram", sram={"unit_count": 4096}),
    "narrow": small.machine(pmca={"tcdm_KiB": 4.0, "pool_clusters": 1}),
}
MODELS = {"decoder": small.decoder(prompt=9, steps=3), "encoder": small.encoder(tokens=17)}


def looked_up(*names: str, tokens: int = 1) -> Workload:
    """A table of 64 columns, and one or both of a norm and a SiLU on a cluster."""
    ops: list[Any] = [
        Embedding(
            name="embed", inputs=(), tokens=tokens, weight="embed.weight", rows=tokens, columns=64
        )
    ]
    for name in names:
        source = (ops[-1].name,)
        if name == "norm":
            ops.append(
                Norm(name=name, inputs=source, tokens=tokens, norm="rms", rows=tokens, columns=64)
            )
        else:
            ops.append(
                Elementwise(
                    name=name, inputs=source, tokens=tokens, elements=64 * tokens,
                    functions={"silu": 1},
                )
            )  # fmt: skip
    return small.workload_of("chain", (Phase(name="prefill", tokens=tokens, ops=tuple(ops)),))


def by_kind_and_unit(done: Simulation) -> dict[tuple[str, str], float]:
    """Of clusters the cores and engines: transfers and waiting belong to both ends of a chain."""
    kinds, found = kinds_of(done.workload), Counter[tuple[str, str]]()
    for charge in done.plan.charges(done.architecture):
        if charge.unit == "pmca" and charge.component not in ("cores", "engine"):
            continue
        found[kinds[charge.op], charge.unit] += math.fsum(charge.energy_J)
    return dict(found)


def test_two_ops_of_a_chain_by_hand() -> None:
    machine = small.machine()
    both, norm, silu = (
        simulate(looked_up(*ops), machine, pipeline="token")
        for ops in (("norm", "silu"), ("norm",), ("silu",))
    )
    assert {c.stage for c in both.plan.charges(both.architecture)} == {"embed", "silu"}, (
        "one stage on a cluster"
    )
    spent, alone, other = map(by_kind_and_unit, (both, norm, silu))
    # each has the energy of its own cycles
    assert spent["norm", "pmca"] == close(alone["norm", "pmca"])
    assert spent["vector", "pmca"] == close(other["vector", "pmca"])
    bits = 64 * 8  # one token of 64 values comes in for the norm, as many leave with the SiLU
    link = link_energy_J(machine.cluster_link, bits)
    buffer = access_energy_J(machine.buffer, bits)
    assert spent["norm", "link"] == spent["vector", "link"] == close(link)
    assert spent["norm", "buffer"] == spent["vector", "buffer"] == close(buffer)
    assert spent["embedding", "buffer"] == close(access_energy_J(machine.buffer, 64 * 16))
    # one token: embed, then fetch (norm), compute (norm, SiLU) and drain (SiLU)
    steps = [time for (time,) in takes_ps(both, "silu:block0")]
    fetch, compute, drain = sum(steps[:3]), steps[3], sum(steps[4:])
    assert [time for (time,) in takes_ps(norm, "norm:block0")][:3] == steps[:3]
    first = takes_ps(norm, "norm:block0")[3][0]
    second = takes_ps(silu, "silu:block0")[3][0]
    assert compute == first + second
    report, (embed, store) = both.report, takes_ps(both, "embed:look-up")
    assert report.latency_by_kind_s == {
        "embedding": close((embed[0] + store[0]) / 1e12),
        "norm": close((fetch + first) / 1e12),
        "vector": close((second + drain) / 1e12),
    }
    assert both.bottlenecks().total.by_kind_s == report.latency_by_kind_s


def test_lora_and_its_merge_are_lora() -> None:
    kinds = kinds_of(small.decoder())
    lora = {name for name, kind in kinds.items() if kind == "lora"}
    adapted = [f"layers.{i}.{layer}" for i in (0, 1) for layer in ("q", "k", "v", "down")]
    assert lora == {f"{n}{part}" for n in adapted for part in (".lora_A", ".lora_B", "/merge")}
    assert kinds["layers.0.q"] == "base"
    assert kinds["layers.0.scores"] == kinds["layers.0.values"] == "attention"


def test_an_addition_to_what_is_merged_is_not_lora() -> None:
    phase = small.decoder(layers=1, steps=0).phases[0]
    ops = tuple(op for op in phase.ops if "lora" in op.name or op.name.endswith((".down", "merge")))
    scaled = Elementwise(
        name="scaled", inputs=("layers.0.down.lora_B",), tokens=6, elements=6 * 32,
        functions={"mul": 1},
    )  # fmt: skip
    merge = next(op for op in ops if op.name == "layers.0.down/merge")
    moved = merge.model_copy(update={"inputs": ("scaled", "layers.0.down")})
    after = merge.model_copy(update={"name": "after", "inputs": (merge.name, "layers.0.down")})
    names = [*(op for op in ops if op is not merge), scaled, moved, after]
    workload = small.decoder(layers=1, steps=0).model_copy(
        update={"phases": (phase.model_copy(update={"ops": tuple(names)}),)}
    )
    kinds = kinds_of(workload)
    assert (kinds["scaled"], kinds[merge.name], kinds["after"]) == ("lora", "lora", "vector")


def test_lora_on_clusters_has_energy_and_time_of_its_own() -> None:
    machine = load_architecture(small.ROOT / "arch_configs" / "ahwa_pcm_pmca.json")
    workload = load_workload(small.ROOT / "workloads" / "minilm_sentiment_r8_s32.json")
    done, alone = (
        simulate(workload, machine, adaptation=a, pipeline="token") for a in (None, "none")
    )
    kinds = ("attention", "base", "lora", "norm", "softmax", "vector")
    for report in (done.report, alone.report):
        assert set(kinds) - set(report.energy_by_kind_J) == (
            {"lora"} - set(report.latency_by_kind_s)
        )
    beside = {
        c.stage for c in done.plan.charges(done.architecture) if kinds_of(workload)[c.op] == "lora"
    }
    assert beside
    charged = math.fsum(
        e for c in done.plan.charges(done.architecture) if c.stage in beside for e in c.energy_J
    )
    assert done.report.energy_by_kind_J["lora"] == close(charged), "all of its stages is LoRA"
    spent, without = by_kind_and_unit(done), by_kind_and_unit(alone)
    for kind in ("attention", "softmax", "norm", "vector"):
        assert spent[kind, "pmca"] == close(without[kind, "pmca"]), "LoRA takes none of the others"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("adaptation", ["lora-pmca", "lora-sram", "none"])
@pytest.mark.parametrize("pipeline", ["token", "layer:2", "split"])
def test_kinds_sum_to_the_whole(machine: str, model: str, adaptation: str, pipeline: str) -> None:
    done = simulate(MODELS[model], MACHINES[machine], adaptation=adaptation, pipeline=pipeline)
    report, found = done.report, done.bottlenecks()
    assert math.fsum(report.energy_by_kind_J.values()) == close(report.energy_J)
    for kind, energy in report.energy_by_kind_J.items():
        assert math.fsum(r.energy_J for r in found.layers if r.kind == kind) == close(energy)
    assert 0 < max(report.latency_by_kind_s.values()) <= report.latency_s
    assert math.fsum(report.latency_by_kind_s.values()) >= report.latency_s * (1 - 1e-12), "no gap"
    for part, time in found.total.by_kind_s.items():
        assert time <= report.latency_by_kind_s[part] * (1 + 1e-12)
    for actor, info in zip(done.plan.program.actors, done.plan.actors, strict=True):
        for step, portions in zip(timed_verbs(actor.steps), info.portions, strict=True):
            verb = actor.steps[step]
            assert isinstance(verb, Hold | Use)
            if portions:
                assert np.all(sum(p.duration for p in portions) == verb.duration)
                assert all(np.all(np.asarray(p.duration) >= 0) for p in portions)


AMOUNTS = st.lists(st.lists(st.integers(0, 10**12), min_size=3, max_size=3), min_size=1, max_size=4)


@given(AMOUNTS, st.lists(st.integers(0, 10**15), min_size=3, max_size=3))
def test_a_time_is_parted_exactly_and_in_proportion(
    amounts: list[list[int]], times: list[int]
) -> None:
    given = {f"op{i}": np.array(row, np.int64) for i, row in enumerate(amounts)}
    found = parted(np.array(times, np.int64), given, "stage")
    if not any(map(any, amounts)):
        assert found.portions == ()
        return
    parts = {p.op: np.broadcast_to(p.duration, 3).tolist() for p in found.portions}
    for block, time in enumerate(times):
        assert sum(row[block] for row in parts.values()) == time
        whole = sum(row[block] for row in amounts)
        for i, row in enumerate(amounts):
            share = parts.get(f"op{i}", [0] * 3)[block]
            assert 0 <= share <= time
            if whole:
                assert share == pytest.approx(time * row[block] / whole, abs=2 + 1e-15 * time)


def test_what_is_of_one_op_has_no_portions() -> None:
    time, amount = np.array([5, 7]), np.array([1, 1])
    assert parted(time, {"stage": amount}, "stage").portions == ()
    (portion,) = parted(time, {"other": amount, "stage": 0 * amount}, "stage").portions
    assert (portion.op, np.asarray(portion.duration).tolist()) == ("other", [5, 7])


SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9), st.booleans()), max_size=12)


@given(SPANS)
def test_time_of_a_kind_counts_every_instant_once(spans: list[tuple[int, int, bool]]) -> None:
    builder, infos = ProgramBuilder(), []
    for number, (start, length, fused) in enumerate(spans):
        builder.actor(f"a{number}", 1, Hold(start), Hold(length))
        # with `fused` the first 2 ps are of another kind
        two = (Portion("x", min(2, length)), Portion("y", length - min(2, length)))
        portions = ((Portion("wait", start),), two if fused else (Portion("y", length),))
        infos.append(ActorInfo("s", "s", "p", (("u", 1),) * 2, np.array([0]), portions))
    program = builder.build()
    plan = Plan(program, ("one",), tuple(infos), (), (), {}, {}, {}, {}, {}, frozenset())
    instants = {
        begin + i
        for start, length, fused in spans
        for begin, i in (
            (start + min(2, length) * fused, i) for i in range(length - min(2, length) * fused)
        )
    }
    kept = needed(plan, {"x": "x", "y": "y", "wait": "wait"})
    found = {k: ps_to_seconds(t) for k, t in run_for_ends(program, kept).working_ps.items()}
    assert found.get("y", 0.0) == close(len(instants) / 1e12)
