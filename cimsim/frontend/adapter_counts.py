"""What an adapter is worth in values: counted as PEFT trains and saves them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel

from cimsim.errors import WorkloadError
from cimsim.frontend.adapters import adapters_in_use, configs_of, lora_layers, names_used, unwrap
from cimsim.frontend.builder import lora_role
from cimsim.frontend.graph import clean
from cimsim.ir import Adapter

_COUNTED_APART = {"lora_A", "lora_B", "original_module", "modules_to_save"}
"""Parts of the paths of parameters that are not a bias of the model's own."""


def describe_adapter(model: nn.Module) -> Adapter | None:
    """The LoRA adapter that acts on `model`; raises WorkloadError like `adapters_in_use`.

    Values count as PEFT trains and saves them: A and B with a bias of B, and magnitudes,
    are the adapter's, modules that are trained whole and biases of the model's own are saved with
    it. Rank and alpha are those of the first layer of the largest rank. Several adapters that act
    at once count together.
    """
    names = adapters_in_use(model)
    if not names:
        _check_bare(model)
        return None
    acts: list[tuple[str, str, Any]] = []
    saved: list[nn.Parameter] = []
    for name in names:
        own = [(path, part) for path, part in lora_layers(model) if name in names_used(part)]
        if not own:
            raise WorkloadError(f"adapter {name!r} acts on no layer of the model.")
        config = configs_of(model)[name]
        _check_tie(model, name, config)
        saved += _saved_values(model, name, config.bias, [part for _, part in own])
        acts += [(name, path, part) for path, part in own]
    adapter, _, largest = max(acts, key=lambda act: int(act[2].r[act[0]]))
    return Adapter(
        rank=int(largest.r[adapter]),
        alpha=float(largest.lora_alpha[adapter]),
        branches=len(names),
        kind="dora" if configs_of(model)[names[0]].use_dora else "lora",
        targets=tuple(sorted({path.rpartition(".")[2] for _, path, _ in acts})),
        parameter_count=_count(t for name, _, part in acts for t in _factors(part, name)),
        saved_parameter_count=_count(saved),
    )


def _check_bare(model: nn.Module) -> None:
    """Raises WorkloadError for layers that are named as PEFT's but are not an adapter of PEFT."""
    for raw, _ in model.named_parameters():
        if lora_role(clean(raw)) is not None:
            raise WorkloadError(
                f"{raw} is named as a LoRA factor of PEFT, but no adapter of PEFT acts on the "
                "model, so what it adapts is not known. Put it on with PEFT, or rename the layer."
            )


def _check_tie(model: nn.Module, name: str, config: Any) -> None:
    """Raises WorkloadError where PEFT was to keep a tie of embedding and head and did not."""
    inner: Any = unwrap(model)
    if not getattr(config, "ensure_weight_tying", False) or not isinstance(inner, PreTrainedModel):
        return
    table, head = (getattr(inner, f"get_{end}_embeddings")() for end in ("input", "output"))
    if isinstance(table, ModulesToSaveWrapper) and not isinstance(head, ModulesToSaveWrapper):
        original: Any = table.original_module
        if head is not None and head.weight is original.weight:
            raise WorkloadError(
                f"adapter {name!r}: ensure_weight_tying is True, but PEFT does not find the tie of "
                f"embedding and head of {type(inner).__name__} again. Train with "
                "ensure_weight_tying=False."
            )


def _factors(layer: Any, name: str) -> Iterator[nn.Parameter]:
    yield from layer.lora_A[name].parameters()
    yield from layer.lora_B[name].parameters()
    if name in layer.lora_magnitude_vector:
        yield from layer.lora_magnitude_vector[name].parameters()


def _saved_values(
    model: nn.Module, name: str, bias: str, layers: Iterable[Any]
) -> list[nn.Parameter]:
    """Parameters of modules saved with the adapter, and biases of the model that it trains."""
    found = []
    for path, parameter in model.named_parameters():
        own_bias = bias == "all" and _COUNTED_APART.isdisjoint(path.split("."))
        if f".modules_to_save.{name}." in f".{path}" or (own_bias and _is_bias(path)):
            found.append(parameter)
    if bias == "lora_only":
        found += [b for layer in layers if (b := layer.get_base_layer().bias) is not None]
    return found


def _is_bias(path: str) -> bool:
    last = path.rpartition(".")[2]
    if "bias" in path and last != "bias":
        raise WorkloadError(
            f"the adapter has bias='all', and whether PEFT trains {path} for it depends on its "
            "release. Use bias='none' or 'lora_only'."
        )
    return last == "bias"


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum({id(p): p.numel() for p in parameters}.values())
