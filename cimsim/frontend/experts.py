"""Mixtures of experts: tokens go evenly to the experts, as their router is trained to do.

Which experts a token goes to depends on weights, which tracing does not have. So the tokens of a
pass go round the experts in turn, top-k of them for each token: expert e gets the floor or the
ceiling of tokens * k / experts, and one decode step uses experts 0 to k - 1. All experts hold
tiles; the number of products is that of any routing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from cimsim.errors import WorkloadError
from cimsim.frontend.graph import clean


def route_evenly(model: nn.Module) -> None:
    """Let every bank of experts of `model` (a copy of ours) run each expert on its share."""
    for module in model.modules():
        if _is_bank(module):
            module.forward = partial(_forward, module)


def has_experts(model: nn.Module) -> bool:
    """Whether `model` holds banks of experts."""
    return any(map(_is_bank, model.modules()))


def most_experts(model: nn.Module) -> int:
    """Experts of the largest bank of `model`, 0 where it has none."""
    banks: list[Any] = [module for module in model.modules() if _is_bank(module)]
    return max((int(bank.num_experts) for bank in banks), default=0)


def check_all_used(model: nn.Module, parts: Mapping[str, Collection[object]], tokens: int) -> None:
    """Raises WorkloadError if a prompt of `tokens` leaves an expert without a token, so that the
    workload would not hold its weights.
    """
    for path, module in model.named_modules():
        used = len(parts.get(clean(f"{path}.down_proj"), ()))
        if _is_bank(module) and used < module.num_experts:
            raise WorkloadError(
                f"module {path!r}: {tokens} tokens reach {used} of {module.num_experts} experts. "
                "All of them must hold their weights: raise prefill to at least "
                f"{-(-module.num_experts * tokens // max(used, 1))} tokens."
            )


def is_mixture(model: nn.Module, path: str) -> bool:
    """Whether the module at `path`, or one around it, routes tokens to experts."""
    parts = path.split(".")
    around = [model.get_submodule(".".join(parts[:n])) for n in range(1, len(parts) + 1)]
    return any(re.search(r"Moe|MoE|Expert|SparseM", type(module).__name__) for module in around)


def _is_bank(module: nn.Module) -> bool:
    """Whether transformers runs the module by one of its experts implementations."""
    known = ("num_experts", "has_gate", "has_bias", "is_transposed", "has_post_expert_norm")
    return all(hasattr(module, name) for name in known)


def shares(tokens: int, chosen: int, experts: int) -> list[int]:
    """Tokens of each expert where every token goes to `chosen` of them, in turn."""
    each, rest = divmod(tokens * chosen, experts)
    return [each + (expert < rest) for expert in range(experts)]


def _forward(
    bank: Any, hidden: torch.Tensor, index: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    tokens, chosen = index.shape
    result = torch.zeros_like(hidden)
    for expert, count in enumerate(shares(tokens, chosen, bank.num_experts)):
        if count == 0:
            break
        rows = torch.empty(count, dtype=torch.long, device=hidden.device)
        mine = _expert(bank, expert, hidden[rows])
        scaled = mine * weights.reshape(-1)[rows].unsqueeze(-1)
        result = result.index_add(0, rows, scaled.to(result.dtype))
    return result


def _expert(bank: Any, expert: int, x: torch.Tensor) -> torch.Tensor:
    name = "gate_up_proj" if bank.has_gate else "up_proj"
    x = _linear(bank, name, expert, x)
    x = bank._apply_gate(x) if bank.has_gate else bank.act_fn(x)
    x = _linear(bank, "down_proj", expert, x)
    return bank.post_expert_norm(x) if bank.has_post_expert_norm else x


def _linear(bank: Any, name: str, expert: int, x: torch.Tensor) -> torch.Tensor:
    weight = getattr(bank, name)[expert]
    bias = getattr(bank, f"{name}_bias")[expert] if bank.has_bias else None
    return nn.functional.linear(x, weight.T if bank.is_transposed else weight, bias)
