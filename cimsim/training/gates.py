"""Gates on the channels of adapted weights, beside a LoRA adapter, in and out of directories.

gates.safetensors holds a bit for each output channel of each adapted layer, eight a byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn

from cimsim.adaptation.layers.columns import ChannelGates, ColumnLinear, hardened, shape_of
from cimsim.errors import TaskError
from cimsim.training.parts import Pruning
from cimsim.training.record import RECORD_FILE, load_record
from cimsim.training.tensors import check_tensors, packed, read_tensors, unpacked

GATES_FILE = "gates.safetensors"


def put_gates(model: peft.PeftModel, part: Pruning) -> None:
    """Gate the channels of every adapted weight of `model`; all gates begin open.

    Raises TaskError for adapted layers that are not linear, and without rows.
    """
    if part.rows is None:
        raise TaskError(
            "gates are on the columns of arrays: say how many rows an array has (gate_rows=64), or "
            "give the architecture."
        )
    for path, layer in _adapted(model).items():
        base = layer.get_base_layer()
        if not isinstance(base, nn.Linear):
            raise TaskError(f"{path} is a {type(base).__name__}: gates are on linear layers.")
        shape = shape_of(base, part.rows)
        gates = ChannelGates(part.rows, shape, part.gate_start, part.gate_temperature)
        layer.base_layer = ColumnLinear(base, gates)


def gates_of(model: nn.Module) -> dict[str, ChannelGates]:
    """The gates of `model` by path."""
    return {path: m for path, m in model.named_modules() if isinstance(m, ChannelGates)}


def open_share(model: nn.Module) -> torch.Tensor:
    """The share of channels whose theta is above 0, with the slope of sigmoid(theta)."""
    theta = torch.cat([gates.theta for gates in gates_of(model).values()])
    return hardened(torch.sigmoid(theta), theta > 0).mean()


def sparsity_loss(model: nn.Module, part: Pruning) -> torch.Tensor:
    """`gate_penalty` times the distance of the share of open channels from 1 - `sparsity`."""
    return part.gate_penalty * (open_share(model) - (1.0 - part.sparsity)).abs()


def gate_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Packed bits of the channels, by the path of their gates."""
    return {path: packed(gates.codes[0]) for path, gates in gates_of(model).items()}


def load_gates(model: peft.PeftModel, path: Path) -> None:
    """Put the gates in the directory `path` on `model`, where there are some.

    Raises TaskError for a damaged file, and for gates of other layers.
    """
    if not (path / GATES_FILE).exists():
        return
    record = load_record(path)
    if record is None or record.method.pruning is None:
        raise TaskError(f"{path}: {RECORD_FILE} is missing or of a training without gates.")
    state = read_tensors(path / GATES_FILE)
    put_gates(model, record.method.pruning)
    check_tensors(f"{path}: gates of another model", state, gate_state(model))
    for name, gates in gates_of(model).items():
        gates.set_codes(unpacked(state[name], gates.theta)[None])


def _adapted(model: peft.PeftModel) -> dict[str, Any]:
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
