"""Linear layers with a pool of frozen LoRA adapters and trained coefficients: LoRAFusion's.

pool = pooled_model(peft_model, ["a", "b", "c"])
pool.get_submodule("model.layers.0.self_attn.q_proj").coefficients
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from cimsim.adaptation.layers.magnitudes import output_scales, scaled
from cimsim.adaptation.pool import block_of
from cimsim.errors import MappingError

if TYPE_CHECKING:
    from cimsim.adaptation.lora_fusion import LoraFusion
    from cimsim.adaptation.protocol import AdaptedModel

Pair = tuple[torch.Tensor, torch.Tensor]
"""A [rank, in] and B [out, rank] of an adapter."""


class PooledLinear(nn.Module):
    """y = g (W0 x + s sum_i B_i c_i z) + b with z = sum_j c_j A_j x; see `LoraFusion`.

    Without `cross`, u_i = A_i x takes the place of z; without `magnitudes`, g is 1. `base_layer`
    and the pool, `lora_A` and `lora_B` as one matrix each, are linear and frozen; `coefficients`
    [adapters] and `magnitude` [out] are trained. Raises MappingError for adapters that do not fit.
    """

    def __init__(
        self, layer: nn.Linear, pairs: Sequence[Pair], coefficients: nn.Parameter, scaling: float,
        *, cross: bool = True, magnitudes: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.adapters, self.rank = len(pairs), _rank_of(layer, pairs)
        if coefficients.shape != (self.adapters,):
            raise MappingError(
                f"{tuple(coefficients.shape)} coefficients were given for {self.adapters} "
                "adapters: a block has one for each."
            )
        self.scaling, self.cross = scaling, cross
        self.base_layer = layer.requires_grad_(False)
        self.lora_A = _linear(torch.cat([a for a, _ in pairs]))
        self.lora_B = _linear(torch.cat([b for _, b in pairs], dim=1))
        self.coefficients = coefficients
        norm = torch.linalg.norm(layer.weight.detach(), dim=1)
        self.magnitude = nn.Parameter(norm) if magnitudes else None
        self.train(layer.training)

    def change(self) -> torch.Tensor:
        """What the pool adds to the weight, [out, in]: s B'A', or s sum c_i B_i A_i."""
        a = self.lora_A.weight.view(self.adapters, self.rank, -1)
        b = self.lora_B.weight.view(-1, self.adapters, self.rank)
        c = self.coefficients
        if not self.cross:
            return self.scaling * torch.einsum("k,okr,kri->oi", c, b, a)
        both = torch.einsum("k,okr->or", c, b) @ torch.einsum("k,kri->ri", c, a)
        return self.scaling * both

    def merged(self) -> torch.Tensor:
        """The weight with the pool in it, W0 + `change`, before magnitudes, [out, in]."""
        return self.base_layer.weight + self.change()

    def scales(self) -> torch.Tensor | None:
        """G, a factor an output [out]; None without magnitudes."""
        if self.magnitude is None:
            return None
        with torch.no_grad():
            change = self.change()
        return output_scales(self.base_layer.weight, change, self.magnitude)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out], nothing merged: two products of the pool beside W0's."""
        u = self.lora_A(x).unflatten(-1, (self.adapters, self.rank))
        c = self.coefficients[:, None]
        if self.cross:
            u = (c * u).sum(-2, keepdim=True)
        y = self.base_layer(x) + self.scaling * self.lora_B((c * u).flatten(-2))
        scales = self.scales()
        return y if scales is None else scaled(y, scales, self.base_layer.bias)


def pooled_model(
    model: nn.Module,
    adapters: Sequence[str],
    *,
    coefficients: torch.Tensor | None = None,
    cross: bool = True,
    magnitudes: bool = True,
    seed: int = 0,
) -> nn.Module:
    """A copy of a PEFT model with the LoRA `adapters` that are loaded in it as a frozen pool.

    `coefficients` [blocks, adapters] are those of the blocks in the order of the layers, drawn as
    the public code does (Xavier, uniform) unless given. All that is trained is coefficients and
    magnitudes. Raises MappingError for a pool of none, adapters that are not there or do not have
    the same layers, shapes, ranks and scaling, and coefficients of another shape.
    """
    if not adapters:
        raise MappingError("a pool of 0 adapters was asked for: name those that it is made of.")
    given: Any = model
    twin = copy.deepcopy(given.get_base_model() if hasattr(given, "get_base_model") else model)
    layers: dict[str, Any] = {p: m for p, m in twin.named_modules() if _is_lora(m)}
    if not layers:
        raise MappingError(f"{type(twin).__name__} has no LoRA layer: load the adapters with PEFT.")
    twin.requires_grad_(False)
    vars(twin).pop("peft_config", None)
    pools = {path: _pairs(path, layer, adapters) for path, layer in layers.items()}
    return put_pools(
        twin, pools, coefficients=coefficients, cross=cross, magnitudes=magnitudes, seed=seed
    )


def put_pools(
    model: nn.Module,
    pools: Mapping[str, tuple[Sequence[Pair], float]],
    *,
    coefficients: torch.Tensor | None = None,
    cross: bool = True,
    magnitudes: bool = True,
    seed: int = 0,
) -> nn.Module:
    """`model` with a frozen pool, (A and B of each adapter, their scaling), on the layers `pools`.

    `coefficients` are those of `pooled_model`. Raises MappingError for layers that are not linear
    and for adapters that do not fit.
    """
    blocks = list(dict.fromkeys(map(block_of, pools)))
    adapters = len(next(iter(pools.values()))[0])
    values = _coefficients(coefficients, (len(blocks), adapters), seed)
    shared = {block: nn.Parameter(row.clone()) for block, row in zip(blocks, values, strict=True)}
    for path, (pairs, scaling) in pools.items():
        layer: Any = model.get_submodule(path)
        base = layer.get_base_layer() if _is_lora(layer) else layer
        if not isinstance(base, nn.Linear):
            raise MappingError(f"{path} is a {type(base).__name__}: a pool is on linear layers.")
        try:
            made = PooledLinear(
                base, pairs, shared[block_of(path)], scaling, cross=cross, magnitudes=magnitudes
            )
        except MappingError as problem:
            raise MappingError(f"{path}: {problem}") from None
        if not path:
            return made
        model.set_submodule(path, made)
    return model


def pooled_layers(model: nn.Module) -> dict[str, PooledLinear]:
    """Layers with a pool, by path."""
    return {path: part for path, part in model.named_modules() if isinstance(part, PooledLinear)}


FORM = ("adapters", "cross", "magnitudes")
"""Options of `lora-fusion` that a model of its own has."""


def check_pooled(model: AdaptedModel, fusion: LoraFusion) -> None:
    """Raise MappingError unless the layers of `model` have a pool as `fusion` places it."""
    layers = pooled_layers(model.module)
    if not layers or model.adapters:
        raise MappingError(
            f"lora-fusion runs a pool of adapters, and {type(model.module).__name__} has none: "
            "make it with cimsim.adaptation.layers.pooled.pooled_model from a PEFT model with them."
        )
    if not fusion.packed:
        raise MappingError(
            "the torch form of a pool has one matrix A and one B a layer: choose packed=true."
        )
    wanted = (fusion.adapters, fusion.cross, fusion.magnitudes)
    for path, layer in layers.items():
        found = (layer.adapters, layer.cross, layer.magnitude is not None)
        if found != wanted:
            said = [f"{n}={str(v).lower()}" for n, v in zip(FORM, found, strict=True)]
            raise MappingError(
                f"{path} has (adapters, cross, magnitudes) {found}, lora-fusion was asked for with "
                f"{wanted}: say lora-fusion:{','.join(said)}, with what else you said of it."
            )


def _is_lora(module: nn.Module) -> bool:
    return isinstance(getattr(module, "lora_A", None), nn.ModuleDict) and hasattr(
        module, "get_base_layer"
    )


def _pairs(path: str, layer: Any, adapters: Sequence[str]) -> tuple[list[Pair], float]:
    """A and B of each adapter on one layer, and their common scaling."""
    if missing := [name for name in adapters if name not in layer.lora_A]:
        raise MappingError(
            f"{path}: adapter {missing[0]!r} is not on this layer, which has "
            f"{', '.join(layer.lora_A)}: adapters of a pool adapt the same layers."
        )
    if variants := [name for name in adapters if name in getattr(layer, "lora_variant", {})]:
        raise MappingError(f"{path}: adapter {variants[0]!r} is not plain LoRA, a pool's is.")
    factors = {float(layer.scaling[name]) for name in adapters}
    if len(factors) > 1:
        raise MappingError(
            f"{path}: adapters have the scalings {', '.join(map(str, sorted(factors)))}: those of "
            "a pool have one (alpha / r)."
        )
    pairs = [(layer.lora_A[n].weight.detach(), layer.lora_B[n].weight.detach()) for n in adapters]
    return pairs, factors.pop()


def _rank_of(layer: nn.Linear, pairs: Sequence[Pair]) -> int:
    """The rank of all adapters; raises MappingError for none, other shapes or several ranks."""
    if not pairs:
        raise MappingError("a pool of 0 adapters was asked for: it holds 1 or more.")
    rank = pairs[0][0].shape[0]
    wanted = (rank, layer.in_features), (layer.out_features, rank)
    for number, (a, b) in enumerate(pairs):
        if (tuple(a.shape), tuple(b.shape)) != wanted:
            raise MappingError(
                f"adapter {number} of the pool has A {tuple(a.shape)} and B {tuple(b.shape)}; a "
                f"layer of {layer.in_features} inputs and {layer.out_features} outputs takes "
                f"{wanted[0]} and {wanted[1]} (the rank of adapter 0): all have one shape."
            )
    return rank


def _coefficients(given: torch.Tensor | None, shape: tuple[int, int], seed: int) -> torch.Tensor:
    if given is None:
        drawn = torch.empty(shape)
        return nn.init.xavier_uniform_(drawn, generator=torch.Generator().manual_seed(seed))
    if tuple(given.shape) != shape:
        raise MappingError(
            f"coefficients have shape {tuple(given.shape)}; {shape[0]} blocks with "
            f"{shape[1]} adapters take {shape}."
        )
    return given.detach().clone()


def _linear(weight: torch.Tensor) -> nn.Linear:
    """A frozen linear layer of a copy of `weight` [out, in]."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    return made
