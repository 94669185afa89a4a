"""cimsim validate: published quantities beside simulated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cimsim.cli.options import JsonOption
from cimsim.cli.streams import emit, say
from cimsim.errors import SpecError


def validate(
    group: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GROUP...]", help="Papers or machines; all if left out."),
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="The A100 baseline only (group a100).")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Also write the table with its sources as a page of Markdown.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare simulated with published numbers; exit code 1 if one is out of tolerance."""
    from cimsim.files import write_text
    from cimsim.validation import GROUPS, validation_page
    from cimsim.validation import rows as rows_of

    if baseline:
        group = [*(group or []), "a100"]
    if unknown := [name for name in group or [] if name not in GROUPS]:
        raise SpecError(f"unknown group {', '.join(unknown)}; known: {', '.join(GROUPS)}")
    rows = rows_of(tuple(group or ()))
    failed = sum(not row.passed for row in rows)
    if output is not None:
        write_text(output, validation_page(rows))
    if json:
        import json as encoder

        emit(encoder.dumps([row.to_dict() for row in rows], indent=2) + "\n")
    else:
        from cimsim.cli.sheet import Sheet, show

        columns = ("quantity", "published", "simulated", "error", "tolerance", "fitted", "within")
        table = Sheet("published and simulated", columns)
        for row in rows:
            table.add(
                row.quantity,
                f"{row.published:.9g} {row.unit}",
                f"{row.simulated:.9g} {row.unit}",
                f"{row.error:+.2%}",
                "-" if row.tolerance is None else f"{row.tolerance:.1%}",
                "yes" if row.fitted else "no",
                "-" if row.tolerance is None else "yes" if row.passed else "NO",
            )
        show(table)
        for text in dict.fromkeys(row.source for row in rows):
            say(f"source: {text}")
        say(f"{len(rows) - failed} of {len(rows)} within tolerance")
    if failed:
        raise typer.Exit(1)
