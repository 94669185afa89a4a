"""From a torch model to a Workload: load it, adapt it, trace it, describe it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map
from transformers import PreTrainedConfig, PreTrainedModel

from cimsim.adaptation.layers.plain import without_masks
from cimsim.errors import WorkloadError
from cimsim.frontend.adapter_config import CONFIG_FILE, lora_config, read_adapter
from cimsim.frontend.adapter_counts import describe_adapter
from cimsim.frontend.adapters import (
    adapters_in_use,
    apply_lora,
    put_one_of_pool,
    settle_adapters,
    unwrap,
)
from cimsim.frontend.builder import list_parameters
from cimsim.frontend.experts import check_all_used, has_experts
from cimsim.frontend.forward import check_lengths, check_one_input, has_decoder, is_fixed
from cimsim.frontend.models import build_model, on_meta, read_config, sized
from cimsim.frontend.tracing import Traced, trace_features, trace_fixed, trace_text
from cimsim.ir import Adapter, Workload, make_workload
from cimsim.values.arguments import checked


@checked(WorkloadError)
def trace_model(
    source: str | Path | PreTrainedConfig | nn.Module,
    *,
    prefill: int | None = None,
    decode: int = 0,
    task: str | None = None,
    lora_rank: int | None = None,
    lora_targets: Sequence[str] = (),
    lora_alpha: float | None = None,
    modules_to_save: Sequence[str] = (),
    adapter: str | Path | None = None,
    name: str | None = None,
    image_size: int | None = None,
) -> Workload:
    """Trace a model of the transformers library into a workload, without its weights.

    `source` is a directory with a config.json, a configuration, or a model (left unchanged),
    which may carry a PEFT LoRA adapter. `prefill` tokens are processed at once and give the
    first generated token; `decode` further steps process one token each, step s with
    `prefill` + s tokens in the cache before it. With decode steps each step of either ends with
    the choice of the next token, the largest logit of the last (greedy). With an encoder-decoder
    model the prompt goes to the encoder and the cache of the decoder begins with its start token.
    For images leave `prefill` out: the image fixes it, of the configuration's size or of
    `image_size` pixels a side.

    Raises WorkloadError for a source, an adapter or a length that does not fit, and for an
    operation that cimsim does not know.
    """
    loaded = _load(source, task, adapted=adapter is not None or lora_rank is not None,
                   image_size=image_size)  # fmt: skip
    model = loaded.model
    _adapt(model, lora_rank, lora_targets, lora_alpha, modules_to_save, adapter)
    lora = describe_adapter(model)
    check_one_input(model)
    if is_fixed(model):
        if decode and not has_decoder(model):
            raise WorkloadError(f"decode {decode} was asked of a model that reads images; set 0.")
        check_lengths(model, 1, decode)
        traced = trace_features(model, decode, loaded.buffers)
        tokens = traced.phases[0].tokens
        if prefill not in (None, tokens):
            raise WorkloadError(
                f"prefill {prefill} was asked, but the image size gives {tokens} tokens. Leave "
                "prefill out, or change image_size in the configuration."
                if model.main_input_name == "pixel_values"
                else f"prefill {prefill} was asked, but the encoder always reads {tokens} tokens "
                "(max_source_positions in its configuration). Leave prefill out."
            )
    else:
        if prefill is None:
            raise WorkloadError("the length of the prompt is missing. Set prefill.")
        check_lengths(model, prefill, decode)
        traced = trace_text(model, prefill, decode, loaded.buffers)
    check_all_used(model, traced.parts, traced.phases[0].tokens)
    origin: dict[str, str | int | float | bool] = {
        "source": loaded.label,
        "config_sha256": _digest(model),
        "prefill": traced.phases[0].tokens,
        "decode": decode,
    }
    if task is not None:
        origin["task"] = task
    return _workload(traced, model, lora, name or loaded.label, origin, fixed=is_fixed(model))


@checked(WorkloadError)
def trace_module(
    module: nn.Module, example_inputs: tuple[Any, ...] | Mapping[str, Any], *, name: str
) -> Workload:
    """Trace a plain module, called once with `example_inputs`, into a one-phase workload.

    The module is left unchanged. The phase's token count is the number of rows that most of the
    linear layers see. Raises WorkloadError like `trace_model`.
    """
    twin, real = _twin(module)
    lora = describe_adapter(twin)

    def move(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        moved = leaf.detach().to("meta")
        if not leaf.is_meta:
            real[id(moved)] = leaf.detach().cpu()
        return moved

    given = tree_map(move, dict(enumerate(example_inputs)) if isinstance(example_inputs, tuple)
                     else dict(example_inputs))  # fmt: skip
    positional = [value for key, value in given.items() if isinstance(key, int)]
    named = {key: value for key, value in given.items() if isinstance(key, str)}
    traced = trace_fixed(twin, lambda run: run(*positional, **named), real)
    return _workload(traced, twin, lora, name, {"source": type(module).__name__})


@dataclass(frozen=True)
class _Loaded:
    """A model on the meta device, what to call it, and the numbers of its buffers if known."""

    model: PreTrainedModel
    label: str
    buffers: dict[int, torch.Tensor]


def _load(
    source: str | Path | PreTrainedConfig | nn.Module, task: str | None, *, adapted: bool,
    image_size: int | None,
) -> _Loaded:  # fmt: skip
    if isinstance(source, nn.Module):
        if task is not None:
            raise WorkloadError(f"task {task!r} was given, but a model has its head already.")
        if image_size is not None:
            raise WorkloadError(
                f"image_size {image_size} was given, but a model is built for its own: give its "
                "configuration, or use trace_module with inputs of that size."
            )
        twin, buffers = _twin(source)
        if not isinstance(twin, PreTrainedModel):
            raise WorkloadError(
                f"{type(twin).__name__} is no transformers model. Use trace_module with inputs."
            )
        return _Loaded(twin, type(twin).__name__, buffers)
    if isinstance(source, PreTrainedConfig):
        return _Loaded(build_model(sized(source, image_size), task), source.model_type, {})
    if not adapted and (Path(source) / CONFIG_FILE).is_file():
        raise WorkloadError(
            f"{source}: an adapter lies beside the model ({CONFIG_FILE}), and the model alone was "
            "asked for. Name the directory as the adapter too, or take the file out of it."
        )
    config, untied = read_config(source)
    model = build_model(sized(config, image_size), task, untied=untied)
    return _Loaded(model, Path(source).resolve().name, {})


def _twin(module: nn.Module) -> tuple[nn.Module, dict[int, torch.Tensor]]:
    """`on_meta` of the model inside `module`, with the adapters that act on it and no other.

    Masks, numbers on columns and deltas are left out; of a pool of adapters one is there.
    """
    names = adapters_in_use(module)
    twin, buffers = on_meta(unwrap(module))
    twin = without_masks(twin)
    settle_adapters(twin, names)
    put_one_of_pool(twin)
    return twin, buffers


def _adapt(
    model: nn.Module,
    rank: int | None,
    targets: Sequence[str],
    alpha: float | None,
    modules_to_save: Sequence[str],
    adapter: str | Path | None,
) -> None:
    if rank is None and adapter is None:
        if targets or alpha is not None:
            raise WorkloadError("LoRA targets or alpha were given without a rank. Set lora_rank.")
        return
    if rank is not None and adapter is not None:
        raise WorkloadError("both a LoRA rank and an adapter directory were given; give one.")
    if describe_adapter(model) is not None:
        raise WorkloadError("the model has a LoRA adapter already; a second one was asked for.")
    if adapter is not None:
        apply_lora(model, read_adapter(adapter))
    elif rank is not None:
        apply_lora(model, lora_config(rank, targets, alpha, modules_to_save))


def _digest(model: PreTrainedModel) -> str:
    return hashlib.sha256(model.config.to_json_string().encode()).hexdigest()


def _workload(
    traced: Traced,
    model: nn.Module,
    adapter: Adapter | None,
    name: str,
    origin: dict[str, str | int | float | bool],
    *,
    fixed: bool = True,
) -> Workload:
    if adapter is not None:
        origin |= {
            "lora_rank": adapter.rank,
            "lora_alpha": adapter.alpha,
            "lora_targets": ",".join(adapter.targets),
        }
    if has_experts(model):
        origin["experts"] = "tokens spread evenly"
    origin |= {package: version(package) for package in ("torch", "transformers", "peft")}
    return make_workload(
        name=name,
        origin=origin,
        architecture=type(model).__name__,
        parameters=list_parameters(model, traced.roles, traced.parts),
        adapter=adapter,
        phases=traced.phases,
        tokens_fixed=fixed,
        tokens_max=None if fixed else traced.tokens_max,
    )
