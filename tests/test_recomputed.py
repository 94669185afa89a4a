"""Decoders without a KV cache: every step computes all tokens anew, as so many prompts would."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
from small import close

from cimsim import gpu, shipped
from cimsim.errors import SpecError, WorkloadError
from cimsim.ir import Linear, Phase, Workload, load_workload, save_workload
from cimsim.simulation import Simulation, simulate
from cimsim.validation.uncached import Decoder, uncached

SIZES = Decoder(layers=2, width=16, heads=2, hidden=32, words=24, table_rows=16, first=2, last=6)
DYNAMIC = ("rram", "pmca", "sram", "link", "buffer")


def run(workload: Workload, **options: Any) -> Simulation:
    machine = options.pop("machine", small.machine(adaptation="none"))
    return simulate(workload, machine, **({"pipeline": "layer:1"} | options))


def prompt(tokens: int) -> Workload:
    """The pass over `tokens` tokens alone."""
    whole = uncached("one", Decoder(**{**vars(SIZES), "first": tokens, "last": tokens + 2}))
    return small.workload_of("one", (whole.phases[0],))


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize("attention_on", ["pmca", "sram"])
def test_time_and_energy_are_those_of_prompts_in_a_row(engine: Any, attention_on: str) -> None:
    """A step begins when the one before has chosen, with the machine empty: times add up exactly.

    One cluster, so that blocks are dealt alike in all steps.
    """
    one = {"cluster_count": 1, "pool_clusters": 1}
    machine = small.machine(adaptation="none", attention_on=attention_on, pmca=one)
    options = {"engine": engine, "machine": machine}
    whole = run(uncached("all", SIZES), **options)
    parts = [run(prompt(n), **options) for n in range(2, 6)]
    ends = [part.run.makespan_ps for part in parts]
    assert whole.run.makespan_ps == sum(ends)
    assert whole.report.phases["decode"].latency_s == close(sum(ends[1:]) * 1e-12)
    for unit in DYNAMIC:
        spent = math.fsum(part.report.energy_by_unit_J[unit] for part in parts)
        assert whole.report.energy_by_unit_J[unit] == close(spent)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_steps_whose_last_op_streams_end_with_all_tokens(engine: Any) -> None:
    """Two layers alone: each step waits for the last token of the one before."""

    def layers(tokens: int, growth: int) -> tuple[Linear, ...]:
        more = {"tokens": growth, "rows": growth} if growth else {}
        return tuple(
            Linear(
                name=f"l{i}", inputs=("l0",) if i else (), tokens=tokens, weight=f"l{i}",
                rows=tokens, in_features=16, out_features=16, growth=more,
            )
            for i in range(2)
        )  # fmt: skip

    first = Phase(name="prefill", tokens=2, ops=layers(2, 0))
    later = Phase(name="decode", tokens=3, steps=3, tokens_growth=2, ops=layers(3, 2))
    whole = run(small.workload_of("l", (first, later)), engine=engine)
    parts = [
        run(small.workload_of("l", (Phase(name="prefill", tokens=n, ops=layers(n, 0)),)))
        for n in (2, 3, 5, 7)
    ]
    assert whole.run.makespan_ps == sum(part.run.makespan_ps for part in parts)


def test_counts_of_tokens_and_products() -> None:
    workload = uncached("all", SIZES)
    first, later = workload.phases
    assert (first.run_tokens, later.run_tokens) == (2, 3 + 4 + 5)
    assert (first.new_tokens, later.new_tokens, later.longest) == (2, 3, 5)
    by_step = [prompt(n).macs for n in range(3, 6)]
    assert later.macs() == sum(by_step)
    assert [later.macs(step) for step in range(3)] == by_step
    report = run(workload).report
    assert report.phases["decode"].tokens == 3


def test_the_shipped_file_is_what_its_command_writes(
    cimsim: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "ibm_3dcim_example.json"
    assert cimsim("workload", "uncached", "-o", path)[0] == 0
    assert path.read_text() == (small.ROOT / "workloads" / path.name).read_text()
    found = shipped.workload("ibm_3dcim_example")
    assert [op.tokens for op in found.phases[1].ops[:3]] == [2, 2, 2]
    assert sum(phase.run_tokens for phase in found.phases) == 66
    arrays = sum(
        phase.run_tokens * op.in_features * op.out_features // 512**2
        if op.tokens == phase.tokens and op.name != "head" else phase.steps * 2
        for phase in found.phases for op in phase.ops if isinstance(op, Linear)
    )  # fmt: skip
    assert arrays == 66 * 37 + 11 * 2


def test_it_survives_its_file(tmp_path: Path) -> None:
    workload = uncached("all", SIZES)
    save_workload(workload, tmp_path / "all.json")
    again = load_workload(tmp_path / "all.json")
    assert again.phases == workload.phases
    assert again.phases[1].tokens_growth == 1


def grown(**changes: Any) -> Phase:
    """A decode of 2 tokens and one more in each of 3 steps."""
    fields = {"name": "decode", "tokens": 2, "steps": 3, "tokens_growth": 1} | changes
    growth = fields.pop("growth", {"tokens": 1, "rows": 1})
    op = Linear(
        name="l", inputs=(), tokens=fields["tokens"], weight="l", rows=fields["tokens"],
        in_features=4, out_features=4, growth=growth,
    )  # fmt: skip
    return Phase(**fields, ops=(op,))


def test_growth_that_does_not_fit_is_told() -> None:
    assert grown().longest == 4
    for changes, told in (
        ({"name": "prefill", "steps": 1}, "a decode of at least 2 tokens grows"),
        ({"tokens": 1, "growth": {"rows": 1}}, "a decode of at least 2 tokens grows"),
        ({"growth": {"rows": 1}}, "growth of tokens 0, the phase tokens_growth 1"),
        ({"tokens_growth": 0}, "growth of tokens 1, the phase tokens_growth 0"),
        ({"growth": {"tokens": 1, "rows": 2}}, "rows 2 with growth 2, not as its tokens"),
        ({"growth": {"tokens": 1}}, "rows 2 with growth 0, not as its tokens"),
        ({"steps": 2**20, "tokens_growth": 32, "growth": {"tokens": 32, "rows": 32}}, "more than"),
    ):
        with pytest.raises(ValueError, match=told):
            grown(**changes)


def test_what_cannot_be_done_without_a_cache_is_refused() -> None:
    workload = uncached("all", SIZES)
    with pytest.raises(WorkloadError, match="its decode keeps no cache"):
        workload.with_tokens(4, 2)
    with pytest.raises(SpecError, match="computes all tokens anew"):
        gpu("a100_sxm4_80gb").estimate(workload)
    with pytest.raises(WorkloadError, match="heads share the width evenly"):
        uncached("odd", Decoder(width=10, heads=3))
    with pytest.raises(WorkloadError, match="two tokens or more"):
        uncached("short", Decoder(first=3, last=4))
