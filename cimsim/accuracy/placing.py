"""One mapping for timing and accuracy: a task model, traced and mapped as `cimsim run` does."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedModel

from cimsim.adaptation import (
    Adaptation,
    Functional,
    NarrowDelta,
    adaptation_for,
    adaptation_of,
    switched,
    two_tasks,
)
from cimsim.adaptation.layers.columns import column_layers
from cimsim.adaptation.layers.delta import delta_layers
from cimsim.adaptation.layers.pooled import pooled_layers
from cimsim.errors import MappingError, TaskError
from cimsim.frontend import trace_model, trace_module
from cimsim.frontend.adapters import adapters_in_use, merged_copy, unwrap
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
    asked = "none" if adaptation is None and workload.adapter is None else adaptation
    found = adaptation_for(architecture, asked)
    return build_mapping(found.apply(workload), architecture, found, mapper or OneBlockPerTile())


def has_adapter(module: nn.Module) -> bool:
    """Whether a LoRA adapter or a pool of them acts on `module`; raises WorkloadError for one of
    another kind.
    """
    return bool(adapters_in_use(module) or pooled_layers(module))


def check_adapter(workload: Workload, mapping: Mapping, module: nn.Module) -> None:
    """Raise MappingError where a workload and the model that is to run as it do not agree.

    A workload with an adapter may be run without one where a switch of adapters writes nothing.
    Numbers on columns are run by an adaptation that has them, which prices them.
    """
    numbered = column_layers(module)
    if numbered and getattr(adaptation_of(mapping), "columns", None) is None:
        path, layer = next(iter(numbered.items()))
        raise MappingError(
            f"{path} has a {layer.columns.kind} on its columns, which adaptation "
            f"{mapping.adaptation.name!r} has no registers for: choose that which it was trained "
            "for (xbm: gates, xma: shifts, xma2: scales)."
        )
    if not isinstance(adaptation_of(mapping), NarrowDelta) and (deltas := delta_layers(module)):
        raise MappingError(
            f"{next(iter(deltas))} has a difference beside its weight, which adaptation "
            f"{mapping.adaptation.name!r} has no arrays for: choose delta."
        )
    given = has_adapter(module)
    if given and workload.adapter is None:
        raise MappingError(
            f"an adapter was given, but workload {workload.name!r} was traced without one: name "
            "the model instead of the workload file, or trace it with the adapter."
        )
    if not given and workload.adapter is not None and switched(mapping, *two_tasks(workload)):
        raise MappingError(
            f"workload {workload.name!r} has a rank-{workload.adapter.rank} adapter, the model "
            "that is to run it has none: give the adapter's directory, or run the base model "
            "alone (adaptation none)."
        )


@dataclass(frozen=True, eq=False)
class _AsGiven:
    """A torch model as `Functional.functional` takes it."""

    module: nn.Module
    mapping: Mapping

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters in use."""
        return adapters_in_use(self.module)

    def merged(self) -> nn.Module:
        """A copy with the adapters added into its weights."""
        return merged_copy(self.module).requires_grad_(False).eval()


@checked(TaskError)
def as_mapped(module: nn.Module, mapping: Mapping) -> nn.Module:
    """The model that `mapping` runs: what its adaptation makes of `module`, else `module` itself.

    For `merged` that is a copy with the adapter added into its weights. Raises MappingError where
    the adaptation refuses the model.
    """
    adaptation = adaptation_of(mapping)
    return (
        adaptation.functional(_AsGiven(module, mapping))
        if isinstance(adaptation, Functional)
        else module
    )
