"""A model of the user's own, from a directory of the transformers library."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from cimsim.errors import TaskError, WorkloadError
from cimsim.frontend.adapter_config import CONFIG_FILE
from cimsim.frontend.models import read_config
from cimsim.frontend.quiet import quietly
from cimsim.tasks.model import Kind, TaskModel, lora_targets

_TOKENISERS = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model")


def load_directory(path: Path, labels: int, seed: int) -> TaskModel:
    """The model in the directory `path`, as `load_model` describes it; raises TaskError."""
    try:
        config, _ = read_config(path)
    except WorkloadError as problem:
        raise TaskError(str(problem)) from None
    kind, own_head = _kind(path, config)
    if (path / CONFIG_FILE).is_file():
        raise TaskError(
            f"{path}: an adapter lies beside the model ({CONFIG_FILE}). Keep it in a directory of "
            "its own and name that as the adapter."
        )
    if not any(path.glob("*.safetensors")):
        raise TaskError(
            f"{path}: no *.safetensors there. Save the weights with save_pretrained; pickled "
            "weights are never opened."
        )
    tokenizer = _tokenizer(path)
    auto = "ForCausalLM" if kind == "causal" else "ForSequenceClassification"
    if kind == "encoder":
        if not own_head:
            config.num_labels = labels
        if config.pad_token_id is None:
            config.pad_token_id = tokenizer.pad_token_id
    module, new = _load(path, config, getattr(transformers, f"AutoModel{auto}"), seed)
    _require_pad(path, tokenizer, module)
    saved = _heads(module, new) if kind == "encoder" else ()
    lost = [n for n in new if own_head or not set(n.split(".")) & set(saved)]
    if lost:
        raise TaskError(
            f"{path}: the weights lack {', '.join(sorted(lost)[:5])}, which "
            f"{type(module).__name__} needs: config.json and weights are of different models."
        )
    note = "the head had no weights and was drawn anew" if new else ""
    targets = lora_targets(module, saved)
    return TaskModel(path.resolve().name, kind, module, tokenizer, targets, saved, note)


def _kind(path: Path, config: PreTrainedConfig) -> tuple[Kind, bool]:
    """Kind of the model, and whether its own head is the one in use."""
    given = config.architectures or [""]
    names = [str((given[0] if isinstance(given, list | tuple) else given) or "")]
    if names[0] == MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type):
        _require_positions(path, getattr(transformers, names[0]))
        return "causal", True
    classifier = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(config.model_type)
    if classifier is None or (names[0] and not hasattr(transformers, names[0])):
        raise TaskError(
            f"{path}: architecture {names[0] or config.model_type!r} is neither a causal language "
            "model nor an encoder that can classify. Name another directory."
        )
    return "encoder", names[0] == classifier


def _require_positions(path: Path, model_class: Any) -> None:
    if "logits_to_keep" not in inspect.signature(model_class.forward).parameters:
        raise TaskError(
            f"{path}: {model_class.__name__} cannot compute logits at chosen positions "
            "(logits_to_keep). Name another causal model."
        )


def _tokenizer(path: Path) -> Any:
    if not any((path / name).is_file() for name in _TOKENISERS):
        raise TaskError(
            f"{path}: no tokeniser there (none of {', '.join(_TOKENISERS)}). Save it beside the "
            "weights with tokenizer.save_pretrained."
        )
    try:
        with quietly():
            found = transformers.AutoTokenizer.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
    except Exception as problem:
        raise TaskError(f"{path}: transformers cannot read the tokeniser: {problem}") from None
    longest = found.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, int | float) or longest < 1:
        raise TaskError(
            f"{path}: model_max_length of the tokeniser is to be a number of tokens, got "
            f"{longest!r}: correct tokenizer_config.json."
        )
    return found


def _require_pad(path: Path, tokenizer: Any, module: Any) -> None:
    """Raise TaskError where batches are filled up with a token that the model does not know."""
    pad, rows = tokenizer.pad_token_id, module.get_input_embeddings().weight.shape[0]
    if pad is not None and pad >= rows:
        raise TaskError(
            f"{path}: the tokeniser's pad token {tokenizer.pad_token!r} has number {pad}, the "
            f"model knows tokens 0 to {rows - 1}: name one, or resize the embedding."
        )


def _load(path: Path, config: PreTrainedConfig, auto: Any, seed: int) -> tuple[Any, list[str]]:
    """The module in evaluation mode, and the names of weights that the checkpoint lacks."""
    try:
        with quietly(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module, info = auto.from_pretrained(
                path, config=config, local_files_only=True, trust_remote_code=False,
                use_safetensors=True, dtype=torch.float32, output_loading_info=True,
            )  # fmt: skip
    except Exception as problem:
        raise TaskError(f"{path}: transformers cannot load the model: {problem}") from None
    return module.eval(), list(info["missing_keys"])


def _heads(module: Any, new: list[str]) -> tuple[str, ...]:
    """Parts behind the encoder, and a pooler without weights."""
    behind = [
        name
        for name, child in module.named_children()
        if name != module.base_model_prefix and _has_weights(child)
    ]
    return tuple(behind + (["pooler"] if any(".pooler." in name for name in new) else []))


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
