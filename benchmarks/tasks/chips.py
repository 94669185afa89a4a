"""Accuracy on chips of the machine: cells with its noise, the same three chips for everybody.

Noise is on weights (`Chip.at(converters=False)`): what is in SRAM or registers is exact.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import peft
import torch
from base import TOKENS, WORK, Lower, accuracy, data, linears, pretrained, put, states
from base import upper as upper_of
from recipe import SCALE_BITS, formed, read
from torch import nn

import cimsim
from cimsim.accuracy.placing import as_mapped, mapping_of
from cimsim.adaptation.layers.delta import DeltaOnArrays, ternary
from cimsim.frontend import trace_module
from cimsim.functional import program_chip
from cimsim.ir import Workload
from cimsim.training.gates import gates_of

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


ADAPTATIONS = {
    "frozen": "none",
    "full": "none",
    "dora": "lora-sram",
    "lora-fusion": "lora-fusion:adapters=5",
    "xma2": f"xma2:bits={SCALE_BITS}",
    "delta": "none",  # two matrices of whole weights: the machine has one cell a weight
}
"""What runs a strategy, where it is called otherwise; heads stand in RRAM."""


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
                put(model, path, DeltaOnArrays(layer, difference))
    return model.requires_grad_(False).eval()


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
    mapping = mapping_of(_traced(model), MACHINE, ADAPTATIONS.get(strategy, strategy))
    ready = as_mapped(model, mapping)
    chip = program_chip(ready, mapping, MACHINE, seed=CHIPS).at(converters=False)
    return accuracy(chip, shared_states(name), held.test)


def _traced(model: nn.Module) -> Workload:
    hidden = pretrained().config.hidden_size
    inputs = {
        "inputs_embeds": torch.zeros(1, TOKENS, hidden),
        "attention_mask": torch.ones((1, TOKENS), dtype=torch.long),
    }
    return trace_module(model, inputs, name="upper")
