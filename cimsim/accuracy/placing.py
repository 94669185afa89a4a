"""One mapping for timing and accuracy: a task model, traced and mapped as `cimsim run` does."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedModel

from cimsim.adaptation import Adaptation, adaptation_named
from cimsim.errors import MappingError, TaskError
from cimsim.frontend import trace_model, trace_module
from cimsim.frontend.adapters import adapter_in_use, merged_copy, unwrap
from cimsim.ir import Workload
from cimsim.mappers import Mapper, OneBlockPerTile, build_mapping
from cimsim.mapping import Mapping
from cimsim.spec import Architecture
from cimsim.values.arguments import checked

if TYPE_CHECKING:
    from cimsim.tasks import TaskModel


@checked(TaskError)
def place(
    model: TaskModel,
    architecture: Architecture,
    *,
    tokens: int,
    adapted: nn.Module | None = None,
    adaptation: Adaptation | str | None = None,
    mapper: Mapper | None = None,
) -> tuple[Workload, Mapping]:
    """Workload and mapping of `model`, or of `adapted`, which is it with an adapter.

    `adaptation` is the architecture's if left out, `none` without an adapter. Raises
    WorkloadError, MappingError or CapacityError.
    """
    workload = trace_task_model(model, adapted, tokens=tokens)
    return workload, mapping_of(workload, architecture, adaptation, mapper)


@checked(TaskError)
def trace_task_model(
    model: TaskModel,
    adapted: nn.Module | None = None,
    *,
    tokens: int,
    decode: int = 0,
    name: str | None = None,
) -> Workload:
    """A prompt of `tokens` tokens through `model` and, in a causal one, `decode` tokens after it.

    The workload's origin names the model.
    """
    if not 1 <= tokens <= model.max_tokens:
        raise TaskError(
            f"a sequence of {tokens} tokens was asked for, {model.name!r} takes 1 to "
            f"{model.max_tokens}."
        )
    module = model.module if adapted is None else adapted
    title = name or f"{Path(model.name).name}_s{tokens}"
    if isinstance(unwrap(module), PreTrainedModel):
        workload = trace_model(module, prefill=tokens, decode=decode, name=title)
    elif decode:
        raise TaskError(f"{decode} tokens to generate were asked of {model.name!r}, an encoder.")
    else:
        workload = trace_module(module, _inputs(module, tokens), name=title)
    source = type(unwrap(module)).__name__
    origin = {**workload.origin, "source": source, "model": model.name, "prefill": tokens}
    longest = workload.tokens_max or model.max_tokens
    return workload.remade(
        origin=origin, tokens_max=min(longest, model.max_tokens), tokens_fixed=False
    )


def _inputs(module: nn.Module, tokens: int) -> dict[str, torch.Tensor]:
    known = inspect.signature(unwrap(module).forward).parameters
    inputs = {"input_ids": torch.zeros((1, tokens), dtype=torch.long)}
    if "attention_mask" in known:
        inputs["attention_mask"] = torch.ones((1, tokens), dtype=torch.long)
    return inputs


@checked(TaskError)
def mapping_of(
    workload: Workload,
    architecture: Architecture,
    adaptation: Adaptation | str | None = None,
    mapper: Mapper | None = None,
) -> Mapping:
    """The mapping that `simulate` makes of a workload with a pipeline that changes no mapper."""
    chosen = adaptation or (architecture.adaptation if workload.adapter else "none")
    found = adaptation_named(chosen) if isinstance(chosen, str) else chosen
    return build_mapping(found.apply(workload), architecture, found, mapper or OneBlockPerTile())


def has_adapter(module: nn.Module) -> bool:
    """Whether a LoRA adapter acts on `module`; raises WorkloadError for one of another kind."""
    return adapter_in_use(module) is not None


def check_adapter(workload: Workload, adaptation: str, module: nn.Module) -> None:
    """Raise MappingError where a workload and the model that is to run as it do not agree."""
    if adaptation == "none":
        if has_adapter(module):
            raise MappingError(
                "an adapter was given, but adaptation 'none' runs the base model alone: choose "
                "another adaptation or leave the adapter out."
            )
    elif workload.adapter is not None and not has_adapter(module):
        raise MappingError(
            f"workload {workload.name!r} has a rank-{workload.adapter.rank} adapter, the model "
            "that is to run it has none: give the adapter's directory, or run the base model "
            "alone (adaptation none)."
        )
    elif workload.adapter is None and has_adapter(module):
        raise MappingError(
            f"an adapter was given, but workload {workload.name!r} was traced without one: name "
            "the model instead of the workload file, or trace it with the adapter."
        )


@checked(TaskError)
def as_mapped(module: nn.Module, mapping: Mapping) -> nn.Module:
    """The model that `mapping` runs: for `merged` a copy with the adapter added into its weights.

    `module` itself where nothing has to be merged.
    """
    if mapping.adaptation != "merged" or not has_adapter(module):
        return module
    return merged_copy(module).requires_grad_(False).eval()
