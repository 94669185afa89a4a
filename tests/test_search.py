"""The search: samples of a workload, what is tried, and that nothing tried is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import small
from small import decoder, encoder, machine, workload_of

import cimsim
from cimsim.adaptation import adaptation_for
from cimsim.errors import CapacityError, MappingError
from cimsim.ir import Elementwise, Phase
from cimsim.mappers import mapper_named
from cimsim.report import Report
from cimsim.schedule.pipelines import (
    PIPELINES,
    Aim,
    AsIs,
    Auto,
    Replicated,
    ShapedBlock,
    Sharing,
    Strategy,
    format_pipeline,
    parse_pipeline,
)
from cimsim.search import Job, attempt, finals, finder
from cimsim.search.candidates import ORDERS
from cimsim.search.repeats import repeats
from cimsim.search.shorten import samples
from cimsim.search.trials import Judge, Trial, fitted
from cimsim.search.widths import beside, widths
from cimsim.simulation import simulate

SHIPPED = {path.stem: path for path in small.WORKLOADS}
LAYERS = {
    "bert_base_r8_s320": [12], "bert_large_r8_s320": [24], "flan_t5_large_r16_s256_d32": [23, 23],
    "halora_accounting_1b": [15], "llama3.2_1b_r4_p512_d128": [16],
    "llama3.2_3b_r4_p512_d128": [28], "minilm_sentiment_r8_s32": [6],
    "mobilebert_squad_r8_s320": [24], "qwen2.5_0.5b_r4_p512_d128": [24],
    "resnet50_224": [5, 3], "vgg16_224": [3], "convnext_tiny_224": [9, 3, 3, 3],
    "ibm_3dcim_example": [],
}  # fmt: skip
"""Equal layers of each shipped model, counted in its configuration; those of T5, of the paper's
model and of ResNet's stages less the first, which is not like the others; three are too few."""


@pytest.mark.parametrize("name", SHIPPED)
def test_layers_are_found_by_their_structure(name: str) -> None:
    workload = cimsim.load_workload(SHIPPED[name])
    found = repeats(workload)
    assert [len(run.layers) for run in found] == LAYERS[name]
    cut = [run for run in found if len(run.layers) > 3]
    numbers = (1, 3) if cut else (0,)  # a model without so many equal layers is one whole sample
    for sample, kept in zip(samples(workload, (1, 3)), numbers, strict=True):
        left = {op.name for _, op in sample.workload.ops()}
        gone = {name for run in cut for layer in run.layers[kept:] for name in layer}
        assert left == {op.name for _, op in workload.ops()} - gone
        sample.workload.remade()


def test_names_of_ops_mean_nothing() -> None:
    workload = cimsim.load_workload(SHIPPED["llama3.2_1b_r4_p512_d128"])
    number = {op.name: f"op{i * 7919 % 1009}" for i, op in enumerate(workload.phases[0].ops)}

    def renamed(name: str) -> str:
        plain = name.removeprefix("cache:")
        return name.replace(plain, number.get(plain, plain))

    phases = []
    for phase in workload.phases:
        ops = [
            op.model_copy(
                update={"name": renamed(op.name), "inputs": tuple(map(renamed, op.inputs))}
                | ({"adapts": renamed(op.adapts)} if getattr(op, "adapts", None) else {})
            )
            for op in phase.ops
        ]
        phases.append(phase.model_copy(update={"ops": tuple(ops)}))
    strange = workload.model_copy(update={"phases": tuple(phases)})
    found, known = repeats(strange), repeats(workload)
    assert [run.layers for run in found] == [
        tuple(tuple(map(renamed, layer)) for layer in run.layers) for run in known
    ]


def test_a_layer_that_differs_ends_the_run_of_equal_ones() -> None:
    workload = cimsim.load_workload(SHIPPED["llama3.2_1b_r4_p512_d128"])
    first = workload.phases[0]
    layers = repeats(workload)[0].layers
    odd = next(name for name in layers[10] if name.endswith("act_fn/elementwise.0"))
    ops = [
        op.model_copy(update={"functions": {"tanh": 1}}) if op.name == odd else op
        for op in first.ops
    ]
    phases = (first.model_copy(update={"ops": tuple(ops)}), *workload.phases[1:])
    found = repeats(workload.model_copy(update={"phases": phases}))
    assert [len(run.layers) for run in found] == [10, 5], "those before it and those after it"


def test_a_workload_without_layers_is_tried_as_a_whole() -> None:
    (sample,) = samples(encoder(tokens=4), (1, 3))
    assert sample.is_whole
    assert sample.workload == encoder(tokens=4)


def job(workload: cimsim.Workload, architecture: cimsim.Architecture) -> Job:
    adaptation = adaptation_for(architecture, None)
    return Job(
        adaptation.apply(workload), architecture, adaptation, mapper_named(None), counted=None
    )


MINILM = SHIPPED["minilm_sentiment_r8_s32"]


@pytest.mark.parametrize("name", ["sequential", "token", "balanced"])
def test_layers_that_take_turns_add_up(name: str) -> None:
    """With a barrier between layers what a layer adds does not depend on how many there are."""
    given = job(cimsim.load_workload(MINILM), cimsim.machine("halora_rram_sram"))
    strategy = PIPELINES[name]
    estimate = Judge(given).trial(strategy)
    whole = attempt(given, strategy)
    assert estimate.latency_ps == pytest.approx(whole.ends.makespan_ps, rel=1e-3)
    assert estimate.energy_J == pytest.approx(sum(whole.energies_J(given)), rel=1e-2)


def test_copies_have_their_share_of_a_sample() -> None:
    (_, sample) = samples(cimsim.load_workload(MINILM), (1, 3))
    strategy = Strategy(PIPELINES["token"].blocks, "layers", Replicated(extra_tiles=20))
    assert fitted(strategy, sample, None).machine == Replicated(extra_tiles=10)


SMALL = {"encoder": encoder(tokens=24), "decoder": decoder()}
UNBALANCED = {
    "as shipped": {},
    "slow clusters": {"pmca": {"clock_MHz": 20.0}},
    "slow tiles": {"rram": {"integration_ns": 50_000.0}},
    "tiny TCDM": {"pmca": {"tcdm_KiB": 4.0}},
    "narrow links": {"cluster_link": {"bandwidth_GBps": 0.05}},
}


VALUES: dict[Aim, Callable[[Report], float]] = {
    "latency": lambda report: report.latency_s,
    "energy": lambda report: report.energy_J,
    "edp": lambda report: report.latency_s * report.energy_J,
}


@pytest.mark.parametrize(
    ("made", "aim"),
    [*((made, "latency") for made in UNBALANCED), ("slow tiles", "energy"),
     ("as shipped", "energy"), ("narrow links", "edp")],
)  # fmt: skip
@pytest.mark.parametrize("workload", SMALL)
def test_no_named_strategy_is_better(workload: str, made: str, aim: Aim) -> None:
    architecture = machine(**UNBALANCED[made])
    found = simulate(SMALL[workload], architecture, pipeline=Auto(objective=aim)).report
    for strategy in PIPELINES.values():
        other = simulate(SMALL[workload], architecture, pipeline=strategy).report
        assert VALUES[aim](found) <= VALUES[aim](other), strategy.name


@pytest.mark.parametrize("aim", VALUES)
def test_nothing_that_was_tried_is_better_in_the_objective(aim: Aim) -> None:
    """Layers that stream: every candidate in full, beside what the search knew from parts."""
    work, hardware = LAYERED["streams"], machine(**UNBALANCED["slow tiles"])
    found = simulate(work, hardware, pipeline=f"auto:objective={aim}").report
    assert found.search is not None
    assert found.search.objective == aim
    best = VALUES[aim](found)
    for row in found.search.candidates:
        if row.estimated_s is not None and not row.same_as:
            other = simulate(work, hardware, pipeline=row.pipeline).report
            assert best <= VALUES[aim](other), row.pipeline
            if row.simulated_s is not None:
                ran = row.simulated_s, row.simulated_J
                assert ran == (other.latency_s, pytest.approx(other.energy_J, rel=1e-12))


def test_objectives_choose_differently() -> None:
    """Eight clusters are faster and wait for each other in meetings; where nothing leaks, a group
    of two takes less energy."""
    made = machine(
        pmca={"pool_clusters": 2, "leakage_mW": 0.0}, buffer={"leakage_mW": 0.0},
        dram={"background_mW": 0.0},
    )  # fmt: skip
    work = wide_work()
    found = {
        aim: simulate(work, made, adaptation="none", pipeline=f"auto:objective={aim}").report
        for aim in VALUES
    }
    for aim, value in VALUES.items():
        assert value(found[aim]) == min(map(value, found.values())), aim
    assert found["energy"].latency_s > found["latency"].latency_s
    assert found["energy"].energy_J < found["latency"].energy_J


@cache
def minilm(machine: str) -> Report:
    return simulate(
        cimsim.load_workload(MINILM), cimsim.machine(machine), pipeline="auto:64"
    ).report


@pytest.mark.parametrize("name", ["ahwa_pcm_pmca", "halora_rram_sram"])
def test_the_text_of_what_was_chosen_is_the_same_run_without_a_search(name: str) -> None:
    found = minilm(name)
    assert isinstance(parse_pipeline(found.pipeline), Strategy)
    again = simulate(
        cimsim.load_workload(MINILM), cimsim.machine(name), pipeline=found.pipeline
    ).report
    assert again.search is None
    ours, theirs = (
        report.model_copy(update={"search": None, "inputs": {}}) for report in (found, again)
    )
    assert ours == theirs


def test_the_report_says_what_was_chosen_and_rejected() -> None:
    report = minilm("halora_rram_sram")
    search = report.search
    assert search is not None
    assert (search.asked, search.chosen) == ("auto:extra_tiles=64", report.pipeline)
    assert report.inputs["pipeline"] == "auto:extra_tiles=64"
    texts = [row.pipeline for row in search.candidates]
    assert len(set(texts)) == len(texts)
    named = {"replicated:extra_tiles=64" if n == "replicated" else n for n in PIPELINES}
    assert named <= set(texts)
    simulated = {row.pipeline: row.simulated_s for row in search.candidates if row.simulated_s}
    assert simulated[search.chosen] == min(simulated.values()) == report.latency_s
    ran = [row.estimated_s for row in search.candidates if row.estimated_s is not None]
    assert all(a <= b for a, b in pairwise(ran)), "best first"
    assert cimsim.Report.model_validate_json(report.to_json()) == report


def test_a_search_has_one_result() -> None:
    for aim in VALUES:
        asked = f"auto:objective={aim}"
        runs = [simulate(decoder(), machine(), pipeline=asked).report.to_json() for _ in range(2)]
        assert runs[0] == runs[1]


def test_trials_cost_a_few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in intervals of work, beside a fixed number that starting the program is worth."""
    spent: list[tuple[float, float]] = []

    class Counted(Judge):
        def best(self) -> Trial | None:
            spent.append((self.spent, self.whole_cost))
            return super().best()

    monkeypatch.setattr(finder, "Judge", Counted)
    monkeypatch.setattr(finder, "START_INTERVALS", 0)
    found = simulate(
        cimsim.load_workload(MINILM), cimsim.machine("ahwa_pcm_pmca"), pipeline="auto"
    ).report.search
    assert found is not None
    cost, whole = spent[-1]
    wide = len(list(widths(PIPELINES["layer"], cimsim.machine("ahwa_pcm_pmca").pmca)))
    fixed = len(PIPELINES) + len(finder.uniform(32)) + wide + 2
    assert cost <= (finder.TRIAL_RUNS + fixed) * whole, "named ones are tried in any case"
    assert len(found.candidates) <= fixed + finder.TRIAL_RUNS * 6
    simulated = sum(row.simulated_s is not None for row in found.candidates)
    assert simulated <= finals.CLOSER + len(ORDERS)


PLAIN = encoder(tokens=12, rank=None)
LAYERED = {
    "streams": decoder(layers=5, prompt=16, steps=0, hidden=32),
    "decodes": decoder(layers=5, prompt=12, steps=5, hidden=32),
}
"""Layers that share clusters with the next ones, so that the first ones wait most."""


@pytest.mark.parametrize("name", LAYERED)
def test_estimates_from_all_layers_are_the_times_of_the_run(name: str) -> None:
    """The candidates that count are run with all layers: steps of decode alone are extrapolated."""
    given = job(LAYERED[name], machine())
    judge = Judge(given)
    strategy = parse_pipeline("layer:1")
    assert isinstance(strategy, Strategy)
    rough, close = judge.trial(strategy), judge.look_closer(strategy)
    whole = attempt(given, strategy)
    assert close.latency_ps == pytest.approx(whole.ends.makespan_ps, rel=1e-2)
    assert close.energy_J == pytest.approx(sum(whole.energies_J(given)), rel=1e-2)
    assert sum(rough.floor_ps) <= close.latency_ps * 1.01


def test_all_streams_err_as_the_first_that_is_run_with_all_layers() -> None:
    """What layers that stream take too long in samples goes from all estimates."""
    report = simulate(LAYERED["streams"], machine(), pipeline="auto:0").report
    assert report.search is not None
    for row in report.search.candidates:
        strategy = parse_pipeline(row.pipeline)
        assert isinstance(strategy, Strategy)
        shaped = isinstance(strategy.blocks, ShapedBlock)
        if strategy.barrier == "never" and row.estimated_s is not None and not shaped:
            ran = simulate(LAYERED["streams"], machine(), pipeline=row.pipeline).report
            assert row.estimated_s == pytest.approx(ran.latency_s, rel=0.05), row.pipeline


def test_strategies_that_run_the_same_are_tried_once() -> None:
    """Without LoRA on clusters its blocks mean nothing."""
    report = simulate(PLAIN, machine(), pipeline="auto").report
    assert report.search is not None
    same = {row.pipeline: row.same_as for row in report.search.candidates if row.same_as}
    assert {
        "balanced": "token",
        "split": "token",
        "balanced+layer": "layer",
    }.items() <= same.items()
    times = {row.pipeline: (row.estimated_s, row.estimated_J) for row in report.search.candidates}
    for text, other in same.items():
        assert times[text] == times[other]
        one, two = (simulate(PLAIN, machine(), pipeline=p).report for p in (text, other))
        assert (one.latency_s, one.energy_J) == (two.latency_s, two.energy_J), text


FASTER: dict[str, dict[str, Any]] = {
    "tiles": {"rram": {"integration_ns": 50.0}},
    "clusters": {"pmca": {"clock_MHz": 2000.0}},
    "TCDM": {"pmca": {"tcdm_KiB": 256.0}},
    "transfers": {"pmca": {"dma_bytes_per_cycle": 128}},
    "links": {"tile_link": {"bandwidth_GBps": 128.0}, "cluster_link": {"bandwidth_GBps": 128.0}},
}


@cache
def found_s(made: str, unit: str | None) -> float:
    hardware = machine(**UNBALANCED[made])
    if unit is not None:
        hardware = small.changed(hardware, **FASTER[unit])
    work = encoder(layers=4, tokens=8)
    return simulate(work, hardware, pipeline="auto:24").report.latency_s


@pytest.mark.parametrize("unit", FASTER)
def test_a_faster_machine_is_not_slower(unit: str) -> None:
    """To the picosecond: what a slower machine chooses is among what a faster one tries."""
    assert found_s("slow tiles", unit) <= found_s("slow tiles", None)


def test_without_tiles_to_spare_nothing_is_copied() -> None:
    found = simulate(encoder(tokens=24), machine(), pipeline="auto:extra_tiles=0").report.search
    assert found is not None
    assert not any("replicated" in row.pipeline for row in found.candidates)


def test_what_does_not_fit_is_said_as_without_a_search() -> None:
    tiny = machine(rram={"tile_count": 1})
    errors = []
    for pipeline in ("token", "auto"):
        with pytest.raises(CapacityError) as error:
            simulate(encoder(), tiny, pipeline=pipeline)
        errors.append(str(error.value))
    assert errors[0] == errors[1]


def test_a_strategy_that_does_not_fit_is_told_and_passed_over() -> None:
    need = simulate(encoder(tokens=24), machine(), pipeline="token").report.tiles_used
    full = machine(rram={"tile_count": need})
    search = simulate(encoder(tokens=24), full, pipeline="auto").report.search
    assert search is not None
    (row,) = (row for row in search.candidates if row.pipeline == "replicated")
    assert row.estimated_s is None
    assert str(need) in row.problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "auto:blocks=3",
            r"^pipeline 'auto' has no option 'blocks'; options: extra_tiles, objective$",
        ),
        (
            "auto:objective=delay",
            r"'auto': objective takes one of latency, energy, edp: 'delay' is none .*latency$",
        ),
        ("auto:extra_tiles=-1", r"extra_tiles takes .* of at least 0: -1 is below 0$"),
        ("shaped+never+as-is:sizes=(a+1)+(a+2)", r"a has two sizes, give it one$"),
        ("shaped+never+as-is:sizes=(a+0)", r"sizes takes .*: 0 is below 1$"),
        ("shaped+never+as-is:sizes=(strange+2)", r"gives a block to 'strange', .*known: .*norm-"),
    ],
)
def test_bad_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        simulate(encoder(), machine(), pipeline=text)


def test_each_shape_has_its_block() -> None:
    plan = simulate(encoder(tokens=24), machine(), pipeline="layer:4").plan
    shapes = sorted(set(plan.shapes.values()))
    sizes = {shape: 1 + place % 3 for place, shape in enumerate(shapes)}
    strategy = Strategy(ShapedBlock(tuple(sizes.items())), "never", AsIs())
    found = simulate(encoder(tokens=24), machine(), pipeline=strategy).plan
    assert found.block_tokens == {stage: sizes[found.shapes[stage]] for stage in found.shapes}


def test_auto_is_a_value_with_a_text() -> None:
    assert parse_pipeline("auto") == Auto()
    assert parse_pipeline("auto:3") == Auto(3)
    asked = Auto(3, objective="edp")
    assert format_pipeline(asked) == "auto:extra_tiles=3,objective=edp"
    assert parse_pipeline(format_pipeline(asked)) == asked
    assert simulate(decoder(), machine(), pipeline=Auto(0)).report.search is not None


def test_widths_are_tried_from_all_clusters_down() -> None:
    best, pmca = PIPELINES["layer"], cimsim.machine("halora_rram_sram").pmca
    tried = [strategy.share_clusters for strategy in widths(best, pmca)]
    assert tried == [512, 128, 32]
    shared = replace(best, sharing=Sharing(128))
    assert [strategy.share_clusters for strategy in beside(shared, pmca)] == [256, 64]
    assert [s.share_clusters for s in beside(replace(best, sharing=Sharing(32)), pmca)] == [64]
    assert [s.share_clusters for s in beside(replace(best, sharing=Sharing(512)), pmca)] == [256]
    assert not list(beside(best, pmca))
    alone = machine(pmca={"cluster_count": 4, "pool_clusters": 4}).pmca
    assert not list(widths(best, alone))


def wide_work() -> cimsim.Workload:
    """96 divisions of each of 4 x 4096 values keep two clusters busy."""
    op = Elementwise(
        name="op", inputs=(), tokens=4, elements=4 * 4096, functions={"div": 96},
    )  # fmt: skip
    return workload_of("wide", (Phase(name="prefill", tokens=4, ops=(op,)),))


def test_work_goes_wide_where_that_is_faster() -> None:
    made, work = machine(pmca={"pool_clusters": 2}), wide_work()
    found = simulate(work, made, adaptation="none", pipeline="auto").report
    assert found.pipeline.endswith("share_clusters=8")
    assert found.search is not None
    tried = {row.pipeline for row in found.search.candidates}
    wide = {"layer:block_tokens=1,share_clusters=8", "layer:share_clusters=8"}
    assert wide <= tried, "blocks anew where work is shared"
    group = simulate(work, made, adaptation="none", pipeline="layer:1").report
    assert found.latency_s < group.latency_s / 3
