"""LoRA adapters and whole models in and out of directories, in PEFT's format.

Models handed in are never changed: adapters go on a twin whose frozen weights are the very same
memory.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import torch
from safetensors.torch import save
from torch import nn

from cimsim.errors import TaskError, WorkloadError
from cimsim.files import write_bytes, write_text
from cimsim.frontend.adapter_config import CONFIG_FILE, read_adapter, task_heads
from cimsim.frontend.adapter_counts import describe_adapter
from cimsim.frontend.adapters import lora_layers
from cimsim.frontend.quiet import quietly
from cimsim.functional.mode import learning
from cimsim.training.deltas import DELTA_FILE, load_deltas
from cimsim.training.gates import GATES_FILE, gate_state, load_gates
from cimsim.training.masks import MASKS_FILE, load_masks
from cimsim.training.parts import LoraShape
from cimsim.training.pools import FUSION_FILE, Lora, load_fusion
from cimsim.training.record import Record
from cimsim.training.streams import key, own_randomness
from cimsim.training.tensors import (
    check_base,
    check_modules,
    check_name,
    check_tensors,
    on_cpu,
    read_tensors,
    saved_modules,
    twin,
)
from cimsim.values.arguments import checked

if TYPE_CHECKING:
    from cimsim.tasks.model import TaskModel

ADAPTER_FILE, MODEL_FILE = "adapter_model.safetensors", "model.safetensors"


@checked(TaskError)
def adapted(model: TaskModel, shape: LoraShape, seed: int = 0) -> peft.PeftModel:
    """A new adapter on the exact model, in training mode; its first values follow from `seed`.

    Raises TaskError for targets or saved modules that the model does not have.
    """
    config = peft.LoraConfig(
        r=shape.rank,
        lora_alpha=_tidy(shape.alpha),
        lora_dropout=shape.dropout,
        target_modules=list(model.lora_targets if shape.targets is None else shape.targets),
        modules_to_save=list(saved_modules(model, shape)) or None,
        use_dora=shape.dora,
    )
    found = _put_on(model, config, seed)
    learning(found)
    return found


def whole(model: TaskModel) -> nn.Module:
    """A copy of the model with all its weights trainable, in training mode."""
    own: nn.Module = copy.deepcopy(model.module)
    for parameter in own.parameters():
        parameter.requires_grad_(True)
    learning(own)
    return own


@checked(TaskError)
def save_adapter(model: peft.PeftModel, directory: str | Path, record: Record) -> None:
    """Write adapter_model.safetensors, adapter_config.json and training.json, each whole or not.

    PEFT reads the directory as it is. Raises TaskError if a file cannot be written.
    """
    path = Path(directory)
    config = model.peft_config["default"]
    settings = {name: _plain(value) for name, value in config.to_dict().items()}
    settings |= {"base_model_name_or_path": record.model, "inference_mode": True}
    write_bytes(path / ADAPTER_FILE, save(on_cpu(adapter_state(model))))
    if gates := gate_state(model):
        write_bytes(path / GATES_FILE, save(gates))
    text = json.dumps(settings, indent=2, sort_keys=True)
    write_text(path / CONFIG_FILE, text + "\n")
    record.save(path)


@checked(TaskError)
def load_adapter(model: TaskModel, directory: str | Path) -> peft.PeftModel:
    """The adapter in `directory` on the exact model, in evaluation mode.

    Any LoRA adapter that PEFT wrote as safetensors will do. Raises TaskError for missing or
    broken files, for a setting that is not modelled (`cimsim.frontend.adapter_config`) and for an
    adapter of another model, with the tensors that differ.
    """
    path = Path(directory)
    config = _read_config(path)
    state = read_tensors(path / ADAPTER_FILE)
    check_base(model, path, tuple(config.modules_to_save or ()))
    found = _place_for(model, path, config, state)
    wanted = adapter_state(found)
    state = _without_base(path, state, wanted, found)
    check_tensors(f"{path}: made for another model than {model.name!r}", state, wanted)
    _own_memory(found, state)
    with quietly():
        peft.set_peft_model_state_dict(found, state)
    load_gates(found, path)
    return found.eval()


@checked(TaskError)
def lora_of(model: TaskModel, directory: str | Path) -> Lora:
    """A, B and scaling of the plain LoRA adapter in `directory`, by layer of `model`.

    Modules saved with it, such as the head of its task, are left out. Raises TaskError like
    `load_adapter`, and for an adapter that is more than plain LoRA.
    """
    path = Path(directory)
    config = _read_config(path)
    if config.use_dora or config.lora_bias or config.bias != "none" or (path / GATES_FILE).exists():
        raise TaskError(
            f"{path}: has magnitudes, biases or gates: a pool is made of plain LoRA adapters."
        )
    check_base(model, path, tuple(config.modules_to_save or ()))
    state = read_tensors(path / ADAPTER_FILE)
    given = {name: tensor for name, tensor in state.items() if ".lora_" in name}
    config.modules_to_save = None
    found = _place_for(model, path, config, given)
    wanted = adapter_state(found)
    check_tensors(f"{path}: made for another model than {model.name!r}", given, wanted)
    with quietly():
        peft.set_peft_model_state_dict(found, given)
    return {
        name: (
            layer.lora_A["default"].weight.detach(),
            layer.lora_B["default"].weight.detach(),
            float(layer.scaling["default"]),
        )
        for name, layer in lora_layers(found.get_base_model())
    }


def _place_for(
    model: TaskModel, path: Path, config: peft.LoraConfig, state: Mapping[str, torch.Tensor]
) -> peft.PeftModel:
    """An adapter as `config` says, in which the tensors of a directory find their places."""
    _check_ranks(path, config, state)
    try:
        return _put_on(model, config, 0)
    except TaskError as problem:
        raise TaskError(f"{path}: {problem}") from None


def _check_ranks(path: Path, config: peft.LoraConfig, state: Mapping[str, torch.Tensor]) -> None:
    """Raise TaskError for a rank beyond every size in the file, before memory is asked for it."""
    rank = max([config.r, *(config.rank_pattern or {}).values()])
    largest = max((extent for tensor in state.values() for extent in tensor.shape), default=0)
    if rank > largest:
        raise TaskError(
            f"{path}: {CONFIG_FILE} has rank {rank}, the tensors of {ADAPTER_FILE} have no more "
            f"than {largest} rows or columns: the files are of different adapters."
        )


def _without_base(
    path: Path,
    given: dict[str, torch.Tensor],
    wanted: Mapping[str, torch.Tensor],
    model: peft.PeftModel,
) -> dict[str, torch.Tensor]:
    """`given` without the base model's own weights, which PEFT saves with an adapted head.

    Raises TaskError where they have other values than the model's.
    """
    base = dict(model.named_parameters(remove_duplicate=False))
    brought = [name for name in given if name in base and name not in wanted]
    for name in brought:
        own, other = base[name].detach(), given[name]
        if own.shape == other.shape and not torch.equal(own, other.to(own)):
            raise TaskError(
                f"{path}: brings weights of the base model, and {name} has other values than the "
                "model's. Use the model that the adapter was trained on."
            )
    same = {name for name in brought if base[name].shape == given[name].shape}
    return {name: tensor for name, tensor in given.items() if name not in same}


def _own_memory(model: peft.PeftModel, state: Mapping[str, torch.Tensor]) -> None:
    """Give what is loaded in place of base weights (biases) memory apart from the base model's."""
    for name, parameter in model.named_parameters():
        if name in state:
            parameter.data = parameter.data.clone()


@checked(TaskError)
def save_whole(model: nn.Module, directory: str | Path, record: Record) -> None:
    """Write model.safetensors with every weight, and training.json."""
    path = Path(directory)
    write_bytes(path / MODEL_FILE, save(on_cpu(_whole_state(model))))
    record.save(path)


@checked(TaskError)
def load_whole(model: TaskModel, directory: str | Path) -> nn.Module:
    """A copy of the model with the weights in `directory`, in evaluation mode.

    Raises TaskError like `load_adapter`.
    """
    path = Path(directory)
    state = read_tensors(path / MODEL_FILE)
    check_name(model, path)
    found = whole(model)
    own = _whole_state(found)
    check_tensors(f"{path}: made for another model than {model.name!r}", state, own)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])
    return found.eval()


def weights_file(path: Path) -> Path:
    """The file of weights in a directory: that of an adapter unless there are only others."""
    if not (path / CONFIG_FILE).exists():
        for name in (MASKS_FILE, FUSION_FILE, DELTA_FILE, MODEL_FILE):
            if (path / name).exists():
                return path / name
    return path / ADAPTER_FILE


@checked(TaskError)
def load_trained(model: TaskModel, directory: str | Path) -> nn.Module:
    """What a training left in `directory`, on the model: an adapter, masks, a pool, differences;
    or a whole model.
    """
    path = Path(directory)
    loaders = {
        MODEL_FILE: load_whole,
        MASKS_FILE: load_masks,
        FUSION_FILE: load_fusion,
        DELTA_FILE: load_deltas,
        ADAPTER_FILE: load_adapter,
    }
    return loaders[weights_file(path).name](model, path)


def adapter_state(model: peft.PeftModel) -> dict[str, torch.Tensor]:
    """Tensors of the adapter and of modules saved with it, by their names in PEFT's files."""
    # Without `False` PEFT looks for the base model's configuration on the network.
    with quietly():
        state: dict[str, torch.Tensor] = peft.get_peft_model_state_dict(
            model, save_embedding_layers=False
        )
    return state


def _whole_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and kept buffer once, though it may have several names."""
    state: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        state.setdefault(id(tensor), (name, tensor))
    return {name: tensor.detach() for name, tensor in state.values()}


def _put_on(model: TaskModel, config: peft.LoraConfig, seed: int) -> peft.PeftModel:
    check_modules(model, "targets", config.target_modules)
    heads = task_heads(config)
    needed = [name for name in config.modules_to_save or () if name not in heads]
    check_modules(model, "saved modules", needed)
    # PEFT's wrappers for tasks pass on arguments that not every model takes.
    config.task_type = None
    put = twin(model.module)
    with own_randomness(put), quietly():
        torch.manual_seed(key(seed, "adapter"))
        try:
            found = peft.get_peft_model(put, config)
            describe_adapter(found)
        except WorkloadError as problem:
            raise TaskError(str(problem)) from None
        except Exception as problem:
            raise TaskError(f"the adapter does not fit model {model.name!r}: {problem}") from None
    # PEFT notes where the base model was loaded from, which is a path of this machine.
    found.peft_config["default"].base_model_name_or_path = model.name
    return found


def _read_config(path: Path) -> peft.LoraConfig:
    try:
        return read_adapter(path)
    except WorkloadError as problem:
        raise TaskError(str(problem)) from None


def _tidy(number: float) -> Any:
    return int(number) if float(number).is_integer() else number


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return value
