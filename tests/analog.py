"""Small models with their mappings, for tests of whole models on crossbars."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import peft
import small
import torch
import transformers as tf
from frontend_zoo import ZOO
from torch import nn

from cimsim.adaptation import adaptation_named
from cimsim.frontend import trace_model, trace_module
from cimsim.functional import (
    AnalogModel,
    Chip,
    Hardware,
    hardware_of,
    program_chip,
    without_errors,
)
from cimsim.ir import Linear, Workload
from cimsim.mappers import MAPPERS, build_mapping
from cimsim.mapping import Mapping
from cimsim.noise import Device, Ideal
from cimsim.spec import Architecture

torch.set_num_threads(1)
IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 5, 14, 15]])


def machine(**rram: Any) -> Architecture:
    """16x16 tiles, differential analog cells."""
    tiles = {"tile_count": 20_000, "coding": "differential", "g_min_uS": 0.0, "g_max_uS": 25.0}
    return small.machine(rram=tiles | rram)


def mapped(
    workload: Workload, architecture: Architecture, adaptation: str = "none", **mapper: Any
) -> Mapping:
    chosen = adaptation_named(adaptation)
    own = MAPPERS["one-per-tile"](**mapper)
    return build_mapping(chosen.apply(workload), architecture, chosen, own)


PARTS = {"coding", "dac", "adc", "wires", "read_noise"}


def tiles(architecture: Architecture, noise: Device | str | None = None, **parts: Any) -> Hardware:
    """The machine's hardware with other parts."""
    return replace(hardware_of(architecture, noise), **parts)


def programmed(
    model: nn.Module, mapping: Mapping, architecture: Architecture,
    noise: Device | str | None = None, seed: Any = 0, **parts: Any,
) -> Chip:  # fmt: skip
    return program_chip(model, mapping, architecture, tiles(architecture, noise, **parts), seed)


def analogize(
    model: nn.Module, mapping: Mapping, architecture: Architecture,
    noise: Device | str | None = None, seed: Any = 0, **given: Any,
) -> AnalogModel:  # fmt: skip
    """A chip with parts of hardware from `given`, read out as the rest of it says."""
    parts = {name: given.pop(name) for name in PARTS & given.keys()}
    return programmed(model, mapping, architecture, noise, seed, **parts).at(**given)


def ideal(architecture: Architecture) -> dict[str, Any]:
    """Arguments of `analogize` for exact tiles."""
    exact = without_errors(hardware_of(architecture, Ideal()))
    return {"noise": Ideal(), "coding": exact.coding, "dac": exact.dac, "adc": exact.adc}


def network(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers[:-1]).eval()


def of_module(
    module: nn.Module, architecture: Architecture, *inputs: Any, **mapper: Any
) -> Mapping:
    return mapped(trace_module(module, inputs, name="net"), architecture, **mapper)


def vectors(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn((count, size), generator=torch.Generator().manual_seed(seed))


def bert() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return tf.BertForQuestionAnswering(ZOO["bert-qa"].config).eval()


def llama(rank: int | None = 4) -> Any:
    """A tiny LLaMA, with a LoRA adapter that is not zero if `rank` is given."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = tf.LlamaForCausalLM(ZOO["llama"].config).eval()
        if rank is None:
            return model
        config = peft.LoraConfig(
            r=rank, target_modules=["q_proj", "down_proj"], init_lora_weights=False
        )
        return peft.get_peft_model(model, config).eval()


def traced(model: nn.Module) -> Workload:
    return trace_model(model, prefill=6)


def unmarked(work: Workload) -> Workload:
    """The workload without what says where masks are, and what is saved with them."""
    plain = {"tuned": False, "saved": False}
    phases = tuple(
        phase.model_copy(update={"ops": tuple(
            op.model_copy(update=plain) if isinstance(op, Linear) else op for op in phase.ops
        )})
        for phase in work.phases
    )  # fmt: skip
    return work.remade(phases=phases)
