"""cimsim compare: reports side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cimsim.cli.options import HtmlOption, JsonOption
from cimsim.cli.streams import emit


def compare(
    reports: Annotated[
        list[Path],
        typer.Argument(
            metavar="REPORT...", help="report.json files or their directories.", show_default=False
        ),
    ],
    html: HtmlOption = None,
    json: JsonOption = False,
) -> None:
    """Put reports side by side: numbers, ratios against the first, and what differs between runs.

    GPUs that stand beside them follow with batch and LoRA. With --json each row has what differs
    under `differs` and its GPUs under `baselines`.
    """
    from cimsim.comparison import compare as side_by_side

    found = side_by_side([p / "report.json" if p.is_dir() else p for p in reports])
    rows, differs = found.rows, found.differs
    if html is not None:
        from cimsim.views.pages.compared import save_comparison_page

        save_comparison_page(found, html)
    if json:
        import json as encoder

        for number, row in enumerate(rows):
            row["differs"] = {name: values[number] for name, values in differs.items()}
            row["baselines"] = found.baselines[number]
        emit(encoder.dumps(rows, indent=2) + "\n")
        return
    from cimsim.cli.tables import print_comparison

    print_comparison(rows, differs, found.baselines)
