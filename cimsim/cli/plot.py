"""cimsim plot: a picture of a report for a paper."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cimsim.cli.streams import say


class Kind(StrEnum):
    """What a picture shows."""

    BREAKDOWN = "breakdown"
    TIME = "time"
    LAYERS = "layers"


class PaperWidth(StrEnum):
    """As wide as what of a paper."""

    COLUMN = "column"
    PAGE = "page"


def plot(
    report: Annotated[
        Path,
        typer.Argument(metavar="REPORT", help="A report.json of `cimsim run`.", show_default=False),
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
            help="breakdown: energy and area; time: busy units; layers: those that take most, of a "
            "run with --bounds."
        ),
    ] = Kind.BREAKDOWN,
    width: Annotated[
        PaperWidth, typer.Option(help="Width of a column or of a page of a paper.")
    ] = PaperWidth.PAGE,
) -> None:
    """Draw REPORT for a paper: SI units, 7 pt, colours told apart without colour vision."""
    from cimsim.report import load_report
    from cimsim.views.simulation import save_breakdown, save_layers, save_times

    draw = {Kind.BREAKDOWN: save_breakdown, Kind.TIME: save_times, Kind.LAYERS: save_layers}
    draw[kind](load_report(report), output, width.value)
    say(f"wrote {output}")
