"""Trained masks over the weights of a model, in and out of directories.

masks.safetensors holds eight mask bits a byte and the modules saved with them; the model that
masks are put on shares the memory of its frozen weights with the one handed in.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from cimsim.adaptation.layers.masked import SCORE, WeightMaskedLinear
from cimsim.errors import TaskError
from cimsim.files import write_bytes
from cimsim.training.parts import Masking
from cimsim.training.record import RECORD_FILE, Record, load_record
from cimsim.training.tensors import (
    check_base,
    check_modules,
    check_tensors,
    on_cpu,
    read_tensors,
    twin,
)
from cimsim.values.arguments import checked

if TYPE_CHECKING:
    from cimsim.tasks.model import TaskModel

MASKS_FILE = "masks.safetensors"
PACKED = "mask "
"""Begins the name of packed bits; the name of the scores follows."""


@checked(TaskError)
def masked(model: TaskModel, part: Masking) -> nn.Module:
    """The model with a mask that lets every weight of its targets through, in training mode.

    What learns are scores of the masks, and the saved modules, which get memory of their own.
    Raises TaskError for targets or saved modules that the model does not have.
    """
    targets = model.lora_targets if part.targets is None else part.targets
    saved = model.saved if part.saved is None else part.saved
    check_modules(model, "targets", targets)
    check_modules(model, "saved modules", saved)
    own = twin(model.module)
    for name, layer in list(own.named_modules()):
        if not _named(name, targets) or _named(name, saved):
            continue
        if not isinstance(layer, nn.Linear):
            raise TaskError(f"{name} is a {type(layer).__name__}: masks are on linear layers.")
        owner, _, attribute = name.rpartition(".")
        setattr(own.get_submodule(owner), attribute, WeightMaskedLinear(layer))
    for name, module in own.named_modules():
        if _named(name, saved):
            for parameter in module.parameters():
                parameter.data = parameter.data.clone()
                parameter.requires_grad_(True)
    return own.train()


def is_masked(model: nn.Module) -> bool:
    """Whether a layer of `model` has a mask over its weights."""
    return any(isinstance(module, WeightMaskedLinear) for module in model.modules())


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
    saved = model.saved if part.saved is None else part.saved
    check_base(model, path, tuple(saved))
    found = masked(model, part)
    check_tensors(f"{path}: made for another model than {model.name!r}", state, mask_state(found))
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if name in state:
                parameter.copy_(state[name])
            elif f"{PACKED}{name}" in state:
                bits = np.unpackbits(state[f"{PACKED}{name}"].numpy(), count=parameter.numel())
                parameter.copy_(torch.from_numpy(bits).view_as(parameter) * SCORE)
    return found.eval()


def mask_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Packed mask bits, and the parameters that learn beside them, by name."""
    state = {}
    for name, module in model.named_modules():
        if isinstance(module, WeightMaskedLinear):
            bits = module.mask.detach().cpu().numpy().astype(bool)
            state[f"{PACKED}{name}.scores"] = torch.from_numpy(np.packbits(bits))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and f"{PACKED}{name}" not in state:
            state[name] = parameter.detach()
    return state


def _named(path: str, names: tuple[str, ...]) -> bool:
    return any(f".{path}".endswith(f".{name}") for name in names)
