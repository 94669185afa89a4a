"""cimsim validate: published quantities beside simulated ones."""

from __future__ import annotations

from typing import Annotated

import typer

from cimsim.cli.options import JsonOption
from cimsim.errors import SpecError


def validate(
    group: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GROUP...]", help="Papers or machines; all if left out."),
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="The A100 baseline only (group a100).")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare simulated with published numbers; exit code 1 if one is out of tolerance."""
    from cimsim.validation import GROUPS
    from cimsim.validation import rows as rows_of

    if baseline:
        group = [*(group or []), "a100"]
    if unknown := [name for name in group or [] if name not in GROUPS]:
        raise SpecError(f"unknown group {', '.join(unknown)}; known: {', '.join(GROUPS)}")
    rows = rows_of(tuple(group or ()))
    failed = sum(not row.passed for row in rows)
    if json:
        import json as encoder

        typer.echo(encoder.dumps([row.to_dict() for row in rows], indent=2))
    else:
        from rich.table import Table

        from cimsim.cli.tables import console

        table = Table(title="published and simulated", title_justify="left", title_style="bold")
        columns = ("quantity", "published", "simulated", "error", "tolerance", "fitted", "within")
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if 0 < number < 5 else "left")
        for row in rows:
            table.add_row(
                row.quantity,
                f"{row.published:.9g} {row.unit}",
                f"{row.simulated:.9g} {row.unit}",
                f"{row.error:+.2%}",
                "-" if row.tolerance is None else f"{row.tolerance:.1%}",
                "yes" if row.fitted else "no",
                "-" if row.tolerance is None else "yes" if row.passed else "NO",
            )
        console().print(table)
        for text in dict.fromkeys(row.source for row in rows):
            typer.echo(f"source: {text}")
        typer.echo(f"{len(rows) - failed} of {len(rows)} within tolerance")
    if failed:
        raise typer.Exit(1)
