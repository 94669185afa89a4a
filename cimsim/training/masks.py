"""Trained masks over the weights of a model, or on their columns, in and out of directories.

masks.safetensors holds eight mask bits a byte, other numbers as their codes, a bit for each array
and the weights of those that are rewritten, and the modules saved with them; the model that masks
are put on shares the memory of its frozen weights with the one handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import nn

from cimsim.adaptation.layers.columns import (
    ArrayScales,
    ChannelGates,
    ColumnLayer,
    Columns,
    array_layers,
    column_layers,
    numbered_layer,
    scales_of,
    shape_of,
)
from cimsim.adaptation.layers.masked import SCORE, MaskedLayer, masked_layer
from cimsim.errors import MappingError, TaskError
from cimsim.files import write_bytes
from cimsim.training.parts import Masking, Rewriting
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

MASKS_FILE = "masks.safetensors"
PACKED, CODES = "mask ", "codes "
"""Begin the names of packed bits and of codes; the name of the scores follows."""
ARRAYS, WEIGHTS = "arrays ", "weights "
"""Begin the names of a bit an array, and of the weights of those chosen; the layer's follows."""
BYTE_BITS = 8


@checked(TaskError)
def masked(model: TaskModel, part: Masking, rewriting: Rewriting | None = None) -> nn.Module:
    """The model with masks on its targets that change nothing yet, in training mode.

    What learns are scores of the masks, and the saved modules, which get memory of their own; with
    `rewriting` also weights of arrays, of which none is chosen yet. Raises TaskError for targets or
    saved modules that the model does not have, and for masks on columns that do not say how many
    rows a block has.
    """
    return with_targets(model, part, lambda name, layer: _masked(name, layer, part, rewriting))


def _masked(
    name: str, layer: nn.Module, part: Masking, rewriting: Rewriting | None
) -> nn.Module:  # fmt: skip
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        raise TaskError(
            f"{name} is a {type(layer).__name__}: masks are on linear layers and convolutions."
        )
    if part.kind == "weight":
        return masked_layer(layer)
    if part.rows is None:
        raise TaskError(
            f"kind={part.kind} has a number for each column of an array: say how many rows an "
            "array has (rows=64), or give the architecture."
        )
    shape = shape_of(layer, part.rows)
    if rewriting is None:
        columns = Columns(part.kind, part.bits, part.rows, shape, zero=part.zero)
    elif rewriting.columns is None:
        raise TaskError(
            "arrays are rewritten whole: say how many weights a row of an array holds "
            "(columns=64), or give the architecture."
        )
    else:
        columns = ArrayScales(part.bits, part.rows, rewriting.columns, shape)
    try:
        return numbered_layer(layer, columns)
    except MappingError as problem:
        raise TaskError(f"{name}: {problem}") from None


def is_masked(model: nn.Module) -> bool:
    """Whether a layer of `model` has masks over its weights or on their columns."""
    return any(isinstance(m, MaskedLayer | ColumnLayer) for m in model.modules())


def kept_share(model: nn.Module) -> float | None:
    """The share of weights, columns or channels that the masks of `model` let through, if any."""
    let: list[torch.Tensor] = []
    for module in model.modules():
        if isinstance(module, MaskedLayer):
            let.append(module.mask.detach() != 0)
        elif isinstance(module, ChannelGates):
            let.append(module.codes[0] != 0)
        elif isinstance(module, Columns):
            let.append(module.numbers().detach() != 0)
    return float(torch.cat([part.flatten() for part in let]).double().mean()) if let else None


def column_factors(model: nn.Module) -> torch.Tensor | None:
    """All shifts (as factors) and scales on columns of `model`, flat, if it has some.

    Without those of arrays that are rewritten, which have none.
    """
    found = []
    for layer in column_layers(model).values():
        if layer.columns.kind != "gate":
            numbers = layer.columns.numbers().detach()
            found.append(numbers[layer.columns.numbered])
    return torch.cat(found) if found else None


@checked(TaskError)
def save_masks(model: nn.Module, directory: str | Path, record: Record) -> None:
    """Write masks.safetensors and training.json; raises TaskError if a file cannot be written."""
    path = Path(directory)
    write_bytes(path / MASKS_FILE, save(on_cpu(mask_state(model))))
    record.save(path)


@checked(TaskError)
def load_masks(model: TaskModel, directory: str | Path) -> nn.Module:
    """The masks in `directory` on the exact model, in evaluation mode.

    Scores are as at the start of a training where a weight is let through, else 0. Raises
    TaskError for missing or broken files and for masks of another model or other layers.
    """
    path = Path(directory)
    state = read_tensors(path / MASKS_FILE)
    record = load_record(path)
    if record is None or record.method.masking is None:
        raise TaskError(f"{path}: {RECORD_FILE} is missing or of a training without masks.")
    part = record.method.masking
    check_base(model, path, saved_modules(model, part))
    found = masked(model, part, record.method.rewriting)
    _choose(found, state)
    check_tensors(f"{path}: made for another model than {model.name!r}", state, mask_state(found))
    fill(found, state)
    with torch.no_grad():
        for name, layer in found.named_modules():
            if isinstance(layer, MaskedLayer):
                bits = unpacked(state[f"{PACKED}{name}.scores"], layer.scores)
                layer.scores.copy_(bits * SCORE)
            elif isinstance(layer, Columns):
                layer.set_codes(_codes_of(state, f"{name}.scores", layer))
        for name, owner in array_layers(found).items():
            owner.weight[scales_of(owner).places(owner.weight)] = state[f"{WEIGHTS}{name}"]
    return found.eval()


def _choose(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Choose the arrays that a file names; what does not fit is for `check_tensors` to say."""
    for name, layer in array_layers(model).items():
        chosen, bits = scales_of(layer).chosen, state.get(f"{ARRAYS}{name}")
        if bits is not None and bits.shape == packed(chosen).shape:
            chosen.copy_(unpacked(bits, chosen))


def _codes_of(state: Mapping[str, torch.Tensor], name: str, columns: Columns) -> torch.Tensor:
    if columns.bits == 1:
        return unpacked(state[f"{PACKED}{name}"], columns.scores)
    return state[f"{CODES}{name}"]


def mask_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Packed mask bits, codes of other numbers, and what learns beside them, by name."""
    state, scores = {}, set()
    for name, layer in array_layers(model).items():
        scales, weight = scales_of(layer), layer.weight.detach()
        state[f"{ARRAYS}{name}"] = packed(scales.chosen)
        state[f"{WEIGHTS}{name}"] = weight[scales.places(weight)]
        scores.add(f"{name}.weight")
    for name, module in model.named_modules():
        if not isinstance(module, MaskedLayer | Columns):
            continue
        path = f"{name}.scores"
        scores.add(path)
        if isinstance(module, MaskedLayer):
            state[f"{PACKED}{path}"] = packed(module.mask)
        elif module.bits == 1:
            state[f"{PACKED}{path}"] = packed(module.codes)
        else:
            kind = torch.int8 if module.bits < BYTE_BITS else torch.int32
            state[f"{CODES}{path}"] = module.codes.to(kind)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name not in scores:
            state[name] = parameter.detach()
    return state
