"""The model that a training begins with: a new adapter, an earlier one, or all weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import torch
from torch import nn

from cimsim.adaptation.layers.columns import array_layers, scales_of
from cimsim.adaptation.layers.delta import delta_layers
from cimsim.adaptation.layers.pooled import pooled_layers
from cimsim.errors import TaskError
from cimsim.frontend.adapters import merged_copy, tied_targets
from cimsim.functional.mode import learning
from cimsim.training.adapters import (
    adapted,
    adapter_state,
    load_trained,
    lora_of,
    weights_file,
    whole,
)
from cimsim.training.deltas import delta_state, with_deltas
from cimsim.training.gates import gates_of, put_gates
from cimsim.training.masks import is_masked, mask_state, masked
from cimsim.training.methods import Method
from cimsim.training.parts import Fusion, LoraShape, Masking, TernaryDelta
from cimsim.training.pools import fused, joined, pool_digest
from cimsim.training.tensors import check_tensors
from cimsim.values.arguments import checked

if TYPE_CHECKING:
    from cimsim.tasks.model import TaskModel


@checked(TaskError)
def student(
    model: TaskModel,
    method: Method,
    seed: int = 0,
    start: str | Path | None = None,
    pool: Sequence[str | Path] = (),
) -> nn.Module:
    """What `method` trains, in training mode; `model` is left as it is.

    A method of all weights starts from an adapter merged into them. `pool` are the directories of
    adapters that `fusion` is over; those of `start` if left out. Raises TaskError for a start of
    another rank, scale or place than the method asks for, and for a pool that is missing or that
    the method has no use for.
    """
    if method.fusion is not None:
        return _fused_from(model, method.name, method.fusion, seed, start, pool)
    if pool:
        raise TaskError(
            f"a pool of adapters was given, but method {method.name!r} has none: leave it out, or "
            "choose lora-fusion."
        )
    if method.masking is not None:
        return _masked_from(model, method, method.masking, start)
    if method.difference is not None:
        return _beside_from(model, method.name, method.difference, start)
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


def _fused_from(
    model: TaskModel,
    name: str,
    part: Fusion,
    seed: int,
    start: str | Path | None,
    pool: Sequence[str | Path],
) -> nn.Module:
    fresh = None
    if pool:
        fresh = fused(model, part, joined([lora_of(model, each) for each in pool]), seed)
        if start is None:
            return fresh
    if start is None:
        raise TaskError(
            f"method {name!r} has a pool of frozen adapters, and none was given: name the "
            "directory of each (--pool DIR), or a directory that it left itself (--start)."
        )
    before = load_trained(model, start)
    if not pooled_layers(before):
        raise TaskError(
            f"{start}: holds no pool of adapters, but method {name!r} trains coefficients over "
            "one: start from a directory that such a method left."
        )
    if fresh is not None and pool_digest(fresh) != pool_digest(before):
        raise TaskError(
            f"{start}: has another pool than the adapters given: leave those out, or start anew."
        )
    forms = {(layer.cross, layer.magnitude is not None) for layer in pooled_layers(before).values()}
    if forms != {(part.cross, part.magnitudes)}:
        raise TaskError(
            f"{start}: has other values of cross or magnitudes than method {name!r}: give those "
            "of the start."
        )
    learning(before)
    return before


def _beside_from(
    model: TaskModel, name: str, part: TernaryDelta, start: str | Path | None
) -> nn.Module:  # fmt: skip
    fresh = with_deltas(model, part)
    if start is None:
        return fresh
    before = _holding(model, name, start, "differences", lambda one: bool(delta_layers(one)))
    check_tensors(f"{start}: differs from what method {name!r} trains",
                  delta_state(before), delta_state(fresh))  # fmt: skip
    return _with_values(fresh, before)


def _holding(
    model: TaskModel, name: str, start: str | Path, what: str, has: Callable[[nn.Module], bool]
) -> nn.Module:
    """The model in `start`, which must hold what a method trains."""
    before = load_trained(model, start)
    if not has(before):
        raise TaskError(
            f"{start}: holds no {what}, but method {name!r} trains them: start from a directory "
            "that such a method left."
        )
    return before


def _with_values(fresh: nn.Module, before: nn.Module) -> nn.Module:
    """`fresh` with what learns in it as it is in `before`."""
    own = dict(before.named_parameters())
    with torch.no_grad():
        for key, parameter in fresh.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(own[key])
    return fresh


def _masked_from(
    model: TaskModel, method: Method, part: Masking, start: str | Path | None
) -> nn.Module:  # fmt: skip
    name, fresh = method.name, masked(model, part, method.rewriting)
    if start is None:
        return fresh
    before = _holding(model, name, start, "masks", is_masked)
    own = array_layers(before)
    for path, layer in array_layers(fresh).items():
        if path in own and scales_of(own[path]).chosen.shape == scales_of(layer).chosen.shape:
            scales_of(layer).chosen.copy_(scales_of(own[path]).chosen)
    check_tensors(f"{start}: differs from what method {name!r} masks",
                  mask_state(before), mask_state(fresh))  # fmt: skip
    return _with_values(fresh, before)


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
