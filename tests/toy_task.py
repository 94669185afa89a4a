"""A task that a tiny BERT classifier solves perfectly: random tokens, labelled by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import analog
import peft
import torch
from torch import nn
from transformers import BertConfig

from cimsim.accuracy import Trials, evaluate
from cimsim.spec import Architecture
from cimsim.tasks.classifier import SentenceClassifier
from cimsim.tasks.model import TaskModel
from cimsim.tasks.task import Example

VOCABULARY = 40
TARGETS = ("query", "value", "dense")


class Tokenizer:
    """What a model asks of its tokeniser."""

    pad_token_id = 0
    model_max_length = 64


@dataclass(frozen=True)
class ToyTask:
    """Classification; every pass pads its sequences to the longest of them."""

    train: tuple[Example, ...]
    test: tuple[Example, ...]
    name: str = "toy"
    metric: str = "accuracy"

    def scores(self, model: nn.Module, examples: Sequence[Example], draws: int = 1) -> torch.Tensor:
        longest = max(len(e.sequences[0]) for e in examples)
        ids = torch.zeros((len(examples), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, example in enumerate(examples):
            tokens = torch.tensor(example.sequences[0])
            ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        logits = model(ids.repeat(draws, 1), attention_mask=mask.repeat(draws, 1))
        return logits.view(draws, len(examples), -1)

    def values(self, scores: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        labels = torch.tensor([e.label for e in examples])
        return (scores.argmax(-1) == labels).double()

    def summary(self, values: torch.Tensor, examples: Sequence[Example]) -> list[float]:
        return [100.0 * float(value) for value in values.mean(1)]


def sequences(count: int, seed: int) -> list[tuple[int, ...]]:
    source = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 9, (count,), generator=source).tolist()
    return [tuple(torch.randint(1, VOCABULARY, (n,), generator=source).tolist()) for n in lengths]


def model() -> TaskModel:
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=64, initializer_range=0.2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = SentenceClassifier(config, 2, seed=1).eval()
    balance(module, module.head)
    return TaskModel("toy", "encoder", module, Tokenizer(), TARGETS, ("head",), "a toy")


def adapter(base: TaskModel, folder: Path, *, seed: int = 1, rank: int = 2) -> Path:
    """A PEFT adapter directory for `base`, of random weights."""
    import copy

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = peft.LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS),
            modules_to_save=["head"], init_lora_weights=False,
        )  # fmt: skip
        adapted: Any = peft.get_peft_model(copy.deepcopy(base.module), config).eval()
        balance(adapted, adapted.base_model.model.head.modules_to_save["default"])
        adapted.save_pretrained(folder)
    return folder


def task(module: nn.Module, tests: int = 120, trains: int = 40) -> ToyTask:
    """Examples whose labels are what `module` says, half of them 1."""
    made = [
        [Example((tokens,), 0) for tokens in sequences(count, seed)]
        for count, seed in ((trains, 1), (tests, 2))
    ]
    unlabelled = ToyTask(tuple(made[0]), tuple(made[1]))
    found = []
    with torch.no_grad():
        for examples in made:
            logits = torch.cat([unlabelled.scores(module, [e])[0] for e in examples])
            found.append([
                Example(e.sequences, int(row.argmax()))
                for e, row in zip(examples, logits, strict=True)
            ])  # fmt: skip
    return ToyTask(tuple(found[0]), tuple(found[1]))


def balance(module: nn.Module, head: nn.Linear) -> None:
    """Set the bias of `head` such that `module` gives both answers equally often."""
    blank = ToyTask((), tuple(Example((t,), 0) for t in sequences(200, 3)))
    with torch.no_grad():
        scores = torch.cat([blank.scores(module, [e])[0] for e in blank.test])
        head.bias[1] -= (scores[:, 1] - scores[:, 0]).median()


def evaluated(task: Any, model: nn.Module, mapping: Any, chips: Architecture, **given: Any) -> Any:
    """`evaluate` with the fields of its trials and the parts of its hardware by name."""
    own = {name: given.pop(name) for name in ("calibration", "progress") if name in given}
    parts = {name: given.pop(name) for name in analog.PARTS & given.keys()}
    trials = Trials(**given)
    hardware = analog.tiles(chips, trials.devices[0], **parts) if parts else None
    return evaluate(task, model, mapping, chips, trials, hardware=hardware, **own)


def machine(**rram: Any) -> Architecture:
    """16x16 tiles with LoRA on SRAM."""
    return analog.machine(**rram).model_copy(update={"adaptation": "lora-sram"})
