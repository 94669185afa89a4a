"""cimsim pipelines: strategies side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cimsim.cli.axes import completing
from cimsim.cli.options import (
    AdaptOption,
    ArchitectureArg,
    BandOption,
    BaselineOption,
    HtmlOption,
    JsonOption,
    OptionalWorkloadArg,
    SetOption,
    cards_of,
    digest,
    machine_of,
    refuse_without_effect,
)
from cimsim.cli.outputs import Outcome, finish, reserve, write
from cimsim.cli.progress import progress
from cimsim.cli.streams import emit
from cimsim.errors import CimsimError
from cimsim.values.display import shown
from cimsim.values.parsing import parse_list, parse_real, parse_whole

if TYPE_CHECKING:
    from cimsim.baseline import Gpu
    from cimsim.cli.sheet import Sheet
    from cimsim.ir import Workload
    from cimsim.report import Report
    from cimsim.schedule.pipelines import Auto, Pipeline
    from cimsim.search.attempt import Progress
    from cimsim.spec import Architecture
    from cimsim.studies.pipelines import PipelineRow, Shape, Study
    from cimsim.values.field_paths import Value


Number = TypeVar("Number", int, float)


def pipelines(
    context: typer.Context,
    architecture: ArchitectureArg,
    workload: OptionalWorkloadArg = None,
    layer: Annotated[
        str | None, typer.Option(metavar="INxOUT", help="One linear layer instead of a workload.")
    ] = None,
    rank: Annotated[int, typer.Option(help="LoRA rank of --layer.")] = 8,
    tokens: Annotated[int, typer.Option(help="Tokens of --layer.")] = 320,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:OPTION=VALUE,...]",
            help="Strategy; all names if left out.",
            show_default=False,
            autocompletion=completing("pipelines"),
        ),
    ] = None,
    integration_ns: Annotated[
        str | None, typer.Option(metavar="NS,...", help="Integration times to sweep.")
    ] = None,
    block_tokens: Annotated[
        str | None, typer.Option(metavar="T,...", help="Blocks to sweep where a strategy has one.")
    ] = None,
    adapt: AdaptOption = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Write pipelines.json and pictures."),
    ] = None,
    settings: SetOption = None,
    html: HtmlOption = None,
    baseline: BaselineOption = None,
    band: BandOption = None,
    json: JsonOption = False,
) -> None:
    """Compare pipeline strategies on ARCH, for a whole model or one layer.

    --baseline and --band are for the fastest of them, on the page.
    """
    reserve(context, output)
    if html is None:
        why = "without --html: the page has them of the fastest strategy"
        refuse_without_effect(context, ("baseline", "band"), why)
    if layer is None:
        why = "without --layer: a workload has its own"
        refuse_without_effect(context, ("rank", "tokens"), why)
    outcome = None
    with progress() as tell:
        machine, cards = machine_of(architecture, settings), cards_of(baseline)
        rows, drawn = _rows(
            machine, workload, layer, rank, tokens, strategy,
            integration_ns, block_tokens, adapt, tell,
        )  # fmt: skip
        if output is not None:
            tell("drawing")
            outcome = _write(rows, drawn, output)
        if html is not None:
            from cimsim.views.pages.strategies import save_pipelines_page

            tell("running the fastest again")
            fastest = _fastest(rows, machine, drawn[1], adapt, cards, band)
            tell("writing the page")
            save_pipelines_page(rows, machine, _inputs(architecture, workload), html, fastest)
    if json:
        emit(_encoded(rows))
    else:
        _print(rows)
    finish(outcome, quiet=json)


def _fastest(
    rows: list[PipelineRow], machine: Architecture, subject: Workload, adapt: str | None,
    cards: list[Gpu], band: bool | None,
) -> Report:  # fmt: skip
    """The run of the fastest strategy on what the first row is of, with GPUs and bands."""
    from cimsim.cli.sensitivity import energy_bands, wants_band
    from cimsim.comparison import with_baseline
    from cimsim.schedule.pipelines import parse_pipeline
    from cimsim.studies.layer import with_integration
    from cimsim.studies.pipelines import Study

    of_first = (row for row in rows if row.layer == rows[0].layer)
    best = min(of_first, key=lambda row: row.makespan_s)
    rram = machine.rram
    if rram is not None and best.integration_ns not in (None, rram.integration_ns):
        machine = with_integration(machine, best.integration_ns)
    simulation = Study(machine, adaptation=adapt).simulation(subject, parse_pipeline(best.chosen))
    report = simulation.report
    for card in cards:
        report = with_baseline(report, simulation.workload, card)
    if wants_band(band, simulation, json=False):
        report = report.model_copy(update={"bands": energy_bands(simulation, report)})
    return report


def _inputs(architecture: Path, workload: Path | None) -> dict[str, str]:
    """The files that were read, and their digests."""
    files = {"architecture": architecture} | ({} if workload is None else {"workload": workload})
    named = {f"{what}_file": path.name for what, path in files.items()}
    return named | {f"{what}_sha256": digest(path) for what, path in files.items()}


Drawn = tuple["Study", "Workload", "Pipeline | Auto"]


def _write(rows: list[PipelineRow], drawn: Drawn, output: Path) -> Outcome:
    from cimsim.files import write_text
    from cimsim.views.gantt import save_gantt
    from cimsim.views.pipelines import save_bars

    study, subject, pipeline = drawn
    pictures = {
        "bars.png": lambda path: save_bars(rows, path),
        "gantt.png": lambda path: save_gantt(study.simulation(subject, pipeline), path),
    }
    text = _encoded(rows)
    return write(output, "pipelines.json", lambda path: write_text(path, text), pictures)


def _rows(
    machine: Architecture, workload: Path | None, layer: str | None, rank: int, tokens: int,
    strategy: list[str] | None, integration_ns: str | None, block_tokens: str | None,
    adapt: str | None, tell: Progress,
) -> tuple[list[PipelineRow], Drawn]:  # fmt: skip
    """All rows, and what the Gantt chart shows: the last strategy on the first machine."""
    from cimsim.exploration.strategies import compared
    from cimsim.ir import load_workload
    from cimsim.schedule.pipelines import PIPELINE_CODEC, format_pipeline, parse_pipeline
    from cimsim.studies.layer import layer_workload, with_integration
    from cimsim.studies.pipelines import Study, adapted_shapes, parse_layer, with_blocks

    if (workload is None) == (layer is None):
        raise CimsimError("give either a WORKLOAD or --layer INxOUT")
    tell("reading")
    times = _numbers("--integration-ns", integration_ns, parse_real)
    machines = [with_integration(machine, ns) for ns in times] or [machine]
    model = None if workload is None else load_workload(workload)
    shapes: list[Shape]
    if model is None:
        shapes = [parse_layer(layer or "", rank, tokens)]
    else:
        shapes = [shape for shape, _ in adapted_shapes(model)]
    named: list[Pipeline | Auto] = [
        parse_pipeline(text) for text in strategy or PIPELINE_CODEC.members
    ]
    chosen = with_blocks(named, _numbers("--block-tokens", block_tokens, parse_whole))
    if block_tokens and chosen == named:
        raise CimsimError(
            "--block-tokens had no effect: none of the strategies runs in blocks of a chosen size."
        )
    points: list[dict[str, Value]] = [
        {**at, "pipeline": format_pipeline(pipeline)}
        for at in [{"rram.integration_ns": ns} for ns in times] or [{}]
        for pipeline in chosen
    ]
    found = []
    subjects: list[Workload | Shape] = [*([] if model is None else [model]), *shapes]
    for subject in subjects:
        tell(f"simulating {subject.name}")
        found.append(compared(subject, machine, points, adaptation=adapt))
    rows = [row for point in zip(*found, strict=True) for row in point]
    first = shapes[0]
    drawn = model or layer_workload(first.in_features, first.out_features, first.rank, first.tokens)
    study = Study(machines[0], adaptation=adapt)
    return rows, (study, drawn, chosen[0] if len(chosen) == 1 else _shown(chosen))


def _shown(chosen: list[Pipeline | Auto]) -> Pipeline | Auto:
    """The strategy of the Gantt chart among several: balanced where it is one of them."""
    return next((p for p in chosen if p.name == "balanced"), chosen[0])


def _numbers(option: str, text: str | None, parse: Callable[[str], Number]) -> list[Number]:
    """Positive numbers separated by commas."""
    what = f"{option} takes positive numbers separated by commas"
    try:
        values = parse_list(text, parse) if text else []
    except ValueError as problem:
        raise CimsimError(f"{what}: {problem}") from None
    if any(value <= 0 for value in values):
        raise CimsimError(f"{what}, got {shown(text)}")
    return values


def _encoded(rows: list[PipelineRow]) -> str:
    import json

    return json.dumps([row.as_dict() for row in rows], indent=2) + "\n"


def _print(rows: list[PipelineRow]) -> None:
    """One table for each layer and integration time."""
    from cimsim.cli.sheet import show
    from cimsim.units import quantity

    groups: dict[tuple[str, float | None], list[PipelineRow]] = {}
    for row in rows:
        groups.setdefault((row.layer, row.integration_ns), []).append(row)
    for (layer, time), members in groups.items():
        at = "" if time is None else f", integration {time:g} ns"
        alone = ", ".join(dict.fromkeys(quantity(row.aimc_only_s, "s") for row in members))
        adaptation = members[0].adaptation
        show(_table(f"{layer}, {adaptation}{at}; without LoRA {alone}", members))


def _table(title: str, rows: list[PipelineRow]) -> Sheet:
    from cimsim.cli.sheet import Sheet
    from cimsim.units import quantity

    columns = ("strategy", "t", "PMCA/tile", "makespan", "overhead", "PMCA use", "tile use",
               "TCDM KiB", "spilled", "energy", "area built", "area used")  # fmt: skip
    found = [f"{row.strategy}: {row.chosen}" for row in rows if row.strategy == "auto"]
    table = Sheet(title, columns, keys=3, caption="; ".join(found))
    for row in rows:
        table.add(
            row.strategy,
            "-" if row.block_tokens is None else str(row.block_tokens),
            "-" if row.pmca_tile_ratio is None else f"{row.pmca_tile_ratio:.3f}",
            quantity(row.makespan_s, "s"),
            f"{row.overhead:.1%}",
            f"{row.pmca_utilisation:.1%}",
            f"{row.tile_utilisation:.1%}",
            f"{row.tcdm_bytes / 1024:.1f}",
            f"{row.spill_bytes / 1024:.0f} KiB" if row.spill_bytes else "-",
            quantity(row.energy_J, "J"),
            f"{row.area_mm2:.4g} mm2",
            f"{row.area_used_mm2:.4g} mm2",
        )
    return table
