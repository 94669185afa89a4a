"""cimsim workload: workloads that are written down from sizes instead of traced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cimsim.cli.accuracy_options import Grouped
from cimsim.cli.streams import say

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def workload() -> None:
    """Write a workload from sizes alone."""


@app.command("halora-accounting", cls=Grouped)
def halora_accounting(
    hidden: Annotated[int, typer.Option(help="Width of the model.", show_default=False)],
    intermediate: Annotated[int, typer.Option(help="Width of the MLP.", show_default=False)],
    layers: Annotated[int, typer.Option(help="Transformer layers.", show_default=False)],
    heads: Annotated[int, typer.Option(help="Attention heads.", show_default=False)],
    tokens: Annotated[int, typer.Option(help="Prompt tokens.", show_default=False)],
    rank: Annotated[int, typer.Option(help="Rank of LoRA.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Workload file.", show_default=False),
    ],
) -> None:
    """What HaLoRA's energy table counts: full heads, no gate, no head, no causality."""
    from cimsim.ir import save_workload
    from cimsim.report.accounting import halora_accounting as build

    made = build(
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        tokens=tokens,
        rank=rank,
        name=output.stem,
    )
    save_workload(made, output)
    adapter = made.adapter.parameter_count if made.adapter else 0
    say(
        f"{output}: paper accounting, {made.parameter_count:,} parameters, {adapter:,} in LoRA, "
        f"{made.macs:,} MACs, {len(made.phases[0].ops)} ops"
    )


@app.command("uncached", cls=Grouped)
def uncached(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Workload file.", show_default=False),
    ],
    layers: Annotated[int, typer.Option(help="Transformer layers.", min=1)] = 3,
    width: Annotated[int, typer.Option(help="Width of the model.", min=1)] = 512,
    heads: Annotated[int, typer.Option(help="Attention heads.", min=1)] = 8,
    hidden: Annotated[int, typer.Option(help="Width of the MLP.", min=1)] = 2048,
    words: Annotated[int, typer.Option(help="Words to choose from.", min=1)] = 1024,
    table_rows: Annotated[
        int, typer.Option(help="Rows of the array that holds a token's embedding.", min=1)
    ] = 512,
    first: Annotated[int, typer.Option(help="Prompt tokens.", min=1)] = 1,
    last: Annotated[int, typer.Option(help="Tokens at the end.", min=3)] = 12,
) -> None:
    """A decoder without KV cache: every pass computes all tokens anew."""
    from cimsim.ir import save_workload
    from cimsim.validation.uncached import Decoder
    from cimsim.validation.uncached import uncached as build

    sizes = Decoder(layers, width, heads, hidden, words, table_rows, first, last)
    made = build(output.stem, sizes)
    save_workload(made, output)
    say(
        f"{output}: {made.parameter_count:,} parameters, {made.macs:,} MACs, "
        f"{sum(phase.run_tokens for phase in made.phases)} tokens computed in {last - first} passes"
    )
