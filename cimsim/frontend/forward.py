"""The forward passes of a workload: one prefill, then decode steps on the growing KV cache."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from cimsim.errors import WorkloadError

CACHE_NAMES = ("cache", "past_key_values")
"""What forward passes call the KV cache, in the order of preference: transformers renamed it."""


Numbers = dict[int, torch.Tensor]
"""The numbers of tensors on the meta device, by identity."""


def _ids(model: PreTrainedModel, tokens: int, numbers: Numbers) -> torch.Tensor:
    """One sequence of `tokens` plain tokens, neither padding nor marks, noted in `numbers`."""
    config = model.config.get_text_config()
    named = (getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos", "sep"))
    marks = {i for given in named for i in (given if isinstance(given, list) else [given])}
    plain = next(i for i in range(len(marks) + 1) if i not in marks)
    ids = torch.zeros((1, tokens), dtype=torch.long, device="meta")
    numbers[id(ids)] = torch.full((1, tokens), plain)
    return ids


def is_fixed(model: PreTrainedModel) -> bool:
    """Whether the model reads pixels or a spectrogram, so that its number of tokens is fixed."""
    return model.main_input_name in ("pixel_values", "input_features")


def check_one_input(model: PreTrainedModel) -> None:
    """Raises WorkloadError for two towers, which read sequences of different lengths."""
    if hasattr(model, "text_model") and hasattr(model, "vision_model"):
        raise WorkloadError(
            f"{type(model).__name__} reads an image and a text, which are two workloads. Name the "
            "task image-feature-extraction or feature-extraction to trace one of its towers."
        )


def has_decoder(model: PreTrainedModel) -> bool:
    """Whether the prompt goes to an encoder and the generated tokens to a decoder."""
    known = inspect.signature(model.forward).parameters
    return bool(model.config.is_encoder_decoder) and "decoder_input_ids" in known


def check_lengths(model: PreTrainedModel, prefill: int, decode: int) -> None:
    """Raises WorkloadError for token counts that no model, or no model of its kind, processes."""
    if prefill < 1 or decode < 0:
        raise WorkloadError(
            f"prefill {prefill} and decode {decode} were asked; a prompt has at least 1 token "
            "and decode at least 0 steps."
        )
    if decode and not model.can_generate():
        raise WorkloadError(
            f"decode {decode} was asked, but {type(model).__name__} generates no tokens. Set "
            "decode to 0 or trace a causal or sequence-to-sequence model."
        )


def check_limit(model: PreTrainedModel, prefill: int, decode: int) -> None:
    """Raises WorkloadError for more tokens than the configuration allows; ALiBi has no limit."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if getattr(config, "alibi", False):
        return
    total = max(prefill, 1 + decode) if has_decoder(model) else prefill + decode
    if limit is not None and total > limit:
        raise WorkloadError(
            f"{total} tokens were asked, but {type(model).__name__} has positions for {limit} "
            "(max_position_embeddings in its configuration). Lower prefill or decode."
        )


def sequence_limit(model: PreTrainedModel, tables: int | None) -> int:
    """The longest sequence for which `model` runs the same operations; 0 where any does.

    It ends at the positions (`tables`: those that are learned), or where a window is full.
    """
    config = model.config.get_text_config()
    names = ("sliding_window", "attention_window", "window_size", "attention_chunk_size")
    limits = [tables, *(getattr(config, name, None) for name in names)]
    if not getattr(config, "alibi", False):
        limits.append(getattr(config, "max_position_embeddings", None))
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=0)


def drive(
    model: PreTrainedModel,
    run: Callable[..., Any],
    prefill: int,
    steps: int,
    ahead: int = 0,
    numbers: Numbers | None = None,
) -> None:
    """Call `run` with the keyword arguments of the prefill and then of `steps` decode steps.

    A model that generates computes only the last token's logits. `ahead` puts that many more
    tokens into the first pass, so the steps are those that come `ahead` steps later. The token
    ids are noted in `numbers`.
    """
    numbers = {} if numbers is None else numbers
    known = inspect.signature(model.forward).parameters
    common: dict[str, Any] = {}
    if model.can_generate():
        common = {
            key: value
            for key, value in (("use_cache", True), ("logits_to_keep", 1))
            if key in known
        }
    output = run(**common, **_first_inputs(model, prefill, ahead, numbers))
    for _ in range(steps):
        inputs = {_cache_name(model, known): _cache_of(model, output)}
        if has_decoder(model):
            inputs["encoder_outputs"] = (output.encoder_last_hidden_state,)
            inputs["decoder_input_ids"] = _ids(model, 1, numbers)
        else:
            inputs["input_ids"] = _ids(model, 1, numbers)
        output = run(**common, **inputs)


def _cache_name(model: PreTrainedModel, known: Collection[str]) -> str:
    for name in CACHE_NAMES:
        if name in known:
            return name
    raise WorkloadError(
        f"{type(model).__name__} takes no KV cache, so decode steps cannot be traced. Set decode "
        "to 0."
    )


def _cache_of(model: PreTrainedModel, output: Mapping[str, Any]) -> Any:
    for name in CACHE_NAMES:
        if output.get(name) is not None:
            return output[name]
    raise WorkloadError(
        f"{type(model).__name__} returned no KV cache, so decode steps cannot be traced. Set "
        "decode to 0."
    )


def _first_inputs(
    model: PreTrainedModel, prefill: int, ahead: int, numbers: Numbers
) -> dict[str, Any]:
    if model.main_input_name == "pixel_values":
        return {"pixel_values": _image(model)}
    if model.main_input_name == "input_features":
        inputs = {"input_features": _spectrogram(model)}
        if has_decoder(model):
            inputs["decoder_input_ids"] = _ids(model, 1 + ahead, numbers)
        return inputs
    if model.main_input_name != "input_ids":
        raise WorkloadError(
            f"{type(model).__name__} reads {model.main_input_name!r}; only token ids, pixels and "
            "the spectrograms of Whisper are made up here. Use trace_module with example inputs."
        )
    if has_decoder(model):
        start = _ids(model, 1 + ahead, numbers)
        return {"input_ids": _ids(model, prefill, numbers), "decoder_input_ids": start}
    return {"input_ids": _ids(model, prefill + ahead, numbers)}


def _spectrogram(model: PreTrainedModel) -> torch.Tensor:
    config = model.config
    bins = getattr(config, "num_mel_bins", None)
    positions = getattr(config, "max_source_positions", None)
    if bins is None or positions is None:
        raise WorkloadError(
            f"{type(model).__name__} reads 'input_features', but its configuration gives no "
            "num_mel_bins and max_source_positions. Use trace_module with example inputs."
        )
    # two frames a position: the second convolution has a stride of 2 (arXiv 2212.04356)
    return torch.zeros((1, bins, 2 * positions), device="meta")


def _image(model: PreTrainedModel) -> torch.Tensor:
    config = model.config
    size = getattr(config, "image_size", None)
    if not size:
        raise WorkloadError(
            f"{type(model).__name__} reads images, but its configuration says not how large they "
            "are. Set image_size, such as 224 (--image-size 224)."
        )
    height, width = (size, size) if isinstance(size, int) else size
    return torch.zeros((1, config.num_channels, height, width), device="meta")
