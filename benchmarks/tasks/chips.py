"""Accuracy on chips of the machine: cells with its noise, the same three chips for everybody.

Noise is on weights (`Chip.at(converters=False)`): what is in SRAM or registers is exact.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from base import POOL, TOKENS, WORK, Lower, Upper, accuracy, data, linears, pretrained, put, states
from base import upper as upper_of
from layers import Beside, ChosenArrays, ColumnNumbers, OnArrays, WithDelta, ternary
from recipe import ALPHA, RANK, read
from torch import nn

import cimsim
from cimsim.accuracy.placing import mapping_of
from cimsim.frontend import trace_module
from cimsim.functional import program_chip
from cimsim.mapping import Mapping
from cimsim.tasks import label_count

MACHINE = cimsim.machine("halora_rram_sram")
CHIPS = (0, 1, 2)
TRAINED = {
    "frozen": "frozen",
    "full": "full",
    "merged": "lora",
    "lora-sram": "lora",
    "lora-rram": "lora",
    "dora": "dora",
    "lora-fusion": "lora-fusion",
    "xbm": "xbm",
    "xma": "xma",
    "xma2": "xma2",
    "piggyback": "piggyback",
    "pruned-lora": "pruned-lora",
    "fisher-sparse": "fisher-sparse",
    "delta": "full",
}
"""The training behind each strategy."""
SCALE = ALPHA / RANK
PREFIX = "base_model.model."


@cache
def shared_states(name: str) -> list[list[torch.Tensor]]:
    """What the shared blocks on each chip make of the test examples."""
    path = WORK / f"chips-{name}.pt"
    if not path.exists():
        lower = Lower(pretrained().module).eval().requires_grad_(False)
        ones = torch.ones((1, TOKENS), dtype=torch.long)
        traced = trace_module(lower, {"input_ids": ones, "attention_mask": ones}, name="lower")
        chip = program_chip(lower, mapping_of(traced, MACHINE, "none"), MACHINE, seed=CHIPS)
        torch.save(states(chip.at(converters=False), data(name).test, len(CHIPS)), path)
    found: list[list[torch.Tensor]] = torch.load(path, weights_only=False)
    return found


def deployed(strategy: str, name: str, seed: int) -> nn.Module:
    """The adapted blocks as the machine holds them, digital."""
    saved = read(TRAINED[strategy], name, seed)
    state = {key.removeprefix(PREFIX): value for key, value in saved["state"].items()}
    model = upper_of(name, seed).module
    with torch.no_grad():
        model.head.weight.copy_(state["head.weight"])
        model.head.bias.copy_(state["head.bias"])
        for path, layer in linears(model):
            part = {k.removeprefix(f"{path}."): v for k, v in state.items() if k.startswith(path)}
            part |= {"c": state.get(f"c{path.split('.')[1]}"), "path": path, "name": name}
            made = _layer(strategy, layer, part, saved["extra"], seed)
            if made is not layer:
                put(model, path, made.requires_grad_(False))
    return model.eval()


def _layer(
    strategy: str, layer: nn.Linear, part: dict[str, Any], extra: dict[str, Any], seed: int
) -> nn.Module:
    weight = layer.weight
    a, b = part.get("lora_A.weight"), part.get("lora_B.weight")
    if strategy == "merged":
        weight.add_(SCALE * (b @ a))
    elif strategy == "lora-sram":
        return Beside(layer, a, b, SCALE)
    elif strategy == "dora":
        norm = (weight + SCALE * (b @ a)).norm(dim=1)
        return Beside(layer, a, b, SCALE, part["lora_magnitude_vector"] / norm)
    elif strategy in ("lora-rram", "fisher-sparse"):
        return OnArrays(layer, a[None], b[None], torch.ones(1), torch.ones(len(b)), SCALE)
    elif strategy == "lora-fusion":
        return _pool(layer, part, seed)
    elif strategy in ("xbm", "xma"):
        made = ColumnNumbers(layer, "gate" if strategy == "xbm" else "shift")
        made.scores.copy_(part["scores"])
        return made
    elif strategy == "xma2":
        found = ChosenArrays(layer, extra[f"{part['path']}.chosen"])
        weight.copy_(torch.where(found.places(), weight + part["change"], weight))
        found.scale.copy_(part["scale"])
        return found
    elif strategy == "piggyback":
        weight.mul_((part["scores"] > 5e-3).float())
    elif strategy == "pruned-lora":
        return Beside(layer, part["A"], part["B"], SCALE, None, (part["theta"] > 0).float())
    elif strategy == "full":
        weight.copy_(part["weight"])
    elif strategy == "delta":
        return WithDelta(layer, ternary(part["weight"] - weight))
    return layer


def _pool(layer: nn.Linear, part: dict[str, Any], seed: int) -> nn.Module:
    pool = [read("lora", other, seed)["state"] for other in POOL if other != part["name"]]
    a, b = (
        torch.stack([p[f"{PREFIX}{part['path']}.lora_{kind}.weight"] for p in pool])
        for kind in "AB"
    )
    c = part["c"]
    merged = torch.einsum("k,kor->or", c, b) @ torch.einsum("k,kri->ri", c, a)
    norm = (layer.weight + SCALE * merged).norm(dim=1)
    return OnArrays(layer, a, b, c, part["m"] / norm, SCALE)


def digital(strategy: str, name: str, seed: int) -> dict[str, Any]:
    """Percent right on the digital model, and the share of what is kept."""
    saved = read(TRAINED[strategy], name, seed)
    if strategy != "delta":
        return {"percent": saved["digital"], **saved["info"]}
    held = data(name)
    return {"percent": accuracy(deployed(strategy, name, seed), [held.test_states], held.test)[0]}


def on_chips(strategy: str, name: str, seed: int) -> list[float]:
    """Percent right on each chip."""
    model, held = deployed(strategy, name, seed), data(name)
    kinds = {"lora-rram": "one", "fisher-sparse": "one", "lora-fusion": "pool", "delta": "delta"}
    mapping = _mapping(kinds.get(strategy), label_count(name), model)
    chip = program_chip(model, mapping, MACHINE, seed=CHIPS).at(converters=False)
    return accuracy(chip, shared_states(name), held.test)


_MAPPINGS: dict[tuple[str | None, int], Mapping] = {}


def _mapping(kind: str | None, labels: int, model: nn.Module) -> Mapping:
    """Where the adapted blocks are; numbers on columns change nothing of it."""
    if (kind, labels) not in _MAPPINGS:
        if kind is None:
            model = Upper(pretrained().module).eval()
            model.head = nn.Linear(pretrained().config.hidden_size, labels)
        hidden = pretrained().config.hidden_size
        inputs = {
            "inputs_embeds": torch.zeros(1, TOKENS, hidden),
            "attention_mask": torch.ones((1, TOKENS), dtype=torch.long),
        }
        traced = trace_module(model, inputs, name="upper")
        _MAPPINGS[kind, labels] = mapping_of(traced, MACHINE, "none")
    return _MAPPINGS[kind, labels]
