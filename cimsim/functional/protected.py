"""A model as adaptation `protected` runs it: inputs rescaled, outliers of the weights kept exact.

Without noise and converters it computes what the model computes. K inputs, N outputs of a weight.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cimsim.adaptation import Protected, outliers_of
from cimsim.adaptation.layers.protected import ProtectedLinear
from cimsim.adaptation.shared_inputs import SharedInput
from cimsim.errors import MappingError, SpecError
from cimsim.frontend.adapters import unwrap
from cimsim.frontend.dora import has_dora
from cimsim.frontend.graph import clean
from cimsim.functional.mode import in_evaluation
from cimsim.functional.padding import Padding
from cimsim.functional.sites import Site, find_sites, inputs_by_outputs
from cimsim.ir import Linear, Workload
from cimsim.mapping import Mapping as WeightMapping
from cimsim.mapping import Placement
from cimsim.values.arguments import checked
from cimsim.values.ranges import SMALLEST

Samples = Sequence[Any] | Mapping[str, Any]
FOLD_TOLERANCE = 1e-4
"""A norm is folded whose output, on random inputs, follows its numbers this closely."""


@checked(MappingError)
def protected(
    model: nn.Module, mapping: WeightMapping, workload: Workload, samples: Samples | None = None,
    *, trainable: bool = False,
) -> nn.Module:  # fmt: skip
    """A copy of `model` as the adaptation of `mapping`, which is `protected`, runs it.

    `workload` is the one that was mapped, before adaptation: it says what reads what. `samples`
    are the arguments of one call of `model`, the batch that scales are taken from; what its
    attention mask leaves out does not count. With `trainable` what learns of an adapter keeps its
    own weights: A behind a folded norm has its inputs multiplied instead, which computes the same.
    Raises MappingError for a mapping without protection,
    layers that cannot have it, and rescaling without samples.
    """
    adaptation = mapping.adaptation
    if not isinstance(adaptation, Protected):
        raise MappingError(
            f"the mapping of {mapping.workload!r} was made with adaptation {adaptation.name!r}: "
            "map with protected to rescale inputs or to keep outliers exact."
        )
    if has_dora(model):
        raise MappingError("protected takes LoRA without magnitudes, the model carries DoRA.")
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    applied = adaptation.inner.apply(workload)
    groups = adaptation.groups(applied)
    weights = {op.name: op.weight for _, op in applied.ops() if isinstance(op, Linear)}
    largest = _largest_inputs(model, groups, weights, samples) if groups else {}
    sites = find_sites(twin)
    by_layer = {name: sites[weight] for name, weight in weights.items() if weight in sites}
    changed = _Changed(twin, {}, trainable)
    for group in groups:
        _rescale(changed, by_layer, group, largest[group.layers[0]], adaptation.rescale or 0.0)
    for name, placement in mapping.placements.items():
        beside = mapping.placements.get(outliers_of(name))
        if placement.role == "base" and beside is not None and beside.grid.nonzeros:
            _split(changed, sites[name], placement, beside.grid.nonzeros)
    for site, (weight, divisors, rest) in changed.weights.values():
        bias = None if site.layer.bias is None else site.layer.bias.detach()
        made = ProtectedLinear(weight, bias, divisors, rest).train(site.layer.training)
        if changed.learns(site):
            made.weight = site.layer.weight
        unwrap(twin).set_submodule(site.path, made)
    return twin


@dataclass(frozen=True, eq=False)
class _Changed:
    """New weights [N, K], divisors and rests of the sites of `model`, by the path of the module."""

    model: nn.Module
    weights: dict[str, tuple[Site, tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]]]
    trainable: bool

    def learns(self, site: Site) -> bool:
        return self.trainable and site.layer.weight.requires_grad

    def of(self, site: Site) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        found = self.weights.get(site.path)
        if found is not None:
            return found[1]
        if isinstance(site.layer, nn.Conv2d):
            raise MappingError(
                f"{site.name!r} is a convolution, whose inputs stand at many places: protected is "
                "for linear layers. Leave it out of the tiles, or choose another adaptation."
            )
        weight = inputs_by_outputs(site.layer).T
        if weight.dtype not in (torch.float32, torch.float64):
            weight = weight.to(torch.float32)
        return weight, None, None

    def put(
        self, site: Site, weight: torch.Tensor, divisors: torch.Tensor | None,
        rest: torch.Tensor | None,
    ) -> None:  # fmt: skip
        self.weights[site.path] = site, (weight, divisors, rest)


def _rescale(
    changed: _Changed, by_layer: dict[str, Site], group: SharedInput, largest_K: torch.Tensor,
    power: float,
) -> None:  # fmt: skip
    """Divide the input of a group and multiply what reads it."""
    layers = [by_layer[name] for name in group.layers]
    rows_K = torch.stack([changed.of(site)[0].abs().amax(0) for site in layers]).amax(0)
    divisors = scales(largest_K, rows_K, power)
    others: set[str] = set()
    if group.folded:
        _fold(changed.model, str(group.source), divisors)
        beside = [by_layer[name] for name in group.others]
        layers += beside
        others = {site.path for site in beside}
    for site in layers:
        if site.path in changed.weights:
            raise MappingError(
                f"{site.name!r} multiplies several inputs, which cannot have scales of their own: "
                "leave rescale out."
            )
        weight, _, rest = changed.of(site)
        if changed.learns(site):
            if site.path not in others:
                raise MappingError(
                    f"{site.name!r} learns, and what is rescaled is programmed once: train an "
                    "adapter, or leave rescale out."
                )
            changed.put(site, weight, 1.0 / divisors, rest)
            continue
        given = None if group.folded else divisors
        changed.put(site, weight * divisors.to(weight.dtype), given, rest)


def scales(inputs_K: torch.Tensor, weights_K: torch.Tensor, power: float) -> torch.Tensor:
    """S = max|x|^lambda / max|w|^(1 - lambda) [K] of largest magnitudes; 1 where either is 0.

    Source: NORA, DATE 2025.
    """
    usable = (inputs_K > SMALLEST) & (weights_K > SMALLEST)
    one = torch.ones_like(inputs_K)
    x, w = (torch.where(usable, part, one) for part in (inputs_K, weights_K))
    return x**power / w ** (1.0 - power)


def _fold(model: nn.Module, source: str, divisors: torch.Tensor) -> None:
    """Divide what the norm `source` puts out; raises MappingError where its numbers do not."""
    inner = unwrap(model)
    paths = [path for path, _ in inner.named_modules() if clean(path) == source]
    module = inner.get_submodule(paths[0]) if len(paths) == 1 else None
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.shape != divisors.shape:
        raise _no_fold(source)
    assert module is not None
    probe = torch.linspace(-1.0, 1.0, len(divisors), dtype=weight.dtype).repeat(2, 1).cumsum(0)
    with torch.no_grad():
        before = module(probe)
        for name in ("weight", "bias"):
            numbers = getattr(module, name, None)
            if numbers is not None:
                divided = nn.Parameter(numbers.detach() / divisors, requires_grad=False)
                setattr(module, name, divided)
        if not torch.allclose(module(probe), before / divisors, rtol=FOLD_TOLERANCE, atol=1e-6):
            raise _no_fold(source)


def _no_fold(source: str) -> MappingError:
    return MappingError(
        f"{source!r} has no numbers that its output is proportional to: say fold=false, and its "
        "outputs are multiplied one by one."
    )


def _split(changed: _Changed, site: Site, placement: Placement, nonzeros: int) -> None:
    """Clip the largest weights, in units of the standard deviation of their column of a tile."""
    if changed.learns(site):
        raise MappingError(
            f"{site.name!r} learns, and its outliers are chosen once: train an adapter, or leave "
            "outliers out."
        )
    weight, divisors, earlier = changed.of(site)
    assert earlier is None
    clipped, rest = split(weight, placement.grid.block_rows, nonzeros)
    changed.put(site, clipped, divisors, rest)


def split(weight_NK: torch.Tensor, rows: int, nonzeros: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [N, K] as clipped and sparse parts, whose sum it is; at most so many `nonzeros`.

    All are clipped at one number of standard deviations of their column in a block of `rows`
    inputs. The sparse part is rounded to FP16 and the clipped one takes what that leaves.
    """
    weight = weight_NK.detach()
    deviation = torch.cat(
        [
            part.std(1, correction=0, keepdim=True).expand_as(part)
            for part in torch.split(weight, rows, 1)
        ],
        1,
    )
    # A column without spread has nothing to clip by.
    ratio = torch.where(deviation > SMALLEST, weight.abs() / deviation.clamp_min(SMALLEST), 0.0)
    limit = ratio.flatten().topk(min(nonzeros + 1, ratio.numel())).values[-1]
    limit_NK = torch.where(ratio > limit, limit * deviation, weight.abs())
    rest = (weight - weight.sign() * limit_NK).to(torch.float16).to(weight.dtype)
    return weight - rest, rest.to_sparse().coalesce()


def _largest_inputs(
    model: nn.Module, groups: Sequence[SharedInput], weights: dict[str, str],
    samples: Samples | None,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Largest magnitude [K] of the input of the first layer of each group, by its name."""
    if samples is None:
        raise MappingError(
            "rescale takes its scales from one batch of typical inputs: give samples, the "
            "arguments of one call of the model."
        )
    args, kwargs = ((), samples) if isinstance(samples, Mapping) else (samples, {})
    padding = Padding.of(model, args, kwargs)
    sites = find_sites(model)
    wanted = {group.layers[0]: sites[weights[group.layers[0]]] for group in groups}
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            rows = args[0].detach()
            tokens = None if padding is None else padding.tokens(name, rows)
            flat = rows.reshape(-1, rows.shape[-1])
            seen = (flat if tokens is None else flat[tokens]).abs().amax(0).to(torch.float32)
            found[name] = torch.maximum(found[name], seen) if name in found else seen

        return hook

    hooks = [site.layer.register_forward_pre_hook(keep(name)) for name, site in wanted.items()]
    try:
        with in_evaluation(model):
            model(*args, **kwargs)
    finally:
        for handle in hooks:
            handle.remove()
    if missing := [name for name in wanted if name not in found]:
        raise SpecError(
            f"the samples never reach {missing[0]!r}, whose inputs are to be rescaled: give "
            "samples that use every layer."
        )
    return found
