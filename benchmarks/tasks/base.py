"""The encoder in two parts: blocks that all tasks share, as data, and those that tasks adapt.

Shapes: B sequences, T tokens, H features.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cimsim.tasks import TaskModel, batches, cache_directory, label_count, load_model, load_task
from cimsim.tasks.batching import pad
from cimsim.tasks.task import Example

TOKENS = 16
"""Longest text; what is beyond is cut."""
TRAIN, TEST = 1024, 400
"""The first examples of the fixed split of each task."""
SHARED = 4
"""Blocks, of six, that no task changes."""
POOL = ("sentiment", "editorials", "products", "tweets", "news", "spam")
"""Tasks of which adapters are trained; a pool has those of the five others."""
TASKS = ("products", "tweets", "news", "spam")
"""Tasks that are measured."""
TARGETS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
HEAD_STD = 0.02
WORK: Path = cache_directory() / "benchmark-tasks"


class Upper(nn.Module):
    """The blocks above the shared ones, the mean over tokens and the head."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.config = whole.config
        self.layer = nn.ModuleList(
            copy.deepcopy(block) for block in whole.encoder.encoder.layer[SHARED:]
        )
        self.head = whole.head

    def forward(self, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits from what the shared blocks give [B, T, H] and a mask [B, T]."""
        lowest = torch.finfo(inputs_embeds.dtype).min
        mask = (1.0 - attention_mask[:, None, None, :].to(inputs_embeds.dtype)) * lowest
        states = inputs_embeds
        for block in self.layer:
            states = block(states, mask)
        weight = attention_mask[..., None].to(states.dtype)
        return self.head((states * weight).sum(1) / weight.sum(1))


class Lower(nn.Module):
    """The shared blocks."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(whole.encoder)
        self.encoder.encoder.layer = self.encoder.encoder.layer[:SHARED]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """States [B, T, H]."""
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


@dataclass(frozen=True)
class Data:
    """Examples of a task, and what the shared blocks make of each, [T, H]."""

    train: tuple[Example, ...]
    test: tuple[Example, ...]
    train_states: list[torch.Tensor]
    test_states: list[torch.Tensor]


@cache
def pretrained() -> TaskModel:
    return load_model("minilm")


@cache
def data(name: str) -> Data:
    """The task called `name`; kept in the work folder."""
    path = WORK / f"data-{name}.pt"
    if not path.exists():
        task = load_task(name, load_model("minilm", labels=label_count(name)))
        train = tuple(shortened(e) for e in task.train[:TRAIN])
        test = tuple(shortened(e) for e in task.test[:TEST])
        lower = Lower(pretrained().module).eval()
        found = [states(lower, side)[0] for side in (train, test)]
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save((train, test, *found), path)
    return Data(*torch.load(path, weights_only=False))


def shortened(example: Example) -> Example:
    tokens = example.sequences[0]
    kept = tokens if len(tokens) <= TOKENS else tokens[: TOKENS - 1] + tokens[-1:]
    return Example((kept,), example.label)


def padded(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """The arguments of `Lower`."""
    ids, mask = pad([example.sequences[0] for example in examples], 0)
    return {"input_ids": ids, "attention_mask": mask}


def states(lower: nn.Module, examples: Sequence[Example], chips: int = 1) -> list[Any]:
    """What `lower`, on so many chips side by side, makes of each example; a list for each chip."""
    found: list[list[Any]] = [[None] * len(examples) for _ in range(chips)]
    for batch in batches(examples, 64):
        inputs = padded([examples[i] for i in batch])
        with torch.no_grad():
            made = lower(**{name: tensor.repeat(chips, 1) for name, tensor in inputs.items()})
        for chip, part in enumerate(made.chunk(chips)):
            for i, row in zip(batch, part, strict=True):
                found[chip][i] = row[: len(examples[i].sequences[0])].clone()
    return found


def packed(rows: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The arguments of `Upper` for states of several lengths."""
    longest = max(len(row) for row in rows)
    filled = torch.zeros(len(rows), longest, rows[0].shape[-1])
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        filled[i, : len(row)], mask[i, : len(row)] = row, 1
    return {"inputs_embeds": filled, "attention_mask": mask}


def upper(name: str, seed: int) -> TaskModel:
    """The part that the task `name` adapts, with a new head drawn by `seed`, frozen."""
    whole = pretrained()
    module = Upper(whole.module).eval()
    module.head = nn.Linear(whole.config.hidden_size, label_count(name))
    source = torch.Generator().manual_seed(seed)
    nn.init.normal_(module.head.weight, std=HEAD_STD, generator=source)
    nn.init.zeros_(module.head.bias)
    return replace(whole, module=module.requires_grad_(False), lora_targets=TARGETS)


def linears(module: nn.Module) -> list[tuple[str, nn.Linear]]:
    """The linear layers of the blocks."""
    return [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and name.startswith("layer.")
    ]


def put(module: nn.Module, name: str, layer: nn.Module) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(owner), attribute, layer)


def accuracy(
    model: nn.Module, states_of: Sequence[Sequence[Any]], examples: Sequence[Example]
) -> list[float]:
    """Percent right on each chip, given what the shared blocks on that chip gave."""
    right = torch.zeros(len(states_of))
    for batch in batches(examples, 64):
        rows = [chip[i] for chip in states_of for i in batch]
        with torch.no_grad():
            answers = model(**packed(rows)).argmax(-1).view(len(states_of), len(batch))
        right += (answers == torch.tensor([examples[i].label for i in batch])).float().sum(1)
    return [float(percent) for percent in 100.0 * right / len(examples)]
