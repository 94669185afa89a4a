"""Ternary differences of a task beside frozen weights, in and out of directories.

delta.safetensors holds two bits a weight (not zero, negative) and a scale for each output, and the
modules saved with them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import nn

from cimsim.adaptation.layers.delta import DeltaLinear, delta_layers, ternary
from cimsim.errors import TaskError
from cimsim.files import write_bytes
from cimsim.training.parts import TernaryDelta
from cimsim.training.record import RECORD_FILE, Record, load_record
from cimsim.training.tensors import (
    check_base,
    check_tensors,
    fill,
    on_cpu,
    packed,
    read_tensors,
    saved_modules,
    unpacked,
    with_targets,
)
from cimsim.values.arguments import checked

if TYPE_CHECKING:
    from cimsim.tasks.model import TaskModel

DELTA_FILE = "delta.safetensors"
NONZERO, NEGATIVE, SCALE = "nonzero ", "negative ", "scale "
"""Begin the names of packed bits and of scales [outputs]; the layer's follows."""


@checked(TaskError)
def with_deltas(model: TaskModel, part: TernaryDelta) -> nn.Module:
    """The model with differences of 0 beside its targets, in training mode.

    What learns are differences, and the saved modules, which get memory of their own. Raises
    TaskError for targets that the model does not have or that are not linear.
    """
    return with_targets(model, part, _beside)


def _beside(name: str, layer: nn.Module) -> nn.Module:
    if not isinstance(layer, nn.Linear):
        raise TaskError(
            f"{name} is a {type(layer).__name__}: differences are beside linear layers."
        )
    return DeltaLinear(layer)


def delta_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Bits and scales of the differences, and what learns beside them, by name."""
    state = {}
    layers = delta_layers(model)
    for path, layer in layers.items():
        hard = ternary(layer.difference.detach())
        state[f"{NONZERO}{path}"] = packed(hard != 0)
        state[f"{NEGATIVE}{path}"] = packed(hard < 0)
        state[f"{SCALE}{path}"] = hard.abs().amax(1)
    own = {f"{path}.difference" for path in layers}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name not in own:
            state[name] = parameter.detach()
    return state


@checked(TaskError)
def save_deltas(model: nn.Module, directory: str | Path, record: Record) -> None:
    """Write delta.safetensors and training.json; raises TaskError if a file cannot be written."""
    path = Path(directory)
    write_bytes(path / DELTA_FILE, save(on_cpu(delta_state(model))))
    record.save(path)


@checked(TaskError)
def load_deltas(model: TaskModel, directory: str | Path) -> nn.Module:
    """The differences in `directory` beside the exact model, in evaluation mode.

    Raises TaskError for missing or broken files and for differences of another model.
    """
    path = Path(directory)
    state = read_tensors(path / DELTA_FILE)
    record = load_record(path)
    if record is None or record.method.difference is None:
        raise TaskError(f"{path}: {RECORD_FILE} is missing or of a training without differences.")
    part = record.method.difference
    check_base(model, path, saved_modules(model, part))
    found = with_deltas(model, part)
    check_tensors(f"{path}: made for another model than {model.name!r}", state, delta_state(found))
    fill(found, state)
    with torch.no_grad():
        for name, layer in delta_layers(found).items():
            kept = unpacked(state[f"{NONZERO}{name}"], layer.difference)
            down = unpacked(state[f"{NEGATIVE}{name}"], layer.difference)
            sign = kept.to(layer.difference.dtype) * (1.0 - 2.0 * down)
            layer.difference.copy_(sign * state[f"{SCALE}{name}"][:, None])
    return found.eval()
