"""cimsim compare: reports side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cimsim.cli.options import JsonOption
from cimsim.cli.streams import emit


def compare(
    reports: Annotated[
        list[Path],
        typer.Argument(
            metavar="REPORT...", help="report.json files or their directories.", show_default=False
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Put reports side by side; ratios are against the first."""
    from cimsim.comparison import comparison_rows
    from cimsim.report import load_report

    loaded = [load_report(p / "report.json" if p.is_dir() else p) for p in reports]
    rows = comparison_rows(loaded)
    if json:
        import json as encoder

        emit(encoder.dumps(rows, indent=2) + "\n")
        return
    from cimsim.cli.tables import print_comparison

    print_comparison(rows)
