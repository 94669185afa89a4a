"""cimsim trace: from a model directory to a workload file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cimsim.cli.options import progress
from cimsim.errors import WorkloadError


def trace(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL_DIR", help="Directory with config.json.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Workload file to write."),
    ],
    prefill: Annotated[
        int | None,
        typer.Option(help="Prompt tokens; left out for image models.", show_default=False),
    ] = None,
    decode: Annotated[int, typer.Option(help="Generated tokens, one step each.")] = 0,
    lora_rank: Annotated[
        int | None, typer.Option(help="Rank of a LoRA adapter.", show_default=False)
    ] = None,
    lora_alpha: Annotated[
        float | None, typer.Option(help="LoRA alpha; twice the rank if left out.")
    ] = None,
    lora_targets: Annotated[
        str, typer.Option(metavar="NAME,...", help="Modules to adapt, by the end of their name.")
    ] = "",
    adapter: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="PEFT adapter (adapter_config.json) instead."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Head, e.g. question-answering; the config's class if left out."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the workload; the file's stem if left out.")
    ] = None,
) -> None:
    """Trace a Hugging Face transformer on the meta device: no weights, no network."""
    try:
        from cimsim.frontend import trace_model
    except ImportError as problem:
        raise WorkloadError(
            f"tracing needs torch, transformers and peft ({problem.name} is missing): "
            "pip install '.[torch]'"
        ) from None
    from cimsim.workload import save_workload

    with progress() as tell:
        tell("tracing")
        workload = trace_model(
            model,
            name=name or output.stem,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            lora_targets=tuple(filter(None, lora_targets.split(","))),
            adapter=adapter,
            prefill=prefill,
            decode=decode,
            task=task,
        )
        save_workload(workload, output)
    lora = workload.adapter.parameter_count if workload.adapter else 0
    typer.echo(
        f"{output}: {workload.architecture}, {workload.parameter_count:,} parameters, "
        f"{lora:,} in LoRA, {workload.macs:,} MACs, "
        + ", ".join(f"{len(phase.ops)} ops in {phase.name}" for phase in workload.phases)
    )
