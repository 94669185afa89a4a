"""Accuracy on chips of the machine: cells with noise behind converters, the same for everybody.

Ranges of converters are calibrated on training examples. What is in SRAM or registers is exact.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import peft
import torch
from base import (
    TOKENS,
    WORK,
    Lower,
    accuracy,
    data,
    linears,
    packed,
    padded,
    pretrained,
    put,
    states,
)
from base import upper as upper_of
from recipe import SCALE_BITS, formed, read
from torch import nn

import cimsim
from cimsim.accuracy.batches import evenly
from cimsim.accuracy.placing import as_mapped, mapping_of
from cimsim.adaptation.layers.delta import DeltaLinear, delta_layers, on_arrays, ternary
from cimsim.frontend import trace_module
from cimsim.functional import program_chip
from cimsim.ir import Workload
from cimsim.training.gates import gates_of

MACHINE = cimsim.machine("halora_rram_sram")
CHIPS = (0, 1, 2)
NOISES = {
    "chips": None,
    "sigma 0.03": "gaussian:sigma_ratio=0.03,relative_to=tile",
}
"""The machine's own noise (sigma 0.01 of the largest weight of a tile), and three times as much."""
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
    "pruned-faster": "pruned-faster",
    "fisher-sparse": "fisher-sparse",
    "delta": "full",
}
"""The training behind each strategy."""
PREFIX = "base_model.model."


ADAPTATIONS = {
    "frozen": "none",
    "full": "none",
    "dora": "lora-sram",
    "lora-fusion": "lora-fusion:adapters=5",
    "xma2": f"xma2:bits={SCALE_BITS}",
    "pruned-faster": "pruned-lora",
    "delta": "none",  # two matrices of whole weights: the machine has one cell a weight
}
"""What runs a strategy, where it is called otherwise; heads stand in RRAM."""


@cache
def shared_states(name: str, part: str) -> list[list[torch.Tensor]]:
    """What the shared blocks on each chip make of the test examples."""
    path = WORK / f"shared-{part.replace(' ', '-')}-{name}.pt"
    if not path.exists():
        lower = Lower(pretrained().module).eval().requires_grad_(False)
        ones = torch.ones((1, TOKENS), dtype=torch.long)
        traced = trace_module(lower, {"input_ids": ones, "attention_mask": ones}, name="lower")
        mapping = mapping_of(traced, MACHINE, "none")
        chip = program_chip(lower, mapping, MACHINE, NOISES[part], CHIPS)
        samples = padded([data(name).train[i] for i in calibration(name)])
        torch.save(states(chip.at(samples=samples), data(name).test, len(CHIPS)), path)
    found: list[list[torch.Tensor]] = torch.load(path, weights_only=False)
    return found


def calibration(name: str) -> list[int]:
    """Numbers of the training examples that ranges of converters are calibrated on."""
    examples = data(name).train
    number = {id(example): i for i, example in enumerate(examples)}
    return [number[id(example)] for example in evenly(examples)]


def deployed(strategy: str, name: str, seed: int) -> nn.Module:
    """The adapted blocks as they were trained."""
    saved = read(TRAINED[strategy], name, seed)
    state = {key.removeprefix(PREFIX): value for key, value in saved["state"].items()}
    task_model = upper_of(name, seed)
    head = {end: state.pop(f"head.{end}") for end in ("weight", "bias")}
    task_model.module.head.load_state_dict(head)
    model = formed(TRAINED[strategy], task_model, name, seed, saved=())
    with torch.no_grad():
        if isinstance(model, peft.PeftModel):
            for path, gates in gates_of(model).items():
                gates.theta.copy_(saved["state"][f"{path}.theta"])
                state.pop(f"{path}.theta".removeprefix(PREFIX))
            named = {f"{PREFIX}{key}": value for key, value in state.items()}
            peft.set_peft_model_state_dict(model, named)
        else:
            odd = model.load_state_dict({**state, **saved["extra"]}, strict=False).unexpected_keys
            assert not odd, odd
        if strategy == "delta":
            for path, layer in linears(upper_of(name, seed).module):
                difference = ternary(model.get_submodule(path).weight - layer.weight)
                put(model, path, DeltaLinear(layer, difference))
    return model.requires_grad_(False).eval()


def digital(strategy: str, name: str, seed: int) -> dict[str, Any]:
    """Percent right on the digital model, and the share of what is kept."""
    saved = read(TRAINED[strategy], name, seed)
    if strategy != "delta":
        return {"percent": saved["digital"], **saved["info"]}
    held = data(name)
    return {"percent": accuracy(deployed(strategy, name, seed), [held.test_states], held.test)[0]}


def on_chip(
    strategy: str, name: str, seed: int, part: str, chip: int, limit: int | None = None
) -> float:
    """Percent right on a chip under a noise of `NOISES`, of the first `limit` test examples."""
    model, held = deployed(strategy, name, seed), data(name)
    if strategy == "delta":
        layers = delta_layers(model)
        model = on_arrays(model, {f"{path}.weight": f"{path}.delta.weight" for path in layers})
    mapping = mapping_of(_traced(model), MACHINE, ADAPTATIONS.get(strategy, strategy))
    ready = as_mapped(model, mapping)
    samples = packed([held.train_states[i] for i in calibration(name)])
    analog = program_chip(ready, mapping, MACHINE, NOISES[part], chip).at(samples=samples)
    shared = shared_states(name, part)[CHIPS.index(chip)][:limit]
    (found,) = accuracy(analog, [shared], held.test[:limit])
    return found


def _traced(model: nn.Module) -> Workload:
    hidden = pretrained().config.hidden_size
    inputs = {
        "inputs_embeds": torch.zeros(1, TOKENS, hidden),
        "attention_mask": torch.ones((1, TOKENS), dtype=torch.long),
    }
    return trace_module(model, inputs, name="upper")
