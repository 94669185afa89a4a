"""LoRA adapters: put on a model with PEFT, or recognised on one that has them already."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Collection, Iterator
from operator import attrgetter
from typing import Any

import peft
from peft.tuners.lora import LoraModel
from peft.tuners.lora.dora import DoraLinearLayer
from peft.tuners.lora.layer import Conv2d as LoraConv2d
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.variants import DoraLinearVariant
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from cimsim.adaptation.layers.pooled import pooled_layers
from cimsim.errors import WorkloadError
from cimsim.frontend.adapter_config import (
    check_settings,
    lora_config,
    read_adapter,
    task_heads,
)
from cimsim.frontend.dora import fold_dora
from cimsim.frontend.quiet import quietly

__all__ = [
    "adapters_in_use",
    "apply_lora",
    "configs_of",
    "lora_config",
    "lora_layers",
    "merged_copy",
    "names_used",
    "put_one_of_pool",
    "read_adapter",
    "settle_adapters",
    "several_act",
    "tied_targets",
    "unwrap",
]


def apply_lora(model: nn.Module, config: peft.LoraConfig) -> None:
    """Put the adapter of `config` on `model`, which is on the meta device.

    Raises WorkloadError if a target names no module of the model: the adapter belongs to
    another one.
    """
    _check_names(model, "targets", config.target_modules)
    needed = [name for name in config.modules_to_save or () if name not in task_heads(config)]
    _check_names(model, "saves", needed)
    try:
        with quietly():
            peft.inject_adapter_in_model(config, model, low_cpu_mem_usage=True)
    except Exception as problem:
        raise WorkloadError(f"the adapter does not fit {type(model).__name__}: {problem}") from None
    fold_dora(model)
    model.eval()


def put_one_of_pool(model: nn.Module) -> None:
    """Leave one adapter of each pool on `model`, which is on the meta device.

    How many there are, and what is between them, is said by the adaptation `lora-fusion`; modules
    that learnt beside the coefficients (`saved_modules`) are saved with the adapter.
    """
    pools = pooled_layers(model)
    if not pools:
        return
    ranks = {re.escape(path): layer.rank for path, layer in pools.items()}
    alphas: dict[str, Any] = {
        re.escape(path): layer.rank * layer.scaling for path, layer in pools.items()
    }
    config = peft.LoraConfig(
        r=max(ranks.values()),
        target_modules="|".join(ranks),
        rank_pattern=ranks,
        alpha_pattern=alphas,
        modules_to_save=list(getattr(model, "saved_modules", ())) or None,
    )
    for path, layer in pools.items():
        model.set_submodule(path, layer.base_layer)
    apply_lora(model, config)


def _check_names(model: nn.Module, what: str, names: Any) -> None:
    if isinstance(names, str):
        return
    paths = [f".{name}" for name, _ in model.named_modules() if name]
    missing = sorted(n for n in names if not any(path.endswith(f".{n}") for path in paths))
    if missing:
        raise WorkloadError(
            f"the adapter {what} {', '.join(missing)}, of which {type(model).__name__} has no "
            "module: it was made for another model, or the names are misspelt."
        )


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a PeftModel, or `model` itself; raises WorkloadError for one in another."""
    if isinstance(model, peft.PeftModel):
        inner: nn.Module = model.get_base_model()
        if isinstance(inner, peft.PeftModel):
            raise WorkloadError(
                "a PeftModel is wrapped in a PeftModel; put a second adapter on with add_adapter, "
                "and activate those that are to act."
            )
        return inner
    return model


def adapters_in_use(model: nn.Module) -> tuple[str, ...]:
    """Names of the LoRA adapters that act on `model`, whose branches add up, in their order.

    None of those that are disabled or not active. Raises WorkloadError, by name, for whatever else
    PEFT put on the model: a kind that is not LoRA, a setting or a layer that is not modelled,
    modules of several adapters that take each other's place.
    """
    parts = {path: part for path, part in model.named_modules() if _is_peft(part)}
    used = tuple(dict.fromkeys(name for part in parts.values() for name in names_used(part)))
    configs = configs_of(model)
    for name in used:
        if name not in configs:
            raise WorkloadError(
                f"adapter {name!r} has no peft_config on the model, so what it changes is not "
                "known. Put it on the model with PEFT."
            )
        where = f"adapter {name!r}"
        check_settings(configs[name].to_dict(), where, type(configs[name]))
        if len(used) > 1 and configs[name].use_dora:
            raise WorkloadError(
                f"adapters {', '.join(used)} are active and {name!r} is DoRA, whose magnitudes "
                "belong to one adapter alone. Activate it without the others."
            )
    idle = {other for other in configs if other not in used}
    for path, part in parts.items():
        if not _is_idle(model, path, idle):
            _check_part(path, part, used)
    return used


def several_act(model: nn.Module) -> bool:
    """Whether more than one adapter acts on the layers of `model`."""
    layers = (part for part in model.modules() if isinstance(part, BaseTunerLayer))
    return len({name for layer in layers for name in names_used(layer)}) > 1


def _is_idle(model: nn.Module, path: str, idle: Collection[str]) -> bool:
    """Whether a part belongs to one of the adapters `idle`, as PEFT keeps them: by name."""
    names = path.split(".")
    return any(
        name in idle and isinstance(model.get_submodule(".".join(names[:i])), nn.ModuleDict)
        for i, name in enumerate(names)
    )


def _is_peft(module: nn.Module) -> bool:
    return isinstance(module, BaseTunerLayer) or type(module).__module__.split(".")[0] == "peft"


def names_used(part: Any) -> Collection[str]:
    """Adapters that act in a part of PEFT's, merged into the weights or beside them."""
    if isinstance(part, peft.PeftModel):
        learns_prompt = getattr(part.active_peft_config, "is_prompt_learning", False)
        return [part.active_adapter] if learns_prompt else []
    if not isinstance(part, BaseTunerLayer | ModulesToSaveWrapper) or part.disable_adapters:
        return []
    if isinstance(part, ModulesToSaveWrapper):
        return [name for name in part.active_adapters if name in part.modules_to_save]
    if part.merged:
        return list(part.merged_adapters)
    known = part._get_available_adapters()
    return [name for name in part.active_adapters if name in known]


def configs_of(model: nn.Module) -> dict[str, Any]:
    """Configurations by adapter; PEFT leaves them on the model that it changes."""
    found: dict[str, Any] = {}
    for part in model.modules():
        configs = vars(part).get("peft_config") or vars(part).get("_peft_config")
        if isinstance(configs, dict):
            found = {**configs, **found}
    return found


def _check_part(path: str, part: Any, used: tuple[str, ...]) -> None:
    """Raises WorkloadError for a part of PEFT's that is more than x W + x A B."""
    if isinstance(part, BaseTunerLayer):
        for name in names_used(part):
            _check_layer(part, name)
        return
    if isinstance(part, ModulesToSaveWrapper) and len(own := names_used(part)) > 1:
        raise WorkloadError(
            f"adapters {', '.join(own)} are active and each saves its own {path}, of which only "
            "one can be in place. Activate one of them, or adapters that save no modules."
        )
    tuner = isinstance(part, BaseTuner) and (not used or type(part) is LoraModel)
    known = type(part) in (ModulesToSaveWrapper, DoraLinearLayer)
    if not (tuner or isinstance(part, peft.PeftModel) or known):
        raise WorkloadError(
            f"the model carries PEFT's {type(part).__name__}, which cimsim does not model. Use "
            "LoRA, or the model without the adapter."
        )


def _check_layer(layer: Any, name: str) -> None:
    base = layer.get_base_layer()
    if not isinstance(base, nn.Linear | Conv1D | nn.Conv2d):
        raise WorkloadError(
            f"the adapter is on a {type(base).__name__}; only linear layers and Conv2d are "
            "supported. Take it off the target modules."
        )
    if isinstance(base, nn.Conv2d):
        _check_convolution(base)
    variant = getattr(layer, "lora_variant", {}).get(name)
    dora = isinstance(variant, DoraLinearVariant)
    parts = ("lora_A", "lora_B", *(("lora_magnitude_vector",) if dora else ()))
    more = [n for n in layer.adapter_layer_names
            if n not in parts and name in attrgetter(n)(layer)]  # fmt: skip
    if type(layer) not in (LoraLinear, LoraConv2d) or more or not (variant is None or dora):
        kind = type(layer if variant is None else variant).__name__
        raise WorkloadError(
            f"the adapter has layers of kind {', '.join([kind, *more])}, which cimsim does not "
            "model. Use plain LoRA or DoRA."
        )


def _check_convolution(base: nn.Conv2d) -> None:
    """Raises WorkloadError for a convolution whose branch in PEFT is not its low-rank update."""
    if base.groups > 1:
        raise WorkloadError(
            f"the adapter is on a convolution in {base.groups} groups: its A reads the channels of "
            "all groups, so that A and B are no update of the weight, whose groups do not mix. "
            "Take it off the target modules."
        )
    if any(step != 1 for step in base.dilation) or base.padding_mode != "zeros":
        raise WorkloadError(
            f"the adapter is on a convolution with dilation {base.dilation} and padding mode "
            f"{base.padding_mode!r}, which PEFT's A does not have, so that the branch is another "
            "than the merged weight. Take it off the target modules."
        )


def settle_adapters(model: nn.Module, names: Collection[str]) -> None:
    """Leave on `model` nothing of PEFT's but the adapters `names`, unmerged, where they act.

    What is merged in place is an adapter still: where its branch runs is the machine's to say.
    Weights are not touched, so this is for models without numbers.
    """
    for path, part in list(model.named_modules(remove_duplicate=False)):
        if not isinstance(part, BaseTunerLayer | ModulesToSaveWrapper):
            continue
        used = [name for name in names_used(part) if name in names]
        if not used:
            model.set_submodule(path, _inside(part))
        elif isinstance(part, ModulesToSaveWrapper):
            part.modules_to_save = nn.ModuleDict({n: part.modules_to_save[n] for n in used})
        else:
            layer: Any = part
            layer.merged_adapters = []
            layer.set_adapter(used)
            for other in layer._get_available_adapters() - set(used):
                layer.delete_adapter(other)
    fold_dora(model)
    if not names and "peft_config" in vars(model):
        del model.peft_config


def merged_copy(model: nn.Module) -> nn.Module:
    """A copy of the model inside `model`, the adapters in use added into its weights.

    An adapted head that is tied to the embedding gets a weight of its own.
    """
    adapters_in_use(model)
    found = unwrap(copy.deepcopy(model))
    tied = tied_targets(found)
    for path, part in list(found.named_modules(remove_duplicate=False)):
        used = list(names_used(part))
        if isinstance(part, ModulesToSaveWrapper):
            saved: Any = part.modules_to_save
            found.set_submodule(path, saved[used[0]] if used else part.original_module)
        elif isinstance(part, BaseTunerLayer):
            layer: Any = part
            base = layer.get_base_layer()
            if used and not layer.merged:
                if path in tied:
                    base.weight = nn.Parameter(base.weight.detach().clone())
                layer.merge(adapter_names=used)
            found.set_submodule(path, base)
    return found


def tied_targets(model: nn.Module) -> list[str]:
    """Paths of LoRA layers whose base weight is a parameter of another module too."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    return [
        path for path, layer in lora_layers(model) if uses[id(layer.get_base_layer().weight)] > 1
    ]


def _inside(part: Any) -> nn.Module:
    inner: nn.Module = (
        part.get_base_layer() if isinstance(part, BaseTunerLayer) else part.original_module
    )
    return inner


def lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """PEFT's LoRA layers on `model`, with their paths."""
    for path, part in model.named_modules():
        if isinstance(part, LoraLinear | LoraConv2d):
            yield path, part
