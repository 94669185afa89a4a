"""The model that a training begins with: a new adapter, an earlier one, or all weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import torch
from torch import nn

from cimsim.errors import TaskError
from cimsim.frontend.adapters import merged_copy, tied_targets
from cimsim.functional.mode import learning
from cimsim.training.adapters import (
    adapted,
    adapter_state,
    load_trained,
    weights_file,
    whole,
)
from cimsim.training.gates import gates_of, put_gates
from cimsim.training.masks import is_masked, mask_state, masked
from cimsim.training.methods import Method
from cimsim.training.parts import LoraShape, Masking
from cimsim.training.tensors import check_tensors
from cimsim.values.arguments import checked

if TYPE_CHECKING:
    from cimsim.tasks.model import TaskModel


@checked(TaskError)
def student(
    model: TaskModel, method: Method, seed: int = 0, start: str | Path | None = None
) -> nn.Module:
    """What `method` trains, in training mode; `model` is left as it is.

    A method without an adapter starts from an adapter merged into the weights. Raises TaskError
    for a start of another rank, scale or place than the method asks for.
    """
    if method.masking is not None:
        return _masked_from(model, method.name, method.masking, start)
    if method.lora is None:
        return whole(model) if start is None else _whole_from(model, start)
    fresh = adapted(model, method.lora, seed)
    if method.pruning is not None:
        put_gates(fresh, method.pruning)
    if start is None:
        return fresh
    before = load_trained(model, start)
    if not isinstance(before, peft.PeftModel):
        raise TaskError(
            f"{start}: holds a whole model, but method {method.name!r} trains an adapter: start "
            "from an adapter, or use a method that trains all weights."
        )
    _check_scale(method.name, method.lora, before.peft_config["default"], start)
    state = adapter_state(before)
    check_tensors(f"{start}: differs from what method {method.name!r} adapts",
                  state, adapter_state(fresh))  # fmt: skip
    peft.set_peft_model_state_dict(fresh, state)
    own = gates_of(before)
    for path, gates in gates_of(fresh).items():
        if path in own:
            gates.set_codes(own[path].codes)
    return fresh


def _masked_from(
    model: TaskModel, name: str, part: Masking, start: str | Path | None
) -> nn.Module:  # fmt: skip
    fresh = masked(model, part)
    if start is None:
        return fresh
    before = load_trained(model, start)
    if not is_masked(before):
        raise TaskError(
            f"{start}: holds no masks, but method {name!r} trains them: start from a directory "
            "that such a method left."
        )
    check_tensors(f"{start}: differs from what method {name!r} masks",
                  mask_state(before), mask_state(fresh))  # fmt: skip
    with torch.no_grad():
        own = dict(before.named_parameters())
        for key, parameter in fresh.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(own[key])
    return fresh


def start_digest(start: str | Path) -> str:
    """sha256 of the file of weights in `start`."""
    return hashlib.sha256(weights_file(Path(start)).read_bytes()).hexdigest()


def _check_scale(
    name: str, shape: LoraShape, config: Any, start: str | Path
) -> None:  # fmt: skip
    if (config.r, config.lora_alpha) != (shape.rank, shape.alpha):
        raise TaskError(
            f"{start}: the adapter has rank {config.r} and alpha {config.lora_alpha:g}, method "
            f"{name!r} asks for rank {shape.rank} and alpha {shape.alpha:g}: set "
            f"rank={config.r},alpha={config.lora_alpha:g}, or start from another."
        )
    for field in ("use_rslora", "rank_pattern", "alpha_pattern"):
        if getattr(config, field):
            raise TaskError(
                f"{start}: the adapter has {field} {getattr(config, field)!r}, so its scale is "
                f"not alpha / rank as in method {name!r}: start from another."
            )


def _whole_from(model: TaskModel, start: str | Path) -> nn.Module:
    before = load_trained(model, start)
    if isinstance(before, peft.PeftModel):
        if tied := tied_targets(before):
            raise TaskError(
                f"{start}: adapts {tied[0]}, whose weight is another module's too; merged into "
                "all weights it would change both. Start from an adapter of other layers."
            )
        # An adapter shares memory with its base: merge it into a copy.
        before = merged_copy(before)
    for parameter in before.parameters():
        parameter.requires_grad_(True)
    learning(before)
    return before
