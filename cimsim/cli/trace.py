"""cimsim trace: from a model directory to a workload file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.progress import progress
from cimsim.cli.streams import say
from cimsim.errors import WorkloadError

if TYPE_CHECKING:
    from cimsim.ir import Workload

SHIPPED = ("minilm", "smollm2")


def trace(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Directory with config.json; minilm or smollm2 (tasks come with them); vgg16.",
            show_default=False,
        ),
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
        str,
        typer.Option(
            metavar="NAME,...", help="Modules to adapt, by the end of their name; or all-linear."
        ),
    ] = "",
    adapter: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="PEFT adapter (adapter_config.json) instead."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Head, e.g. question-answering; the config's class if left out."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Pixels a side of an image, where the configuration gives none or another.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the workload; the file's stem if left out.")
    ] = None,
) -> None:
    """Trace a Hugging Face model or VGG-16 on the meta device: no weights, no network.

    minilm and smollm2 are read from the cache of the packages that ship them.
    """
    try:
        from cimsim.frontend import NETWORKS, trace_model, trace_network
    except ImportError as problem:
        raise WorkloadError(
            f"tracing needs torch, transformers and peft ({problem.name} is missing): "
            "pip install '.[torch]'"
        ) from None
    from cimsim.ir import save_workload

    targets = tuple(filter(None, lora_targets.split(",")))
    with progress() as tell:
        tell("tracing")
        if str(model) in SHIPPED:
            if task is not None:
                raise WorkloadError(f"--task {task} was given, but {model} has its head already.")
            if image_size is not None:
                raise WorkloadError(f"--image-size {image_size} was given, but {model} reads text.")
            workload = _shipped(
                str(model), name or output.stem, prefill, decode, lora_rank, lora_alpha, targets,
                adapter,
            )  # fmt: skip
        elif str(model) in NETWORKS:
            given = [prefill, decode or None, lora_rank, lora_alpha, adapter, task, targets or None]
            if given != [None] * len(given):
                raise WorkloadError(
                    f"{model} takes --image-size and --name alone, no other option."
                )
            workload = trace_network(str(model), image_size, name or output.stem)
        else:
            workload = trace_model(
                model,
                name=name or output.stem,
                lora_rank=lora_rank,
                lora_alpha=lora_alpha,
                lora_targets=targets,
                adapter=adapter,
                prefill=prefill,
                decode=decode,
                task=task,
                image_size=image_size,
            )
            workload = workload.remade(origin={**workload.origin, "model": str(model)})
        save_workload(workload, output)
    lora = workload.adapter.parameter_count if workload.adapter else 0
    say(
        f"{output}: {workload.architecture}, {workload.parameter_count:,} parameters, "
        f"{lora:,} in LoRA, {workload.macs:,} MACs, "
        + ", ".join(f"{len(phase.ops)} ops in {phase.name}" for phase in workload.phases)
    )


def _shipped(
    source: str,
    name: str,
    prefill: int | None,
    decode: int,
    rank: int | None,
    alpha: float | None,
    targets: tuple[str, ...],
    adapter: Path | None,
) -> Workload:
    """A model of `cimsim.tasks`; LoRA is on its own targets, with its head, unless named."""
    from cimsim.accuracy.placing import trace_task_model
    from cimsim.tasks import load_model
    from cimsim.training import LoraShape, adapted, load_trained

    if prefill is None:
        raise WorkloadError("the length of the prompt is missing. Set --prefill.")
    if rank is not None and adapter is not None:
        raise WorkloadError("both a LoRA rank and an adapter directory were given; give one.")
    if rank is None and (targets or alpha is not None):
        raise WorkloadError("LoRA targets or alpha were given without a rank. Set --lora-rank.")
    model = load_model(source)
    module = None
    if adapter is not None:
        module = load_trained(model, adapter)
    elif rank is not None:
        shape = LoraShape(rank, 2.0 * rank if alpha is None else alpha, targets=targets or None)
        module = adapted(model, shape)
    return trace_task_model(model, module, tokens=prefill, decode=decode, name=name)
