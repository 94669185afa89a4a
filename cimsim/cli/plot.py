"""cimsim plot: a picture of a report for a paper."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.again import again
from cimsim.cli.options import BaselineOption, cards_of, refuse_without_effect
from cimsim.cli.parts import Chosen, LayerOption, StepOption, WindowOption
from cimsim.cli.progress import progress
from cimsim.cli.streams import say
from cimsim.errors import CimsimError

if TYPE_CHECKING:
    from cimsim.baseline import Gpu
    from cimsim.simulation import Simulation
    from cimsim.views.simulation import Width


class Kind(StrEnum):
    """What a picture shows."""

    BREAKDOWN = "breakdown"
    TIME = "time"
    LAYERS = "layers"
    GANTT = "gantt"
    ROOFLINE = "roofline"
    TILEMAP = "tilemap"
    ACCURACY = "accuracy"


class PaperWidth(StrEnum):
    """As wide as what of a paper."""

    COLUMN = "column"
    PAGE = "page"


OF_REPORTS = (Kind.BREAKDOWN, Kind.TIME, Kind.LAYERS, Kind.ACCURACY)
"""What is drawn of a report alone."""


def plot(
    context: typer.Context,
    report: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT",
            help="A report.json of `cimsim run`, or an accuracy.json of `cimsim accuracy`.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Picture to write: .pdf, .svg or .png.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        Kind,
        typer.Option(
            help="breakdown: energy and area; time: busy units; layers: those that take most, of "
            "a run with --bounds; gantt: what works when; roofline: operations a second against "
            "those a byte; tilemap: where weights lie. These three make the run again. accuracy: "
            "of a task, against noise, bits and time."
        ),
    ] = Kind.BREAKDOWN,
    width: Annotated[
        PaperWidth, typer.Option(help="Width of a column or of a page of a paper.")
    ] = PaperWidth.PAGE,
    machine: Annotated[
        Path | None,
        typer.Option(
            "--machine", metavar="FILE", show_default=False,
            help="Architecture of the report, where it does not come with cimsim; its digest is "
            "checked.",
        ),
    ] = None,
    workload: Annotated[
        Path | None,
        typer.Option(
            "--workload", metavar="FILE", show_default=False,
            help="Workload of the report, likewise.",
        ),
    ] = None,
    baseline: BaselineOption = None,
    window: WindowOption = None,
    step: StepOption = None,
    layer: LayerOption = None,
) -> None:  # fmt: skip
    """Draw REPORT for a paper: SI units, 7 pt, colours told apart without colour vision."""
    if kind is not Kind.GANTT:
        why = "without --kind gantt, which shows a part of the run: add it"
        refuse_without_effect(context, ("window", "step", "layer"), why)
    if kind is not Kind.ROOFLINE:
        why = "without --kind roofline, which has the roofs of a GPU: add it"
        refuse_without_effect(context, ("baseline",), why)
    if kind in OF_REPORTS:
        why = f"with --kind {kind.value}, which is drawn from the report alone"
        refuse_without_effect(context, ("machine", "workload"), why)
    from cimsim.report import load_report
    from cimsim.views.simulation import save_breakdown, save_layers, save_times

    draw = {Kind.BREAKDOWN: save_breakdown, Kind.TIME: save_times, Kind.LAYERS: save_layers}
    if kind is Kind.ACCURACY:
        _draw_accuracy(report, output, width.value)
        say(f"wrote {output}")
        return
    found = load_report(report)
    if kind in draw:
        draw[kind](found, output, width.value)
    else:
        from cimsim.views.canvas import ending_of

        ending_of(output)
        cards = cards_of(baseline)
        with progress() as tell:
            tell("making the run again")
            simulation = again(found, machine, workload)
            chosen = Chosen.of(simulation.workload, window, step, layer)
            _draw(simulation, kind, output, width.value, chosen, cards)
    say(f"wrote {output}")


def _draw_accuracy(path: Path, output: Path, width: Width) -> None:
    """Of what `cimsim accuracy` wrote, or of a run with an accuracy."""
    from cimsim.files import load_json
    from cimsim.report import AccuracyReport, load_accuracy, load_report
    from cimsim.views.accuracy import save_accuracy

    data = load_json(path, CimsimError, "report")
    if isinstance(data, dict) and "results" in data:
        found = load_accuracy(path)
    else:
        run = load_report(path)
        if run.accuracy is None:
            raise CimsimError(f"{path}: the report has no accuracy: run with --accuracy")
        found = AccuracyReport(
            architecture=run.architecture, workload=run.workload, results=(run.accuracy,)
        )
    save_accuracy(found, output, width)


def _draw(
    simulation: Simulation, kind: Kind, output: Path, width: Width, chosen: Chosen,
    cards: list[Gpu],
) -> None:  # fmt: skip
    from cimsim.views.gantt import save_gantt
    from cimsim.views.roofline import save_roofline
    from cimsim.views.tilemap import save_tilemap

    if kind is Kind.GANTT:
        part = chosen.part(simulation) if chosen.is_given else None
        save_gantt(simulation, output, part, width=width)
    elif kind is Kind.ROOFLINE:
        save_roofline(simulation, output, width, cards)
    else:
        save_tilemap(simulation, output, width)
