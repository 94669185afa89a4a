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
from cimsim.mappers import OneBlockPerTile, mapper_named
from cimsim.schedule.pipelines import (
    PIPELINES,
    Aim,
    AsIs,
    Auto,
    GivenBlock,
    Replicated,
    ShapedBlock,
    Strategy,
)
from cimsim.schedule.plan import ActorInfo
from cimsim.search import Job, attempt, finals, trials
from cimsim.search.candidates import copying, neighbours, shaped, uniform, variants
from cimsim.search.finals import Finals
from cimsim.search.repeats import repeats
from cimsim.search.shapes import BlockTime, shape_times
from cimsim.search.shorten import Sample, samples
from cimsim.search.trials import Judge, Trial, fitted, whole

TOKEN, LAYER = PIPELINES["token"], PIPELINES["layer"]


def judge(*kept: int, of: int = 12) -> Any:
    """A judge of samples with so many layers, of a prompt and four decode steps."""
    job: Any = SimpleNamespace(
        workload=decoder(), mapper=OneBlockPerTile(), on=lambda workload: workload
    )
    made = Judge(job)
    made.samples = [Sample(decoder(), layers, of, (1, 4)) for layers in kept]
    return made


def test_a_whole_from_samples() -> None:
    """Two layers take 10 and 2, six take 16 and 5: each of six more adds 1.5 and 0.75."""
    two, six = judge(2, 6).samples
    assert whole([two, six], [[10, 2], [16, 5]]) == [16 + 6 * 1.5, 4 * (5 + 6 * 0.75)]
    by_layer = [12 / 2 * 10, 12 / 2 * 4 * 2]
    assert whole([two], [[10, 2]]) == by_layer, "all of it by layer where only two ran"


def test_what_is_slow_with_barriers_is_tried_no_further() -> None:
    given = judge(1, 3)
    given.trials[TOKEN] = Trial(TOKEN, "token", (60, 40), (0.0,), (0.0, 0.0))
    given.firsts[TOKEN] = 100

    def slow(strategy: Strategy, prompt_ps: int, step_ps: int) -> bool:
        return given._is_slow(strategy, SimpleNamespace(phases_ps=lambda: [prompt_ps, step_ps]))

    other = PIPELINES["sequential"]
    assert not slow(other, 74, 10), "74 and four steps of 10"
    assert slow(other, 76, 10)
    assert not slow(LAYER, 1000, 10), "layers that stream gain by more layers"


RANKED: dict[Aim, list[tuple[int, float, str]]] = {
    "latency": [(1, 9.0, "long"), (2, 1.0, "b"), (2, 1.0, "aa"), (2, 3.0, "a")],
    "energy": [(9, 1.0, "long"), (1, 2.0, "b"), (1, 2.0, "aa"), (3, 2.0, "a")],
    "edp": [(3, 2.0, "long"), (2, 4.0, "b"), (2, 4.0, "aa"), (4, 2.0, "a")],
}


@pytest.mark.parametrize("aim", RANKED)
def test_trials_are_ranked_by_the_aim_then_latency_energy_and_text(aim: Aim) -> None:
    ranked = [Trial(TOKEN, text, (time,), (energy,), (0.0,)) for time, energy, text in RANKED[aim]]
    assert sorted([*ranked[2:], *ranked[:2]], key=lambda trial: trial.rank(aim)) == ranked


def test_a_trial_is_of_all_its_phases() -> None:
    """3 and 4 J for the work, 0.01 and 0.02 J leaked a picosecond: 0.6 and 0.8 J at 60 and 40."""
    trial = Trial(TOKEN, "token", (60, 40.4), (3.0, 4.0), (1e10, 2e10))
    assert trial.latency_ps == 100
    assert trial.energy_J == pytest.approx(3.0 + 4.0 + 0.6 + 0.808)
    assert trial.at((50, 40)) == pytest.approx((90, 3.0 + 4.0 + 0.5 + 0.8))
    assert [trial.value(aim) for aim in RANKED] == pytest.approx([100, 8.408, 840.8])


def test_energy_of_a_whole_from_samples() -> None:
    """Samples of 2 and 6 of 12 layers, a prompt and four steps: work adds up by layer, so does the
    power that leaks, and the leaked energy is the power of all layers over the latency of all."""
    given = judge(2, 6)

    def ran(times: tuple[int, int], work_J: float, power_W: float) -> Any:
        energies = [work_J + power_W * time * 1e-12 for time in times]
        return SimpleNamespace(
            phases_ps=lambda: list(times), energies_J=lambda job: energies,
            standing_W=lambda job: [power_W, power_W],
        )  # fmt: skip

    done = [ran((10, 2), 1.0, 5.0), ran((16, 5), 3.0, 9.0)]
    found = given._estimate(TOKEN, given.samples, done)
    assert found.phases_ps == (25, 4 * 9.5)
    assert found.phases_J == pytest.approx((6.0, 4 * 6.0))
    assert found.phases_W == pytest.approx((15.0, 15.0)), "9 + 6, whatever the steps"
    assert found.energy_J == pytest.approx(30.0 + 15.0 * (25 + 38) * 1e-12, rel=1e-15)
    one = given._estimate(TOKEN, given.samples[:1], done[:1])
    assert one.energy_J == pytest.approx(6 * (1.0 + 5e-11) + 24 * (1.0 + 1e-11), rel=1e-15)


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
    split = Strategy(ShapedBlock((("a", 4),), split=True), "never", AsIs())
    cores = Strategy(best.blocks, "never", PIPELINES["cores-only"].machine)
    assert list(variants(best)) == [split, cores, Strategy(best.blocks, "layers", AsIs())]


def test_copies_are_of_the_slowest_then_of_the_first() -> None:
    best = Strategy(ShapedBlock((("a", 4),)), "never", AsIs())
    copied = [
        Strategy(best.blocks, "never", Replicated(3, order="slowest")),
        Strategy(best.blocks, "never", Replicated(3, order="first")),
    ]
    assert list(copying(best, Auto(3))) == copied
    assert list(copying(best, Auto(0))) == []
    assert list(copying(copied[0], Auto(3))) == [], "copied as it is"


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
        program=builder.build(), roles=infos, shapes={"s": "x", "t": "x"},
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


def stub_runs(
    monkeypatch: pytest.MonkeyPatch,
    steps: dict[Strategy, tuple[int, int]],
    full: dict[Strategy, int],
) -> tuple[list[Strategy], list[Strategy]]:
    """What runs with all layers, a prompt and one step, and what in full: as long as given."""
    closer: list[Strategy] = []
    ran: list[Strategy] = []

    def look(job: Any, strategy: Strategy, **options: bool) -> Any:
        closer.append(strategy)
        empty = SimpleNamespace(actor_count=0)
        plan = SimpleNamespace(phases=("prefill", "decode"), roles=[], program=empty)
        return SimpleNamespace(
            plan=plan, phases_ps=lambda: list(steps[strategy]), energies_J=lambda job: [1.0, 1.0],
            standing_W=lambda job: [0.0, 0.0],
        )  # fmt: skip

    def run(job: Any, strategy: Strategy) -> Any:
        ran.append(strategy)
        ends = SimpleNamespace(makespan_ps=full[strategy])
        return SimpleNamespace(pipeline=strategy, ends=ends, energies_J=lambda job: [1.0])

    monkeypatch.setattr(trials, "attempt", look)
    monkeypatch.setattr(finals, "attempt", run)
    return closer, ran


def guessed(*guesses: tuple[Strategy, tuple[int, int]]) -> Any:
    """A judge that has estimates of the prompt and of all four steps."""
    given = judge(1, 3)
    for one, phases in guesses:
        given.trials[one] = Trial(one, one.name, phases, (0.0,), (0.0, 0.0), phases)
    return given


def test_finals_may_overrule_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best estimate takes longer in full; of a third no run could win.

    All layers tell 62 + 4 * 10 and 63 + 4 * 10; the third takes 130 at least.
    """
    steps, full = {LAYER: (62, 10), TOKEN: (63, 10)}, {LAYER: 120, TOKEN: 105}
    closer, ran = stub_runs(monkeypatch, steps, full)
    given = guessed((TOKEN, (60, 40)), (LAYER, (59, 40)), (PIPELINES["sequential"], (90, 40)))
    found = Finals(given).found(Auto(0))
    assert found.attempt.pipeline == TOKEN
    assert (closer, ran) == ([LAYER, TOKEN], [LAYER, TOKEN])
    assert found.search.runs == 2, "runs of parts"
    rows = found.search.candidates
    assert [row.estimated_s for row in rows] == pytest.approx([102e-12, 103e-12, 130e-12])
    in_full = [row.simulated_s for row in rows]
    assert in_full == [pytest.approx(120e-12), pytest.approx(105e-12), None]


def test_finals_stop_at_what_no_estimate_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first takes 103 in full, no more than the other with all layers."""
    steps, full = {LAYER: (62, 10), TOKEN: (63, 10)}, {LAYER: 103}
    closer, ran = stub_runs(monkeypatch, steps, full)
    found = Finals(guessed((TOKEN, (60, 40)), (LAYER, (59, 40)))).found(Auto(0))
    assert found.attempt.pipeline == LAYER
    assert (closer, ran) == ([LAYER, TOKEN], [LAYER])


def test_one_run_with_all_layers_corrects_what_waits_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """All layers leave half the prompt of 80 + 20: of 40 + 61 they leave 20 + 61, more than 60.

    Of 86 + 16 they leave 43 + 16 = 59, and find 42 + 4 * 4.
    """
    best, worse, better = (Strategy(GivenBlock(size), "never", AsIs()) for size in (1, 4, 64))
    steps, full = {best: (40, 5), better: (42, 4)}, {better: 58}
    closer, ran = stub_runs(monkeypatch, steps, full)
    given = guessed((best, (80, 20)), (worse, (40, 61)), (better, (86, 16)))
    found = Finals(given).found(Auto(0))
    assert (closer, ran) == ([best, better], [better])
    estimates = [row.estimated_s for row in found.search.candidates]
    assert estimates == pytest.approx([58e-12, 60e-12, 81e-12])
    assert found.attempt.pipeline == better
