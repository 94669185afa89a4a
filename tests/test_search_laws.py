"""The parts of the search by hand: extrapolation, prices of blocks, neighbours, finals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small import decoder, machine, workload_of

from cimsim.adaptation import adaptation_for
from cimsim.engines.program import Hold, ProgramBuilder, Use
from cimsim.ir import Embedding, Linear, Phase, Workload
from cimsim.mappers import mapper_named
from cimsim.schedule.pipelines import (
    PIPELINES,
    AsIs,
    Auto,
    GivenBlock,
    Replicated,
    ShapedBlock,
    Strategy,
)
from cimsim.schedule.plan import ActorInfo
from cimsim.search import Job, attempt, finder
from cimsim.search.candidates import neighbours, shaped, uniform, variants
from cimsim.search.repeats import repeats
from cimsim.search.shapes import BlockTime, shape_times
from cimsim.search.shorten import Sample, samples
from cimsim.search.trials import Judge, Trial, fitted

TOKEN, LAYER = PIPELINES["token"], PIPELINES["layer"]


def judge(*kept: int, of: int = 12) -> Any:
    """A judge of samples with so many layers, of a prompt and four decode steps."""
    made = object.__new__(Judge)
    made.trials, made.firsts = {}, {}
    made.samples = [Sample(decoder(), layers, of, (1, 4)) for layers in kept]
    return made


def test_a_whole_from_samples() -> None:
    """Two layers take 10 and 2, six take 16 and 5: each of six more adds 1.5 and 0.75."""
    given = judge(2, 6)
    assert given._whole([[10, 2], [16, 5]]) == (16 + 6 * 1.5) + 4 * (5 + 6 * 0.75)
    assert given._whole([[10, 2]]) == 12 / 2 * (10 + 4 * 2), "all of it by layer where only two ran"


def test_what_is_slow_with_barriers_is_tried_no_further() -> None:
    given = judge(1, 3)
    given.trials[TOKEN] = Trial(TOKEN, "token", 100)
    given.firsts[TOKEN] = 100

    def slow(strategy: Strategy, prompt_ps: int, step_ps: int) -> bool:
        return given._is_slow(strategy, SimpleNamespace(phases_ps=lambda: [prompt_ps, step_ps]))

    other = PIPELINES["sequential"]
    assert not slow(other, 74, 10), "74 and four steps of 10"
    assert slow(other, 76, 10)
    assert not slow(LAYER, 1000, 10), "layers that stream gain by more layers"


def test_trials_are_ranked_by_latency_then_energy_then_text() -> None:
    rows = [(1, 9.0, "long"), (2, 1.0, "b"), (2, 1.0, "aa"), (2, 3.0, "a")]
    trials = [Trial(TOKEN, text, latency, energy) for latency, energy, text in rows]
    assert sorted([*trials[2:], *trials[:2]], key=lambda trial: trial.rank) == trials


TIMES = {
    "a": {4: BlockTime(10.0, 160.0), 16: BlockTime(20.0, 40.0)},
    "b": {16: BlockTime(5.0, 8.0)},
}


def sizes(strategy: Strategy) -> dict[str, int]:
    assert isinstance(strategy.blocks, ShapedBlock)
    return dict(strategy.blocks.sizes)


def test_a_shape_takes_the_cheapest_block() -> None:
    """For a, 10 + s 160 against 20 + s 40: the smaller block up to s = 1/12."""
    assert [sizes(found) for found in shaped(TIMES)] == [{"a": 4, "b": 16}, {"a": 16, "b": 16}]


@pytest.mark.parametrize(
    ("longest", "blocks"), [(3, [1]), (4, [1, 4]), (63, [1, 4]), (64, [1, 4, 64])]
)
def test_uniform_blocks_are_no_longer_than_a_phase(longest: int, blocks: list[int]) -> None:
    assert uniform(longest) == [Strategy(GivenBlock(b), "never", AsIs()) for b in blocks]


def test_neighbours_change_one_shape() -> None:
    best = Strategy(ShapedBlock((("a", 4), ("b", 8))), "never", AsIs())

    def found(best: Strategy, shape: str, longest: int) -> list[dict[str, int]]:
        return [sizes(one) for one in neighbours(best, shape, TIMES, longest)]

    assert found(best, "a", 16) == [{"a": a, "b": 8} for a in (2, 8, 1, 16)]
    assert found(best, "a", 8) == [{"a": a, "b": 8} for a in (2, 8, 1)]
    assert found(best, "b", 64) == [{"a": 4, "b": b} for b in (4, 16, 2, 32)]
    given = Strategy(GivenBlock(17), "never", AsIs())
    assert found(given, "a", 16) == [{"a": a, "b": 16} for a in (8, 4)], "16 was tried"
    given = Strategy(GivenBlock(8), "never", AsIs())
    assert found(given, "a", 4) == [{"a": a, "b": 16} for a in (2, 1)], "4 is the largest to 8"
    assert found(PIPELINES["balanced"], "a", 64) == []


def test_variants_change_one_choice() -> None:
    best = Strategy(ShapedBlock((("a", 4),)), "never", AsIs())
    first, *others = variants(best, Auto(3))
    assert (first.blocks.split, first.barrier, first.machine) == (True, "never", AsIs())
    changed = [(one.barrier, one.machine) for one in others]
    cores = PIPELINES["cores-only"].machine
    expected = [("never", Replicated(3)), ("never", cores), ("layers", AsIs())]
    assert changed[: len(expected)] == expected
    assert not any(isinstance(one.machine, Replicated) for one in variants(best, Auto(0)))


def test_times_of_a_shape_by_hand() -> None:
    """Three blocks of the prompt: 2 in transfer, 10 on two clusters and 3 behind them."""
    builder = ProgramBuilder()
    cluster = builder.resource("clusters", 2)
    builder.actor("in", 4, Hold(2))
    builder.actor("compute", 4, Use(cluster, np.array([5, 10, 15, 900])), Hold(3))
    builder.actor("other", 4, Use(cluster, 1000))
    phase = np.array([0, 0, 0, 1])
    infos = [
        ActorInfo(stage, "", part, (), phase, ())
        for stage, part in (("s", "in"), ("s", "compute"), ("t", "compute"))
    ]
    plan: Any = SimpleNamespace(
        program=builder.build(), actors=infos, shapes={"s": "x", "t": "x"},
        block_tokens={"s": 4, "t": 8},
    )  # fmt: skip
    assert shape_times(plan) == {"x": {4: BlockTime(2 + 10 + 3, 30 / 2)}}


def edited(workload: Workload, name: str, phases: tuple[int, ...] = (0, 1), **update: Any) -> Any:
    """`workload` with another op of this name in some phases."""
    made = []
    for number, phase in enumerate(workload.phases):
        ops = [
            op.model_copy(update=update) if op.name == name and number in phases else op
            for op in phase.ops
        ]
        made.append(phase.model_copy(update={"ops": tuple(ops)}))
    return workload.model_copy(update={"phases": tuple(made)})


def test_a_sample_keeps_the_middle_step_and_reads_its_last_layer() -> None:
    for sample, kept in zip(samples(decoder(layers=5), (1, 3)), (1, 3), strict=True):
        assert (sample.layers, sample.of, sample.steps, sample.is_whole) == (kept, 5, (1, 4), False)
        ops = {op.name: op for op in sample.workload.phases[1].ops}
        assert ops["layers.0.softmax"].columns == 7 + 2
        assert ops["norm"].inputs == (f"layers.{kept - 1}.add2",)
    (whole,) = samples(decoder(layers=3), (1, 3))
    assert whole.layers == whole.of, "three layers are no shorter than three"


def test_two_runs_of_layers_give_a_sample_twice_as_many() -> None:
    odd = edited(decoder(layers=10), "layers.4.act", functions={"tanh": 1})
    assert [len(run.layers) for run in repeats(odd)] == [5, 4]
    assert [(found.layers, found.of) for found in samples(odd, (1, 3))] == [(2, 9), (6, 9)]


def test_a_sample_is_given_blocks_for_its_own_shapes() -> None:
    (sample, _) = samples(decoder(layers=5), (1, 3))
    both = Strategy(ShapedBlock((("a", 4), ("b", 8))), "never", AsIs())
    assert sizes(fitted(both, sample, frozenset({"a"}))) == {"a": 4}
    assert fitted(both, sample, None) == both


def test_layers_that_are_read_later_stay() -> None:
    read = edited(decoder(layers=5), "norm", inputs=("layers.4.add2", "layers.1.add2"))
    assert [sample.layers for sample in samples(read, (1, 3))] == [3]


def test_equal_ops_side_by_side_are_no_layers() -> None:
    table = Embedding(name="e", inputs=(), tokens=2, weight="e.weight", rows=2, columns=8)
    beside = [
        Linear(
            name=f"l{i}", inputs=("e",), tokens=2, weight=f"l{i}.weight", rows=2, in_features=8,
            out_features=8,
        )
        for i in range(5)
    ]  # fmt: skip
    phase = Phase(name="prefill", tokens=2, ops=(table, *beside))
    assert repeats(workload_of("beside", (phase,))) == ()
    after = [op.model_copy(update={"inputs": (f"l{i - 1}",)}) for i, op in enumerate(beside) if i]
    phase = Phase(name="prefill", tokens=2, ops=(table, beside[0], *after))
    (run,) = repeats(workload_of("chain", (phase,)))
    assert run.layers == tuple((f"l{i}",) for i in range(5))


def test_layers_are_equal_in_every_phase_and_read_alike() -> None:
    whole = decoder(layers=5)
    assert [len(run.layers) for run in repeats(whole)] == [5]
    assert repeats(edited(whole, "layers.4.act", (1,), functions={"tanh": 1})) == ()
    skip = ("layers.2.add1", "layers.3.down/merge")
    strange = edited(whole, "layers.3.add2", inputs=skip)
    assert [len(run.layers) for run in repeats(strange)] == [4], "the last reads its own, not that"


def test_phases_of_an_attempt_sum_to_its_makespan() -> None:
    where = machine()
    adaptation = adaptation_for(where, None)
    job = Job(adaptation.apply(decoder()), where, adaptation, mapper_named(None), counted=None)
    done = attempt(job, TOKEN)
    assert len(done.phases_ps()) == 2
    assert sum(done.phases_ps()) == done.ends.makespan_ps


def test_finals_may_overrule_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best estimate takes longer in full; of a third no run could win."""
    took = {LAYER: 120, TOKEN: 105}
    ran = []

    def run(job: Any, strategy: Strategy) -> Any:
        ran.append(strategy)
        ends = SimpleNamespace(makespan_ps=took[strategy])
        return SimpleNamespace(pipeline=strategy, ends=ends, energies_J=lambda job: [1.0])

    monkeypatch.setattr(finder, "attempt", run)
    guesses = {TOKEN: 100, LAYER: 99, PIPELINES["sequential"]: 130}
    trials = {one: Trial(one, one.name, time) for one, time in guesses.items()}
    given: Any = SimpleNamespace(trials=trials, is_exact=False, kept=None, samples=(1, 2))
    given_job: Any = None
    found = finder._Finals(given_job, given).found(Auto())
    assert (found.attempt.pipeline, ran) == (TOKEN, [LAYER, TOKEN])
    assert found.search.runs == 3 * 2
    assert [row.simulated_s is not None for row in found.search.candidates] == [True, True, False]
