"""cimsim run: simulate a workload on an architecture and report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.accuracy_options import PANEL, Asked, asking
from cimsim.cli.axes import completing
from cimsim.cli.options import (
    AdaptOption,
    ArchitectureArg,
    BandOption,
    BaselineOption,
    HtmlOption,
    JsonOption,
    MapperOption,
    ReplicateOption,
    SetOption,
    WorkloadArg,
    cards_of,
    digest,
    machine_of,
    mapper_of,
    refuse_without_effect,
)
from cimsim.cli.outputs import Draw, Outcome, finish, reserve, write
from cimsim.cli.parts import Chosen, LayerOption, StepOption, WindowOption
from cimsim.cli.progress import counting, progress
from cimsim.cli.streams import complain, emit
from cimsim.errors import CimsimError, TaskError

if TYPE_CHECKING:
    from cimsim.accuracy import Subject, Trials
    from cimsim.engines import Engine
    from cimsim.ir import Workload
    from cimsim.report import Report
    from cimsim.search.attempt import Progress
    from cimsim.simulation import Simulation
    from cimsim.spec import Architecture
    from cimsim.tasks import Task


BOUNDS, LAYERS = "bounds.png", "layers.csv"


@asking
def run(
    context: typer.Context,
    architecture: ArchitectureArg,
    workload: WorkloadArg,
    pipeline: Annotated[
        str,
        typer.Option(
            metavar="NAME[:OPTION=VALUE,...]",
            help="Strategy.",
            autocompletion=completing("pipelines"),
        ),
    ] = "auto",
    adapt: AdaptOption = None,
    mapper: MapperOption = "one-per-tile",
    replicate: ReplicateOption = None,
    settings: SetOption = None,
    engine: Annotated[str, typer.Option(help="compiled, or simpy (the reference).")] = "compiled",
    sequences: Annotated[
        int | None,
        typer.Option(
            help="Sequences that the machine runs at a time, if not those of the workload.",
            min=1,
            show_default=False,
        ),
    ] = None,
    baseline: BaselineOption = None,
    baseline_mode: Annotated[
        str | None,
        typer.Option(
            help="calibrated (the default), roofline or peak-int8 (that of paper accounting).",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Sequences the GPU runs at a time.", min=1)] = 1,
    host_ms: Annotated[
        float,
        typer.Option(help="Host time of every GPU step (ms), where no stack is named.", min=0.0),
    ] = 0.0,
    gpu_stack: Annotated[
        str | None,
        typer.Option(
            help="Serving stack that the GPU's host time is of: tensorrt-llm, vllm or eager.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Write report.json and pictures here."),
    ] = None,
    html: HtmlOption = None,
    window: WindowOption = None,
    step: StepOption = None,
    layer: LayerOption = None,
    timeline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a timeline for Perfetto or chrome://tracing (gzip); --window, --step and "
            "--layer choose a part.",
        ),
    ] = None,
    timeline_intervals: Annotated[
        int, typer.Option(help="Most intervals in the timeline; the earliest are kept.", min=1)
    ] = 1_000_000,
    bounds: Annotated[
        bool,
        typer.Option(
            "--bounds",
            help="Also say what bounds the run: critical path, lower bounds; with -o bounds.png, "
            "layers.csv.",
        ),
    ] = False,
    band: BandOption = None,
    levers: Annotated[
        bool,
        typer.Option(
            "--levers",
            help="With --bounds: also simulate the machine that each lever makes (a run each).",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed, written into the report.", min=0)] = 0,
    json: JsonOption = False,
    accuracy: Annotated[
        bool,
        typer.Option(
            "--accuracy",
            help="Also measure a task on the same mapping.",
            rich_help_panel=PANEL,
        ),
    ] = False,
    *,
    asked: Asked,
) -> None:
    """Simulate WORKLOAD on ARCH: latency, energy, area, utilisation, reprogramming, accuracy."""
    reserve(context, output)
    _check_asked(asked, accuracy)
    _require_effects(context, baseline, timeline, output, html)
    if not bounds:
        refuse_without_effect(context, ("levers",), "without --bounds: add it")
    given = _read(architecture, workload, settings, sequences)
    chosen = Chosen.of(given.workload, window, step, layer)
    prepared = _prepared(asked, given, workload) if accuracy else None
    with progress() as tell:
        cards = cards_of(baseline)
        for card in cards:
            card.host_band_s(1, host_ms * 1e-3, gpu_stack)
        simulation = _simulate(given, pipeline, adapt, mapper, replicate, engine, seed, tell)
        report = simulation.report
        if bounds:
            tell("finding what bounds it")
            found = simulation.bottlenecks(levers=levers)
            report = report.model_copy(update={"bounds": found})
        for card in cards:
            from cimsim.comparison import with_baseline

            tell(f"estimating {card.name}")
            work = simulation.workload
            host_s = host_ms * 1e-3
            report = with_baseline(report, work, card, baseline_mode, batch, host_s, gpu_stack)
        from cimsim.cli.sensitivity import energy_bands, wants_band

        if wants_band(band, simulation, json):
            tell("folding bands")
            report = report.model_copy(update={"bands": energy_bands(simulation, report)})
    if prepared is not None:
        from cimsim.studies.accuracy import with_accuracy

        subject, task, trials = prepared
        with counting(f"{task.name} {subject.name or ''}") as count:
            report = with_accuracy(report, simulation, task, subject, trials=trials, progress=count)
    outcome = None
    with progress() as tell:
        if output is not None:
            tell("drawing")
            report, outcome = _write(report, simulation, chosen, output)
        if html is not None:
            from cimsim.views.pages.run import save_run_page

            tell("writing the page")
            shown = chosen.part(simulation) if chosen.is_given else None
            save_run_page(report, html, simulation, shown)
        if timeline is not None:
            from cimsim.views.perfetto import save_timeline

            tell("writing the timeline")
            shown = chosen.part(simulation) if chosen.is_given else None
            kept, total = save_timeline(simulation, timeline, timeline_intervals, shown)
            if kept < total:
                complain(
                    f"timeline: the first {kept} of {total} intervals; raise "
                    "--timeline-intervals for more"
                )
    if json:
        emit(report.to_json())
    else:
        from cimsim.cli.tables import print_report

        print_report(report)
        if report.bounds is not None:
            from cimsim.cli.bounds import print_bounds

            print_bounds(report.bounds)
        if report.bands is not None:
            from cimsim.cli.sensitivity import print_headline

            print_headline(report.bands)
    finish(outcome, quiet=json)


def _require_effects(
    context: typer.Context, baseline: list[Path] | None, timeline: Path | None,
    output: Path | None, html: Path | None,
) -> None:  # fmt: skip
    """Raise CimsimError for options that another one, which was not given, makes work."""
    if not baseline:
        idle = ("baseline_mode", "batch", "host_ms", "gpu_stack")
        refuse_without_effect(context, idle, "without --baseline: give a GPU to compare with")
    if timeline is None:
        why = "without --timeline: give the file that the intervals go to"
        refuse_without_effect(context, ("timeline_intervals",), why)
    if output is None and timeline is None and html is None:
        why = "without -o, --html or --timeline, which show a part of the run: give one of them"
        refuse_without_effect(context, ("window", "step", "layer"), why)


def _write(
    report: Report, simulation: Simulation, chosen: Chosen, output: Path
) -> tuple[Report, Outcome]:
    """Report, pictures and layers; the report says which of them are missing."""
    from cimsim.files import remove
    from cimsim.views.bounds import save_bounds
    from cimsim.views.gantt import save_gantt
    from cimsim.views.simulation import save_breakdown

    part = chosen.part(simulation) if chosen.is_given else None
    pictures: dict[str, Draw] = {
        "breakdown.png": partial(save_breakdown, report),
        "gantt.png": partial(save_gantt, simulation, part=part),
    }
    if report.bounds is not None:
        pictures[BOUNDS] = partial(save_bounds, report)
        pictures[LAYERS] = report.bounds.save_layers
    outcome = write(output, "report.json", report.save, pictures)
    if report.bounds is None:
        for name in (BOUNDS, LAYERS):
            remove(output / name)
    if outcome.missing:
        report = report.model_copy(update={"notes": (*report.notes, outcome.note)})
        report.save(output / "report.json")
    return report, outcome


@dataclass(frozen=True, eq=False)
class _Given:
    """Machine and workload as read, and what names them in the report."""

    machine: Architecture
    workload: Workload
    inputs: dict[str, str | int]


def _read(
    architecture: Path, workload: Path, settings: list[str] | None, sequences: int | None
) -> _Given:
    from cimsim.ir import load_workload

    with progress() as tell:
        tell("reading")
        machine = machine_of(architecture, settings)
        work = load_workload(workload)
        if sequences is not None:
            work = work.with_sequences(sequences)
    inputs: dict[str, str | int] = {
        "architecture_file": architecture.name,
        "architecture_sha256": digest(architecture),
        "workload_file": workload.name,
        "workload_sha256": digest(workload),
    }
    return _Given(machine, work, inputs)


def _simulate(
    given: _Given,
    pipeline: str,
    adapt: str | None,
    mapper: str,
    replicate: list[str] | None,
    engine: str,
    seed: int,
    tell: Progress,
) -> Simulation:
    from cimsim.simulation import simulate

    if engine not in ("compiled", "simpy"):
        raise CimsimError(f"--engine must be compiled or simpy, got {engine!r}")
    chosen: Engine = "compiled" if engine == "compiled" else "simpy"
    return simulate(
        given.workload,
        given.machine,
        pipeline=pipeline,
        adaptation=adapt,
        mapper=mapper_of(mapper, replicate),
        engine=chosen,
        seed=seed,
        inputs=given.inputs,
        progress=tell,
    )


def _check_asked(asked: Asked, accuracy: bool) -> None:
    """Raise TaskError for accuracy options that would have no effect."""
    if not accuracy and (named := asked.given()):
        raise TaskError(f"{', '.join(named)} had no effect without --accuracy: add it.")
    if asked.adapter and len(asked.adapter) > 1:
        raise TaskError(
            f"{len(asked.adapter)} adapters were given, a run has one: `cimsim accuracy` "
            "compares several."
        )


def _prepared(asked: Asked, given: _Given, path: Path) -> tuple[Subject, Task, Trials]:
    """Model, data and settings, all read before anything is simulated."""
    from cimsim.studies.accuracy import require_torch

    require_torch()
    from cimsim.accuracy.study import Subject, model_of

    trials = asked.trials(given.machine)
    chosen = model_of(given.workload, asked.model, path.parent)
    with progress() as tell:
        tell(f"loading {chosen}")
        base, task = asked.load(chosen)
        directory = asked.adapter[0] if asked.adapter else None
        return Subject.of(base, directory), task, trials
