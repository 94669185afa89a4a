"""Tensors by name in and out of files, and whether they belong to a model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from cimsim.errors import TaskError
from cimsim.functional.mode import learning
from cimsim.training.parts import Fusion, LoraShape, Masking, TernaryDelta
from cimsim.training.record import Record, digest_of_weights, dtype_of, load_record

if TYPE_CHECKING:
    from cimsim.tasks.model import TaskModel

SHOWN = 3
Placed: TypeAlias = LoraShape | Masking | Fusion | TernaryDelta
"""Parts of a method that say which modules learn."""


def on_cpu(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as a file takes them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def packed(bits: torch.Tensor) -> torch.Tensor:
    """Zeros and others, eight a byte."""
    return torch.from_numpy(np.packbits(bits.detach().cpu().numpy().astype(bool)))


def unpacked(bits: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """What `packed` made `bits` of, in the shape of `like`."""
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=like.numel())).view_as(like)


def twin(module: nn.Module) -> nn.Module:
    """A copy of the module tree around frozen parameters of the same memory."""
    memory: dict[int, Any] = {id(buffer): buffer for buffer in module.buffers()}
    for parameter in module.parameters():
        memory[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    return copy.deepcopy(module, memory)


def named(path: str, names: Sequence[str]) -> bool:
    """Whether a module's path ends in one of `names`."""
    return any(f".{path}".endswith(f".{name}") for name in names)


def saved_modules(model: TaskModel, part: Placed) -> tuple[str, ...]:
    """The modules that a training of `part` saves whole: those that it names, else the model's."""
    return model.saved if part.saved is None else part.saved


def with_targets(
    model: TaskModel, part: Masking | TernaryDelta, make: Callable[[str, nn.Module], nn.Module]
) -> nn.Module:
    """A twin of the model in training mode, with `make(path, layer)` in the place of each target.

    The saved modules learn. Raises TaskError for targets or saved modules that it does not have.
    """
    targets = model.lora_targets if part.targets is None else part.targets
    saved = saved_modules(model, part)
    check_modules(model, "targets", targets)
    check_modules(model, "saved modules", saved)
    own = twin(model.module)
    for name, layer in list(own.named_modules()):
        if named(name, targets) and not named(name, saved):
            own.set_submodule(name, make(name, layer))
    release(own, saved)
    own.saved_modules = tuple(saved)  # type: ignore[assignment]
    learning(own)
    return own


def fill(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Give the parameters of `model` that `state` has by name their values there."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in state:
                parameter.copy_(state[name])


def release(model: nn.Module, saved: Sequence[str]) -> None:
    """Let the modules `saved` of a twin learn, in memory of their own."""
    for name, module in model.named_modules():
        if named(name, saved):
            for parameter in module.parameters():
                parameter.data = parameter.data.clone()
                parameter.requires_grad_(True)


def check_modules(model: TaskModel, what: str, names: Any) -> None:
    """Raise TaskError for names that no module of `model` has; `what` they are for."""
    if isinstance(names, str):  # a pattern, which PEFT checks
        return
    paths = [f".{path}" for path, _ in model.module.named_modules() if path]
    missing = sorted(n for n in names if not any(path.endswith(f".{n}") for path in paths))
    if missing:
        known = ", ".join(model.lora_targets) or "none"
        raise TaskError(
            f"{what} {', '.join(missing)}: model {model.name!r} has no such module. It was made "
            f"for another model, or the names are misspelt (LoRA targets of this one: {known})."
        )


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file; TaskError for one that is broken or not finite."""
    try:
        found = load(path.read_bytes())
    except OSError as problem:
        other = path.with_suffix(".bin")
        lever = " Save the adapter as safetensors, not as .bin." if other.exists() else ""
        raise TaskError(f"{path}: cannot read the weights: {problem.strerror}.{lever}") from None
    except SafetensorError as problem:
        raise TaskError(
            f"{path}: the file is damaged: {problem}. Copy or train it again."
        ) from None
    for name, tensor in found.items():
        if not bool(torch.isfinite(tensor).all()):
            raise TaskError(f"{path}: {name} holds values that are not finite. Train it again.")
    return found


def check_name(model: TaskModel, path: Path) -> Record | None:
    """The record in `path`, if any; TaskError where it names another model."""
    record = load_record(path)
    if record is not None and record.model != model.name:
        raise TaskError(
            f"{path}: trained for model {record.model!r}, but the model is {model.name!r}: load "
            f"{record.model!r}, or train for this one."
        )
    return record


def check_base(model: TaskModel, path: Path, saved: tuple[str, ...]) -> None:
    """Raise TaskError where the record names another model, or other weights in the same type."""
    record = check_name(model, path)
    if record is None or record.base_dtype != dtype_of(model.module):
        return
    if record.base_sha256 != digest_of_weights(model.module, saved):
        raise TaskError(
            f"{path}: trained on other weights of {model.name!r} (their sha256 began with "
            f"{record.base_sha256[:12]}): use those, or train again."
        )


def check_tensors(
    where: str, given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> None:
    """Raise TaskError, beginning with `where`, with the first names or shapes that differ."""
    wrong = []
    for tensor in [*wanted, *(name for name in given if name not in wanted)]:
        here, there = (_shape(state.get(tensor)) for state in (given, wanted))
        if here != there:
            wrong.append(f"{tensor} is {here} in the file and {there} in the model")
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise TaskError(f"{where}: {'; '.join(wrong[:SHOWN])}{more}.")


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "a number"
