"""LoRA adapters: put on a model with PEFT, or recognised on one that has them already."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import peft
from torch import nn
from transformers.pytorch_utils import Conv1D

from cimsim.errors import WorkloadError
from cimsim.files import load_json
from cimsim.workload import Adapter

_FIELDS = [
    "r",
    "lora_alpha",
    "target_modules",
    "exclude_modules",
    "lora_dropout",
    "bias",
    "modules_to_save",
    "use_rslora",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
]
_UNMODELLED = ("use_dora", "megatron_config", "trainable_token_indices", "layer_replication")


def lora_config(
    rank: int, targets: Sequence[str], alpha: float | None, modules_to_save: Sequence[str] = ()
) -> peft.LoraConfig:
    """A LoRA configuration; `targets` are module name endings as PEFT takes them."""
    if rank < 1:
        raise WorkloadError(f"LoRA rank {rank} was asked; a rank is at least 1.")
    if not targets:
        raise WorkloadError(
            "a LoRA rank was given without target modules. Name them, such as q_proj,v_proj."
        )
    return peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,  # type: ignore[arg-type]
        target_modules=list(targets),
        modules_to_save=list(modules_to_save) or None,
    )


def read_adapter(directory: str | Path) -> peft.LoraConfig:
    """The LoRA configuration in `directory`/adapter_config.json; adapter weights are not read."""
    path = Path(directory) / "adapter_config.json"
    if not path.is_file():
        raise WorkloadError(
            f"{directory}: no adapter_config.json there. Give a local PEFT adapter directory."
        )
    data = load_json(path, WorkloadError, "adapter configuration")
    if not isinstance(data, dict) or data.get("peft_type") != "LORA":
        kind = data.get("peft_type") if isinstance(data, dict) else None
        raise WorkloadError(f"{path}: peft_type is {kind!r}; only LORA adapters are supported.")
    for key in _UNMODELLED:
        if data.get(key):
            raise WorkloadError(f"{path}: {key} is set, which cimsim does not model. Remove it.")
    rank = data.get("r")
    if not isinstance(rank, int) or rank < 1:
        raise WorkloadError(f"{path}: r is {rank!r}; a rank is a whole number of at least 1.")
    if not data.get("target_modules"):
        raise WorkloadError(f"{path}: target_modules names no module.")
    known = {key: data[key] for key in _FIELDS if data.get(key) is not None}
    return peft.LoraConfig(**known)


def apply_lora(model: nn.Module, config: peft.LoraConfig) -> None:
    """Put the adapter of `config` on `model`, which is on the meta device.

    Raises WorkloadError if a target names no module of the model: the adapter belongs to
    another one.
    """
    _check_targets(model, config.target_modules)
    config.fan_in_fan_out = _targets_conv1d(model, config.target_modules)
    try:
        with warnings.catch_warnings():
            # A tied head matters when an adapter is merged or saved; neither happens here.
            warnings.filterwarnings("ignore", message=r"Model has `tie_word_embeddings=True`")
            peft.inject_adapter_in_model(config, model, low_cpu_mem_usage=True)
    except Exception as problem:
        raise WorkloadError(f"the adapter does not fit {type(model).__name__}: {problem}") from None
    model.eval()


def _matches(name: str, targets: Collection[str]) -> set[str]:
    return {t for t in targets if name == t or name.endswith(f".{t}")}


def _check_targets(model: nn.Module, targets: Any) -> None:
    if isinstance(targets, str):
        return
    found: set[str] = set()
    for name, _ in model.named_modules():
        found |= _matches(name, targets)
    missing = sorted(set(targets) - found)
    if missing:
        raise WorkloadError(
            f"the adapter targets {', '.join(missing)}, of which {type(model).__name__} has no "
            "module: it was made for another model, or the names are misspelt."
        )


def _targets_conv1d(model: nn.Module, targets: Any) -> bool:
    if isinstance(targets, str):
        return False
    return any(
        isinstance(module, Conv1D) and _matches(name, targets)
        for name, module in model.named_modules()
    )


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a PeftModel, or `model` itself."""
    if isinstance(model, peft.PeftModel):
        inner: nn.Module = model.get_base_model()
        return inner
    return model


def describe_adapter(model: nn.Module) -> Adapter | None:
    """The LoRA adapter found on `model`; raises WorkloadError if several are active at once."""
    layers = [m for m in model.modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
    if not layers:
        return None
    active = {name for layer in layers for name in layer.active_adapters}
    if len(active) != 1:
        raise WorkloadError(
            f"{len(active)} adapters are active ({', '.join(sorted(active))}); activate one."
        )
    name = active.pop()
    used = [layer for layer in layers if name in layer.r]
    for layer in used:
        _check_layer(layer, name)
    own = re.compile(rf"\.lora_[AB]\.{re.escape(name)}\.")
    parameters = dict(model.named_parameters())
    mine = {path: tensor for path, tensor in parameters.items() if own.search(path)}
    saved = [t for path, t in parameters.items() if f".modules_to_save.{name}." in path]
    return Adapter(
        rank=max(int(layer.r[name]) for layer in used),
        alpha=float(used[0].lora_alpha[name]),
        targets=tuple(sorted({own.split(path)[0].rpartition(".")[2] for path in mine})),
        parameter_count=sum(tensor.numel() for tensor in mine.values()),
        saved_parameter_count=sum(tensor.numel() for tensor in saved),
    )


def _check_layer(layer: Any, name: str) -> None:
    """Raises WorkloadError for an adapted layer that is more than x W + x A B."""
    base = layer.get_base_layer()
    if not isinstance(base, nn.Linear | Conv1D):
        raise WorkloadError(
            f"the adapter is on a {type(base).__name__}; only linear layers are supported. Take "
            "it off the target modules."
        )
    if getattr(layer, "use_dora", {}).get(name):
        raise WorkloadError("the adapter uses DoRA, which cimsim does not model. Use plain LoRA.")
