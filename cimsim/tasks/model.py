"""A digital model that tasks are run on, and what belongs to it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from transformers import PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from cimsim.values.display import brief

Kind = Literal["encoder", "causal"]
HALORA_TARGETS = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")
"""Layers that HaLoRA adapts in a Llama (arXiv 2502.19747); gate and output projection are not."""


@brief
@dataclass(frozen=True, eq=False)
class TaskModel:
    """A digital model in evaluation mode, without adapter, and what belongs to it.

    `lora_targets` are names of linear layers as PEFT takes them; `saved` the modules that are
    trained whole and saved with an adapter; `note` is what to print beside results.
    """

    name: str
    kind: Kind
    module: nn.Module
    tokenizer: Any
    lora_targets: tuple[str, ...]
    saved: tuple[str, ...] = ()
    note: str = ""

    @property
    def config(self) -> PreTrainedConfig:
        """The configuration of the transformers library."""
        config: PreTrainedConfig = self.module.config  # type: ignore[assignment]
        return config

    @property
    def labels(self) -> int:
        """Labels that the head of a classifier tells apart."""
        labels: Any = self.config.num_labels
        return int(labels)

    @property
    def pad(self) -> int:
        """Token id to fill up with; masks make its value irrelevant."""
        found = self.tokenizer.pad_token_id
        return 0 if found is None else int(found)

    @property
    def takes_token_types(self) -> bool:
        """Whether the module is told which of two texts a token belongs to, as BERT is.

        MiniLM's sentence encoder was trained without.
        """
        known = inspect.signature(self.module.forward).parameters
        return "token_type_ids" in known and "token_type_ids" in self.tokenizer.model_input_names

    @property
    def max_tokens(self) -> int:
        """Longest sequence that the model takes."""
        limits = (
            getattr(self.config.get_text_config(), "max_position_embeddings", None),
            self.tokenizer.model_max_length,
        )
        return min(int(limit) for limit in limits if limit is not None)


def lora_targets(module: nn.Module, saved: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names, as PEFT takes them, of the linear layers in the repeated blocks of `module`.

    All of them, but for a Llama those that HaLoRA adapts. Names are as short as they can be
    without meaning a layer outside the blocks; modules in `saved` do not count.
    """
    linear = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | Conv1D)]
    linear = [n for n in linear if n.split(".")[0] not in saved]
    inside = [n for n in linear if any(part.isdigit() for part in n.split("."))]
    ends = {n.rpartition(".")[2] for n in inside}
    if set(HALORA_TARGETS) <= ends:
        return HALORA_TARGETS
    outside = [n.split(".") for n in linear if n not in inside]
    found = set()
    for name in inside:
        parts = name.split(".")
        length = 1
        while length < len(parts) and any(o[-length:] == parts[-length:] for o in outside):
            length += 1
        found.add(".".join(parts[-length:]))
    return tuple(sorted(found))
