"""How each strategy is trained on a task; every number is published (said so) or a choice.

Choices for all: 1,024 examples once in batches of 16 (64 steps), AdamW without weight decay, rate
warmed up over 6 % of the steps and then falling linearly to 0, gradients clipped at a norm of 1,
all heads at one rate.
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
from base import POOL, WORK, accuracy, data, linears, packed, put, upper
from torch import nn
from torch.nn import functional

from cimsim.adaptation.layers.columns import ArrayScales, ColumnLinear, Columns, shape_of
from cimsim.adaptation.layers.masked import WeightMaskedLinear
from cimsim.adaptation.layers.pooled import PooledLinear
from cimsim.tasks import TaskModel
from cimsim.training import LoraShape, Pruning, Schedule, SparseUpdate, adapted
from cimsim.training.gates import gates_of, put_gates, sparsity_loss
from cimsim.training.sparse import chosen, easy_first, fisher, lora_matrices
from cimsim.training.streams import key, step_count, walk

SCHEDULE = Schedule(epochs=1.0, batch=16, learning_rate=1.0, warmup_ratio=0.06)
HEAD_RATE = 1e-2
"""At 2e-3 a head beside a frozen encoder, or beside a pool, has learnt little after 64 steps."""
RANK, ALPHA = 8, 16.0
ROWS = COLUMNS = 64
"""Arrays of halora_rram_sram."""
SCALE_BITS = 24
"""Choice: scales that are as good as real."""
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
    "pruned-faster": 2e-3,
    "fisher-sparse": 4e-3,
}
PRUNING = {
    "pruned-lora": Pruning(rows=ROWS),
    "pruned-faster": Pruning(rows=ROWS, gate_rate=0.3),
}
"""As `cimsim train --method pruned-lora` pulls to the published sparsity, and at three times the
rate of its gates, which come there in 64 steps.
"""
SEEDS_OF = {"pruned-faster": (0,)}
"""Trainings of fewer seeds than the others."""
OWN_RATES = {
    # Published (LoRAFusion): coefficients 0.02, magnitudes 0.005.
    "lora-fusion": {"c": 2e-2, ".magnitude": 5e-3},
    "xma2": {".scores": 5e-3},
    **{strategy: {"theta": part.gate_rate} for strategy, part in PRUNING.items()},
}
COEFFICIENT_PENALTY = 5e-4  # published (LoRAFusion), on the mean absolute coefficient
ARRAYS_REWRITTEN, PROBE = 0.1, (4, 8)
SPARSE = SparseUpdate(share=0.1)
SOURCE_TASK = "sentiment"
"""Whose adapter is what all tasks of fisher-sparse start from."""


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
    return WORK / "trained" / f"{strategy}-{name}-s{seed}.pt"


def read(strategy: str, name: str, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(state_path(strategy, name, seed), weights_only=False)
    return found


def student(strategy: str, name: str, seed: int) -> Student:
    """The model as the training begins."""
    chosen = _chosen_arrays(name, seed) if strategy == "xma2" else {}
    found = Student(formed(strategy, upper(name, seed), name, seed), name, seed)
    for path, flags in chosen.items():
        found.model.get_submodule(path).columns.chosen.copy_(flags)
    if strategy == "fisher-sparse":
        _choose_neurons(found)
    for parameter in _head(found.model):
        parameter.requires_grad_(True)
    return found


def formed(
    strategy: str, task_model: TaskModel, name: str, seed: int, saved: tuple[str, ...] | None = None
) -> nn.Module:
    """`task_model` with the layers of a strategy, as they begin; PEFT keeps modules `saved`."""
    shape = LoraShape(RANK, ALPHA, saved=saved, dora=strategy == "dora")
    if strategy in ("lora", "dora", "fisher-sparse", *PRUNING):
        model = adapted(task_model, shape, seed)
        if strategy in PRUNING:
            put_gates(model, PRUNING[strategy])
        return model
    model = task_model.module
    if strategy == "lora-fusion":
        return _fused(model, name, seed)
    for path, layer in linears(model):
        if strategy == "full":
            layer.weight.requires_grad_(True)
        elif strategy == "piggyback":
            put(model, path, WeightMaskedLinear(layer))
        elif strategy in ("xbm", "xma"):
            kind, bits = ("gate", 1) if strategy == "xbm" else ("shift", 2)
            put(model, path, ColumnLinear(layer, Columns(kind, bits, ROWS, shape_of(layer, ROWS))))
        elif strategy == "xma2":
            scales = ArrayScales(SCALE_BITS, ROWS, COLUMNS, shape_of(layer, ROWS))
            put(model, path, ColumnLinear(layer, scales))
    return model


def _head(model: nn.Module) -> list[nn.Parameter]:
    return [p for n, p in model.named_parameters() if "head" in n and "original_module" not in n]


def _chosen_arrays(name: str, seed: int) -> dict[str, torch.Tensor]:
    """Tier 1 of xma2: arrays whose mask has the largest gradient, over four batches.

    The head learns for four batches before, and goes on meanwhile.
    """
    found = Student(upper(name, seed).module, name, seed)
    model = found.model
    for _, layer in linears(model):
        layer.weight.requires_grad_(True)
    for parameter in _head(model):
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(_head(model), lr=1e-2)
    totals: dict[str, torch.Tensor] = {}
    first, last = PROBE
    for step, batch in walk(data(name).train, SCHEDULE.batch, seed, 0, last):
        model.zero_grad()
        found.loss(batch).backward()
        optimiser.step()
        for path, layer in linears(model) if step >= first else ():
            slope = layer.weight.grad * layer.weight.detach()
            down, across = layer.in_features // ROWS, layer.out_features // COLUMNS
            arrays = slope.view(across, COLUMNS, down, ROWS).sum((1, 3)).T.abs()
            totals[path] = totals.get(path, torch.zeros(())) + arrays
    every = torch.cat([total.flatten() for total in totals.values()]).sort(descending=True).values
    least = every[round(ARRAYS_REWRITTEN * len(every)) - 1]
    return {path: total >= least for path, total in totals.items()}


def _fused(model: nn.Module, name: str, seed: int) -> nn.Module:
    """Coefficients begin Xavier-uniform over (adapters, blocks): published (LoRAFusion)."""
    source = torch.Generator().manual_seed(key(seed, "form"))
    pool = [read("lora", o, seed)["state"] for o in POOL if o != name]
    blocks = len(model.layer)
    bound = math.sqrt(6.0 / (len(pool) + blocks))
    for i in range(blocks):
        drawn = torch.empty(len(pool)).uniform_(-bound, bound, generator=source)
        model.register_parameter(f"c{i}", nn.Parameter(drawn))
    for path, layer in linears(model):
        pairs = [
            tuple(p[f"base_model.model.{path}.lora_{part}.weight"] for part in "AB") for p in pool
        ]
        coefficients = getattr(model, f"c{path.split('.')[1]}")
        put(model, path, PooledLinear(layer, pairs, coefficients, ALPHA / RANK))
    return model


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
    groups: list[dict[str, Any]] = [{"params": head, "peak": HEAD_RATE}]
    for part, rate in OWN_RATES.get(strategy, {}).items():
        named = [n for n in rest if n.startswith(part) or n.endswith(part)]
        groups.append({"params": [rest.pop(n) for n in named], "peak": rate})
    if rest:
        groups.append({"params": list(rest.values()), "peak": RATES[strategy]})
    return [{**group, "lr": group["peak"]} for group in groups]


def _penalty(strategy: str, model: nn.Module) -> torch.Tensor | float:
    if strategy in PRUNING:
        return sparsity_loss(model, PRUNING[strategy])
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
        state |= {f"{path}.theta": gates.theta.detach() for path, gates in gates_of(model).items()}
        return {name: tensor.clone() for name, tensor in state.items()}
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def _shares(strategy: str, state: dict[str, torch.Tensor]) -> dict[str, float]:
    """What is left of weights, columns or channels, or the share of columns that are shifted."""

    def share(end: str, low: float) -> float:
        found = [(v > low).float().flatten() for n, v in state.items() if n.endswith(end)]
        return float(torch.cat(found).mean())

    if strategy in ("xbm", "piggyback"):
        return {"kept": share("scores", 5e-3)}
    if strategy in PRUNING:
        return {"kept": share("theta", 0.0)}
    return {}
