"""How each strategy is trained on a task; every number is published (said so) or a choice.

Choices for all: 1,024 examples once in batches of 16 (64 steps), AdamW without weight decay, rate
warmed up over 6 % of the steps and then falling linearly to 0, gradients clipped at a norm of 1,
heads at a rate of 2e-3 but where
`HEAD_RATES` says otherwise, or one rate for all (`SERIES`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
from base import POOL, TARGETS, WORK, accuracy, data, linears, packed, put, upper
from layers import COLUMNS, ROWS, ChosenArrays, ColumnNumbers, Fused, PrunedLora
from torch import nn
from torch.nn import functional

from cimsim.adaptation.layers.masked import WeightMaskedLinear
from cimsim.training import LoraShape, Schedule, SparseUpdate, adapted
from cimsim.training.sparse import chosen, easy_first, fisher, lora_matrices
from cimsim.training.streams import key, step_count, walk

SCHEDULE = Schedule(epochs=1.0, batch=16, learning_rate=1.0, warmup_ratio=0.06)
HEAD_RATES = {"frozen": 2e-2}
"""2e-3 for the others; a frozen encoder learns nothing with that in 64 steps."""
RANK, ALPHA = 8, 16.0
RATES = {
    "lora": 2e-3,
    "dora": 2e-3,
    "full": 2e-4,
    "frozen": 0.0,
    "piggyback": 1e-3,  # published: 1e-4 over 30 epochs, of which this training has one
    "xbm": 1e-3,
    "xma": 3e-2,
    "xma2": 5e-4,
    "lora-fusion": 0.0,
    "pruned-lora": 2e-3,
    "fisher-sparse": 4e-3,
}
OWN_RATES = {
    # Published (LoRAFusion): coefficients 0.02, magnitudes 0.005.
    "lora-fusion": {"c": 2e-2, ".m": 5e-3},
    "xma2": {".scale": 5e-3},
    "pruned-lora": {"theta": 5e-2},
}
COEFFICIENT_PENALTY = 5e-4  # published (LoRAFusion), on the mean absolute coefficient
GATE_PENALTY = 0.05
ARRAYS_REWRITTEN, PROBE = 0.1, (4, 8)
SPARSE = SparseUpdate(share=0.1)
SOURCE_TASK = "sentiment"
"""Whose adapter is what all tasks of fisher-sparse start from."""


SERIES: dict[str, float] = {}
"""One rate for the heads of all strategies, under "head_rate"; none for the first series."""


def head_rate(strategy: str) -> float:
    return SERIES.get("head_rate", HEAD_RATES.get(strategy, 2e-3))


def series(stem: str) -> str:
    """`stem` with what tells the series from the first one."""
    return f"{stem}-head-{SERIES['head_rate']:g}" if SERIES else stem


@dataclass
class Student:
    """A model in training, and how to draw its batches."""

    model: nn.Module
    name: str
    seed: int
    extra: dict[str, Any] = field(default_factory=dict)
    order: list[int] | None = None
    metric: str = "accuracy"

    def scores(self, model: nn.Module, examples: Any, draws: int = 1) -> torch.Tensor:
        """As a task gives them, [1, B, C]."""
        number = {id(example): i for i, example in enumerate(data(self.name).train)}
        return self.logits([number[id(example)] for example in examples], model)[None]

    def logits(self, batch: list[int], model: nn.Module | None = None) -> torch.Tensor:
        """Of the training examples numbered in `batch`, [B, C]."""
        rows = [data(self.name).train_states[i] for i in batch]
        found: torch.Tensor = (model or self.model)(**packed(rows))
        return found

    def loss(self, batch: list[int]) -> torch.Tensor:
        """Cross entropy of the training examples numbered in `batch`."""
        labels = torch.tensor([data(self.name).train[i].label for i in batch])
        return functional.cross_entropy(self.logits(batch), labels)

    def steps(self) -> Iterator[tuple[int, list[int]]]:
        """Numbers of the steps and of their examples."""
        examples = data(self.name).train
        count = step_count(len(examples), SCHEDULE)
        if self.order is None:
            return walk(examples, SCHEDULE.batch, self.seed, 0, count)
        return easy_first(
            self.order, examples, SPARSE, SCHEDULE.batch, self.seed, 0, count
        )  # fmt: skip


def state_path(strategy: str, name: str, seed: int) -> Path:
    return WORK / series("states") / f"{strategy}-{name}-s{seed}.pt"


def read(strategy: str, name: str, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(state_path(strategy, name, seed), weights_only=False)
    return found


def student(strategy: str, name: str, seed: int) -> Student:
    """The model as the training begins."""
    task_model = upper(name, seed)
    found = Student(task_model.module, name, seed)
    model, source = found.model, torch.Generator().manual_seed(key(seed, "form"))
    if strategy in ("lora", "fisher-sparse"):
        found.model = adapted(task_model, LoraShape(RANK, ALPHA), seed)
    elif strategy == "dora":
        config = peft.LoraConfig(
            r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), modules_to_save=["head"],
            use_dora=True,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(key(seed, "adapter"))
            found.model = peft.get_peft_model(model, config)
    elif strategy == "xma2":
        _choose_arrays(found)
    elif strategy == "lora-fusion":
        _fuse(found, source)
    for layer_name, layer in linears(model):
        if strategy == "full":
            layer.weight.requires_grad_(True)
        elif strategy == "piggyback":
            put(model, layer_name, WeightMaskedLinear(layer))
        elif strategy in ("xbm", "xma"):
            kind = "gate" if strategy == "xbm" else "shift"
            put(model, layer_name, ColumnNumbers(layer, kind))
        elif strategy == "pruned-lora":
            put(model, layer_name, PrunedLora(layer, RANK, ALPHA, source))
    if strategy == "fisher-sparse":
        _choose_neurons(found)
    for parameter in _head(found.model):
        parameter.requires_grad_(True)
    return found


def _head(model: nn.Module) -> list[nn.Parameter]:
    return [p for n, p in model.named_parameters() if "head" in n and "original_module" not in n]


def _choose_arrays(found: Student) -> None:
    """Tier 1 of xma2: arrays whose mask has the largest gradient, over four batches.

    The head learns for four batches before, and is then drawn anew.
    """
    model = found.model
    for _, layer in linears(model):
        layer.weight.requires_grad_(True)
    for parameter in _head(model):
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(_head(model), lr=1e-2)
    totals: dict[str, torch.Tensor] = {}
    first, last = PROBE
    for step, batch in walk(data(found.name).train, SCHEDULE.batch, found.seed, 0, last):
        model.zero_grad()
        found.loss(batch).backward()
        optimiser.step()
        for name, layer in linears(model) if step >= first else ():
            slope = layer.weight.grad * layer.weight.detach()
            down, across = layer.in_features // ROWS, layer.out_features // COLUMNS
            arrays = slope.view(across, COLUMNS, down, ROWS).sum((1, 3)).T.abs()
            totals[name] = totals.get(name, torch.zeros(())) + arrays
    every = torch.cat([total.flatten() for total in totals.values()]).sort(descending=True).values
    least = every[round(ARRAYS_REWRITTEN * len(every)) - 1]
    model.zero_grad()
    for name, layer in linears(model):
        put(model, name, ChosenArrays(layer, totals[name] >= least))
    model.head.load_state_dict(upper(found.name, found.seed).module.head.state_dict())


def _fuse(found: Student, source: torch.Generator) -> None:
    """Coefficients begin Xavier-uniform over (adapters, blocks): published (LoRAFusion)."""
    pool = [read("lora", o, found.seed)["state"] for o in POOL if o != found.name]
    model = found.model
    blocks = len(model.layer)
    bound = math.sqrt(6.0 / (len(pool) + blocks))
    for i in range(blocks):
        drawn = torch.empty(len(pool)).uniform_(-bound, bound, generator=source)
        model.register_parameter(f"c{i}", nn.Parameter(drawn))
    for name, layer in linears(model):
        a, b = (
            torch.stack([p[f"base_model.model.{name}.lora_{part}.weight"] for p in pool])
            for part in "AB"
        )
        coefficients = getattr(model, f"c{name.split('.')[1]}")
        put(model, name, Fused(layer, a, b, coefficients, ALPHA / RANK))


def _choose_neurons(found: Student) -> None:
    start, matrices = read("lora", SOURCE_TASK, found.seed)["state"], lora_matrices(found.model)
    with torch.no_grad():
        for name, parameter in matrices.items():
            parameter.copy_(start[name.replace(".default", "")])
    information = fisher(found.model, found, data(found.name).train, SPARSE.momentum)
    learn = {n: chosen(scores, SPARSE.share) for n, scores in information.neurons.items()}
    for name, parameter in matrices.items():
        rows = learn[name].float()[:, None]
        parameter.register_hook(lambda slope, rows=rows: slope * rows)
    found.order = information.difficulty.argsort(stable=True).tolist()


def _groups(strategy: str, model: nn.Module) -> list[dict[str, Any]]:
    head = _head(model)
    rest = {n: p for n, p in model.named_parameters() if p.requires_grad and "head" not in n}
    groups: list[dict[str, Any]] = [{"params": head, "peak": head_rate(strategy)}]
    for part, rate in OWN_RATES.get(strategy, {}).items():
        named = [n for n in rest if n.startswith(part) or n.endswith(part)]
        groups.append({"params": [rest.pop(n) for n in named], "peak": rate})
    if rest:
        groups.append({"params": list(rest.values()), "peak": RATES[strategy]})
    return [{**group, "lr": group["peak"]} for group in groups]


def _penalty(strategy: str, model: nn.Module) -> torch.Tensor | float:
    if strategy == "pruned-lora":
        thetas = [m.theta for m in model.modules() if isinstance(m, PrunedLora)]
        return GATE_PENALTY * torch.cat([torch.sigmoid(theta) for theta in thetas]).mean()
    if strategy == "lora-fusion":
        found = [p for n, p in model.named_parameters() if n[0] == "c"]
        return COEFFICIENT_PENALTY * torch.cat(found).abs().mean()
    return 0.0


def train(strategy: str, name: str, seed: int) -> None:
    """Train unless that has been done; what was learnt goes to the work folder."""
    path = state_path(strategy, name, seed)
    if path.exists():
        return
    begun = time.process_time()
    found = student(strategy, name, seed)
    model = found.model
    groups = _groups(strategy, model)
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0, foreach=False, fused=False)
    learning = [parameter for group in groups for parameter in group["params"]]
    count, losses = step_count(len(data(name).train), SCHEDULE), []
    model.train()
    for step, batch in found.steps():
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * SCHEDULE.rate(step, count)
        optimiser.zero_grad(set_to_none=True)
        torch.manual_seed(key(seed, "dropout", step))
        loss = found.loss(batch)
        (loss + _penalty(strategy, model)).backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    model.eval()
    state = _state(model)
    digital = accuracy(model, [data(name).test_states], data(name).test)[0]
    extra = {n: b for n, b in model.named_buffers() if n.endswith("chosen")}
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = {"state": state, "extra": extra, "digital": digital, "losses": losses}
    torch.save({**saved, "info": _shares(strategy, state)}, path)
    seconds = time.process_time() - begun
    print(f"{strategy} {name} s{seed}: {digital:.2f} %, {seconds:.1f} s", flush=True)


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    if isinstance(model, peft.PeftModel):
        state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
        return {name: tensor.clone() for name, tensor in state.items()}
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def _shares(strategy: str, state: dict[str, torch.Tensor]) -> dict[str, float]:
    """What is left of weights, columns or channels, or the share of columns that are shifted."""

    def share(end: str, low: float) -> float:
        found = [(v > low).float().flatten() for n, v in state.items() if n.endswith(end)]
        return float(torch.cat(found).mean())

    if strategy in ("xbm", "piggyback"):
        return {"kept": share("scores", 5e-3)}
    if strategy == "pruned-lora":
        return {"kept": share("theta", 0.0)}
    return {}
