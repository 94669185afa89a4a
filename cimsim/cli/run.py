"""cimsim run: simulate a workload on an architecture and report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.options import (
    AdaptOption,
    ArchitectureArg,
    JsonOption,
    MapperOption,
    ReplicateOption,
    SetOption,
    WorkloadArg,
    digest,
    mapper_of,
    progress,
    values_of,
)
from cimsim.errors import CimsimError

if TYPE_CHECKING:
    from cimsim.baseline import Gpu
    from cimsim.engines import Engine
    from cimsim.simulation import Progress, Simulation


def run(
    architecture: ArchitectureArg,
    workload: WorkloadArg,
    pipeline: Annotated[
        str, typer.Option(help="Strategy, with options as name:option=value,...")
    ] = "token",
    adapt: AdaptOption = None,
    mapper: MapperOption = "one-per-tile",
    replicate: ReplicateOption = None,
    settings: SetOption = None,
    engine: Annotated[str, typer.Option(help="compiled, or simpy (the reference).")] = "compiled",
    baseline: Annotated[
        list[Path] | None,
        typer.Option(metavar="GPU", help="GPU file to compare with.", show_default=False),
    ] = None,
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
        typer.Option(help="Host time of every GPU step; serving stacks need 1.6 to 2.4.", min=0.0),
    ] = 0.0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Write report.json and pictures here."),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a Chrome/Perfetto trace (gzip)."),
    ] = None,
    trace_tasks: Annotated[
        int, typer.Option(help="Most tasks in the trace; the earliest are kept.", min=1)
    ] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Seed, written into the report.", min=0)] = 0,
    json: JsonOption = False,
) -> None:
    """Simulate WORKLOAD on ARCH: latency, energy, area, utilisation, reprogramming."""
    if output is not None:
        _check_directory(output)
    with progress() as tell:
        cards = _cards(baseline or [])
        simulation = _simulate(
            architecture,
            workload,
            pipeline,
            adapt,
            mapper,
            replicate,
            settings,
            engine,
            seed,
            tell,
        )
        report = simulation.report
        for card in cards:
            from cimsim.comparison import with_baseline

            tell(f"estimating {card.name}")
            work = simulation.workload
            report = with_baseline(report, work, card, baseline_mode, batch, host_ms * 1e-3)
        if output is not None:
            from cimsim.figures import save_breakdown, save_gantt

            tell("drawing")
            report.save(output / "report.json")
            save_breakdown(report, output / "breakdown.png")
            save_gantt(simulation, output / "gantt.png")
        if trace is not None:
            from cimsim.perfetto import save_trace

            tell("writing the trace")
            kept, total = save_trace(simulation, trace, trace_tasks)
            if kept < total:
                typer.echo(
                    f"trace: the first {kept} of {total} tasks; raise --trace-tasks for more",
                    err=True,
                )
    if json:
        typer.echo(report.to_json(), nl=False)
        return
    from cimsim.cli.tables import print_report

    print_report(report)
    if output is not None:
        typer.echo(f"wrote report.json, breakdown.png and gantt.png to {output}")


def _cards(paths: list[Path]) -> list[Gpu]:
    """The GPUs, read before anything is simulated."""
    if not paths:
        return []
    from cimsim.baseline import load_gpu

    return [load_gpu(path) for path in paths]


def _simulate(
    architecture: Path,
    workload: Path,
    pipeline: str,
    adapt: str | None,
    mapper: str,
    replicate: list[str] | None,
    settings: list[str] | None,
    engine: str,
    seed: int,
    tell: Progress,
) -> Simulation:
    from cimsim.schedule.pipelines import parse_pipeline
    from cimsim.simulation import simulate
    from cimsim.spec import load_architecture
    from cimsim.workload import load_workload

    if engine not in ("compiled", "simpy"):
        raise CimsimError(f"--engine must be compiled or simpy, got {engine!r}")
    chosen: Engine = "compiled" if engine == "compiled" else "simpy"
    strategy = parse_pipeline(pipeline)
    laid = mapper_of(mapper, replicate)
    tell("reading")
    machine, work = load_architecture(architecture), load_workload(workload)
    if changed := values_of(settings):
        machine = machine.with_values(changed, "set on the command line")
    return simulate(
        work,
        machine,
        pipeline=strategy,
        adaptation=adapt,
        mapper=laid,
        engine=chosen,
        seed=seed,
        inputs={
            "architecture_file": architecture.name,
            "architecture_sha256": digest(architecture),
            "workload_file": workload.name,
            "workload_sha256": digest(workload),
            **{f"set {field}": str(value) for field, value in changed.items()},
        },
        progress=tell,
    )


def _check_directory(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise CimsimError(f"{path}: cannot write there: it is a file, -o names a directory.")
